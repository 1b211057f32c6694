//! Reading a local file for an upload (R6): a lease before and after, the descriptor's own fingerprint, nothing torn.

use bytes::Bytes;
use gosync_plan::{ContentHash, Digests, Fingerprint};

use crate::digest::{Digester, Wanted, of_bytes};
use crate::look::READ_BYTES;
use crate::ports::{Lease, LocalTree, TreeError, TreeFile};

/// What reading came to.
pub enum Reading<T> {
    Whole(T),
    /// Not the file that was planned, or it changed meanwhile.
    Changed,
    /// Somebody has it open for writing.
    Busy,
}

pub struct Small {
    pub bytes: Bytes,
    pub digests: Digests,
    /// It was open for writing: it may be torn.
    pub open: bool,
}

pub struct Large {
    pub digests: Digests,
    /// BLAKE3 of each part, so that what is sent is what was hashed.
    pub parts: Vec<ContentHash>,
    pub open: bool,
}

/// Reads a file that fits into memory.
pub fn read_small(
    tree: &dyn LocalTree,
    path: &str,
    planned: Fingerprint,
    read_open: bool,
) -> Result<Reading<Small>, TreeError> {
    let file = tree.open(path)?;
    let mut open = match begin(&*file, planned, read_open)? {
        Reading::Whole(open) => open,
        Reading::Changed => return Ok(Reading::Changed),
        Reading::Busy => return Ok(Reading::Busy),
    };
    let mut bytes = vec![0; usize::try_from(planned.size).unwrap_or(0)];
    if read_full(&*file, 0, &mut bytes)? != bytes.len() {
        return Ok(Reading::Changed);
    }
    match end(&*file, planned, read_open)? {
        Reading::Whole(still_open) => open |= still_open,
        Reading::Changed => return Ok(Reading::Changed),
        Reading::Busy => return Ok(Reading::Busy),
    }
    let digests = of_bytes(&bytes, Wanted { md5: true, ..Wanted::default() });
    Ok(Reading::Whole(Small { bytes: bytes.into(), digests, open }))
}

/// Hashes a file of any size, whole and by parts.
pub fn hash_large(
    file: &dyn TreeFile,
    planned: Fingerprint,
    part_bytes: u64,
    read_open: bool,
) -> Result<Reading<Large>, TreeError> {
    let mut open = match begin(file, planned, read_open)? {
        Reading::Whole(open) => open,
        Reading::Changed => return Ok(Reading::Changed),
        Reading::Busy => return Ok(Reading::Busy),
    };
    let mut whole = Digester::new(Wanted::default());
    let mut parts = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    while offset < planned.size {
        let mut part = Digester::new(Wanted::default());
        let part_end = (offset + part_bytes).min(planned.size);
        while offset < part_end {
            let room = usize::try_from(part_end - offset).unwrap_or(READ_BYTES).min(READ_BYTES);
            let read = file.read_at(offset, &mut buffer[..room])?;
            if read == 0 {
                return Ok(Reading::Changed);
            }
            whole.update(&buffer[..read]);
            part.update(&buffer[..read]);
            offset += read as u64;
        }
        parts.push(part.finish().blake3);
    }
    match end(file, planned, read_open)? {
        Reading::Whole(still_open) => open |= still_open,
        Reading::Changed => return Ok(Reading::Changed),
        Reading::Busy => return Ok(Reading::Busy),
    }
    Ok(Reading::Whole(Large { digests: whole.finish(), parts, open }))
}

/// `Whole(open)`: reading may begin.
fn begin(file: &dyn TreeFile, planned: Fingerprint, read_open: bool) -> Result<Reading<bool>, TreeError> {
    if file.stat()?.fingerprint != planned {
        return Ok(Reading::Changed);
    }
    Ok(rest(file, read_open))
}

/// `Whole(open)`: what was read is what `planned` names.
pub fn end(file: &dyn TreeFile, planned: Fingerprint, read_open: bool) -> Result<Reading<bool>, TreeError> {
    let answer = rest(file, read_open);
    if file.stat()?.fingerprint != planned {
        return Ok(Reading::Changed);
    }
    Ok(answer)
}

/// Asks for a lease and gives it back at once: it only tells whether anybody writes.
fn rest(file: &dyn TreeFile, read_open: bool) -> Reading<bool> {
    let lease = file.lease();
    file.release_lease();
    match lease {
        Lease::Busy if read_open => Reading::Whole(true),
        Lease::Busy => Reading::Busy,
        Lease::Granted | Lease::Unavailable => Reading::Whole(false),
    }
}

/// Fills `buffer` as far as the file goes; returns the bytes read.
pub fn read_full(file: &dyn TreeFile, offset: u64, buffer: &mut [u8]) -> Result<usize, TreeError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(offset + filled as u64, &mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
