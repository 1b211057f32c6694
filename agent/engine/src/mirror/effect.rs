//! Effects: what the core asks for, run as futures that end in an event.

use std::collections::BTreeMap;

use futures_channel::{mpsc, oneshot};
use futures_util::future::{BoxFuture, FutureExt as _};
use gosync_plan::conflict::is_conflict_copy_of;
use gosync_plan::{Direction, Nonce, RelPath};

use super::answers::NOTE_ANSWERS;
use super::core::Core;
use super::deletes::{Executed, NOTE_WINDOW, Window};
use super::scrub::{NOTE_SCRUB, SCRUB_PAGE_FILES};
use super::{explain, plan};
use crate::beat::{self, Beaten};
use crate::context::{Context, CopyOf};
use crate::explain::{Explanation, Standing, gather};
use crate::feed::{self, Followed, Position};
use crate::handle::{CommandError, Conditions, ConflictCopy, DeletedVersions, FlushReceipt, Message, TrashItem};
use crate::lister::{self, Listing};
use crate::look::{Candidate, Failure, Looked, describe, look};
use crate::ports::local::Kind;
use crate::ports::state::{HaltRow, JournalEntry, JournalKind, StateChange, StateError, StateErrorKind, UploadRow};
use crate::ports::{LocalTree, TreeError, TreeErrorKind};
use crate::sequences::recover::{Recovered, abort_stale, recover_local, resolve, stale_uploads};

use crate::sequences::start::{NOTE_HYDRATED, Root, check_root};
use crate::sequences::trash::{Evicted, Eviction};
use crate::sequences::{self, Outcome, Task, bring_back, displaced, probe, start, trash, versions};
use crate::sweep::{Found, Scope, Swept};
use crate::walk::{Item, Walk};

/// Rows read at once.
const PAGE_ROWS: usize = 1_000;
pub const NOTE_PAUSED: &str = "paused";

pub enum Effect {
    CheckRoot,
    Recover,
    Probe,
    Sweep(Scope),
    Look(Vec<Candidate>),
    /// These may be folders, or may have been: finds the files concerned.
    Expand(Vec<RelPath>),
    Run(Box<Task>),
    Resolve(JournalEntry),
    Settle(JournalEntry),
    FindStaleUploads,
    AbortUpload(UploadRow),
    Apply(Vec<StateChange>),
    Totals,
    /// The next files to be read for the scrub, after this path.
    ScrubPage(Option<RelPath>),
    Follow(Option<Position>),
    AskListed,
    TellStanding(Position),
    /// So many, to those who share the metadata.
    AnnounceDeletes(u64),
    PruneFeed,
    TakeListLease,
    DropListLease,
    List,
    /// Moves the beat of this tree's replica on.
    Beat {
        ours: Option<Vec<String>>,
        next: String,
    },
    /// Goes on as a replica of its own.
    Part,
    EvictTrash(Eviction),
    BringBack(Vec<Executed>),
    /// Writes the marker that the state knows; or forgets the known root, so that what stands there is a first run.
    RestoreMarker(String),
    AdoptRoot(String),
    /// What one side still has of these is news for the other from now on.
    ForgetAncestors(Vec<RelPath>),
    /// Drafts, and who waits for each.
    Receipts {
        receipts: Vec<(FlushReceipt, Vec<oneshot::Sender<FlushReceipt>>)>,
        end: bool,
    },
    Conflicts(oneshot::Sender<Vec<ConflictCopy>>),
    TrashList(oneshot::Sender<Result<Vec<TrashItem>, CommandError>>),
    /// What is in hand below the path, and whether the root can be trusted.
    Explain {
        path: String,
        below: BTreeMap<RelPath, Standing>,
        look_here: bool,
        reply: explain::Reply,
    },
    Plan {
        core: Box<Core>,
        steps_max: usize,
        reply: plan::Reply,
    },
    Versions {
        below: String,
        reply: oneshot::Sender<Result<DeletedVersions, CommandError>>,
    },
    RestoreVersion {
        path: String,
        version_id: String,
        reply: oneshot::Sender<Result<String, CommandError>>,
    },
    TrashRestore {
        item: String,
        reply: oneshot::Sender<Result<String, CommandError>>,
    },
}

