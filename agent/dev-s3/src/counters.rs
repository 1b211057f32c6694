//! Counts requests and bytes at the HTTP level: every request that arrives counts, refused and faulty ones too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, Method, Uri};

/// What a request asks for, told from its method, query and headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    ListBuckets,
    CreateBucket,
    HeadBucket,
    DeleteBucket,
    ListObjects,
    ListObjectsV2,
    ListObjectVersions,
    PutObject,
    CopyObject,
    GetObject,
    HeadObject,
    DeleteObject,
    DeleteObjects,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    ListMultipartUploads,
    /// Versioning, location and whatever else a client may ask.
    Other,
}

impl Operation {
    /// Requests that change objects: what a quiet agent never sends.
    pub fn is_write(self) -> bool {
        matches!(
            self,
            Self::PutObject
                | Self::CopyObject
                | Self::DeleteObject
                | Self::DeleteObjects
                | Self::CreateMultipartUpload
                | Self::UploadPart
                | Self::UploadPartCopy
                | Self::CompleteMultipartUpload
                | Self::AbortMultipartUpload
        )
    }

    pub fn is_listing(self) -> bool {
        matches!(self, Self::ListObjects | Self::ListObjectsV2 | Self::ListObjectVersions)
    }

    pub(crate) fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let path = uri.path().strip_prefix('/').unwrap_or_default();
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query = Query::of(uri);
        let copies = headers.contains_key("x-amz-copy-source");
        if bucket.is_empty() {
            return if method == Method::GET { Self::ListBuckets } else { Self::Other };
        }
        match (method.as_str(), key.is_empty()) {
            ("GET", true) if query.has("versions") => Self::ListObjectVersions,
            ("GET", true) if query.has("uploads") => Self::ListMultipartUploads,
            ("GET", true) if query.has("list-type") => Self::ListObjectsV2,
            ("GET", true) if query.is_subresource() => Self::Other,
            ("GET", true) => Self::ListObjects,
            ("PUT", true) if query.is_subresource() => Self::Other,
            ("PUT", true) => Self::CreateBucket,
            ("HEAD", true) => Self::HeadBucket,
            ("DELETE", true) if query.is_subresource() => Self::Other,
            ("DELETE", true) => Self::DeleteBucket,
            ("POST", true) if query.has("delete") => Self::DeleteObjects,
            ("GET", false) if query.has("uploadId") => Self::ListParts,
            ("GET", false) if query.is_subresource() => Self::Other,
            ("GET", false) => Self::GetObject,
            ("HEAD", false) => Self::HeadObject,
            ("PUT", false) if query.has("uploadId") && copies => Self::UploadPartCopy,
            ("PUT", false) if query.has("uploadId") => Self::UploadPart,
            ("PUT", false) if query.is_subresource() => Self::Other,
            ("PUT", false) if copies => Self::CopyObject,
            ("PUT", false) => Self::PutObject,
            ("DELETE", false) if query.has("uploadId") => Self::AbortMultipartUpload,
            ("DELETE", false) if query.is_subresource() => Self::Other,
            ("DELETE", false) => Self::DeleteObject,
            ("POST", false) if query.has("uploads") => Self::CreateMultipartUpload,
            ("POST", false) if query.has("uploadId") => Self::CompleteMultipartUpload,
            _ => Self::Other,
        }
    }
}

struct Query<'a>(Vec<&'a str>);

impl<'a> Query<'a> {
    fn of(uri: &'a Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self(query.split('&').map(|pair| pair.split('=').next().unwrap_or(pair)).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    fn is_subresource(&self) -> bool {
        const NAMES: [&str; 22] = [
            "accelerate",
            "acl",
            "attributes",
            "analytics",
            "cors",
            "encryption",
            "inventory",
            "legal-hold",
            "lifecycle",
            "location",
            "logging",
            "notification",
            "object-lock",
            "ownershipControls",
            "policy",
            "publicAccessBlock",
            "replication",
            "requestPayment",
            "retention",
            "tagging",
            "versioning",
            "website",
        ];
        self.0.iter().any(|name| NAMES.contains(name))
    }
}

