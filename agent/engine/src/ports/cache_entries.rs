//! What stands in the cache of one store: the names of entries, what is in them, and which are believed.
//!
//! All entries are named by the epoch of the metadata, and sealed with a key made of it: those who share the metadata share
//! them, and who can't read it can't forge them.
//!
//! * **Contents** stand for one generation of a key: what its object carries beside its bytes, and the bytes. One is handed
//!   out only when its bytes are what the asker expects by BLAKE3, or by an ETag that is an MD5.
//! * **Rows and listings** carry the sequence that the feed had reached before they were read, and are ignored when the
//!   asker knows of a later change. A listing is good for one point of the feed alone.
//!
//! Whatever reads otherwise (cut, of another release, sealed with another key, planted) is a miss. Who fills has verified.

use std::sync::Arc;

use blake3::Hasher;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::stream::BoxStream;
use gosync_plan::{ContentHash, Generation, ObjectFacts};
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use super::cache::{Cache, CacheError, CacheErrorKind, CacheLimits, NewEntry, Wanted};
use super::metadata::{FileRow, FilesQuery};
use crate::planted::{self, Planted};

/// Changes with what is in an entry: another release then finds none of ours.
const FORMAT: &str = "2";
const HASH_BYTES: usize = 32;
/// Before the bytes of a content: how long what is sealed is, and what is sealed.
const LENGTH_BYTES: usize = 4;
const FACTS_BYTES_MAX: usize = 4 << 10;
const ROW_BYTES_MAX: u64 = 16 << 10;
const LISTING_BYTES_MAX: u64 = 4 << 20;
/// Whoever wants to fetch a content that the cache hasn't got has so long for it until the others fetch it, too.
pub const CLAIM_MS: u64 = 2_000;
/// How long the mark of a change keeps rows from being filled that were read before it. Longer than any fill takes.
const CHANGED_MS: u64 = 10_000;
/// Whoever read a row from the database longer ago does not fill it any more.
pub const FILL_WITHIN_MS: u64 = 5_000;

/// The cache, for the entries of one store.
#[derive(Clone)]
pub struct StoreCache {
    cache: Arc<dyn Cache>,
    /// Made of the epoch.
    seal: [u8; HASH_BYTES],
}

/// The content of one generation of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentWanted {
    pub key: String,
    pub generation: Generation,
    /// What the content is known to be: by the feed or by an ancestor, never by the cache. Without it the ETag has to be
    /// the MD5 of the content, or the cache is not asked.
    pub content: Option<ContentHash>,
}

/// An object that was read and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub bytes: Bytes,
    pub blake3: ContentHash,
    pub facts: ObjectFacts,
}

/// A row that an asker may take for the database's.
#[derive(Clone, Debug, PartialEq)]
pub enum RowFound {
    /// `None`: there is no such row.
    Row(Option<Box<FileRow>>),
    /// To be read from the database and filled.
    Miss,
    /// It has just been changed: to be read from the database, and not to be filled.
    Changed,
}

/// A point of the feed: the same one has the same rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedHead {
    pub sequence: u64,
    /// Of the change with this number; empty where there is none.
    pub row_id: String,
}

#[derive(Serialize, Deserialize)]
enum RowEntry {
    Row { as_of: u64, row: Option<Box<FileRow>> },
    Changed,
}

impl StoreCache {
    /// The epoch: that of the store in its metadata, random and no other store's.
    #[must_use]
    pub fn new(cache: Arc<dyn Cache>, epoch: &str) -> Self {
        Self { cache, seal: blake3::derive_key("gosync 2026-11 entries in the cache", epoch.as_bytes()) }
    }

    #[must_use]
    pub fn limits(&self) -> CacheLimits {
        self.cache.limits()
    }

    // ---- contents ---------------------------------------------------------------------------------------------

    /// True where it makes sense to ask for this content, or to fill it: not too large, and there is a proof for it.
    #[must_use]
    pub fn takes(&self, wanted: &ContentWanted) -> bool {
        wanted.generation.size <= self.limits().content_bytes_max
            && (wanted.content.is_some() || md5_of_etag(&wanted.generation.etag).is_some())
    }

