//! Metadata that read through the cache, in a process that has a clock and can listen.

use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt as _;
use gosync_engine::ports::cached_metadata::{CachedMetadata, Kept};
use gosync_engine::ports::{Cache, MetadataStore, StoreCache};
use tokio_util::task::AbortOnDropHandle;

/// `inner`, read through `cache`.
#[must_use]
pub fn cached(inner: Arc<dyn MetadataStore>, cache: Arc<dyn Cache>) -> CachedMetadata {
    let began = Instant::now();
    CachedMetadata::new(inner, cache, move || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// The same, which calls `tell` whenever somebody may have changed a store whose row was asked for here: hints, so too
/// often and sometimes not at all.
#[must_use]
pub fn cached_telling(
    inner: Arc<dyn MetadataStore>,
    cache: Arc<dyn Cache>,
    tell: impl Fn() + Send + Sync + 'static,
) -> CachedMetadata {
    let tell = Arc::new(tell);
    let listen = move |cache: &StoreCache| -> Kept {
        let (tell, mut heads) = (Arc::clone(&tell), cache.heads());
        Box::new(AbortOnDropHandle::new(tokio::spawn(async move {
            while heads.next().await.is_some() {
                tell();
            }
        })))
    };
    cached(inner, cache).opening(listen)
}
