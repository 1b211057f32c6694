//! The port's calls, handed to where they are made.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{BucketVersioningStatus, ServerSideEncryption, StorageClass};
use bytes::Bytes;
use gosync_engine::ports::store::{
    Condition, Deleted, GetRequest, Head, ListPage, ListRequest, ObjectBody, ObjectHeaders, ObjectStore, ObjectVersion,
    PendingUpload, PutRequest, StoreError, StoreErrorKind, Written,
};

use crate::config::{self, ConnectError, S3Config, Timeouts};
use crate::integrity::Integrity;
use crate::request::RequestObserver;

/// One bucket. Cheap to share behind an `Arc`; connections are kept between calls.
pub struct S3Store {
    pub(crate) client: Client,
    pub(crate) bucket: String,
    pub(crate) writing: Writing,
    pub(crate) integrity: Integrity,
    pub(crate) plain_http: bool,
    pub(crate) timeouts: Timeouts,
    pub(crate) observer: Option<Arc<dyn RequestObserver>>,
}

/// What goes with every object that is written.
pub(crate) struct Writing {
    pub sse: Option<ServerSideEncryption>,
    pub kms_key_id: Option<String>,
    pub storage_class: Option<StorageClass>,
}

impl S3Store {
    /// Makes the client. The network is not contacted before the first call.
    ///
    /// # Errors
    /// When no client can be made from the configuration.
    pub async fn connect(config: S3Config) -> Result<Self, ConnectError> {
        let client = config::client(&config).await?;
        Ok(Self {
            client,
            integrity: Integrity::new(config.checksums),
            plain_http: config.is_plain_http(),
            bucket: config.bucket,
            writing: Writing {
                sse: config.sse.as_deref().map(Into::into),
                kms_key_id: config.kms_key_id,
                storage_class: config.storage_class.as_deref().map(Into::into),
            },
            timeouts: config.timeouts,
            observer: config.observer,
        })
    }

    /// Hashing content to sign it costs more than all the rest: not where TLS or a signed checksum guards it.
    pub(crate) fn may_leave_unsigned(&self, checked: bool) -> bool {
        checked || !self.plain_http
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn list(&self, request: ListRequest) -> Result<ListPage, StoreError> {
        self.list_page(request).await
    }

    async fn head(&self, key: &str) -> Result<Option<Head>, StoreError> {
        self.head_object(key).await
    }

    async fn get(&self, request: GetRequest) -> Result<Box<dyn ObjectBody>, StoreError> {
        Ok(Box::new(self.get_object(request).await?))
    }

    async fn put(&self, request: PutRequest) -> Result<Written, StoreError> {
        self.put_object(request).await
    }

    async fn create_upload(&self, key: &str, headers: &ObjectHeaders) -> Result<String, StoreError> {
        self.create_multipart(key, headers).await
    }

    async fn upload_part(&self, key: &str, upload: &str, number: u32, body: Bytes) -> Result<String, StoreError> {
        self.send_part(key, upload, number, body).await
    }

    async fn copy_part(
        &self,
        source: &str,
        source_etag: &str,
        range: Range<u64>,
        key: &str,
        upload: &str,
        number: u32,
    ) -> Result<String, StoreError> {
        self.copy_as_part(source, source_etag, range, key, upload, number).await
    }

    async fn complete_upload(
        &self,
        key: &str,
        upload: &str,
        parts: &[(u32, String)],
        condition: &Condition,
    ) -> Result<Written, StoreError> {
        self.complete_multipart(key, upload, parts, condition).await
    }

    async fn abort_upload(&self, key: &str, upload: &str) -> Result<(), StoreError> {
        self.abort_multipart(key, upload).await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<PendingUpload>, StoreError> {
        self.list_multiparts(prefix).await
    }

    async fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<(u32, String, u64)>, StoreError> {
        self.list_sent_parts(key, upload).await
    }

    async fn copy(
        &self,
        source: &str,
        source_etag: Option<&str>,
        target: &str,
        condition: &Condition,
    ) -> Result<Written, StoreError> {
        self.copy_object(source, source_etag, target, condition).await
    }

    async fn delete(&self, key: &str, condition: &Condition) -> Result<(), StoreError> {
        self.delete_object(key, condition).await
    }

    async fn delete_many(&self, keys: &[(String, Condition)]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        self.delete_objects(keys).await
    }

    async fn versions(&self, key: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        match self.list_versions(key).await {
            Err(error) if error.kind == StoreErrorKind::NotImplemented => Ok(Vec::new()),
            result => result,
        }
    }

    async fn deleted(&self, prefix: &str) -> Result<Deleted, StoreError> {
        match self.list_deleted(prefix).await {
            Err(error) if error.kind == StoreErrorKind::NotImplemented => Ok(Deleted::default()),
            result => result,
        }
    }

    async fn versioning(&self) -> Result<Option<bool>, StoreError> {
        let operation = self.client.get_bucket_versioning().bucket(&self.bucket);
        match self.run(self.call("GetBucketVersioning", ""), operation.send()).await {
            Ok(output) => Ok(output.status().map(|status| *status == BucketVersioningStatus::Enabled)),
            Err(error) if error.kind == StoreErrorKind::NotImplemented => Ok(None),
            Err(error) => Err(error),
        }
    }
}
