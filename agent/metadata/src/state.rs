//! A replica's own state in one SQLite file.
//!
//! What `apply` answered is on the disk, power loss included. Reads see every answered `apply`. A killed process leaves
//! each `apply` there whole or not at all; opening the file again needs no repair.

mod effect;
mod rows;

use std::path::Path;

use async_trait::async_trait;
use gosync_engine::ports::state::{HaltRow, JournalEntry, ReplicaState, StateChange, StateError, UploadRow};
use gosync_plan::{Ancestor, ContentHash, RelPath};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, query, query_as, query_scalar};

use crate::database::{Database, Durability, JournalMode};
use crate::migrations;
use crate::text::{STATEMENT_ROWS_MAX, TextRange, json};
use crate::writer::{Write, Writer};
use effect::NetEffect;

#[derive(Clone, Copy, Debug, Default)]
pub struct StateOptions {
    pub journal: JournalMode,
}

pub struct SqliteState {
    database: Database,
    writer: Writer<Apply>,
}

impl SqliteState {
    /// Opens the file, or makes it with the folders above it. Must be called inside a tokio runtime.
    pub async fn open(path: &Path, options: StateOptions) -> Result<Self, StateError> {
        let database = Database::open(path, &migrations::STATE, options.journal, Durability::EveryCommit).await?;
        let writer = Writer::start(database.clone());
        Ok(Self { database, writer })
    }

    /// Commits since it was opened: fewer than calls of `apply` when they share.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }

    /// After what was begun before; later calls fail. Without it nothing is lost, only the log stays beside the file.
    pub async fn close(&self) {
        self.database.readers.close().await;
        self.writer.close().await;
    }

    async fn page(&self, range: TextRange, limit: usize) -> Result<Vec<(RelPath, Ancestor)>, StateError> {
        query(
            "SELECT path, size, mtime_ns, ctime_ns, inode, mode, etag, remote_size, version_id, last_modified, \
                    content, nonce, open \
             FROM ancestor WHERE path >= $1 AND path < $2 ORDER BY path LIMIT $3",
        )
        .bind(&range.from)
        .bind(range.until())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .try_map(|row: SqliteRow| Ok((rows::path(&row, 0)?, rows::ancestor(&row, 1)?)))
        .fetch_all(&self.database.readers)
        .await
        .map_err(|error| self.database.failed("reading ancestors", error))
    }
}

#[async_trait]
impl ReplicaState for SqliteState {
    async fn ancestors(&self, paths: &[RelPath]) -> Result<Vec<Option<Ancestor>>, StateError> {
        let mut found = vec![None; paths.len()];
        for (part, paths) in paths.chunks(STATEMENT_ROWS_MAX).enumerate() {
            let read = async {
                query(
                    "SELECT wanted.key, size, mtime_ns, ctime_ns, inode, mode, etag, remote_size, version_id, \
                            last_modified, content, nonce, open \
                     FROM jsonb_each($1) AS wanted CROSS JOIN ancestor ON ancestor.path = wanted.value",
                )
                .bind(json(paths)?)
                .try_map(|row: SqliteRow| Ok((row.try_get::<i64, _>(0)?, rows::ancestor(&row, 1)?)))
                .fetch_all(&self.database.readers)
                .await
            };
            let rows = read.await.map_err(|error| self.database.failed("reading ancestors", error))?;
            for (position, ancestor) in rows {
                let position = part * STATEMENT_ROWS_MAX + usize::try_from(position).unwrap_or(usize::MAX);
                if let Some(slot) = found.get_mut(position) {
                    *slot = Some(ancestor);
                }
            }
        }
        Ok(found)
    }

    async fn ancestors_after(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Ancestor)>, StateError> {
        self.page(TextRange::new("", after.map(RelPath::as_str)), limit).await
    }

    async fn ancestors_below(
        &self,
        folder: &RelPath,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Ancestor)>, StateError> {
        self.page(TextRange::new(&format!("{folder}/"), after.map(RelPath::as_str)), limit).await
    }

