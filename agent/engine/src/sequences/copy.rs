//! Renames and copies (R11): a content that one side has already, under another name, crosses no line. The bucket copies
//! its object (a large one part by part, as an upload whose parts the store makes itself), the tree its file; what the old
//! name has to go for goes later, as any delete.
//!
//! Either copy is a short cut that may fail: then the content is sent or fetched as usual. Nothing is seen of one that
//! was interrupted but an object that the next look adopts, or a temp file that the next start purges.

use gosync_plan::decide::ExpectRemote;
use gosync_plan::identity::Identity;
use gosync_plan::{Digests, Fingerprint, Generation, RelPath};

use super::download::{Fetched, NewFile, compare};
use super::upload::{acknowledged, begin, head_patiently, not_sent, tells_of, unresolved};
use super::{Outcome, Task, tmp_path, turn};
use crate::context::Context;
use crate::crash::{self, CrashPoint};
use crate::digest::Wanted;
use crate::look::read_digests;
use crate::ports::observer::Event;
use crate::ports::state::{JournalEntry, JournalKind, StateChange};
use crate::ports::store::{Condition, Head, Written};
use crate::ports::{LocalTree, StoreError, StoreErrorKind, TreeError};

/// The bucket has the content of this new file under another key, with the same time and mode: copied there, where the
/// store keeps conditions on copies, or those who write to the key take turns. `None`: send it.
pub async fn copy_in_bucket(
    context: &Context,
    task: &Task,
    local: Fingerprint,
    digests: &Digests,
    expect: &ExpectRemote,
) -> Result<Option<Outcome>, Outcome> {
    let is_unconditional = match context.conditions().copy {
        Some(true) => false,
        Some(false) if context.takes_turns() => true,
        _ => return Ok(None),
    };
    if *expect != ExpectRemote::Absent || digests.size == 0 {
        return Ok(None);
    }
    let Some(etag) = digests.md5.map(hex::encode) else { return Ok(None) };
    let Some((source, known)) = context.ports.state.ancestor_of_object(&etag, digests.size).await? else {
        return Ok(None);
    };
    if known.content != Some(digests.blake3) || known.open || known.fingerprint.mtime_ns != local.mtime_ns {
        return Ok(None);
    }
    let prefix = &context.config.prefix;
    // A copy keeps what the object says of itself, so that has to be what would be said of this file.
    let tells_the_same = |head: &Head| head.generation.etag == etag && tells_of(context, &head.facts, local);
    if !head_patiently(context, &prefix.key(&source)).await?.is_some_and(|head| tells_the_same(&head)) {
        return Ok(None);
    }
    let entry = begin(context, task, local, expect, *digests, false, context.ports.ids.nonce()).await?;
    let permit = context.request().await;
    let turn = match turn::take(context, task.path(), expect, is_unconditional).await {
        Ok(turn) => turn,
        Err(outcome) => return Err(not_sent(context, &entry, outcome).await),
    };
    let (from, to) = (prefix.key(&source), prefix.key(task.path()));
    let condition = context.sayable(Condition::Absent, context.conditions().copy);
    let copied = turn.during(context, context.ports.store.copy(&from, Some(&etag), &to, &condition)).await;
    drop(permit);
    crash::reached(CrashPoint::CopiedInBucket);
    // What may still take effect keeps the turn until that runs out.
    let is_over = !matches!(&copied, Err(error) if error.outcome_unknown());
    let outcome = conclude(context, task, entry, &source, is_unconditional, copied).await;
    if is_over {
        turn.end(context).await;
    }
    outcome
}

