//! Renames that come as hints: the new path and the old one are looked at apart from each other, so that no plan sees both.
//! What has arrived within the last minute is remembered, and a delete whose content it is does not count for the guard.
//!
//! In memory alone: after a restart the first sweep sees both ends of a rename in one plan.

use std::collections::{BTreeMap, VecDeque};

use gosync_plan::decide::Action;
use gosync_plan::{ContentHash, Fingerprint, Generation, LocalEntry, RelPath, RemoteEntry};

use crate::sequences::Task;

const REMEMBERED_MS: u64 = 60_000;
/// A delete may wait for long: where the store has no conditions, for an interval.
const MOVED_MS: u64 = 600_000;
const REMEMBERED_MAX: usize = 100_000;

/// What a rename leaves as it is, as a hash: a burst has tens of thousands of them, and each is remembered for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trace([u8; 16]);

impl Trace {
    /// Of what this operation makes of a content that may be on the other side already, under another name.
    pub fn arrivals(task: &Task) -> impl Iterator<Item = Self> + use<> {
        let content = match (&task.operation.action, &task.local, &task.remote) {
            (Action::Upload { .. }, LocalEntry::File(file), _) => file.digests.map(|digests| digests.blake3),
            (Action::Download { .. }, _, RemoteEntry::Object(object)) => object.content,
            _ => None,
        };
        Self::of_arrival(task).into_iter().chain(content.map(Self::content))
    }

    /// Of where such a content is.
    pub fn departures(task: &Task) -> impl Iterator<Item = Self> + use<> {
        let content = task.ancestor.as_ref().and_then(|before| before.content);
        Self::of_departure(task).into_iter().chain(content.map(Self::content))
    }

    /// Of what this operation takes to the other side, or finds on both.
    pub fn of_arrival(task: &Task) -> Option<Self> {
        let (file, object) = match &task.operation.action {
            Action::Upload { local, .. } => (Some(local), None),
            Action::Download { remote, .. } => (None, Some(remote)),
            Action::Record { local, remote } => (Some(local), Some(remote)),
            _ => (None, None),
        };
        let known =
            task.ancestor.as_ref().map(|before| (Self::file(&before.fingerprint), Self::object(&before.generation)));
        let fresh = |trace: &Self| known.is_none_or(|(file, object)| *trace != file && *trace != object);
        file.map(Self::file).filter(fresh).or(object.map(Self::object).filter(fresh))
    }

    /// Of what this delete takes away.
    pub fn of_departure(task: &Task) -> Option<Self> {
        let before = task.ancestor.as_ref()?;
        match &task.operation.action {
            Action::DeleteObject { .. } => Some(Self::file(&before.fingerprint)),
            Action::TrashLocal { .. } => Some(Self::object(&before.generation)),
            _ => None,
        }
    }

    fn file(file: &Fingerprint) -> Self {
        let (inode, mtime) = (file.inode.to_le_bytes(), file.mtime_ns.to_le_bytes());
        Self::of(&[b"file", &inode, &file.size.to_le_bytes(), &mtime])
    }

    fn object(object: &Generation) -> Self {
        Self::of(&[b"object", &object.size.to_le_bytes(), object.etag.as_bytes()])
    }

    fn content(content: ContentHash) -> Self {
        Self::of(&[b"content", &content.0])
    }

    fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part);
        }
        let mut trace = [0; 16];
        hasher.finalize_xof().fill(&mut trace);
        Self(trace)
    }
}

/// Ends of renames that wait for their other end. One arrival stands for one departure, and never for one of its own path.
#[derive(Default)]
pub struct Moves {
    arrived: Ends,
    departed: Ends,
    /// Departures that have found their arrival: they may be planned more than once before they are done.
    moved: BTreeMap<RelPath, (u64, Trace)>,
}

impl Moves {
    /// The departed path whose content this is, if one waits.
    pub fn arrived(&mut self, trace: Trace, path: &RelPath, now_ms: u64) -> Option<RelPath> {
        self.stands(path);
        // What had arrived here before is another content's.
        self.arrived.over(path);
        let departed = self.departed.take(trace, path, now_ms);
        match &departed {
            Some(old) => self.has_moved(old, trace, now_ms),
            None => self.arrived.put(trace, path.clone(), now_ms),
        }
        departed
    }

    /// Whether it has arrived elsewhere already.
    pub fn departed(&mut self, trace: Trace, path: &RelPath, now_ms: u64) -> bool {
        if let Some((at_ms, known)) = self.moved.get_mut(path)
            && *known == trace
            && now_ms.saturating_sub(*at_ms) <= MOVED_MS
        {
            *at_ms = now_ms;
            return true;
        }
        self.arrived.over(path);
        let arrived = self.arrived.take(trace, path, now_ms).is_some();
        if arrived {
            self.has_moved(path, trace, now_ms);
        } else {
            self.departed.put(trace, path.clone(), now_ms);
        }
        arrived
    }

    /// Another content comes to this path: what had arrived there stands there no more.
    pub fn replaced(&mut self, path: &RelPath) {
        self.arrived.over(path);
    }

    /// A file stands at this path: whatever goes from here from now on has not moved yet.
    pub fn stands(&mut self, path: &RelPath) {
        self.moved.remove(path);
    }

    fn has_moved(&mut self, path: &RelPath, trace: Trace, now_ms: u64) {
        if self.moved.len() >= REMEMBERED_MAX {
            // Then they count, which asks a person at worst.
            self.moved.clear();
        }
        self.moved.insert(path.clone(), (now_ms, trace));
    }
}

