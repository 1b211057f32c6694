//! Sending a file (R6, R8): read at rest, journal, send under its condition, record.
//!
//! After a lost reply or a refusal only a look at the key tells what happened: our nonce *and* a content that the store's
//! own checksum proves mean that it was us.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use gosync_plan::decide::ExpectRemote;
use gosync_plan::identity::{Identity, same_as_generation};
use gosync_plan::{Ancestor, Digests, Fingerprint, Generation, Nonce, ObjectFacts, RelPath};
use md5::{Digest as _, Md5};

use super::cached;
use super::copy::copy_in_bucket;
use super::download::has_room;
use super::place::parent;
use super::read::{Large, Reading, Small, end, hash_large, read_full, read_small};
use super::recover::abort_stale;
use super::{Outcome, Task, expected, tmp_path, turn, write_ancestor_over};
use crate::config::Limits;
use crate::context::Context;
use crate::crash::{self, CrashPoint};
use crate::digest::{Digester, Wanted, of_bytes};
use crate::durable::{Target, durable};
use crate::look::Failure;
use crate::planted::{self, Planted};
use crate::ports::observer::Event;
use crate::ports::state::{ExpectRemoteRow, JournalEntry, JournalKind, StateChange, UploadRow};
use crate::ports::store::{Condition, GetRequest, Head, ObjectHeaders, PutRequest};
use crate::ports::{LocalTree, StoreError, StoreErrorKind, TreeError, TreeErrorKind, TreeFile};
use crate::sweep::backoff_ms;

/// S3 takes at most this many parts.
const PARTS_MAX: u64 = 10_000;

/// Sends the file at the task's path.
pub async fn upload(
    context: &Context,
    task: &Task,
    local: Fingerprint,
    expect: ExpectRemote,
) -> Result<Outcome, Outcome> {
    if local.size <= context.config.limits.part_bytes {
        upload_small(context, task, local, expect).await
    } else {
        upload_large(context, task, local, expect).await
    }
}

async fn upload_small(
    context: &Context,
    task: &Task,
    local: Fingerprint,
    expect: ExpectRemote,
) -> Result<Outcome, Outcome> {
    let (path, read_open) = (task.path().as_str().to_owned(), task.read_open);
    let reading = context.local(move |tree| read_small(tree, &path, local, read_open)).await??;
    let Small { bytes, digests, open } = match reading {
        Reading::Whole(small) => small,
        Reading::Changed => return Err(Outcome::Again),
        Reading::Busy => return Err(Outcome::Busy),
    };
    if !open && let Some(outcome) = copy_in_bucket(context, task, local, &digests, &expect).await? {
        return Ok(outcome);
    }
    let entry = begin(context, task, local, &expect, digests, open, context.ports.ids.nonce()).await?;
    let key = context.config.prefix.key(task.path());
    let headers = headers(context, &entry, local, &digests, open);
    let facts = facts(&headers, local);
    let condition = context.sayable(condition(&expect), context.conditions().put);
    let request = PutRequest { key: key.clone(), body: bytes.clone(), headers, condition };
    // Only while it is sent: the next request goes out while this one is written down.
    crash::reached(CrashPoint::UploadJournalled);
    let permit = context.request().await;
    let turn = match turn::take(context, task.path(), &expect, context.conditions().writes_are_unconditional()).await {
        Ok(turn) => turn,
        Err(outcome) => return Err(not_sent(context, &entry, outcome).await),
    };
    let written = turn.during(context, context.ports.store.put(request)).await.map(|written| written.generation);
    permit.answered();
    crash::reached(CrashPoint::UploadSent);
    if let Ok(generation) = &written {
        // Before anybody hears of it.
        let generation = Generation { size: digests.size, ..generation.clone() };
        cached::fill(context, &key, &Head { generation, facts, archived: false }, &digests, &bytes).await;
    }
    let outcome = conclude(context, entry, written, None).await;
    turn.end_after(context, &outcome).await;
    outcome
}

