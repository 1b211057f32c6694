//! What the kubelet and scrapes ask for, on a port of their own and without TLS: before there is a certificate, too.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use gosync_telemetry::{CONTENT_TYPE as METRICS_TYPE, OperatorMetrics};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::stores::Stores;
use crate::watches::Progress;

/// What probes look at.
pub struct Probes {
    /// Watches.
    pub progress: Arc<Progress>,
    /// Mirrors and namespaces: without them no pod can be judged.
    pub stores: Arc<Stores>,
    /// A certificate is served, and API servers accept it.
    pub trusted: watch::Receiver<bool>,
    /// The end has begun.
    pub ending: watch::Receiver<bool>,
    /// What is counted.
    pub metrics: Arc<OperatorMetrics>,
}

impl Probes {
    /// Why it is not ready, if it isn't.
    fn unready(&self) -> Option<&'static str> {
        match () {
            () if *self.ending.borrow() => Some("ending"),
            () if !self.stores.are_filled() => Some("the SyncMirrors are not known yet"),
            () if !*self.trusted.borrow() => Some("no certificate is served that API servers trust"),
            () => None,
        }
    }
}

/// `/livez`, `/readyz`, `/metrics`.
pub fn router(probes: Arc<Probes>) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(probes)
}

async fn live(State(probes): State<Arc<Probes>>) -> (StatusCode, String) {
    match probes.progress.wedged(Instant::now()) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(name) => (StatusCode::SERVICE_UNAVAILABLE, format!("the watch of {name} is wedged\n")),
    }
}

async fn ready(State(probes): State<Arc<Probes>>) -> (StatusCode, String) {
    match probes.unready() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(probes): State<Arc<Probes>>) -> impl IntoResponse {
    probes.metrics.watches(&probes.progress.times());
    ([(CONTENT_TYPE, METRICS_TYPE)], probes.metrics.render())
}
