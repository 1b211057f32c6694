//! `GET /v1/state` on the metrics port: counts only. No path, key or address is in it, because it is open to whoever
//! reaches the port.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::{CacheState, Dependency, ErrorNow, FeedState, MirrorState, Pending, State, StoreState};
use crate::words::{HaltReason, Phase, Status};

/// The agent and its mirrors, in counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateV1 {
    /// The agent's release.
    pub version: String,
    /// The device's name.
    pub device: String,
    /// The mirrors, by name.
    pub mirrors: Vec<MirrorV1>,
    /// What the agent depends on outside itself.
    pub dependencies: Vec<Dependency>,
}

/// One mirror, in counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MirrorV1 {
    /// The mirror's name.
    pub name: String,
    /// Status.
    pub status: Status,
    /// Phase.
    pub phase: Phase,
    /// The reasons of the halts that stand.
    #[serde(default)]
    pub halts: Vec<HaltReason>,
    /// True once the first complete look was taken over.
    #[serde(default)]
    pub hydrated: bool,
    /// Age of the oldest change that is not yet on both sides, in seconds.
    #[serde(default)]
    pub lag_seconds: f64,
    /// Files in step.
    #[serde(default)]
    pub files: u64,
    /// Their bytes.
    #[serde(default)]
    pub bytes: u64,
    /// What is not yet on both sides.
    #[serde(default)]
    pub pending: Pending,
    /// Conflict copies that lie unresolved.
    #[serde(default)]
    pub conflicts: u64,
    /// Paths that can't be synced.
    #[serde(default)]
    pub problems: u64,
    /// What is wrong now: class and since; the message says no more than the class.
    #[serde(default)]
    pub errors: Vec<ErrorNow>,
    /// When both sides were last found in step.
    #[serde(default)]
    pub last_sync: Option<Timestamp>,
    /// The `request` of the config, once both sides were found in step since it came.
    #[serde(default)]
    pub request: String,
    /// How far the feed is applied.
    #[serde(default)]
    pub cursor: Option<String>,
    /// What the store was proven to do.
    #[serde(default)]
    pub store: StoreState,
    /// The change feed.
    #[serde(default)]
    pub feed: FeedState,
    /// The cache.
    #[serde(default)]
    pub cache: CacheState,
}

impl From<&State> for StateV1 {
    fn from(state: &State) -> Self {
        Self {
            version: state.version.clone(),
            device: state.device.clone(),
            mirrors: state.mirrors.iter().map(MirrorV1::from).collect(),
            dependencies: state.dependencies.clone(),
        }
    }
}

impl From<&MirrorState> for MirrorV1 {
    fn from(mirror: &MirrorState) -> Self {
        Self {
            name: mirror.name.clone(),
            status: mirror.status,
            phase: mirror.phase,
            halts: mirror.halts.iter().map(|halt| halt.reason).collect(),
            hydrated: mirror.hydrated,
            lag_seconds: mirror.lag_seconds,
            files: mirror.files,
            bytes: mirror.bytes,
            pending: mirror.pending,
            conflicts: mirror.conflicts,
            problems: mirror.problems,
            // The full message may name paths, keys and addresses.
            errors: mirror
                .errors
                .iter()
                .map(|error| ErrorNow {
                    class: error.class.clone(),
                    message: format!("{}: see `gosync sync state` on the agent", error.class),
                    since: error.since,
                })
                .collect(),
            last_sync: mirror.last_sync,
            request: mirror.request.clone(),
            cursor: mirror.cursor.clone(),
            store: mirror.store.clone(),
            feed: mirror.feed.clone(),
            cache: mirror.cache,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may stop at the first surprise
    use super::*;
    use crate::messages::state::{Halt, HaltAnswer, PathNote};
    use crate::words::PathState;

    #[test]
    fn the_open_state_has_the_fields_that_readers_rely_on() {
        let state = State { mirrors: vec![MirrorState::default()], ..State::default() };
        let json = serde_json::to_value(StateV1::from(&state)).unwrap();
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&json), ["dependencies", "device", "mirrors", "version"]);
        assert_eq!(
            keys(&json["mirrors"][0]),
            [
                "bytes",
                "cache",
                "conflicts",
                "cursor",
                "errors",
                "feed",
                "files",
                "halts",
                "hydrated",
                "lag_seconds",
                "last_sync",
                "name",
                "pending",
                "phase",
                "problems",
                "request",
                "status",
                "store",
            ]
        );
    }

    #[test]
    fn the_open_state_names_no_path() {
        let state = State {
            data_dir: "/secret/place".into(),
            mirrors: vec![MirrorState {
                name: "docs".into(),
                local_path: "/secret/place".into(),
                s3_path: "s3://secret/place".into(),
                halts: vec![Halt {
                    id: "h1".into(),
                    reason: HaltReason::TooManyDeletes,
                    since: None,
                    message: "of secret".into(),
                    counts: [("deletes".to_owned(), 40)].into(),
                    answers: HaltAnswer::of(HaltReason::TooManyDeletes),
                    paths: vec!["secret.txt".into()],
                }],
                paths: vec![PathNote {
                    path: "secret.txt".into(),
                    state: PathState::Busy,
                    reason: "secret".into(),
                    since: None,
                }],
                errors: vec![ErrorNow {
                    class: "permission".into(),
                    message: "secret.txt: permission denied".into(),
                    since: None,
                }],
                ..MirrorState::default()
            }],
            ..State::default()
        };
        let text = serde_json::to_string(&StateV1::from(&state)).unwrap();
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains(r#""halts":["too-many-deletes"]"#), "{text}");
        assert!(text.contains(r#""class":"permission""#), "{text}");
    }
}