/// The journal entry of an act that wasn't begun ends.
pub(super) async fn not_sent(context: &Context, entry: &JournalEntry, outcome: Outcome) -> Outcome {
    match context.record(vec![StateChange::End(entry.id)], Vec::new()).await {
        Ok(()) => outcome,
        Err(error) => error.into(),
    }
}

async fn upload_large(
    context: &Context,
    task: &Task,
    local: Fingerprint,
    expect: ExpectRemote,
) -> Result<Outcome, Outcome> {
    let part_bytes = part_bytes(local.size, context.config.limits.part_bytes);
    let (path, read_open) = (task.path().as_str().to_owned(), task.read_open);
    let private = tmp_path(context.ports.ids.nonce());
    // Where nothing may be written, the file itself is read, open as it is.
    let may_copy = !context.config.root_is_read_only;
    let (private_there, limits) = (private.clone(), context.config.limits.clone());
    let (file, reading, read_open) = context
        .local(move |tree| -> Result<_, TreeError> {
            let file: Arc<dyn TreeFile> = Arc::from(tree.open(&path)?);
            let reading = hash_large(&*file, local, part_bytes, false)?;
            if !read_open || matches!(reading, Reading::Whole(_)) {
                return Ok((file, reading, false));
            }
            if !may_copy {
                let reading = hash_large(&*file, local, part_bytes, true)?;
                return Ok((file, reading, true));
            }
            // It doesn't come to rest: what is sent comes from a copy that nobody writes to.
            let copied = private_copy(tree, &*file, &private_there, part_bytes, &limits);
            if copied.is_err() {
                tree.unlink(&private_there).ok();
            }
            copied.map(|(copy, reading)| (copy, reading, true))
        })
        .await??;
    let Large { digests, parts, open } = match reading {
        Reading::Whole(large) => large,
        Reading::Changed => return Err(Outcome::Again),
        Reading::Busy => return Err(Outcome::Busy),
    };
    let open = open || read_open;
    let sending = async {
        let twin = if open { None } else { twin_in_bucket(context, task, &digests, &expect).await? };
        let sent_parts = AtomicUsize::new(0);
        Sending { task, local, expect: &expect, digests, parts, part_bytes, open, file, twin, sent_parts }
            .send(context)
            .await
    };
    let outcome = sending.await;
    if read_open {
        context.local(move |tree| tree.unlink(&private)).await?.ok();
    }
    outcome
}

/// A copy that nobody writes to, where the disk has room for one.
fn private_copy(
    tree: &dyn LocalTree,
    file: &dyn TreeFile,
    to: &str,
    part_bytes: u64,
    limits: &Limits,
) -> Result<(Arc<dyn TreeFile>, Reading<Large>), TreeError> {
    if !has_room(tree, limits, file.stat()?.fingerprint.size)? {
        return Err(TreeError::new(TreeErrorKind::NoSpace, "copy", to));
    }
    let copy: Arc<dyn TreeFile> = Arc::from(tree.create(to, 0o600)?);
    file.copy_to(&*copy)?;
    let stat = copy.stat()?.fingerprint;
    let reading = hash_large(&*copy, stat, part_bytes, true)?;
    Ok((copy, reading))
}

/// As configured, unless that makes too many parts.
fn part_bytes(size: u64, configured: u64) -> u64 {
    configured.max(size.div_ceil(PARTS_MAX))
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// A large file on its way.
struct Sending<'a> {
    task: &'a Task,
    local: Fingerprint,
    expect: &'a ExpectRemote,
    digests: Digests,
    parts: Vec<gosync_plan::ContentHash>,
    part_bytes: u64,
    open: bool,
    file: Arc<dyn TreeFile>,
    /// The bucket has the content under this path already.
    twin: Option<(RelPath, Generation)>,
    /// Those that could not be copied from the twin.
    sent_parts: AtomicUsize,
}

