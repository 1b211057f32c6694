//! Whether this tree's replica is this tree's alone: when its agent beats, what follows from another's beat in its row, and
//! what waits until that is known.

use super::Ended;
use super::core::{Core, Stage, is_of_the_root};
use super::effect::Effect;
use super::queue::Queue;
use crate::beat::Beaten;
use crate::context::{BEAT, CopyOf};
use crate::look::{Failure, describe};
use crate::ports::observer::Event as Told;

const BEAT_MS: u64 = 10_000;
/// How often a row with another's value is looked at.
const DOUBT_MS: u64 = 2_000;
/// Another's value that stands still for so long is nobody's: left by a restored backup, or of a tree that was put back.
const STILL_MS: u64 = 3 * BEAT_MS;
const RETRY_MS: u64 = 2_000;

#[derive(Default)]
pub(super) struct Beating {
    /// What the row may hold by this agent's doing; `None`: the tree tells.
    ours: Option<Vec<String>>,
    /// The value that is on its way to the row.
    next: Option<String>,
    running: bool,
    next_ms: u64,
    /// The row has moved by our doing since the start, and nobody else has moved it since.
    sure: bool,
    /// Another's value in our row, and since when it stands there.
    anothers: Option<(String, u64)>,
    /// Somebody else works with the id of this tree.
    is_copy: bool,
    parting: bool,
}

impl Core {
    /// Beats when it is due.
    pub(super) fn beat(&mut self, now: u64) {
        if self.may_beat() && self.beating.next_ms <= now {
            let next = self.beating.next.get_or_insert_with(|| self.context.ports.ids.nonce().to_hex()).clone();
            self.beating.running = true;
            self.effects.push(Effect::Beat { ours: self.beating.ours.clone(), next });
        }
    }

    /// A root that nothing can be written into holds no state that could be copied along with it.
    fn beats(&self) -> bool {
        self.shares() && !self.context.config.root_is_read_only
    }

    /// Into a root that can't be trusted nothing is written.
    fn may_beat(&self) -> bool {
        let trusted = !self.root_in_doubt && !self.halts.keys().any(|reason| is_of_the_root(*reason));
        let known = self.context.identity().store.is_some();
        self.beats() && trusted && known && !self.beating.running && !self.beating.is_copy
    }

    pub(super) fn beat_due_ms(&self) -> Option<u64> {
        self.may_beat().then_some(self.beating.next_ms)
    }

    pub(super) fn beaten(&mut self, result: Result<Option<Beaten>, Failure>) {
        let now = self.now();
        self.beating.running = false;
        match result {
            // Asked again when the metadata have answered.
            Ok(None) => self.beating.next_ms = now + RETRY_MS,
            Ok(Some(Beaten { ours, stands })) => {
                self.problems.remove(BEAT);
                if self.beating.next.as_ref() == Some(&stands) {
                    self.beating.next = None;
                    self.beating.ours = Some(vec![stands]);
                    self.beating.anothers = None;
                    self.beating.sure = true;
                    self.beating.next_ms = now + BEAT_MS;
                } else {
                    self.beating.ours = Some(ours);
                    self.found_another(stands, now);
                }
            }
            Err(failure) => {
                self.beating.next_ms = now + RETRY_MS;
                match failure {
                    Failure::Local(error) => self.problem(BEAT.to_owned(), describe(&error)),
                    failure => self.trouble(&failure),
                }
            }
        }
    }

    fn found_another(&mut self, stands: String, now: u64) {
        self.beating.next_ms = now + DOUBT_MS;
        // Until it is known, nothing is concluded from what is missing.
        self.beating.sure = false;
        match &self.beating.anothers {
            None => self.beating.anothers = Some((stands, now)),
            Some((before, _)) if *before != stands => {
                self.beating.is_copy = true;
                self.beating.next_ms = now;
            }
            Some((_, since)) if now.saturating_sub(*since) >= STILL_MS => {
                // Whoever wrote it is gone. Of two who come to think so, one finds that the other was faster.
                self.beating.ours.get_or_insert_default().push(stands);
                self.beating.anothers = None;
                self.beating.next_ms = now;
            }
            Some(_) => {}
        }
    }

    /// What is missing here may be missing in a copy alone.
    pub(super) fn may_delete(&self) -> bool {
        !self.beats() || self.beating.sure
    }

    /// Somebody else works with the id of this tree, so nothing more is begun with what is known of it.
    pub(super) fn is_copy(&self) -> bool {
        self.beating.is_copy
    }

    /// Goes on as a replica of its own once nothing that writes is under way.
    pub(super) fn part(&mut self) {
        self.queue = Queue::default();
        let rests = self.running == 0 && self.settling == 0 && self.resolving.is_empty();
        if rests && !self.beating.parting && self.beating.next_ms <= self.now() {
            self.beating.parting = true;
            self.effects.push(Effect::Part);
        }
    }

    pub(super) fn parted(&mut self, result: Result<CopyOf, Failure>) {
        self.beating.parting = false;
        match result {
            Ok(CopyOf { replica, .. }) => {
                self.tell(&Told::IsACopy { of: replica });
                self.ended = Some(Ended::ReopenRoot);
            }
            Err(failure) => {
                self.beating.next_ms = self.now() + RETRY_MS;
                self.trouble(&failure);
            }
        }
    }

    /// When to try again to part.
    pub(super) fn part_due_ms(&self) -> Option<u64> {
        (self.stage == Stage::Running && self.beating.is_copy && !self.beating.parting)
            .then_some(self.beating.next_ms)
            .filter(|due| *due > self.now())
    }
}
