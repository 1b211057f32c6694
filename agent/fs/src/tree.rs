//! The engine's local tree on a real file system.
//!
//! A call does what its name says, once. After a crash the tree holds what the kernel was told so far; what of it
//! survives a power loss is decided by `sync`, `sync_folder` and `sync_tree`, which the engine's sequences place.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use gosync_engine::ports::local::Kind;
use gosync_engine::ports::{FolderEntry, LocalTree, RootFacts, Space, Stat, TreeError, TreeErrorKind, TreeFile};
use gosync_plan::facts::Special;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, RenameFlags, Timespec, Timestamps, UTIME_OMIT, fstatvfs, fsync,
    linkat, mkdirat, openat, renameat, renameat_with, symlinkat, syncfs, unlinkat, utimensat,
};
use rustix::io::{Errno, retry_on_intr};

use crate::beneath::{Beneath, Parent};
use crate::error::Refused;
use crate::file::{DiskFile, permissions};
use crate::link::DiskLink;
use crate::lock::{self, Lock, LockError};
use crate::marker::{self, Marker};
use crate::{attributes, copy, facts};

/// bytes; PATH_MAX, the NUL included
const LINK_BYTES_MAX: usize = 4_096;
/// bytes; some thousand names a call
const FOLDER_BUFFER_BYTES: usize = 64 * 1024;

/// A folder on a disk and what is below it, on the same mount.
pub struct DiskTree {
    configured: PathBuf,
    opened: RootFacts,
    beneath: Beneath,
    keeps_links: bool,
    keeps_folders: bool,
}

