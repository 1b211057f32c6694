//! Pages of a bucket's keys or versions, in the order of their bytes.
//!
//! A page is read by seeking: behind the last entry, and past everything below a common prefix. Memory and work are
//! bounded by the page, whatever the bucket holds.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as TOKEN;
use s3s::dto::{
    CommonPrefix, DeleteMarkerEntry, EncodingType, ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput,
    ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object, ObjectStorageClass, ObjectVersion,
    ObjectVersionStorageClass,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::buckets::owner;
use crate::faults::{Chosen, Effect};
use crate::index;
use crate::reply;
use crate::store::Store;

/// Rows read at a time where common prefixes may skip most of what is read: fewer after a prefix was met at the end
/// of what was read, more after a key.
const SEEK_ROWS_MIN: usize = 4;
const SEEK_ROWS_FIRST: usize = 64;

const CURRENT: &str = "
    SELECT id, key, name, latest, marker, size, etag, modified_ms FROM versions INDEXED BY versions_current
    WHERE bucket = $1 AND key >= $2 AND key < $3 AND (key > $2 OR id < $4) AND latest = 1 AND marker = 0
    ORDER BY key LIMIT $5";
const ALL: &str = "
    SELECT id, key, name, latest, marker, size, etag, modified_ms FROM versions INDEXED BY versions_by_key
    WHERE bucket = $1 AND key >= $2 AND key < $3 AND (key > $2 OR id < $4)
    ORDER BY key, id DESC LIMIT $5";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Current,
    All,
}

/// Where a page begins: at this key, its versions below this id only.
#[derive(Clone)]
struct Start {
    key: Vec<u8>,
    below: i64,
}

impl Start {
    fn at(key: Vec<u8>) -> Self {
        Self { key, below: i64::MAX }
    }

    fn behind_key(key: Vec<u8>) -> Self {
        Self { key, below: 0 }
    }

    fn behind_prefix(prefix: &[u8]) -> Self {
        Self::at(behind(prefix))
    }
}

/// The least key that doesn't begin with `prefix` and comes after all that do.
pub fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut bound = prefix.to_vec();
    while let Some(last) = bound.pop() {
        if last < u8::MAX {
            bound.push(last + 1);
            return bound;
        }
    }
    // No key of UTF-8 has this byte: behind everything.
    vec![u8::MAX]
}

#[derive(Clone)]
struct Listed {
    id: i64,
    key: Vec<u8>,
    name: String,
    latest: bool,
    marker: bool,
    size: i64,
    etag: String,
    modified_ms: i64,
}

impl Listed {
    fn from(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get(0)?,
            key: row.try_get(1)?,
            name: row.try_get(2)?,
            latest: row.try_get(3)?,
            marker: row.try_get(4)?,
            size: row.try_get(5)?,
            etag: row.try_get(6)?,
            modified_ms: row.try_get(7)?,
        })
    }
}

#[derive(Clone)]
enum Entry {
    Version(Listed),
    Prefix(Vec<u8>),
}

struct Ask<'a> {
    scope: Scope,
    bucket: i64,
    prefix: &'a [u8],
    delimiter: &'a [u8],
    start: Option<Start>,
    limit: usize,
}

