use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;

use gosync_engine::ports::{Lease, LocalTree};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::places::{give_away, needs_root, on_each_tree, unprivileged};

#[test]
fn a_lease_is_refused_while_the_file_is_open_for_writing() {
    on_each_tree(|root, tree| {
        std::fs::write(root.join("file"), "content").unwrap();
        let file = tree.open("file").unwrap();
        assert_eq!(file.lease(), Lease::Granted);
        file.release_lease();
        let writer = OpenOptions::new().append(true).open(root.join("file")).unwrap();
        assert_eq!(file.lease(), Lease::Busy);
        drop(writer);
        assert_eq!(file.lease(), Lease::Granted);
    });
}

#[test]
#[allow(unsafe_code, reason = "there is no mapping a file without it")]
fn a_lease_is_refused_while_the_file_is_mapped_for_writing() {
    on_each_tree(|root, tree| {
        std::fs::write(root.join("file"), "content").unwrap();
        let file = tree.open("file").unwrap();
        let writer = OpenOptions::new().read(true).write(true).open(root.join("file")).unwrap();
        // SAFETY: nobody reads or writes the mapping, and it is unmapped once, below.
        let mapping = unsafe {
            let both = ProtFlags::READ | ProtFlags::WRITE;
            mmap(std::ptr::null_mut(), 4096, both, MapFlags::SHARED, &writer, 0).unwrap()
        };
        drop(writer);
        assert_eq!(file.lease(), Lease::Busy);
        // SAFETY: as above.
        unsafe { munmap(mapping, 4096).unwrap() };
        assert_eq!(file.lease(), Lease::Granted);
    });
}

#[test]
fn a_writer_that_comes_while_a_lease_stands_does_not_end_the_process() {
    on_each_tree(|root, tree| {
        std::fs::write(root.join("file"), "content").unwrap();
        let file = tree.open("file").unwrap();
        assert_eq!(file.lease(), Lease::Granted);
        // This sends SIGIO to us.
        let write = || OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(root.join("file"));
        assert_eq!(write().unwrap_err().kind(), ErrorKind::WouldBlock);
        file.release_lease();
        write().unwrap();
        assert_eq!(file.lease(), Lease::Granted);
        drop(file);
        write().unwrap();
    });
}

#[test]
fn a_file_of_another_owner_gives_no_lease_without_privileges() {
    if !needs_root("files of another owner in the local tree") {
        return;
    }
    on_each_tree(|root, tree| {
        give_away(root);
        std::fs::write(root.join("theirs"), "content").unwrap();
        unprivileged(|| {
            std::fs::write(root.join("ours"), "content").unwrap();
            assert_eq!(tree.open("theirs").unwrap().lease(), Lease::Unavailable);
            assert_eq!(tree.open("ours").unwrap().lease(), Lease::Granted);
        });
    });
}
