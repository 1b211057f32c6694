//! A mirror that shares its store's metadata with others: when it polls the feed, when it lists for all of them, and how
//! far it has come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_channel::oneshot;
use gosync_plan::{HaltReason, RelPath};

use super::core::Core;
use super::dirty::Dirty;
use super::effect::Effect;
use crate::feed::{Followed, News, Position};
use crate::handle::{FeedView, WaitEnd};
use crate::lister::{Listing, RENEWAL_MS};
use crate::look::Failure;
use crate::ports::observer::Event as Told;
use crate::ports::state::{StateError, StateErrorKind};
use crate::sweep::{Scope, backoff_ms};

/// Without a hint the feed is asked this often.
const POLL_MS: u64 = 2_000;
/// Listings that may fail in a row before somebody else has a try.
const FAILED_LISTINGS_MAX: u32 = 3;
/// And for so long nobody here has another one.
const REST_MS: u64 = 60_000;
/// A halted mirror leaves the listing to others; where nobody else has taken it, it lists once each time, for what ends a
/// halt may be seen by a listing alone. Longer than a lease lasts.
const STAND_IN_MS: u64 = 20_000;
/// Listing takes at most a tenth of the time.
const LIST_SHARE: u64 = 10;
/// How far it has come, a replica tells the others at most this often.
const STANDING_MS: u64 = 30_000;
/// And at least this often, as a sign of life.
const SIGN_OF_LIFE_MS: u64 = 3_600_000;
const PRUNE_MS: u64 = 600_000;
/// Paths that others took away, remembered until they are gone here as well.
const TAKEN_AWAY_MAX: usize = 100_000;
pub(super) const METADATA: &str = "metadata";

/// The part of a mirror's core that has to do with the feed.
#[derive(Default)]
pub(super) struct Follower {
    /// `None`: not begun, or lost.
    position: Option<Position>,
    polling: bool,
    /// That have ended.
    polls: u64,
    /// Hinted while a poll was under way.
    poll_again: bool,
    next_poll_ms: u64,
    failed_polls: u32,
    /// The rows tell all that the bucket holds.
    listed: bool,
    asking_listed: bool,
    /// The feed was lost since that was asked: the answer is about other tables.
    asked_in_vain: bool,
    next_ask_ms: u64,
    /// News that are not through yet, in the order of the feed: the last sequence number of each batch, and its paths.
    news: VecDeque<(u64, BTreeSet<RelPath>)>,
    /// Everything up to here is in this replica once `news` is through.
    settled: u64,
    /// News that came to nothing because of a problem of their own, with their sequence number.
    unplaced: BTreeMap<RelPath, u64>,
    /// Deletes that passed the guard of whoever did them.
    taken_away: BTreeSet<RelPath>,
    waits: Vec<Wait>,

    /// What was told of it last, and when.
    standing: Option<Position>,
    standing_ms: u64,

    next_prune_ms: u64,
    is_lister: bool,
    /// Halted: lists only where nobody else does.
    stands_in: bool,
    leasing: bool,
    next_lease_ms: u64,
    listing: bool,
    next_list_ms: u64,
    failed_listings: u32,
}

/// Somebody waits until this replica has what another one wrote.
struct Wait {
    cursor: u64,
    epoch: String,
    /// Polls that had ended, or were under way, when it began.
    polls: u64,
    deadline_ms: u64,
    reply: oneshot::Sender<WaitEnd>,
}

impl Follower {
    #[must_use]
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }

    /// How the feed stands, for people.
    #[must_use]
    pub(super) fn view(&self) -> FeedView {
        let waiting = self.news.iter().map(|(_, paths)| paths.len() as u64).sum();
        FeedView { waiting, lists: self.is_lister, follows: self.position.is_some() && self.failed_polls == 0 }
    }
}

impl Core {
    pub(super) fn shares(&self) -> bool {
        self.context.config.shared
    }

