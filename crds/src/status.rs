//! What the operator tells: bounded, in numbers and conditions, no paths.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Most pods that `worstPods` names.
pub const WORST_PODS_MAX: usize = 10;

/// How a mirror and its pods stand.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncMirrorStatus {
    /// The generation of the spec that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Synced, InjectionComplete, AgentsUpToDate, ConflictsPresent, DataAtRisk, Reconciling and Stalled, each with a reason
    /// that says what to do.
    #[schemars(extend("x-kubernetes-list-type" = json!("map"), "x-kubernetes-list-map-keys" = json!(["type"])))]
    pub conditions: Vec<Condition>,
    /// Its pods, counted.
    pub pods: PodCounts,
    /// How they stand, in words: 11/12 in sync, 1 hydrating.
    pub summary: String,
    /// Files in step, over all pods.
    pub files: i64,
    /// Their bytes.
    pub bytes: i64,
    /// Files that are still to be sent or fetched.
    pub pending_files: i64,
    /// Their bytes.
    pub pending_bytes: i64,
    /// Conflict copies that wait for somebody to choose.
    pub conflicts: i64,
    /// Errors that agents report.
    pub errors: i64,
    /// Age of the oldest change that is not on the other side yet, in seconds, rounded down.
    pub lag_seconds: i64,
    /// When a pod was last in step with the bucket, as of the last change of anything else here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    /// The spec.syncRequest that was last done by every pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_sync_request: String,
    /// Version of its agents; the oldest, where they differ.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub agent_version: String,
    /// The pods that stand worst, 10 at most.
    #[schemars(length(max = 10))]
    pub worst_pods: Vec<WorstPod>,
}

/// Pods, counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCounts {
    /// Pods that the mirror selects, or that ask for it.
    pub matched: i32,
    /// Those of them with an agent.
    pub injected: i32,
    /// Those whose volume has been filled.
    pub hydrated: i32,
    /// Those with nothing to send or fetch.
    pub in_sync: i32,
    /// Those without an agent.
    pub missing: i32,
    /// Those whose agent is older than the operator's.
    pub outdated: i32,
}

/// A pod that does not stand well.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorstPod {
    /// Its name.
    pub name: String,
    /// One CamelCase word, as in conditions.
    pub reason: String,
    /// What is the matter.
    pub message: String,
}
