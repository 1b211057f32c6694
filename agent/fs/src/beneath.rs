//! Paths to descriptors, never outside the root: `openat2` where the kernel has it, else component by component.
//!
//! The kernel does the refusing (RESOLVE_BENEATH, NO_SYMLINKS, NO_MAGICLINKS, NO_XDEV), at the moment of the call, so
//! that a symlink or mount put in the way meanwhile is refused as well. Paths that are not plain (`..`, `.`, `//`) are
//! refused before, so that both ways answer alike.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gosync_engine::ports::TreeErrorKind;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Statx, openat, openat2};
use rustix::io::Errno;

use crate::error::Refused;
use crate::facts::{look, mount_of};

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Nothing that is opened stays open over an exec, waits for a FIFO's other end or becomes a terminal. (A last symlink
/// is refused by NO_SYMLINKS; with O_NOFOLLOW beside O_DIRECTORY it would merely be "no folder".)
const ALWAYS: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// All that goes with O_PATH, for opening what is merely looked at or passed through.
const NODE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A root and the way to get from it to what stands below.
pub(crate) struct Beneath {
    root: OwnedFd,
    mount: u64,
    has_openat2: bool,
}

/// The folder that a name stands in.
pub(crate) enum Parent<'a> {
    Root(BorrowedFd<'a>),
    Opened(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(fd) => *fd,
            Self::Opened(fd) => fd.as_fd(),
        }
    }
}

impl Beneath {
    /// `mount`: the one that the root lives on.
    pub fn new(root: OwnedFd, mount: u64) -> Self {
        // Old kernels and some sandboxes have no such call (ENOSYS, or EPERM by a filter): asked once, on what must work.
        let has_openat2 = openat2(&root, c".", NODE, Mode::empty(), RESOLVE).is_ok();
        Self { root, mount, has_openat2 }
    }

    #[cfg(test)]
    pub fn without_openat2(root: OwnedFd, mount: u64) -> Self {
        Self { root, mount, has_openat2: false }
    }

    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub fn mount(&self) -> u64 {
        self.mount
    }

    /// Opens what stands at `path` (`""`: the root itself).
    pub fn open(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Refused> {
        self.resolve(path, flags | ALWAYS, mode)
    }

    /// What stands at `path`, of any kind, without opening it for reading: no permission on it is needed. A symlink is
    /// refused.
    pub fn node(&self, path: &str) -> Result<OwnedFd, Refused> {
        let node = self.resolve(path, NODE, Mode::empty())?;
        if FileType::from_raw_mode(look(node.as_fd())?.stx_mode.into()) == FileType::Symlink {
            return Err(Refused::as_kind(TreeErrorKind::Escapes, Errno::LOOP));
        }
        Ok(node)
    }

    /// The folder above `path` and the name in it.
    pub fn parent<'p>(&self, path: &'p str) -> Result<(Parent<'_>, &'p str), Refused> {
        if path.is_empty() {
            // The root's own name stands in a folder that is not ours.
            return Err(Refused::new(TreeErrorKind::Escapes));
        }
        plain(path)?;
        let Some((folder, name)) = path.rsplit_once('/') else { return Ok((Parent::Root(self.root()), path)) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok((Parent::Opened(self.resolve_plain(folder, flags, Mode::empty())?), name))
    }

    fn resolve(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Refused> {
        if path.is_empty() {
            return Ok(openat(&self.root, c".", flags, mode)?);
        }
        plain(path)?;
        self.resolve_plain(path, flags, mode)
    }

    fn resolve_plain(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Refused> {
        if self.has_openat2 {
            return Ok(openat2(&self.root, path, flags, mode, RESOLVE)?);
        }
        self.step_by_step(path, flags, mode)
    }

    fn step_by_step(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Refused> {
        let mut folder = Parent::Root(self.root());
        let mut rest = path;
        while let Some((name, below)) = rest.split_once('/') {
            folder = Parent::Opened(self.step(&folder, name)?);
            rest = below;
        }
        if flags.contains(OFlags::DIRECTORY) {
            // Tells a symlink from what else is no folder.
            let last = self.step(&folder, rest)?;
            if flags.contains(OFlags::PATH) {
                return Ok(last);
            }
        }
        let last = openat(&folder, rest, flags | OFlags::NOFOLLOW, mode)?;
        self.same_mount(&look(last.as_fd())?)?;
        Ok(last)
    }

    /// Into a folder. What stands there is asked of the descriptor: the name may mean something else by then.
    fn step(&self, folder: &Parent<'_>, name: &str) -> Result<OwnedFd, Refused> {
        let next = openat(folder, name, NODE, Mode::empty())?;
        let found = look(next.as_fd())?;
        match FileType::from_raw_mode(found.stx_mode.into()) {
            FileType::Directory => self.same_mount(&found).map(|()| next),
            FileType::Symlink => Err(Refused::as_kind(TreeErrorKind::Escapes, Errno::LOOP)),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    fn same_mount(&self, found: &Statx) -> Result<(), Refused> {
        if mount_of(found) == self.mount {
            Ok(())
        } else {
            Err(Refused::as_kind(TreeErrorKind::OtherMount, Errno::XDEV))
        }
    }
}

fn plain(path: &str) -> Result<(), Refused> {
    if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Err(Refused::new(TreeErrorKind::Escapes));
    }
    Ok(())
}
