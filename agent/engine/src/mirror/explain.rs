//! What the core adds to the explanation of a path: how it stands with the mirror, and what it waits for.

use std::collections::BTreeMap;

use futures_channel::oneshot;
use gosync_plan::RelPath;

use super::core::{Core, Stage, is_of_the_root};
use super::dirty::below;
use super::effect::Effect;
use crate::explain::{Explanation, Standing, Wait};
use crate::handle::CommandError;
use crate::look::Failure;

/// How the problem of a path begins that waits for a person to make room for another conflict copy.
const HELD: &str = "held: ";

pub type Reply = oneshot::Sender<Result<Box<Explanation>, CommandError>>;

impl Core {
    pub(super) fn explain(&mut self, path: String, reply: Reply) {
        let look_here = !self.halts.keys().any(|reason| is_of_the_root(*reason)) && self.stage == Stage::Running;
        let below = self.standings_below(&path);
        self.effects.push(Effect::Explain { path, below, look_here, reply });
    }

    /// The paths below a folder that are not simply in step, as far as the mirror knows.
    fn standings_below(&self, folder: &str) -> BTreeMap<RelPath, Standing> {
        let folder = RelPath::new(folder).ok();
        let is_below = |path: &RelPath| folder.as_ref().is_none_or(|folder| path.is_below(folder));
        let now = self.now();
        let pending = match &folder {
            Some(folder) => {
                let due = self.dirty.below(folder).filter(|path| self.is_due(path, now));
                below(&self.in_hand, folder).map(|(path, _)| path).chain(due).cloned().collect::<Vec<_>>()
            }
            None => self.in_hand.keys().chain(self.dirty.due(now)).cloned().collect(),
        };
        let pending = pending.into_iter().chain(self.failing.keys().filter(|path| is_below(path)).cloned());
        let held = self.deletes.paths().filter(|path| is_below(path));
        let held_standing = if self.halts.is_empty() { Standing::Pending } else { Standing::Held };
        let open = self.open.iter().filter(|path| is_below(path));
        let busy = self.busy.keys().filter(|path| is_below(path));
        let problems = self.problems.iter().chain(self.swept_problems.iter().map(|(name, why)| (name, why)));
        let problems = problems.filter_map(|(name, why)| {
            let path = RelPath::new(name.trim_end_matches('/')).ok().filter(&is_below)?;
            Some((path.clone(), self.problem_standing(&path, why)))
        });
        let mut all = BTreeMap::new();
        all.extend(pending.map(|path| (path, Standing::Pending)));
        all.extend(open.map(|path| (path.clone(), Standing::Open)));
        all.extend(held.map(|path| (path.clone(), held_standing)));
        all.extend(busy.map(|path| (path.clone(), Standing::Busy)));
        all.extend(problems);
        all
    }

    fn is_due(&self, path: &RelPath, now: u64) -> bool {
        self.dirty.get(path).is_some_and(|dirty| dirty.due_ms <= now)
    }

    fn problem_standing(&self, path: &RelPath, why: &str) -> Standing {
        if self.diverged.contains_key(path) {
            Standing::Diverged
        } else if why.starts_with(HELD) {
            Standing::Held
        } else {
            Standing::Problem
        }
    }

    /// The world was asked: what the mirror itself knows is added.
    pub(super) fn explained(&self, found: Result<Box<Explanation>, Failure>, reply: Reply) {
        let answer = found.map_err(|failure| {
            let message = failure.describe();
            CommandError { code: "stopping", message, hint: "try again in a moment".to_owned() }
        });
        let answer = answer.map(|mut found| {
            self.add_waits(&mut found);
            self.add_standing(&mut found);
            found
        });
        let _ = reply.send(answer);
    }

    fn add_standing(&self, found: &mut Explanation) {
        let problem = self.problem_of(&found.path);
        if let Some((name, why)) = problem
            && found.reason.is_empty()
        {
            let covers = name != found.path;
            found.reason = if covers { format!("{name}: {why}") } else { why.to_owned() };
        }
        let Ok(path) = RelPath::new(found.path.as_str()) else { return };
        if found.ignored.is_some() {
            return;
        }
        if let Some((_, why)) = problem {
            found.standing = Some(self.problem_standing(&path, why));
        } else if !found.halts.is_empty() {
            found.standing = Some(Standing::Held);
        } else if self.busy.contains_key(&path) {
            found.standing = Some(Standing::Busy);
        } else if self.in_hand.contains_key(&path) || self.deletes.holds(&path) || self.failing.contains_key(&path) {
            found.standing = Some(Standing::Pending);
        } else if found.standing == Some(Standing::Synced) && found.ancestor.as_ref().is_some_and(|known| known.open) {
            found.standing = Some(Standing::Open);
        }
    }