pub enum Event {
    Timer,
    Message(Message),
    /// Nobody can talk to this mirror any more.
    Abandoned,
    Root(Result<Root, Failure>),
    Recovered(Result<Box<Restarted>, Failure>),
    Probed(Result<Conditions, Failure>),
    Found(Found),
    Swept {
        scope: Scope,
        swept: Box<Swept>,
        milliseconds: u64,
    },
    Looked(Vec<Looked>),
    Expanded {
        paths: Vec<RelPath>,
        unreadable: Vec<(String, String)>,
    },
    Ended {
        task: Box<Task>,
        outcome: Outcome,
    },
    Resolved {
        id: Nonce,
        path: RelPath,
        outcome: Outcome,
    },
    Settled {
        entry: JournalEntry,
        outcome: Outcome,
    },
    StaleUploads(Result<Vec<UploadRow>, Failure>),
    Aborted {
        row: UploadRow,
        result: Result<(), Failure>,
    },
    Applied(Result<(), StateError>),
    Totals(Result<AncestorTotals, StateError>),
    ScrubPage(Result<Vec<RelPath>, StateError>),
    Followed(Result<Followed, StateError>),
    DeletesAnnounced(Result<BTreeMap<String, u64>, StateError>),
    ListedKnown(Result<bool, StateError>),
    LeaseTaken(Result<bool, Failure>),
    BucketListed(Result<Listing, Failure>),
    Beaten(Result<Option<Beaten>, Failure>),
    Parted(Result<CopyOf, Failure>),
    Evicted(Result<Evicted, TreeError>),
    BroughtBack {
        paths: Vec<RelPath>,
        lost: Vec<String>,
    },
    RootMended(Result<(), Failure>),
    Restored(RelPath),
    Explained {
        found: Result<Box<Explanation>, Failure>,
        reply: explain::Reply,
    },
    Answered,
    /// The last receipt is out.
    Drained,
    Killed,
}

/// What the ancestor holds, all in all.
pub struct AncestorTotals {
    pub files: u64,
    pub bytes: u64,
    /// Uploaded while open.
    pub open: Vec<RelPath>,
}

async fn totals(context: &Context) -> Result<AncestorTotals, StateError> {
    let (files, bytes) = context.ports.state.ancestor_totals().await?;
    Ok(AncestorTotals { files, bytes, open: context.ports.state.open_ancestors().await? })
}

/// What the state tells at start.
pub struct Restarted {
    pub recovered: Recovered,
    pub halts: Vec<HaltRow>,
    pub window: Window,
    /// In the window, for `deny`.
    pub executed: Vec<Executed>,
    pub paused: bool,
    pub hydrated: bool,
    pub scrub: Option<String>,
    pub answers: Option<String>,
}

pub fn sweep(context: Context, scope: Scope, out: mpsc::Sender<Found>) -> BoxFuture<'static, Event> {
    async move {
        let began = context.ports.clock.monotonic_ms();
        let swept = Box::new(crate::sweep::sweep(&context, scope, out).await);
        Event::Swept { scope, swept, milliseconds: context.ports.clock.monotonic_ms() - began }
    }
    .boxed()
}

