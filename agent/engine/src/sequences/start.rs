//! The root's marker and who this replica is: what must be known before anything is concluded from the tree.

use gosync_plan::HaltReason;
use serde::{Deserialize, Serialize};

use crate::context::{Context, CopyOf, MARKER, OWN, lock};
use crate::crash::{self, CrashPoint};
use crate::look::Failure;
use crate::ports::observer::Event;
use crate::ports::state::{HaltRow, JournalEntry, JournalKind, StateChange};
use crate::ports::{LocalTree, RootFacts, TreeError, TreeErrorKind};

/// Names of notes in the replica's state: the uuid of the root's marker.
pub const NOTE_VOLUME: &str = "volume";
const NOTE_REMOTE: &str = "remote";
const NOTE_REPLICA: &str = "replica";
const NOTE_ROOT: &str = "root";
/// [`CopyOf`] as JSON.
const NOTE_COPY_OF: &str = "copy-of";
/// Everything that the bucket had was here once.
pub const NOTE_HYDRATED: &str = "hydrated";
const MARKER_BYTES_MAX: usize = 4096;
/// Begins what stands for the id of a volume whose root could not be given a marker.
const UNMARKED: &str = "inode-";
/// What stands for the uuid of a marker that says none.
pub const UNREADABLE: &str = "unreadable";
/// Rows read at once.
const PAGE_ROWS: usize = 1_000;

/// The file that makes a folder a root of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    pub uuid: String,
    pub created: String,
    pub mirror: String,
    pub remote: String,
}

/// What stands at the root's path.
#[derive(Clone, Debug, PartialEq)]
pub enum Root {
    /// Ours: the marker that the state knows.
    Known,
    /// Never seen before: a first run.
    New,
    /// Another folder or mount than the one that is open stands at the root's path.
    Another,
    /// With the halt as it stood before, which keeps its id over restarts.
    Halted(HaltReason, String, Option<HaltRow>),
}

/// Checks the root against what the state remembers; makes the marker on a first run. Also sets the replica's identity.
pub async fn check_root(context: &Context) -> Result<Root, Failure> {
    let state = &context.ports.state;
    let mut volume = state.note(NOTE_VOLUME).await?;
    let (known_files, _) = state.ancestor_totals().await?;
    let looked = context.local(look_at_root).await?;
    let (facts, mut marker) = match looked {
        Ok(Seen::Root(facts, marker)) => (facts, marker),
        Ok(Seen::Another) => return Ok(Root::Another),
        Err(error) if error.kind == TreeErrorKind::Killed => return Err(Failure::Killed),
        Err(error) if matches!(error.kind, TreeErrorKind::NotFound | TreeErrorKind::NotAFolder) => {
            return halted(context, HaltReason::RootMissing, "the root is gone").await;
        }
        Err(error) => return Err(error.into()),
    };
    let remote = format!("{}|{}|{}", context.config.endpoint, context.config.bucket, context.config.prefix.as_str());
    let read_only = context.config.root_is_read_only;
    if volume.as_deref().map_or(read_only, is_unmarked) {
        let gets_marker = marker.is_none() && !read_only && volume.as_ref() == Some(&unmarked(facts));
        if gets_marker && known_files > 0 && !any_file_present(context).await? {
            return halted(context, HaltReason::RootEmptied, "none of the files that were in step is there").await;
        }
        let found = unmarked_root(context, facts, marker, volume, &remote).await?;
        (volume, marker) = (found.0, Some(found.1));
    }
    match (&volume, marker) {
        (Some(known), Some(marker)) if *known == marker.uuid => {
            let was_emptied = state.halts().await?.into_iter().find(|halt| halt.reason == HaltReason::RootEmptied);
            if let Some(halt) = was_emptied
                && !any_file_present(context).await?
            {
                return Ok(Root::Halted(halt.reason, halt.message.clone(), Some(halt)));
            }
            identify(context, facts, marker.uuid, &remote).await?;
            Ok(Root::Known)
        }
        (Some(_), Some(marker)) => {
            let message = match is_unmarked(&marker.uuid) {
                true => "another folder is the root now".to_owned(),
                false => format!("the root has the marker of another volume ({})", marker.uuid),
            };
            halted(context, HaltReason::VolumeChanged, &message).await
        }
        (Some(_), None) if known_files > 0 => {
            let same_root = state.note(NOTE_ROOT).await?.as_deref() == Some(facts.inode.to_string().as_str());
            let (reason, message) = match same_root {
                true => (HaltReason::RootEmptied, "the root's marker is gone"),
                false => (HaltReason::RootReplaced, "another folder without our marker is the root now"),
            };
            halted(context, reason, message).await
        }
        (_, found) => {
            let marker = match found {
                Some(marker) => marker,
                None => make_marker(context, &remote).await?,
            };
            crash::reached(CrashPoint::MarkerPlaced);
            let mut changes = first_run(context).await?;
            changes.push(StateChange::PutNote(NOTE_VOLUME.to_owned(), marker.uuid.clone()));
            changes.push(StateChange::PutNote(NOTE_REMOTE.to_owned(), remote.clone()));
            state.apply(changes).await?;
            identify(context, facts, marker.uuid, &remote).await?;
            Ok(Root::New)
        }
    }
}

