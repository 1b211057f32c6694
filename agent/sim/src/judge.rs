//! The promises, held against what agents do: P1, P3 and P5 at each act, P1 and P2 at the end.
//!
//! Users and tools may do anything: what they do moves the ledger. Agents may only do what the ledger allows.

use std::collections::{BTreeMap, BTreeSet};

use gosync_engine::Hint;
use gosync_engine::ports::TreeErrorKind;
use gosync_plan::{ConflictPolicy, Direction, RelPath};

use crate::disk::{Disk, Ino, Node, is_synced};
use crate::ledger::{ContentId, EMPTY, Origin};
use crate::options::Leasing;
use crate::world::{Who, World};

impl World {
    /// Runs what a user does to a tree, and notes what it replaced, deleted and wrote.
    pub fn user_acts<T>(&mut self, replica: usize, act: impl FnOnce(&mut World) -> T) -> T {
        self.replicas[replica].disk.remember_names();
        let before = self.contents(replica);
        let answer = act(self);
        let after = self.contents(replica);
        let moment = self.moment();
        let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for path in paths {
            let (old, new) = (before.get(path), after.get(path));
            if old == new {
                continue;
            }
            if let Some((ino, content)) = new {
                self.put_by_users.insert((replica, path.clone(), *content));
                self.replicas[replica].disk.inode_mut(*ino).changed_at = moment;
            }
            let (old_content, new_content) = (old.map(|(_, content)| *content), new.map(|(_, content)| *content));
            self.ledger.step(path, old_content, new_content, &holders(&after, old_content));
            match (old, new) {
                (Some((ino, old)), Some((there, new))) if ino == there => {
                    self.writes_reach_the_trash(replica, *ino, *old, *new);
                }
                (Some((ino, content)), _) if self.synced_paths(replica, *ino).is_empty() => {
                    // What still is of it in `.gosync` is nobody's any more.
                    let inode = self.replicas[replica].disk.inode_mut(*ino);
                    inode.came_from.clear();
                    for name in std::mem::take(&mut inode.names) {
                        self.ledger.gone_with_its_file(*content, &name);
                    }
                }
                _ => {}
            }
        }
        answer
    }

    /// A file that an agent took away may still have a name elsewhere, or be open: its content there is replaced, too.
    pub fn writes_reach_the_trash(&mut self, replica: usize, ino: Ino, before: ContentId, after: ContentId) {
        let elsewhere = holders(&self.contents(replica), Some(before));
        let out_of_sight = self.synced_paths(replica, ino).is_empty();
        for path in self.replicas[replica].disk.inode(ino).came_from.clone() {
            self.ledger.replace(&path, Some(before), Some(after), &elsewhere);
            if out_of_sight {
                self.ledger.completed_at(&path, after);
            }
        }
    }

    /// The synced files of a tree.
    pub fn contents(&mut self, replica: usize) -> BTreeMap<String, (Ino, ContentId)> {
        let disk = &self.replicas[replica].disk;
        let ledger = &mut self.ledger;
        disk.files("")
            .into_iter()
            .filter(|(path, ino)| is_synced(path) && matches!(disk.inode(*ino).node, Node::File(_)))
            .map(|(path, ino)| (path, (ino, ledger.name(disk.bytes(ino)))))
            .collect()
    }

    pub fn content_of(&mut self, replica: usize, ino: Ino) -> ContentId {
        self.ledger.name(self.replicas[replica].disk.bytes(ino))
    }

    /// Runs an agent's call that changes names, and judges what became of the files at `paths`.
    pub fn agent_renames<T>(
        &mut self,
        replica: usize,
        paths: &[&str],
        call: impl FnOnce(&mut Disk) -> Result<T, TreeErrorKind>,
    ) -> Result<T, TreeErrorKind> {
        let files = |world: &World| -> BTreeMap<String, Ino> {
            let disk = &world.replicas[replica].disk;
            paths.iter().flat_map(|path| disk.files(path)).collect()
        };
        let before = files(self);
        let answer = self.replicas[replica].disk.as_agent(call)?;
        let after = files(self);
        for (path, ino) in &before {
            if after.get(path) != Some(ino) {
                self.may_write_to_tree(replica, path);
                self.judge_departure(replica, path, *ino, &after);
            }
        }
        for (path, ino) in &after {
            if before.get(path) != Some(ino) && is_synced(path) {
                self.stats.effects.local += 1;
                self.may_write_to_tree(replica, path);
                self.notice(replica, path, Hint::LocalClosed);
                self.judge_sight(replica, path, *ino);
                self.comes_into_sight(replica, path, *ino);
            }
        }
        Ok(answer)
    }

