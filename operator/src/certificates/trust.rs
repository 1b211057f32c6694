//! What is served, as an API server sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// True when who trusts `authorities` (PEM) accepts the first certificate of `chain` (PEM) for `name` now.
pub fn is_trusted(chain: &str, authorities: &str, name: &str, now: Timestamp) -> bool {
    verify(chain, authorities, name, now).is_some()
}

fn verify(chain: &str, authorities: &str, name: &str, now: Timestamp) -> Option<()> {
    let chain = certificates(chain);
    let (first, others) = chain.split_first()?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(authorities));
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    let name = ServerName::try_from(name.to_owned()).ok()?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).ok()?));
    use tokio_rustls::rustls::client::danger::ServerCertVerifier;
    verifier.verify_server_cert(first, others, &name, &[], now).ok().map(drop)
}

/// True when `bundle` (PEM) holds every certificate of `wanted` (PEM).
pub fn holds_all(bundle: &str, wanted: &str) -> bool {
    let has: BTreeSet<Vec<u8>> = certificates(bundle).iter().map(|der| der.to_vec()).collect();
    let wanted = certificates(wanted);
    !wanted.is_empty() && wanted.iter().all(|der| has.contains(der.as_ref()))
}

/// Until when the first certificate of a chain (PEM) is valid.
pub fn expires(chain: &str) -> Option<Timestamp> {
    let der = certificates(chain).into_iter().next()?;
    let (_, certificate) = parse_x509_certificate(&der).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

/// The DNS names and addresses of the first certificate of a chain (PEM).
pub fn names(chain: &str) -> BTreeSet<String> {
    let Some(der) = certificates(chain).into_iter().next() else { return BTreeSet::new() };
    let Ok((_, certificate)) = parse_x509_certificate(&der) else { return BTreeSet::new() };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return BTreeSet::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    };
    extension.value.general_names.iter().filter_map(text).collect()
}

fn certificates(text: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok).collect()
}
