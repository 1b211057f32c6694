//! Putting a verified temp file in its place (R5), in one go on a thread that may block.
//!
//! A replacement passes through `.gosync/displaced/<operation>`: the new content is moved there first and then exchanged
//! with the old one, so that at each instant the path holds a whole content and a kill leaves the old one where the next
//! start looks for it. The caller has journalled the step.

use gosync_plan::{Fingerprint, RelPath};

use crate::context::DISPLACED;
use crate::crash::{self, CrashPoint};
use crate::ports::local::Kind;
use crate::ports::{Lease, LocalTree, TreeError, TreeErrorKind, TreeFile};

/// What placing came to.
pub enum Placed {
    /// The new file's fingerprint, and the folders whose names have to be made durable.
    InPlace {
        fingerprint: Fingerprint,
        folders: Vec<String>,
    },
    /// Not what was planned stands there; the temp file is gone.
    Again,
    Busy,
}

/// Puts `tmp` at `path`, where nothing stands.
pub fn place_new(tree: &dyn LocalTree, tmp: &str, path: &RelPath) -> Result<Placed, TreeError> {
    let new = leased(tree, tmp)?;
    let before = new.stat()?.fingerprint;
    let mut folders = Vec::new();
    let mut moved = move_new(tree, tmp, path.as_str());
    if moved.as_ref().is_err_and(TreeError::is_not_found) {
        folders = make_folders(tree, path)?;
        moved = move_new(tree, tmp, path.as_str());
    }
    match moved {
        Ok(()) => {}
        // An empty folder makes way; one that isn't empty stays, whatever was thought of it.
        Err(error) if error.kind == TreeErrorKind::Exists && remove_empty(tree, path.as_str()) => {
            move_new(tree, tmp, path.as_str())?;
        }
        Err(error) if error.kind == TreeErrorKind::Exists => {
            tree.unlink(tmp)?;
            return Ok(Placed::Again);
        }
        Err(error) => return Err(error),
    }
    crash::reached(CrashPoint::PlacedNew);
    folders.push(parent(path));
    finish(&*new, before, folders)
}

/// The new content, under a lease where one is to be had: nobody writes to it before its fingerprint is taken. Without
/// one, a write in the same instant that keeps size and mtime would be taken for ours.
fn leased(tree: &dyn LocalTree, tmp: &str) -> Result<Box<dyn TreeFile>, TreeError> {
    let new = match tree.open(tmp) {
        Err(error) if error.kind == TreeErrorKind::Permission => {
            // Its mode keeps even its owner from reading it.
            let mode = tree.stat(tmp)?.fingerprint.mode & 0o7777;
            tree.set_mode(tmp, 0o600)?;
            let new = tree.open(tmp)?;
            new.set_mode(mode)?;
            new
        }
        result => result?,
    };
    new.lease();
    Ok(new)
}

/// Gives what stands at `from` the name `to`, which nothing may have. Where the file system can't do that in one step:
/// a second name first, then the first one away, unless somebody has put something else there meanwhile.
pub fn move_new(tree: &dyn LocalTree, from: &str, to: &str) -> Result<(), TreeError> {
    match tree.rename_new(from, to) {
        Err(error) if error.kind == TreeErrorKind::Unsupported => {}
        result => return result,
    }
    tree.link(from, to)?;
    let moved = tree.stat(to)?.fingerprint.inode;
    let hidden = format!("{DISPLACED}/moved-{moved}");
    out_of_sight(tree, from, &hidden)?;
    if tree.stat(&hidden)?.fingerprint.inode != moved {
        tree.link(&hidden, from)?;
    }
    tree.unlink(&hidden)
}

/// Renames to a name in the folder of displaced contents, which somebody may have tidied up.
fn out_of_sight(tree: &dyn LocalTree, from: &str, displaced: &str) -> Result<(), TreeError> {
    match tree.rename(from, displaced) {
        Err(error) if error.is_not_found() => {
            match tree.make_folder(DISPLACED) {
                Err(error) if error.kind != TreeErrorKind::Exists => return Err(error),
                _ => {}
            }
            tree.rename(from, displaced)
        }
        result => result,
    }
}

