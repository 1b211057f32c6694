//! `sync explain`: what is known of a path, and why it stands as it does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::request::{Conflict, PathReason, TrashEntry};
use super::state::{ErrorNow, Halt};
use crate::words::{Direction, PathState, Phase, Status};

/// `explain`: a path as somebody has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExplainRequest {
    /// As it was written: absolute, relative to the current folder or to a root, `s3://bucket/key`, or a key.
    pub path: String,
    /// The same as an absolute path, where it can be one: taken from the current folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute: Option<String>,
    /// The same without the symbolic links on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real: Option<String>,
    /// The mirror's name; none: the one that has the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One explanation for each mirror that has the path.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explained {
    /// By name of the mirror.
    pub paths: Vec<Explanation>,
}

/// What is known of a path of one mirror.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// The mirror's name.
    pub mirror: String,
    /// How the mirror stands.
    pub status: Status,
    /// What it is doing.
    pub phase: Phase,
    /// Which way it works.
    pub direction: Direction,
    /// Below the root; empty: the root itself.
    pub path: String,
    /// As an absolute path.
    pub local_path: String,
    /// As `s3://bucket/key`.
    pub s3_path: String,
    /// How it stands; none where nothing is to be in step.
    pub state: Option<PathState>,
    /// Why it stands so, where the rule doesn't say it.
    pub reason: Option<String>,
    /// What the mirror would do: `nothing`, `upload`, `download`, `record`, `conflict`, `delete-object`, `trash-local`, ...
    pub decision: String,
    /// The rule behind that.
    pub why: String,
    /// The rule that it is ignored by.
    pub ignored: Option<IgnoredBy>,
    /// What both sides were last proven to agree on.
    pub ancestor: Option<Entry>,
    /// What stands here now.
    pub local: Option<Entry>,
    /// What stands in the bucket now.
    pub remote: Option<Entry>,
    /// What it waits for.
    pub waits: Vec<WaitsFor>,
    /// The halts that hold it.
    pub halts: Vec<Halt>,
    /// What is wrong with the mirror now.
    pub errors: Vec<ErrorNow>,
    /// The last change of the key that is known.
    pub last_change: Option<LastChange>,
    /// Acts on it that were begun and are not known to have ended.
    pub under_way: Vec<UnderWay>,
    /// The path that this is a conflict copy of.
    pub copy_of: Option<String>,
    /// Conflict copies of it, newest first.
    pub copies: Vec<Conflict>,
    /// What the trash has of it, newest first.
    pub trash: Vec<TrashEntry>,
    /// What lies below it, where it is a folder.
    pub folder: Option<FolderSummary>,
    /// What could not be asked, and why.
    pub failed: Vec<String>,
}

impl Default for Explanation {
    fn default() -> Self {
        Self {
            mirror: String::new(),
            status: Status::Active,
            phase: Phase::Waiting,
            direction: Direction::TwoWay,
            path: String::new(),
            local_path: String::new(),
            s3_path: String::new(),
            state: None,
            reason: None,
            decision: String::new(),
            why: String::new(),
            ignored: None,
            ancestor: None,
            local: None,
            remote: None,
            waits: Vec::new(),
            halts: Vec::new(),
            errors: Vec::new(),
            last_change: None,
            under_way: Vec::new(),
            copy_of: None,
            copies: Vec::new(),
            trash: Vec::new(),
            folder: None,
            failed: Vec::new(),
        }
    }
}

/// One side of a path, or what both agreed on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// `file`, `object`, `folder`, `absent`, a special file's kind, or `unknown`.
    pub kind: String,
    /// Since both were last in step: `unchanged`, `created`, `edited`, `touched`, `mode`, `deleted`, ...; empty for the
    /// ancestor.
    pub change: String,
    /// Its bytes.
    pub bytes: Option<u64>,
    /// The file's time; of an object the one that it was sent with.
    pub modified: Option<Timestamp>,
    /// When the store says that it was written.
    pub stored: Option<String>,
    /// Permission bits, octal.
    pub mode: Option<String>,
    /// Without quotes.
    pub etag: Option<String>,
    /// The version, where the bucket keeps any.
    pub version: Option<String>,
    /// BLAKE3, where it is known.
    pub hash: Option<String>,
    /// Of the ancestor: the object was written by an agent. Of an object: it says so.
    pub by_agent: bool,
    /// It was read while somebody had it open.
    pub open: bool,
    /// Why nothing is known.
    pub message: Option<String>,
}

/// The rule that a path is ignored by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IgnoredBy {
    /// As it is written.
    pub rule: String,
    /// The ignore file below the root; none: the config.
    pub file: Option<String>,
    /// What it names: the path, or a folder above it.
    pub path: String,
}

/// What a path waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WaitsFor {
    /// In words.
    pub what: String,
    /// Until then, at the latest; none: as long as it takes.
    pub until: Option<Timestamp>,
}

/// A change as the metadata has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastChange {
    /// `created`, `updated`, `deleted` or `renamed`.
    pub what: String,
    /// When it was recorded.
    pub at: Option<Timestamp>,
    /// The replica that recorded it.
    pub by: String,
    /// Who that is, as far as it is known here.
    pub who: String,
    /// `uploaded` from here, `found` in the bucket; empty where that isn't known.
    pub how: String,
    /// Its number in the feed.
    pub sequence: u64,
}

/// An act that was begun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnderWay {
    /// In words.
    pub what: String,
    /// When.
    pub since: Option<Timestamp>,
}

/// What lies below a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FolderSummary {
    /// Files that are in step, or once were.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// By how they stand.
    pub states: BTreeMap<PathState, u64>,
    /// The first of those that are not simply in step: path and state.
    pub first: Vec<PathReason>,
}
