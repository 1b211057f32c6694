//! Taking things away: an object whose file was deleted, a file whose object was deleted, a file that stands where a
//! folder must be. Each needs its proof again right before the act (P5).

use gosync_plan::decide::{ExpectRemote, Keep};
use gosync_plan::{Fingerprint, Generation, LocalEntry, RelPath, RemoteEntry};

use super::download::keep_object;
use super::place::{move_new, parent};
use super::start::root_is_ours;
use super::trash::{TrashName, move_to_trash};
use super::{Outcome, Task, bring_back, turn};
use crate::context::Context;
use crate::crash::{self, CrashPoint};
use crate::durable::{Target, durable};
use crate::look::{Failure, head_entry, stat_entry};
use crate::planted::{self, Planted};
use crate::ports::local::Kind;
use crate::ports::observer::Event;
use crate::ports::state::{Displaced, JournalEntry, JournalKind, StateChange};
use crate::ports::store::{Condition, ListRequest};
use crate::ports::{Lease, LocalTree, StoreError, StoreErrorKind, TreeError};

/// The file was deleted: deletes the object, this generation of it.
pub async fn delete_object(context: &Context, task: &Task, remote: Generation) -> Result<Outcome, Outcome> {
    let path = task.path().clone();
    prove_absent(context, &path).await?;
    let now = match head_entry(context, &path).await? {
        RemoteEntry::Object(object) if remote.same(&object.generation) => object.generation,
        RemoteEntry::Absent => return super::forget(context, &path).await,
        RemoteEntry::Object(_) | RemoteEntry::Presumed => return Err(Outcome::Again),
        RemoteEntry::Unknown(why) => return Err(Outcome::Problem(why)),
    };
    let is_known = task.ancestor.as_ref().is_some_and(|ancestor| ancestor.generation.same(&now));
    if !is_known && context.shared.kept(&path, &now.etag).is_none() {
        // Somebody else's, which this folder never had: a person said that it may go, and finds it in the trash.
        keep_object(context, task, &now, Keep::InTrash).await?;
    }
    // The look at the store took its time.
    prove_absent(context, &path).await?;
    let entry = JournalEntry {
        id: context.ports.ids.nonce(),
        path: path.clone(),
        kind: JournalKind::DeleteObject { remote: remote.completed_by(&now) },
        began_ms: context.utc_ms(),
    };
    context.record(vec![StateChange::Begin(entry.clone())], Vec::new()).await?;
    crash::reached(CrashPoint::DeleteJournalled);
    let key = context.config.prefix.key(&path);
    let permit = context.request().await;
    let is_unconditional = context.conditions().delete == Some(false);
    let turn = match turn::take(context, &path, &ExpectRemote::Object(now.clone()), is_unconditional).await {
        Ok(turn) => turn,
        Err(outcome) => return Err(end_with(context, entry, outcome).await),
    };
    if context.conditions().is_incomplete()
        // That took its time, too.
        && let Err(outcome) = prove_absent(context, &path).await
    {
        turn.end(context).await;
        return Err(end_with(context, entry, outcome).await);
    }
    let condition = context.sayable(Condition::Etag(remote.etag.clone()), context.conditions().delete);
    let deletion = turn.during(context, context.ports.store.delete(&key, &condition)).await;
    permit.answered();
    crash::reached(CrashPoint::ObjectDeleted);
    if deletion.is_ok() {
        context.shared.forget_kept(&path, &now.etag);
    }
    let outcome = conclude_delete(context, entry, deletion, is_unconditional).await;
    turn.end_after(context, &outcome).await;
    outcome
}

async fn conclude_delete(
    context: &Context,
    entry: JournalEntry,
    deletion: Result<(), StoreError>,
    is_unconditional: bool,
) -> Result<Outcome, Outcome> {
    match deletion {
        Ok(()) => {
            let mut outcome = deleted(context, &entry).await?;
            if is_unconditional && let Outcome::Done { look_at, .. } = &mut outcome {
                after_unconditional_delete(context, &entry).await;
                look_at.push(entry.path);
            }
            Ok(outcome)
        }
        Err(error) if error.kind == StoreErrorKind::Killed => Err(Outcome::Failed(Failure::Killed)),
        Err(error)
            if error.outcome_unknown()
                || matches!(
                    error.kind,
                    StoreErrorKind::PreconditionFailed | StoreErrorKind::Conflict | StoreErrorKind::NotFound
                ) =>
        {
            Err(finish_unresolved_delete(context, entry).await)
        }
        Err(error) => {
            context.record(vec![StateChange::End(entry.id)], Vec::new()).await?;
            Err(error.into())
        }
    }
}

/// An unconditional delete may have hit an edit of the last instant; where the bucket keeps versions it is one of them.
async fn after_unconditional_delete(context: &Context, entry: &JournalEntry) {
    let JournalKind::DeleteObject { remote } = &entry.kind else { return };
    if let Some(edit) = edit_that_was_deleted(context, &entry.path, remote).await {
        // Where it can't be had now, `trash restore` finds it.
        bring_back::fetch_version(context, &entry.path, &edit).await.ok();
    }
}

