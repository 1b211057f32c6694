//! Renames that come as hints: the new path and the old one are looked at apart from each other, so that no plan sees both.
//! What has arrived within the last minute is remembered, and a delete whose content it is does not count for the guard.
//!
//! In memory alone: after a restart the first sweep sees both ends of a rename in one plan.

use std::collections::{BTreeMap, VecDeque};

use gosync_plan::RelPath;
use gosync_plan::decide::Action;

use crate::sequences::Task;

const REMEMBERED_MS: u64 = 60_000;
const REMEMBERED_MAX: usize = 100_000;

/// What a rename leaves as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trace {
    File { inode: u64, size: u64, mtime_ns: i64 },
    Object { etag: String, size: u64 },
}

impl Trace {
    /// Of what this operation takes to the other side, or finds on both.
    pub fn of_arrival(task: &Task) -> Option<Self> {
        let before = task.ancestor.as_ref();
        let (file, object) = match &task.operation.action {
            Action::Upload { local, .. } => (Some(local), None),
            Action::Download { remote, .. } => (None, Some(remote)),
            Action::Record { local, remote } => (Some(local), Some(remote)),
            _ => (None, None),
        };
        let file = file.map(|file| Self::File { inode: file.inode, size: file.size, mtime_ns: file.mtime_ns });
        let object = object.map(|object| Self::Object { etag: object.etag.clone(), size: object.size });
        let known = before.map(|before| {
            let (file, object) = (&before.fingerprint, &before.generation);
            (
                Self::File { inode: file.inode, size: file.size, mtime_ns: file.mtime_ns },
                Self::Object { etag: object.etag.clone(), size: object.size },
            )
        });
        let fresh = |trace: &Self| known.as_ref().is_none_or(|(file, object)| trace != file && trace != object);
        file.filter(fresh).or(object.filter(fresh))
    }

    /// Of what this delete takes away.
    pub fn of_departure(task: &Task) -> Option<Self> {
        let before = task.ancestor.as_ref()?;
        match &task.operation.action {
            Action::DeleteObject { .. } => {
                let file = &before.fingerprint;
                Some(Self::File { inode: file.inode, size: file.size, mtime_ns: file.mtime_ns })
            }
            Action::TrashLocal { .. } => {
                Some(Self::Object { etag: before.generation.etag.clone(), size: before.generation.size })
            }
            _ => None,
        }
    }
}

/// Ends of renames that wait for their other end. One arrival stands for one departure.
#[derive(Default)]
pub struct Moves {
    arrived: Ends<()>,
    departed: Ends<RelPath>,
}

impl Moves {
    /// The departed path that has arrived elsewhere with this, if it waits.
    pub fn arrived(&mut self, trace: Trace, now_ms: u64) -> Option<RelPath> {
        let departed = self.departed.take(&trace, now_ms);
        if departed.is_none() {
            self.arrived.put(trace, (), now_ms);
        }
        departed
    }

    /// Whether it has arrived elsewhere already.
    pub fn departed(&mut self, trace: Trace, path: &RelPath, now_ms: u64) -> bool {
        let arrived = self.arrived.take(&trace, now_ms).is_some();
        if !arrived {
            self.departed.put(trace, path.clone(), now_ms);
        }
        arrived
    }
}

struct Ends<T> {
    waiting: BTreeMap<Trace, Vec<(u64, T)>>,
    /// The oldest first; those that were taken meanwhile as well.
    order: VecDeque<(u64, Trace)>,
}

impl<T> Default for Ends<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<T> Ends<T> {
    fn put(&mut self, trace: Trace, what: T, now_ms: u64) {
        self.forget(now_ms);
        self.waiting.entry(trace.clone()).or_default().push((now_ms, what));
        self.order.push_back((now_ms, trace));
    }

    fn take(&mut self, trace: &Trace, now_ms: u64) -> Option<T> {
        self.forget(now_ms);
        let waiting = self.waiting.get_mut(trace)?;
        let taken = waiting.pop();
        if waiting.is_empty() {
            self.waiting.remove(trace);
        }
        taken.map(|(_, what)| what)
    }

    fn forget(&mut self, now_ms: u64) {
        while let Some((at_ms, trace)) = self.order.front()
            && (now_ms.saturating_sub(*at_ms) > REMEMBERED_MS || self.order.len() > REMEMBERED_MAX)
        {
            if let Some(waiting) = self.waiting.get_mut(trace) {
                waiting.retain(|(since_ms, _)| since_ms > at_ms);
                if waiting.is_empty() {
                    self.waiting.remove(trace);
                }
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    fn file(inode: u64) -> Trace {
        Trace::File { inode, size: 1, mtime_ns: 1 }
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    #[test]
    fn both_ends_find_each_other_in_either_order() {
        let mut moves = Moves::default();
        assert_eq!(moves.arrived(file(1), 0), None);
        assert!(moves.departed(file(1), &path("old"), 5));
        assert!(!moves.departed(file(2), &path("old"), 5));
        assert_eq!(moves.arrived(file(2), 6), Some(path("old")));
    }

    #[test]
    fn one_arrival_stands_for_one_departure() {
        let mut moves = Moves::default();
        moves.arrived(file(1), 0);
        assert!(moves.departed(file(1), &path("a"), 1));
        assert!(!moves.departed(file(1), &path("b"), 1));
    }

    #[test]
    fn what_arrived_long_ago_excuses_nothing() {
        let mut moves = Moves::default();
        moves.arrived(file(1), 0);
        moves.arrived(file(2), REMEMBERED_MS);
        assert!(!moves.departed(file(1), &path("a"), REMEMBERED_MS + 1));
        assert!(moves.departed(file(2), &path("b"), REMEMBERED_MS + 1));
    }
}
