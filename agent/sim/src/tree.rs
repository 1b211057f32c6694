//! A replica's tree as the engine sees it: each call takes a little time, may fail, may be the process's last, and may
//! find that somebody was faster.

use gosync_engine::ports::local::Kind;
use gosync_engine::ports::{FolderEntry, Lease, LocalTree, RootFacts, Space, Stat, TreeError, TreeErrorKind, TreeFile};
use gosync_plan::Direction;
use gosync_plan::facts::Special;

use crate::disk::{Disk, Ino, Renaming, is_synced};
use crate::runtime::Port;
use crate::world::{Replica, Who, World};

pub struct SimTree(pub Port);

/// The call that tells whether somebody changed a file.
const STAT: &str = "stat";

/// What a call may do: looks fail and die more rarely than effects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Look,
    Effect,
}

impl Port {
    fn call<T>(
        &self,
        name: &'static str,
        path: &str,
        call: Call,
        act: impl FnOnce(&mut World) -> Result<T, TreeErrorKind>,
    ) -> Result<T, TreeError> {
        self.named_call(name, path, path, call, act)
    }

    fn named_call<T>(
        &self,
        name: &'static str,
        path: &str,
        target: &str,
        call: Call,
        act: impl FnOnce(&mut World) -> Result<T, TreeErrorKind>,
    ) -> Result<T, TreeError> {
        let failed = |kind| Err(TreeError::new(kind, name, path));
        let mut world = self.lock();
        if !self.alive(&world) {
            return failed(TreeErrorKind::Killed);
        }
        world.tick();
        world.stats.system_calls += 1;
        let effect = call == Call::Effect;
        let die_before = world.dice.chance(0.5);
        if die_before && world.kill_is_due(self.replica, effect) {
            return failed(TreeErrorKind::Killed);
        }
        world.somebody_is_faster(Some(self.replica), target);
        if let Some(kind) = world.disk_fault(self.replica, effect) {
            world.tell(Who::Agent(self.replica), || format!("{name} {path}: fails ({kind:?})"));
            return failed(kind);
        }
        let answer = act(&mut world);
        if effect {
            let told = answer.as_ref().err().copied();
            world.tell(Who::Agent(self.replica), || match told {
                None => format!("{name} {path}"),
                Some(kind) => format!("{name} {path}: {kind:?}"),
            });
            if !die_before && world.kill_is_due(self.replica, true) {
                return failed(TreeErrorKind::Killed);
            }
        }
        drop(world);
        answer.or_else(failed)
    }

    fn look<T>(
        &self,
        name: &'static str,
        path: &str,
        act: impl FnOnce(&mut Disk) -> Result<T, TreeErrorKind>,
    ) -> Result<T, TreeError> {
        self.call(name, path, Call::Look, |world| {
            let moment = world.moment();
            let disk = &mut world.replicas[self.replica].disk;
            let answer = disk.as_agent(act);
            if let (true, Ok(ino)) = (name == STAT, disk.lookup(path)) {
                disk.inode_mut(ino).looked_at = moment;
            }
            answer
        })
    }

    fn rename_as(&self, name: &'static str, from: &str, to: &str, how: Renaming) -> Result<(), TreeError> {
        let target = if is_synced(to) { to } else { from };
        self.named_call(name, &format!("{from} -> {to}"), target, Call::Effect, |world| {
            if how != Renaming::Replace && !world.profile.exchange {
                return Err(TreeErrorKind::Unsupported);
            }
            world.agent_renames(self.replica, &[from, to], |disk| disk.rename(from, to, how))
        })
    }
}

impl World {
    /// Before an agent's call or request somebody else may do something, often at the very same place.
    pub fn somebody_is_faster(&mut self, replica: Option<usize>, target: &str) {
        if self.quiet || self.steps_left == 0 || !self.dice.chance(self.profile.races) {
            return;
        }
        self.steps_left -= 1;
        let target = self.dice.chance(0.6).then_some(target);
        match replica {
            Some(replica) => self.user_step(replica, target.filter(|path| !path.is_empty() && is_synced(path))),
            None => self.tool_step(target.filter(|key| self.path_of(key).is_some())),
        }
    }

