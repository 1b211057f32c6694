//! `provision`: takes over the keys of a prefix into the metadata by listing alone: no GET, no PUT, one page in memory.
//!
//! May run beside writers: what it records is what a listing said, and the metadata keeps the newer version. Cut off, it
//! goes on after the last page whose keys were recorded, if it is asked again within a day.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gosync_api::config::{RemotePath, S3};
use gosync_api::messages::{ErrorBody, ErrorCode, OddKey, Progress, ProvisionRequest, Provisioned};
use gosync_engine::ports::metadata::{Expected, FileChange, FilesQuery};
use gosync_engine::ports::store::{ListPage, ListRequest, Listed};
use gosync_engine::ports::{FileRow, MetadataStore, ObjectStore, StoreErrorKind};
use gosync_plan::Prefix;
use serde::{Deserialize, Serialize};

use crate::agent::{Agent, internal};
use crate::chain::chain;
use crate::ports::utc_ms;
use crate::socket::Lines;

/// Odd keys that are named.
const ODD_MAX: usize = 20;
const ROWS: usize = 1_000;
/// An older note is no place to go on from.
const NOTE_AGE_MS: i64 = 24 * 3_600 * 1_000;
const RETRY: Duration = Duration::from_millis(500);
/// Who wrote a row that no replica did.
const WRITER: &str = "provision";
/// Stands behind every key of a folder.
const LAST: char = char::MAX;

pub async fn provision(agent: &Agent, request: &ProvisionRequest, lines: &Lines) -> Result<Provisioned, ErrorBody> {
    let path: RemotePath = request
        .s3_path
        .parse()
        .map_err(|wrong: gosync_api::config::Wrong| ErrorBody::new(ErrorCode::BadRequest, wrong.what, wrong.hint))?;
    let bucket = path.bucket.clone().unwrap_or_else(|| agent.config().s3.bucket.clone());
    if bucket.is_empty() {
        let message = "the config names no bucket";
        return Err(ErrorBody::new(ErrorCode::BadRequest, message, "write s3://bucket/prefix"));
    }
    let s3 = settings(agent, &bucket);
    let store =
        agent.parts.stores.get(&s3, &agent.config().sync.bandwidth).await.map_err(|error| {
            ErrorBody::new(ErrorCode::Unavailable, chain(&error), "check the s3 section of the config")
        })?;
    let endpoint = match &agent.parts.store_identity {
        Some(identity) => identity.clone(),
        None => s3.resolve_endpoint().map(|endpoint| endpoint.identity).unwrap_or_default(),
    };
    let metadata: Arc<dyn MetadataStore> = agent.metadata.clone();
    let row = match request.dry_run {
        // No store has this number: it has no rows either.
        true => metadata.known_store(&endpoint, &bucket).await.map(|row| row.map_or(-1, |row| row.id)),
        false => metadata.store(&endpoint, &bucket).await.map(|row| row.id),
    };
    let row = row.map_err(|error| internal(&error))?;
    let remote = format!("s3://{bucket}/{}", path.prefix.trim_end_matches('/'));
    let notes = Notes { path: agent.parts.data_dir.join("provision.json"), key: format!("{endpoint} {remote}") };
    let found = if request.dry_run { None } else { notes.read() };
    let note = match found {
        Some(note) if note.recursive == request.recursive => {
            lines.note(format!("going on after {} keys of an earlier provision", note.so_far.keys));
            note
        }
        _ => Note { recursive: request.recursive, ..Note::default() },
    };
    let so_far = Provisioned { s3_path: remote, dry_run: request.dry_run, ..note.so_far };
    let work = Work {
        known: KnownRows::new(Arc::clone(&metadata), row, &path.prefix, note.after.clone()),
        prefix: Prefix::new(&path.prefix),
        retries_max: agent.config().sync.max_retries,
        recursive: request.recursive,
        dry_run: request.dry_run,
        store,
        metadata,
        row,
        notes,
        so_far,
        after: note.after,
    };
    work.run(lines).await
}

/// A mirror may reach this bucket with other settings than the agent's own.
fn settings(agent: &Agent, bucket: &str) -> S3 {
    let mirrors = agent.mirrors();
    match mirrors.iter().find(|mirror| mirror.config.s3.bucket == bucket) {
        Some(mirror) => mirror.config.s3.clone(),
        None => S3 { bucket: bucket.to_owned(), ..agent.config().s3.clone() },
    }
}