    fn comes_into_sight(&mut self, replica: usize, path: &str, ino: Ino) {
        let content = self.content_of(replica, ino);
        for from in self.replicas[replica].disk.inode(ino).came_from.clone() {
            self.ledger.moved(content, &from, path);
        }
        self.unproven.retain(|(of, _, taken)| (*of, *taken) != (replica, content));
    }

    fn judge_departure(&mut self, replica: usize, path: &str, ino: Ino, after: &BTreeMap<String, Ino>) {
        let disk = &mut self.replicas[replica].disk;
        if !matches!(disk.inode(ino).node, Node::File(_)) {
            return;
        }
        let inode = disk.inode_mut(ino);
        let unseen = inode.changed_at > inode.looked_at;
        let dropped = inode.links == 0;
        let held = inode.writers + inode.mappings > 0;
        inode.dropped_by_agent |= dropped;
        if is_synced(path) {
            inode.came_from.push(path.to_owned());
        }
        let content = self.content_of(replica, ino);
        if is_synced(path) {
            self.stats.effects.local += 1;
            self.notice(replica, path, Hint::LocalRemoved);
            let moved_aside = after.iter().any(|(other, there)| *there == ino && is_synced(other));
            let others = self.synced_paths(replica, ino);
            let names = self.replicas[replica].disk.inode(ino).names.clone();
            // A conflict copy that is taken back, while the file has another name, or was just deleted under its first.
            let second_name = others.iter().any(|other| self.ledger.are_of_one_family(other, path))
                || names.iter().filter(|name| *name != path).any(|name| {
                    self.ledger.are_of_one_family(name, path)
                        && (!others.is_empty() || self.ledger.leads_to_deletion(name, content))
                });
            if !after.contains_key(path)
                && !moved_aside
                && !second_name
                && !self.ledger.leads_to_deletion(path, content)
            {
                // A copy that is taken back is looked at out of sight, and returns if it is the last name by now.
                let may_return =
                    !dropped && names.iter().any(|name| name != path && self.ledger.are_of_one_family(name, path));
                if unseen || held || may_return {
                    self.tell(Who::World, || format!("{content} is taken from {path}, fresh from a user's hand"));
                    self.unproven.push((replica, path.to_owned(), content));
                } else {
                    let message = format!("agent-{replica} took {content} away from {path}, which nobody deleted");
                    self.violate("P5", Some(content), message);
                }
            }
        }
        if dropped {
            self.judge_loss(content, &format!("agent-{replica} removed the last name ({path}) of a file"));
        }
    }

    /// An agent's write to a file.
    pub fn agent_writes(&mut self, replica: usize, ino: Ino, act: impl FnOnce(&mut Disk)) {
        let before = self.content_of(replica, ino);
        self.replicas[replica].disk.as_agent(act);
        if before != EMPTY {
            self.judge_loss(before, &format!("agent-{replica} wrote over a file"));
        }
        let paths: Vec<String> = self.replicas[replica]
            .disk
            .files("")
            .into_iter()
            .filter_map(|(path, other)| (other == ino && is_synced(&path)).then_some(path))
            .collect();
        for path in paths {
            self.stats.effects.local += 1;
            self.may_write_to_tree(replica, &path);
            self.judge_sight(replica, &path, ino);
        }
    }