    /// Polls, renews the lease, lists: whatever is due.
    pub(super) fn follow(&mut self) {
        if !self.shares() {
            return;
        }
        let now = self.now();
        if !self.feed.polling && (self.feed.next_poll_ms <= now || std::mem::take(&mut self.feed.poll_again)) {
            self.feed.polling = true;
            self.feed.next_poll_ms = now + POLL_MS;
            self.effects.push(Effect::Follow(self.feed.position.clone()));
        }
        self.beat(now);
        let begun = self.feed.position.is_some();
        let may_ask = !self.feed.asking_listed && self.feed.next_ask_ms <= now;
        if begun && !self.feed.listed && may_ask && self.feed.failed_polls == 0 {
            self.feed.asking_listed = true;
            self.feed.next_ask_ms = now + POLL_MS;
            self.effects.push(Effect::AskListed);
        }
        if begun && self.feed.failed_polls == 0 && self.feed.news.is_empty() && self.swept_once {
            self.tell_standing(now);
        }
        if self.paused || self.draining {
            return self.stop_listing();
        }
        if self.halts.is_empty() {
            self.feed.stands_in = false;
        } else if !std::mem::replace(&mut self.feed.stands_in, true) {
            // Somebody else is to have it.
            self.rest_from_listing(STAND_IN_MS);
        }
        if self.feed.is_lister && self.feed.next_prune_ms <= now {
            self.feed.next_prune_ms = now + PRUNE_MS;
            self.effects.push(Effect::PruneFeed);
        }
        if begun && !self.feed.leasing && self.feed.next_lease_ms <= now {
            self.feed.leasing = true;
            self.feed.next_lease_ms = now + RENEWAL_MS;
            self.effects.push(Effect::TakeListLease);
        }
        let due = self.feed.is_lister && self.feed.next_list_ms <= now;
        if due && !self.feed.listing && (self.outage.is_none() || self.may_try()) {
            self.feed.listing = true;
            self.effects.push(Effect::List);
        }
    }

    fn tell_standing(&mut self, now: u64) {
        let since_ms = now - self.feed.standing_ms;
        let is_news = self.feed.standing != self.feed.position;
        if self.feed.standing.is_none() || since_ms >= SIGN_OF_LIFE_MS || (is_news && since_ms >= STANDING_MS) {
            self.feed.standing.clone_from(&self.feed.position);
            self.feed.standing_ms = now;
            self.effects.extend(self.feed.position.clone().map(Effect::TellStanding));
        }
    }

    /// Somebody else may have it.
    pub(super) fn stop_listing(&mut self) {
        if std::mem::take(&mut self.feed.is_lister) {
            self.effects.push(Effect::DropListLease);
        }
    }

    fn rest_from_listing(&mut self, milliseconds: u64) {
        self.stop_listing();
        self.feed.next_lease_ms = self.now() + milliseconds;
    }

