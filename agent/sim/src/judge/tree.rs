//! What agents do to trees: names that go and come (P5, P3), contents that are written, and last names that are removed (P1).

use std::collections::BTreeMap;

use gosync_engine::Hint;
use gosync_engine::ports::TreeErrorKind;
use gosync_plan::Direction;

use crate::disk::{Disk, Ino, Node, is_synced};
use crate::ledger::{EMPTY, Origin};
use crate::world::{Who, World};

impl World {
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

    pub fn may_write_to_tree(&mut self, replica: usize, path: &str) {
        if self.profile.directions[replica] == Direction::Push && is_synced(path) {
            self.violate("push", None, format!("agent-{replica}, which only sends, changes {path}"));
        }
    }
}
