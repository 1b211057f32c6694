//! A server on a folder of its own, and a client for it.

use std::fmt::Debug;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use gosync_dev_s3::{DevS3, Options, Running};
use tempfile::TempDir;

pub const BUCKET: &str = "bucket";

pub struct Fixture {
    pub dir: TempDir,
    pub server: Running,
    pub client: Client,
}

pub async fn start() -> Fixture {
    start_with(|_| {}).await
}

pub async fn start_with(change: impl FnOnce(&mut Options)) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    change(&mut options);
    let server = DevS3::start(options).await.unwrap();
    let client = client(&server.url(), "gosync", "gosync-secret", "us-east-1");
    Fixture { dir, server, client }
}

pub fn options(dir: &TempDir) -> Options {
    Options { buckets: vec![BUCKET.into()], ..Options::new(dir.path()) }
}

/// A client that shows every answer as it came: no retries of its own.
pub fn client(url: &str, access_key: &str, secret_key: &str, region: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(url)
        .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

impl Fixture {
    /// PUT without conditions; returns the ETag.
    pub async fn put(&self, key: &str, content: impl Into<Vec<u8>>) -> String {
        let body = ByteStream::from(content.into());
        let put = self.client.put_object().bucket(BUCKET).key(key).body(body).send().await.unwrap();
        put.e_tag.unwrap()
    }

    pub async fn get(&self, key: &str) -> Vec<u8> {
        let got = self.client.get_object().bucket(BUCKET).key(key).send().await.unwrap();
        got.body.collect().await.unwrap().to_vec()
    }

    pub async fn exists(&self, key: &str) -> bool {
        match self.client.head_object().bucket(BUCKET).key(key).send().await {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(status(&error), 404);
                false
            }
        }
    }

    pub async fn keys(&self) -> Vec<String> {
        let mut pages = self.client.list_objects_v2().bucket(BUCKET).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            keys.extend(page.unwrap().contents.unwrap_or_default().into_iter().map(|object| object.key.unwrap()));
        }
        keys
    }
}

pub fn status<E: Debug>(error: &SdkError<E>) -> u16 {
    match error.raw_response() {
        Some(response) => response.status().as_u16(),
        None => panic!("no answer: {error:?}"),
    }
}

/// Status and code of an error: `412 PreconditionFailed`.
pub fn refusal<T: Debug, E: ProvideErrorMetadata + Debug>(result: Result<T, SdkError<E>>) -> String {
    let error = result.expect_err("a refusal");
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default().to_owned();
    format!("{} {code}", status(&error))
}

/// Bytes that don't repeat soon, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

impl Fixture {
    /// Files of bodies in the data folder.
    pub fn blob_files(&self) -> usize {
        blob_files(self.dir.path())
    }
}

pub fn blob_files(data_dir: &std::path::Path) -> usize {
    let shards = std::fs::read_dir(data_dir.join("blobs")).unwrap();
    shards.map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap().count()).sum()
}