impl Ask<'_> {
    fn common_prefix<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        if self.delimiter.is_empty() {
            return None;
        }
        let rest = key.get(self.prefix.len()..)?;
        let at = rest.windows(self.delimiter.len()).position(|window| window == self.delimiter)?;
        key.get(..self.prefix.len() + at + self.delimiter.len())
    }

    /// Behind a marker that a client made up or got from an earlier page: a common prefix is skipped as a whole.
    fn behind_marker(&self, marker: &[u8]) -> Start {
        if marker.starts_with(self.prefix) && self.common_prefix(marker) == Some(marker) {
            return Start::behind_prefix(marker);
        }
        Start::behind_key(marker.to_vec())
    }

    async fn page(&self, conn: &mut SqliteConnection) -> S3Result<Page> {
        let mut entries: Vec<Entry> = Vec::new();
        let end = behind(self.prefix);
        let mut start = Start::at(self.prefix.to_vec());
        if let Some(asked) = self.start.as_ref().filter(|asked| asked.key >= start.key) {
            start = asked.clone();
        }
        let wanted = if self.limit == 0 { 0 } else { self.limit + 1 };
        let mut step = if self.delimiter.is_empty() { wanted } else { SEEK_ROWS_FIRST };
        while entries.len() < wanted && start.key < end {
            let limit = step.min(wanted - entries.len());
            let sql = if self.scope == Scope::Current { CURRENT } else { ALL };
            let rows = sqlx::query(sql)
                .bind(self.bucket)
                .bind(start.key.as_slice())
                .bind(end.as_slice())
                .bind(start.below)
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(&mut *conn)
                .await
                .map_err(S3Error::internal_error)?;
            let full = rows.len() == limit;
            for row in rows {
                let row = Listed::from(&row).map_err(S3Error::internal_error)?;
                if row.key < start.key {
                    continue; // below the common prefix just noted
                }
                match self.common_prefix(&row.key) {
                    Some(prefix) => {
                        start = Start::behind_prefix(prefix);
                        entries.push(Entry::Prefix(prefix.to_vec()));
                    }
                    None => {
                        start = Start { key: row.key.clone(), below: row.id };
                        entries.push(Entry::Version(row));
                    }
                }
                if entries.len() == wanted {
                    break;
                }
            }
            if !full {
                break;
            }
            step = match entries.last() {
                Some(Entry::Prefix(_)) => (step / 4).max(SEEK_ROWS_MIN),
                _ => step.saturating_mul(4),
            };
        }
        let truncated = wanted > 0 && entries.len() == wanted;
        entries.truncate(self.limit);
        let last = entries.last().cloned();
        Ok(Page { entries, last: last.filter(|_| truncated), truncated })
    }
}

struct Page {
    entries: Vec<Entry>,
    /// What the next page begins behind.
    last: Option<Entry>,
    truncated: bool,
}

impl Page {
    /// Makes the page lie, where a fault asks for it.
    fn distort(&mut self, chosen: &Chosen) {
        for effect in chosen.iter() {
            match effect {
                Effect::DropKeys { every } => {
                    let mut position = 0;
                    self.entries.retain(|_| {
                        position += 1;
                        position % every.max(&1) != 0
                    });
                }
                Effect::DuplicateKeys => {
                    if let Some(first) = self.entries.first().cloned() {
                        self.entries.insert(0, first);
                    }
                }
                Effect::DisorderKeys => self.entries.reverse(),
                Effect::EndEarly => (self.truncated, self.last) = (false, None),
                Effect::EmptyPage => *self = Self { entries: Vec::new(), last: None, truncated: false },
                _ => {}
            }
        }
    }
}

/// How keys are written into an answer.
#[derive(Clone, Copy)]
pub struct Writing {
    url: bool,
}

