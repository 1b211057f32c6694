//! The metadata of stores in one SQLite file: for an agent that is alone with it.
//!
//! A write that was answered survives a killed process; a power loss may take the last ones with it, which readers of
//! the feed notice by their cursor. Writing the same news again writes nothing.

mod mirrors;
mod record;
mod rows;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use gosync_engine::ports::metadata::{
    ChangeRow, Changes, Cursor, FileChange, FileRow, FilesQuery, LEASES_KEPT_MS, MetadataStore, Pruned, Recorded,
    StoreRow, SyncConfigRow, SyncStateRow,
};
use gosync_engine::ports::state::{StateError, StateErrorKind};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, query, query_as, query_scalar};

use crate::batch::in_order;
use crate::database::{Database, Durability, JournalMode};
use crate::migrations;
use crate::text::{TextRange, json, spell};
use crate::writer::Writer;
pub use mirrors::MirrorRow;
use rows::select_files;
use write::{Answer, MetadataWrite, now_ms};

pub struct SqliteMetadata {
    database: Database,
    writer: Writer<MetadataWrite>,
}

impl SqliteMetadata {
    /// Opens the file, or makes it with the folders above it. Must be called inside a tokio runtime.
    pub async fn open(path: &Path, journal: JournalMode) -> Result<Self, StateError> {
        let database = Database::open(path, &migrations::METADATA, journal, Durability::Consistent).await?;
        let writer = Writer::start(database.clone());
        Ok(Self { database, writer })
    }

    async fn find_store(&self, endpoint: &str, bucket: &str) -> Result<Option<StoreRow>, sqlx::Error> {
        query("SELECT id, epoch, head_seq, pruned_seq FROM stores WHERE endpoint = $1 AND bucket = $2")
            .bind(endpoint)
            .bind(bucket)
            .try_map(|row: SqliteRow| {
                Ok(StoreRow {
                    id: row.try_get(0)?,
                    epoch: row.try_get(1)?,
                    head_seq: rows::unsigned(&row, 2)?,
                    pruned_seq: rows::unsigned(&row, 3)?,
                })
            })
            .fetch_optional(&self.database.readers)
            .await
    }

    async fn read_changes(&self, store: i64, cursor: Option<&Cursor>, limit: usize) -> Result<Changes, sqlx::Error> {
        // One snapshot for all that is read.
        let mut snapshot = self.database.readers.begin().await?;
        let found: Option<(i64, String)> = query_as("SELECT pruned_seq, epoch FROM stores WHERE id = $1")
            .bind(store)
            .fetch_optional(&mut *snapshot)
            .await?;
        let Some((pruned, epoch)) = found.map(|(pruned, epoch)| (pruned.cast_unsigned(), epoch)) else {
            return Ok(Changes::CursorLost);
        };
        match cursor {
            // The feed from its beginning on, as long as that is still there.
            None if pruned > 1 => return Ok(Changes::CursorLost),
            None => {}
            Some(cursor) if cursor.sequence < pruned => return Ok(Changes::CursorLost),
            Some(cursor) => {
                let row_id: Option<String> =
                    query_scalar("SELECT row_id FROM file_changes WHERE store_id = $1 AND seq = $2")
                        .bind(store)
                        .bind(cursor.sequence.cast_signed())
                        .fetch_optional(&mut *snapshot)
                        .await?;
                if row_id.as_ref() != Some(&cursor.row_id) {
                    return Ok(Changes::CursorLost);
                }
            }
        }
        let rows = query(
            "SELECT seq, row_id, file_id, s3_key, change_type, changed_at, client_id, old_path, new_path, etag, size \
             FROM file_changes WHERE store_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        )
        .bind(store)
        .bind(cursor.map_or(0, |cursor| cursor.sequence.cast_signed()))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .try_map(|row: SqliteRow| rows::change(&row))
        .fetch_all(&mut *snapshot)
        .await?;
        let cursor = match rows.last() {
            Some(last) => Some(Cursor { sequence: last.seq, row_id: last.row_id.clone() }),
            None => cursor.cloned(),
        };
        Ok(Changes::Next { rows, cursor, epoch })
    }
}

#[async_trait]
impl MetadataStore for SqliteMetadata {
    async fn store(&self, endpoint: &str, bucket: &str) -> Result<StoreRow, StateError> {
        let doing = "reading the store's row";
        let found = self.find_store(endpoint, bucket).await.map_err(|error| self.database.failed(doing, error))?;
        if let Some(row) = found {
            return Ok(row);
        }
        self.writer.write(MetadataWrite::MakeStore { endpoint: endpoint.into(), bucket: bucket.into() }).await?;
        self.find_store(endpoint, bucket)
            .await
            .and_then(|row| row.ok_or(sqlx::Error::RowNotFound))
            .map_err(|error| self.database.failed(doing, error))
    }

