//! Time, randomness and threads, by tokio and the system's random numbers.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, FutureExt as _};
use gosync_engine::ports::{Clock, Ids, Workers};
use gosync_plan::Nonce;
use jiff::Timestamp;
use tokio::time::Instant;

pub struct TokioClock {
    started: Instant,
}

impl TokioClock {
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn utc_ns(&self) -> i64 {
        i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
    }

    async fn sleep_ms(&self, milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

/// Milliseconds since 1970, for what people read.
pub fn utc_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

pub struct RandomIds;

impl Ids for RandomIds {
    fn nonce(&self) -> Nonce {
        Nonce(rand::random())
    }
}

/// The runtime's threads for calls that block.
pub struct Blocking;

impl Workers for Blocking {
    fn run(&self, job: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let running = tokio::task::spawn_blocking(job);
        // A job that panicked, or never began because the runtime goes down, sends no answer: the caller sees that.
        async move { drop(running.await) }.boxed()
    }
}
