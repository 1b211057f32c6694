//! The metadata of a store that agents share: files, feed, states of replicas, configurations, leases.
//!
//! One sequence per store (endpoint and bucket): the order of commits is the order of sequence numbers (R17). It tells
//! what happened; it is never a reason to delete anything.

use std::collections::BTreeMap;

use async_trait::async_trait;
use gosync_plan::{ContentHash, Generation};
use serde::{Deserialize, Serialize};

use super::state::StateError;

/// So long after a lease ran out its row is kept: whoever held it then doesn't take a new one for it.
pub const LEASES_KEPT_MS: u64 = 24 * 3_600_000;

#[async_trait]
pub trait MetadataStore: Send + Sync {
    /// The store's row, made at first sight. Its number is worth nothing in tables that were made anew: to be asked for
    /// again when a cursor is lost.
    async fn store(&self, endpoint: &str, bucket: &str) -> Result<StoreRow, StateError>;
    /// The store's row, where there is one: nothing is written.
    async fn known_store(&self, endpoint: &str, bucket: &str) -> Result<Option<StoreRow>, StateError>;
    /// These tables tell another history than the one that was read under this epoch (a restored backup, a failover): they
    /// get another epoch, which everybody notices, and no prefix counts as listed in it. Nothing where somebody was first.
    async fn renew_epoch(&self, store: i64, epoch: &str) -> Result<(), StateError>;

    async fn file_by_id(&self, id: i64) -> Result<Option<FileRow>, StateError>;
    async fn file_by_key(&self, store: i64, key: &str) -> Result<Option<FileRow>, StateError>;
    /// The rows of these keys, in the order in which they are asked for.
    async fn files_by_key(&self, store: i64, keys: &[String]) -> Result<Vec<Option<FileRow>>, StateError>;
    /// In byte order of the key.
    async fn files(&self, query: FilesQuery) -> Result<Vec<FileRow>, StateError>;
    /// (files that are not deleted, bytes) below `prefix`.
    async fn totals(&self, store: i64, prefix: &str) -> Result<(u64, u64), StateError>;

    /// One transaction: each row is written (with its change row and its sequence number) unless it says so already, or
    /// isn't what the change expects; missing parents are made. Whoever records at the same time comes before or after.
    async fn record(&self, store: i64, client: &str, changes: Vec<FileChange>) -> Result<Recorded, StateError>;
    /// Change rows after `cursor`, in order, `limit` at most; `CursorLost` where the feed can't go on from there.
    async fn changes_since(&self, store: i64, cursor: Option<&Cursor>, limit: usize) -> Result<Changes, StateError>;
    /// The change row of this number, unless it was pruned.
    async fn change(&self, store: i64, sequence: u64) -> Result<Option<ChangeRow>, StateError>;
    /// Drops change rows below `sequence`.
    async fn prune(&self, store: i64, sequence: u64) -> Result<u64, StateError>;
    /// Forgets the states of clients that were silent for this long, then drops the change rows that all the others have
    /// read. Nothing is dropped while nobody says how far it has read. Leases that ran out long ago go as well.
    async fn prune_below_cursors(&self, store: i64, silent_ms: u64) -> Result<Pruned, StateError>;

    async fn prefix_listed(&self, store: i64, prefix: &str) -> Result<Option<u64>, StateError>;
    async fn set_prefix_listed(&self, store: i64, prefix: &str, sequence: u64) -> Result<(), StateError>;

    async fn sync_state(&self, client: &str, store: i64, prefix: &str) -> Result<Option<SyncStateRow>, StateError>;
    async fn put_sync_state(&self, row: &SyncStateRow) -> Result<(), StateError>;
    async fn drop_sync_state(&self, client: &str) -> Result<(), StateError>;
    /// Moves the beat of a replica's row on to `to`, where it is one of `from` or none was told yet; makes the row where
    /// there is none, and else leaves everything else in it as it is. Returns the beat that stands there then.
    async fn beat(&self, row: &SyncStateRow, from: &[String], to: &str) -> Result<String, StateError>;
    /// Tells how many deletes this replica has sent lately or is about to send; makes its row where there is none. Returns
    /// what other replicas of the prefix told so within the last `within_ms`, by client: of two who tell at the same time
    /// one sees the other at least.
    async fn announce_deletes(
        &self,
        row: &SyncStateRow,
        deletes: u64,
        within_ms: u64,
    ) -> Result<BTreeMap<String, u64>, StateError>;

    async fn sync_configs(&self) -> Result<Vec<SyncConfigRow>, StateError>;
    async fn sync_config(&self, name: &str, client: &str) -> Result<Option<SyncConfigRow>, StateError>;
    async fn put_sync_config(&self, row: &SyncConfigRow) -> Result<(), StateError>;
    async fn drop_sync_config(&self, name: &str, client: &str) -> Result<(), StateError>;

