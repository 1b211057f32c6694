//! Carrying owner, extended attributes and ACLs from the file that is replaced to the one that replaces it.
//!
//! As much as we may: an agent without privileges can't give files away, and file systems differ in what they hold.
//! So a failure to carry is no error. Mode and times are not carried here: set the mode afterwards, as both a changed
//! owner and an ACL move its bits.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Uid, XattrFlags, chmodat, chownat, fstat, getxattr, listxattr, removexattr, setxattr,
};
use rustix::io::Errno;

/// bytes; XATTR_SIZE_MAX and XATTR_LIST_MAX of Linux
const XATTR_BYTES_MAX: usize = 64 * 1024;

const ACCESS_ACL: &CStr = c"system.posix_acl_access";

/// They vouch for the content that is replaced.
const OF_THE_CONTENT: [&CStr; 3] = [c"security.capability", c"security.ima", c"security.evm"];

/// Both may be opened with O_PATH.
pub(crate) fn carry(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    // First, since a change of owner drops some attributes.
    carry_owner(from, to);
    let (from, to) = (by_descriptor(from), by_descriptor(to));
    let names = attributes(&from);
    if !names.iter().any(|name| name == ACCESS_ACL.to_bytes_with_nul()) {
        // What it got from the folder that it was made in.
        let _ = removexattr(&*to, ACCESS_ACL);
    }
    let mut value = Vec::with_capacity(XATTR_BYTES_MAX);
    for name in &names {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if OF_THE_CONTENT.contains(&name) {
            continue;
        }
        value.clear();
        if getxattr(&*from, name, spare_capacity(&mut value)).is_ok() {
            let _ = setxattr(&*to, name, &value, XattrFlags::empty());
        }
    }
}

/// Changes the mode of what may be opened with O_PATH.
pub(crate) fn set_mode(node: BorrowedFd<'_>, mode: Mode) -> Result<(), Errno> {
    chmodat(CWD, &*by_descriptor(node), mode, AtFlags::empty()).map_err(|errno| match errno {
        // It is /proc that is missing here.
        Errno::NOENT => Errno::OPNOTSUPP,
        errno => errno,
    })
}

fn carry_owner(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    let (Ok(wanted), Ok(now)) = (fstat(from), fstat(to)) else { return };
    if (wanted.st_uid, wanted.st_gid) == (now.st_uid, now.st_gid) {
        return;
    }
    let (owner, group) = (Uid::from_raw(wanted.st_uid), Gid::from_raw(wanted.st_gid));
    if chownat(to, c"", Some(owner), Some(group), AtFlags::EMPTY_PATH).is_err() {
        // One of our own groups can be given without privileges.
        let _ = chownat(to, c"", None, Some(group), AtFlags::EMPTY_PATH);
    }
}

/// The names, each with its NUL.
fn attributes(path: &str) -> Vec<Vec<u8>> {
    let mut list = Vec::with_capacity(XATTR_BYTES_MAX);
    if listxattr(path, spare_capacity(&mut list)).is_err() {
        return Vec::new();
    }
    list.split_inclusive(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// A path to an open inode: chmod and the attribute calls don't take an O_PATH descriptor.
fn by_descriptor(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}