    async fn known_store(&self, endpoint: &str, bucket: &str) -> Result<Option<StoreRow>, StateError> {
        let found = self.find_store(endpoint, bucket).await;
        found.map_err(|error| self.database.failed("reading the store's row", error))
    }

    async fn renew_epoch(&self, store: i64, epoch: &str) -> Result<(), StateError> {
        self.writer.write(MetadataWrite::RenewEpoch { store, epoch: epoch.into() }).await.map(drop)
    }

    async fn file_by_id(&self, id: i64) -> Result<Option<FileRow>, StateError> {
        query(select_files!("WHERE id = $1"))
            .bind(id)
            .try_map(|row: SqliteRow| rows::file(&row))
            .fetch_optional(&self.database.readers)
            .await
            .map_err(|error| self.database.failed("reading a file's row", error))
    }

    async fn file_by_key(&self, store: i64, key: &str) -> Result<Option<FileRow>, StateError> {
        query(select_files!("WHERE store_id = $1 AND s3_key = $2"))
            .bind(store)
            .bind(spell(key).into_owned())
            .try_map(|row: SqliteRow| rows::file(&row))
            .fetch_optional(&self.database.readers)
            .await
            .map_err(|error| self.database.failed("reading a file's row", error))
    }

    async fn files_by_key(&self, store: i64, keys: &[String]) -> Result<Vec<Option<FileRow>>, StateError> {
        let spelled: Vec<_> = keys.iter().map(|key| spell(key)).collect();
        let read = async {
            query(select_files!("WHERE store_id = $1 AND s3_key IN (SELECT value FROM jsonb_each($2))"))
                .bind(store)
                .bind(json(&spelled)?)
                .try_map(|row: SqliteRow| rows::file(&row))
                .fetch_all(&self.database.readers)
                .await
        };
        let found = read.await.map_err(|error| self.database.failed("reading files' rows", error))?;
        Ok(in_order(keys, found))
    }

    async fn files(&self, wanted: FilesQuery) -> Result<Vec<FileRow>, StateError> {
        let range = TextRange::new(&spell(&wanted.prefix), wanted.after.as_deref().map(spell).as_deref());
        query(select_files!(
            "WHERE store_id = $1 AND s3_key >= $2 AND s3_key < $3 AND is_deleted <= $4 ORDER BY s3_key LIMIT $5"
        ))
        .bind(wanted.store)
        .bind(&range.from)
        .bind(range.until())
        .bind(wanted.deleted)
        .bind(i64::try_from(wanted.limit).unwrap_or(i64::MAX))
        .try_map(|row: SqliteRow| rows::file(&row))
        .fetch_all(&self.database.readers)
        .await
        .map_err(|error| self.database.failed("listing files", error))
    }

    async fn totals(&self, store: i64, prefix: &str) -> Result<(u64, u64), StateError> {
        let range = TextRange::new(&spell(prefix), None);
        let (files, bytes): (i64, i64) = query_as(
            "SELECT count(*), coalesce(sum(size), 0) FROM files \
             WHERE store_id = $1 AND s3_key >= $2 AND s3_key < $3 AND is_deleted = 0 AND is_directory = 0",
        )
        .bind(store)
        .bind(&range.from)
        .bind(range.until())
        .fetch_one(&self.database.readers)
        .await
        .map_err(|error| self.database.failed("counting files", error))?;
        Ok((files.cast_unsigned(), bytes.cast_unsigned()))
    }