    /// When something of the feed is due without an event.
    pub(super) fn feed_due_ms(&self) -> Option<u64> {
        let wait_ms = self.feed.waits.iter().map(|wait| wait.deadline_ms).min();
        if !self.shares() {
            return wait_ms;
        }
        let feed = &self.feed;
        let may_list = !(self.paused || self.draining) && feed.position.is_some();
        [
            wait_ms,
            Some(feed.next_poll_ms).filter(|_| !feed.polling),
            self.beat_due_ms(),
            Some(feed.next_ask_ms)
                .filter(|_| feed.position.is_some() && !feed.listed && !feed.asking_listed && feed.failed_polls == 0),
            Some(feed.next_lease_ms).filter(|_| may_list && !feed.leasing),
            Some(feed.next_list_ms).filter(|_| may_list && feed.is_lister && !feed.listing && self.outage.is_none()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Somebody says that there are news.
    pub(super) fn news_hinted(&mut self) {
        self.feed.next_poll_ms = self.now();
        self.feed.poll_again = self.feed.polling;
    }

    pub(super) fn followed(&mut self, result: Result<Followed, StateError>) {
        let now = self.now();
        self.feed.polling = false;
        self.feed.polls += 1;
        let followed = match result {
            Ok(followed) => followed,
            Err(error) => {
                self.feed.failed_polls += 1;
                self.feed.poll_again = false;
                self.feed.next_poll_ms = now + (10 * backoff_ms(self.feed.failed_polls)).min(5_000);
                self.trouble(&Failure::Metadata(error));
                return;
            }
        };
        self.metadata_answers();
        match followed {
            Followed::Began(position) => {
                self.feed.settled = position.cursor.as_ref().map_or(0, |cursor| cursor.sequence);
                self.feed.position = Some(position);
                self.feed.news.clear();
                // What was done before is in the rows.
                self.want_sweep(Scope::Full);
            }
            Followed::Lost => {
                self.tell(&Told::FeedLost);
                self.feed.position = None;
                self.feed.listed = false;
                self.feed.asked_in_vain = self.feed.asking_listed;
                (self.feed.next_poll_ms, self.feed.next_ask_ms) = (now, now);
            }
            Followed::Went { position, news, more } => {
                let seq = position.cursor.as_ref().map_or(0, |cursor| cursor.sequence);
                self.feed.position = Some(position);
                self.take_news(seq, news);
                if more {
                    self.feed.next_poll_ms = now;
                }
            }
        }
    }

    fn take_news(&mut self, seq: u64, news: Vec<News>) {
        let now = self.now();
        let mut paths = BTreeSet::new();
        if self.halts.contains_key(&HaltReason::RemoteEmptied) && !news.is_empty() {
            // What ends it may be back just as it was.
            self.want_sweep(Scope::Remote);
        }
        let (utc, window_ms) = (self.context.utc_ms(), self.context.config.limits.delete_window_ms);
        for news in news {
            if news.is_echo && !self.deletes.holds(&news.path) {
                continue;
            }
            if let Some(client) = &news.deleted_by {
                self.deletes.roll(utc, self.files, window_ms);
                self.deletes.done_elsewhere(client);
            }
            if !news.guarded {
                self.feed.taken_away.remove(&news.path);
            } else if self.feed.taken_away.len() < TAKEN_AWAY_MAX {
                self.feed.taken_away.insert(news.path.clone());
            }
            self.mark(news.path.clone(), Dirty::at(now).by_feed());
            paths.insert(news.path);
        }
        self.feed.news.push_back((seq, paths));
        self.settle_news();
    }

    fn settle_news(&mut self) {
        while let Some((seq, paths)) = self.feed.news.front() {
            if paths.iter().any(|path| self.is_unfinished(path)) {
                return;
            }
            self.feed.settled = *seq;
            let Some((seq, paths)) = self.feed.news.pop_front() else { return };
            let unplaced = paths.into_iter().filter(|path| self.problems.contains_key(path.as_str()));
            self.feed.unplaced.extend(unplaced.map(|path| (path, seq)));
        }
    }

    /// The sequence number up to which this replica has everything.
    pub(super) fn applied(&self) -> u64 {
        match self.shares() {
            // What came before the first poll is in the first sweep.
            true if self.hydrated && self.swept_once => self.feed.settled,
            true => 0,
            false => self.context.identity().cursor,
        }
    }

    /// Answers when this replica has everything up to the sequence number, or when the time is over.
    pub(super) fn wait_for(&mut self, cursor: u64, epoch: String, timeout_ms: u64, reply: oneshot::Sender<WaitEnd>) {
        let deadline_ms = self.now().saturating_add(timeout_ms);
        let polls = self.feed.polls + u64::from(self.feed.polling);
        self.feed.waits.push(Wait { cursor, epoch, polls, deadline_ms, reply });
        self.news_hinted();
    }

    pub(super) fn answer_waits(&mut self) {
        if self.feed.waits.is_empty() {
            return;
        }
        self.settle_news();
        let problems = &self.problems;
        self.feed.unplaced.retain(|path, _| problems.contains_key(path.as_str()));
        for wait in std::mem::take(&mut self.feed.waits) {
            match self.end_of(&wait) {
                Some(end) => drop(wait.reply.send(end)),
                None => self.feed.waits.push(wait),
            }
        }
    }

    fn end_of(&self, wait: &Wait) -> Option<WaitEnd> {
        let epoch = self.feed.position.as_ref().map(|position| position.epoch.as_str());
        let is_of_this_feed = epoch.is_some_and(|epoch| epoch.starts_with(&wait.epoch));
        if is_of_this_feed && wait.cursor <= self.applied() {
            let unplaced = self.feed.unplaced.iter().filter(|(_, seq)| **seq <= wait.cursor).take(5);
            let why = |path: &RelPath| self.problems.get(path.as_str()).cloned().unwrap_or_default();
            let unplaced: Vec<_> = unplaced.map(|(path, _)| (path.as_str().to_owned(), why(path))).collect();
            return Some(if unplaced.is_empty() { WaitEnd::Reached } else { WaitEnd::Unplaced(unplaced) });
        }
        // Whoever gave the cursor may have seen a new epoch before we did.
        if epoch.is_some() && !is_of_this_feed && self.feed.polls > wait.polls {
            return Some(WaitEnd::AnotherEpoch);
        }
        (wait.deadline_ms <= self.now()).then_some(WaitEnd::TimeIsOver)
    }

    /// Whether the guard of another agent has let this delete pass.
    pub(super) fn was_taken_away(&mut self, path: &RelPath) -> bool {
        self.feed.taken_away.remove(path)
    }

    fn is_unfinished(&self, path: &RelPath) -> bool {
        self.in_hand.contains_key(path)
            || self.deletes.holds(path)
            || self.failing.contains_key(path)
            || self.dirty.get(path).is_some_and(|dirty| dirty.head || dirty.feed)
    }

    /// The answer to whether the rows tell all.
    pub(super) fn listed_known(&mut self, result: Result<bool, StateError>) {
        self.feed.asking_listed = false;
        if std::mem::take(&mut self.feed.asked_in_vain) {
            self.feed.next_ask_ms = self.now();
            return;
        }
        match result {
            Ok(true) => {
                self.feed.listed = true;
                self.want_sweep(Scope::Full);
            }
            // Asked again in a while: a first listing may take long. These may be other tables than those of the last one.
            Ok(false) if !self.feed.listing && self.feed.failed_listings == 0 => self.feed.next_list_ms = self.now(),
            Ok(false) => {}
            Err(error) => self.trouble(&Failure::Metadata(error)),
        }
    }

    pub(super) fn lease_taken(&mut self, result: Result<bool, Failure>) {
        self.feed.leasing = false;
        match result {
            Ok(ours) => self.feed.is_lister = ours,
            Err(failure) => {
                self.feed.is_lister = false;
                self.trouble(&failure);
            }
        }
    }

    pub(super) fn bucket_listed(&mut self, result: Result<Listing, Failure>) {
        let now = self.now();
        let interval = self.context.config.limits.interval_ms;
        self.feed.listing = false;
        self.trial_ended();
        match result {
            Ok(listing) => {
                self.store_answers();
                self.feed.failed_listings = 0;
                self.feed.is_lister &= listing.complete;
                self.feed.next_list_ms = now + interval.max(listing.milliseconds.saturating_mul(LIST_SHARE - 1));
                if listing.complete {
                    let Listing { milliseconds, objects, recorded, .. } = listing;
                    self.tell(&Told::BucketListed { milliseconds, objects, recorded });
                    // Before anybody hints it.
                    self.news_hinted();
                    self.feed.next_ask_ms = now;
                }
                if self.feed.stands_in {
                    self.rest_from_listing(STAND_IN_MS);
                }
            }
            Err(failure) => {
                self.trouble(&failure);
                self.feed.failed_listings += 1;
                self.feed.next_list_ms =
                    now + (500 * backoff_ms(self.feed.failed_listings) / 100).min(interval.max(1_000));
                if self.feed.failed_listings >= FAILED_LISTINGS_MAX {
                    // It may be this agent's way to the store alone.
                    self.feed.failed_listings = 0;
                    self.rest_from_listing(REST_MS);
                    self.feed.next_list_ms = now;
                }
            }
        }
    }

    fn metadata_answers(&mut self) {
        self.feed.failed_polls = 0;
        self.context.shared.metadata_answers(true);
        self.end_trouble(METADATA);
    }

    pub(super) fn metadata_fails(&mut self, error: &StateError) {
        if error.kind == StateErrorKind::Unavailable {
            self.context.shared.metadata_answers(false);
        }
    }
}
