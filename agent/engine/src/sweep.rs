//! The streaming three-way merge of local walk, remote listing and ancestor, in the byte order of keys.
//!
//! Three producers run side by side, each a bounded batch ahead; only paths that may differ leave the merge, looked at
//! closely in batches, and the receiver's pace holds everything up. A producer that fails ends the sweep there: what was
//! not covered by all three is not concluded upon. Dropping the future stops it; nothing was changed.

use std::collections::VecDeque;

use futures_channel::mpsc;
use futures_util::{SinkExt as _, StreamExt as _, join};
use gosync_plan::conflict::is_conflict_copy_of;
use gosync_plan::names::{NameProblem, OWN_FOLDER};
use gosync_plan::{Ancestor, Direction, LocalEntry, LocalFile, RelPath, RemoteEntry, RemoteObject};

use crate::context::Context;
use crate::feed;
use crate::look::{Candidate, Failure, Looked, describe, look};
use crate::planted::{self, Planted};
use crate::ports::metadata::{FileRow, FilesQuery};
use crate::ports::state::{StateError, StateErrorKind};
use crate::ports::store::{ListRequest, Listed};
use crate::ports::{StoreError, StoreErrorKind, TreeError, TreeErrorKind};
use crate::sequences::start::root_is_ours;
use crate::walk::{Item, Walk};

/// Items that a producer hands over at once.
const BATCH_ITEMS: usize = 1_000;
/// Candidates that are looked at and handed over together.
const CANDIDATES_MAX: usize = 1_000;
/// Odd names that are remembered for `state`.
const ODD_NAMES_MAX: usize = 1_000;

/// What a sweep covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Local walk and listing.
    Full,
    /// The listing against the ancestor; hints stand in for the walk.
    Remote,
    /// The walk against the ancestor, where nobody can tell what the bucket holds.
    Local,
}

/// Differing paths, looked at.
#[derive(Debug, Default)]
pub struct Found {
    pub looked: Vec<Looked>,
    /// Only their ctime moved: to be hashed when there is nothing better to do.
    pub lazy: Vec<RelPath>,
    /// The record count before the oldest page that these come from was read.
    pub read_at: u64,
}

/// How a sweep ended.
#[derive(Debug, Default)]
pub struct Swept {
    /// `None`: complete.
    pub failure: Option<Failure>,
    /// Time in which the store was asked for pages; not the time in which nobody took them.
    pub listing_ms: u64,
    /// Objects with a syncable key, in the part that was listed.
    pub listed: u64,
    pub walked: u64,
    pub ancestors: u64,
    /// Ancestors whose file stands at its path.
    pub ancestors_present: u64,
    /// Ancestors whose name is that of a conflict copy.
    pub conflict_copies: u64,
    /// Ancestors whose object is not listed.
    pub missing: u64,
    /// Names and folders that were left alone: as shown, and why.
    pub problems: Vec<(String, String)>,
    /// Those of them that could not be read but might be, so that nothing is known of what is in them.
    pub unreadable: Vec<String>,
}

/// No page counts for more: it was the agent that stood still then, not the store that worked.
const PAGE_MS_MAX: u64 = 1_000;

/// What has failed for this long is told instead of tried again unseen.
const FAILURE_MS_MAX: u64 = 10_000;

struct Batch<T> {
    items: Vec<T>,
    read_at: u64,
}

/// Of every fresh ext file system, and its root user's alone.
const LOST_AND_FOUND: &str = "lost+found/";

type Producer<T> = mpsc::Sender<Result<Batch<T>, Failure>>;

/// Sweeps; hands each batch of differing paths to `out` and waits until it is taken.
pub async fn sweep(context: &Context, scope: Scope, out: mpsc::Sender<Found>) -> Swept {
    context.sweep_begins();
    // Whatever follows speaks of the root that was synced, or of nothing.
    let volume = context.identity().volume;
    match context.local(move |tree| root_is_ours(tree, &volume)).await {
        Ok(true) => {}
        Ok(false) => {
            let error = TreeError::new(TreeErrorKind::NotFound, "look at the root", "");
            return Swept { failure: Some(error.into()), ..Swept::default() };
        }
        Err(killed) => return Swept { failure: Some(killed.into()), ..Swept::default() },
    }
    survey(context, scope, out).await
}

