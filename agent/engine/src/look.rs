//! Looks at single paths: gathers just the facts that the decision asks for, and ends with the decision.
//!
//! Nothing is changed anywhere here. A look that fails ends in a report for its path, never in an act.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use gosync_plan::decide::{Action, Decision, ExpectRemote, Need, Problem};
use gosync_plan::facts::Special;
use gosync_plan::policy;
use gosync_plan::settle::{Difference, Outcome};
use gosync_plan::{Ancestor, Digests, LocalEntry, LocalFile, RelPath, RemoteEntry, RemoteObject};

use crate::context::{Context, Killed, Shared};
use crate::digest::{Digester, Wanted};
use crate::feed;
use crate::planted::{self, Planted};
use crate::ports::local::Kind;
use crate::ports::observer::Event as Told;
use crate::ports::state::StateError;
use crate::ports::store::GetRequest;
use crate::ports::{LocalTree, StoreError, StoreErrorKind, TreeError, TreeErrorKind};
use crate::walk::load_rules;

/// Paths looked at together.
pub const BATCH_PATHS: usize = 512;
/// Looks that need a request or a reading, at once.
const DEEP_LOOKS_MAX: usize = 16;
/// More rounds than the ladder can have.
const ROUNDS_MAX: usize = 8;
/// Bytes read at once.
pub const READ_BYTES: usize = 256 * 1024;

/// A path that may differ, with what is known of it already.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub path: RelPath,
    /// `None`: lstat it.
    pub local: Option<LocalEntry>,
    /// What a listing or HEAD showed; `Presumed` leaves it to the preconditions.
    pub remote: RemoteEntry,
    /// HEAD the key whatever `remote` says.
    pub head: bool,
    /// What the metadata say stands for a HEAD, where they say that there is something.
    pub feed: bool,
    /// Read the file even where its fingerprint says that nothing changed.
    pub rehash: bool,
    /// A person wants the folder to win here, in a mirror that only sends.
    pub approved: bool,
    /// Read the file to find what its disk has lost.
    pub scrub: bool,
}

impl Candidate {
    /// A path of which nothing is known but that it should be looked at.
    #[must_use]
    pub fn hinted(path: RelPath) -> Self {
        Self {
            path,
            local: None,
            remote: RemoteEntry::Presumed,
            head: false,
            feed: false,
            rehash: false,
            approved: false,
            scrub: false,
        }
    }
}

/// What a look at one path came to.
#[derive(Debug)]
pub enum Looked {
    /// Both sides agree.
    InStep(RelPath),
    Differs(Box<Difference>),
    /// Ignored: an ancestor of it is to be forgotten.
    Ignored(RelPath, bool),
    /// The outside failed; look again later.
    Failed(RelPath, Failure),
}

/// Something outside failed.
#[derive(Debug)]
pub enum Failure {
    Store(StoreError),
    State(StateError),
    /// The metadata that agents share.
    Metadata(StateError),
    Local(TreeError),
    Killed,
}

impl Failure {
    /// For a person.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Store(error) => describe(error),
            Self::State(error) | Self::Metadata(error) => describe(error),
            Self::Local(error) => describe(error),
            Self::Killed => "the mirror is ending".to_owned(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if error.kind == StoreErrorKind::Killed { Self::Killed } else { Self::Store(error) }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        if error.kind == crate::ports::state::StateErrorKind::Killed { Self::Killed } else { Self::State(error) }
    }
}

impl From<TreeError> for Failure {
    fn from(error: TreeError) -> Self {
        if error.kind == TreeErrorKind::Killed { Self::Killed } else { Self::Local(error) }
    }
}

impl From<Killed> for Failure {
    fn from(_: Killed) -> Self {
        Self::Killed
    }
}