    fn disk_fault(&mut self, replica: usize, effect: bool) -> Option<TreeErrorKind> {
        if self.quiet || !self.dice.chance(self.profile.disk_faults) {
            return None;
        }
        self.stats.faults += 1;
        if self.profile.directions[replica] == Direction::Pull {
            // A file may be in place, and whoever put it there doesn't get to record it.
            self.left_halfway(replica);
        }
        let kinds: &[TreeErrorKind] =
            if effect { &[TreeErrorKind::Failed, TreeErrorKind::NoSpace] } else { &[TreeErrorKind::Failed] };
        self.dice.pick(kinds).copied()
    }
}

fn root_facts() -> RootFacts {
    RootFacts { device: 1, inode: 0, mount: 1, network: false }
}

impl LocalTree for SimTree {
    fn root(&self) -> Result<RootFacts, TreeError> {
        self.0.call("root", "", Call::Look, |_| Ok(root_facts()))
    }

    fn opened_root(&self) -> RootFacts {
        root_facts()
    }

    fn visit_folder(&self, folder: &str, visit: &mut dyn FnMut(FolderEntry)) -> Result<(), TreeError> {
        let kinds = self.0.lock().profile.entry_kinds;
        let entries = self.0.look("read folder", folder, |disk| {
            let entries = disk.read_folder(folder)?.into_iter();
            let entry = |(name, ino)| {
                let is_folder = kinds.then(|| disk.stat(ino).kind == Kind::Folder);
                FolderEntry { name: Ok(name), is_folder }
            };
            // No file system promises an order.
            Ok(entries.rev().map(entry).collect::<Vec<_>>())
        })?;
        entries.into_iter().for_each(visit);
        Ok(())
    }

    fn stat(&self, path: &str) -> Result<Stat, TreeError> {
        self.0.look(STAT, path, |disk| disk.lookup(path).map(|ino| disk.stat(ino)))
    }

    fn open(&self, path: &str) -> Result<Box<dyn TreeFile>, TreeError> {
        let ino = self.0.look("open", path, |disk| disk.open(path))?;
        Ok(SimFile::opened(&self.0, path, ino, false))
    }

    fn reopen(&self, path: &str) -> Result<Box<dyn TreeFile>, TreeError> {
        let port = &self.0;
        let ino = port.look("open for writing", path, |disk| disk.open(path))?;
        if is_synced(path) {
            let message = format!("agent-{} opened {path} for writing in its place", port.replica);
            port.lock().violate("P3", None, message);
        }
        Ok(SimFile::opened(port, path, ino, true))
    }

    fn create(&self, path: &str, mode: u32) -> Result<Box<dyn TreeFile>, TreeError> {
        let port = &self.0;
        let ino = port.call("create", path, Call::Effect, |world| {
            let ino = world.agent_renames(port.replica, &[path], |disk| disk.create(path, mode))?;
            if is_synced(path) {
                let message = format!("agent-{} created {path} in its place", port.replica);
                world.violate("P3", None, message);
            }
            let leasable = Replica::leasable(&world.profile, &mut world.dice);
            let inode = world.replicas[port.replica].disk.inode_mut(ino);
            inode.leasable = leasable;
            Ok(ino)
        })?;
        Ok(SimFile::opened(port, path, ino, true))
    }

    fn make_folder(&self, path: &str) -> Result<(), TreeError> {
        self.0.call("make folder", path, Call::Effect, |world| {
            world.agent_renames(self.0.replica, &[path], |disk| disk.make_folder(path).map(|_| ()))
        })
    }

    fn remove_folder(&self, path: &str) -> Result<(), TreeError> {
        self.0.call("remove folder", path, Call::Effect, |world| {
            world.agent_renames(self.0.replica, &[path], |disk| disk.remove_folder(path))
        })
    }

