//! What one replica remembers for itself: ancestor, journal, uploads, halts, notes. Always on the replica's own machine.
//!
//! One `apply` is one transaction: all of it is durable when the call returns, or none of it is there. Calls that come
//! together may share a commit. A dropped future may or may not have been applied.

use std::fmt;

use async_trait::async_trait;
use gosync_plan::decide::ExpectRemote;
use gosync_plan::{Ancestor, ContentHash, Digests, Fingerprint, Generation, HaltReason, Nonce, RelPath};
use serde::{Deserialize, Serialize};

#[async_trait]
pub trait ReplicaState: Send + Sync {
    /// The ancestor of each path, in their order.
    async fn ancestors(&self, paths: &[RelPath]) -> Result<Vec<Option<Ancestor>>, StateError>;
    /// A page in byte order of the path, after `after`, at most `limit` rows.
    async fn ancestors_after(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Ancestor)>, StateError>;
    /// The same, but only paths below `folder`.
    async fn ancestors_below(
        &self,
        folder: &RelPath,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Ancestor)>, StateError>;
    /// A row whose object has this ETag and size, if there is one.
    async fn ancestor_of_object(&self, etag: &str, size: u64) -> Result<Option<(RelPath, Ancestor)>, StateError>;
    /// A row whose file has this content, if there is one; of files over 5 MiB, the smallest part, alone.
    async fn ancestor_of_large_content(
        &self,
        content: ContentHash,
        size: u64,
    ) -> Result<Option<(RelPath, Ancestor)>, StateError>;
    /// Rows marked `open`.
    async fn open_ancestors(&self) -> Result<Vec<RelPath>, StateError>;
    /// (rows, sum of sizes in bytes)
    async fn ancestor_totals(&self) -> Result<(u64, u64), StateError>;
    async fn journal(&self) -> Result<Vec<JournalEntry>, StateError>;
    async fn uploads(&self) -> Result<Vec<UploadRow>, StateError>;
    async fn halts(&self) -> Result<Vec<HaltRow>, StateError>;
    /// Small values by name (cursor, probe results, delete window, pause).
    async fn note(&self, name: &str) -> Result<Option<String>, StateError>;
    async fn apply(&self, changes: Vec<StateChange>) -> Result<(), StateError>;
}

#[derive(Clone, Debug, PartialEq)]
pub enum StateChange {
    PutAncestor(RelPath, Ancestor),
    DropAncestor(RelPath),
    DropAllAncestors,
    /// Written before the act it names. Also replaces an entry of the same id.
    Begin(JournalEntry),
    End(Nonce),
    PutUpload(UploadRow),
    DropUpload(String),
    PutHalt(HaltRow),
    DropHalt(String),
    PutNote(String, String),
    DropNote(String),
}

/// An act that was begun and whose end is not yet known to be recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Also the nonce that the object carries.
    pub id: Nonce,
    pub path: RelPath,
    pub kind: JournalKind,
    /// milliseconds since 1970 of this host
    pub began_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum JournalKind {
    /// An object is being written.
    Upload { expect: ExpectRemoteRow, digests: Digests, local: Fingerprint, open: bool },
    /// An object is being deleted.
    DeleteObject { remote: Generation },
    /// A verified content is about to be put in place; what it replaces goes to `.gosync/displaced/<id>`.
    /// `recorded`: the ancestor tells of it; what stands at the path since then is whatever it is.
    Install {
        new: ContentHash,
        remote: Generation,
        replaces: Option<Displaced>,
        #[serde(default)]
        recorded: bool,
    },
    /// A file is about to be moved to `to` (below `.gosync/trash`).
    Trash { to: String, expects: Displaced, remote: Option<Generation> },
}

/// A content that was taken out of its place and is watched until nobody can write to it any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Displaced {
    pub fingerprint: Fingerprint,
    /// `None`: never read; then whatever is found there is kept.
    pub content: Option<ContentHash>,
    /// Nothing else keeps it: the trash does, when it is at rest.
    #[serde(default)]
    pub to_trash: bool,
}

/// [`ExpectRemote`] as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpectRemoteRow {
    Absent,
    Object(Generation),
}

impl From<&ExpectRemote> for ExpectRemoteRow {
    fn from(expect: &ExpectRemote) -> Self {
        match expect {
            ExpectRemote::Absent => Self::Absent,
            ExpectRemote::Object(generation) => Self::Object(generation.clone()),
        }
    }
}

/// A multipart upload of ours, to be resumed or aborted after a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UploadRow {
    pub upload: String,
    pub key: String,
    pub path: RelPath,
    pub operation: Nonce,
    pub local: Fingerprint,
    pub digests: Digests,
    pub part_bytes: u64,
    pub began_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HaltRow {
    /// Short, for `approve` and `deny`.
    pub id: String,
    pub reason: HaltReason,
    pub message: String,
    /// What is at stake, files.
    pub count: u64,
    pub since_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateErrorKind {
    /// Disk full, locked, I/O: try again later.
    Unavailable,
    /// The file is damaged or from a newer version.
    Corrupt,
    Newer,
    Killed,
}

#[derive(Debug)]
pub struct StateError {
    pub kind: StateErrorKind,
    pub what: String,
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.what, self.kind)
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
