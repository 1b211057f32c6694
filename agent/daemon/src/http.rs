//! What the agent serves on a port: metrics, probes, `/v1/state`. Read-only and open to whoever reaches the port: no path,
//! key or address is told.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use gosync_api::messages::{Probe, StateV1};
use gosync_telemetry::CONTENT_TYPE as METRICS_TYPE;
use tokio::net::TcpListener;

use crate::agent::Agent;

type Shared = State<Arc<Agent>>;

/// Answers until the future is dropped.
pub async fn serve(listener: TcpListener, agent: Arc<Agent>) -> io::Result<()> {
    axum::serve(listener, router(agent)).await
}

fn router(agent: Arc<Agent>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async |State(agent): Shared| probe(&agent, Probe::Live).await))
        .route("/startupz", get(async |State(agent): Shared| probe(&agent, Probe::Startup).await))
        .route("/readyz", get(async |State(agent): Shared| probe(&agent, Probe::Ready).await))
        .route("/v1/state", get(async |State(agent): Shared| Json(StateV1::from(&agent.state().await))))
        .with_state(agent)
}

async fn metrics(State(agent): Shared) -> impl IntoResponse {
    ([(CONTENT_TYPE, METRICS_TYPE)], agent.metrics_text().await)
}

async fn probe(agent: &Agent, probe: Probe) -> Response {
    let result = agent.probe(probe).await;
    let status = if result.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(result)).into_response()
}
