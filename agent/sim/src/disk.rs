//! A file system in memory: inodes, names, times, open writers and leases, as Linux has them.
//!
//! It knows nothing of agents, users or promises. What an agent did to names and has not yet made durable is kept in an
//! undo log, and what it wrote and did not sync is marked, so that a power loss can take both away. What users do is
//! durable at once.

use std::collections::{BTreeMap, BTreeSet};

use gosync_engine::ports::local::Kind;
use gosync_engine::ports::{Stat, TreeErrorKind};
use gosync_plan::Fingerprint;
use gosync_plan::facts::Special;

use crate::dice::Dice;

pub type Ino = usize;
type Outcome<T> = Result<T, TreeErrorKind>;

const ROOT: Ino = 0;
const NAME_BYTES_MAX: usize = 255;

pub enum Node {
    File(Vec<u8>),
    Folder(BTreeMap<String, Ino>),
    Special(Special),
}

pub struct Inode {
    pub node: Node,
    /// Permission bits only.
    pub mode: u32,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
    pub links: u32,
    /// Users' descriptors open for writing, and agents'.
    pub writers: u32,
    pub agent_writers: u32,
    /// Writable mappings, whose descriptor may be closed.
    pub mappings: u32,
    /// Read leases that stand.
    pub leases: u32,
    /// Not every file's owner lets us take one.
    pub leasable: bool,
    /// Written by an agent and not synced yet.
    pub unsynced: bool,
    /// A user's program wrote to it after this was synced; nothing where none of it ever was.
    pub user_unsynced: Option<Option<Synced>>,
    /// A power loss left it shorter, or as it was before.
    pub suffered: bool,
    /// The synced paths that an agent took this file away from.
    pub came_from: Vec<String>,
    /// All synced paths that it ever had.
    pub names: BTreeSet<String>,
    /// An agent removed its last name.
    pub dropped_by_agent: bool,
    /// When a user last changed it or its name, and when an agent last looked (event numbers).
    pub changed_at: u64,
    pub looked_at: u64,
}

/// What a disk holds of a file for good.
#[derive(Clone)]
pub struct Synced {
    bytes: Vec<u8>,
    mtime_ns: i64,
    ctime_ns: i64,
}

/// How a rename treats what stands at the new name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Renaming {
    Replace,
    New,
    Exchange,
}

/// A name as it was before an agent changed it.
struct Undo {
    folder: Ino,
    name: String,
    before: Option<Ino>,
}

pub struct Disk {
    inodes: Vec<Inode>,
    /// Calls of agents are checked for permissions.
    pub permissions: bool,
    /// Resolution of time stamps, nanoseconds.
    pub tick_ns: i64,
    /// The host's clock; set before each call.
    pub clock_ns: i64,
    last_stamp_ns: i64,
    /// An agent is calling: names are volatile, permissions count.
    agent: bool,
    /// Changes of names that a power loss may take back, one group a call, oldest first.
    volatile: Vec<Vec<Undo>>,
    /// Whatever a user's program writes is durable at once.
    pub users_sync: bool,
}

impl Disk {
    pub fn new(tick_ns: i64) -> Self {
        let mut disk = Self {
            inodes: Vec::new(),
            permissions: false,
            tick_ns,
            clock_ns: 0,
            last_stamp_ns: 0,
            agent: false,
            volatile: Vec::new(),
            users_sync: true,
        };
        disk.add(Node::Folder(BTreeMap::new()), 0o755);
        disk
    }

    /// Runs an agent's call: what it changes is volatile until synced.
    pub fn as_agent<T>(&mut self, call: impl FnOnce(&mut Self) -> T) -> T {
        self.agent = true;
        self.volatile.push(Vec::new());
        let answer = call(self);
        if self.volatile.last().is_some_and(Vec::is_empty) {
            self.volatile.pop();
        }
        self.agent = false;
        answer
    }

    /// Nothing would tell a change of the inode now from the last one if size and mtime are kept: the clock is too coarse,
    /// or it was just put there and no lease keeps writers away until its fingerprint is taken.
    pub fn hides_a_change(&self, ino: Ino) -> bool {
        const JUST_NOW_NS: i64 = 10_000_000;
        let inode = self.inode(ino);
        let same_tick = self.tick_ns > 1 && inode.ctime_ns == self.clock_ns - self.clock_ns.rem_euclid(self.tick_ns);
        same_tick || (!inode.leasable && (self.clock_ns - inode.ctime_ns).abs() < JUST_NOW_NS)
    }

