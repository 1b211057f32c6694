//! What a store is reached with, and the SDK client made from it. Nothing here contacts the network.

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig};
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::request::RequestObserver;
use crate::whole::WholeReplies;

/// Everything that an [`S3Store`](crate::S3Store) is made from.
#[derive(Clone)]
pub struct S3Config {
    /// With scheme. `None`: AWS, in `region`.
    pub endpoint: Option<String>,
    pub region: String,
    pub bucket: String,
    /// `None`: the SDK's default chain (environment, profile, web identity, container, instance).
    pub credentials: Option<Credentials>,
    pub force_path_style: bool,
    pub checksums: Checksums,
    /// `AES256`, `aws:kms`; `None`: as the bucket says.
    pub sse: Option<String>,
    pub kms_key_id: Option<String>,
    pub storage_class: Option<String>,
    /// Certificates trusted beside the system's, PEM.
    pub ca_pem: Option<Vec<u8>>,
    pub timeouts: Timeouts,
    /// Goes into the user agent.
    pub app_name: String,
    pub observer: Option<Arc<dyn RequestObserver>>,
}

impl S3Config {
    /// AWS with the SDK's credentials, and everything else as the store and the SDK have it.
    #[must_use]
    pub fn new(bucket: impl Into<String>, region: impl Into<String>) -> Self {
        Self {
            endpoint: None,
            region: region.into(),
            bucket: bucket.into(),
            credentials: None,
            force_path_style: false,
            checksums: Checksums::Auto,
            sse: None,
            kms_key_id: None,
            storage_class: None,
            ca_pem: None,
            timeouts: Timeouts::default(),
            app_name: "gosync".into(),
            observer: None,
        }
    }

    pub(crate) fn is_plain_http(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"))
    }
}

#[derive(Clone)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
    pub session_token: Option<String>,
}

/// Whether content is sent with a CRC64NVME for the store to check and keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksums {
    /// Until the store refuses one that it would take without.
    #[default]
    Auto,
    Always,
    /// Only where the protocol asks for one.
    WhenRequired,
}

/// How long a silent store is waited for. No request waits for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// Until the reply to a request begins, sending a body not counted.
    pub reply: Duration,
    /// The same for requests that make the store work (Complete, Copy, DeleteObjects).
    pub long_reply: Duration,
    /// Between two pieces of a content that is being read.
    pub idle: Duration,
    /// What a body may take to send, per request.
    pub upload_bytes_per_second_min: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            reply: Duration::from_secs(30),
            long_reply: Duration::from_secs(300),
            idle: Duration::from_secs(30),
            upload_bytes_per_second_min: 16 * 1024,
        }
    }
}

/// A configuration that no client can be made from.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the bucket has no name")]
    NoBucket,
    #[error("the endpoint {0:?} does not begin with http:// or https://")]
    Endpoint(String),
    #[error("the certificates to trust are not valid PEM: {0}")]
    Certificates(String),
    #[error("{0:?} is not a name for a user agent")]
    AppName(String),
}

pub(crate) async fn client(config: &S3Config) -> Result<Client, ConnectError> {
    if config.bucket.is_empty() {
        return Err(ConnectError::NoBucket);
    }
    if let Some(endpoint) = &config.endpoint
        && !endpoint.starts_with("http://")
        && !endpoint.starts_with("https://")
    {
        return Err(ConnectError::Endpoint(endpoint.clone()));
    }
    let app_name = AppName::new(config.app_name.clone()).map_err(|_| ConnectError::AppName(config.app_name.clone()))?;
    let behavior = BehaviorVersion::v2026_01_12();
    let region = Region::new(config.region.clone());
    let http = http_client(config)?;

    let provider = match &config.credentials {
        Some(keys) => Some(SharedCredentialsProvider::new(aws_credential_types::Credentials::new(
            keys.access_key.clone(),
            keys.secret_key.clone(),
            keys.session_token.clone(),
            None,
            "gosync",
        ))),
        // Only the credentials of the environment are taken, not its endpoints, retries and time-outs.
        None => {
            let chain = aws_config::defaults(behavior).region(region.clone()).http_client(http.clone());
            chain.load().await.credentials_provider()
        }
    };
    let mut builder = aws_sdk_s3::Config::builder()
        .behavior_version(behavior)
        .region(region)
        .http_client(http)
        .force_path_style(config.force_path_style)
        .app_name(app_name)
        .retry_config(RetryConfig::disabled())
        // Ours cover both directions: the SDK's measures throughput and does not see in-memory bodies.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(config.timeouts.connect).build())
        .interceptor(WholeReplies)
        // Checksums are asked for request by request.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    builder.set_credentials_provider(provider);
    builder.set_endpoint_url(config.endpoint.clone());
    Ok(Client::from_conf(builder.build()))
}

fn http_client(config: &S3Config) -> Result<SharedHttpClient, ConnectError> {
    // The system's certificates cost memory and time: not where no TLS can happen.
    let without_tls = config.is_plain_http() && config.credentials.is_some();
    let mut trust = TrustStore::empty().with_native_roots(!without_tls);
    if let Some(pem) = &config.ca_pem {
        check_certificates(pem)?;
        trust = trust.with_pem_certificate(pem.clone());
    }
    let context = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| ConnectError::Certificates(error.to_string()))?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .tls_context(context)
        .build_https())
}

/// The HTTP client takes them unchecked and panics at the first connection.
fn check_certificates(pem: &[u8]) -> Result<(), ConnectError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| ConnectError::Certificates(error.to_string()))?;
        roots.add(certificate).map_err(|error| ConnectError::Certificates(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(ConnectError::Certificates("there is none in it".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]

    use super::*;

    #[tokio::test]
    async fn what_no_client_can_be_made_from_is_refused_before_the_first_request() {
        let of = |change: fn(&mut S3Config)| {
            let mut config = S3Config::new("bucket", "us-east-1");
            config.credentials =
                Some(Credentials { access_key: "a".into(), secret_key: "s".into(), session_token: None });
            change(&mut config);
            config
        };
        assert!(client(&of(|_| ())).await.is_ok());
        assert!(client(&of(|config| config.endpoint = Some("https://127.0.0.1:1".into()))).await.is_ok());
        for (config, wanted) in [
            (of(|config| config.bucket.clear()), "the bucket has no name"),
            (of(|config| config.endpoint = Some("s3.example.com".into())), "does not begin with http"),
            (of(|config| config.ca_pem = Some(b"junk".to_vec())), "certificates"),
            (of(|config| config.app_name = "no spaces, please".into()), "user agent"),
        ] {
            let error = client(&config).await.unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
