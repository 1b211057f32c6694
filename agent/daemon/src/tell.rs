//! How a mirror stands, in the words of the socket and of the metrics. Pure.

mod promise;
pub mod trouble;

use gosync_api::messages::{
    CopyOf, ErrorNow, FeedState, Halt, HaltAnswer, MirrorState, PathNote, Pending, Queue, Receipt, ReceiptPending,
    RootState, WatchState,
};
use gosync_api::words::{Direction, HaltReason, PathState, Status};
use gosync_engine::View;
use gosync_engine::handle::{self, FlushReceipt};
use gosync_telemetry::MirrorGauges;
use jiff::Timestamp;

use crate::one_mirror::{Down, Seen, Why};
use crate::words;
pub use promise::store;
use trouble::Outside;

/// Paths that a state names.
const PATHS_MAX: usize = 100;
/// How the engine begins the problem of a path that waits for a person to make room for another conflict copy.
const HELD: &str = "held: ";
/// How it begins the note of a path that somebody else wrote to in the bucket of a mirror that only sends.
const DIVERGED: &str = "diverged: ";
/// Of a feed's epoch, in a cursor: enough to tell two feeds of one store apart.
const EPOCH_SHOWN: usize = 8;
/// A folder that every fresh ext4 has and that only root may read: no trouble of anybody's.
const LOST_AND_FOUND: &str = "lost+found";

/// What is told of a mirror besides how it stands.
pub struct About {
    pub name: String,
    pub local_path: String,
    pub s3_path: String,
    pub direction: Direction,
    pub config_file: Option<String>,
    pub paused: bool,
    pub request: String,
    pub watch: WatchState,
    pub outside: Outside,
}

pub fn mirror_state(about: About, seen: &Seen) -> MirrorState {
    let mut state = MirrorState {
        name: about.name,
        local_path: about.local_path,
        s3_path: about.s3_path,
        direction: about.direction,
        config_file: about.config_file,
        watch: about.watch,
        ..MirrorState::default()
    };
    match seen {
        Seen::Down(down) => from_down(down, &mut state),
        Seen::Up(view) => from_view(view, &about.outside, &mut state),
        Seen::Silent => state.errors.push(ErrorNow {
            class: words::INTERNAL.to_owned(),
            message: "the mirror's loop does not answer".to_owned(),
            since: None,
        }),
    }
    // The loop is a new one since the request came, so what it found in step was found afterwards.
    if state.last_sync.is_some() {
        state.request = about.request;
    }
    state.status = status(about.paused, !state.halts.is_empty(), !state.errors.is_empty());
    state
}

/// One word for a mirror.
pub fn status(paused: bool, halted: bool, in_error: bool) -> Status {
    if halted {
        Status::Halted
    } else if paused {
        Status::Paused
    } else if in_error {
        Status::Error
    } else {
        Status::Active
    }
}

fn from_down(down: &Down, state: &mut MirrorState) {
    state.phase = down.phase;
    state.watch.watching = false;
    let since = timestamp(down.since_ms);
    match &down.why {
        None => {}
        Some(Why::Halt(reason, message)) => state.halts.push(Halt {
            id: reason.as_str().to_owned(),
            reason: *reason,
            since,
            message: message.clone(),
            counts: Default::default(),
            answers: HaltAnswer::of(*reason),
            paths: Vec::new(),
        }),
        Some(Why::Error { class, message }) => {
            state.errors.push(ErrorNow { class: (*class).to_owned(), message: message.clone(), since });
        }
    }
}

fn from_view(view: &View, outside: &Outside, state: &mut MirrorState) {
    state.replica = view.replica.clone();
    state.copy_of =
        view.copy_of.as_ref().map(|copy| CopyOf { replica: copy.replica.clone(), since: timestamp(copy.since_ms) });
    state.phase = words::phase(view.phase);
    state.hydrated = view.hydrated;
    state.halts = view.halts.iter().map(halt).collect();
    state.errors = errors(view, outside);
    // In step, what is still to be looked at is what was just written.
    let in_step = view.pending_files == 0 && view.phase == handle::Phase::Idle;
    state.lag_seconds = if in_step { 0.0 } else { view.lag_ms as f64 / 1_000.0 };
    state.files = view.files;
    state.bytes = view.bytes;
    state.pending = Pending { files: view.pending_files, bytes: view.pending_bytes };
    state.queue = Queue {
        running: view.in_flight,
        others: view.pending_files.saturating_sub(view.in_flight),
        ..Queue::default()
    };
    state.conflicts = view.conflict_copies;
    let is_problem = |why: &str| !why.starts_with(HELD) && !why.starts_with(DIVERGED);
    state.problems = view.problems.iter().filter(|(_, why)| is_problem(why)).count() as u64;
    let paths = path_notes(view);
    state.paths_left_out = paths.len().saturating_sub(PATHS_MAX) as u64;
    state.paths = paths.into_iter().take(PATHS_MAX).collect();
    state.last_sync = view.last_sync_ms.and_then(timestamp);
    state.cursor = Some(cursor(view.cursor, &view.epoch));
    if let Some(feed) = view.feed {
        state.feed = FeedState { kind: "postgres".to_owned(), behind: feed.waiting, lists: feed.lists };
    }
    state.root = root(view.root_is_read_only);
    state.store = store(view.conditions, view.feed.is_some());
    state.watch.watching &= view.watch_healthy;
}