/// Looks at all `candidates`.
pub async fn look(context: &Context, candidates: Vec<Candidate>) -> Vec<Looked> {
    let mut looked = Vec::with_capacity(candidates.len());
    let mut rest = candidates.into_iter();
    loop {
        let batch: Vec<Candidate> = rest.by_ref().take(BATCH_PATHS).collect();
        if batch.is_empty() {
            return looked;
        }
        looked.extend(look_batch(context, batch).await);
    }
}

async fn look_batch(context: &Context, mut batch: Vec<Candidate>) -> Vec<Looked> {
    let paths: Vec<RelPath> = batch.iter().map(|candidate| candidate.path.clone()).collect();
    let ancestors = match context.ports.state.ancestors(&paths).await {
        Ok(ancestors) => ancestors,
        Err(error) => return fail_all(paths, error.into()),
    };
    if let Err(error) = ask_feed(context, &mut batch).await {
        return fail_all(paths, Failure::Metadata(error));
    }
    let unseen: Vec<Option<RelPath>> =
        batch.iter().map(|candidate| candidate.local.is_none().then(|| candidate.path.clone())).collect();
    let shared = Arc::clone(&context.shared);
    let seen = context
        .local(move |tree| {
            renew_rules(tree, &shared, unseen.iter().flatten());
            unseen.into_iter().map(|path| path.map(|path| stat_entry(tree, &path))).collect::<Vec<_>>()
        })
        .await;
    let Ok(seen) = seen else { return fail_all(paths, Failure::Killed) };
    for (candidate, entry) in batch.iter_mut().zip(seen) {
        if let Some(entry) = entry {
            candidate.local = Some(entry);
        }
    }
    stream::iter(batch.into_iter().zip(ancestors))
        .map(|(candidate, ancestor)| look_closely(context, candidate, ancestor))
        .buffer_unordered(DEEP_LOOKS_MAX)
        .collect()
        .await
}

/// What others told of the keys stands for a look at them; that there is nothing has to be seen.
async fn ask_feed(context: &Context, batch: &mut [Candidate]) -> Result<(), StateError> {
    let asks = |candidate: &&mut Candidate| candidate.feed && !candidate.head;
    let mut asking: Vec<&mut Candidate> = batch.iter_mut().filter(asks).collect();
    if asking.is_empty() {
        return Ok(());
    }
    let paths: Vec<RelPath> = asking.iter().map(|candidate| candidate.path.clone()).collect();
    let entries = feed::entries(context, &paths).await?;
    for (candidate, entry) in asking.iter_mut().zip(entries) {
        candidate.head = entry == RemoteEntry::Absent;
        candidate.remote = entry;
    }
    Ok(())
}

/// The ignore rules above hinted paths, as they are now: an ignore file may be as new as what it speaks of. What can't be
/// read can't be looked at either.
pub fn renew_rules<'a>(tree: &dyn LocalTree, shared: &Shared, paths: impl Iterator<Item = &'a RelPath>) {
    let mut folders = BTreeSet::new();
    for path in paths {
        folders.insert(String::new());
        for folder in path.ancestors() {
            if !folders.insert(String::from(folder)) {
                break;
            }
        }
    }
    for folder in folders {
        let _ = load_rules(tree, shared, &folder);
    }
}

fn fail_all(paths: Vec<RelPath>, failure: Failure) -> Vec<Looked> {
    let message = match &failure {
        Failure::State(error) | Failure::Metadata(error) => error.what.clone(),
        _ => String::new(),
    };
    let same = |error: &StateError| StateError { kind: error.kind, what: message.clone(), source: None };
    paths
        .into_iter()
        .map(|path| {
            let failure = match &failure {
                Failure::State(error) => Failure::State(same(error)),
                Failure::Metadata(error) => Failure::Metadata(same(error)),
                _ => Failure::Killed,
            };
            Looked::Failed(path, failure)
        })
        .collect()
}

