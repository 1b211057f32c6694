//! What the socket tells about the agent and its mirrors: `state`, `list`, receipts. Only the agent's user can read it,
//! so it names paths; what is open to the network is in `v1`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::words::{Answer, Direction, HaltReason, PathState, Phase, Status, words};

/// The answer to `GET /sync/state`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The agent's release.
    pub version: String,
    /// The name that people read, as in conflict copies.
    pub device: String,
    /// The agent's process id.
    pub pid: u32,
    /// When the agent started.
    pub started: Option<Timestamp>,
    /// Where the agent keeps its own state.
    pub data_dir: String,
    /// The config files in use.
    pub config_files: Vec<String>,
    /// Address that the metrics are really served on; none when they are off.
    pub metrics: Option<String>,
    /// Why metrics are off although they were asked for.
    pub metrics_problem: Option<String>,
    /// The mirrors, by name.
    pub mirrors: Vec<MirrorState>,
    /// What the agent depends on outside itself.
    pub dependencies: Vec<Dependency>,
    /// Changes of the config that wait for a restart.
    pub restart_needed: Vec<String>,
}

/// One mirror, as the socket tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MirrorState {
    /// The mirror's name.
    pub name: String,
    /// The local root.
    pub local_path: String,
    /// The remote prefix, as `s3://bucket/prefix`.
    pub s3_path: String,
    /// Which way it works.
    pub direction: Direction,
    /// The config file that defines it; none for one made by `sync mirror`.
    pub config_file: Option<String>,
    /// The id of this tree.
    pub replica: String,
    /// What this tree was when it was copied, if it was found to be a copy.
    pub copy_of: Option<CopyOf>,
    /// Status.
    pub status: Status,
    /// Phase.
    pub phase: Phase,
    /// Halts that stand.
    pub halts: Vec<Halt>,
    /// True once the first complete look was taken over.
    pub hydrated: bool,
    /// Age of the oldest change that is not yet on both sides, in seconds.
    pub lag_seconds: f64,
    /// Files in step.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is not yet on both sides.
    pub pending: Pending,
    /// What is being done and what waits.
    pub queue: Queue,
    /// Conflict copies that lie unresolved.
    pub conflicts: u64,
    /// Paths that can't be synced.
    pub problems: u64,
    /// Paths that are not simply synced or pending, the first hundred at most.
    pub paths: Vec<PathNote>,
    /// How many more such paths there are.
    pub paths_left_out: u64,
    /// What is wrong now.
    pub errors: Vec<ErrorNow>,
    /// When both sides were last found in step.
    pub last_sync: Option<Timestamp>,
    /// The `request` of the config, once both sides were found in step since it came.
    pub request: String,
    /// How far the feed is applied. Opaque: pass it on as it is.
    pub cursor: Option<String>,
    /// What the folder allows.
    pub root: RootState,
    /// What the store was proven to do.
    pub store: StoreState,
    /// The change feed.
    pub feed: FeedState,
    /// The cache.
    pub cache: CacheState,
    /// How local changes are noticed.
    pub watch: WatchState,
}

impl Default for MirrorState {
    fn default() -> Self {
        Self {
            name: String::new(),
            local_path: String::new(),
            s3_path: String::new(),
            direction: Direction::TwoWay,
            config_file: None,
            replica: String::new(),
            copy_of: None,
            status: Status::Active,
            phase: Phase::Waiting,
            halts: Vec::new(),
            hydrated: false,
            lag_seconds: 0.0,
            files: 0,
            bytes: 0,
            pending: Pending::default(),
            queue: Queue::default(),
            conflicts: 0,
            problems: 0,
            paths: Vec::new(),
            paths_left_out: 0,
            errors: Vec::new(),
            last_sync: None,
            request: String::new(),
            cursor: None,
            root: RootState::default(),
            store: StoreState::default(),
            feed: FeedState::default(),
            cache: CacheState::default(),
            watch: WatchState::default(),
        }
    }
}

/// The replica that a tree was when it was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CopyOf {
    /// Its id.
    pub replica: String,
    /// When it was found out.
    pub since: Option<Timestamp>,
}

/// What is not yet on both sides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pending {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Operations of a mirror, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Operations under way.
    pub running: u64,
    /// Uploads that wait.
    pub uploads: u64,
    /// Downloads that wait.
    pub downloads: u64,
    /// Deletes on either side that wait.
    pub deletes: u64,
    /// Other operations that wait.
    pub others: u64,
    /// Hinted paths that wait to be looked at.
    pub hints: u64,
}

