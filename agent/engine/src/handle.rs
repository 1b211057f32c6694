//! How the rest of the program talks to a running mirror: hints in, commands in, answers out.

use futures_channel::{mpsc, oneshot};
use gosync_plan::{ConflictPolicy, HaltReason, RelPath};

use crate::context::CopyOf;
use crate::explain::Explanation;
use crate::mirror::PlanDraft;

/// What the watcher or another mirror noticed. Losing, repeating or inventing one changes latency, nothing else (P8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Something at this path changed locally, and writing may go on.
    LocalChanged(String),
    /// Written and closed, or renamed here: it is at rest.
    LocalClosed(String),
    LocalRemoved(String),
    /// A folder appeared: what is in it may have had no event of its own.
    LocalFolder(String),
    /// Look at everything: events were lost.
    LocalOverflow,
    /// The watch works, or it doesn't (then local scans run at each interval).
    WatchHealthy(bool),
    /// The feed may have news.
    Feed,
    /// The object of this path was written or deleted by someone we know.
    Remote(RelPath),
}

pub enum Command {
    View(oneshot::Sender<View>),
    Pause(oneshot::Sender<()>),
    Resume(oneshot::Sender<()>),
    /// Sweep, and answer when nothing is left to do or when the time is over.
    Flush {
        timeout_ms: u64,
        reply: oneshot::Sender<FlushReceipt>,
    },
    /// Answers when this replica has everything that the feed told up to this cursor, or can't have it, or when the time is
    /// over.
    Wait {
        cursor: u64,
        /// How the cursor's epoch begins; empty: of whichever feed there is.
        epoch: String,
        timeout_ms: u64,
        reply: oneshot::Sender<WaitEnd>,
    },
    Approve {
        halt: String,
        /// Of a first merge.
        winner: Option<ConflictPolicy>,
        reply: oneshot::Sender<Result<String, CommandError>>,
    },
    /// Of a mirror that only sends: the folder is to win at this path, whatever somebody else wrote to the bucket.
    ApprovePath {
        path: RelPath,
        reply: oneshot::Sender<Result<String, CommandError>>,
    },
    Deny {
        halt: String,
        reply: oneshot::Sender<Result<String, CommandError>>,
    },
    Conflicts(oneshot::Sender<Vec<ConflictCopy>>),
    /// What is known of a path below the root (`""`: the root), and why it stands as it does.
    Explain {
        path: String,
        reply: oneshot::Sender<Result<Box<Explanation>, CommandError>>,
    },
    /// What a cycle would do now; so many operations are named.
    Plan {
        steps_max: usize,
        reply: oneshot::Sender<Result<Box<PlanDraft>, CommandError>>,
    },
    TrashList(oneshot::Sender<Result<Vec<TrashItem>, CommandError>>),
    /// What was deleted in the bucket below this key of the mirror and can be had from its versions.
    Versions {
        below: String,
        reply: oneshot::Sender<Result<DeletedVersions, CommandError>>,
    },
    /// Brings a bucket version back as a file at its path (or beside it, where that is taken).
    RestoreVersion {
        path: String,
        version_id: String,
        reply: oneshot::Sender<Result<String, CommandError>>,
    },
    /// Puts a trash item back at its path (or beside it, where that is taken).
    TrashRestore {
        item: String,
        reply: oneshot::Sender<Result<String, CommandError>>,
    },
    /// Take no new work, look once more, flush within the drain time, then end.
    Drain(oneshot::Sender<FlushReceipt>),
    /// End now; everything is safe at any moment anyway.
    Stop,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    pub code: &'static str,
    pub message: String,
    pub hint: String,
}

/// A mirror's state for people and metrics.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub name: String,
    pub paused: bool,
    pub phase: Phase,
    pub hydrated: bool,
    /// 0 to 1 while hydrating.
    pub hydration_progress: f64,
    pub halts: Vec<HaltView>,
    /// Trouble with the outside (class, message, since UTC ms): ends by itself when mended.
    pub errors: Vec<ErrorView>,
    pub files: u64,
    pub bytes: u64,
    pub pending_files: u64,
    pub pending_bytes: u64,
    pub in_flight: u64,
    /// Paths held open by a writer.
    pub busy: Vec<RelPath>,
    /// Uploaded while open.
    pub open: Vec<RelPath>,
    /// Left alone: path (or raw key) and reason.
    pub problems: Vec<(String, String)>,
    pub conflicts: u64,
    /// Milliseconds since 1970: the last cycle after which nothing was left to do.
    pub last_sync_ms: Option<i64>,
    /// Milliseconds for which the oldest known difference has waited.
    pub lag_ms: u64,
    pub watch_healthy: bool,
    pub conditions: Conditions,
    /// Nothing can be written into the root.
    pub root_is_read_only: bool,
    pub replica: String,
    /// What this tree was when it was copied, if it is a copy.
    pub copy_of: Option<CopyOf>,
    /// Sequence number of the feed up to which this replica has everything; with metadata of its own, of its last record.
    pub cursor: u64,
    /// Of the feed that the cursor counts; empty where nobody shares it.
    pub epoch: String,
    /// `None`: nobody shares the metadata.
    pub feed: Option<FeedView>,
    pub conflict_copies: u64,
    pub trash_files: u64,
    pub trash_bytes: u64,
    pub totals: Totals,
}

