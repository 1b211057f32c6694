//! The local tree on a real file system, at the level of system calls, and the watch over it.
//!
//! * [`DiskTree`] is the engine's [`LocalTree`](gosync_engine::ports::LocalTree): every call stays beneath the root it
//!   opened, follows no symlink and enters no other mount;
//! * [`Watch`] turns the kernel's events into hints;
//! * [`Lock`] keeps a second agent out;
//! * [`survey`] tells people what a folder and the kernel allow.
//!
//! Sequences of calls (download, verify, exchange, check) are the engine's. No call is retried here.

mod attributes;
mod beneath;
mod clock;
mod copy;
mod error;
mod facts;
mod file;
mod lease;
mod link;
mod lock;
mod marker;
mod survey;
#[cfg(test)]
mod tests;
mod tree;
mod watch;

pub use clock::boot_ms;
pub use file::DiskFile;
pub use lock::{Lock, LockError, lock_file};
pub use survey::{Survey, WatchLimits, count_folders, holder, is_on_network, survey, watch_limits};
pub use tree::DiskTree;
pub use watch::{Watch, WatchError, WatchErrorKind, WatchEvent, WatchOptions};