/// The merge alone, of whatever root is open.
pub async fn survey(context: &Context, scope: Scope, mut out: mpsc::Sender<Found>) -> Swept {
    let (listing_in, listing) = mpsc::channel(1);
    let (walk_in, walk) = mpsc::channel(0);
    let (ancestors_in, ancestors) = mpsc::channel(0);
    let merge = async {
        let mut merge = Merge {
            listing: Source::new(listing),
            walk: Source::new(walk),
            ancestors: Source::new(ancestors),
            swept: Swept::default(),
            scope,
            unreadable: VecDeque::new(),
            at: None,
        };
        let failure = merge.run(context, &mut out).await.err();
        merge.swept.failure = failure;
        // Dropping the sources lets the producers end.
        merge.swept
    };
    let walking = async {
        if scope != Scope::Remote {
            produce_walk(context, walk_in).await;
        }
    };
    let mut listing_ms = 0;
    let listing = async {
        match context.config.shared {
            _ if scope == Scope::Local => {}
            true => produce_rows(context, listing_in).await,
            false => produce_listing(context, listing_in, &mut listing_ms).await,
        }
    };
    let (swept, (), (), ()) = join!(merge, listing, walking, produce_ancestors(context, ancestors_in));
    Swept { listing_ms, ..swept }
}

/// What is said to be below the prefix, in the order of keys.
struct RemoteItem {
    key: String,
    object: RemoteObject,
    archived: bool,
}

impl From<Listed> for RemoteItem {
    fn from(listed: Listed) -> Self {
        let object = RemoteObject { generation: listed.generation, facts: None, content: None };
        Self { key: listed.key, object, archived: listed.archived }
    }
}

/// The rows of the metadata in place of a listing.
async fn produce_rows(context: &Context, mut out: Producer<RemoteItem>) {
    let Some(store) = context.identity().store else {
        let error = StateError { kind: StateErrorKind::Unavailable, what: "reading the files".into(), source: None };
        let _ = out.send(Err(Failure::Metadata(error))).await;
        return;
    };
    let prefix = context.config.prefix.as_str().to_owned();
    let mut query = FilesQuery { store, prefix, deleted: false, after: None, limit: BATCH_ITEMS };
    // For all pages: what is recorded meanwhile may be newer than any of them.
    let read_at = context.record_count();
    loop {
        match context.ports.metadata.files(query.clone()).await {
            Ok(rows) => {
                let Some(last) = rows.last() else { return };
                query.after = Some(last.s3_key.clone());
                let object = |row: FileRow| {
                    Some(RemoteItem { object: feed::object_of(&row)?, key: row.s3_key, archived: false })
                };
                let items = rows.into_iter().filter_map(object).collect();
                if out.send(Ok(Batch { items, read_at })).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let _ = out.send(Err(Failure::Metadata(error))).await;
                return;
            }
        }
    }
}

async fn produce_listing(context: &Context, mut out: Producer<RemoteItem>, listing_ms: &mut u64) {
    let mut request = ListRequest { prefix: context.config.prefix.as_str().to_owned(), ..ListRequest::default() };
    let mut last: Option<String> = None;
    // For all pages: a store may answer the later ones from what it saw when it was asked for the first.
    let read_at = context.record_count();
    loop {
        let asked_ms = context.ports.clock.monotonic_ms();
        let page = list_page(context, &request).await;
        *listing_ms += (context.ports.clock.monotonic_ms() - asked_ms).min(PAGE_MS_MAX);
        match page {
            Ok(page) => {
                if let Err(error) = check_order(&request.prefix, last.as_deref(), &page.objects) {
                    let _ = out.send(Err(error.into())).await;
                    return;
                }
                if let Some(object) = page.objects.last() {
                    last = Some(object.key.clone());
                }
                let items = page.objects.into_iter().map(RemoteItem::from).collect();
                if out.send(Ok(Batch { items, read_at })).await.is_err() {
                    return;
                }
                match page.next {
                    Some(token) => request.token = Some(token),
                    None => return,
                }
            }
            Err(error) if planted::is(Planted::IncompleteListingTrusted) && error.kind != StoreErrorKind::Killed => {
                return;
            }
            Err(error) => {
                let _ = out.send(Err(error.into())).await;
                return;
            }
        }
    }
}