/// One path that is not simply in step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathNote {
    /// The path, relative to the root, with `/`. Bytes that are no UTF-8 show as U+FFFD.
    pub path: String,
    /// How it stands.
    pub state: PathState,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Since when.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

/// A guard that stopped a mirror.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Halt {
    /// What `approve` and `deny` name.
    pub id: String,
    /// Why.
    pub reason: HaltReason,
    /// Since when.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// What a person reads: what was seen and what it would mean.
    #[serde(default)]
    pub message: String,
    /// The numbers behind it, by name (`deletes`, `of`, `limit`).
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
    /// What can be answered. Empty: only the world can end it.
    #[serde(default)]
    pub answers: Vec<HaltAnswer>,
    /// The first paths that wait, five at most.
    #[serde(default)]
    pub paths: Vec<String>,
}

/// One answer to a halt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaltAnswer {
    /// `approve` or `deny`.
    pub verb: Verb,
    /// With `--answer`, where the verb alone doesn't say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// What it does.
    #[serde(default)]
    pub effect: String,
}

impl HaltAnswer {
    /// The answers that a reason allows.
    pub fn of(reason: HaltReason) -> Vec<Self> {
        let meaning = reason.meaning();
        let mut answers = Vec::new();
        let mut add = |verb, answer, effect: &str| {
            answers.push(Self { verb, answer, effect: effect.to_owned() });
        };
        if reason == HaltReason::FirstMerge {
            add(
                Verb::Approve,
                Some(Answer::KeepBoth),
                "the bucket's content keeps the name, local ones become conflict copies",
            );
            add(Verb::Approve, Some(Answer::Remote), "the bucket's content wins; local ones go to the trash");
            add(Verb::Approve, Some(Answer::Local), "the local content wins");
        } else if let Some(effect) = meaning.approve {
            add(Verb::Approve, None, effect);
        }
        if let Some(effect) = meaning.deny {
            add(Verb::Deny, None, effect);
        }
        answers
    }
}

words! {
    /// The two ways to answer a halt.
    pub enum Verb {
        /// Yes.
        Approve = "approve",
        /// No.
        Deny = "deny",
    }
}

/// Something that is wrong now and may mend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorNow {
    /// A short stable word: `endpoint`, `credentials`, `bucket`, `permission`, `disk`.
    pub class: String,
    /// What, where, why and the next step. May name paths.
    #[serde(default)]
    pub message: String,
    /// Since when.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

/// Something outside that the agent needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// `s3`, `postgres`, `redis`; with the endpoint where there are several.
    pub name: String,
    /// True while it answers.
    pub up: bool,
    /// Since when it is as it is.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

words! {
    /// What is known about one condition of a store.
    pub enum Proof {
        /// Shown to hold.
        Proven = "proven",
        /// Shown not to hold: the store ignores it.
        Missing = "missing",
        /// Not tried.
        Untested = "untested",
    }
}

/// What the local root allows, and what follows where it doesn't.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootState {
    /// Nothing can be written into it.
    pub read_only: bool,
    /// The promises that are weaker for it, in words. Empty: none.
    pub weaker: Vec<String>,
}

/// What the store was proven to do, and what follows where it doesn't.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreState {
    /// Each condition.
    pub conditions: Conditions,
    /// The promises that are weaker for it, in words. Empty: none.
    pub weaker: Vec<String>,
}

/// The conditions that operations rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// PUT If-None-Match: of many at once, one wins.
    pub create: Proof,
    /// PUT If-Match refuses another generation.
    pub replace: Proof,
    /// Both, for multipart uploads.
    pub multipart: Proof,
    /// DELETE If-Match refuses another generation.
    pub delete: Proof,
    /// CopyObject with conditions on its target.
    pub copy: Proof,
    /// Old contents stay as versions.
    pub versions: Proof,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            create: Proof::Untested,
            replace: Proof::Untested,
            multipart: Proof::Untested,
            delete: Proof::Untested,
            copy: Proof::Untested,
            versions: Proof::Untested,
        }
    }
}

/// The change feed of a mirror's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedState {
    /// `sqlite` or `postgres`.
    pub kind: String,
    /// Changes that were read and are not yet applied.
    pub behind: u64,
    /// This agent lists the bucket for all that share the metadata.
    pub lists: bool,
}

impl Default for FeedState {
    fn default() -> Self {
        Self { kind: "sqlite".to_owned(), behind: 0, lists: true }
    }
}

/// The cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheState {
    /// True when a cache is used.
    pub enabled: bool,
    /// Reads it answered.
    pub hits: u64,
    /// Reads it could not answer.
    pub misses: u64,
}

/// How local changes are noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchState {
    /// True while the file system tells of changes; false while the tree is polled.
    pub watching: bool,
    /// Why it is polled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_polling: Option<String>,
}

