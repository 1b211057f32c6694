//! Hints and looks: which paths are looked at, when, and what a look leads to.

use std::collections::BTreeMap;

use gosync_plan::RelPath;
use gosync_plan::conflict::is_conflict_copy_of;
use gosync_plan::decide::{Action, Diverged, Problem};
use gosync_plan::settle::{Difference, PlannedOperation, settle};

use super::core::{Core, Failing, InHand, PROBLEM_RETRY_MS, is_merge, is_overwrite};
use super::dirty::Dirty;
use super::effect::Effect;
use super::moves::Trace;
use crate::context::lock;
use crate::handle::Hint;
use crate::ignored::IGNORE_FILE;
use crate::look::Looked;
use crate::ports::observer::Event as Told;
use crate::ports::state::StateChange;
use crate::sequences::Task;
use crate::sweep::Scope;

/// So many diverged paths are remembered by name.
const DIVERGED_MAX: usize = 10_000;
/// Folders that appeared are looked at once more: what was written before the watch was set had no event.
const SECOND_LOOK_MS: u64 = 1_000;

impl Core {
    pub(super) fn hinted(&mut self, hint: Hint) {
        let now = self.now();
        let limits = &self.context.config.limits;
        let (quiet, quiet_max, delete_wait) = (limits.quiet_ms, limits.quiet_max_ms, limits.delete_wait_ms);
        let (name, dirty) = match hint {
            Hint::LocalOverflow => {
                self.tell(&Told::WatchOverflow);
                return self.want_sweep(Scope::Full);
            }
            Hint::WatchHealthy(healthy) => {
                if self.watch_healthy != healthy {
                    self.watch_healthy = healthy;
                    // Whatever happened in between had no event. A sweep looks at the root first.
                    self.want_sweep(Scope::Full);
                }
                return;
            }
            Hint::Feed => return self.news_hinted(),
            Hint::Remote(path) => {
                return self.mark(path, Dirty { first_ms: now, ..Dirty::at(now) }.with_head());
            }
            Hint::LocalChanged(name) => (name, Dirty { first_ms: now, ..Dirty::at(now + quiet_max) }),
            Hint::LocalClosed(name) => (name, Dirty { first_ms: now, ..Dirty::at(now + quiet) }.deep()),
            Hint::LocalRemoved(name) => (name, Dirty { first_ms: now, ..Dirty::at(now + delete_wait) }.deep()),
            Hint::LocalFolder(name) => {
                if let Ok(path) = RelPath::new(name.as_str()) {
                    let again = Dirty { first_ms: now, ..Dirty::at(now + SECOND_LOOK_MS) }.deep();
                    // Under another path of the set, so that the first look isn't put off by the second.
                    self.effects.push(Effect::Expand(vec![path.clone()]));
                    self.looks += 1;
                    self.mark(path, again);
                    return;
                }
                (name, Dirty::at(now).deep())
            }
        };
        match RelPath::new(name.as_str()) {
            Ok(path) => {
                // A folder's mode may be all that failed the paths in it, or what stood there in the way of them.
                self.look_again_below(&path);
                if let Some(original) = is_conflict_copy_of(&path).filter(|original| self.has_problem(original)) {
                    // There may be room for another copy.
                    self.mark(original, dirty.with_head());
                }
                // What could not be placed here is known to nobody but the store.
                let dirty = if self.has_problem(&path) { dirty.with_head() } else { dirty };
                self.mark(path, dirty);
            }
            Err(_) if name.is_empty() => self.want_sweep(Scope::Full),
            // A name of ours, or one that no key can spell: the scan reports those.
            Err(_) => {}
        }
    }

    /// The path is to be looked at, unless somebody has it in hand: then afterwards.
    pub(super) fn mark(&mut self, path: RelPath, dirty: Dirty) {
        self.deletes.release(&path, self.now());
        let quiet_max = self.context.config.limits.quiet_max_ms;
        if let Some(InHand { again, .. }) = self.in_hand.get_mut(&path) {
            *again = Some(again.map_or(dirty, |known| known.and(dirty, quiet_max)));
            return;
        }
        self.dirty.add(path, dirty, quiet_max);
    }

    pub(super) fn pick_up(&mut self, path: RelPath, since_ms: u64) {
        self.in_hand.insert(path, InHand { since_ms, again: None });
    }

    fn has_problem(&self, path: &RelPath) -> bool {
        self.problems.contains_key(path.as_str())
    }

