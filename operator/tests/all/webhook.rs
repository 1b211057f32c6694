//! The webhook over a real connection: questions of an API server, certificates that are replaced, the end.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gosync_crds::SyncMirror;
use gosync_operator::inject::Settings;
use gosync_operator::webhook::{Certificates, Known, Webhook, answer, configuration, router, serve};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::known::{mirror, pod, settings};

/// One mirror in one namespace.
struct One;

impl Known for One {
    fn mirrors(&self, namespace: &str) -> Vec<SyncMirror> {
        if namespace == "ml" { vec![mirror(json!({}))] } else { Vec::new() }
    }

    fn restricted(&self, namespace: &str) -> bool {
        namespace == "strict"
    }
}

fn image(image: &str) -> Settings {
    Settings { image: image.to_owned(), ..settings() }
}

fn review(pod: Value, namespace: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": { "uid": "7", "operation": "CREATE", "namespace": namespace, "object": pod, "dryRun": true },
    })
}

#[test]
fn an_api_server_gets_the_patch_for_a_pod_that_a_mirror_selects() {
    // The namespace stands in the request: pods of controllers have none of their own yet.
    let mut pod = pod(json!({}));
    pod["metadata"].as_object_mut().unwrap().remove("namespace");
    let answer = answer(&review(pod.clone(), "ml"), &One, image("gosync:test")).unwrap();
    let response = &answer.review["response"];
    assert_eq!((response["uid"].as_str(), response["allowed"].as_bool()), (Some("7"), Some(true)));
    let patch = BASE64_STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    json_patch::patch(&mut pod, &serde_json::from_slice::<json_patch::Patch>(&patch).unwrap()).unwrap();
    assert_eq!(pod["spec"]["initContainers"][0]["image"], "gosync:test");
    assert_eq!((answer.result, answer.reason), ("injected", ""));
}

#[test]
fn a_pod_that_can_not_be_injected_is_allowed_with_a_warning() {
    let answer = answer(&review(pod(json!({ "spec": { "volumes": [] } })), "ml"), &One, image("i")).unwrap();
    let response = &answer.review["response"];
    assert_eq!(response["allowed"], true);
    assert!(response["patch"].is_null());
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(warning.contains("the pod has no volume data") && warning.len() <= 256, "{warning}");
    assert_eq!((answer.result, answer.reason), ("skipped", "NoSuchVolume"));
}

#[test]
fn pods_of_other_namespaces_get_an_empty_answer() {
    let mut stranger = pod(json!({}));
    stranger["metadata"]["namespace"] = json!("web");
    let answer = answer(&review(stranger, "web"), &One, image("i")).unwrap();
    assert_eq!(answer.review["response"], json!({ "uid": "7", "allowed": true }));
}

#[test]
fn a_question_without_its_parts_is_an_error() {
    assert!(answer(&json!({}), &One, image("i")).unwrap_err().to_string().contains("request.uid"));
    assert!(
        answer(&json!({ "request": { "uid": "7" } }), &One, image("i"))
            .unwrap_err()
            .to_string()
            .contains("request.object")
    );
}

#[test]
fn what_is_no_certificate_is_refused_and_the_one_before_stays() {
    let certificates = Certificates::default();
    assert!(certificates.replace(b"", b"").is_err());
    assert!(!certificates.are_there());
    let (one, other) = (certificate(), certificate());
    certificates.replace(one.cert.pem().as_bytes(), one.signing_key.serialize_pem().as_bytes()).unwrap();
    // The key of another.
    assert!(certificates.replace(one.cert.pem().as_bytes(), other.signing_key.serialize_pem().as_bytes()).is_err());
    assert!(certificates.are_there());
}

fn certificate() -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