    async fn ancestor_of_object(&self, etag: &str, size: u64) -> Result<Option<(RelPath, Ancestor)>, StateError> {
        query(
            "SELECT path, size, mtime_ns, ctime_ns, inode, mode, etag, remote_size, version_id, last_modified, content, \
                    nonce, open \
             FROM ancestor WHERE etag = $1 AND remote_size = $2 LIMIT 1",
        )
        .bind(etag)
        .bind(size.cast_signed())
        .try_map(|row: SqliteRow| Ok((rows::path(&row, 0)?, rows::ancestor(&row, 1)?)))
        .fetch_optional(&self.database.readers)
        .await
        .map_err(|error| self.database.failed("looking for an object's ancestor", error))
    }

    async fn ancestor_of_large_content(
        &self,
        content: ContentHash,
        size: u64,
    ) -> Result<Option<(RelPath, Ancestor)>, StateError> {
        query(
            "SELECT path, size, mtime_ns, ctime_ns, inode, mode, etag, remote_size, version_id, last_modified, content, \
                    nonce, open \
             FROM ancestor WHERE size = $1 AND size > 5242880 AND content = $2 LIMIT 1",
        )
        .bind(size.cast_signed())
        .bind(content.0.to_vec())
        .try_map(|row: SqliteRow| Ok((rows::path(&row, 0)?, rows::ancestor(&row, 1)?)))
        .fetch_optional(&self.database.readers)
        .await
        .map_err(|error| self.database.failed("looking for a content's ancestor", error))
    }

    async fn open_ancestors(&self) -> Result<Vec<RelPath>, StateError> {
        query("SELECT path FROM ancestor WHERE open = 1 ORDER BY path")
            .try_map(|row: SqliteRow| rows::path(&row, 0))
            .fetch_all(&self.database.readers)
            .await
            .map_err(|error| self.database.failed("reading the ancestors that are open", error))
    }

    async fn ancestor_totals(&self) -> Result<(u64, u64), StateError> {
        let (files, bytes): (i64, i64) = query_as("SELECT files, bytes FROM ancestor_totals")
            .fetch_one(&self.database.readers)
            .await
            .map_err(|error| self.database.failed("counting ancestors", error))?;
        Ok((files.cast_unsigned(), bytes.cast_unsigned()))
    }

    async fn journal(&self) -> Result<Vec<JournalEntry>, StateError> {
        let mut entries: Vec<JournalEntry> = query("SELECT entry FROM operations")
            .try_map(|row: SqliteRow| rows::entry(&row, 0))
            .fetch_all(&self.database.readers)
            .await
            .map_err(|error| self.database.failed("reading the journal", error))?;
        entries.sort_by_key(|entry| (entry.began_ms, entry.id));
        Ok(entries)
    }

    async fn uploads(&self) -> Result<Vec<UploadRow>, StateError> {
        query("SELECT entry FROM uploads ORDER BY upload")
            .try_map(|row: SqliteRow| rows::entry(&row, 0))
            .fetch_all(&self.database.readers)
            .await
            .map_err(|error| self.database.failed("reading uploads", error))
    }

    async fn halts(&self) -> Result<Vec<HaltRow>, StateError> {
        query("SELECT entry FROM halts ORDER BY id")
            .try_map(|row: SqliteRow| rows::entry(&row, 0))
            .fetch_all(&self.database.readers)
            .await
            .map_err(|error| self.database.failed("reading halts", error))
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StateError> {
        query_scalar("SELECT value FROM notes WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.database.readers)
            .await
            .map_err(|error| self.database.failed("reading a note", error))
    }

    async fn apply(&self, changes: Vec<StateChange>) -> Result<(), StateError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.writer.write(Apply(changes)).await
    }
}

struct Apply(Vec<StateChange>);

impl Write for Apply {
    type Answer = ();

    async fn run(group: &[Self], connection: &mut SqliteConnection) -> Result<Vec<()>, sqlx::Error> {
        NetEffect::of(group.iter().flat_map(|apply| &apply.0)).write(connection).await?;
        Ok(vec![(); group.len()])
    }

    fn doing(&self) -> &'static str {
        "writing the replica's state"
    }
}
