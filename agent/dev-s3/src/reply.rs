//! Small pieces that many answers share.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use s3s::dto::{ETag, ServerSideEncryption, Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, s3_error};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::index::{Details, Version};

pub fn etag(value: &str) -> ETag {
    ETag::Strong(value.to_owned())
}

pub fn time(ms: i64) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_millis(ms.unsigned_abs()))
}

/// Whole seconds since 1970.
pub fn seconds(time: &Timestamp) -> i64 {
    let mut text = Vec::new();
    if time.format(TimestampFormat::EpochSeconds, &mut text).is_err() {
        return 0;
    }
    let text = String::from_utf8_lossy(&text);
    text.split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or_default()
}

pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Buckets are always encrypted: by the service itself, or by a managed key that makes ETags opaque.
pub fn encryption(details: &Details) -> ServerSideEncryption {
    ServerSideEncryption::from_static(if details.kms {
        ServerSideEncryption::AWS_KMS
    } else {
        ServerSideEncryption::AES256
    })
}

pub fn no_such_key() -> S3Error {
    s3_error!(NoSuchKey, "The specified key does not exist.")
}

/// An error whose code s3s doesn't list, with its status.
pub fn unlisted(code: &'static str, status: StatusCode, message: &'static str) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(status);
    error
}

/// 404 for a key whose newest version is a delete marker, 405 for the marker asked for by its id.
pub fn deleted(version: &Version, by_id: bool) -> S3Error {
    let mut error = if by_id {
        s3_error!(MethodNotAllowed, "The specified method is not allowed against this resource.")
    } else {
        no_such_key()
    };
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("x-amz-delete-marker"), HeaderValue::from_static("true"));
    if let Ok(name) = HeaderValue::from_str(&version.name) {
        headers.insert(HeaderName::from_static("x-amz-version-id"), name);
    }
    if by_id {
        headers.insert(http::header::ALLOW, HeaderValue::from_static("DELETE"));
    }
    error.set_headers(headers);
    error
}
