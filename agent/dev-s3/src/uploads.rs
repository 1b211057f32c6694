//! Listings of unfinished uploads and of their parts.

use s3s::dto::{
    ChecksumAlgorithm, ChecksumType, CommonPrefix, Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListPartsInput, ListPartsOutput, MultipartUpload, Part, StorageClass,
};
use s3s::{S3Error, S3Request, S3Response, S3Result};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::buckets::owner;
use crate::checksums::Sum;
use crate::index;
use crate::listing::{self, Writing};
use crate::multipart::{self, UploadDetails};
use crate::options::PAGE_SIZE_MAX;
use crate::reply;
use crate::store::Store;

fn initiator() -> Initiator {
    let owner = owner();
    Initiator { display_name: owner.display_name, id: owner.id }
}

fn checksum_kind(details: &UploadDetails) -> (Option<ChecksumAlgorithm>, Option<ChecksumType>) {
    let kind = if details.composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
    let algorithm = details.algorithm;
    (
        algorithm.map(|algorithm| ChecksumAlgorithm::from_static(algorithm.name())),
        algorithm.map(|_| ChecksumType::from_static(kind)),
    )
}

fn part(row: &SqliteRow) -> sqlx::Result<Part> {
    let sum = index::sum_from(row.try_get(4)?)?;
    let sums = Sum::dto(sum.as_ref());
    Ok(Part {
        part_number: Some(row.try_get(0)?),
        size: Some(row.try_get(1)?),
        e_tag: Some(reply::etag(row.try_get(2)?)),
        last_modified: Some(reply::time(row.try_get(3)?)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
    })
}

pub async fn list_parts(store: &Store, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
    let input = request.input;
    let upload = multipart::find(store, &input.bucket, &input.key, &input.upload_id).await?;
    let limit = listing::page_limit(input.max_parts, PAGE_SIZE_MAX, "max-parts")?;
    let marker = input.part_number_marker.unwrap_or(0);
    let rows = sqlx::query(
        "SELECT number, size, etag, modified_ms, sum FROM parts WHERE upload = $1 AND number > $2 ORDER BY number LIMIT $3",
    )
    .bind(upload.id)
    .bind(marker)
    .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX))
    .fetch_all(&mut *store.index.reader().await?)
    .await
    .map_err(S3Error::internal_error)?;
    let truncated = limit > 0 && rows.len() > limit;
    let parts: Vec<Part> =
        rows.iter().take(limit).map(part).collect::<sqlx::Result<_>>().map_err(S3Error::internal_error)?;
    let (checksum_algorithm, checksum_type) = checksum_kind(&upload.details);
    Ok(S3Response::new(ListPartsOutput {
        next_part_number_marker: parts.last().and_then(|part| part.part_number).filter(|_| truncated),
        parts: Some(parts),
        is_truncated: Some(truncated),
        part_number_marker: Some(marker),
        max_parts: i32::try_from(limit).ok(),
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        checksum_algorithm,
        checksum_type,
        initiator: Some(initiator()),
        owner: Some(owner()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..Default::default()
    }))
}

enum Entry {
    Upload(Box<MultipartUpload>),
    Prefix(String),
}

pub async fn list_uploads(
    store: &Store,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = request.input;
    let writing = Writing::new(input.encoding_type.as_ref())?;
    let limit = listing::page_limit(input.max_uploads, PAGE_SIZE_MAX, "max-uploads")?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = input.delimiter.clone().unwrap_or_default();
    let marker = input.key_marker.clone().unwrap_or_default();
    let mut tx = store.index.read().await?;
    let bucket = index::bucket(&mut tx, &input.bucket).await?;
    // Unfinished uploads are few: all of them are read, and cut down here.
    let rows = sqlx::query(
        "SELECT key, name, initiated_ms, details FROM uploads
         WHERE bucket = $1 AND key >= $2 AND key < $3 AND (key > $4 OR (key = $4 AND name > $5)) ORDER BY key, name",
    )
    .bind(bucket.id)
    .bind(prefix.as_bytes())
    .bind(listing::behind(prefix.as_bytes()))
    .bind(marker.as_bytes())
    // Without an upload to begin behind, all uploads of the marked key are done with.
    .bind(input.upload_id_marker.as_deref().filter(|name| !name.is_empty()).unwrap_or("\u{10FFFF}"))
    .fetch_all(&mut *tx)
    .await
    .map_err(S3Error::internal_error)?;
    drop(tx);

    let mut entries: Vec<(String, Entry)> = Vec::new();
    for row in &rows {
        let key: Vec<u8> = row.try_get(0).map_err(S3Error::internal_error)?;
        let key = String::from_utf8_lossy(&key).into_owned();
        let common = (!delimiter.is_empty())
            .then(|| key.get(prefix.len()..)?.find(&delimiter).map(|at| prefix.len() + at + delimiter.len()))
            .flatten()
            .and_then(|end| key.get(..end));
        if let Some(common) = common {
            let known = entries.last().is_some_and(|(last, entry)| matches!(entry, Entry::Prefix(_)) && last == common);
            if !known && common != marker {
                entries.push((common.to_owned(), Entry::Prefix(common.to_owned())));
            }
        } else {
            let upload = upload(row, writing, &key).map_err(S3Error::internal_error)?;
            entries.push((key, Entry::Upload(Box::new(upload))));
        }
        if entries.len() > limit {
            break;
        }
    }
    let truncated = limit > 0 && entries.len() > limit;
    entries.truncate(limit);
    let (mut next_key_marker, mut next_upload_id_marker) = (None, None);
    if let Some((key, entry)) = entries.last().filter(|_| truncated) {
        next_key_marker = Some(writing.key(key.as_bytes()));
        if let Entry::Upload(upload) = entry {
            next_upload_id_marker.clone_from(&upload.upload_id);
        }
    }
    let (mut uploads, mut prefixes) = (Vec::new(), Vec::new());
    for (_, entry) in entries {
        match entry {
            Entry::Upload(upload) => uploads.push(*upload),
            Entry::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(writing.key(prefix.as_bytes())) }),
        }
    }
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        uploads: Some(uploads),
        common_prefixes: (!prefixes.is_empty()).then_some(prefixes),
        is_truncated: Some(truncated),
        next_key_marker,
        next_upload_id_marker,
        key_marker: Some(writing.key(marker.as_bytes())),
        upload_id_marker: input.upload_id_marker,
        max_uploads: i32::try_from(limit).ok(),
        prefix: Some(writing.key(prefix.as_bytes())),
        delimiter: writing.option(input.delimiter.as_ref()),
        encoding_type: input.encoding_type,
        request_charged: None,
    }))
}

fn upload(row: &SqliteRow, writing: Writing, key: &str) -> sqlx::Result<MultipartUpload> {
    let details: &str = row.try_get(3)?;
    let details: UploadDetails = serde_json::from_str(details).map_err(|e| sqlx::Error::Decode(e.into()))?;
    let (checksum_algorithm, checksum_type) = checksum_kind(&details);
    Ok(MultipartUpload {
        key: Some(writing.key(key.as_bytes())),
        upload_id: Some(row.try_get(1)?),
        initiated: Some(reply::time(row.try_get(2)?)),
        checksum_algorithm,
        checksum_type,
        initiator: Some(initiator()),
        owner: Some(owner()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
    })
}
