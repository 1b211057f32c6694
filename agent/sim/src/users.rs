//! The people and programs on a replica's machine, who know nothing of GoSync.
//!
//! One step is one thing that somebody does to the tree. Programs that write slowly stay in the list of writers, and
//! each of their writes is a step of its own.

use gosync_engine::Hint;
use gosync_plan::facts::Special;

use crate::disk::{Ino, Node, Renaming, is_synced, join};
use crate::ledger::Origin;
use crate::world::{Replica, Who, World};

/// Few names, so that people meet; their order is full of traps.
const NAMES: [&str; 16] = [
    "a",
    "b",
    "B",
    "foo",
    "foo-1",
    "foo.txt",
    "foo/x",
    "d/x",
    "d/y",
    "d/e/z",
    "d/e/w",
    "log",
    ".hidden",
    "caf\u{e9}",
    "cafe\u{301}",
    "s p/a\\b?*",
];

/// Enough for a first merge to be asked about, mostly.
const FILLED_FILES: u32 = 30;

/// A program that has a file open for writing, or mapped.
pub struct Writer {
    ino: Ino,
    mapped: bool,
    offset: usize,
    chunks: Vec<Vec<u8>>,
}

impl World {
    /// Somebody on this machine does something, at `target` if there is one.
    pub fn user_step(&mut self, replica: usize, target: Option<&str>) {
        self.stats.steps += 1;
        let writers = self.replicas[replica].writers.len();
        if writers > 0 && self.dice.chance(0.4) {
            let writer = self.dice.below(writers);
            self.write_on(replica, writer);
            return;
        }
        let path = match target {
            Some(target) if !self.is_half(replica, target) => target.to_owned(),
            _ => self.any_path(replica),
        };
        let file = self.file_at(replica, &path);
        match (file, self.dice.below(100)) {
            (None, 0..=69) => self.save_new(replica, &path),
            (None, 70..=77) => self.make_folder(replica, &path),
            (None, 78..=80) => self.make_symlink(replica, &path),
            (None, _) => self.work_on_folders(replica),
            (Some(ino), 0..=14) => self.edit_at_once(replica, &path, ino),
            (Some(_), 15..=29) => self.save_by_rename(replica, &path),
            (Some(ino), 30..=41) => self.begin_writing(replica, &path, ino),
            (Some(_), 42..=55) => self.delete(replica, &path),
            (Some(_), 56..=68) => self.rename(replica, &path),
            (Some(ino), 69..=72) => self.change_mode(replica, &path, ino),
            (Some(ino), 73..=75) => self.keep_time(replica, &path, ino),
            (Some(_), 76..=78) => self.hard_link(replica, &path),
            (Some(ino), 79..=82) => self.copy(replica, &path, ino),
            (Some(_), 83..=86) => self.swap(replica, &path),
            (Some(ino), 87..=88) => self.touch(replica, &path, ino),
            (Some(_), 89..=90) => self.file_becomes_folder(replica, &path),
            (Some(_), _) => self.work_on_folders(replica),
        }
    }

    /// Trees and a bucket that were never in step, and have many names in common.
    pub fn fill_both_sides(&mut self) {
        for number in 0..FILLED_FILES {
            let path = format!("m/{number}");
            self.tool_puts(&format!("{}{path}", self.profile.prefix));
            let key = format!("{}{path}", self.profile.prefix);
            let there = self.bucket.current(&key).map(|object| object.body.clone()).unwrap_or_default();
            for replica in 0..self.replicas.len() {
                if replica > 0 && self.dice.chance(0.6) {
                    continue;
                }
                let content = if self.dice.chance(0.2) { there.clone() } else { self.fresh(None) };
                self.user_acts(replica, |world| {
                    world.make_parents(replica, &path);
                    let disk = &mut world.replicas[replica].disk;
                    if let Ok(ino) = disk.create(&path, 0o644) {
                        disk.write(ino, 0, &content);
                    }
                });
                self.tell_user(replica, "has always had", &path);
            }
        }
    }