    async fn record(&self, store: i64, client: &str, changes: Vec<FileChange>) -> Result<Recorded, StateError> {
        let write = MetadataWrite::Record { store, client: client.into(), changes };
        self.writer.write(write).await.map(Answer::recorded)
    }

    async fn changes_since(&self, store: i64, cursor: Option<&Cursor>, limit: usize) -> Result<Changes, StateError> {
        self.read_changes(store, cursor, limit).await.map_err(|error| self.database.failed("reading the feed", error))
    }

    async fn change(&self, store: i64, sequence: u64) -> Result<Option<ChangeRow>, StateError> {
        query(
            "SELECT seq, row_id, file_id, s3_key, change_type, changed_at, client_id, old_path, new_path, etag, size \
             FROM file_changes WHERE store_id = $1 AND seq = $2",
        )
        .bind(store)
        .bind(sequence.cast_signed())
        .try_map(|row: SqliteRow| rows::change(&row))
        .fetch_optional(&self.database.readers)
        .await
        .map_err(|error| self.database.failed("reading a change's row", error))
    }

    async fn prune(&self, store: i64, sequence: u64) -> Result<u64, StateError> {
        self.writer.write(MetadataWrite::Prune { store, sequence }).await.map(Answer::count)
    }

    async fn prune_below_cursors(&self, store: i64, silent_ms: u64) -> Result<Pruned, StateError> {
        let clients = self.writer.write(MetadataWrite::DropSilentClients { store, silent_ms }).await?.count();
        self.writer.write(MetadataWrite::DropOldLeases { older_ms: LEASES_KEPT_MS }).await?;
        let read_by_all: Option<i64> = query_scalar(
            "SELECT min(CAST(substr(sync_cursor, 1, instr(sync_cursor, ':') - 1) AS INTEGER)) \
             FROM sync_states JOIN stores ON stores.id = store_id AND stores.epoch = sync_states.epoch \
             WHERE store_id = $1",
        )
        .bind(store)
        .fetch_one(&self.database.readers)
        .await
        .map_err(|error| self.database.failed("reading cursors", error))?;
        let changes = match read_by_all {
            Some(sequence) => self.prune(store, sequence.cast_unsigned()).await?,
            None => 0,
        };
        Ok(Pruned { changes, clients })
    }

    async fn prefix_listed(&self, store: i64, prefix: &str) -> Result<Option<u64>, StateError> {
        let sequence: Option<i64> = query_scalar("SELECT listed_seq FROM prefixes WHERE store_id = $1 AND prefix = $2")
            .bind(store)
            .bind(spell(prefix).into_owned())
            .fetch_optional(&self.database.readers)
            .await
            .map_err(|error| self.database.failed("reading a prefix's row", error))?;
        Ok(sequence.map(i64::cast_unsigned))
    }

    async fn set_prefix_listed(&self, store: i64, prefix: &str, sequence: u64) -> Result<(), StateError> {
        let prefix = spell(prefix).into_owned();
        self.writer.write(MetadataWrite::PutPrefix { store, prefix, sequence }).await.map(drop)
    }

    async fn sync_state(&self, client: &str, store: i64, prefix: &str) -> Result<Option<SyncStateRow>, StateError> {
        query(
            "SELECT client_id, store_id, prefix, last_sync_time, sync_cursor, epoch, device_name, platform, \
                    agent_version, status \
             FROM sync_states WHERE client_id = $1 AND store_id = $2 AND prefix = $3",
        )
        .bind(client)
        .bind(store)
        .bind(spell(prefix).into_owned())
        .try_map(|row: SqliteRow| rows::sync_state(&row))
        .fetch_optional(&self.database.readers)
        .await
        .map_err(|error| self.database.failed("reading a replica's row", error))
    }

    async fn put_sync_state(&self, row: &SyncStateRow) -> Result<(), StateError> {
        self.writer.write(MetadataWrite::PutSyncState(row.clone())).await.map(drop)
    }

    async fn drop_sync_state(&self, client: &str) -> Result<(), StateError> {
        self.writer.write(MetadataWrite::DropSyncState { client: client.into() }).await.map(drop)
    }

