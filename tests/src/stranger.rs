//! Somebody else in the bucket: a plain S3 client that shares no code with the product, so that what a test sees of the
//! bucket isn't what the product believes of it.

use std::collections::BTreeMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use bytes::Bytes;

use crate::server::{Address, REGION};

pub struct Stranger {
    /// For what the helpers below don't cover.
    pub client: Client,
    pub bucket: String,
    pub address: Address,
}

/// An object as a HEAD tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub etag: String,
    pub size: u64,
    pub version: Option<String>,
    pub content_type: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

impl Stranger {
    pub fn new(address: &Address, bucket: &str) -> Self {
        // Loopback only: no TLS.
        let http = aws_smithy_http_client::Builder::new().build_http();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static(REGION))
            .endpoint_url(&address.endpoint)
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .credentials_provider(Credentials::new(&address.access_key, &address.secret_key, None, None, "tests"))
            .http_client(http)
            .build();
        Self { client: Client::from_conf(config), bucket: bucket.to_owned(), address: address.clone() }
    }

    /// Whether the server takes signed requests.
    pub async fn answers(&self) -> Result<(), String> {
        match self.client.list_buckets().send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(DisplayErrorContext(&error).to_string()),
        }
    }

    pub async fn create_bucket(&self) {
        let request = self.client.create_bucket().bucket(&self.bucket);
        if let Err(error) = request.send().await {
            panic!("create {}: {}", self.bucket, DisplayErrorContext(&error));
        }
    }

    pub async fn delete_bucket(&self) {
        for key in self.keys("").await {
            self.delete(&key).await;
        }
        let request = self.client.delete_bucket().bucket(&self.bucket);
        if let Err(error) = request.send().await {
            panic!("delete {}: {}", self.bucket, DisplayErrorContext(&error));
        }
    }

    pub async fn enable_versions(&self) {
        let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let request = self.client.put_bucket_versioning();
        if let Err(error) = request.bucket(&self.bucket).versioning_configuration(on).send().await {
            panic!("versions in {}: {}", self.bucket, DisplayErrorContext(&error));
        }
    }

    /// Puts without any condition or metadata, as a stranger does; returns the ETag.
    pub async fn put(&self, key: &str, content: impl Into<Bytes>) -> String {
        let request = self.client.put_object().bucket(&self.bucket).key(key);
        match request.body(ByteStream::from(content.into())).send().await {
            Ok(done) => done.e_tag.unwrap(),
            Err(error) => panic!("put {key}: {}", DisplayErrorContext(&error)),
        }
    }

    pub async fn get(&self, key: &str) -> Option<Bytes> {
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        match request.send().await {
            Ok(done) => Some(done.body.collect().await.unwrap().into_bytes()),
            Err(error) if error.code() == Some("NoSuchKey") => None,
            Err(error) => panic!("get {key}: {}", DisplayErrorContext(&error)),
        }
    }

    pub async fn head(&self, key: &str) -> Option<Head> {
        let request = self.client.head_object().bucket(&self.bucket).key(key);
        match request.send().await {
            Ok(head) => Some(Head {
                etag: head.e_tag.unwrap(),
                size: u64::try_from(head.content_length.unwrap()).unwrap(),
                version: head.version_id,
                content_type: head.content_type,
                metadata: head.metadata.unwrap_or_default().into_iter().collect(),
            }),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => None,
            Err(error) => panic!("head {key}: {}", DisplayErrorContext(&error)),
        }
    }

    pub async fn delete(&self, key: &str) {
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        if let Err(error) = request.send().await {
            panic!("delete {key}: {}", DisplayErrorContext(&error));
        }
    }

    /// All keys under a prefix, in the order of the listing.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut pages = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.unwrap_or_else(|error| panic!("list {prefix}: {}", DisplayErrorContext(&error)));
            keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
        }
        keys
    }

    /// Ids of the multipart uploads to a key that were begun and neither completed nor aborted. (MinIO tells them for one
    /// key only, not for a prefix.)
    pub async fn open_uploads(&self, key: &str) -> Vec<String> {
        let request = self.client.list_multipart_uploads().bucket(&self.bucket).prefix(key);
        match request.send().await {
            Ok(list) => list.uploads.unwrap_or_default().into_iter().filter_map(|upload| upload.upload_id).collect(),
            Err(error) => panic!("list uploads: {}", DisplayErrorContext(&error)),
        }
    }

    /// Everything under a prefix with its content, keys without the prefix. For small trees.
    pub async fn contents(&self, prefix: &str) -> BTreeMap<String, Bytes> {
        let mut contents = BTreeMap::new();
        for key in self.keys(prefix).await {
            // Deleted between listing and reading: not there.
            if let Some(content) = self.get(&key).await {
                contents.insert(key[prefix.len()..].to_owned(), content);
            }
        }
        contents
    }
}
