//! A folder seen through FUSE: what the kernel takes for a network file system. Two such mounts of one folder are as two
//! hosts: neither kernel object knows of the other, locks included, and nothing is cached.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirEntryExt as _, FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

/// Shows `folder` at `at` for as long as this lives.
pub fn show(folder: &Path, at: &Path) -> BackgroundSession {
    let root = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let known = HashMap::from([(INodeNo::ROOT.0, Node { fd: root, lookups: 1 })]);
    let nodes = Nodes { known, open: HashMap::new(), listings: HashMap::new(), next: 1 };
    fuser::spawn_mount(Passthrough(Mutex::new(nodes)), at, &Config::default()).unwrap()
}

struct Passthrough(Mutex<Nodes>);

struct Nodes {
    known: HashMap<u64, Node>,
    open: HashMap<u64, File>,
    listings: HashMap<u64, Vec<(u64, bool, OsString)>>,
    next: u64,
}

/// Kept for as long as the kernel may ask about it.
struct Node {
    fd: OwnedFd,
    lookups: u64,
}

impl Nodes {
    fn path(&self, inode: INodeNo) -> io::Result<PathBuf> {
        Ok(format!("/proc/self/fd/{}", self.node(inode)?.as_raw_fd()).into())
    }

    fn attributes(&self, inode: INodeNo) -> io::Result<FileAttr> {
        Ok(attributes(inode, &std::fs::metadata(self.path(inode)?)?))
    }

    fn look_up(&mut self, folder: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.node(folder)?, name, flags, Mode::empty())?;
        let inode = INodeNo(rustix::fs::fstat(&fd)?.st_ino);
        self.known.entry(inode.0).or_insert(Node { fd, lookups: 0 }).lookups += 1;
        self.attributes(inode)
    }

    fn opened(&mut self, file: File) -> FileHandle {
        self.next += 1;
        self.open.insert(self.next, file);
        FileHandle(self.next)
    }

    fn node(&self, inode: INodeNo) -> io::Result<&OwnedFd> {
        Ok(&self.known.get(&inode.0).ok_or(io::ErrorKind::NotFound)?.fd)
    }

    fn file(&self, handle: FileHandle) -> io::Result<&File> {
        Ok(self.open.get(&handle.0).ok_or(io::ErrorKind::NotFound)?)
    }

    fn open(&mut self, inode: INodeNo, flags: OpenFlags) -> io::Result<FileHandle> {
        let access = flags.0 & rustix::fs::OFlags::RWMODE.bits() as i32;
        let writes = access != OFlags::RDONLY.bits() as i32;
        let file = OpenOptions::new().read(true).write(writes).open(self.path(inode)?)?;
        Ok(self.opened(file))
    }

    fn create(&mut self, folder: INodeNo, name: &OsStr, mode: u32) -> io::Result<(FileAttr, FileHandle)> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.node(folder)?, name, flags, Mode::from_raw_mode(mode & 0o7777))?;
        let attributes = self.look_up(folder, name)?;
        Ok((attributes, self.opened(fd.into())))
    }

    fn rename(&self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr), flags: RenameFlags) -> io::Result<()> {
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        Ok(rustix::fs::renameat_with(self.node(from.0)?, from.1, self.node(to.0)?, to.1, flags)?)
    }

    fn link(&mut self, inode: INodeNo, folder: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let (from, follow) = (self.path(inode)?, AtFlags::SYMLINK_FOLLOW);
        rustix::fs::linkat(rustix::fs::CWD, from, self.node(folder)?, name, follow)?;
        self.look_up(folder, name)
    }

    /// All names as they are now, whatever comes and goes while they are read.
    fn list(&mut self, folder: INodeNo) -> io::Result<FileHandle> {
        let entries = std::fs::read_dir(self.path(folder)?)?.map(|entry| {
            let entry = entry?;
            Ok((entry.ino(), entry.file_type()?.is_dir(), entry.file_name()))
        });
        self.next += 1;
        self.listings.insert(self.next, entries.collect::<io::Result<_>>()?);
        Ok(FileHandle(self.next))
    }
}

