//! What became of contents that were taken out of their place: a writer that had one open goes on writing to it.
//!
//! Such a content is watched until a lease proves that nobody writes any more. If it is then what was expected, a
//! replaced one goes and a trashed one stays in the trash; if not, an edit was saved into it, and it comes back: as a
//! conflict copy, or (trashed) to its place.

use gosync_plan::conflict::free_conflict_name;
use gosync_plan::{ContentHash, Nonce, RelPath};

use super::place::{make_folders, move_new, parent};
use super::trash::{TrashName, move_to_trash};
use super::{Outcome, displaced_path};
use crate::context::{Context, DISPLACED};
use crate::crash::{self, CrashPoint};
use crate::digest::Wanted;
use crate::durable::{Target, durable};
use crate::look::read_digests;
use crate::ports::local::Kind;
use crate::ports::observer::Event;
use crate::ports::state::{Displaced, JournalEntry, JournalKind, StateChange};
use crate::ports::{Lease, LocalTree, Stat, TreeError, TreeErrorKind};

/// Settles one journalled displacement. `Busy`: somebody may still write; try again later.
pub async fn settle(context: &Context, entry: JournalEntry) -> Outcome {
    settle_entry(context, entry).await.unwrap_or_else(|outcome| outcome)
}

/// Whether what was replaced was meant to be can't be told where writes are unconditional. A copy without a condition is such
/// a write, too, when it takes effect after the turn that it was sent in; none is larger than a part.
fn may_be_overwritten_unseen(context: &Context, entry: &JournalEntry) -> bool {
    let conditions = context.conditions();
    let is_small =
        matches!(&entry.kind, JournalKind::Install { remote, .. } if remote.size <= context.config.limits.part_bytes);
    conditions.writes_are_unconditional() || (is_small && conditions.copy == Some(false) && context.takes_turns())
}

/// What was taken out of its place, where the trash gets it once it is at rest.
pub(super) fn bound_for_trash<'a>(context: &Context, entry: &'a JournalEntry) -> Option<&'a Displaced> {
    let JournalKind::Install { replaces: Some(displaced), .. } = &entry.kind else { return None };
    let gets_it = displaced.to_trash || displaced.content.is_none() || may_be_overwritten_unseen(context, entry);
    gets_it.then_some(displaced)
}

/// It is there, and no other name keeps it.
pub(super) fn stands_alone(tree: &dyn LocalTree, id: Nonce, displaced: &Displaced) -> Option<Stat> {
    let found = tree.stat(&displaced_path(id)).ok()?;
    // Before the exchange the new content lies there.
    let is_it = found.kind == Kind::File && found.fingerprint.inode == displaced.fingerprint.inode;
    (is_it && (displaced.to_trash || found.links == 1)).then_some(found)
}

enum Settled {
    /// Nothing is there, or it is gone now, or it rests where it belongs.
    Over,
    Busy,
    /// An edit came to light and stands at this path now.
    Kept {
        copy: RelPath,
        folders: Vec<String>,
    },
}

async fn settle_entry(context: &Context, entry: JournalEntry) -> Result<Outcome, Outcome> {
    let tag = context.conflict_tag();
    let prefix = context.config.prefix.clone();
    let date = context.utc_date();
    let age_ms = context.utc_ms().saturating_sub(entry.began_ms);
    let unleased = i64::try_from(context.config.limits.displaced_unleased_wait_ms).unwrap_or(i64::MAX);
    let entry_there = entry.clone();
    let keeps_all = may_be_overwritten_unseen(context, &entry);
    let settled = context
        .local(move |tree| -> Result<Settled, TreeError> {
            let free =
                |path: &RelPath| free_conflict_name(path, &tag, &prefix, |name| tree.stat(name.as_str()).is_ok());
            let entry = &entry_there;
            match &entry.kind {
                JournalKind::Install { new, replaces: Some(expected), .. } => {
                    let place = displaced_path(entry.id);
                    if is_no_file(tree, &place)? {
                        return bring_back(tree, &place, &entry.path, free);
                    }
                    if let Some(early) = rest(tree, &place, age_ms, unleased)? {
                        return Ok(early);
                    }
                    let found = content(tree, &place)?;
                    let Some(found) = found else { return Ok(Settled::Busy) };
                    // Not exchanged: what lies there is the new content, which the bucket has.
                    let unused = found == *new && expected.content != Some(*new);
                    let is_expected_content = expected.content == Some(found);
                    if unused
                        || (is_expected_content && !keeps_all)
                        || (!expected.to_trash && is_second_name(tree, &place)?)
                    {
                        tree.unlink(&place)?;
                        return Ok(Settled::Over);
                    }
                    if is_expected_content || (expected.content.is_none() && is_expected(tree, &place, expected)?) {
                        // Never read before, and untouched since: the trash keeps it.
                        let name = TrashName::new(&date, &entry.path, entry.id);
                        move_to_trash(tree, &place, &name)?;
                        return Ok(Settled::Over);
                    }
                    keep_as_copy(tree, &place, &entry.path, free)
                }
                JournalKind::Trash { to, expects, .. } => {
                    if is_no_file(tree, to)? {
                        return bring_back(tree, to, &entry.path, free);
                    }
                    if let Some(early) = rest(tree, to, age_ms, unleased)? {
                        return Ok(early);
                    }
                    let Some(found) = content(tree, to)? else { return Ok(Settled::Busy) };
                    let unedited = match expects.content {
                        Some(expected) => expected == found,
                        None => is_expected(tree, to, expects)?,
                    };
                    if unedited {
                        return Ok(Settled::Over);
                    }
                    // Edit beats delete.
                    bring_back(tree, to, &entry.path, free)
                }
                _ => Ok(Settled::Over),
            }
        })
        .await??;
    crash::reached(CrashPoint::DisplacedSettled);
    match settled {
        Settled::Busy => Err(Outcome::Busy),
        Settled::Over => {
            context.record(vec![StateChange::End(entry.id)], Vec::new()).await?;
            Ok(Outcome::Done { events: Vec::new(), look_at: Vec::new() })
        }
        Settled::Kept { copy, folders } => {
            durable(context, folders.into_iter().map(Target::Folder).collect()).await??;
            context.record(vec![StateChange::End(entry.id)], Vec::new()).await?;
            let events = vec![Event::Conflict { path: entry.path.clone(), copy: copy.clone() }];
            Ok(Outcome::Done { events, look_at: vec![copy] })
        }
    }
}

