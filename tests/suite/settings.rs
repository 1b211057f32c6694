//! Settings of the store, seen from the store.

use std::sync::Arc;

use gosync_dev_s3::{Checksums, Effect, Fault, Operation};
use gosync_tests::agent::Agent;
use gosync_tests::pair::{MIRROR, Pair, tree};
use gosync_tests::proxy::Kind;
use gosync_tests::server::Address;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

const MIB: usize = 1 << 20;

/// The store behind TLS, with a certificate of a CA that nobody knows. Returns its address and the CA's certificate.
async fn behind_tls(store: &Address) -> (Address, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = own.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let at = store.at(&format!("https://{}", listener.local_addr().unwrap()));
    let upstream = store.endpoint.strip_prefix("http://").unwrap().to_owned();
    // It ends with the test's runtime.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
            tokio::spawn(async move {
                // Who doesn't trust the certificate hangs up.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut store = TcpStream::connect(upstream).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut store).await;
            });
        }
    });
    (at, ca_pem)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_behind_a_ca_of_its_own_is_trusted_by_its_file_and_not_without() {
    let mut pair = Pair::new().await;
    let (address, ca_pem) = behind_tls(&pair.proxy.address).await;
    pair.config["s3"]["endpoint"] = json!(address.endpoint);
    let files = tree([("a", "1"), ("b/c", "2")]);
    pair.write_all(&files);
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    agent.in_error(MIRROR, "endpoint").await;
    let mirror = agent.mirror(MIRROR);
    let told = mirror["errors"][0]["message"].as_str().unwrap();
    assert!(told.contains("certificate") && told.contains(&address.endpoint), "{told}");
    assert_eq!(pair.transfers(), [""; 0]);

    let ca_file = pair.home.path().join("ca.pem");
    std::fs::write(&ca_file, ca_pem).unwrap();
    pair.config["s3"]["ca_file"] = json!(ca_file);
    // The running agent takes it up.
    std::fs::write(pair.home.path().join("config.yaml"), pair.config.to_string()).unwrap();
    pair.both_hold(&files).await;
    agent.in_step(MIRROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_and_storage_class_go_with_every_object_that_is_written() {
    // Of what a managed key encrypts no ETag tells the content, so that nothing is copied.
    for (sse, key, kinds) in [
        ("AES256", None, &[Kind::Put, Kind::Copy, Kind::MultipartCreate][..]),
        ("aws:kms", Some("our-key"), &[Kind::Put, Kind::MultipartCreate]),
    ] {
        go_with_every_write(sse, key, kinds).await;
    }
}

async fn go_with_every_write(sse: &str, key: Option<&str>, expected: &[Kind]) {
    let mut pair = Pair::new().await;
    pair.config["s3"]["sse"] = json!(sse);
    pair.config["s3"]["kms_key_id"] = json!(key.unwrap_or_default());
    pair.config["s3"]["storage_class"] = json!("STANDARD_IA");
    pair.write_all(&tree([("small", "1")]));
    gosync_tests::pair::write(&pair.root.join("large"), vec![7; 6 * MIB]);
    let agent = pair.start().await;
    pair.both_hold(&pair.local()).await;
    std::fs::rename(pair.root.join("small"), pair.root.join("renamed")).unwrap();
    pair.both_hold(&pair.local()).await;
    agent.in_step(MIRROR).await;

    let writes = pair.requests(|kind| matches!(kind, Kind::Put | Kind::Copy | Kind::MultipartCreate));
    let mut kinds = Vec::new();
    // Parts are of the upload's kind.
    for write in writes.iter().filter(|write| !write.query.contains("partNumber")) {
        kinds.push(write.kind);
        for (name, value) in [
            ("x-amz-server-side-encryption", Some(sse)),
            ("x-amz-server-side-encryption-aws-kms-key-id", key),
            ("x-amz-storage-class", Some("STANDARD_IA")),
        ] {
            let sent = write.headers.get(name).and_then(|sent| sent.to_str().ok());
            assert_eq!(sent, value, "{name} of {write}");
        }
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_checksums_is_served_without_unless_they_are_insisted_on() {
    for setting in ["auto", "when-required", "always"] {
        let mut pair = Pair::with_store(|options| options.checksums = Checksums::Refused).await;
        pair.config["s3"]["checksums"] = json!(setting);
        pair.write_all(&tree([("small", "1")]));
        gosync_tests::pair::write(&pair.root.join("large"), vec![7; 6 * MIB]);
        if setting == "always" {
            let agent = Agent::start(pair.home.path(), &pair.config).await;
            let is_told = |mirror: &Value| mirror["errors"].to_string().contains("InvalidArgument");
            agent.until(MIRROR, "the store's refusal is told", is_told).await;
            assert_eq!(pair.remote().await.len(), 0);
            continue;
        }
        let agent = pair.start().await;
        pair.both_hold(&pair.local()).await;
        pair.put_all(&tree([("back", "2")])).await;
        let mut expected = pair.local();
        expected.insert("back".into(), "2".into());
        pair.both_hold(&expected).await;
        agent.in_step(MIRROR).await;
        let checked =
            pair.proxy.seen().iter().filter(|seen| seen.headers.contains_key("x-amz-checksum-crc64nvme")).count();
        // The probe's first ones, which race each other, learn it.
        assert!(checked <= if setting == "auto" { 4 } else { 0 }, "{setting}: {checked} requests with a checksum");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_environment_are_used_and_printed_nowhere() {
    let mut pair = Pair::new().await;
    let [access_key, secret_key] = ["access_key", "secret_key"].map(|key| {
        let value = pair.config["s3"].as_object_mut().unwrap().remove(key).unwrap();
        value.as_str().unwrap().to_owned()
    });
    let files = tree([("a", "1")]);
    pair.write_all(&files);
    let keys = [("GOSYNC_S3_ACCESS_KEY", access_key.as_str()), ("GOSYNC_S3_SECRET_KEY", secret_key.as_str())];
    let mut agent = Agent::launch_in(pair.home.path(), &pair.config, &keys);
    agent.answering().await;
    pair.both_hold(&files).await;
    let told = format!("{}{}", agent.process().log(), agent.state());
    assert!(!told.contains(&secret_key), "{told}");
}

/// The trouble is told once, and the store is not asked again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_allows_no_writes_is_asked_now_and_then_and_told_once() {
    let pair = Pair::new().await;
    let denied = Fault::new(Effect::Refuse("AccessDenied")).on(Operation::PutObject);
    pair.put_all(&tree([("there", "1")])).await;
    let denied = pair.store.faults().add(denied);
    pair.write_all(&tree([("here", "2")]));
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    agent.in_error(MIRROR, "credentials").await;
    pair.four_checks().await;
    let probes = pair.proxy.seen().iter().filter(|seen| seen.kind == Kind::Put && seen.key.contains("/probe/")).count();
    let checks = pair.proxy.count(Kind::List);
    // Each one makes a handful.
    assert!(probes <= 8 * checks.max(4), "{probes} requests of probes during {checks} looks at the bucket");
    let told = agent.process().log().matches("trouble; tried again").count();
    assert!(told <= 2, "{}", agent.process().tail());
    pair.store.faults().remove(denied);
    pair.both_hold(&tree([("here", "2"), ("there", "1")])).await;
    agent.until(MIRROR, "over it", |mirror| mirror["errors"] == json!([])).await;
}