async fn edit_that_was_deleted(context: &Context, path: &RelPath, meant: &Generation) -> Option<Generation> {
    let versions = context.ports.store.versions(&context.config.prefix.key(path)).await.ok()?;
    let last = versions.into_iter().find_map(|version| version.generation)?;
    (last.etag != meant.etag).then_some(last)
}

async fn deleted(context: &Context, entry: &JournalEntry) -> Result<Outcome, Outcome> {
    let JournalKind::DeleteObject { remote } = &entry.kind else { return Err(Outcome::Again) };
    let path = entry.path.clone();
    let gone = super::gone(context, &path, Some(remote)).moved_to(moved_to(context, &path).await?);
    context
        .record(vec![StateChange::DropAncestor(path.clone()), StateChange::End(entry.id)], vec![gone])
        .await
        .map_err(|error| super::upload::unresolved(entry.clone(), error.into()))?;
    Ok(Outcome::done(Event::DeletedObject { path }))
}

/// The key that has the content now, where the bucket copied it there: together with this delete that is a rename.
async fn moved_to(context: &Context, path: &RelPath) -> Result<Option<String>, Failure> {
    let Some(to) = context.shared.take_copied(path) else { return Ok(None) };
    let content = |ancestor: Option<gosync_plan::Ancestor>| ancestor.and_then(|ancestor| ancestor.content);
    let (before, after) = (content(context.ancestor(path).await?), content(context.ancestor(&to).await?));
    Ok((before.is_some() && before == after).then(|| context.config.prefix.key(&to)))
}

/// A delete whose reply was lost: 404 is done, the same generation still there is to do.
pub async fn finish_unresolved_delete(context: &Context, entry: JournalEntry) -> Outcome {
    let key = context.config.prefix.key(&entry.path);
    let result = match super::upload::head_patiently(context, &key).await {
        Ok(None) => deleted(context, &entry).await,
        Ok(Some(_)) => match context.record(vec![StateChange::End(entry.id)], Vec::new()).await {
            Ok(()) => Ok(Outcome::Again),
            Err(error) => Err(error.into()),
        },
        Err(Failure::Killed) => Ok(Outcome::Failed(Failure::Killed)),
        Err(failure) => Ok(Outcome::Unresolved(Box::new(entry), failure)),
    };
    result.unwrap_or_else(|outcome| outcome)
}

/// Nothing but ENOENT, below readable folders of a root that is still the marked one, is a deleted file.
async fn prove_absent(context: &Context, path: &RelPath) -> Result<(), Outcome> {
    let (path, volume) = (path.clone(), context.identity().volume);
    let entry = context
        .local(move |tree| {
            if !root_is_ours(tree, &volume) {
                return LocalEntry::Unknown("the root is not the one that was synced".to_owned());
            }
            stat_entry(tree, &path)
        })
        .await?;
    match entry {
        LocalEntry::Absent | LocalEntry::Folder => Ok(()),
        LocalEntry::File(_) | LocalEntry::Special(_) => Err(Outcome::Again),
        LocalEntry::Unknown(why) => Err(Outcome::Problem(why)),
    }
}

/// The object was deleted: moves the file to the trash.
pub async fn trash_local(context: &Context, task: &Task, local: Fingerprint) -> Result<Outcome, Outcome> {
    let path = task.path().clone();
    prove_object_gone(context, &path).await?;
    let id = context.ports.ids.nonce();
    let name = TrashName::new(&context.utc_date(), &path, id);
    let expects = Displaced {
        fingerprint: local,
        content: task
            .ancestor
            .as_ref()
            .filter(|_| !planted::is(Planted::EditVersusDeleteAsDelete))
            .and_then(|ancestor| ancestor.content),
        to_trash: true,
    };
    let entry = JournalEntry {
        id,
        path: path.clone(),
        kind: JournalKind::Trash { to: name.path(), expects: expects.clone(), remote: None },
        began_ms: context.utc_ms(),
    };
    context.record(vec![StateChange::Begin(entry.clone())], Vec::new()).await?;
    crash::reached(CrashPoint::TrashJournalled);
    if let Some(ancestor) = &task.ancestor {
        // Before it is there, so that it is never nowhere.
        context.shared.remember_trashed(&ancestor.generation, name.path(), local);
    }
    let (path_there, volume) = (path.clone(), context.identity().volume);
    let moved = context
        .local(move |tree| -> Result<Moved, TreeError> {
            let file = tree.open(path_there.as_str())?;
            // First the lease: what was stored through a mapping shows when it is closed, which may have been just now.
            if file.lease() == Lease::Busy {
                return Ok(Moved::Busy);
            }
            if file.stat()?.fingerprint != local || !root_is_ours(tree, &volume) {
                return Ok(Moved::Again);
            }
            if !move_to_trash(tree, path_there.as_str(), &name)? {
                return Ok(Moved::Again);
            }
            Ok(Moved::To(name.folder()))
        })
        .await?;
    let folder = match moved {
        Ok(Moved::To(folder)) => folder,
        Ok(Moved::Again) => return Err(end_with(context, entry, Outcome::Again).await),
        Ok(Moved::Busy) => return Err(end_with(context, entry, Outcome::Busy).await),
        Err(error) => return Err(end_with(context, entry, error.into()).await),
    };
    crash::reached(CrashPoint::Trashed);
    context.displaced(entry);
    durable(context, vec![Target::Folder(parent(&path)), Target::Folder(folder)]).await??;
    let held = task.ancestor.as_ref().map(|ancestor| &ancestor.generation);
    let gone = super::gone(context, &path, held);
    // The journal entry stays until the trashed content is known to be at rest.
    context.record(vec![StateChange::DropAncestor(path.clone())], vec![gone]).await?;
    crash::reached(CrashPoint::TrashRecorded);
    if !context.config.keep_folders {
        let above = path.clone();
        context.local(move |tree| remove_empty_folders(tree, &above)).await?;
    }
    Ok(Outcome::done(Event::Trashed { path }))
}

