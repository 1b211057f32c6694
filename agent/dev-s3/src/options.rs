//! What a server is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The largest page of a listing, as with the real service.
pub const PAGE_SIZE_MAX: usize = 1000;

/// How a server behaves and where it lives. `Options::new` gives a faithful one on a free loopback port.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the index, the bodies and the lock file; made when missing.
    pub data_dir: PathBuf,
    /// Port 0 picks a free one.
    pub listen: SocketAddr,
    pub access_key: String,
    pub secret_key: String,
    /// When set, requests signed for another region are refused; `us-east-1` is reported otherwise.
    pub region: Option<String>,
    /// Most entries in one page of a listing, 1 to 1000.
    pub page_size_max: usize,
    pub etags: Etags,
    pub checksums: Checksums,
    /// Turns versioning on in the buckets named below. Other buckets follow PutBucketVersioning.
    pub versions: bool,
    pub conditions: Conditions,
    /// Made at start when missing.
    pub buckets: Vec<String>,
}

impl Options {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            access_key: "gosync".into(),
            secret_key: "gosync-secret".into(),
            region: None,
            page_size_max: PAGE_SIZE_MAX,
            etags: Etags::Md5,
            checksums: Checksums::Taken,
            versions: false,
            conditions: Conditions::default(),
            buckets: Vec::new(),
        }
    }
}

/// What the ETag of an object says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Etags {
    /// MD5 of the content, and MD5 of the parts' MD5s with their number for multipart uploads.
    #[default]
    Md5,
    /// Looks alike but says nothing about the content, as with buckets encrypted by a managed key.
    Kms,
}

/// Whether writes may claim a checksum of their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksums {
    #[default]
    Taken,
    /// They are refused with InvalidArgument, as stores do that are older than these headers and trailers.
    Refused,
}

/// Whether a kind of write evaluates its conditions on the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    #[default]
    Honoured,
    /// The header is accepted and has no effect, as MinIO treats If-Match on DELETE.
    Ignored,
    /// A request with the header is refused with NotImplemented, as stores do that know no such condition.
    Refused,
}

/// Conditions by kind of write. Conditions on reads and on copy sources are always honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conditions {
    pub put: Condition,
    pub complete: Condition,
    pub copy: Condition,
    pub delete: Condition,
}
