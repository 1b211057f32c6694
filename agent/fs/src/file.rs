//! An open regular file.
//!
//! Nothing is buffered here: what a call wrote is the kernel's. It survives a crash of the process at once and a power
//! loss after `sync`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gosync_engine::ports::{Lease, Stat, TreeError, TreeFile};
use rustix::fs::{Mode, Timespec, Timestamps, UTIME_OMIT, fchmod, fsync, ftruncate, futimens};
use rustix::io::{pread, retry_on_intr};

use crate::error::Refused;
use crate::{copy, facts, lease};

/// A regular file of a [`DiskTree`](crate::DiskTree).
#[derive(Debug)]
pub struct DiskFile {
    fd: OwnedFd,
    path: String,
    tree_mount: u64,
}

impl DiskFile {
    pub(crate) fn new(fd: OwnedFd, path: &str, tree_mount: u64) -> Self {
        Self { fd, path: path.into(), tree_mount }
    }

    /// [`TreeFile::copy_to`] within the kernel: shared blocks where the file system can.
    pub fn copy_within_kernel(&self, to: BorrowedFd<'_>) -> Result<(), TreeError> {
        copy::copy(self.fd.as_fd(), to).map_err(|errno| self.failed("copy", errno))
    }

    fn failed(&self, call: &'static str, refused: impl Into<Refused>) -> TreeError {
        refused.into().at(call, &self.path)
    }
}

impl AsFd for DiskFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl TreeFile for DiskFile {
    fn stat(&self) -> Result<Stat, TreeError> {
        facts::look(self.fd.as_fd())
            .map(|found| facts::stat_of(&found, self.tree_mount))
            .map_err(|errno| self.failed("fstat", errno))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, TreeError> {
        retry_on_intr(|| pread(&self.fd, &mut *buffer, offset)).map_err(|errno| self.failed("read", errno))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), TreeError> {
        copy::write_all(self.fd.as_fd(), bytes, offset).map_err(|errno| self.failed("write", errno))
    }

    fn set_len(&self, bytes: u64) -> Result<(), TreeError> {
        ftruncate(&self.fd, bytes).map_err(|errno| self.failed("ftruncate", errno))
    }

    fn set_mode(&self, mode: u32) -> Result<(), TreeError> {
        fchmod(&self.fd, permissions(mode)).map_err(|errno| self.failed("fchmod", errno))
    }

    fn set_mtime_ns(&self, mtime_ns: i64) -> Result<(), TreeError> {
        const SECOND_NS: i64 = 1_000_000_000;
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: mtime_ns.div_euclid(SECOND_NS),
                tv_nsec: mtime_ns.rem_euclid(SECOND_NS) as _,
            },
        };
        futimens(&self.fd, &times).map_err(|errno| self.failed("futimens", errno))
    }

    fn sync(&self) -> Result<(), TreeError> {
        retry_on_intr(|| fsync(&self.fd)).map_err(|errno| self.failed("fsync", errno))
    }

    fn lease(&self) -> Lease {
        lease::take(self.fd.as_fd())
    }

    fn release_lease(&self) {
        lease::release(self.fd.as_fd());
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn copy_to(&self, to: &dyn TreeFile) -> Result<(), TreeError> {
        if let Some(to) = to.descriptor() {
            return self.copy_within_kernel(to);
        }
        to.set_len(0)?;
        let from = self.fd.as_fd();
        let bytes = copy::size_of(from).map_err(|errno| self.failed("fstat", errno))?;
        let mut outcome = Ok(());
        copy::for_each_extent(from, bytes, |start, end| {
            copy::by_hand(from, start, end, |bytes, offset| {
                to.write_at(offset, bytes).map_err(|error| {
                    outcome = Err(error);
                    rustix::io::Errno::IO
                })
            })
        })
        .or_else(|errno| std::mem::replace(&mut outcome, Ok(())).and(Err(self.failed("read", errno))))?;
        to.set_len(bytes)
    }
}

/// The bits that chmod takes: a file type beside them is left out.
pub(crate) fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}