    fn stamp(&mut self) -> i64 {
        let now = self.clock_ns - self.clock_ns.rem_euclid(self.tick_ns);
        // No two changes get the same one where stamps are fine; but a clock may be set back.
        let is_close = (self.last_stamp_ns - now).abs() < 1_000_000;
        self.last_stamp_ns = if self.tick_ns == 1 && is_close { now.max(self.last_stamp_ns + 1) } else { now };
        self.last_stamp_ns
    }

    fn add(&mut self, node: Node, mode: u32) -> Ino {
        let now = self.stamp();
        let is_volatile = !self.agent && !self.users_sync && matches!(node, Node::File(_));
        self.inodes.push(Inode {
            node,
            mode,
            mtime_ns: now,
            ctime_ns: now,
            links: 0,
            writers: 0,
            agent_writers: 0,
            mappings: 0,
            leases: 0,
            leasable: true,
            unsynced: false,
            user_unsynced: is_volatile.then_some(None),
            suffered: false,
            came_from: Vec::new(),
            names: BTreeSet::new(),
            dropped_by_agent: false,
            changed_at: 0,
            looked_at: 0,
        });
        self.inodes.len() - 1
    }

    pub fn inode(&self, ino: Ino) -> &Inode {
        &self.inodes[ino]
    }

    pub fn inode_mut(&mut self, ino: Ino) -> &mut Inode {
        &mut self.inodes[ino]
    }

    pub fn bytes(&self, ino: Ino) -> &[u8] {
        match &self.inodes[ino].node {
            Node::File(bytes) => bytes,
            _ => &[],
        }
    }

    fn allowed(&self, ino: Ino, bits: u32) -> Outcome<()> {
        let denied = self.agent && self.permissions && self.inodes[ino].mode & bits != bits;
        if denied { Err(TreeErrorKind::Permission) } else { Ok(()) }
    }

    fn entries(&self, folder: Ino) -> Outcome<&BTreeMap<String, Ino>> {
        match &self.inodes[folder].node {
            Node::Folder(entries) => Ok(entries),
            Node::File(_) => Err(TreeErrorKind::NotAFolder),
            Node::Special(Special::Symlink) => Err(TreeErrorKind::Escapes),
            Node::Special(_) => Err(TreeErrorKind::NotAFolder),
        }
    }

