//! What a batch of changes comes to: which rows are to be written how, and what the feed tells of it. Pure, and the same
//! for every database.
//!
//! Sequence numbers go up in the order of keys. A row that is already the same version of the object only learns what it
//! didn't know, without a change row. A row that isn't what its change expects stays, and the change is refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gosync_engine::ports::metadata::{ChangeType, FileChange, FileRow, Refused};

/// A change, and the number of the caller that made it.
pub(crate) type Owned<'a> = (usize, &'a FileChange);

pub(crate) struct Batch<'a, I> {
    pub(crate) store: i64,
    pub(crate) client: &'a str,
    pub(crate) now_ms: i64,
    /// The newest sequence number: of the feed first, of this batch then.
    pub(crate) head: u64,
    /// For new rows: one for each of [`keys`] that has no row.
    pub(crate) ids: I,
    /// The rows that the changes may concern, by key: first as stored, then as they are to be.
    pub(crate) known: HashMap<String, FileRow>,
    /// Versions of the rows to be written, as they are stored (0: none), by key.
    touched: BTreeMap<String, u64>,
    pub(crate) changes: Vec<NewChange>,
    /// With the numbers of the callers.
    pub(crate) refused: Vec<(usize, Refused)>,
}

pub(crate) struct NewChange {
    pub(crate) seq: u64,
    pub(crate) file_id: i64,
    pub(crate) key: String,
    pub(crate) change_type: ChangeType,
    /// Where the content of a renamed one is.
    pub(crate) moved_to: Option<String>,
    pub(crate) etag: String,
    pub(crate) size: u64,
}

/// The keys whose rows may be read or made: those of the changes and all folders above them, in order.
pub(crate) fn keys<'a>(changes: &[Owned<'a>]) -> Vec<&'a str> {
    let mut keys = BTreeSet::new();
    for (_, change) in changes {
        keys.insert(change.key());
        keys.extend(std::iter::successors(parent(change.key()), |key| parent(key)));
    }
    keys.into_iter().collect()
}

/// The rows in the order of the keys that they were asked for by.
pub(crate) fn in_order(keys: &[String], rows: Vec<FileRow>) -> Vec<Option<FileRow>> {
    let rows: HashMap<String, FileRow> = rows.into_iter().map(|row| (row.s3_key.clone(), row)).collect();
    keys.iter().map(|key| rows.get(key).cloned()).collect()
}

/// The folder that holds `key`, as a key: `a/b/` for `a/b/c`, `a/` for `a/b/`; `None` at the top.
fn parent(key: &str) -> Option<&str> {
    let name_ends = key.strip_suffix('/').unwrap_or(key);
    name_ends.rfind('/').map(|cut| &key[..=cut])
}

impl<'a, I: Iterator<Item = i64>> Batch<'a, I> {
    pub(crate) fn new(store: i64, client: &'a str, now_ms: i64, head: u64, ids: I, known: Vec<FileRow>) -> Self {
        let known = known.into_iter().map(|row| (row.s3_key.clone(), row)).collect();
        let (touched, changes, refused) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { store, client, now_ms, head, ids, known, touched, changes, refused }
    }

    /// All of them, in the order of their keys; changes of one key in the order given.
    pub(crate) fn add_all(&mut self, mut changes: Vec<Owned<'_>>) {
        changes.sort_by_key(|(_, change)| change.key());
        for (owner, change) in changes {
            self.add(owner, change);
        }
    }

    /// The rows to be written, in the order of their keys.
    pub(crate) fn rows(&self) -> Vec<&FileRow> {
        self.touched.keys().filter_map(|key| self.known.get(key)).collect()
    }

    fn add(&mut self, owner: usize, change: &FileChange) {
        let known = self.known.get(change.key());
        let is_known = change.is_known(known);
        if !is_known && !change.expects().is_met(known) {
            let refused = Refused { key: change.key().to_owned(), row: known.cloned() };
            self.refused.push((owner, refused));
            return;
        }
        match change {
            FileChange::Put { key, expects: _, generation, content, modified_ns, mode, mime_type } => {
                let parent_id = self.folder(parent(key));
                let mut row = match self.known.remove(key) {
                    Some(row) => row,
                    None => self.new_row(key, parent_id),
                };
                if is_known {
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
                    let change_type = if row.holds_object() { ChangeType::Update } else { ChangeType::Create };
                    row.size = generation.size;
                    row.etag.clone_from(&generation.etag);
                    row.version_id.clone_from(&generation.version_id);
                    row.last_modified.clone_from(&generation.last_modified);
                    (row.checksum, row.modified_ns, row.mode) = (*content, *modified_ns, *mode);
                    row.mime_type.clone_from(mime_type);
                    (row.is_deleted, row.deleted_ms) = (false, None);
                    self.announce(&mut row, change_type, None);
                    self.keep(row);
                }
            }
            FileChange::Delete { key, expects: _, moved_to } => {
                if is_known {
                    return;
                }
                let Some(mut row) = self.known.remove(key) else { return };
                let change_type = if moved_to.is_some() { ChangeType::Rename } else { ChangeType::Delete };
                self.announce(&mut row, change_type, moved_to.clone());
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
        FileRow {
            // There are as many ids as there are keys without a row.
            id: self.ids.next().unwrap_or_default(),
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
    fn announce(&mut self, row: &mut FileRow, change_type: ChangeType, moved_to: Option<String>) {
        self.head += 1;
        row.seq = self.head;
        row.updated_by = self.client.into();
        self.changes.push(NewChange {
            seq: self.head,
            file_id: row.id,
            key: row.s3_key.clone(),
            change_type,
            moved_to,
            etag: row.etag.clone(),
            size: row.size,
        });
    }

    /// Marks the row for writing. A batch counts as one version, however often it changes the row.
    fn keep(&mut self, mut row: FileRow) {
        let stored = *self.touched.entry(row.s3_key.clone()).or_insert(row.version);
        row.version = stored + 1;
        self.known.insert(row.s3_key.clone(), row);
    }
}
