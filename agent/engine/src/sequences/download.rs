//! Fetching an object (R5): into a temp file, verified and durable, then in place, then recorded.

use std::future::ready;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_channel::mpsc;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use futures_util::try_join;
use gosync_plan::conflict::{conflict_family, free_conflict_name, is_conflict_copy_of};
use gosync_plan::decide::{Action, ExpectLocal, ExpectRemote, Keep, MODE_DEFAULT, ModeMerge, Need, merge_mode};
use gosync_plan::identity::{Identity, same_as_generation};
use gosync_plan::{Ancestor, Digests, Fingerprint, Generation, Nonce, RelPath};

use super::cached;
use super::copy::copy_in_tree;
use super::partial::Partial;
use super::place::{Placed, move_new, parent, place_new, place_over};
use super::trash::{TrashName, move_to_trash};
use super::{Outcome, Task, displaced_path, tmp_path, write_ancestor};
use crate::config::Limits;
use crate::context::{Context, Reserved, Shared};
use crate::crash::{self, CrashPoint};
use crate::digest::{Digester, Wanted, of_bytes};
use crate::durable::{Target, durable};
use crate::look::{Failure, READ_BYTES, read_digests};
use crate::planted::{self, Planted};
use crate::ports::local::Kind;
use crate::ports::observer::Event;
use crate::ports::state::{Displaced, JournalEntry, JournalKind, StateChange};
use crate::ports::store::{GetRequest, Head};
use crate::ports::{Lease, LocalTree, StoreError, StoreErrorKind, TreeError, TreeErrorKind, TreeFile};
use crate::sweep::backoff_ms;

/// Bytes gathered before they are written to the temp file.
const WRITE_BYTES: usize = 1 << 20;

/// A verified content in a temp file that nobody has open for writing any more; not yet durable.
pub(super) struct Fetched {
    pub(super) operation: Nonce,
    pub(super) tmp: String,
    pub(super) digests: Digests,
    pub(super) head: Head,
    /// From another file of the tree: nothing crossed the line.
    pub(super) is_copy: bool,
}

/// Fetches the object and puts it in place.
pub async fn download(
    context: &Context,
    task: &Task,
    remote: Generation,
    expect: ExpectLocal,
) -> Result<Outcome, Outcome> {
    let path = task.path();
    let other_names = match &expect {
        ExpectLocal::File(planned) => may_be_replaced(context, path, *planned).await?,
        ExpectLocal::Absent if is_below_a_file(context, path).await? => {
            // Asked before the object is fetched: nothing can be put there, however often it is tried.
            return super::remove::file_in_the_way(context, path).await;
        }
        ExpectLocal::Absent => 0,
    };
    let fetched = fetch(context, task, &remote).await?;
    crash::reached(CrashPoint::Fetched);
    let generation = remote.completed_by(&fetched.head.generation);
    let (bytes, content) = (fetched.digests.size, fetched.digests.blake3);
    let nonce = fetched.head.facts.nonce;
    let ancestor_mode = task.ancestor.as_ref().map(|ancestor| ancestor.fingerprint.mode);
    let (local_mode, replaces) = match &expect {
        ExpectLocal::Absent => (None, None),
        ExpectLocal::File(planned) => (Some(planned.mode), Some(*planned)),
    };
    let merged = merge(context, ancestor_mode, local_mode, &fetched.head);
    if planted::is(Planted::AncestorBeforeSync) {
        let tmp = fetched.tmp.clone();
        let fingerprint = context.local(move |tree| tree.stat(&tmp)).await??.fingerprint;
        let early =
            Ancestor { fingerprint, generation: generation.clone(), content: Some(content), nonce, open: false };
        write_ancestor(context, path, early, Vec::new()).await?;
    }
    let (mut fingerprint, installed) = match replaces {
        None => match put_in_place_new(context, path, &fetched).await? {
            Some(fingerprint) => (fingerprint, None),
            None => return super::remove::file_in_the_way(context, path).await,
        },
        Some(planned) => {
            let known = task.ancestor.as_ref().filter(|known| known.fingerprint.same_but_ctime(&planned));
            // What loses goes to the trash, whatever the ancestor says of it.
            let to_trash = matches!(task.operation.action, gosync_plan::decide::Action::Replace { .. });
            let read = task.local_file().and_then(|file| file.digests.map(|digests| digests.blake3));
            let content = read.or_else(|| known.and_then(|known| known.content)).filter(|_| !to_trash);
            let displaced = Displaced { fingerprint: planned, content, to_trash };
            put_in_place_over(context, path, &fetched, &generation, displaced).await?
        }
    };
    crash::reached(CrashPoint::Placed);
    let mut look_at = Vec::new();
    if let (ModeMerge::Send, Some(mode)) = (merged, ancestor_mode) {
        // The mode that the file was given is news; the next look sends it.
        fingerprint.mode = mode;
        look_at.push(path.clone());
    }
    let ancestor = Ancestor { fingerprint, generation, content: Some(content), nonce, open: false };
    write_installed(context, path, ancestor, installed).await?;
    let arrived = match fetched.is_copy {
        true => Event::CopiedInTree { path: path.clone() },
        false => Event::Downloaded { path: path.clone(), bytes },
    };
    let mut events = vec![arrived];
    if other_names > 0 {
        events.push(Event::LinksParted { path: path.clone(), other_names });
    }
    Ok(Outcome::Done { events, look_at })
}

