//! A symbolic link that is kept as one: to the engine a file whose content is where the link points to. It is never followed.
//!
//! A link can't be written to, only replaced, so its content is read once and for all.

use std::os::fd::{AsFd, OwnedFd};

use gosync_engine::ports::{Lease, Stat, TreeError, TreeErrorKind, TreeFile};
use rustix::fs::readlinkat;
use rustix::io::Errno;

use crate::error::Refused;
use crate::facts;

/// A symbolic link of a [`DiskTree`](crate::DiskTree) that keeps them.
pub(crate) struct DiskLink {
    /// Opened with O_PATH.
    fd: OwnedFd,
    target: Vec<u8>,
    path: String,
    tree_mount: u64,
}

impl DiskLink {
    pub fn new(fd: OwnedFd, path: &str, tree_mount: u64) -> Result<Self, Errno> {
        let target = readlinkat(&fd, c"", Vec::new())?.into_bytes();
        Ok(Self { fd, target, path: path.into(), tree_mount })
    }

    fn refused(&self, call: &'static str) -> TreeError {
        Refused::new(TreeErrorKind::Unsupported).at(call, &self.path)
    }
}

impl TreeFile for DiskLink {
    fn stat(&self) -> Result<Stat, TreeError> {
        facts::look(self.fd.as_fd())
            .map(|found| facts::link_as_file(facts::stat_of(&found, self.tree_mount)))
            .map_err(|errno| Refused::from(errno).at("fstat", &self.path))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, TreeError> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.target.get(offset..)).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> Result<(), TreeError> {
        Err(self.refused("write"))
    }

    fn set_len(&self, _: u64) -> Result<(), TreeError> {
        Err(self.refused("ftruncate"))
    }

    /// Links have no mode.
    fn set_mode(&self, _: u32) -> Result<(), TreeError> {
        Ok(())
    }

    fn set_mtime_ns(&self, _: i64) -> Result<(), TreeError> {
        Err(self.refused("futimens"))
    }

    /// It lives in its folder's entry and inode: syncing the folder makes it durable.
    fn sync(&self) -> Result<(), TreeError> {
        Ok(())
    }

    fn lease(&self) -> Lease {
        Lease::Granted
    }

    fn release_lease(&self) {}

    fn copy_to(&self, to: &dyn TreeFile) -> Result<(), TreeError> {
        to.set_len(0)?;
        to.write_at(0, &self.target)
    }
}
