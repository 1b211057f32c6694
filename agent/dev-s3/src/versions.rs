//! What a bucket's versioning makes of a write: which rows a PUT or a DELETE adds and takes away.
//!
//! Called inside a write transaction, after its conditions held.

use s3s::{S3Error, S3Result};
use sqlx::SqliteConnection;

use crate::index::{Bucket, Details, Version, Versioning};

/// The version id of objects that were written without versions.
pub const NULL: &str = "null";

/// A version that was added.
pub struct Placed {
    pub id: i64,
    pub name: String,
    /// Files that nothing refers to once the transaction is committed.
    pub freed: Vec<String>,
}

/// A new object as the newest version of its key. Its segments are added by the caller.
pub struct NewObject<'a> {
    pub key: &'a str,
    pub size: u64,
    pub etag: &'a str,
    pub modified_ms: i64,
    pub details: &'a Details,
}

/// Makes `object` the newest version; `current` is the one it follows.
pub async fn place(
    conn: &mut SqliteConnection,
    bucket: &Bucket,
    current: Option<&Version>,
    object: &NewObject<'_>,
) -> S3Result<Placed> {
    let details = object.details.to_json()?;
    let row = NewRow {
        key: object.key,
        marker: false,
        size: object.size,
        etag: object.etag,
        modified_ms: object.modified_ms,
        details: &details,
    };
    add(conn, bucket, current, &row).await
}

/// What became of a DELETE.
#[derive(Default)]
pub struct Removed {
    /// The delete marker that was added, or the version that was taken away.
    pub name: Option<String>,
    pub marker: bool,
    pub freed: Vec<String>,
}

/// DELETE without a version id: takes the object away, or covers it with a delete marker.
pub async fn remove_newest(
    conn: &mut SqliteConnection,
    bucket: &Bucket,
    current: Option<&Version>,
    key: &str,
    now_ms: i64,
) -> S3Result<Removed> {
    if bucket.versioning == Versioning::Never {
        let freed = match current {
            Some(version) => take_away(conn, version.id).await?,
            None => Vec::new(),
        };
        return Ok(Removed { name: None, marker: false, freed });
    }
    let row = NewRow { key, marker: true, size: 0, etag: "", modified_ms: now_ms, details: "{}" };
    let placed = add(conn, bucket, current, &row).await?;
    Ok(Removed { name: Some(placed.name), marker: true, freed: placed.freed })
}

/// DELETE of one version for good; the one before it becomes the newest.
pub async fn remove_version(
    conn: &mut SqliteConnection,
    bucket: &Bucket,
    key: &str,
    version: &Version,
) -> S3Result<Removed> {
    let freed = take_away(conn, version.id).await?;
    if version.latest {
        sqlx::query(
            "UPDATE versions SET latest = 1 WHERE id =
             (SELECT id FROM versions WHERE bucket = $1 AND key = $2 ORDER BY id DESC LIMIT 1)",
        )
        .bind(bucket.id)
        .bind(key.as_bytes())
        .execute(conn)
        .await
        .map_err(S3Error::internal_error)?;
    }
    Ok(Removed { name: Some(version.name.clone()), marker: version.marker, freed })
}

struct NewRow<'a> {
    key: &'a str,
    marker: bool,
    size: u64,
    etag: &'a str,
    modified_ms: i64,
    details: &'a str,
}

async fn add(
    conn: &mut SqliteConnection,
    bucket: &Bucket,
    current: Option<&Version>,
    row: &NewRow<'_>,
) -> S3Result<Placed> {
    let mut freed = Vec::new();
    let mut covered = current.map(|version| version.id);
    let name = match bucket.versioning {
        Versioning::Enabled => hex::encode(rand::random::<[u8; 16]>()),
        Versioning::Never | Versioning::Suspended => {
            let replaced: Option<i64> = match current {
                None => None,
                Some(version) if version.name == NULL => Some(version.id),
                Some(_) => {
                    sqlx::query_scalar("SELECT id FROM versions WHERE bucket = $1 AND key = $2 AND name = 'null'")
                        .bind(bucket.id)
                        .bind(row.key.as_bytes())
                        .fetch_optional(&mut *conn)
                        .await
                        .map_err(S3Error::internal_error)?
                }
            };
            if let Some(id) = replaced {
                freed = take_away(&mut *conn, id).await?;
                covered = covered.filter(|covered| *covered != id);
            }
            NULL.to_owned()
        }
    };
    if let Some(id) = covered {
        sqlx::query("UPDATE versions SET latest = 0 WHERE id = $1")
            .bind(id)
            .execute(&mut *conn)
            .await
            .map_err(S3Error::internal_error)?;
    }
    let added = sqlx::query(
        "INSERT INTO versions (bucket, key, name, latest, marker, size, etag, modified_ms, details)
         VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8)",
    )
    .bind(bucket.id)
    .bind(row.key.as_bytes())
    .bind(&name)
    .bind(row.marker)
    .bind(row.size.cast_signed())
    .bind(row.etag)
    .bind(row.modified_ms)
    .bind(row.details)
    .execute(conn)
    .await
    .map_err(S3Error::internal_error)?;
    Ok(Placed { id: added.last_insert_rowid(), name, freed })
}

async fn take_away(conn: &mut SqliteConnection, id: i64) -> S3Result<Vec<String>> {
    let freed = sqlx::query_scalar("SELECT blob FROM segments WHERE version = $1 AND blob IS NOT NULL")
        .bind(id)
        .fetch_all(&mut *conn)
        .await
        .map_err(S3Error::internal_error)?;
    sqlx::query("DELETE FROM versions WHERE id = $1").bind(id).execute(conn).await.map_err(S3Error::internal_error)?;
    Ok(freed)
}
