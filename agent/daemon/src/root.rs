//! The root of a mirror: opened, and locked against other agents.
//!
//! The lock ends with the process, however it ends. Into a root that is known but not to be trusted nothing is written:
//! such a one gets its lock as soon as it has a folder of ours again.

use std::io;
use std::path::Path;

use gosync_api::words::HaltReason;
use gosync_engine::ports::{LocalTree as _, TreeError, TreeErrorKind};
use gosync_fs::{DiskTree, Lock, LockError};

use crate::chain::chain;
use crate::one_mirror::Why;
use crate::words;

/// The mirror's own folder in its root.
pub const OWN: &str = ".gosync";
const LOCK: &str = ".gosync/lock";

/// Opens and locks the root. `known`: there is a state that knows this root, so a missing one is no reason to make one.
pub fn open_root(root: &Path, known: bool) -> Result<(DiskTree, Option<Lock>), Why> {
    let tree = match DiskTree::open(root) {
        Ok(tree) => tree,
        Err(error) if error.is_not_found() && known => {
            return Err(Why::Halt(HaltReason::RootMissing, format!("the root {} is gone", root.display())));
        }
        Err(error) if error.is_not_found() => {
            std::fs::create_dir_all(root).map_err(|error| folder_trouble(root, &error))?;
            DiskTree::open(root).map_err(tree_trouble)?
        }
        Err(error) if error.kind == TreeErrorKind::NotAFolder && known => {
            return Err(Why::Halt(HaltReason::RootMissing, format!("{} is no folder", root.display())));
        }
        Err(error) => return Err(tree_trouble(error)),
    };
    if tree.opened_root().network {
        let message = format!(
            "SharedVolumeNeedsPostgres: {} lies on a network file system, which other hosts may write to; \
             that needs metadata in Postgres, which this release does not have yet: use a local folder",
            root.display()
        );
        return Err(Why::Error { class: words::SHARED_VOLUME, message });
    }
    // A known root without our folder is not to be trusted: nothing is written into it.
    let lock = if known { late_lock(&tree)? } else { Some(first_lock(&tree)?) };
    Ok((tree, lock))
}

fn first_lock(tree: &DiskTree) -> Result<Lock, Why> {
    match tree.make_folder(OWN) {
        Err(error) if error.kind != TreeErrorKind::Exists => Err(tree_trouble(error)),
        _ => take_lock(tree),
    }
}

/// `None`: there is no folder of ours yet.
pub fn late_lock(tree: &DiskTree) -> Result<Option<Lock>, Why> {
    match tree.stat(OWN) {
        Ok(_) => take_lock(tree).map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(tree_trouble(error)),
    }
}

fn take_lock(tree: &DiskTree) -> Result<Lock, Why> {
    tree.lock(LOCK).map_err(|error| match &error {
        LockError::Held { .. } => Why::Error {
            class: words::LOCKED,
            message: "another agent is active on this folder (.gosync/lock is held); this one takes over when it ends"
                .to_owned(),
        },
        LockError::Failed { source, .. } => {
            Why::Error { class: io_class(source), message: format!("{}: check who owns .gosync", chain(&error)) }
        }
    })
}

fn tree_trouble(error: TreeError) -> Why {
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