#[derive(Default)]
struct Ends {
    /// Each under its trace and its number; copies of one content have one trace.
    waiting: BTreeMap<(Trace, u64), RelPath>,
    /// The one that waits at a path, if one does.
    at: BTreeMap<RelPath, (Trace, u64)>,
    /// The oldest first, numbered one after the other; those that were taken meanwhile as well.
    order: VecDeque<(u64, Trace)>,
    /// The number of the oldest.
    first: u64,
}

impl Ends {
    fn put(&mut self, trace: Trace, path: RelPath, now_ms: u64) {
        self.forget(now_ms);
        self.over(&path);
        let key = (trace, self.first + self.order.len() as u64);
        self.at.insert(path.clone(), key);
        self.waiting.insert(key, path);
        self.order.push_back((now_ms, trace));
    }

    /// What waits at this path waits no more.
    fn over(&mut self, path: &RelPath) {
        if let Some(key) = self.at.remove(path) {
            self.waiting.remove(&key);
        }
    }

    /// One at another path than `path`; what waits there is over.
    fn take(&mut self, trace: Trace, path: &RelPath, now_ms: u64) -> Option<RelPath> {
        self.forget(now_ms);
        if self.at.get(path).is_some_and(|(known, _)| *known == trace) {
            self.over(path);
        }
        let newest = *self.waiting.range((trace, 0)..=(trace, u64::MAX)).next_back()?.0;
        let end = self.waiting.remove(&newest)?;
        self.at.remove(&end);
        Some(end)
    }

    fn forget(&mut self, now_ms: u64) {
        while let Some((at_ms, trace)) = self.order.front()
            && (now_ms.saturating_sub(*at_ms) > REMEMBERED_MS || self.order.len() > REMEMBERED_MAX)
        {
            if let Some(path) = self.waiting.remove(&(*trace, self.first)) {
                self.at.remove(&path);
            }
            self.order.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    fn file(inode: u64) -> Trace {
        Trace::of(&[&inode.to_le_bytes()])
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    #[test]
    fn both_ends_find_each_other_in_either_order() {
        let mut moves = Moves::default();
        assert_eq!(moves.arrived(file(1), &path("new"), 0), None);
        assert!(moves.departed(file(1), &path("old"), 5));
        assert!(moves.departed(file(1), &path("old"), 6), "planned once more");
        assert!(!moves.departed(file(2), &path("old"), 5));
        assert_eq!(moves.arrived(file(2), &path("new"), 6), Some(path("old")));
    }

    #[test]
    fn one_arrival_stands_for_one_departure() {
        let mut moves = Moves::default();
        moves.arrived(file(1), &path("new"), 0);
        assert!(moves.departed(file(1), &path("a"), 1));
        assert!(!moves.departed(file(1), &path("b"), 1));
    }

    #[test]
    fn a_file_that_comes_and_goes_at_one_path_is_deleted() {
        let mut moves = Moves::default();
        moves.arrived(file(1), &path("a"), 0);
        assert!(!moves.departed(file(1), &path("a"), 1));
        assert_eq!(moves.arrived(file(1), &path("a"), 2), None);
    }

    #[test]
    fn a_content_that_left_the_path_it_had_come_to_stands_for_nothing() {
        let mut moves = Moves::default();
        moves.arrived(file(1), &path("b"), 0);
        assert!(!moves.departed(file(1), &path("b"), 1));
        assert!(!moves.departed(file(1), &path("a"), 2));
    }

    #[test]
    fn a_content_that_was_replaced_where_it_had_come_to_stands_for_nothing() {
        let mut moves = Moves::default();
        // An edit, which is then kept under another name beside a newer one, as editors do.
        moves.arrived(file(1), &path("a"), 0);
        moves.arrived(file(1), &path("a~"), 1);
        moves.arrived(file(2), &path("a"), 1);
        assert!(!moves.departed(file(1), &path("a~"), 2));
        assert!(!moves.departed(file(2), &path("a"), 2));
        // Replaced by what came from the other side.
        moves.arrived(file(3), &path("b"), 3);
        moves.replaced(&path("b"));
        assert!(!moves.departed(file(3), &path("c"), 4));
    }

    #[test]
    fn what_moved_there_and_back_is_deleted_when_it_goes_again() {
        let mut moves = Moves::default();
        moves.arrived(file(1), &path("new"), 0);
        assert!(moves.departed(file(1), &path("old"), 0));
        moves.stands(&path("old"));
        assert!(!moves.departed(file(1), &path("old"), 1));
    }

    #[test]
    fn copies_of_one_content_are_forgotten_one_by_one() {
        let mut moves = Moves::default();
        moves.arrived(file(1), &path("a"), 0);
        moves.arrived(file(1), &path("b"), REMEMBERED_MS);
        assert!(moves.departed(file(1), &path("old"), REMEMBERED_MS + 1));
        assert!(!moves.departed(file(1), &path("older"), REMEMBERED_MS + 1));
    }

    #[test]
    fn what_arrived_long_ago_excuses_nothing() {
        let mut moves = Moves::default();
        moves.arrived(file(1), &path("new"), 0);
        moves.arrived(file(2), &path("new"), REMEMBERED_MS);
        assert!(!moves.departed(file(1), &path("a"), REMEMBERED_MS + 1));
        assert!(moves.departed(file(2), &path("b"), REMEMBERED_MS + 1));
    }
}