    /// One answer per content, in their order: exactly what was expected, or none.
    pub async fn contents(&self, wanted: &[ContentWanted]) -> Vec<Option<Content>> {
        let asked: Vec<usize> = (0..wanted.len()).filter(|index| self.takes(&wanted[*index])).collect();
        let keys: Vec<Wanted> = asked
            .iter()
            .map(|index| Wanted {
                key: self.content_key(&wanted[*index]),
                bytes_max: wanted[*index].generation.size + (HASH_BYTES + FACTS_BYTES_MAX) as u64,
            })
            .collect();
        let mut found = vec![None; wanted.len()];
        for (index, entry) in asked.into_iter().zip(self.get(&keys).await) {
            found[index] = entry.and_then(|entry| self.proven(&wanted[index], entry));
        }
        found
    }

    /// Keeps contents that were verified: what each is, and its bytes. One answer each; too large is an error of its own.
    pub async fn fill_contents(&self, verified: Vec<(ContentWanted, Content)>) -> Vec<Result<(), CacheError>> {
        let limits = self.limits();
        let mut entries = Vec::new();
        let mut told = Vec::new();
        for (wanted, content) in verified {
            let size = content.bytes.len() as u64;
            if size > limits.content_bytes_max {
                let what = format!("keeping {:?} ({size} bytes; {} at most)", wanted.key, limits.content_bytes_max);
                told.push(Err(CacheError { kind: CacheErrorKind::TooLarge, what, source: None }));
                continue;
            }
            told.push(Ok(()));
            let key = self.content_key(&wanted);
            // What can't be written down, or is far too long, is not kept.
            let sealed = self.seal(&key, &(content.blake3, &content.facts));
            let Some(sealed) = sealed.filter(|sealed| sealed.len() <= FACTS_BYTES_MAX) else { continue };
            let mut value = BytesMut::with_capacity(LENGTH_BYTES + sealed.len() + content.bytes.len());
            value.put_u32(u32::try_from(sealed.len()).unwrap_or_default());
            value.put_slice(&sealed);
            value.put_slice(&content.bytes);
            entries.push(NewEntry { key, value: value.freeze(), ttl_ms: limits.ttl_ms, only_if_absent: false });
        }
        if !entries.is_empty()
            && let Err(error) = self.cache.set(entries).await
        {
            for result in told.iter_mut().filter(|result| result.is_ok()) {
                *result = Err(CacheError { kind: error.kind, what: error.what.clone(), source: None });
            }
        }
        told
    }

    fn content_key(&self, wanted: &ContentWanted) -> String {
        let Generation { etag, version_id, .. } = &wanted.generation;
        let parts = ["content", &wanted.key, etag, version_id.as_deref().unwrap_or_default()];
        name("c", &self.seal, &parts)
    }

    /// The content, if it is the one that is expected.
    fn proven(&self, wanted: &ContentWanted, mut entry: Bytes) -> Option<Content> {
        let sealed_bytes = u32::from_be_bytes(entry.get(..LENGTH_BYTES)?.try_into().ok()?);
        entry.advance(LENGTH_BYTES);
        let sealed_bytes = usize::try_from(sealed_bytes).ok().filter(|bytes| *bytes <= entry.len())?;
        let sealed = entry.split_to(sealed_bytes);
        let (noted, facts): (ContentHash, ObjectFacts) = self.open(&self.content_key(wanted), &sealed)?;
        let blake3 = ContentHash(*blake3::hash(&entry).as_bytes());
        if planted::is(Planted::CacheTrusted) {
            return Some(Content { bytes: entry, blake3, facts });
        }
        if entry.len() as u64 != wanted.generation.size || blake3 != noted {
            return None;
        }
        let is_expected = match wanted.content {
            Some(expected) => expected == blake3,
            None => md5_of_etag(&wanted.generation.etag)? == <[u8; 16]>::from(Md5::digest(&entry)),
        };
        is_expected.then_some(Content { bytes: entry, blake3, facts })
    }

    /// Who fetches a content that is not there: the names in `claims` that this one has now. The others may wait a moment
    /// for what whoever has them fills; after [`CLAIM_MS`] nobody has one any more.
    pub async fn claim(&self, claims: &[(ContentWanted, String)]) -> Vec<bool> {
        let name_of = |wanted: &ContentWanted| name("f", &self.seal, &["fetching", &self.content_key(wanted)]);
        let entries = claims.iter().map(|(wanted, by)| {
            let value = Bytes::copy_from_slice(by.as_bytes());
            NewEntry { key: name_of(wanted), value, ttl_ms: CLAIM_MS, only_if_absent: true }
        });
        if self.cache.set(entries.collect()).await.is_err() {
            return vec![true; claims.len()];
        }
        let asked: Vec<Wanted> =
            claims.iter().map(|(wanted, by)| Wanted { key: name_of(wanted), bytes_max: by.len() as u64 }).collect();
        let held = self.get(&asked).await;
        // Whatever is not there keeps nobody from fetching.
        held.iter()
            .zip(claims)
            .map(|(held, (_, by))| held.as_deref().is_none_or(|held| held == by.as_bytes()))
            .collect()
    }

