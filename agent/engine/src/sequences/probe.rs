//! The capability probe (R13): which of the store's conditions hold is proven, not assumed.
//!
//! It works below `<prefix>.gosync/probe/` under a name of its own and leaves nothing there. A probe that is cut short
//! says nothing, and is made again. What it left goes with the next probe of its replica; whoever made it, it goes once it
//! is old, with a probe that somebody asks for, or with that of a replica that probes again.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::join_all;
use gosync_plan::{Nonce, Prefix};

use crate::context::Context;
use crate::crash::{self, CrashPoint};
use crate::handle::Conditions;
use crate::look::Failure;
use crate::ports::state::StateChange;
use crate::ports::store::{Condition, ListRequest, Listed, ObjectHeaders, PutRequest};
use crate::ports::{ObjectStore, StoreError, StoreErrorKind};

/// The note of a replica's state that holds what the last probe found.
pub const NOTE_PROBE: &str = "probe";
/// Names the folder of a probe that is under way.
const NOTE_PROBING: &str = "probing";
/// Creations of one key that race each other.
const RACERS: usize = 4;
/// A probe takes seconds; what has lain there for so long was left behind.
const LEFT_SECONDS: i64 = 3_600;
const STALE_ETAG: &str = "00000000000000000000000000000000";

#[derive(serde::Serialize, serde::Deserialize)]
struct Note {
    remote: String,
    at_ms: i64,
    conditions: Conditions,
}

/// The store's conditions: remembered, or probed now.
pub async fn conditions(context: &Context) -> Result<Conditions, Failure> {
    let remote = format!("{}|{}", context.config.endpoint, context.config.bucket);
    let now_ms = context.utc_ms();
    let noted = context.ports.state.note(NOTE_PROBE).await?.and_then(|note| serde_json::from_str::<Note>(&note).ok());
    let again = noted.is_some();
    if let Some(note) = noted
        && note.remote == remote
        && (0..i64::try_from(context.config.limits.probe_ms).unwrap_or(i64::MAX)).contains(&(now_ms - note.at_ms))
    {
        return Ok(note.conditions);
    }
    let (state, store) = (&context.ports.state, &*context.ports.store);
    // The name is noted first: what a kill leaves in the bucket is found by it.
    if let Some(left) = state.note(NOTE_PROBING).await? {
        tidy(store, &left).await?;
    }
    let prefix = &context.config.prefix;
    let folder = probe_folder(prefix, context.ports.ids.nonce());
    state.apply(vec![StateChange::PutNote(NOTE_PROBING.to_owned(), folder.clone())]).await?;
    let conditions = probe_below(store, prefix, &folder, again).await?;
    let note = serde_json::to_string(&Note { remote, at_ms: now_ms, conditions }).unwrap_or_default();
    let probed =
        vec![StateChange::PutNote(NOTE_PROBE.to_owned(), note), StateChange::DropNote(NOTE_PROBING.to_owned())];
    state.apply(probed).await?;
    Ok(conditions)
}

/// What a note says that was made for this store.
#[must_use]
pub fn noted_conditions(note: &str, endpoint: &str, bucket: &str) -> Option<Conditions> {
    let note: Note = serde_json::from_str(note).ok()?;
    (note.remote == format!("{endpoint}|{bucket}")).then_some(note.conditions)
}

/// Probes now, below `prefix`, and removes what others left there.
pub async fn probe_store(store: &dyn ObjectStore, prefix: &Prefix, nonce: Nonce) -> Result<Conditions, StoreError> {
    probe_below(store, prefix, &probe_folder(prefix, nonce), true).await
}

/// Where all probes work.
fn probes(prefix: &Prefix) -> String {
    format!("{}probe/", prefix.own_folder())
}

/// Ends with `/`.
fn probe_folder(prefix: &Prefix, nonce: Nonce) -> String {
    format!("{}{}/", probes(prefix), nonce.to_hex())
}

fn keys_below(folder: &str) -> [String; 2] {
    ["put", "copy"].map(|name| format!("{folder}{name}"))
}

async fn probe_below(
    store: &dyn ObjectStore,
    prefix: &Prefix,
    folder: &str,
    tidies: bool,
) -> Result<Conditions, StoreError> {
    let keys = keys_below(folder);
    let result = probe_keys(store, &keys).await;
    if tidies && result.is_ok() {
        // What can't be listed or removed now stays for another probe.
        tidy_others(store, prefix, folder).await.ok();
    }
    for key in &keys {
        store.delete(key, &Condition::None).await.ok();
    }
    result
}

