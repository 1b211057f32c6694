//! What a replica remembers for itself, in memory: each apply is whole and durable.

use std::collections::BTreeMap;

use gosync_engine::ports::state::{HaltRow, UploadRow};
use gosync_engine::ports::{JournalEntry, StateChange};
use gosync_plan::{Ancestor, Nonce, RelPath};

#[derive(Default)]
pub struct Rows {
    pub ancestors: BTreeMap<RelPath, Ancestor>,
    pub journal: BTreeMap<Nonce, JournalEntry>,
    pub uploads: BTreeMap<String, UploadRow>,
    pub halts: BTreeMap<String, HaltRow>,
    pub notes: BTreeMap<String, String>,
}

impl Rows {
    /// Returns how many rows of ancestor and journal were written.
    pub fn apply(&mut self, changes: Vec<StateChange>) -> u64 {
        let mut written = 0;
        for change in changes {
            match change {
                StateChange::PutAncestor(path, ancestor) => {
                    self.ancestors.insert(path, ancestor);
                    written += 1;
                }
                StateChange::DropAncestor(path) => written += u64::from(self.ancestors.remove(&path).is_some()),
                StateChange::DropAllAncestors => {
                    written += self.ancestors.len() as u64;
                    self.ancestors.clear();
                }
                StateChange::Begin(entry) => {
                    self.journal.insert(entry.id, entry);
                    written += 1;
                }
                StateChange::End(id) => written += u64::from(self.journal.remove(&id).is_some()),
                StateChange::PutUpload(row) => {
                    self.uploads.insert(row.upload.clone(), row);
                }
                StateChange::DropUpload(upload) => {
                    self.uploads.remove(&upload);
                }
                StateChange::PutHalt(row) => {
                    self.halts.insert(row.id.clone(), row);
                }
                StateChange::DropHalt(id) => {
                    self.halts.remove(&id);
                }
                StateChange::PutNote(name, value) => {
                    self.notes.insert(name, value);
                }
                StateChange::DropNote(name) => {
                    self.notes.remove(&name);
                }
            }
        }
        written
    }

    /// Rows after `after` whose path begins with `prefix`.
    pub fn page(&self, prefix: &str, after: Option<&RelPath>, limit: usize) -> Vec<(RelPath, Ancestor)> {
        let rows = self.ancestors.iter().filter(|(path, _)| path.as_str().starts_with(prefix));
        rows.filter(|(path, _)| after.is_none_or(|after| *path > after))
            .take(limit)
            .map(|(path, ancestor)| (path.clone(), ancestor.clone()))
            .collect()
    }
}