pub fn run(context: Context, effect: Effect) -> BoxFuture<'static, Event> {
    async move {
        match effect {
            Effect::CheckRoot => Event::Root(check_root(&context).await),
            Effect::Recover => Event::Recovered(restart(&context).await.map(Box::new)),
            Effect::Probe => Event::Probed(probe::conditions(&context).await),
            // Begun by the driver, which has the channel for it.
            Effect::Sweep(_) => Event::Timer,
            Effect::Look(candidates) => Event::Looked(look(&context, candidates).await),
            Effect::Expand(paths) => expand(&context, paths).await,
            Effect::Run(task) => Event::Ended { outcome: sequences::run(&context, (*task).clone()).await, task },
            Effect::Resolve(entry) => {
                Event::Resolved { id: entry.id, path: entry.path.clone(), outcome: resolve(&context, entry).await }
            }
            Effect::Settle(entry) => {
                Event::Settled { outcome: displaced::settle(&context, entry.clone()).await, entry }
            }
            Effect::FindStaleUploads => Event::StaleUploads(stale_uploads(&context).await),
            Effect::AbortUpload(row) => Event::Aborted { result: abort_stale(&context, row.clone()).await, row },
            Effect::Apply(changes) => Event::Applied(context.record(changes, Vec::new()).await),
            Effect::Totals => Event::Totals(totals(&context).await),
            Effect::ScrubPage(after) => {
                let rows = context.ports.state.ancestors_after(after.as_ref(), SCRUB_PAGE_FILES).await;
                Event::ScrubPage(rows.map(|rows| rows.into_iter().map(|(path, _)| path).collect()))
            }
            Effect::Follow(position) => Event::Followed(feed::follow(&context, position).await),
            Effect::AskListed => Event::ListedKnown(feed::is_listed(&context).await),
            Effect::TellStanding(position) => {
                feed::tell_standing(&context, position).await;
                Event::Answered
            }
            Effect::AnnounceDeletes(deletes) => {
                let within_ms = context.config.limits.delete_window_ms;
                Event::DeletesAnnounced(feed::announce_deletes(&context, deletes, within_ms).await)
            }
            Effect::PruneFeed => {
                lister::prune(&context).await;
                Event::Answered
            }
            Effect::TakeListLease => Event::LeaseTaken(lister::take_lease(&context).await),
            Effect::DropListLease => {
                lister::drop_lease(&context).await;
                Event::Answered
            }
            Effect::List => Event::BucketListed(lister::list(&context).await),
            Effect::Beat { ours, next } => Event::Beaten(beat::beat(&context, ours, next).await),
            Effect::Part => Event::Parted(start::part(&context).await),
            Effect::EvictTrash(wanted) => evict_trash(&context, wanted).await,
            Effect::BringBack(executed) => {
                let (paths, lost) = bring_back::bring_back(&context, executed).await;
                Event::BroughtBack { paths, lost }
            }
            Effect::RestoreMarker(halt) => Event::RootMended(start::restore_marker(&context, halt).await),
            Effect::AdoptRoot(halt) => Event::RootMended(start::adopt_root(&context, halt).await),
            Effect::ForgetAncestors(paths) => {
                let changes = paths.iter().cloned().map(StateChange::DropAncestor).collect();
                match context.record(changes, Vec::new()).await {
                    Ok(()) => Event::BroughtBack { paths, lost: Vec::new() },
                    Err(error) => Event::Applied(Err(error)),
                }
            }
            Effect::Receipts { receipts, end } => {
                for (draft, replies) in receipts {
                    let receipt = complete_receipt(&context, draft).await;
                    for reply in replies {
                        let _ = reply.send(receipt.clone());
                    }
                }
                if end { Event::Drained } else { Event::Answered }
            }
            Effect::Conflicts(reply) => {
                let _ = reply.send(conflict_copies(&context).await.unwrap_or_default());
                Event::Answered
            }
            Effect::TrashList(reply) => {
                let unreadable = |message: String| CommandError {
                    code: "trash-unreadable",
                    message,
                    hint: "check the permissions of .gosync/trash in the root".to_owned(),
                };
                let items = match trash::list_with_coming(&context).await {
                    Err(Failure::Killed) => return Event::Killed,
                    Err(failure) => Err(unreadable(failure.describe())),
                    Ok(items) => Ok(items),
                };
                let _ = reply.send(items);
                Event::Answered
            }
            Effect::Explain { path, below, look_here, reply } => {
                let found = gather(&context, path, below, look_here).await.map(Box::new);
                Event::Explained { found, reply }
            }
            Effect::Plan { core, steps_max, reply } => {
                let _ = reply.send(plan::draw_up(*core, steps_max, false).await);
                Event::Answered
            }
            Effect::TrashRestore { item, reply } => restored(trash::restore(&context, item).await, reply),
            Effect::Versions { below, reply } => {
                let _ = reply.send(versions::deleted(&context, &below).await);
                Event::Answered
            }
            Effect::RestoreVersion { path, version_id, reply } => {
                restored(versions::restore(&context, &path, version_id).await, reply)
            }
        }
    }
    .boxed()
}

fn restored(restored: Result<RelPath, CommandError>, reply: oneshot::Sender<Result<String, CommandError>>) -> Event {
    let _ = reply.send(restored.as_ref().map(|path| path.as_str().to_owned()).map_err(Clone::clone));
    restored.map_or(Event::Answered, Event::Restored)
}

