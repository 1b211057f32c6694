//! The core of a mirror: everything it knows between two looks, and what follows from each event. It does no I/O and
//! never waits; it reads the clock, and everything else comes in events and goes out in effects.
//!
//! Work is never a stored queue: a path that fails, changes or is interrupted is simply looked at again, and after a kill
//! the first sweep finds all that is left to do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gosync_plan::decide::{Action, Diverged, ExpectLocal, ExpectRemote};
use gosync_plan::{Direction, HaltReason, Nonce, RelPath};

use super::Ended;
use super::answers::Answers;
use super::beating::Beating;
use super::deletes::Deletes;
use super::dirty::{Dirty, DirtySet};
use super::effect::{Effect, Event};
use super::feed::Follower;
use super::moves::{Moves, Trace};
use super::queue::{Line, Queue};
use super::scrub::Scrub;
use crate::context::Context;
use crate::handle::{Command, FlushReceipt, Message, Totals};
use crate::look::{BATCH_PATHS, Candidate, describe};
use crate::ports::observer::Event as Told;
use crate::ports::state::{HaltRow, JournalEntry, StateChange};
use crate::sequences::Task;
use crate::sequences::start::NOTE_HYDRATED;
use crate::sweep::Scope;

/// Looks at hinted paths that run side by side.
pub(super) const LOOKS_MAX: usize = 4;
/// While a look is under way paths gather for the next one, at most this long: one look at many costs less than many.
const GATHER_MS: u64 = 50;
/// Displaced contents that are settled side by side.
pub(super) const SETTLING_MAX: usize = 8;
/// A path whose problem is its own is looked at again after this.
pub(super) const PROBLEM_RETRY_MS: u64 = 300_000;
/// A change this close to the look may hide another one behind the same time stamp.
pub(super) const RACY_MS: i64 = 2_000;
pub(super) const TRASH_EVICTION_MS: u64 = 600_000;
const NOT_ABORTED: &str = "an unfinished upload could not be aborted";

pub enum Step {
    Go(Vec<Effect>),
    End(Ended),
}

/// How far the mirror has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The root is being looked at; nothing else may happen.
    CheckingRoot,
    /// The root can't be trusted or the state can't be read: wait, then check again.
    Waiting {
        until_ms: u64,
    },
    Recovering,
    Running,
}

pub(super) struct Trouble {
    pub(super) message: String,
    pub(super) since_ms: i64,
}

/// The store doesn't answer: nothing is sent but one trial after each wait.
pub(super) struct Outage {
    pub(super) retry_ms: u64,
    pub(super) attempts: u32,
    pub(super) trial: bool,
}

pub(super) struct Flush {
    /// Sweeps that had begun when it was asked for don't count.
    pub(super) sweep: u64,
    pub(super) deadline_ms: u64,
    pub(super) started_ms: i64,
    pub(super) reply: futures_channel::oneshot::Sender<FlushReceipt>,
}

/// A path that a look or an operation has in hand.
pub(super) struct InHand {
    pub(super) since_ms: u64,
    /// What was hinted meanwhile.
    pub(super) again: Option<Dirty>,
}

/// A path that failed and is tried again.
pub(super) struct Failing {
    pub(super) since_ms: u64,
    pub(super) attempts: u32,
    /// A problem of its own, which waiting alone won't end.
    pub(super) is_lasting: bool,
}

pub(super) struct Busy {
    pub(super) since_ms: u64,
}

pub struct Core {
    pub(super) context: Context,
    pub(super) effects: Vec<Effect>,
    pub(super) stage: Stage,
    pub(super) paused: bool,
    pub(super) draining: bool,
    /// They need the root, which is being looked at.
    pub(super) waiting_commands: Vec<Command>,
    pub(super) ended: Option<Ended>,

