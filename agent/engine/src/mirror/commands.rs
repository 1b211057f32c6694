//! Commands from people and from the rest of the program, and what they see.

use gosync_plan::{HaltReason, RelPath};

use super::Ended;
use super::core::{Core, Flush, Stage, is_of_the_root, task_bytes};
use super::effect::{Effect, NOTE_PAUSED};
use crate::handle::{Command, CommandError, ErrorView, FlushReceipt, HaltView, Phase, View};
use crate::ports::state::StateChange;
use crate::sweep::Scope;

/// Of paths that wait, so many are named.
const PATHS_SHOWN: usize = 5;

impl Core {
    pub(super) fn commanded(&mut self, command: Command) {
        let needs_root =
            matches!(command, Command::TrashList(_) | Command::TrashRestore { .. } | Command::RestoreVersion { .. });
        if needs_root && matches!(self.stage, Stage::CheckingRoot | Stage::Recovering) {
            // Whether the root can be trusted is known in a moment.
            return self.waiting_commands.push(command);
        }
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
            Command::Wait { cursor, epoch, timeout_ms, reply } => self.wait_for(cursor, epoch, timeout_ms, reply),
            Command::Drain(reply) => {
                self.draining = true;
                self.flush(self.context.config.limits.drain_ms, reply);
            }
            Command::Approve { halt, winner, reply } => {
                let answer = self.answer_halt(&halt, true, winner);
                let _ = reply.send(answer);
            }
            Command::ApprovePath { path, reply } => {
                let answer = self.approve_path(path);
                let _ = reply.send(answer);
            }
            Command::Deny { halt, reply } => {
                let answer = self.answer_halt(&halt, false, None);
                let _ = reply.send(answer);
            }
            Command::Conflicts(reply) => self.effects.push(Effect::Conflicts(reply)),
            Command::Explain { path, reply } => self.explain(path, reply),
            Command::Plan { steps_max, reply } => self.draw_up_plan(steps_max, reply),
            Command::TrashList(reply) => match self.distrust() {
                Some(why) => drop(reply.send(Err(why))),
                None => self.effects.push(Effect::TrashList(reply)),
            },
            Command::Versions { below, reply } => self.effects.push(Effect::Versions { below, reply }),
            Command::RestoreVersion { path, version_id, reply } => match self.distrust() {
                Some(why) => drop(reply.send(Err(why))),
                None => self.effects.push(Effect::RestoreVersion { path, version_id, reply }),
            },
            Command::TrashRestore { item, reply } => match self.distrust() {
                Some(why) => drop(reply.send(Err(why))),
                None => self.effects.push(Effect::TrashRestore { item, reply }),
            },
            Command::Stop => self.ended = Some(Ended::Stopped),
        }
    }

    /// Whether the root can be trusted is known now.
    pub(super) fn do_waiting_commands(&mut self) {
        if !matches!(self.stage, Stage::CheckingRoot | Stage::Recovering) {
            for command in std::mem::take(&mut self.waiting_commands) {
                self.commanded(command);
            }
        }
    }

    /// Why nothing may be read from the root or written into it: what stands there may be another one.
    fn distrust(&self) -> Option<CommandError> {
        let halt = self.halts.values().find(|halt| is_of_the_root(halt.reason));
        let message = match halt {
            Some(halt) => halt.message.clone(),
            None if self.stage == Stage::Running => return None,
            None => "it could not be looked at".to_owned(),
        };
        Some(CommandError {
            code: "halted",
            message: format!("the root can't be trusted now: {message}"),
            hint: "`gosync sync state` shows the halt and what it waits for".to_owned(),
        })
    }

    pub(super) fn flush(&mut self, timeout_ms: u64, reply: futures_channel::oneshot::Sender<FlushReceipt>) {
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
    pub(super) fn answer_flushes(&mut self) {
        if self.flushes.is_empty() {
            return;
        }
        let now = self.now();
        let stuck = self.stuck_reason();
        let idle = self.is_idle();
        let pending = self.pending();
        // What failed is tried again; whoever can't wait for that is told now.
        let next_try_ms = if pending.0 == 0 { u64::MAX } else { self.dirty.next_due_ms().unwrap_or(u64::MAX) };
        let succeeded = self.failed_sweeps == 0 || self.is_swept_for_the_last_time();
        let is_swept = |flush: &Flush| self.sweeping.is_none() && self.sweeps_begun >= flush.sweep && succeeded;
        let (done, waiting): (Vec<Flush>, Vec<Flush>) =
            std::mem::take(&mut self.flushes).into_iter().partition(|flush| {
                (idle && is_swept(flush) && next_try_ms > flush.deadline_ms)
                    || flush.deadline_ms <= now
                    || self.paused
                    || (stuck.is_some() && (idle || self.stage != Stage::Running))
            });
        // One whose time is over may have had no sweep of its own: what it is told holds for nobody else.
        let groups: (Vec<Flush>, Vec<Flush>) = done.into_iter().partition(is_swept);
        self.flushes = waiting;
        let mut receipts = Vec::new();
        for (group, swept) in [(groups.0, true), (groups.1, false)] {
            let Some(started_ms) = group.iter().map(|flush| flush.started_ms).min() else { continue };
            let flushed = idle && swept && stuck.is_none() && pending.0 == 0;
            let reason = if flushed { None } else { stuck.clone().or_else(|| Some(self.unflushed_reason(swept))) };
            let unseen = if flushed { 0 } else { self.not_looked_at().count() as u64 };
            let draft = FlushReceipt {
                flushed,
                hydrated: self.hydrated,
                pending_files: pending.0 + unseen,
                pending_bytes: pending.1,
                pending_first: self.pending_first(),
                started_ms,
                reason: reason.unwrap_or_default(),
                ..FlushReceipt::default()
            };
            receipts.push((draft, group.into_iter().map(|flush| flush.reply).collect()));
        }
        if !receipts.is_empty() {
            self.effects.push(Effect::Receipts { receipts, end: self.draining && self.flushes.is_empty() });
        }
    }

    /// Why a flush has not succeeded.
    fn unflushed_reason(&self, swept: bool) -> String {
        match self.troubles.values().next() {
            Some(trouble) => trouble.message.clone(),
            None if swept && self.is_idle() => "`gosync sync state` shows the problems of these paths".to_owned(),
            None => "the time was over".to_owned(),
        }
    }

    /// Why a flush can't succeed by waiting.
    pub(super) fn stuck_reason(&self) -> Option<String> {
        if let Some(halt) = self.halts.values().next() {
            return Some(format!("halted: {}", halt.message));
        }
        self.paused.then(|| "the mirror is paused".to_owned())
    }

    /// Whoever goes while the metadata are away has to know only that everything of here is in the bucket. The others are
    /// told by its next listing.
    fn is_swept_for_the_last_time(&self) -> bool {
        self.draining && self.swept_locally && !self.failed_locally && self.context.shared.metadata_is_away()
    }

    pub(super) fn is_idle(&self) -> bool {
        let now = self.now();
        self.stage == Stage::Running
            && self.sweeping.is_none()
            && (self.sweep_wanted.is_none() || self.is_swept_for_the_last_time())
            && self.queue.is_empty()
            && (self.behind_deletes.is_empty() || !self.halts.is_empty())
            && self.running == 0
            && self.looks == 0
            && self.unresolved.is_empty()
            && self.resolving.is_empty()
            && self.busy.is_empty()
            && (self.deletes.len() == 0 || !self.halts.is_empty())
            // Second looks at what was just written are no work of their own.
            && self.dirty.next_due_ms().is_none_or(|due| due > now + self.context.config.limits.delete_wait_ms)
    }

    pub(super) fn pending(&self) -> (u64, u64) {
        let queued: u64 = self.queue.iter().chain(&self.behind_deletes).map(task_bytes).sum();
        let files = self.queue.len()
            + self.behind_deletes.len()
            + self.running
            + self.deletes.len()
            + self.busy.len()
            + self.unresolved.len();
        ((files + self.unfinished().count()) as u64, queued + self.running_bytes)
    }

    /// Paths that failed and wait for their next turn, and those that can't even be read.
    fn unfinished(&self) -> impl Iterator<Item = &str> {
        let waits = |path: &&RelPath| {
            !(self.in_hand.contains_key(*path) || self.busy.contains_key(*path) || self.deletes.holds(path))
        };
        let failed = self.failing.keys().filter(waits).map(RelPath::as_str);
        failed.chain(self.unreadable.iter().map(String::as_str))
    }

    /// Paths that were hinted at and have not been looked at since. What is looked at once more after it was written is none.
    fn not_looked_at(&self) -> impl Iterator<Item = &str> {
        let soon_ms = self.now() + self.context.config.limits.delete_wait_ms;
        let known = |path: &RelPath| {
            self.in_hand.contains_key(path)
                || self.busy.contains_key(path)
                || self.failing.contains_key(path)
                || self.deletes.holds(path)
        };
        self.dirty.due(soon_ms).filter(move |path| !known(path)).map(RelPath::as_str)
    }

    pub(super) fn pending_first(&self) -> Vec<String> {
        let queued = self.queue.iter().chain(&self.behind_deletes).map(|task| &task.operation.path);
        queued
            .chain(self.busy.keys())
            .chain(self.deletes.paths())
            .chain(self.unresolved.values().map(|(entry, _)| &entry.path))
            .map(RelPath::as_str)
            .chain(self.unfinished())
            .chain(self.not_looked_at())
            .take(PATHS_SHOWN)
            .map(str::to_owned)
            .collect()
    }

    /// The first few paths that an answer to the halt sets free.
    fn what_waits_for(&self, reason: HaltReason) -> Vec<String> {
        match reason {
            HaltReason::TooManyDeletes | HaltReason::RemoteEmptied => {
                self.deletes.paths().take(PATHS_SHOWN).map(|path| path.as_str().to_owned()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// When the change came that has waited longest, monotonic milliseconds.
    fn oldest_ms(&self) -> Option<u64> {
        let in_hand = self.in_hand.values().map(|held| held.since_ms);
        let failing = self.failing.values().map(|failing| failing.since_ms);
        let busy = self.busy.values().map(|busy| busy.since_ms);
        let hinted = self.dirty.oldest_ms().filter(|first| *first <= self.now());
        in_hand.chain(failing).chain(busy).chain(self.deletes.oldest_ms()).chain(hinted).min()
    }

    pub(super) fn view(&self) -> View {
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
                    paths: self.what_waits_for(row.reason),
                })
                .collect(),
            errors: self
                .troubles
                .iter()
                .map(|(class, trouble)| ErrorView {
                    class,
                    message: trouble.message.clone(),
                    since_ms: trouble.since_ms,
                })
                .collect(),
            files: self.files,
            bytes: self.bytes,
            pending_files,
            pending_bytes,
            in_flight: self.running as u64,
            busy: self.busy.keys().cloned().collect(),
            open: self.open.clone(),
            problems: problems.chain(self.swept_problems.iter().cloned()).collect(),
            conflicts: self.totals.conflicts,
            last_sync_ms: self.last_sync_ms,
            lag_ms: self.oldest_ms().map_or(0, |first| now.saturating_sub(first)),
            watch_healthy: self.watch_healthy,
            conditions: identity.conditions,
            root_is_read_only: self.context.config.root_is_read_only,
            replica: identity.replica,
            copy_of: identity.copy_of,
            cursor: self.applied(),
            epoch: identity.epoch,
            feed: self.shares().then(|| self.feed.view()),
            conflict_copies: self.conflict_copies,
            trash_files: self.trash.0,
            trash_bytes: self.trash.1,
            totals: self.totals,
        }
    }
}
