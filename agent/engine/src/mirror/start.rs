//! The start: is the root ours, what did the last run leave, what can the store do.

use gosync_plan::HaltReason;

use super::Ended;
use super::core::{Core, FailedProbe, InHand, Stage, is_of_the_root};
use super::dirty::Dirty;
use super::effect::{Effect, Restarted};
use super::guards::class_of;
use crate::context::lock;
use crate::look::Failure;
use crate::ports::state::StateChange;
use crate::sequences::start::Root;
use crate::sweep::{Scope, backoff_ms};

impl Core {
    pub(super) fn check_root(&mut self) {
        self.stage = Stage::CheckingRoot;
        self.effects.push(Effect::CheckRoot);
    }

    pub(super) fn root_checked(&mut self, result: Result<Root, Failure>) {
        let now = self.now();
        match result {
            Ok(Root::Another) => self.ended = Some(Ended::ReopenRoot),
            Ok(Root::Halted(reason, message, known)) => {
                match known {
                    Some(row) => {
                        self.halts.entry(reason).or_insert(row);
                    }
                    None => self.halt(reason, message, 0),
                }
                self.stage = Stage::Waiting { until_ms: now + self.root_retry_ms() };
            }
            Ok(root @ (Root::Known | Root::New)) => {
                // A first run has it all before it.
                self.hydrated &= root == Root::Known;
                self.end_trouble("local");
                for reason in [
                    HaltReason::RootMissing,
                    HaltReason::RootEmptied,
                    HaltReason::RootReplaced,
                    HaltReason::VolumeChanged,
                ] {
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

    pub(super) fn root_retry_ms(&self) -> u64 {
        self.context.config.limits.interval_ms.min(1_000)
    }

    pub(super) fn recovered(&mut self, result: Result<Box<Restarted>, Failure>) {
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
        if self.hydrated {
            self.context.shared.hydrated();
        }
        self.scrub.restore(restarted.scrub.as_deref());
        self.restore_answers(restarted.answers.as_deref());
        self.deletes.restore(restarted.window, restarted.executed);
        for halt in restarted.halts {
            // Those of the root are found again where they still hold.
            if !is_of_the_root(halt.reason) {
                self.halts.entry(halt.reason).or_insert(halt);
            } else {
                self.effects.push(Effect::Apply(vec![StateChange::DropHalt(halt.id)]));
            }
        }
        // The journal tells them all, but for those of a root that is none any more.
        for (entry, _) in std::mem::take(&mut self.unresolved).into_values() {
            self.in_hand.remove(&entry.path);
        }
        for entry in restarted.recovered.unresolved {
            let again = Some(Dirty::at(now).with_head());
            self.in_hand.insert(entry.path.clone(), InHand { since_ms: now, again });
            self.unresolved.insert(entry.id, (entry, now));
        }
        self.displaced.clear();
        for entry in restarted.recovered.displaced {
            self.displaced.push_back((entry, now));
        }
        for row in restarted.recovered.stale_uploads {
            self.effects.push(Effect::AbortUpload(row));
        }
        self.evict_trash();
        self.want_sweep(Scope::Full);
    }

    pub(super) fn probed(&mut self, result: Result<crate::handle::Conditions, Failure>) {
        self.probing = false;
        self.trial_ended();
        match result {
            Ok(conditions) => {
                lock(&self.context.shared.identity).conditions = conditions;
                self.probed = true;
                self.probe_failed = None;
                self.store_answers();
            }
            Err(failure) => {
                self.trouble(&failure);
                // An outage tells itself when it is over; a refusal is asked about now and then.
                self.probe_failed = match &failure {
                    Failure::Store(error) if !error.is_of_the_store() => {
                        let attempts = self.probe_failed.as_ref().map_or(0, |failed| failed.attempts) + 1;
                        let retry_ms = self.now() + (backoff_ms(attempts) * 5).min(30_000);
                        Some(FailedProbe { retry_ms, attempts, class: class_of(&failure) })
                    }
                    _ => None,
                };
            }
        }
    }
}
