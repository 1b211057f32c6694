//! Listings. A page is proof that keys are gone, so that anything odd in it makes it a failed look.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use gosync_engine::ports::store::{
    Deleted, DeletedObject, ListPage, ListRequest, Listed, ObjectVersion, StoreError, StoreErrorKind as Kind,
};
use gosync_plan::Generation;
use percent_encoding::percent_decode_str;

use crate::headers::{is_archive_class, modified_token, unquoted, version};
use crate::store::S3Store;

const LIST: &str = "ListObjectsV2";
const VERSIONS: &str = "ListObjectVersions";
/// Pages of 1,000 versions that are looked at for deleted objects.
const DELETED_PAGES_MAX: usize = 100;

impl S3Store {
    pub(crate) async fn list_page(&self, request: ListRequest) -> Result<ListPage, StoreError> {
        let start_after = request.start_after.as_ref().filter(|_| request.token.is_none());
        let operation = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(&request.prefix)
            .set_start_after(start_after.cloned())
            .set_continuation_token(request.token.clone())
            .set_max_keys(i32::try_from(request.page_keys_max).ok().filter(|&keys| keys > 0))
            .encoding_type(EncodingType::Url);
        let output = self.run(self.call(LIST, &request.prefix), operation.send()).await?;
        page(&request, &output).map_err(|problem| StoreError::new(Kind::Corrupt, LIST, &request.prefix, problem))
    }

    /// A lone version `null` is what a bucket without versions shows: it says of no content that it is kept.
    pub(crate) async fn list_versions(&self, key: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        let corrupt = |problem: &str| StoreError::new(Kind::Corrupt, VERSIONS, key, problem);
        let mut found = Vec::new();
        let (mut key_marker, mut version_marker) = (None, None);
        loop {
            let operation = self
                .client
                .list_object_versions()
                .bucket(&self.bucket)
                .prefix(key)
                .set_key_marker(key_marker.take())
                .set_version_id_marker(version_marker.take())
                .encoding_type(EncodingType::Url);
            let output = self.run(self.call(VERSIONS, key), operation.send()).await?;
            let encoding = output.encoding_type();
            // The key itself stands before all others that begin with it.
            let mut others = false;
            for listed in output.versions() {
                if decoded(listed.key(), encoding).as_deref() != Some(key) {
                    others = true;
                    continue;
                }
                let (Some(id), Some(etag), Some(size)) = (listed.version_id(), listed.e_tag(), size(listed.size()))
                else {
                    return Err(corrupt("a version without id, ETag or size"));
                };
                let generation = Generation {
                    etag: unquoted(etag),
                    size,
                    version_id: version(Some(id)),
                    last_modified: listed.last_modified().map(modified_token),
                };
                found.push((
                    listed.last_modified().copied(),
                    ObjectVersion {
                        version_id: id.into(),
                        is_latest: listed.is_latest() == Some(true),
                        generation: Some(generation),
                    },
                ));
            }
            for marker in output.delete_markers() {
                if decoded(marker.key(), encoding).as_deref() != Some(key) {
                    others = true;
                    continue;
                }
                let id = marker.version_id().ok_or_else(|| corrupt("a delete marker without id"))?;
                let is_latest = marker.is_latest() == Some(true);
                found.push((
                    marker.last_modified().copied(),
                    ObjectVersion { version_id: id.into(), is_latest, generation: None },
                ));
            }
            if others || output.is_truncated() != Some(true) {
                break;
            }
            key_marker = decoded(output.next_key_marker(), encoding).map(Cow::into_owned);
            version_marker = output.next_version_id_marker().map(str::to_owned);
            if key_marker.is_none() {
                return Err(corrupt("a truncated page without a marker"));
            }
        }
        // The store lists versions and markers apart: within one time they keep the order that they came in.
        found.sort_by(|(mine, a), (theirs, b)| b.is_latest.cmp(&a.is_latest).then(theirs.cmp(mine)));
        let found: Vec<_> = found.into_iter().map(|(_, version)| version).collect();
        let without_versions =
            matches!(found.as_slice(), [only] if only.version_id == "null" && only.generation.is_some());
        Ok(if without_versions { Vec::new() } else { found })
    }