struct Work {
    store: Arc<dyn ObjectStore>,
    metadata: Arc<dyn MetadataStore>,
    row: i64,
    prefix: Prefix,
    recursive: bool,
    dry_run: bool,
    retries_max: u32,
    known: KnownRows,
    notes: Notes,
    so_far: Provisioned,
    /// The last key that was seen.
    after: Option<String>,
}

impl Work {
    async fn run(mut self, lines: &Lines) -> Result<Provisioned, ErrorBody> {
        let mut token = None;
        loop {
            let page = self.page(token).await?;
            let last_page = page.next.is_none();
            let skip = self.take(page.objects).await?;
            if !self.dry_run {
                self.notes.write(&Note {
                    after: self.after.clone(),
                    recursive: self.recursive,
                    so_far: self.so_far.clone(),
                    written_ms: utc_ms(),
                });
            }
            lines.progress(Progress {
                step: "listing".to_owned(),
                files: self.so_far.keys,
                bytes: self.so_far.bytes,
                ..Progress::default()
            });
            if last_page && !skip {
                break;
            }
            // Over what lies deeper, the listing begins anew after it.
            token = if skip { None } else { page.next };
        }
        if !self.dry_run {
            self.notes.clear();
        }
        Ok(self.so_far)
    }

    /// A look has no effect: it can be repeated.
    async fn page(&mut self, token: Option<String>) -> Result<ListPage, ErrorBody> {
        let mut attempts = 0;
        loop {
            let request = ListRequest {
                prefix: self.prefix.as_str().to_owned(),
                start_after: if token.is_none() { self.after.clone() } else { None },
                token: token.clone(),
                page_keys_max: 0,
            };
            self.so_far.list_requests += 1;
            match self.store.list(request).await {
                Ok(page) => return Ok(page),
                Err(error) if error.is_transient() && attempts < self.retries_max => {
                    attempts += 1;
                    tokio::time::sleep(RETRY * 2_u32.saturating_pow(attempts)).await;
                }
                Err(error) => {
                    let hint = match error.kind {
                        StoreErrorKind::Credentials | StoreErrorKind::Denied => "check access_key and secret_key",
                        StoreErrorKind::NoSuchBucket => "check the bucket's name",
                        _ => "run it again: it goes on where it was cut off",
                    };
                    return Err(ErrorBody::new(ErrorCode::Unavailable, chain(&error), hint));
                }
            }
        }
    }

    /// Records a page. True: the listing is to begin anew after `after`, over a folder that is not wanted.
    async fn take(&mut self, objects: Vec<Listed>) -> Result<bool, ErrorBody> {
        let mut changes = Vec::new();
        let mut skip = false;
        for object in objects {
            if self.after.as_ref().is_some_and(|after| *after >= object.key) {
                let message = format!("the store's listing is out of order at {:?}", object.key);
                return Err(ErrorBody::new(ErrorCode::Unavailable, message, "run it again"));
            }
            if !self.recursive
                && let Some(folder) = deeper(&self.prefix, &object.key)
            {
                self.after = Some(format!("{folder}{LAST}"));
                skip = true;
                break;
            }
            self.after = Some(object.key.clone());
            self.one(object, &mut changes).await?;
        }
        if !changes.is_empty() && !self.dry_run {
            self.metadata.record(self.row, WRITER, changes).await.map_err(|error| internal(&error))?;
        }
        Ok(skip)
    }

    async fn one(&mut self, object: Listed, changes: &mut Vec<FileChange>) -> Result<(), ErrorBody> {
        if object.key.starts_with(&self.prefix.own_folder()) {
            return Ok(());
        }
        self.so_far.keys += 1;
        self.so_far.bytes += object.generation.size;
        if let Some(Err(problem)) = self.prefix.path(&object.key) {
            self.so_far.odd_keys += 1;
            if self.so_far.odd_first.len() < ODD_MAX {
                self.so_far.odd_first.push(OddKey { key: object.key, reason: problem.to_string() });
            }
            return Ok(());
        }
        match self.known.find(&object.key).await? {
            Some(row) if row.etag == object.generation.etag && row.size == object.generation.size => return Ok(()),
            Some(_) => self.so_far.updated += 1,
            None => self.so_far.added += 1,
        }
        changes.push(FileChange::Put {
            key: object.key,
            expects: Expected::Any,
            generation: object.generation,
            content: None,
            modified_ns: None,
            mode: None,
            mime_type: None,
        });
        Ok(())
    }
}