/// Keeps the local content under a name of its own, then puts the object in place.
pub async fn conflict(
    context: &Context,
    task: &Task,
    local: Fingerprint,
    remote: Generation,
) -> Result<Outcome, Outcome> {
    let path = task.path().clone();
    may_be_replaced(context, &path, local).await?;
    let fetched = fetch(context, task, &remote).await?;
    let generation = remote.completed_by(&fetched.head.generation);

    let (tag, prefix) = (context.conflict_tag(), context.config.prefix.clone());
    let copies_max = context.config.limits.conflicts_per_path_max as usize;
    let (path_there, tmp) = (path.clone(), fetched.tmp.clone());
    let shared = Arc::clone(&context.shared);
    let kept = context
        .local(move |tree| -> Result<Kept, TreeError> {
            let kept = keep_copy(
                tree,
                &shared,
                &path_there,
                local,
                copies_max,
                |taken| free_conflict_name(&path_there, &tag, &prefix, taken),
                &conflict_family(&path_there, &prefix),
            )?;
            if !matches!(kept, Kept::As { .. }) {
                tree.unlink(&tmp)?;
            }
            Ok(kept)
        })
        .await??;
    crash::reached(CrashPoint::ConflictCopyMade);
    // Until this is through nobody looks at the copy: its name may be taken back.
    let (copy, now, _reserved, ours) = match kept {
        Kept::As { copy, now, reserved, ours } => (copy, now, reserved, ours),
        Kept::Again => return Err(Outcome::Again),
        Kept::Busy => return Err(Outcome::Busy),
        Kept::TooMany if planted::is(Planted::CapOverwrites) => {
            return download(context, task, remote, ExpectLocal::File(local)).await;
        }
        Kept::TooMany => {
            return Err(Outcome::Problem(format!(
                "held: there are {copies_max} conflict copies of it already; delete or rename some"
            )));
        }
        Kept::NoName => {
            return Err(Outcome::Problem("held: there is no room for the name of a conflict copy".to_owned()));
        }
    };
    // The copy's name is durable before the winner appears.
    let targets = vec![Target::Content(copy.as_str().to_owned()), Target::Folder(parent(&copy))];
    if let Err(error) = durable(context, targets).await? {
        if ours {
            withdraw(context, &copy, &path).await?;
        }
        return Err(error.into());
    }
    let (bytes, content, nonce) = (fetched.digests.size, fetched.digests.blake3, fetched.head.facts.nonce);
    let ancestor_mode = task.ancestor.as_ref().map(|ancestor| ancestor.fingerprint.mode);
    let merged = merge(context, ancestor_mode, Some(local.mode), &fetched.head);
    // No object holds this content, and somebody may do anything to its second name: expecting nothing keeps it.
    let displaced = Displaced { fingerprint: now, content: None, to_trash: false };
    let placed = put_in_place_over(context, &path, &fetched, &generation, displaced).await;
    let (mut fingerprint, installed) = match placed {
        Ok(placed) => placed,
        Err(outcome) => {
            if ours {
                withdraw(context, &copy, &path).await?;
            }
            return Err(outcome);
        }
    };
    let mut look_at = vec![copy.clone()];
    if let (ModeMerge::Send, Some(mode)) = (merged, ancestor_mode) {
        fingerprint.mode = mode;
        look_at.push(path.clone());
    }
    let ancestor = Ancestor { fingerprint, generation, content: Some(content), nonce, open: false };
    write_installed(context, &path, ancestor, installed).await?;
    let events = vec![Event::Conflict { path: path.clone(), copy }, Event::Downloaded { path, bytes }];
    Ok(Outcome::Done { events, look_at })
}

