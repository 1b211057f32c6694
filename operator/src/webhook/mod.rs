//! The admission webhook: an API server asks about each pod that it is about to make, and gets the patch of `inject`.
//!
//! It makes no call in its path: what is known of mirrors and namespaces is at hand. It has no side effects, so that dry runs
//! get the same answer. A question that it can't read gets an error, which the API server passes over.

mod certificates;
pub mod configuration;
mod review;
mod serve;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use gosync_crds::SyncMirror;
use gosync_telemetry::OperatorMetrics;
use serde_json::Value;

pub use certificates::{CertificateError, Certificates};
pub use review::{Answer, BadReview, answer};
pub use serve::serve;

use crate::inject::Settings;

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
    /// When it is pulled. Absent: as Kubernetes decides.
    pub image_pull_policy: Option<String>,
    /// What is counted.
    pub metrics: Arc<OperatorMetrics>,
}

/// The webhook's one path.
pub fn router(webhook: Arc<Webhook>) -> Router {
    Router::new()
        .route(configuration::PATH, post(mutate))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(webhook)
}

async fn mutate(State(webhook): State<Arc<Webhook>>, Json(review): Json<Value>) -> Response {
    let started = Instant::now();
    let settings = Settings {
        image: webhook.image.clone(),
        image_pull_policy: webhook.image_pull_policy.clone(),
        restricted_namespace: false,
    };
    match answer(&review, webhook.known.as_ref(), settings) {
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
