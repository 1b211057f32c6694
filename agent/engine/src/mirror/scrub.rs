//! Scrubbing: every so often each file is read again, whatever its fingerprint says, to find what a disk has lost.
//!
//! A pass goes through the ancestors page by page, only while there is nothing else to do, and rests in between for a
//! multiple of what a page took. How far it has come is noted now and then: after a restart it goes on near there, which at
//! worst reads some files twice.

use gosync_plan::RelPath;

use super::core::Core;
use super::effect::Effect;
use crate::look::Candidate;
use crate::ports::state::{StateChange, StateError};

/// "<when the pass began, milliseconds of UTC>", a blank, and the path up to which it has come, or [`DONE`].
pub(super) const NOTE_SCRUB: &str = "scrub";
/// No path begins with a slash.
const DONE: &str = "/";

/// Files that are read before it rests.
pub(super) const SCRUB_PAGE_FILES: usize = 64;
/// It works for one part of this many of the time.
const SCRUB_SHARE: u64 = 5;
const NOTE_EVERY_MS: u64 = 30_000;

#[derive(Default)]
pub(super) struct Scrub {
    /// When the pass that is under way began, or the last one did, milliseconds of UTC; `None`: there was none.
    began_ms: Option<i64>,
    /// The path up to which the pass has come; `None`: none is under way.
    at: Option<String>,
    /// A page is being fetched, or was handed out for a look: since when, monotonic milliseconds.
    page_began_ms: Option<u64>,
    is_fetching: bool,
    rests_until_ms: u64,
    noted_ms: u64,
}

impl Scrub {
    pub fn restore(&mut self, note: Option<&str>) {
        let Some((began, at)) = note.and_then(|note| note.split_once(' ')) else { return };
        self.began_ms = began.parse().ok();
        self.at = Some(at.to_owned()).filter(|at| at != DONE);
    }
}

impl Core {
    /// Called while there is nothing else to do.
    pub(super) fn scrub_on(&mut self) {
        let Some(period_ms) = self.context.config.limits.scrub_ms else { return };
        let (now, utc_ms) = (self.now(), self.context.utc_ms());
        if self.scrub.is_fetching {
            return;
        }
        if let Some(began_ms) = self.scrub.page_began_ms.take() {
            self.scrub.rests_until_ms = now + (now - began_ms) * (SCRUB_SHARE - 1);
        }
        if now < self.scrub.rests_until_ms {
            return;
        }
        let after = match &self.scrub.at {
            Some(at) => RelPath::with_markers(at.as_str()).ok(),
            None => {
                // A clock that was set back makes the next one due, too.
                let period_ms = i64::try_from(period_ms).unwrap_or(i64::MAX);
                let due = self.scrub.began_ms.is_none_or(|began| !(0..period_ms).contains(&(utc_ms - began)));
                if !due {
                    self.scrub.rests_until_ms = now + self.context.config.limits.interval_ms;
                    return;
                }
                self.scrub.began_ms = Some(utc_ms);
                self.scrub.at = Some(String::new());
                None
            }
        };
        self.scrub.page_began_ms = Some(now);
        self.scrub.is_fetching = true;
        self.effects.push(Effect::ScrubPage(after));
    }

    /// When to be woken to go on, if nothing else happens.
    pub(super) fn scrub_due_ms(&self) -> Option<u64> {
        let waits = self.context.config.limits.scrub_ms.is_some() && !self.scrub.is_fetching;
        waits.then_some(self.scrub.rests_until_ms)
    }

    pub(super) fn scrub_page(&mut self, page: Result<Vec<RelPath>, StateError>) {
        self.scrub.is_fetching = false;
        let paths = match page {
            Ok(paths) => paths,
            Err(error) => {
                self.scrub.page_began_ms = None;
                self.scrub.rests_until_ms = self.now() + self.context.config.limits.interval_ms;
                return self.trouble(&error.into());
            }
        };
        self.scrub.at = paths.last().map(|path| path.as_str().to_owned());
        self.note_scrub();
        let now = self.now();
        let mut candidates = Vec::with_capacity(paths.len());
        for path in paths {
            // Whoever has it in hand reads it, or makes it anew.
            if !self.in_hand.contains_key(&path) {
                self.pick_up(path.clone(), now);
                candidates.push(Candidate { scrub: true, ..Candidate::hinted(path) });
            }
        }
        if !candidates.is_empty() {
            self.looks += 1;
            self.effects.push(Effect::Look(candidates));
        }
    }

    fn note_scrub(&mut self) {
        let now = self.now();
        let ended = self.scrub.at.is_none();
        if let Some(began_ms) = self.scrub.began_ms
            && (ended || now >= self.scrub.noted_ms + NOTE_EVERY_MS)
        {
            self.scrub.noted_ms = now;
            let note = format!("{began_ms} {}", self.scrub.at.as_deref().unwrap_or(DONE));
            self.effects.push(Effect::Apply(vec![StateChange::PutNote(NOTE_SCRUB.to_owned(), note)]));
        }
    }
}
