//! Stores to talk to, and what tests ask of them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use gosync_engine::ports::store::{
    Condition, GetRequest, Head, ListRequest, ObjectHeaders, ObjectStore, PutRequest, StoreError,
};
use gosync_s3::{Credentials, RequestObserver, RequestSeen, S3Config, S3Store};

pub const BUCKET: &str = "bucket";

pub fn config(endpoint: impl Into<String>) -> S3Config {
    let mut config = S3Config::new(BUCKET, "us-east-1");
    config.endpoint = Some(endpoint.into());
    config.credentials =
        Some(Credentials { access_key: "gosync".into(), secret_key: "gosync-secret".into(), session_token: None });
    config.force_path_style = true;
    config
}

pub async fn connect(config: S3Config) -> S3Store {
    S3Store::connect(config).await.unwrap()
}

pub fn put(key: &str, body: &'static [u8], condition: Condition) -> PutRequest {
    PutRequest { key: key.into(), body: Bytes::from_static(body), headers: ObjectHeaders::default(), condition }
}

pub fn get(key: &str) -> GetRequest {
    GetRequest { key: key.into(), ..GetRequest::default() }
}

pub async fn read(store: &S3Store, request: GetRequest) -> Result<(Head, Vec<u8>), StoreError> {
    let mut body = store.get(request).await?;
    let mut content = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        content.extend_from_slice(&chunk);
    }
    Ok((body.head().clone(), content))
}

pub fn below(prefix: &str) -> ListRequest {
    ListRequest { prefix: prefix.into(), ..ListRequest::default() }
}

#[derive(Default)]
pub struct Witness(Mutex<Vec<RequestSeen>>);

impl Witness {
    pub fn seen(&self) -> Vec<RequestSeen> {
        self.0.lock().unwrap().clone()
    }
}

impl RequestObserver for Witness {
    fn request(&self, seen: &RequestSeen) {
        self.0.lock().unwrap().push(seen.clone());
    }
}

pub fn witnessed(mut config: S3Config) -> (S3Config, Arc<Witness>) {
    let witness = Arc::new(Witness::default());
    config.observer = Some(witness.clone());
    (config, witness)
}
