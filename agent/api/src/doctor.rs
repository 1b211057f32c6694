//! What `gosync doctor` tells: one verdict per check, each trouble with its next step.

use serde::{Deserialize, Serialize};

use crate::words::words;

words! {
    /// How a check came out.
    pub enum Verdict {
        /// As it should be.
        Ok = "ok",
        /// It works, but something is weaker than it could be, or not known.
        Warning = "warning",
        /// It doesn't work.
        Wrong = "wrong",
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at: `config`, `root`, `endpoint`.
    pub check: String,
    /// The mirror that it is about; none: the agent or a store as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// The next step, where one is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Every check, in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The worst of them.
    pub verdict: Verdict,
    /// The checks.
    pub checks: Vec<Check>,
}

impl Diagnosis {
    /// What these checks amount to.
    pub fn of(checks: Vec<Check>) -> Self {
        let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok);
        Self { verdict, checks }
    }
}