/// Keeps what the object holds, then sends the file over it.
pub async fn overrule(
    context: &Context,
    task: &Task,
    local: Fingerprint,
    remote: Generation,
    keep: Keep,
) -> Result<Outcome, Outcome> {
    let path = task.path();
    // A file that can't be sent now would have the object kept again with each try, and so would a store in trouble.
    if !task.read_open {
        may_be_replaced(context, path, local).await?;
    }
    let copy = match context.shared.kept(path, &remote.etag) {
        Some(copy) => copy,
        None => keep_object(context, task, &remote, keep).await?,
    };
    crash::reached(CrashPoint::OverruledKept);
    let etag = remote.etag.clone();
    let mut outcome = super::upload::upload(context, task, local, ExpectRemote::Object(remote)).await?;
    context.shared.forget_kept(path, &etag);
    if let (Outcome::Done { events, look_at }, Some(copy)) = (&mut outcome, copy) {
        events.push(Event::Conflict { path: path.clone(), copy: copy.clone() });
        look_at.push(copy);
    }
    Ok(outcome)
}

/// Fetches the object and keeps it; returns the conflict copy, if it is one.
pub(super) async fn keep_object(
    context: &Context,
    task: &Task,
    remote: &Generation,
    keep: Keep,
) -> Result<Option<RelPath>, Outcome> {
    let path = task.path();
    let fetched = fetch(context, task, remote).await?;
    durable(context, vec![Target::Content(fetched.tmp.clone())]).await??;
    let (copy, folder) = match keep {
        Keep::InTrash => {
            let name = TrashName::new(&context.utc_date(), path, fetched.operation);
            let (tmp, folder) = (fetched.tmp.clone(), name.folder());
            context.local(move |tree| move_to_trash(tree, &tmp, &name)).await??;
            (None, folder)
        }
        Keep::AsConflictCopy => {
            let (tag, prefix) = (context.conflict_tag(), context.config.prefix.clone());
            let (tmp, original) = (fetched.tmp.clone(), path.clone());
            let copy = context
                .local(move |tree| -> Result<_, TreeError> {
                    let taken = |name: &RelPath| tree.stat(name.as_str()).is_ok();
                    let Some(copy) = free_conflict_name(&original, &tag, &prefix, taken) else { return Ok(None) };
                    move_new(tree, &tmp, copy.as_str())?;
                    Ok(Some(copy))
                })
                .await??;
            let no_name = || Outcome::Problem("held: there is no room for the name of a conflict copy".to_owned());
            (Some(copy.ok_or_else(no_name)?), parent(path))
        }
    };
    durable(context, vec![Target::Folder(folder)]).await??;
    context.shared.has_kept(path.clone(), remote.etag.clone(), copy.clone());
    Ok(copy)
}

/// Asked again right before the act; here it saves fetching an object, each time anew, for a file that is held open.
/// Returns how many other names (hard links) the file has.
async fn may_be_replaced(context: &Context, path: &RelPath, planned: Fingerprint) -> Result<u64, Outcome> {
    let path = path.as_str().to_owned();
    context
        .local(move |tree| -> Result<Result<u64, Outcome>, TreeError> {
            let file = tree.open(&path)?;
            let lease = file.lease();
            file.release_lease();
            let stat = file.stat()?;
            Ok(match lease {
                _ if stat.fingerprint != planned => Err(Outcome::Again),
                Lease::Busy => Err(Outcome::Busy),
                Lease::Granted | Lease::Unavailable => Ok(stat.links.saturating_sub(1)),
            })
        })
        .await??
}

/// Whether a file stands where a folder above the path has to be.
async fn is_below_a_file(context: &Context, path: &RelPath) -> Result<bool, Outcome> {
    let folder = parent(path);
    let above = context.local(move |tree| tree.stat(&folder)).await?;
    Ok(match above {
        Ok(stat) => stat.kind == Kind::File,
        Err(error) => error.kind == TreeErrorKind::NotAFolder,
    })
}

/// How the mode of a placed file comes about; the temp file gets it at once.
fn merge(context: &Context, ancestor: Option<u32>, local: Option<u32>, head: &Head) -> ModeMerge {
    match local {
        None => ModeMerge::Keep,
        Some(local) => merge_mode(ancestor, local, head.facts.mode, context.config.policy.mode),
    }
}

enum Kept {
    /// `ours`: the name was given just now, so that it may be taken back.
    As {
        copy: RelPath,
        now: Fingerprint,
        reserved: Reserved,
        ours: bool,
    },
    Again,
    Busy,
    TooMany,
    NoName,
}

