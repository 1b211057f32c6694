//! The sequences: in which order system calls, requests and commits make one operation safe at any moment.
//!
//! Every sequence checks its precondition itself, right before the act, and makes no choice: when the world is not as
//! planned it ends with [`Outcome::Again`] and the path is looked at anew. Each may be dropped at any await (that is
//! what a kill is); the journal and `.gosync` tell the next start what was under way.

pub mod bring_back;
mod cached;
pub mod copy;
pub mod displaced;
pub mod download;
pub mod markers;
mod partial;
pub mod place;
pub mod probe;
pub mod read;
pub mod recover;
pub mod remove;
pub mod start;
pub mod trash;
mod turn;
pub mod upload;
pub mod versions;

use gosync_plan::decide::Action;
use gosync_plan::settle::PlannedOperation;
use gosync_plan::{Ancestor, Fingerprint, Generation, LocalEntry, LocalFile, RelPath, RemoteEntry};

use self::place::parent;
use crate::context::Context;
use crate::durable::{Target, durable};
use crate::look::{Failure, describe, head_entry};
use crate::ports::metadata::{Expected, FileChange};
use crate::ports::observer::Event;
use crate::ports::state::{JournalEntry, StateChange, StateError};
use crate::ports::{Lease, StoreError, StoreErrorKind, TreeError, TreeErrorKind};

/// How an operation ended.
#[derive(Debug)]
pub enum Outcome {
    /// Recorded. These further paths have to be looked at (conflict copies).
    Done { events: Vec<Event>, look_at: Vec<RelPath> },
    /// The world is not as planned: nothing was done, look again.
    Again,
    /// Somebody has the file open for writing.
    Busy,
    /// This file has to be moved aside first: an operation of its own, once nobody has it in hand.
    InTheWay { file: RelPath, local: Fingerprint },
    /// It can't be done, and won't get better by itself soon.
    Problem(String),
    /// The object is nothing that can be here. What only waits for such a one has nothing to send.
    Unfit(String),
    /// The outside failed; try again later.
    Failed(Failure),
    /// A write's outcome is not known: nothing may happen to this path before the journal entry is resolved.
    Unresolved(Box<JournalEntry>, Failure),
}

impl Outcome {
    fn done(event: Event) -> Self {
        Self::Done { events: vec![event], look_at: Vec::new() }
    }
}

impl<F: Into<Failure>> From<F> for Outcome {
    fn from(failure: F) -> Self {
        match failure.into() {
            Failure::Local(error) => of_tree_error(error),
            Failure::Store(error) => of_store_error(error),
            failure => Self::Failed(failure),
        }
    }
}

fn of_tree_error(error: TreeError) -> Outcome {
    match error.kind {
        TreeErrorKind::NotFound | TreeErrorKind::Exists => Outcome::Again,
        TreeErrorKind::NotAFolder | TreeErrorKind::IsAFolder => {
            Outcome::Problem("a file and a folder have the same name".to_owned())
        }
        TreeErrorKind::Killed => Outcome::Failed(Failure::Killed),
        TreeErrorKind::NoSpace => Outcome::Failed(Failure::Local(error)),
        _ => Outcome::Problem(describe(&error)),
    }
}

fn of_store_error(error: StoreError) -> Outcome {
    match error.kind {
        StoreErrorKind::PreconditionFailed | StoreErrorKind::Conflict | StoreErrorKind::NotFound => Outcome::Again,
        StoreErrorKind::Denied
        | StoreErrorKind::Unreadable
        | StoreErrorKind::Invalid
        | StoreErrorKind::NotImplemented => Outcome::Problem(describe(&error)),
        _ => Outcome::Failed(Failure::Store(error)),
    }
}

/// What an operation knows beside its action.
#[derive(Clone, Debug)]
pub struct Task {
    pub operation: PlannedOperation,
    pub ancestor: Option<Ancestor>,
    pub local: LocalEntry,
    pub remote: RemoteEntry,
    /// The file didn't come to rest for long enough: read it all the same.
    pub read_open: bool,
}

impl Task {
    fn path(&self) -> &RelPath {
        &self.operation.path
    }

