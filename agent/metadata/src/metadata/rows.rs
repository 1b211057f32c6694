//! Rows of the metadata's tables as values.

use gosync_engine::ports::metadata::{ChangeRow, ChangeType, FileRow, SyncConfigRow, SyncStateRow};
use gosync_plan::ContentHash;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::text::{cursor, undecodable, unspell};

pub(super) fn unsigned(row: &SqliteRow, column: usize) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(i64::cast_unsigned)
}

/// The statement whose rows [`file`] reads.
macro_rules! select_files {
    ($condition:literal) => {
        concat!(
            "SELECT id, store_id, s3_key, size, modified_time, created_time, etag, version_id, last_modified, checksum, \
                    mime_type, mode, is_directory, parent_id, version, is_deleted, deleted_at, seq, updated_by \
             FROM files ",
            $condition
        )
    };
}
pub(super) use select_files;

/// A row of [`select_files!`].
pub(super) fn file(row: &SqliteRow) -> Result<FileRow, sqlx::Error> {
    let s3_key = unspell(row.try_get(2)?);
    let checksum: Option<&[u8]> = row.try_get(9)?;
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
        mode: row.try_get(11)?,
        is_directory: row.try_get(12)?,
        parent_id: row.try_get(13)?,
        version: unsigned(row, 14)?,
        is_deleted: row.try_get(15)?,
        deleted_ms: row.try_get(16)?,
        seq: unsigned(row, 17)?,
        updated_by: row.try_get(18)?,
    })
}

pub(super) fn change(row: &SqliteRow) -> Result<ChangeRow, sqlx::Error> {
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

pub(super) fn sync_state(row: &SqliteRow) -> Result<SyncStateRow, sqlx::Error> {
    Ok(SyncStateRow {
        client_id: row.try_get(0)?,
        store_id: row.try_get(1)?,
        prefix: unspell(row.try_get(2)?),
        last_sync_ms: row.try_get(3)?,
        cursor: row.try_get::<Option<&str>, _>(4)?.map(cursor).transpose()?,
        epoch: row.try_get(5)?,
        device_name: row.try_get(6)?,
        platform: row.try_get(7)?,
        agent_version: row.try_get(8)?,
        status: row.try_get(9)?,
    })
}

pub(super) fn sync_config(row: &SqliteRow) -> Result<SyncConfigRow, sqlx::Error> {
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
