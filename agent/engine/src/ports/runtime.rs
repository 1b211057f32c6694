//! Time, randomness and threads, as the engine is given them.

use async_trait::async_trait;
use futures_channel::oneshot;
use futures_util::future::BoxFuture;
use gosync_plan::Nonce;

#[async_trait]
pub trait Clock: Send + Sync {
    /// Milliseconds since an arbitrary start; never goes back. For waiting and for rates.
    fn monotonic_ms(&self) -> u64;
    /// Nanoseconds since 1970 of this host. For names, notes and file times; decides nothing between hosts.
    fn utc_ns(&self) -> i64;
    async fn sleep_ms(&self, milliseconds: u64);
}

pub trait Ids: Send + Sync {
    /// Random, never twice the same.
    fn nonce(&self) -> Nonce;
}

/// Where blocking calls run.
pub trait Workers: Send + Sync {
    /// Runs `job` on a thread that may block; the future ends with it. A job that was begun runs to its end even when
    /// the future is dropped.
    fn run(&self, job: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;
}

/// [`Workers::run`] with a result; `None` when the job never ran to its end (the process is going down).
pub async fn blocking<T: Send + 'static>(workers: &dyn Workers, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    workers
        .run(Box::new(move || {
            let _ = sender.send(job());
        }))
        .await;
    receiver.await.ok()
}
