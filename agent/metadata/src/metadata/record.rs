//! Writing a [`Batch`] into SQLite: one transaction with a fixed handful of statements per thousand rows.

use gosync_engine::ports::metadata::{FileRow, Refused};
use serde::Serialize;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{query, query_as};

use super::rows::{self, select_files};
use crate::batch::{self, Batch, NewChange, Owned};
use crate::text::{STATEMENT_ROWS_MAX, json, spell};

/// Returns the head of the feed afterwards, and what was refused of which caller.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    store: i64,
    client: &str,
    changes: Vec<Owned<'_>>,
    now_ms: i64,
) -> Result<(u64, Vec<(usize, Refused)>), sqlx::Error> {
    let (head, last_id): (i64, i64) =
        query_as("SELECT head_seq, (SELECT coalesce(max(id), 0) FROM files) FROM stores WHERE id = $1")
            .bind(store)
            .fetch_one(&mut *connection)
            .await?;

    let keys = batch::keys(&changes);
    let mut known = Vec::with_capacity(keys.len());
    for keys in keys.chunks(STATEMENT_ROWS_MAX) {
        let keys: Vec<_> = keys.iter().map(|key| spell(key)).collect();
        let found = query(select_files!("WHERE store_id = $1 AND s3_key IN (SELECT value FROM jsonb_each($2))"))
            .bind(store)
            .bind(json(&keys)?)
            .try_map(|row: SqliteRow| rows::file(&row))
            .fetch_all(&mut *connection)
            .await?;
        known.extend(found);
    }

    let mut batch = Batch::new(store, client, now_ms, head.cast_unsigned(), last_id + 1.., known);
    batch.add_all(changes);
    write(&batch, connection).await?;
    Ok((batch.head, batch.refused))
}

async fn write<I: Iterator<Item = i64>>(
    batch: &Batch<'_, I>,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    for files in batch.rows().chunks(STATEMENT_ROWS_MAX) {
        let files: Vec<_> = files.iter().map(|row| file_columns(row)).collect();
        query(PUT_FILES).bind(json(&files)?).execute(&mut *connection).await?;
    }
    for changes in batch.changes.chunks(STATEMENT_ROWS_MAX) {
        let changes: Vec<_> = changes.iter().map(change_columns).collect();
        query(ADD_CHANGES)
            .bind(batch.store)
            .bind(batch.client)
            .bind(batch.now_ms)
            .bind(json(&changes)?)
            .execute(&mut *connection)
            .await?;
    }
    if !batch.changes.is_empty() {
        query("UPDATE stores SET head_seq = $2 WHERE id = $1")
            .bind(batch.store)
            .bind(batch.head.cast_signed())
            .execute(connection)
            .await?;
    }
    Ok(())
}

const PUT_FILES: &str = "\
    INSERT INTO files (id, store_id, s3_key, size, modified_time, created_time, etag, version_id, last_modified, \
                       checksum, mime_type, mode, is_directory, parent_id, version, is_deleted, deleted_at, seq, updated_by) \
    SELECT value ->> '$[0].id', value ->> '$[0].store_id', value ->> 1, value ->> '$[0].size', \
           value ->> '$[0].modified_ns', value ->> '$[0].created_ms', value ->> '$[0].etag', \
           value ->> '$[0].version_id', value ->> '$[0].last_modified', unhex(value ->> 2), \
           value ->> '$[0].mime_type', value ->> '$[0].mode', value ->> '$[0].is_directory', \
           value ->> '$[0].parent_id', value ->> '$[0].version', value ->> '$[0].is_deleted', \
           value ->> '$[0].deleted_ms', value ->> '$[0].seq', value ->> '$[0].updated_by' \
    FROM jsonb_each($1) WHERE true \
    ON CONFLICT (id) DO UPDATE SET \
        size = excluded.size, modified_time = excluded.modified_time, etag = excluded.etag, \
        version_id = excluded.version_id, last_modified = excluded.last_modified, checksum = excluded.checksum, \
        mime_type = excluded.mime_type, mode = excluded.mode, version = excluded.version, \
        is_deleted = excluded.is_deleted, deleted_at = excluded.deleted_at, seq = excluded.seq, \
        updated_by = excluded.updated_by";

/// As [`PUT_FILES`] takes it: the row, and beside it what a database spells otherwise.
fn file_columns(row: &FileRow) -> impl Serialize + '_ {
    (row, spell(&row.s3_key), row.checksum.map(|checksum| checksum.to_hex()))
}

const ADD_CHANGES: &str = "\
    INSERT INTO file_changes (store_id, seq, row_id, file_id, s3_key, change_type, changed_at, client_id, \
                              old_path, new_path, etag, size) \
    SELECT $1, value ->> 0, lower(hex(randomblob(8))), value ->> 1, value ->> 2, value ->> 3, $3, $2, \
           CASE WHEN value ->> 3 <> 'CREATE' THEN '/' || (value ->> 2) END, \
           '/' || CASE WHEN value ->> 3 IN ('CREATE', 'UPDATE') THEN value ->> 2 ELSE value ->> 6 END, \
           value ->> 4, value ->> 5 \
    FROM jsonb_each($4)";

/// In the order of [`ADD_CHANGES`].
fn change_columns(change: &NewChange) -> impl Serialize + '_ {
    let moved_to = change.moved_to.as_deref().map(spell);
    (
        change.seq,
        change.file_id,
        spell(&change.key),
        change.change_type,
        &change.etag,
        change.size.cast_signed(),
        moved_to,
    )
}
