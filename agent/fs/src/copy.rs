//! The whole content of one open file to another: shared blocks where the file system can, else copied by the kernel,
//! else by hand. Holes stay holes.
//!
//! The source may change meanwhile: whoever needs one state of it compares it before and after.

use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, copy_file_range, fstat, ftruncate, ioctl_ficlone, seek};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

/// bytes; large enough that the calls don't count
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;

/// One copy_file_range. Bounded so that no single call lasts long.
const RANGE_BYTES: u64 = 64 * 1024 * 1024;

pub(crate) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    ftruncate(to, 0)?;
    // Whatever is wrong with it (no such call, another file system, no space), the next way finds out.
    if ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let bytes = size_of(from)?;
    let mut by_kernel = true;
    for_each_extent(from, bytes, |mut offset, end| {
        while by_kernel && offset < end {
            match copy_range(from, to, offset, end) {
                Ok(0) | Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                    by_kernel = false
                }
                Ok(copied) => offset += copied,
                Err(errno) => return Err(errno),
            }
        }
        by_hand(from, offset, end, |bytes, offset| write_all(to, bytes, offset))
    })?;
    ftruncate(to, bytes)
}

pub(crate) fn size_of(file: BorrowedFd<'_>) -> Result<u64, Errno> {
    Ok(fstat(file)?.st_size.unsigned_abs())
}

/// Calls `work` for the ranges that hold data, in order.
pub(crate) fn for_each_extent<E: From<Errno>>(
    file: BorrowedFd<'_>,
    bytes: u64,
    mut work: impl FnMut(u64, u64) -> Result<(), E>,
) -> Result<(), E> {
    let mut offset = 0;
    while offset < bytes {
        let (start, end) = match seek(file, SeekFrom::Data(offset)) {
            // Only a hole up to the end.
            Err(Errno::NXIO) => break,
            // The file system doesn't tell.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => (offset, bytes),
            Err(errno) => return Err(errno.into()),
            Ok(start) => (start, seek(file, SeekFrom::Hole(start)).unwrap_or(bytes).min(bytes)),
        };
        if start >= bytes {
            break;
        }
        work(start, end)?;
        offset = end.max(start + 1);
    }
    Ok(())
}

fn copy_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, offset: u64, end: u64) -> Result<u64, Errno> {
    let (mut source, mut target) = (offset, offset);
    let bytes = (end - offset).min(RANGE_BYTES);
    retry_on_intr(|| copy_file_range(from, Some(&mut source), to, Some(&mut target), bytes as usize))
        .map(|copied| copied as u64)
}

/// Reads a range and hands it over piece by piece. A source that has become shorter ends it.
pub(crate) fn by_hand<E: From<Errno>>(
    from: BorrowedFd<'_>,
    mut offset: u64,
    end: u64,
    mut write: impl FnMut(&[u8], u64) -> Result<(), E>,
) -> Result<(), E> {
    if offset >= end {
        return Ok(());
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    while offset < end {
        let wanted = (end - offset).min(BUFFER_BYTES as u64) as usize;
        let read = retry_on_intr(|| pread(from, &mut buffer[..wanted], offset))?;
        if read == 0 {
            break;
        }
        write(&buffer[..read], offset)?;
        offset += read as u64;
    }
    Ok(())
}

pub(crate) fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match retry_on_intr(|| pwrite(to, bytes, offset))? {
            0 => return Err(Errno::IO),
            written => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
        }
    }
    Ok(())
}
