//! Clients of object stores: mirrors with the same settings share one, and its connections.

use std::sync::{Arc, Mutex, PoisonError};

use gosync_api::config::{self, S3, Sse};
use gosync_engine::ports::ObjectStore;
use gosync_s3::{Checksums, ConnectError, Credentials, RequestObserver, S3Config, S3Store};

use crate::throttle::{Line, Throttled};

pub struct Stores {
    observer: Arc<dyn RequestObserver>,
    clients: Mutex<Vec<(S3, Arc<S3Store>)>>,
    lines: Mutex<Vec<(config::Bandwidth, Arc<Line>)>>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreTrouble {
    #[error("{0}")]
    Endpoint(String),
    #[error("s3.ca_file {path} can't be read")]
    CaFile { path: String, source: std::io::Error },
    #[error("the store's client can't be made")]
    Connect(#[from] ConnectError),
}

impl Stores {
    pub fn new(observer: Arc<dyn RequestObserver>) -> Self {
        Self { observer, clients: Mutex::default(), lines: Mutex::default() }
    }

    /// The store of these settings, within these limits of the line. The network is not contacted.
    pub async fn get(&self, s3: &S3, bandwidth: &config::Bandwidth) -> Result<Arc<dyn ObjectStore>, StoreTrouble> {
        let client = self.client(s3).await?;
        Ok(match self.line(bandwidth) {
            None => client,
            Some(line) => Arc::new(Throttled::new(client, line)),
        })
    }

    /// The client alone, without limits of the line.
    pub async fn client(&self, s3: &S3) -> Result<Arc<S3Store>, StoreTrouble> {
        let known = |clients: &[(S3, Arc<S3Store>)]| {
            clients.iter().find(|(settings, _)| settings == s3).map(|(_, client)| Arc::clone(client))
        };
        if let Some(client) = known(&self.clients.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(client);
        }
        let client = Arc::new(S3Store::connect(self.s3_config(s3).await?).await?);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        // Two that come at once: the first one stays.
        if let Some(client) = known(&clients) {
            return Ok(client);
        }
        // Clients that no mirror uses any more go.
        clients.retain(|(_, client)| Arc::strong_count(client) > 1);
        clients.push((s3.clone(), Arc::clone(&client)));
        Ok(client)
    }

    /// Mirrors with the same limits share one line.
    fn line(&self, bandwidth: &config::Bandwidth) -> Option<Arc<Line>> {
        if bandwidth.upload.0 == 0 && bandwidth.download.0 == 0 {
            return None;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, line)) = lines.iter().find(|(known, _)| known == bandwidth) {
            return Some(Arc::clone(line));
        }
        let line = Arc::new(Line::new(bandwidth.upload.0, bandwidth.download.0));
        lines.push((bandwidth.clone(), Arc::clone(&line)));
        Some(line)
    }

    async fn s3_config(&self, s3: &S3) -> Result<S3Config, StoreTrouble> {
        let endpoint = s3.resolve_endpoint().map_err(|wrong| StoreTrouble::Endpoint(wrong.to_string()))?;
        let ca_pem = match &s3.ca_file {
            None => None,
            Some(path) => Some(
                tokio::fs::read(path)
                    .await
                    .map_err(|source| StoreTrouble::CaFile { path: path.display().to_string(), source })?,
            ),
        };
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(S3Config {
            endpoint: endpoint.url,
            force_path_style: endpoint.path_style,
            credentials: (!s3.access_key.is_empty()).then(|| Credentials {
                access_key: s3.access_key.expose().to_owned(),
                secret_key: s3.secret_key.expose().to_owned(),
                session_token: text(s3.session_token.expose()),
            }),
            checksums: match s3.checksums {
                config::Checksums::Auto => Checksums::Auto,
                config::Checksums::Always => Checksums::Always,
                config::Checksums::WhenRequired => Checksums::WhenRequired,
            },
            sse: match s3.sse {
                Sse::None => None,
                sse => Some(sse.as_str().to_owned()),
            },
            kms_key_id: text(&s3.kms_key_id),
            storage_class: text(&s3.storage_class),
            ca_pem,
            observer: Some(Arc::clone(&self.observer)),
            ..S3Config::new(&s3.bucket, &s3.region)
        })
    }
}