async fn halted(context: &Context, reason: HaltReason, message: &str) -> Result<Root, Failure> {
    let known = context.ports.state.halts().await?.into_iter().find(|halt| halt.reason == reason);
    Ok(Root::Halted(reason, message.to_owned(), known))
}

/// Volume and marker of a root that could not be given one so far: what it is told by now.
async fn unmarked_root(
    context: &Context,
    facts: RootFacts,
    found: Option<Marker>,
    volume: Option<String>,
    remote: &str,
) -> Result<(Option<String>, Marker), Failure> {
    let uuid = unmarked(facts);
    let is_same = volume.as_ref() == Some(&uuid);
    let marker = match found {
        Some(marker) => marker,
        // By now it can be.
        None if is_same && !context.config.root_is_read_only => make_marker(context, remote).await?,
        None => Marker { uuid, created: String::new(), mirror: String::new(), remote: remote.to_owned() },
    };
    if !is_same || is_unmarked(&marker.uuid) {
        return Ok((volume, marker));
    }
    context.ports.state.apply(vec![StateChange::PutNote(NOTE_VOLUME.to_owned(), marker.uuid.clone())]).await?;
    Ok((Some(marker.uuid.clone()), marker))
}

/// The root is meant to be as it is: gives it its marker back, so that what is missing in it counts as deleted.
pub async fn restore_marker(context: &Context, halt: String) -> Result<(), Failure> {
    context.ports.state.apply(vec![StateChange::DropHalt(halt)]).await?;
    let Some(uuid) = context.ports.state.note(NOTE_VOLUME).await? else { return Ok(()) };
    if context.config.root_is_read_only {
        let facts = context.local(|tree| tree.root()).await??;
        let as_it_is = StateChange::PutNote(NOTE_VOLUME.to_owned(), unmarked(facts));
        context.ports.state.apply(vec![as_it_is]).await?;
        return Ok(());
    }
    let remote = context.ports.state.note(NOTE_REMOTE).await?.unwrap_or_default();
    write_marker(context, uuid, &remote).await?;
    Ok(())
}

/// Takes what stands there now as a first run: everything known of the other root is forgotten, nothing is deleted.
pub async fn adopt_root(context: &Context, halt: String) -> Result<(), Failure> {
    let mut forget = first_run(context).await?;
    forget.push(StateChange::DropNote(NOTE_VOLUME.to_owned()));
    forget.push(StateChange::DropHalt(halt));
    context.ports.state.apply(forget).await?;
    Ok(())
}

/// Somebody else has this tree as it was when it was copied: from now on it has an id of its own. What it knows of both
/// sides may be of another moment than its files, so all of it is void, and its uploads are whosever the id is.
pub async fn part(context: &Context) -> Result<CopyOf, Failure> {
    let state = &context.ports.state;
    let mut changes = first_run(context).await?;
    let (_, copied) = new_replica(context, context.identity().replica, &mut changes);
    changes.extend(state.uploads().await?.into_iter().map(|row| StateChange::DropUpload(row.upload)));
    state.apply(changes).await?;
    crash::reached(CrashPoint::Parted);
    Ok(copied)
}

