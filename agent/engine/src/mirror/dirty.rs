//! The paths that have to be looked at, and when: hints are folded per path, and wait until writing has paused (R3).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use gosync_plan::RelPath;

/// Why and how a path is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dirty {
    /// When to look, monotonic milliseconds.
    pub due_ms: u64,
    /// When the first of the folded hints came.
    pub first_ms: u64,
    /// Look at the key as well.
    pub head: bool,
    /// Look at what the metadata say of the key.
    pub feed: bool,
    /// Read the file even if its fingerprint is the ancestor's.
    pub rehash: bool,
    /// It may be, or have been, a folder: what is in it is concerned as well.
    pub deep: bool,
}

impl Dirty {
    #[must_use]
    pub fn at(due_ms: u64) -> Self {
        Self { due_ms, first_ms: due_ms, head: false, feed: false, rehash: false, deep: false }
    }

    #[must_use]
    pub fn with_head(self) -> Self {
        Self { head: true, ..self }
    }

    #[must_use]
    pub fn by_feed(self) -> Self {
        Self { feed: true, ..self }
    }

    #[must_use]
    pub fn deep(self) -> Self {
        Self { deep: true, ..self }
    }

    /// Both as one. A hint of ongoing writing puts the look off, at most `wait_max_ms` after the first hint; anything else
    /// only brings it forward.
    #[must_use]
    pub fn and(self, later: Self, wait_max_ms: u64) -> Self {
        let writing = later.first_ms < later.due_ms && self.first_ms <= later.first_ms;
        let due_ms = match writing {
            true => later.due_ms.min(self.first_ms.saturating_add(wait_max_ms)),
            false => later.due_ms.min(self.due_ms),
        };
        Self {
            due_ms,
            first_ms: self.first_ms.min(later.first_ms),
            head: self.head || later.head,
            feed: self.feed || later.feed,
            rehash: self.rehash || later.rehash,
            deep: self.deep || later.deep,
        }
    }
}

/// The entries of paths below `folder`.
pub fn below<'a, T>(
    entries: &'a BTreeMap<RelPath, T>,
    folder: &'a RelPath,
) -> impl Iterator<Item = (&'a RelPath, &'a T)> {
    let first = format!("{folder}/");
    let from = (Bound::Included(first.as_str()), Bound::Unbounded);
    entries.range::<str, _>(from).take_while(move |(path, _)| path.is_below(folder))
}

#[derive(Debug, Default)]
pub struct DirtySet {
    paths: BTreeMap<RelPath, Dirty>,
    by_due: BTreeSet<(u64, RelPath)>,
}

impl DirtySet {
    /// Folds a hint into what is known: at most `wait_max_ms` after the first hint the path is looked at.
    pub fn add(&mut self, path: RelPath, dirty: Dirty, wait_max_ms: u64) {
        let folded = match self.paths.get(&path) {
            None => dirty,
            Some(known) => {
                self.by_due.remove(&(known.due_ms, path.clone()));
                known.and(dirty, wait_max_ms)
            }
        };
        self.by_due.insert((folded.due_ms, path.clone()));
        self.paths.insert(path, folded);
    }

    /// Takes what is due, `limit` at most.
    pub fn take_due(&mut self, now_ms: u64, limit: usize) -> Vec<(RelPath, Dirty)> {
        let mut due = Vec::new();
        while due.len() < limit
            && let Some((due_ms, _)) = self.by_due.first()
            && *due_ms <= now_ms
            && let Some((_, path)) = self.by_due.pop_first()
        {
            due.extend(self.paths.remove_entry(&path));
        }
        due
    }

    /// Whether at least `count` paths are due.
    #[must_use]
    pub fn are_due(&self, now_ms: u64, count: usize) -> bool {
        self.by_due.iter().take_while(|(due_ms, _)| *due_ms <= now_ms).nth(count - 1).is_some()
    }

    /// Whether something below `folder` is to be looked at by then.
    #[must_use]
    pub fn are_due_below(&self, folder: &RelPath, by_ms: u64) -> bool {
        below(&self.paths, folder).any(|(_, dirty)| dirty.due_ms <= by_ms)
    }

    #[must_use]
    pub fn get(&self, path: &RelPath) -> Option<&Dirty> {
        self.paths.get(path)
    }

    /// What is due by now.
    pub fn due(&self, now_ms: u64) -> impl Iterator<Item = &RelPath> {
        self.by_due.iter().take_while(move |(due_ms, _)| *due_ms <= now_ms).map(|(_, path)| path)
    }

    /// The paths below `folder`.
    pub fn below<'a>(&'a self, folder: &'a RelPath) -> impl Iterator<Item = &'a RelPath> {
        below(&self.paths, folder).map(|(path, _)| path)
    }

    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.by_due.first().map(|(due_ms, _)| *due_ms)
    }

    #[must_use]
    pub fn oldest_ms(&self) -> Option<u64> {
        self.paths.values().map(|dirty| dirty.first_ms).min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    #[test]
    fn writing_that_goes_on_puts_the_look_off_but_not_for_ever() {
        let path = RelPath::new("a").unwrap();
        let mut set = DirtySet::default();
        set.add(path.clone(), Dirty { first_ms: 0, ..Dirty::at(50) }, 1_000);
        for now in [40, 500, 990] {
            set.add(path.clone(), Dirty { first_ms: now, ..Dirty::at(now + 50) }, 1_000);
            assert!(set.take_due(now, 10).is_empty());
        }
        assert_eq!(set.next_due_ms(), Some(1_000));
        assert_eq!(set.take_due(1_000, 10).len(), 1);
        assert_eq!(set.next_due_ms(), None);
    }

    #[test]
    fn a_hint_brings_a_look_forward_that_was_planned_for_later() {
        let path = RelPath::new("a").unwrap();
        let mut set = DirtySet::default();
        set.add(path.clone(), Dirty::at(300_000), 1_000);
        set.add(path.clone(), Dirty { first_ms: 10, ..Dirty::at(60) }, 1_000);
        assert_eq!(set.next_due_ms(), Some(60));
        set.add(path, Dirty::at(500_000), 1_000);
        assert_eq!(set.next_due_ms(), Some(60));
    }
}
