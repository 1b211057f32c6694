//! Who wrote which content, who replaced or deleted it where, and what follows from it for the promises.
//!
//! Every content that a user or a tool writes is unique, so that a mixture or a truncated content is recognised as one
//! that nobody wrote. Two things are kept:
//!
//! * *steps*: at this path, somebody who had this content put that one in its place (or deleted it). An agent may delete
//!   a content at a path only where steps lead from it to a deletion (P5).
//! * *owed*: a complete content at a path that nobody who had it has replaced or deleted. It has to be findable (P1).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use gosync_plan::{Prefix, RelPath, conflict_family};

use crate::dice::Dice;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(u32);

/// No bytes: never unique, never owed.
pub const EMPTY: ContentId = ContentId(0);

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == EMPTY { f.write_str("nothing") } else { write!(f, "#{}.", self.0) }
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A user or a tool wrote exactly this.
    Complete,
    /// A file held this while somebody was writing it.
    Progress,
    /// Nobody wrote this.
    Nobody,
}

struct Content {
    origin: Origin,
    /// An object that carried this said that it may be torn (R6).
    marked_open: bool,
}

/// What stood at a path before and after.
type Change = (Option<ContentId>, Option<ContentId>);

pub struct Ledger {
    prefix: Prefix,
    /// Only ever looked up.
    ids: HashMap<Vec<u8>, ContentId>,
    contents: Vec<Content>,
    steps: BTreeMap<String, Vec<Change>>,
    /// `false`: somebody who had it replaced or deleted it there.
    owed: BTreeMap<(ContentId, String), bool>,
    written: u32,
    /// What a power loss left at a path, and of what; several machines may be left with the same.
    remains: BTreeMap<(ContentId, String), BTreeSet<ContentId>>,
}

impl Ledger {
    pub fn new(prefix: Prefix) -> Self {
        let mut ledger = Self {
            prefix,
            ids: HashMap::new(),
            contents: Vec::new(),
            steps: BTreeMap::new(),
            owed: BTreeMap::new(),
            written: 0,
            remains: BTreeMap::new(),
        };
        ledger.name(b"");
        ledger.complete(EMPTY);
        ledger
    }

    /// A content that nobody wrote before, of about this many bytes.
    pub fn invent(&mut self, bytes: usize, dice: &mut Dice) -> Vec<u8> {
        self.written += 1;
        let mut content = format!("<{}>", self.written).into_bytes();
        while content.len() < bytes {
            content.push(b'a' + u8::try_from(dice.below(26)).unwrap_or_default());
        }
        content
    }

    pub fn name(&mut self, bytes: &[u8]) -> ContentId {
        if let Some(id) = self.ids.get(bytes) {
            return *id;
        }
        let id = ContentId(u32::try_from(self.contents.len()).unwrap_or(u32::MAX));
        self.ids.insert(bytes.to_vec(), id);
        self.contents.push(Content { origin: Origin::Nobody, marked_open: false });
        id
    }

    pub fn origin(&self, id: ContentId) -> Origin {
        self.contents[id.0 as usize].origin
    }

    pub fn complete(&mut self, id: ContentId) {
        self.contents[id.0 as usize].origin = Origin::Complete;
    }

    pub fn in_progress(&mut self, id: ContentId) {
        let origin = &mut self.contents[id.0 as usize].origin;
        if *origin == Origin::Nobody {
            *origin = Origin::Progress;
        }
    }

    pub fn mark_open(&mut self, id: ContentId) {
        self.contents[id.0 as usize].marked_open = true;
    }

    pub fn is_marked_open(&self, id: ContentId) -> bool {
        self.contents[id.0 as usize].marked_open
    }

    /// Somebody who had `before` at `path` put `after` there. `elsewhere`: where else on that side `before` still is.
    pub fn step(&mut self, path: &str, before: Option<ContentId>, after: Option<ContentId>, elsewhere: &[String]) {
        if before == after {
            return;
        }
        self.replace(path, before, after, elsewhere);
        if let Some(after) = after {
            self.completed_at(path, after);
        }
    }