async fn look_closely(context: &Context, candidate: Candidate, mut ancestor: Option<Ancestor>) -> Looked {
    let Candidate { path, local, mut remote, mut head, feed: _, rehash, approved, scrub } = candidate;
    if context.shared.is_reserved(&path) {
        // Whoever reserved it has it looked at when it is done.
        return Looked::InStep(path);
    }
    // Of a time when folders were kept.
    let is_left = path.is_marker() && !context.config.keep_folders;
    if is_left || context.is_ignored(&path) {
        return Looked::Ignored(path, ancestor.is_some());
    }
    let mut local = local.unwrap_or(LocalEntry::Absent);
    if let Err(problem) = context.config.prefix.key_checked(&path) {
        return differs(path, ancestor, local, remote, Outcome::Report(Problem::Name { why: problem }));
    }
    if scrub && let Some(known) = &ancestor {
        match is_rotten(context, &path, known, &mut local).await {
            // Nobody has edited it: what the disk made of it never replaces a content on the other side.
            Ok(true) => {
                context.ports.observer.observe(&Told::Rotten { path: path.clone() });
                ancestor = None;
                head = true;
            }
            Ok(false) => {}
            Err(failure) => return Looked::Failed(path, failure),
        }
    }
    if head && let Err(failure) = need(context, &path, &mut local, &mut remote, Need::Head).await {
        return Looked::Failed(path, failure);
    }
    if approved && let Some(action) = policy::approved(ancestor.as_ref(), &local, &remote) {
        return differs(path, ancestor, local, remote, Outcome::Do(action));
    }
    if rehash && let Some(ancestor) = &mut ancestor {
        // "Open" is what makes the decision ask for the content.
        ancestor.open = true;
    }
    for _ in 0..ROUNDS_MAX {
        match context.config.policy.decide(ancestor.as_ref(), &local, &remote) {
            Decision::Nothing => return Looked::InStep(path),
            Decision::Do(Action::Upload { local: edited, expect: ExpectRemote::Absent })
                if planted::is(Planted::EditVersusDeleteAsDelete) && ancestor.is_some() =>
            {
                let action = Action::TrashLocal { local: edited };
                return differs(path, ancestor, local, remote, Outcome::Do(action));
            }
            Decision::Do(action) => return differs(path, ancestor, local, remote, Outcome::Do(action)),
            Decision::Report(problem) => return differs(path, ancestor, local, remote, Outcome::Report(problem)),
            Decision::Look(wanted) => {
                if let Err(failure) = need(context, &path, &mut local, &mut remote, wanted).await {
                    return Looked::Failed(path, failure);
                }
            }
        }
    }
    let message = "the store's answers leave open what the object holds".to_owned();
    differs(path, ancestor, local, remote, Outcome::Report(Problem::RemoteLook { message }))
}

/// The content is another one than was in step, though nothing says that somebody has written to the file.
async fn is_rotten(
    context: &Context,
    path: &RelPath,
    known: &Ancestor,
    local: &mut LocalEntry,
) -> Result<bool, Failure> {
    let stands = |local: &LocalEntry| match local {
        LocalEntry::File(file) => file.fingerprint.same_but_ctime(&known.fingerprint),
        _ => false,
    };
    let Some(content) = known.content.filter(|_| !known.open && stands(local)) else { return Ok(false) };
    let mut nothing_remote = RemoteEntry::Presumed;
    need(context, path, local, &mut nothing_remote, Need::HASH).await?;
    Ok(match &*local {
        LocalEntry::File(LocalFile { digests: Some(digests), .. }) => stands(local) && digests.blake3 != content,
        _ => false,
    })
}

fn differs(
    path: RelPath,
    ancestor: Option<Ancestor>,
    local: LocalEntry,
    remote: RemoteEntry,
    outcome: Outcome,
) -> Looked {
    Looked::Differs(Box::new(Difference { path, ancestor, local, remote, outcome }))
}