    pub fn lookup(&self, path: &str) -> Outcome<Ino> {
        let mut at = ROOT;
        if path.is_empty() {
            return Ok(at);
        }
        for component in path.split('/') {
            let entries = self.entries(at)?;
            check_name(component)?;
            self.allowed(at, 0o100)?;
            at = *entries.get(component).ok_or(TreeErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// The folder of a path, and its last component.
    fn place<'a>(&self, path: &'a str) -> Outcome<(Ino, &'a str)> {
        let (folder, name) = match path.rsplit_once('/') {
            Some(("", _)) => return Err(TreeErrorKind::Escapes),
            Some(split) => split,
            None => ("", path),
        };
        let folder = self.lookup(folder)?;
        self.entries(folder)?;
        check_name(name)?;
        Ok((folder, name))
    }

    fn free_place<'a>(&self, path: &'a str) -> Outcome<(Ino, &'a str)> {
        let (folder, name) = self.place(path)?;
        if self.entries(folder)?.contains_key(name) {
            return Err(TreeErrorKind::Exists);
        }
        self.allowed(folder, 0o300)?;
        Ok((folder, name))
    }

    fn set_entry(&mut self, folder: Ino, name: &str, ino: Option<Ino>) {
        let before = self.write_entry(folder, name, ino);
        if self.agent {
            let undo = Undo { folder, name: name.to_owned(), before };
            if let Some(call) = self.volatile.last_mut() {
                call.push(undo);
            }
        } else {
            self.volatile.clear();
        }
        let now = self.stamp();
        self.inodes[folder].mtime_ns = now;
        self.inodes[folder].ctime_ns = now;
        for ino in [before, ino].into_iter().flatten() {
            self.inodes[ino].ctime_ns = now;
        }
    }

    /// Notes under which synced names files stand now.
    pub fn remember_names(&mut self) {
        for (path, ino) in self.files("") {
            if is_synced(&path) && !self.inodes[ino].names.contains(&path) {
                self.inodes[ino].names.insert(path);
            }
        }
    }

    fn write_entry(&mut self, folder: Ino, name: &str, ino: Option<Ino>) -> Option<Ino> {
        let Node::Folder(entries) = &mut self.inodes[folder].node else { return None };
        let before = match ino {
            Some(ino) => entries.insert(name.to_owned(), ino),
            None => entries.remove(name),
        };
        if let Some(ino) = ino {
            self.inodes[ino].links += 1;
        }
        if let Some(before) = before {
            self.inodes[before].links -= 1;
        }
        before
    }

    pub fn stat(&self, ino: Ino) -> Stat {
        let inode = &self.inodes[ino];
        let (kind, size, file_type) = match &inode.node {
            Node::File(bytes) => (Kind::File, bytes.len() as u64, 0o100_000),
            Node::Folder(_) => (Kind::Folder, 4096, 0o040_000),
            Node::Special(special) => (Kind::Special(*special), 0, 0o120_000),
        };
        Stat {
            kind,
            fingerprint: Fingerprint {
                size,
                mtime_ns: inode.mtime_ns,
                ctime_ns: inode.ctime_ns,
                inode: ino as u64,
                mode: file_type | inode.mode,
            },
            links: u64::from(inode.links),
            mount: 1,
        }
    }

    pub fn read_folder(&self, path: &str) -> Outcome<Vec<(String, Ino)>> {
        let folder = self.lookup(path)?;
        let entries = self.entries(folder)?;
        self.allowed(folder, 0o400)?;
        Ok(entries.iter().map(|(name, ino)| (name.clone(), *ino)).collect())
    }

    /// A regular file, to be read.
    pub fn open(&self, path: &str) -> Outcome<Ino> {
        let ino = self.lookup(path)?;
        match &self.inodes[ino].node {
            Node::File(_) => self.allowed(ino, 0o400).map(|()| ino),
            Node::Folder(_) => Err(TreeErrorKind::IsAFolder),
            Node::Special(Special::Symlink) => Err(TreeErrorKind::Escapes),
            Node::Special(_) => Err(TreeErrorKind::Failed),
        }
    }

    pub fn create(&mut self, path: &str, mode: u32) -> Outcome<Ino> {
        self.insert(path, Node::File(Vec::new()), mode)
    }

    pub fn make_folder(&mut self, path: &str) -> Outcome<Ino> {
        self.insert(path, Node::Folder(BTreeMap::new()), 0o755)
    }

    pub fn make_symlink(&mut self, path: &str) -> Outcome<Ino> {
        self.insert(path, Node::Special(Special::Symlink), 0o777)
    }

    fn insert(&mut self, path: &str, node: Node, mode: u32) -> Outcome<Ino> {
        let (folder, name) = self.free_place(path)?;
        let ino = self.add(node, mode & 0o7777);
        self.set_entry(folder, name, Some(ino));
        Ok(ino)
    }

    pub fn remove_folder(&mut self, path: &str) -> Outcome<()> {
        let (folder, name) = self.place(path)?;
        let ino = *self.entries(folder)?.get(name).ok_or(TreeErrorKind::NotFound)?;
        if !self.entries(ino)?.is_empty() {
            return Err(TreeErrorKind::NotEmpty);
        }
        self.allowed(folder, 0o300)?;
        self.set_entry(folder, name, None);
        Ok(())
    }

    pub fn unlink(&mut self, path: &str) -> Outcome<()> {
        let (folder, name) = self.place(path)?;
        let ino = *self.entries(folder)?.get(name).ok_or(TreeErrorKind::NotFound)?;
        if matches!(self.inodes[ino].node, Node::Folder(_)) {
            return Err(TreeErrorKind::IsAFolder);
        }
        self.allowed(folder, 0o300)?;
        self.set_entry(folder, name, None);
        Ok(())
    }

    pub fn rename(&mut self, from: &str, to: &str, how: Renaming) -> Outcome<()> {
        let (from_folder, from_name) = self.place(from)?;
        let moved = *self.entries(from_folder)?.get(from_name).ok_or(TreeErrorKind::NotFound)?;
        let (to_folder, to_name) = self.place(to)?;
        let there = self.entries(to_folder)?.get(to_name).copied();
        self.allowed(from_folder, 0o300)?;
        self.allowed(to_folder, 0o300)?;
        if to.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
            return Err(TreeErrorKind::Failed);
        }
        match (how, there) {
            (Renaming::New, Some(_)) => return Err(TreeErrorKind::Exists),
            (Renaming::Exchange, None) => return Err(TreeErrorKind::NotFound),
            (Renaming::Exchange, Some(other)) => {
                self.set_entry(from_folder, from_name, Some(other));
                self.set_entry(to_folder, to_name, Some(moved));
                return Ok(());
            }
            (Renaming::Replace, Some(other)) if other == moved => return Ok(()),
            (Renaming::Replace, Some(other)) => match (&self.inodes[moved].node, &self.inodes[other].node) {
                (Node::Folder(_), Node::Folder(entries)) if !entries.is_empty() => return Err(TreeErrorKind::NotEmpty),
                (Node::Folder(_), Node::Folder(_)) => {}
                (Node::Folder(_), _) => return Err(TreeErrorKind::NotAFolder),
                (_, Node::Folder(_)) => return Err(TreeErrorKind::IsAFolder),
                _ => {}
            },
            (_, None) => {}
        }
        self.set_entry(from_folder, from_name, None);
        self.set_entry(to_folder, to_name, Some(moved));
        Ok(())
    }

