//! Recording what happened to keys: what to write is found out by [`Batch`], which is pure; then it is written.
//!
//! A batch is one transaction with a fixed handful of statements per thousand rows. Sequence numbers go up in the order
//! of keys. A row that is already the same version of the object only learns what it didn't know, without a change row.

use std::collections::{BTreeSet, HashMap};

use gosync_engine::ports::metadata::{ChangeType, FileChange, FileRow};
use gosync_plan::Generation;
use serde::Serialize;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{query, query_as};

use super::rows::{self, select_files};
use crate::text::{STATEMENT_ROWS_MAX, json, spell};

/// Returns the head of the feed afterwards.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    store: i64,
    client: &str,
    mut changes: Vec<&FileChange>,
    now_ms: i64,
) -> Result<u64, sqlx::Error> {
    let (head, last_id): (i64, i64) =
        query_as("SELECT head_seq, (SELECT coalesce(max(id), 0) FROM files) FROM stores WHERE id = $1")
            .bind(store)
            .fetch_one(&mut *connection)
            .await?;

    // Stable: changes of one key keep their order.
    changes.sort_by_key(|change| key_of(change));
    let mut keys = BTreeSet::new();
    for change in &changes {
        keys.insert(key_of(change));
        keys.extend(parents(key_of(change)));
    }
    let keys: Vec<&str> = keys.into_iter().collect();
    let mut known = HashMap::with_capacity(keys.len());
    for keys in keys.chunks(STATEMENT_ROWS_MAX) {
        let keys: Vec<_> = keys.iter().map(|key| spell(key)).collect();
        let found = query(select_files!("WHERE store_id = $1 AND s3_key IN (SELECT value FROM jsonb_each($2))"))
            .bind(store)
            .bind(json(&keys)?)
            .try_map(|row: SqliteRow| rows::file(&row))
            .fetch_all(&mut *connection)
            .await?;
        known.extend(found.into_iter().map(|row| (row.s3_key.clone(), row)));
    }

    let mut batch = Batch {
        store,
        client,
        now_ms,
        head: head.cast_unsigned(),
        last_id,
        known,
        touched: BTreeSet::new(),
        changes: Vec::new(),
    };
    for change in changes {
        batch.add(change);
    }
    batch.write(connection).await
}

fn key_of(change: &FileChange) -> &str {
    match change {
        FileChange::Put { key, .. } | FileChange::Delete { key, .. } => key,
    }
}

/// The folder that holds `key`, as a key: `a/b/` for `a/b/c`, `a/` for `a/b/`; `None` at the top.
fn parent(key: &str) -> Option<&str> {
    let name_ends = key.strip_suffix('/').unwrap_or(key);
    name_ends.rfind('/').map(|cut| &key[..=cut])
}

fn parents(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(key), |key| parent(key))
}

struct Batch<'a> {
    store: i64,
    client: &'a str,
    now_ms: i64,
    head: u64,
    last_id: i64,
    /// The rows that the changes may concern, by key: first as stored, then as they are to be.
    known: HashMap<String, FileRow>,
    /// Keys of rows to be written.
    touched: BTreeSet<String>,
    changes: Vec<NewChange>,
}

struct NewChange {
    seq: u64,
    file_id: i64,
    key: String,
    change_type: ChangeType,
    etag: String,
    size: u64,
}