async fn restart(context: &Context) -> Result<Restarted, Failure> {
    let state = &context.ports.state;
    let window: Window =
        state.note(NOTE_WINDOW).await?.and_then(|note| serde_json::from_str(&note).ok()).unwrap_or_default();
    let mut executed: Vec<Executed> = Vec::new();
    for name in window.notes() {
        let noted: Option<Vec<Executed>> = state.note(&name).await?.and_then(|note| serde_json::from_str(&note).ok());
        executed.extend(noted.unwrap_or_default());
    }
    let paused = state.note(NOTE_PAUSED).await?.is_some();
    let hydrated = state.note(NOTE_HYDRATED).await?.is_some();
    let scrub = state.note(NOTE_SCRUB).await?;
    let answers = state.note(NOTE_ANSWERS).await?;
    let halts = state.halts().await?;
    Ok(Restarted {
        recovered: recover_local(context).await?,
        halts,
        window,
        executed,
        paused,
        hydrated,
        scrub,
        answers,
    })
}

/// Files below folders that appeared, and ancestors below folders that went.
async fn expand(context: &Context, paths: Vec<RelPath>) -> Event {
    let mut unreadable = Vec::new();
    let (mut concerned, paths) = match split_off_files(context, paths).await {
        Ok(split) => split,
        Err(killed) => return killed,
    };
    for path in paths {
        let shared = std::sync::Arc::clone(&context.shared);
        let path_there = path.clone();
        let found = context
            .local(move |tree| match tree.stat(path_there.as_str()) {
                Ok(stat) if stat.kind == Kind::Folder => {
                    let (mut walk, mut items) = Walk::new(tree, &shared, path_there.as_str())?;
                    loop {
                        let more = walk.next(tree, &shared, PAGE_ROWS);
                        if more.is_empty() {
                            return Ok(Some(items));
                        }
                        items.extend(more);
                    }
                }
                Ok(_) => Ok(None),
                Err(error) if matches!(error.kind, TreeErrorKind::NotFound | TreeErrorKind::NotAFolder) => Ok(None),
                Err(error) => Err(error),
            })
            .await;
        match found {
            Err(_) => return Event::Killed,
            Ok(Err(error)) if error.kind == TreeErrorKind::Killed => return Event::Killed,
            Ok(Err(error)) if error.is_not_found() => {}
            Ok(Err(error)) => unreadable.push((path.as_str().to_owned(), describe(&error))),
            Ok(Ok(items)) => {
                for item in items.unwrap_or_default() {
                    match item {
                        Item::File(path, _) | Item::Special(path, _) => concerned.push(path),
                        Item::Odd(name, why) => unreadable.push((name, why.to_string())),
                        Item::Unreadable(folder, error) => unreadable.push((folder, describe(&error))),
                    }
                }
            }
        }
        let mut after: Option<RelPath> = None;
        loop {
            match context.ports.state.ancestors_below(&path, after.as_ref(), PAGE_ROWS).await {
                Ok(rows) => {
                    let Some((last, _)) = rows.last() else { break };
                    after = Some(last.clone());
                    concerned.extend(rows.into_iter().map(|(path, _)| path));
                }
                Err(error) if error.kind == StateErrorKind::Killed => return Event::Killed,
                Err(_) => break,
            }
        }
        if context.config.keep_folders {
            concerned.push(path.marker());
        }
        concerned.push(path);
    }
    concerned.sort();
    concerned.dedup();
    Event::Expanded { paths: concerned, unreadable }
}

/// Most hints are of single files: what is a file and was one has nothing below it, now or before.
async fn split_off_files(context: &Context, paths: Vec<RelPath>) -> Result<(Vec<RelPath>, Vec<RelPath>), Event> {
    let is_file = |tree: &dyn LocalTree, path: &RelPath| {
        tree.stat(path.as_str()).is_ok_and(|stat| !matches!(stat.kind, Kind::Folder))
    };
    let stats = context
        .local(move |tree| paths.into_iter().partition::<Vec<_>, _>(|path| is_file(tree, path)))
        .await
        .map_err(|_| Event::Killed)?;
    let (files, mut others) = stats;
    let known = match context.ports.state.ancestors(&files).await {
        Ok(known) => known,
        Err(error) if error.kind == StateErrorKind::Killed => return Err(Event::Killed),
        Err(_) => vec![None; files.len()],
    };
    // One that was a folder, too, is only through with that when its marker is.
    let markers: Vec<RelPath> =
        if context.config.keep_folders { files.iter().map(RelPath::marker).collect() } else { Vec::new() };
    let marked = match context.ports.state.ancestors(&markers).await {
        Ok(marked) => marked,
        Err(error) if error.kind == StateErrorKind::Killed => return Err(Event::Killed),
        Err(_) => Vec::new(),
    };
    let is_marked = |at: usize| marked.get(at).is_some_and(Option::is_some);
    let mut was_file = known.iter().enumerate().map(|(at, row)| row.is_some() && !is_marked(at));
    let (files, new): (Vec<_>, Vec<_>) = files.into_iter().partition(|_| was_file.next().unwrap_or(false));
    others.extend(new);
    Ok((files, others))
}

