//! What people have answered to halts that are about contents, until nothing of it is left to be done: an answer holds for
//! whatever is tried again because of a kill, an open file or a store in trouble, and for nothing that comes later.
//!
//! Kept over restarts, and noted in the same transaction that ends the halt.

use gosync_plan::decide::{Action, ExpectLocal, ExpectRemote, Keep};
use gosync_plan::{ConflictPolicy, HaltReason};
use serde::{Deserialize, Serialize};

use super::core::Core;
use super::effect::Effect;
use crate::ports::state::StateChange;
use crate::sequences::Task;
use crate::sweep::Scope;

/// The note that holds them.
pub const NOTE_ANSWERS: &str = "answers";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// Where nearly everything had changed when that was asked about: in the folder, or else in the bucket.
    changed_in_folder: bool,
    pub overwrites: Option<Overwrites>,
    /// Who wins where a first run finds different contents.
    pub merge: Option<ConflictPolicy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overwrites {
    CarriedOver,
    /// The side that changed gets back what the other one has, and keeps its own as conflict copies.
    TurnedBack,
}

impl Answers {
    fn are_over(&self) -> bool {
        self.overwrites.is_none() && self.merge.is_none()
    }

    fn note(&self) -> Vec<StateChange> {
        serde_json::to_string(self)
            .map(|note| StateChange::PutNote(NOTE_ANSWERS.to_owned(), note))
            .into_iter()
            .collect()
    }
}

pub fn is_upload(task: &Task) -> bool {
    matches!(task.operation.action, Action::Upload { .. })
}

/// The other side's content comes back, and the changed one is kept as a conflict copy.
fn turn_back(task: &mut Task) {
    task.operation.action = match task.operation.action.clone() {
        Action::Upload { local, expect: ExpectRemote::Object(remote) } => Action::Conflict { local, remote },
        Action::Download { remote, expect: ExpectLocal::File(local) } => {
            Action::Overrule { local, remote, keep: Keep::AsConflictCopy }
        }
        action => action,
    };
}

impl Core {
    /// A person has to say whether what changed here or there was meant to.
    pub(super) fn ask_about_changes(&mut self, in_folder: bool) {
        self.answers.changed_in_folder = in_folder;
        self.effects.push(Effect::Apply(self.answers.note()));
    }

    pub(super) fn answered(&mut self, reason: HaltReason, answer: impl FnOnce(&mut Answers)) {
        answer(&mut self.answers);
        self.end_halt_with(reason, self.answers.note());
    }

    /// Does what was answered to this operation, if it is one of those that were asked about. True: it was.
    pub(super) fn answer(&mut self, task: &mut Task) -> bool {
        if task.ancestor.is_none() {
            let Some(winner) = self.answers.merge else { return false };
            let (Action::Conflict { local, remote }
            | Action::Replace { local, remote }
            | Action::Overrule { local, remote, .. }) = &task.operation.action
            else {
                return false;
            };
            task.operation.action = winner.settle(*local, remote.clone());
            return true;
        }
        let replaces = matches!(
            task.operation.action,
            Action::Upload { expect: ExpectRemote::Object(_), .. }
                | Action::Download { expect: ExpectLocal::File(_), .. }
        );
        if !replaces || is_upload(task) != self.answers.changed_in_folder {
            return false;
        }
        if self.answers.overwrites == Some(Overwrites::TurnedBack) {
            turn_back(task);
        }
        self.answers.overwrites.is_some()
    }

    /// A complete full sweep has ended. What it found to be answered is on its way, so that only the next one can tell that
    /// nothing is left.
    pub(super) fn answers_may_end(&mut self) {
        let found = std::mem::take(&mut self.answered_in_sweep) > 0;
        let is_at_rest = self.queue.is_empty()
            && self.in_hand.is_empty()
            && self.busy.is_empty()
            && self.failing.values().all(|failing| failing.is_lasting);
        if !self.answers.are_over() && !found && is_at_rest {
            self.answers = Answers::default();
            self.effects.push(Effect::Apply(vec![StateChange::DropNote(NOTE_ANSWERS.to_owned())]));
        }
    }

    /// Called while there is nothing else to do.
    pub(super) fn look_for_what_was_answered(&mut self) {
        if !self.answers.are_over() && self.next_answers_ms <= self.now() {
            self.next_answers_ms = self.now() + self.context.config.limits.interval_ms;
            self.want_sweep(Scope::Full);
        }
    }

    pub(super) fn restore_answers(&mut self, note: Option<&str>) {
        self.answers = note.and_then(|note| serde_json::from_str(note).ok()).unwrap_or_default();
    }
}