impl DiskTree {
    /// Opens the root, once for all calls: whoever moves another folder to its path changes nothing here. Symlinks on
    /// the way to the root are the user's and are followed.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, TreeError> {
        Self::open_with(root.into(), Beneath::new)
    }

    pub(crate) fn open_with(root: PathBuf, beneath: fn(OwnedFd, u64) -> Beneath) -> Result<Self, TreeError> {
        let fd = open_root(&root)?;
        let opened = facts_of(&root, &fd)?;
        Ok(Self {
            configured: root,
            opened,
            beneath: beneath(fd, opened.mount),
            keeps_links: false,
            keeps_folders: false,
        })
    }

    /// The same tree with symbolic links as files, whose content is where they point to.
    #[must_use]
    pub fn keeping_links(self, keeps_links: bool) -> Self {
        Self { keeps_links, ..self }
    }

    /// The same tree with a file without content in each folder, whose path is the folder's and a `/`.
    #[must_use]
    pub fn keeping_folders(self, keeps_folders: bool) -> Self {
        Self { keeps_folders, ..self }
    }

    fn folder_of<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_suffix('/').filter(|_| self.keeps_folders)
    }

    /// The folder that the marker stands for is there.
    fn look_at_marker(&self, folder: &str) -> Result<Stat, Refused> {
        let stat = self.look(folder)?;
        match stat.kind {
            Kind::Folder => Ok(marker::stat(&stat)),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    /// A file of this tree, as [`LocalTree::open`] gives it.
    pub fn open_file(&self, path: &str) -> Result<DiskFile, TreeError> {
        self.opened_file(path, OFlags::RDONLY).map_err(|refused| refused.at("open", path))
    }

    /// [`lock_file`](crate::lock_file) for a path below the root.
    pub fn lock(&self, path: &str) -> Result<Lock, LockError> {
        self.locked(path, lock::MADE)
    }

    /// The same for a file that is there, without writing anything. `None`: there is none, or none that we may open.
    pub fn lock_found(&self, path: &str) -> Result<Option<Lock>, LockError> {
        match self.locked(path, lock::FOUND) {
            Err(LockError::Failed { .. }) => Ok(None),
            locked => locked.map(Some),
        }
    }

    fn locked(&self, path: &str, access: OFlags) -> Result<Lock, LockError> {
        let shown = || self.configured.join(path).display().to_string();
        let (folder, name) = self
            .beneath
            .parent(path)
            .map_err(|refused| lock::refused(shown(), refused.errno.unwrap_or(Errno::INVAL)))?;
        lock::lock_at(folder.as_fd(), Path::new(name), access).map_err(|errno| lock::refused(shown(), errno))
    }

    /// What the file system is called by itself (`statfs`), on all hosts alike; 0 where it has no name.
    pub fn file_system_id(&self) -> Result<u64, TreeError> {
        let told = fstatvfs(self.beneath.root()).map_err(|errno| Refused::from(errno).at("statfs", ""))?;
        Ok(told.f_fsid)
    }

    fn opened_file(&self, path: &str, access: OFlags) -> Result<DiskFile, Refused> {
        let fd = self.beneath.open(path, access, Mode::empty()).map_err(|refused| match refused.errno {
            // A socket.
            Some(errno @ Errno::NXIO) => Refused::as_kind(TreeErrorKind::Unsupported, errno),
            _ => refused,
        })?;
        match facts::stat_of(&facts::look(fd.as_fd())?, self.beneath.mount()).kind {
            Kind::File => Ok(DiskFile::new(fd, path, self.beneath.mount())),
            Kind::Folder => Err(Refused::as_kind(TreeErrorKind::IsAFolder, Errno::ISDIR)),
            Kind::Special(_) => Err(Refused::new(TreeErrorKind::Unsupported)),
        }
    }

    /// `None`: no link, or links are not kept here.
    fn opened_link(&self, path: &str) -> Result<Option<DiskLink>, Refused> {
        if !self.keeps_links || path.is_empty() {
            return Ok(None);
        }
        let (folder, name) = self.beneath.parent(path)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(folder, name, flags, Mode::empty())?;
        let is_link = facts::stat_of(&facts::look(fd.as_fd())?, self.beneath.mount()).fingerprint.is_link();
        Ok(if is_link { Some(DiskLink::new(fd, path, self.beneath.mount())?) } else { None })
    }

    /// Puts a link in the place of the file that names its target.
    fn made_link(&self, path: &str) -> Result<(), Refused> {
        let file = self.opened_file(path, OFlags::RDONLY)?;
        let found = facts::look(file.as_fd())?;
        let size = usize::try_from(found.stx_size).unwrap_or(usize::MAX);
        if size == 0 || size >= LINK_BYTES_MAX {
            return Err(Refused::new(TreeErrorKind::Unsupported));
        }
        let mut target = vec![0; size];
        copy::by_hand(file.as_fd(), 0, found.stx_size, |bytes, offset| {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            target[offset..offset + bytes.len()].copy_from_slice(bytes);
            Ok::<(), Errno>(())
        })?;
        let (folder, name) = self.beneath.parent(path)?;
        let link = format!("{name}.link");
        match symlinkat(&*target, &folder, &*link) {
            Ok(()) => {}
            // A NUL in it, more than this file system takes, or no links there at all.
            Err(errno @ (Errno::INVAL | Errno::NAMETOOLONG | Errno::PERM)) => {
                return Err(Refused::as_kind(TreeErrorKind::Unsupported, errno));
            }
            Err(errno) => return Err(errno.into()),
        }
        let mtime = found.stx_mtime;
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime.tv_sec, tv_nsec: mtime.tv_nsec.into() },
        };
        let placed = utimensat(&folder, &*link, &times, AtFlags::SYMLINK_NOFOLLOW)
            .and_then(|()| renameat(&folder, &*link, &folder, name));
        placed.map_err(|errno| {
            let _ = unlinkat(&folder, &*link, AtFlags::empty());
            errno.into()
        })
    }

    fn created_file(&self, path: &str, mode: u32) -> Result<DiskFile, Refused> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let fd = self.beneath.open(path, flags, permissions(mode))?;
        Ok(DiskFile::new(fd, path, self.beneath.mount()))
    }

    fn names(&self, folder: &str, visit: &mut dyn FnMut(FolderEntry)) -> Result<(), Refused> {
        let fd = self.beneath.open(folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let mut buffer = Vec::with_capacity(FOLDER_BUFFER_BYTES);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            visit(FolderEntry {
                name: std::str::from_utf8(name).map(str::to_owned).map_err(|_| name.to_vec()),
                is_folder: match entry.file_type() {
                    FileType::Unknown => None,
                    kind => Some(kind == FileType::Directory),
                },
            });
        }
        Ok(())
    }

    fn look(&self, path: &str) -> Result<Stat, Refused> {
        if let Some(folder) = self.folder_of(path) {
            return self.look_at_marker(folder);
        }
        let found = if path.is_empty() {
            facts::look(self.beneath.root())?
        } else {
            let (folder, name) = self.beneath.parent(path)?;
            facts::look_at(folder.as_fd(), name)?
        };
        let stat = facts::stat_of(&found, self.beneath.mount());
        Ok(if self.keeps_links { facts::link_as_file(stat) } else { stat })
    }

    /// Calls `work` with both folders and both names.
    fn with_both(
        &self,
        a: &str,
        b: &str,
        work: impl FnOnce(&Parent<'_>, &str, &Parent<'_>, &str) -> Result<(), Errno>,
    ) -> Result<(), Refused> {
        let (a_folder, a_name) = self.beneath.parent(a)?;
        let (b_folder, b_name) = self.beneath.parent(b)?;
        work(&a_folder, a_name, &b_folder, b_name).map_err(|errno| self.or_mount(self.or_mount(errno.into(), a), b))
    }

    /// EBUSY is what the kernel says of a name that something is mounted on; file systems may say it of other things.
    fn or_mount(&self, refused: Refused, path: &str) -> Refused {
        match refused.errno {
            Some(errno @ Errno::BUSY)
                if self.look(path).is_ok_and(|stat| stat.kind == Kind::Special(Special::Mount)) =>
            {
                Refused::as_kind(TreeErrorKind::OtherMount, errno)
            }
            _ => refused,
        }
    }

    fn rename_with(&self, from: &str, to: &str, flags: RenameFlags) -> Result<(), Refused> {
        self.with_both(from, to, |from_folder, from_name, to_folder, to_name| {
            renameat_with(from_folder, from_name, to_folder, to_name, flags)
        })
        .map_err(|refused| match refused.errno {
            // A folder into itself is EINVAL as well.
            Some(errno @ Errno::INVAL) if !is_below(to, from) && !is_below(from, to) => {
                Refused::as_kind(TreeErrorKind::Unsupported, errno)
            }
            _ => refused,
        })
    }
}