    /// [`Self::step`] at a path where `after` itself is not seen any more.
    pub fn replace(&mut self, path: &str, before: Option<ContentId>, after: Option<ContentId>, elsewhere: &[String]) {
        self.steps.entry(path.to_owned()).or_default().push((before, after));
        if let Some(before) = before {
            self.discharge(before, path, elsewhere);
            // Who replaces what is left of a file replaces the file.
            for whole in self.wholes(before, path) {
                self.discharge(whole, path, elsewhere);
            }
        }
    }

    /// A power loss left `rest` of what stood at `path`. Nobody wanted that, so both stand for the same.
    pub fn suffered(&mut self, path: &str, whole: ContentId, rest: ContentId) {
        if whole != rest {
            self.overruled(path, whole, rest);
            self.overruled(path, rest, whole);
            self.remains.entry((rest, path.to_owned())).or_default().insert(whole);
        }
    }

    /// Somebody put another file there that holds just what a power loss had left of the one before.
    pub fn replaced_by_its_like(&mut self, path: &str, id: ContentId) {
        for whole in self.wholes(id, path) {
            self.discharge(whole, path, &[]);
        }
    }

    fn wholes(&self, rest: ContentId, path: &str) -> BTreeSet<ContentId> {
        self.remains.get(&(rest, path.to_owned())).cloned().unwrap_or_default()
    }

    /// It was gone with its machine before anybody else had it.
    pub fn lost_with_its_machine(&mut self, id: ContentId) {
        let mine = self.owed.range_mut((id, String::new())..).take_while(|((other, _), _)| *other == id);
        mine.for_each(|(_, owed)| *owed = false);
    }

    /// `after` took the place of `before` without anybody having wanted that.
    pub fn overruled(&mut self, path: &str, before: ContentId, after: ContentId) {
        self.steps.entry(path.to_owned()).or_default().push((Some(before), Some(after)));
    }

    /// What stands at `path` is complete by now. It is owed, unless somebody had replaced it there already: who moves a
    /// file away and back does not undo what others did to it meanwhile.
    pub fn completed_at(&mut self, path: &str, id: ContentId) {
        if id != EMPTY && self.origin(id) == Origin::Complete {
            self.owed.entry((id, path.to_owned())).or_insert(true);
        }
    }

    /// A file that had this name, too, was replaced or deleted by its user for good.
    pub fn gone_with_its_file(&mut self, id: ContentId, path: &str) {
        self.discharge(id, path, &[]);
    }

    /// With the last copy of a family the content is meant, whatever names agents gave it.
    fn discharge(&mut self, id: ContentId, path: &str, elsewhere: &[String]) {
        let family = self.family(path);
        let is_last = !elsewhere.iter().any(|other| self.family(other) == family);
        self.owed.insert((id, path.to_owned()), false);
        let prefix = &self.prefix;
        let mine = self.owed.range_mut((id, String::new())..).take_while(|((other, _), _)| *other == id);
        for ((_, owed_at), owed) in mine {
            *owed &= !(is_last && family_of(owed_at, prefix) == family);
        }
    }

    fn family(&self, path: &str) -> Option<RelPath> {
        family_of(path, &self.prefix)
    }

    /// Whether both paths are the same but for conflict tags.
    pub fn are_of_one_family(&self, a: &str, b: &str) -> bool {
        self.family(a).is_some() && self.family(a) == self.family(b)
    }

    /// An agent brought it back into sight under another name, and that is where people find it now.
    pub fn moved(&mut self, id: ContentId, from: &str, to: &str) {
        let still_owed = self.owed.get(&(id, from.to_owned())).copied().unwrap_or(false);
        if still_owed && !self.are_of_one_family(from, to) {
            self.owed.insert((id, from.to_owned()), false);
            self.completed_at(to, id);
        }
    }

    /// The paths for which `id` is still owed.
    pub fn owed_at(&self, id: ContentId) -> impl Iterator<Item = &str> {
        self.owed
            .range((id, String::new())..)
            .take_while(move |((other, _), _)| *other == id)
            .filter_map(|((_, path), owed)| owed.then_some(path.as_str()))
    }

    pub fn owed(&self) -> impl Iterator<Item = (ContentId, &str)> {
        self.owed.iter().filter_map(|((id, path), owed)| owed.then_some((*id, path.as_str())))
    }