    /// Somebody saves a file in place.
    pub fn saves(&mut self, replica: usize, path: &str) {
        let content = self.fresh(None);
        self.user_acts(replica, |world| {
            world.make_parents(replica, path);
            let disk = &mut world.replicas[replica].disk;
            if let Ok(ino) = disk.lookup(path).or_else(|_| disk.create(path, 0o644)) {
                disk.set_len(ino, 0);
                disk.write(ino, 0, &content);
            }
        });
        self.tell_user(replica, "saves", path);
        self.notice(replica, path, Hint::LocalClosed);
    }

    /// Nobody has anything to do with a conflict copy before its conflict is through.
    fn is_half(&self, replica: usize, path: &str) -> bool {
        let links = self.file_at(replica, path).map_or(0, |ino| self.replicas[replica].disk.inode(ino).links);
        path.contains(".conflict-") && links > 1
    }

    fn any_path(&mut self, replica: usize) -> String {
        let files: Vec<String> = self.replicas[replica]
            .disk
            .files("")
            .into_iter()
            .map(|(path, _)| path)
            .filter(|path| is_synced(path) && !self.is_half(replica, path))
            .collect();
        if self.dice.chance(0.6)
            && let Some(path) = self.dice.pick(&files)
        {
            return path.clone();
        }
        self.any_name()
    }

    fn any_name(&mut self) -> String {
        (*self.dice.pick(&NAMES).unwrap_or(&"a")).to_owned()
    }

    fn file_at(&self, replica: usize, path: &str) -> Option<Ino> {
        let disk = &self.replicas[replica].disk;
        disk.lookup(path).ok().filter(|ino| matches!(disk.inode(*ino).node, Node::File(_)))
    }

    /// A complete content that was never anywhere.
    fn fresh(&mut self, bytes: Option<usize>) -> Vec<u8> {
        let bytes = bytes.unwrap_or_else(|| {
            if self.dice.chance(0.75) { self.dice.below(20) + 5 } else { self.dice.below(280) + 20 }
        });
        let content = self.ledger.invent(bytes, &mut self.dice);
        let id = self.ledger.name(&content);
        self.ledger.complete(id);
        content
    }

    fn tell_user(&mut self, replica: usize, what: &str, path: &str) {
        let content = self.file_at(replica, path).map(|ino| self.content_of(replica, ino));
        self.tell(Who::User(replica), || match content {
            Some(content) => format!("{what} {path}: {content}"),
            None => format!("{what} {path}"),
        });
    }

    fn make_parents(&mut self, replica: usize, path: &str) -> bool {
        let mut folder = String::new();
        let Some((parents, _)) = path.rsplit_once('/') else { return true };
        for name in parents.split('/') {
            folder = join(&folder, name);
            if self.replicas[replica].disk.make_folder(&folder).is_ok() {
                self.notice(replica, &folder, Hint::LocalFolder);
            }
        }
        matches!(self.replicas[replica].disk.lookup(parents), Ok(ino) if matches!(self.replicas[replica].disk.inode(ino).node, Node::Folder(_)))
    }

    fn save_new(&mut self, replica: usize, path: &str) {
        let content = if self.dice.chance(0.05) { Vec::new() } else { self.fresh(None) };
        let slowly = self.dice.chance(0.2);
        let mode = if self.dice.chance(0.1) { 0o755 } else { 0o644 };
        let leasable = Replica::leasable(&self.profile, &mut self.dice);
        let made = self.user_acts(replica, |world| {
            if !world.make_parents(replica, path) {
                return None;
            }
            let disk = &mut world.replicas[replica].disk;
            let ino = disk.create(path, mode).ok()?;
            disk.inode_mut(ino).leasable = leasable;
            if !slowly {
                disk.write(ino, 0, &content);
            }
            Some(ino)
        });
        let Some(ino) = made else { return };
        self.tell_user(replica, "creates", path);
        if slowly {
            self.notice(replica, path, Hint::LocalChanged);
            self.open_writer(replica, ino, false, 0, &content);
        } else {
            self.notice(replica, path, Hint::LocalClosed);
        }
    }

    fn may_write(&self, replica: usize, ino: Ino) -> bool {
        self.replicas[replica].disk.inode(ino).leases == 0
    }

