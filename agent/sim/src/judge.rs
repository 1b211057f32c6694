//! The promises, held against what agents do: P1, P3 and P5 at each act, P1 and P2 at the end.
//!
//! Users and tools may do anything: what they do moves the ledger. Agents may only do what the ledger allows.

use std::collections::{BTreeMap, BTreeSet};

use gosync_engine::Hint;
use gosync_engine::ports::TreeErrorKind;
use gosync_plan::{ConflictPolicy, RelPath};

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
            if let Some((ino, _)) = new {
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
                self.judge_departure(replica, path, *ino, &after);
            }
        }
        for (path, ino) in &after {
            if before.get(path) != Some(ino) && is_synced(path) {
                self.stats.effects.local += 1;
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
                if unseen || held {
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
        let Some(path) = self.path_of(key) else {
            if !key.starts_with(&format!("{}.gosync/", self.profile.prefix)) {
                self.violate("P6", None, format!("agent-{replica} changed {key:?}, which is not below its prefix"));
            }
            return Ok(answer);
        };
        if self.profile.conflicts == ConflictPolicy::LocalWins
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
        let torn = machine.disk.lose_power(&mut self.dice);
        for ino in torn {
            let content = self.content_of(replica, ino);
            self.ledger.in_progress(content);
            self.ledger.mark_open(content);
            self.tell(Who::World, || format!("of inode {ino} on host {replica} only {content} is left"));
        }
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
        let mut wanted: BTreeMap<String, (ContentId, Option<u32>)> = BTreeMap::new();
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
            for (path, (content, mode)) in &wanted {
                match here.remove(path) {
                    None => differences.push(format!("{path}: {content} in the bucket, not on host {replica}")),
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
}

/// The paths that hold `content`.
fn holders(contents: &BTreeMap<String, (Ino, ContentId)>, content: Option<ContentId>) -> Vec<String> {
    contents.iter().filter(|(_, (_, other))| Some(*other) == content).map(|(path, _)| path.clone()).collect()
}
