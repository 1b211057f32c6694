//! Uploads in parts: begun, filled, completed or aborted.
//!
//! Completing moves the parts' bodies under the new version without reading them, in one transaction. After a lost
//! reply the upload is gone: a second CompleteMultipartUpload answers NoSuchUpload.

use std::collections::BTreeMap;

use md5::{Digest as _, Md5};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, Checksum, ChecksumAlgorithm, ChecksumType,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use sqlx::{Row, SqliteConnection};

pub use crate::uploads::{list_parts, list_uploads};

use crate::body::{self, Received};
use crate::checksums::{Algorithm, Claims, Sum};
use crate::conditions::WriteCondition;
use crate::faults::Chosen;
use crate::index::{self, Details};
use crate::objects;
use crate::reply;
use crate::store::Store;
use crate::versions::{self, NewObject};

/// Every part but the last is at least this large.
const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;
const PARTS_MAX: i32 = 10_000;

pub struct Upload {
    pub id: i64,
    pub details: UploadDetails,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UploadDetails {
    pub object: Details,
    /// As named when the upload began.
    pub algorithm: Option<Algorithm>,
    /// The object's checksum is one over the parts' checksums.
    pub composite: bool,
}

impl Upload {
    pub fn algorithm(&self) -> Algorithm {
        self.details.algorithm.unwrap_or(Algorithm::Crc64Nvme)
    }
}

pub struct StoredPart {
    pub etag: String,
    pub md5: String,
    pub size: u64,
    pub modified_ms: i64,
    pub sum: Option<Sum>,
}

fn no_such_upload() -> S3Error {
    s3_error!(
        NoSuchUpload,
        "The specified multipart upload does not exist. The upload ID might be invalid, or the multipart upload might have \
         been aborted or completed."
    )
}

pub async fn find(store: &Store, bucket: &str, key: &str, name: &str) -> S3Result<Upload> {
    find_in(&mut *store.index.reader().await?, bucket, key, name).await
}

async fn find_in(conn: &mut SqliteConnection, bucket: &str, key: &str, name: &str) -> S3Result<Upload> {
    let bucket = index::bucket(conn, bucket).await?;
    let row = sqlx::query("SELECT id, details FROM uploads WHERE name = $1 AND bucket = $2 AND key = $3")
        .bind(name)
        .bind(bucket.id)
        .bind(key.as_bytes())
        .fetch_optional(conn)
        .await
        .map_err(S3Error::internal_error)?
        .ok_or_else(no_such_upload)?;
    let id = row.try_get(0).map_err(S3Error::internal_error)?;
    let details: &str = row.try_get(1).map_err(S3Error::internal_error)?;
    Ok(Upload { id, details: serde_json::from_str(details).map_err(S3Error::internal_error)? })
}

fn composite(algorithm: Option<Algorithm>, asked: Option<&ChecksumType>) -> S3Result<bool> {
    let full_only = algorithm.is_none_or(|algorithm| algorithm == Algorithm::Crc64Nvme);
    let composite_only = matches!(algorithm, Some(Algorithm::Sha1 | Algorithm::Sha256));
    let composite = match asked.map(ChecksumType::as_str) {
        None => !full_only,
        Some(kind) => kind == ChecksumType::COMPOSITE,
    };
    if (composite && full_only) || (!composite && composite_only) {
        let kind = if composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
        let name = algorithm.map_or("default", Algorithm::name);
        return Err(s3_error!(
            InvalidRequest,
            "The {kind} checksum type cannot be used with the {name} checksum algorithm."
        ));
    }
    Ok(composite)
}

pub async fn create(
    store: &Store,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let input = request.input;
    let object = objects::details(store, &request.headers, input.metadata)?;
    let algorithm = input.checksum_algorithm.as_ref().map(|name| Algorithm::parse(name.as_str())).transpose()?;
    let composite = composite(algorithm, input.checksum_type.as_ref())?;
    let details = UploadDetails { object, algorithm, composite };
    let json = serde_json::to_string(&details).map_err(S3Error::internal_error)?;

    let mut tx = store.index.write().await?;
    let bucket = index::bucket(&mut tx, &input.bucket).await?;
    let initiated_ms = store.stamp_ms();
    // Uploads of one key are listed in the order they began.
    let name = format!("{initiated_ms:012x}{}", hex::encode(rand::random::<[u8; 16]>()));
    sqlx::query("INSERT INTO uploads (bucket, key, name, initiated_ms, details) VALUES ($1, $2, $3, $4, $5)")
        .bind(bucket.id)
        .bind(input.key.as_bytes())
        .bind(&name)
        .bind(initiated_ms)
        .bind(json)
        .execute(&mut *tx)
        .await
        .map_err(S3Error::internal_error)?;
    store.commit(tx, Vec::new()).await?;

    let kind = if composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(name),
        checksum_algorithm: algorithm.map(|algorithm| ChecksumAlgorithm::from_static(algorithm.name())),
        checksum_type: algorithm.map(|_| ChecksumType::from_static(kind)),
        server_side_encryption: Some(reply::encryption(&details.object)),
        ..Default::default()
    }))
}

