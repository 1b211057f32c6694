//! Buckets: making, finding and removing them, and their versioning.

use s3s::dto::{
    Bucket as BucketDto, BucketLocationConstraint, BucketVersioningStatus, CreateBucketInput, CreateBucketOutput,
    DeleteBucketInput, DeleteBucketOutput, GetBucketLocationInput, GetBucketLocationOutput, GetBucketVersioningInput,
    GetBucketVersioningOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput, ListBucketsOutput, Owner,
    PutBucketVersioningInput, PutBucketVersioningOutput,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use crate::index;
use crate::reply;
use crate::store::Store;

const DEFAULT_REGION: &str = "us-east-1";

fn region(store: &Store) -> &str {
    store.options.region.as_deref().unwrap_or(DEFAULT_REGION)
}

/// Whoever owns everything here.
pub fn owner() -> Owner {
    Owner { display_name: Some("gosync".into()), id: Some("gosync".into()) }
}

/// Makes a bucket that may exist, as asked for at start.
pub async fn ensure(store: &Store, name: &str, versions: bool) -> S3Result<()> {
    let mut tx = store.index.write().await?;
    sqlx::query("INSERT INTO buckets (name, created_ms) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(name)
        .bind(reply::now_ms())
        .execute(&mut *tx)
        .await
        .map_err(S3Error::internal_error)?;
    if versions {
        sqlx::query("UPDATE buckets SET versioning = 'Enabled' WHERE name = $1")
            .bind(name)
            .execute(&mut *tx)
            .await
            .map_err(S3Error::internal_error)?;
    }
    store.commit(tx, Vec::new()).await
}

pub async fn create(store: &Store, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
    let name = request.input.bucket;
    let mut tx = store.index.write().await?;
    let made = sqlx::query("INSERT INTO buckets (name, created_ms) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(&name)
        .bind(reply::now_ms())
        .execute(&mut *tx)
        .await
        .map_err(S3Error::internal_error)?;
    if made.rows_affected() == 0 {
        return Err(s3_error!(
            BucketAlreadyOwnedByYou,
            "Your previous request to create the named bucket succeeded and you already own it."
        ));
    }
    store.commit(tx, Vec::new()).await?;
    Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{name}")) }))
}

pub async fn delete(store: &Store, request: S3Request<DeleteBucketInput>) -> S3Result<S3Response<DeleteBucketOutput>> {
    let mut tx = store.index.write().await?;
    let bucket = index::bucket(&mut tx, &request.input.bucket).await?;
    let used: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM versions WHERE bucket = $1) OR EXISTS (SELECT 1 FROM uploads WHERE bucket = $1)",
    )
    .bind(bucket.id)
    .fetch_one(&mut *tx)
    .await
    .map_err(S3Error::internal_error)?;
    if used {
        return Err(s3_error!(BucketNotEmpty, "The bucket you tried to delete is not empty"));
    }
    sqlx::query("DELETE FROM buckets WHERE id = $1")
        .bind(bucket.id)
        .execute(&mut *tx)
        .await
        .map_err(S3Error::internal_error)?;
    store.commit(tx, Vec::new()).await?;
    Ok(S3Response::with_status(DeleteBucketOutput {}, http::StatusCode::NO_CONTENT))
}

pub async fn head(store: &Store, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
    index::bucket(&mut *store.index.reader().await?, &request.input.bucket).await?;
    Ok(S3Response::new(HeadBucketOutput { bucket_region: Some(region(store).to_owned()), ..Default::default() }))
}

pub async fn list(store: &Store, request: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT name, created_ms FROM buckets ORDER BY name")
        .fetch_all(&mut *store.index.reader().await?)
        .await
        .map_err(S3Error::internal_error)?;
    let prefix = request.input.prefix;
    let after = request.input.continuation_token.unwrap_or_default();
    let limit = request.input.max_buckets.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
    let fits = |name: &str| prefix.as_deref().is_none_or(|prefix| name.starts_with(prefix)) && name > after.as_str();
    let mut all = rows.into_iter().filter(|(name, _)| fits(name)).peekable();
    let buckets: Vec<BucketDto> = all
        .by_ref()
        .take(limit)
        .map(|(name, created_ms)| BucketDto {
            bucket_region: None,
            creation_date: Some(reply::time(created_ms)),
            name: Some(name),
        })
        .collect();
    let continuation_token = all.peek().and_then(|_| buckets.last()).and_then(|bucket| bucket.name.clone());
    Ok(S3Response::new(ListBucketsOutput { buckets: Some(buckets), continuation_token, owner: Some(owner()), prefix }))
}

pub async fn location(
    store: &Store,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    index::bucket(&mut *store.index.reader().await?, &request.input.bucket).await?;
    // The first region has no name here, for reasons of age.
    let region = Some(region(store)).filter(|region| *region != DEFAULT_REGION);
    let location_constraint = region.map(|region| BucketLocationConstraint::from(region.to_owned()));
    Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
}

pub async fn versioning(
    store: &Store,
    request: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    let bucket = index::bucket(&mut *store.index.reader().await?, &request.input.bucket).await?;
    let status = match bucket.versioning {
        index::Versioning::Never => None,
        index::Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
        index::Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
    };
    Ok(S3Response::new(GetBucketVersioningOutput {
        status: status.map(BucketVersioningStatus::from_static),
        mfa_delete: None,
    }))
}

pub async fn set_versioning(
    store: &Store,
    request: S3Request<PutBucketVersioningInput>,
) -> S3Result<S3Response<PutBucketVersioningOutput>> {
    let status = request.input.versioning_configuration.status;
    let status = match status.as_ref().map(BucketVersioningStatus::as_str) {
        Some(status @ (BucketVersioningStatus::ENABLED | BucketVersioningStatus::SUSPENDED)) => status,
        _ => {
            return Err(s3_error!(IllegalVersioningConfigurationException, "The Versioning element must be specified"));
        }
    };
    let mut tx = store.index.write().await?;
    let bucket = index::bucket(&mut tx, &request.input.bucket).await?;
    sqlx::query("UPDATE buckets SET versioning = $2 WHERE id = $1")
        .bind(bucket.id)
        .bind(status)
        .execute(&mut *tx)
        .await
        .map_err(S3Error::internal_error)?;
    store.commit(tx, Vec::new()).await?;
    Ok(S3Response::new(PutBucketVersioningOutput {}))
}