/// `None`: it is there and at rest.
fn rest(tree: &dyn LocalTree, place: &str, age_ms: i64, unleased_wait_ms: i64) -> Result<Option<Settled>, TreeError> {
    let file = match tree.open(place) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(Some(Settled::Over)),
        Err(error) => return Err(error),
    };
    let lease = file.lease();
    file.release_lease();
    Ok(match lease {
        Lease::Granted => None,
        Lease::Busy => Some(Settled::Busy),
        // Nothing tells whether anybody writes: time has to.
        Lease::Unavailable if age_ms < unleased_wait_ms => Some(Settled::Busy),
        Lease::Unavailable => None,
    })
}

fn content(tree: &dyn LocalTree, place: &str) -> Result<Option<ContentHash>, TreeError> {
    Ok(read_digests(tree, place, Wanted::default())?.map(|(_, digests)| digests.blake3))
}

/// The same file has another name in the tree (a conflict copy): nothing goes with this one.
fn is_second_name(tree: &dyn LocalTree, place: &str) -> Result<bool, TreeError> {
    Ok(tree.stat(place)?.links > 1)
}

fn is_expected(tree: &dyn LocalTree, place: &str, expected: &Displaced) -> Result<bool, TreeError> {
    let now = tree.stat(place)?.fingerprint;
    Ok(now.same_but_ctime(&expected.fingerprint))
}

/// Between the last look and the act somebody put a folder or a symlink where the file was: that was never meant.
fn is_no_file(tree: &dyn LocalTree, place: &str) -> Result<bool, TreeError> {
    match tree.stat(place) {
        Ok(stat) => Ok(stat.kind != Kind::File),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Back to its path, or beside it where that is taken.
fn bring_back(
    tree: &dyn LocalTree,
    place: &str,
    path: &RelPath,
    free: impl Fn(&RelPath) -> Option<RelPath>,
) -> Result<Settled, TreeError> {
    if reachable(tree, path)? != *path {
        return keep_as_copy(tree, place, path, free);
    }
    let mut folders = make_folders(tree, path)?;
    match move_new(tree, place, path.as_str()) {
        Ok(()) => {
            folders.push(parent(path));
            Ok(Settled::Kept { copy: path.clone(), folders })
        }
        Err(error) if error.kind == TreeErrorKind::Exists => keep_as_copy(tree, place, path, free),
        Err(error) => Err(error),
    }
}

/// `path`, or the first thing above it that is no folder: beside that there is room.
fn reachable(tree: &dyn LocalTree, path: &RelPath) -> Result<RelPath, TreeError> {
    let mut above: Vec<RelPath> = path.ancestors().collect();
    while let Some(folder) = above.pop() {
        match tree.stat(folder.as_str()) {
            Ok(stat) if stat.kind != Kind::Folder => return Ok(folder),
            Ok(_) => {}
            Err(error) if error.is_not_found() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(path.clone())
}

fn keep_as_copy(
    tree: &dyn LocalTree,
    place: &str,
    path: &RelPath,
    free: impl Fn(&RelPath) -> Option<RelPath>,
) -> Result<Settled, TreeError> {
    let path = &reachable(tree, path)?;
    let mut folders = make_folders(tree, path)?;
    let Some(copy) = free(path) else { return Ok(Settled::Busy) };
    match move_new(tree, place, copy.as_str()) {
        Ok(()) => {
            folders.push(parent(&copy));
            Ok(Settled::Kept { copy, folders })
        }
        Err(error) if error.kind == TreeErrorKind::Exists => Ok(Settled::Busy),
        Err(error) => Err(error),
    }
}

/// Contents in `displaced` that no journal entry speaks of go to the trash: unverified, so never away.
pub fn keep_orphans(tree: &dyn LocalTree, known: &[Nonce], date: &str) -> Result<u64, TreeError> {
    let entries = match tree.read_folder(DISPLACED) {
        Err(error) if error.is_not_found() => return Ok(0),
        result => result?,
    };
    let mut kept = 0;
    for name in entries.into_iter().filter_map(|entry| entry.name.ok()) {
        if known.iter().any(|id| name == id.to_hex()) {
            continue;
        }
        let (Ok(path), Some(id)) = (RelPath::new(format!("displaced-{name}")), Some(Nonce([0; 16]))) else { continue };
        if move_to_trash(tree, &format!("{DISPLACED}/{name}"), &TrashName::new(date, &path, id))? {
            kept += 1;
        }
    }
    Ok(kept)
}
