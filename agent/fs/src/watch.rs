//! Watching a root: the kernel's events as hints.
//!
//! Nothing relies on them: a lost, repeated or late event costs time, never a file. What is kept here is the order in
//! which hints are worth something: a new folder is announced only once it is watched, so that whoever walks it then
//! misses nothing; after an overflow everything is watched anew before the overflow is told.
//!
//! Each folder has a watch of its own (not one recursive watch): an unreadable folder then blocks only itself, and
//! neither our own folder nor other mounts cost watches.

mod watching;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use self::watching::{Message, Queue, Watching};

/// Something to look at. Paths are relative to the root, `""` is the root.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WatchEvent {
    /// Written to, created, or mode or owner changed; or a folder in which something with a name that is not UTF-8 was.
    Changed(String),
    /// Somebody who had it open for writing closed it.
    Closed(String),
    /// The old or the new name of something that was moved; each name comes by itself, its twin may never come.
    Renamed(String),
    Removed(String),
    /// A folder is there, and from now on it is watched with all below it: whatever it held before has to be walked.
    FolderAppeared(String),
    /// Events were lost: anything may have changed. All folders are watched again.
    Overflow,
    /// The kernel grants no more watches: from here on some folders are not watched.
    LimitReached,
    /// Another folder stands at the root's path, or none. The watch has ended.
    Lost,
}

#[derive(Clone, Copy, Debug)]
pub struct WatchOptions {
    /// how often to see whether the root is still the same: an unmount raises no event
    pub root_check_ms: u64,
    /// events that may wait for the sink; more is an overflow
    pub queue_events_max: usize,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { root_check_ms: 2_000, queue_events_max: 65_536 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchErrorKind {
    /// Of watches (`fs.inotify.max_user_watches`) or of watchers (`fs.inotify.max_user_instances`): poll instead.
    LimitReached,
    /// The root cannot be opened or watched.
    Root,
}

#[derive(Debug, thiserror::Error)]
#[error("{} cannot be watched: {kind:?}", root.display())]
pub struct WatchError {
    pub kind: WatchErrorKind,
    pub root: PathBuf,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A running watch. It ends when dropped; a last event may still come after that.
#[derive(Debug)]
pub struct Watch {
    queue: Arc<Queue>,
}

impl Watch {
    /// Watches every folder below `root`, then returns; what happens from then on is told to `sink`, on a thread of
    /// its own. The sink may block: events then wait, up to the limit.
    pub fn start(
        root: impl Into<PathBuf>,
        sink: impl Fn(WatchEvent) + Send + 'static,
        options: WatchOptions,
    ) -> Result<Self, WatchError> {
        let watching = Watching::begin(root.into(), sink, options)?;
        let queue = Arc::clone(watching.queue());
        let root = watching.root().to_owned();
        std::thread::Builder::new().name("watch".into()).spawn(|| watching.run()).map_err(|error| WatchError {
            kind: WatchErrorKind::Root,
            root,
            source: Some(error.into()),
        })?;
        Ok(Self { queue })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.queue.stopped.store(true, Ordering::Release);
        let _ = self.queue.messages.send(Message::Stop);
    }
}