    pub(super) dirty: DirtySet,
    pub(super) in_hand: BTreeMap<RelPath, InHand>,
    pub(super) looks: usize,
    /// When the latest of them began, monotonic milliseconds.
    look_began_ms: u64,
    pub(super) queue: Queue,
    pub(super) running: usize,
    pub(super) running_large: usize,
    pub(super) running_bytes: u64,
    pub(super) deletes: Deletes,
    /// Creations where the store still has what their paths can't stand beside.
    pub(super) behind_deletes: Vec<Task>,
    pub(super) moves: Moves,
    /// What the running operations bring: where it comes from has to stay for so long.
    pub(super) arriving: BTreeMap<RelPath, Vec<Trace>>,
    pub(super) deletes_running: usize,
    /// Counted since the start, and when the running sweep began.
    pub(super) deletes_done: u64,
    pub(super) deletes_done_before: u64,
    /// Deletes that a person approved for the coming sweep.
    pub(super) deletes_approved: bool,
    /// Overwrites that the running sweep found: they wait for its end, which tells whether all has changed at once.
    pub(super) overwrites: Vec<Task>,
    pub(super) answers: Answers,
    /// What the running sweep found that was answered already.
    pub(super) answered_in_sweep: u64,
    /// Until then no sweep looks for what is left of an answer.
    pub(super) next_answers_ms: u64,
    /// What stands at these paths came while their deletes waited for an answer, as far as no later sweep has seen them.
    pub(super) put_back: BTreeSet<RelPath>,
    pub(super) put_back_sweep: u64,
    /// Until the end of this sweep a person wants nothing deleted.
    pub(super) deletes_denied_until: Option<u64>,
    /// What the running sweep of a first run found on both sides with different contents: it waits for the sweep's end.
    pub(super) merges: Vec<Task>,
    /// Paths that it found on both sides.
    pub(super) common: u64,
    /// Looks and operations that failed in a row, of paths that are not through yet.
    pub(super) failing: BTreeMap<RelPath, Failing>,
    pub(super) busy: BTreeMap<RelPath, Busy>,
    pub(super) problems: BTreeMap<String, String>,
    /// Paths that somebody else wrote to in the bucket of a mirror that only sends, how, and the sweep that told so last.
    pub(super) diverged: BTreeMap<RelPath, (Diverged, u64)>,
    /// Problems that the last complete sweep reported of names and folders.
    pub(super) swept_problems: Vec<(String, String)>,
    /// Folders and files that the last complete sweep could not read.
    pub(super) unreadable: Vec<String>,
    /// Writes whose outcome is not known: their paths wait until it is.
    pub(super) unresolved: BTreeMap<Nonce, (JournalEntry, u64)>,
    /// Those that are being looked up.
    pub(super) resolving: BTreeMap<Nonce, RelPath>,
    pub(super) displaced: VecDeque<(JournalEntry, u64)>,
    pub(super) settling: usize,

    pub(super) halts: BTreeMap<HaltReason, HaltRow>,
    pub(super) troubles: BTreeMap<&'static str, Trouble>,
    pub(super) outage: Option<Outage>,
    pub(super) probed: bool,
    pub(super) probing: bool,
    /// The last probe failed, and is made again then.
    pub(super) probe_failed: Option<FailedProbe>,

    pub(super) watch_healthy: bool,
    pub(super) sweeping: Option<Scope>,
    pub(super) sweeps_begun: u64,
    pub(super) sweep_wanted: Option<Scope>,
    /// What is wanted was done as far as it can be without the metadata.
    pub(super) swept_locally: bool,
    pub(super) failed_locally: bool,
    /// A full scan after this, monotonic milliseconds.
    pub(super) next_scan_ms: u64,
    pub(super) next_remote_ms: u64,
    pub(super) next_eviction_ms: u64,
    pub(super) failed_sweeps: u32,
    /// A look at the root failed: it is checked as soon as nothing is under way.
    pub(super) root_in_doubt: bool,
    /// The first complete sweep has ended; its operations may still run.
    pub(super) swept_once: bool,
    pub(super) hydrated: bool,
    pub(super) started_ms: u64,

