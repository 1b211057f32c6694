//! The second pass, over the differing paths of one cycle: what needs several paths at once.
//!
//! * A name that both a file and a folder want: the folder keeps it.
//! * A delete whose content stands under another path is marked as moved.
//! * The order in which the operations can run.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use serde::Serialize;

use crate::decide::{Action, ExpectLocal, Problem};
use crate::facts::{Ancestor, Fingerprint, Generation, LocalEntry, LocalFile, RemoteEntry, RemoteObject};
use crate::names::{NameProblem, RelPath};

/// A path with a decision other than "nothing".
#[derive(Clone, Debug)]
pub struct Difference {
    pub path: RelPath,
    pub ancestor: Option<Ancestor>,
    pub local: LocalEntry,
    pub remote: RemoteEntry,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Do(Action),
    Report(Problem),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedOperation {
    pub path: RelPath,
    #[serde(flatten)]
    pub action: Action,
    /// The content that this delete takes away stands under another path: it does not count for the guard.
    pub moved: bool,
}

/// What a cycle would do: operations in an order in which they can run, and the paths that are left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// First what makes room for folders, then all else in the order of keys, then deletes, the deepest first. At most
    /// one for each path.
    pub operations: Vec<PlannedOperation>,
    /// In the order of keys.
    pub problems: Vec<(RelPath, Problem)>,
}

/// Settles what needs several of the differing paths. Of several differences of one path the last one counts. Only paths
/// and actions are copied: whoever needs the rest of what was seen keeps it.
#[must_use]
pub fn settle<D: Borrow<Difference>>(differences: Vec<D>) -> Plan {
    let mut differences: Vec<&Difference> = differences.iter().map(Borrow::borrow).rev().collect();
    differences.sort_by(|a, b| a.path.cmp(&b.path));
    differences.dedup_by(|next, kept| next.path == kept.path);

    let folders = folders_to_come(&differences);
    let wanted_as_folder: Vec<bool> = differences.iter().map(|one| folders.contains(one.path.as_str())).collect();
    let moved = moved(&differences);

    let mut plan = Plan::default();
    let mut creations_and_edits = Vec::new();
    let mut deletes = Vec::new();
    for ((Difference { path, outcome, .. }, wanted_as_folder), moved) in
        differences.iter().copied().zip(wanted_as_folder).zip(moved)
    {
        let path = path.clone();
        let action = match outcome {
            Outcome::Report(problem) => {
                plan.problems.push((path, problem.clone()));
                continue;
            }
            Outcome::Do(action) => action.clone(),
        };
        match if wanted_as_folder { make_room(action) } else { Room::NotNeeded(action) } {
            Room::Made(action) => plan.operations.push(PlannedOperation { path, action, moved }),
            Room::Never => plan.problems.push((path, Problem::Name { why: NameProblem::BesideFolder })),
            Room::NotNeeded(action) if action.is_delete() => deletes.push(PlannedOperation { path, action, moved }),
            Room::NotNeeded(action) => creations_and_edits.push(PlannedOperation { path, action, moved }),
        }
    }
    plan.operations.append(&mut creations_and_edits);
    plan.operations.extend(deletes.into_iter().rev());
    plan
}

/// The folders that downloads would make where they are not there yet.
fn folders_to_come<'a>(differences: &[&'a Difference]) -> HashSet<&'a str> {
    let mut folders = HashSet::new();
    for difference in differences {
        if !matches!(difference.outcome, Outcome::Do(Action::Download { expect: ExpectLocal::Absent, .. })) {
            continue;
        }
        let mut path = difference.path.as_str();
        while let Some(cut) = path.rfind('/') {
            path = &path[..cut];
            if !folders.insert(path) {
                break;
            }
        }
    }
    folders
}

/// What becomes of an action at a path that is to be a folder.
enum Room {
    /// This takes the file away, before the folder comes.
    Made(Action),
    /// The object has to stay where it is.
    Never,
    /// No file is there, nor is one to come.
    NotNeeded(Action),
}

