//! The near side: the pod's volume, and the agent's container.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choice::LogLevel;
use crate::schema::rules;

/// The volume of the pod that is kept in step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::volume()))]
pub struct MirrorVolume {
    /// Its name in the pod's spec.volumes: an emptyDir, a persistent volume claim or the like.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The folder in the volume. Empty: all of it.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub sub_path: String,
}

/// The agent's container. Its image is the operator's to choose. Of several mirrors of one pod, the first by name decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Agent {
    /// Least severe lines of its log: error, warn, info, debug or trace.
    pub log_level: LogLevel,
    /// Its resources. What is not named: requests of 25m and 64Mi, a memory limit of 256Mi and what the volume takes if it is in
    /// memory; in pods of the class Guaranteed, requests as large as the limits.
    pub resources: Resources,
    /// The uid that it runs as. Absent: that of the container that mounts the volume, else the pod's, else 0 without capabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub run_as_user: Option<i64>,
    /// The gid that it runs as. Absent: as for the uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub run_as_group: Option<i64>,
    /// Port of its metrics and probes. If a container of the pod has it, the next free one is taken.
    #[schemars(range(min = 1024, max = 65_535))]
    pub metrics_port: i32,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            log_level: LogLevel::Info,
            resources: Resources::default(),
            run_as_user: None,
            run_as_group: None,
            metrics_port: 9754,
        }
    }
}

/// Resources of a container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// What is set aside for it: cpu, memory, ephemeral-storage.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Quantity>,
    /// What it may use at most: cpu, memory, ephemeral-storage.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
}
