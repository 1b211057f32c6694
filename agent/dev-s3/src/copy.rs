//! CopyObject and UploadPartCopy: the content of one object as that of another, or of a part.
//!
//! A body in one file is linked, not read. A copy is never in parts, whatever its source was.

use std::ops::Range;

use futures_util::TryStreamExt as _;
use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource, ETagCondition, MetadataDirective,
    Timestamp, UploadPartCopyInput, UploadPartCopyOutput,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use crate::blobs::Pin;
use crate::body::{BODY_BYTES_MAX, Content, Received, Taker};
use crate::checksums::{Algorithm, Sum};
use crate::conditions::{self, ReadCondition, Verdict};
use crate::faults::Chosen;
use crate::index::{self, Bucket, Segment, Version};
use crate::multipart;
use crate::objects;
use crate::reading;
use crate::reads;
use crate::reply;
use crate::store::{self, Store};
use crate::versions::{self, NewObject};

/// An object that is being copied from; its files stay as long as this lives.
struct Source {
    bucket: Bucket,
    version: Version,
    segments: Vec<Segment>,
    pin: Pin,
}

async fn open(store: &Store, source: &CopySource, condition: &ReadCondition) -> S3Result<Source> {
    let CopySource::Bucket { bucket, key, version_id } = source else {
        return Err(s3_error!(NotImplemented, "Only objects of this server can be copied"));
    };
    let hold = store.blobs.hold().await;
    let mut tx = store.index.read().await?;
    let (bucket, version) = reads::find(&mut tx, bucket, key, version_id.as_deref()).await?;
    match condition.check(&version) {
        Verdict::Go => {}
        Verdict::NotModified => return Err(conditions::precondition_failed("x-amz-copy-source-If-None-Match")),
        Verdict::Failed(header) => return Err(conditions::precondition_failed(header)),
    }
    let segments = index::segments(&mut tx, version.id).await?;
    let pin = store.blobs.pin(segments.iter().filter_map(|segment| segment.blob.clone()).collect());
    drop(hold);
    Ok(Source { bucket, version, segments, pin })
}

impl Source {
    async fn read(self, store: &Store, range: Range<u64>, algorithms: &[Algorithm]) -> S3Result<Received> {
        let mut taker = Taker::new(&store.blobs, algorithms);
        let mut stream = std::pin::pin!(reading::stream(self.pin, self.segments, range));
        while let Some(chunk) = stream.try_next().await.map_err(S3Error::internal_error)? {
            taker.push(&chunk).await?;
        }
        taker.finish().await
    }

    /// The whole content under a new name, without reading it, where its MD5 and checksum are known.
    async fn link(&self, store: &Store, algorithm: Algorithm) -> S3Result<Option<(Content, Vec<u8>, Option<Sum>)>> {
        let (version, [segment]) = (&self.version, self.segments.as_slice()) else { return Ok(None) };
        let known = version.details.sum.as_ref().filter(|sum| sum.algorithm == algorithm && !sum.composite);
        let (Some(sum), false, None) = (known, version.details.kms, version.details.parts) else { return Ok(None) };
        let Ok(md5) = hex::decode(&version.etag) else { return Ok(None) };
        let content = match &segment.blob {
            None => Content::Inline(segment.data.clone()),
            Some(blob) => {
                let fresh = store.blobs.fresh();
                tokio::fs::hard_link(self.pin.path(blob), fresh.path()).await.map_err(S3Error::internal_error)?;
                Content::File(fresh)
            }
        };
        Ok(Some((content, md5, Some(sum.clone()))))
    }
}

fn header_condition(headers: &http::HeaderMap, name: http::HeaderName) -> S3Result<Option<ETagCondition>> {
    let Some(value) = headers.get(&name) else { return Ok(None) };
    let condition = ETagCondition::parse_http_header(value.as_bytes());
    condition.map(Some).map_err(|e| s3_error!(e, InvalidArgument, "invalid header: {name}"))
}

fn source_condition(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
    if_modified_since: Option<Timestamp>,
    if_unmodified_since: Option<Timestamp>,
) -> ReadCondition {
    ReadCondition { if_match, if_none_match, if_modified_since, if_unmodified_since }
}