    /// P3: what an agent put before everybody's eyes.
    pub fn judge_sight(&mut self, replica: usize, path: &str, ino: Ino) {
        let disk = &self.replicas[replica].disk;
        let inode = disk.inode(ino);
        if !matches!(inode.node, Node::File(_)) || inode.writers + inode.mappings > 0 || !inode.came_from.is_empty() {
            return;
        }
        let content = self.content_of(replica, ino);
        match self.ledger.origin(content) {
            Origin::Complete => {}
            _ if self.ledger.is_marked_open(content) => {}
            Origin::Progress if self.open_files_are_unknowable() => self.ledger.mark_open(content),
            Origin::Progress => {
                let message = format!("agent-{replica} put {content} at {path}: somebody was still writing it");
                self.violate("P3", Some(content), message);
            }
            Origin::Nobody => {
                let message = format!("agent-{replica} put {content} at {path}: nobody ever wrote that");
                self.violate("P3", Some(content), message);
            }
        }
    }

    /// P1: a content was just removed somewhere by an agent; it has to be found elsewhere while it is owed.
    pub fn judge_loss(&mut self, content: ContentId, deed: &str) {
        let Some(path) = self.ledger.owed_at(content).next().map(str::to_owned) else { return };
        if !self.is_findable(content) {
            let message = format!("{deed}: {content}, written at {path}, is nowhere to be found");
            self.violate("P1", Some(content), message);
        }
    }

    /// Whether some path, conflict copy, trash, displaced file or bucket version holds it.
    fn is_findable(&mut self, content: ContentId) -> bool {
        let ledger = &mut self.ledger;
        let on_disk = self.replicas.iter().any(|replica| {
            let files = replica.disk.files("");
            let mut kept = files.iter().filter(|(path, _)| !path.starts_with(".gosync/tmp/"));
            kept.any(|(_, ino)| ledger.name(replica.disk.bytes(*ino)) == content)
        });
        on_disk || self.bucket.bodies().any(|body| ledger.name(body) == content)
    }

    /// The synced path of a key, if it is one.
    pub fn path_of(&self, key: &str) -> Option<String> {
        let path = key.strip_prefix(self.profile.prefix)?;
        is_synced(path).then(|| path.to_owned())
    }

    pub fn object_content(&mut self, key: &str) -> Option<ContentId> {
        let object = self.bucket.current(key)?;
        Some(self.ledger.name(&object.body))
    }

    fn keys_with(&mut self, content: ContentId) -> Vec<String> {
        let (bucket, ledger) = (&self.bucket, &mut self.ledger);
        let keys: Vec<String> = bucket
            .objects()
            .filter(|(_, object)| ledger.name(&object.body) == content)
            .map(|(key, _)| key.to_owned())
            .collect();
        keys.iter().filter_map(|key| self.path_of(key)).collect()
    }

    /// Runs what a tool does to keys of the bucket, and notes what it replaced, deleted and wrote.
    pub fn tool_acts(&mut self, keys: &[&str], act: impl FnOnce(&mut World)) {
        let before: Vec<_> = keys.iter().map(|key| self.object_content(key)).collect();
        act(self);
        for key in keys {
            self.authors.remove(*key);
        }
        for (key, before) in keys.iter().zip(before) {
            let after = self.object_content(key);
            if let Some(path) = self.path_of(key) {
                let elsewhere = before.map_or_else(Vec::new, |before| self.keys_with(before));
                self.ledger.step(&path, before, after, &elsewhere);
            }
        }
    }

    /// Runs an agent's request that changes a key, and judges it.
    pub fn agent_requests<T, E>(
        &mut self,
        replica: usize,
        key: &str,
        request: impl FnOnce(&mut World) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.object_content(key);
        let answer = request(self)?;
        let after = self.object_content(key);
        if before != after {
            self.authors.insert(key.to_owned(), replica);
        } else if self.authors.get(key) != Some(&replica) {
            // The same content once more is another generation.
            self.authors.remove(key);
        }
        let Some(path) = self.path_of(key) else {
            if !key.starts_with(&format!("{}.gosync/", self.profile.prefix)) {
                self.violate("P6", None, format!("agent-{replica} changed {key:?}, which is not below its prefix"));
            }
            return Ok(answer);
        };
        if (self.profile.conflicts == ConflictPolicy::LocalWins || self.profile.filled)
            && let (Some(before), Some(after)) = (before, after)
        {
            // What a file overrules is owed to whoever wrote it, but a delete of the file is one of it as well.
            self.ledger.overruled(&path, before, after);
        }
        if before != after {
            self.tell_other_mirrors(replica, &path);
        }
        match (before, after) {
            (Some(before), None) if !self.ledger.leads_to_deletion(&path, before) => {
                let message = format!("agent-{replica} deleted {before} at {path}, which nobody deleted");
                self.violate("P5", Some(before), message);
            }
            (_, Some(after)) if Some(after) != before => self.judge_object(replica, &path, key, after),
            _ => {}
        }
        if let Some(before) = before.filter(|before| Some(*before) != after) {
            self.judge_loss(before, &format!("agent-{replica} replaced or deleted the object {key:?}"));
        }
        Ok(answer)
    }