    fn edit_at_once(&mut self, replica: usize, path: &str, ino: Ino) {
        if !self.may_write(replica, ino) {
            return;
        }
        let bytes = self.replicas[replica].disk.bytes(ino).len();
        let same_size = self.dice.chance(0.5).then_some(bytes);
        let content = self.fresh(same_size);
        self.user_acts(replica, |world| {
            let disk = &mut world.replicas[replica].disk;
            disk.set_len(ino, 0);
            disk.write(ino, 0, &content);
        });
        self.tell_user(replica, "edits in place", path);
        self.notice(replica, path, Hint::LocalClosed);
    }

    /// The same size and the same mtime as before, as an archive that is unpacked again may have.
    fn keep_time(&mut self, replica: usize, path: &str, ino: Ino) {
        let disk = &self.replicas[replica].disk;
        if !self.may_write(replica, ino) || disk.hides_a_change(ino) {
            return;
        }
        let bytes = self.replicas[replica].disk.bytes(ino).len();
        let content = self.fresh(Some(bytes));
        self.user_acts(replica, |world| {
            let disk = &mut world.replicas[replica].disk;
            let mtime_ns = disk.inode(ino).mtime_ns;
            disk.set_len(ino, 0);
            disk.write(ino, 0, &content);
            disk.set_mtime(ino, mtime_ns);
        });
        self.tell_user(replica, "rewrites, keeping the mtime,", path);
        self.notice(replica, path, Hint::LocalClosed);
    }

    fn save_by_rename(&mut self, replica: usize, path: &str) {
        let content = self.fresh(None);
        let temporary = format!("{path}~");
        let leasable = Replica::leasable(&self.profile, &mut self.dice);
        let saved = self.user_acts(replica, |world| {
            let disk = &mut world.replicas[replica].disk;
            let Ok(ino) = disk.create(&temporary, 0o644) else { return false };
            disk.inode_mut(ino).leasable = leasable;
            disk.write(ino, 0, &content);
            disk.rename(&temporary, path, Renaming::Replace).is_ok()
        });
        if saved {
            self.tell_user(replica, "saves by rename", path);
            self.notice(replica, &temporary, Hint::LocalRemoved);
            self.notice(replica, path, Hint::LocalClosed);
        }
    }

    fn begin_writing(&mut self, replica: usize, path: &str, ino: Ino) {
        if !self.may_write(replica, ino) || self.replicas[replica].writers.len() >= 3 {
            return;
        }
        let old = self.replicas[replica].disk.bytes(ino).len();
        let added = self.fresh(None);
        match self.dice.below(4) {
            0 => {
                let same_size = self.fresh(Some(old));
                self.tell_user(replica, "maps", path);
                self.open_writer(replica, ino, true, 0, &same_size[..old.min(same_size.len())]);
            }
            1 => {
                self.user_acts(replica, |world| world.replicas[replica].disk.set_len(ino, 0));
                self.tell_user(replica, "opens and truncates", path);
                self.open_writer(replica, ino, false, 0, &added);
            }
            2 => {
                self.tell_user(replica, "opens for writing", path);
                self.open_writer(replica, ino, false, 0, &added);
            }
            _ => {
                self.tell_user(replica, "opens for appending", path);
                self.open_writer(replica, ino, false, old, &added);
            }
        }
        self.notice(replica, path, Hint::LocalChanged);
    }

    fn open_writer(&mut self, replica: usize, ino: Ino, mapped: bool, offset: usize, bytes: &[u8]) {
        let pieces = self.dice.below(3) + 1;
        let mut chunks: Vec<Vec<u8>> = bytes.chunks((bytes.len() / pieces).max(1)).map(<[u8]>::to_vec).collect();
        chunks.reverse();
        let inode = self.replicas[replica].disk.inode_mut(ino);
        if mapped {
            inode.mappings += 1;
        } else {
            inode.writers += 1;
        }
        self.replicas[replica].writers.push(Writer { ino, mapped, offset, chunks });
    }

