//! A bucket as the dev store keeps it: atomic conditions, right ETags, multipart uploads, versions as a switch.
//!
//! Pure: no faults, no time of its own. Whatever it is asked for happens at once and completely.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use crc_fast::{CrcAlgorithm, checksum};
use gosync_engine::handle::Conditions;
use gosync_engine::ports::store::{
    Condition, Deleted, DeletedObject, Head, ListPage, Listed, ObjectHeaders, ObjectVersion, PendingUpload,
    StoreErrorKind,
};
use gosync_plan::{Generation, ObjectFacts};
use md5::{Digest, Md5};

/// By then everybody has seen the first one in a listing.
const LOOKALIKE_SECONDS: u64 = 30;
/// A row that was written without the time of its object never tells it from a later one of the same content.
pub const LOOKALIKE_FOR_EVER: u64 = u64::MAX / 2;

type Outcome<T> = Result<T, StoreErrorKind>;

#[derive(Clone)]
pub struct Object {
    pub body: Vec<u8>,
    pub headers: ObjectHeaders,
    pub etag: String,
    /// Of a multipart object: the size of its first part.
    part_bytes: Option<u64>,
    version_id: Option<String>,
    /// seconds since 1970
    modified_seconds: u64,
    /// It came soon after one with the same content: who wrote that one can't tell them apart in a listing.
    pub looks_unchanged: bool,
}

/// `None`: a delete marker.
type Version = (String, Option<Object>);

struct Upload {
    key: String,
    headers: ObjectHeaders,
    initiated_seconds: u64,
    parts: BTreeMap<u32, Vec<u8>>,
}

pub struct Bucket {
    pub versioned: bool,
    pub opaque_etags: bool,
    pub crc64nvme: bool,
    /// Those that have no effect are `Some(false)`.
    pub conditions: Conditions,
    /// The store's clock, seconds since 1970; set before each request.
    pub clock_seconds: u64,
    /// How long an object is taken for the one with the same ETag before it.
    pub lookalike_seconds: u64,
    /// Newest last. A key without a current object has no entry in an unversioned bucket.
    keys: BTreeMap<String, Vec<Version>>,
    uploads: BTreeMap<String, Upload>,
    /// When an ETag was last written to a key.
    seen: BTreeMap<(String, String), u64>,
    counter: u64,
}

impl Bucket {
    pub fn new(versioned: bool, opaque_etags: bool, crc64nvme: bool) -> Self {
        Self {
            versioned,
            opaque_etags,
            crc64nvme,
            conditions: Conditions::default(),
            clock_seconds: 0,
            lookalike_seconds: LOOKALIKE_SECONDS,
            keys: BTreeMap::new(),
            uploads: BTreeMap::new(),
            seen: BTreeMap::new(),
            counter: 0,
        }
    }

    pub fn current(&self, key: &str) -> Option<&Object> {
        self.keys.get(key)?.last()?.1.as_ref()
    }

    pub fn objects(&self) -> impl Iterator<Item = (&str, &Object)> {
        self.keys.iter().filter_map(|(key, versions)| Some((key.as_str(), versions.last()?.1.as_ref()?)))
    }