    fn local_file(&self) -> Option<&LocalFile> {
        match &self.local {
            LocalEntry::File(file) => Some(file),
            _ => None,
        }
    }
}

/// Does one planned operation.
pub async fn run(context: &Context, task: Task) -> Outcome {
    let result = match task.operation.action.clone() {
        Action::Download { remote, .. } if task.path().is_marker() => {
            markers::make_folder(context, &task, remote).await
        }
        Action::TrashLocal { .. } if task.path().is_marker() => markers::remove_folder(context, &task).await,
        // Folders are made with the mode that their tree gives them.
        Action::ApplyMode { local, remote, .. } if task.path().is_marker() => {
            record(context, &task, local, remote).await
        }
        Action::Conflict { .. } | Action::Replace { .. } | Action::Overrule { .. } if task.path().is_marker() => {
            Err(markers::holds_data())
        }
        Action::Upload { local, expect } => upload::upload(context, &task, local, expect).await,
        Action::Download { remote, expect } => download::download(context, &task, remote, expect).await,
        Action::Replace { local, remote } => {
            download::download(context, &task, remote, gosync_plan::decide::ExpectLocal::File(local)).await
        }
        Action::Overrule { local, remote, keep } => download::overrule(context, &task, local, remote, keep).await,
        Action::Conflict { local, remote } => download::conflict(context, &task, local, remote).await,
        Action::Record { local, remote } => record(context, &task, local, remote).await,
        Action::ApplyMode { local, remote, mode } => apply_mode(context, task, local, remote, mode).await,
        Action::MoveAside { local } => remove::move_aside(context, task.path(), local).await,
        Action::DeleteObject { remote } => remove::delete_object(context, &task, remote).await,
        Action::TrashLocal { local } => remove::trash_local(context, &task, local).await,
        Action::Forget => forget_both(context, task.path()).await,
    };
    result.unwrap_or_else(|outcome| outcome)
}

/// Both sides hold the same content: makes the local one durable, then writes the ancestor.
async fn record(context: &Context, task: &Task, local: Fingerprint, remote: Generation) -> Result<Outcome, Outcome> {
    let path = task.path().clone();
    let content = task
        .local_file()
        .and_then(|file| file.digests.map(|digests| digests.blake3))
        .or_else(|| task.ancestor.as_ref().and_then(|ancestor| ancestor.content));
    let was_open = task.ancestor.as_ref().is_some_and(|ancestor| ancestor.open);
    let path_there = path.clone();
    let at_rest = context
        .local(move |tree| -> Result<Option<bool>, TreeError> {
            let file = tree.open(path_there.as_str())?;
            if file.stat()?.fingerprint != local {
                return Ok(None);
            }
            let lease = file.lease();
            file.release_lease();
            Ok(Some(lease != Lease::Busy))
        })
        .await??;
    let Some(at_rest) = at_rest else { return Err(Outcome::Again) };
    let facts = remote_facts(&task.remote);
    let ancestor = Ancestor {
        fingerprint: local,
        nonce: facts.and_then(|facts| facts.nonce).or_else(|| task.ancestor.as_ref().and_then(|known| known.nonce)),
        generation: remote,
        content,
        open: !at_rest && (was_open || content.is_none()),
    };
    if task.ancestor.as_ref() == Some(&ancestor) {
        return Ok(Outcome::Done { events: Vec::new(), look_at: Vec::new() });
    }
    let mut local_side = vec![Target::Content(path.as_str().to_owned())];
    if task.ancestor.as_ref().is_none_or(|known| known.fingerprint.inode != local.inode) {
        // A kill may have left a file that was put in place, with a name that is not durable yet.
        local_side.push(Target::Folder(parent(&path)));
    }
    durable(context, local_side).await??;
    let news = task.ancestor.as_ref().is_none_or(|known| known.content != ancestor.content);
    write_ancestor(context, &path, ancestor, Vec::new()).await?;
    let events = if news { vec![Event::Recorded { path }] } else { Vec::new() };
    Ok(Outcome::Done { events, look_at: Vec::new() })
}