fn attributes(inode: INodeNo, found: &Metadata) -> FileAttr {
    let time = |seconds: i64, nanoseconds: i64| {
        UNIX_EPOCH + Duration::new(seconds.try_into().unwrap_or(0), nanoseconds.try_into().unwrap_or(0))
    };
    FileAttr {
        ino: inode,
        size: found.size(),
        blocks: found.blocks(),
        atime: time(found.atime(), found.atime_nsec()),
        mtime: time(found.mtime(), found.mtime_nsec()),
        ctime: time(found.ctime(), found.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind: if found.is_dir() { FileType::Directory } else { FileType::RegularFile },
        perm: (found.mode() & 0o7777) as u16,
        nlink: found.nlink() as u32,
        uid: found.uid(),
        gid: found.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn seconds(time: Option<TimeOrNow>) -> Timespec {
    let nanoseconds = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    match time {
        None => nanoseconds(UTIME_OMIT),
        Some(TimeOrNow::Now) => nanoseconds(UTIME_NOW),
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            Timespec { tv_sec: since.as_secs().cast_signed(), tv_nsec: since.subsec_nanos().into() }
        }
    }
}

/// Answers with the value, or with the error's number.
macro_rules! answer {
    ($reply:ident, $made:expr, |$value:pat_param| $good:expr) => {
        match $made {
            Ok($value) => $good,
            Err(error) => $reply.error(Errno::from(io::Error::from(error))),
        }
    };
}

impl Filesystem for Passthrough {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.0.lock().unwrap().look_up(parent, name);
        answer!(reply, found, |attr| reply.entry(&Duration::ZERO, &attr, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.0.lock().unwrap().attributes(ino);
        answer!(reply, found, |attr| reply.attr(&Duration::ZERO, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let nodes = self.0.lock().unwrap();
        let set = || -> io::Result<FileAttr> {
            let path = nodes.path(ino)?;
            if let Some(mode) = mode {
                std::fs::set_permissions(&path, Permissions::from_mode(mode & 0o7777))?;
            }
            if uid.is_some() || gid.is_some() {
                std::os::unix::fs::chown(&path, uid, gid)?;
            }
            if let Some(size) = size {
                OpenOptions::new().write(true).open(&path)?.set_len(size)?;
            }
            if atime.is_some() || mtime.is_some() {
                let times = Timestamps { last_access: seconds(atime), last_modification: seconds(mtime) };
                rustix::fs::utimensat(rustix::fs::CWD, &path, &times, AtFlags::empty())?;
            }
            nodes.attributes(ino)
        };
        answer!(reply, set(), |attr| reply.attr(&Duration::ZERO, &attr));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let mut nodes = self.0.lock().unwrap();
        let made = (|| {
            rustix::fs::mkdirat(nodes.node(parent)?, name, Mode::from_raw_mode(mode & 0o7777))?;
            nodes.look_up(parent, name)
        })();
        answer!(reply, made, |attr| reply.entry(&Duration::ZERO, &attr, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let nodes = self.0.lock().unwrap();
        let gone = nodes.node(parent).and_then(|folder| Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?));
        answer!(reply, gone, |()| reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let nodes = self.0.lock().unwrap();
        let gone = nodes.node(parent).and_then(|folder| Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?));
        answer!(reply, gone, |()| reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let moved = self.0.lock().unwrap().rename((parent, name), (newparent, newname), flags);
        answer!(reply, moved, |()| reply.ok());
    }

    fn link(&self, _: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let linked = self.0.lock().unwrap().link(ino, newparent, newname);
        answer!(reply, linked, |attr| reply.entry(&Duration::ZERO, &attr, Generation(0)));
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.0.lock().unwrap().open(ino, flags);
        answer!(reply, opened, |handle| reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO));
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: i32, reply: ReplyCreate) {
        let made = self.0.lock().unwrap().create(parent, name, mode);
        answer!(reply, made, |(attr, handle)| {
            reply.created(&Duration::ZERO, &attr, Generation(0), handle, FopenFlags::FOPEN_DIRECT_IO);
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let nodes = self.0.lock().unwrap();
        let mut bytes = vec![0; size as usize];
        let read = nodes.file(fh).and_then(|file| file.read_at(&mut bytes, offset));
        answer!(reply, read, |read| reply.data(&bytes[..read]));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let nodes = self.0.lock().unwrap();
        let written = nodes.file(fh).and_then(|file| file.write_all_at(data, offset));
        answer!(reply, written, |()| reply.written(data.len() as u32));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.lock().unwrap().open.remove(&fh.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let listed = self.0.lock().unwrap().list(ino);
        answer!(reply, listed, |handle| reply.opened(handle, FopenFlags::empty()));
    }

    fn readdir(&self, _: &Request, _: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let nodes = self.0.lock().unwrap();
        let rest = nodes.listings[&fh.0].iter().enumerate().skip(offset as usize);
        for (at, (inode, is_folder, name)) in rest {
            let kind = if *is_folder { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(*inode), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.0.lock().unwrap().listings.remove(&fh.0);
        reply.ok();
    }

    fn forget(&self, _: &Request, ino: INodeNo, nlookup: u64) {
        let mut nodes = self.0.lock().unwrap();
        if let Some(node) = nodes.known.get_mut(&ino.0) {
            node.lookups = node.lookups.saturating_sub(nlookup);
            if node.lookups == 0 {
                nodes.known.remove(&ino.0);
            }
        }
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let told = self.0.lock().unwrap().path(ino).and_then(|path| Ok(rustix::fs::statvfs(path)?));
        answer!(reply, told, |told| {
            let (size, names) = (told.f_bsize as u32, told.f_namemax as u32);
            reply.statfs(told.f_blocks, told.f_bfree, told.f_bavail, told.f_files, told.f_ffree, size, names, size);
        });
    }
}
