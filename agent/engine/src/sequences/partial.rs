//! A large download on its way, which an interruption doesn't undo: a file for its content, and beside it the hash of each
//! range that has arrived.
//!
//! Nothing is believed of what lies there: a range counts as held when its bytes have the hash that was noted with it, so
//! that nothing has to be durable and lost pages are fetched again. The content is verified as a whole like any other
//! before it leaves. A path has one such download; another object of it begins anew.

use std::sync::Arc;

use gosync_plan::{ContentHash, Generation, RelPath};

use super::download::NewFile;
use super::read::read_full;
use crate::context::TMP;
use crate::digest::{Wanted, of_bytes};
use crate::ports::{LocalTree, TreeError, TreeErrorKind, TreeFile};

const HASH_BYTES: usize = 32;
/// Names of both files begin with it.
const PREFIX: &str = "partial-";
const NOTES: &str = ".ranges";

#[derive(Clone)]
pub(super) struct Partial {
    name: String,
    pub(super) content: Arc<dyn TreeFile>,
    /// A hash that says which object this is, then one for each range.
    notes: Arc<dyn TreeFile>,
    bytes: u64,
    part_bytes: u64,
}

impl Partial {
    /// Goes on with what an earlier try left of this very object, or begins.
    pub(super) fn open(
        tree: &dyn LocalTree,
        path: &RelPath,
        object: &Generation,
        part_bytes: u64,
    ) -> Result<Self, TreeError> {
        let path = blake3::hash(path.as_str().as_bytes()).to_hex();
        let name = format!("{TMP}/{PREFIX}{}", &path[..HASH_BYTES]);
        let version = object.version_id.as_deref().unwrap_or_default();
        let object_is = format!("{}\n{version}\n{}\n{part_bytes}", object.etag, object.size);
        let object_is = blake3::hash(object_is.as_bytes());
        let partial = |content: Box<dyn TreeFile>, notes: Box<dyn TreeFile>| Self {
            name: name.clone(),
            content: content.into(),
            notes: notes.into(),
            bytes: object.size,
            part_bytes,
        };
        if let (Ok(content), Ok(notes)) = (tree.reopen(&name), tree.reopen(&notes_of(&name))) {
            let left = partial(content, notes);
            let mut noted = [0; HASH_BYTES];
            if read_full(&*left.notes, 0, &mut noted)? == HASH_BYTES && noted == *object_is.as_bytes() {
                return Ok(left);
            }
        }
        drop_both(tree, &name)?;
        let content = NewFile::create_at(tree, &name, 0o600)?;
        let notes = tree.create(&notes_of(&name), 0o600)?;
        notes.write_at(0, object_is.as_bytes())?;
        Ok(partial(content, notes))
    }

    /// What it takes of the disk.
    pub(super) fn held_bytes(&self) -> Result<u64, TreeError> {
        Ok(self.content.stat()?.fingerprint.size)
    }

    /// Whether the range has arrived already.
    pub(super) fn holds(&self, part: u64) -> Result<bool, TreeError> {
        let mut noted = [0; HASH_BYTES];
        if read_full(&*self.notes, note_at(part), &mut noted)? < HASH_BYTES || noted == [0; HASH_BYTES] {
            return Ok(false);
        }
        let begin = part * self.part_bytes;
        let bytes = self.part_bytes.min(self.bytes.saturating_sub(begin));
        let mut held = vec![0; usize::try_from(bytes).unwrap_or(0)];
        let read = read_full(&*self.content, begin, &mut held)?;
        Ok(read == held.len() && of_bytes(&held, Wanted::default()).blake3 == ContentHash(noted))
    }

    pub(super) fn note(&self, part: u64, hash: ContentHash) -> Result<(), TreeError> {
        self.notes.write_at(note_at(part), &hash.0)
    }

    /// It is whole: gets the name of the operation that it goes on with.
    pub(super) fn leave(&self, tree: &dyn LocalTree, tmp: &str) -> Result<(), TreeError> {
        tree.rename(&self.name, tmp)?;
        tree.unlink(&notes_of(&self.name))
    }

    pub(super) fn drop(&self, tree: &dyn LocalTree) -> Result<(), TreeError> {
        drop_both(tree, &self.name)
    }
}

fn notes_of(name: &str) -> String {
    format!("{name}{NOTES}")
}

fn note_at(part: u64) -> u64 {
    (part + 1) * HASH_BYTES as u64
}

fn drop_both(tree: &dyn LocalTree, name: &str) -> Result<(), TreeError> {
    for name in [name, &notes_of(name)] {
        match tree.unlink(name) {
            Err(error) if error.kind != TreeErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn is_one(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Whether a later try may go on with this file of the temp folder: it is a partial download, and was written to lately.
pub(super) fn may_go_on(tree: &dyn LocalTree, name: &str, now_ms: i64, age_max_ms: i64) -> bool {
    let age_ms = |name: &str| {
        let stat = tree.stat(&format!("{TMP}/{name}")).ok()?;
        Some(now_ms.saturating_sub(stat.fingerprint.mtime_ns.div_euclid(1_000_000)))
    };
    let content = name.strip_suffix(NOTES).unwrap_or(name);
    is_one(name) && age_ms(content).is_some_and(|age| age <= age_max_ms) && age_ms(&notes_of(content)).is_some()
}