impl LocalTree for DiskTree {
    fn root(&self) -> Result<RootFacts, TreeError> {
        facts_of(&self.configured, &open_root(&self.configured)?)
    }

    fn opened_root(&self) -> RootFacts {
        self.opened
    }

    fn visit_folder(&self, folder: &str, visit: &mut dyn FnMut(FolderEntry)) -> Result<(), TreeError> {
        self.names(folder, visit).map_err(|refused| refused.at("read folder", folder))
    }

    fn stat(&self, path: &str) -> Result<Stat, TreeError> {
        self.look(path).map_err(|refused| refused.at("stat", path))
    }

    fn open(&self, path: &str) -> Result<Box<dyn TreeFile>, TreeError> {
        if let Some(folder) = self.folder_of(path) {
            let stat = self.look_at_marker(folder).map_err(|refused| refused.at("open", path))?;
            return Ok(Box::new(Marker::new(stat, path)));
        }
        let refused = match self.opened_file(path, OFlags::RDONLY) {
            Ok(file) => return Ok(Box::new(file)),
            Err(refused) => refused,
        };
        match self.opened_link(path) {
            Ok(Some(link)) => Ok(Box::new(link)),
            _ => Err(refused.at("open", path)),
        }
    }

    fn reopen(&self, path: &str) -> Result<Box<dyn TreeFile>, TreeError> {
        match self.opened_file(path, OFlags::RDWR) {
            Ok(file) => Ok(Box::new(file)),
            Err(refused) => Err(refused.at("open for writing", path)),
        }
    }

    fn create(&self, path: &str, mode: u32) -> Result<Box<dyn TreeFile>, TreeError> {
        match self.created_file(path, mode) {
            Ok(file) => Ok(Box::new(file)),
            Err(refused) => Err(refused.at("create", path)),
        }
    }

    fn make_folder(&self, path: &str) -> Result<(), TreeError> {
        self.beneath
            .parent(path)
            .and_then(|(folder, name)| Ok(mkdirat(folder, name, Mode::from_raw_mode(0o777))?))
            .map_err(|refused| refused.at("make folder", path))
    }