    /// Whether people's steps at `path` lead from `id` to a deletion.
    pub fn leads_to_deletion(&self, path: &str, id: ContentId) -> bool {
        let Some(steps) = self.steps.get(path) else { return false };
        let mut reached = BTreeSet::from([id]);
        loop {
            let mut grown = false;
            for (before, after) in steps {
                if before.is_some_and(|before| reached.contains(&before)) {
                    match after {
                        None => return true,
                        Some(after) => grown |= reached.insert(*after),
                    }
                }
            }
            if !grown {
                return false;
            }
        }
    }
}

fn family_of(path: &str, prefix: &Prefix) -> Option<RelPath> {
    RelPath::new(path).ok().map(|path| conflict_family(&path, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> (Ledger, ContentId, ContentId) {
        let mut ledger = Ledger::new(Prefix::new("p"));
        let (one, two) = (ledger.name(b"one"), ledger.name(b"two"));
        ledger.complete(one);
        ledger.complete(two);
        (ledger, one, two)
    }

    #[test]
    fn a_content_is_owed_until_somebody_who_had_it_replaces_it() {
        let (mut ledger, one, two) = ledger();
        ledger.step("a", None, Some(one), &[]);
        assert_eq!(ledger.owed_at(one).collect::<Vec<_>>(), ["a"]);
        ledger.step("a", None, Some(two), &[]);
        assert_eq!(ledger.owed_at(one).count(), 1, "an edit beside it replaces nothing");
        ledger.step("a", Some(one), Some(two), &[]);
        assert_eq!(ledger.owed_at(one).count(), 0);
        assert_eq!(ledger.owed_at(two).count(), 1);
    }

    #[test]
    fn deleting_a_conflict_copy_deletes_the_content_that_it_keeps() {
        let (mut ledger, one, _) = ledger();
        ledger.step("a.txt", None, Some(one), &[]);
        ledger.step("a.conflict-20261122T143500Z-dev-ab12.txt", Some(one), None, &[]);
        assert_eq!(ledger.owed_at(one).count(), 0);
    }

    #[test]
    fn deleting_one_of_two_copies_leaves_the_other_owed() {
        let (mut ledger, one, _) = ledger();
        let copy = "a.conflict-20261122T143500Z-dev-ab12.txt";
        ledger.step("a.txt", None, Some(one), &[]);
        ledger.step(copy, None, Some(one), &[]);
        ledger.step(copy, Some(one), None, &["a.txt".to_owned()]);
        assert_eq!(ledger.owed_at(one).collect::<Vec<_>>(), ["a.txt"]);
    }

    #[test]
    fn a_deletion_is_proven_by_the_steps_that_lead_to_it() {
        let (mut ledger, one, two) = ledger();
        ledger.step("a", None, Some(one), &[]);
        ledger.step("a", Some(one), Some(two), &[]);
        assert!(!ledger.leads_to_deletion("a", one));
        ledger.step("b", Some(two), None, &[]);
        assert!(!ledger.leads_to_deletion("a", one), "a deletion at another path proves nothing");
        ledger.step("a", Some(two), None, &[]);
        assert!(ledger.leads_to_deletion("a", one));
    }

    #[test]
    fn what_a_power_loss_left_of_a_content_stands_for_it() {
        let (mut ledger, whole, rest) = ledger();
        ledger.step("a", None, Some(whole), &[]);
        ledger.suffered("a", whole, rest);
        assert_eq!(ledger.owed_at(whole).count(), 1, "nobody wanted that");
        ledger.step("a", Some(rest), None, &[]);
        assert!(ledger.leads_to_deletion("a", whole));
        assert_eq!(ledger.owed_at(whole).count(), 0);
    }

    #[test]
    fn who_puts_another_file_over_what_is_left_of_one_replaces_it_even_by_its_like() {
        let (mut ledger, whole, rest) = ledger();
        ledger.step("a", None, Some(whole), &[]);
        ledger.suffered("a", whole, rest);
        ledger.replaced_by_its_like("a", rest);
        assert_eq!(ledger.owed_at(whole).count(), 0);
    }

    #[test]
    fn contents_are_unique_whatever_their_length() {
        let mut ledger = Ledger::new(Prefix::new(""));
        let mut dice = Dice::new(1);
        let contents: BTreeSet<_> = (0..50).map(|_| ledger.invent(1, &mut dice)).collect();
        assert_eq!(contents.len(), 50);
    }
}
