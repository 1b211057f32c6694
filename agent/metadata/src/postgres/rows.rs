//! Rows of the tables in Postgres as values.

use gosync_engine::ports::metadata::{ChangeRow, ChangeType, FileRow, StoreRow, SyncConfigRow, SyncStateRow};
use gosync_plan::ContentHash;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::text::{undecodable, unspell};

pub(super) fn unsigned(row: &PgRow, column: usize) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(i64::cast_unsigned)
}

pub(super) fn store(row: &PgRow) -> Result<StoreRow, sqlx::Error> {
    Ok(StoreRow {
        id: row.try_get(0)?,
        epoch: row.try_get(1)?,
        head_seq: unsigned(row, 2)?,
        pruned_seq: unsigned(row, 3)?,
    })
}

/// The columns that [`file`] reads, of the table `f`.
macro_rules! select_files {
    ($rest:literal) => {
        concat!(
            "SELECT f.id, f.store_id, f.s3_key, f.size, f.modified_time, f.created_time, f.etag, f.version_id, \
                    f.last_modified, f.checksum, f.mime_type, f.mode, f.is_directory, f.parent_id, f.version, \
                    f.is_deleted, f.deleted_at, f.seq, f.updated_by ",
            $rest
        )
    };
}
pub(super) use select_files;

/// A row of [`select_files!`].
pub(super) fn file(row: &PgRow) -> Result<FileRow, sqlx::Error> {
    let s3_key = unspell(row.try_get(2)?);
    let checksum: Option<&[u8]> = row.try_get(9)?;
    let mode: Option<i64> = row.try_get(11)?;
    Ok(FileRow {
        id: row.try_get(0)?,
        store_id: row.try_get(1)?,
        path: format!("/{s3_key}"),
        s3_key,
        size: unsigned(row, 3)?,
        modified_ns: row.try_get(4)?,
        created_ms: row.try_get(5)?,
        etag: row.try_get(6)?,
        version_id: row.try_get(7)?,
        last_modified: row.try_get(8)?,
        checksum: match checksum {
            Some(bytes) => Some(ContentHash(bytes.try_into().map_err(undecodable)?)),
            None => None,
        },
        mime_type: row.try_get(10)?,
        mode: mode.map(u32::try_from).transpose().map_err(undecodable)?,
        is_directory: row.try_get(12)?,
        parent_id: row.try_get(13)?,
        version: unsigned(row, 14)?,
        is_deleted: row.try_get(15)?,
        deleted_ms: row.try_get(16)?,
        seq: unsigned(row, 17)?,
        updated_by: row.try_get(18)?,
    })
}

/// The columns that [`change`] reads, of the table `c`.
macro_rules! select_changes {
    ($rest:literal) => {
        concat!(
            "SELECT c.seq, c.row_id::text, c.file_id, c.s3_key, c.change_type, c.changed_at, c.client_id, c.old_path, \
                    c.new_path, c.etag, c.size ",
            $rest
        )
    };
}
pub(super) use select_changes;

/// A row of [`select_changes!`].
pub(super) fn change(row: &PgRow) -> Result<ChangeRow, sqlx::Error> {
    let change_type = match row.try_get(4)? {
        "CREATE" => ChangeType::Create,
        "UPDATE" => ChangeType::Update,
        "DELETE" => ChangeType::Delete,
        "RENAME" => ChangeType::Rename,
        other => return Err(undecodable(format!("a change of the type {other}"))),
    };
    Ok(ChangeRow {
        seq: unsigned(row, 0)?,
        row_id: row.try_get(1)?,
        file_id: row.try_get(2)?,
        s3_key: unspell(row.try_get(3)?),
        change_type,
        changed_ms: row.try_get(5)?,
        client_id: row.try_get(6)?,
        old_path: row.try_get::<Option<String>, _>(7)?.map(unspell),
        new_path: row.try_get::<Option<String>, _>(8)?.map(unspell),
        etag: row.try_get(9)?,
        size: unsigned(row, 10)?,
    })
}

pub(super) fn sync_state(row: &PgRow) -> Result<SyncStateRow, sqlx::Error> {
    let cursor: Option<&str> = row.try_get(4)?;
    Ok(SyncStateRow {
        client_id: row.try_get(0)?,
        store_id: row.try_get(1)?,
        prefix: unspell(row.try_get(2)?),
        last_sync_ms: row.try_get(3)?,
        cursor: cursor.map(crate::text::cursor).transpose()?,
        epoch: row.try_get(5)?,
        device_name: row.try_get(6)?,
        platform: row.try_get(7)?,
        agent_version: row.try_get(8)?,
        status: row.try_get(9)?,
    })
}

pub(super) fn sync_config(row: &PgRow) -> Result<SyncConfigRow, sqlx::Error> {
    Ok(SyncConfigRow {
        name: row.try_get(0)?,
        client_id: row.try_get(1)?,
        local_path: row.try_get(2)?,
        s3_path: row.try_get(3)?,
        bidirectional: row.try_get(4)?,
        ignore_patterns: serde_json::from_str(row.try_get(5)?).map_err(undecodable)?,
        status: row.try_get(6)?,
        last_sync_ms: row.try_get(7)?,
        file_count: unsigned(row, 8)?,
        created_ms: row.try_get(9)?,
        updated_ms: row.try_get(10)?,
    })
}
