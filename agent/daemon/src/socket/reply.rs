//! What requests and replies look like: JSON both ways, errors as `{"error":{...}}`.

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use gosync_api::messages::{ErrorBody, ErrorCode};
use serde::de::DeserializeOwned;

/// An error on its way out.
pub struct Refusal(pub ErrorBody);

pub type Reply<T> = Result<Json<T>, Refusal>;

impl From<ErrorBody> for Refusal {
    fn from(error: ErrorBody) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

/// The body of a request; an empty one stands for `{}`.
pub fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let text: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(text).map_err(|error| {
        Refusal(ErrorBody::new(
            ErrorCode::BadRequest,
            format!("the request's body is not understood: {error}"),
            "send the JSON that this command wants",
        ))
    })
}

pub async fn no_such_route(request: Request) -> Refusal {
    let message = format!("there is no {} here", request.uri().path());
    Refusal(ErrorBody::new(ErrorCode::NotFound, message, "update the agent, if the command is of a newer release"))
}

pub async fn no_such_method(request: Request) -> Refusal {
    let message = format!("{} is not for {}", request.uri().path(), request.method());
    Refusal(ErrorBody::new(ErrorCode::BadRequest, message, "what only reads is GET, the rest is POST"))
}
