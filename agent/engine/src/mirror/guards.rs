//! Guards, halts and their answers (R14), and troubles with the outside.

use std::collections::{BTreeMap, BTreeSet};

use gosync_plan::decide::{Action, Diverged, ExpectLocal};
use gosync_plan::guard::{everything_changed, first_merge};
use gosync_plan::{ConflictPolicy, Direction, GuardVerdict, HaltReason, RelPath};

use super::Ended;
use super::answers::{Overwrites, is_upload};
use super::core::{Core, Outage, Stage, Trouble, is_of_the_root};
use super::effect::Effect;
use super::feed::METADATA;
use super::moves::Trace;
use crate::handle::CommandError;
use crate::look::{Candidate, Failure, describe};
use crate::ports::StoreErrorKind;
use crate::ports::observer::Event as Told;
use crate::ports::state::{HaltRow, StateChange, StateError};
use crate::sequences::Task;
use crate::sequences::trash::{Evicted, Eviction, Room};
use crate::sweep::{Scope, backoff_ms};

/// While the disk is full, it is asked about this often.
const ROOM_CHECK_MS: u64 = 10_000;
/// Longer than a failed download waits for its next turn.
const ROOM_MEMORY_MS: u64 = 150_000;

impl Core {
    /// Lets held deletes go when their burst has ended and they are not too many.
    pub(super) fn judge_deletes(&mut self) {
        let now = self.now();
        let limits = &self.context.config.limits;
        let (quiet, max, window) = (limits.burst_quiet_ms, limits.burst_max_ms, limits.delete_window_ms);
        // A sweep may still find more, and a full one tells whether either side was emptied.
        if self.sweeping.is_some() || !self.swept_once || self.looks > 0 || !self.may_delete() {
            return;
        }
        if self.deletes.len() == 0 {
            self.announce_deletes();
            self.end_halt(HaltReason::TooManyDeletes);
            return;
        }
        if !self.has_room() && self.dirty.next_due_ms().is_some_and(|due| due <= now) {
            // Paths wait to be looked at, and what is held may have gone to one of them.
            return;
        }
        let flushing = !self.flushes.is_empty() && self.dirty.next_due_ms().is_none_or(|due| due > now);
        let ends = self.deletes.burst_ends_ms(quiet, max).unwrap_or(now);
        if !flushing && ends > now {
            return;
        }
        if self.halts.keys().any(|reason| *reason != HaltReason::TooManyDeletes) {
            return;
        }
        if self.counted_ms < ends.min(self.deletes.changed_ms()) {
            // Files that came meanwhile count, too: a rename brings as many as it takes away.
            self.count_files();
            return;
        }
        self.deletes.roll(self.context.utc_ms(), self.files.max(self.deletes.len() as u64), window);
        if !self.deletes_approved && self.announce_deletes() {
            return;
        }
        if !self.deletes_approved
            && let GuardVerdict::Halt(reason) = self.deletes.verdict(self.context.config.deletes)
        {
            let count = self.deletes.counted();
            let message = format!(
                "{count} deletes are waiting, {} already done, of {} files",
                self.deletes.done(self.context.config.deletes),
                self.deletes.window.ancestors
            );
            self.halt(reason, message, count);
            return;
        }
        if self.halts.contains_key(&HaltReason::TooManyDeletes) && !self.deletes_approved {
            // Fewer remain, so somebody puts files back: the rest may be about to come, too.
            self.end_halt(HaltReason::TooManyDeletes);
            self.deletes.begin_burst(now);
            return;
        }
        self.end_halt(HaltReason::TooManyDeletes);
        if self.let_deletes_go() && self.deletes.len() == 0 {
            self.deletes_approved = false;
        }
    }

    /// Whether the others are being told of what is held, and are to be heard first. While nobody can be told, each counts
    /// for itself.
    fn announce_deletes(&mut self) -> bool {
        if !self.shares() || self.context.shared.metadata_is_away() {
            return false;
        }
        if let Some(deletes) = self.deletes.announce(self.now()) {
            self.effects.push(Effect::AnnounceDeletes(deletes));
        }
        self.deletes.is_announcing()
    }

    pub(super) fn deletes_announced(&mut self, result: Result<BTreeMap<String, u64>, StateError>) {
        let elsewhere = result.map_err(|error| self.trouble(&Failure::Metadata(error))).ok();
        self.deletes.announced(elsewhere);
    }

