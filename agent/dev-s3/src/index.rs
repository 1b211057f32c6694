//! The index: one SQLite database with every bucket, version and unfinished upload.
//!
//! One connection writes, so that writes queue here instead of failing as busy; several read, each a consistent
//! snapshot. Synchronous is off: a killed process loses nothing (the kernel has the pages), a power loss may.
//! Keys are blobs, so that their order is that of their bytes.

use std::path::Path;
use std::time::Duration;

use s3s::{S3Error, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Row, Sqlite, SqliteConnection, Transaction};
use std::collections::BTreeMap;

use crate::checksums::Sum;

/// Raised whenever the tables change; a folder of another format is refused.
const FORMAT: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE buckets (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        created_ms INTEGER NOT NULL,
        versioning TEXT NOT NULL DEFAULT ''
    );
    -- Rows are numbered in the order of their writes: the newest version of a key has the highest id.
    CREATE TABLE versions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        bucket INTEGER NOT NULL REFERENCES buckets (id),
        key BLOB NOT NULL,
        name TEXT NOT NULL,
        latest INTEGER NOT NULL,
        marker INTEGER NOT NULL,
        size INTEGER NOT NULL,
        etag TEXT NOT NULL,
        modified_ms INTEGER NOT NULL,
        details TEXT NOT NULL
    );
    CREATE INDEX versions_by_key ON versions (bucket, key, id DESC);
    CREATE UNIQUE INDEX versions_current ON versions (bucket, key) WHERE latest = 1;
    -- A body is the sequence of its segments: one, or one per part. Small ones are held here, others are files.
    CREATE TABLE segments (
        version INTEGER NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        size INTEGER NOT NULL,
        blob TEXT,
        data BLOB,
        sum TEXT NOT NULL,
        PRIMARY KEY (version, number)
    );
    CREATE INDEX segments_by_blob ON segments (blob) WHERE blob IS NOT NULL;
    CREATE TABLE uploads (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        bucket INTEGER NOT NULL REFERENCES buckets (id),
        key BLOB NOT NULL,
        name TEXT NOT NULL UNIQUE,
        initiated_ms INTEGER NOT NULL,
        details TEXT NOT NULL
    );
    CREATE INDEX uploads_by_key ON uploads (bucket, key, name);
    CREATE TABLE parts (
        upload INTEGER NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        size INTEGER NOT NULL,
        etag TEXT NOT NULL,
        md5 TEXT NOT NULL,
        modified_ms INTEGER NOT NULL,
        blob TEXT,
        data BLOB,
        sum TEXT NOT NULL,
        PRIMARY KEY (upload, number)
    );
    CREATE INDEX parts_by_blob ON parts (blob) WHERE blob IS NOT NULL;
";

pub struct Index {
    writer: SqlitePool,
    readers: SqlitePool,
}

#[derive(Debug, Clone)]
pub struct Bucket {
    pub id: i64,
    pub versioning: Versioning,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    Never,
    Enabled,
    Suspended,
}

impl Versioning {
    pub fn parse(text: &str) -> Self {
        match text {
            "Enabled" => Self::Enabled,
            "Suspended" => Self::Suspended,
            _ => Self::Never,
        }
    }
}

/// One row of `versions`: an object or a delete marker.
#[derive(Debug, Clone)]
pub struct Version {
    pub id: i64,
    /// The version id people see: `null` where the bucket has no versions.
    pub name: String,
    pub latest: bool,
    pub marker: bool,
    pub size: u64,
    pub etag: String,
    pub modified_ms: i64,
    pub details: Details,
}

/// What is only ever read together with its version.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    pub headers: BTreeMap<String, String>,
    pub metadata: BTreeMap<String, String>,
    pub sum: Option<Sum>,
    /// Number of parts of an object that was uploaded in parts.
    pub parts: Option<i32>,
    pub kms: bool,
}

impl Details {
    pub fn to_json(&self) -> S3Result<String> {
        serde_json::to_string(self).map_err(S3Error::internal_error)
    }

    pub fn from_json(text: &str) -> sqlx::Result<Self> {
        serde_json::from_str(text).map_err(|e| sqlx::Error::Decode(e.into()))
    }
}

impl Index {
    pub async fn open(path: &Path) -> sqlx::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Off)
            .busy_timeout(Duration::from_secs(5))
            .pragma("cache_size", "-16000")
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new().test_before_acquire(false).max_lifetime(None).idle_timeout(None);
        // Writes queue for as long as it takes: a refusal would look like a fault of the store.
        let pool = pool.acquire_timeout(Duration::from_secs(3600));
        let writer = pool.clone().max_connections(1).connect_with(options.clone()).await?;
        let format: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&writer).await?;
        if format == 0 {
            let mut tx = writer.begin().await?;
            sqlx::raw_sql(SCHEMA).execute(&mut *tx).await?;
            sqlx::raw_sql("PRAGMA user_version = 1").execute(&mut *tx).await?;
            tx.commit().await?;
        } else if format != FORMAT {
            let message = format!("format {format}, this program knows {FORMAT}");
            return Err(sqlx::Error::Configuration(message.into()));
        }
        let readers = pool.max_connections(4).connect_with(options.read_only(true)).await?;
        Ok(Self { writer, readers })
    }

    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// The one write transaction of the moment; others wait. Dropped without a commit, nothing happened.
    pub async fn write(&self) -> S3Result<Transaction<'static, Sqlite>> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(S3Error::internal_error)
    }

    /// For one query: what was committed before.
    pub async fn reader(&self) -> S3Result<PoolConnection<Sqlite>> {
        self.readers.acquire().await.map_err(S3Error::internal_error)
    }

    /// For several queries: one consistent view of what was committed before.
    pub async fn read(&self) -> S3Result<Transaction<'static, Sqlite>> {
        self.readers.begin().await.map_err(S3Error::internal_error)
    }

    pub async fn newest_ms(&self) -> sqlx::Result<i64> {
        sqlx::query_scalar("SELECT COALESCE(MAX(modified_ms), 0) FROM versions WHERE id > (SELECT COALESCE(MAX(id), 0) - 1000 FROM versions)")
            .fetch_one(&self.readers)
            .await
    }

    /// Files of bodies whose name begins with `shard` and that belong to a version or a part, in order.
    pub async fn blobs_of(&self, shard: &str) -> sqlx::Result<Vec<String>> {
        sqlx::query_scalar(
            "SELECT blob FROM segments WHERE blob >= $1 AND blob < $1 || 'g'
             UNION SELECT blob FROM parts WHERE blob >= $1 AND blob < $1 || 'g' ORDER BY 1",
        )
        .bind(shard)
        .fetch_all(&self.readers)
        .await
    }
}