async fn evict_trash(context: &Context, wanted: Eviction) -> Event {
    let items = match context.local(|tree| trash::list(tree)).await {
        Ok(Ok(items)) => items,
        Ok(Err(error)) => return Event::Evicted(Err(error)),
        Err(_) => return Event::Killed,
    };
    // Read after the list: what came into the trash meanwhile isn't in it.
    let journal = match context.ports.state.journal().await {
        Ok(journal) => journal,
        Err(error) => return Event::Applied(Err(error)),
    };
    let spared: Vec<String> = journal
        .into_iter()
        .filter_map(|entry| match entry.kind {
            JournalKind::Trash { to, .. } => Some(to),
            _ => None,
        })
        .collect();
    let (now_ms, limits) = (context.utc_ms(), context.config.limits.clone());
    match context.local(move |tree| trash::evict(tree, &items, &spared, now_ms, &limits, wanted)).await {
        Ok(result) => Event::Evicted(result),
        Err(_) => Event::Killed,
    }
}

/// Adds what only the whole ancestor tells: counts, and the hash that two replicas in step share.
async fn complete_receipt(context: &Context, mut receipt: FlushReceipt) -> FlushReceipt {
    let mut hasher = blake3::Hasher::new();
    let mut after: Option<RelPath> = None;
    (receipt.files, receipt.bytes) = (0, 0);
    loop {
        match context.ports.state.ancestors_after(after.as_ref(), PAGE_ROWS).await {
            Ok(rows) => {
                let Some((last, _)) = rows.last() else { break };
                after = Some(last.clone());
                for (path, ancestor) in rows {
                    receipt.files += 1;
                    receipt.bytes += ancestor.fingerprint.size;
                    hasher.update(path.as_str().as_bytes());
                    hasher.update(&[0]);
                    match ancestor.content {
                        Some(content) => hasher.update(&content.0),
                        None => hasher.update(ancestor.generation.etag.as_bytes()),
                    };
                }
            }
            Err(error) => {
                receipt.flushed = false;
                receipt.reason = describe(&error);
                break;
            }
        }
    }
    receipt.tree = hasher.finalize().to_hex().to_string();
    let identity = context.identity();
    (receipt.cursor, receipt.epoch) = (identity.cursor, identity.epoch);
    receipt.finished_ms = context.utc_ms();
    receipt
}

async fn conflict_copies(context: &Context) -> Result<Vec<ConflictCopy>, StateError> {
    if context.config.policy.direction == Direction::Pull {
        return Ok(context.local(local_conflict_copies(context)).await?);
    }
    let mut copies = Vec::new();
    let mut after: Option<RelPath> = None;
    loop {
        let rows = context.ports.state.ancestors_after(after.as_ref(), PAGE_ROWS).await?;
        let Some((last, _)) = rows.last() else { return Ok(copies) };
        after = Some(last.clone());
        copies.extend(rows.into_iter().filter_map(|(copy, ancestor)| {
            let path = is_conflict_copy_of(&copy)?;
            Some(ConflictCopy { path, copy, bytes: ancestor.fingerprint.size })
        }));
    }
}

/// Those of a mirror that only receives: nothing is known of them but that they stand there.
fn local_conflict_copies(context: &Context) -> impl FnOnce(&dyn LocalTree) -> Vec<ConflictCopy> + Send + use<> {
    let shared = std::sync::Arc::clone(&context.shared);
    move |tree| {
        let mut copies = Vec::new();
        let Ok((mut walk, _)) = Walk::new(tree, &shared, "") else { return copies };
        loop {
            let items = walk.next(tree, &shared, PAGE_ROWS);
            if items.is_empty() {
                return copies;
            }
            copies.extend(items.into_iter().filter_map(|item| match item {
                Item::File(copy, found) => {
                    Some(ConflictCopy { path: is_conflict_copy_of(&copy)?, copy, bytes: found.size })
                }
                _ => None,
            }));
        }
    }
}