    /// The next write of an open program, or its end.
    pub fn write_on(&mut self, replica: usize, index: usize) {
        let writer = &mut self.replicas[replica].writers[index];
        let (ino, mapped, offset) = (writer.ino, writer.mapped, writer.offset);
        let chunk = writer.chunks.pop();
        writer.offset += chunk.as_ref().map_or(0, Vec::len);
        let before = self.content_of(replica, ino);
        match chunk {
            Some(chunk) => {
                self.user_acts(replica, |world| {
                    let disk = &mut world.replicas[replica].disk;
                    if mapped {
                        disk.store(ino, offset, &chunk);
                    } else {
                        disk.write(ino, offset, &chunk);
                    }
                    let content = world.content_of(replica, ino);
                    world.ledger.in_progress(content);
                });
                let after = self.content_of(replica, ino);
                let moment = self.moment();
                let inode = self.replicas[replica].disk.inode_mut(ino);
                inode.changed_at = moment;
                self.writes_reach_the_trash(replica, ino, before, after);
                let how = if mapped { "stores into the mapping of" } else { "writes to" };
                self.tell_writer(replica, how, ino);
                if !mapped {
                    for path in self.synced_paths(replica, ino) {
                        self.notice(replica, &path, Hint::LocalChanged);
                    }
                }
            }
            None => self.close_writer(replica, index),
        }
    }

    fn close_writer(&mut self, replica: usize, index: usize) {
        let Writer { ino, mapped, .. } = self.replicas[replica].writers.swap_remove(index);
        let disk = &mut self.replicas[replica].disk;
        if mapped {
            disk.inode_mut(ino).mappings -= 1;
            disk.touch(ino);
        } else {
            disk.inode_mut(ino).writers -= 1;
        }
        let inode = disk.inode(ino);
        let (came_from, dropped) = (inode.came_from.clone(), inode.dropped_by_agent);
        let content = self.content_of(replica, ino);
        let still_written = inode_is_held(self, replica, ino);
        if !still_written || self.ledger.origin(content) == Origin::Complete {
            self.ledger.complete(content);
        }
        let paths = self.synced_paths(replica, ino);
        for path in &paths {
            self.ledger.completed_at(path, content);
            self.notice(replica, path, Hint::LocalClosed);
        }
        self.tell_writer(replica, "closes", ino);
        // An agent took it away meanwhile. What users delete themselves is their own affair.
        let there = self.replicas[replica].disk.inode(ino).links > 0;
        if let (Some(path), true, true) = (came_from.last(), paths.is_empty(), there || dropped) {
            self.ledger.completed_at(path, content);
            self.judge_loss(content, &format!("agent-{replica} took the file of {path} while a program had it open"));
        }
    }

    fn tell_writer(&mut self, replica: usize, what: &str, ino: Ino) {
        let content = self.content_of(replica, ino);
        let paths = self.synced_paths(replica, ino);
        let came_from = self.replicas[replica].disk.inode(ino).came_from.last().cloned();
        self.tell(Who::User(replica), || match (paths.first(), came_from) {
            (Some(path), _) => format!("{what} {path}: {content}"),
            (None, Some(path)) => format!("{what} the file that an agent took from {path}: {content}"),
            (None, None) => format!("{what} a deleted file: {content}"),
        });
    }

    pub fn synced_paths(&self, replica: usize, ino: Ino) -> Vec<String> {
        let files = self.replicas[replica].disk.files("");
        files.into_iter().filter_map(|(path, other)| (other == ino && is_synced(&path)).then_some(path)).collect()
    }

    /// Power is gone, and all programs with it.
    pub fn users_vanish(&mut self, replica: usize) {
        while !self.replicas[replica].writers.is_empty() {
            self.close_writer(replica, 0);
        }
    }

    fn delete(&mut self, replica: usize, path: &str) {
        self.tell_user(replica, "deletes", path);
        let done = self.user_acts(replica, |world| world.replicas[replica].disk.unlink(path).is_ok());
        if done {
            self.notice(replica, path, Hint::LocalRemoved);
        }
    }

    fn rename(&mut self, replica: usize, path: &str) {
        let to = if self.dice.chance(0.7) { self.any_name() } else { self.any_path(replica) };
        self.tell_user(replica, &format!("renames to {to} the file"), path);
        let done = self.user_acts(replica, |world| {
            world.make_parents(replica, &to)
                && world.replicas[replica].disk.rename(path, &to, Renaming::Replace).is_ok()
        });
        if done {
            self.notice(replica, path, Hint::LocalRemoved);
            self.notice(replica, &to, Hint::LocalClosed);
        }
    }

