//! Every replica's part: serves what the Secret holds, and tells whether API servers accept it.

use std::sync::Arc;
use std::time::Duration;

use gosync_telemetry::OperatorMetrics;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::Store;
use tokio::sync::watch;

use super::trust::{expires, is_trusted};
use crate::webhook::Certificates;
use crate::webhook::configuration::trusted;

/// How often it is looked at.
const ROUND: Duration = Duration::from_secs(1);

/// What is served, and whether it is accepted.
pub struct Trust {
    /// The Secret, as it is watched.
    pub secrets: Store<Secret>,
    /// The webhook configuration, as it is watched.
    pub configurations: Store<MutatingWebhookConfiguration>,
    /// What is served.
    pub certificates: Arc<Certificates>,
    /// The name that API servers ask for.
    pub name: String,
    /// What is counted.
    pub metrics: Arc<OperatorMetrics>,
}

/// Loads until it is dropped; says whether what is served is trusted.
pub async fn load(trust: &Trust, ready: &watch::Sender<bool>) {
    let mut served: Option<(String, String)> = None;
    loop {
        trust.round(&mut served, ready);
        tokio::time::sleep(ROUND).await;
    }
}

impl Trust {
    fn round(&self, served: &mut Option<(String, String)>, ready: &watch::Sender<bool>) {
        let secret = self.secrets.state().into_iter().next();
        let text = |key: &str| {
            let data = secret.as_ref()?.data.as_ref()?.get(key)?;
            String::from_utf8(data.0.clone()).ok()
        };
        if let Some(pair) = text("tls.crt").zip(text("tls.key")).filter(|pair| Some(pair) != served.as_ref()) {
            match self.certificates.replace(pair.0.as_bytes(), pair.1.as_bytes()) {
                Ok(()) => {
                    let until = expires(&pair.0);
                    tracing::info!(until = until.map(|until| until.to_string()), "another certificate is served");
                    self.metrics.certificate_expires(until.map_or(0, Timestamp::as_second));
                }
                Err(error) => tracing::warn!("the certificate of the Secret can't be served: {error}"),
            }
            // Tried once, whatever became of it.
            *served = Some(pair);
        }
        let configuration = self.configurations.state().into_iter().next();
        let authorities = configuration.as_deref().and_then(trusted);
        let chain = served.as_ref().map(|(chain, _)| chain.as_str()).filter(|_| self.certificates.are_there());
        let accepted = match (chain, authorities) {
            (Some(chain), Some(authorities)) => is_trusted(chain, &authorities, &self.name, Timestamp::now()),
            _ => false,
        };
        ready.send_if_modified(|was| {
            let changed = *was != accepted;
            *was = accepted;
            changed
        });
    }
}