pub async fn upload_part(
    store: &Store,
    mut request: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let number = request.input.part_number;
    let upload = find(store, &request.input.bucket, &request.input.key, &request.input.upload_id).await?;
    let claims = Claims::of(&request)?;
    if let (Some(expected), Some(actual)) = (upload.details.algorithm, claims.algorithm)
        && expected != actual
    {
        return Err(s3_error!(
            InvalidRequest,
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            expected.name().to_lowercase(),
            actual.name().to_lowercase()
        ));
    }
    let algorithms: Vec<Algorithm> = [Some(upload.algorithm()), claims.algorithm].into_iter().flatten().collect();
    let (body, length) = (request.input.body.take(), request.input.content_length);
    let mut received = body::take(&store.blobs, &mut request, body, length, &claims, &algorithms).await?;
    let part = store_part(store, &upload, number, &mut received).await?;
    let shown = claims.algorithm.or(upload.details.algorithm);
    let sums = Sum::dto(shown.and_then(|algorithm| received.sum(algorithm)).as_ref());
    Ok(S3Response::new(UploadPartOutput {
        e_tag: Some(reply::etag(&part.etag)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        server_side_encryption: Some(reply::encryption(&upload.details.object)),
        ..Default::default()
    }))
}

/// Makes a received body a part of an upload, in the place of an earlier one of the same number.
pub async fn store_part(store: &Store, upload: &Upload, number: i32, received: &mut Received) -> S3Result<StoredPart> {
    if !(1..=PARTS_MAX).contains(&number) {
        return Err(s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive"));
    }
    let md5 = hex::encode(received.md5);
    let etag = Store::etag(&upload.details.object, &received.md5);
    let sum = received.sum(upload.algorithm());
    let json = serde_json::to_string(&sum).map_err(S3Error::internal_error)?;
    let (blob, data) = received.content.columns();
    let (blob, data) = (blob.map(str::to_owned), data.map(<[u8]>::to_vec));

    let mut tx = store.index.write().await?;
    let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM uploads WHERE id = $1)")
        .bind(upload.id)
        .fetch_one(&mut *tx)
        .await
        .map_err(S3Error::internal_error)?;
    if !there {
        return Err(no_such_upload());
    }
    let freed = sqlx::query_scalar("SELECT blob FROM parts WHERE upload = $1 AND number = $2 AND blob IS NOT NULL")
        .bind(upload.id)
        .bind(number)
        .fetch_all(&mut *tx)
        .await
        .map_err(S3Error::internal_error)?;
    let modified_ms = store.stamp_ms();
    sqlx::query(
        "INSERT OR REPLACE INTO parts (upload, number, size, etag, md5, modified_ms, blob, data, sum)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(upload.id)
    .bind(number)
    .bind(received.size.cast_signed())
    .bind(&etag)
    .bind(&md5)
    .bind(modified_ms)
    .bind(blob)
    .bind(data)
    .bind(json)
    .execute(&mut *tx)
    .await
    .map_err(S3Error::internal_error)?;
    received.content.keep();
    store.commit(tx, freed).await?;
    Ok(StoredPart { etag, md5, size: received.size, modified_ms, sum })
}

async fn stored_parts(conn: &mut SqliteConnection, upload: i64) -> S3Result<BTreeMap<i32, StoredPart>> {
    let rows =
        sqlx::query("SELECT number, etag, md5, size, modified_ms, sum FROM parts WHERE upload = $1 ORDER BY number")
            .bind(upload)
            .fetch_all(conn)
            .await
            .map_err(S3Error::internal_error)?;
    let parts = rows.iter().map(|row| {
        let part = StoredPart {
            etag: row.try_get(1)?,
            md5: row.try_get(2)?,
            size: row.try_get::<i64, _>(3)?.unsigned_abs(),
            modified_ms: row.try_get(4)?,
            sum: index::sum_from(row.try_get(5)?)?,
        };
        Ok((row.try_get(0)?, part))
    });
    parts.collect::<sqlx::Result<_>>().map_err(S3Error::internal_error)
}

/// The stored parts that a request lists, in order, or what is wrong with its list.
fn listed<'p>(
    upload: &Upload,
    stored: &'p BTreeMap<i32, StoredPart>,
    asked: &[CompletedPart],
) -> S3Result<Vec<(i32, &'p StoredPart)>> {
    if asked.is_empty() {
        return Err(s3_error!(
            MalformedXML,
            "The XML you provided was not well-formed or did not validate against our published schema"
        ));
    }
    let invalid = || {
        s3_error!(
            InvalidPart,
            "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified \
             entity tag may not match the part's entity tag."
        )
    };
    let mut parts: Vec<(i32, &StoredPart)> = Vec::with_capacity(asked.len());
    for entry in asked {
        let number = entry.part_number.ok_or_else(invalid)?;
        if parts.last().is_some_and(|(before, _)| *before >= number) {
            return Err(s3_error!(
                InvalidPartOrder,
                "The list of parts was not in ascending order. Parts must be ordered by part number."
            ));
        }
        let part = stored.get(&number).ok_or_else(invalid)?;
        if entry.e_tag.as_ref().is_none_or(|etag| etag.value() != part.etag) {
            return Err(invalid());
        }
        let claimed = Checksum {
            checksum_crc32: entry.checksum_crc32.clone(),
            checksum_crc32c: entry.checksum_crc32c.clone(),
            checksum_crc64nvme: entry.checksum_crc64nvme.clone(),
            checksum_sha1: entry.checksum_sha1.clone(),
            checksum_sha256: entry.checksum_sha256.clone(),
            checksum_type: None,
        };
        match (upload.algorithm().of(&claimed), &part.sum) {
            (Some(claimed), Some(sum)) if *claimed != sum.value => return Err(invalid()),
            (None, _) if upload.details.composite => {
                return Err(s3_error!(
                    InvalidRequest,
                    "The upload was created using a {} checksum. The complete request must include the checksum for each part. \
                     It was missing for part {number} in the request.",
                    upload.algorithm().name().to_lowercase()
                ));
            }
            _ => {}
        }
        parts.push((number, part));
    }
    let all_but_last = &parts[..parts.len() - 1];
    if all_but_last.iter().any(|(_, part)| part.size < PART_BYTES_MIN) {
        return Err(s3_error!(EntityTooSmall, "Your proposed upload is smaller than the minimum allowed size"));
    }
    Ok(parts)
}

pub async fn complete(
    store: &Store,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let chosen = Chosen::of(&request);
    let input = request.input;
    let (bucket, key) = (input.bucket.as_str(), input.key.as_str());
    find(store, bucket, key, &input.upload_id).await?;
    let demanded = (input.if_match, input.if_none_match);
    let condition = store.condition(store.options.conditions.complete, &chosen, demanded, (bucket, key)).await?;

    // Whether the upload is still there counts before the conditions: a lost reply must show as NoSuchUpload.
    let mut write = store.begin(bucket, key, &WriteCondition::default(), &chosen).await?;
    let upload = find_in(&mut write.tx, bucket, key, &input.upload_id).await?;
    let stored = stored_parts(&mut write.tx, upload.id).await?;
    let asked = input.multipart_upload.and_then(|list| list.parts).unwrap_or_default();
    let parts = listed(&upload, &stored, &asked)?;
    let size = parts.iter().map(|(_, part)| part.size).sum();
    if input.mpu_object_size.is_some_and(|claimed| claimed.unsigned_abs() != size) {
        return Err(s3_error!(
            InvalidRequest,
            "The provided 'x-amz-mp-object-size' header does not match what was computed."
        ));
    }
    let sums: Vec<(Sum, u64)> = parts.iter().filter_map(|(_, part)| Some((part.sum.clone()?, part.size))).collect();
    let sum = Sum::of_parts(upload.algorithm(), upload.details.composite, &sums)?;
    let claimed = Checksum {
        checksum_crc32: input.checksum_crc32,
        checksum_crc32c: input.checksum_crc32c,
        checksum_crc64nvme: input.checksum_crc64nvme,
        checksum_sha1: input.checksum_sha1,
        checksum_sha256: input.checksum_sha256,
        checksum_type: None,
    };
    if upload.algorithm().of(&claimed).is_some_and(|claimed| *claimed != sum.value) {
        return Err(s3_error!(
            BadDigest,
            "The {} you specified did not match the calculated checksum.",
            sum.algorithm.name()
        ));
    }
    condition.check(write.current.as_ref())?;

    let mut details = upload.details.object.clone();
    details.sum = Some(sum);
    details.parts = i32::try_from(parts.len()).ok();
    let etag = format!("{}-{}", Store::etag(&details, &md5_of_md5s(&parts)?), parts.len());
    let new = NewObject { key, size, etag: &etag, modified_ms: store.stamp_ms(), details: &details };
    let placed = versions::place(&mut write.tx, &write.bucket, write.current.as_ref(), &new).await?;
    for (number, _) in &parts {
        sqlx::query(
            "INSERT INTO segments (version, number, size, blob, data, sum)
             SELECT $1, number, size, blob, data, sum FROM parts WHERE upload = $2 AND number = $3",
        )
        .bind(placed.id)
        .bind(upload.id)
        .bind(number)
        .execute(&mut *write.tx)
        .await
        .map_err(S3Error::internal_error)?;
    }
    let mut freed = placed.freed;
    freed.extend(forget(&mut write.tx, upload.id).await?);
    store.commit(write.tx, freed).await?;

    let sums = Sum::dto(details.sum.as_ref());
    Ok(S3Response::new(CompleteMultipartUploadOutput {
        location: Some(format!("/{bucket}/{key}")),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(reply::etag(&etag)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        checksum_type: sums.checksum_type,
        server_side_encryption: Some(reply::encryption(&details)),
        version_id: objects::shown_name(&write.bucket, placed.name),
        ..Default::default()
    }))
}

fn md5_of_md5s(parts: &[(i32, &StoredPart)]) -> S3Result<Vec<u8>> {
    let mut all = Md5::new();
    for (_, part) in parts {
        all.update(hex::decode(&part.md5).map_err(S3Error::internal_error)?);
    }
    Ok(all.finalize().to_vec())
}

/// Removes an upload; returns the files of those of its parts that no version took over.
async fn forget(conn: &mut SqliteConnection, upload: i64) -> S3Result<Vec<String>> {
    let freed = sqlx::query_scalar(
        "SELECT blob FROM parts WHERE upload = $1 AND blob IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM segments WHERE segments.blob = parts.blob)",
    )
    .bind(upload)
    .fetch_all(&mut *conn)
    .await
    .map_err(S3Error::internal_error)?;
    sqlx::query("DELETE FROM uploads WHERE id = $1")
        .bind(upload)
        .execute(conn)
        .await
        .map_err(S3Error::internal_error)?;
    Ok(freed)
}

pub async fn abort(
    store: &Store,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = request.input;
    let mut tx = store.index.write().await?;
    let upload = find_in(&mut tx, &input.bucket, &input.key, &input.upload_id).await?;
    let freed = forget(&mut tx, upload.id).await?;
    store.commit(tx, freed).await?;
    Ok(S3Response::with_status(AbortMultipartUploadOutput::default(), http::StatusCode::NO_CONTENT))
}
