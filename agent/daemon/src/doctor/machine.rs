//! The machine: the data_dir and who holds it, and how many folders can be watched.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use gosync_api::messages::State;
use gosync_fs::{count_folders, holder, survey, watch_limits};

use super::{Checks, Subject, size};

/// A database and its log want some room.
const FREE_BYTES_MIN: u64 = 64 << 20;
/// Other programs watch too.
const WATCHES_SHARE_MAX: u64 = 80;

pub fn data_dir(checks: &mut Checks, path: &Path, ours: Option<&State>) {
    let at = path.display();
    let found = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return missing(checks, path),
        Err(error) => {
            return checks.wrong("data_dir", None, format!("{at} can't be looked at: {error}"), "check who owns it");
        }
        Ok(found) => found,
    };
    match survey(path) {
        Err(error) => checks.wrong("data_dir", None, format!("{at}: {error}"), "name a folder in data_dir"),
        Ok(seen) if !(seen.may_read && seen.may_write) => {
            checks.wrong(
                "data_dir",
                None,
                format!("{at} can't be read and written by this user"),
                "give it to the agent's user, or name another data_dir",
            );
        }
        Ok(seen) if seen.free_bytes < FREE_BYTES_MIN => {
            let found = format!("{at} has {} free on its {}", size(seen.free_bytes), seen.file_system);
            checks.wrong("data_dir", None, found, "make room: the agent has to write down what it does");
        }
        Ok(seen) if seen.network => checks.warning(
            "data_dir",
            None,
            format!("{at} lies on a network file system ({})", seen.file_system),
            "its databases want a local disk: name one in data_dir",
        ),
        Ok(seen) if seen.in_memory => checks.warning(
            "data_dir",
            None,
            format!(
                "{at} lies in memory ({}): after a restart of the machine every mirror is a first run",
                seen.file_system
            ),
            "name a folder on a disk in data_dir, or set state: volume for the mirrors",
        ),
        Ok(seen) => {
            checks.ok(
                "data_dir",
                None,
                format!("{at}: writable, {} free on {}", size(seen.free_bytes), seen.file_system),
            );
        }
    }
    user(checks, found.uid());
    held(checks, path, ours);
}

fn missing(checks: &mut Checks, path: &Path) {
    let at = path.display();
    let above = path.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    match survey(above) {
        Ok(seen) if seen.may_write => checks.ok("data_dir", None, format!("{at} is not there yet: the agent makes it")),
        _ => checks.wrong(
            "data_dir",
            None,
            format!("{at} is not there, and this user can't make it in {}", above.display()),
            "make it and give it to the agent's user, or name another data_dir",
        ),
    }
}

/// What this user may do is checked: another one may do other things.
fn user(checks: &mut Checks, owner: u32) {
    let Some(me) = std::fs::metadata("/proc/self").ok().map(|found| found.uid()) else { return };
    if me != owner {
        let found = format!("this is user {me}, the data_dir is user {owner}'s: permissions were checked for {me}");
        checks.warning(
            "user",
            None,
            found,
            &format!("run it as the agent's user (`sudo -u '#{owner}' gosync doctor`)"),
        );
    }
}

fn held(checks: &mut Checks, data_dir: &Path, ours: Option<&State>) {
    match (holder(&data_dir.join("lock")).ok().flatten(), ours) {
        (_, Some(state)) => checks.ok("data_dir", None, format!("held by the agent with process id {}", state.pid)),
        (Some(pid), None) => checks.wrong(
            "data_dir",
            None,
            format!("process {pid} holds it, but no agent answers for it"),
            "if that is an agent, see its log; end it, or name its socket with --socket",
        ),
        (None, None) => checks.ok("data_dir", None, "no agent holds it"),
    }
}

/// Each mirror wants a watcher, and each of its folders a watch.
pub fn watches(checks: &mut Checks, subjects: &[Subject]) {
    let Some(limits) = watch_limits() else { return };
    let mut folders = 0_u64;
    for subject in subjects {
        // Beyond the limit it makes no difference by how much.
        let enough = limits.watches.saturating_sub(folders).saturating_add(1);
        folders += count_folders(&subject.local_path, enough);
    }
    let found = format!("{folders} folders to watch; fs.inotify.max_user_watches is {}", limits.watches);
    if folders > limits.watches {
        let wanted = limits.watches.saturating_mul(4);
        let next = format!("`sysctl fs.inotify.max_user_watches={wanted}` or more; until then the rest is polled");
        checks.warning("watches", None, found.replace(" folders", " folders or more"), &next);
    } else if folders.saturating_mul(100) > limits.watches.saturating_mul(WATCHES_SHARE_MAX) {
        let next = format!("`sysctl fs.inotify.max_user_watches={}`", limits.watches.saturating_mul(2));
        checks.warning("watches", None, format!("{found}, and other programs need some too"), &next);
    } else {
        checks.ok("watches", None, found);
    }
    if subjects.len() as u64 >= limits.instances {
        let found = format!("{} mirrors; fs.inotify.max_user_instances is {}", subjects.len(), limits.instances);
        let next = format!("`sysctl fs.inotify.max_user_instances={}`", subjects.len() as u64 + 128);
        checks.warning("watches", None, found, &next);
    }
}