/// One page, tried a few times: a look may be repeated freely.
pub async fn list_page(context: &Context, request: &ListRequest) -> Result<crate::ports::store::ListPage, StoreError> {
    let mut attempt = 0;
    loop {
        let asked_ms = context.ports.clock.monotonic_ms();
        match context.ports.store.list(request.clone()).await {
            Err(error)
                if error.is_transient()
                    && attempt < context.config.limits.retries_max
                    && context.ports.clock.monotonic_ms() < asked_ms + FAILURE_MS_MAX =>
            {
                attempt += 1;
                context.ports.clock.sleep_ms(backoff_ms(attempt)).await;
            }
            result => return result,
        }
    }
}

/// 100 ms, doubled each time, 10 s at most.
#[must_use]
pub fn backoff_ms(attempt: u32) -> u64 {
    (100 << attempt.min(7).saturating_sub(1)).min(10_000)
}

/// Keys that don't ascend strictly, or lie outside the prefix, make the listing a failed look.
pub fn check_order(prefix: &str, last: Option<&str>, objects: &[Listed]) -> Result<(), StoreError> {
    let mut before = last;
    for object in objects {
        if !object.key.starts_with(prefix) || before.is_some_and(|before| before >= object.key.as_str()) {
            return Err(StoreError::new(
                StoreErrorKind::Corrupt,
                "list",
                object.key.clone(),
                "the listing's keys don't ascend",
            ));
        }
        before = Some(&object.key);
    }
    Ok(())
}

async fn produce_walk(context: &Context, mut out: Producer<Item>) {
    let shared = std::sync::Arc::clone(&context.shared);
    let read_at = context.record_count();
    let mut walk = match context.local(move |tree| Walk::new(tree, &shared, "")).await {
        Ok(Ok((walk, odd))) => {
            if out.send(Ok(Batch { items: odd, read_at })).await.is_err() {
                return;
            }
            walk
        }
        Ok(Err(error)) => {
            let _ = out.send(Err(error.into())).await;
            return;
        }
        Err(killed) => {
            let _ = out.send(Err(killed.into())).await;
            return;
        }
    };
    loop {
        let shared = std::sync::Arc::clone(&context.shared);
        let read_at = context.record_count();
        let pulled = context
            .local(move |tree| {
                let items = walk.next(tree, &shared, BATCH_ITEMS);
                (walk, items)
            })
            .await;
        match pulled {
            Ok((rest, items)) => {
                walk = rest;
                if items.is_empty() || out.send(Ok(Batch { items, read_at })).await.is_err() {
                    return;
                }
            }
            Err(killed) => {
                let _ = out.send(Err(killed.into())).await;
                return;
            }
        }
    }
}

async fn produce_ancestors(context: &Context, mut out: Producer<(RelPath, Ancestor)>) {
    let mut after: Option<RelPath> = None;
    loop {
        let read_at = context.record_count();
        match context.ports.state.ancestors_after(after.as_ref(), BATCH_ITEMS).await {
            Ok(items) => {
                let Some((last, _)) = items.last() else { return };
                after = Some(last.clone());
                if out.send(Ok(Batch { items, read_at })).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let _ = out.send(Err(error.into())).await;
                return;
            }
        }
    }
}

/// One producer's items, with a look ahead of one.
struct Source<T> {
    receiver: mpsc::Receiver<Result<Batch<T>, Failure>>,
    batch: std::vec::IntoIter<T>,
    head: Option<T>,
    read_at: u64,
}

impl<T> Source<T> {
    fn new(receiver: mpsc::Receiver<Result<Batch<T>, Failure>>) -> Self {
        Self { receiver, batch: Vec::new().into_iter(), head: None, read_at: u64::MAX }
    }

