//! Makes a certificate, signed by an authority that is made for it alone and whose key is thrown away at once: nobody can ever
//! sign another with it.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// The certificate, its key and its authority, as PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Made {
    /// The authority.
    pub authority: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Why none could be made.
#[derive(Debug, thiserror::Error)]
#[error("no certificate can be made")]
pub struct MakeError(#[from] rcgen::Error);

/// Makes one for these names, DNS names or addresses, valid for `days` from yesterday on: the clock of an API server may be behind.
pub fn make(names: &[String], now: Timestamp, days: u32) -> Result<Made, MakeError> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let from = today.saturating_sub(1.day());
    let to = today.saturating_add(i64::from(days).days());
    let at = |date: Date| date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs());
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Two authorities are told apart by their names.
    authority.distinguished_name = name(&format!("gosync-operator-ca-{}", now.as_millisecond()));
    (authority.not_before, authority.not_after) = (at(from), at(to));
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::from_params(&authority, &authority_key);

    let mut served = CertificateParams::new(names.to_vec())?;
    served.distinguished_name = name("gosync-operator");
    served.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    served.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    served.use_authority_key_identifier_extension = true;
    (served.not_before, served.not_after) = (at(from), at(to));
    let key = KeyPair::generate()?;
    let certificate = served.signed_by(&key, &issuer)?;
    Ok(Made { authority: authority_certificate.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