    /// What is reported of the path, or of a folder above it that can't be read.
    fn problem_of(&self, path: &str) -> Option<(&str, &str)> {
        let swept = || self.swept_problems.iter().map(|(name, why)| (name.as_str(), why.as_str()));
        let covers = |name: &str| name.trim_end_matches('/') == path || (name.ends_with('/') && path.starts_with(name));
        let own = self.problems.get_key_value(path).map(|(name, why)| (name.as_str(), why.as_str()));
        own.or_else(|| swept().find(|(name, _)| covers(name)))
    }

    fn add_waits(&self, found: &mut Explanation) {
        let now = self.now();
        let utc = |due_ms: u64| {
            let ahead = i64::try_from(due_ms.saturating_sub(now)).unwrap_or(i64::MAX);
            Some(self.context.utc_ms().saturating_add(ahead))
        };
        let mut waits = Vec::new();
        let mut wait = |what: &str, until_ms: Option<i64>| waits.push(Wait { what: what.to_owned(), until_ms });
        let of_the_root = self.halts.values().filter(|row| is_of_the_root(row.reason));
        found.halts = of_the_root.map(|row| row.id.clone()).collect();
        if let Some(action) = &found.action
            && self.must_wait(action)
        {
            found.halts = self.halts.values().map(|row| row.id.clone()).collect();
        }
        if self.stage != Stage::Running && found.halts.is_empty() {
            let until = match self.stage {
                Stage::Waiting { until_ms } => utc(until_ms),
                _ => None,
            };
            wait("the mirror to begin", until);
        }
        let name = RelPath::new(found.path.as_str()).ok().filter(|_| found.ignored.is_none());
        let Some(path) = name else {
            found.waits = waits;
            return;
        };
        let is_to_do = found.action.is_some() || found.decision == "look-closer";
        if self.paused && is_to_do {
            wait("the mirror to be resumed: it is paused", None);
        }
        if let Some(outage) = &self.outage
            && is_to_do
        {
            wait("the store to answer again; the next try", utc(outage.retry_ms));
        }
        let limits = &self.context.config.limits;
        let due_ms = self.dirty.get(&path).map(|dirty| dirty.due_ms);
        if let Some((_, due)) = self.unresolved.values().find(|(entry, _)| entry.path == path) {
            wait("the outcome of a write whose answer was lost: the object is looked at", utc(*due));
        } else if self.resolving.values().any(|resolving| *resolving == path) {
            wait("the outcome of a write whose answer was lost: the object is being looked at", None);
        } else if self.busy.contains_key(&path) {
            wait("whoever has the file open for writing to close it; looked at again", due_ms.and_then(utc));
        } else if self.deletes.holds(&path) {
            let ends = self.deletes.burst_ends_ms(limits.burst_quiet_ms, limits.burst_max_ms);
            wait(
                "the burst of deletes to end, which tells how many there are",
                ends.filter(|ends| *ends > now).and_then(utc),
            );
        } else if self.behind_deletes.iter().any(|task| task.operation.path == path) {
            wait("the objects in its place to be deleted first", None);
        } else if self.in_hand.contains_key(&path) {
            wait("what is under way at this very path: it is looked at or carried over now", None);
        } else if let Some(failing) = self.failing.get(&path) {
            let tries = if failing.attempts == 1 { "failure" } else { "failures in a row" };
            wait(&format!("the next try, after {} {tries}", failing.attempts), due_ms.and_then(utc));
        } else if let Some(due_ms) = due_ms
            && is_to_do
        {
            wait("the look at it to begin: something changed a moment ago", utc(due_ms));
        } else if is_to_do && !self.swept_once {
            wait("the first look at everything to end", None);
        } else if is_to_do && found.halts.is_empty() && !self.paused {
            wait("the next look at the bucket, unless a change is noticed before", utc(self.next_remote_ms));
            if !self.watch_healthy {
                wait("the next look at the whole folder, as its changes are not watched", utc(self.next_scan_ms));
            }
        }
        found.waits = waits;
    }
}