/// Gives the file a second name. A writer that has it open would go on writing to both, so it must be at rest.
fn keep_copy(
    tree: &dyn LocalTree,
    shared: &Arc<Shared>,
    path: &RelPath,
    planned: Fingerprint,
    copies_max: usize,
    free_name: impl Fn(&dyn Fn(&RelPath) -> bool) -> Option<RelPath>,
    family: &RelPath,
) -> Result<Kept, TreeError> {
    let file = tree.open(path.as_str())?;
    if file.stat()?.fingerprint != planned {
        return Ok(Kept::Again);
    }
    if file.lease() == Lease::Busy {
        return Ok(Kept::Busy);
    }
    let mut copies = 0;
    for entry in tree.read_folder(&parent(path))? {
        let Some(name) = entry.name.ok().and_then(|name| path.with_file_name(&name).ok()) else { continue };
        if name != *path && is_conflict_copy_of(&name).is_some_and(|original| original == *family) {
            copies += 1;
            // A kill between this step and the next left our copy already.
            if tree.stat(name.as_str()).is_ok_and(|stat| stat.fingerprint.inode == planned.inode) {
                return Ok(Kept::As { reserved: shared.reserve(name.clone()), copy: name, now: planned, ours: false });
            }
        }
    }
    if copies >= copies_max {
        return Ok(Kept::TooMany);
    }
    let Some(copy) = free_name(&|name| tree.stat(name.as_str()).is_ok()) else { return Ok(Kept::NoName) };
    let reserved = shared.reserve(copy.clone());
    match tree.link(path.as_str(), copy.as_str()) {
        Ok(()) => {}
        Err(error) if error.kind == TreeErrorKind::Exists => return Ok(Kept::Again),
        Err(error) if matches!(error.kind, TreeErrorKind::Unsupported | TreeErrorKind::Permission) => {
            // Whole before it is seen.
            let private = format!("{}/copy-{}", crate::context::TMP, planned.inode);
            tree.unlink(&private).ok();
            let target = tree.create(&private, planned.mode & 0o7777)?;
            file.copy_to(&*target)?;
            if file.stat()?.fingerprint != planned {
                tree.unlink(&private)?;
                return Ok(Kept::Again);
            }
            target.set_mtime_ns(planned.mtime_ns)?;
            if planned.is_link() {
                tree.make_link(&private)?;
            }
            target.sync()?;
            move_new(tree, &private, copy.as_str())?;
        }
        Err(error) => return Err(error),
    }
    // The second name moved ctime.
    let now = file.stat()?.fingerprint;
    if !now.same_but_ctime(&planned) {
        return Ok(Kept::Again);
    }
    Ok(Kept::As { copy, now, reserved, ours: true })
}

/// The local content stays at its path: its second name is taken back if it is still just that. One that a kill left
/// stays, for it may be on its way to the bucket already, and the next attempt finds it again.
async fn withdraw(context: &Context, copy: &RelPath, path: &RelPath) -> Result<(), Outcome> {
    let (copy, path) = (copy.clone(), path.clone());
    // What a kill leaves there is kept at the next start.
    let out_of_sight = displaced_path(context.ports.ids.nonce());
    context.local(move |tree| take_back(tree, &copy, &path, &out_of_sight).ok()).await?;
    Ok(())
}

/// It is moved out of sight first: whoever saved something else under that name meanwhile gets it back.
fn take_back(tree: &dyn LocalTree, copy: &RelPath, path: &RelPath, out_of_sight: &str) -> Result<(), TreeError> {
    let original = tree.stat(path.as_str())?.fingerprint.inode;
    if tree.stat(copy.as_str())?.fingerprint.inode != original {
        return Ok(());
    }
    move_new(tree, copy.as_str(), out_of_sight)?;
    let moved = tree.stat(out_of_sight)?;
    if moved.fingerprint.inode == original && moved.links > 1 {
        // Both names are the same file, so nothing is lost with one of them.
        tree.unlink(out_of_sight)
    } else {
        move_new(tree, out_of_sight, copy.as_str())
    }
}

/// `None`: a file stands where a folder has to be.
async fn put_in_place_new(
    context: &Context,
    path: &RelPath,
    fetched: &Fetched,
) -> Result<Option<Fingerprint>, Outcome> {
    durable(context, vec![Target::Content(fetched.tmp.clone())]).await??;
    let (path, tmp) = (path.clone(), fetched.tmp.clone());
    let placed = context.local(move |tree| place_new(tree, &tmp, &path)).await?;
    if placed.as_ref().is_err_and(|error| error.kind == TreeErrorKind::NotAFolder) {
        let tmp = fetched.tmp.clone();
        context.local(move |tree| tree.unlink(&tmp)).await?.ok();
        return Ok(None);
    }
    placed_durably(context, fetched, placed).await.map(Some)
}

