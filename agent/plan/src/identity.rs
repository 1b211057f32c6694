//! The identity ladder (R10): whether a file and an object hold the same content, by the cheapest proof at hand.
//!
//! Only what the store computed itself is a proof. The hash that an object carries in its own metadata
//! ([`blake3_header`]) is not: other tools store new content under the old user metadata. Where the store's MD5,
//! multipart ETag or CRC fits the file, that proves the content already, and where none does, the header may not; so no
//! rung asks it.
//!
//! Each look that is asked for, once granted, is not asked for again: a comparison ends after four looks at the latest.
//!
//! [`blake3_header`]: crate::facts::ObjectFacts::blake3_header

use crate::decide::Need;
use crate::facts::{Digests, Generation, LocalFile, MultipartDigest, ObjectFacts, RemoteObject, unhex};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    Same,
    Differs,
    /// This look would tell.
    Unknown(Need),
}

impl Identity {
    fn of(equal: bool) -> Self {
        if equal { Self::Same } else { Self::Differs }
    }
}

/// Compares a file with an object, or names the look that would tell.
#[must_use]
pub fn same(file: &LocalFile, object: &RemoteObject) -> Identity {
    if file.fingerprint.size != object.generation.size {
        return Identity::Differs;
    }
    match &object.facts {
        Some(facts) if facts.is_link != file.fingerprint.is_link() => return Identity::Differs,
        // A listing doesn't tell what kind of file an object stands for.
        None if file.fingerprint.is_link() => return Identity::Unknown(Need::Head),
        _ => {}
    }
    match (object.content, &file.digests) {
        (Some(content), Some(digests)) => Identity::of(digests.blake3 == content),
        (Some(_), None) => Identity::Unknown(Need::HASH),
        (None, digests) => climb(digests.as_ref(), &object.generation, object.facts.as_ref()),
    }
}

/// Compares digests with what a generation (and, after a HEAD, the facts) tell. [`Need::RemoteContent`] is the last
/// answer here: who has read the object compares hashes.
#[must_use]
pub fn same_as_generation(digests: &Digests, generation: &Generation, facts: Option<&ObjectFacts>) -> Identity {
    if digests.size != generation.size {
        return Identity::Differs;
    }
    climb(Some(digests), generation, facts)
}

/// The rungs of the store's own values; sizes are known to be equal.
fn climb(digests: Option<&Digests>, generation: &Generation, facts: Option<&ObjectFacts>) -> Identity {
    if generation.size == 0 {
        return Identity::Same;
    }
    let etag = ETag::read(&generation.etag);
    let Some(facts) = facts else {
        // A listing doesn't tell whether the ETag is an MD5: an equal one can't be chance, an unequal one says nothing.
        return match (etag, digests.map(|digests| digests.md5)) {
            (ETag::Md5(theirs), Some(Some(ours))) if ours == theirs => Identity::Same,
            (ETag::Md5(_), None | Some(None)) => reading(digests, Digest::Md5),
            _ => Identity::Unknown(Need::Head),
        };
    };
    if let (ETag::Md5(theirs), false) = (etag, facts.etag_opaque) {
        return match digests.and_then(|digests| digests.md5) {
            Some(ours) => Identity::of(ours == theirs),
            None => reading(digests, Digest::Md5),
        };
    }
    if let Some(theirs) = facts.crc64nvme {
        return match digests.and_then(|digests| digests.crc64nvme) {
            Some(ours) => Identity::of(ours == theirs),
            None => reading(digests, Digest::Crc64Nvme),
        };
    }
    if let (ETag::Multipart { parts, md5 }, false, Some(part_bytes @ 1..)) = (etag, facts.etag_opaque, facts.part_bytes)
    {
        match digests.and_then(|digests| digests.multipart_md5).filter(|ours| ours.part_bytes == part_bytes) {
            Some(ours) if ours == (MultipartDigest { part_bytes, parts, md5 }) => return Identity::Same,
            // Only the first part's size is known: the others may be of other sizes, so this proves nothing.
            Some(_) => {}
            None => return reading(digests, Digest::Multipart { part_bytes }),
        }
    }
    Identity::Unknown(Need::RemoteContent)
}

/// A digest that only some rung needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Digest {
    Md5,
    Multipart { part_bytes: u64 },
    Crc64Nvme,
}

/// Asks for one more digest beside those that are there: the ladder may stand against two generations in turn, and must
/// not lose for one what it needs for the other. (After a multipart digest no further one is asked for.)
fn reading(digests: Option<&Digests>, wanted: Digest) -> Identity {
    Identity::Unknown(Need::LocalDigests {
        md5: wanted == Digest::Md5 || digests.is_some_and(|digests| digests.md5.is_some()),
        multipart_part_bytes: match wanted {
            Digest::Multipart { part_bytes } => Some(part_bytes),
            Digest::Md5 | Digest::Crc64Nvme => None,
        },
        crc64nvme: wanted == Digest::Crc64Nvme || digests.is_some_and(|digests| digests.crc64nvme.is_some()),
    })
}

/// Whether equal ETags of this form mean equal content, as far as the facts know.
pub(crate) fn etag_tells_content(etag: &str, facts: &ObjectFacts) -> bool {
    !facts.etag_opaque && ETag::read(etag) != ETag::Other
}

/// What the form of an ETag says about how it was made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ETag {
    /// An MD5 of the content, unless the object is encrypted with a key of KMS or of the client.
    Md5([u8; 16]),
    /// The MD5 of the parts' MD5s.
    Multipart {
        parts: u32,
        md5: [u8; 16],
    },
    Other,
}

impl ETag {
    fn read(etag: &str) -> Self {
        let (digest, parts) = match etag.split_once('-') {
            Some((digest, parts)) => (digest, Some(parts)),
            None => (etag, None),
        };
        match (unhex(digest), parts.map(str::parse)) {
            (Some(md5), None) => Self::Md5(md5),
            (Some(md5), Some(Ok(parts))) => Self::Multipart { parts, md5 },
            _ => Self::Other,
        }
    }
}
