//! Takes in the body of a request: counted, hashed, and kept in memory while small, in a fresh file when not.
//!
//! A body that ends early, or whose signature or checksum doesn't fit, leaves nothing behind.

use std::sync::Arc;

use futures_util::StreamExt as _;
use md5::{Digest as _, Md5};
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Error, S3Request, S3Result, StdError, s3_error};
use tokio::io::AsyncWriteExt as _;

use crate::blobs::{Blobs, Fresh};
use crate::checksums::{self, Algorithm, Claims, Sum};
use crate::reply;

/// Bodies up to this size are rows of the index, larger ones are files.
pub const INLINE_BYTES_MAX: usize = 16 * 1024;
/// The limit of S3 for one PUT, one part and one copy.
pub const BODY_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// A body that was taken in, not yet part of anything.
pub struct Received {
    pub size: u64,
    pub md5: [u8; 16],
    pub sums: Checksum,
    pub content: Content,
}

pub enum Content {
    Inline(Vec<u8>),
    File(Fresh),
}

impl Content {
    /// What the index stores: the name of a file, or the bytes.
    pub fn columns(&self) -> (Option<&str>, Option<&[u8]>) {
        match self {
            Self::Inline(data) => (None, Some(data)),
            Self::File(fresh) => (Some(fresh.id()), None),
        }
    }

    /// See `Fresh::keep`.
    pub fn keep(&mut self) {
        if let Self::File(fresh) = self {
            fresh.keep();
        }
    }
}

impl Received {
    /// The checksum by this algorithm, if it was computed.
    pub fn sum(&self, algorithm: Algorithm) -> Option<Sum> {
        let value = algorithm.of(&self.sums)?.clone();
        Some(Sum { algorithm, value, composite: false })
    }
}

/// Collects a body chunk by chunk.
pub struct Taker {
    blobs: Arc<Blobs>,
    buffer: Vec<u8>,
    file: Option<(Fresh, tokio::fs::File)>,
    size: u64,
    md5: Md5,
    hasher: s3s::checksum::ChecksumHasher,
}

impl Taker {
    pub fn new(blobs: &Arc<Blobs>, algorithms: &[Algorithm]) -> Self {
        Self {
            blobs: Arc::clone(blobs),
            buffer: Vec::new(),
            file: None,
            size: 0,
            md5: Md5::new(),
            hasher: checksums::hasher(algorithms),
        }
    }

    pub async fn push(&mut self, chunk: &[u8]) -> S3Result<()> {
        self.size += chunk.len() as u64;
        if self.size > BODY_BYTES_MAX {
            return Err(s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size"));
        }
        self.md5.update(chunk);
        self.hasher.update(chunk);
        if self.file.is_none() && self.buffer.len() + chunk.len() <= INLINE_BYTES_MAX {
            self.buffer.extend_from_slice(chunk);
            return Ok(());
        }
        let (_, file) = match &mut self.file {
            Some(open) => open,
            none => {
                let fresh = self.blobs.fresh();
                let mut file = tokio::fs::File::create_new(fresh.path()).await.map_err(S3Error::internal_error)?;
                file.write_all(&std::mem::take(&mut self.buffer)).await.map_err(S3Error::internal_error)?;
                none.insert((fresh, file))
            }
        };
        file.write_all(chunk).await.map_err(S3Error::internal_error)
    }

    pub async fn finish(self) -> S3Result<Received> {
        let content = match self.file {
            None => Content::Inline(self.buffer),
            Some((fresh, mut file)) => {
                file.flush().await.map_err(S3Error::internal_error)?;
                Content::File(fresh)
            }
        };
        Ok(Received { size: self.size, md5: self.md5.finalize().into(), sums: self.hasher.finalize(), content })
    }
}

/// Reads the whole body of a request and checks what the request claims about it.
pub async fn take<T>(
    blobs: &Arc<Blobs>,
    request: &mut S3Request<T>,
    body: Option<StreamingBlob>,
    length: Option<i64>,
    claims: &Claims,
    algorithms: &[Algorithm],
) -> S3Result<Received> {
    let mut taker = Taker::new(blobs, algorithms);
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            taker.push(&chunk.map_err(broken)?).await?;
        }
    }
    let received = taker.finish().await?;
    if length.is_some_and(|length| length.unsigned_abs() != received.size) {
        return Err(s3_error!(
            IncompleteBody,
            "You did not provide the number of bytes specified by the Content-Length HTTP header"
        ));
    }
    let trailers = request.trailing_headers.as_ref().and_then(s3s::TrailingHeaders::take);
    claims.check(&received.md5, &received.sums, trailers.as_ref())?;
    Ok(received)
}

/// The streams below are private to s3s: their errors can only be told by what they say.
fn broken(source: StdError) -> S3Error {
    let text = source.to_string();
    let mut error = if text.contains("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch)
    } else if text.contains("Sha256Mismatch") {
        reply::unlisted(
            "XAmzContentSHA256Mismatch",
            http::StatusCode::BAD_REQUEST,
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
    } else {
        s3_error!(IncompleteBody, "The request body terminated unexpectedly")
    };
    error.set_source(source);
    error
}