    /// Every body that can still be read, noncurrent versions included.
    pub fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.values().flatten().filter_map(|(_, object)| Some(object.as_ref()?.body.as_slice()))
    }

    fn next(&mut self) -> String {
        self.counter += 1;
        format!("{:08}", self.counter)
    }

    fn check(&self, is_kept: Option<bool>, key: &str, condition: &Condition) -> Outcome<()> {
        let there = self.current(key);
        match condition {
            _ if is_kept == Some(false) => Ok(()),
            Condition::None => Ok(()),
            Condition::Absent => there.is_none().then_some(()).ok_or(StoreErrorKind::PreconditionFailed),
            Condition::Etag(etag) => match there {
                None => Err(StoreErrorKind::NotFound),
                Some(object) if object.etag == *etag => Ok(()),
                Some(_) => Err(StoreErrorKind::PreconditionFailed),
            },
        }
    }

    fn store(&mut self, key: &str, mut object: Object) -> Generation {
        object.modified_seconds = self.clock_seconds;
        let version = self.next();
        object.version_id = self.versioned.then(|| version.clone());
        if self.opaque_etags {
            // Same form as an MD5, and different each time.
            let parts = object.etag.find('-').map_or(String::new(), |dash| object.etag[dash..].to_owned());
            object.etag = hex(&Md5::digest(format!("sealed {version}"))) + &parts;
        }
        let seen = self.seen.insert((key.to_owned(), object.etag.clone()), self.clock_seconds);
        object.looks_unchanged = seen.is_some_and(|seen| self.clock_seconds < seen + self.lookalike_seconds);
        let generation = Generation { last_modified: None, ..object.generation() };
        let versions = self.keys.entry(key.to_owned()).or_default();
        if !self.versioned {
            versions.clear();
        }
        versions.push((version, Some(object)));
        generation
    }

    pub fn put(
        &mut self,
        key: &str,
        body: Vec<u8>,
        headers: ObjectHeaders,
        condition: &Condition,
    ) -> Outcome<Generation> {
        self.check(self.conditions.put, key, condition)?;
        let etag = hex(&Md5::digest(&body));
        Ok(self.store(
            key,
            Object { headers, etag, part_bytes: None, ..Object::of_parts(&[body], ObjectHeaders::default()) },
        ))
    }

    pub fn copy(
        &mut self,
        source: &str,
        source_etag: Option<&str>,
        target: &str,
        condition: &Condition,
    ) -> Outcome<Generation> {
        let object = self.current(source).ok_or(StoreErrorKind::NotFound)?.clone();
        if source_etag.is_some_and(|etag| etag != object.etag) {
            return Err(StoreErrorKind::PreconditionFailed);
        }
        self.check(self.conditions.copy, target, condition)?;
        let (etag, is_alike) = (hex(&Md5::digest(&object.body)), object.looks_unchanged);
        let generation = self.store(target, Object { etag, part_bytes: None, ..object });
        // Nor did whoever asked for the copy know which of them it would be.
        if let Some((_, Some(copy))) = self.keys.get_mut(target).and_then(|versions| versions.last_mut()) {
            copy.looks_unchanged |= is_alike;
        }
        Ok(generation)
    }

    pub fn delete(&mut self, key: &str, condition: &Condition) -> Outcome<()> {
        self.check(self.conditions.delete, key, condition)?;
        if self.versioned {
            let version = self.next();
            self.keys.entry(key.to_owned()).or_default().push((version, None));
        } else {
            self.keys.remove(key);
        }
        Ok(())
    }

    pub fn head(&self, key: &str) -> Option<Head> {
        self.current(key).map(|object| object.head(self.opaque_etags, self.crc64nvme))
    }

    pub fn get(&self, key: &str, etag: Option<&str>, version_id: Option<&str>) -> Outcome<(Head, Vec<u8>)> {
        let object = match version_id {
            None => self.current(key),
            Some(wanted) => self
                .keys
                .get(key)
                .and_then(|versions| versions.iter().find(|(version, _)| version == wanted)?.1.as_ref()),
        };
        let object = object.ok_or(StoreErrorKind::NotFound)?;
        if etag.is_some_and(|etag| etag != object.etag) {
            return Err(StoreErrorKind::PreconditionFailed);
        }
        Ok((object.head(self.opaque_etags, self.crc64nvme), object.body.clone()))
    }

    pub fn list(&self, prefix: &str, after: Option<&str>, keys_max: usize) -> ListPage {
        let from = after.map_or(Bound::Included(prefix), |after| Bound::Excluded(after.max(prefix)));
        let from = if after.is_some_and(|after| after < prefix) { Bound::Included(prefix) } else { from };
        let mut objects = self
            .keys
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(key, versions)| Some((key, versions.last()?.1.as_ref()?)))
            .map(|(key, object)| Listed {
                key: key.clone(),
                generation: Generation { version_id: None, ..object.generation() },
                archived: false,
            });
        let page: Vec<Listed> = objects.by_ref().take(keys_max).collect();
        let next = objects.next().and_then(|_| page.last().map(|last| last.key.clone()));
        ListPage { objects: page, next }
    }

    pub fn versions(&self, key: &str) -> Vec<ObjectVersion> {
        let Some(versions) = self.keys.get(key).filter(|_| self.versioned) else { return Vec::new() };
        let newest_first = versions.iter().rev().enumerate();
        newest_first
            .map(|(index, (version, object))| ObjectVersion {
                version_id: version.clone(),
                is_latest: index == 0,
                generation: object.as_ref().map(Object::generation),
            })
            .collect()
    }

    pub fn deleted(&self, prefix: &str) -> Deleted {
        let below = self.keys.iter().filter(|(key, _)| self.versioned && key.starts_with(prefix));
        let objects = below.filter_map(|(key, versions)| {
            let (_, None) = versions.last()? else { return None };
            let (version, object) = versions.iter().rev().find_map(|(id, object)| Some((id, object.as_ref()?)))?;
            let (key, version_id) = (key.clone(), version.clone());
            Some(DeletedObject { key, version_id, bytes: object.generation().size, deleted_seconds: None })
        });
        Deleted { objects: objects.collect(), more: false }
    }

    pub fn create_upload(&mut self, key: &str, headers: ObjectHeaders) -> String {
        let id = format!("upload-{}", self.next());
        let upload =
            Upload { key: key.to_owned(), headers, initiated_seconds: self.clock_seconds, parts: BTreeMap::new() };
        self.uploads.insert(id.clone(), upload);
        id
    }

    fn upload(&mut self, key: &str, id: &str) -> Outcome<&mut Upload> {
        self.uploads.get_mut(id).filter(|upload| upload.key == key).ok_or(StoreErrorKind::NoSuchUpload)
    }

    pub fn upload_part(&mut self, key: &str, id: &str, number: u32, body: Vec<u8>) -> Outcome<String> {
        let etag = hex(&Md5::digest(&body));
        self.upload(key, id)?.parts.insert(number, body);
        Ok(etag)
    }

    pub fn copy_part(
        &mut self,
        source: &str,
        source_etag: &str,
        range: Range<u64>,
        key: &str,
        id: &str,
        number: u32,
    ) -> Outcome<String> {
        let object = self.current(source).ok_or(StoreErrorKind::NotFound)?;
        if object.etag != source_etag {
            return Err(StoreErrorKind::PreconditionFailed);
        }
        let range =
            usize::try_from(range.start).unwrap_or(usize::MAX)..usize::try_from(range.end).unwrap_or(usize::MAX);
        let body = object.body.get(range).ok_or(StoreErrorKind::Invalid)?.to_vec();
        self.upload_part(key, id, number, body)
    }

    pub fn complete_upload(
        &mut self,
        key: &str,
        id: &str,
        parts: &[(u32, String)],
        condition: &Condition,
    ) -> Outcome<Generation> {
        let upload = self.upload(key, id)?;
        let ascending = parts.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let mut bodies = Vec::new();
        for (number, etag) in parts {
            let body = upload.parts.get(number).ok_or(StoreErrorKind::Invalid)?;
            if hex(&Md5::digest(body)) != *etag {
                return Err(StoreErrorKind::Invalid);
            }
            bodies.push(body.clone());
        }
        if !ascending || bodies.is_empty() {
            return Err(StoreErrorKind::Invalid);
        }
        let headers = upload.headers.clone();
        self.check(self.conditions.multipart, key, condition)?;
        self.uploads.remove(id);
        Ok(self.store(key, Object::of_parts(&bodies, headers)))
    }

    pub fn abort_upload(&mut self, key: &str, id: &str) -> Outcome<()> {
        self.upload(key, id)?;
        self.uploads.remove(id);
        Ok(())
    }

    pub fn pending_uploads(&self, prefix: &str) -> Vec<PendingUpload> {
        self.uploads
            .iter()
            .filter(|(_, upload)| upload.key.starts_with(prefix))
            .map(|(id, upload)| PendingUpload {
                key: upload.key.clone(),
                upload: id.clone(),
                initiated_seconds: i64::try_from(upload.initiated_seconds).unwrap_or(i64::MAX),
            })
            .collect()
    }

    pub fn parts(&mut self, key: &str, id: &str) -> Outcome<Vec<(u32, String, u64)>> {
        let parts = &self.upload(key, id)?.parts;
        Ok(parts.iter().map(|(number, body)| (*number, hex(&Md5::digest(body)), body.len() as u64)).collect())
    }
}

