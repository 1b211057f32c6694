//! The folder of a mirror: there, readable, writable, alone ours, on a fit file system with room on it.

use std::io;
use std::path::Path;

use gosync_api::config::{MetadataKind, MirrorConfig, StatePlace};
use gosync_fs::{Survey, holder, survey};

use super::{Checks, Subject, size};

pub fn check(checks: &mut Checks, subject: &Subject, agent: Option<u32>) {
    let mirror = Some(subject.name.as_str());
    let root = &subject.local_path;
    let at = root.display();
    let seen = match survey(root) {
        Ok(seen) => seen,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return missing(checks, subject),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return checks.wrong("root", mirror, format!("{at} is no folder"), "name a folder in local_path");
        }
        Err(error) => {
            return checks.wrong("root", mirror, format!("{at}: {error}"), "let the agent's user read it");
        }
    };
    match (seen.may_read, seen.may_write) {
        (false, _) => checks.wrong("root", mirror, format!("{at} can't be read"), "let the agent's user read it"),
        (true, false) if subject.writes_locally() => checks.wrong(
            "root",
            mirror,
            format!("{at} can't be written"),
            "let the agent's user write it, or set direction: push",
        ),
        (true, false) => checks.ok("root", mirror, format!("{at}: readable; not writable, which push doesn't need")),
        (true, true) => checks.ok("root", mirror, format!("{at}: readable and writable")),
    }
    if let Ok(Some(pid)) = holder(&root.join(".gosync/lock"))
        && agent != Some(pid)
    {
        let next = "one agent per folder: end that one, or take the folder out of one of the two configs";
        checks.wrong("root", mirror, format!("process {pid} works on {at} already"), next);
    }
    file_system(checks, subject, &seen);
    space(checks, subject, &seen);
}

fn missing(checks: &mut Checks, subject: &Subject) {
    let mirror = Some(subject.name.as_str());
    let at = subject.local_path.display();
    let name = &subject.name;
    let volume = subject.config.as_ref().is_some_and(|config| config.state == StatePlace::Volume);
    let kept = if volume { format!("{name}.volume") } else { format!("{name}.db") };
    let known = subject.data_dir.join("mirrors").join(kept).exists();
    if known {
        let next = "mount it or put it back; if it is gone for good: `gosync sync remove` or take it out of the config";
        return checks.wrong("root", mirror, format!("{at} was there and is gone: nothing is deleted for it"), next);
    }
    let above = subject.local_path.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    match survey(above) {
        Ok(seen) if seen.may_write => checks.ok("root", mirror, format!("{at} is not there yet: the agent makes it")),
        _ => checks.wrong(
            "root",
            mirror,
            format!("{at} is not there, and this user can't make it in {}", above.display()),
            "make it, and let the agent's user read and write it",
        ),
    }
}

fn file_system(checks: &mut Checks, subject: &Subject, seen: &Survey) {
    let mirror = Some(subject.name.as_str());
    let kind = &seen.file_system;
    let shares = |config: &MirrorConfig| config.metadata.kind == MetadataKind::Postgres;
    if seen.network && subject.config.as_ref().is_some_and(shares) {
        let found = format!(
            "{kind}: other hosts may write to it; agents take turns by a lease in Postgres, and look at it each interval"
        );
        checks.ok("file system", mirror, found);
    } else if seen.network {
        checks.wrong(
            "file system",
            mirror,
            format!("{kind}: other hosts may write to it unseen, and without Postgres nobody knows whose turn it is"),
            "set metadata.type: postgres, or use a folder on a local disk",
        );
    } else if seen.in_memory {
        let next = "fine for what may be lost; else use a folder on a disk";
        checks.warning("file system", mirror, format!("{kind}: gone after a restart of the machine"), next);
    } else if !seen.exchange && subject.writes_locally() {
        checks.warning(
            "file system",
            mirror,
            format!(
                "{kind} is not known to exchange two names in one step: without that a file that is replaced is linked \
                 aside first, and a kill in between can leave it under a second name"
            ),
            "nothing to do; ext4, xfs, btrfs and zfs have it",
        );
    } else {
        checks.ok("file system", mirror, kind);
    }
}

/// As downloads count it: whichever of the two limits is reached first.
fn space(checks: &mut Checks, subject: &Subject, seen: &Survey) {
    let mirror = Some(subject.name.as_str());
    let limits = subject.min_free();
    let keep = (seen.total_bytes / 100 * u64::from(limits.percent.0)).min(limits.bytes.0);
    let free = format!("{} of {} free", size(seen.free_bytes), size(seen.total_bytes));
    if seen.free_bytes > keep {
        checks.ok("space", mirror, free);
    } else if subject.writes_locally() {
        let found = format!("{free}; min_free keeps {}: nothing more is downloaded", size(keep));
        checks.wrong("space", mirror, found, "make room, or lower sync.min_free");
    } else {
        checks.warning("space", mirror, format!("{free}, less than min_free ({})", size(keep)), "make room");
    }
}