    /// Without leases, or between two ticks of a coarse clock, nobody can know that a writer is at a file.
    fn open_files_are_unknowable(&self) -> bool {
        self.profile.leasing != Leasing::Always || self.profile.tick_ns > 1
    }

    /// P3: what an agent shows in the bucket.
    fn judge_object(&mut self, replica: usize, path: &str, key: &str, content: ContentId) {
        if self.ledger.origin(content) == Origin::Complete {
            return;
        }
        if self.bucket.current(key).is_some_and(|object| object.headers.open) {
            self.ledger.mark_open(content);
            // It is a state on the way to what the file holds now.
            let now = self.contents(replica).get(path).map(|(_, content)| *content);
            self.ledger.step(path, Some(content), now, &[]);
            return;
        }
        if self.ledger.origin(content) == Origin::Progress && self.open_files_are_unknowable() {
            self.ledger.mark_open(content);
            return;
        }
        if !self.ledger.is_marked_open(content) {
            let message = format!("agent-{replica} sent {content} to {key:?}: nobody ever wrote that completely");
            self.violate("P3", Some(content), message);
        }
    }

    /// The machine stops. What its users were writing ends where it is; agents' unsynced work may be gone.
    pub fn lose_power(&mut self, replica: usize) {
        self.tell(Who::World, || format!("host {replica} loses power"));
        self.users_vanish(replica);
        let machine = &mut self.replicas[replica];
        let mut suffered = machine.disk.lose_power(&mut self.dice);
        if self.profile.loses_pages && self.dice.chance(0.3) {
            suffered.extend(self.a_synced_file_suffers(replica));
        }
        for (ino, whole) in suffered {
            let (whole, rest) = (self.ledger.name(&whole), self.content_of(replica, ino));
            self.ledger.in_progress(rest);
            self.ledger.mark_open(rest);
            self.tell(Who::World, || format!("of {whole} in inode {ino} on host {replica} {rest} is left"));
            self.replicas[replica].disk.remember_names();
            let inode = self.replicas[replica].disk.inode(ino);
            let paths: BTreeSet<String> = inode.names.iter().chain(&inode.came_from).cloned().collect();
            if !self.is_findable(whole) {
                self.ledger.lost_with_its_machine(whole);
            }
            for path in paths {
                self.ledger.suffered(&path, whole, rest);
                if !self.is_elsewhere_at(replica, &path, whole) {
                    self.ledger.gone_with_its_file(whole, &path);
                }
                self.put_by_users.insert((replica, path, rest));
            }
        }
    }

    /// Whether the bucket or another host has this content at the same path.
    fn is_elsewhere_at(&mut self, replica: usize, path: &str, content: ContentId) -> bool {
        let there = Some(content);
        self.object_content(&format!("{}{path}", self.profile.prefix)) == there
            || (0..self.replicas.len())
                .filter(|other| *other != replica)
                .any(|other| self.contents(other).get(path).map(|(_, content)| *content) == there)
    }