/// How a replica stands in the feed that it shares with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedView {
    /// It is read as it grows.
    pub follows: bool,
    /// Changes that were read and are not through yet.
    pub waiting: u64,
    /// This agent lists the bucket for all.
    pub lists: bool,
}

/// Counted since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub uploaded_files: u64,
    pub uploaded_bytes: u64,
    pub downloaded_files: u64,
    pub downloaded_bytes: u64,
    pub deleted_objects: u64,
    pub trashed_files: u64,
    pub conflicts: u64,
    pub sweeps: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HaltView {
    pub id: String,
    pub reason: HaltReason,
    pub message: String,
    pub count: u64,
    pub since_ms: i64,
    /// The first few of what waits for an answer.
    pub paths: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ErrorView {
    pub class: &'static str,
    pub message: String,
    pub since_ms: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Waiting,
    Hydrating,
    Syncing,
    Idle,
    Closing,
}

/// What the probe found out about the store (R13). `None`: not probed yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Conditions {
    pub put: Option<bool>,
    pub multipart: Option<bool>,
    pub delete: Option<bool>,
    pub copy: Option<bool>,
    /// Requests with a condition that the store doesn't keep are refused by it, instead of done without.
    #[serde(default)]
    pub refused: bool,
}

impl Conditions {
    /// The store is known not to honour conditions on some writes.
    #[must_use]
    pub fn writes_are_unconditional(self) -> bool {
        self.put == Some(false) || self.multipart == Some(false)
    }

    /// Or on any change at all.
    #[must_use]
    pub fn is_incomplete(self) -> bool {
        [self.put, self.multipart, self.delete, self.copy].contains(&Some(false))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictCopy {
    pub path: RelPath,
    pub copy: RelPath,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrashItem {
    /// Names it for `restore`: `<utc-date>/<path>`.
    pub item: String,
    pub path: String,
    pub bytes: u64,
    pub trashed_ms: i64,
}

/// Deleted objects of which the bucket keeps a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletedVersions {
    pub versions: Vec<DeletedVersion>,
    /// There may be more: the bucket has too many versions to look at all of them.
    pub more: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedVersion {
    pub path: String,
    pub version_id: String,
    pub bytes: u64,
    /// By the store's clock.
    pub deleted_ms: Option<i64>,
}

/// What a flush reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlushReceipt {
    pub flushed: bool,
    pub hydrated: bool,
    pub cursor: u64,
    /// Of the feed that the cursor counts; empty where nobody shares it.
    pub epoch: String,
    pub files: u64,
    pub bytes: u64,
    pub pending_files: u64,
    pub pending_bytes: u64,
    /// At most 5.
    pub pending_first: Vec<String>,
    /// Hex; over (path, content hash or ETag) of every ancestor row in key order.
    pub tree: String,
    pub started_ms: i64,
    pub finished_ms: i64,
    /// Why it is not flushed, where a halt, a pause or trouble is the reason.
    pub reason: String,
}

/// How a wait for a cursor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitEnd {
    Reached,
    TimeIsOver,
    /// The feed is another one by now: its numbers say nothing of the cursor's.
    AnotherEpoch,
    /// All else is here; these paths, 5 at most, have a problem of their own.
    Unplaced(Vec<(String, String)>),
}

pub(crate) enum Message {
    Hint(Hint),
    Command(Command),
}

/// The sending side. Cheap to clone; a mirror that has ended answers nothing.
#[derive(Clone)]
pub struct MirrorHandle {
    pub(crate) inbox: mpsc::UnboundedSender<Message>,
}

impl MirrorHandle {
    /// Hints are folded per path on arrival, so that their number is bounded by the number of paths.
    pub fn hint(&self, hint: Hint) {
        let _ = self.inbox.unbounded_send(Message::Hint(hint));
    }

    /// False when the mirror has ended.
    pub fn send(&self, command: Command) -> bool {
        self.inbox.unbounded_send(Message::Command(command)).is_ok()
    }

    /// Sends a command and waits for its answer; `None` when the mirror has ended.
    pub async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.send(command(sender));
        receiver.await.ok()
    }
}
