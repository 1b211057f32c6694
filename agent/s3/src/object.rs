//! One object at a time: HEAD, GET, PUT, copy, delete.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, Delete, ObjectIdentifier};
use gosync_engine::ports::store::{
    Condition, GetRequest, Head, PutRequest, StoreError, StoreErrorKind as Kind, Written,
};
use gosync_plan::Generation;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use crate::body::{Body, GET, Progress};
use crate::error::Refusal;
use crate::headers::{Reply, content_type, metadata, quoted, unquoted, version};
use crate::integrity::crc64_header;
use crate::store::S3Store;

const HEAD: &str = "HeadObject";
const PUT: &str = "PutObject";
const COPY: &str = "CopyObject";
const DELETE: &str = "DeleteObject";
const DELETE_MANY: &str = "DeleteObjects";

/// What a path keeps in `x-amz-copy-source`.
const COPY_SOURCE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

impl S3Store {
    pub(crate) async fn head_object(&self, key: &str) -> Result<Option<Head>, StoreError> {
        let operation = self.client.head_object().bucket(&self.bucket).key(key).checksum_mode(ChecksumMode::Enabled);
        let output = match self.run(self.call(HEAD, key), operation.send()).await {
            Ok(output) => output,
            Err(error) if error.kind == Kind::NotFound => return Ok(None),
            Err(error) if matches!(error.kind, Kind::Invalid | Kind::Denied) => {
                return Err(self.explained(key, error).await);
            }
            Err(error) => return Err(error),
        };
        let corrupt = || StoreError::new(Kind::Corrupt, HEAD, key, "the reply lacks an ETag or a length");
        let size = size_of(&output).ok_or_else(corrupt)?;
        let mut head = Reply::from(&output).head(size).ok_or_else(corrupt)?;
        head.facts.part_bytes = self.part_bytes(key, &head.generation).await;
        Ok(Some(head))
    }

    /// A HEAD's refusal has no body: the GET of one byte says whether the credentials, the object or the request is
    /// at fault.
    async fn explained(&self, key: &str, refused: StoreError) -> StoreError {
        let operation = self.client.get_object().bucket(&self.bucket).key(key).range("bytes=0-0");
        match self.run(self.call(GET, key), operation.send()).await {
            Err(error) if !error.is_transient() => StoreError { operation: HEAD, ..error },
            _ => refused,
        }
    }

    /// Only of a multipart object. A hint for proving content: where it can't be had, the content is read instead.
    async fn part_bytes(&self, key: &str, generation: &Generation) -> Option<u64> {
        let parts: u64 = generation.etag.split_once('-')?.1.parse().ok()?;
        let operation =
            self.client.head_object().bucket(&self.bucket).key(key).part_number(1).if_match(quoted(&generation.etag));
        let output = self.run(self.call(HEAD, key), operation.send()).await.ok()?;
        // A store that knows no parts tells the whole object's length.
        size_of(&output).filter(|&part| part > 0 && generation.size.div_ceil(part) == parts)
    }

