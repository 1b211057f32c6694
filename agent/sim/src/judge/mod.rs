//! The promises, held against what agents do: P1, P3 and P5 at each act, P1 and P2 at the end.
//!
//! Users and tools may do anything: what they do moves the ledger. Agents may only do what the ledger allows. Here is what
//! moves the ledger, and what the world holds; each kind of judgement has a file of its own.

mod bucket;
mod end;
mod power;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use crate::disk::{Ino, Node, is_synced};
use crate::ledger::ContentId;
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
            if let Some(content) = new_content.filter(|_| old_content == new_content) {
                self.ledger.replaced_by_its_like(path, content);
            }
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

    /// Runs what a tool does to keys of the bucket, and notes what it replaced, deleted and wrote.
    pub fn tool_acts(&mut self, keys: &[&str], act: impl FnOnce(&mut World)) {
        if keys.iter().any(|key| self.is_somebodys_turn(key)) {
            self.tell(Who::Tool, || format!("leaves {keys:?} alone: an agent is at work there"));
            return;
        }
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

    /// The synced path of a key, if it is one.
    pub fn path_of(&self, key: &str) -> Option<String> {
        let path = key.strip_prefix(self.profile.prefix)?;
        is_synced(path).then(|| path.to_owned())
    }

    pub fn object_content(&mut self, key: &str) -> Option<ContentId> {
        let object = self.bucket.current(key)?;
        Some(self.ledger.name(&object.body))
    }

    /// The synced paths of objects that hold it.
    fn keys_with(&mut self, content: ContentId) -> Vec<String> {
        let (bucket, ledger) = (&self.bucket, &mut self.ledger);
        let keys: Vec<String> = bucket
            .objects()
            .filter(|(_, object)| ledger.name(&object.body) == content)
            .map(|(key, _)| key.to_owned())
            .collect();
        keys.iter().filter_map(|key| self.path_of(key)).collect()
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

    /// P1: a content was just removed somewhere by an agent; it has to be found elsewhere while it is owed.
    pub fn judge_loss(&mut self, content: ContentId, deed: &str) {
        let Some(path) = self.ledger.owed_at(content).next().map(str::to_owned) else { return };
        if !self.is_findable(content) {
            let message = format!("{deed}: {content}, written at {path}, is nowhere to be found");
            self.violate("P1", Some(content), message);
        }
    }

    /// What stands at these paths is recorded nowhere: a file like any other to whoever looks next.
    pub fn left_unrecorded(&mut self, replica: usize, is_unrecorded: impl Fn(&World, &str) -> bool) {
        for (path, (_, content)) in self.contents(replica) {
            if is_unrecorded(self, &path) {
                self.put_by_users.insert((replica, path, content));
            }
        }
    }

    /// An agent's work ends before its record. What it sent is not its own for sure: where the file is gone by the next
    /// start, nobody knows whether somebody deleted it or a power loss did.
    pub fn left_halfway(&mut self, replica: usize) {
        self.left_unrecorded(replica, |world, path| {
            let mut known = world.replicas[replica].rows.ancestors.keys();
            known.all(|known| known.as_str() != path)
        });
        let (prefix, rows, bucket) = (self.profile.prefix, &self.replicas[replica].rows.ancestors, &self.bucket);
        let recorded: BTreeSet<String> = rows
            .iter()
            .map(|(path, row)| (format!("{prefix}{path}"), row))
            .filter(|(key, row)| bucket.current(key).is_some_and(|object| object.etag == row.generation.etag))
            .map(|(key, _)| key)
            .collect();
        self.authors.retain(|key, author| *author != replica || recorded.contains(key));
    }

    /// Without leases, or between two ticks of a coarse clock, nobody can know that a writer is at a file.
    fn open_files_are_unknowable(&self) -> bool {
        self.profile.leasing != Leasing::Always || self.profile.tick_ns > 1
    }
}

/// What a tree holds at synced paths.
type Files = BTreeMap<String, (Ino, ContentId)>;

/// The paths that hold `content`.
fn holders(contents: &Files, content: Option<ContentId>) -> Vec<String> {
    contents.iter().filter(|(_, (_, other))| Some(*other) == content).map(|(path, _)| path.clone()).collect()
}