    fn swap(&mut self, replica: usize, path: &str) {
        let other = self.any_path(replica);
        if self.file_at(replica, &other).is_none() || other == path {
            return;
        }
        self.tell_user(replica, &format!("swaps with {other} the file"), path);
        self.user_acts(replica, |world| {
            let _ = world.replicas[replica].disk.rename(path, &other, Renaming::Exchange);
        });
        self.notice(replica, path, Hint::LocalClosed);
        self.notice(replica, &other, Hint::LocalClosed);
    }

    fn hard_link(&mut self, replica: usize, path: &str) {
        let to = self.any_name();
        let done = self.user_acts(replica, |world| {
            world.make_parents(replica, &to) && world.replicas[replica].disk.link(path, &to).is_ok()
        });
        if done {
            self.tell_user(replica, &format!("links to {path} the name"), &to);
            self.notice(replica, &to, Hint::LocalClosed);
        }
    }

    fn copy(&mut self, replica: usize, path: &str, ino: Ino) {
        let to = self.any_name();
        let content = self.replicas[replica].disk.bytes(ino).to_vec();
        let id = self.ledger.name(&content);
        if self.ledger.origin(id) != Origin::Complete {
            return;
        }
        let done = self.user_acts(replica, |world| {
            if !world.make_parents(replica, &to) {
                return false;
            }
            let disk = &mut world.replicas[replica].disk;
            let Ok(copy) = disk.create(&to, 0o644) else { return false };
            disk.write(copy, 0, &content);
            true
        });
        if done {
            self.tell_user(replica, &format!("copies {path} to"), &to);
            self.notice(replica, &to, Hint::LocalClosed);
        }
    }

    fn touch(&mut self, replica: usize, path: &str, ino: Ino) {
        if self.replicas[replica].disk.inode(ino).suffered {
            // Who gives what a power loss left of a file a time of its own wants it as it is: nobody here does.
            return;
        }
        self.replicas[replica].disk.touch(ino);
        self.tell_user(replica, "touches", path);
        self.notice(replica, path, Hint::LocalChanged);
    }

    fn change_mode(&mut self, replica: usize, path: &str, ino: Ino) {
        let mode = *self.dice.pick(&[0o600, 0o644, 0o755, 0o444, 0o000]).unwrap_or(&0o644);
        self.replicas[replica].disk.set_mode(ino, mode);
        self.is_edited(replica, path, ino);
        self.tell_user(replica, &format!("sets the mode {mode:o} of"), path);
        self.notice(replica, path, Hint::LocalChanged);
    }

    /// A mode of one's own is an edit as well.
    fn is_edited(&mut self, replica: usize, path: &str, ino: Ino) {
        let content = self.content_of(replica, ino);
        self.put_by_users.insert((replica, path.to_owned(), content));
        self.modes_by_users.insert((replica, path.to_owned()));
    }

    fn make_folder(&mut self, replica: usize, path: &str) {
        if self.make_parents(replica, path) && self.replicas[replica].disk.make_folder(path).is_ok() {
            self.tell_user(replica, "makes the folder", path);
            self.notice(replica, path, Hint::LocalFolder);
        }
    }

    fn make_symlink(&mut self, replica: usize, path: &str) {
        if self.make_parents(replica, path) && self.replicas[replica].disk.make_symlink(path).is_ok() {
            self.tell_user(replica, "makes the symlink", path);
            self.notice(replica, path, Hint::LocalClosed);
        }
    }

    fn file_becomes_folder(&mut self, replica: usize, path: &str) {
        self.tell_user(replica, "replaces by a folder the file", path);
        let content = self.fresh(None);
        let below = format!("{path}/x");
        self.user_acts(replica, |world| {
            let disk = &mut world.replicas[replica].disk;
            if disk.unlink(path).is_ok()
                && disk.make_folder(path).is_ok()
                && let Ok(ino) = disk.create(&below, 0o644)
            {
                disk.write(ino, 0, &content);
            }
        });
        self.notice(replica, path, Hint::LocalFolder);
    }

