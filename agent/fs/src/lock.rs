//! One agent per tree: a file held by `flock`.
//!
//! The kernel gives the lock back when the process ends, however it ends. The file stays: removing it would let two
//! agents hold two locks of one name.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, openat, statat};
use rustix::io::Errno;

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    _fd: OwnedFd,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{path} is held by another process")]
    Held { path: String },
    #[error("{path} cannot be locked")]
    Failed { path: String, source: std::io::Error },
}

impl LockError {
    /// The file system has no locks at all.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        let none = [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOLCK].map(|errno| Some(errno.raw_os_error()));
        matches!(self, Self::Failed { source, .. } if none.contains(&source.raw_os_error()))
    }
}

/// Locks the file at `path`, which is made when it is missing; its folder must exist. Does not wait.
pub fn lock_file(path: &Path) -> Result<Lock, LockError> {
    lock_at(CWD, path, MADE).map_err(|errno| refused(path.display().to_string(), errno))
}

pub(crate) fn refused(path: String, errno: Errno) -> LockError {
    if errno == Errno::WOULDBLOCK { LockError::Held { path } } else { LockError::Failed { path, source: errno.into() } }
}

/// Made where it is missing; for writing, as a lock over NFS asks for it.
pub(crate) const MADE: OFlags = OFlags::RDWR.union(OFlags::CREATE);
/// As it is: nothing is written.
pub(crate) const FOUND: OFlags = OFlags::RDONLY;

/// WOULDBLOCK: somebody else holds it.
pub(crate) fn lock_at(folder: BorrowedFd<'_>, name: &Path, access: OFlags) -> Result<Lock, Errno> {
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    loop {
        let fd = openat(folder, name, flags, Mode::from_raw_mode(0o600))?;
        flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
        let locked = fstat(&fd)?;
        // Somebody may have put another file there between our two calls: then ours locks nothing.
        match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) if (named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino) => return Ok(Lock { _fd: fd }),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
}
