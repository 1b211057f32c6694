//! Checksums as S3 sees them: what a request claims about its body, what an object is known by, and how the
//! checksums of parts become that of the whole.
//!
//! An object has one checksum. When its writer named none it is CRC64NVME over the whole object.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::CrcAlgorithm;
use http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto::{Checksum, ChecksumType};
use s3s::{S3Request, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use crate::reply;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub fn parse(name: &str) -> S3Result<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported."))
    }

    fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    fn length(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    pub fn of(self, sums: &Checksum) -> Option<&String> {
        match self {
            Self::Crc32 => sums.checksum_crc32.as_ref(),
            Self::Crc32c => sums.checksum_crc32c.as_ref(),
            Self::Crc64Nvme => sums.checksum_crc64nvme.as_ref(),
            Self::Sha1 => sums.checksum_sha1.as_ref(),
            Self::Sha256 => sums.checksum_sha256.as_ref(),
        }
    }

    fn set(self, sums: &mut Checksum, value: String) {
        match self {
            Self::Crc32 => sums.checksum_crc32 = Some(value),
            Self::Crc32c => sums.checksum_crc32c = Some(value),
            Self::Crc64Nvme => sums.checksum_crc64nvme = Some(value),
            Self::Sha1 => sums.checksum_sha1 = Some(value),
            Self::Sha256 => sums.checksum_sha256 = Some(value),
        }
    }

    /// How to combine two checksums into that of both contents in a row; the SHAs can't.
    fn combines(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

/// The checksum an object or a part is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub algorithm: Algorithm,
    /// Base64, with `-<parts>` behind it when it is a checksum of checksums.
    pub value: String,
    pub composite: bool,
}

impl Sum {
    pub fn dto(sum: Option<&Self>) -> Checksum {
        let mut sums = Checksum::default();
        if let Some(sum) = sum {
            sum.algorithm.set(&mut sums, sum.value.clone());
            let kind = if sum.composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
            sums.checksum_type = Some(ChecksumType::from_static(kind));
        }
        sums
    }

    /// The checksum of an object from those of its parts, each with the size of its part.
    pub fn of_parts(algorithm: Algorithm, composite: bool, parts: &[(Self, u64)]) -> S3Result<Self> {
        let digests = parts.iter().map(|(sum, size)| Ok((decode(algorithm, &sum.value)?, *size)));
        if composite {
            let all: Vec<u8> =
                digests.collect::<S3Result<Vec<_>>>()?.into_iter().flat_map(|(digest, _)| digest).collect();
            let mut hasher = hasher(&[algorithm]);
            hasher.update(&all);
            let sums = hasher.finalize();
            let value = algorithm.of(&sums).map(|value| format!("{value}-{}", parts.len())).unwrap_or_default();
            return Ok(Self { algorithm, value, composite });
        }
        let crc = algorithm.combines().ok_or_else(|| {
            s3_error!(
                InvalidRequest,
                "The FULL_OBJECT checksum type cannot be used with the {} checksum algorithm.",
                algorithm.name()
            )
        })?;
        let mut whole: Option<u64> = None;
        for part in digests {
            let (digest, size) = part?;
            let value = digest.iter().fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
            whole = Some(whole.map_or(value, |before| crc_fast::checksum_combine(crc, before, value, size)));
        }
        let bytes = whole.unwrap_or_default().to_be_bytes();
        let value = BASE64.encode(&bytes[bytes.len() - algorithm.length()..]);
        Ok(Self { algorithm, value, composite })
    }
}

fn decode(algorithm: Algorithm, value: &str) -> S3Result<Vec<u8>> {
    match BASE64.decode(value) {
        Ok(digest) if digest.len() == algorithm.length() => Ok(digest),
        _ => Err(s3_error!(InvalidRequest, "Value for {} header is invalid.", algorithm.header())),
    }
}

pub fn hasher(algorithms: &[Algorithm]) -> ChecksumHasher {
    let wants = |algorithm| algorithms.contains(&algorithm);
    ChecksumHasher {
        crc32: wants(Algorithm::Crc32).then(Crc32::new),
        crc32c: wants(Algorithm::Crc32c).then(Crc32c::new),
        sha1: wants(Algorithm::Sha1).then(Sha1::new),
        sha256: wants(Algorithm::Sha256).then(Sha256::new),
        crc64nvme: wants(Algorithm::Crc64Nvme).then(Crc64Nvme::new),
    }
}

/// What a request claims about its body.
pub struct Claims {
    pub algorithm: Option<Algorithm>,
    value: Option<String>,
    in_trailer: bool,
    md5: Option<Vec<u8>>,
}

impl Claims {
    pub fn of<T>(request: &S3Request<T>) -> S3Result<Self> {
        let text = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let md5 = match text("content-md5") {
            None => None,
            Some(value) => match BASE64.decode(value) {
                Ok(digest) if digest.len() == 16 => Some(digest),
                _ => return Err(s3_error!(InvalidDigest, "The Content-MD5 you specified is not valid.")),
            },
        };
        let mut claimed =
            Algorithm::ALL.into_iter().filter_map(|algorithm| Some((algorithm, text(algorithm.header())?)));
        let (first, second) = (claimed.next(), claimed.next());
        if second.is_some() {
            return Err(s3_error!(InvalidRequest, "Expecting a single x-amz-checksum- header"));
        }
        if let Some((algorithm, value)) = first {
            decode(algorithm, value)?;
            return Ok(Self { algorithm: Some(algorithm), value: Some(value.to_owned()), in_trailer: false, md5 });
        }
        let trailer = text("x-amz-trailer").and_then(|names| {
            Algorithm::ALL
                .into_iter()
                .find(|algorithm| names.split(',').any(|name| name.trim().eq_ignore_ascii_case(algorithm.header())))
        });
        let named = text("x-amz-sdk-checksum-algorithm").map(Algorithm::parse).transpose()?;
        Ok(Self { algorithm: trailer.or(named), value: None, in_trailer: trailer.is_some(), md5 })
    }

    /// Compares the claims with what came. Only after the whole body was read: trailers come last.
    pub fn check(&self, md5: &[u8], sums: &Checksum, trailers: Option<&HeaderMap>) -> S3Result<()> {
        if self.md5.as_deref().is_some_and(|claimed| claimed != md5) {
            return Err(s3_error!(BadDigest, "The Content-MD5 you specified did not match what we received."));
        }
        let Some(algorithm) = self.algorithm else { return Ok(()) };
        let in_trailer = trailers.and_then(|map| map.get(algorithm.header())).and_then(|value| value.to_str().ok());
        let claimed = match (self.value.as_deref(), in_trailer) {
            (Some(value), _) | (None, Some(value)) => value,
            (None, None) if self.in_trailer => {
                return Err(reply::unlisted(
                    "MalformedTrailerError",
                    http::StatusCode::BAD_REQUEST,
                    "The request contained trailing data that was not well-formed or did not conform to our published schema.",
                ));
            }
            (None, None) => return Ok(()),
        };
        decode(algorithm, claimed)?;
        if algorithm.of(sums).is_some_and(|computed| computed != claimed) {
            return Err(s3_error!(
                BadDigest,
                "The {} you specified did not match the calculated checksum.",
                algorithm.name()
            ));
        }
        Ok(())
    }
}