/// A running webhook.
struct Running {
    address: SocketAddr,
    webhook: Arc<Webhook>,
    certificates: Arc<Certificates>,
    end: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn running() -> Running {
    let certificates = Arc::new(Certificates::default());
    let webhook = Arc::new(Webhook {
        known: Box::new(One),
        image: "gosync:test".to_owned(),
        image_pull_policy: None,
        metrics: Arc::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, wanted) = oneshot::channel();
    let router = router(webhook.clone());
    let served = certificates.clone();
    let ended = tokio::spawn(async move {
        serve(listener, &served, router, async {
            let _ = wanted.await;
        })
        .await
    });
    Running { address, webhook, certificates, end, ended }
}

/// A connection that trusts just that certificate; none where the handshake fails.
async fn connect(address: SocketAddr, trusted: &CertificateDer<'static>) -> Option<SendRequest<Full<Bytes>>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let stream = TcpStream::connect(address).await.ok()?;
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.ok()?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}

async fn ask(sender: &mut SendRequest<Full<Bytes>>, path: &str, body: Option<&Value>) -> (u16, String) {
    let request = Request::builder().uri(path).header("host", "localhost").header("content-type", "application/json");
    let request = match body {
        Some(body) => request.method("POST").body(Full::from(body.to_string())),
        None => request.body(Full::default()),
    };
    let response = sender.send_request(request.unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(text.to_vec()).unwrap())
}

#[tokio::test]
async fn a_replaced_certificate_is_served_to_new_connections_while_old_ones_go_on() {
    let running = running().await;
    let (first, second) = (certificate(), certificate());
    let trusted = |certificate: &CertifiedKey<rcgen::KeyPair>| certificate.cert.der().clone();
    assert!(connect(running.address, &trusted(&first)).await.is_none(), "there is none to serve yet");

    let serve = |certificate: &CertifiedKey<rcgen::KeyPair>| {
        let (chain, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
        running.certificates.replace(chain.as_bytes(), key.as_bytes()).unwrap();
    };
    serve(&first);
    let mut old = connect(running.address, &trusted(&first)).await.unwrap();
    assert_eq!(ask(&mut old, "/mutate", Some(&review(pod(json!({})), "web"))).await.0, 200);

    serve(&second);
    assert!(connect(running.address, &trusted(&first)).await.is_none());
    let mut new = connect(running.address, &trusted(&second)).await.unwrap();
    let question = review(pod(json!({})), "ml");
    for sender in [&mut old, &mut new] {
        let (status, text) = ask(sender, "/mutate", Some(&question)).await;
        assert!(status == 200 && text.contains("JSONPatch"), "{status} {text}");
    }
    let metrics = running.webhook.metrics.render();
    assert!(metrics.contains("gosync_injection_requests_total{result=\"injected\",reason=\"\"} 2"), "{metrics}");
}

#[tokio::test]
async fn at_the_end_new_connections_are_refused_and_open_ones_are_closed() {
    let running = running().await;
    let certificate = certificate();
    let (chain, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    running.certificates.replace(chain.as_bytes(), key.as_bytes()).unwrap();
    let mut sender = connect(running.address, certificate.cert.der()).await.unwrap();
    assert_eq!(ask(&mut sender, "/mutate", Some(&review(pod(json!({})), "web"))).await.0, 200);
    running.end.send(()).unwrap();
    running.ended.await.unwrap().unwrap();
    assert!(connect(running.address, certificate.cert.der()).await.is_none());
}

#[test]
fn the_configuration_in_its_file_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(configuration::FILE);
    if std::env::var_os("GOSYNC_REGENERATE").is_some() {
        fs::write(&path, configuration::yaml()).unwrap();
    }
    let same = fs::read_to_string(&path).unwrap_or_default() == configuration::yaml();
    assert!(same, "run GOSYNC_REGENERATE=1 cargo test -p gosync-operator");
}

#[test]
fn api_servers_ask_once_about_a_pod_and_go_on_without_an_answer() {
    let installed = configuration::installed("gosync-system");
    let entries = installed["webhooks"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        assert_eq!((&entry["failurePolicy"], &entry["sideEffects"]), (&json!("Ignore"), &json!("None")));
        assert_eq!(entry["clientConfig"]["caBundle"], Value::Null, "the operator's to write");
        assert_eq!(entry["namespaceSelector"], Value::Null, "the operator's to write");
    }
    let asks = |entry: &Value| entry["objectSelector"]["matchExpressions"][0]["operator"].clone();
    assert_eq!((asks(&entries[0]), asks(&entries[1])), (json!("In"), json!("NotIn")));
}