    fn remove_folder(&self, path: &str) -> Result<(), TreeError> {
        self.beneath
            .parent(path)
            .and_then(|(folder, name)| {
                unlinkat(folder, name, AtFlags::REMOVEDIR).map_err(|errno| match errno {
                    // Some file systems say it so.
                    Errno::EXIST => Refused::as_kind(TreeErrorKind::NotEmpty, errno),
                    errno => errno.into(),
                })
            })
            .map_err(|refused| self.or_mount(refused, path))
            .map_err(|refused| refused.at("remove folder", path))
    }

    fn unlink(&self, path: &str) -> Result<(), TreeError> {
        self.beneath
            .parent(path)
            .and_then(|(folder, name)| Ok(unlinkat(folder, name, AtFlags::empty())?))
            .map_err(|refused| self.or_mount(refused, path))
            .map_err(|refused| refused.at("unlink", path))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), TreeError> {
        self.with_both(from, to, |from_folder, from_name, to_folder, to_name| {
            renameat(from_folder, from_name, to_folder, to_name)
        })
        .map_err(|refused| match refused.errno {
            Some(errno @ Errno::EXIST) => Refused::as_kind(TreeErrorKind::NotEmpty, errno),
            _ => refused,
        })
        .map_err(|refused| refused.at("rename", from))
    }

    fn rename_new(&self, from: &str, to: &str) -> Result<(), TreeError> {
        self.rename_with(from, to, RenameFlags::NOREPLACE).map_err(|refused| refused.at("rename to a new name", to))
    }

    fn exchange(&self, a: &str, b: &str) -> Result<(), TreeError> {
        self.rename_with(a, b, RenameFlags::EXCHANGE).map_err(|refused| refused.at("exchange", b))
    }

    fn link(&self, from: &str, to: &str) -> Result<(), TreeError> {
        self.with_both(from, to, |from_folder, from_name, to_folder, to_name| {
            linkat(from_folder, from_name, to_folder, to_name, AtFlags::empty())
        })
        .map_err(|refused| refused.at("link", to))
    }

    fn make_link(&self, path: &str) -> Result<(), TreeError> {
        self.made_link(path).map_err(|refused| refused.at("make link", path))
    }

    fn set_mode(&self, path: &str, mode: u32) -> Result<(), TreeError> {
        self.beneath
            .node(path)
            .and_then(|node| Ok(attributes::set_mode(node.as_fd(), permissions(mode))?))
            .map_err(|refused| refused.at("set mode", path))
    }

    fn copy_attributes(&self, from: &str, to: &str) -> Result<(), TreeError> {
        if self.keeps_links && [from, to].iter().any(|path| self.look(path).is_ok_and(|it| it.fingerprint.is_link())) {
            return Ok(());
        }
        let node = |path: &str| self.beneath.node(path).map_err(|refused| refused.at("copy attributes", path));
        attributes::carry(node(from)?.as_fd(), node(to)?.as_fd());
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> Result<(), TreeError> {
        self.beneath
            .open(folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .and_then(|fd| Ok(retry_on_intr(|| fsync(&fd))?))
            .map_err(|refused| refused.at("sync folder", folder))
    }

    fn sync_tree(&self) -> Result<(), TreeError> {
        // On the descriptor that stood since the beginning: a later one would not be told of what failed before.
        retry_on_intr(|| syncfs(self.beneath.root())).map_err(|errno| Refused::from(errno).at("sync file system", ""))
    }

    fn space(&self) -> Result<Space, TreeError> {
        let told = fstatvfs(self.beneath.root()).map_err(|errno| Refused::from(errno).at("statvfs", ""))?;
        Ok(Space {
            // What is kept back for root is not ours to fill, even as root.
            free_bytes: told.f_bavail.saturating_mul(told.f_frsize),
            total_bytes: told.f_blocks.saturating_mul(told.f_frsize),
        })
    }
}

/// Readable, so that `syncfs` and its errors can be had from the same descriptor.
fn open_root(root: &Path) -> Result<OwnedFd, TreeError> {
    openat(CWD, root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Refused::from(errno).at("open root", &root.display().to_string()))
}

fn facts_of(root: &Path, fd: &OwnedFd) -> Result<RootFacts, TreeError> {
    facts::root_facts(fd.as_fd()).map_err(|errno| Refused::from(errno).at("stat root", &root.display().to_string()))
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}