    pub(crate) async fn get_object(&self, request: GetRequest) -> Result<Body, StoreError> {
        let GetRequest { key, etag, version_id, range } = request;
        let whole = range.is_none().then_some(ChecksumMode::Enabled);
        let operation = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(&key)
            .set_if_match(etag.as_deref().map(quoted))
            .set_version_id(version_id)
            .set_range(range.as_ref().map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1))))
            .set_checksum_mode(whole);
        let mut progress =
            Progress { observer: self.observer.clone(), started: Instant::now(), received_bytes: 0, outcome: Ok(()) };
        let output = self
            .start(self.call(GET, &key), operation.send())
            .await
            .inspect_err(|error| progress.outcome = Err(error.kind))?;
        match announced(&output, range.as_ref(), etag.as_deref()) {
            Ok((head, left)) => {
                Ok(Body { head, stream: Some(output.body), left, idle: self.timeouts.idle, progress, key })
            }
            Err((kind, problem)) => {
                progress.outcome = Err(kind);
                Err(StoreError::new(kind, GET, key, problem))
            }
        }
    }

    pub(crate) async fn put_object(&self, request: PutRequest) -> Result<Written, StoreError> {
        let PutRequest { key, body, headers, condition } = request;
        let size = body.len() as u64;
        let attempt = |checked: bool| {
            let unsigned = self.may_leave_unsigned(checked);
            let (if_none_match, if_match) = condition_headers(&condition);
            let operation = self
                .client
                .put_object()
                .bucket(&self.bucket)
                .key(&key)
                .content_type(content_type(&key))
                .set_metadata(Some(metadata(&headers)))
                .set_if_none_match(if_none_match)
                .set_if_match(if_match)
                .set_server_side_encryption(self.writing.sse.clone())
                .set_ssekms_key_id(self.writing.kms_key_id.clone())
                .set_storage_class(self.writing.storage_class.clone());
            let body = body.clone();
            let request = async move {
                let checksum = checked.then(|| crc64_header(&body));
                let operation = operation.set_checksum_crc64_nvme(checksum).body(ByteStream::from(body)).customize();
                if unsigned { operation.disable_payload_signing() } else { operation }.send().await
            };
            self.run(self.sending_call(PUT, &key, size), request)
        };
        let output: PutObjectOutput = self.integrity.send(attempt).await?;
        written(PUT, &key, output.e_tag(), output.version_id(), size)
    }

    pub(crate) async fn copy_object(
        &self,
        source: &str,
        source_etag: Option<&str>,
        target: &str,
        condition: &Condition,
    ) -> Result<Written, StoreError> {
        let (if_none_match, if_match) = condition_headers(condition);
        let operation = self
            .client
            .copy_object()
            .bucket(&self.bucket)
            .key(target)
            .copy_source(self.copy_source(source))
            .set_copy_source_if_match(source_etag.map(quoted))
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
            .set_server_side_encryption(self.writing.sse.clone())
            .set_ssekms_key_id(self.writing.kms_key_id.clone())
            .set_storage_class(self.writing.storage_class.clone());
        let output = self.run(self.long_call(COPY, target), operation.send()).await?;
        let etag = output.copy_object_result().and_then(|result| result.e_tag());
        written(COPY, target, etag, output.version_id(), 0)
    }

    /// A key of this bucket as the source of a copy.
    pub(crate) fn copy_source(&self, key: &str) -> String {
        format!("{}/{}", self.bucket, utf8_percent_encode(key, COPY_SOURCE))
    }

    pub(crate) async fn delete_object(&self, key: &str, condition: &Condition) -> Result<(), StoreError> {
        let if_match = match condition {
            Condition::None => None,
            Condition::Etag(etag) => Some(quoted(etag)),
            Condition::Absent => return Err(no_such_condition(DELETE, key)),
        };
        let operation = self.client.delete_object().bucket(&self.bucket).key(key).set_if_match(if_match);
        match self.run(self.call(DELETE, key), operation.send()).await {
            Err(error) if error.kind == Kind::NotFound && *condition == Condition::None => Ok(()),
            result => result.map(|_| ()),
        }
    }

    pub(crate) async fn delete_objects(
        &self,
        keys: &[(String, Condition)],
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let mut in_one = Vec::with_capacity(keys.len());
        for (key, condition) in keys {
            let etag = match condition {
                Condition::None => None,
                Condition::Etag(etag) => Some(quoted(etag)),
                Condition::Absent => continue,
            };
            if is_xml(key) {
                let object = ObjectIdentifier::builder().key(key).set_e_tag(etag).build();
                in_one.push(object.map_err(|error| StoreError {
                    source: Some(Box::new(error)),
                    ..StoreError::new(Kind::Invalid, DELETE_MANY, key, "")
                })?);
            }
        }
        let mut outcomes = if in_one.is_empty() { Outcomes::default() } else { self.delete_in_one(in_one).await? };
        let mut results = Vec::with_capacity(keys.len());
        for (key, condition) in keys {
            results.push(match condition {
                Condition::Absent => Err(no_such_condition(DELETE_MANY, key)),
                // What XML can't say goes alone.
                _ if !is_xml(key) => self.delete_object(key, condition).await,
                _ => outcomes.of(key, condition),
            });
        }
        Ok(results)
    }

    async fn delete_in_one(&self, objects: Vec<ObjectIdentifier>) -> Result<Outcomes, StoreError> {
        let wrong =
            |error| StoreError { source: Some(Box::new(error)), ..StoreError::new(Kind::Invalid, DELETE_MANY, "", "") };
        let delete = Delete::builder().set_objects(Some(objects)).build().map_err(wrong)?;
        let operation = self.client.delete_objects().bucket(&self.bucket).delete(delete);
        let output = self.run(self.long_call(DELETE_MANY, ""), operation.send()).await?;
        let mut outcomes = Outcomes::default();
        outcomes.deleted.extend(output.deleted().iter().filter_map(|deleted| deleted.key()).map(str::to_owned));
        for error in output.errors() {
            let Some(key) = error.key() else { continue };
            let refusal = Refusal { code: error.code(), message: error.message(), ..Refusal::default() };
            outcomes.refused.insert(key.to_owned(), (refusal.kind(), refusal.text()));
        }
        Ok(outcomes)
    }
}