    /// False: there were none.
    fn let_deletes_go(&mut self) -> bool {
        let now = self.now();
        let arriving = self.arriving();
        let tasks = self.deletes.take(now, self.deletes_approved, |task| {
            task.operation.moved && Trace::departures(task).any(|trace| arriving.contains(&trace))
        });
        if tasks.is_empty() {
            return false;
        }
        let noted = self.deletes.save();
        self.effects.push(Effect::Apply(noted));
        for task in tasks {
            self.pick_up(task.operation.path.clone(), now);
            self.enqueue(task);
        }
        true
    }

    /// What is on its way to another path. Creations that wait for deletes are not among it: one of the two has to go first.
    fn arriving(&self) -> BTreeSet<Trace> {
        if self.deletes.moved() == 0 {
            return BTreeSet::new();
        }
        let queued = self.queue.iter().filter(|task| !self.is_behind_deletes(task)).flat_map(Trace::arrivals);
        queued.chain(self.arriving.values().flatten().copied()).collect()
    }

    /// Nearly everything changed at once on one side (ransom, shifted time stamps, a wrong mount): a person has to say so.
    pub(super) fn judge_overwrites(&mut self, overwrites: Vec<Task>, ancestors: u64) {
        let up = overwrites.iter().filter(|task| is_upload(task)).count() as u64;
        let most = up.max(overwrites.len() as u64 - up);
        let verdict = everything_changed(ancestors, most, self.context.config.deletes.min);
        if let GuardVerdict::Halt(reason) = verdict {
            self.ask_about_changes(most == up);
            let side = if most == up { "in the folder" } else { "in the bucket" };
            self.halt(reason, format!("{most} of {ancestors} files changed at once {side}"), most);
            // The next sweep finds them again.
            for task in overwrites {
                self.leave_to_sweep(&task.operation.path);
            }
            return;
        }
        overwrites.into_iter().for_each(|task| self.enqueue(task));
    }

    /// Two trees that were never in step have too many names in common that stand for different contents.
    pub(super) fn judge_merges(&mut self, merges: Vec<Task>) {
        let differing = merges.len() as u64;
        if let GuardVerdict::Halt(reason) = first_merge(self.common, differing) {
            let message =
                format!("{differing} of the {} paths that both sides have hold different contents", self.common);
            self.halt(reason, message, differing);
            for task in merges {
                self.leave_to_sweep(&task.operation.path);
            }
            return;
        }
        merges.into_iter().for_each(|task| self.enqueue(task));
    }

    /// The disk is full: the trash gives what it may.
    pub(super) fn lacks_room(&mut self, bytes: u64) {
        let begins = self.room_for_bytes == 0;
        self.room_for_bytes = self.room_for_bytes.max(bytes.max(1));
        self.lacked_room_ms = self.now();
        if begins {
            self.evict_trash();
        }
    }

    pub(super) fn evict_trash(&mut self) {
        if self.halts.keys().any(|reason| is_of_the_root(*reason)) {
            // Nothing local may be written; what was asked for is asked for again when the root is back.
            return;
        }
        if self.now() > self.lacked_room_ms + ROOM_MEMORY_MS {
            // Nobody has asked for it for long: what needed it is gone.
            self.room_for_bytes = 0;
        }
        let wanted = Eviction { room_for_bytes: self.room_for_bytes, young: self.young_trash_may_go };
        self.effects.push(Effect::EvictTrash(wanted));
    }

    pub(super) fn evicted(&mut self, evicted: Evicted) {
        self.trash = (evicted.files, evicted.bytes);
        if evicted.asked_bytes != self.room_for_bytes {
            // Begun before more was asked for.
            return self.evict_trash();
        }
        // What all of the trash would make no room for is the trouble of its own path alone.
        if evicted.room != Room::WithYoung {
            self.room_for_bytes = 0;
            self.young_trash_may_go = false;
            self.end_halt(HaltReason::TrashFull);
            return;
        }
        let message = format!(
            "there is no room for {} more bytes beside the {} bytes in the trash, which are younger than a day",
            self.room_for_bytes, evicted.bytes
        );
        self.halt(HaltReason::TrashFull, message, evicted.files);
        self.next_eviction_ms = self.now() + ROOM_CHECK_MS;
    }

