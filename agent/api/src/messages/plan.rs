//! `sync plan`, and what the dry run of a first run tells: what would be done, with nothing done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::request::PathReason;
use super::state::Halt;
use crate::words::{HaltReason, Status};

/// Operations that are named unless all are asked for.
pub const STEPS_MAX: u64 = 1_000;

/// `plan`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanRequest {
    /// The mirror's name; none: all.
    pub name: Option<String>,
    /// Name every operation, however many there are.
    pub all: bool,
}

/// One plan per mirror.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plans {
    /// By name of the mirror.
    pub plans: Vec<MirrorPlan>,
}

/// What a cycle of a mirror would do now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MirrorPlan {
    /// The mirror's name.
    pub mirror: String,
    /// The local root.
    pub local_path: String,
    /// The remote prefix, as `s3://bucket/prefix`.
    pub s3_path: String,
    /// How the mirror stands: a paused one does this once it is resumed.
    pub status: Status,
    /// The operations in the order in which they begin; those that wait for a halt's answer among them. What is only
    /// noted (`record`, `forget`) is in the totals alone.
    pub steps: Vec<PlanStep>,
    /// How many more there are.
    pub steps_left_out: u64,
    /// By action, of those that would be done.
    pub totals: BTreeMap<String, PlanTotal>,
    /// By halt, of those that would wait for an answer.
    pub waiting: BTreeMap<HaltReason, u64>,
    /// Halts that stand, or that this would lead to.
    pub halts: Vec<Halt>,
    /// Paths that are left alone, and why.
    pub problems: Vec<PathReason>,
    /// How many more there are.
    pub problems_left_out: u64,
    /// Paths that the mirror has in hand at this moment, and that the plan leaves out.
    pub under_way: u64,
    /// Files that were in step.
    pub in_step: u64,
}

impl Default for MirrorPlan {
    fn default() -> Self {
        Self {
            mirror: String::new(),
            local_path: String::new(),
            s3_path: String::new(),
            status: Status::Active,
            steps: Vec::new(),
            steps_left_out: 0,
            totals: BTreeMap::new(),
            waiting: BTreeMap::new(),
            halts: Vec::new(),
            problems: Vec::new(),
            problems_left_out: 0,
            under_way: 0,
            in_step: 0,
        }
    }
}

/// Operations of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanTotal {
    /// How many.
    pub files: u64,
    /// What they transfer, bytes.
    pub bytes: u64,
}

/// One operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanStep {
    /// `upload`, `download`, `conflict`, `replace`, `overrule`, `apply-mode`, `move-aside`, `delete-object`, `trash-local`.
    pub action: String,
    /// Below the root.
    pub path: String,
    /// What it transfers.
    pub bytes: u64,
    /// True for a delete whose content stands under another path.
    pub moved: bool,
    /// The rule behind it.
    pub why: String,
    /// The halt that holds it.
    pub waits_for: Option<HaltReason>,
}