impl Writing {
    pub fn new(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self { url: false }),
            Some(EncodingType::URL) => Ok(Self { url: true }),
            Some(_) => Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request")),
        }
    }

    pub fn key(self, key: &[u8]) -> String {
        if !self.url {
            return String::from_utf8_lossy(key).into_owned();
        }
        let mut text = String::with_capacity(key.len());
        for byte in key {
            if byte.is_ascii_alphanumeric() || b"-_.~/".contains(byte) {
                text.push(char::from(*byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
        text
    }

    pub fn option(self, key: Option<&String>) -> Option<String> {
        key.map(|key| self.key(key.as_bytes()))
    }
}

pub fn page_limit(asked: Option<i32>, most: usize, name: &str) -> S3Result<usize> {
    let asked = asked.map_or(Ok(most), usize::try_from);
    let asked =
        asked.map_err(|_| s3_error!(InvalidArgument, "Argument {name} must be an integer between 0 and 2147483647"))?;
    Ok(asked.min(most))
}

fn shown(limit: usize) -> Option<i32> {
    i32::try_from(limit).ok()
}

fn token_of(entry: &Entry) -> String {
    let (tag, key) = match entry {
        Entry::Version(row) => (b'k', &row.key),
        Entry::Prefix(prefix) => (b'p', prefix),
    };
    TOKEN.encode([&[tag], key.as_slice()].concat())
}

fn start_of(token: &str) -> S3Result<Start> {
    let bytes = TOKEN.decode(token).ok();
    match bytes.as_deref().and_then(<[u8]>::split_first) {
        Some((b'k', key)) => Ok(Start::behind_key(key.to_vec())),
        Some((b'p', prefix)) => Ok(Start::behind_prefix(prefix)),
        _ => Err(s3_error!(InvalidArgument, "The continuation token provided is incorrect")),
    }
}

fn contents(entries: &[Entry], writing: Writing, with_owner: bool) -> Vec<Object> {
    let rows = entries.iter().filter_map(|entry| match entry {
        Entry::Version(row) => Some(row),
        Entry::Prefix(_) => None,
    });
    rows.map(|row| Object {
        e_tag: Some(reply::etag(&row.etag)),
        key: Some(writing.key(&row.key)),
        last_modified: Some(reply::time(row.modified_ms)),
        owner: with_owner.then(owner),
        size: Some(row.size),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Default::default()
    })
    .collect()
}

fn prefixes(entries: &[Entry], writing: Writing) -> Option<Vec<CommonPrefix>> {
    let all: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Version(_) => None,
            Entry::Prefix(prefix) => Some(CommonPrefix { prefix: Some(writing.key(prefix)) }),
        })
        .collect();
    (!all.is_empty()).then_some(all)
}

pub async fn objects_v2(
    store: &Store,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let chosen = Chosen::of(&request);
    let input = request.input;
    let writing = Writing::new(input.encoding_type.as_ref())?;
    let limit = page_limit(input.max_keys, store.options.page_size_max, "max-keys")?;
    let mut tx = store.index.read().await?;
    let bucket = index::bucket(&mut tx, &input.bucket).await?;
    let mut ask = Ask {
        scope: Scope::Current,
        bucket: bucket.id,
        prefix: input.prefix.as_deref().unwrap_or_default().as_bytes(),
        delimiter: input.delimiter.as_deref().unwrap_or_default().as_bytes(),
        start: None,
        limit,
    };
    ask.start = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => Some(start_of(token)?),
        (None, Some(after)) if !after.is_empty() => Some(ask.behind_marker(after.as_bytes())),
        _ => None,
    };
    let mut page = ask.page(&mut tx).await?;
    page.distort(&chosen);
    Ok(S3Response::new(ListObjectsV2Output {
        key_count: shown(page.entries.len()),
        contents: Some(contents(&page.entries, writing, input.fetch_owner.unwrap_or(false))),
        common_prefixes: prefixes(&page.entries, writing),
        is_truncated: Some(page.truncated),
        next_continuation_token: page.last.as_ref().map(token_of),
        max_keys: shown(limit),
        prefix: Some(writing.key(ask.prefix)),
        delimiter: writing.option(input.delimiter.as_ref()),
        start_after: writing.option(input.start_after.as_ref()),
        continuation_token: input.continuation_token,
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        request_charged: None,
    }))
}

pub async fn objects_v1(
    store: &Store,
    request: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let chosen = Chosen::of(&request);
    let input = request.input;
    let writing = Writing::new(input.encoding_type.as_ref())?;
    let limit = page_limit(input.max_keys, store.options.page_size_max, "max-keys")?;
    let mut tx = store.index.read().await?;
    let bucket = index::bucket(&mut tx, &input.bucket).await?;
    let mut ask = Ask {
        scope: Scope::Current,
        bucket: bucket.id,
        prefix: input.prefix.as_deref().unwrap_or_default().as_bytes(),
        delimiter: input.delimiter.as_deref().unwrap_or_default().as_bytes(),
        start: None,
        limit,
    };
    ask.start =
        input.marker.as_ref().filter(|marker| !marker.is_empty()).map(|marker| ask.behind_marker(marker.as_bytes()));
    let mut page = ask.page(&mut tx).await?;
    page.distort(&chosen);
    // Without a delimiter the last key of the page is the next marker, and goes without saying.
    let last = page.last.as_ref().filter(|_| !ask.delimiter.is_empty());
    let next_marker = last.map(|last| match last {
        Entry::Version(row) => writing.key(&row.key),
        Entry::Prefix(prefix) => writing.key(prefix),
    });
    Ok(S3Response::new(ListObjectsOutput {
        contents: Some(contents(&page.entries, writing, true)),
        common_prefixes: prefixes(&page.entries, writing),
        is_truncated: Some(page.truncated),
        next_marker,
        max_keys: shown(limit),
        prefix: Some(writing.key(ask.prefix)),
        delimiter: writing.option(input.delimiter.as_ref()),
        marker: Some(writing.key(input.marker.as_deref().unwrap_or_default().as_bytes())),
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        request_charged: None,
    }))
}