fn remote_facts(remote: &RemoteEntry) -> Option<&gosync_plan::ObjectFacts> {
    match remote {
        RemoteEntry::Object(object) => object.facts.as_ref(),
        _ => None,
    }
}

/// Changes a file's permission bits, then records: the contents are the same.
async fn apply_mode(
    context: &Context,
    mut task: Task,
    local: Fingerprint,
    remote: Generation,
    mode: u32,
) -> Result<Outcome, Outcome> {
    let path = task.path().as_str().to_owned();
    let changed = context
        .local(move |tree| -> Result<Result<Fingerprint, Outcome>, TreeError> {
            let file = tree.open(&path)?;
            // Nobody is to write between the looks before and after: the change of mode itself moves ctime.
            if file.lease() == Lease::Busy {
                return Ok(Err(Outcome::Busy));
            }
            if file.stat()?.fingerprint != local {
                return Ok(Err(Outcome::Again));
            }
            file.set_mode(mode)?;
            let after = file.stat()?.fingerprint;
            file.release_lease();
            let only_mode = Fingerprint { ctime_ns: local.ctime_ns, mode: local.mode, ..after } == local;
            Ok(only_mode.then_some(after).ok_or(Outcome::Again))
        })
        .await??;
    let after = changed?;
    if let LocalEntry::File(file) = &mut task.local {
        file.fingerprint = after;
    }
    record(context, &task, after, remote).await
}

/// Both sides are gone, as far as a listing tells: there are stores that list no object that stands below another one.
async fn forget_both(context: &Context, path: &RelPath) -> Result<Outcome, Outcome> {
    match head_entry(context, path).await? {
        RemoteEntry::Absent => forget(context, path).await,
        RemoteEntry::Unknown(why) => Err(Outcome::Problem(why)),
        RemoteEntry::Object(_) | RemoteEntry::Presumed => Err(Outcome::Again),
    }
}

async fn forget(context: &Context, path: &RelPath) -> Result<Outcome, Outcome> {
    let gone = gone(context, path, None);
    context.record(vec![StateChange::DropAncestor(path.clone())], vec![gone]).await?;
    Ok(Outcome::Done { events: Vec::new(), look_at: Vec::new() })
}

/// The key holds nothing any more, of what it held.
fn gone(context: &Context, path: &RelPath, held: Option<&Generation>) -> FileChange {
    let expects = expected(context, held.cloned());
    FileChange::Delete { key: context.config.prefix.key(path), expects, moved_to: None }
}

/// What the row of a key is to say before. Where nobody else writes rows, whatever it says is ours.
fn expected(context: &Context, held: Option<Generation>) -> Expected {
    if context.config.shared { Expected::Object(held) } else { Expected::Any }
}

/// The ancestor of what the bucket holds already: the row is to say so, too.
async fn write_ancestor(
    context: &Context,
    path: &RelPath,
    ancestor: Ancestor,
    further: Vec<StateChange>,
) -> Result<(), StateError> {
    let expects = expected(context, Some(ancestor.generation.clone()));
    write_ancestor_over(context, path, ancestor, expects, further).await
}

/// The one place where an ancestor is written: both sides hold the content durably by now.
async fn write_ancestor_over(
    context: &Context,
    path: &RelPath,
    ancestor: Ancestor,
    expects: Expected,
    mut further: Vec<StateChange>,
) -> Result<(), StateError> {
    let file = FileChange::Put {
        key: context.config.prefix.key(path),
        expects,
        generation: ancestor.generation.clone(),
        content: ancestor.content,
        modified_ns: Some(ancestor.fingerprint.mtime_ns),
        mode: Some(ancestor.fingerprint.mode),
        mime_type: None,
    };
    further.insert(0, StateChange::PutAncestor(path.clone(), ancestor));
    context.record(further, vec![file]).await
}

/// Where an operation's temp file is.
fn tmp_path(operation: gosync_plan::Nonce) -> String {
    format!("{}/{}", crate::context::TMP, operation.to_hex())
}

fn displaced_path(operation: gosync_plan::Nonce) -> String {
    format!("{}/{}", crate::context::DISPLACED, operation.to_hex())
}