    /// What has a problem below this folder, and would be looked at again only after a while, is looked at now.
    pub(super) fn look_again_below(&mut self, folder: &RelPath) {
        let now = self.now();
        let from = format!("{folder}/");
        let problems = self.problems.range(from.clone()..).map(|(name, _)| name);
        let problems = problems.take_while(|name| name.starts_with(&from)).filter_map(|name| RelPath::new(name).ok());
        for path in problems.collect::<Vec<_>>() {
            self.mark(path, Dirty::at(now).with_head());
        }
    }

    /// Nobody has the path in hand any more; what was hinted meanwhile comes due.
    pub(super) fn let_go(&mut self, path: &RelPath) {
        if let Some(InHand { again: Some(again), .. }) = self.in_hand.remove(path) {
            self.mark(path.clone(), again);
        }
    }

    /// Nobody has the path in hand any more, and it is not through: it is looked at again, with what was hinted meanwhile.
    pub(super) fn put_off(&mut self, path: &RelPath, due_ms: u64) {
        let hinted = self.in_hand.remove(path).and_then(|held| held.again);
        let (rehash, deep) = hinted.map_or((false, false), |hinted| (hinted.rehash, hinted.deep));
        self.mark(path.clone(), Dirty { rehash, deep, ..Dirty::at(due_ms) }.with_head());
    }

    /// How often in a row the path has failed by now.
    pub(super) fn failed(&mut self, path: &RelPath, is_lasting: bool) -> u32 {
        let since_ms = self.in_hand.get(path).map_or_else(|| self.now(), |held| held.since_ms);
        let failing = self.failing.entry(path.clone()).or_insert(Failing { since_ms, attempts: 0, is_lasting });
        failing.attempts += 1;
        failing.is_lasting = is_lasting;
        failing.attempts
    }

    /// What was to be done at the path waits for a later sweep, which finds it again if it is still to be done.
    pub(super) fn leave_to_sweep(&mut self, path: &RelPath) {
        self.failing.remove(path);
        self.let_go(path);
    }

    pub(super) fn looked(&mut self, all: Vec<Looked>, by_sweep: bool) {
        let mut differences = BTreeMap::new();
        for looked in all {
            match looked {
                Looked::InStep(path) => {
                    self.moves.stands(&path);
                    self.deletes.release(&path, self.now());
                    self.calm(&path);
                    self.rules_may_end(&path);
                    self.let_go(&path);
                }
                Looked::Ignored(path, known) => {
                    self.rules_may_end(&path);
                    if known {
                        self.effects.push(Effect::Apply(vec![StateChange::DropAncestor(path.clone())]));
                        self.totals_stale = true;
                    }
                    self.calm(&path);
                    self.let_go(&path);
                }
                Looked::Failed(path, failure) => {
                    self.trouble(&failure);
                    self.retry(&path, None);
                }
                Looked::Differs(difference) => {
                    differences.insert(difference.path.clone(), difference);
                }
            }
        }
        self.plan(differences, by_sweep);
    }

    /// Where nothing is left to be done at an ignore file that is gone, it is gone for good.
    pub(super) fn rules_may_end(&mut self, path: &RelPath) {
        let folder = path.parent().map(String::from).unwrap_or_default();
        if path.file_name() == IGNORE_FILE && lock(&self.context.shared.ignore).believe_missing(&folder) {
            self.want_sweep(Scope::Full);
        }
    }

    /// The path has no problem (any more).
    pub(super) fn calm(&mut self, path: &RelPath) {
        self.failing.remove(path);
        self.busy.remove(path);
        self.problems.remove(path.as_str());
    }

    fn plan(&mut self, mut differences: BTreeMap<RelPath, Box<Difference>>, by_sweep: bool) {
        if differences.is_empty() {
            return;
        }
        let plan = settle(differences.values().map(Box::as_ref).collect());
        for (path, problem) in plan.problems {
            self.report(&path, &problem);
            if !matches!(problem, Problem::LocalLook { .. } | Problem::RemoteLook { .. }) {
                // A lasting state, whatever it was before.
                self.busy.remove(&path);
                self.failing.remove(&path);
            }
            self.let_go(&path);
        }
        for operation in plan.operations {
            let Some(difference) = differences.remove(&operation.path) else { continue };
            self.plan_operation(operation, *difference, by_sweep);
        }
    }