fn halt(halt: &handle::HaltView) -> Halt {
    let reason = words::halt_reason(halt.reason);
    Halt {
        id: halt.id.clone(),
        reason,
        since: timestamp(halt.since_ms),
        message: halt.message.clone(),
        counts: if halt.count > 0 { [("files".to_owned(), halt.count)].into() } else { Default::default() },
        answers: HaltAnswer::of(reason),
        paths: halt.paths.clone(),
    }
}

fn errors(view: &View, outside: &Outside) -> Vec<ErrorNow> {
    let troubles = view.errors.iter().map(|error| {
        let refused = error.class == words::LOCAL && trouble::is_refused(&error.message);
        ErrorNow {
            class: if refused { words::PERMISSION } else { words::error_class(error.class) }.to_owned(),
            message: trouble::explain(error.class, &error.message, outside),
            since: timestamp(error.since_ms),
        }
    });
    let mut errors: Vec<ErrorNow> = troubles.collect();
    let refused: Vec<&(String, String)> = view
        .problems
        .iter()
        .filter(|(path, why)| path.trim_end_matches('/') != LOST_AND_FOUND && trouble::is_refused(why))
        .collect();
    if let Some((path, why)) = refused.first() {
        let more = refused.len() - 1;
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        errors.push(ErrorNow {
            class: words::PERMISSION.to_owned(),
            message: format!("{path}{more}: {}; let the agent's user read and write it", trouble::of_a_path(why)),
            since: None,
        });
    }
    errors
}

fn path_notes(view: &View) -> Vec<PathNote> {
    let note = |path: &str, state, reason: &str| PathNote {
        path: path.to_owned(),
        state,
        reason: reason.to_owned(),
        since: None,
    };
    let problems = view.problems.iter().map(|(path, why)| match (why.strip_prefix(HELD), why.strip_prefix(DIVERGED)) {
        (Some(why), _) => note(path, PathState::Held, why),
        (_, Some(why)) => note(path, PathState::Diverged, why),
        _ => note(path, PathState::Problem, &trouble::of_a_path(why)),
    });
    let busy = view.busy.iter().map(|path| note(path.as_str(), PathState::Busy, "held open for writing"));
    let open = view.open.iter().map(|path| note(path.as_str(), PathState::Open, "sent while it was held open"));
    problems.chain(busy).chain(open).collect()
}

fn root(read_only: bool) -> RootState {
    const WEAKER: [&str; 4] = [
        "the folder can't be written to, so it has no marker: its inode alone tells it from another one in its place",
        "without a lock in the folder, another agent on it goes unnoticed",
        "without a trash in the folder, a path that others wrote to in the bucket can't be approved",
        "a large file that is held open is sent without a private copy: only when it rests for a moment",
    ];
    let weaker = if read_only { WEAKER.map(str::to_owned).to_vec() } else { Vec::new() };
    RootState { read_only, weaker }
}

/// A number of the feed, with what tells this feed from another one of the same store.
fn cursor(sequence: u64, epoch: &str) -> String {
    match epoch.get(..EPOCH_SHOWN) {
        Some(epoch) => format!("{sequence}-{epoch}"),
        None => sequence.to_string(),
    }
}

/// Why nothing can be asked of a mirror at the moment.
pub fn why_down(state: &MirrorState) -> String {
    let halt = state.halts.first().map(|halt| format!("halted: {} ({})", halt.reason, halt.message));
    let error = || state.errors.first().map(|error| format!("{}: {}", error.class, error.message));
    halt.or_else(error).unwrap_or_else(|| format!("it is {}", state.phase))
}

