//! GET and HEAD of objects: whole, by range or by part, under conditions.

use std::ops::Range;

use http::{HeaderMap, HeaderValue, StatusCode};
use s3s::dto::{
    ChecksumMode, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, StorageClass, Timestamp,
    TimestampFormat,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use sqlx::SqliteConnection;

use crate::checksums::Sum;
use crate::conditions::{self, ReadCondition, Verdict};
use crate::index::{self, Bucket, Segment, Version};
use crate::objects::shown_name;
use crate::reading;
use crate::reply;
use crate::store::Store;

/// The object a read is about: the newest, or the version with this id.
pub async fn find(
    conn: &mut SqliteConnection,
    bucket: &str,
    key: &str,
    name: Option<&str>,
) -> S3Result<(Bucket, Version)> {
    let (bucket, version) = match name {
        None => index::newest(conn, bucket, key).await?,
        Some(name) => index::named(conn, bucket, key, name).await?,
    };
    match version {
        Some(version) if version.marker => Err(reply::deleted(&version, name.is_some())),
        Some(version) => Ok((bucket, version)),
        None if name.is_some() => Err(s3_error!(NoSuchVersion, "The specified version does not exist.")),
        None => Err(reply::no_such_key()),
    }
}

fn obey(condition: &ReadCondition, version: &Version) -> S3Result<()> {
    match condition.check(version) {
        Verdict::Go => Ok(()),
        Verdict::Failed(header) => Err(conditions::precondition_failed(header)),
        Verdict::NotModified => {
            let mut error = S3Error::new(S3ErrorCode::NotModified);
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::try_from(format!("\"{}\"", version.etag)) {
                headers.insert(http::header::ETAG, value);
            }
            error.set_headers(headers);
            Err(error)
        }
    }
}

/// The bytes a read is about, with what the answer says of them.
struct Cut {
    bytes: Range<u64>,
    partial: bool,
    sum: Option<Sum>,
}

fn cut(version: &Version, segments: &[Segment], range: Option<s3s::dto::Range>, part: Option<i32>) -> S3Result<Cut> {
    if let Some(part) = part {
        if range.is_some() {
            return Err(s3_error!(InvalidRequest, "Cannot specify both Range header and partNumber query parameter"));
        }
        let position = usize::try_from(part).ok().and_then(|part| part.checked_sub(1));
        let (position, segment) =
            position.and_then(|position| Some((position, segments.get(position)?))).ok_or_else(|| {
                let status = http::StatusCode::RANGE_NOT_SATISFIABLE;
                reply::unlisted("InvalidPartNumber", status, "The requested partnumber is not satisfiable")
            })?;
        let start: u64 = segments.iter().take(position).map(|segment| segment.size).sum();
        return Ok(Cut { bytes: start..start + segment.size, partial: version.size > 0, sum: segment.sum.clone() });
    }
    let Some(range) = range else {
        return Ok(Cut { bytes: 0..version.size, partial: false, sum: version.details.sum.clone() });
    };
    let bytes = range.check(version.size).map_err(|_| {
        let mut error = s3_error!(InvalidRange, "The requested range is not satisfiable");
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::try_from(format!("bytes */{}", version.size)) {
            headers.insert(http::header::CONTENT_RANGE, value);
        }
        error.set_headers(headers);
        error
    })?;
    Ok(Cut { bytes, partial: true, sum: None })
}

impl Cut {
    fn length(&self) -> i64 {
        (self.bytes.end - self.bytes.start).cast_signed()
    }

    fn content_range(&self, version: &Version) -> Option<String> {
        self.partial
            .then(|| format!("bytes {}-{}/{}", self.bytes.start, self.bytes.end.saturating_sub(1), version.size))
    }
}

/// What GET and HEAD tell alike, as the fields of either output.
macro_rules! told {
    ($output:ident { $($field:ident: $value:expr),* }, $input:ident, $bucket:ident, $version:ident, $cut:ident) => {{
        let details = &$version.details;
        let kept = |name: &str| details.headers.get(name).cloned();
        let wanted = $input.checksum_mode.as_ref().is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
        let sums = Sum::dto($cut.sum.as_ref().filter(|_| wanted));
        let expires = kept("expires").and_then(|text| Timestamp::parse(TimestampFormat::HttpDate, &text).ok());
        let class = kept("x-amz-storage-class").filter(|class| class != StorageClass::STANDARD);
        $output {
            accept_ranges: Some("bytes".into()),
            cache_control: kept("cache-control"),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            checksum_type: sums.checksum_type,
            content_disposition: kept("content-disposition"),
            content_encoding: kept("content-encoding"),
            content_language: kept("content-language"),
            content_length: Some($cut.length()),
            content_range: $cut.content_range(&$version),
            content_type: kept("content-type").or_else(|| Some("binary/octet-stream".into())),
            e_tag: Some(reply::etag(&$version.etag)),
            expires,
            last_modified: Some(reply::time($version.modified_ms)),
            metadata: Some(details.metadata.clone().into_iter().collect()),
            parts_count: $input.part_number.and(details.parts),
            server_side_encryption: Some(reply::encryption(details)),
            storage_class: class.map(StorageClass::from),
            version_id: shown_name(&$bucket, $version.name.clone()),
            website_redirect_location: kept("x-amz-website-redirect-location"),
            $($field: $value,)*
            ..Default::default()
        }
    }};
}

pub async fn head(store: &Store, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
    let input = request.input;
    let mut tx = store.index.read().await?;
    let (bucket, version) = find(&mut tx, &input.bucket, &input.key, input.version_id.as_deref()).await?;
    let condition = ReadCondition {
        if_match: input.if_match,
        if_none_match: input.if_none_match,
        if_modified_since: input.if_modified_since,
        if_unmodified_since: input.if_unmodified_since,
    };
    obey(&condition, &version)?;
    let segments = match input.part_number {
        Some(_) => index::segments(&mut tx, version.id).await?,
        None => Vec::new(),
    };
    drop(tx);
    let cut = cut(&version, &segments, input.range, input.part_number)?;
    let status = if cut.partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    Ok(S3Response::with_status(told!(HeadObjectOutput {}, input, bucket, version, cut), status))
}

pub async fn get(store: &Store, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
    let input = request.input;
    let hold = store.blobs.hold().await;
    let mut tx = store.index.read().await?;
    let (bucket, version) = find(&mut tx, &input.bucket, &input.key, input.version_id.as_deref()).await?;
    let condition = ReadCondition {
        if_match: input.if_match,
        if_none_match: input.if_none_match,
        if_modified_since: input.if_modified_since,
        if_unmodified_since: input.if_unmodified_since,
    };
    obey(&condition, &version)?;
    let segments = index::segments(&mut tx, version.id).await?;
    let pin = store.blobs.pin(segments.iter().filter_map(|segment| segment.blob.clone()).collect());
    drop(tx);
    drop(hold);
    let cut = cut(&version, &segments, input.range, input.part_number)?;
    let body = reading::body(pin, segments, cut.bytes.clone());
    Ok(S3Response::new(told!(GetObjectOutput { body: Some(body) }, input, bucket, version, cut)))
}
