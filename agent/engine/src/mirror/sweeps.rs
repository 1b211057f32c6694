//! Sweeps: when one begins, and what follows from its end.

use std::collections::BTreeMap;

use gosync_plan::guard::{remote_emptied, root_emptied};
use gosync_plan::{Direction, GuardVerdict, HaltReason, RelPath};

use super::core::{Core, RACY_MS};
use super::dirty::Dirty;
use super::effect::Effect;
use crate::look::{Failure, Looked};
use crate::planted::{self, Planted};
use crate::ports::TreeErrorKind;
use crate::ports::observer::Event as Told;
use crate::sequences::start::is_unmarked;
use crate::sweep::{Found, Scope, Swept, backoff_ms};

/// So few files may all be deleted in the bucket without a question, however many `max_deletes.min` names: a bucket that is
/// empty all of a sudden was rather lost than tidied up.
const REMOTE_EMPTIED_MIN: u64 = 5;
/// Listing takes at most a tenth of the time.
const LIST_SHARE: u64 = 10;

impl Core {
    pub(super) fn want_sweep(&mut self, scope: Scope) {
        self.sweep_wanted = match (self.sweep_wanted, scope) {
            (Some(Scope::Full), _) | (_, Scope::Full | Scope::Local) => Some(Scope::Full),
            _ => Some(Scope::Remote),
        };
        self.swept_locally = false;
    }

    pub(super) fn found(&mut self, found: Found) {
        let now = self.now();
        let mut fresh = Vec::with_capacity(found.looked.len());
        for looked in found.looked {
            let path = match &looked {
                Looked::InStep(path) | Looked::Ignored(path, _) | Looked::Failed(path, _) => path,
                Looked::Differs(difference) => &difference.path,
            };
            let is_stale =
                self.context.recorded_since(path, found.read_at) && !planted::is(Planted::StaleListingDeletes);
            if self.in_hand.contains_key(path) || is_stale {
                // Its page is older than what was done since: look anew.
                self.mark(path.clone(), Dirty::at(now).with_head());
                continue;
            }
            self.pick_up(path.clone(), now);
            fresh.push(looked);
        }
        self.looked(fresh, true);
        for path in found.lazy {
            self.mark(path, Dirty { rehash: false, ..Dirty::at(now + RACY_MS.unsigned_abs()) });
        }
    }

    /// What is known to have been in step tells what was done here, while nobody can tell what was done elsewhere.
    pub(super) fn begin_local_sweep(&mut self) {
        let wanted = self.sweep_wanted == Some(Scope::Full) || self.next_scan_ms <= self.now();
        if self.hydrated && wanted && !std::mem::replace(&mut self.swept_locally, true) {
            self.sweeping = Some(Scope::Local);
            self.sweeps_begun += 1;
            self.deletes_done_before = self.deletes_done;
            self.effects.push(Effect::Sweep(Scope::Local));
        }
    }

    /// When the next one is due without an event; one is enough until somebody wants another.
    pub(super) fn local_sweep_due_ms(&self) -> Option<u64> {
        Some(self.next_scan_ms).filter(|_| self.hydrated && !self.swept_locally)
    }

    fn swept_locally(&mut self, swept: &Swept) {
        self.sweeping = None;
        self.context.sweep_ends();
        let overwrites = std::mem::take(&mut self.overwrites);
        self.failed_locally = swept.failure.is_some();
        if let Some(failure) = &swept.failure {
            for task in overwrites {
                self.leave_to_sweep(&task.operation.path);
            }
            self.root_in_doubt |= matches!(failure, Failure::Local(error) if error.kind != TreeErrorKind::Killed);
            return self.trouble(failure);
        }
        for path in self.deletes.not_found_by(self.sweeps_begun, Scope::Local) {
            self.mark(path, Dirty::at(self.now()).with_head());
        }
        self.judge_overwrites(overwrites, swept.ancestors);
        self.judge_root(swept.ancestors, swept.ancestors_present, Scope::Local);
    }

    /// That none of many files is there asks a person, whatever the other side holds.
    fn judge_root(&mut self, known: u64, present: u64, scope: Scope) {
        // Without a marker nothing else tells a root that lost its files from one that was emptied on purpose.
        let marked = !is_unmarked(&self.context.identity().volume);
        let min = if marked { self.context.config.deletes.min } else { 1 };
        // Our own deletes were done while it counted: that nothing is left may be their doing.
        let disturbed = self.deletes_running > 0 || self.deletes_done != self.deletes_done_before;
        // What stands under another path is not gone.
        let ancestors = known.saturating_sub(self.deletes.moved());
        if let GuardVerdict::Halt(reason) = root_emptied(ancestors, present, min)
            && !self.deletes_approved
        {
            if disturbed {
                return self.want_sweep(scope);
            }
            let message = format!("none of the {known} files that were in step is there");
            self.halt(reason, message, known);
        }
    }

