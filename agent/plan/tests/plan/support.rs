//! Contents that are told apart by a number, with digests to match, and entries made of them.

use gosync_plan::facts::{MultipartDigest, Special};
use gosync_plan::{
    Ancestor, ContentHash, Digests, Fingerprint, Generation, LocalEntry, LocalFile, Need, ObjectFacts, RemoteEntry,
    RemoteObject,
};

/// A content. 0 is the empty one; 1 to 3 have one size, 4 to 6 another, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content(pub u8);

impl Content {
    pub fn size(self) -> u64 {
        u64::from(self.0.div_ceil(3)) * 100
    }

    pub fn hash(self) -> ContentHash {
        ContentHash([self.0; 32])
    }

    pub fn md5(self) -> [u8; 16] {
        [self.0; 16]
    }

    pub fn crc(self) -> u64 {
        u64::from(self.0) + 1
    }

    /// For parts of one size, but for the last.
    pub fn multipart(self, part_bytes: u64) -> MultipartDigest {
        let parts = u32::try_from(self.size().div_ceil(part_bytes)).unwrap();
        MultipartDigest { part_bytes, parts, md5: [self.0 ^ 0x80 ^ u8::try_from(part_bytes).unwrap(); 16] }
    }

    pub fn digests(self) -> Digests {
        Digests::of_hash(self.hash(), self.size())
    }

    /// What reading it for this need gives, and nothing that was not asked for.
    pub fn read_for(self, need: Need) -> Digests {
        let Need::LocalDigests { md5, multipart_part_bytes, crc64nvme } = need else {
            panic!("no local look: {need:?}")
        };
        Digests {
            md5: md5.then(|| self.md5()),
            multipart_md5: multipart_part_bytes.map(|part_bytes| self.multipart(part_bytes)),
            crc64nvme: crc64nvme.then(|| self.crc()),
            ..self.digests()
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The content in step, one that was made locally, one that was made remotely. All of one size, so that size never
/// tells them apart.
pub const OLD: Content = Content(1);
pub const MINE: Content = Content(2);
pub const THEIRS: Content = Content(3);

pub fn fingerprint(content: Content) -> Fingerprint {
    Fingerprint { size: content.size(), mtime_ns: 1_000, ctime_ns: 2_000, inode: 7, mode: 0o100_644 }
}

pub fn edited_fingerprint(content: Content) -> Fingerprint {
    Fingerprint { mtime_ns: 5_000, ctime_ns: 5_000, ..fingerprint(content) }
}

/// Known after a listing; the token counts the writes.
pub fn generation(content: Content, token: u32) -> Generation {
    Generation {
        etag: hex(&content.md5()),
        size: content.size(),
        version_id: None,
        last_modified: Some(token.to_string()),
    }
}

pub fn ancestor() -> Ancestor {
    Ancestor {
        fingerprint: fingerprint(OLD),
        generation: generation(OLD, 1),
        content: Some(OLD.hash()),
        nonce: None,
        open: false,
    }
}

pub fn unread(fingerprint: Fingerprint) -> LocalEntry {
    LocalEntry::File(LocalFile { fingerprint, digests: None })
}

pub fn read(fingerprint: Fingerprint, content: Content) -> LocalEntry {
    let digests = Digests { md5: Some(content.md5()), ..content.digests() };
    LocalEntry::File(LocalFile { fingerprint, digests: Some(digests) })
}

pub fn unchanged_file() -> LocalEntry {
    unread(fingerprint(OLD))
}

pub fn edited_file() -> LocalEntry {
    read(edited_fingerprint(MINE), MINE)
}

pub fn listed(generation: Generation) -> RemoteEntry {
    RemoteEntry::Object(RemoteObject { generation, facts: None, content: None })
}

pub fn headed(generation: Generation, facts: ObjectFacts) -> RemoteEntry {
    RemoteEntry::Object(RemoteObject { generation, facts: Some(facts), content: None })
}

pub fn unchanged_object() -> RemoteEntry {
    listed(generation(OLD, 1))
}

pub fn rewritten_object() -> RemoteEntry {
    headed(generation(THEIRS, 2), ObjectFacts::default())
}

pub fn every_local() -> Vec<LocalEntry> {
    vec![
        LocalEntry::Absent,
        LocalEntry::Folder,
        LocalEntry::Special(Special::Symlink),
        LocalEntry::Unknown("i/o error".into()),
        unchanged_file(),
        edited_file(),
        unread(edited_fingerprint(MINE)),
        read(edited_fingerprint(OLD), OLD),
        unread(Fingerprint { size: 0, ..fingerprint(OLD) }),
        unread(Fingerprint { mode: 0o100_755, ..fingerprint(OLD) }),
    ]
}

pub fn every_remote() -> Vec<RemoteEntry> {
    vec![
        RemoteEntry::Absent,
        RemoteEntry::Presumed,
        RemoteEntry::Unknown("503".into()),
        unchanged_object(),
        rewritten_object(),
        listed(generation(THEIRS, 2)),
        listed(generation(OLD, 2)),
        headed(generation(MINE, 2), ObjectFacts { mode: Some(0o600), ..ObjectFacts::default() }),
    ]
}
