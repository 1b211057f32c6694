//! Answers of the agent as people read them: tables and short lines.

use gosync_api::messages::{
    Answered, Conflicts, Flushed, List, MirrorMade, PathReason, Provisioned, Receipt, Restored, Trash, Waited,
};
use jiff::Timestamp;

use crate::style::{STRONG, age, ago, bytes, clean, count, lines, status_cell, table, things, took};

/// A message of the agent: its own lines stay lines.
pub fn text(message: &str) -> String {
    let lines: Vec<_> = message.lines().map(clean).collect();
    lines.join("\n")
}

pub fn list(list: &List, now: Timestamp) -> String {
    if list.mirrors.is_empty() {
        return String::new();
    }
    let mut table = table(&["NAME", "LOCAL PATH", "S3 PATH", "STATUS", "LAST SYNC", "FILES"]);
    for mirror in &list.mirrors {
        table.add_row(vec![
            clean(&mirror.name).into(),
            clean(&mirror.local_path).into(),
            clean(&mirror.s3_path).into(),
            status_cell(mirror.status),
            ago(mirror.last_sync, now).into(),
            count(mirror.files).into(),
        ]);
    }
    lines(&table)
}

pub fn conflicts(conflicts: &Conflicts, now: Timestamp) -> String {
    if conflicts.conflicts.is_empty() {
        return String::new();
    }
    let mut table = table(&["MIRROR", "PATH", "COPY", "SIZE", "SINCE", "DEVICE"]);
    for conflict in &conflicts.conflicts {
        table.add_row([
            clean(&conflict.mirror),
            clean(&conflict.path),
            clean(&conflict.copy),
            bytes(conflict.bytes).into(),
            known(conflict.since, now).into(),
            clean(&conflict.device),
        ]);
    }
    lines(&table)
}

pub fn trash(trash: &Trash, now: Timestamp) -> String {
    if trash.entries.is_empty() {
        return String::new();
    }
    let mut table = table(&["ID", "MIRROR", "PATH", "SIZE", "SINCE", "FROM", "WHY"]);
    for entry in &trash.entries {
        table.add_row([
            clean(&entry.id),
            clean(&entry.mirror),
            clean(&entry.path),
            bytes(entry.bytes).into(),
            known(entry.since, now).into(),
            entry.source.as_str().into(),
            clean(&entry.reason),
        ]);
    }
    lines(&table)
}

fn known(then: Option<Timestamp>, now: Timestamp) -> String {
    if then.is_some() { ago(then, now) } else { "-".to_owned() }
}

pub fn mirror_made(made: &MirrorMade) -> String {
    let verb = if made.dry_run { "would be kept" } else { "is kept" };
    let folder = if made.made_folder { "\nthe folder was not there: made it" } else { "" };
    let line = format!(
        "{}: {} {verb} in step with {}{folder}",
        clean(&made.name),
        clean(&made.local_path),
        clean(&made.s3_path)
    );
    match &made.plan {
        Some(plan) => format!("{line}\n\n{}", super::plan::render(plan)),
        None => line,
    }
}

pub fn provisioned(result: &Provisioned) -> String {
    let verb = if result.dry_run { "found" } else { "took over" };
    let mut out = format!(
        "{verb} {} ({}) of {}: {} new, {} changed, {}\n",
        things(result.keys, "key"),
        bytes(result.bytes),
        clean(&result.s3_path),
        count(result.added),
        count(result.updated),
        things(result.list_requests, "listing request"),
    );
    if result.odd_keys > 0 {
        out += &format!("{} can't be files and stay in the bucket only:\n", things(result.odd_keys, "key"));
        for odd in &result.odd_first {
            out += &format!("  {}: {}\n", clean(&odd.key), clean(&odd.reason));
        }
        out += &more(result.odd_keys, result.odd_first.len());
    }
    out
}

pub fn flushed(flushed: &Flushed) -> String {
    flushed.receipts.iter().map(receipt).collect()
}

fn receipt(receipt: &Receipt) -> String {
    let (strong, name) = (STRONG, clean(&receipt.mirror));
    let what = match (receipt.flushed, receipt.finished) {
        (true, _) => "flushed".to_owned(),
        (false, None) => "being flushed".to_owned(),
        (false, Some(_)) => format!("not flushed, {} pending", things(receipt.pending.files, "file")),
    };
    let mut out = format!("{strong}{name}{strong:#}: {what}\n");
    let mut line = |label: &str, value: &str| out += &format!("  {label:<9} {value}\n");
    line("files", &format!("{} ({})", count(receipt.files), bytes(receipt.bytes)));
    if receipt.pending.files > 0 {
        line("pending", &files(receipt.pending.files, receipt.pending.bytes));
        for path in &receipt.pending.first {
            line("", &clean(path));
        }
    }
    if let Some(reason) = &receipt.reason {
        line("because", &clean(reason));
    }
    if let Some(cursor) = &receipt.cursor {
        line("cursor", &clean(cursor));
    }
    if let Some(tree) = &receipt.tree {
        line("tree", &clean(tree));
    }
    if let (Some(started), Some(finished)) = (receipt.started, receipt.finished) {
        line("took", &took(age(started, finished)));
    }
    out
}

/// A number of files, with their bytes where these are known.
pub fn files(number: u64, size: u64) -> String {
    let files = things(number, "file");
    if size == 0 { files } else { format!("{files} ({})", bytes(size)) }
}

pub fn waited(waited: &Waited) -> String {
    let mut out = String::new();
    for mirror in &waited.mirrors {
        let standing = if mirror.reached { "reached" } else { "not reached" };
        let why = mirror.reason.as_deref().map_or(String::new(), |why| format!(" ({})", clean(why)));
        let at = mirror.cursor.as_deref().map_or(String::new(), |cursor| format!("; it is at {}", clean(cursor)));
        out += &format!("{}: {standing}{why}{at}\n", clean(&mirror.mirror));
    }
    out
}

pub fn answered(answered: &Answered) -> String {
    let mut out = match answered.reason {
        Some(reason) => format!("{}: {reason} answered with {}", clean(&answered.mirror), answered.verb),
        None => format!("{}: {}d", clean(&answered.mirror), answered.verb),
    };
    if !answered.message.is_empty() {
        out += &format!("; {}", text(&answered.message));
    }
    out.push('\n');
    if answered.restored > 0 {
        out += &format!("{} come back\n", things(answered.restored, "file"));
    }
    if !answered.lost.is_empty() {
        out += &format!("{} can't be had back:\n{}", count(answered.lost.len() as u64), reasons(&answered.lost));
    }
    out
}

pub fn restored(restored: &Restored) -> String {
    let mut out = String::new();
    for path in &restored.restored {
        let (mirror, from, to) = (clean(&path.mirror), clean(&path.path), clean(&path.to));
        out += &match path.path == path.to {
            true => format!("{mirror}: restored {to}\n"),
            false => format!("{mirror}: restored {from} as {to}\n"),
        };
    }
    if !restored.failed.is_empty() {
        out += &format!("not restored:\n{}", reasons(&restored.failed));
    }
    out
}

fn reasons(paths: &[PathReason]) -> String {
    paths.iter().map(|path| format!("  {}: {}\n", clean(&path.path), clean(&path.reason))).collect()
}

/// What a list leaves out.
fn more(all: u64, shown: usize) -> String {
    match all.saturating_sub(shown as u64) {
        0 => String::new(),
        rest => format!("  and {} more\n", count(rest)),
    }
}