    pub(super) fn swept(&mut self, scope: Scope, swept: Swept, milliseconds: u64) {
        if scope == Scope::Local {
            return self.swept_locally(&swept);
        }
        let now = self.now();
        let listing_share = swept.listing_ms.saturating_mul(LIST_SHARE - 1);
        let interval = self.remote_interval_ms().max(listing_share);
        self.sweeping = None;
        self.context.sweep_ends();
        let complete = swept.failure.is_none();
        let overwrites = std::mem::take(&mut self.overwrites);
        let merges = std::mem::take(&mut self.merges);
        self.trial_ended();
        self.totals.sweeps += 1;
        self.tell(&Told::SweepEnded { complete, milliseconds, files: swept.listed.max(swept.walked) });
        if let Some(failure) = swept.failure {
            // Nobody can say how many there would have been: the next sweep finds them again.
            for task in overwrites.into_iter().chain(merges) {
                self.leave_to_sweep(&task.operation.path);
            }
            self.failed_sweeps += 1;
            let wait = (500 * backoff_ms(self.failed_sweeps) / 100).min(interval.max(1_000));
            self.next_remote_ms = now + wait;
            if scope == Scope::Full {
                self.next_scan_ms = self.next_remote_ms;
            }
            if matches!(&failure, Failure::Local(error) if error.kind != TreeErrorKind::Killed) {
                // The walk could not even begin: what stands at the root?
                self.root_in_doubt = true;
            }
            self.trouble(&failure);
            return;
        }
        self.failed_sweeps = 0;
        self.seen_in_step = true;
        for path in self.deletes.not_found_by(self.sweeps_begun, scope) {
            self.mark(path, Dirty::at(now).with_head());
        }
        self.judge_overwrites(overwrites, swept.ancestors);
        self.judge_merges(merges);
        if scope == Scope::Full {
            // A remote check doesn't see all that was answered.
            self.answers_may_end();
            if self.put_back_sweep < self.sweeps_begun {
                self.put_back.clear();
            }
            if self.deletes_denied_until.is_some_and(|sweep| sweep <= self.sweeps_begun) {
                self.deletes_denied_until = None;
            }
        }
        let (diverged, mended) =
            std::mem::take(&mut self.diverged).into_iter().partition(|(_, (_, by))| *by >= self.sweeps_begun);
        self.diverged = diverged;
        for path in BTreeMap::into_keys(mended) {
            self.problems.remove(path.as_str());
        }
        self.store_answers();
        self.next_remote_ms = now + interval;
        let remote_min = self.context.config.deletes.min.min(REMOTE_EMPTIED_MIN);
        // Our own deletes were done while it counted: that nothing is left may be their doing.
        let disturbed = self.deletes_running > 0 || self.deletes_done != self.deletes_done_before;
        match remote_emptied(swept.ancestors, swept.listed, remote_min) {
            // What is missing there is sent again.
            GuardVerdict::Halt(_) if self.context.config.policy.direction == Direction::Push => {}
            GuardVerdict::Halt(_) if disturbed => self.want_sweep(scope),
            GuardVerdict::Halt(reason) if !self.deletes_approved => {
                let message =
                    format!("the bucket lists nothing below the prefix, {} files were in step", swept.ancestors);
                self.halt(reason, message, swept.ancestors);
            }
            // What was sent meanwhile is listed, too: it is over when what is missed is back.
            _ if swept.missing >= remote_min => {}
            _ => self.end_halt(HaltReason::RemoteEmptied),
        }
        if scope == Scope::Full {
            self.swept_problems = swept.problems;
            for folder in std::mem::replace(&mut self.unreadable, swept.unreadable) {
                if !self.unreadable.contains(&folder)
                    && let Ok(folder) = RelPath::new(folder.trim_end_matches('/'))
                {
                    self.look_again_below(&folder);
                }
            }
            let turn = self.context.config.limits.interval_ms.max(listing_share);
            self.next_scan_ms = now + self.scan_interval(turn);
            self.conflict_copies = swept.conflict_copies;
            self.swept_once = true;
            self.end_trouble("local");
            if self.deletes.len() == 0 {
                self.deletes_approved = false;
            }
            self.judge_root(swept.ancestors, swept.ancestors_present, scope);
        }
    }

    /// How often the whole of the remote side is compared. Where the feed tells the news, hardly ever; but what ends a halt
    /// is seen by nothing else.
    pub(super) fn remote_interval_ms(&self) -> u64 {
        let limits = &self.context.config.limits;
        if self.shares() && self.halts.is_empty() { limits.scan_interval_ms } else { limits.interval_ms }
    }

    /// Jittered, so that many agents don't scan at once. What can't be read can't be watched either.
    pub(super) fn scan_interval(&self, interval_ms: u64) -> u64 {
        if !self.watch_healthy || !self.unreadable.is_empty() {
            return interval_ms;
        }
        let scan = self.context.config.limits.scan_interval_ms;
        let jitter = u64::from(self.context.ports.ids.nonce().0[0]) * (scan / 10) / 255;
        scan - scan / 20 + jitter
    }
}
