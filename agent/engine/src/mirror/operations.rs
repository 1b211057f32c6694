//! Operations: which may run, how many at once, and what follows from the end of each.

use gosync_plan::conflict::is_conflict_copy_of;
use gosync_plan::decide::{Action, ExpectLocal, ExpectRemote};
use gosync_plan::{Direction, HaltReason, LocalEntry, LocalFile, Nonce, PlannedOperation, RelPath, RemoteEntry};

use super::core::{Busy, Core, PROBLEM_RETRY_MS, RACY_MS, asks_the_store, is_overwrite, task_bytes};
use super::dirty::{Dirty, below};
use super::effect::Effect;
use super::moves::Trace;
use super::queue::Line;
use crate::ignored::IGNORE_FILE;
use crate::look::Failure;
use crate::ports::TreeErrorKind;
use crate::ports::observer::Event as Told;
use crate::ports::state::JournalEntry;
use crate::sequences::{Outcome, Task};
use crate::sweep::{Scope, backoff_ms};

/// Operations in flight, those that wait for a request among them.
const OPERATIONS_MAX: usize = 192;
/// A write whose outcome could not be looked up is looked up again after this.
const RESOLVE_RETRY_MS: u64 = 2_000;
/// A path that fails is tried again after at most this.
const RETRY_MS_MAX: u64 = 60_000;
/// A path with a problem that was hinted while the operation failed: the hint may have been the operation's own doing.
const HINTED_RETRY_MS: u64 = 1_000;
/// While a file is held open, it is asked about this often: at first, and after a while.
const BUSY_RETRY_MS: u64 = 1_000;
const BUSY_RETRY_MS_MAX: u64 = 10_000;

impl Core {
    pub(super) fn launch(&mut self) {
        let waiting = std::mem::take(&mut self.behind_deletes);
        let (waiting, free) = waiting.into_iter().partition(|task| self.is_behind_deletes(task));
        self.behind_deletes = waiting;
        for task in free {
            self.queue.push_first(self.line_of(&task), task);
        }
        if self.probed {
            while let Some(task) = self.queue.pop(Line::Unprobed) {
                self.enqueue(task);
            }
        }
        // Small ones tell soonest whether the store is back; else they would take all the room.
        let order = [Line::Large, Line::Ordinary];
        let order = if self.outage.is_some() { [order[1], order[0]] } else { order };
        order.into_iter().for_each(|line| self.launch_from(line));
    }

    /// Begins what fits, in the line's order.
    fn launch_from(&mut self, line: Line) {
        let limits = self.context.config.limits.clone();
        while let Some(task) = self.queue.pop(line) {
            let bytes = task_bytes(&task);
            let fits = match line {
                Line::Large => self.running_large < limits.large_operations_max,
                Line::Ordinary => self.running_bytes + bytes <= limits.buffer_bytes_max || self.running_bytes == 0,
                Line::Unprobed => false,
            };
            if self.must_wait(&task.operation.action) {
                // When the halt ends, a sweep finds it again.
                let path = task.operation.path.clone();
                if task.operation.action.is_delete() {
                    self.deletes.ended(&path);
                    self.deletes.not_done(&path);
                }
                self.leave_to_sweep(&path);
                continue;
            }
            if self.is_behind_deletes(&task) {
                self.behind_deletes.push(task);
                continue;
            }
            // The trial of an outage is for one that is sent then.
            if !fits || self.running >= OPERATIONS_MAX || (self.outage.is_some() && !self.may_try()) {
                return self.queue.push_first(line, task);
            }
            self.running += 1;
            self.deletes_running += usize::from(task.operation.action.is_delete());
            match line {
                Line::Large => self.running_large += 1,
                _ => self.running_bytes += bytes,
            }
            let arrivals: Vec<Trace> = Trace::arrivals(&task).collect();
            if !arrivals.is_empty() {
                self.arriving.insert(task.operation.path.clone(), arrivals);
            }
            self.effects.push(Effect::Run(Box::new(task)));
        }
    }

    /// A file that takes a folder's place, or the other way round, is sent when the objects of the old ones are gone: there
    /// are stores that can't have both, and one of them would hide the other.
    pub(super) fn is_behind_deletes(&self, task: &Task) -> bool {
        let path = &task.operation.path;
        let soon_ms = self.now() + self.context.config.limits.delete_wait_ms;
        if path.is_marker()
            && task.operation.action.is_delete()
            && let Some(folder) = path.parent()
        {
            // The folder goes after what is in it, on either side.
            return below(&self.in_hand, &folder).any(|(other, _)| other != path)
                || self.deletes.holds_below(&folder, path)
                || self.dirty.are_due_below(&folder, soon_ms);
        }
        matches!(task.operation.action, Action::Upload { expect: ExpectRemote::Absent, .. })
            && (self.deletes.stand_in_the_way_of(path)
                // Below a file there is nothing but what was deleted.
                || self.dirty.are_due_below(path, soon_ms)
                || below(&self.in_hand, path).next().is_some())
    }

