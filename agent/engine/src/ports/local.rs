//! The local tree at the level of system calls, so that the sequences built on them run in the simulator too.
//!
//! Every path is relative to the root, `/`-separated, and `""` is the root itself. An implementation must never follow
//! a symlink nor leave the root (`openat2` with RESOLVE_BENEATH and NO_SYMLINKS), whatever the path says. Calls block:
//! the engine makes them on [`Workers`](super::Workers), never on its loop. No call is retried here, and none does
//! more than its name says: what is safe after a crash follows from the order in which the sequences call them.

use std::fmt;
use std::os::fd::BorrowedFd;

use gosync_plan::Fingerprint;
use gosync_plan::facts::Special;

pub trait LocalTree: Send + Sync {
    /// Opens the root by its configured path anew and tells what stands there now. Errors: `NotFound` when it is gone.
    fn root(&self) -> Result<RootFacts, TreeError>;
    /// What the opened tree (the one all other calls work in) was when it was opened.
    fn opened_root(&self) -> RootFacts;

    /// Shows each name in a folder once, unordered, `.` and `..` left out. After an error what was shown is a part, and half
    /// a folder is a failed look.
    fn visit_folder(&self, folder: &str, visit: &mut dyn FnMut(FolderEntry)) -> Result<(), TreeError>;
    /// All of them at once: for folders that are known to be small.
    fn read_folder(&self, folder: &str) -> Result<Vec<FolderEntry>, TreeError> {
        let mut entries = Vec::new();
        self.visit_folder(folder, &mut |entry| entries.push(entry))?;
        Ok(entries)
    }
    /// `lstat`. `NotFound` is proof of absence only for this name: the folders above have to be looked at as well.
    fn stat(&self, path: &str) -> Result<Stat, TreeError>;

    /// Opens a regular file for reading. `Busy` is never an answer here. FIFOs are not waited for.
    fn open(&self, path: &str) -> Result<Box<dyn TreeFile>, TreeError>;
    /// Creates a regular file for reading and writing; `Exists` if the name is taken.
    fn create(&self, path: &str, mode: u32) -> Result<Box<dyn TreeFile>, TreeError>;

    /// Opens a regular file for reading and writing. Only for names below `.gosync`.
    fn reopen(&self, path: &str) -> Result<Box<dyn TreeFile>, TreeError>;

    fn make_folder(&self, path: &str) -> Result<(), TreeError>;
    /// Removes an empty folder (`NotEmpty` else).
    fn remove_folder(&self, path: &str) -> Result<(), TreeError>;
    fn unlink(&self, path: &str) -> Result<(), TreeError>;
    /// Replaces whatever stands at `to`. Only for names below `.gosync`.
    fn rename(&self, from: &str, to: &str) -> Result<(), TreeError>;
    /// `renameat2(RENAME_NOREPLACE)`: `Exists` if the name is taken, `Unsupported` where the file system has no such call.
    fn rename_new(&self, from: &str, to: &str) -> Result<(), TreeError>;
    /// `renameat2(RENAME_EXCHANGE)`: both names must exist; `Unsupported` where the file system has no such call.
    fn exchange(&self, a: &str, b: &str) -> Result<(), TreeError>;
    /// A second name for the same inode: `Exists` if the name is taken.
    fn link(&self, from: &str, to: &str) -> Result<(), TreeError>;

    /// Makes a file a symbolic link to what its content names, in one step and with its time; for trees that keep links.
    /// `Unsupported` where the content can't be where a link points to.
    fn make_link(&self, path: &str) -> Result<(), TreeError>;

    fn set_mode(&self, path: &str, mode: u32) -> Result<(), TreeError>;
    /// Owner (where permitted), extended attributes and ACLs of one file for another; what can't be carried is left.
    fn copy_attributes(&self, from: &str, to: &str) -> Result<(), TreeError>;

    /// Makes the names in a folder durable (`fsync` of the folder).
    fn sync_folder(&self, folder: &str) -> Result<(), TreeError>;
    /// Makes everything written in the tree durable (`syncfs`).
    fn sync_tree(&self) -> Result<(), TreeError>;

    fn space(&self) -> Result<Space, TreeError>;
}

/// An open regular file.
pub trait TreeFile: Send + Sync {
    fn stat(&self) -> Result<Stat, TreeError>;
    /// Bytes read; 0 at the end. May be short.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, TreeError>;
    /// Writes all of `bytes`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), TreeError>;
    fn set_len(&self, bytes: u64) -> Result<(), TreeError>;
    fn set_mode(&self, mode: u32) -> Result<(), TreeError>;
    fn set_mtime_ns(&self, mtime_ns: i64) -> Result<(), TreeError>;
    /// Content and size durable (`fsync`).
    fn sync(&self) -> Result<(), TreeError>;
    /// Takes a read lease, which proves that nobody has the file open for writing or mapped at this moment. It stands
    /// until `release_lease` or drop, and holds up whoever opens the file for writing: keep it for milliseconds.
    fn lease(&self) -> Lease;
    fn release_lease(&self);
    /// The open file itself, where there is one: a copy can share its blocks then.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// Copies the whole content to `to` (shared blocks where the file system can).
    fn copy_to(&self, to: &dyn TreeFile) -> Result<(), TreeError>;
}

/// The answer to asking for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Nobody writes: no descriptor open for writing, no writable mapping.
    Granted,
    /// Somebody has it open for writing or mapped.
    Busy,
    /// The file system or the file's owner doesn't allow leases: nothing is known.
    Unavailable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderEntry {
    /// `Err`: the raw bytes of a name that is not UTF-8.
    pub name: Result<String, Vec<u8>>,
    /// From the folder's own entry where it tells; `None`: `stat` has to tell.
    pub is_folder: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub kind: Kind,
    pub fingerprint: Fingerprint,
    /// Hard links.
    pub links: u64,
    /// Tells mounts apart.
    pub mount: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Special(Special),
}

/// What the root is, to notice another one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootFacts {
    pub device: u64,
    pub inode: u64,
    pub mount: u64,
    /// NFS, SMB and the like: leases and events of other hosts don't reach us.
    pub network: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// bytes that we may still write
    pub free_bytes: u64,
    pub total_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TreeErrorKind {
    NotFound,
    Exists,
    NotEmpty,
    /// A component above is no folder.
    NotAFolder,
    IsAFolder,
    /// A symlink stands in the way, or the path would leave the root.
    Escapes,
    /// Another file system begins there.
    OtherMount,
    NameTooLong,
    Permission,
    NoSpace,
    ReadOnly,
    /// The file system has no such call.
    Unsupported,
    /// EIO and everything else.
    Failed,
    /// The simulator ended this process.
    Killed,
}

/// A failed call: what was done, to which path, and why.
#[derive(Debug)]
pub struct TreeError {
    pub kind: TreeErrorKind,
    pub call: &'static str,
    pub path: String,
    pub source: Option<std::io::Error>,
}

impl TreeError {
    #[must_use]
    pub fn new(kind: TreeErrorKind, call: &'static str, path: impl Into<String>) -> Self {
        Self { kind, call, path: path.into(), source: None }
    }

    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == TreeErrorKind::NotFound
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the root" } else { &self.path };
        write!(f, "{} failed at {path}: {:?}", self.call, self.kind)
    }
}

impl std::error::Error for TreeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