/// Removes what a probe left that was cut short.
async fn tidy(store: &dyn ObjectStore, folder: &str) -> Result<(), StoreError> {
    for key in keys_below(folder) {
        // A store that doesn't tell of its uploads keeps them.
        for pending in store.list_uploads(&key).await.unwrap_or_default() {
            store.abort_upload(&pending.key, &pending.upload).await?;
        }
        store.delete(&key, &Condition::None).await?;
    }
    Ok(())
}

/// Removes what others left long ago. How old it is tells the store, whose newest object here is ours.
async fn tidy_others(store: &dyn ObjectStore, prefix: &Prefix, ours: &str) -> Result<(), StoreError> {
    let probes = probes(prefix);
    let page = store.list(ListRequest { prefix: probes.clone(), ..ListRequest::default() }).await?;
    let seconds = |listed: &Listed| listed.generation.last_modified.as_ref().and_then(|it| it.parse::<i64>().ok());
    let Some(now) = page.objects.iter().filter(|listed| listed.key.starts_with(ours)).filter_map(seconds).max() else {
        return Ok(());
    };
    let mut left = BTreeSet::new();
    for listed in page.objects.iter().filter(|listed| seconds(listed).is_some_and(|at| now - at > LEFT_SECONDS)) {
        // Nothing but what a probe makes.
        let name = listed.key.strip_prefix(&probes).and_then(|rest| rest.split_once('/'));
        if let Some((nonce, "put" | "copy")) = name
            && Nonce::from_hex(nonce).is_some()
        {
            left.insert(format!("{probes}{nonce}/"));
        }
    }
    for folder in left {
        tidy(store, &folder).await?;
    }
    Ok(())
}

async fn probe_keys(store: &dyn ObjectStore, [put, copy]: &[String; 2]) -> Result<Conditions, StoreError> {
    let request = |key: &str, content: &str, condition: Condition| PutRequest {
        key: key.to_owned(),
        body: Bytes::from(content.to_owned()),
        headers: ObjectHeaders::default(),
        condition,
    };
    // Create-once, raced: exactly one may win.
    let racers = (0..RACERS).map(|racer| store.put(request(put, &racer.to_string(), Condition::Absent)));
    let raced = join_all(racers).await;
    let won = raced.iter().filter(|result| result.is_ok()).count();
    if won == 0 {
        // Either it knows no such condition, or it takes nothing at all.
        for result in raced {
            if held(result.map(|_| ()))? == Held::Yes {
                let what = "the store took none of the probe's objects";
                return Err(StoreError::new(StoreErrorKind::Invalid, "put", put.as_str(), what));
            }
        }
        store.put(request(put, "unraced", Condition::None)).await?;
    }
    let created_once = won == 1;

    // Stale If-Match must be refused, a fresh one taken.
    let stale = held(store.put(request(put, "stale", Condition::Etag(STALE_ETAG.to_owned()))).await.map(|_| ()))?;

    let completed = {
        let upload = store.create_upload(put, &ObjectHeaders::default()).await?;
        let etag = store.upload_part(put, &upload, 1, Bytes::from_static(b"part")).await?;
        crash::reached(CrashPoint::Probing);
        let held = held(store.complete_upload(put, &upload, &[(1, etag)], &Condition::Absent).await.map(|_| ()));
        store.abort_upload(put, &upload).await.ok();
        held?
    };

    // A copy onto a key that exists must be refused.
    store.put(request(copy, "copy", Condition::None)).await?;
    let copied = held(store.copy(put, None, copy, &Condition::Absent).await.map(|_| ()))?;

    // A stale delete must leave the object.
    let deleted = match held(store.delete(put, &Condition::Etag(STALE_ETAG.to_owned())).await)? {
        Held::Yes if store.head(put).await?.is_none() => Held::No,
        held => held,
    };
    Ok(Conditions {
        put: Some(created_once && stale == Held::Yes),
        multipart: Some(completed == Held::Yes),
        delete: Some(deleted == Held::Yes),
        copy: Some(copied == Held::Yes),
        refused: won == 0 || [stale, completed, deleted, copied].contains(&Held::Unknown),
    })
}

/// What became of a request whose condition doesn't hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// Refused for it.
    Yes,
    /// Done all the same.
    No,
    /// The store knows no such condition, and refuses whatever has one.
    Unknown,
}

/// Other failures say nothing.
fn held(result: Result<(), StoreError>) -> Result<Held, StoreError> {
    match result {
        Ok(()) => Ok(Held::No),
        Err(error) => match error.kind {
            StoreErrorKind::PreconditionFailed | StoreErrorKind::Conflict => Ok(Held::Yes),
            StoreErrorKind::NotImplemented | StoreErrorKind::Invalid => Ok(Held::Unknown),
            StoreErrorKind::NotFound => Ok(Held::No),
            _ => Err(error),
        },
    }
}