    pub(super) fn plan_operation(&mut self, operation: PlannedOperation, difference: Difference, by_sweep: bool) {
        let now = self.now();
        let path = operation.path.clone();
        let limits = &self.context.config.limits;
        let patience_ms = match path.is_marker() {
            false => limits.settle_max_ms,
            // What is deleted in the folder is found by the next listing, or the one after, and held like any delete.
            true => limits.settle_max_ms + 2 * (limits.interval_ms + limits.burst_quiet_ms),
        };
        let read_open = self.busy.get(&path).is_some_and(|busy| now.saturating_sub(busy.since_ms) >= patience_ms);
        let Difference { ancestor, local, remote, .. } = difference;
        let mut task = Task { operation, ancestor, local, remote, read_open };
        if task.operation.action.is_delete() {
            if self.deletes_denied_until.is_some() {
                // Forgotten as agreed upon, what one side still has is news for the other.
                self.in_hand.remove(&path);
                self.effects.push(Effect::ForgetAncestors(vec![path]));
                return;
            }
            let is_trash = matches!(task.operation.action, Action::TrashLocal { .. });
            task.operation.moved |= is_trash && self.was_taken_away(&path);
            task.operation.moved |=
                Trace::of_departure(&task).is_some_and(|trace| self.moves.departed(trace, &path, now));
            // Without a condition on the store's side, and with nobody to take turns with, time is the only thing that
            // tells somebody else's edit.
            let unconditional = matches!(task.operation.action, Action::DeleteObject { .. })
                && self.context.conditions().delete == Some(false)
                && !self.context.takes_turns();
            let not_before = if unconditional { now + self.context.config.limits.interval_ms } else { now };
            let again = self.in_hand.remove(&path).and_then(|held| held.again);
            self.deletes.hold(task, now, not_before, self.sweeps_begun);
            if let Some(again) = again {
                self.mark(path, again);
            }
            return;
        }
        self.deletes.release(&path, now);
        task = self.with_both_kept(task);
        if matches!(task.operation.action, Action::Conflict { .. } | Action::Replace { .. } | Action::Overrule { .. }) {
            self.moves.replaced(&path);
        }
        if let Some(trace) = Trace::of_arrival(&task)
            && let Some(old) = self.moves.arrived(trace, &path, now)
        {
            self.deletes.is_moved(&old);
        }
        if self.answer(&mut task) {
            self.answered_in_sweep += u64::from(by_sweep);
            self.enqueue(task);
            return;
        }
        let is_joined = by_sweep && !self.hydrated && task.ancestor.is_none() && !path.is_marker();
        if is_joined && matches!(task.operation.action, Action::Record { .. } | Action::ApplyMode { .. }) {
            self.common += 1;
        }
        if is_joined && is_merge(&task.operation.action) {
            self.common += 1;
            self.merges.push(task);
        } else if by_sweep && is_overwrite(&task.operation.action) {
            self.overwrites.push(task);
        } else {
            self.enqueue(task);
        }
    }

    pub(super) fn report(&mut self, path: &RelPath, problem: &Problem) {
        let message = match problem {
            Problem::Name { why } => why.to_string(),
            Problem::Special { kind } => format!("not a regular file ({kind:?})").to_lowercase(),
            Problem::LocalLook { message } | Problem::RemoteLook { message } => message.clone(),
            Problem::Diverged { how: Diverged::Created } => {
                "diverged: the bucket has an object that is not from here".to_owned()
            }
            Problem::Diverged { how: Diverged::Edited } => {
                "diverged: somebody else wrote to the object; `gosync sync approve <path>` lets the folder win"
                    .to_owned()
            }
            Problem::FolderInTheWay => "the bucket has an object where a folder stands".to_owned(),
        };
        if let Problem::Diverged { how } = problem {
            if self.diverged.len() >= DIVERGED_MAX && !self.diverged.contains_key(path) {
                return;
            }
            self.diverged.insert(path.clone(), (*how, self.sweeps_begun));
        }
        self.problem(path.as_str().to_owned(), message);
        let now = self.now();
        if matches!(problem, Problem::LocalLook { .. } | Problem::RemoteLook { .. }) {
            self.failed(path, true);
            // So long after, the store may hold something else.
            self.mark(path.clone(), Dirty::at(now + PROBLEM_RETRY_MS).with_head());
        }
    }

    pub(super) fn problem(&mut self, name: String, message: String) {
        if self.problems.get(&name) != Some(&message) {
            if let Ok(path) = RelPath::new(name.as_str()) {
                self.tell(&Told::Problem { path, message: message.clone() });
            }
            self.problems.insert(name, message);
        }
    }
}