/// The folder below the prefix that the key lies in, `/` included.
fn deeper(prefix: &Prefix, key: &str) -> Option<String> {
    let rest = key.strip_prefix(prefix.as_str())?;
    let (folder, _) = rest.split_once('/')?;
    Some(format!("{}{folder}/", prefix.as_str()))
}

/// The rows of a prefix, walked along with the listing.
struct KnownRows {
    metadata: Arc<dyn MetadataStore>,
    query: FilesQuery,
    rows: VecDeque<FileRow>,
    ended: bool,
}

impl KnownRows {
    fn new(metadata: Arc<dyn MetadataStore>, store: i64, prefix: &str, after: Option<String>) -> Self {
        let query = FilesQuery { store, prefix: prefix.to_owned(), deleted: false, after, limit: ROWS };
        Self { metadata, query, rows: VecDeque::new(), ended: false }
    }

    /// Keys are asked for in ascending order.
    async fn find(&mut self, key: &str) -> Result<Option<FileRow>, ErrorBody> {
        loop {
            while let Some(row) = self.rows.front() {
                match row.s3_key.as_str().cmp(key) {
                    Ordering::Less => drop(self.rows.pop_front()),
                    Ordering::Equal => return Ok(self.rows.pop_front()),
                    Ordering::Greater => return Ok(None),
                }
            }
            if self.ended {
                return Ok(None);
            }
            let rows = self.metadata.files(self.query.clone()).await.map_err(|error| internal(&error))?;
            self.ended = rows.len() < ROWS;
            if let Some(last) = rows.last() {
                self.query.after = Some(last.s3_key.clone());
            }
            self.rows = rows.into();
        }
    }
}

/// Where provisions that were cut off go on, by store and prefix.
struct Notes {
    path: PathBuf,
    key: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    after: Option<String>,
    recursive: bool,
    so_far: Provisioned,
    written_ms: i64,
}

impl Notes {
    fn all(&self) -> BTreeMap<String, Note> {
        // Without its note a provision begins at the beginning.
        std::fs::read(&self.path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn read(&self) -> Option<Note> {
        self.all().remove(&self.key).filter(|note| utc_ms() - note.written_ms < NOTE_AGE_MS)
    }

    fn write(&self, note: &Note) {
        let mut all = self.all();
        all.insert(self.key.clone(), note.clone());
        self.keep(&all);
    }

    fn clear(&self) {
        let mut all = self.all();
        all.remove(&self.key);
        self.keep(&all);
    }

    fn keep(&self, all: &BTreeMap<String, Note>) {
        let new = self.path.with_extension("new");
        let kept = serde_json::to_vec(all)
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(&new, text))
            .and_then(|()| std::fs::rename(&new, &self.path));
        if let Err(error) = kept {
            tracing::warn!(path = %self.path.display(), %error, "the note of a provision can't be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    #[test]
    fn a_key_below_a_folder_names_the_folder() {
        let prefix = Prefix::new("docs");
        assert_eq!(deeper(&prefix, "docs/a/b/c").as_deref(), Some("docs/a/"));
        assert_eq!(deeper(&prefix, "docs/a"), None);
        assert_eq!(deeper(&Prefix::new(""), "a/b").as_deref(), Some("a/"));
    }

    #[test]
    fn a_note_is_found_again_until_it_is_old_or_done() {
        let folder = tempfile::tempdir().unwrap();
        let notes = |key: &str| Notes { path: folder.path().join("provision.json"), key: key.into() };
        let note = |written_ms| Note { after: Some("k".into()), written_ms, ..Note::default() };
        notes("a").write(&note(utc_ms()));
        notes("b").write(&note(utc_ms() - NOTE_AGE_MS));
        assert_eq!(notes("a").read().unwrap().after.as_deref(), Some("k"));
        assert!(notes("b").read().is_none());
        notes("a").clear();
        assert!(notes("a").read().is_none());
    }
}
