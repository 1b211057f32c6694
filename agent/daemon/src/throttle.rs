//! Limits of the line: an object store whose contents flow no faster than allowed, each direction by itself.
//!
//! Requests without content are not held up. A dropped call gives nothing back: the line errs on the slow side.

use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gosync_engine::ports::store::{
    Condition, Deleted, GetRequest, Head, ListPage, ListRequest, ObjectBody, ObjectHeaders, ObjectVersion,
    PendingUpload, PutRequest, Written,
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
        Some(Self { limiter: RateLimiter::direct(quota(burst)), burst })
    }

    async fn pass(&self, bytes: usize) {
        for piece in pieces(bytes, self.burst) {
            // Never more than fits at once, which is the only error.
            let _ = self.limiter.until_n_ready(piece).await;
        }
    }
}

/// What one second allows may pass at once.
fn quota(bytes_per_second: NonZeroU32) -> Quota {
    Quota::per_second(bytes_per_second)
}

/// `bytes` in pieces that fit through at once.
fn pieces(bytes: usize, burst: NonZeroU32) -> impl Iterator<Item = NonZeroU32> {
    let mut left = bytes;
    std::iter::from_fn(move || {
        let piece = NonZeroU32::new(u32::try_from(left).unwrap_or(u32::MAX))?.min(burst);
        left -= usize::try_from(piece.get()).unwrap_or(left);
        Some(piece)
    })
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

    async fn copy_part(
        &self,
        source: &str,
        source_etag: &str,
        range: Range<u64>,
        key: &str,
        upload: &str,
        number: u32,
    ) -> Result<String, StoreError> {
        self.store.copy_part(source, source_etag, range, key, upload, number).await
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

    async fn deleted(&self, prefix: &str) -> Result<Deleted, StoreError> {
        self.store.deleted(prefix).await
    }

    async fn versioning(&self) -> Result<Option<bool>, StoreError> {
        self.store.versioning().await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests may stop at the first surprise")]
    use std::time::Duration;

    use gosync_dev_s3::{DevS3, Options};
    use gosync_s3::{Credentials, S3Config, S3Store};
    use governor::clock::{Clock as _, FakeRelativeClock};

    use super::*;

    #[test]
    fn no_limit_is_no_lane() {
        let line = Line::new(0, 100);
        assert!(line.upload.is_none());
        assert!(line.download.is_some());
    }

    #[test]
    fn beyond_the_first_second_contents_wait_for_as_long_as_their_bytes_take() {
        let rate = NonZeroU32::new(1_000).unwrap();
        let clock = FakeRelativeClock::default();
        let limiter = RateLimiter::direct_with_clock(quota(rate), clock.clone());
        let mut waited = Duration::ZERO;
        for piece in [pieces(2_500, rate), pieces(0, rate), pieces(1_000, rate)].into_iter().flatten() {
            while let Err(until) = limiter.check_n(piece).unwrap() {
                let wait = until.wait_time_from(clock.now());
                clock.advance(wait);
                waited += wait;
            }
        }
        assert_eq!(waited, Duration::from_millis(2_500));
    }

    /// At a byte a second a content of thousands is not through before all else has been done.
    #[tokio::test]
    async fn a_slow_lane_holds_up_contents_of_its_direction_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let options = Options { buckets: vec!["bucket".into()], ..Options::new(temp.path()) };
        let (access_key, secret_key) = (options.access_key.clone(), options.secret_key.clone());
        let server = DevS3::start(options).await.unwrap();
        let config = S3Config {
            endpoint: Some(server.url()),
            credentials: Some(Credentials { access_key, secret_key, session_token: None }),
            force_path_style: true,
            ..S3Config::new("bucket", "us-east-1")
        };
        let store: Arc<dyn ObjectStore> = Arc::new(S3Store::connect(config).await.unwrap());
        let put = |key: &str| PutRequest { key: key.into(), body: vec![1; 5_000].into(), ..PutRequest::default() };
        let read = async |store: &dyn ObjectStore| {
            let request = GetRequest { key: "there".into(), ..GetRequest::default() };
            let mut body = store.get(request).await.unwrap();
            while body.chunk().await.unwrap().is_some() {}
        };
        store.put(put("there")).await.unwrap();

        let slow = Throttled::new(Arc::clone(&store), Arc::new(Line::new(1, 0)));
        let upload = slow.create_upload("parts", &ObjectHeaders::default()).await.unwrap();
        tokio::select! {
            _ = slow.put(put("here")) => panic!("sent"),
            _ = slow.upload_part("parts", &upload, 1, vec![1; 5_000].into()) => panic!("sent"),
            () = read(&slow) => {}
        }
        assert!(slow.head("here").await.unwrap().is_none() && slow.head("there").await.unwrap().is_some());

        let slow = Throttled::new(store, Arc::new(Line::new(0, 1)));
        tokio::select! {
            () = read(&slow) => panic!("read"),
            put = slow.put(put("here")) => drop(put.unwrap()),
        }
        assert_eq!(slow.list(ListRequest::default()).await.unwrap().objects.len(), 2);
        server.shutdown().await;
    }
}
