//! Deletes are held until their burst ends, and counted over a window before the first is done (R14).

use std::collections::BTreeMap;

use gosync_plan::decide::Action;
use gosync_plan::guard::too_many_deletes;
use gosync_plan::{DeleteLimits, GuardVerdict, RelPath};
use serde::{Deserialize, Serialize};

use crate::sequences::Task;

/// Executed deletes that are remembered by name, for `deny`.
const EXECUTED_MAX: usize = 10_000;

/// What was deleted in the current window. Kept over restarts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Window {
    /// milliseconds since 1970 of this host
    pub began_ms: i64,
    /// Ancestor rows at its start.
    pub ancestors: u64,
    /// Counted deletes (moved and approved ones are not).
    pub executed: u64,
}

/// A delete that was done in the current window.
#[derive(Clone, Debug)]
pub struct Executed {
    pub path: RelPath,
    pub action: Action,
}

struct Held {
    task: Task,
    /// Not before this, whatever the burst does.
    not_before_ms: u64,
}

#[derive(Default)]
pub struct Deletes {
    held: BTreeMap<RelPath, Held>,
    first_ms: u64,
    last_ms: u64,
    /// No held delete may go before this.
    earliest_ms: u64,
    pub window: Window,
    executed: Vec<Executed>,
}

impl Deletes {
    pub fn hold(&mut self, task: Task, now_ms: u64, not_before_ms: u64) {
        if self.held.is_empty() {
            self.first_ms = now_ms;
            self.earliest_ms = not_before_ms;
        }
        let known = self.held.get(&task.operation.path).map(|held| held.not_before_ms);
        if known.is_none() {
            self.last_ms = now_ms;
        }
        let not_before_ms = known.unwrap_or(not_before_ms);
        self.earliest_ms = self.earliest_ms.min(not_before_ms);
        self.held.insert(task.operation.path.clone(), Held { task, not_before_ms });
    }

    /// The path is looked at anew: what was planned for it is void. True when something was.
    pub fn release(&mut self, path: &RelPath) -> bool {
        self.held.remove(path).is_some()
    }

    pub fn clear(&mut self) {
        self.held.clear();
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    pub fn paths(&self) -> impl Iterator<Item = &RelPath> {
        self.held.keys()
    }

    /// Deletes that count for the guard.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.held.values().filter(|held| !held.task.operation.moved).count() as u64
    }

    /// When the burst ends, if none comes.
    #[must_use]
    pub fn burst_ends_ms(&self, quiet_ms: u64, max_ms: u64) -> Option<u64> {
        if self.held.is_empty() {
            return None;
        }
        let burst = (self.last_ms + quiet_ms).min(self.first_ms + max_ms);
        Some(burst.max(self.earliest_ms))
    }

    /// Starts a new window when the old one is over.
    pub fn roll(&mut self, now_utc_ms: i64, ancestors: u64, window_ms: u64) {
        let age = now_utc_ms.saturating_sub(self.window.began_ms);
        if !(0..i64::try_from(window_ms).unwrap_or(i64::MAX)).contains(&age) {
            self.begin_window(now_utc_ms, ancestors);
        }
    }

    pub fn begin_window(&mut self, now_utc_ms: i64, ancestors: u64) {
        self.window = Window { began_ms: now_utc_ms, ancestors, executed: 0 };
        self.executed.clear();
    }

    #[must_use]
    pub fn verdict(&self, limits: DeleteLimits) -> GuardVerdict {
        too_many_deletes(limits, self.window.ancestors, self.window.executed, self.counted())
    }

    /// The held deletes that may go now; counted unless `approved`.
    pub fn take(&mut self, now_ms: u64, approved: bool) -> Vec<Task> {
        let ready: Vec<RelPath> =
            self.held.iter().filter(|(_, held)| held.not_before_ms <= now_ms).map(|(path, _)| path.clone()).collect();
        let mut tasks = Vec::with_capacity(ready.len());
        // The deepest first, so that folders that become empty can go.
        for path in ready.into_iter().rev() {
            let Some(held) = self.held.remove(&path) else { continue };
            if !approved && !held.task.operation.moved {
                self.window.executed += 1;
                if self.executed.len() < EXECUTED_MAX {
                    self.executed.push(Executed { path, action: held.task.operation.action.clone() });
                }
            }
            tasks.push(held.task);
        }
        self.earliest_ms = self.held.values().map(|held| held.not_before_ms).min().unwrap_or(0);
        tasks
    }

    /// What was done in this window and can be brought back.
    pub fn take_executed(&mut self) -> Vec<Executed> {
        std::mem::take(&mut self.executed)
    }
}