    /// The next item stays where it is.
    async fn peek(&mut self) -> Result<Option<&T>, Failure> {
        while self.head.is_none() {
            self.head = self.batch.next();
            if self.head.is_none() {
                match self.receiver.next().await {
                    None => break,
                    Some(Err(failure)) => return Err(failure),
                    Some(Ok(batch)) => {
                        self.batch = batch.items.into_iter();
                        self.read_at = batch.read_at;
                    }
                }
            }
        }
        Ok(self.head.as_ref())
    }
}

struct Merge {
    listing: Source<RemoteItem>,
    walk: Source<Item>,
    ancestors: Source<(RelPath, Ancestor)>,
    swept: Swept,
    scope: Scope,
    /// Folders (with their `/`) of which nothing may be concluded; the walk is past their beginning.
    unreadable: VecDeque<String>,
    /// The path that was merged last.
    at: Option<RelPath>,
}

impl Merge {
    async fn run(&mut self, context: &Context, out: &mut mpsc::Sender<Found>) -> Result<(), Failure> {
        let mut candidates = Vec::new();
        let mut lazy = Vec::new();
        let mut read_at = u64::MAX;
        // Up to where the last batches went: the last one may still be in the receiver's hands.
        let (mut taken, mut sent) = (None, None);
        loop {
            let more = self.step(context, &mut candidates, &mut lazy).await;
            let done = !matches!(more, Ok(true));
            read_at = read_at.min(self.listing.read_at).min(self.walk.read_at).min(self.ancestors.read_at);
            if candidates.len() + lazy.len() >= CANDIDATES_MAX || (done && !(candidates.is_empty() && lazy.is_empty()))
            {
                let looked = look(context, std::mem::take(&mut candidates)).await;
                let found = Found { looked, lazy: std::mem::take(&mut lazy), read_at };
                read_at = u64::MAX;
                if out.send(found).await.is_err() {
                    return Err(Failure::Killed);
                }
                let passed = std::mem::replace(&mut taken, std::mem::replace(&mut sent, self.at.clone()));
                if let Some(passed) = passed {
                    context.sweep_passed(passed);
                }
            }
            if done {
                return more.map(|_| ());
            }
        }
    }