    pub(super) fn halt(&mut self, reason: HaltReason, message: String, count: u64) {
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
            for task in self.queue.take_all().chain(std::mem::take(&mut self.behind_deletes)) {
                self.deletes.ended(&task.operation.path);
                self.in_hand.remove(&task.operation.path);
            }
            self.deletes.clear();
        }
    }

    pub(super) fn end_halt(&mut self, reason: HaltReason) {
        self.end_halt_with(reason, Vec::new());
    }

    /// With what has to be known of its end from then on.
    pub(super) fn end_halt_with(&mut self, reason: HaltReason, mut changes: Vec<StateChange>) {
        if let Some(row) = self.halts.remove(&reason) {
            if matches!(reason, HaltReason::TooManyDeletes | HaltReason::RemoteEmptied) {
                self.put_back = self.deletes.take_undone();
                self.put_back_sweep = self.sweeps_begun;
                for task in self.queue.take_all().collect::<Vec<_>>() {
                    let task = self.with_both_kept(task);
                    self.enqueue(task);
                }
            }
            changes.push(StateChange::DropHalt(row.id));
            self.effects.push(Effect::Apply(changes));
            self.tell(&Told::HaltEnded { reason });
            self.want_sweep(Scope::Full);
        }
    }

    /// Whoever put something at this path while its delete waited may not have known what stands here: it is no newer state
    /// of it, and replaces nothing unseen.
    pub(super) fn with_both_kept(&mut self, mut task: Task) -> Task {
        if let Action::Download { remote, expect: ExpectLocal::File(local) } = &task.operation.action
            && self.put_back.remove(&task.operation.path)
        {
            task.operation.action = self.context.config.policy.conflicts.settle(*local, remote.clone());
        }
        task
    }

    /// `winner`: who wins a first merge.
    pub(super) fn answer_halt(
        &mut self,
        id: &str,
        approved: bool,
        winner: Option<ConflictPolicy>,
    ) -> Result<String, CommandError> {
        let Some(row) = self.halts.values().find(|row| row.id == id).cloned() else {
            return Err(CommandError {
                code: "no-such-halt",
                message: format!("this mirror has no halt {id}"),
                hint: "`gosync sync state` shows the halts and their ids".to_owned(),
            });
        };
        if winner.is_some() && row.reason != HaltReason::FirstMerge {
            return Err(CommandError {
                code: "bad-answer",
                message: "`--answer` is for the halt first-merge alone".to_owned(),
                hint: "approve or deny it without one; `gosync sync state` says what either does".to_owned(),
            });
        }
        let is_one_way = self.context.config.policy.direction != Direction::TwoWay;
        let only_sends = self.context.config.policy.direction == Direction::Push;
        let count = self.deletes.len();
        match (row.reason, approved) {
            (HaltReason::TooManyDeletes | HaltReason::RemoteEmptied, true) => {
                // What is deleted from now on is asked about anew.
                self.deletes.approve_held();
                self.deletes_approved = row.reason == HaltReason::RemoteEmptied;
                let utc = self.context.utc_ms();
                self.deletes.begin_window(utc, self.files);
                self.end_halt(row.reason);
                // Before any that come meanwhile.
                self.let_deletes_go();
                Ok(format!("{count} deletes will be done"))
            }
            (HaltReason::TooManyDeletes | HaltReason::RemoteEmptied, false) if only_sends => Err(CommandError {
                code: "no-answer",
                message: "a mirror that only sends brings nothing back".to_owned(),
                hint: "put the files back into the folder, or approve the deletes".to_owned(),
            }),
            (HaltReason::TooManyDeletes | HaltReason::RemoteEmptied, false) => {
                let held: Vec<RelPath> = self.deletes.paths().cloned().collect();
                self.deletes.clear();
                // What is being looked at just now is found by the sweep that follows.
                self.deletes_denied_until = Some(self.sweeps_begun + 1);
                // Forgotten as agreed upon, what one side still has is news for the other.
                self.effects.push(Effect::ForgetAncestors(held));
                let executed = self.deletes.take_executed();
                let done = executed.len();
                let noted = self.deletes.save();
                self.effects.push(Effect::Apply(noted));
                if done > 0 {
                    self.effects.push(Effect::BringBack(executed));
                }
                self.end_halt(row.reason);
                Ok(format!("{count} files come back; {done} deleted before the halt are looked for"))
            }
            (HaltReason::EverythingChanged, true) => {
                self.answered(row.reason, |answers| answers.overwrites = Some(Overwrites::CarriedOver));
                Ok(format!("{} changes will be carried over", row.count))
            }
            (HaltReason::EverythingChanged, false) if is_one_way => Err(CommandError {
                code: "no-answer",
                message: "a mirror that works one way has nothing to bring back".to_owned(),
                hint: "put things right where they changed, or pause the mirror".to_owned(),
            }),
            (HaltReason::FirstMerge, true) if is_one_way && winner == Some(ConflictPolicy::LocalWins) => {
                Err(CommandError {
                    code: "no-answer",
                    message: "a mirror that only receives writes nothing to the bucket".to_owned(),
                    hint: "say --answer keep-both or --answer remote".to_owned(),
                })
            }
            (HaltReason::EverythingChanged, false) => {
                self.answered(row.reason, |answers| answers.overwrites = Some(Overwrites::TurnedBack));
                Ok(format!(
                    "the other side's content comes back, and {} changed ones are kept as conflict copies",
                    row.count
                ))
            }
            (HaltReason::FirstMerge, true) => match winner {
                Some(winner) => {
                    self.answered(row.reason, |answers| answers.merge = Some(winner));
                    Ok(format!("both sides are joined, {} differing files among them", row.count))
                }
                None => Err(CommandError {
                    code: "no-answer",
                    message: "a first merge has to be told who wins".to_owned(),
                    hint: "say --answer keep-both, --answer remote or --answer local".to_owned(),
                }),
            },
            (HaltReason::TrashFull, true) => {
                self.young_trash_may_go = true;
                self.evict_trash();
                Ok("the oldest files in the trash make room".to_owned())
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

    pub(super) fn approve_path(&mut self, path: RelPath) -> Result<String, CommandError> {
        let Some((how, _)) = self.diverged.get(&path) else {
            return Err(CommandError {
                code: "no-such-path",
                message: format!("{path} has not diverged"),
                hint: "`gosync sync state` shows the diverged paths of mirrors that only send".to_owned(),
            });
        };
        if *how == Diverged::Created {
            return Err(CommandError {
                code: "no-answer",
                message: format!("the folder has nothing at {path} that could win, and never had"),
                hint: "delete or rename the object in the bucket, or save a file there and approve it".to_owned(),
            });
        }
        if self.context.config.root_is_read_only {
            return Err(CommandError {
                code: "read-only",
                message: format!(
                    "nothing can be written into the folder, so what the bucket has at {path} would be lost"
                ),
                hint: "delete or rename the object in the bucket: then the file is sent".to_owned(),
            });
        }
        if self.paused || self.in_hand.contains_key(&path) || self.stage != Stage::Running {
            return Err(CommandError {
                code: "busy",
                message: format!("{path} is not at rest, or the mirror isn't"),
                hint: "ask again when `gosync sync state` shows the mirror idle".to_owned(),
            });
        }
        let answer = format!("the folder wins at {path}; what the bucket had is kept in the trash");
        self.pick_up(path.clone(), self.now());
        self.looks += 1;
        self.effects.push(Effect::Look(vec![Candidate { head: true, approved: true, ..Candidate::hinted(path) }]));
        Ok(answer)
    }

    /// The outside failed: said once, and tried again later.
    pub(super) fn trouble(&mut self, failure: &Failure) {
        let class = class_of(failure);
        let message = match failure {
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
                describe(error)
            }
            Failure::State(error) => describe(error),
            Failure::Metadata(error) => {
                self.metadata_fails(error);
                describe(error)
            }
            Failure::Local(error) => describe(error),
        };
        let since_ms = self.context.utc_ms();
        if !self.troubles.contains_key(class) {
            self.tell(&Told::Trouble { class, message: message.clone() });
        }
        self.troubles
            .entry(class)
            .and_modify(|known| known.message.clone_from(&message))
            .or_insert(Trouble { message, since_ms });
    }

    pub(super) fn end_trouble(&mut self, class: &'static str) {
        if self.troubles.remove(class).is_some() {
            self.tell(&Told::TroubleEnded { class });
        }
    }

    /// A request was answered as it should be.
    pub(super) fn store_answers(&mut self) {
        self.outage = None;
        let of_the_probe = self.probe_failed.as_ref().map(|failed| failed.class);
        for class in ["s3", "credentials", "bucket", "throttled"] {
            if of_the_probe != Some(class) {
                self.end_trouble(class);
            }
        }
    }
}

/// What people and metrics know a failure by.
pub(super) fn class_of(failure: &Failure) -> &'static str {
    match failure {
        Failure::Store(error) => match error.kind {
            StoreErrorKind::Credentials | StoreErrorKind::Denied => "credentials",
            StoreErrorKind::NoSuchBucket => "bucket",
            StoreErrorKind::Throttled => "throttled",
            _ => "s3",
        },
        Failure::Local(_) => "local",
        Failure::Metadata(_) => METADATA,
        Failure::State(_) | Failure::Killed => "state",
    }
}
