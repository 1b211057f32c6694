//! The core of a mirror: everything it knows between two looks, and what follows from each event. It does no I/O and
//! never waits; it reads the clock, and everything else comes in events and goes out in effects.
//!
//! Work is never a stored queue: a path that fails, changes or is interrupted is simply looked at again, and after a kill
//! the first sweep finds all that is left to do.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use gosync_plan::decide::{Action, ExpectLocal, Problem};
use gosync_plan::guard::{remote_emptied, root_emptied};
use gosync_plan::settle::{Difference, PlannedOperation, settle};
use gosync_plan::{GuardVerdict, HaltReason, RelPath};

use super::Ended;
use super::deletes::Deletes;
use super::dirty::{Dirty, DirtySet};
use super::effect::{Effect, Event, NOTE_HYDRATED, NOTE_PAUSED, NOTE_WINDOW, Restarted};
use crate::context::{Context, lock};
use crate::handle::{
    Command, CommandError, ErrorView, FlushReceipt, HaltView, Hint, Message, Phase, Totals, View,
};
use crate::ignored::IGNORE_FILE;
use crate::look::{BATCH_PATHS, Candidate, Failure, Looked, describe};
use crate::ports::observer::Event as Told;
use crate::ports::state::{HaltRow, JournalEntry, StateChange};
use crate::ports::{StoreErrorKind, TreeErrorKind};
use crate::sequences::start::Root;
use crate::sequences::{Outcome, Task};
use crate::sweep::{Found, Scope, Swept, backoff_ms};

/// Looks at hinted paths that run side by side.
const LOOKS_MAX: usize = 4;
/// Operations in flight, those that wait for a request among them.
const OPERATIONS_MAX: usize = 128;
/// Displaced contents that are settled side by side.
const SETTLING_MAX: usize = 8;
/// A path that fails is tried again after at most this.
const RETRY_MS_MAX: u64 = 60_000;
/// While a file is held open, it is asked about this often.
const BUSY_RETRY_MS: u64 = 1_000;
/// A path whose problem is its own is looked at again after this.
const PROBLEM_RETRY_MS: u64 = 300_000;
/// Folders that appeared are looked at once more: what was written before the watch was set had no event.
const SECOND_LOOK_MS: u64 = 1_000;
/// A change this close to the look may hide another one behind the same time stamp.
const RACY_MS: i64 = 2_000;
const TRASH_EVICTION_MS: u64 = 600_000;
/// Listing takes at most a tenth of the time.
const LIST_SHARE: u64 = 10;

pub enum Step {
    Go(Vec<Effect>),
    End(Ended),
}

/// How far the mirror has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The root is being looked at; nothing else may happen.
    CheckingRoot,
    /// The root can't be trusted or the state can't be read: wait, then check again.
    Waiting { until_ms: u64 },
    Recovering,
    Running,
}

struct Trouble {
    message: String,
    since_ms: i64,
}

/// The store doesn't answer: nothing is sent but one trial after each wait.
struct Outage {
    retry_ms: u64,
    attempts: u32,
    trial: bool,
}

struct Flush {
    /// Sweeps that had begun when it was asked for don't count.
    sweep: u64,
    deadline_ms: u64,
    started_ms: i64,
    reply: futures_channel::oneshot::Sender<FlushReceipt>,
}

struct Busy {
    since_ms: u64,
}

pub struct Core {
    context: Context,
    effects: Vec<Effect>,
    stage: Stage,
    paused: bool,
    draining: bool,
    ended: Option<Ended>,

    dirty: DirtySet,
    /// Paths that a look or an operation has in hand; what was hinted meanwhile.
    in_hand: HashMap<RelPath, Option<Dirty>>,
    looks: usize,
    queue: VecDeque<Task>,
    running: usize,
    running_large: usize,
    running_bytes: u64,
    deletes: Deletes,
    /// Deletes that a person approved for the coming sweep.
    deletes_approved: bool,
    /// Failed looks and operations in a row.
    attempts: HashMap<RelPath, u32>,
    busy: BTreeMap<RelPath, Busy>,
    problems: BTreeMap<String, String>,
    /// Problems that the last complete sweep reported of names and folders.
    swept_problems: Vec<(String, String)>,
    unresolved: BTreeMap<RelPath, (JournalEntry, u64)>,
    displaced: VecDeque<(JournalEntry, u64)>,
    settling: usize,

    halts: BTreeMap<HaltReason, HaltRow>,
    troubles: BTreeMap<&'static str, Trouble>,
    outage: Option<Outage>,
    probed: bool,
    probing: bool,

    watch_healthy: bool,
    sweeping: Option<Scope>,
    sweeps_begun: u64,
    sweep_wanted: Option<Scope>,
    /// A full scan after this, monotonic milliseconds.
    next_scan_ms: u64,
    next_remote_ms: u64,
    next_eviction_ms: u64,
    failed_sweeps: u32,
    /// The first complete sweep has ended; its operations may still run.
    swept_once: bool,
    hydrated: bool,
    started_ms: u64,

    flushes: Vec<Flush>,
    last_sync_ms: Option<i64>,
    files: u64,
    bytes: u64,
    totals_stale: bool,
    totals_running: bool,
    trash: (u64, u64),
    conflict_copies: u64,
    totals: Totals,
}

impl Core {
    pub fn new(context: Context) -> Self {
        let now = context.ports.clock.monotonic_ms();
        Self {
            context,
            effects: vec![Effect::CheckRoot],
            stage: Stage::CheckingRoot,
            paused: false,
            draining: false,
            ended: None,
            dirty: DirtySet::default(),
            in_hand: HashMap::new(),
            looks: 0,
            queue: VecDeque::new(),
            running: 0,
            running_large: 0,
            running_bytes: 0,
            deletes: Deletes::default(),
            deletes_approved: false,
            attempts: HashMap::new(),
            busy: BTreeMap::new(),
            problems: BTreeMap::new(),
            swept_problems: Vec::new(),
            unresolved: BTreeMap::new(),
            displaced: VecDeque::new(),
            settling: 0,
            halts: BTreeMap::new(),
            troubles: BTreeMap::new(),
            outage: None,
            probed: false,
            probing: false,
            watch_healthy: false,
            sweeping: None,
            sweeps_begun: 0,
            sweep_wanted: None,
            next_scan_ms: now,
            next_remote_ms: now,
            next_eviction_ms: now + TRASH_EVICTION_MS,
            failed_sweeps: 0,
            swept_once: false,
            hydrated: false,
            started_ms: now,
            flushes: Vec::new(),
            last_sync_ms: None,
            files: 0,
            bytes: 0,
            totals_stale: true,
            totals_running: false,
            trash: (0, 0),
            conflict_copies: 0,
            totals: Totals::default(),
        }
    }