    fn unlink(&self, path: &str) -> Result<(), TreeError> {
        self.0.call("unlink", path, Call::Effect, |world| {
            world.agent_renames(self.0.replica, &[path], |disk| disk.unlink(path))
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), TreeError> {
        self.0.rename_as("rename", from, to, Renaming::Replace)
    }

    fn rename_new(&self, from: &str, to: &str) -> Result<(), TreeError> {
        self.0.rename_as("rename to a new name", from, to, Renaming::New)
    }

    fn exchange(&self, a: &str, b: &str) -> Result<(), TreeError> {
        self.0.rename_as("exchange", a, b, Renaming::Exchange)
    }

    fn link(&self, from: &str, to: &str) -> Result<(), TreeError> {
        let target = if is_synced(to) { to } else { from };
        self.0.named_call("link", &format!("{from} -> {to}"), target, Call::Effect, |world| {
            // Without exchange there is only this way.
            if !world.profile.links && world.profile.exchange {
                return Err(TreeErrorKind::Unsupported);
            }
            world.agent_renames(self.0.replica, &[to], |disk| disk.link(from, to))
        })
    }

    fn make_link(&self, path: &str) -> Result<(), TreeError> {
        Err(TreeError::new(TreeErrorKind::Unsupported, "make link", path))
    }

    fn set_mode(&self, path: &str, mode: u32) -> Result<(), TreeError> {
        self.0.call("set mode", path, Call::Effect, |world| {
            world.stats.effects.local += u64::from(is_synced(path));
            world.may_write_to_tree(self.0.replica, path);
            world.replicas[self.0.replica].disk.as_agent(|disk| {
                let ino = disk.lookup(path)?;
                if disk.stat(ino).kind == Kind::Special(Special::Symlink) {
                    return Err(TreeErrorKind::Escapes);
                }
                disk.set_mode(ino, mode);
                Ok(())
            })
        })
    }

    fn copy_attributes(&self, from: &str, to: &str) -> Result<(), TreeError> {
        self.0.call("copy attributes", to, Call::Effect, |world| {
            let disk = &mut world.replicas[self.0.replica].disk;
            disk.as_agent(|disk| {
                let leasable = disk.inode(disk.lookup(from)?).leasable;
                let to = disk.lookup(to)?;
                disk.inode_mut(to).leasable = leasable;
                Ok(())
            })
        })
    }

    fn sync_folder(&self, folder: &str) -> Result<(), TreeError> {
        self.0.call("sync folder", folder, Call::Effect, |world| {
            let disk = &mut world.replicas[self.0.replica].disk;
            let ino = disk.as_agent(|disk| disk.lookup(folder))?;
            if disk.stat(ino).kind != Kind::Folder {
                return Err(TreeErrorKind::NotAFolder);
            }
            disk.sync_folder(ino);
            Ok(())
        })
    }

    fn sync_tree(&self) -> Result<(), TreeError> {
        self.0.call("sync tree", "", Call::Effect, |world| {
            world.replicas[self.0.replica].disk.sync_all();
            Ok(())
        })
    }

    fn space(&self) -> Result<Space, TreeError> {
        self.0.call("space", "", Call::Look, |_| Ok(Space { free_bytes: 1 << 40, total_bytes: 1 << 41 }))
    }
}

/// An open file. What it writes goes to the inode, wherever its name is by now.
struct SimFile {
    port: Port,
    /// As it was opened.
    path: String,
    ino: Ino,
    writing: bool,
    leased: std::sync::atomic::AtomicBool,
}

impl SimFile {
    fn opened(port: &Port, path: &str, ino: Ino, writing: bool) -> Box<dyn TreeFile> {
        let mut world = port.lock();
        world.replicas[port.replica].disk.inode_mut(ino).agent_writers += u32::from(writing);
        drop(world);
        Box::new(Self {
            port: port.clone(),
            path: path.to_owned(),
            ino,
            writing,
            leased: std::sync::atomic::AtomicBool::new(false),
        })
    }

    fn look<T>(&self, name: &'static str, act: impl FnOnce(&mut Disk) -> T) -> Result<T, TreeError> {
        self.port.call(name, &self.path, Call::Look, |world| {
            let moment = world.moment();
            let disk = &mut world.replicas[self.port.replica].disk;
            if name == STAT {
                disk.inode_mut(self.ino).looked_at = moment;
            }
            Ok(act(disk))
        })
    }

    fn effect(&self, name: &'static str, act: impl FnOnce(&mut World)) -> Result<(), TreeError> {
        self.port.call(name, &self.path, Call::Effect, |world| {
            act(world);
            Ok(())
        })
    }

    fn write(&self, name: &'static str, act: impl FnOnce(&mut Disk)) -> Result<(), TreeError> {
        self.effect(name, |world| world.agent_writes(self.port.replica, self.ino, act))
    }

    /// Mode and times: no content is at stake.
    fn attribute(&self, name: &'static str, act: impl FnOnce(&mut Disk)) -> Result<(), TreeError> {
        self.effect(name, |world| {
            let visible = !world.synced_paths(self.port.replica, self.ino).is_empty();
            world.stats.effects.local += u64::from(visible);
            world.replicas[self.port.replica].disk.as_agent(act);
        })
    }
}

impl TreeFile for SimFile {
    fn stat(&self) -> Result<Stat, TreeError> {
        self.look(STAT, |disk| disk.stat(self.ino))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, TreeError> {
        self.look("read", |disk| {
            let bytes = disk.bytes(self.ino);
            let from = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
            let count = buffer.len().min(bytes.len() - from);
            buffer[..count].copy_from_slice(&bytes[from..from + count]);
            count
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), TreeError> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.write("write", |disk| disk.write(self.ino, offset, bytes))
    }

    fn set_len(&self, bytes: u64) -> Result<(), TreeError> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.write("set length", |disk| disk.set_len(self.ino, bytes))
    }

    fn set_mode(&self, mode: u32) -> Result<(), TreeError> {
        self.attribute("set mode", |disk| disk.set_mode(self.ino, mode))
    }

    fn set_mtime_ns(&self, mtime_ns: i64) -> Result<(), TreeError> {
        self.attribute("set mtime", |disk| disk.set_mtime(self.ino, mtime_ns))
    }

    fn sync(&self) -> Result<(), TreeError> {
        self.effect("sync", |world| world.replicas[self.port.replica].disk.sync_file(self.ino))
    }

    fn lease(&self) -> Lease {
        // Whoever can't be asked is `Unavailable` for good; a call that fails by chance would only hide writers.
        let answer = {
            let world = self.port.lock();
            let inode = world.replicas[self.port.replica].disk.inode(self.ino);
            if inode.writers + inode.agent_writers + inode.mappings > 0 {
                Lease::Busy
            } else if inode.leasable {
                Lease::Granted
            } else {
                Lease::Unavailable
            }
        };
        if answer == Lease::Granted && !self.leased.swap(true, std::sync::atomic::Ordering::Relaxed) {
            self.port.lock().replicas[self.port.replica].disk.inode_mut(self.ino).leases += 1;
        }
        answer
    }

    fn release_lease(&self) {
        if self.leased.swap(false, std::sync::atomic::Ordering::Relaxed) {
            self.port.lock().replicas[self.port.replica].disk.inode_mut(self.ino).leases -= 1;
        }
    }

    fn copy_to(&self, to: &dyn TreeFile) -> Result<(), TreeError> {
        let bytes = self.look("copy", |disk| disk.bytes(self.ino).to_vec())?;
        to.set_len(0)?;
        to.write_at(0, &bytes)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.release_lease();
        if self.writing {
            self.port.lock().replicas[self.port.replica].disk.inode_mut(self.ino).agent_writers -= 1;
        }
    }
}