async fn put_in_place_over(
    context: &Context,
    path: &RelPath,
    fetched: &Fetched,
    remote: &Generation,
    displaced: Displaced,
) -> Result<(Fingerprint, Option<JournalEntry>), Outcome> {
    durable(context, vec![Target::Content(fetched.tmp.clone())]).await??;
    let planned = displaced.fingerprint;
    let entry = JournalEntry {
        id: fetched.operation,
        path: path.clone(),
        kind: JournalKind::Install {
            new: fetched.digests.blake3,
            remote: remote.clone(),
            replaces: Some(displaced),
            recorded: false,
        },
        began_ms: context.utc_ms(),
    };
    context.record(vec![StateChange::Begin(entry.clone())], Vec::new()).await?;
    crash::reached(CrashPoint::InstallJournalled);
    let (path, tmp) = (path.clone(), fetched.tmp.clone());
    let to = displaced_path(fetched.operation);
    let placed = context.local(move |tree| place_over(tree, &tmp, &to, &path, planned)).await?;
    let ended = matches!(placed, Ok(Placed::Again | Placed::Busy));
    let result = placed_durably(context, fetched, placed).await;
    match result {
        Ok(fingerprint) => Ok((fingerprint, Some(entry))),
        Err(outcome) => {
            if ended && is_displaced_gone(context, fetched.operation).await? {
                context.record(vec![StateChange::End(entry.id)], Vec::new()).await?;
            } else {
                context.displaced(entry);
            }
            Err(outcome)
        }
    }
}

/// The ancestor of what was put in its place. What it replaced is watched from then on, under an entry that says that there
/// is nothing left to record: by the next start somebody may have put the same content back as an edit.
async fn write_installed(
    context: &Context,
    path: &RelPath,
    ancestor: Ancestor,
    installed: Option<JournalEntry>,
) -> Result<(), Outcome> {
    let Some(mut entry) = installed else { return Ok(write_ancestor(context, path, ancestor, Vec::new()).await?) };
    if let JournalKind::Install { recorded, .. } = &mut entry.kind {
        *recorded = true;
    }
    let written = write_ancestor(context, path, ancestor, vec![StateChange::Begin(entry.clone())]).await;
    context.displaced(entry);
    Ok(written?)
}

async fn is_displaced_gone(context: &Context, operation: Nonce) -> Result<bool, Outcome> {
    let path = displaced_path(operation);
    Ok(context.local(move |tree| tree.stat(&path).is_err_and(|error| error.is_not_found())).await?)
}

async fn placed_durably(
    context: &Context,
    fetched: &Fetched,
    placed: Result<Placed, TreeError>,
) -> Result<Fingerprint, Outcome> {
    match placed {
        Ok(Placed::InPlace { fingerprint, folders }) => {
            durable(context, folders.into_iter().map(Target::Folder).collect()).await??;
            Ok(fingerprint)
        }
        Ok(Placed::Again) => Err(Outcome::Again),
        Ok(Placed::Busy) => Err(Outcome::Busy),
        Err(error) => {
            let tmp = fetched.tmp.clone();
            context.local(move |tree| tree.unlink(&tmp)).await?.ok();
            Err(error.into())
        }
    }
}

/// Downloads never eat the last of the disk.
pub fn has_room(tree: &dyn LocalTree, limits: &Limits, bytes: u64) -> Result<bool, TreeError> {
    let space = tree.space()?;
    let keep = (space.total_bytes / 100 * u64::from(limits.min_free_percent)).min(limits.min_free_bytes);
    Ok(space.free_bytes >= bytes.saturating_add(keep))
}

/// Fetches and verifies; nothing of it is visible outside `.gosync`.
async fn fetch(context: &Context, task: &Task, remote: &Generation) -> Result<Fetched, Outcome> {
    if let Some(copied) = copy_in_tree(context, task, remote).await? {
        return Ok(copied);
    }
    if let Some((head, bytes)) = cached::get(context, task, remote).await {
        let is_new = matches!(task.operation.action, Action::Download { expect: ExpectLocal::Absent, .. });
        if !is_new || task.ancestor.is_some() {
            // The rows of a restored backup are older than the bucket: what was here is not given up for what they say.
            let now = super::upload::head_patiently(context, &context.config.prefix.key(task.path())).await?;
            now.filter(|now| remote.same(&now.generation)).ok_or(Outcome::Again)?;
        }
        return put_down(context, task, head, bytes).await;
    }
    let mut attempt = 0;
    loop {
        let result = if remote.size <= context.config.limits.part_bytes {
            fetch_small(context, task, remote).await
        } else {
            fetch_large(context, task, remote).await
        };
        match result {
            // Reading has no effect: it may be tried again at once.
            Err(Outcome::Failed(Failure::Store(error)))
                if error.is_transient() && attempt < context.config.limits.retries_max =>
            {
                attempt += 1;
                context.ports.clock.sleep_ms(backoff_ms(attempt)).await;
            }
            result => return result,
        }
    }
}