    /// Disks lie, too: a file that was in step comes back shorter, with all its times.
    fn a_synced_file_suffers(&mut self, replica: usize) -> Option<(Ino, Vec<u8>)> {
        let machine = &self.replicas[replica];
        let is_in_step = |(path, ino): &(String, Ino)| {
            let row = RelPath::new(path.as_str()).ok().and_then(|path| machine.rows.ancestors.get(&path));
            row.is_some_and(|row| row.fingerprint == machine.disk.stat(*ino).fingerprint && row.fingerprint.size > 0)
        };
        let files: Vec<(String, Ino)> = machine.disk.files("").into_iter().filter(is_in_step).collect();
        let (_, ino) = self.dice.pick(&files)?;
        self.replicas[replica].disk.shorten(*ino, &mut self.dice)
    }

    /// P1 and P5 at the end.
    pub fn judge_the_end(&mut self) {
        let owed: BTreeSet<ContentId> = self.ledger.owed().map(|(content, _)| content).collect();
        for content in owed {
            self.judge_loss(content, "at the end");
        }
        let in_sight: BTreeSet<ContentId> = (0..self.replicas.len())
            .flat_map(|replica| self.contents(replica).into_values())
            .map(|(_, id)| id)
            .collect();
        for (replica, path, content) in std::mem::take(&mut self.unproven) {
            let owed = self.ledger.owed_at(content).any(|owed| owed == path);
            if owed && !in_sight.contains(&content) {
                let message = format!(
                    "agent-{replica} took {content} away from {path} just after somebody wrote it, and never put it back"
                );
                self.violate("P5", Some(content), message);
            }
        }
    }

    /// P2: where trees and bucket still differ.
    pub fn differences(&mut self) -> Vec<String> {
        let mut wanted = Wanted::new();
        let objects: Vec<(String, Vec<u8>, Option<u32>)> = self
            .bucket
            .objects()
            .map(|(key, object)| {
                let mode = object.headers.mode.filter(|_| !object.looks_unchanged);
                (key.to_owned(), object.body.clone(), mode)
            })
            .collect();
        for (key, body, mode) in objects {
            if let Some(path) = self.path_of(&key).filter(|path| RelPath::new(path.as_str()).is_ok()) {
                wanted.insert(path, (self.ledger.name(&body), mode.map(|mode| mode & 0o777)));
            }
        }
        let paths: BTreeSet<String> = wanted.keys().cloned().collect();
        // A file system holds either the file or the folder, and which of them is not promised.
        let file_beside_folder = |path: &str| {
            let above = path.match_indices('/').any(|(end, _)| paths.contains(&path[..end]));
            let below = format!("{path}/");
            above || paths.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
        };
        wanted.retain(|path, _| !file_beside_folder(path));
        let mut differences = Vec::new();
        for replica in 0..self.replicas.len() {
            let mut here = self.contents(replica);
            here.retain(|path, _| !file_beside_folder(path));
            let direction = self.profile.directions[replica];
            if direction == Direction::Push {
                differences.extend(self.unsent(replica, &wanted, &here));
                continue;
            }
            if direction == Direction::Pull {
                differences.extend(self.unreceived(replica, &wanted, &here));
                continue;
            }
            for (path, (content, mode)) in &wanted {
                match here.remove(path) {
                    None => differences.push(format!("{path}: {content} in the bucket, not on host {replica}")),
                    Some((_, other)) if other != *content && self.is_held(replica, path) => {}
                    Some((_, other)) if other != *content => {
                        differences.push(format!("{path}: {content} in the bucket, {other} on host {replica}"));
                    }
                    Some((ino, _)) => {
                        let local = self.replicas[replica].disk.inode(ino).mode & 0o777;
                        if mode.is_some_and(|mode| mode != local) {
                            let mode = mode.unwrap_or_default();
                            differences
                                .push(format!("{path}: mode {mode:o} in the bucket, {local:o} on host {replica}"));
                        }
                    }
                }
            }
            for (path, (_, content)) in here {
                differences.push(format!("{path}: {content} on host {replica}, not in the bucket"));
            }
        }
        differences
    }

    /// There are as many conflict copies of it as there may be.
    fn is_held(&mut self, replica: usize, path: &str) -> bool {
        let files = self.contents(replica);
        let is_copy = |other: &&String| *other != path && self.ledger.are_of_one_family(other, path);
        files.keys().filter(is_copy).count() >= self.profile.copies_max as usize
    }