fn make_room(action: Action) -> Room {
    match action {
        Action::Upload { local, .. }
        | Action::Record { local, .. }
        | Action::ApplyMode { local, .. }
        | Action::Conflict { local, .. }
        | Action::Replace { local, .. }
        | Action::Overrule { local, .. }
        | Action::MoveAside { local }
        | Action::Download { expect: ExpectLocal::File(local), .. } => Room::Made(Action::MoveAside { local }),
        Action::TrashLocal { .. } => Room::Made(action),
        Action::Download { expect: ExpectLocal::Absent, .. } => Room::Never,
        Action::DeleteObject { .. } | Action::Forget => Room::NotNeeded(action),
    }
}

/// For each difference: whether it is a delete whose content stands under another path. One new path stands for one
/// delete, so that a single file can't excuse the loss of a thousand copies of it.
fn moved(differences: &[&Difference]) -> Vec<bool> {
    let mut moved = vec![false; differences.len()];

    let mut files = Arrivals::new(differences, new_file);
    let gone = departures(differences, |action| matches!(action, Action::DeleteObject { .. }));
    files.pair(&mut moved, &gone, |file| Some(trace(&file.fingerprint)), |before| Some(trace(&before.fingerprint)));
    files.pair(&mut moved, &gone, |file| file.digests.map(|digests| digests.blake3), |before| before.content);

    let mut objects = Arrivals::new(differences, new_object);
    let gone = departures(differences, |action| matches!(action, Action::TrashLocal { .. }));
    let etag = |generation: &Generation| (generation.etag.clone(), generation.size);
    objects.pair(&mut moved, &gone, |object| Some(etag(&object.generation)), |before| Some(etag(&before.generation)));
    objects.pair(&mut moved, &gone, |object| object.content, |before| before.content);

    moved
}

/// The deletes, each with the ancestor that tells what is lost.
fn departures<'a>(differences: &[&'a Difference], is_delete: impl Fn(&Action) -> bool) -> Vec<(usize, &'a Ancestor)> {
    let deletes = differences
        .iter()
        .enumerate()
        .filter(|(_, one)| matches!(&one.outcome, Outcome::Do(action) if is_delete(action)));
    deletes.filter_map(|(index, one)| Some((index, one.ancestor.as_ref()?))).collect()
}

/// What a rename leaves as it is.
fn trace(fingerprint: &Fingerprint) -> (u64, u64, i64) {
    (fingerprint.inode, fingerprint.size, fingerprint.mtime_ns)
}

/// A file that stands where there was none, or in the place of another.
fn new_file(difference: &Difference) -> Option<&LocalFile> {
    let before = difference.ancestor.as_ref().map(|ancestor| trace(&ancestor.fingerprint));
    match &difference.local {
        LocalEntry::File(file) => Some(file).filter(|file| before != Some(trace(&file.fingerprint))),
        _ => None,
    }
}

fn new_object(difference: &Difference) -> Option<&RemoteObject> {
    let before = difference.ancestor.as_ref().map(|ancestor| &ancestor.generation);
    match &difference.remote {
        RemoteEntry::Object(object) => {
            Some(object).filter(|object| !before.is_some_and(|before| before.same(&object.generation)))
        }
        _ => None,
    }
}

/// What newly stands on one side, as far as it does not yet stand for a delete.
struct Arrivals<'a, T>(Vec<&'a T>);

impl<'a, T> Arrivals<'a, T> {
    fn new(differences: &[&'a Difference], arrived: impl Fn(&'a Difference) -> Option<&'a T>) -> Self {
        Self(
            differences
                .iter()
                .copied()
                .filter(|one| matches!(one.outcome, Outcome::Do(_)))
                .filter_map(arrived)
                .collect(),
        )
    }

    /// Marks the deletes for which an arrival has the same key, and uses these arrivals up.
    fn pair<K: Eq + Hash>(
        &mut self,
        moved: &mut [bool],
        departures: &[(usize, &Ancestor)],
        key: impl Fn(&T) -> Option<K>,
        key_before: impl Fn(&Ancestor) -> Option<K>,
    ) {
        let mut waiting: HashMap<K, Vec<usize>> = HashMap::new();
        for &(index, ancestor) in departures.iter().filter(|(index, _)| !moved[*index]) {
            if let Some(key) = key_before(ancestor) {
                waiting.entry(key).or_default().push(index);
            }
        }
        self.0.retain(|arrival| match key(arrival).and_then(|key| waiting.get_mut(&key)?.pop()) {
            Some(index) => {
                moved[index] = true;
                false
            }
            None => true,
        });
    }
}
