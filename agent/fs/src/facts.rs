//! What the kernel tells of an inode, a mount and a file system, in the engine's words.

use std::os::fd::BorrowedFd;

use gosync_engine::ports::local::Kind;
use gosync_engine::ports::{RootFacts, Stat};
use gosync_plan::Fingerprint;
use gosync_plan::facts::Special;
use rustix::fs::{AtFlags, FileType, StatFs, Statx, StatxFlags, StatxTimestamp, fstatfs, makedev, statx};
use rustix::io::Errno;

/// `STATX_MNT_ID_UNIQUE` (Linux 6.8): ids that are never given out again. Older kernels ignore it and tell the other id.
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID).union(MNT_ID_UNIQUE);

/// File systems (`statfs(2)`) on which another host can write without our kernel hearing of it. FUSE counts: what
/// stands behind it is not told.
const NETWORK_FILE_SYSTEMS: [u32; 16] = [
    0x0000_6969, // NFS
    0x0000_517b, // SMB
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
    0x00c3_6400, // Ceph
    0x6573_5546, // FUSE
    0x0102_1997, // 9P
    0x5346_414f, // AFS (OpenAFS)
    0x6b41_4653, // AFS (kernel)
    0x7375_7245, // Coda
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS
    0x1983_0326, // BeeGFS
    0x7461_636f, // OCFS2
    0x0116_1970, // GFS2
    0x786f_4256, // vboxsf
];

/// `lstat` of a name in a folder.
pub(crate) fn look_at(folder: BorrowedFd<'_>, name: &str) -> Result<Statx, Errno> {
    statx(folder, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, WANTED)
}

/// `fstat`.
pub(crate) fn look(fd: BorrowedFd<'_>) -> Result<Statx, Errno> {
    statx(fd, c"", AtFlags::EMPTY_PATH, WANTED)
}

/// The mount's id, or the device where the kernel (before 5.8) tells none.
pub(crate) fn mount_of(found: &Statx) -> u64 {
    let told = StatxFlags::from_bits_retain(found.stx_mask).intersects(StatxFlags::MNT_ID | MNT_ID_UNIQUE);
    if told { found.stx_mnt_id } else { device_of(found) }
}

fn device_of(found: &Statx) -> u64 {
    makedev(found.stx_dev_major, found.stx_dev_minor)
}

/// `tree_mount` is the mount that the tree lives on: anything of another one is a mount of its own.
pub(crate) fn stat_of(found: &Statx, tree_mount: u64) -> Stat {
    let mount = mount_of(found);
    let kind = if mount == tree_mount {
        match FileType::from_raw_mode(found.stx_mode.into()) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Special(Special::Symlink),
            FileType::Fifo => Kind::Special(Special::Fifo),
            FileType::Socket => Kind::Special(Special::Socket),
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => Kind::Special(Special::Device),
        }
    } else {
        Kind::Special(Special::Mount)
    };
    Stat {
        kind,
        fingerprint: Fingerprint {
            size: found.stx_size,
            mtime_ns: nanoseconds(found.stx_mtime),
            ctime_ns: nanoseconds(found.stx_ctime),
            inode: found.stx_ino,
            mode: found.stx_mode.into(),
        },
        links: found.stx_nlink.into(),
        mount,
    }
}

/// What a link that is kept as one looks like: a file.
pub(crate) fn link_as_file(mut stat: Stat) -> Stat {
    if stat.kind == Kind::Special(Special::Symlink) {
        stat.kind = Kind::File;
    }
    stat
}

/// Saturates in the years 1677 and 2262: such a time is still equal to itself.
fn nanoseconds(time: StatxTimestamp) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.into())
}

pub(crate) fn root_facts(root: BorrowedFd<'_>) -> Result<RootFacts, Errno> {
    let found = look(root)?;
    Ok(RootFacts {
        device: device_of(&found),
        inode: found.stx_ino,
        mount: mount_of(&found),
        network: is_network(&fstatfs(root)?),
    })
}

pub(crate) fn is_network(told: &StatFs) -> bool {
    // The magic numbers are 32 bits wide; the field's width and sign differ between platforms.
    let magic = (told.f_type as u64 & 0xffff_ffff) as u32;
    NETWORK_FILE_SYSTEMS.contains(&magic)
}