/// The answer to `GET /sync/list`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct List {
    /// The mirrors, by name.
    pub mirrors: Vec<ListEntry>,
}

/// One line of `sync list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListEntry {
    /// The mirror's name.
    pub name: String,
    /// The local root.
    pub local_path: String,
    /// The remote prefix, as `s3://bucket/prefix`.
    pub s3_path: String,
    /// Status.
    pub status: Status,
    /// When both sides were last found in step.
    #[serde(default)]
    pub last_sync: Option<Timestamp>,
    /// Files in step.
    #[serde(default)]
    pub files: u64,
}

/// What a flush reached. As JSON it is the termination message of a pod too, so it stays within
/// [`Receipt::BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The mirror's name.
    pub mirror: String,
    /// The device's name.
    #[serde(default)]
    pub device: String,
    /// How far the feed is applied. Opaque: pass it on as it is.
    #[serde(default)]
    pub cursor: Option<String>,
    /// True when nothing was pending.
    #[serde(default)]
    pub flushed: bool,
    /// False until both sides have been compared completely once.
    #[serde(default)]
    pub hydrated: bool,
    /// Files in step.
    #[serde(default)]
    pub files: u64,
    /// Their bytes.
    #[serde(default)]
    pub bytes: u64,
    /// What is not yet on both sides.
    #[serde(default)]
    pub pending: ReceiptPending,
    /// Hash over every path with its content's hash or ETag: equal trees, equal hashes.
    #[serde(default)]
    pub tree: Option<String>,
    /// Why not everything was flushed, cut to [`Receipt::REASON_CHARS_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the flush started.
    #[serde(default)]
    pub started: Option<Timestamp>,
    /// When it ended; none while it runs.
    #[serde(default)]
    pub finished: Option<Timestamp>,
}

/// What a flush left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReceiptPending {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// The first paths, [`Receipt::PATHS_MAX`] at most.
    pub first: Vec<String>,
}

impl Receipt {
    /// Most bytes of a receipt as JSON: what Kubernetes keeps of a termination message.
    pub const BYTES_MAX: usize = 4096;
    /// Most paths that a receipt names.
    pub const PATHS_MAX: usize = 5;
    /// Most characters of a reason.
    pub const REASON_CHARS_MAX: usize = 300;

    /// Drops paths from the end until the receipt fits.
    pub fn fit(mut self) -> Self {
        self.pending.first.truncate(Self::PATHS_MAX);
        self.reason = self.reason.map(|reason| reason.chars().take(Self::REASON_CHARS_MAX).collect());
        while !self.pending.first.is_empty() && serde_json::to_vec(&self).is_ok_and(|json| json.len() > Self::BYTES_MAX)
        {
            self.pending.first.pop();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may stop at the first surprise
    use super::*;

    #[test]
    fn a_state_of_an_earlier_or_later_release_reads() {
        let state: State = serde_json::from_str(
            r#"{"version":"9.9.9","moon":"full","mirrors":[{"name":"docs","status":"active","phase":"idle","sky":1}]}"#,
        )
        .unwrap();
        assert_eq!(state.mirrors[0].name, "docs");
        assert_eq!(state.mirrors[0].phase, Phase::Idle);
        assert_eq!(state.mirrors[0].store.conditions.create, Proof::Untested);
    }

    #[test]
    fn a_receipt_with_long_paths_still_fits_a_termination_message() {
        let receipt = Receipt {
            mirror: "docs".into(),
            device: "laptop".into(),
            cursor: Some("17-abc".into()),
            flushed: false,
            hydrated: true,
            files: 1,
            bytes: 2,
            pending: ReceiptPending { files: 9, bytes: 9, first: vec!["x".repeat(1024); 9] },
            tree: None,
            reason: None,
            started: None,
            finished: None,
        }
        .fit();
        assert!(serde_json::to_vec(&receipt).unwrap().len() <= Receipt::BYTES_MAX);
        assert_eq!(receipt.pending.first.len(), 3);
        assert_eq!(receipt.pending.files, 9);
    }

    #[test]
    fn every_halt_says_what_can_be_answered() {
        assert!(HaltAnswer::of(HaltReason::RootMissing).is_empty());
        assert_eq!(HaltAnswer::of(HaltReason::FirstMerge).len(), 4);
        assert_eq!(HaltAnswer::of(HaltReason::TrashFull).len(), 1);
        for reason in HaltReason::ALL {
            assert!(
                !HaltAnswer::of(*reason).is_empty() || reason.meaning().clears_itself.is_some(),
                "{reason} can't end"
            );
        }
    }
}
