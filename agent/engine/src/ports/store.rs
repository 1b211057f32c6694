//! The object store: one bucket, conditional requests, nothing else.
//!
//! Keys are whole keys (prefix included). Every call is one request (`list` one page): no call retries an effect by
//! itself, because after an unknown outcome only a look at the key tells what happened (R8). Errors say whether the
//! effect may have happened. A dropped future may leave its effect done or not: the same as an unknown outcome.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use gosync_plan::facts::ObjectFacts;
use gosync_plan::{ContentHash, Generation, Nonce};

#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// One page of the keys below `prefix`, in ascending byte order. Keys arrive decoded.
    async fn list(&self, request: ListRequest) -> Result<ListPage, StoreError>;
    /// `None`: the store answered that there is no such key.
    async fn head(&self, key: &str) -> Result<Option<Head>, StoreError>;
    /// The object, or a range of it. `NotFound` and `PreconditionFailed` are errors here.
    async fn get(&self, request: GetRequest) -> Result<Box<dyn ObjectBody>, StoreError>;
    async fn put(&self, request: PutRequest) -> Result<Written, StoreError>;

    async fn create_upload(&self, key: &str, headers: &ObjectHeaders) -> Result<String, StoreError>;
    /// Part numbers start at 1. Returns the part's ETag.
    async fn upload_part(&self, key: &str, upload: &str, number: u32, body: Bytes) -> Result<String, StoreError>;
    /// A part that is a range of another object, unless that has another ETag. Returns the part's ETag.
    async fn copy_part(
        &self,
        source: &str,
        source_etag: &str,
        range: Range<u64>,
        key: &str,
        upload: &str,
        number: u32,
    ) -> Result<String, StoreError>;
    async fn complete_upload(
        &self,
        key: &str,
        upload: &str,
        parts: &[(u32, String)],
        condition: &Condition,
    ) -> Result<Written, StoreError>;
    async fn abort_upload(&self, key: &str, upload: &str) -> Result<(), StoreError>;
    /// Unfinished multipart uploads below `prefix`, all pages.
    async fn list_uploads(&self, prefix: &str) -> Result<Vec<PendingUpload>, StoreError>;
    /// The parts that the store holds of an upload: (number, ETag, bytes), in order. `NoSuchUpload` when it is gone.
    async fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<(u32, String, u64)>, StoreError>;

    /// Copies within the bucket, metadata included. `source_condition` is on the source, `condition` on the target.
    async fn copy(
        &self,
        source: &str,
        source_etag: Option<&str>,
        target: &str,
        condition: &Condition,
    ) -> Result<Written, StoreError>;
    /// Deleting what isn't there succeeds unless a condition says otherwise.
    async fn delete(&self, key: &str, condition: &Condition) -> Result<(), StoreError>;
    /// At most 1,000 keys; one result each, in their order. The outer error: nothing is known of any.
    async fn delete_many(&self, keys: &[(String, Condition)]) -> Result<Vec<Result<(), StoreError>>, StoreError>;
    /// Versions and delete markers of exactly this key, newest first; empty where the bucket keeps none.
    async fn versions(&self, key: &str) -> Result<Vec<ObjectVersion>, StoreError>;
    /// Keys below `prefix` whose latest version is a delete marker, in key order, with what they held before. It looks at
    /// a bounded number of versions, all pages.
    async fn deleted(&self, prefix: &str) -> Result<Deleted, StoreError>;
    /// `None`: never enabled or not known to the store.
    async fn versioning(&self) -> Result<Option<bool>, StoreError>;
}

/// The bytes of an object, in order.
#[async_trait]
pub trait ObjectBody: Send {
    fn head(&self) -> &Head;
    /// `None` at the end. An end before the announced length is an error, never a short content.
    async fn chunk(&mut self) -> Result<Option<Bytes>, StoreError>;
}