impl Sending<'_> {
    async fn send(&self, context: &Context) -> Result<Outcome, Outcome> {
        let store = &context.ports.store;
        let key = context.config.prefix.key(self.task.path());
        let (entry, upload, held) = self.begin_or_resume(context, &key).await?;

        let file = &self.file;
        let upload_id = upload.as_str();
        let key_here = key.as_str();
        let limits = &context.config.limits;
        // As much in memory as with ordinary parts, or one part: those of a file over 48 GiB are larger.
        let at_once = limits.parts_per_file_max * usize_of(limits.part_bytes) / usize_of(self.part_bytes).max(1);
        let sent = stream::iter(self.parts.iter().copied().enumerate())
            .map(|(index, hash)| {
                let held =
                    held.iter().find(|(number, _, _)| *number as usize == index + 1).map(|(_, etag, _)| etag.clone());
                async move {
                    let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
                    if let Some(etag) = held {
                        return Ok((number, etag));
                    }
                    let _permit = context.shared.parts.acquire().await;
                    let body = self.read_part(context, file, index, hash).await?;
                    if let Some(etag) = self.copy_part(context, key_here, upload_id, number, &body).await {
                        return Ok((number, etag));
                    }
                    self.sent_parts.fetch_add(1, Ordering::Relaxed);
                    send_part(context, key_here, upload_id, number, body).await.map(|etag| (number, etag))
                }
            })
            .buffered(at_once.max(1))
            .try_collect::<Vec<(u32, String)>>()
            .await;
        let sent = match sent {
            Ok(sent) => sent,
            Err(PartFailure::Changed) => {
                self.give_up(context, &key, &upload, &entry).await;
                return Err(Outcome::Again);
            }
            // The upload stays, and is resumed by the next try.
            Err(PartFailure::Outside(failure)) => {
                context.record(vec![StateChange::End(entry.id)], Vec::new()).await?;
                if let Failure::Store(error) = &failure
                    && error.kind == StoreErrorKind::NoSuchUpload
                {
                    context.record(vec![StateChange::DropUpload(upload)], Vec::new()).await?;
                    return Err(Outcome::Again);
                }
                return Err(failure.into());
            }
        };
        let (file, local, read_open) = (Arc::clone(&self.file), self.local, self.open);
        let at_rest = async {
            if !self.open {
                let still = context.local(move |_| end(&*file, local, read_open)).await??;
                if !matches!(still, Reading::Whole(_)) {
                    return Err(Outcome::Again);
                }
            }
            turn::take(context, self.task.path(), self.expect, context.conditions().writes_are_unconditional()).await
        };
        let turn = match at_rest.await {
            Ok(turn) => turn,
            Err(Outcome::Failed(failure)) => {
                context.record(vec![StateChange::End(entry.id)], Vec::new()).await?;
                return Err(failure.into());
            }
            Err(outcome) => {
                self.give_up(context, &key, &upload, &entry).await;
                return Err(outcome);
            }
        };
        let expected = multipart_etag(&sent);
        let condition = context.sayable(condition(self.expect), context.conditions().multipart);
        let completing = store.complete_upload(&key, &upload, &sent, &condition);
        let written = turn.during(context, completing).await.map(|written| written.generation);
        crash::reached(CrashPoint::PartsCompleted);
        let refused = matches!(&written, Err(error) if !error.outcome_unknown());
        let mut outcome = conclude(context, entry, written, expected).await;
        turn.end_after(context, &outcome).await;
        if let (Ok(Outcome::Done { events, .. }), Some((from, _))) = (&mut outcome, &self.twin)
            && self.sent_parts.load(Ordering::Relaxed) == 0
        {
            context.shared.remember_copied(from.clone(), self.task.path().clone());
            *events = vec![Event::CopiedInBucket { path: self.task.path().clone(), from: from.clone() }];
        }
        if refused {
            // A refused completion leaves the upload behind.
            // Of one that may still be open, the id is kept: the next try goes on with it.
            store.abort_upload(&key, &upload).await.ok();
            context.record(vec![StateChange::DropUpload(upload)], Vec::new()).await?;
        }
        outcome
    }

    /// Journals, and either begins an upload or finds the one that an earlier try left.
    async fn begin_or_resume(
        &self,
        context: &Context,
        key: &str,
    ) -> Result<(JournalEntry, String, Vec<(u32, String, u64)>), Outcome> {
        let mut left = None;
        for row in context.ports.state.uploads().await?.into_iter().filter(|row| row.path == *self.task.path()) {
            if row.local == self.local && row.digests.blake3 == self.digests.blake3 && row.part_bytes == self.part_bytes
            {
                left = Some(row);
            } else {
                // Of a content that isn't there any more. What can't be aborted now is aborted by the next start.
                abort_stale(context, row).await.ok();
            }
        }
        if let Some(row) = left
            && !self.open
        {
            match context.ports.store.list_parts(key, &row.upload).await {
                Ok(held) => {
                    let entry =
                        begin(context, self.task, self.local, self.expect, self.digests, self.open, row.operation)
                            .await?;
                    let held = held.into_iter().filter(|part| self.is_whole(part)).collect();
                    return Ok((entry, row.upload, held));
                }
                Err(error) if error.kind == StoreErrorKind::NoSuchUpload => {
                    context.record(vec![StateChange::DropUpload(row.upload)], Vec::new()).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let nonce = context.ports.ids.nonce();
        let entry = begin(context, self.task, self.local, self.expect, self.digests, self.open, nonce).await?;
        let headers = headers(context, &entry, self.local, &self.digests, self.open);
        let upload = match context.ports.store.create_upload(key, &headers).await {
            Ok(upload) => upload,
            Err(error) if error.outcome_unknown() => return Err(unresolved(entry, error.into())),
            Err(error) => {
                context.record(vec![StateChange::End(entry.id)], Vec::new()).await?;
                return Err(error.into());
            }
        };
        crash::reached(CrashPoint::PartsBegun);
        let row = UploadRow {
            upload: upload.clone(),
            key: key.to_owned(),
            path: self.task.path().clone(),
            operation: entry.id,
            local: self.local,
            digests: self.digests,
            part_bytes: self.part_bytes,
            began_ms: context.utc_ms(),
        };
        context.record(vec![StateChange::PutUpload(row)], Vec::new()).await?;
        crash::reached(CrashPoint::PartsNoted);
        Ok((entry, upload, Vec::new()))
    }

    fn is_whole(&self, (number, _, bytes): &(u32, String, u64)) -> bool {
        let begin = u64::from(number.saturating_sub(1)) * self.part_bytes;
        *bytes == self.part_bytes.min(self.digests.size.saturating_sub(begin))
    }

    async fn read_part(
        &self,
        context: &Context,
        file: &Arc<dyn TreeFile>,
        index: usize,
        hash: gosync_plan::ContentHash,
    ) -> Result<Bytes, PartFailure> {
        let offset = index as u64 * self.part_bytes;
        let bytes = usize::try_from(self.part_bytes.min(self.digests.size - offset)).unwrap_or(0);
        let file = Arc::clone(file);
        let part = context
            .local(move |_| {
                let mut buffer = vec![0; bytes];
                let read = read_full(&*file, offset, &mut buffer)?;
                let same = read == bytes && of_bytes(&buffer, Wanted::default()).blake3 == hash;
                Ok::<_, TreeError>(same.then(|| Bytes::from(buffer)))
            })
            .await
            .map_err(|killed| PartFailure::Outside(killed.into()))?
            .map_err(|error| PartFailure::Outside(error.into()))?;
        part.ok_or(PartFailure::Changed)
    }

    /// Has the store make the part from the twin. The part's ETag proves that it is this very content; where it doesn't,
    /// or where the store can't do that, the part is sent (`None`).
    async fn copy_part(&self, context: &Context, key: &str, upload: &str, number: u32, body: &Bytes) -> Option<String> {
        let (from, object) = self.twin.as_ref()?;
        // Refused once: the rest is sent.
        if self.sent_parts.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let begin = u64::from(number - 1) * self.part_bytes;
        let (range, source) = (begin..begin + body.len() as u64, context.config.prefix.key(from));
        let copied = context.ports.store.copy_part(&source, &object.etag, range, key, upload, number).await;
        copied.ok().filter(|etag| *etag == hex::encode(Md5::digest(body)))
    }

    async fn give_up(&self, context: &Context, key: &str, upload: &str, entry: &JournalEntry) {
        context.ports.store.abort_upload(key, upload).await.ok();
        let changes = vec![StateChange::DropUpload(upload.to_owned()), StateChange::End(entry.id)];
        context.record(changes, Vec::new()).await.ok();
    }
}

/// An object of ours that has this content, for a file that is new under its name.
async fn twin_in_bucket(
    context: &Context,
    task: &Task,
    digests: &Digests,
    expect: &ExpectRemote,
) -> Result<Option<(RelPath, Generation)>, Outcome> {
    if *expect != ExpectRemote::Absent {
        return Ok(None);
    }
    let twin = context.ports.state.ancestor_of_large_content(digests.blake3, digests.size).await?;
    Ok(twin.filter(|(path, known)| !known.open && path != task.path()).map(|(path, known)| (path, known.generation)))
}

enum PartFailure {
    /// The file is not what was hashed.
    Changed,
    Outside(Failure),
}

/// A part may be sent again freely: it has no effect before the upload is completed.
async fn send_part(
    context: &Context,
    key: &str,
    upload: &str,
    number: u32,
    body: Bytes,
) -> Result<String, PartFailure> {
    let mut attempt = 0;
    loop {
        match context.ports.store.upload_part(key, upload, number, body.clone()).await {
            Ok(etag) => {
                crash::reached(CrashPoint::PartSent);
                return Ok(etag);
            }
            Err(error) if error.is_transient() && attempt < context.config.limits.retries_max => {
                attempt += 1;
                context.ports.clock.sleep_ms(backoff_ms(attempt)).await;
            }
            Err(error) => return Err(PartFailure::Outside(error.into())),
        }
    }
}

/// The ETag that S3 gives an object made of these parts; `None` where the parts' ETags are no MD5s.
fn multipart_etag(parts: &[(u32, String)]) -> Option<String> {
    let mut whole = Md5::new();
    for (_, etag) in parts {
        whole.update(hex::decode(etag).ok().filter(|md5| md5.len() == 16)?);
    }
    Some(format!("{}-{}", hex::encode(whole.finalize()), parts.len()))
}

/// Journals an upload before anything is sent.
pub(super) async fn begin(
    context: &Context,
    task: &Task,
    local: Fingerprint,
    expect: &ExpectRemote,
    digests: Digests,
    open: bool,
    id: Nonce,
) -> Result<JournalEntry, Outcome> {
    let entry = JournalEntry {
        id,
        path: task.path().clone(),
        kind: JournalKind::Upload { expect: ExpectRemoteRow::from(expect), digests, local, open },
        began_ms: context.utc_ms(),
    };
    context.record(vec![StateChange::Begin(entry.clone())], Vec::new()).await?;
    Ok(entry)
}

/// What an object says of its file's mode. That it is a link is more than a mode.
pub(super) fn told_mode(context: &Context, local: Fingerprint) -> Option<u32> {
    if local.is_link() { Some(local.mode) } else { context.config.policy.mode.told(local.mode) }
}

fn headers(
    context: &Context,
    entry: &JournalEntry,
    local: Fingerprint,
    digests: &Digests,
    open: bool,
) -> ObjectHeaders {
    ObjectHeaders {
        // A folder's time says when something came or went in it.
        mtime_ns: Some(local.mtime_ns).filter(|_| !entry.path.is_marker()),
        mode: told_mode(context, local),
        blake3: Some(digests.blake3),
        nonce: Some(entry.id),
        open,
    }
}

/// What a look at the object will tell of its headers.
fn facts(headers: &ObjectHeaders, local: Fingerprint) -> ObjectFacts {
    ObjectFacts {
        blake3_header: headers.blake3,
        nonce: headers.nonce,
        open: headers.open,
        mtime_ns: headers.mtime_ns,
        mode: headers.mode.filter(|_| !local.is_link()).map(|mode| mode & 0o7777),
        is_link: local.is_link(),
        ..ObjectFacts::default()
    }
}

fn condition(expect: &ExpectRemote) -> Condition {
    if planted::is(Planted::SkipPrecondition) {
        return Condition::None;
    }
    match expect {
        ExpectRemote::Absent => Condition::Absent,
        ExpectRemote::Object(generation) => Condition::Etag(generation.etag.clone()),
    }
}

/// Records an acknowledged write, or finds out what became of one that was not.
async fn conclude(
    context: &Context,
    entry: JournalEntry,
    written: Result<Generation, StoreError>,
    expected_etag: Option<String>,
) -> Result<Outcome, Outcome> {
    match written {
        Ok(_) if context.conditions().writes_are_unconditional() => {
            match resolve(context, &entry, expected_etag.as_deref()).await {
                Ok(Some(generation)) => acknowledged(context, &entry, generation).await,
                Ok(None) => {
                    context.record(vec![StateChange::End(entry.id)], Vec::new()).await?;
                    Err(Outcome::Again)
                }
                Err(failure) => Err(unresolved(entry, failure)),
            }
        }
        Ok(generation) => acknowledged(context, &entry, generation).await,
        Err(error) if error.kind == StoreErrorKind::Killed => Err(Outcome::Failed(Failure::Killed)),
        Err(error) => {
            let refused = !error.outcome_unknown()
                && !matches!(
                    error.kind,
                    StoreErrorKind::PreconditionFailed | StoreErrorKind::Conflict | StoreErrorKind::NotFound
                );
            if refused {
                context.record(vec![StateChange::End(entry.id)], Vec::new()).await?;
                return Err(error.into());
            }
            match resolve(context, &entry, expected_etag.as_deref()).await {
                Ok(Some(generation)) => acknowledged(context, &entry, generation).await,
                Ok(None) => {
                    context.record(vec![StateChange::End(entry.id)], Vec::new()).await?;
                    // Not done. Whether that was the outside or the condition says what comes next.
                    Err(if error.outcome_unknown() { error.into() } else { Outcome::Again })
                }
                Err(failure) => Err(Outcome::Unresolved(Box::new(entry), failure)),
            }
        }
    }
}

/// The object is there: until that is written down nothing else may happen to the path, for a later start would take the
/// journal's word for it.
pub(super) async fn acknowledged(
    context: &Context,
    entry: &JournalEntry,
    generation: Generation,
) -> Result<Outcome, Outcome> {
    let JournalKind::Upload { digests, .. } = &entry.kind else { return Err(Outcome::Again) };
    match write_down(context, entry, generation).await {
        Ok(()) => Ok(Outcome::done(Event::Uploaded { path: entry.path.clone(), bytes: digests.size })),
        Err(failure) => Err(unresolved(entry.clone(), failure)),
    }
}

async fn write_down(context: &Context, entry: &JournalEntry, generation: Generation) -> Result<(), Failure> {
    let JournalKind::Upload { expect, digests, local, open } = &entry.kind else { return Ok(()) };
    // A reply to a completed upload tells no size.
    let generation = Generation { size: digests.size, ..generation };
    // Not sooner, so that one sync serves many: a file that a power loss takes away must not look deleted.
    let local_side = vec![Target::Content(entry.path.as_str().to_owned()), Target::Folder(parent(&entry.path))];
    durable(context, local_side).await??;
    let ancestor =
        Ancestor { fingerprint: *local, generation, content: Some(digests.blake3), nonce: Some(entry.id), open: *open };
    let mut over = vec![StateChange::End(entry.id)];
    if digests.size > context.config.limits.part_bytes {
        // It went up in parts, and there is nothing to go on with.
        let rows = context.ports.state.uploads().await?.into_iter().filter(|row| row.operation == entry.id);
        over.extend(rows.map(|row| StateChange::DropUpload(row.upload)));
    }
    let replaced = match expect {
        ExpectRemoteRow::Absent => None,
        ExpectRemoteRow::Object(replaced) => Some(replaced.clone()),
    };
    write_ancestor_over(context, &entry.path, ancestor, expected(context, replaced), over).await?;
    Ok(())
}

/// Whether these facts are what would be said of this file.
pub(super) fn tells_of(context: &Context, facts: &ObjectFacts, local: Fingerprint) -> bool {
    facts.mtime_ns == Some(local.mtime_ns)
        && told_mode(context, local).is_none_or(|mode| facts.mode.is_some_and(|told| (told ^ mode) & 0o7777 == 0))
}

/// What became of a journalled upload: `Some` when the object at the key is it.
pub async fn resolve(
    context: &Context,
    entry: &JournalEntry,
    expected_etag: Option<&str>,
) -> Result<Option<Generation>, Failure> {
    let JournalKind::Upload { digests, local, open, .. } = &entry.kind else { return Ok(None) };
    let key = context.config.prefix.key(&entry.path);
    let Some(head) = head_patiently(context, &key).await? else { return Ok(None) };
    if planted::is(Planted::NonceTrustedAlone) && head.facts.nonce == Some(entry.id) {
        return Ok(Some(head.generation));
    }
    if head.generation.size != digests.size {
        return Ok(None);
    }
    if head.facts.nonce != Some(entry.id) {
        // A copy that the bucket made of another object carries what that one did.
        let is_it = same_as_generation(digests, &head.generation, Some(&head.facts)) == Identity::Same
            && tells_of(context, &head.facts, *local)
            && !open;
        return Ok(is_it.then_some(head.generation));
    }
    if expected_etag == Some(head.generation.etag.as_str()) {
        return Ok(Some(head.generation));
    }
    match same_as_generation(digests, &head.generation, Some(&head.facts)) {
        Identity::Same => Ok(Some(head.generation)),
        Identity::Differs => Ok(None),
        // The headers are ours, and nothing that the store computed tells: read it.
        Identity::Unknown(_) => {
            let same = content_hash(context, &key, &head.generation).await? == Some(digests.blake3);
            Ok(same.then_some(head.generation))
        }
    }
}

/// HEAD, a few times: a look may be repeated freely.
pub async fn head_patiently(context: &Context, key: &str) -> Result<Option<crate::ports::store::Head>, Failure> {
    let mut attempt = 0;
    loop {
        match context.ports.store.head(key).await {
            Ok(head) => return Ok(head),
            Err(error) if error.is_transient() && attempt < context.config.limits.retries_max => {
                attempt += 1;
                context.ports.clock.sleep_ms(backoff_ms(attempt)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads the object through; `None` when it is another one by now.
async fn content_hash(
    context: &Context,
    key: &str,
    generation: &Generation,
) -> Result<Option<gosync_plan::ContentHash>, Failure> {
    let request =
        GetRequest { key: key.to_owned(), etag: Some(generation.etag.clone()), version_id: None, range: None };
    let mut body = match context.ports.store.get(request).await {
        Ok(body) => body,
        Err(error) if matches!(error.kind, StoreErrorKind::PreconditionFailed | StoreErrorKind::NotFound) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let mut digester = Digester::new(Wanted::default());
    while let Some(chunk) = body.chunk().await? {
        digester.update(&chunk);
    }
    Ok(Some(digester.finish().blake3))
}

/// Finishes a journalled upload whose outcome was unknown.
pub async fn finish_unresolved(context: &Context, entry: JournalEntry) -> Outcome {
    match resolve(context, &entry, None).await {
        // Nobody has deleted or reverted it: the next look finds an object that isn't here.
        Ok(Some(_)) if is_taken_back(context, &entry).await => match end_without_effect(context, &entry).await {
            Ok(()) => Outcome::Again,
            Err(failure) => unresolved(entry, failure),
        },
        Ok(Some(generation)) => acknowledged(context, &entry, generation).await.unwrap_or_else(|outcome| outcome),
        Ok(None) => match end_without_effect(context, &entry).await {
            Ok(()) => Outcome::Again,
            Err(failure) => unresolved(entry, failure),
        },
        Err(failure) => unresolved(entry, failure),
    }
}

/// The end of the last run took the file that was sent, or brought back the one before it: a power loss does that to what
/// was not durable yet, and another volume never had it.
async fn is_taken_back(context: &Context, entry: &JournalEntry) -> bool {
    let JournalKind::Upload { local, .. } = &entry.kind else { return false };
    if !context.shared.was_recovered(entry.id) || entry.path.is_marker() {
        return false;
    }
    let path = entry.path.as_str().to_owned();
    let found = context.local(move |tree| tree.stat(&path)).await;
    let before = context.ancestor(&entry.path).await;
    match (found, before) {
        (Ok(Ok(stat)), Ok(before)) => {
            let is = |file: &Fingerprint| stat.fingerprint.same_but_ctime(file);
            !is(local) && before.is_some_and(|before| is(&before.fingerprint))
        }
        _ => true,
    }
}

pub fn unresolved(entry: JournalEntry, failure: Failure) -> Outcome {
    match failure {
        Failure::Killed => Outcome::Failed(Failure::Killed),
        failure => Outcome::Unresolved(Box::new(entry), failure),
    }
}

async fn end_without_effect(context: &Context, entry: &JournalEntry) -> Result<(), Failure> {
    if matches!(&entry.kind, JournalKind::Upload { digests, .. } if digests.size > context.config.limits.part_bytes) {
        abort_unnoted(context, &context.config.prefix.key(&entry.path)).await?;
    }
    context.record(vec![StateChange::End(entry.id)], Vec::new()).await?;
    Ok(())
}

/// The store may have begun an upload whose id was never noted here. It has no parts, which tells it from those that
/// somebody else has under way (who begins again if this was one of theirs, after all).
async fn abort_unnoted(context: &Context, key: &str) -> Result<(), Failure> {
    let store = &context.ports.store;
    let noted = context.ports.state.uploads().await?;
    let pending = match store.list_uploads(key).await {
        Ok(pending) => pending,
        Err(error) if error.is_of_the_store() || error.kind == StoreErrorKind::Killed => return Err(error.into()),
        // A store that doesn't tell keeps what it has.
        Err(_) => return Ok(()),
    };
    let unnoted = |upload: &str| noted.iter().all(|row| row.upload != upload);
    for upload in pending.into_iter().filter(|pending| pending.key == key && unnoted(&pending.upload)) {
        if store.list_parts(key, &upload.upload).await.is_ok_and(|parts| parts.is_empty()) {
            store.abort_upload(key, &upload.upload).await.ok();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    #[test]
    fn no_file_makes_more_parts_than_a_store_takes() {
        for (size, configured, expected) in [
            (6 * MIB, 5 * MIB, 5 * MIB),
            (10_000 * 5 * MIB, 5 * MIB, 5 * MIB),
            (10_000 * 5 * MIB + 1, 5 * MIB, 5 * MIB + 1),
            (10_001 * 5 * MIB, 5 * MIB, 5_243_405),
            (10_001 * 64 * MIB, 64 * MIB, 67_115_575),
            (5 << 40, 5 * MIB, 549_755_814),
        ] {
            let part = part_bytes(size, configured);
            assert_eq!(part, expected, "{size}");
            assert!(size.div_ceil(part) <= PARTS_MAX && (5 * MIB..=5 * GIB).contains(&part), "{size}");
        }
    }
}
