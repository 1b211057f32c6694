//! What a look at one side can tell, and what the ancestor remembers.
//!
//! Times are carried here to notice *that* something changed on one host, never to order events of two hosts (P7).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::NameProblem;

/// BLAKE3 of a whole content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    #[must_use]
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// `None` unless `text` is 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex()[..12])
    }
}

/// A random token that an object of ours carries, to tell our own write from anybody's after an unknown outcome.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nonce(pub [u8; 16]);

impl Nonce {
    #[must_use]
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex()[..8])
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

/// The bits of `st_mode` that tell the kind of a file.
const FILE_TYPE: u32 = 0o170_000;
const LINK: u32 = 0o120_000;

/// The local change key (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint {
    /// bytes
    pub size: u64,
    /// nanoseconds since 1970
    pub mtime_ns: i64,
    /// nanoseconds since 1970
    pub ctime_ns: i64,
    pub inode: u64,
    /// `st_mode`, file type included
    pub mode: u32,
}

impl Fingerprint {
    /// A symbolic link, of a mirror that keeps them: its content is where it points to.
    #[must_use]
    pub fn is_link(&self) -> bool {
        self.mode & FILE_TYPE == LINK
    }

    /// Nothing that a change of content must move has moved (a change of owner or mode moves ctime alone).
    #[must_use]
    pub fn same_but_ctime(&self, other: &Self) -> bool {
        self.size == other.size
            && self.mtime_ns == other.mtime_ns
            && self.inode == other.inode
            && self.mode == other.mode
    }
}

/// What tells two versions of a key apart, even with equal content (R2). Compared for equality only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Generation {
    /// Without quotes.
    pub etag: String,
    /// bytes
    pub size: u64,
    /// `None` where the store keeps no versions, or where the reply did not tell (a listing).
    pub version_id: Option<String>,
    /// Whole seconds as the store said them, an opaque token; `None` where the reply did not tell (a PUT).
    pub last_modified: Option<String>,
}

impl Generation {
    /// True when nothing that both sides know tells them apart.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        if self.etag != other.etag || self.size != other.size {
            return false;
        }
        match (&self.version_id, &other.version_id) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => match (&self.last_modified, &other.last_modified) {
                (Some(mine), Some(theirs)) => mine == theirs,
                _ => true,
            },
        }
    }

    /// This generation with what `other`, the same one seen in another reply, knows beside it.
    #[must_use]
    pub fn completed_by(&self, other: &Self) -> Self {
        Self {
            version_id: self.version_id.clone().or_else(|| other.version_id.clone()),
            last_modified: self.last_modified.clone().or_else(|| other.last_modified.clone()),
            ..self.clone()
        }
    }
}

/// What reading a local content gave. The dear ones are computed only when a decision asks for them ([`Need`]).
///
/// [`Need`]: crate::decide::Need
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    pub blake3: ContentHash,
    pub size: u64,
    pub md5: Option<[u8; 16]>,
    /// MD5 of the parts' MD5s, for parts of `part_bytes`.
    pub multipart_md5: Option<MultipartDigest>,
    pub crc64nvme: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultipartDigest {
    pub part_bytes: u64,
    pub parts: u32,
    pub md5: [u8; 16],
}

impl Digests {
    /// Only the hash is known.
    #[must_use]
    pub fn of_hash(blake3: ContentHash, size: u64) -> Self {
        Self { blake3, size, md5: None, multipart_md5: None, crc64nvme: None }
    }
}

/// A regular file as a look saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFile {
    pub fingerprint: Fingerprint,
    /// Known once it was read *with this fingerprint*.
    pub digests: Option<Digests>,
}

/// What stands at a path on the local side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalEntry {
    /// A look that succeeded and found nothing.
    Absent,
    File(LocalFile),
    Folder,
    /// A symlink, FIFO, socket, device, or a mount of its own: reported, left alone.
    Special(Special),
    /// The look failed: nothing may be concluded.
    Unknown(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Special {
    Symlink,
    Fifo,
    Socket,
    Device,
    Mount,
}

/// What HEAD or GET tell of an object beside its generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectFacts {
    /// `x-amz-meta-gosync-blake3`: proves nothing by itself.
    pub blake3_header: Option<ContentHash>,
    /// `x-amz-meta-gosync-op`: proves nothing by itself.
    pub nonce: Option<Nonce>,
    /// `x-amz-meta-gosync-open` was set: read while open for writing, may be torn.
    pub open: bool,
    /// `x-amz-meta-mtime`, nanoseconds since 1970.
    pub mtime_ns: Option<i64>,
    /// `x-amz-meta-mode`: permission bits only.
    pub mode: Option<u32>,
    /// `x-amz-meta-mode` tells a symbolic link.
    pub is_link: bool,
    /// Full-object CRC64NVME as the store computed it.
    pub crc64nvme: Option<u64>,
    /// Size of the first part of a multipart object, bytes.
    pub part_bytes: Option<u64>,
    /// Encrypted with a key of KMS or of the client: the ETag is no MD5.
    pub etag_opaque: bool,
    pub content_type: Option<String>,
}

/// An object as a look saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteObject {
    pub generation: Generation,
    /// `None` after a mere listing.
    pub facts: Option<ObjectFacts>,
    /// Known when this very generation was read or written by us, or the feed tells.
    pub content: Option<ContentHash>,
}

/// What stands at a path's key on the remote side.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly every entry is an object")]
pub enum RemoteEntry {
    /// A complete listing without the key, or HEAD 404.
    Absent,
    Object(RemoteObject),
    /// Not looked at: taken to be what the ancestor says, for the precondition to prove or refute.
    Presumed,
    /// The look failed, or the object can't be read (archived, forbidden): nothing may be concluded.
    Unknown(String),
}

/// What both sides were last proven to agree on (one row per path).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    pub fingerprint: Fingerprint,
    pub generation: Generation,
    /// `None`: adopted from a listing, never read.
    pub content: Option<ContentHash>,
    /// The nonce of the object, where it was written by us.
    pub nonce: Option<Nonce>,
    /// Uploaded or left while somebody had it open for writing: hashed again at each sweep until it comes to rest.
    pub open: bool,
}

/// Why a name or an entry can't be synced; kept per path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryProblem {
    Name(NameProblem),
    Special(Special),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(etag: &str, version: Option<&str>, modified: Option<&str>) -> Generation {
        Generation {
            etag: etag.into(),
            size: 1,
            version_id: version.map(Into::into),
            last_modified: modified.map(Into::into),
        }
    }

    #[test]
    fn equal_content_written_again_is_another_generation() {
        assert!(!generation("e", Some("1"), None).same(&generation("e", Some("2"), None)));
        assert!(!generation("e", None, Some("10")).same(&generation("e", None, Some("11"))));
        assert!(generation("e", Some("1"), Some("10")).same(&generation("e", Some("1"), Some("11"))));
        assert!(generation("e", None, None).same(&generation("e", Some("2"), Some("10"))));
        assert!(!generation("e", None, None).same(&generation("f", None, None)));
    }

    #[test]
    fn hashes_survive_their_spelling() {
        let hash = ContentHash([0xab; 32]);
        assert_eq!(ContentHash::from_hex(&hash.to_hex()), Some(hash));
        assert_eq!(ContentHash::from_hex("ab"), None);
        assert_eq!(ContentHash::from_hex(&"é".repeat(32)), None);
    }
}