    /// Takes or renews a lease: the fencing number while it is ours, `None` while another holds it.
    async fn lease(&self, name: &str, holder: &str, milliseconds: u64) -> Result<Option<u64>, StateError>;
    async fn release(&self, name: &str, holder: &str) -> Result<(), StateError>;
    async fn close(&self);
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRow {
    pub id: i64,
    /// Random, made with the tables: another one means that they were made anew.
    pub epoch: String,
    pub head_seq: u64,
    pub pruned_seq: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRow {
    pub id: i64,
    pub store_id: i64,
    /// `/` and the key.
    pub path: String,
    pub s3_key: String,
    pub size: u64,
    /// nanoseconds since 1970: the file's, as far as known
    pub modified_ns: Option<i64>,
    /// milliseconds since 1970: first seen
    pub created_ms: i64,
    pub etag: String,
    pub version_id: Option<String>,
    pub last_modified: Option<String>,
    /// BLAKE3; `None` until somebody read it.
    pub checksum: Option<ContentHash>,
    pub mime_type: Option<String>,
    pub mode: Option<u32>,
    pub is_directory: bool,
    pub parent_id: Option<i64>,
    /// Counts the batches that wrote this row.
    pub version: u64,
    pub is_deleted: bool,
    pub deleted_ms: Option<i64>,
    pub seq: u64,
    pub updated_by: String,
}

#[derive(Clone, Debug, Default)]
pub struct FilesQuery {
    pub store: i64,
    pub prefix: String,
    pub deleted: bool,
    /// Keys after this one.
    pub after: Option<String>,
    pub limit: usize,
}

impl FileRow {
    /// False where the key holds nothing: deleted, or a folder that is only a part of other keys.
    #[must_use]
    pub fn holds_object(&self) -> bool {
        !(self.is_deleted || self.is_directory && self.etag.is_empty())
    }

    /// The object that the key holds.
    #[must_use]
    pub fn generation(&self) -> Generation {
        Generation {
            etag: self.etag.clone(),
            size: self.size,
            version_id: self.version_id.clone(),
            last_modified: self.last_modified.clone(),
        }
    }
}

/// One thing that happened to a key.
#[derive(Clone, Debug, PartialEq)]
pub enum FileChange {
    /// The key holds this object now.
    Put {
        key: String,
        expects: Expected,
        generation: Generation,
        content: Option<ContentHash>,
        modified_ns: Option<i64>,
        mode: Option<u32>,
        mime_type: Option<String>,
    },
    /// The key holds nothing now. `moved_to`: the key that has its content since, which makes it a rename.
    Delete { key: String, expects: Expected, moved_to: Option<String> },
}

impl FileChange {
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    #[must_use]
    pub fn expects(&self) -> &Expected {
        match self {
            Self::Put { expects, .. } | Self::Delete { expects, .. } => expects,
        }
    }

    /// The same change, of another row than was thought.
    #[must_use]
    pub fn expecting(mut self, expected: Expected) -> Self {
        match &mut self {
            Self::Put { expects, .. } | Self::Delete { expects, .. } => *expects = expected,
        }
        self
    }

    /// The same, of a key whose content is at another one now.
    #[must_use]
    pub fn moved_to(mut self, key: Option<String>) -> Self {
        if let Self::Delete { moved_to, .. } = &mut self {
            *moved_to = key;
        }
        self
    }

    /// The row says so already: to be recorded there is nothing, whatever is expected.
    #[must_use]
    pub fn is_known(&self, row: Option<&FileRow>) -> bool {
        let object = row.filter(|row| row.holds_object());
        match self {
            Self::Put { generation, .. } => object.is_some_and(|row| row.generation().same(generation)),
            Self::Delete { .. } => object.is_none(),
        }
    }
}

/// What the row of a key has to be for a change of it to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    Any,
    /// It holds this object; `None`: no object.
    Object(Option<Generation>),
    /// It has this version; 0: there is no row.
    Version(u64),
}

impl Expected {
    #[must_use]
    pub fn is_met(&self, row: Option<&FileRow>) -> bool {
        match self {
            Self::Any => true,
            Self::Object(wanted) => match (wanted, row.filter(|row| row.holds_object())) {
                (Some(wanted), Some(row)) => row.generation().same(wanted),
                (wanted, object) => wanted.is_none() && object.is_none(),
            },
            Self::Version(wanted) => row.map_or(0, |row| row.version) == *wanted,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// The newest change of the feed when this was written.
    pub head: u64,
    /// The changes that weren't written, because their row isn't what they expect.
    pub refused: Vec<Refused>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub key: String,
    /// As it is instead.
    pub row: Option<FileRow>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub changes: u64,
    pub clients: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub sequence: u64,
    /// The random id of that change row: gone or different means that the feed is not the one we read (R18).
    pub row_id: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Changes {
    Next {
        rows: Vec<ChangeRow>,
        cursor: Option<Cursor>,
        /// That of the store's row at this moment.
        epoch: String,
    },
    /// Restored backup, failover, pruned past us: compare everything.
    CursorLost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRow {
    pub seq: u64,
    pub row_id: String,
    pub file_id: i64,
    pub s3_key: String,
    pub change_type: ChangeType,
    pub changed_ms: i64,
    pub client_id: String,
    pub old_path: Option<String>,
    pub new_path: Option<String>,
    pub etag: String,
    pub size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ChangeType {
    Create,
    Update,
    Delete,
    Rename,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncStateRow {
    pub client_id: String,
    pub store_id: i64,
    pub prefix: String,
    pub last_sync_ms: Option<i64>,
    pub cursor: Option<Cursor>,
    pub epoch: String,
    pub device_name: String,
    pub platform: String,
    pub agent_version: String,
    pub status: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncConfigRow {
    pub name: String,
    pub client_id: String,
    pub local_path: String,
    pub s3_path: String,
    pub bidirectional: bool,
    pub ignore_patterns: Vec<String>,
    pub status: String,
    pub last_sync_ms: Option<i64>,
    pub file_count: u64,
    pub created_ms: i64,
    pub updated_ms: i64,
}
