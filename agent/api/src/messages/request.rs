//! What commands ask of the agent, and the answers that are not state.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::MirrorPlan;
use super::state::{Receipt, Verb};
use crate::config::LogLevel;
use crate::words::{Answer, Direction, HaltReason, words};

/// `sync mirror`: keep a folder and a prefix in step from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorRequest {
    /// The local root, absolute.
    pub local_path: String,
    /// `/prefix` in the config's bucket, or `s3://bucket/prefix`.
    pub s3_path: String,
    /// The name; none: made from the folder's name.
    #[serde(default)]
    pub name: Option<String>,
    /// Ignore patterns, gitignore syntax.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Which way; none: two-way.
    #[serde(default)]
    pub direction: Option<Direction>,
    /// Say what would be done, change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// The mirror that was made, or would be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MirrorMade {
    /// Its name.
    pub name: String,
    /// The local root.
    pub local_path: String,
    /// The remote prefix, as `s3://bucket/prefix`.
    pub s3_path: String,
    /// True when the folder was not there and has been made.
    #[serde(default)]
    pub made_folder: bool,
    /// True when nothing was changed.
    #[serde(default)]
    pub dry_run: bool,
    /// What the first run would do; of a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<MirrorPlan>,
}

/// `sync provision`: take over the keys of a prefix by listing them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisionRequest {
    /// `/prefix` in the config's bucket, or `s3://bucket/prefix`.
    pub s3_path: String,
    /// Count, change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Keys below subfolders too.
    #[serde(default = "yes")]
    pub recursive: bool,
}

fn yes() -> bool {
    true
}

/// What a provision found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provisioned {
    /// The prefix, as `s3://bucket/prefix`.
    pub s3_path: String,
    /// Keys listed.
    pub keys: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Keys that are new to the metadata.
    pub added: u64,
    /// Keys that were known with another content.
    pub updated: u64,
    /// Listing requests it took.
    pub list_requests: u64,
    /// Keys that no file can be named after: how many.
    pub odd_keys: u64,
    /// The first of them, with the reason.
    pub odd_first: Vec<OddKey>,
    /// True when nothing was changed.
    pub dry_run: bool,
}

/// A key that stays in the bucket only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OddKey {
    /// The key.
    pub key: String,
    /// Why it can't be a file.
    #[serde(default)]
    pub reason: String,
}

/// One mirror by name: `pause`, `resume`, `remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorName {
    /// The mirror's name.
    pub name: String,
}

/// Done, with what a person wants to know about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Acknowledged {
    /// The mirror's name.
    pub name: String,
    /// What was done. A command repeated is acknowledged again.
    pub message: String,
}

/// A query that may be narrowed to one mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MirrorFilter {
    /// The mirror's name; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `sync flush`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlushRequest {
    /// The mirror's name; none: all.
    pub name: Option<String>,
    /// Answer when it is done; else at once.
    pub wait: bool,
    /// Longest wait, in seconds. Afterwards the answer is a receipt that says what is pending.
    pub timeout_seconds: u64,
}

impl Default for FlushRequest {
    fn default() -> Self {
        Self { name: None, wait: false, timeout_seconds: 60 }
    }
}

/// `sync wait`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitRequest {
    /// The mirror's name; none: all.
    #[serde(default)]
    pub name: Option<String>,
    /// The cursor of a receipt, as it is. A sequence number alone is one of whichever feed there is.
    #[serde(rename = "for")]
    pub cursor: String,
    /// Longest wait, in seconds.
    pub timeout_seconds: u64,
}

/// How far each mirror came while it was waited for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Waited {
    pub mirrors: Vec<WaitedFor>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WaitedFor {
    pub mirror: String,
    /// It has everything up to the cursor that was asked for.
    pub reached: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The cursor that it has come to.
    pub cursor: Option<String>,
}

/// What a flush reached.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flushed {
    /// One receipt per mirror.
    pub receipts: Vec<Receipt>,
}

impl Flushed {
    /// True when nothing is pending anywhere.
    pub fn complete(&self) -> bool {
        self.receipts.iter().all(|receipt| receipt.flushed)
    }
}

/// The conflict copies that lie unresolved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conflicts {
    /// Newest first.
    pub conflicts: Vec<Conflict>,
    /// Mirrors that can't be looked at now, and why: theirs are missing here.
    pub not_seen: Vec<NotSeen>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NotSeen {
    pub mirror: String,
    pub reason: String,
}