pub async fn object(store: &Store, request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
    let chosen = Chosen::of(&request);
    // s3s doesn't read the conditions on the destination.
    let demanded = (
        header_condition(&request.headers, http::header::IF_MATCH)?,
        header_condition(&request.headers, http::header::IF_NONE_MATCH)?,
    );
    let headers = request.headers;
    let input = request.input;
    let (bucket, key) = (input.bucket.as_str(), input.key.as_str());
    let condition = store.condition(store.options.conditions.copy, &chosen, demanded, (bucket, key)).await?;
    let from = source_condition(
        input.copy_source_if_match,
        input.copy_source_if_none_match,
        input.copy_source_if_modified_since,
        input.copy_source_if_unmodified_since,
    );
    let source = open(store, &input.copy_source, &from).await?;
    let replaces =
        input.metadata_directive.as_ref().is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
    let CopySource::Bucket { bucket: from_bucket, key: from_key, version_id } = &input.copy_source else {
        return Err(s3_error!(NotImplemented, "Only objects of this server can be copied"));
    };
    let onto_itself = **from_bucket == *bucket && **from_key == *key && version_id.is_none();
    if onto_itself && !replaces && input.storage_class.is_none() && input.server_side_encryption.is_none() {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's \
             metadata, storage class, website redirect location or encryption attributes."
        ));
    }
    if source.version.size > BODY_BYTES_MAX {
        return Err(s3_error!(
            InvalidRequest,
            "The specified copy source is larger than the maximum allowable size for a copy source"
        ));
    }

    let mut details = objects::details(store, &headers, input.metadata)?;
    if !replaces {
        let from = &source.version.details;
        details.metadata.clone_from(&from.metadata);
        details.headers.clone_from(&from.headers);
    }
    let named = input.checksum_algorithm.as_ref().map(|name| Algorithm::parse(name.as_str())).transpose()?;
    let kept = source.version.details.sum.as_ref().filter(|sum| !sum.composite).map(|sum| sum.algorithm);
    let algorithm = named.or(kept).unwrap_or(Algorithm::Crc64Nvme);
    let source_name = objects::shown_name(&source.bucket, source.version.name.clone());
    let size = source.version.size;
    let (mut content, md5, sum) = match source.link(store, algorithm).await? {
        Some(linked) => linked,
        None => {
            let received = source.read(store, 0..size, &[algorithm]).await?;
            let sum = received.sum(algorithm);
            (received.content, received.md5.to_vec(), sum)
        }
    };
    details.sum = sum;

    let mut write = store.begin(bucket, key, &condition, &chosen).await?;
    let etag = Store::etag(&details, &md5);
    let modified_ms = store.stamp_ms();
    let new = NewObject { key, size, etag: &etag, modified_ms, details: &details };
    let placed = versions::place(&mut write.tx, &write.bucket, write.current.as_ref(), &new).await?;
    store::add_segment(&mut write.tx, placed.id, size, &content, details.sum.as_ref()).await?;
    content.keep();
    store.commit(write.tx, placed.freed).await?;

    let sums = Sum::dto(details.sum.as_ref());
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(CopyObjectResult {
            e_tag: Some(reply::etag(&etag)),
            last_modified: Some(reply::time(modified_ms)),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            checksum_type: sums.checksum_type,
        }),
        copy_source_version_id: source_name,
        server_side_encryption: Some(reply::encryption(&details)),
        version_id: objects::shown_name(&write.bucket, placed.name),
        ..Default::default()
    }))
}

pub async fn part(
    store: &Store,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let input = request.input;
    let upload = multipart::find(store, &input.bucket, &input.key, &input.upload_id).await?;
    let from = source_condition(
        input.copy_source_if_match,
        input.copy_source_if_none_match,
        input.copy_source_if_modified_since,
        input.copy_source_if_unmodified_since,
    );
    let source = open(store, &input.copy_source, &from).await?;
    let size = source.version.size;
    let range = match input.copy_source_range.as_deref() {
        None => 0..size,
        Some(text) => exact_range(text, size)?,
    };
    let source_name = objects::shown_name(&source.bucket, source.version.name.clone());
    let algorithm = upload.algorithm();
    let mut received = source.read(store, range, &[algorithm]).await?;
    let part = multipart::store_part(store, &upload, input.part_number, &mut received).await?;
    let sums = Sum::dto(part.sum.as_ref().filter(|_| upload.details.algorithm.is_some()));
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(CopyPartResult {
            e_tag: Some(reply::etag(&part.etag)),
            last_modified: Some(reply::time(part.modified_ms)),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
        }),
        copy_source_version_id: source_name,
        server_side_encryption: Some(reply::encryption(&upload.details.object)),
        ..Default::default()
    }))
}

/// Unlike Range, a copy range names both ends and doesn't reach past the content.
fn exact_range(text: &str, size: u64) -> S3Result<Range<u64>> {
    let invalid = || {
        s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy"
        )
    };
    match s3s::dto::Range::parse(text) {
        Ok(s3s::dto::Range::Int { first, last: Some(last) }) if last < size => Ok(first..last + 1),
        Ok(s3s::dto::Range::Int { last: Some(_), .. }) => {
            Err(s3_error!(InvalidArgument, "Range specified is not valid for source object of size: {size}"))
        }
        _ => Err(invalid()),
    }
}