impl Object {
    /// What a multipart upload makes of its parts.
    pub fn of_parts(bodies: &[Vec<u8>], headers: ObjectHeaders) -> Self {
        let digests: Vec<u8> = bodies.iter().flat_map(|body| Md5::digest(body).to_vec()).collect();
        Self {
            body: bodies.concat(),
            headers,
            etag: format!("{}-{}", hex(&Md5::digest(digests)), bodies.len()),
            part_bytes: bodies.first().map(|first| first.len() as u64),
            version_id: None,
            modified_seconds: 0,
            looks_unchanged: false,
        }
    }

    fn generation(&self) -> Generation {
        Generation {
            etag: self.etag.clone(),
            size: self.body.len() as u64,
            version_id: self.version_id.clone(),
            last_modified: Some(self.modified_seconds.to_string()),
        }
    }

    fn head(&self, opaque_etags: bool, crc64nvme: bool) -> Head {
        Head {
            generation: self.generation(),
            facts: ObjectFacts {
                blake3_header: self.headers.blake3,
                nonce: self.headers.nonce,
                open: self.headers.open,
                mtime_ns: self.headers.mtime_ns,
                mode: self.headers.mode.map(|mode| mode & 0o7777),
                is_link: false,
                crc64nvme: crc64nvme.then(|| checksum(CrcAlgorithm::Crc64Nvme, &self.body)),
                part_bytes: self.part_bytes,
                etag_opaque: opaque_etags,
                content_type: None,
            },
            archived: false,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    fn put(bucket: &mut Bucket, key: &str, body: &[u8]) -> Generation {
        bucket.put(key, body.to_vec(), ObjectHeaders::default(), &Condition::None).unwrap()
    }

    #[test]
    fn conditions_decide_before_anything_happens() {
        let mut bucket = Bucket::new(false, false, true);
        let first = put(&mut bucket, "a", b"one");
        let absent = bucket.put("a", b"two".to_vec(), ObjectHeaders::default(), &Condition::Absent);
        assert_eq!(absent, Err(StoreErrorKind::PreconditionFailed));
        assert_eq!(bucket.delete("a", &Condition::Etag("stale".into())), Err(StoreErrorKind::PreconditionFailed));
        assert_eq!(bucket.current("a").unwrap().body, b"one");
        assert_eq!(bucket.delete("a", &Condition::Etag(first.etag)), Ok(()));
        assert!(bucket.current("a").is_none());
        assert_eq!(bucket.delete("a", &Condition::Etag("gone".into())), Err(StoreErrorKind::NotFound));
    }

    #[test]
    fn listings_come_in_pages_in_byte_order_and_only_below_the_prefix() {
        let mut bucket = Bucket::new(false, false, false);
        for key in ["p/b", "p/a/x", "p/a-", "p2/z", "o", "p/a"] {
            put(&mut bucket, key, key.as_bytes());
        }
        let first = bucket.list("p/", None, 3);
        let keys: Vec<_> = first.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, ["p/a", "p/a-", "p/a/x"]);
        let second = bucket.list("p/", first.next.as_deref(), 3);
        assert_eq!((second.objects[0].key.as_str(), second.next), ("p/b", None));
    }

    #[test]
    fn a_versioned_bucket_keeps_what_was_overwritten_and_deleted() {
        let mut bucket = Bucket::new(true, false, false);
        put(&mut bucket, "a", b"one");
        put(&mut bucket, "a", b"two");
        bucket.delete("a", &Condition::None).unwrap();
        assert!(bucket.current("a").is_none());
        let versions = bucket.versions("a");
        assert_eq!(versions.len(), 3);
        assert!(versions[0].is_latest && versions[0].generation.is_none());
        assert_eq!(bucket.bodies().count(), 2);
        assert_eq!(bucket.get("a", None, Some(&versions[2].version_id)).unwrap().1, b"one");
    }

    #[test]
    fn multipart_objects_have_the_etag_of_their_parts() {
        let mut bucket = Bucket::new(false, false, false);
        let id = bucket.create_upload("a", ObjectHeaders::default());
        let one = bucket.upload_part("a", &id, 1, b"one".to_vec()).unwrap();
        let two = bucket.upload_part("a", &id, 2, b"two".to_vec()).unwrap();
        let wrong = bucket.complete_upload("a", &id, &[(2, two.clone()), (1, one.clone())], &Condition::None);
        assert_eq!(wrong, Err(StoreErrorKind::Invalid));
        let written = bucket.complete_upload("a", &id, &[(1, one), (2, two)], &Condition::Absent).unwrap();
        assert!(written.etag.ends_with("-2"));
        assert_eq!(bucket.head("a").unwrap().facts.part_bytes, Some(3));
        assert_eq!(bucket.abort_upload("a", &id), Err(StoreErrorKind::NoSuchUpload));
    }
}