/// One conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The mirror's name.
    pub mirror: String,
    /// The path that both sides changed, relative to the root.
    pub path: String,
    /// The path of the copy that keeps the other content.
    pub copy: String,
    /// Bytes of the copy.
    #[serde(default)]
    pub bytes: u64,
    /// When it was noticed.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// The device that made the copy.
    #[serde(default)]
    pub device: String,
}

/// `approve` and `deny`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRequest {
    /// The halt's id; or a diverged path of a mirror that only sends, below its folder.
    pub halt: String,
    /// What was named, as an absolute path.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Where the verb alone doesn't say it.
    #[serde(default)]
    pub answer: Option<Answer>,
}

/// What came of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The mirror's name.
    pub mirror: String,
    /// The halt that ended; none where a path was approved.
    #[serde(default)]
    pub reason: Option<HaltReason>,
    /// What was answered.
    pub verb: Verb,
    /// What follows from it.
    #[serde(default)]
    pub message: String,
    /// How many files come back.
    #[serde(default)]
    pub restored: u64,
    /// Paths that can't be brought back, with the reason.
    #[serde(default)]
    pub lost: Vec<PathReason>,
}

/// A path and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathReason {
    /// The path, relative to the root.
    pub path: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `trash list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrashFilter {
    /// The mirror's name; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only paths below this one, relative to the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under: Option<String>,
    /// Also what was deleted in the bucket and is one of its versions.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub versions: bool,
}

words! {
    /// Where a deleted content can be had from.
    pub enum TrashSource {
        /// The trash folder beside the files.
        Trash = "trash",
        /// A version that the bucket keeps.
        Version = "version",
    }
}

/// What can be restored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trash {
    /// Newest first.
    pub entries: Vec<TrashEntry>,
    /// The bucket has too many versions to look at all of them: there may be more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// One deleted or replaced content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashEntry {
    /// What `restore` names.
    pub id: String,
    /// The mirror's name.
    pub mirror: String,
    /// Where it was, relative to the root.
    pub path: String,
    /// Its bytes.
    #[serde(default)]
    pub bytes: u64,
    /// When it was put there.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Where it can be had from.
    pub source: TrashSource,
    /// Why it was put there.
    #[serde(default)]
    pub reason: String,
}

/// `trash restore`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestoreRequest {
    /// The mirror's name; none where the ids say it.
    pub name: Option<String>,
    /// Ids of `trash list`, or paths: the newest content of each. A folder's path means all below it. What is not in the
    /// trash is looked for among the bucket's versions.
    pub what: Vec<String>,
}

/// What was restored. A path that is taken again is not overwritten: the content comes back beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restored {
    /// What came back.
    pub restored: Vec<RestoredPath>,
    /// What could not.
    pub failed: Vec<PathReason>,
}

/// One restored content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredPath {
    /// The mirror's name.
    pub mirror: String,
    /// Where it was.
    pub path: String,
    /// Where it is now.
    pub to: String,
}

words! {
    /// What a probe asks.
    pub enum Probe {
        /// Do the loops turn?
        Live = "live",
        /// Is it hydrated, or never to be?
        Startup = "startup",
        /// Is it hydrated and not in error?
        Ready = "ready",
    }
}

/// `probe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// What is asked.
    pub probe: Probe,
}

/// The answer to a probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbeResult {
    /// Yes or no.
    pub ok: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// `log-level`: how much the agent logs, until it is restarted or reads its config again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLevelRequest {
    /// Least severe level that is written.
    pub level: LogLevel,
}

/// The level that was set, and the one from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLevelSet {
    /// From before.
    pub old: LogLevel,
    /// In force now.
    pub new: LogLevel,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may stop at the first surprise
    use super::*;

    #[test]
    fn a_provision_reaches_into_subfolders_unless_told_otherwise() {
        let request: ProvisionRequest = serde_json::from_str(r#"{"s3_path":"/docs"}"#).unwrap();
        assert!(request.recursive && !request.dry_run);
    }

    #[test]
    fn a_flush_without_words_is_for_all_mirrors_and_waits_a_minute_at_most() {
        let request: FlushRequest = serde_json::from_str("{}").unwrap();
        assert_eq!(request, FlushRequest::default());
        assert_eq!(request.timeout_seconds, 60);
    }
}
