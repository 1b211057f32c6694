//! What telemetry and the screen are told. Telling never fails and never waits.

use gosync_plan::{HaltReason, RelPath};

pub trait Observer: Send + Sync {
    fn observe(&self, event: &Event);
}

/// Something that happened in one mirror.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Uploaded {
        path: RelPath,
        bytes: u64,
    },
    Downloaded {
        path: RelPath,
        bytes: u64,
    },
    /// A file with other names (hard links) was replaced: they keep the old content.
    LinksParted {
        path: RelPath,
        other_names: u64,
    },
    /// The bucket had the file's content under another key.
    CopiedInBucket {
        path: RelPath,
        from: RelPath,
    },
    /// The folder had the object's content under another path.
    CopiedInTree {
        path: RelPath,
    },
    DeletedObject {
        path: RelPath,
    },
    Trashed {
        path: RelPath,
    },
    /// The file's content is not what was in step, though nothing says that somebody has written to it.
    Rotten {
        path: RelPath,
    },
    /// The local content of `path` was kept as `copy`.
    Conflict {
        path: RelPath,
        copy: RelPath,
    },
    /// Both sides held the same content.
    Recorded {
        path: RelPath,
    },
    Halted {
        reason: HaltReason,
        message: String,
    },
    HaltEnded {
        reason: HaltReason,
    },
    /// A path is left alone for now.
    Problem {
        path: RelPath,
        message: String,
    },
    /// A look, request or commit failed; it is tried again.
    Trouble {
        class: &'static str,
        message: String,
    },
    TroubleEnded {
        class: &'static str,
    },
    SweepEnded {
        complete: bool,
        milliseconds: u64,
        files: u64,
    },
    WatchOverflow,
    /// The feed can't go on from where this replica was: everything is compared anew.
    FeedLost,
    /// Somebody else works with the id of this tree: it goes on as a replica of its own, and begins with a first run.
    IsACopy {
        of: String,
    },
    /// The bucket was listed for all who share its metadata.
    BucketListed {
        milliseconds: u64,
        objects: u64,
        /// News to the feed.
        recorded: u64,
    },
    Hydrated {
        milliseconds: u64,
    },
}