pub async fn versions(
    store: &Store,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let chosen = Chosen::of(&request);
    let input = request.input;
    let writing = Writing::new(input.encoding_type.as_ref())?;
    let limit = page_limit(input.max_keys, store.options.page_size_max, "max-keys")?;
    let mut tx = store.index.read().await?;
    let bucket = index::bucket(&mut tx, &input.bucket).await?;
    let mut ask = Ask {
        scope: Scope::All,
        bucket: bucket.id,
        prefix: input.prefix.as_deref().unwrap_or_default().as_bytes(),
        delimiter: input.delimiter.as_deref().unwrap_or_default().as_bytes(),
        start: None,
        limit,
    };
    ask.start = match (&input.key_marker, &input.version_id_marker) {
        (None, Some(_)) => {
            return Err(s3_error!(InvalidArgument, "A version-id marker cannot be specified without a key marker."));
        }
        (Some(key), Some(name)) if !name.is_empty() => {
            let (_, version) = index::named(&mut tx, &input.bucket, key, name).await?;
            let version = version.ok_or_else(|| s3_error!(InvalidArgument, "Invalid version id specified"))?;
            Some(Start { key: key.as_bytes().to_vec(), below: version.id })
        }
        (Some(key), _) if !key.is_empty() => Some(ask.behind_marker(key.as_bytes())),
        _ => None,
    };
    let mut page = ask.page(&mut tx).await?;
    page.distort(&chosen);
    let (next_key_marker, next_version_id_marker) = match &page.last {
        None => (None, None),
        Some(Entry::Version(row)) => (Some(writing.key(&row.key)), Some(row.name.clone())),
        Some(Entry::Prefix(prefix)) => (Some(writing.key(prefix)), None),
    };
    let (mut versions, mut markers) = (Vec::new(), Vec::new());
    for entry in &page.entries {
        match entry {
            Entry::Version(row) if row.marker => markers.push(DeleteMarkerEntry {
                is_latest: Some(row.latest),
                key: Some(writing.key(&row.key)),
                last_modified: Some(reply::time(row.modified_ms)),
                owner: Some(owner()),
                version_id: Some(row.name.clone()),
            }),
            Entry::Version(row) => versions.push(ObjectVersion {
                e_tag: Some(reply::etag(&row.etag)),
                is_latest: Some(row.latest),
                key: Some(writing.key(&row.key)),
                last_modified: Some(reply::time(row.modified_ms)),
                owner: Some(owner()),
                size: Some(row.size),
                storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
                version_id: Some(row.name.clone()),
                ..Default::default()
            }),
            Entry::Prefix(_) => {}
        }
    }
    Ok(S3Response::new(ListObjectVersionsOutput {
        common_prefixes: prefixes(&page.entries, writing),
        versions: Some(versions),
        delete_markers: Some(markers),
        is_truncated: Some(page.truncated),
        next_key_marker,
        next_version_id_marker,
        max_keys: shown(limit),
        prefix: Some(writing.key(ask.prefix)),
        delimiter: writing.option(input.delimiter.as_ref()),
        key_marker: Some(writing.key(input.key_marker.as_deref().unwrap_or_default().as_bytes())),
        version_id_marker: input.version_id_marker,
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        request_charged: None,
    }))
}