    pub(crate) async fn list_deleted(&self, prefix: &str) -> Result<Deleted, StoreError> {
        let corrupt = |problem: &str| StoreError::new(Kind::Corrupt, VERSIONS, prefix, problem);
        let mut deleted = Deleted::default();
        // By key: when it was deleted. Its newest content comes later in the list, on this page or a further one.
        let mut without_content: BTreeMap<String, Option<i64>> = BTreeMap::new();
        let (mut key_marker, mut version_marker) = (None, None);
        for _ in 0..DELETED_PAGES_MAX {
            let operation = self
                .client
                .list_object_versions()
                .bucket(&self.bucket)
                .prefix(prefix)
                .set_key_marker(key_marker.take())
                .set_version_id_marker(version_marker.take())
                .encoding_type(EncodingType::Url);
            let output = self.run(self.call(VERSIONS, prefix), operation.send()).await?;
            let encoding = output.encoding_type();
            let readable = |key: Option<&str>| {
                let key = decoded(key, encoding).filter(|key| !is_mangled(key, encoding));
                key.filter(|key| key.starts_with(prefix)).map(Cow::into_owned)
            };
            for marker in output.delete_markers().iter().filter(|marker| marker.is_latest() == Some(true)) {
                if let Some(key) = readable(marker.key()) {
                    without_content.insert(key, marker.last_modified().map(|time| time.secs()));
                }
            }
            for listed in output.versions() {
                let Some(key) = readable(listed.key()) else { continue };
                let Some(deleted_seconds) = without_content.remove(&key) else { continue };
                let (Some(version_id), Some(bytes)) = (listed.version_id(), size(listed.size())) else {
                    return Err(corrupt("a version without id or size"));
                };
                let version_id = version_id.to_owned();
                deleted.objects.push(DeletedObject { key, version_id, bytes, deleted_seconds });
            }
            if output.is_truncated() != Some(true) {
                return Ok(deleted);
            }
            key_marker = decoded(output.next_key_marker(), encoding).map(Cow::into_owned);
            version_marker = output.next_version_id_marker().map(str::to_owned);
            if key_marker.is_none() {
                return Err(corrupt("a truncated page without a marker"));
            }
        }
        Ok(Deleted { more: true, ..deleted })
    }
}

/// The keys are percent-encoded, with `+` for a space, where the store says that it did so.
pub(crate) fn decoded<'a>(text: Option<&'a str>, encoding: Option<&EncodingType>) -> Option<Cow<'a, str>> {
    let text = text?;
    if encoding != Some(&EncodingType::Url) {
        return Some(Cow::Borrowed(text));
    }
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().ok();
    }
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|key| Cow::Owned(key.into_owned()))
}

/// A store that does not encode keys (versitygw) puts a replacement character for what XML can't hold.
fn is_mangled(key: &str, encoding: Option<&EncodingType>) -> bool {
    encoding != Some(&EncodingType::Url) && key.contains(char::REPLACEMENT_CHARACTER)
}

fn size(size: Option<i64>) -> Option<u64> {
    u64::try_from(size?).ok()
}

fn page(request: &ListRequest, output: &ListObjectsV2Output) -> Result<ListPage, String> {
    let contents = output.contents();
    if let Some(count) = output.key_count()
        && usize::try_from(count) != Ok(contents.len())
    {
        return Err(format!("{} keys where {count} are announced", contents.len()));
    }
    let mut objects: Vec<Listed> = Vec::with_capacity(contents.len());
    let mut unreadable = 0;
    for object in contents {
        let Some(text) = object.key() else { return Err("an entry without a key".into()) };
        let readable =
            decoded(Some(text), output.encoding_type()).filter(|key| !is_mangled(key, output.encoding_type()));
        let Some(key) = readable else {
            // Leaving it out proves nothing of any path: absence is believed only after a HEAD.
            unreadable += 1;
            continue;
        };
        let before = objects.last().map(|object| &object.key).or(request.start_after.as_ref());
        if !key.starts_with(&request.prefix) {
            return Err(format!("the key {key:?} is not below the prefix"));
        }
        if before.is_some_and(|before| before.as_str() >= &*key) {
            return Err(format!("the key {key:?} is out of order"));
        }
        let (Some(etag), Some(size), Some(modified)) = (object.e_tag(), size(object.size()), object.last_modified())
        else {
            return Err(format!("the entry of {key:?} lacks its ETag, size or time"));
        };
        objects.push(Listed {
            generation: Generation {
                etag: unquoted(etag),
                size,
                version_id: None,
                last_modified: Some(modified_token(modified)),
            },
            archived: object.storage_class().is_some_and(|class| is_archive_class(class.as_str())),
            key: key.into_owned(),
        });
    }
    if unreadable > 0 {
        tracing::warn!(prefix = request.prefix, keys = unreadable, "keys that the listing can't spell are left out");
    }
    let next = match (output.is_truncated(), output.next_continuation_token()) {
        (Some(false), _) => None,
        (Some(true), Some(token)) if Some(token) != request.token.as_deref() => Some(token.to_owned()),
        (Some(true), Some(_)) => return Err("the page points to itself".into()),
        (Some(true), None) => return Err("the page is truncated and says not where to go on".into()),
        (None, _) => return Err("the page does not say whether it is the last".into()),
    };
    Ok(ListPage { objects, next })
}