/// Meets one need by adding to `local` or `remote`.
async fn need(
    context: &Context,
    path: &RelPath,
    local: &mut LocalEntry,
    remote: &mut RemoteEntry,
    need: Need,
) -> Result<(), Failure> {
    match need {
        Need::Head => {
            let known = match remote {
                RemoteEntry::Object(object) => object.content.map(|content| (object.generation.clone(), content)),
                _ => None,
            };
            *remote = head_entry(context, path).await?;
            // What was read before still holds for the same generation.
            if let (Some((generation, content)), RemoteEntry::Object(object)) = (known, remote)
                && generation.same(&object.generation)
            {
                object.content = Some(content);
            }
        }
        Need::LocalDigests { md5, multipart_part_bytes, crc64nvme } => {
            let known = match local {
                LocalEntry::File(LocalFile { digests: Some(digests), .. }) => Some(*digests),
                _ => None,
            };
            let wanted = Wanted {
                md5: md5 || known.is_some_and(|known| known.md5.is_some()),
                multipart_part_bytes: multipart_part_bytes
                    .or(known.and_then(|known| known.multipart_md5.map(|multipart| multipart.part_bytes))),
                crc64nvme: crc64nvme || known.is_some_and(|known| known.crc64nvme.is_some()),
            };
            let path = path.clone();
            *local = context.local(move |tree| read_entry(tree, &path, wanted)).await?;
        }
        Need::RemoteContent => {
            let RemoteEntry::Object(object) = remote else {
                *remote = head_entry(context, path).await?;
                return Ok(());
            };
            read_object(context, path, object).await?;
        }
    }
    Ok(())
}

