//! A cache that agents share, so that what one has read need not be read again by the others, and hints about the feed.
//!
//! It is never the truth. Entries may be lost, old, cut, of the wrong kind or forged, and hints lost, repeated or forged:
//! only speed depends on them (P8). What is in an entry and which one is believed is the business of
//! [`StoreCache`](super::StoreCache); nobody else reads entries.
//!
//! No call waits long or fails a caller's work: what can't be had is a miss, what can't be kept is not kept. A call that is
//! repeated, cancelled or killed leaves entries written or not, and either is right.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

#[async_trait]
pub trait Cache: Send + Sync {
    fn limits(&self) -> CacheLimits;

    /// One answer per key, in their order; `None` is a miss. An entry that is longer than asked for is one too, and is not
    /// brought into memory.
    async fn get(&self, wanted: &[Wanted]) -> Vec<Option<Bytes>>;
    /// The error: some of them may be kept, others not.
    async fn set(&self, entries: Vec<NewEntry>) -> Result<(), CacheError>;
    /// Keys that aren't there count as deleted. The error: some may be there still.
    async fn delete(&self, keys: &[String]) -> Result<(), CacheError>;

    /// Drops every entry under this cache's own prefix, and no other. Returns how many.
    async fn flush(&self) -> Result<u64, CacheError>;
    /// Looked up now.
    async fn stats(&self) -> Result<CacheStats, CacheError>;
    /// As it was last seen: nothing is asked.
    fn standing(&self) -> CacheStanding;
    /// How many entries the reader believed, and how many it had to do without. For the statistics.
    fn count(&self, hits: u64, misses: u64);

    /// Tells who listens on the channel that the feed may have come this far. Does not wait; several in a row may become
    /// one, the newest.
    fn publish(&self, channel: &str, head: u64);
    /// What others published; the newest alone where the reader is slow. 0 when listening has begun, and again after a gap:
    /// something may have been missed, so it is time to look.
    fn heads(&self, channel: &str) -> BoxStream<'static, u64>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// How long an entry lives.
    pub ttl_ms: u64,
    /// Largest content of a file.
    pub content_bytes_max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub key: String,
    /// Longer ones are none.
    pub bytes_max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    pub key: String,
    pub value: Bytes,
    /// More than 0.
    pub ttl_ms: u64,
    /// What is there stays.
    pub only_if_absent: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Since the start of this process.
    pub hits: u64,
    pub misses: u64,
    /// Under this cache's own prefix.
    pub keys: u64,
    /// There are more: too many to count.
    pub keys_more: bool,
    /// Of the whole server, bytes. `None`: it doesn't tell.
    pub memory_used_bytes: Option<u64>,
    /// `None`: without a limit, or not told.
    pub memory_allowed_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheStanding {
    /// False: every read is a miss at once, until it is back.
    pub up: bool,
    /// Milliseconds since 1970: since when it is up or down.
    pub since_ms: i64,
    /// Why it is down, or what it refuses.
    pub trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheErrorKind {
    /// No answer, or none in time.
    Unavailable,
    /// It answered no: out of memory, not allowed.
    Refused,
    /// Larger than what is kept of a kind.
    TooLarge,
}

#[derive(Debug)]
pub struct CacheError {
    pub kind: CacheErrorKind,
    pub what: String,
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.what, self.kind)
    }
}

impl std::error::Error for CacheError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
