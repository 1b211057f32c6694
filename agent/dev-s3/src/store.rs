//! What all operations share: the index, the bodies, the clock, and the way every write goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use s3s::dto::ETagCondition;
use s3s::{S3Error, S3Result};
use sqlx::{Sqlite, SqliteConnection, Transaction};

use crate::blobs::Blobs;
use crate::body::Content;
use crate::checksums::{Algorithm, Sum};
use crate::conditions::{self, WriteCondition};
use crate::faults::{Chosen, Effect};
use crate::index::{self, Bucket, Details, Index, Version};
use crate::options::{Condition, Etags, Options};
use crate::versions::{self, NewObject};
use crate::{body, reply};

pub struct Store {
    pub index: Index,
    pub blobs: Arc<Blobs>,
    pub options: Options,
    last_ms: AtomicI64,
}

/// A write whose conditions hold, until it is committed or dropped.
pub struct Write {
    pub tx: Transaction<'static, Sqlite>,
    pub bucket: Bucket,
    pub current: Option<Version>,
}

impl Store {
    pub fn new(index: Index, blobs: Blobs, options: Options, newest_ms: i64) -> Self {
        Self { index, blobs: Arc::new(blobs), options, last_ms: AtomicI64::new(newest_ms) }
    }

    /// The time of a write: never before that of an earlier write. Called inside the write transaction.
    pub fn stamp_ms(&self) -> i64 {
        let now = reply::now_ms();
        self.last_ms.fetch_max(now, Ordering::SeqCst).max(now)
    }

    /// The ETag of a body with this MD5, as long as nothing makes it opaque.
    pub fn etag(details: &Details, md5: &[u8]) -> String {
        if details.kms { hex::encode(rand::random::<[u8; 16]>()) } else { hex::encode(md5) }
    }

    pub fn makes_etags_opaque(&self) -> bool {
        self.options.etags == Etags::Kms
    }

    /// What a write demands, unless this server or a fault ignores it. Notes what is there as the request arrives.
    pub async fn condition(
        &self,
        kept: Condition,
        chosen: &Chosen,
        (if_match, if_none_match): (Option<ETagCondition>, Option<ETagCondition>),
        (bucket, key): (&str, &str),
    ) -> S3Result<WriteCondition> {
        let mut condition = WriteCondition::new(if_match, if_none_match)?;
        if kept == Condition::Refused && !condition.is_empty() {
            return Err(conditions::not_implemented());
        }
        if kept == Condition::Ignored || chosen.ignores_conditions() {
            return Ok(WriteCondition::default());
        }
        if !condition.is_empty() {
            let (_, current) = index::newest(&mut *self.index.reader().await?, bucket, key).await?;
            condition.note_arrival(current.as_ref());
        }
        Ok(condition)
    }

    /// Begins a write of one key: conditions are evaluated here and hold until it is committed.
    pub async fn begin(&self, bucket: &str, key: &str, condition: &WriteCondition, chosen: &Chosen) -> S3Result<Write> {
        for effect in chosen.iter() {
            match effect {
                Effect::StrangerPuts(content) => self.stranger(bucket, key, Some(content)).await?,
                Effect::StrangerDeletes => self.stranger(bucket, key, None).await?,
                _ => {}
            }
        }
        let mut tx = self.index.write().await?;
        let (bucket, current) = index::newest(&mut tx, bucket, key).await?;
        condition.check(current.as_ref())?;
        Ok(Write { tx, bucket, current })
    }

    /// Makes a write visible and removes the files it freed.
    pub async fn commit(&self, tx: Transaction<'static, Sqlite>, freed: Vec<String>) -> S3Result<()> {
        tx.commit().await.map_err(S3Error::internal_error)?;
        self.blobs.discard(freed).await;
        Ok(())
    }

    async fn stranger(&self, bucket: &str, key: &str, content: Option<&[u8]>) -> S3Result<()> {
        let mut tx = self.index.write().await?;
        let (bucket, current) = index::newest(&mut tx, bucket, key).await?;
        let modified_ms = self.stamp_ms();
        let Some(content) = content else {
            let removed = versions::remove_newest(&mut tx, &bucket, current.as_ref(), key, modified_ms).await?;
            return self.commit(tx, removed.freed).await;
        };
        let mut taker = body::Taker::new(&self.blobs, &[Algorithm::Crc64Nvme]);
        taker.push(content).await?;
        let mut received = taker.finish().await?;
        let details =
            Details { sum: received.sum(Algorithm::Crc64Nvme), kms: self.makes_etags_opaque(), ..Details::default() };
        let etag = Self::etag(&details, &received.md5);
        let object = NewObject { key, size: received.size, etag: &etag, modified_ms, details: &details };
        let placed = versions::place(&mut tx, &bucket, current.as_ref(), &object).await?;
        add_segment(&mut tx, placed.id, received.size, &received.content, details.sum.as_ref()).await?;
        received.content.keep();
        self.commit(tx, placed.freed).await
    }
}

/// The one segment of an object that was not uploaded in parts.
pub async fn add_segment(
    conn: &mut SqliteConnection,
    version: i64,
    size: u64,
    content: &Content,
    sum: Option<&Sum>,
) -> S3Result<()> {
    let (blob, data) = content.columns();
    let sum = serde_json::to_string(&sum).map_err(S3Error::internal_error)?;
    sqlx::query("INSERT INTO segments (version, number, size, blob, data, sum) VALUES ($1, 1, $2, $3, $4, $5)")
        .bind(version)
        .bind(size.cast_signed())
        .bind(blob)
        .bind(data)
        .bind(sum)
        .execute(conn)
        .await
        .map_err(S3Error::internal_error)?;
    Ok(())
}
