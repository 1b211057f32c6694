//! What a person writes: the spec, field by field. The doc comments are what `kubectl explain` prints, so they say unit,
//! meaning and what holds when nothing is written.

mod choice;
mod pod;
mod policy;
mod store;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use choice::*;
pub use pod::*;
pub use policy::*;
pub use store::*;

use crate::schema::rules;
use crate::status::SyncMirrorStatus;

/// Keeps a volume of pods and a prefix of an S3 bucket in step. Pods that it selects get an agent beside them; their
/// applications start once the volume is filled, and what they write is in the bucket before they are gone.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[allow(clippy::duplicated_attributes, reason = "each column has a type and a priority of its own")]
#[kube(
    group = "gosync.dev",
    version = "v1alpha1",
    kind = "SyncMirror",
    namespaced,
    plural = "syncmirrors",
    singular = "syncmirror",
    shortname = "smir",
    category = "gosync",
    status = "SyncMirrorStatus",
    derive = "PartialEq",
    doc = "Keeps a volume of pods and a prefix of an S3 bucket in step. Pods that it selects get an agent beside them; their applications start once the volume is filled, and what they write is in the bucket before they are gone.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether every pod that it selects is kept in step"
    ),
    printcolumn(
        name = "Sync",
        type_ = "string",
        json_path = ".status.summary",
        description = "How its pods stand, in words"
    ),
    printcolumn(
        name = "Pending",
        type_ = "integer",
        json_path = ".status.pendingFiles",
        description = "Files that are still to be sent or fetched"
    ),
    printcolumn(
        name = "Lag",
        type_ = "integer",
        json_path = ".status.lagSeconds",
        description = "Age of the oldest change that is not on the other side yet, in seconds"
    ),
    printcolumn(
        name = "Conflicts",
        type_ = "integer",
        json_path = ".status.conflicts",
        description = "Conflict copies that wait for somebody to choose"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Bucket", type_ = "string", json_path = ".spec.s3.bucket", priority = "1"),
    printcolumn(name = "Prefix", type_ = "string", json_path = ".spec.s3.prefix", priority = "1"),
    printcolumn(name = "Direction", type_ = "string", json_path = ".spec.direction", priority = "1")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::spec()))]
pub struct SyncMirrorSpec {
    /// Which pods of this namespace get an agent. Absent: only those that ask for it, by the label
    /// gosync.dev/inject: "true" and the annotation gosync.dev/mirrors with the names of the mirrors that they want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// The volume of the pod that is kept in step.
    pub volume: MirrorVolume,
    /// The bucket and the prefix in it.
    pub s3: S3,
    /// The database that agents share to know of the bucket without listing it. Absent: a SQLite file on the volume, and
    /// the conditions of the object store alone keep agents from each other's way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// A cache in front of the database. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// Which way changes go: TwoWay, Pull (from the bucket to the volume only) or Push (from the volume to the bucket only).
    #[serde(default)]
    pub direction: Direction,
    /// What happens when both sides changed one file: KeepBoth (the bucket's keeps the name, the other becomes a conflict copy),
    /// RemoteWins or LocalWins (the loser goes to the trash). Only with direction TwoWay. Absent: KeepBoth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict_policy: Option<ConflictPolicy>,
    /// What is not synced, in the syntax of .gitignore.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 1024)))]
    pub ignore_patterns: Vec<String>,
    /// The guard against mass deletes: more of them than this halt the mirror, and it asks.
    #[serde(default)]
    pub delete_guard: DeleteGuard,
    /// The first complete download, before the application starts.
    #[serde(default)]
    pub hydration: Hydration,
    /// The last flush, when a pod ends.
    #[serde(default)]
    pub drain: Drain,
    /// How often the bucket is looked at, in seconds.
    #[serde(default = "interval_seconds")]
    #[schemars(range(min = 1, max = 86_400))]
    pub interval_seconds: i32,
    /// How files are sent and fetched.
    #[serde(default)]
    pub transfer: Transfer,
    /// How files, links and folders are kept, and how long what is deleted or replaced.
    #[serde(default)]
    pub files: Files,
    /// The agent's container.
    #[serde(default)]
    pub agent: Agent,
    /// What happens with pods that were there before the mirror.
    #[serde(default)]
    pub rollout: Rollout,
    /// What happens to a pod that this mirror concerns and that has no agent: Deny (it is refused), Warn or Off. Empty: Deny for
    /// pods that ask for an agent by their label, Warn for those that are merely selected.
    #[serde(default)]
    pub guard: Guard,
    /// True pauses the mirror in every pod: nothing is sent or fetched. It is paused if this or `gosync sync pause` says so.
    #[serde(default)]
    pub suspend: bool,
    /// Any new text here has every pod compare both sides at once. status.lastSyncRequest repeats it once they were found in step
    /// in all of them. It reaches agents with their config, within about two minutes.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub sync_request: String,
}

fn interval_seconds() -> i32 {
    60
}

impl SyncMirror {
    /// The mirror's name; the API server knows none without.
    pub fn mirror_name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}