    pub(super) flushes: Vec<Flush>,
    pub(super) last_sync_ms: Option<i64>,
    /// A look or an operation has told so since.
    pub(super) seen_in_step: bool,
    /// Uploaded while somebody had them open.
    pub(super) open: Vec<RelPath>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) totals_stale: bool,
    pub(super) totals_running: bool,
    /// When the last counting began, and when the last one that has ended.
    pub(super) count_began_ms: u64,
    pub(super) counted_ms: u64,
    pub(super) trash: (u64, u64),
    /// What a download lacked room for, bytes; 0: there is room.
    pub(super) room_for_bytes: u64,
    pub(super) lacked_room_ms: u64,
    /// A person said so. What may still be written to waits until it is at rest.
    pub(super) young_trash_may_go: bool,
    pub(super) conflict_copies: u64,
    pub(super) scrub: Scrub,
    pub(super) feed: Follower,
    pub(super) beating: Beating,
    pub(super) totals: Totals,
}

impl Core {
    pub fn new(context: Context) -> Self {
        let now = context.ports.clock.monotonic_ms();
        // Who never writes to the bucket need not know what conditions it keeps, and may not be permitted to try.
        let probed = context.config.policy.direction == Direction::Pull;
        Self {
            context,
            effects: vec![Effect::CheckRoot],
            stage: Stage::CheckingRoot,
            paused: false,
            draining: false,
            waiting_commands: Vec::new(),
            ended: None,
            dirty: DirtySet::default(),
            in_hand: BTreeMap::new(),
            looks: 0,
            look_began_ms: 0,
            queue: Queue::default(),
            running: 0,
            running_large: 0,
            running_bytes: 0,
            deletes: Deletes::default(),
            behind_deletes: Vec::new(),
            moves: Moves::default(),
            arriving: BTreeMap::new(),
            deletes_running: 0,
            deletes_done: 0,
            deletes_done_before: 0,
            deletes_approved: false,
            overwrites: Vec::new(),
            answers: Answers::default(),
            answered_in_sweep: 0,
            next_answers_ms: 0,
            put_back: BTreeSet::new(),
            put_back_sweep: 0,
            deletes_denied_until: None,
            merges: Vec::new(),
            common: 0,
            failing: BTreeMap::new(),
            busy: BTreeMap::new(),
            problems: BTreeMap::new(),
            diverged: BTreeMap::new(),
            swept_problems: Vec::new(),
            unreadable: Vec::new(),
            unresolved: BTreeMap::new(),
            resolving: BTreeMap::new(),
            displaced: VecDeque::new(),
            settling: 0,
            halts: BTreeMap::new(),
            troubles: BTreeMap::new(),
            outage: None,
            probed,
            probing: false,
            probe_failed: None,
            watch_healthy: false,
            sweeping: None,
            sweeps_begun: 0,
            sweep_wanted: None,
            swept_locally: false,
            failed_locally: false,
            next_scan_ms: now,
            next_remote_ms: now,
            next_eviction_ms: now + TRASH_EVICTION_MS,
            failed_sweeps: 0,
            root_in_doubt: false,
            swept_once: false,
            hydrated: false,
            started_ms: now,
            flushes: Vec::new(),
            last_sync_ms: None,
            seen_in_step: false,
            open: Vec::new(),
            files: 0,
            bytes: 0,
            totals_stale: true,
            totals_running: false,
            count_began_ms: 0,
            counted_ms: 0,
            trash: (0, 0),
            room_for_bytes: 0,
            lacked_room_ms: 0,
            young_trash_may_go: false,
            conflict_copies: 0,
            scrub: Scrub::default(),
            feed: Follower::default(),
            beating: Beating::default(),
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
    pub(super) fn has_room(&self) -> bool {
        self.queue.has_room(self.context.config.limits.queue_max, self.probe_failed.is_none())
    }

    pub(super) fn enqueue(&mut self, task: Task) {
        self.queue.push(self.line_of(&task), task);
    }

    pub(super) fn line_of(&self, task: &Task) -> Line {
        if !self.probed && writes_remotely(&task.operation.action) {
            Line::Unprobed
        } else if task_bytes(task) > self.context.config.limits.part_bytes {
            Line::Large
        } else {
            Line::Ordinary
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.context.ports.clock.monotonic_ms()
    }

    pub(super) fn tell(&self, event: &Told) {
        self.context.ports.observer.observe(event);
    }

    pub(super) fn take(&mut self, event: Event) {
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
                self.looked(looked, false);
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
            Event::Resolved { id, path, outcome } => self.resolved(id, path, outcome),
            Event::Settled { entry, outcome } => self.settled(entry, outcome),
            Event::StaleUploads(Ok(rows)) => {
                // One that is being sent is nobody's to abort.
                let idle = rows.into_iter().filter(|row| !self.in_hand.contains_key(&row.path));
                self.effects.extend(idle.map(Effect::AbortUpload).collect::<Vec<_>>());
            }
            Event::StaleUploads(Err(failure)) => self.trouble(&failure),
            Event::Aborted { row, result: Err(failure) } => {
                self.trouble(&failure);
                self.problem(row.path.as_str().to_owned(), NOT_ABORTED.to_owned());
            }
            Event::Aborted { row, result: Ok(()) } => {
                if self.problems.get(row.path.as_str()).is_some_and(|problem| problem == NOT_ABORTED) {
                    self.problems.remove(row.path.as_str());
                }
            }
            Event::Applied(Err(error)) => self.trouble(&error.into()),
            Event::Applied(Ok(())) => self.end_trouble("state"),
            Event::Totals(result) => {
                self.totals_running = false;
                self.counted_ms = self.count_began_ms;
                match result {
                    Ok(totals) => {
                        (self.files, self.bytes) = (totals.files, totals.bytes);
                        self.open = totals.open;
                    }
                    Err(error) => self.trouble(&error.into()),
                }
            }
            Event::Evicted(result) => match result {
                Ok(evicted) => self.evicted(evicted),
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
            Event::ScrubPage(page) => self.scrub_page(page),
            Event::Followed(result) => self.followed(result),
            Event::DeletesAnnounced(result) => self.deletes_announced(result),
            Event::ListedKnown(result) => self.listed_known(result),
            Event::LeaseTaken(result) => self.lease_taken(result),
            Event::BucketListed(result) => self.bucket_listed(result),
            Event::Beaten(result) => self.beaten(result),
            Event::Parted(result) => self.parted(result),
            Event::Explained { found, reply } => self.explained(found, reply),
            Event::Restored(path) => {
                let now = self.now();
                self.mark(path, Dirty::at(now).with_head());
            }
        }
    }

    /// Whatever can be begun now.
    pub(super) fn go_on(&mut self) {
        let now = self.now();
        match self.stage {
            Stage::Waiting { until_ms } if until_ms <= now => self.check_root(),
            Stage::Running => {}
            _ => {
                self.answer_flushes();
                return;
            }
        }
        self.do_waiting_commands();
        if self.stage != Stage::Running {
            return;
        }
        if self.is_copy() {
            self.part();
            self.answer_flushes();
            return;
        }
        self.follow();
        self.answer_waits();
        let halted = self.halts.keys().any(|reason| is_of_the_root(*reason));
        if halted || self.root_in_doubt {
            // Nothing local may be read or written; the root itself is asked about.
            if self.rests() {
                let wait = if halted { self.root_retry_ms() } else { 0 };
                self.stage = Stage::Waiting { until_ms: now + wait };
                self.root_in_doubt = false;
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
        if !self.paused && self.next_eviction_ms <= now {
            self.next_eviction_ms = now + TRASH_EVICTION_MS;
            self.evict_trash();
            self.effects.push(Effect::FindStaleUploads);
        }
        if self.is_idle() {
            if self.totals_stale {
                self.count_files();
            }
            if !self.paused {
                self.look_for_what_was_answered();
            }
            if !self.paused && self.hydrated {
                self.scrub_on();
            }
            if self.swept_once && self.failed_sweeps == 0 {
                if self.pending().0 == 0 && std::mem::take(&mut self.seen_in_step) {
                    self.last_sync_ms = Some(self.context.utc_ms());
                }
                if !self.hydrated
                    && !self.halts.contains_key(&HaltReason::FirstMerge)
                    && self.failing.values().all(|failing| failing.is_lasting)
                {
                    self.hydrated = true;
                    self.context.shared.hydrated();
                    let note = StateChange::PutNote(NOTE_HYDRATED.to_owned(), "yes".to_owned());
                    self.effects.push(Effect::Apply(vec![note]));
                    self.tell(&Told::Hydrated { milliseconds: now - self.started_ms });
                }
            }
        }
        self.answer_flushes();
    }

    pub(super) fn count_files(&mut self) {
        if !self.totals_running {
            self.totals_stale = false;
            self.totals_running = true;
            self.count_began_ms = self.now();
            self.effects.push(Effect::Totals);
        }
    }

    /// Nothing is under way that the journal or the local tree would tell of.
    fn rests(&self) -> bool {
        self.running == 0
            && self.looks == 0
            && self.sweeping.is_none()
            && self.settling == 0
            && self.resolving.is_empty()
    }

    pub(super) fn resolve_some(&mut self) {
        let now = self.now();
        while self.resolving.len() < LOOKS_MAX {
            let due = self.unresolved.iter().find(|(_, (_, due))| *due <= now).map(|(id, _)| *id);
            let Some((entry, _)) = due.and_then(|id| self.unresolved.remove(&id)) else { return };
            self.resolving.insert(entry.id, entry.path.clone());
            self.effects.push(Effect::Resolve(entry));
        }
    }

    pub(super) fn probe(&mut self) {
        let now = self.now();
        let due = self.probe_failed.as_ref().is_none_or(|failed| failed.retry_ms <= now);
        if !self.probed && !self.probing && due && (self.outage.is_none() || self.may_try()) {
            self.probing = true;
            self.effects.push(Effect::Probe);
        }
    }

    pub(super) fn begin_sweep(&mut self) {
        let now = self.now();
        if self.sweeping.is_some() {
            return;
        }
        if self.shares() && self.context.shared.metadata_is_away() {
            return self.begin_local_sweep();
        }
        // Rows that tell only a part of what there is say nothing of the rest.
        if self.shares() && !self.feed.is_listed() {
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
            (Some(_), _) | (_, Some(_)) => Scope::Remote,
            (None, None) => return,
        };
        self.sweep_wanted = None;
        self.sweeping = Some(scope);
        self.sweeps_begun += 1;
        // Until it ends, nothing else makes one due.
        self.next_remote_ms = now + self.remote_interval_ms();
        if scope == Scope::Full {
            self.next_scan_ms = now + self.context.config.limits.scan_interval_ms;
        }
        self.deletes_done_before = self.deletes_done;
        self.common = 0;
        self.effects.push(Effect::Sweep(scope));
    }

    pub(super) fn begin_looks(&mut self) {
        let now = self.now();
        while self.looks < LOOKS_MAX && self.has_room() {
            let gathers =
                self.looks > 0 && now < self.look_began_ms + GATHER_MS && !self.dirty.are_due(now, BATCH_PATHS);
            if gathers || self.dirty.next_due_ms().is_none_or(|due| due > now) {
                return;
            }
            if self.outage.is_some() && !self.may_try() {
                return;
            }
            self.look_began_ms = now;
            let limit = if self.outage.is_some() { 1 } else { BATCH_PATHS };
            let due = self.dirty.take_due(now, limit);
            if due.is_empty() {
                return;
            }
            let mut deep = BTreeSet::new();
            let mut candidates = Vec::with_capacity(due.len());
            for (path, dirty) in due {
                if self.in_hand.contains_key(&path) {
                    // It was hinted before a sweep or another operation took it up.
                    self.mark(path, dirty);
                    continue;
                }
                if dirty.deep {
                    deep.insert(path.clone());
                    // The expansion looks at it once more, but only locally.
                    if !dirty.head && !dirty.feed && !dirty.rehash {
                        continue;
                    }
                }
                self.pick_up(path.clone(), dirty.first_ms.min(now));
                let Dirty { head, feed, rehash, .. } = dirty;
                candidates.push(Candidate { head, feed, rehash, ..Candidate::hinted(path) });
            }
            if candidates.is_empty() {
                // Nothing asks the store: the trial is still to be made.
                self.trial_ended();
            }
            if !deep.is_empty() {
                self.looks += 1;
                self.effects.push(Effect::Expand(deep.into_iter().collect()));
            }
            if !candidates.is_empty() {
                self.looks += 1;
                self.effects.push(Effect::Look(candidates));
            }
        }
    }

    pub(super) fn settle_some(&mut self) {
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
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        if let Stage::Waiting { until_ms } = self.stage {
            return Some(until_ms);
        }
        let flush = self.flushes.iter().map(|flush| flush.deadline_ms).min();
        let halted = self.halts.keys().any(|reason| is_of_the_root(*reason));
        if self.is_copy() {
            return [flush, self.part_due_ms()].into_iter().flatten().min();
        }
        if self.stage != Stage::Running || halted || self.root_in_doubt {
            return flush;
        }
        let limits = &self.context.config.limits;
        let now = self.now();
        let working = !self.paused;
        let looking = working && self.looks < LOOKS_MAX && self.has_room() && self.outage.is_none();
        let gathered_ms = if self.looks > 0 { self.look_began_ms + GATHER_MS } else { 0 };
        let sweep_ms = if self.shares() && self.context.shared.metadata_is_away() {
            // Their first answer is an event of its own.
            self.local_sweep_due_ms()
        } else if self.shares() && !self.feed.is_listed() {
            None
        } else {
            Some(if self.failed_sweeps == 0 { self.next_remote_ms.min(self.next_scan_ms) } else { self.next_remote_ms })
        };
        [
            flush,
            self.dirty.next_due_ms().map(|due| due.max(gathered_ms)).filter(|_| looking),
            self.deletes.burst_ends_ms(limits.burst_quiet_ms, limits.burst_max_ms).filter(|due| working && *due > now),
            self.unresolved.values().map(|(_, due)| *due).min().filter(|_| working && self.resolving.len() < LOOKS_MAX),
            self.displaced.iter().map(|(_, due)| *due).min().filter(|_| self.settling < SETTLING_MAX),
            sweep_ms.filter(|_| working && self.sweeping.is_none()),
            self.probe_failed.as_ref().map(|failed| failed.retry_ms).filter(|due| working && *due > now),
            self.outage.as_ref().map(|outage| outage.retry_ms).filter(|due| working && *due > now),
            Some(self.next_eviction_ms).filter(|_| working),
            self.feed_due_ms(),
            self.scrub_due_ms().filter(|due| working && self.hydrated && *due > now),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// A probe that the store refused.
pub(super) struct FailedProbe {
    pub(super) retry_ms: u64,
    pub(super) attempts: u32,
    /// Stays, whatever else the store answers.
    pub(super) class: &'static str,
}

/// Whether the two sides hold contents that neither has agreed to.
pub(super) fn is_merge(action: &Action) -> bool {
    matches!(action, Action::Conflict { .. } | Action::Replace { .. } | Action::Overrule { .. })
}

/// Whether it replaces a content on one side by a newer one of the other.
pub(super) fn is_overwrite(action: &Action) -> bool {
    matches!(
        action,
        Action::Upload { expect: ExpectRemote::Object(_), .. } | Action::Download { expect: ExpectLocal::File(_), .. }
    )
}

pub(super) fn is_of_the_root(reason: HaltReason) -> bool {
    matches!(
        reason,
        HaltReason::RootMissing | HaltReason::RootEmptied | HaltReason::RootReplaced | HaltReason::VolumeChanged
    )
}

pub(super) fn writes_remotely(action: &Action) -> bool {
    matches!(action, Action::Upload { .. } | Action::Overrule { .. } | Action::DeleteObject { .. })
}

/// Whether the operation can't succeed without an answer of the store.
pub(super) fn asks_the_store(action: &Action) -> bool {
    !matches!(action, Action::Record { .. } | Action::ApplyMode { .. } | Action::MoveAside { .. } | Action::Forget)
}

/// What the operation holds in memory or transfers, bytes.
pub(super) fn task_bytes(task: &Task) -> u64 {
    match &task.operation.action {
        Action::Upload { local, .. } => local.size,
        Action::Download { remote, .. } | Action::Conflict { remote, .. } | Action::Replace { remote, .. } => {
            remote.size
        }
        Action::Overrule { local, remote, .. } => local.size.max(remote.size),
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