    pub fn link(&mut self, from: &str, to: &str) -> Outcome<()> {
        let ino = self.lookup(from)?;
        if matches!(self.inodes[ino].node, Node::Folder(_)) {
            return Err(TreeErrorKind::Permission);
        }
        let (folder, name) = self.free_place(to)?;
        self.set_entry(folder, name, Some(ino));
        Ok(())
    }

    pub fn set_mode(&mut self, ino: Ino, mode: u32) {
        self.inodes[ino].mode = mode & 0o7777;
        self.inodes[ino].ctime_ns = self.stamp();
    }

    pub fn set_mtime(&mut self, ino: Ino, mtime_ns: i64) {
        self.inodes[ino].mtime_ns = mtime_ns;
        self.inodes[ino].ctime_ns = self.stamp();
    }

    /// What `write` does to a file.
    pub fn write(&mut self, ino: Ino, offset: usize, bytes: &[u8]) {
        self.store(ino, offset, bytes);
        self.touch(ino);
    }

    /// What a store through a mapping does: no time moves.
    pub fn store(&mut self, ino: Ino, offset: usize, bytes: &[u8]) {
        self.is_written(ino);
        let agent = self.agent;
        let inode = &mut self.inodes[ino];
        if let Node::File(content) = &mut inode.node {
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[offset..end].copy_from_slice(bytes);
        }
        inode.unsynced |= agent;
        self.user_syncs(ino);
    }

    pub fn set_len(&mut self, ino: Ino, len: usize) {
        self.is_written(ino);
        let agent = self.agent;
        let inode = &mut self.inodes[ino];
        if let Node::File(content) = &mut inode.node {
            content.resize(len, 0);
        }
        inode.unsynced |= agent;
        self.touch(ino);
        self.user_syncs(ino);
    }

    /// Somebody is about to write to it: what the disk has of it so far may be all that a power loss leaves.
    fn is_written(&mut self, ino: Ino) {
        let by_a_user = !self.agent && !self.users_sync;
        let inode = &mut self.inodes[ino];
        inode.suffered = false;
        if let (true, None, Node::File(bytes)) = (by_a_user, &inode.user_unsynced, &inode.node) {
            let synced = Synced { bytes: bytes.clone(), mtime_ns: inode.mtime_ns, ctime_ns: inode.ctime_ns };
            inode.user_unsynced = Some((!inode.unsynced).then_some(synced));
        }
    }

    /// The names that users give are durable at once, and what they write as well, unless pages get lost.
    fn user_syncs(&mut self, ino: Ino) {
        if !self.agent {
            let last = self.volatile.iter().rposition(|call| call.iter().any(|undo| undo.before == Some(ino)));
            self.make_durable(last);
        }
    }

    pub fn touch(&mut self, ino: Ino) {
        let now = self.stamp();
        self.inodes[ino].mtime_ns = now;
        self.inodes[ino].ctime_ns = now;
    }

    pub fn sync_file(&mut self, ino: Ino) {
        self.inodes[ino].unsynced = false;
        self.inodes[ino].user_unsynced = None;
    }

    /// The journal is written in order: what happened before the last change in this folder becomes durable with it.
    pub fn sync_folder(&mut self, folder: Ino) {
        let last = self.volatile.iter().rposition(|call| call.iter().any(|undo| undo.folder == folder));
        self.make_durable(last);
    }

