//! The end: everything that is owed can be found (P1, P5), and trees and bucket hold the same (P2).

use std::collections::{BTreeMap, BTreeSet};

use gosync_plan::{Direction, RelPath};

use super::Files;
use crate::disk::{Disk, Node};
use crate::ledger::ContentId;
use crate::world::World;

impl World {
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
        // Somebody may have made a folder of one.
        let folders = self.replicas[replica].disk.folders();
        let copies = files.keys().filter(is_copy).count() + folders.iter().filter(is_copy).count();
        copies >= self.profile.copies_max as usize
    }

    /// P2 of an agent that only sends: the bucket has what the tree has, but for keys that somebody else wrote last.
    fn unsent(&self, replica: usize, wanted: &Wanted, here: &Files) -> Vec<String> {
        let is_mine = |path: &str| {
            let author = self.authors.get(&format!("{}{path}", self.profile.prefix));
            // A person who denied deletes had them forgotten.
            let machine = &self.replicas[replica];
            author == Some(&replica) && !machine.forgot && !machine.denied && !self.profile.guarded
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
            let is_users = self.put_by_users.iter().any(|(of, other, _)| *of == replica && other == path);
            let has_a_mode = is_executable || is_users || self.modes_by_users.contains(&(replica, path.clone()));
            let denied = self.profile.guarded || self.replicas[replica].denied;
            if !by_users(path, *content) && !has_a_mode && !denied {
                differences.push(format!("{path}: {content} on host {replica}, which receives, not in the bucket"));
            }
        }
        differences
    }
}

/// What the bucket holds at synced paths, with its mode.
type Wanted = BTreeMap<String, (ContentId, Option<u32>)>;

/// A file above it.
fn stands_in_the_way(disk: &Disk, path: &str) -> bool {
    let mut above = path.match_indices('/').filter_map(|(end, _)| disk.lookup(&path[..end]).ok());
    above.any(|ino| !matches!(disk.inode(ino).node, Node::Folder(_)))
}
