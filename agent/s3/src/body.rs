//! The content of an object while it arrives. It ends with its announced length or with an error, and a silent store
//! is an error too. The SDK checks a checksum where the store sent one; it says so when the last byte is through, so
//! that only the `None` behind it makes a content whole.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use gosync_engine::ports::store::{Head, ObjectBody, StoreError, StoreErrorKind as Kind};
use tokio::time::{Instant, timeout};

use crate::request::{RequestObserver, RequestSeen};

pub(crate) const GET: &str = "GetObject";

pub(crate) struct Body {
    pub key: String,
    pub head: Head,
    /// `None`: it has ended or failed.
    pub stream: Option<ByteStream>,
    /// bytes still to come
    pub left: u64,
    pub idle: Duration,
    pub progress: Progress,
}

/// Tells the observer when the content was read, given up or dropped.
pub(crate) struct Progress {
    pub observer: Option<Arc<dyn RequestObserver>>,
    pub started: Instant,
    pub received_bytes: u64,
    pub outcome: Result<(), Kind>,
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(observer) = &self.observer {
            observer.request(&RequestSeen {
                operation: GET,
                outcome: self.outcome,
                duration: self.started.elapsed(),
                sent_bytes: 0,
                received_bytes: self.received_bytes,
            });
        }
    }
}

#[async_trait]
impl ObjectBody for Body {
    fn head(&self) -> &Head {
        &self.head
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some(stream) = &mut self.stream else {
            return match self.progress.outcome {
                Ok(()) => Ok(None),
                Err(kind) => Err(StoreError::new(kind, GET, &self.key, "the content has failed before")),
            };
        };
        let failure = match timeout(self.idle, stream.next()).await {
            Ok(Some(Ok(chunk))) if chunk.len() as u64 <= self.left => {
                self.left -= chunk.len() as u64;
                self.progress.received_bytes += chunk.len() as u64;
                return Ok(Some(chunk));
            }
            Ok(Some(Ok(_))) => StoreError::new(Kind::Corrupt, GET, &self.key, "more bytes than announced"),
            Ok(None) if self.left == 0 => {
                self.stream = None;
                return Ok(None);
            }
            Ok(None) => StoreError::new(Kind::Corrupt, GET, &self.key, format!("{} bytes are missing", self.left)),
            // With every byte here, what still can fail is their checksum.
            Ok(Some(Err(error))) => {
                let (kind, text) = if self.left == 0 {
                    (Kind::Corrupt, "wrong checksum")
                } else {
                    (Kind::Transport, "the content was cut")
                };
                StoreError { source: Some(Box::new(error)), ..StoreError::new(kind, GET, &self.key, text) }
            }
            Err(_) => {
                StoreError::new(Kind::Transport, GET, &self.key, format!("no byte within {} s", self.idle.as_secs()))
            }
        };
        self.stream = None;
        self.progress.outcome = Err(failure.kind);
        Err(failure)
    }
}
