//! What a folder's file system and the kernel allow, for people who ask what is wrong. Looks only: nothing is made, opened
//! for writing or locked, and nothing here decides for the engine.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, StatxFlags, accessat, major, minor, statfs, statvfs, statx};

use crate::facts::is_network;

/// File systems on which two names can be exchanged in one step.
const WITH_EXCHANGE: [&str; 9] = ["ext4", "xfs", "btrfs", "f2fs", "tmpfs", "overlay", "ubifs", "bcachefs", "zfs"];
/// Those whose files go with the power.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// What is known of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// As the kernel names it: `ext4`, `nfs4`, `fuse.sshfs`.
    pub file_system: String,
    /// Other hosts may write to it without our kernel hearing of it.
    pub network: bool,
    /// Its files are gone after a restart of the machine.
    pub in_memory: bool,
    /// Two names are exchanged in one step; false where that is not known.
    pub exchange: bool,
    pub total_bytes: u64,
    /// To users without privileges.
    pub free_bytes: u64,
    /// By the user of this process.
    pub may_read: bool,
    pub may_write: bool,
}

/// Looks at a folder.
pub fn survey(folder: &Path) -> io::Result<Survey> {
    if !std::fs::metadata(folder)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let network = is_network(&statfs(folder)?);
    let space = statvfs(folder)?;
    let file_system = file_system(folder).unwrap_or_else(|| "unknown".to_owned());
    let may = |access| accessat(CWD, folder, access, AtFlags::EACCESS).is_ok();
    Ok(Survey {
        network,
        in_memory: IN_MEMORY.contains(&file_system.as_str()),
        exchange: WITH_EXCHANGE.contains(&file_system.as_str()),
        file_system,
        total_bytes: space.f_blocks.saturating_mul(space.f_frsize),
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        may_read: may(Access::READ_OK | Access::EXEC_OK),
        may_write: may(Access::WRITE_OK | Access::EXEC_OK),
    })
}

/// Whether other hosts may write to the file system of this folder, or of the one that it will be made in.
pub fn is_on_network(folder: &Path) -> io::Result<bool> {
    let there = folder.ancestors().find(|above| above.exists()).unwrap_or(folder);
    Ok(is_network(&statfs(there)?))
}

/// The type of the file system at a path, by its mount.
fn file_system(path: &Path) -> Option<String> {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    type_of_mount(&table, found.stx_mnt_id)
}

/// `<id> <parent> <device> <root> <at> <options> [<tag> ...] - <type> <source> <options>`
fn type_of_mount(table: &str, id: u64) -> Option<String> {
    let line = table.lines().find(|line| line.split(' ').next() == Some(id.to_string().as_str()))?;
    let (_, rest) = line.split_once(" - ")?;
    rest.split(' ').next().map(str::to_owned)
}

/// The process that holds a lock file of ours, as the kernel's table tells it; `None`: nobody, or nobody whom we may see.
pub fn holder(lock: &Path) -> io::Result<Option<u32>> {
    let facts = std::fs::metadata(lock)?;
    let table = std::fs::read_to_string("/proc/locks")?;
    Ok(holder_in(&table, facts.dev(), facts.ino()))
}

/// `<n>: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF`, the device in hex. It is that of the file system; where
/// files show another one of their own (btrfs, overlay), theirs has no driver, and the inode alone has to do.
fn holder_in(table: &str, device: u64, inode: u64) -> Option<u32> {
    let shown = format!("{:02x}:{:02x}", major(device), minor(device));
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", pid, file, ..] = words.as_slice() else { return None };
        let (on, found) = file.rsplit_once(':')?;
        let same = found == inode.to_string() && (on == shown || major(device) == 0);
        if same { pid.parse().ok() } else { None }
    })
}

/// Limits of inotify for one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchLimits {
    /// Folders that can be watched, by all programs together.
    pub watches: u64,
    /// Watchers, by all programs together: each mirror has one.
    pub instances: u64,
}

/// `None` where the kernel doesn't tell.
#[must_use]
pub fn watch_limits() -> Option<WatchLimits> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?.trim().parse().ok();
    Some(WatchLimits { watches: read("max_user_watches")?, instances: read("max_user_instances")? })
}

/// Folders of a tree, the root among them, that a mirror would watch: without our own, links and other mounts. Stops at
/// `enough`; what can't be read counts as one.
#[must_use]
pub fn count_folders(root: &Path, enough: u64) -> u64 {
    let Ok(top) = std::fs::symlink_metadata(root) else { return 0 };
    let mut count = 0;
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        count += 1;
        if count >= enough {
            break;
        }
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let own = folder == root && entry.file_name() == ".gosync";
            if !own
                && entry.file_type().is_ok_and(|kind| kind.is_dir())
                && entry.metadata().is_ok_and(|found| found.dev() == top.dev())
            {
                waiting.push(entry.path());
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]
    use super::*;
    use crate::lock_file;

    #[test]
    fn the_type_is_that_of_the_mount() {
        let table = "22 1 0:20 / /proc rw - proc proc rw\n\
                     36 22 98:0 /r /mnt rw,noatime master:1 shared:2 - ext4 /dev/root rw,errors=continue\n\
                     361 22 0:50 / /x rw - fuse.sshfs me@host:/ rw\n";
        assert_eq!(type_of_mount(table, 36).as_deref(), Some("ext4"));
        assert_eq!(type_of_mount(table, 361).as_deref(), Some("fuse.sshfs"));
        assert_eq!(type_of_mount(table, 3), None);
    }

    #[test]
    fn a_folder_is_surveyed_and_stays_as_it_was() {
        let temp = tempfile::tempdir().unwrap();
        let found = survey(temp.path()).unwrap();
        assert!(found.may_read && found.may_write && found.total_bytes >= found.free_bytes, "{found:?}");
        assert_ne!(found.file_system, "unknown");
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
        assert_eq!(survey(Path::new("/proc")).unwrap().file_system, "proc");
        assert!(survey(&temp.path().join("none")).is_err());
    }

    #[test]
    fn the_holder_of_a_lock_is_told_without_taking_it() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("lock");
        let lock = lock_file(&path).unwrap();
        assert_eq!(holder(&path).unwrap(), Some(std::process::id()));
        drop(lock);
        assert_eq!(holder(&path).unwrap(), None);
        let table = "1: POSIX  ADVISORY  WRITE 11 fd:01:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 12 fd:01:77 0 EOF\n";
        let device = rustix::fs::makedev(0xfd, 1);
        assert_eq!(holder_in(table, device, 77), Some(12));
        assert_eq!(holder_in(table, device, 7), None);
        assert_eq!(holder_in(table, rustix::fs::makedev(8, 1), 77), None);
        assert_eq!(holder_in(table, rustix::fs::makedev(0, 40), 77), Some(12));
    }

    #[test]
    fn folders_are_counted_without_our_own_and_links() {
        let temp = tempfile::tempdir().unwrap();
        for folder in ["a/b", "c", ".gosync/tmp", "a/.gosync"] {
            std::fs::create_dir_all(temp.path().join(folder)).unwrap();
        }
        std::os::unix::fs::symlink(temp.path(), temp.path().join("c/up")).unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        assert_eq!(count_folders(temp.path(), 100), 5);
        assert_eq!(count_folders(temp.path(), 3), 3);
        assert_eq!(count_folders(&temp.path().join("none"), 3), 0);
    }
}