    /// P2 of an agent that only sends: the bucket has what the tree has, but for keys that somebody else wrote last.
    fn unsent(&self, replica: usize, wanted: &Wanted, here: &Files) -> Vec<String> {
        let is_mine = |path: &str| {
            let author = self.authors.get(&format!("{}{path}", self.profile.prefix));
            // A person who denied deletes had them forgotten.
            author == Some(&replica) && !self.replicas[replica].forgot && !self.profile.guarded
        };
        let mut differences = Vec::new();
        for (path, (ino, content)) in here {
            let suffered = self.replicas[replica].disk.inode(*ino).suffered;
            match wanted.get(path) {
                None => {
                    differences.push(format!("{path}: {content} on host {replica}, which sends, not in the bucket"))
                }
                Some((object, _)) if object != content && is_mine(path) && !suffered => {
                    differences.push(format!("{path}: {content} on host {replica}, which sent {object}"));
                }
                Some(_) => {}
            }
        }
        for (path, (object, _)) in wanted.iter().filter(|(path, _)| !here.contains_key(*path) && is_mine(path)) {
            differences.push(format!("{path}: {object} in the bucket, not on host {replica}, which sent it"));
        }
        differences
    }

    /// P2 of an agent that only receives: the tree has what the bucket has, but for what its users did there.
    fn unreceived(&self, replica: usize, wanted: &Wanted, here: &Files) -> Vec<String> {
        let by_users = |path: &str, content| {
            // Where the state was lost, what had come from the bucket is a file like any other.
            path.contains(".conflict-")
                || self.replicas[replica].forgot
                || self.put_by_users.contains(&(replica, path.to_owned(), content))
        };
        let disk = &self.replicas[replica].disk;
        let mut differences = Vec::new();
        for (path, (object, _)) in wanted {
            match here.get(path) {
                None if disk.lookup(path).is_ok() || stands_in_the_way(disk, path) => {}
                None => {
                    differences.push(format!("{path}: {object} in the bucket, not on host {replica}, which receives"))
                }
                Some((_, content)) if content == object || by_users(path, *content) => {}
                Some((_, content)) => {
                    differences
                        .push(format!("{path}: {object} in the bucket, {content} on host {replica}, which receives"));
                }
            }
        }
        for (path, (ino, content)) in here.iter().filter(|(path, _)| !wanted.contains_key(*path)) {
            // A mode that a user gave outlives the content, and makes it an edited file.
            let is_executable = disk.inode(*ino).mode & 0o100 != 0;
            let has_a_mode = is_executable || self.modes_by_users.contains(&(replica, path.clone()));
            if !by_users(path, *content) && !has_a_mode && !self.profile.guarded {
                differences.push(format!("{path}: {content} on host {replica}, which receives, not in the bucket"));
            }
        }
        differences
    }

    /// Agents that work one way only don't touch the other side, whatever comes of it.
    pub fn may_write_to_bucket(&mut self, replica: usize, deed: &str) {
        if self.profile.directions[replica] == Direction::Pull {
            self.violate("pull", None, format!("agent-{replica}, which only receives, sends {deed}"));
        }
    }

    pub fn may_write_to_tree(&mut self, replica: usize, path: &str) {
        if self.profile.directions[replica] == Direction::Push && is_synced(path) {
            self.violate("push", None, format!("agent-{replica}, which only sends, changes {path}"));
        }
    }
}

/// What the bucket holds at synced paths, with its mode; and what a tree does.
type Wanted = BTreeMap<String, (ContentId, Option<u32>)>;
type Files = BTreeMap<String, (Ino, ContentId)>;

/// A file above it.
fn stands_in_the_way(disk: &Disk, path: &str) -> bool {
    let mut above = path.match_indices('/').filter_map(|(end, _)| disk.lookup(&path[..end]).ok());
    above.any(|ino| !matches!(disk.inode(ino).node, Node::Folder(_)))
}

/// The paths that hold `content`.
fn holders(contents: &BTreeMap<String, (Ino, ContentId)>, content: Option<ContentId>) -> Vec<String> {
    contents.iter().filter(|(_, (_, other))| Some(*other) == content).map(|(path, _)| path.clone()).collect()
}