async fn fetch_small(context: &Context, task: &Task, remote: &Generation) -> Result<Fetched, Outcome> {
    let permit = context.request().await;
    let key = context.config.prefix.key(task.path());
    let request = GetRequest { key: key.clone(), etag: Some(remote.etag.clone()), version_id: None, range: None };
    let mut body = context.ports.store.get(request).await?;
    let head = body.head().clone();
    let mut bytes = BytesMut::with_capacity(usize::try_from(remote.size).unwrap_or(0));
    while let Some(chunk) = body.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    permit.answered();
    let bytes = bytes.freeze();
    if bytes.len() as u64 != head.generation.size || head.generation.size != remote.size {
        return Err(corrupt(&key, "its length is not the announced one").into());
    }
    let fetched = put_down(context, task, head, bytes.clone()).await?;
    cached::fill(context, &key, &fetched.head, &fetched.digests, &bytes).await;
    Ok(fetched)
}

/// Into a temp file, verified.
async fn put_down(context: &Context, task: &Task, head: Head, bytes: Bytes) -> Result<Fetched, Outcome> {
    let key = context.config.prefix.key(task.path());
    let new = NewFile::of(context, task, &head)?;
    let (operation, tmp) = (new.operation, tmp_path(new.operation));
    let written = context
        .local(move |tree| -> Result<Digests, TreeError> {
            let file = new.create(tree)?;
            file.write_at(0, &bytes)?;
            new.finishing.apply(tree, &tmp_path(new.operation), &*file)?;
            Ok(of_bytes(&bytes, Wanted { md5: true, ..Wanted::default() }))
        })
        .await?;
    let checked = match written {
        Ok(digests) => verify(context, &key, &tmp, digests, &head).await.map(|()| digests),
        Err(error) => Err(not_made(error, &head)),
    };
    keep_or_drop(context, operation, head, checked).await
}

fn not_made(error: TreeError, head: &Head) -> Outcome {
    if head.facts.is_link && error.kind == TreeErrorKind::Unsupported {
        return Outcome::Unfit("the object is a symbolic link, and no link here can point to what it holds".to_owned());
    }
    error.into()
}

async fn keep_or_drop(
    context: &Context,
    operation: Nonce,
    head: Head,
    digests: Result<Digests, Outcome>,
) -> Result<Fetched, Outcome> {
    let tmp = tmp_path(operation);
    match digests {
        Ok(digests) => Ok(Fetched { operation, tmp, digests, head, is_copy: false }),
        Err(outcome) => {
            context.local(move |tree| tree.unlink(&tmp)).await?.ok();
            Err(outcome)
        }
    }
}

async fn fetch_large(context: &Context, task: &Task, remote: &Generation) -> Result<Fetched, Outcome> {
    let key = context.config.prefix.key(task.path());
    let head = super::upload::head_patiently(context, &key).await?.ok_or(Outcome::Again)?;
    if head.generation.etag != remote.etag || head.generation.size != remote.size {
        return Err(Outcome::Again);
    }
    let new = NewFile::of(context, task, &head)?;
    let (operation, tmp, finishing) = (new.operation, tmp_path(new.operation), new.finishing);
    let part_bytes = context.config.limits.part_bytes;
    let (path, object) = (task.path().clone(), head.generation.clone());
    let partial = context
        .local(move |tree| -> Result<Partial, TreeError> {
            let partial = Partial::open(tree, &path, &object, part_bytes)?;
            new.has_room(tree, object.size.saturating_sub(partial.held_bytes()?))?;
            Ok(partial)
        })
        .await??;
    let (arrived, ranges) = mpsc::unbounded();
    let fetching = stream::iter(0..remote.size.div_ceil(part_bytes))
        .map(|part| {
            let range = part * part_bytes..((part + 1) * part_bytes).min(remote.size);
            fetch_range(context, &key, &remote.etag, part, range, &partial)
        })
        .buffered(context.config.limits.ranges_per_file_max)
        .try_for_each(|range| {
            // Whoever hashes has met an error of his own if he doesn't listen any more.
            let _ = arrived.unbounded_send(range);
            ready(Ok(()))
        });
    let fetching = async {
        let fetched = fetching.await;
        arrived.close_channel();
        fetched
    };
    let whole = try_join!(fetching, hash_as_it_arrives(context, &partial.content, ranges));
    let digests = match whole {
        Ok(((), digests)) => digests,
        Err(outcome) => {
            // The store's trouble passes, and what has arrived till then need not be fetched again.
            if !matches!(&outcome, Outcome::Failed(Failure::Store(_) | Failure::Killed)) {
                context.local(move |tree| partial.drop(tree)).await?.ok();
            }
            return Err(outcome);
        }
    };
    let to = tmp.clone();
    let finished = context
        .local(move |tree| -> Result<(), TreeError> {
            partial.leave(tree, &to)?;
            finishing.apply(tree, &to, &*partial.content)
        })
        .await?;
    let checked = match finished {
        Ok(()) => verify(context, &key, &tmp, digests, &head).await.map(|()| digests),
        Err(error) => Err(not_made(error, &head)),
    };
    keep_or_drop(context, operation, head, checked).await
}