    // ---- rows -------------------------------------------------------------------------------------------------

    /// One answer per key, in their order. `at_least`: the sequence of the newest change of the key that the asker knows;
    /// what was read before it is ignored.
    pub async fn rows(&self, wanted: &[(&str, u64)]) -> Vec<RowFound> {
        let keys: Vec<Wanted> = wanted
            .iter()
            .map(|(key, _)| Wanted { key: self.row_key(key), bytes_max: ROW_BYTES_MAX + HASH_BYTES as u64 })
            .collect();
        let entries = self.get(&keys).await;
        let mut found = Vec::new();
        let mut useless = Vec::new();
        for ((Wanted { key: name, .. }, entry), (key, at_least)) in keys.into_iter().zip(entries).zip(wanted) {
            let read = entry.as_ref().map(|entry| self.open::<RowEntry>(&name, entry));
            found.push(match read {
                Some(Some(RowEntry::Row { as_of, row }))
                    if (as_of >= *at_least || planted::is(Planted::CacheTrusted))
                        && row.as_ref().is_none_or(|row| row.s3_key == *key) =>
                {
                    RowFound::Row(row)
                }
                Some(Some(RowEntry::Changed)) => RowFound::Changed,
                Some(_) => {
                    useless.push(name);
                    RowFound::Miss
                }
                None => RowFound::Miss,
            });
        }
        if !useless.is_empty() {
            // Out of the way of those that fill where there is nothing.
            let _ = self.cache.delete(&useless).await;
        }
        let hits = found.iter().filter(|found| matches!(found, RowFound::Row(_))).count();
        self.count(hits as u64, (wanted.len() - hits) as u64);
        found
    }

    /// Keeps what was read from the database within [`FILL_WITHIN_MS`]. `as_of`: a sequence that the feed had reached before
    /// they were read. An entry that is there stays: it may tell of a change since.
    pub async fn fill_rows(&self, as_of: u64, rows: Vec<(String, Option<FileRow>)>) -> Result<(), CacheError> {
        let ttl_ms = self.limits().ttl_ms;
        let entries = rows.into_iter().filter_map(|(key, row)| {
            let key = self.row_key(&key);
            // The feed had reached what the row tells of, too.
            let as_of = row.as_ref().map_or(as_of, |row| row.seq.max(as_of));
            let value = self.seal(&key, &RowEntry::Row { as_of, row: row.map(Box::new) })?;
            let fits = value.len() as u64 <= ROW_BYTES_MAX + HASH_BYTES as u64;
            fits.then_some(NewEntry { key, value, ttl_ms, only_if_absent: true })
        });
        self.cache.set(entries.collect()).await
    }

    /// These rows were changed: nobody is to take what was read before. The error: some may be taken until their time is
    /// over.
    pub async fn rows_changed(&self, keys: &[String]) -> Result<(), CacheError> {
        let names: Vec<String> = keys.iter().map(|key| self.row_key(key)).collect();
        let marks = names.iter().filter_map(|name| {
            let value = self.seal(name, &RowEntry::Changed)?;
            Some(NewEntry { key: name.clone(), value, ttl_ms: CHANGED_MS, only_if_absent: false })
        });
        match self.cache.set(marks.collect()).await {
            // A full server keeps nothing new, but deletes.
            Err(error) if error.kind == CacheErrorKind::Refused => self.cache.delete(&names).await,
            done => done,
        }
    }

    fn row_key(&self, key: &str) -> String {
        name("r", &self.seal, &["row", key])
    }

    // ---- listings ---------------------------------------------------------------------------------------------

    /// What the database answered to this question when the feed was just here.
    pub async fn listing(&self, query: &FilesQuery, head: &FeedHead) -> Option<Vec<FileRow>> {
        let key = self.listing_key(query, head);
        let wanted = Wanted { key: key.clone(), bytes_max: LISTING_BYTES_MAX + HASH_BYTES as u64 };
        let found = self.get(&[wanted]).await.pop().flatten().and_then(|entry| self.open(&key, &entry));
        self.count(u64::from(found.is_some()), u64::from(found.is_none()));
        found
    }

