//! How a mirror works: guards, hydration, drain, transfers, files. Defaults are those of the agent, but for the drain, which
//! a pod can wait longer for, and the size of parts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choice::{FileMode, HydrationMode, OnMissing, OnTimeout, Symlinks};

/// The guard against mass deletes: it needs minFiles deletes, and more than maxPercent or more than maxFiles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteGuard {
    /// More deletes than this share of the mirror's files halt it, in percent.
    #[schemars(range(min = 0, max = 100))]
    pub max_percent: i32,
    /// More deletes than this many files halt it too.
    #[schemars(range(min = 0))]
    pub max_files: i64,
    /// Fewer deletes than this never halt it.
    #[schemars(range(min = 0))]
    pub min_files: i64,
}

impl Default for DeleteGuard {
    fn default() -> Self {
        Self { max_percent: 50, max_files: 10_000, min_files: 20 }
    }
}

/// The first complete download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Hydration {
    /// Full: the application starts when everything is there. None: it starts at once.
    pub mode: HydrationMode,
    /// How long it may take, in seconds. A Deployment whose progressDeadlineSeconds (600 by default) is shorter counts as failed
    /// before.
    #[schemars(range(min = 1, max = 86_400))]
    pub timeout_seconds: i32,
    /// What follows when it takes longer. Block: the application goes on waiting, and the resource says so. Start: it starts with
    /// what is there.
    pub on_timeout: OnTimeout,
}

impl Default for Hydration {
    fn default() -> Self {
        Self { mode: HydrationMode::Full, timeout_seconds: 540, on_timeout: OnTimeout::Block }
    }
}

/// The last flush, when a pod ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Drain {
    /// How long it may take, in seconds.
    #[schemars(range(min = 0, max = 86_400))]
    pub timeout_seconds: i32,
    /// True: the pod's grace period becomes that much longer, so that the application keeps its own share of it.
    pub extend_grace_period: bool,
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout_seconds: 60, extend_grace_period: true }
    }
}

/// How files are sent and fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Transfer {
    /// Large transfers at once. Small ones share a budget of requests.
    #[schemars(range(min = 1, max = 64))]
    pub workers: i32,
    /// Size of the parts of large uploads, in bytes, 5 MiB to 5 GiB.
    #[schemars(range(min = 5_242_880, max = 5_368_709_120_i64))]
    pub chunk_size_bytes: i64,
    /// How often a failed request is tried again.
    #[schemars(range(min = 0, max = 100))]
    pub max_retries: i32,
    /// Limit of uploads, in bytes per second. 0: none.
    #[schemars(range(min = 0))]
    pub upload_bytes_per_second: i64,
    /// Limit of downloads, in bytes per second. 0: none.
    #[schemars(range(min = 0))]
    pub download_bytes_per_second: i64,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            workers: 4,
            chunk_size_bytes: 5_242_880,
            max_retries: 3,
            upload_bytes_per_second: 0,
            download_bytes_per_second: 0,
        }
    }
}

/// How files, links and folders are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Files {
    /// Which bits of a file's mode are kept: Full (all), Exec (the executable bit) or Off. In pods with an fsGroup, Full works as Exec:
    /// the kubelet changes modes there.
    pub mode: FileMode,
    /// Symbolic links: Skip (reported, left alone) or Preserve (kept as links).
    pub symlinks: Symlinks,
    /// Make and honour objects for folders, so that empty ones are kept too.
    pub directory_markers: bool,
    /// How long what was deleted or replaced is kept in .gosync/trash on the volume, in seconds.
    #[schemars(range(min = 0))]
    pub trash_max_age_seconds: i64,
    /// How much of it is kept, in bytes.
    #[schemars(range(min = 0))]
    pub trash_max_bytes: i64,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            mode: FileMode::Full,
            symlinks: Symlinks::Skip,
            directory_markers: false,
            trash_max_age_seconds: 604_800,
            trash_max_bytes: 1 << 30,
        }
    }
}

/// What happens with pods that were there before the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// Manual: the resource says which workloads to restart, and how. Restart: the operator restarts Deployments, StatefulSets and
    /// DaemonSets itself, once; an emptyDir ends with its pod then, as in any restart.
    pub on_missing: OnMissing,
}