/// Reads back what has arrived, in order, while later ranges are still on their way: what is hashed is what the file holds.
async fn hash_as_it_arrives(
    context: &Context,
    file: &Arc<dyn TreeFile>,
    mut ranges: mpsc::UnboundedReceiver<Range<u64>>,
) -> Result<Digests, Outcome> {
    let mut digester = Digester::new(Wanted::default());
    while let Some(range) = ranges.next().await {
        let file = Arc::clone(file);
        let job = move |_: &dyn LocalTree| -> Result<Option<Digester>, TreeError> {
            let mut buffer = vec![0; READ_BYTES];
            let mut offset = range.start;
            while offset < range.end {
                let room = usize::try_from(range.end - offset).unwrap_or(READ_BYTES).min(READ_BYTES);
                match file.read_at(offset, &mut buffer[..room])? {
                    0 => return Ok(None),
                    read => {
                        digester.update(&buffer[..read]);
                        offset += read as u64;
                    }
                }
            }
            Ok(Some(digester))
        };
        digester = context.local(job).await??.ok_or(Outcome::Again)?;
    }
    Ok(digester.finish())
}

/// One range into its place in the temp file, unless it is there already; returns it.
async fn fetch_range(
    context: &Context,
    key: &str,
    etag: &str,
    part: u64,
    range: Range<u64>,
    partial: &Partial,
) -> Result<Range<u64>, Outcome> {
    let mut attempt = 0;
    let held = partial.clone();
    if context.local(move |_| held.holds(part)).await?? {
        return Ok(range);
    }
    loop {
        match fetch_range_once(context, key, etag, part, range.clone(), partial).await {
            Err(Outcome::Failed(Failure::Store(error)))
                if error.is_transient() && attempt < context.config.limits.retries_max =>
            {
                attempt += 1;
                context.ports.clock.sleep_ms(backoff_ms(attempt)).await;
            }
            result => return result.map(|()| range),
        }
    }
}

async fn fetch_range_once(
    context: &Context,
    key: &str,
    etag: &str,
    part: u64,
    range: Range<u64>,
    partial: &Partial,
) -> Result<(), Outcome> {
    let _permit = context.shared.ranges.acquire().await;
    let request =
        GetRequest { key: key.to_owned(), etag: Some(etag.to_owned()), version_id: None, range: Some(range.clone()) };
    let mut body = context.ports.store.get(request).await?;
    let mut offset = range.start;
    let mut gathered = BytesMut::new();
    let mut digester = Digester::new(Wanted::default());
    loop {
        let chunk = body.chunk().await?;
        let ended = chunk.is_none();
        if let Some(chunk) = chunk {
            gathered.extend_from_slice(&chunk);
        }
        if gathered.len() >= WRITE_BYTES || (ended && !gathered.is_empty()) {
            let bytes: Bytes = gathered.split().freeze();
            let (file, at) = (Arc::clone(&partial.content), offset);
            offset += bytes.len() as u64;
            if offset > range.end {
                return Err(corrupt(key, "more bytes than asked for").into());
            }
            digester.update(&bytes);
            context.local(move |_| file.write_at(at, &bytes)).await??;
        }
        if ended {
            break;
        }
    }
    if offset != range.end {
        return Err(corrupt(key, "fewer bytes than asked for").into());
    }
    let (arrived, hash) = (partial.clone(), digester.finish().blake3);
    context.local(move |_| arrived.note(part, hash)).await??;
    crash::reached(CrashPoint::RangeFetched);
    Ok(())
}

/// A temp file that is about to be made, and the operation that it belongs to.
pub(super) struct NewFile {
    pub(super) operation: Nonce,
    pub(super) finishing: Finishing,
    bytes: u64,
    limits: Limits,
}

impl NewFile {
    pub(super) fn of(context: &Context, task: &Task, head: &Head) -> Result<Self, Outcome> {
        if head.facts.is_link && !context.config.keep_links {
            let message = "the object is a symbolic link; `symlinks: preserve` brings links here";
            return Err(Outcome::Unfit(message.to_owned()));
        }
        Ok(Self {
            operation: context.ports.ids.nonce(),
            finishing: Finishing::of(task, context, head),
            bytes: head.generation.size,
            limits: context.config.limits.clone(),
        })
    }

