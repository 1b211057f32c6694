//! What many changes come to in the end, and the few statements that write it.
//!
//! Of several changes to one row only the last is written. The number of statements depends on the number of rows, not
//! on how many changes or calls they came in.

use std::collections::BTreeMap;

use gosync_engine::ports::state::{HaltRow, JournalEntry, StateChange, UploadRow};
use gosync_plan::{Ancestor, Nonce, RelPath};
use serde::Serialize;
use sqlx::query;
use sqlx::sqlite::SqliteConnection;

use crate::text::{STATEMENT_ROWS_MAX, json};

/// By key: the row to be put, or `None` for one to be dropped.
#[derive(Default)]
pub(super) struct NetEffect<'a> {
    drop_all_ancestors: bool,
    ancestors: BTreeMap<&'a RelPath, Option<&'a Ancestor>>,
    journal: BTreeMap<Nonce, Option<&'a JournalEntry>>,
    uploads: BTreeMap<&'a str, Option<&'a UploadRow>>,
    halts: BTreeMap<&'a str, Option<&'a HaltRow>>,
    notes: BTreeMap<&'a str, Option<&'a str>>,
}

impl<'a> NetEffect<'a> {
    pub(super) fn of(changes: impl IntoIterator<Item = &'a StateChange>) -> Self {
        let mut net = Self::default();
        for change in changes {
            match change {
                StateChange::PutAncestor(path, ancestor) => drop(net.ancestors.insert(path, Some(ancestor))),
                StateChange::DropAncestor(path) => drop(net.ancestors.insert(path, None)),
                StateChange::DropAllAncestors => {
                    net.drop_all_ancestors = true;
                    net.ancestors.clear();
                }
                StateChange::Begin(entry) => drop(net.journal.insert(entry.id, Some(entry))),
                StateChange::End(id) => drop(net.journal.insert(*id, None)),
                StateChange::PutUpload(row) => drop(net.uploads.insert(&row.upload, Some(row))),
                StateChange::DropUpload(upload) => drop(net.uploads.insert(upload, None)),
                StateChange::PutHalt(row) => drop(net.halts.insert(&row.id, Some(row))),
                StateChange::DropHalt(id) => drop(net.halts.insert(id, None)),
                StateChange::PutNote(name, value) => drop(net.notes.insert(name, Some(value))),
                StateChange::DropNote(name) => drop(net.notes.insert(name, None)),
            }
        }
        net
    }

    pub(super) async fn write(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if self.drop_all_ancestors {
            query("DELETE FROM ancestor").execute(&mut *connection).await?;
        }
        let (put, dropped) = split(&self.ancestors, ancestor_columns);
        send(connection, "DELETE FROM ancestor WHERE path IN (SELECT value FROM json_each($1))", &dropped).await?;
        send(connection, PUT_ANCESTORS, &put).await?;

        let (put, dropped) = split_entries(self.journal.iter().map(|(id, entry)| (id.to_hex(), *entry)))?;
        send(connection, "DELETE FROM operations WHERE id IN (SELECT value FROM json_each($1))", &dropped).await?;
        send(
            connection,
            "INSERT OR REPLACE INTO operations (id, entry) SELECT value ->> 0, value ->> 1 FROM json_each($1)",
            &put,
        )
        .await?;

        let (put, dropped) = split_entries(self.uploads.iter().map(|(upload, row)| (*upload, *row)))?;
        send(connection, "DELETE FROM uploads WHERE upload IN (SELECT value FROM json_each($1))", &dropped).await?;
        send(
            connection,
            "INSERT OR REPLACE INTO uploads (upload, entry) SELECT value ->> 0, value ->> 1 FROM json_each($1)",
            &put,
        )
        .await?;

        let (put, dropped) = split_entries(self.halts.iter().map(|(id, row)| (*id, *row)))?;
        send(connection, "DELETE FROM halts WHERE id IN (SELECT value FROM json_each($1))", &dropped).await?;
        send(
            connection,
            "INSERT OR REPLACE INTO halts (id, entry) SELECT value ->> 0, value ->> 1 FROM json_each($1)",
            &put,
        )
        .await?;

        let (put, dropped) = split(&self.notes, |name, value| (*name, *value));
        send(connection, "DELETE FROM notes WHERE name IN (SELECT value FROM json_each($1))", &dropped).await?;
        send(
            connection,
            "INSERT OR REPLACE INTO notes (name, value) SELECT value ->> 0, value ->> 1 FROM json_each($1)",
            &put,
        )
        .await
    }
}

const PUT_ANCESTORS: &str = "\
    INSERT INTO ancestor (path, size, mtime_ns, ctime_ns, inode, mode, etag, remote_size, version_id, last_modified, \
                          content, nonce, open) \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, \
           value ->> 8, value ->> 9, unhex(value ->> 10), unhex(value ->> 11), value ->> 12 \
    FROM json_each($1) WHERE true \
    ON CONFLICT (path) DO UPDATE SET \
        size = excluded.size, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, inode = excluded.inode, \
        mode = excluded.mode, etag = excluded.etag, remote_size = excluded.remote_size, \
        version_id = excluded.version_id, last_modified = excluded.last_modified, content = excluded.content, \
        nonce = excluded.nonce, open = excluded.open";

/// In the order of [`PUT_ANCESTORS`].
fn ancestor_columns<'a>(path: &&'a RelPath, ancestor: &&'a Ancestor) -> impl Serialize + use<'a> {
    let Ancestor { fingerprint, generation, content, nonce, open } = *ancestor;
    (
        path.as_str(),
        fingerprint.size.cast_signed(),
        fingerprint.mtime_ns,
        fingerprint.ctime_ns,
        fingerprint.inode.cast_signed(),
        fingerprint.mode,
        generation.etag.as_str(),
        generation.size.cast_signed(),
        generation.version_id.as_deref(),
        generation.last_modified.as_deref(),
        content.map(|content| content.to_hex()),
        nonce.map(|nonce| nonce.to_hex()),
        i32::from(*open),
    )
}

/// What is put, as columns, and what is dropped, by key.
fn split<K: Clone, V, C>(net: &BTreeMap<K, Option<V>>, columns: impl Fn(&K, &V) -> C) -> (Vec<C>, Vec<K>) {
    let mut put = Vec::new();
    let mut dropped = Vec::new();
    for (key, row) in net {
        match row {
            Some(row) => put.push(columns(key, row)),
            None => dropped.push(key.clone()),
        }
    }
    (put, dropped)
}

type Entries<K> = (Vec<(K, String)>, Vec<K>);

/// The same for tables of a key and JSON.
fn split_entries<'a, K, V: Serialize + 'a>(
    net: impl Iterator<Item = (K, Option<&'a V>)>,
) -> Result<Entries<K>, sqlx::Error> {
    let mut put = Vec::new();
    let mut dropped = Vec::new();
    for (key, row) in net {
        match row {
            Some(row) => put.push((key, serde_json::to_string(row).map_err(|error| sqlx::Error::Encode(error.into()))?)),
            None => dropped.push(key),
        }
    }
    Ok((put, dropped))
}

/// Runs `statement` over `rows`, which may be none.
async fn send<T: Serialize>(connection: &mut SqliteConnection, statement: &'static str, rows: &[T]) -> Result<(), sqlx::Error> {
    for rows in rows.chunks(STATEMENT_ROWS_MAX) {
        query(statement).bind(json(rows)?).execute(&mut *connection).await?;
    }
    Ok(())
}
