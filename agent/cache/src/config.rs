//! How Redis is reached, and the settings of its client. The network is not touched here.
//!
//! Passwords are in no error and no debug text, nor is the URL, which may hold one.

use std::fmt;
use std::time::Duration;

use fred::rustls::pki_types::CertificateDer;
use fred::rustls::pki_types::pem::PemObject as _;
use fred::rustls::{ClientConfig, RootCertStore, crypto::ring};
use fred::socket2::TcpKeepalive;
use fred::types::Builder;
use fred::types::config::{
    Config, ConnectionConfig, ReconnectPolicy, ServerConfig, TcpConfig, TlsConnector, UnresponsiveConfig,
};

/// Longest wait for an answer: what is only to be faster must not be slow. A pipeline is kept small enough for it.
pub const ANSWER_WAIT: Duration = Duration::from_secs(1);
const CONNECT_WAIT: Duration = Duration::from_secs(3);
/// Between two tries to connect, from and to, in milliseconds.
const RETRY_MS: (u32, u32) = (50, 2_000);
/// A connection on which something was sent and nothing came for so long is given up.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A listening connection has no questions of its own by which a host that is gone would be noticed.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// What the config says of a Redis.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    pub host: String,
    pub port: u16,
    /// Empty: the default user.
    pub username: String,
    pub password: String,
    pub db: u8,
    /// What every name begins with, before a colon.
    pub prefix: String,
    pub tls: bool,
    /// Certificates that are trusted, PEM. `None`: those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// `redis://` or `rediss://`; when it is not empty, it says all but prefix and certificates.
    pub url: String,
    pub ttl: Duration,
    pub content_bytes_max: u64,
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("username", &self.username)
            .field("db", &self.db)
            .field("prefix", &self.prefix)
            .field("tls", &self.tls)
            .field("by_url", &!self.url.is_empty())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    #[error(
        "the URL of Redis can't be read: it looks like redis://[user:password@]host[:port][/database], or rediss:// with TLS"
    )]
    Url,
    #[error("the certificates that are trusted can't be read: {0}")]
    Certificates(String),
    #[error("the prefix of Redis is empty: then nothing would tell our keys from others")]
    Prefix,
}

/// A client's settings, and where it goes in words without secrets.
pub struct Target {
    pub builder: Builder,
    /// `host:port/database`
    pub address: String,
}

impl RedisConfig {
    pub(crate) fn target(&self) -> Result<Target, ConfigError> {
        if self.prefix.is_empty() {
            return Err(ConfigError::Prefix);
        }
        let mut config = if self.url.is_empty() {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Config {
                server: ServerConfig::new_centralized(self.host.as_str(), self.port),
                username: text(&self.username),
                password: text(&self.password),
                database: Some(self.db),
                ..Config::default()
            }
        } else {
            // The scheme is ours to judge: fred's own TLS asks for a provider of the process.
            let rest = self.url.strip_prefix("rediss://").or_else(|| self.url.strip_prefix("redis://"));
            let rest = rest.ok_or(ConfigError::Url)?;
            Config::from_url_centralized(&format!("redis://{rest}")).map_err(|_| ConfigError::Url)?
        };
        let tls = if self.url.is_empty() { self.tls } else { self.url.starts_with("rediss://") };
        if tls {
            config.tls = Some(TlsConnector::from(self.tls_config()?).into());
        }
        // The first connection is tried as often as any other.
        config.fail_fast = false;
        let server = config.server.hosts().into_iter().next().ok_or(ConfigError::Url)?;
        let address = format!("{}:{}/{}", server.host, server.port, config.database.unwrap_or_default());
        let mut builder = Builder::from_config(config);
        builder
            .set_policy(ReconnectPolicy::new_exponential(0, RETRY_MS.0, RETRY_MS.1, 2))
            .with_performance_config(|performance| performance.default_command_timeout = ANSWER_WAIT)
            .set_connection_config(ConnectionConfig {
                connection_timeout: CONNECT_WAIT,
                internal_command_timeout: CONNECT_WAIT,
                // What was cut off is not sent again: whoever asked has gone on.
                max_command_attempts: 1,
                reconnect_on_auth_error: true,
                unresponsive: UnresponsiveConfig { max_timeout: Some(SILENCE_MAX), interval: SILENCE_MAX / 4 },
                tcp: TcpConfig {
                    nodelay: Some(true),
                    keepalive: Some(TcpKeepalive::new().with_time(KEEPALIVE.0).with_interval(KEEPALIVE.1)),
                    ..TcpConfig::default()
                },
                ..ConnectionConfig::default()
            });
        Ok(Target { builder, address })
    }

    fn tls_config(&self) -> Result<ClientConfig, ConfigError> {
        let wrong = |error: &dyn fmt::Display| ConfigError::Certificates(error.to_string());
        let mut roots = RootCertStore::empty();
        match &self.ca_pem {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|error| wrong(&error))?;
                    roots.add(certificate).map_err(|error| wrong(&error))?;
                }
                if roots.is_empty() {
                    return Err(wrong(&"there is none in the file"));
                }
            }
            None => {
                // One that can't be read is no reason to trust none of the others.
                roots.add_parsable_certificates(fred::rustls_native_certs::load_native_certs().certs);
            }
        }
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error))?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests may stop at the first surprise")]
    use super::*;

    fn config(url: &str) -> RedisConfig {
        RedisConfig {
            host: "cache.home".to_owned(),
            port: 6379,
            username: String::new(),
            password: "hidden-1".to_owned(),
            db: 3,
            prefix: "gosync".to_owned(),
            tls: false,
            ca_pem: None,
            url: url.to_owned(),
            ttl: Duration::from_secs(1),
            content_bytes_max: 1,
        }
    }

    #[test]
    fn a_url_says_where_as_the_single_keys_do() {
        for (url, address) in [
            ("", "cache.home:6379/3"),
            ("redis://other.home", "other.home:6379/0"),
            ("redis://user:hidden-2@other.home:7000/12", "other.home:7000/12"),
            ("rediss://:hidden-2@other.home", "other.home:6379/0"),
            ("redis://[::1]:7000", "[::1]:7000/0"),
        ] {
            assert_eq!(config(url).target().ok().map(|target| target.address).as_deref(), Some(address), "{url}");
        }
        let target = config("rediss://us%40er:hid%2Fden@other.home/1").target().ok().unwrap();
        let config = target.builder.get_config().unwrap();
        assert_eq!((config.username.as_deref(), config.password.as_deref()), (Some("us@er"), Some("hid/den")));
        assert!(config.tls.is_some());
    }

    #[test]
    fn what_is_no_url_is_refused_without_being_repeated() {
        for url in [
            "hidden-3",
            "http://hidden-3",
            "redis://",
            "redis-cluster://hidden-3",
            "redis://h/hidden-3",
            "redis://h/256",
        ] {
            let error = config(url).target().err().unwrap_or_else(|| panic!("{url} was taken"));
            assert!(!format!("{error} {error:?}").contains("hidden"), "{error}");
        }
        assert_eq!(RedisConfig { prefix: String::new(), ..config("") }.target().err(), Some(ConfigError::Prefix));
    }

    #[test]
    fn secrets_are_in_no_debug_text() {
        let config = config("redis://user:hidden-2@h");
        assert!(!format!("{config:?}").contains("hidden"), "{config:?}");
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        for pem in [&b""[..], b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let config = RedisConfig { tls: true, ca_pem: Some(pem.to_vec()), ..config("") };
            assert!(matches!(config.target().err(), Some(ConfigError::Certificates(_))));
        }
    }
}