/// Removes a folder with nothing but folders in it; true when it is gone. `rmdir` itself sees to it that nothing is lost.
fn remove_empty(tree: &dyn LocalTree, folder: &str) -> bool {
    for entry in tree.read_folder(folder).unwrap_or_default() {
        let Ok(name) = entry.name else { return false };
        if !remove_empty(tree, &format!("{folder}/{name}")) {
            return false;
        }
    }
    tree.remove_folder(folder).is_ok()
}

/// Puts `tmp` at `path` in the place of the file that `planned` names; that one ends up at `displaced`.
pub fn place_over(
    tree: &dyn LocalTree,
    tmp: &str,
    displaced: &str,
    path: &RelPath,
    planned: Fingerprint,
) -> Result<Placed, TreeError> {
    let old = tree.open(path.as_str())?;
    if old.stat()?.fingerprint != planned {
        tree.unlink(tmp)?;
        return Ok(Placed::Again);
    }
    if old.lease() == Lease::Busy {
        tree.unlink(tmp)?;
        return Ok(Placed::Busy);
    }
    // From here on whoever opens it for writing waits until the lease is released.
    let new = leased(tree, tmp)?;
    let mode = new.stat()?.fingerprint.mode;
    tree.copy_attributes(path.as_str(), tmp)?;
    if new.stat()?.fingerprint.mode != mode {
        // An ACL that was carried over has its say in the mode bits; the planned mode wins.
        new.set_mode(mode & 0o7777)?;
    }
    let before = new.stat()?.fingerprint;
    out_of_sight(tree, tmp, displaced)?;
    crash::reached(CrashPoint::NewSetAside);
    let still = tree.stat(path.as_str()).is_ok_and(|stat| stat.kind == Kind::File && stat.fingerprint == planned);
    if !still {
        tree.unlink(displaced)?;
        return Ok(Placed::Again);
    }
    match tree.exchange(displaced, path.as_str()) {
        Ok(()) => {}
        Err(error) if error.kind == TreeErrorKind::Unsupported => replace_by_link(tree, displaced, path)?,
        Err(error) if error.kind == TreeErrorKind::NotFound => {
            tree.unlink(displaced)?;
            return Ok(Placed::Again);
        }
        Err(error) => return Err(error),
    }
    crash::reached(CrashPoint::Exchanged);
    old.release_lease();
    finish(&*new, before, vec![parent(path), DISPLACED.to_owned()])
}

/// Where the file system knows no exchange: a second name for the old content first, then the new one over it.
fn replace_by_link(tree: &dyn LocalTree, displaced: &str, path: &RelPath) -> Result<(), TreeError> {
    let old = format!("{displaced}.old");
    tree.link(path.as_str(), &old)?;
    tree.rename(displaced, path.as_str())?;
    tree.rename(&old, displaced)
}

/// The placed file's fingerprint, unless somebody wrote to it already: then it has to be looked at again.
fn finish(new: &dyn TreeFile, before: Fingerprint, folders: Vec<String>) -> Result<Placed, TreeError> {
    let fingerprint = new.stat()?.fingerprint;
    new.release_lease();
    if !fingerprint.same_but_ctime(&before) {
        return Ok(Placed::Again);
    }
    Ok(Placed::InPlace { fingerprint, folders })
}

/// Makes the folders above `path` that are missing; returns those whose names changed by it.
pub fn make_folders(tree: &dyn LocalTree, path: &RelPath) -> Result<Vec<String>, TreeError> {
    let mut missing = Vec::new();
    for folder in path.ancestors() {
        match tree.stat(folder.as_str()) {
            Ok(_) => break,
            Err(error) if error.kind == TreeErrorKind::NotFound => missing.push(folder),
            Err(error) => return Err(error),
        }
    }
    let mut changed = Vec::new();
    for folder in missing.into_iter().rev() {
        match tree.make_folder(folder.as_str()) {
            Ok(()) => changed.push(parent(&folder)),
            Err(error) if error.kind == TreeErrorKind::Exists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(changed)
}

/// The folder that holds `path`, as the tree names it; for a marker the one that holds its folder.
pub fn parent(path: &RelPath) -> String {
    let folder = if path.is_marker() { path.parent().and_then(|folder| folder.parent()) } else { path.parent() };
    folder.map_or_else(String::new, String::from)
}
