//! The root of a mirror: opened, and locked against other agents.
//!
//! The lock ends with the process, however it ends. Into a root that is known but not to be trusted nothing is written:
//! such a one gets its lock as soon as it has a folder of ours again.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use gosync_api::config::{Symlinks, SyncSettings};
use gosync_api::words::HaltReason;
use gosync_engine::ports::{LocalTree as _, TreeError, TreeErrorKind};
use gosync_fs::{DiskTree, Lock, LockError, survey};

use crate::chain::chain;
use crate::one_mirror::Why;
use crate::words;

/// The mirror's own folder in its root.
pub const OWN: &str = ".gosync";
pub const LOCK: &str = ".gosync/lock";

/// How it is known that a root was there before: then a missing one is no reason to make one.
#[derive(Clone, Copy)]
pub enum Known<'a> {
    No,
    /// There is a state that knows it.
    ByState,
    /// Its state is in its volume, and may be gone along with it.
    ByNote(&'a VolumeNote),
}

/// A file in the data_dir that names the root of a volume with its own state. A bare mount point looks like a first run;
/// this tells them apart.
pub struct VolumeNote {
    pub path: PathBuf,
    pub root: PathBuf,
}

impl VolumeNote {
    /// True if it was kept for this root; another root is a first run.
    pub fn is_there(&self) -> Result<bool, Why> {
        match std::fs::read(&self.path) {
            Ok(text) => Ok(text == self.root.as_os_str().as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.trouble("read", &error)),
        }
    }

    pub fn keep(&self) -> Result<(), Why> {
        if self.is_there()? {
            return Ok(());
        }
        let kept = self.path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
            let new = self.path.with_extension("volume.new");
            let mut file = File::create(&new)?;
            file.write_all(self.root.as_os_str().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)
        });
        kept.map_err(|error| self.trouble("written", &error))
    }

    fn trouble(&self, done: &str, error: &io::Error) -> Why {
        Why::Error { class: io_class(error), message: format!("{} can't be {done}: {error}", self.path.display()) }
    }

    /// The volume that was there is not what stands there now.
    fn missing(&self, stands: &str) -> Why {
        let (root, note) = (self.root.display(), self.path.display());
        let message = format!(
            "the volume of this mirror is not at {root}: {stands}; mount it, or, if what stands there is meant to \
             begin anew, delete the note {note}"
        );
        Why::Halt(HaltReason::RootMissing, message)
    }
}

/// What beside regular files a mirror keeps.
#[derive(Clone, Copy)]
pub struct Keeps {
    links: bool,
    folders: bool,
}

impl Keeps {
    pub fn of(sync: &SyncSettings) -> Self {
        Self { links: sync.symlinks == Symlinks::Preserve, folders: sync.directory_markers }
    }

    pub fn on(self, tree: DiskTree) -> DiskTree {
        tree.keeping_links(self.links).keeping_folders(self.folders)
    }
}

/// A root that is open.
pub struct OpenRoot {
    pub tree: DiskTree,
    /// `None`: it has no folder of ours yet, or its file system has no locks, or the lock is held.
    pub lock: Option<Lock>,
    /// By somebody else, on a network file system: that alone doesn't tell whether he is still active.
    pub is_held: bool,
    /// Nothing can be written into it.
    pub read_only: bool,
}