pub fn receipt(mirror: &str, device: &str, from: &FlushReceipt) -> Receipt {
    Receipt {
        mirror: mirror.to_owned(),
        device: device.to_owned(),
        cursor: Some(cursor(from.cursor, &from.epoch)),
        flushed: from.flushed,
        hydrated: from.hydrated,
        files: from.files,
        bytes: from.bytes,
        pending: ReceiptPending {
            files: from.pending_files,
            bytes: from.pending_bytes,
            first: from.pending_first.clone(),
        },
        tree: (!from.tree.is_empty()).then(|| from.tree.clone()),
        reason: (!from.reason.is_empty()).then(|| from.reason.clone()),
        started: timestamp(from.started_ms),
        finished: timestamp(from.finished_ms),
    }
    .fit()
}

/// The receipt of a mirror whose flush is not over, or that has no engine: what is known now.
pub fn draft_receipt(device: &str, state: &MirrorState, started: Timestamp) -> Receipt {
    Receipt {
        mirror: state.name.clone(),
        device: device.to_owned(),
        cursor: state.cursor.clone(),
        flushed: false,
        hydrated: state.hydrated,
        files: state.files,
        bytes: state.bytes,
        pending: ReceiptPending { files: state.pending.files, bytes: state.pending.bytes, first: Vec::new() },
        tree: None,
        reason: (state.status != Status::Active).then(|| why_down(state)),
        started: Some(started),
        finished: None,
    }
}

pub fn gauges(state: &MirrorState, progress: f64) -> MirrorGauges {
    MirrorGauges {
        lag_seconds: state.lag_seconds,
        pending_files: state.pending.files,
        pending_bytes: state.pending.bytes,
        queue_depth: state.queue.running + state.queue.others,
        conflicts_unresolved: state.conflicts,
        hydration_progress: progress,
        last_success_seconds: state.last_sync.map(|time| time.as_millisecond() as f64 / 1_000.0),
        halted: HaltReason::ALL
            .iter()
            .map(|reason| (reason.as_str(), state.halts.iter().any(|halt| halt.reason == *reason)))
            .collect(),
    }
}

pub fn timestamp(milliseconds: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(milliseconds).ok()
}

#[cfg(test)]
mod tests {
    use gosync_api::words::Phase;
    use gosync_engine::handle::{ErrorView, HaltView};
    use gosync_plan::guard;

    use gosync_api::messages::Proof;

    use super::*;

    fn about(paused: bool) -> About {
        About {
            name: "docs".into(),
            local_path: "/docs".into(),
            s3_path: "s3://b/docs".into(),
            direction: Direction::TwoWay,
            config_file: None,
            paused,
            request: String::new(),
            watch: WatchState { watching: true, why_polling: None },
            outside: Outside { endpoint: "http://s3.home".into(), bucket: "b".into() },
        }
    }

    fn up(view: View) -> Seen {
        Seen::Up(Box::new(View { watch_healthy: true, ..view }))
    }

    fn trouble(class: &'static str, message: &str) -> ErrorView {
        ErrorView { class, message: message.into(), since_ms: 0 }
    }

    fn halted() -> HaltView {
        HaltView {
            id: "k3".into(),
            reason: guard::HaltReason::TooManyDeletes,
            message: "60 of 100".into(),
            count: 60,
            since_ms: 0,
            paths: vec!["a".into(), "b".into()],
        }
    }

    fn status_of(paused: bool, view: View) -> Status {
        mirror_state(about(paused), &up(view)).status
    }

    #[test]
    fn a_halt_stands_over_a_pause_and_a_pause_over_an_error() {
        let error = || vec![trouble("s3", "no route")];
        assert_eq!(status_of(false, View::default()), Status::Active);
        assert_eq!(status_of(false, View { errors: error(), ..View::default() }), Status::Error);
        assert_eq!(status_of(true, View { errors: error(), ..View::default() }), Status::Paused);
        assert_eq!(status_of(true, View { errors: error(), halts: vec![halted()], ..View::default() }), Status::Halted);
    }

    #[test]
    fn a_halt_says_what_can_be_answered() {
        let state = mirror_state(about(false), &up(View { halts: vec![halted()], ..View::default() }));
        assert_eq!(state.halts[0].counts["files"], 60);
        assert_eq!(state.halts[0].answers.len(), 2);
        assert_eq!(state.halts[0].paths, ["a", "b"]);
    }