/// A piece of a body.
#[derive(Debug, Clone)]
pub struct Segment {
    pub size: u64,
    /// Name of the file, or `None` when the bytes are in `data`.
    pub blob: Option<String>,
    pub data: Vec<u8>,
    pub sum: Option<Sum>,
}

pub async fn segments(conn: &mut SqliteConnection, version: i64) -> S3Result<Vec<Segment>> {
    let rows = sqlx::query("SELECT size, blob, data, sum FROM segments WHERE version = $1 ORDER BY number")
        .bind(version)
        .fetch_all(conn)
        .await
        .map_err(S3Error::internal_error)?;
    rows.iter().map(segment_from).collect::<sqlx::Result<_>>().map_err(S3Error::internal_error)
}

fn segment_from(row: &SqliteRow) -> sqlx::Result<Segment> {
    Ok(Segment {
        size: row.try_get::<i64, _>(0)?.unsigned_abs(),
        blob: row.try_get(1)?,
        data: row.try_get::<Option<Vec<u8>>, _>(2)?.unwrap_or_default(),
        sum: sum_from(row.try_get(3)?)?,
    })
}

pub fn sum_from(text: &str) -> sqlx::Result<Option<Sum>> {
    serde_json::from_str(text).map_err(|e| sqlx::Error::Decode(e.into()))
}

pub async fn bucket(conn: &mut SqliteConnection, name: &str) -> S3Result<Bucket> {
    let row = sqlx::query("SELECT id, versioning FROM buckets WHERE name = $1")
        .bind(name)
        .fetch_optional(conn)
        .await
        .map_err(S3Error::internal_error)?;
    let row = row.ok_or_else(|| s3_error!(NoSuchBucket, "The specified bucket does not exist"))?;
    bucket_from(&row).map_err(S3Error::internal_error)
}

fn bucket_from(row: &SqliteRow) -> sqlx::Result<Bucket> {
    Ok(Bucket { id: row.try_get(0)?, versioning: Versioning::parse(row.try_get(1)?) })
}

/// The bucket and the newest version of a key, which may be a delete marker.
pub async fn newest(conn: &mut SqliteConnection, bucket: &str, key: &str) -> S3Result<(Bucket, Option<Version>)> {
    let row = sqlx::query(
        "SELECT b.id, b.versioning, v.id, v.name, v.latest, v.marker, v.size, v.etag, v.modified_ms, v.details
         FROM buckets b LEFT JOIN versions v ON v.bucket = b.id AND v.key = $2 AND v.latest = 1 WHERE b.name = $1",
    )
    .bind(bucket)
    .bind(key.as_bytes())
    .fetch_optional(conn)
    .await
    .map_err(S3Error::internal_error)?;
    found(row)
}

/// The bucket and the version of a key with this id.
pub async fn named(
    conn: &mut SqliteConnection,
    bucket: &str,
    key: &str,
    name: &str,
) -> S3Result<(Bucket, Option<Version>)> {
    let row = sqlx::query(
        "SELECT b.id, b.versioning, v.id, v.name, v.latest, v.marker, v.size, v.etag, v.modified_ms, v.details
         FROM buckets b LEFT JOIN versions v ON v.bucket = b.id AND v.key = $2 AND v.name = $3 WHERE b.name = $1",
    )
    .bind(bucket)
    .bind(key.as_bytes())
    .bind(name)
    .fetch_optional(conn)
    .await
    .map_err(S3Error::internal_error)?;
    found(row)
}

fn found(row: Option<SqliteRow>) -> S3Result<(Bucket, Option<Version>)> {
    let row = row.ok_or_else(|| s3_error!(NoSuchBucket, "The specified bucket does not exist"))?;
    let bucket = bucket_from(&row).map_err(S3Error::internal_error)?;
    let version = version_from(&row).map_err(S3Error::internal_error)?;
    Ok((bucket, version))
}

fn version_from(row: &SqliteRow) -> sqlx::Result<Option<Version>> {
    let Some(id) = row.try_get::<Option<i64>, _>(2)? else { return Ok(None) };
    Ok(Some(Version {
        id,
        name: row.try_get(3)?,
        latest: row.try_get(4)?,
        marker: row.try_get(5)?,
        size: row.try_get::<i64, _>(6)?.unsigned_abs(),
        etag: row.try_get(7)?,
        modified_ms: row.try_get(8)?,
        details: Details::from_json(row.try_get(9)?)?,
    }))
}