    async fn beat(&self, row: &SyncStateRow, from: &[String], to: &str) -> Result<String, StateError> {
        let beat = MetadataWrite::Beat { row: row.clone(), from: from.to_vec(), to: to.into() };
        if self.writer.write(beat).await?.count() > 0 {
            return Ok(to.to_owned());
        }
        query_scalar("SELECT beat FROM sync_states WHERE client_id = $1 AND store_id = $2 AND prefix = $3")
            .bind(&row.client_id)
            .bind(row.store_id)
            .bind(spell(&row.prefix).into_owned())
            .fetch_one(&self.database.readers)
            .await
            .map_err(|error| self.database.failed("reading a replica's row", error))
    }

    async fn announce_deletes(
        &self,
        row: &SyncStateRow,
        deletes: u64,
        within_ms: u64,
    ) -> Result<BTreeMap<String, u64>, StateError> {
        let announced_ms = now_ms();
        self.writer.write(MetadataWrite::AnnounceDeletes { row: row.clone(), deletes, announced_ms }).await?;
        let others: Vec<(String, i64)> = query_as(
            "SELECT client_id, deletes FROM sync_states \
             WHERE store_id = $1 AND prefix = $2 AND client_id <> $3 AND deletes > 0 AND deletes_at > $4",
        )
        .bind(row.store_id)
        .bind(spell(&row.prefix).into_owned())
        .bind(&row.client_id)
        .bind(announced_ms.saturating_sub(i64::try_from(within_ms).unwrap_or(i64::MAX)))
        .fetch_all(&self.database.readers)
        .await
        .map_err(|error| self.database.failed("reading replicas' rows", error))?;
        Ok(others.into_iter().map(|(client, deletes)| (client, deletes.cast_unsigned())).collect())
    }

    async fn sync_configs(&self) -> Result<Vec<SyncConfigRow>, StateError> {
        query(
            "SELECT name, client_id, local_path, s3_path, bidirectional, ignore_patterns, status, last_sync_time, \
                    file_count, created_at, updated_at \
             FROM sync_configs ORDER BY name, client_id",
        )
        .try_map(|row: SqliteRow| rows::sync_config(&row))
        .fetch_all(&self.database.readers)
        .await
        .map_err(|error| self.database.failed("reading configurations", error))
    }

    async fn sync_config(&self, name: &str, client: &str) -> Result<Option<SyncConfigRow>, StateError> {
        query(
            "SELECT name, client_id, local_path, s3_path, bidirectional, ignore_patterns, status, last_sync_time, \
                    file_count, created_at, updated_at \
             FROM sync_configs WHERE name = $1 AND client_id = $2",
        )
        .bind(name)
        .bind(client)
        .try_map(|row: SqliteRow| rows::sync_config(&row))
        .fetch_optional(&self.database.readers)
        .await
        .map_err(|error| self.database.failed("reading a configuration", error))
    }

    async fn put_sync_config(&self, row: &SyncConfigRow) -> Result<(), StateError> {
        self.writer.write(MetadataWrite::PutSyncConfig(row.clone())).await.map(drop)
    }

    async fn drop_sync_config(&self, name: &str, client: &str) -> Result<(), StateError> {
        self.writer.write(MetadataWrite::DropSyncConfig { name: name.into(), client: client.into() }).await.map(drop)
    }

    async fn lease(&self, name: &str, holder: &str, milliseconds: u64) -> Result<Option<u64>, StateError> {
        if holder.is_empty() {
            let what = format!("taking the lease {name}: its holder needs a name");
            return Err(StateError { kind: StateErrorKind::Unavailable, what, source: None });
        }
        // Fencing numbers begin with 1.
        let write = MetadataWrite::Lease { name: name.into(), holder: holder.into(), milliseconds };
        let fencing = self.writer.write(write).await?.count();
        Ok((fencing > 0).then_some(fencing))
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), StateError> {
        self.writer.write(MetadataWrite::Release { name: name.into(), holder: holder.into() }).await.map(drop)
    }

    async fn close(&self) {
        self.database.readers.close().await;
        self.writer.close().await;
    }
}
