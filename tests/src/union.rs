//! What two sides that changed one tree without seeing each other must come to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// Stops the test unless `after` is what follows from `before` and the two edited trees: one side's change goes, an edit
/// beats a delete, and of two different contents one has the name and the other is a conflict copy. A rename is a delete
/// and a creation. Returns the number of conflicts; there is a copy for each and no more.
pub fn is_the_union<T: PartialEq + Debug>(
    before: &BTreeMap<String, T>,
    [left, right]: [&BTreeMap<String, T>; 2],
    after: &BTreeMap<String, T>,
) -> usize {
    let is_copy = |path: &String| path.contains(".conflict-");
    let copied = |path: &String, content: &T| {
        let (stem, extension) = match path.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() && !stem.ends_with('/') && !extension.contains('/') => {
                (stem, extension)
            }
            _ => (path.as_str(), ""),
        };
        let begin = format!("{stem}.conflict-");
        after.iter().any(|(name, found)| name.starts_with(&begin) && name.ends_with(extension) && found == content)
    };
    let mut conflicts = 0;
    let paths: BTreeSet<&String> = before.keys().chain(left.keys()).chain(right.keys()).collect();
    for path in paths.into_iter().filter(|path| !is_copy(path)) {
        let (base, one, other, now) = (before.get(path), left.get(path), right.get(path), after.get(path));
        match (one, other) {
            _ if one == other || other == base => assert_eq!(now, one, "{path:?}"),
            _ if one == base => assert_eq!(now, other, "{path:?}"),
            (None, edit) | (edit, None) => assert_eq!(now, edit, "{path:?}: an edit beats a delete"),
            (Some(one), Some(other)) => {
                conflicts += 1;
                assert!(now == Some(one) || now == Some(other), "{path:?} holds neither edit");
                let loser = if now == Some(one) { other } else { one };
                assert!(copied(path, loser), "{path:?}: no copy of the edit that lost the name");
            }
        }
    }
    let known = |path: &&String| before.contains_key(*path) || left.contains_key(*path) || right.contains_key(*path);
    let copies = after.keys().filter(|path| is_copy(path) && !known(path)).count();
    assert_eq!(copies, conflicts, "a copy for each conflict and no more");
    assert!(after.keys().all(|path| known(&path) || is_copy(path)));
    conflicts
}