    #[test]
    fn a_refused_folder_is_an_error_that_names_it() {
        let why = "read folder failed at private: Permission: Permission denied (os error 13)";
        let view = View { problems: vec![("private".into(), why.into())], ..View::default() };
        let state = mirror_state(about(false), &up(view));
        assert_eq!(state.status, Status::Error);
        assert_eq!(state.errors[0].class, "permission");
        let message = "private: read folder failed: permission denied; let the agent's user read and write it";
        assert_eq!(state.errors[0].message, message);
        let view = View { problems: vec![(format!("{LOST_AND_FOUND}/"), why.into())], ..View::default() };
        assert_eq!(mirror_state(about(false), &up(view)).status, Status::Active);
    }

    #[test]
    fn an_odd_name_alone_is_no_error() {
        let view = View { problems: vec![("a//b".into(), "an empty component".into())], ..View::default() };
        let state = mirror_state(about(false), &up(view));
        assert_eq!((state.status, state.problems), (Status::Active, 1));
    }

    #[test]
    fn errors_carry_the_words_that_people_know() {
        let errors = vec![trouble("s3", "x"), trouble("local", "open failed at a: Permission"), trouble("bucket", "y")];
        let state = mirror_state(about(false), &up(View { errors, ..View::default() }));
        let classes: Vec<&str> = state.errors.iter().map(|error| error.class.as_str()).collect();
        assert_eq!(classes, ["endpoint", "permission", "bucket"]);
    }

    #[test]
    fn no_more_than_a_hundred_paths_are_named() {
        let problems = (0..150).map(|n| (format!("p{n}"), "why".to_owned())).collect();
        let state = mirror_state(about(false), &up(View { problems, ..View::default() }));
        assert_eq!((state.paths.len(), state.paths_left_out, state.problems), (100, 50, 150));
    }

    #[test]
    fn a_mirror_without_an_engine_says_why() {
        let why = Some(Why::Halt(HaltReason::RootMissing, "gone".into()));
        let seen = Seen::Down(Down { phase: Phase::Waiting, why, since_ms: 5 });
        let state = mirror_state(about(false), &seen);
        assert_eq!((state.status, state.phase), (Status::Halted, Phase::Waiting));
        assert!(!state.watch.watching);
        assert_eq!(mirror_state(about(false), &Seen::Silent).status, Status::Error);
    }

    #[test]
    fn a_store_that_ignores_conditions_is_told_with_what_follows() {
        let conditions = handle::Conditions {
            put: Some(true),
            multipart: Some(true),
            delete: Some(false),
            ..handle::Conditions::default()
        };
        let state = mirror_state(about(false), &up(View { conditions, ..View::default() }));
        assert_eq!(state.store.conditions.delete, Proof::Missing);
        assert_eq!(state.store.conditions.create, Proof::Proven);
        assert_eq!(state.store.weaker.len(), 1);
        assert!(state.store.weaker[0].contains("DELETE"));
    }

    #[test]
    fn a_postgres_in_common_changes_what_is_weaker() {
        let found = |held: bool| {
            let held = Some(held);
            handle::Conditions { put: held, multipart: held, delete: held, copy: held, refused: false }
        };
        assert_eq!((store(found(true), false).weaker, store(found(true), true).weaker), (Vec::new(), Vec::new()));
        let (alone, shared) = (store(found(false), false).weaker, store(found(false), true).weaker);
        assert!(alone.iter().any(|words| words.contains("deletes wait one interval")), "{alone:?}");
        assert!(shared.iter().all(|words| !words.contains("wait one interval")), "{shared:?}");
        assert!(shared.iter().any(|words| words.contains("take turns")), "{shared:?}");
        assert!(shared.iter().any(|words| words.contains("while Postgres is away")), "{shared:?}");
    }

    #[test]
    fn a_path_that_waits_for_room_for_its_conflict_copy_is_held_and_no_problem() {
        let problems = vec![("a".into(), "held: there are 20 conflict copies of it already".into())];
        let state = mirror_state(about(false), &up(View { problems, ..View::default() }));
        assert_eq!(state.problems, 0);
        assert_eq!((state.paths[0].state, state.paths[0].reason.starts_with("there are 20")), (PathState::Held, true));
    }

    #[test]
    fn the_lag_is_that_of_the_oldest_change_and_nothing_in_step() {
        let lag = |view: View| mirror_state(about(false), &up(view)).lag_seconds;
        let idle = View { phase: handle::Phase::Idle, lag_ms: 7_000, ..View::default() };
        assert_eq!(lag(idle.clone()), 0.0, "only second looks are left");
        assert_eq!(lag(View { pending_files: 1, ..idle.clone() }), 7.0, "it failed, and waits for its next turn");
        assert_eq!(lag(View { phase: handle::Phase::Syncing, ..idle }), 7.0);
    }
}
