//! Reads a body back, or a part of it, in order and in bounded memory.
//!
//! The files stay pinned until the stream is dropped, so that a reader sees the version it asked for to the end,
//! whatever is written meanwhile.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use s3s::dto::StreamingBlob;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::blobs::Pin;
use crate::index::Segment;

const CHUNK_BYTES: usize = 256 * 1024;

struct Reader {
    pin: Pin,
    pieces: VecDeque<(Segment, Range<u64>)>,
    open: Option<(File, u64)>,
}

/// These bytes of a body, as a stream.
pub fn stream(
    pin: Pin,
    segments: Vec<Segment>,
    range: Range<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync {
    let mut start = 0;
    let mut pieces = VecDeque::new();
    for segment in segments {
        let end = start + segment.size;
        let piece = range.start.clamp(start, end) - start..range.end.clamp(start, end) - start;
        if !piece.is_empty() {
            pieces.push_back((segment, piece));
        }
        start = end;
    }
    stream::try_unfold(Reader { pin, pieces, open: None }, |mut reader| async move {
        Ok(reader.next().await?.map(|chunk| (chunk, reader)))
    })
}

pub fn body(pin: Pin, segments: Vec<Segment>, range: Range<u64>) -> StreamingBlob {
    StreamingBlob::wrap(stream(pin, segments, range))
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.open.is_none() {
            let Some((segment, piece)) = self.pieces.pop_front() else { return Ok(None) };
            let Some(blob) = segment.blob else {
                let (from, to) = (index(piece.start)?, index(piece.end)?);
                return Ok(Some(Bytes::from(segment.data).slice(from..to)));
            };
            let mut file = File::open(self.pin.path(&blob)).await?;
            if piece.start > 0 {
                file.seek(io::SeekFrom::Start(piece.start)).await?;
            }
            self.open = Some((file, piece.end - piece.start));
        }
        let Some((file, left)) = &mut self.open else { return Ok(None) };
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES.min(index(*left)?));
        let count = file.take(*left).read_buf(&mut chunk).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= count as u64;
        if *left == 0 {
            self.open = None;
        }
        Ok(Some(chunk.freeze()))
    }
}

fn index(position: u64) -> io::Result<usize> {
    usize::try_from(position).map_err(io::Error::other)
}
