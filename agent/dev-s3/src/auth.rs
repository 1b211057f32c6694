//! The one pair of keys. Signatures themselves are checked by s3s.

use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

pub struct OneKey {
    pub access_key: String,
    pub secret_key: String,
}

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access_key {
            return Ok(SecretKey::from(self.secret_key.as_str()));
        }
        Err(s3_error!(InvalidAccessKeyId, "The AWS Access Key Id you provided does not exist in our records."))
    }
}

/// The region a request was signed for, out of its credential scope.
pub fn signed_region(headers: &http::HeaderMap, query: Option<&str>) -> Option<String> {
    let scope = match headers.get(http::header::AUTHORIZATION) {
        Some(value) => value.to_str().ok()?.split_once("Credential=")?.1.split(',').next()?.to_owned(),
        None => {
            let (_, rest) = query?.split_once("X-Amz-Credential=")?;
            rest.split('&').next()?.replace("%2F", "/").replace("%2f", "/")
        }
    };
    // <access key>/<date>/<region>/s3/aws4_request, and the key itself may hold a slash.
    scope.rsplit('/').nth(2).map(str::to_owned)
}
