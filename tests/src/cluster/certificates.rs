//! What proves who is who in a cluster of the tests: one authority, a certificate of the API server and one of an
//! administrator, and the key that tokens of service accounts are signed with.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// Writes `ca.pem`, `server.pem`, `server.key`, `admin.pem`, `admin.key`, `accounts.pem` (public) and `accounts.key`.
pub fn write(folder: &Path) {
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    };
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "gosync tests");
    put("ca.pem", ca.self_signed(&ca_key).unwrap().pem());
    let issuer = Issuer::new(ca, ca_key);
    let signed = |name: &str, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose| {
        let key = KeyPair::generate().unwrap();
        params.extended_key_usages = vec![usage];
        put(&format!("{name}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
        put(&format!("{name}.key"), key.serialize_pem());
    };
    let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
    signed("server", CertificateParams::new(names.to_vec()).unwrap(), ExtendedKeyUsagePurpose::ServerAuth);
    // The group that may do everything, before any role exists.
    let mut admin = CertificateParams::new(Vec::new()).unwrap();
    admin.distinguished_name.push(DnType::OrganizationName, "system:masters");
    admin.distinguished_name.push(DnType::CommonName, "admin");
    signed("admin", admin, ExtendedKeyUsagePurpose::ClientAuth);
    let accounts = KeyPair::generate().unwrap();
    put("accounts.pem", accounts.public_key_pem());
    put("accounts.key", accounts.serialize_pem());
}

/// An authority, a certificate for a webhook at that address, and its key.
pub fn webhook(address: IpAddr) -> (String, String, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = ca.self_signed(&ca_key).unwrap().pem();
    let mut params = CertificateParams::new(vec![address.to_string()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem();
    (authority, certificate, key.serialize_pem())
}