    pub(super) fn create(&self, tree: &dyn LocalTree) -> Result<Box<dyn TreeFile>, TreeError> {
        self.has_room(tree, self.bytes)?;
        Self::create_at(tree, &tmp_path(self.operation), self.finishing.mode)
    }

    pub(super) fn create_at(tree: &dyn LocalTree, tmp: &str, mode: u32) -> Result<Box<dyn TreeFile>, TreeError> {
        match tree.create(tmp, mode) {
            Err(error) if error.is_not_found() => {
                // Somebody tidied up in our folder.
                tree.make_folder(crate::context::TMP)?;
                tree.create(tmp, mode)
            }
            result => result,
        }
    }

    fn has_room(&self, tree: &dyn LocalTree, bytes: u64) -> Result<(), TreeError> {
        let enough = has_room(tree, &self.limits, bytes)?;
        if enough { Ok(()) } else { Err(TreeError::new(TreeErrorKind::NoSpace, "download", "")) }
    }
}

/// What a temp file gets before it is put in place.
#[derive(Clone, Copy)]
pub(super) struct Finishing {
    mode: u32,
    mtime_ns: Option<i64>,
    is_link: bool,
}

impl Finishing {
    fn of(task: &Task, context: &Context, head: &Head) -> Self {
        let policy = context.config.policy.mode;
        // A link has no mode that could be merged.
        let mode = match task.local_file().filter(|file| !file.fingerprint.is_link()) {
            None => {
                let wanted = head.facts.mode.unwrap_or(MODE_DEFAULT);
                (MODE_DEFAULT & !policy.mask()) | (wanted & policy.mask())
            }
            Some(file) => {
                let local = file.fingerprint.mode;
                let ancestor = task.ancestor.as_ref().map(|ancestor| ancestor.fingerprint.mode);
                match merge_mode(ancestor, local, head.facts.mode, policy) {
                    ModeMerge::Apply(mode) => mode,
                    ModeMerge::Keep | ModeMerge::Send => local & 0o7777,
                }
            }
        };
        let last_modified_ns = head
            .generation
            .last_modified
            .as_deref()
            .and_then(|seconds| seconds.parse::<i64>().ok())
            .and_then(|seconds| seconds.checked_mul(1_000_000_000));
        Self { mode, mtime_ns: head.facts.mtime_ns.or(last_modified_ns), is_link: head.facts.is_link }
    }

    /// To the file open at `tmp`, whose content is complete.
    pub(super) fn apply(self, tree: &dyn LocalTree, tmp: &str, file: &dyn TreeFile) -> Result<(), TreeError> {
        file.set_mode(self.mode)?;
        if let Some(mtime_ns) = self.mtime_ns {
            file.set_mtime_ns(mtime_ns)?;
        }
        if self.is_link { tree.make_link(tmp) } else { Ok(()) }
    }
}

/// The content is the one that the store computed its checksums of, as far as they can tell.
async fn verify(context: &Context, key: &str, tmp: &str, digests: Digests, head: &Head) -> Result<(), Outcome> {
    // Our own header names this content, and so do the bytes: both would have to be wrong in the same way.
    if head.facts.blake3_header == Some(digests.blake3) {
        return Ok(());
    }
    match compare(context, tmp, digests, head).await? {
        Identity::Differs => Err(corrupt(key, "the content does not fit the object's checksum").into()),
        // Or the store tells nothing that the bytes could be held against but their number.
        Identity::Same | Identity::Unknown(_) => Ok(()),
    }
}

/// Whether the content in the temp file is the object's, by the checksums that the store computed.
pub(super) async fn compare(context: &Context, tmp: &str, digests: Digests, head: &Head) -> Result<Identity, Outcome> {
    let mut digests = digests;
    for _ in 0..3 {
        match same_as_generation(&digests, &head.generation, Some(&head.facts)) {
            Identity::Unknown(Need::LocalDigests { md5, multipart_part_bytes, crc64nvme }) => {
                let (tmp, wanted) = (tmp.to_owned(), Wanted { md5, multipart_part_bytes, crc64nvme });
                match context.local(move |tree| read_digests(tree, &tmp, wanted)).await?? {
                    Some((_, read)) => digests = read,
                    None => return Err(Outcome::Again),
                }
            }
            told => return Ok(told),
        }
    }
    Ok(same_as_generation(&digests, &head.generation, Some(&head.facts)))
}

fn corrupt(key: &str, message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, "get", key, message)
}
