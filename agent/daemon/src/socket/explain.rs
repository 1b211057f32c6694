//! `explain`: which mirrors have a path, as somebody wrote it, and what is told of it.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use gosync_api::messages::{
    Conflict, Entry, ErrorBody, ErrorCode, ExplainRequest, Explained, Explanation, FolderSummary, IgnoredBy,
    LastChange, MirrorState, PathReason, TrashEntry, TrashSource, UnderWay, WaitsFor,
};
use gosync_api::words::PathState;
use gosync_engine::Command;
use gosync_engine::explain::{self, Standing};
use gosync_engine::ports::metadata::{ChangeRow, ChangeType, FileRow};
use gosync_engine::ports::{JournalEntry, JournalKind};
use gosync_plan::facts::{Fingerprint, Generation};
use gosync_plan::{Ancestor, LocalEntry, RemoteEntry};
use jiff::Timestamp;

use super::answers::{made_by, refused, stopping};
use super::reply::Reply;
use super::trash::OF;
use crate::agent::Agent;
use crate::one_mirror::Mirror;
use crate::tell::{self, trouble};

type Shared = State<Arc<Agent>>;

pub async fn explain(State(agent): Shared, Query(request): Query<ExplainRequest>) -> Reply<Explained> {
    let (mirrors, is_certain) = candidates(agent.chosen(request.name.as_deref())?, &request).await;
    if mirrors.iter().any(|(_, path)| path.split('/').any(|part| part == "..")) {
        let message = format!("{} leads out of a folder or a prefix by `..`", request.path);
        let hint = "name it as it lies below the folder or the prefix";
        return Err(ErrorBody::new(ErrorCode::BadRequest, message, hint).into());
    }
    let mut paths = Vec::new();
    let states = agent.state().await.mirrors;
    for (mirror, path) in mirrors {
        paths.push(explain_one(&mirror, path, &states).await?);
    }
    if !is_certain && paths.len() > 1 && paths.iter().any(is_known) {
        paths.retain(is_known);
    }
    if paths.is_empty() || (!is_certain && paths.len() > 1 && !paths.iter().any(is_known)) {
        let message = format!("no mirror has {}", request.path);
        let hint =
            "name it with its whole path, or as s3://bucket/key; `gosync sync list` shows the folders and prefixes";
        return Err(ErrorBody::new(ErrorCode::NotFound, message, hint).into());
    }
    Ok(Json(Explained { paths }))
}

/// The mirrors that may be meant, with the path below each root; and whether the path says so by itself.
async fn candidates(mirrors: Vec<Arc<Mirror>>, request: &ExplainRequest) -> (Vec<(Arc<Mirror>, String)>, bool) {
    let text = request.path.as_str();
    if let Some(url) = text.strip_prefix("s3://") {
        let (bucket, key) = url.split_once('/').unwrap_or((url, ""));
        let below = |mirror: &Mirror| (mirror.config.s3.bucket == bucket).then(|| below_prefix(mirror, key)).flatten();
        return (named(&mirrors, below), true);
    }
    let roots: Vec<_> = mirrors.iter().map(|mirror| mirror.config.local_path.clone()).collect();
    let real = move || roots.into_iter().map(|root| std::fs::canonicalize(&root).unwrap_or(root)).collect::<Vec<_>>();
    let real = tokio::task::spawn_blocking(real).await.unwrap_or_default();
    let mut in_folder = Vec::new();
    for (index, mirror) in mirrors.iter().enumerate() {
        let roots = [Some(&mirror.config.local_path), real.get(index)];
        let asked = [request.absolute.as_deref(), request.real.as_deref()];
        let mut pairs = roots.into_iter().flatten().flat_map(|root| asked.iter().flatten().map(move |at| (root, *at)));
        let below = pairs.find_map(|(root, at)| Path::new(at).strip_prefix(root).ok()?.to_str());
        if let Some(below) = below {
            in_folder.push((Arc::clone(mirror), below.to_owned()));
        }
    }
    if !in_folder.is_empty() {
        return (in_folder, true);
    }
    // A key, or a path below a root.
    let key = text.trim_start_matches('/');
    let by_key = |mirror: &Mirror| below_prefix(mirror, key).filter(|_| !mirror.config.prefix.is_empty());
    let mut all = named(&mirrors, by_key);
    if !text.starts_with('/') {
        all.extend(named(&mirrors, |_| Some(without_end(text.trim_start_matches("./")))));
    }
    (all, false)
}

fn named(mirrors: &[Arc<Mirror>], below: impl Fn(&Mirror) -> Option<String>) -> Vec<(Arc<Mirror>, String)> {
    mirrors.iter().filter_map(|mirror| Some((Arc::clone(mirror), below(mirror)?))).collect()
}

