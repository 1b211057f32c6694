//! Another injector in the cluster, one that is asked after ours: a webhook that puts a proxy at the end of the init
//! containers, as a native sidecar.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use gosync_tests::cluster::host;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto, pki_types};

/// Dropping it ends it.
pub struct Mesh {
    task: AbortHandle,
    /// What API servers have to be told of it.
    pub configuration: Value,
}

impl Mesh {
    /// Asked about the pods of one namespace.
    pub async fn start(namespace: &str, address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![address.to_string()]).unwrap().self_signed(&key).unwrap();
        let private = pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let Ok(connection) = acceptor.accept(connection).await else { continue };
                tokio::spawn(async move {
                    let served = hyper::server::conn::http1::Builder::new();
                    let _ = served.serve_connection(TokioIo::new(connection), service_fn(answer)).await;
                });
            }
        });
        // The names say the order: this one comes after the operator's.
        let mut configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": format!("z-{}", host::run()) },
            "webhooks": [{
                "name": "mesh.example.org",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {
                    "url": url,
                    "caBundle": BASE64_STANDARD.encode(certificate.pem()),
                },
                "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }],
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
                "sideEffects": "None",
            }],
        });
        host::label(&mut configuration);
        Self { task: task.abort_handle(), configuration }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let proxy = json!({ "name": "istio-proxy", "image": "example/proxy", "restartPolicy": "Always" });
    let patch = match review["request"]["object"]["spec"]["initContainers"].is_array() {
        true => json!([{ "op": "add", "path": "/spec/initContainers/-", "value": proxy }]),
        false => json!([{ "op": "add", "path": "/spec/initContainers", "value": [proxy] }]),
    };
    let response = json!({
        "uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch",
        "patch": BASE64_STANDARD.encode(patch.to_string()),
    });
    let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    Ok(Response::new(Full::from(review.to_string())))
}
