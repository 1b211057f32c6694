//! Read leases, which prove that nobody writes: the only unsafe code of the crate.
//!
//! A lease belongs to the open file: closing the descriptor gives it back, so a crash leaves nothing behind. Whoever
//! opens the file for writing while it stands waits, at most `/proc/sys/fs/lease-break-time` seconds.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Once;

use gosync_engine::ports::Lease;

pub(crate) fn take(file: BorrowedFd<'_>) -> Lease {
    match set_lease(file, libc::F_RDLCK) {
        0 => Lease::Granted,
        libc::EAGAIN => Lease::Busy,
        // EACCES: another owner, and no CAP_LEASE. EINVAL, ENOLCK: the file system has none.
        _ => Lease::Unavailable,
    }
}

/// Giving back what was not taken is no error.
pub(crate) fn release(file: BorrowedFd<'_>) {
    set_lease(file, libc::F_UNLCK);
}

/// The error number, or 0.
#[allow(unsafe_code, reason = "neither std nor rustix has F_SETLEASE or signal dispositions")]
fn set_lease(file: BorrowedFd<'_>, lease: libc::c_int) -> i32 {
    static IGNORE_SIGIO: Once = Once::new();
    // A writer's open() sends us SIGIO, and the default action is to end the process. We have no use for it: the lease
    // is given back within milliseconds anyway. A handler that is already there stays.
    // SAFETY: signal() with SIG_IGN or with what it returned before runs no code of ours in a handler.
    IGNORE_SIGIO.call_once(|| unsafe {
        let before = libc::signal(libc::SIGIO, libc::SIG_IGN);
        if before != libc::SIG_DFL && before != libc::SIG_ERR {
            libc::signal(libc::SIGIO, before);
        }
    });
    // SAFETY: the descriptor is open for as long as it is borrowed, and F_SETLEASE takes an int.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, lease) } == 0 {
        return 0;
    }
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)
}