    fn work_on_folders(&mut self, replica: usize) {
        let folders = self.replicas[replica].disk.folders();
        let Some(folder) = self.dice.pick(&folders).cloned() else { return };
        match self.dice.below(10) {
            0..=1 => self.remove_all(replica, &folder),
            2..=4 => {
                let to = self.any_name();
                let done = self.user_acts(replica, |world| {
                    world.make_parents(replica, &to)
                        && world.replicas[replica].disk.rename(&folder, &to, Renaming::Replace).is_ok()
                });
                if done {
                    self.tell(Who::User(replica), || format!("renames the folder {folder} to {to}"));
                    self.notice(replica, &folder, Hint::LocalRemoved);
                    self.notice(replica, &to, Hint::LocalFolder);
                }
            }
            5..=6 => {
                if let Ok(ino) = self.replicas[replica].disk.lookup(&folder) {
                    let mode = *self.dice.pick(&[0o000, 0o555, 0o755, 0o755]).unwrap_or(&0o755);
                    self.replicas[replica].disk.set_mode(ino, mode);
                    self.tell(Who::User(replica), || format!("sets the mode {mode:o} of the folder {folder}"));
                    self.notice(replica, &folder, Hint::LocalChanged);
                }
            }
            _ => {
                if self.replicas[replica].disk.remove_folder(&folder).is_ok() {
                    self.tell(Who::User(replica), || format!("removes the empty folder {folder}"));
                    self.notice(replica, &folder, Hint::LocalRemoved);
                }
            }
        }
    }

    fn remove_all(&mut self, replica: usize, folder: &str) {
        self.tell(Who::User(replica), || format!("removes the folder {folder} and all that is in it"));
        let files = self.replicas[replica].disk.files(folder);
        self.user_acts(replica, |world| {
            let disk = &mut world.replicas[replica].disk;
            for (path, _) in &files {
                let _ = disk.unlink(path);
            }
            let mut below: Vec<String> = disk
                .folders()
                .into_iter()
                .filter(|path| path == folder || path.starts_with(&format!("{folder}/")))
                .collect();
            below.sort();
            for path in below.iter().rev() {
                let _ = disk.remove_folder(path);
            }
        });
        for (path, _) in files {
            self.notice(replica, &path, Hint::LocalRemoved);
        }
        self.notice(replica, folder, Hint::LocalRemoved);
    }

    /// The end of all work: programs close, what can't be read or synced is made so.
    pub fn users_go_home(&mut self, replica: usize) {
        while !self.replicas[replica].writers.is_empty() {
            while !self.replicas[replica].writers[0].chunks.is_empty() {
                self.write_on(replica, 0);
            }
            self.close_writer(replica, 0);
        }
        for folder in self.replicas[replica].disk.folders() {
            if let Ok(ino) = self.replicas[replica].disk.lookup(&folder) {
                self.replicas[replica].disk.set_mode(ino, 0o755);
            }
        }
        for (path, ino) in self.replicas[replica].disk.files("") {
            if !is_synced(&path) {
                continue;
            }
            let disk = &mut self.replicas[replica].disk;
            if matches!(disk.inode(ino).node, Node::Special(Special::Symlink)) {
                let _ = disk.unlink(&path);
            } else if disk.inode(ino).mode & 0o600 != 0o600 {
                disk.set_mode(ino, 0o644);
                self.is_edited(replica, &path, ino);
            }
        }
        // An empty folder may stand where the bucket has an object.
        let mut folders = self.replicas[replica].disk.folders();
        folders.sort();
        for folder in folders.iter().rev() {
            if self.replicas[replica].disk.remove_folder(folder).is_ok() {
                self.notice(replica, folder, Hint::LocalRemoved);
            }
        }
        self.tell(Who::User(replica), || "goes home".to_owned());
    }
}

fn inode_is_held(world: &World, replica: usize, ino: Ino) -> bool {
    let inode = world.replicas[replica].disk.inode(ino);
    inode.writers + inode.mappings > 0
}
