//! What many changes come to in the end, and the few statements that write it.
//!
//! Of several changes to one row only the last is written. The number of statements depends on the number of rows, not
//! on how many changes or calls they came in.

use std::borrow::Cow;
use std::collections::BTreeMap;

use gosync_engine::ports::state::{HaltRow, JournalEntry, StateChange, UploadRow};
use gosync_plan::Ancestor;
use serde::Serialize;
use sqlx::query;
use sqlx::sqlite::SqliteConnection;

use crate::text::{STATEMENT_ROWS_MAX, json};

/// By key: the row to be put, or `None` for one to be dropped.
type Net<'a, V> = BTreeMap<Cow<'a, str>, Option<&'a V>>;

#[derive(Default)]
pub(super) struct NetEffect<'a> {
    drop_all_ancestors: bool,
    ancestors: Net<'a, Ancestor>,
    journal: Net<'a, JournalEntry>,
    uploads: Net<'a, UploadRow>,
    halts: Net<'a, HaltRow>,
    notes: Net<'a, String>,
}

impl<'a> NetEffect<'a> {
    pub(super) fn of(changes: impl IntoIterator<Item = &'a StateChange>) -> Self {
        let mut net = Self::default();
        for change in changes {
            net.add(change);
        }
        net
    }

    fn add(&mut self, change: &'a StateChange) {
        match change {
            StateChange::PutAncestor(path, ancestor) => set(&mut self.ancestors, path.as_str(), Some(ancestor)),
            StateChange::DropAncestor(path) => set(&mut self.ancestors, path.as_str(), None),
            StateChange::DropAllAncestors => {
                self.drop_all_ancestors = true;
                self.ancestors.clear();
            }
            StateChange::Begin(entry) => set(&mut self.journal, entry.id.to_hex(), Some(entry)),
            StateChange::End(id) => set(&mut self.journal, id.to_hex(), None),
            StateChange::PutUpload(row) => set(&mut self.uploads, &row.upload, Some(row)),
            StateChange::DropUpload(upload) => set(&mut self.uploads, upload, None),
            StateChange::PutHalt(row) => set(&mut self.halts, &row.id, Some(row)),
            StateChange::DropHalt(id) => set(&mut self.halts, id, None),
            StateChange::PutNote(name, value) => set(&mut self.notes, name, Some(value)),
            StateChange::DropNote(name) => set(&mut self.notes, name, None),
        }
    }

    pub(super) async fn write(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if self.drop_all_ancestors {
            query("DELETE FROM ancestor").execute(&mut *connection).await?;
        }
        write_table(
            connection,
            &self.ancestors,
            "DELETE FROM ancestor WHERE path IN (SELECT value FROM jsonb_each($1))",
            PUT_ANCESTORS,
            ancestor_columns,
        )
        .await?;
        write_table(
            connection,
            &self.journal,
            "DELETE FROM operations WHERE id IN (SELECT value FROM jsonb_each($1))",
            "INSERT OR REPLACE INTO operations (id, entry) SELECT value ->> 0, value ->> 1 FROM jsonb_each($1)",
            |id, entry| (id, entry),
        )
        .await?;
        write_table(
            connection,
            &self.uploads,
            "DELETE FROM uploads WHERE upload IN (SELECT value FROM jsonb_each($1))",
            "INSERT OR REPLACE INTO uploads (upload, entry) SELECT value ->> 0, value ->> 1 FROM jsonb_each($1)",
            |upload, row| (upload, row),
        )
        .await?;
        write_table(
            connection,
            &self.halts,
            "DELETE FROM halts WHERE id IN (SELECT value FROM jsonb_each($1))",
            "INSERT OR REPLACE INTO halts (id, entry) SELECT value ->> 0, value ->> 1 FROM jsonb_each($1)",
            |id, row| (id, row),
        )
        .await?;
        write_table(
            connection,
            &self.notes,
            "DELETE FROM notes WHERE name IN (SELECT value FROM jsonb_each($1))",
            "INSERT OR REPLACE INTO notes (name, value) SELECT value ->> 0, value ->> 1 FROM jsonb_each($1)",
            |name, value| (name, value),
        )
        .await
    }
}

fn set<'a, V>(net: &mut Net<'a, V>, key: impl Into<Cow<'a, str>>, row: Option<&'a V>) {
    net.insert(key.into(), row);
}

/// Runs both statements, each as often as its rows ask for.
async fn write_table<'n, V, C: Serialize>(
    connection: &mut SqliteConnection,
    net: &'n Net<'_, V>,
    drop: &'static str,
    put: &'static str,
    columns: impl Fn(&'n str, &'n V) -> C,
) -> Result<(), sqlx::Error> {
    let dropped: Vec<&str> = net.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| &**key).collect();
    for keys in dropped.chunks(STATEMENT_ROWS_MAX) {
        query(drop).bind(json(keys)?).execute(&mut *connection).await?;
    }
    let kept: Vec<(&str, &V)> = net.iter().filter_map(|(key, row)| Some((&**key, (*row)?))).collect();
    for rows in kept.chunks(STATEMENT_ROWS_MAX) {
        let rows: Vec<C> = rows.iter().map(|(key, row)| columns(key, row)).collect();
        query(put).bind(json(&rows)?).execute(&mut *connection).await?;
    }
    Ok(())
}

const PUT_ANCESTORS: &str = "\
    INSERT INTO ancestor (path, size, mtime_ns, ctime_ns, inode, mode, etag, remote_size, version_id, last_modified, \
                          content, nonce, open) \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, \
           value ->> 8, value ->> 9, unhex(value ->> 10), unhex(value ->> 11), value ->> 12 \
    FROM jsonb_each($1) WHERE true \
    ON CONFLICT (path) DO UPDATE SET \
        size = excluded.size, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, inode = excluded.inode, \
        mode = excluded.mode, etag = excluded.etag, remote_size = excluded.remote_size, \
        version_id = excluded.version_id, last_modified = excluded.last_modified, content = excluded.content, \
        nonce = excluded.nonce, open = excluded.open";

/// In the order of [`PUT_ANCESTORS`].
fn ancestor_columns<'n>(path: &'n str, ancestor: &'n Ancestor) -> impl Serialize + use<'n> {
    let Ancestor { fingerprint, generation, content, nonce, open } = ancestor;
    (
        path,
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
