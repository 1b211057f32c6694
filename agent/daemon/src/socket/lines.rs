//! Long work, told in JSON lines. The work is a task of its own: it goes on when nobody listens any more.

use std::convert::Infallible;
use std::future::Future;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use gosync_api::messages::{ErrorBody, Line, Progress};
use serde::Serialize;
use tokio::sync::mpsc;

/// Lines that wait for a slow reader; progress beyond that is dropped.
const WAITING_MAX: usize = 64;

/// Where the work tells how far it is.
pub struct Lines(mpsc::Sender<Bytes>);

impl Lines {
    pub fn progress(&self, progress: Progress) {
        let _ = self.0.try_send(line(&Line::<()>::Progress(progress)));
    }

    pub fn note(&self, message: impl Into<String>) {
        let _ = self.0.try_send(line(&Line::<()>::Note { message: message.into() }));
    }
}

/// The response that tells of `work` while it runs, and how it ended.
pub fn tell<T, F>(work: impl FnOnce(Lines) -> F + Send + 'static) -> Response
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<T, ErrorBody>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let lines = Lines(sender.clone());
    tokio::spawn(async move {
        let last = match work(lines).await {
            Ok(result) => line(&Line::Done { result }),
            Err(error) => line(&Line::<()>::Error { error: error.error }),
        };
        let _ = sender.send(last).await;
    });
    let body = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|line| (Ok::<_, Infallible>(line), receiver))
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response()
}

fn line<T: Serialize>(line: &Line<T>) -> Bytes {
    // These are our own types: they have no map with odd keys, which is the one error.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}
