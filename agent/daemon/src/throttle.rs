//! Limits of the line: an object store whose contents flow no faster than allowed, each direction by itself.
//!
//! Requests without content are not held up. A dropped call gives nothing back: the line errs on the slow side.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gosync_engine::ports::store::{
    Condition, GetRequest, Head, ListPage, ListRequest, ObjectBody, ObjectHeaders, ObjectVersion, PendingUpload,
    PutRequest, Written,
};
use gosync_engine::ports::{ObjectStore, StoreError};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// A line that mirrors share.
pub struct Line {
    upload: Option<Lane>,
    download: Option<Lane>,
}

struct Lane {
    limiter: DefaultDirectRateLimiter,
    /// What may pass at once, bytes.
    burst: NonZeroU32,
}

impl Line {
    /// Bytes per second; 0 is no limit.
    pub fn new(upload: u64, download: u64) -> Self {
        Self { upload: Lane::new(upload), download: Lane::new(download) }
    }
}

impl Lane {
    fn new(bytes_per_second: u64) -> Option<Self> {
        // Beyond 4 GiB a second there is nothing to limit.
        let burst = NonZeroU32::new(u32::try_from(bytes_per_second).unwrap_or(u32::MAX))?;
        Some(Self { limiter: RateLimiter::direct(Quota::per_second(burst)), burst })
    }

    async fn pass(&self, bytes: usize) {
        let mut left = bytes;
        while let Some(more) = NonZeroU32::new(u32::try_from(left).unwrap_or(u32::MAX)) {
            let now = more.min(self.burst);
            // Never more than fits at once, which is the only error.
            let _ = self.limiter.until_n_ready(now).await;
            left -= usize::try_from(now.get()).unwrap_or(left);
        }
    }
}

async fn pass(lane: Option<&Lane>, bytes: usize) {
    if let Some(lane) = lane {
        lane.pass(bytes).await;
    }
}

pub struct Throttled {
    store: Arc<dyn ObjectStore>,
    line: Arc<Line>,
}

impl Throttled {
    pub fn new(store: Arc<dyn ObjectStore>, line: Arc<Line>) -> Self {
        Self { store, line }
    }
}

struct ThrottledBody {
    body: Box<dyn ObjectBody>,
    line: Arc<Line>,
}

#[async_trait]
impl ObjectBody for ThrottledBody {
    fn head(&self) -> &Head {
        self.body.head()
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        let chunk = self.body.chunk().await?;
        pass(self.line.download.as_ref(), chunk.as_ref().map_or(0, Bytes::len)).await;
        Ok(chunk)
    }
}

#[async_trait]
impl ObjectStore for Throttled {
    async fn list(&self, request: ListRequest) -> Result<ListPage, StoreError> {
        self.store.list(request).await
    }

    async fn head(&self, key: &str) -> Result<Option<Head>, StoreError> {
        self.store.head(key).await
    }

    async fn get(&self, request: GetRequest) -> Result<Box<dyn ObjectBody>, StoreError> {
        let body = self.store.get(request).await?;
        Ok(Box::new(ThrottledBody { body, line: Arc::clone(&self.line) }))
    }

    async fn put(&self, request: PutRequest) -> Result<Written, StoreError> {
        pass(self.line.upload.as_ref(), request.body.len()).await;
        self.store.put(request).await
    }

    async fn create_upload(&self, key: &str, headers: &ObjectHeaders) -> Result<String, StoreError> {
        self.store.create_upload(key, headers).await
    }

    async fn upload_part(&self, key: &str, upload: &str, number: u32, body: Bytes) -> Result<String, StoreError> {
        pass(self.line.upload.as_ref(), body.len()).await;
        self.store.upload_part(key, upload, number, body).await
    }

    async fn complete_upload(
        &self,
        key: &str,
        upload: &str,
        parts: &[(u32, String)],
        condition: &Condition,
    ) -> Result<Written, StoreError> {
        self.store.complete_upload(key, upload, parts, condition).await
    }

    async fn abort_upload(&self, key: &str, upload: &str) -> Result<(), StoreError> {
        self.store.abort_upload(key, upload).await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<PendingUpload>, StoreError> {
        self.store.list_uploads(prefix).await
    }

    async fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<(u32, String, u64)>, StoreError> {
        self.store.list_parts(key, upload).await
    }

    async fn copy(
        &self,
        source: &str,
        source_etag: Option<&str>,
        target: &str,
        condition: &Condition,
    ) -> Result<Written, StoreError> {
        self.store.copy(source, source_etag, target, condition).await
    }

    async fn delete(&self, key: &str, condition: &Condition) -> Result<(), StoreError> {
        self.store.delete(key, condition).await
    }

    async fn delete_many(&self, keys: &[(String, Condition)]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        self.store.delete_many(keys).await
    }

    async fn versions(&self, key: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        self.store.versions(key).await
    }

    async fn versioning(&self) -> Result<Option<bool>, StoreError> {
        self.store.versioning().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_no_lane() {
        let line = Line::new(0, 100);
        assert!(line.upload.is_none());
        assert!(line.download.is_some());
    }

    #[tokio::test]
    async fn what_is_larger_than_a_second_passes_in_pieces() {
        let Some(lane) = Lane::new(1 << 30) else { return };
        // Both the first burst and what follows it come to an end.
        lane.pass((1 << 30) + 1).await;
        assert!(lane.limiter.check_n(lane.burst).is_ok_and(|fits| fits.is_err()), "the burst is used up");
    }
}