/// A fresh proof, for the listing is a while ago: a page that doesn't list the key, and HEAD 404. Neither is enough by
/// itself: 404 is also the answer for a bucket that is gone, and a listing may hide what is there.
pub(super) async fn prove_object_gone(context: &Context, path: &RelPath) -> Result<(), Outcome> {
    if planted::is(Planted::IncompleteListingTrusted) || planted::is(Planted::StaleListingDeletes) {
        return Ok(());
    }
    let key = context.config.prefix.key(path);
    let request = ListRequest { prefix: key.clone(), page_keys_max: 1, ..ListRequest::default() };
    let page = context.ports.store.list(request).await?;
    if page.objects.iter().any(|object| object.key == key) {
        return Err(Outcome::Again);
    }
    match head_entry(context, path).await? {
        RemoteEntry::Absent => Ok(()),
        RemoteEntry::Object(_) | RemoteEntry::Presumed => Err(Outcome::Again),
        RemoteEntry::Unknown(why) => Err(Outcome::Problem(why)),
    }
}

enum Moved {
    To(String),
    Again,
    Busy,
}

/// The act didn't happen: its journal entry ends.
async fn end_with(context: &Context, entry: JournalEntry, outcome: Outcome) -> Outcome {
    match context.record(vec![StateChange::End(entry.id)], Vec::new()).await {
        Ok(()) => outcome,
        Err(error) => error.into(),
    }
}

/// Folders that our removal left empty go, as they do for whoever deletes the last file of one in a bucket.
pub fn remove_empty_folders(tree: &dyn LocalTree, path: &RelPath) {
    for folder in path.ancestors() {
        if tree.remove_folder(folder.as_str()).is_err() {
            return;
        }
    }
}

/// A folder has to stand where this file is: the file becomes a conflict copy beside it.
pub async fn move_aside(context: &Context, path: &RelPath, local: Fingerprint) -> Result<Outcome, Outcome> {
    let path = path.clone();
    // First, so that the file's absence is never taken for a delete.
    context.record(vec![StateChange::DropAncestor(path.clone())], Vec::new()).await?;
    crash::reached(CrashPoint::AsideForgotten);
    let (tag, prefix) = (context.conflict_tag(), context.config.prefix.clone());
    let path_there = path.clone();
    let moved = context
        .local(move |tree| -> Result<Option<Option<RelPath>>, TreeError> {
            let stat = tree.stat(path_there.as_str())?;
            if stat.kind != Kind::File || stat.fingerprint != local {
                return Ok(None);
            }
            let name = gosync_plan::conflict::free_conflict_name(&path_there, &tag, &prefix, |name| {
                tree.stat(name.as_str()).is_ok()
            });
            let Some(name) = name else { return Ok(Some(None)) };
            move_new(tree, path_there.as_str(), name.as_str())?;
            Ok(Some(Some(name)))
        })
        .await??;
    let copy = match moved {
        None => return Err(Outcome::Again),
        Some(None) => {
            return Err(Outcome::Problem("held: there is no room for the name of a conflict copy".to_owned()));
        }
        Some(Some(copy)) => copy,
    };
    crash::reached(CrashPoint::MovedAside);
    durable(context, vec![Target::Folder(parent(&path))]).await??;
    let events = vec![Event::Conflict { path: path.clone(), copy: copy.clone() }];
    Ok(Outcome::Done { events, look_at: vec![copy, path] })
}

/// A download found a file where it needs a folder. When the bucket has both, the folder keeps the name; when the object
/// is gone, the file is about to go as well, and the download has its turn then.
pub async fn file_in_the_way(context: &Context, path: &RelPath) -> Result<Outcome, Outcome> {
    let below = path.clone();
    let found = context
        .local(move |tree| {
            below.ancestors().find_map(|folder| {
                let stat = tree.stat(folder.as_str()).ok()?;
                (stat.kind == Kind::File).then_some((folder, stat.fingerprint))
            })
        })
        .await?;
    let Some((file, local)) = found else { return Err(Outcome::Again) };
    match head_entry(context, &file).await? {
        RemoteEntry::Object(_) => Ok(Outcome::InTheWay { file, local }),
        _ => Err(Outcome::Problem(format!("{file} is a file, and has to go before the folder can come"))),
    }
}
