//! How one request runs: as a task of its own, within a time limit, seen by the observer.

use std::future::Future;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use gosync_engine::ports::store::{StoreError, StoreErrorKind};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::error::from_sdk;
use crate::store::S3Store;

/// Told of every request that came to an end. Telling must not wait.
pub trait RequestObserver: Send + Sync {
    fn request(&self, seen: &RequestSeen);
}

/// A request that came to an end. One that was dropped before is not told of, but for a content read in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSeen {
    /// As S3 calls it: `PutObject`.
    pub operation: &'static str,
    pub outcome: Result<(), StoreErrorKind>,
    /// To the end of the reply, its content included.
    pub duration: Duration,
    /// Content alone, no headers.
    pub sent_bytes: u64,
    /// Content alone, no headers.
    pub received_bytes: u64,
}

/// A request about to be sent.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub operation: &'static str,
    pub key: &'a str,
    pub sent_bytes: u64,
    pub limit: Duration,
}

impl S3Store {
    pub(crate) fn call<'a>(&self, operation: &'static str, key: &'a str) -> Call<'a> {
        Call { operation, key, sent_bytes: 0, limit: self.timeouts.reply }
    }

    /// A request that makes the store work.
    pub(crate) fn long_call<'a>(&self, operation: &'static str, key: &'a str) -> Call<'a> {
        Call { limit: self.timeouts.long_reply, ..self.call(operation, key) }
    }

    pub(crate) fn sending_call<'a>(&self, operation: &'static str, key: &'a str, sent_bytes: u64) -> Call<'a> {
        let sending = Duration::from_secs(sent_bytes / self.timeouts.upload_bytes_per_second_min.max(1));
        Call { sent_bytes, limit: self.timeouts.reply + sending, ..self.call(operation, key) }
    }

    pub(crate) async fn run<T, E, F>(&self, call: Call<'_>, request: F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'static,
        T: Send + 'static,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let started = Instant::now();
        let result = self.start(call, request).await;
        self.tell(&RequestSeen {
            operation: call.operation,
            outcome: result.as_ref().map(|_| ()).map_err(|error| error.kind),
            duration: started.elapsed(),
            sent_bytes: call.sent_bytes,
            received_bytes: 0,
        });
        result
    }

    /// Like `run`, but whoever reads the content tells the observer.
    pub(crate) async fn start<T, E, F>(&self, call: Call<'_>, request: F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'static,
        T: Send + 'static,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let task = AbortOnDropHandle::new(tokio::spawn(tokio::time::timeout(call.limit, request)));
        let failed = |text: String| StoreError::new(StoreErrorKind::Transport, call.operation, call.key, text);
        match task.await {
            Ok(Ok(Ok(output))) => Ok(output),
            Ok(Ok(Err(error))) => Err(from_sdk(call.operation, call.key, error)),
            Ok(Err(_)) => Err(failed(format!("no reply within {} s", call.limit.as_secs()))),
            Err(error) => Err(StoreError { source: Some(Box::new(error)), ..failed("the request ended early".into()) }),
        }
    }

    pub(crate) fn tell(&self, seen: &RequestSeen) {
        if let Some(observer) = &self.observer {
            observer.request(seen);
        }
    }
}
