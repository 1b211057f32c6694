//! PUT of objects, and what a request may say about the object it makes.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use s3s::dto::{Metadata, PutObjectInput, PutObjectOutput};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::body;
use crate::checksums::{Algorithm, Claims, Sum};
use crate::faults::Chosen;
use crate::index::{Bucket, Details, Versioning};
use crate::reply;
use crate::store::{self, Store};
use crate::versions::{self, NewObject};

/// Sum of the lengths of names and values of user metadata.
const METADATA_BYTES_MAX: usize = 2048;

/// Headers that are kept with an object and sent back as they came.
const KEPT: [HeaderName; 6] = [
    http::header::CACHE_CONTROL,
    http::header::CONTENT_DISPOSITION,
    http::header::CONTENT_ENCODING,
    http::header::CONTENT_LANGUAGE,
    http::header::CONTENT_TYPE,
    http::header::EXPIRES,
];
const KEPT_AMZ: [&str; 2] = ["x-amz-storage-class", "x-amz-website-redirect-location"];
/// What would silently have no effect here is refused.
const REFUSED: [&str; 6] = [
    "x-amz-tagging",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-retain-until-date",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-write-offset-bytes",
];

/// What a request says about the object it makes.
pub fn details(store: &Store, headers: &HeaderMap, metadata: Option<Metadata>) -> S3Result<Details> {
    if let Some(name) = REFUSED.into_iter().find(|name| headers.contains_key(*name)) {
        return Err(s3_error!(
            NotImplemented,
            "A header you provided implies functionality that is not implemented: {name}"
        ));
    }
    let metadata = metadata.unwrap_or_default();
    if metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > METADATA_BYTES_MAX {
        return Err(s3_error!(MetadataTooLarge, "Your metadata headers exceed the maximum allowed metadata size"));
    }
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut kept: BTreeMap<String, String> = KEPT
        .iter()
        .map(HeaderName::as_str)
        .chain(KEPT_AMZ)
        .filter_map(|name| Some((name.to_owned(), text(name)?)))
        .collect();
    if let Some(encoding) = kept.remove("content-encoding") {
        // `aws-chunked` is how the request was sent, not how the content is encoded.
        let left: Vec<&str> = encoding.split(',').map(str::trim).filter(|name| *name != "aws-chunked").collect();
        if !left.is_empty() {
            kept.insert("content-encoding".into(), left.join(","));
        }
    }
    let kms = store.makes_etags_opaque()
        || text("x-amz-server-side-encryption").is_some_and(|name| name.starts_with("aws:kms"));
    Ok(Details { headers: kept, metadata: metadata.into_iter().collect(), sum: None, parts: None, kms })
}

/// A version id as answers tell it: not at all where the bucket never had versions.
pub fn shown_name(bucket: &Bucket, name: String) -> Option<String> {
    (bucket.versioning != Versioning::Never).then_some(name)
}

pub async fn put(store: &Store, mut request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
    let chosen = Chosen::of(&request);
    let mut details = details(store, &request.headers, request.input.metadata.take())?;
    let claims = Claims::of(&request)?;
    let algorithm = claims.algorithm.unwrap_or(Algorithm::Crc64Nvme);
    let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
    let demanded = (request.input.if_match.take(), request.input.if_none_match.take());
    let condition = store.condition(store.options.conditions.put, &chosen, demanded, (&bucket, &key)).await?;
    let (body, length) = (request.input.body.take(), request.input.content_length);
    let mut received = body::take(&store.blobs, &mut request, body, length, &claims, &[algorithm]).await?;
    details.sum = received.sum(algorithm);

    let mut write = store.begin(&bucket, &key, &condition, &chosen).await?;
    let etag = Store::etag(&details, &received.md5);
    let object =
        NewObject { key: &key, size: received.size, etag: &etag, modified_ms: store.stamp_ms(), details: &details };
    let placed = versions::place(&mut write.tx, &write.bucket, write.current.as_ref(), &object).await?;
    store::add_segment(&mut write.tx, placed.id, received.size, &received.content, details.sum.as_ref()).await?;
    received.content.keep();
    store.commit(write.tx, placed.freed).await?;

    let sums = Sum::dto(details.sum.as_ref());
    Ok(S3Response::new(PutObjectOutput {
        e_tag: Some(reply::etag(&etag)),
        version_id: shown_name(&write.bucket, placed.name),
        server_side_encryption: Some(reply::encryption(&details)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        checksum_type: sums.checksum_type,
        ..Default::default()
    }))
}
