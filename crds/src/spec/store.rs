//! The far side: bucket, database, cache, and where their secrets are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choice::EncryptionType;
use crate::schema::rules;

/// The bucket and the prefix in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::s3()))]
pub struct S3 {
    /// The bucket. It can't be changed later.
    #[schemars(length(min = 3, max = 63))]
    pub bucket: String,
    /// What its keys begin with, such as models/. Empty: the whole bucket. It may hold ${POD_NAME}, ${POD_NAMESPACE} and
    /// ${NODE_NAME}, so that each replica has a prefix of its own. It can't be changed later.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub prefix: String,
    /// Region of the bucket.
    #[serde(default = "region")]
    #[schemars(length(min = 1, max = 64))]
    pub region: String,
    /// Host, host:port or URL of a store that is not AWS. Empty: AWS. It can't be changed later.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub endpoint: String,
    /// Always name the bucket in the path instead of the host name. False: for every endpoint that is not AWS.
    #[serde(default)]
    pub force_path_style: bool,
    /// Certificates that are trusted when talking to the endpoint. Absent: those of the agent's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// Encryption that is asked for on uploads.
    #[serde(default)]
    pub server_side_encryption: ServerSideEncryption,
    /// The Secret of this namespace with the keys access_key and secret_key. Absent: the pod's own identity, such as a service
    /// account with a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}

fn region() -> String {
    "us-east-1".to_owned()
}

/// Certificates that are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaBundle {
    /// The ConfigMap of this namespace, and the key in it that holds the certificates (PEM).
    pub config_map_key_ref: KeyRef,
}

/// Encryption that is asked for on uploads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::encryption()))]
pub struct ServerSideEncryption {
    /// None (what the bucket does by itself), AES256 (keys of the store) or KMS.
    #[serde(rename = "type")]
    pub type_: EncryptionType,
    /// The KMS key. Only with type KMS. Empty: the bucket's default key.
    #[schemars(length(max = 2048))]
    pub kms_key_id: String,
}

/// A Secret of this namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A key of a Secret or ConfigMap of this namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the Secret or ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// The database that agents share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Postgres.
    pub postgres: UrlSecret,
}

/// The cache that agents share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// Redis.
    pub redis: UrlSecret,
}

/// A server by its URL, which is a secret because it holds the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UrlSecret {
    /// The Secret of this namespace, and the key in it that holds the URL.
    pub url_secret_ref: KeyRef,
}