fn new_replica(context: &Context, before: String, changes: &mut Vec<StateChange>) -> (String, CopyOf) {
    let copied = CopyOf { replica: before, since_ms: context.utc_ms() };
    let replica = context.ports.ids.nonce().to_hex();
    changes.push(StateChange::PutNote(NOTE_REPLICA.to_owned(), replica.clone()));
    if let Ok(note) = serde_json::to_string(&copied) {
        changes.push(StateChange::PutNote(NOTE_COPY_OF.to_owned(), note));
    }
    (replica, copied)
}

/// Whatever was known of both sides is void, and what became of a request to the other one is nobody's concern.
async fn first_run(context: &Context) -> Result<Vec<StateChange>, Failure> {
    let mut changes = vec![StateChange::DropAllAncestors, StateChange::DropNote(NOTE_HYDRATED.to_owned())];
    let requests =
        |entry: &JournalEntry| matches!(entry.kind, JournalKind::Upload { .. } | JournalKind::DeleteObject { .. });
    let journal = context.ports.state.journal().await?;
    changes.extend(journal.into_iter().filter(requests).map(|entry| StateChange::End(entry.id)));
    Ok(changes)
}

/// Whether any file that was in step stands at its path.
async fn any_file_present(context: &Context) -> Result<bool, Failure> {
    let mut after = None;
    loop {
        let rows = context.ports.state.ancestors_after(after.as_ref(), PAGE_ROWS).await?;
        let Some((last, _)) = rows.last() else { return Ok(false) };
        after = Some(last.clone());
        let present = context.local(move |tree| rows.iter().any(|(path, _)| tree.stat(path.as_str()).is_ok())).await?;
        if present {
            return Ok(true);
        }
    }
}

enum Seen {
    Root(RootFacts, Option<Marker>),
    Another,
}

fn look_at_root(tree: &dyn LocalTree) -> Result<Seen, TreeError> {
    let facts = tree.root()?;
    if facts != tree.opened_root() {
        return Ok(Seen::Another);
    }
    Ok(Seen::Root(facts, read_marker(tree)?))
}

/// The marker of a root; `None`: it has none.
pub fn read_marker(tree: &dyn LocalTree) -> Result<Option<Marker>, TreeError> {
    let file = match tree.open(MARKER) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; MARKER_BYTES_MAX];
    let read = super::read::read_full(&*file, 0, &mut bytes)?;
    let marker = serde_json::from_slice(&bytes[..read]).unwrap_or_else(|_| Marker {
        uuid: UNREADABLE.into(),
        created: "".into(),
        mirror: "".into(),
        remote: "".into(),
    });
    Ok(Some(marker))
}

/// Gives a root its first marker, whoever else does so at the same time, on other hosts too: returns the one that stands.
/// Killed in the middle, it leaves a file that is nobody's, below `.gosync`.
pub fn place_marker(tree: &dyn LocalTree, marker: &Marker) -> Result<Marker, TreeError> {
    let text = serde_json::to_vec_pretty(marker).unwrap_or_default();
    let own = format!("{MARKER}.{}", marker.uuid);
    let file = tree.create(&own, 0o644)?;
    file.write_at(0, &text)?;
    file.sync()?;
    let placed = match tree.rename_new(&own, MARKER) {
        Err(error) if error.kind == TreeErrorKind::Unsupported => tree.link(&own, MARKER),
        placed => placed,
    };
    match tree.unlink(&own) {
        Err(error) if !error.is_not_found() => return Err(error),
        _ => {}
    }
    match placed {
        Err(error) if error.kind != TreeErrorKind::Exists => return Err(error),
        _ => {}
    }
    tree.sync_folder(OWN)?;
    let gone = || TreeError::new(TreeErrorKind::NotFound, "read the marker", MARKER);
    read_marker(tree)?.filter(|marker| marker.uuid != UNREADABLE).ok_or_else(gone)
}