/// Counts since the start of the server; cheap to clone, all clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requests: Mutex<BTreeMap<Operation, u64>>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Counters {
    pub fn snapshot(&self) -> Counts {
        Counts {
            requests: self.0.requests.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            bytes_in: self.0.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.0.bytes_out.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn request(&self, operation: Operation) {
        *self.0.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(operation).or_default() += 1;
    }

    pub(crate) fn bytes_in(&self, count: usize) {
        self.0.bytes_in.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn bytes_out(&self, count: usize) {
        self.0.bytes_out.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Counts at one moment. Bytes are those of bodies as sent, headers aside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub requests: BTreeMap<Operation, u64>,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl Counts {
    pub fn of(&self, operation: Operation) -> u64 {
        self.requests.get(&operation).copied().unwrap_or_default()
    }

    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }

    pub fn writes(&self) -> u64 {
        self.requests.iter().filter(|(operation, _)| operation.is_write()).map(|(_, count)| count).sum()
    }

    pub fn listings(&self) -> u64 {
        self.requests.iter().filter(|(operation, _)| operation.is_listing()).map(|(_, count)| count).sum()
    }

    /// What happened after `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let requests = self
            .requests
            .iter()
            .map(|(operation, count)| (*operation, count - earlier.of(*operation)))
            .filter(|(_, count)| *count > 0)
            .collect();
        Self { requests, bytes_in: self.bytes_in - earlier.bytes_in, bytes_out: self.bytes_out - earlier.bytes_out }
    }
}

#[cfg(test)]
mod tests {
    // Tests may stop at the first surprise.
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_request_is_known_by_its_method_query_and_headers() {
        let copies = HeaderMap::from_iter([("x-amz-copy-source".parse().unwrap(), HeaderValue::from_static("b/k"))]);
        let plain = HeaderMap::new();
        for (method, uri, headers, operation) in [
            ("GET", "/", &plain, Operation::ListBuckets),
            ("PUT", "/b", &plain, Operation::CreateBucket),
            ("HEAD", "/b/", &plain, Operation::HeadBucket),
            ("DELETE", "/b", &plain, Operation::DeleteBucket),
            ("GET", "/b?location", &plain, Operation::Other),
            ("PUT", "/b?versioning", &plain, Operation::Other),
            ("GET", "/b", &plain, Operation::ListObjects),
            ("GET", "/b?list-type=2&prefix=versions", &plain, Operation::ListObjectsV2),
            ("GET", "/b/?versions", &plain, Operation::ListObjectVersions),
            ("GET", "/b?uploads", &plain, Operation::ListMultipartUploads),
            ("POST", "/b?delete", &plain, Operation::DeleteObjects),
            ("PUT", "/b/k?x-id=PutObject", &plain, Operation::PutObject),
            ("PUT", "/b//", &plain, Operation::PutObject),
            ("PUT", "/b/k", &copies, Operation::CopyObject),
            ("GET", "/b/k?versionId=1", &plain, Operation::GetObject),
            ("GET", "/b/k?tagging", &plain, Operation::Other),
            ("HEAD", "/b/k", &plain, Operation::HeadObject),
            ("DELETE", "/b/k?versionId=1", &plain, Operation::DeleteObject),
            ("POST", "/b/k?uploads", &plain, Operation::CreateMultipartUpload),
            ("PUT", "/b/k?partNumber=1&uploadId=2", &plain, Operation::UploadPart),
            ("PUT", "/b/k?partNumber=1&uploadId=2", &copies, Operation::UploadPartCopy),
            ("GET", "/b/k?uploadId=2", &plain, Operation::ListParts),
            ("POST", "/b/k?uploadId=2", &plain, Operation::CompleteMultipartUpload),
            ("DELETE", "/b/k?uploadId=2", &plain, Operation::AbortMultipartUpload),
        ] {
            let told = Operation::of(&method.parse().unwrap(), &uri.parse().unwrap(), headers);
            assert_eq!(told, operation, "{method} {uri}");
        }
    }
}
