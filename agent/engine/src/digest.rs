//! Hashes of a content, all in one reading.

use blake3::Hasher;
use gosync_plan::facts::MultipartDigest;
use gosync_plan::{ContentHash, Digests};
use md5::{Digest as _, Md5};

/// Which digests to compute beside BLAKE3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub md5: bool,
    pub multipart_part_bytes: Option<u64>,
    pub crc64nvme: bool,
}

pub struct Digester {
    blake3: Hasher,
    md5: Option<Md5>,
    multipart: Option<Multipart>,
    crc64nvme: Option<crc_fast::Digest>,
    size: u64,
}

struct Multipart {
    part_bytes: u64,
    part: Md5,
    part_filled: u64,
    whole: Md5,
    parts: u32,
}

impl Digester {
    #[must_use]
    pub fn new(wanted: Wanted) -> Self {
        Self {
            blake3: Hasher::new(),
            md5: wanted.md5.then(Md5::new),
            multipart: wanted.multipart_part_bytes.filter(|bytes| *bytes > 0).map(|part_bytes| Multipart {
                part_bytes,
                part: Md5::new(),
                part_filled: 0,
                whole: Md5::new(),
                parts: 0,
            }),
            crc64nvme: wanted.crc64nvme.then(|| crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme)),
            size: 0,
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.blake3.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(multipart) = &mut self.multipart {
            multipart.update(bytes);
        }
        if let Some(crc) = &mut self.crc64nvme {
            crc.update(bytes);
        }
    }

    #[must_use]
    pub fn finish(self) -> Digests {
        Digests {
            blake3: ContentHash(*self.blake3.finalize().as_bytes()),
            size: self.size,
            md5: self.md5.map(|md5| md5.finalize().into()),
            multipart_md5: self.multipart.map(Multipart::finish),
            crc64nvme: self.crc64nvme.map(|crc| crc.finalize()),
        }
    }
}

impl Multipart {
    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(self.part_bytes - self.part_filled).unwrap_or(usize::MAX).min(bytes.len());
            self.part.update(&bytes[..room]);
            self.part_filled += room as u64;
            bytes = &bytes[room..];
            if self.part_filled == self.part_bytes {
                self.close_part();
            }
        }
    }

    fn close_part(&mut self) {
        let part = std::mem::take(&mut self.part).finalize();
        self.whole.update(part);
        self.parts += 1;
        self.part_filled = 0;
    }

    fn finish(mut self) -> MultipartDigest {
        if self.part_filled > 0 || self.parts == 0 {
            self.close_part();
        }
        MultipartDigest { part_bytes: self.part_bytes, parts: self.parts, md5: self.whole.finalize().into() }
    }
}

/// The digests of a content that is in memory.
#[must_use]
pub fn of_bytes(bytes: &[u8], wanted: Wanted) -> Digests {
    let mut digester = Digester::new(wanted);
    digester.update(bytes);
    digester.finish()
}