/// What the reply to DeleteObjects says of each key.
#[derive(Default)]
struct Outcomes {
    deleted: HashSet<String>,
    refused: HashMap<String, (Kind, String)>,
}

impl Outcomes {
    fn of(&mut self, key: &str, condition: &Condition) -> Result<(), StoreError> {
        match self.refused.get(key) {
            Some((Kind::NotFound, _)) if *condition == Condition::None => Ok(()),
            Some((kind, text)) => Err(StoreError::new(*kind, DELETE_MANY, key, text.clone())),
            None if self.deleted.contains(key) => Ok(()),
            None => Err(StoreError::new(Kind::Corrupt, DELETE_MANY, key, "the reply does not speak of it")),
        }
    }
}

/// (If-None-Match, If-Match)
pub(crate) fn condition_headers(condition: &Condition) -> (Option<String>, Option<String>) {
    match condition {
        Condition::None => (None, None),
        Condition::Absent => (Some("*".into()), None),
        Condition::Etag(etag) => (None, Some(quoted(etag))),
    }
}

fn no_such_condition(operation: &'static str, key: &str) -> StoreError {
    StoreError::new(Kind::Invalid, operation, key, "deleting on condition of absence makes no sense")
}

pub(crate) fn written(
    operation: &'static str,
    key: &str,
    etag: Option<&str>,
    version_id: Option<&str>,
    size: u64,
) -> Result<Written, StoreError> {
    let Some(etag) = etag else {
        return Err(StoreError::new(Kind::Corrupt, operation, key, "the reply lacks an ETag"));
    };
    let generation = Generation { etag: unquoted(etag), size, version_id: version(version_id), last_modified: None };
    Ok(Written { generation })
}

/// What a GET is about to deliver: the object and the bytes to come.
fn announced(
    output: &GetObjectOutput,
    range: Option<&Range<u64>>,
    etag: Option<&str>,
) -> Result<(Head, u64), (Kind, &'static str)> {
    let length = output.content_length().and_then(|length| u64::try_from(length).ok());
    let length = length.ok_or((Kind::Corrupt, "the reply lacks a length"))?;
    let size = match range {
        None => length,
        Some(range) => output
            .content_range()
            .and_then(|text| size_behind(text, range, length))
            .ok_or((Kind::Corrupt, "the reply is another range"))?,
    };
    let head = Reply::from(output).head(size).ok_or((Kind::Corrupt, "the reply lacks an ETag"))?;
    // There are stores that ignore conditions.
    if etag.is_some_and(|etag| etag != head.generation.etag) {
        return Err((Kind::PreconditionFailed, "the reply has another ETag"));
    }
    Ok((head, length))
}

fn size_of(output: &HeadObjectOutput) -> Option<u64> {
    u64::try_from(output.content_length()?).ok()
}

/// The object's size out of `bytes 0-9/100`. `None`: it's not the range that was asked for.
fn size_behind(content_range: &str, asked: &Range<u64>, length: u64) -> Option<u64> {
    let (range, size) = content_range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    let end = last.checked_add(1)?;
    let fits = first == asked.start && end == asked.end.min(size) && end.checked_sub(first) == Some(length);
    fits.then_some(size)
}

/// Whether XML 1.0 can hold the text.
fn is_xml(text: &str) -> bool {
    text.chars()
        .all(|char| !matches!(char, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}'))
}