/// What must hold at the key for the request to take effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    #[default]
    None,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match`, an ETag without quotes
    Etag(String),
}

#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    pub prefix: String,
    /// Only keys after this one. Ignored when `token` is set.
    pub start_after: Option<String>,
    /// From the page before.
    pub token: Option<String>,
    /// 1 to 1,000; 0: the store's own page size.
    pub page_keys_max: u32,
}

#[derive(Clone, Debug, Default)]
pub struct ListPage {
    pub objects: Vec<Listed>,
    /// `Some`: there are more pages.
    pub next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub generation: Generation,
    /// Storage class where it says that the content can't be read without a restore (GLACIER, DEEP_ARCHIVE).
    pub archived: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub generation: Generation,
    pub facts: ObjectFacts,
    pub archived: bool,
}

#[derive(Clone, Debug, Default)]
pub struct GetRequest {
    pub key: String,
    /// `If-Match`
    pub etag: Option<String>,
    pub version_id: Option<String>,
    /// bytes; never empty
    pub range: Option<Range<u64>>,
}

#[derive(Clone, Debug, Default)]
pub struct PutRequest {
    pub key: String,
    pub body: Bytes,
    pub headers: ObjectHeaders,
    pub condition: Condition,
}

/// What an object carries beside its bytes. The adapter spells them (`x-amz-meta-mtime`, `-mode`, `-gosync-blake3`,
/// `-gosync-op`, `-gosync-open`) and adds Content-Type by the key's extension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectHeaders {
    /// nanoseconds since 1970
    pub mtime_ns: Option<i64>,
    /// `st_mode` with the file type
    pub mode: Option<u32>,
    pub blake3: Option<ContentHash>,
    pub nonce: Option<Nonce>,
    pub open: bool,
}

/// What the store said of what it has just written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// `last_modified` is `None`: replies to writes don't tell it.
    pub generation: Generation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingUpload {
    pub key: String,
    pub upload: String,
    /// seconds since 1970, the store's clock
    pub initiated_seconds: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    pub version_id: String,
    pub is_latest: bool,
    /// `None`: a delete marker.
    pub generation: Option<Generation>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    pub objects: Vec<DeletedObject>,
    /// There are further versions that were not looked at.
    pub more: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedObject {
    pub key: String,
    /// The newest content.
    pub version_id: String,
    pub bytes: u64,
    /// seconds since 1970, the store's clock
    pub deleted_seconds: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    NotFound,
    NoSuchBucket,
    NoSuchUpload,
    /// 412
    PreconditionFailed,
    /// 409: another write was under way; look again.
    Conflict,
    /// 403 to a signed request: not allowed.
    Denied,
    /// Wrong key id, wrong secret, expired token.
    Credentials,
    /// The object can't be read as it is (archived, SSE-C).
    Unreadable,
    /// 503, 429: come back later.
    Throttled,
    /// 5xx.
    Unavailable,
    /// No connection, time-out, cut reply: whether an effect happened is not known.
    Transport,
    /// 4xx: the request is wrong; it will not get better by itself.
    Invalid,
    /// The store has no such feature (501).
    NotImplemented,
    /// What arrived is not what was announced (length, checksum, order).
    Corrupt,
    /// The simulator ended this process.
    Killed,
}

/// A failed request: kind to act on, operation and key to read, cause behind.
#[derive(Debug)]
pub struct StoreError {
    pub kind: StoreErrorKind,
    pub operation: &'static str,
    pub key: String,
    /// The store's own code and message where it gave one.
    pub message: String,
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    #[must_use]
    pub fn new(
        kind: StoreErrorKind,
        operation: &'static str,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, operation, key: key.into(), message: message.into(), source: None }
    }

    /// The request may have had its effect although it failed.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Transport
                | StoreErrorKind::Unavailable
                | StoreErrorKind::Throttled
                | StoreErrorKind::Corrupt
                | StoreErrorKind::NoSuchUpload
        )
    }

    /// It may get better by itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Transport
                | StoreErrorKind::Unavailable
                | StoreErrorKind::Throttled
                | StoreErrorKind::Conflict
                | StoreErrorKind::Corrupt
        )
    }

    /// It concerns the whole store, not this key.
    #[must_use]
    pub fn is_of_the_store(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Transport
                | StoreErrorKind::Unavailable
                | StoreErrorKind::Throttled
                | StoreErrorKind::Credentials
                | StoreErrorKind::NoSuchBucket
        )
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?} failed: {:?}", self.operation, self.key, self.kind)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, " ({})", self.message) }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
