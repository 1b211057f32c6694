//! The admission webhook: an API server asks about each pod that it is about to make, and gets the patch of `inject`.
//!
//! It makes no call in its path: what is known of mirrors and namespaces is at hand. It has no side effects, so that dry runs
//! get the same answer. A question that it can't read gets an error, which the API server passes over.

mod certificates;
mod review;
mod serve;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use gosync_crds::SyncMirror;
use gosync_telemetry::{CONTENT_TYPE as METRICS_TYPE, OperatorMetrics};
use serde_json::Value;

pub use certificates::{CertificateError, Certificates};
pub use review::{Answer, BadReview, answer};
pub use serve::serve;

/// Largest question that is read, in bytes: more than the largest object of an API server with its old version.
const BODY_BYTES_MAX: usize = 8 << 20;

/// What is known without asking anybody.
pub trait Known: Send + Sync {
    /// The mirrors of a namespace.
    fn mirrors(&self, namespace: &str) -> Vec<SyncMirror>;
    /// The namespace enforces the Pod Security Standard `restricted`.
    fn restricted(&self, namespace: &str) -> bool;
}

/// What the webhook works with.
pub struct Webhook {
    /// What is known.
    pub known: Box<dyn Known>,
    /// The agent's image.
    pub image: String,
    /// What is counted.
    pub metrics: OperatorMetrics,
    /// What is served.
    pub certificates: Arc<Certificates>,
}

/// The webhook's paths: `/mutate` for API servers, `/readyz` and `/livez` for the kubelet, `/metrics`.
pub fn router(webhook: Arc<Webhook>) -> Router {
    Router::new()
        .route("/mutate", post(mutate))
        .route("/livez", get(async || StatusCode::OK))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(webhook)
}

async fn mutate(State(webhook): State<Arc<Webhook>>, Json(review): Json<Value>) -> Response {
    let started = Instant::now();
    match answer(&review, webhook.known.as_ref(), &webhook.image) {
        Ok(answer) => {
            webhook.metrics.injection(answer.result, answer.reason, started.elapsed());
            tracing::info!(
                namespace = review["request"]["namespace"].as_str().unwrap_or_default(),
                pod = answer.pod,
                result = answer.result,
                reason = answer.reason,
                "asked about a pod"
            );
            Json(answer.review).into_response()
        }
        Err(error) => {
            webhook.metrics.injection("error", "BadReview", started.elapsed());
            tracing::warn!("a question that can't be read: {error}");
            (StatusCode::BAD_REQUEST, error.to_string()).into_response()
        }
    }
}

async fn ready(State(webhook): State<Arc<Webhook>>) -> StatusCode {
    if webhook.certificates.are_there() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn metrics(State(webhook): State<Arc<Webhook>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, METRICS_TYPE)], webhook.metrics.render())
}