impl Batch<'_> {
    fn add(&mut self, change: &FileChange) {
        match change {
            FileChange::Put { key, generation, content, modified_ns, mode, mime_type } => {
                let parent_id = self.folder(parent(key));
                let (mut row, is_new) = match self.known.remove(key) {
                    Some(row) => (row, false),
                    None => (self.new_row(key, parent_id), true),
                };
                if !is_new && holds_object(&row) && generation_of(&row).same(generation) {
                    let before = row.clone();
                    row.version_id = row.version_id.or_else(|| generation.version_id.clone());
                    row.last_modified = row.last_modified.or_else(|| generation.last_modified.clone());
                    row.checksum = row.checksum.or(*content);
                    row.modified_ns = row.modified_ns.or(*modified_ns);
                    row.mode = row.mode.or(*mode);
                    row.mime_type = row.mime_type.or_else(|| mime_type.clone());
                    if row == before {
                        self.known.insert(key.clone(), row);
                    } else {
                        self.keep(row);
                    }
                } else {
                    let change_type = if holds_object(&row) { ChangeType::Update } else { ChangeType::Create };
                    row.size = generation.size;
                    row.etag.clone_from(&generation.etag);
                    row.version_id.clone_from(&generation.version_id);
                    row.last_modified.clone_from(&generation.last_modified);
                    (row.checksum, row.modified_ns, row.mode) = (*content, *modified_ns, *mode);
                    row.mime_type.clone_from(mime_type);
                    (row.is_deleted, row.deleted_ms) = (false, None);
                    self.announce(&mut row, change_type);
                    self.keep(row);
                }
            }
            FileChange::Delete { key, etag } => {
                let Some(mut row) = self.known.remove(key) else { return };
                if !holds_object(&row) || etag.as_ref().is_some_and(|etag| *etag != row.etag) {
                    self.known.insert(key.clone(), row);
                    return;
                }
                self.announce(&mut row, ChangeType::Delete);
                if row.is_directory {
                    // The object is gone; the folder stays as a part of other keys.
                    row.etag.clear();
                    (row.size, row.version_id, row.last_modified) = (0, None, None);
                } else {
                    (row.is_deleted, row.deleted_ms) = (true, Some(self.now_ms));
                }
                self.keep(row);
            }
        }
    }

    /// The id of a folder's row, which is made when there is none. It is no object, so the feed doesn't tell of it.
    fn folder(&mut self, key: Option<&str>) -> Option<i64> {
        let key = key?;
        if let Some(row) = self.known.get(key) {
            return Some(row.id);
        }
        let parent_id = self.folder(parent(key));
        let row = FileRow { seq: self.head + 1, ..self.new_row(key, parent_id) };
        let id = row.id;
        self.keep(row);
        Some(id)
    }

    fn new_row(&mut self, key: &str, parent_id: Option<i64>) -> FileRow {
        self.last_id += 1;
        FileRow {
            id: self.last_id,
            store_id: self.store,
            path: format!("/{key}"),
            s3_key: key.into(),
            size: 0,
            modified_ns: None,
            created_ms: self.now_ms,
            etag: String::new(),
            version_id: None,
            last_modified: None,
            checksum: None,
            mime_type: None,
            mode: None,
            is_directory: key.ends_with('/'),
            parent_id,
            version: 0,
            // Until it is put. A folder needs no object.
            is_deleted: !key.ends_with('/'),
            deleted_ms: None,
            seq: 0,
            updated_by: self.client.into(),
        }
    }

    /// Gives the row the next number of the feed.
    fn announce(&mut self, row: &mut FileRow, change_type: ChangeType) {
        self.head += 1;
        row.seq = self.head;
        row.updated_by = self.client.into();
        self.changes.push(NewChange {
            seq: self.head,
            file_id: row.id,
            key: row.s3_key.clone(),
            change_type,
            etag: row.etag.clone(),
            size: row.size,
        });
    }

    /// Marks the row for writing.
    fn keep(&mut self, mut row: FileRow) {
        row.version += 1;
        self.touched.insert(row.s3_key.clone());
        self.known.insert(row.s3_key.clone(), row);
    }

    async fn write(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let files: Vec<&FileRow> = self.touched.iter().filter_map(|key| self.known.get(key)).collect();
        for files in files.chunks(STATEMENT_ROWS_MAX) {
            let files: Vec<_> = files.iter().map(|row| file_columns(row)).collect();
            query(PUT_FILES).bind(json(&files)?).execute(&mut *connection).await?;
        }
        for changes in self.changes.chunks(STATEMENT_ROWS_MAX) {
            let changes: Vec<_> = changes.iter().map(change_columns).collect();
            query(ADD_CHANGES)
                .bind(self.store)
                .bind(self.client)
                .bind(self.now_ms)
                .bind(json(&changes)?)
                .execute(&mut *connection)
                .await?;
        }
        if !self.changes.is_empty() {
            query("UPDATE stores SET head_seq = $2 WHERE id = $1")
                .bind(self.store)
                .bind(self.head.cast_signed())
                .execute(connection)
                .await?;
        }
        Ok(self.head)
    }
}

fn holds_object(row: &FileRow) -> bool {
    !(row.is_deleted || row.is_directory && row.etag.is_empty())
}

fn generation_of(row: &FileRow) -> Generation {
    Generation {
        etag: row.etag.clone(),
        size: row.size,
        version_id: row.version_id.clone(),
        last_modified: row.last_modified.clone(),
    }
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
           CASE WHEN value ->> 3 <> 'DELETE' THEN '/' || (value ->> 2) END, \
           value ->> 4, value ->> 5 \
    FROM jsonb_each($4)";

/// In the order of [`ADD_CHANGES`].
fn change_columns(change: &NewChange) -> impl Serialize + '_ {
    (change.seq, change.file_id, spell(&change.key), change.change_type, &change.etag, change.size.cast_signed())
}