    /// What stood at `path` is gone on one side: what could not be sent or fetched because of it can be now.
    fn way_is_free(&mut self, path: &RelPath) {
        let now = self.now();
        let told = |folder: &RelPath| self.problems.contains_key(folder.as_str());
        for folder in path.ancestors().filter(told).collect::<Vec<_>>() {
            self.mark(folder, Dirty::at(now).with_head());
        }
        let stood_in_the_way = |other: &&RelPath| other.is_below(path) || path.is_below(other);
        let waiting: Vec<RelPath> = self.failing.keys().filter(stood_in_the_way).cloned().collect();
        for other in waiting {
            self.mark(other, Dirty::at(now).with_head());
        }
    }

    /// One trial is let through after each wait.
    pub(super) fn may_try(&mut self) -> bool {
        let now = self.now();
        match &mut self.outage {
            Some(outage) if outage.retry_ms <= now && !outage.trial => {
                outage.trial = true;
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    /// Whatever the trial came to, the next one may be made; a failure puts it off again.
    pub(super) fn trial_ended(&mut self) {
        let now = self.now();
        if let Some(outage) = &mut self.outage
            && outage.trial
        {
            outage.trial = false;
            outage.retry_ms = now;
        }
    }

    /// Under a halt whose local tree is trusted, deletes and overwrites of local files wait.
    pub(super) fn must_wait(&self, action: &Action) -> bool {
        if self.halts.contains_key(&HaltReason::EverythingChanged) && is_overwrite(action) {
            return true;
        }
        !self.halts.is_empty()
            && match action {
                Action::Download { expect, .. } => *expect != ExpectLocal::Absent,
                Action::Conflict { .. }
                | Action::Replace { .. }
                | Action::Overrule { .. }
                | Action::MoveAside { .. } => true,
                _ => action.is_delete(),
            }
    }

    pub(super) fn operation_ended(&mut self, task: Task, outcome: Outcome) {
        self.running -= 1;
        self.trial_ended();
        let bytes = task_bytes(&task);
        if bytes > self.context.config.limits.part_bytes {
            self.running_large -= 1;
        } else {
            self.running_bytes -= bytes;
        }
        let path = task.operation.path.clone();
        self.arriving.remove(&path);
        let now = self.now();
        let wait = self.context.config.limits.displaced_wait_ms;
        self.displaced.extend(self.context.take_displaced().into_iter().map(|entry| (entry, now + wait)));
        if task.operation.action.is_delete() {
            self.deletes_running -= 1;
            if !matches!(outcome, Outcome::Unresolved(..)) {
                self.deletes.ended(&path);
            }
            match outcome {
                Outcome::Done { .. } => self.deletes_done += 1,
                Outcome::Unresolved(..) => {}
                _ => self.deletes.not_done(&path),
            }
        }
        match outcome {
            Outcome::Done { events, look_at } => {
                self.totals_stale = true;
                if asks_the_store(&task.operation.action) {
                    self.store_answers();
                    self.seen_in_step = true;
                }
                if task.operation.action.is_delete() {
                    self.way_is_free(&path);
                }
                self.end_trouble("local");
                self.end_trouble("state");
                self.calm(&path);
                self.count_copy(&task);
                for event in &events {
                    self.count(event);
                    self.tell(event);
                }
                for further in look_at {
                    self.mark(further, Dirty::at(now));
                }
                // By ctime, which this host's clock sets: an mtime may come from anywhere, the future too.
                let racy = match &task.operation.action {
                    Action::Upload { local, .. } | Action::Record { local, .. } => {
                        (self.context.utc_ms() - local.ctime_ns.div_euclid(1_000_000)).abs() < RACY_MS
                    }
                    _ => false,
                };
                if racy && !self.draining {
                    self.mark(path.clone(), Dirty { rehash: true, ..Dirty::at(now + RACY_MS.unsigned_abs()) });
                }
                if path.file_name() == IGNORE_FILE {
                    self.rules_may_end(&path);
                    self.want_sweep(Scope::Full);
                }
                self.let_go(&path);
            }
            Outcome::Again => self.retry(&path, Some(now)),
            Outcome::Busy => {
                let since_ms = self.busy.get(&path).map_or(now, |busy| busy.since_ms);
                self.busy.insert(path.clone(), Busy { since_ms });
                let wait = ((now - since_ms) / 10).clamp(BUSY_RETRY_MS, BUSY_RETRY_MS_MAX);
                self.put_off(&path, now + wait);
            }
            Outcome::InTheWay { file, local } => {
                if !self.in_hand.contains_key(&file) {
                    self.pick_up(file.clone(), now);
                    let action = Action::MoveAside { local };
                    self.enqueue(Task {
                        operation: PlannedOperation { path: file, action, moved: false },
                        ancestor: None,
                        local: LocalEntry::File(LocalFile { fingerprint: local, digests: None }),
                        remote: RemoteEntry::Presumed,
                        read_open: false,
                    });
                }
                self.retry(&path, None);
            }
            // Nothing of here waits to be sent.
            Outcome::Unfit(message) if matches!(task.operation.action, Action::Download { .. }) => {
                self.failing.remove(&path);
                self.lasts(&path, message);
            }
            Outcome::Problem(message) | Outcome::Unfit(message) => {
                self.failed(&path, true);
                self.lasts(&path, message);
            }
            Outcome::Failed(failure) => {
                self.trouble(&failure);
                self.retry(&path, None);
                if matches!(&failure, Failure::Local(error) if error.kind == TreeErrorKind::NoSpace) {
                    self.lacks_room(bytes);
                }
            }
            Outcome::Unresolved(entry, failure) => {
                self.trouble(&failure);
                self.unresolved.insert(entry.id, (*entry, now + RESOLVE_RETRY_MS));
            }
        }
    }

    /// A problem that won't get better by itself soon.
    fn lasts(&mut self, path: &RelPath, message: String) {
        let now = self.now();
        self.problem(path.as_str().to_owned(), message);
        // Whatever was hinted meanwhile may have mended it.
        let hinted_ms = self.in_hand.get(path).and_then(|held| held.again).map(|again| again.due_ms);
        let due_ms = hinted_ms.map_or(u64::MAX, |hinted_ms| hinted_ms.max(now + HINTED_RETRY_MS));
        self.put_off(path, due_ms.min(now + PROBLEM_RETRY_MS));
    }

    pub(super) fn count(&mut self, event: &Told) {
        let totals = &mut self.totals;
        match event {
            Told::Uploaded { bytes, .. } => {
                totals.uploaded_files += 1;
                totals.uploaded_bytes += bytes;
            }
            Told::Downloaded { bytes, .. } => {
                totals.downloaded_files += 1;
                totals.downloaded_bytes += bytes;
            }
            Told::DeletedObject { .. } => totals.deleted_objects += 1,
            Told::Trashed { .. } => totals.trashed_files += 1,
            Told::Conflict { .. } => {
                totals.conflicts += 1;
                // Nothing else tells of those that are only here.
                self.conflict_copies += u64::from(self.context.config.policy.direction == Direction::Pull);
            }
            _ => {}
        }
    }

    /// A conflict copy that came to be in step, or is gone. A full sweep counts them anew.
    fn count_copy(&mut self, task: &Task) {
        if is_conflict_copy_of(&task.operation.path).is_none() {
            return;
        }
        let action = &task.operation.action;
        let stays = !action.is_delete() && !matches!(action, Action::Forget | Action::MoveAside { .. });
        match (task.ancestor.is_some(), stays) {
            (false, true) => self.conflict_copies += 1,
            (true, false) => self.conflict_copies = self.conflict_copies.saturating_sub(1),
            _ => {}
        }
    }

    /// Look at the path again, with a HEAD: at `due_ms`, or after a wait that grows with each failure.
    pub(super) fn retry(&mut self, path: &RelPath, due_ms: Option<u64>) {
        let now = self.now();
        let attempts = self.failed(path, false);
        let wait = (backoff_ms(attempts) * 10).min(RETRY_MS_MAX);
        // What failed a few times at once is not as fresh as it seems.
        let due_ms = due_ms.filter(|_| attempts < 4).unwrap_or(now + wait);
        self.put_off(path, due_ms);
    }

    pub(super) fn resolved(&mut self, id: Nonce, path: RelPath, outcome: Outcome) {
        let now = self.now();
        self.resolving.remove(&id);
        match outcome {
            Outcome::Unresolved(entry, failure) => {
                self.trouble(&failure);
                self.unresolved.insert(entry.id, (*entry, now + RESOLVE_RETRY_MS));
                return;
            }
            Outcome::Done { events, .. } => {
                self.totals_stale = true;
                for event in &events {
                    self.count(event);
                    self.tell(event);
                }
            }
            Outcome::Failed(failure) => self.trouble(&failure),
            _ => {}
        }
        self.store_answers();
        self.deletes.ended(&path);
        let waits = self.unresolved.values().any(|(entry, _)| entry.path == path)
            || self.resolving.values().any(|resolving| *resolving == path);
        if !waits {
            self.put_off(&path, now);
        }
    }

    pub(super) fn settled(&mut self, entry: JournalEntry, outcome: Outcome) {
        self.settling -= 1;
        let now = self.now();
        match outcome {
            Outcome::Done { events, look_at } => {
                for event in &events {
                    self.count(event);
                    self.tell(event);
                }
                for path in look_at {
                    self.mark(path, Dirty::at(now));
                }
            }
            Outcome::Failed(failure) => {
                self.trouble(&failure);
                self.displaced.push_back((entry, now + RETRY_MS_MAX));
            }
            _ => self.displaced.push_back((entry, now + self.context.config.limits.displaced_wait_ms)),
        }
    }
}