    /// One event in, effects out.
    pub fn step(&mut self, event: Event) -> Step {
        self.take(event);
        if self.ended.is_none() {
            self.go_on();
        }
        match self.ended {
            Some(ended) => Step::End(ended),
            None => Step::Go(std::mem::take(&mut self.effects)),
        }
    }

    /// Whether the sweep may hand over more.
    pub fn has_room(&self) -> bool {
        self.queue.len() < self.context.config.limits.queue_max
    }

    fn now(&self) -> u64 {
        self.context.ports.clock.monotonic_ms()
    }

    fn tell(&self, event: &Told) {
        self.context.ports.observer.observe(event);
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Timer | Event::Answered => {}
            Event::Message(Message::Hint(hint)) => self.hinted(hint),
            Event::Message(Message::Command(command)) => self.commanded(command),
            Event::Abandoned | Event::Drained => self.ended = Some(Ended::Stopped),
            Event::Killed => self.ended = Some(Ended::Killed),
            Event::Root(result) => self.root_checked(result),
            Event::Recovered(result) => self.recovered(result),
            Event::Probed(result) => self.probed(result),
            Event::Found(found) => self.found(found),
            Event::Swept { scope, swept, milliseconds } => self.swept(scope, *swept, milliseconds),
            Event::Looked(looked) => {
                self.looks -= 1;
                self.trial_ended();
                self.looked(looked);
            }
            Event::Expanded { paths, unreadable } => {
                self.looks -= 1;
                let now = self.now();
                for path in paths {
                    self.mark(path, Dirty::at(now));
                }
                for (name, why) in unreadable {
                    self.problem(name, why);
                }
            }
            Event::Ended { task, outcome } => self.operation_ended(*task, outcome),
            Event::Resolved { path, outcome } => self.resolved(path, outcome),
            Event::Settled { entry, outcome } => self.settled(entry, outcome),
            Event::Aborted { row, result } => {
                if let Err(failure) = result {
                    self.trouble(&failure);
                    self.problem(row.path.as_str().to_owned(), "an unfinished upload could not be aborted".to_owned());
                }
            }
            Event::Applied(Err(error)) => self.trouble(&error.into()),
            Event::Applied(Ok(())) => self.end_trouble("state"),
            Event::Totals(result) => {
                self.totals_running = false;
                match result {
                    Ok((files, bytes)) => (self.files, self.bytes) = (files, bytes),
                    Err(error) => self.trouble(&error.into()),
                }
            }
            Event::Evicted(result) => match result {
                Ok(trash) => self.trash = trash,
                Err(error) => self.problem(".gosync/trash".to_owned(), describe(&error)),
            },
            Event::BroughtBack { paths, lost } => {
                let now = self.now();
                for path in paths {
                    self.mark(path, Dirty::at(now).with_head());
                }
                for line in lost {
                    let (path, why) = line.split_once(": ").unwrap_or((&line, "lost"));
                    self.problem(path.to_owned(), format!("could not be brought back: {why}"));
                }
            }
            Event::RootMended(result) => match result {
                Ok(()) => self.check_root(),
                Err(failure) => self.trouble(&failure),
            },
            Event::Restored(path) => {
                let now = self.now();
                self.mark(path, Dirty::at(now).with_head());
            }
        }
    }

    // ---- start ----------------------------------------------------------------------------------------------------

    fn check_root(&mut self) {
        self.stage = Stage::CheckingRoot;
        self.effects.push(Effect::CheckRoot);
    }

    fn root_checked(&mut self, result: Result<Root, Failure>) {
        let now = self.now();
        match result {
            Ok(Root::Another) => self.ended = Some(Ended::ReopenRoot),
            Ok(Root::Halted(reason, message)) => {
                self.halt(reason, message, 0);
                self.stage = Stage::Waiting { until_ms: now + self.root_retry_ms() };
            }
            Ok(Root::Known | Root::New) => {
                self.end_trouble("local");
                for reason in
                    [HaltReason::RootMissing, HaltReason::RootEmptied, HaltReason::RootReplaced, HaltReason::VolumeChanged]
                {
                    self.end_halt(reason);
                }
                self.stage = Stage::Recovering;
                self.effects.push(Effect::Recover);
            }
            Err(failure) => {
                self.trouble(&failure);
                self.stage = Stage::Waiting { until_ms: now + self.root_retry_ms() };
            }
        }
    }

    fn root_retry_ms(&self) -> u64 {
        self.context.config.limits.interval_ms.min(1_000)
    }

    fn recovered(&mut self, result: Result<Box<Restarted>, Failure>) {
        let now = self.now();
        let restarted = match result {
            Ok(restarted) => *restarted,
            Err(failure) => {
                self.trouble(&failure);
                self.stage = Stage::Waiting { until_ms: now + self.root_retry_ms() };
                return;
            }
        };
        self.stage = Stage::Running;
        self.paused |= restarted.paused;
        self.hydrated |= restarted.hydrated;
        self.deletes.window = restarted.window.unwrap_or_default();
        for halt in restarted.halts {
            // Those of the root are found again where they still hold.
            if !is_of_the_root(halt.reason) {
                self.halts.entry(halt.reason).or_insert(halt);
            } else {
                self.effects.push(Effect::Apply(vec![StateChange::DropHalt(halt.id)]));
            }
        }
        for entry in restarted.recovered.unresolved {
            self.in_hand.insert(entry.path.clone(), Some(Dirty::at(now).with_head()));
            self.unresolved.insert(entry.path.clone(), (entry, now));
        }
        self.displaced.clear();
        for entry in restarted.recovered.displaced {
            self.displaced.push_back((entry, now));
        }
        for row in restarted.recovered.stale_uploads {
            self.effects.push(Effect::AbortUpload(row));
        }
        self.effects.push(Effect::EvictTrash);
        self.want_sweep(Scope::Full);
    }

    fn probed(&mut self, result: Result<crate::handle::Conditions, Failure>) {
        self.probing = false;
        self.trial_ended();
        match result {
            Ok(conditions) => {
                lock(&self.context.shared.identity).conditions = conditions;
                self.probed = true;
                self.store_answers();
            }
            Err(failure) => self.trouble(&failure),
        }
    }

    // ---- hints ----------------------------------------------------------------------------------------------------

    fn hinted(&mut self, hint: Hint) {
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
                    // Whatever happened in between had no event.
                    self.want_sweep(Scope::Full);
                }
                return;
            }
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
            Ok(path) => self.mark(path, dirty),
            Err(_) if name.is_empty() => self.want_sweep(Scope::Full),
            // A name of ours, or one that no key can spell: the scan reports those.
            Err(_) => {}
        }
    }

    /// The path is to be looked at, unless somebody has it in hand: then afterwards.
    fn mark(&mut self, path: RelPath, dirty: Dirty) {
        self.deletes.release(&path);
        let quiet_max = self.context.config.limits.quiet_max_ms;
        if let Some(again) = self.in_hand.get_mut(&path) {
            *again = Some(match again {
                Some(known) => Dirty {
                    due_ms: dirty.due_ms,
                    head: known.head || dirty.head,
                    rehash: known.rehash || dirty.rehash,
                    deep: known.deep || dirty.deep,
                    ..*known
                },
                None => dirty,
            });
            return;
        }
        self.dirty.add(path, dirty, quiet_max);
    }

    /// Nobody has the path in hand any more; what was hinted meanwhile comes due.
    fn let_go(&mut self, path: &RelPath) -> bool {
        match self.in_hand.remove(path) {
            Some(Some(again)) => {
                self.mark(path.clone(), again);
                true
            }
            _ => false,
        }
    }

    // ---- sweeps ---------------------------------------------------------------------------------------------------

    fn want_sweep(&mut self, scope: Scope) {
        self.sweep_wanted = match (self.sweep_wanted, scope) {
            (Some(Scope::Full), _) | (_, Scope::Full) => Some(Scope::Full),
            _ => Some(Scope::Remote),
        };
    }

    fn found(&mut self, found: Found) {
        let now = self.now();
        let mut fresh = Vec::with_capacity(found.looked.len());
        for looked in found.looked {
            let path = match &looked {
                Looked::InStep(path) | Looked::Ignored(path, _) | Looked::Failed(path, _) => path,
                Looked::Differs(difference) => &difference.path,
            };
            if self.in_hand.contains_key(path) || self.context.recorded_since(path, found.read_at) {
                // Its page is older than what was done since: look anew.
                self.mark(path.clone(), Dirty::at(now).with_head());
                continue;
            }
            self.in_hand.insert(path.clone(), None);
            fresh.push(looked);
        }
        self.looked(fresh);
        for path in found.lazy {
            self.mark(path, Dirty { rehash: false, ..Dirty::at(now + RACY_MS.unsigned_abs()) });
        }
    }

    fn swept(&mut self, scope: Scope, swept: Swept, milliseconds: u64) {
        let now = self.now();
        let limits = &self.context.config.limits;
        let interval = limits.interval_ms.max(milliseconds.saturating_mul(LIST_SHARE - 1));
        self.sweeping = None;
        self.context.sweep_ends();
        let complete = swept.failure.is_none();
        self.trial_ended();
        self.totals.sweeps += 1;
        self.tell(&Told::SweepEnded { complete, milliseconds, files: swept.listed.max(swept.walked) });
        if let Some(failure) = swept.failure {
            self.failed_sweeps += 1;
            let wait = (500 * backoff_ms(self.failed_sweeps) / 100).min(interval.max(1_000));
            self.next_remote_ms = now + wait;
            if scope == Scope::Full {
                self.next_scan_ms = self.next_remote_ms;
            }
            if matches!(&failure, Failure::Local(error) if error.kind != TreeErrorKind::Killed) {
                // The walk could not even begin: what stands at the root?
                self.trouble(&failure);
                self.check_root();
                return;
            }
            self.trouble(&failure);
            return;
        }
        self.failed_sweeps = 0;
        self.store_answers();
        self.next_remote_ms = now + interval;
        let min = self.context.config.deletes.min;
        match remote_emptied(swept.ancestors, swept.listed, min) {
            GuardVerdict::Halt(reason) if !self.deletes_approved => {
                let message = format!("the bucket lists nothing below the prefix, {} files were in step", swept.ancestors);
                self.halt(reason, message, swept.ancestors);
            }
            _ => self.end_halt(HaltReason::RemoteEmptied),
        }
        if scope == Scope::Full {
            self.next_scan_ms = now + self.scan_interval(interval);
            self.swept_problems = swept.problems;
            self.conflict_copies = swept.conflict_copies;
            self.swept_once = true;
            self.end_trouble("local");
            if self.deletes.len() == 0 {
                self.deletes_approved = false;
            }
            if let GuardVerdict::Halt(reason) = root_emptied(swept.ancestors, swept.ancestors_present, min)
                && !self.deletes_approved
            {
                let message = format!("none of the {} files that were in step is there", swept.ancestors);
                self.halt(reason, message, swept.ancestors);
            }
        }
    }

    /// Jittered, so that many agents don't scan at once.
    fn scan_interval(&self, interval_ms: u64) -> u64 {
        if !self.watch_healthy {
            return interval_ms;
        }
        let scan = self.context.config.limits.scan_interval_ms;
        let jitter = u64::from(self.context.ports.ids.nonce().0[0]) * (scan / 10) / 255;
        scan - scan / 20 + jitter
    }

    // ---- looks and plans ------------------------------------------------------------------------------------------

    fn looked(&mut self, all: Vec<Looked>) {
        let mut differences = Vec::new();
        for looked in all {
            match looked {
                Looked::InStep(path) => {
                    self.deletes.release(&path);
                    self.calm(&path);
                    self.let_go(&path);
                }
                Looked::Ignored(path, known) => {
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
                Looked::Differs(difference) => differences.push(*difference),
            }
        }
        self.plan(differences);
    }

    /// The path has no problem (any more).
    fn calm(&mut self, path: &RelPath) {
        self.attempts.remove(path);
        self.busy.remove(path);
        self.problems.remove(path.as_str());
    }

    fn plan(&mut self, differences: Vec<Difference>) {
        if differences.is_empty() {
            return;
        }
        let mut known: HashMap<RelPath, Difference> =
            differences.iter().map(|difference| (difference.path.clone(), difference.clone())).collect();
        let plan = settle(differences);
        for (path, problem) in plan.problems {
            self.report(&path, &problem);
            self.let_go(&path);
        }
        for operation in plan.operations {
            let Some(difference) = known.remove(&operation.path) else { continue };
            self.plan_operation(operation, difference);
        }
    }

    fn plan_operation(&mut self, operation: PlannedOperation, difference: Difference) {
        let now = self.now();
        let path = operation.path.clone();
        let read_open = self
            .busy
            .get(&path)
            .is_some_and(|busy| now.saturating_sub(busy.since_ms) >= self.context.config.limits.settle_max_ms);
        let Difference { ancestor, local, remote, .. } = difference;
        let task = Task { operation, ancestor, local, remote, read_open };
        if task.operation.action.is_delete() {
            // Without a condition on the store's side, time is the only thing that tells a stranger's edit.
            let unconditional = matches!(task.operation.action, Action::DeleteObject { .. })
                && self.context.conditions().delete == Some(false);
            let not_before = if unconditional { now + self.context.config.limits.interval_ms } else { now };
            let again = self.in_hand.remove(&path).flatten();
            self.deletes.hold(task, now, not_before);
            if let Some(again) = again {
                self.mark(path, again);
            }
            return;
        }
        self.deletes.release(&path);
        self.queue.push_back(task);
    }

    fn report(&mut self, path: &RelPath, problem: &Problem) {
        let message = match problem {
            Problem::Name { why } => why.to_string(),
            Problem::Special { kind } => format!("not a regular file ({kind:?})").to_lowercase(),
            Problem::LocalLook { message } | Problem::RemoteLook { message } => message.clone(),
            Problem::FolderInTheWay => "the bucket has an object where a folder stands".to_owned(),
        };
        self.problem(path.as_str().to_owned(), message);
        let now = self.now();
        if matches!(problem, Problem::LocalLook { .. } | Problem::RemoteLook { .. }) {
            self.mark(path.clone(), Dirty::at(now + PROBLEM_RETRY_MS));
        }
    }

    fn problem(&mut self, name: String, message: String) {
        if self.problems.get(&name) != Some(&message) {
            if let Ok(path) = RelPath::new(name.as_str()) {
                self.tell(&Told::Problem { path, message: message.clone() });
            }
            self.problems.insert(name, message);
        }
    }

    // ---- operations -----------------------------------------------------------------------------------------------

    fn launch(&mut self) {
        let limits = self.context.config.limits.clone();
        let mut skipped = VecDeque::new();
        while let Some(task) = self.queue.pop_front() {
            if self.running >= OPERATIONS_MAX || (self.outage.is_some() && !self.may_try()) {
                self.queue.push_front(task);
                break;
            }
            if self.must_wait(&task.operation.action) {
                // When the halt ends, a sweep finds it again.
                let path = task.operation.path.clone();
                self.let_go(&path);
                continue;
            }
            let bytes = task_bytes(&task);
            let large = bytes > limits.part_bytes;
            let fits = if writes_remotely(&task.operation.action) && !self.probed {
                false
            } else if large {
                self.running_large < limits.large_operations_max
            } else {
                self.running_bytes + bytes <= limits.buffer_bytes_max || self.running_bytes == 0
            };
            if !fits {
                // Large ones don't hold up small ones, nor the other way round.
                skipped.push_back(task);
                if skipped.len() > OPERATIONS_MAX {
                    break;
                }
                continue;
            }
            self.running += 1;
            if large {
                self.running_large += 1;
            } else {
                self.running_bytes += bytes;
            }
            self.effects.push(Effect::Run(Box::new(task)));
        }
        while let Some(task) = skipped.pop_back() {
            self.queue.push_front(task);
        }
    }

    /// One trial is let through after each wait.
    fn may_try(&mut self) -> bool {
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
    fn trial_ended(&mut self) {
        let now = self.now();
        if let Some(outage) = &mut self.outage
            && outage.trial
        {
            outage.trial = false;
            outage.retry_ms = now;
        }
    }

    /// Under a halt whose local tree is trusted, deletes and overwrites of local files wait.
    fn must_wait(&self, action: &Action) -> bool {
        !self.halts.is_empty()
            && match action {
                Action::Download { expect, .. } => *expect != ExpectLocal::Absent,
                Action::Conflict { .. } | Action::Repair { .. } | Action::MoveAside { .. } => true,
                _ => false,
            }
    }

    fn operation_ended(&mut self, task: Task, outcome: Outcome) {
        self.running -= 1;
        self.trial_ended();
        let bytes = task_bytes(&task);
        if bytes > self.context.config.limits.part_bytes {
            self.running_large -= 1;
        } else {
            self.running_bytes -= bytes;
        }
        let path = task.operation.path.clone();
        let now = self.now();
        let wait = self.context.config.limits.displaced_wait_ms;
        self.displaced.extend(self.context.take_displaced().into_iter().map(|entry| (entry, now + wait)));
        match outcome {
            Outcome::Done { events, look_at } => {
                self.totals_stale = true;
                if asks_the_store(&task.operation.action) {
                    self.store_answers();
                }
                self.end_trouble("local");
                self.end_trouble("state");
                self.calm(&path);
                for event in &events {
                    self.count(event);
                    self.tell(event);
                }
                for further in look_at {
                    self.mark(further, Dirty::at(now));
                }
                let racy = match &task.operation.action {
                    Action::Upload { local, .. } | Action::Record { local, .. } => {
                        self.context.utc_ms() - local.mtime_ns.div_euclid(1_000_000) < RACY_MS
                    }
                    _ => false,
                };
                if racy && !self.draining {
                    self.mark(path.clone(), Dirty { rehash: true, ..Dirty::at(now + RACY_MS.unsigned_abs()) });
                }
                if path.file_name() == IGNORE_FILE {
                    self.want_sweep(Scope::Full);
                }
                self.let_go(&path);
            }
            Outcome::Again => self.retry(&path, Some(now)),
            Outcome::Busy => {
                let since_ms = self.busy.get(&path).map_or(now, |busy| busy.since_ms);
                self.busy.insert(path.clone(), Busy { since_ms });
                self.in_hand.remove(&path);
                self.mark(path, Dirty::at(now + BUSY_RETRY_MS).with_head());
            }
            Outcome::Problem(message) => {
                self.problem(path.as_str().to_owned(), message);
                self.in_hand.remove(&path);
                self.mark(path, Dirty::at(now + PROBLEM_RETRY_MS).with_head());
            }
            Outcome::Failed(failure) => {
                self.trouble(&failure);
                self.retry(&path, None);
            }
            Outcome::Unresolved(entry, failure) => {
                self.trouble(&failure);
                self.unresolved.insert(path, (*entry, now + RETRY_MS_MAX.min(2_000)));
            }
        }
    }

    fn count(&mut self, event: &Told) {
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
                self.conflict_copies += 1;
            }
            _ => {}
        }
    }

    /// Look at the path again, with a HEAD: at `due_ms`, or after a wait that grows with each failure.
    fn retry(&mut self, path: &RelPath, due_ms: Option<u64>) {
        let now = self.now();
        self.in_hand.remove(path);
        let attempts = self.attempts.entry(path.clone()).or_default();
        *attempts += 1;
        let wait = (backoff_ms(*attempts) * 10).min(RETRY_MS_MAX);
        // What failed a few times at once is not as fresh as it seems.
        let due_ms = due_ms.filter(|_| *attempts < 4).unwrap_or(now + wait);
        self.mark(path.clone(), Dirty::at(due_ms).with_head());
    }

    fn resolved(&mut self, path: RelPath, outcome: Outcome) {
        let now = self.now();
        match outcome {
            Outcome::Unresolved(entry, failure) => {
                self.trouble(&failure);
                self.unresolved.insert(path, (*entry, now + 2_000));
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
        self.in_hand.remove(&path);
        self.mark(path, Dirty::at(now).with_head());
    }

    fn settled(&mut self, entry: JournalEntry, outcome: Outcome) {
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

    // ---- guards ---------------------------------------------------------------------------------------------------

    /// Lets held deletes go when their burst has ended and they are not too many.
    fn judge_deletes(&mut self) {
        let now = self.now();
        let limits = &self.context.config.limits;
        let (quiet, max, window) = (limits.burst_quiet_ms, limits.burst_max_ms, limits.delete_window_ms);
        // A sweep may still find more, and a full one tells whether either side was emptied.
        if self.sweeping.is_some() || !self.swept_once || self.looks > 0 {
            return;
        }
        if self.deletes.len() == 0 {
            self.end_halt(HaltReason::TooManyDeletes);
            return;
        }
        let flushing = !self.flushes.is_empty() && self.dirty.next_due_ms().is_none_or(|due| due > now);
        if !flushing && self.deletes.burst_ends_ms(quiet, max).is_some_and(|ends| ends > now) {
            return;
        }
        if self.halts.keys().any(|reason| *reason != HaltReason::TooManyDeletes) {
            return;
        }
        self.deletes.roll(self.context.utc_ms(), self.files.max(self.deletes.len() as u64), window);
        if !self.deletes_approved
            && let GuardVerdict::Halt(reason) = self.deletes.verdict(self.context.config.deletes)
        {
            let count = self.deletes.counted();
            let message = format!(
                "{count} deletes are waiting and {} were done, of {} files",
                self.deletes.window.executed, self.deletes.window.ancestors
            );
            self.halt(reason, message, count);
            return;
        }
        self.end_halt(HaltReason::TooManyDeletes);
        let tasks = self.deletes.take(now, self.deletes_approved);
        if tasks.is_empty() {
            return;
        }
        if self.deletes.len() == 0 {
            self.deletes_approved = false;
        }
        if let Ok(note) = serde_json::to_string(&self.deletes.window) {
            self.effects.push(Effect::Apply(vec![StateChange::PutNote(NOTE_WINDOW.to_owned(), note)]));
        }
        for task in tasks {
            self.in_hand.insert(task.operation.path.clone(), None);
            self.queue.push_back(task);
        }
    }

    fn halt(&mut self, reason: HaltReason, message: String, count: u64) {
        if let Some(known) = self.halts.get_mut(&reason) {
            known.message = message;
            known.count = count;
            return;
        }
        let id = self.context.ports.ids.nonce().to_hex()[..6].to_owned();
        let row = HaltRow { id, reason, message: message.clone(), count, since_ms: self.context.utc_ms() };
        self.effects.push(Effect::Apply(vec![StateChange::PutHalt(row.clone())]));
        self.halts.insert(reason, row);
        self.tell(&Told::Halted { reason, message });
        if is_of_the_root(reason) {
            // Nothing that was concluded from this tree counts any more.
            for task in std::mem::take(&mut self.queue) {
                self.in_hand.remove(&task.operation.path);
            }
            self.deletes.clear();
        }
    }

    fn end_halt(&mut self, reason: HaltReason) {
        if let Some(row) = self.halts.remove(&reason) {
            self.effects.push(Effect::Apply(vec![StateChange::DropHalt(row.id)]));
            self.tell(&Told::HaltEnded { reason });
            self.want_sweep(Scope::Full);
        }
    }

    fn answer_halt(&mut self, id: &str, approved: bool) -> Result<String, CommandError> {
        let Some(row) = self.halts.values().find(|row| row.id == id).cloned() else {
            return Err(CommandError {
                code: "no-such-halt",
                message: format!("this mirror has no halt {id}"),
                hint: "`gosync sync state` shows the halts and their ids".to_owned(),
            });
        };
        let held: Vec<RelPath> = self.deletes.paths().cloned().collect();
        let count = held.len();
        match (row.reason, approved) {
            (HaltReason::TooManyDeletes | HaltReason::RemoteEmptied, true) => {
                self.deletes_approved = true;
                let utc = self.context.utc_ms();
                self.deletes.begin_window(utc, self.files);
                self.end_halt(row.reason);
                Ok(format!("{count} deletes will be done"))
            }
            (HaltReason::TooManyDeletes | HaltReason::RemoteEmptied, false) => {
                self.deletes.clear();
                // Forgotten as agreed upon, what one side still has is news for the other.
                self.effects.push(Effect::ForgetAncestors(held));
                let executed = self.deletes.take_executed();
                let done = executed.len();
                if done > 0 {
                    self.effects.push(Effect::BringBack(executed));
                }
                self.end_halt(row.reason);
                Ok(format!("{count} files come back; {done} deleted before the halt are looked for"))
            }
            (HaltReason::RootEmptied, true) => {
                self.deletes_approved = true;
                self.effects.push(Effect::RestoreMarker(row.id.clone()));
                self.end_halt(row.reason);
                Ok("what is missing counts as deleted".to_owned())
            }
            (HaltReason::RootEmptied, false) | (HaltReason::RootReplaced | HaltReason::VolumeChanged, true) => {
                self.effects.push(Effect::AdoptRoot(row.id.clone()));
                self.end_halt(row.reason);
                Ok("a first run begins: what the bucket has is downloaded, nothing is deleted".to_owned())
            }
            (reason, _) => Err(CommandError {
                code: "no-answer",
                message: format!("a halt {reason:?} has no such answer"),
                hint: "it ends by itself when its cause is gone".to_owned(),
            }),
        }
    }

    // ---- trouble --------------------------------------------------------------------------------------------------

    /// The outside failed: said once, and tried again later.
    fn trouble(&mut self, failure: &Failure) {
        let (class, message) = match failure {
            Failure::Killed => {
                self.ended = Some(Ended::Killed);
                return;
            }
            Failure::Store(error) => {
                if error.is_of_the_store() {
                    let now = self.now();
                    let attempts = self.outage.as_ref().map_or(0, |outage| outage.attempts) + 1;
                    let fresh = self.outage.as_ref().is_none_or(|outage| outage.retry_ms <= now);
                    if fresh {
                        let wait = (backoff_ms(attempts) * 5).min(30_000);
                        self.outage = Some(Outage { retry_ms: now + wait, attempts, trial: false });
                    }
                }
                let class = match error.kind {
                    StoreErrorKind::Credentials | StoreErrorKind::Denied => "credentials",
                    StoreErrorKind::NoSuchBucket => "bucket",
                    StoreErrorKind::Throttled => "throttled",
                    _ => "s3",
                };
                (class, describe(error))
            }
            Failure::State(error) => ("state", describe(error)),
            Failure::Local(error) => ("local", describe(error)),
        };
        let since_ms = self.context.utc_ms();
        if !self.troubles.contains_key(class) {
            self.tell(&Told::Trouble { class, message: message.clone() });
        }
        self.troubles.entry(class).and_modify(|known| known.message.clone_from(&message)).or_insert(Trouble { message, since_ms });
    }

    fn end_trouble(&mut self, class: &'static str) {
        if self.troubles.remove(class).is_some() {
            self.tell(&Told::TroubleEnded { class });
        }
    }

    /// A request was answered as it should be.
    fn store_answers(&mut self) {
        self.outage = None;
        for class in ["s3", "credentials", "bucket", "throttled"] {
            self.end_trouble(class);
        }
    }

    // ---- commands -------------------------------------------------------------------------------------------------

    fn commanded(&mut self, command: Command) {
        match command {
            Command::View(reply) => {
                let _ = reply.send(self.view());
            }
            Command::Pause(reply) => {
                self.paused = true;
                let note = StateChange::PutNote(NOTE_PAUSED.to_owned(), "yes".to_owned());
                self.effects.push(Effect::Apply(vec![note]));
                let _ = reply.send(());
            }
            Command::Resume(reply) => {
                self.paused = false;
                self.effects.push(Effect::Apply(vec![StateChange::DropNote(NOTE_PAUSED.to_owned())]));
                self.want_sweep(Scope::Full);
                let _ = reply.send(());
            }
            Command::Flush { timeout_ms, reply } => self.flush(timeout_ms, reply),
            Command::Drain(reply) => {
                self.draining = true;
                self.flush(self.context.config.limits.drain_ms, reply);
            }
            Command::Approve { halt, reply } => {
                let answer = self.answer_halt(&halt, true);
                let _ = reply.send(answer);
            }
            Command::Deny { halt, reply } => {
                let answer = self.answer_halt(&halt, false);
                let _ = reply.send(answer);
            }
            Command::Conflicts(reply) => self.effects.push(Effect::Conflicts(reply)),
            Command::TrashList(reply) => self.effects.push(Effect::TrashList(reply)),
            Command::TrashRestore { item, reply } => self.effects.push(Effect::TrashRestore { item, reply }),
            Command::Stop => self.ended = Some(Ended::Stopped),
        }
    }

    fn flush(&mut self, timeout_ms: u64, reply: futures_channel::oneshot::Sender<FlushReceipt>) {
        // The sweep that is under way at the start has looked at nothing yet that could be newer.
        let first = self.sweeps_begun <= 1 && !self.swept_once;
        self.flushes.push(Flush {
            sweep: if first { 1 } else { self.sweeps_begun + 1 },
            deadline_ms: self.now().saturating_add(timeout_ms),
            started_ms: self.context.utc_ms(),
            reply,
        });
        if !first {
            self.want_sweep(Scope::Full);
        }
    }

    /// Answers those who wait for everything to be done, or whose time is over.
    fn answer_flushes(&mut self) {
        if self.flushes.is_empty() {
            return;
        }
        let now = self.now();
        let stuck = self.stuck_reason();
        let idle = self.is_idle();
        let (done, waiting): (Vec<Flush>, Vec<Flush>) = std::mem::take(&mut self.flushes).into_iter().partition(|flush| {
            let swept = self.sweeping.is_none() && self.sweeps_begun >= flush.sweep && self.failed_sweeps == 0;
            (idle && swept) || flush.deadline_ms <= now || (stuck.is_some() && (idle || self.stage != Stage::Running))
        });
        self.flushes = waiting;
        if done.is_empty() {
            return;
        }
        let pending = self.pending();
        let flushed = idle && stuck.is_none() && pending.0 == 0;
        let draft = FlushReceipt {
            flushed,
            pending_files: pending.0,
            pending_bytes: pending.1,
            pending_first: self.pending_first(),
            started_ms: done.iter().map(|flush| flush.started_ms).min().unwrap_or_default(),
            reason: if flushed { String::new() } else { stuck.unwrap_or_else(|| "the time was over".to_owned()) },
            ..FlushReceipt::default()
        };
        let replies = done.into_iter().map(|flush| flush.reply).collect();
        let end = self.draining && self.flushes.is_empty();
        self.effects.push(Effect::Receipt { draft, replies, end });
    }

    /// Why a flush can't succeed by waiting.
    fn stuck_reason(&self) -> Option<String> {
        if let Some(halt) = self.halts.values().next() {
            return Some(format!("halted: {}", halt.message));
        }
        self.paused.then(|| "the mirror is paused".to_owned())
    }

    fn is_idle(&self) -> bool {
        let now = self.now();
        self.stage == Stage::Running
            && self.sweeping.is_none()
            && self.sweep_wanted.is_none()
            && self.queue.is_empty()
            && self.running == 0
            && self.looks == 0
            && self.unresolved.is_empty()
            && self.busy.is_empty()
            && (self.deletes.len() == 0 || !self.halts.is_empty())
            // Second looks at what was just written are no work of their own.
            && self.dirty.next_due_ms().is_none_or(|due| due > now + self.context.config.limits.delete_wait_ms)
    }

    fn pending(&self) -> (u64, u64) {
        let queued: u64 = self.queue.iter().map(task_bytes).sum();
        let files = self.queue.len() + self.running + self.deletes.len() + self.busy.len() + self.unresolved.len();
        (files as u64, queued + self.running_bytes)
    }

    fn pending_first(&self) -> Vec<String> {
        let queued = self.queue.iter().map(|task| &task.operation.path);
        queued
            .chain(self.busy.keys())
            .chain(self.deletes.paths())
            .chain(self.unresolved.keys())
            .chain(self.dirty.first(5))
            .take(5)
            .map(|path| path.as_str().to_owned())
            .collect()
    }

    fn view(&self) -> View {
        let identity = self.context.identity();
        let (pending_files, pending_bytes) = self.pending();
        let now = self.now();
        let phase = if self.draining {
            Phase::Closing
        } else if self.stage != Stage::Running {
            Phase::Waiting
        } else if !self.hydrated {
            Phase::Hydrating
        } else if self.is_idle() {
            Phase::Idle
        } else {
            Phase::Syncing
        };
        let done = self.files as f64;
        let problems = self.problems.iter().map(|(name, why)| (name.clone(), why.clone()));
        View {
            name: self.context.config.name.clone(),
            paused: self.paused,
            phase,
            hydrated: self.hydrated,
            hydration_progress: if self.hydrated { 1.0 } else { done / (done + pending_files as f64).max(1.0) },
            halts: self
                .halts
                .values()
                .map(|row| HaltView {
                    id: row.id.clone(),
                    reason: row.reason,
                    message: row.message.clone(),
                    count: row.count,
                    since_ms: row.since_ms,
                })
                .collect(),
            errors: self
                .troubles
                .iter()
                .map(|(class, trouble)| ErrorView { class, message: trouble.message.clone(), since_ms: trouble.since_ms })
                .collect(),
            files: self.files,
            bytes: self.bytes,
            pending_files,
            pending_bytes,
            in_flight: self.running as u64,
            busy: self.busy.keys().cloned().collect(),
            open: Vec::new(),
            problems: problems.chain(self.swept_problems.iter().cloned()).collect(),
            conflicts: self.totals.conflicts,
            last_sync_ms: self.last_sync_ms,
            lag_ms: self.dirty.oldest_ms().map_or(0, |first| now.saturating_sub(first)),
            watch_healthy: self.watch_healthy,
            conditions: identity.conditions,
            replica: identity.replica,
            cursor: identity.cursor,
            conflict_copies: self.conflict_copies,
            trash_files: self.trash.0,
            trash_bytes: self.trash.1,
            totals: self.totals,
        }
    }

    // ---- going on -------------------------------------------------------------------------------------------------

    /// Whatever can be begun now.
    fn go_on(&mut self) {
        let now = self.now();
        match self.stage {
            Stage::Waiting { until_ms } if until_ms <= now => self.check_root(),
            Stage::Running => {}
            _ => {
                self.answer_flushes();
                return;
            }
        }
        if self.stage != Stage::Running {
            return;
        }
        if self.halts.keys().any(|reason| is_of_the_root(*reason)) {
            // Nothing local may be read or written; the root itself is asked about.
            if self.running == 0 && self.looks == 0 && self.sweeping.is_none() {
                self.stage = Stage::Waiting { until_ms: now + self.root_retry_ms() };
            }
            self.answer_flushes();
            return;
        }
        if !self.paused {
            self.resolve_some();
            self.probe();
            self.begin_sweep();
            self.begin_looks();
            self.judge_deletes();
            self.launch();
        }
        self.settle_some();
        if self.next_eviction_ms <= now {
            self.next_eviction_ms = now + TRASH_EVICTION_MS;
            self.effects.push(Effect::EvictTrash);
        }
        if self.is_idle() {
            if self.totals_stale && !self.totals_running {
                self.totals_stale = false;
                self.totals_running = true;
                self.effects.push(Effect::Totals);
            }
            if self.swept_once && self.failed_sweeps == 0 {
                self.last_sync_ms = Some(self.context.utc_ms());
                if !self.hydrated {
                    self.hydrated = true;
                    let note = StateChange::PutNote(NOTE_HYDRATED.to_owned(), "yes".to_owned());
                    self.effects.push(Effect::Apply(vec![note]));
                    self.tell(&Told::Hydrated { milliseconds: now - self.started_ms });
                }
            }
        }
        self.answer_flushes();
    }

    fn resolve_some(&mut self) {
        let now = self.now();
        let due: Vec<RelPath> = self
            .unresolved
            .iter()
            .filter(|(_, (_, due))| *due <= now)
            .take(LOOKS_MAX)
            .map(|(path, _)| path.clone())
            .collect();
        for path in due {
            if let Some((entry, _)) = self.unresolved.remove(&path) {
                self.effects.push(Effect::Resolve(entry));
            }
        }
    }

    fn probe(&mut self) {
        if !self.probed && !self.probing && (self.outage.is_none() || self.may_try()) {
            self.probing = true;
            self.effects.push(Effect::Probe);
        }
    }

    fn begin_sweep(&mut self) {
        let now = self.now();
        if self.sweeping.is_some() {
            return;
        }
        let due = if self.next_scan_ms <= now {
            Some(Scope::Full)
        } else if self.next_remote_ms <= now {
            Some(if self.watch_healthy { Scope::Remote } else { Scope::Full })
        } else {
            None
        };
        // A failed one is not repeated at once, whoever wants it.
        if self.failed_sweeps > 0 && self.next_remote_ms > now {
            return;
        }
        let scope = match (self.sweep_wanted, due) {
            (Some(Scope::Full), _) | (_, Some(Scope::Full)) => Scope::Full,
            (Some(Scope::Remote), _) | (_, Some(Scope::Remote)) => Scope::Remote,
            (None, None) => return,
        };
        self.sweep_wanted = None;
        self.sweeping = Some(scope);
        self.sweeps_begun += 1;
        // Until it ends, nothing else makes one due.
        self.next_remote_ms = now + self.context.config.limits.interval_ms;
        if scope == Scope::Full {
            self.next_scan_ms = now + self.context.config.limits.scan_interval_ms;
        }
        self.effects.push(Effect::Sweep(scope));
    }

    fn begin_looks(&mut self) {
        let now = self.now();
        while self.looks < LOOKS_MAX && self.queue.len() < self.context.config.limits.queue_max {
            if self.dirty.next_due_ms().is_none_or(|due| due > now) || (self.outage.is_some() && !self.may_try()) {
                return;
            }
            let limit = if self.outage.is_some() { 1 } else { BATCH_PATHS };
            let due = self.dirty.take_due(now, limit);
            if due.is_empty() {
                return;
            }
            let mut deep = BTreeSet::new();
            let mut candidates = Vec::with_capacity(due.len());
            for (path, dirty) in due {
                if dirty.deep {
                    deep.insert(path);
                    continue;
                }
                self.in_hand.insert(path.clone(), None);
                candidates.push(Candidate {
                    head: dirty.head,
                    rehash: dirty.rehash,
                    ..Candidate::hinted(path)
                });
            }
            if !deep.is_empty() {
                self.looks += 1;
                if candidates.is_empty() {
                    // Nothing asks the store: the trial is still to be made.
                    self.trial_ended();
                }
                self.effects.push(Effect::Expand(deep.into_iter().collect()));
            }
            if !candidates.is_empty() {
                self.looks += 1;
                self.effects.push(Effect::Look(candidates));
            }
        }
    }

    fn settle_some(&mut self) {
        let now = self.now();
        for _ in 0..self.displaced.len() {
            if self.settling >= SETTLING_MAX {
                return;
            }
            let Some((entry, due)) = self.displaced.pop_front() else { return };
            if due <= now {
                self.settling += 1;
                self.effects.push(Effect::Settle(entry));
            } else {
                self.displaced.push_back((entry, due));
            }
        }
    }

    /// When to be woken without an event.
    pub fn next_due_ms(&self) -> Option<u64> {
        if let Stage::Waiting { until_ms } = self.stage {
            return Some(until_ms);
        }
        let flush = self.flushes.iter().map(|flush| flush.deadline_ms).min();
        if self.stage != Stage::Running || self.halts.keys().any(|reason| is_of_the_root(*reason)) {
            return flush;
        }
        let limits = &self.context.config.limits;
        let now = self.now();
        let working = !self.paused;
        let looking = working && self.looks < LOOKS_MAX && self.queue.len() < limits.queue_max && self.outage.is_none();
        let sweep_ms = match self.failed_sweeps {
            0 => self.next_remote_ms.min(self.next_scan_ms),
            _ => self.next_remote_ms,
        };
        [
            flush,
            self.dirty.next_due_ms().filter(|_| looking),
            self.deletes.burst_ends_ms(limits.burst_quiet_ms, limits.burst_max_ms).filter(|due| working && *due > now),
            self.unresolved.values().map(|(_, due)| *due).min().filter(|_| working),
            self.displaced.iter().map(|(_, due)| *due).min().filter(|_| self.settling < SETTLING_MAX),
            Some(sweep_ms).filter(|_| working && self.sweeping.is_none()),
            self.outage.as_ref().map(|outage| outage.retry_ms).filter(|due| working && *due > now),
            Some(self.next_eviction_ms),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

fn is_of_the_root(reason: HaltReason) -> bool {
    matches!(
        reason,
        HaltReason::RootMissing | HaltReason::RootEmptied | HaltReason::RootReplaced | HaltReason::VolumeChanged
    )
}

fn writes_remotely(action: &Action) -> bool {
    matches!(action, Action::Upload { .. } | Action::DeleteObject { .. })
}

/// Whether the operation can't succeed without an answer of the store.
fn asks_the_store(action: &Action) -> bool {
    !matches!(action, Action::Record { .. } | Action::ApplyMode { .. } | Action::MoveAside { .. } | Action::Forget)
}

/// What the operation holds in memory or transfers, bytes.
fn task_bytes(task: &Task) -> u64 {
    match &task.operation.action {
        Action::Upload { local, .. } => local.size,
        Action::Download { remote, .. } | Action::Conflict { remote, .. } | Action::Repair { remote, .. } => remote.size,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halts_of_the_root_stop_everything_local() {
        assert!(is_of_the_root(HaltReason::RootMissing));
        assert!(!is_of_the_root(HaltReason::TooManyDeletes));
    }
}