/// The root by its path is the one that we opened, and the marker in it is the one that we know.
pub fn root_is_ours(tree: &dyn LocalTree, volume: &str) -> bool {
    let Ok(root) = tree.root() else { return false };
    let known = |marker: Option<Marker>| marker.map_or_else(|| unmarked(root), |marker| marker.uuid) == volume;
    root == tree.opened_root() && read_marker(tree).is_ok_and(known)
}

/// Stands for the id of a marker where there can be none.
fn unmarked(root: RootFacts) -> String {
    format!("{UNMARKED}{}", root.inode)
}

pub fn is_unmarked(volume: &str) -> bool {
    volume.starts_with(UNMARKED)
}

async fn make_marker(context: &Context, remote: &str) -> Result<Marker, Failure> {
    write_marker(context, context.ports.ids.nonce().to_hex(), remote).await
}

async fn write_marker(context: &Context, uuid: String, remote: &str) -> Result<Marker, Failure> {
    let seconds = context.ports.clock.utc_ns().div_euclid(1_000_000_000);
    let created = jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default();
    let marker = Marker { uuid, created, mirror: context.config.name.clone(), remote: remote.to_owned() };
    let text = serde_json::to_vec_pretty(&marker).unwrap_or_default();
    context
        .local(move |tree| -> Result<(), TreeError> {
            match tree.make_folder(OWN) {
                Err(error) if error.kind != TreeErrorKind::Exists => return Err(error),
                _ => {}
            }
            let new = format!("{MARKER}.new");
            match tree.unlink(&new) {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
            let file = tree.create(&new, 0o644)?;
            file.write_at(0, &text)?;
            file.sync()?;
            crash::reached(CrashPoint::MarkerWritten);
            tree.rename(&new, MARKER)?;
            tree.sync_folder(OWN)?;
            tree.sync_folder("")
        })
        .await??;
    Ok(marker)
}

/// Another remote is a first run; another inode under the same marker is a copy of the volume: a replica of its own. Where
/// what is known was copied along with the files, it may be of another moment than they are: a first run, too.
async fn identify(context: &Context, facts: RootFacts, volume: String, remote: &str) -> Result<(), Failure> {
    let state = &context.ports.state;
    let mut changes = Vec::new();
    if state.note(NOTE_REMOTE).await?.as_deref() != Some(remote) {
        changes.extend(first_run(context).await?);
        changes.push(StateChange::PutNote(NOTE_REMOTE.to_owned(), remote.to_owned()));
    }
    // The device number of a disk may be another one after a restart.
    let root = facts.inode.to_string();
    let same_root = state.note(NOTE_ROOT).await?.as_deref() == Some(root.as_str());
    if !same_root {
        changes.push(StateChange::PutNote(NOTE_ROOT.to_owned(), root));
    }
    let mut copied = None;
    let replica = match state.note(NOTE_REPLICA).await? {
        Some(replica) if same_root => replica,
        Some(before) if context.config.state_travels => {
            changes.extend(first_run(context).await?);
            let (replica, copy_of) = new_replica(context, before, &mut changes);
            context.ports.observer.observe(&Event::IsACopy { of: copy_of.replica.clone() });
            copied = Some(copy_of);
            replica
        }
        _ => {
            let replica = context.ports.ids.nonce().to_hex();
            changes.push(StateChange::PutNote(NOTE_REPLICA.to_owned(), replica.clone()));
            replica
        }
    };
    if !changes.is_empty() {
        state.apply(changes).await?;
    }
    // Nobody else can have been found out.
    if copied.is_none() && (context.config.shared || context.config.state_travels) {
        copied = state.note(NOTE_COPY_OF).await?.and_then(|note| serde_json::from_str(&note).ok());
    }
    // Shared metadata may be away: whoever follows the feed asks again.
    let store = match context.config.shared {
        true => None,
        false => Some(context.ports.metadata.store(&context.config.endpoint, &context.config.bucket).await?),
    };
    let mut identity = lock(&context.shared.identity);
    identity.replica = replica;
    identity.copy_of = copied;
    identity.volume = volume;
    if let Some(store) = store {
        identity.store = Some(store.id);
        identity.cursor = identity.cursor.max(store.head_seq);
    }
    Ok(())
}
