//! What a power loss takes from a tree, and what nobody owes to anybody since.

use std::collections::BTreeSet;

use gosync_plan::RelPath;

use crate::disk::Ino;
use crate::ledger::ContentId;
use crate::world::{Who, World};

impl World {
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
}
