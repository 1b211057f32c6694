//! What becomes of the certificate, pure: from what the Secret holds and what API servers trust to the next step.
//!
//! 1. Nothing there: make one, and serve it.
//! 2. Two thirds of its time are over, its names are not the wanted ones, or a person asked: make the next one, and have its
//!    authority trusted beside the old one. The old one is still served.
//! 3. The new authority has been trusted for a while: serve the next one. The old authority is still trusted, for replicas that
//!    have not noticed.
//! 4. An hour later the old authority goes.
//!
//! Each step is one write of the Secret, and each may be repeated: who comes in between goes on from what stands there.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::make::Made;
use super::trust::{expires, names};

/// API servers hear of an authority within seconds. So long it has to have been trusted before what it signed is served.
const ANNOUNCED: SignedDuration = SignedDuration::from_secs(30);
/// So long the old authority is still trusted afterwards.
const RETIRED: SignedDuration = SignedDuration::from_hours(1);

/// What the Secret holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// What is served, with its authority.
    pub now: Made,
    /// What is served next, and since when its authority is known to be trusted.
    pub next: Option<Made>,
    /// Since when the authority of `next` is trusted.
    pub announced: Option<Timestamp>,
    /// The authority of what was served before, and until when it is trusted.
    pub old: Option<(String, Timestamp)>,
    /// A person asked for a new one.
    pub asked: bool,
}

impl Held {
    /// Every authority that API servers have to trust, as PEM.
    pub fn authorities(&self) -> String {
        let next = self.next.as_ref().map(|next| next.authority.as_str());
        let old = self.old.as_ref().map(|(authority, _)| authority.as_str());
        [Some(self.now.authority.as_str()), next, old].into_iter().flatten().collect()
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Keep,
    /// Make one and serve it.
    Begin,
    /// Make the next one.
    Prepare,
    /// Write this.
    Write(Box<Held>),
}

/// Decides. `trusted` says whether API servers were told of all authorities of `held`.
pub fn plan(held: Option<&Held>, wanted: &BTreeSet<String>, trusted: bool, days: u32, now: Timestamp) -> Step {
    let Some(held) = held else { return Step::Begin };
    let Some(until) = expires(&held.now.certificate).filter(|until| *until > now) else { return Step::Begin };
    if let Some(next) = &held.next {
        // Names that changed once more, or a next one that waited for too long.
        if names(&next.certificate) != *wanted || expires(&next.certificate).is_none_or(|until| until <= now) {
            return Step::Prepare;
        }
        return match held.announced {
            None if trusted => Step::Write(Box::new(Held { announced: Some(now), ..held.clone() })),
            Some(since) if trusted && now.duration_since(since) >= ANNOUNCED => Step::Write(Box::new(Held {
                now: next.clone(),
                next: None,
                announced: None,
                old: Some((held.now.authority.clone(), now.saturating_add(RETIRED).unwrap_or(now))),
                asked: false,
            })),
            _ => Step::Keep,
        };
    }
    let left = SignedDuration::from_hours(i64::from(days) * 24 / 3);
    if held.asked || until.duration_since(now) < left || names(&held.now.certificate) != *wanted {
        return Step::Prepare;
    }
    match &held.old {
        Some((_, until)) if *until <= now => Step::Write(Box::new(Held { old: None, ..held.clone() })),
        _ => Step::Keep,
    }
}