    fn make_durable(&mut self, last: Option<usize>) {
        if let Some(last) = last {
            self.volatile.drain(..=last);
        }
    }

    pub fn sync_all(&mut self) {
        self.volatile.clear();
        for inode in &mut self.inodes {
            inode.unsynced = false;
            inode.user_unsynced = None;
        }
    }

    /// The machine stops at once: of an agent's unsynced names a tail is taken back, of unsynced data the end is gone
    /// while the times stay, or a user's whole last change with its times. Returns the files whose data suffered, and
    /// what they held.
    pub fn lose_power(&mut self, dice: &mut Dice) -> Vec<(Ino, Vec<u8>)> {
        let keep = dice.below(self.volatile.len() + 1);
        while self.volatile.len() > keep {
            for undo in self.volatile.pop().into_iter().flatten().rev() {
                self.write_entry(undo.folder, &undo.name, undo.before);
            }
        }
        self.volatile.clear();
        let mut suffered = Vec::new();
        for ino in 0..self.inodes.len() {
            let inode = &mut self.inodes[ino];
            let (by_agent, by_user) = (inode.unsynced, inode.user_unsynced.take());
            inode.unsynced = false;
            if !(by_agent && dice.chance(0.7) || by_user.is_some() && dice.chance(0.5)) {
                continue;
            }
            match by_user {
                Some(Some(synced)) if dice.chance(0.3) => suffered.extend(self.set_back(ino, synced)),
                _ => suffered.extend(self.shorten(ino, dice)),
            }
        }
        suffered
    }

    fn set_back(&mut self, ino: Ino, synced: Synced) -> Option<(Ino, Vec<u8>)> {
        let inode = &mut self.inodes[ino];
        let Node::File(bytes) = &mut inode.node else { return None };
        (inode.mtime_ns, inode.ctime_ns, inode.suffered) = (synced.mtime_ns, synced.ctime_ns, true);
        Some((ino, std::mem::replace(bytes, synced.bytes)))
    }

    /// The end of a file's data is gone, and no time tells.
    pub fn shorten(&mut self, ino: Ino, dice: &mut Dice) -> Option<(Ino, Vec<u8>)> {
        let inode = &mut self.inodes[ino];
        let Node::File(bytes) = &mut inode.node else { return None };
        let before = bytes.clone();
        bytes.truncate(if dice.chance(0.7) { 0 } else { dice.below(before.len()) });
        inode.suffered = true;
        Some((ino, before))
    }

    /// Every file and special below a folder (or the file at `path` itself), in key order.
    pub fn files(&self, path: &str) -> Vec<(String, Ino)> {
        let mut files = Vec::new();
        let start = self.raw_lookup(path);
        if let Some(start) = start {
            self.collect(path, start, &mut files);
        }
        files
    }

    /// Folders below the root, our own left out, parents first.
    pub fn folders(&self) -> Vec<String> {
        let mut folders = Vec::new();
        let mut open = vec![(String::new(), ROOT)];
        while let Some((path, ino)) = open.pop() {
            let Node::Folder(entries) = &self.inodes[ino].node else { continue };
            for (name, child) in entries {
                let below = join(&path, name);
                if matches!(self.inodes[*child].node, Node::Folder(_)) && is_synced(&below) {
                    folders.push(below.clone());
                    open.push((below, *child));
                }
            }
        }
        folders
    }

    fn raw_lookup(&self, path: &str) -> Option<Ino> {
        if path.is_empty() {
            return Some(ROOT);
        }
        path.split('/').try_fold(ROOT, |at, name| match &self.inodes[at].node {
            Node::Folder(entries) => entries.get(name).copied(),
            _ => None,
        })
    }

    fn collect(&self, path: &str, ino: Ino, files: &mut Vec<(String, Ino)>) {
        match &self.inodes[ino].node {
            Node::Folder(entries) => {
                for (name, child) in entries {
                    self.collect(&join(path, name), *child, files);
                }
            }
            _ => files.push((path.to_owned(), ino)),
        }
    }
}

fn check_name(name: &str) -> Outcome<()> {
    match name {
        "" | "." | ".." => Err(TreeErrorKind::Escapes),
        _ if name.len() > NAME_BYTES_MAX => Err(TreeErrorKind::NameTooLong),
        _ => Ok(()),
    }
}

pub fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Whether a local path belongs to the users (and not to GoSync).
pub fn is_synced(path: &str) -> bool {
    path != ".gosync" && !path.starts_with(".gosync/")
}