/// HEAD as an entry. An object that can't be read is unknown: nothing is concluded of it.
pub async fn head_entry(context: &Context, path: &RelPath) -> Result<RemoteEntry, Failure> {
    let permit = context.request().await;
    let head = context.ports.store.head(&context.config.prefix.key(path)).await;
    permit.answered();
    match head {
        Ok(None) => Ok(RemoteEntry::Absent),
        Ok(Some(head)) if head.archived => Ok(RemoteEntry::Unknown("the object is archived".to_owned())),
        Ok(Some(head)) => Ok(RemoteEntry::Object(RemoteObject {
            generation: head.generation,
            facts: Some(head.facts),
            content: None,
        })),
        Err(error) if matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::Unreadable) => {
            Ok(RemoteEntry::Unknown(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads the object through and notes its hash, if it is still this one.
async fn read_object(context: &Context, path: &RelPath, object: &mut RemoteObject) -> Result<(), Failure> {
    let _permit = context.request().await;
    let request = GetRequest {
        key: context.config.prefix.key(path),
        etag: Some(object.generation.etag.clone()),
        version_id: None,
        range: None,
    };
    let mut body = context.ports.store.get(request).await?;
    let head = body.head().clone();
    let mut digester = Digester::new(Wanted::default());
    while let Some(chunk) = body.chunk().await? {
        digester.update(&chunk);
    }
    object.generation = object.generation.completed_by(&head.generation);
    object.facts = Some(head.facts);
    object.content = Some(digester.finish().blake3);
    Ok(())
}

/// lstat as an entry, with the proof of absence that a delete needs (P5).
pub fn stat_entry(tree: &dyn LocalTree, path: &RelPath) -> LocalEntry {
    match tree.stat(path.as_str()) {
        Ok(stat) => match stat.kind {
            Kind::File => LocalEntry::File(LocalFile { fingerprint: stat.fingerprint, digests: None }),
            // An empty folder is nothing that a sync knows of: it makes way.
            Kind::Folder if holds_nothing(tree, path.as_str()) => LocalEntry::Absent,
            Kind::Folder => LocalEntry::Folder,
            Kind::Special(special) => LocalEntry::Special(special),
        },
        Err(error) if matches!(error.kind, TreeErrorKind::NotFound | TreeErrorKind::NotAFolder) => {
            match absence_is_proven(tree, path) {
                Ok(()) => LocalEntry::Absent,
                Err(message) => LocalEntry::Unknown(message),
            }
        }
        // A symlink stands where a folder would have to: one that is kept is like a file there, and nothing is below it. Any
        // other lasts, and is no failed look.
        Err(error) if error.kind == TreeErrorKind::Escapes => match kept_link_above(tree, path) {
            true => LocalEntry::Absent,
            false => LocalEntry::Special(Special::Symlink),
        },
        Err(error) => LocalEntry::Unknown(describe(&error)),
    }
}

/// A tree that keeps links shows them as files.
fn kept_link_above(tree: &dyn LocalTree, path: &RelPath) -> bool {
    let nearest = path.ancestors().find_map(|folder| tree.stat(folder.as_str()).ok());
    nearest.is_some_and(|stat| stat.kind == Kind::File && stat.mount == tree.opened_root().mount)
}

/// Nothing but folders is below this one. What can't be read may hold anything.
fn holds_nothing(tree: &dyn LocalTree, folder: &str) -> bool {
    let (mut folders, mut others) = (Vec::new(), false);
    let read = tree.visit_folder(folder, &mut |entry| match entry.name {
        Ok(name) if entry.is_folder != Some(false) => folders.push(format!("{folder}/{name}")),
        _ => others = true,
    });
    let is_empty =
        |path: &String| tree.stat(path).is_ok_and(|stat| stat.kind == Kind::Folder) && holds_nothing(tree, path);
    read.is_ok() && !others && folders.iter().all(is_empty)
}

/// The nearest folder above `path` that is there is readable and lies on the root's own mount.
fn absence_is_proven(tree: &dyn LocalTree, path: &RelPath) -> Result<(), String> {
    let root = tree.opened_root();
    for folder in path.ancestors() {
        match tree.stat(folder.as_str()) {
            Ok(stat) if stat.mount != root.mount => return Err(format!("{folder} lies on another mount")),
            Ok(_) => return Ok(()),
            Err(error) if matches!(error.kind, TreeErrorKind::NotFound | TreeErrorKind::NotAFolder) => {}
            Err(error) => return Err(describe(&error)),
        }
    }
    match tree.stat("") {
        Ok(_) => Ok(()),
        Err(error) => Err(describe(&error)),
    }
}

/// Stats and reads a file; the digests belong to the fingerprint, or the file is unknown for now.
fn read_entry(tree: &dyn LocalTree, path: &RelPath, wanted: Wanted) -> LocalEntry {
    match read_digests(tree, path.as_str(), wanted) {
        Ok(Some((fingerprint, digests))) => LocalEntry::File(LocalFile { fingerprint, digests: Some(digests) }),
        Ok(None) => LocalEntry::Unknown("the file changes while it is read".to_owned()),
        Err(error) if error.is_not_found() => stat_entry(tree, path),
        Err(error) => LocalEntry::Unknown(describe(&error)),
    }
}

/// `None`: it changed while it was read.
pub fn read_digests(
    tree: &dyn LocalTree,
    path: &str,
    wanted: Wanted,
) -> Result<Option<(gosync_plan::Fingerprint, Digests)>, TreeError> {
    let file = tree.open(path)?;
    let before = file.stat()?;
    let mut digester = Digester::new(wanted);
    let mut buffer = vec![0; READ_BYTES.min(usize::try_from(before.fingerprint.size + 1).unwrap_or(READ_BYTES))];
    let mut offset = 0;
    loop {
        let read = file.read_at(offset, &mut buffer)?;
        if read == 0 {
            break;
        }
        digester.update(&buffer[..read]);
        offset += read as u64;
    }
    let after = file.stat()?;
    let whole = after.fingerprint == before.fingerprint && offset == before.fingerprint.size;
    Ok(whole.then(|| (after.fingerprint, digester.finish())))
}

/// The error with its cause.
#[must_use]
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