    /// `head`: where the feed was before the rows were read, and after.
    pub async fn fill_listing(&self, query: &FilesQuery, head: &FeedHead, rows: &[FileRow]) -> Result<(), CacheError> {
        let key = self.listing_key(query, head);
        let Some(value) = self.seal(&key, &rows) else { return Ok(()) };
        if value.len() as u64 > LISTING_BYTES_MAX + HASH_BYTES as u64 {
            let what = format!("keeping a listing of {} rows", rows.len());
            return Err(CacheError { kind: CacheErrorKind::TooLarge, what, source: None });
        }
        let ttl_ms = self.limits().ttl_ms;
        self.cache.set(vec![NewEntry { key, value, ttl_ms, only_if_absent: false }]).await
    }

    fn listing_key(&self, query: &FilesQuery, head: &FeedHead) -> String {
        let (limit, sequence) = (query.limit.to_string(), head.sequence.to_string());
        let after = query.after.as_ref().map_or_else(String::new, |after| format!("after {after}"));
        let deleted = if query.deleted { "deleted too" } else { "" };
        name("l", &self.seal, &["listing", &query.prefix, &after, deleted, &limit, &sequence, &head.row_id])
    }

    // ---- hints ------------------------------------------------------------------------------------------------

    /// Others may have news up to this sequence. Does not wait.
    pub fn publish(&self, head: u64) {
        self.cache.publish(&self.channel(), head);
    }

    /// Sequences that others published: hints, not more.
    #[must_use]
    pub fn heads(&self) -> BoxStream<'static, u64> {
        self.cache.heads(&self.channel())
    }

    /// Of the epoch: feeds of other tables have other sequences.
    fn channel(&self) -> String {
        name("h", &self.seal, &["heads"])
    }

    // ---- entries ----------------------------------------------------------------------------------------------

    async fn get(&self, wanted: &[Wanted]) -> Vec<Option<Bytes>> {
        if wanted.is_empty() { Vec::new() } else { self.cache.get(wanted).await }
    }

    /// For the statistics: contents are asked for more than once by those who wait.
    pub fn count(&self, hits: u64, misses: u64) {
        self.cache.count(hits, misses);
    }

    /// `None`: it can't be written down, so it is not kept.
    fn seal<T: Serialize>(&self, name: &str, entry: &T) -> Option<Bytes> {
        let text = serde_json::to_vec(entry).ok()?;
        let mut value = BytesMut::with_capacity(HASH_BYTES + text.len());
        value.put_slice(self.mac(name, &text).as_bytes());
        value.put_slice(&text);
        Some(value.freeze())
    }

    /// `None`: not sealed by an agent on the same metadata, or not for this name.
    fn open<T: for<'a> Deserialize<'a>>(&self, name: &str, entry: &[u8]) -> Option<T> {
        let (mac, text) = entry.split_at_checked(HASH_BYTES)?;
        let mac: [u8; HASH_BYTES] = mac.try_into().ok()?;
        // Compared in constant time.
        let is_sealed = self.mac(name, text) == blake3::Hash::from_bytes(mac);
        (is_sealed || planted::is(Planted::CacheTrusted)).then_some(())?;
        serde_json::from_slice(text).ok()
    }

    fn mac(&self, name: &str, text: &[u8]) -> blake3::Hash {
        let mut hasher = Hasher::new_keyed(&self.seal);
        add(&mut hasher, name.as_bytes());
        add(&mut hasher, text);
        hasher.finalize()
    }
}

/// Where an ETag may be the MD5 of a content. Where it only looks like one, no content fits it.
fn md5_of_etag(etag: &str) -> Option<[u8; 16]> {
    let mut md5 = [0; 16];
    hex::decode_to_slice(etag, &mut md5).ok().map(|()| md5)
}

/// `<kind><format>:<32 hexadecimal digits>`: keys of any length and with any characters become names that can be read.
fn name(kind: &str, scope: &[u8; HASH_BYTES], parts: &[&str]) -> String {
    let mut hasher = Hasher::new_keyed(scope);
    parts.iter().for_each(|part| add(&mut hasher, part.as_bytes()));
    format!("{kind}{FORMAT}:{}", hex::encode(&hasher.finalize().as_bytes()[..16]))
}

/// With its length, so that parts don't run into each other.
fn add(hasher: &mut Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
}