fn below_prefix(mirror: &Mirror, key: &str) -> Option<String> {
    let prefix = mirror.config.prefix.as_str();
    if key == prefix.trim_end_matches('/') {
        return Some(String::new());
    }
    key.strip_prefix(prefix).map(without_end)
}

/// `notes/` means the folder `notes`.
fn without_end(path: &str) -> String {
    path.strip_suffix('/').unwrap_or(path).to_owned()
}

/// There is, or was, something of this name.
fn is_known(path: &Explanation) -> bool {
    let is_there = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.kind != ABSENT);
    path.ancestor.is_some()
        || path.ignored.is_some()
        || path.last_change.is_some()
        || path.folder.is_some()
        || !path.trash.is_empty()
        || is_there(&path.local)
        || path.remote.as_ref().is_some_and(|entry| entry.kind == OBJECT)
}

const ABSENT: &str = "absent";
const OBJECT: &str = "object";

async fn explain_one(mirror: &Mirror, path: String, states: &[MirrorState]) -> Result<Explanation, ErrorBody> {
    let state = states.iter().find(|state| state.name == mirror.name()).cloned().unwrap_or_default();
    let config = &mirror.config;
    let local_path = if path.is_empty() { config.local_path.clone() } else { config.local_path.join(&path) };
    let mut told = Explanation {
        mirror: mirror.name().to_owned(),
        status: state.status,
        phase: state.phase,
        direction: state.direction,
        local_path: local_path.display().to_string(),
        s3_path: format!("s3://{}/{}{path}", config.s3.bucket, config.prefix),
        path: path.clone(),
        errors: state.errors.clone(),
        ..Explanation::default()
    };
    let Some(handle) = mirror.handle().await else {
        told.why = format!("nothing is looked at and nothing is concluded for now: {}", tell::why_down(&state));
        told.halts = state.halts;
        return Ok(told);
    };
    let asked = handle.ask(|reply| Command::Explain { path, reply }).await;
    let found = asked.ok_or_else(stopping)?.map_err(refused)?;
    fill(&mut told, *found, &state, states);
    Ok(told)
}

fn fill(told: &mut Explanation, found: explain::Explanation, state: &MirrorState, all: &[MirrorState]) {
    let mirror = told.mirror.clone();
    told.state = found.standing.map(word);
    told.reason = Some(trouble::of_a_path(&found.reason)).filter(|reason| !reason.is_empty());
    told.decision = found.decision.to_owned();
    told.why = found.why;
    told.ignored = found.ignored.map(|by| IgnoredBy { rule: by.pattern, file: by.file, path: by.path });
    told.ancestor = found.ancestor.as_ref().map(ancestor);
    // Of the root itself there is no entry.
    if !found.path.is_empty() {
        told.local = Some(Entry { change: found.local_change.as_str().to_owned(), ..local(&found.local) });
        told.remote = Some(Entry { change: found.remote_change.as_str().to_owned(), ..remote(&found.remote) });
    }
    told.waits = found
        .waits
        .into_iter()
        .map(|wait| WaitsFor { what: wait.what, until: wait.until_ms.and_then(tell::timestamp) })
        .collect();
    told.halts = state.halts.iter().filter(|halt| found.halts.contains(&halt.id)).cloned().collect();
    told.last_change =
        found.file.as_ref().map(|file| last_change(file, found.change.as_ref(), found.ancestor.as_ref(), state, all));
    told.under_way = found.journal.iter().map(under_way).collect();
    told.copy_of = found.copy_of.map(String::from);
    let copies = found.copies.into_iter().map(|(copy, bytes)| {
        let (since, device) = made_by(copy.as_str());
        Conflict { mirror: mirror.clone(), path: found.path.clone(), copy: String::from(copy), bytes, since, device }
    });
    told.copies = copies.collect();
    let trash = found.trash.into_iter().map(|item| TrashEntry {
        id: format!("{mirror}{OF}{}", item.item),
        mirror: mirror.clone(),
        path: item.path,
        bytes: item.bytes,
        since: tell::timestamp(item.trashed_ms),
        source: TrashSource::Trash,
        reason: String::new(),
    });
    told.trash = trash.collect();
    told.folder = found.folder.map(|folder| FolderSummary {
        files: folder.files,
        bytes: folder.bytes,
        states: folder.counts.into_iter().map(|(standing, count)| (word(standing), count)).collect(),
        first: folder
            .first
            .into_iter()
            .map(|(path, standing)| PathReason { path: String::from(path), reason: word(standing).to_string() })
            .collect(),
    });
    told.failed = found.failed;
}

fn word(standing: Standing) -> PathState {
    match standing {
        Standing::Synced => PathState::Synced,
        Standing::Pending => PathState::Pending,
        Standing::Busy => PathState::Busy,
        Standing::Open => PathState::Open,
        Standing::Held => PathState::Held,
        Standing::Diverged => PathState::Diverged,
        Standing::Problem => PathState::Problem,
    }
}