/// Opens and locks the root; makes it where it is not known. Other hosts may only write to it if `shared` metadata can tell
/// whose turn it is. `may_be_read_only`: what the mirror does needs no writing.
pub fn open_root(
    root: &Path,
    keeps: Keeps,
    known: Known<'_>,
    may_be_read_only: bool,
    shared: bool,
) -> Result<OpenRoot, Why> {
    let tree = match (DiskTree::open(root), known) {
        (Ok(tree), _) => tree,
        (Err(error), Known::ByNote(note)) if error.is_not_found() => return Err(note.missing("nothing is there")),
        (Err(error), Known::ByNote(note)) if error.kind == TreeErrorKind::NotAFolder => {
            return Err(note.missing("what is there is no folder"));
        }
        (Err(error), Known::ByState) if error.is_not_found() => {
            return Err(Why::Halt(HaltReason::RootMissing, format!("the root {} is gone", root.display())));
        }
        (Err(error), _) if error.is_not_found() => {
            std::fs::create_dir_all(root).map_err(|error| folder_trouble(root, &error))?;
            DiskTree::open(root).map_err(tree_trouble)?
        }
        (Err(error), Known::ByState) if error.kind == TreeErrorKind::NotAFolder => {
            return Err(Why::Halt(HaltReason::RootMissing, format!("{} is no folder", root.display())));
        }
        (Err(error), _) => return Err(tree_trouble(error)),
    };
    let tree = keeps.on(tree);
    let network = tree.opened_root().network;
    if network && !shared {
        let message = format!(
            "SharedVolumeNeedsPostgres: {} lies on a network file system, which other hosts may write to; \
             that needs metadata in Postgres (metadata.type), by which agents take turns: name one, or use a local folder",
            root.display()
        );
        return Err(Why::Error { class: words::SHARED_VOLUME, message });
    }
    let read_only = may_be_read_only && survey(root).is_ok_and(|seen| !seen.may_write);
    // A known root without our folder is not to be trusted: nothing is written into it.
    match known {
        Known::No if read_only => {}
        Known::No => make_own_folder(&tree)?,
        Known::ByState => {}
        Known::ByNote(note) => {
            if !has_own_folder(&tree)? {
                return Err(note.missing(&contents(root)));
            }
        }
    }
    let locked = if read_only { tree.lock_found(LOCK).map_err(lock_trouble) } else { late_lock(&tree) };
    match locked {
        Err(Why::Error { class: words::LOCKED, .. }) if network => {
            Ok(OpenRoot { tree, lock: None, is_held: true, read_only })
        }
        locked => Ok(OpenRoot { lock: locked?, tree, is_held: false, read_only }),
    }
}

/// What a folder without ours looks like, for people.
fn contents(root: &Path) -> String {
    match std::fs::read_dir(root).map(|mut entries| entries.next().is_none()) {
        Ok(true) => "an empty folder is there".to_owned(),
        Ok(false) => format!("the folder there has no {OWN}"),
        Err(error) => format!("the folder there has no {OWN}, and can't be read: {error}"),
    }
}

fn make_own_folder(tree: &DiskTree) -> Result<(), Why> {
    match tree.make_folder(OWN) {
        Err(error) if error.kind != TreeErrorKind::Exists => Err(tree_trouble(error)),
        _ => Ok(()),
    }
}

fn has_own_folder(tree: &DiskTree) -> Result<bool, Why> {
    match tree.stat(OWN) {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(tree_trouble(error)),
    }
}

/// `None`: there is no folder of ours yet, or the network file system has no locks.
pub fn late_lock(tree: &DiskTree) -> Result<Option<Lock>, Why> {
    if !has_own_folder(tree)? {
        return Ok(None);
    }
    match tree.lock(LOCK) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.is_unsupported() && tree.opened_root().network => Ok(None),
        Err(error) => Err(lock_trouble(error)),
    }
}

fn lock_trouble(error: LockError) -> Why {
    match &error {
        LockError::Held { .. } => locked(".gosync/lock is held"),
        LockError::Failed { source, .. } => {
            Why::Error { class: io_class(source), message: format!("{}: check who owns .gosync", chain(&error)) }
        }
    }
}

/// Another agent has the tree.
pub fn locked(how: &str) -> Why {
    let message = format!("another agent is active on this folder ({how}); this one takes over when it ends");
    Why::Error { class: words::LOCKED, message }
}

pub fn tree_trouble(error: TreeError) -> Why {
    let class = match error.kind {
        TreeErrorKind::Permission | TreeErrorKind::ReadOnly => words::PERMISSION,
        _ => words::LOCAL,
    };
    Why::Error { class, message: chain(&error) }
}

fn folder_trouble(root: &Path, error: &io::Error) -> Why {
    Why::Error { class: io_class(error), message: format!("the folder {} can't be made: {error}", root.display()) }
}

fn io_class(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => words::PERMISSION,
        _ => words::LOCAL,
    }
}
