//! What an agent answers at `/v1/state`, as far as it is used here. Read leniently: an agent may be older or newer, and a word
//! that is not known here has to stay a word.

use jiff::Timestamp;
use serde::Deserialize;

/// An agent and its mirrors.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct AgentState {
    /// Its release.
    pub version: String,
    /// Its mirrors.
    pub mirrors: Vec<MirrorState>,
}

/// A mirror in one pod.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct MirrorState {
    /// Its name.
    pub name: String,
    /// `active`, `paused`, `halted` or `error`.
    pub status: String,
    /// `waiting`, `hydrating`, `syncing`, `idle`, `standby` or `closing`.
    pub phase: String,
    /// The reasons of the halts that stand.
    pub halts: Vec<String>,
    /// The volume has been filled.
    pub hydrated: bool,
    /// Age of the oldest change that is not on both sides, in seconds.
    pub lag_seconds: f64,
    /// Files in step.
    pub files: i64,
    /// Their bytes.
    pub bytes: i64,
    /// What is not on both sides.
    pub pending: Pending,
    /// Conflict copies.
    pub conflicts: i64,
    /// What is wrong now.
    pub errors: Vec<AgentError>,
    /// When both sides were last found in step.
    pub last_sync: Option<Timestamp>,
    /// The request that it repeats, since it is done.
    pub request: String,
}

/// What is not on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Pending {
    /// Files.
    pub files: i64,
    /// Bytes.
    pub bytes: i64,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct AgentError {
    /// A short stable word.
    pub class: String,
}

impl AgentState {
    /// One of its mirrors.
    pub fn mirror(&self, name: &str) -> Option<&MirrorState> {
        self.mirrors.iter().find(|mirror| mirror.name == name)
    }
}