    /// One path; false at the end.
    async fn step(
        &mut self,
        context: &Context,
        candidates: &mut Vec<Candidate>,
        lazy: &mut Vec<RelPath>,
    ) -> Result<bool, Failure> {
        // Walk items that are no files leave at once; they concern what comes after them.
        while let Some(item) = self.walk.peek().await? {
            let (shown, why) = match item {
                Item::File(..) => break,
                Item::Special(path, special) => {
                    let why = format!("not a regular file ({special:?})").to_lowercase();
                    (path.as_str().to_owned(), why)
                }
                Item::Odd(name, problem) => (name.clone(), problem.to_string()),
                Item::Unreadable(folder, error) => (folder.clone(), describe(error)),
            };
            if let Some(Item::Unreadable(folder, error)) = &self.walk.head {
                self.unreadable.push_back(folder.clone());
                // Another mount, and what a fresh file system brings, are nobody's to mend.
                let lasting = error.kind == TreeErrorKind::OtherMount || folder == LOST_AND_FOUND;
                if !lasting && self.swept.unreadable.len() < ODD_NAMES_MAX {
                    self.swept.unreadable.push(folder.clone());
                }
            }
            self.problem(shown, why);
            self.walk.head = None;
        }
        while let Some(listed) = self.listing.peek().await? {
            let odd = match context.listed_path(&listed.key) {
                Some(Ok(_)) => break,
                Some(Err(problem)) => (!is_silent(context, listed, problem)).then_some(problem),
                None => None,
            };
            if let Some(problem) = odd {
                let shown = listed.key.clone();
                self.problem(shown, problem.to_string());
            }
            self.listing.head = None;
        }

        let listed_path = match self.listing.peek().await? {
            Some(listed) => context.listed_path(&listed.key).and_then(Result::ok),
            None => None,
        };
        let local_path = match self.walk.peek().await? {
            Some(Item::File(path, _)) => Some(path.clone()),
            _ => None,
        };
        let ancestor_path = self.ancestors.peek().await?.map(|(path, _)| path.clone());
        let Some(path) = [&listed_path, &local_path, &ancestor_path].into_iter().flatten().min().cloned() else {
            return Ok(false);
        };
        let listed = if listed_path.as_ref() == Some(&path) { self.listing.head.take() } else { None };
        let local = match if local_path.as_ref() == Some(&path) { self.walk.head.take() } else { None } {
            Some(Item::File(_, fingerprint)) => Some(fingerprint),
            _ => None,
        };
        let ancestor = if ancestor_path.as_ref() == Some(&path) { self.ancestors.head.take() } else { None };
        self.at = Some(path.clone());
        // Folders are no files: with a marker for each of them the guards would never see that most files are concerned.
        let is_file = !path.is_marker();
        self.swept.listed += u64::from(is_file && listed.is_some());
        self.swept.walked += u64::from(is_file && local.is_some());
        self.swept.ancestors += u64::from(is_file && ancestor.is_some());
        self.swept.missing += u64::from(is_file && ancestor.is_some() && listed.is_none());
        // Those of a mirror that only receives are nowhere but here.
        let only_here = context.config.policy.direction == Direction::Pull && local.is_some();
        let counts = (ancestor.is_some() || only_here) && is_conflict_copy_of(&path).is_some();
        self.swept.conflict_copies += u64::from(counts);
        self.swept.ancestors_present += u64::from(is_file && ancestor.is_some() && local.is_some());

        // They come in the order of the paths.
        while let Some(unreadable) = self.unreadable.front() {
            if covers(unreadable, path.as_str()) {
                return Ok(true);
            }
            if unreadable.as_str() > path.as_str() {
                break;
            }
            self.unreadable.pop_front();
        }
        let ancestor = ancestor.map(|(_, ancestor)| ancestor);
        let is_as_it_was = |known: &Ancestor| match &listed {
            Some(listed) => {
                known.generation.same(&listed.object.generation)
                    && known.generation.completed_by(&listed.object.generation) == known.generation
            }
            None => self.scope == Scope::Local,
        };
        if let Some(ancestor) = &ancestor
            && is_as_it_was(ancestor)
            && !ancestor.open
        {
            match local {
                Some(fingerprint) if fingerprint == ancestor.fingerprint => return Ok(true),
                None if self.scope == Scope::Remote => return Ok(true),
                Some(fingerprint) if fingerprint.same_but_ctime(&ancestor.fingerprint) => {
                    lazy.push(path);
                    return Ok(true);
                }
                _ => {}
            }
        }
        candidates.push(Candidate {
            local: local.map(|fingerprint| LocalEntry::File(LocalFile { fingerprint, digests: None })),
            remote: match listed {
                Some(listed) if listed.archived => RemoteEntry::Unknown("the object is archived".to_owned()),
                Some(listed) => RemoteEntry::Object(listed.object),
                None if self.scope == Scope::Local => RemoteEntry::Presumed,
                None => RemoteEntry::Absent,
            },
            ..Candidate::hinted(path)
        });
        Ok(true)
    }

    fn problem(&mut self, shown: String, why: String) {
        if self.swept.problems.len() < ODD_NAMES_MAX {
            self.swept.problems.push((shown, why));
        }
    }
}

/// A folder (with its `/`) covers what is below it, a file itself.
fn covers(unreadable: &str, path: &str) -> bool {
    if unreadable.ends_with('/') { path.starts_with(unreadable) } else { path == unreadable }
}

/// Our own folder, and the empty objects that stand for folders, are no news to anybody.
fn is_silent(context: &Context, listed: &RemoteItem, problem: NameProblem) -> bool {
    let below = listed.key.strip_prefix(context.config.prefix.as_str()).unwrap_or(&listed.key);
    problem == NameProblem::OwnFolder
        || below.is_empty()
        || below.starts_with(OWN_FOLDER) && below[OWN_FOLDER.len()..].starts_with('/')
        || (below.ends_with('/') && listed.object.generation.size == 0)
}