fn ancestor(known: &Ancestor) -> Entry {
    Entry {
        hash: known.content.map(|content| content.to_hex()),
        by_agent: known.nonce.is_some(),
        open: known.open,
        stored: known.generation.last_modified.clone(),
        etag: Some(known.generation.etag.clone()),
        version: known.generation.version_id.clone(),
        ..file(&known.fingerprint)
    }
}

fn file(fingerprint: &Fingerprint) -> Entry {
    Entry {
        kind: "file".to_owned(),
        bytes: Some(fingerprint.size),
        modified: time(fingerprint.mtime_ns),
        mode: Some(octal(fingerprint.mode)),
        ..Entry::default()
    }
}

fn local(entry: &LocalEntry) -> Entry {
    let kind = |kind: &str| Entry { kind: kind.to_owned(), ..Entry::default() };
    match entry {
        LocalEntry::Absent => kind(ABSENT),
        LocalEntry::Folder => kind("folder"),
        LocalEntry::Special(special) => kind(&format!("{special:?}").to_lowercase()),
        LocalEntry::Unknown(message) => Entry { message: Some(trouble::of_a_path(message)), ..kind("unknown") },
        LocalEntry::File(known) => {
            Entry { hash: known.digests.map(|digests| digests.blake3.to_hex()), ..file(&known.fingerprint) }
        }
    }
}

fn remote(entry: &RemoteEntry) -> Entry {
    let kind = |kind: &str| Entry { kind: kind.to_owned(), ..Entry::default() };
    match entry {
        RemoteEntry::Absent => kind(ABSENT),
        RemoteEntry::Presumed => kind("not-looked-at"),
        RemoteEntry::Unknown(message) => Entry { message: Some(trouble::of_a_path(message)), ..kind("unknown") },
        RemoteEntry::Object(known) => {
            let Generation { etag, size, version_id, last_modified } = known.generation.clone();
            let facts = known.facts.clone().unwrap_or_default();
            Entry {
                kind: OBJECT.to_owned(),
                bytes: Some(size),
                modified: facts.mtime_ns.and_then(time),
                stored: last_modified,
                mode: facts.mode.map(octal),
                etag: Some(etag),
                version: version_id,
                hash: known.content.map(|content| content.to_hex()),
                by_agent: facts.nonce.is_some(),
                open: facts.open,
                ..Entry::default()
            }
        }
    }
}

fn octal(mode: u32) -> String {
    format!("{:04o}", mode & 0o7777)
}

fn time(nanoseconds: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).ok()
}

fn last_change(
    file: &FileRow,
    change: Option<&ChangeRow>,
    ancestor: Option<&Ancestor>,
    state: &MirrorState,
    all: &[MirrorState],
) -> LastChange {
    let what = match change.map(|change| change.change_type) {
        Some(ChangeType::Create) => "created",
        Some(ChangeType::Update) => "updated",
        Some(ChangeType::Rename) => "renamed",
        Some(ChangeType::Delete) => "deleted",
        None if file.is_deleted => "deleted",
        None => "updated",
    };
    let at_ms = change.map(|change| change.changed_ms).or(file.deleted_ms);
    let by = file.updated_by.clone();
    let ours = by == state.replica;
    let who = if ours {
        format!("this mirror ({})", state.name)
    } else if let Some(other) = all.iter().find(|other| other.replica == by && !by.is_empty()) {
        format!("the mirror {} of this agent", other.name)
    } else if by.len() == 32 {
        format!("another replica ({})", by.get(..8).unwrap_or(&by))
    } else {
        by.clone()
    };
    let is_current = ancestor.is_some_and(|known| known.generation.etag == file.etag);
    let how = match ancestor {
        Some(known) if ours && is_current && !file.is_deleted => {
            if known.nonce.is_some() {
                "uploaded"
            } else {
                "found"
            }
        }
        _ => "",
    };
    LastChange {
        what: what.to_owned(),
        at: at_ms.and_then(tell::timestamp),
        by,
        who,
        how: how.to_owned(),
        sequence: file.seq,
    }
}

fn under_way(entry: &JournalEntry) -> UnderWay {
    let what = match &entry.kind {
        JournalKind::Upload { .. } => "an upload was begun",
        JournalKind::DeleteObject { .. } => "the object's delete was begun",
        JournalKind::Install { replaces: Some(_), .. } => {
            "the content that was replaced is kept until nobody can write to it any more"
        }
        JournalKind::Install { .. } => "a download is being put in its place",
        JournalKind::Trash { .. } => "what went to the trash is watched until nobody can write to it any more",
    };
    UnderWay { what: what.to_owned(), since: tell::timestamp(entry.began_ms) }
}