async fn conclude(
    context: &Context,
    task: &Task,
    entry: JournalEntry,
    source: &RelPath,
    is_unconditional: bool,
    copied: Result<Written, StoreError>,
) -> Result<Option<Outcome>, Outcome> {
    let JournalKind::Upload { digests, .. } = &entry.kind else { return Err(Outcome::Again) };
    let etag = digests.md5.map(hex::encode);
    let copied = match copied {
        // Somebody who takes no turns may have written at the same time.
        Ok(_) if is_unconditional => match head_patiently(context, &context.config.prefix.key(task.path())).await {
            Ok(head) => Ok(head.map(|head| head.generation)),
            Err(failure) => return Err(unresolved(entry, failure)),
        },
        copied => copied.map(|written| Some(written.generation)),
    };
    match copied {
        Ok(Some(generation)) if Some(&generation.etag) == etag.as_ref() => {
            let mut outcome = acknowledged(context, &entry, generation).await?;
            if let Outcome::Done { events, .. } = &mut outcome {
                context.shared.remember_copied(source.clone(), task.path().clone());
                *events = vec![Event::CopiedInBucket { path: task.path().clone(), from: source.clone() }];
            }
            Ok(Some(outcome))
        }
        Err(error) if error.kind == StoreErrorKind::Killed => Err(unresolved(entry, error.into())),
        // Whatever is there by now is looked at, as an object of somebody else's.
        Ok(_) => Err(not_sent(context, &entry, Outcome::Again).await),
        Err(error) => {
            let is_unknown = error.outcome_unknown();
            context.record(vec![StateChange::End(entry.id)], Vec::new()).await?;
            if is_unknown { Err(Outcome::Again) } else { Ok(None) }
        }
    }
}

/// The tree has the content of this new object under another path: copied there. `None`: fetch it.
pub(super) async fn copy_in_tree(
    context: &Context,
    task: &Task,
    remote: &Generation,
) -> Result<Option<Fetched>, Outcome> {
    if task.ancestor.is_some() || remote.size == 0 || !context.shared.is_hydrated() {
        return Ok(None);
    }
    let in_place = context.ports.state.ancestor_of_object(&remote.etag, remote.size).await?;
    let in_place = in_place.map(|(source, known)| (source.as_str().to_owned(), known.fingerprint));
    // The old name of what only moved may be told of before the new one, even between one line here and the next.
    let in_trash = || context.shared.trashed(&remote.etag, remote.size);
    if in_place.is_none() && in_trash().is_none() {
        return Ok(None);
    }
    let head = head_patiently(context, &context.config.prefix.key(task.path())).await?.ok_or(Outcome::Again)?;
    if head.generation.etag != remote.etag || head.generation.size != remote.size {
        return Err(Outcome::Again);
    }
    if let Some(source) = in_place
        && let Some(copied) = copy_from(context, task, &head, source).await?
    {
        return Ok(Some(copied));
    }
    match in_trash() {
        Some(source) => copy_from(context, task, &head, source).await,
        None => Ok(None),
    }
}

/// `None`: what is there is not that content.
async fn copy_from(
    context: &Context,
    task: &Task,
    head: &Head,
    (source, known): (String, Fingerprint),
) -> Result<Option<Fetched>, Outcome> {
    let new = NewFile::of(context, task, head)?;
    let operation = new.operation;
    let tmp = tmp_path(operation);
    let tmp_there = tmp.clone();
    let copied = context
        .local(move |tree| -> Result<Option<Digests>, TreeError> {
            let copied = copy(tree, &source, known, &new, &tmp_there);
            if !matches!(copied, Ok(Some(_))) {
                tree.unlink(&tmp_there).ok();
            }
            copied
        })
        .await?;
    crash::reached(CrashPoint::CopiedInTree);
    let Ok(Some(digests)) = copied else { return Ok(None) };
    if compare(context, &tmp, digests, head).await? == Identity::Same {
        return Ok(Some(Fetched { operation, tmp, digests, head: head.clone(), is_copy: true }));
    }
    context.local(move |tree| tree.unlink(&tmp)).await?.ok();
    Ok(None)
}

/// `None`: the file is not what it was, or changes while it is copied.
fn copy(
    tree: &dyn LocalTree,
    source: &str,
    known: Fingerprint,
    new: &NewFile,
    tmp: &str,
) -> Result<Option<Digests>, TreeError> {
    let file = tree.open(source)?;
    if !file.stat()?.fingerprint.same_but_ctime(&known) {
        return Ok(None);
    }
    let target = new.create(tree)?;
    file.copy_to(&*target)?;
    new.finishing.apply(tree, tmp, &*target)?;
    let read = read_digests(tree, tmp, Wanted { md5: true, ..Wanted::default() })?;
    Ok(read.map(|(_, digests)| digests))
}
