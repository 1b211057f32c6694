//! Where requests of a store really go: `s3.endpoint`, `use_ssl` and `force_path_style` taken together.

use super::agent::S3;
use super::choice::PathStyle;
use super::problem::Wrong;

/// The store's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL to talk to; none for AWS itself, where the region decides.
    pub url: Option<String>,
    /// The bucket is named in the path instead of the host name.
    pub path_style: bool,
    /// What identifies the store in stored state: scheme and use of TLS aside, the same store has the same text.
    pub identity: String,
}

impl S3 {
    /// The address that the keys amount to.
    pub fn resolve_endpoint(&self) -> Result<Endpoint, Wrong> {
        let hint = "write a host (s3.example.org), host:port (127.0.0.1:9000) or URL (https://s3.example.org)";
        let text = self.endpoint.trim();
        let (tls, authority) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some((scheme, _)) => return Err(Wrong::new(format!("\"{scheme}\" is not a scheme of S3"), hint)),
            None => (self.use_ssl, text),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.is_empty() {
            return Err(Wrong::new("the endpoint is empty", hint));
        }
        if authority.contains('@') {
            return Err(Wrong::new("credentials don't belong into the endpoint", "use access_key and secret_key"));
        }
        let (host, port) = split_port(authority)
            .filter(|(host, _)| is_host(host))
            .ok_or_else(|| Wrong::new(format!("\"{text}\" is not an endpoint"), hint))?;
        let host = host.to_ascii_lowercase();
        let aws = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
        let path_style = match self.force_path_style {
            PathStyle::Auto => !aws,
            PathStyle::On => true,
            PathStyle::Off => false,
        };
        let default_port = if tls { 443 } else { 80 };
        let authority = match port {
            Some(port) if port != default_port => format!("{host}:{port}"),
            _ => host.clone(),
        };
        let global = host == "s3.amazonaws.com" && tls && authority == host;
        Ok(Endpoint {
            url: (!global).then(|| format!("{}://{authority}", if tls { "https" } else { "http" })),
            path_style,
            identity: authority,
        })
    }

    /// True when requests go over TLS; also when the endpoint can't be read.
    pub(crate) fn speaks_tls(&self) -> bool {
        match self.endpoint.trim().split_once("://") {
            Some((scheme, _)) => scheme != "http",
            None => self.use_ssl,
        }
    }
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, rest) = authority.split_at(end);
    match rest.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port > 0).map(|port| (host, Some(port))),
        None => rest.is_empty().then_some((host, None)),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may stop at the first surprise
    use super::*;

    fn s3(endpoint: &str) -> S3 {
        S3 { endpoint: endpoint.to_owned(), ..S3::default() }
    }

    fn of(endpoint: &str) -> (Option<String>, bool) {
        let endpoint = s3(endpoint).resolve_endpoint().unwrap();
        (endpoint.url, endpoint.path_style)
    }

    #[test]
    fn aws_is_left_to_the_region_and_any_other_store_gets_path_style() {
        assert_eq!(of("s3.amazonaws.com"), (None, false));
        assert_eq!(of("s3.eu-west-1.amazonaws.com"), (Some("https://s3.eu-west-1.amazonaws.com".into()), false));
        assert_eq!(of("minio.example.org"), (Some("https://minio.example.org".into()), true));
        assert_eq!(of("http://127.0.0.1:9000/"), (Some("http://127.0.0.1:9000".into()), true));
        assert_eq!(of("https://[::1]:9000"), (Some("https://[::1]:9000".into()), true));
    }

    #[test]
    fn use_ssl_counts_only_where_there_is_no_scheme() {
        let mut store = s3("127.0.0.1:9000");
        store.use_ssl = false;
        assert_eq!(store.resolve_endpoint().unwrap().url.unwrap(), "http://127.0.0.1:9000");
        store.endpoint = "https://127.0.0.1:9000".into();
        assert_eq!(store.resolve_endpoint().unwrap().url.unwrap(), "https://127.0.0.1:9000");
    }

    #[test]
    fn path_style_can_be_set_either_way() {
        let mut store = s3("minio.example.org");
        store.force_path_style = PathStyle::Off;
        assert!(!store.resolve_endpoint().unwrap().path_style);
        store.endpoint = "s3.amazonaws.com".into();
        store.force_path_style = PathStyle::On;
        assert!(store.resolve_endpoint().unwrap().path_style);
    }

    #[test]
    fn one_store_has_one_identity() {
        let identity = |endpoint: &str| s3(endpoint).resolve_endpoint().unwrap().identity;
        assert_eq!(identity("Minio.example.org"), identity("https://minio.example.org:443/"));
        assert_ne!(identity("minio.example.org"), identity("minio.example.org:9000"));
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in ["", "ftp://x", "http://", "a b", "host:port", "host:0", "https://h/path", "k:s@h", "::1", "a..b"] {
            assert!(s3(text).resolve_endpoint().is_err(), "{text}");
        }
    }
}
