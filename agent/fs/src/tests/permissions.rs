use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use gosync_engine::ports::{LocalTree, TreeErrorKind};
use rustix::buffer::spare_capacity;
use rustix::fs::{XattrFlags, getxattr, setxattr};

use super::places::{give_away, in_own_namespaces, needs_root, on_each_tree, unprivileged};
use crate::tree::DiskTree;

#[test]
fn an_unreadable_folder_is_an_error_and_no_absence() {
    on_each_tree(|root, tree| {
        give_away(root);
        unprivileged(|| {
            fs::create_dir(root.join("closed")).unwrap();
            fs::write(root.join("closed/file"), "").unwrap();
            fs::create_dir(root.join("closed/folder")).unwrap();
            set_mode(root, "closed", 0o000);
            for result in [
                tree.stat("closed/file").map(drop),
                tree.stat("closed/no").map(drop),
                tree.stat("closed/folder/no").map(drop),
                tree.read_folder("closed").map(drop),
                tree.read_folder("closed/folder").map(drop),
                tree.open("closed/file").map(drop),
                tree.create("closed/new", 0o600).map(drop),
                tree.unlink("closed/file"),
                tree.rename_new("closed/file", "file"),
                tree.sync_folder("closed"),
            ] {
                assert_eq!(result.unwrap_err().kind, TreeErrorKind::Permission);
            }
            assert!(tree.stat("closed").is_ok());
            // Names can be told but not looked at, and the other way round.
            set_mode(root, "closed", 0o400);
            assert_eq!(tree.read_folder("closed").unwrap().len(), 2);
            assert_eq!(tree.stat("closed/file").unwrap_err().kind, TreeErrorKind::Permission);
            set_mode(root, "closed", 0o100);
            assert_eq!(tree.read_folder("closed").unwrap_err().kind, TreeErrorKind::Permission);
            assert!(tree.stat("closed/file").is_ok());
            assert_eq!(tree.stat("closed/no").unwrap_err().kind, TreeErrorKind::NotFound);
            set_mode(root, "closed", 0o700);
        });
    });
}

#[test]
fn a_file_that_may_not_be_read_can_still_change_its_mode() {
    on_each_tree(|root, tree| {
        give_away(root);
        unprivileged(|| {
            fs::write(root.join("file"), "").unwrap();
            set_mode(root, "file", 0o000);
            assert_eq!(tree.open("file").err().unwrap().kind, TreeErrorKind::Permission);
            fs::write(root.join("other"), "").unwrap();
            tree.copy_attributes("file", "other").unwrap();
            tree.set_mode("file", 0o600).unwrap();
            assert!(tree.open("file").is_ok());
        });
    });
}

#[test]
fn a_file_of_another_owner_keeps_its_mode() {
    if !needs_root("files of another owner in the local tree") {
        return;
    }
    on_each_tree(|root, tree| {
        give_away(root);
        fs::write(root.join("theirs"), "").unwrap();
        unprivileged(|| {
            assert_eq!(tree.set_mode("theirs", 0o777).unwrap_err().kind, TreeErrorKind::Permission);
        });
    });
}

#[test]
fn owner_attributes_and_acl_go_along() {
    on_each_tree(|root, tree| {
        let (from, to) = (root.join("from"), root.join("to"));
        fs::write(&from, "").unwrap();
        fs::write(&to, "").unwrap();
        let acl = acl_for(1_234);
        let attributes: Vec<(&str, &[u8])> = [
            ("user.note", &b"a note"[..]),
            ("user.empty", b""),
            ("user.long", &[7; 2_000]),
            ("system.posix_acl_access", &acl),
        ]
        .into_iter()
        // Not every file system holds all of them.
        .filter(|(name, value)| setxattr(&from, *name, value, XattrFlags::empty()).is_ok())
        .collect();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&from, Some(1_001), Some(1_002)).unwrap();
        }
        tree.copy_attributes("from", "to").unwrap();
        for (name, value) in attributes {
            assert_eq!(attribute(&to, name).as_deref(), Some(value), "{name}");
        }
        let (from, to) = (fs::metadata(from).unwrap(), fs::metadata(to).unwrap());
        assert_eq!((to.uid(), to.gid()), (from.uid(), from.gid()));
    });
}

#[test]
fn what_vouches_for_the_old_content_stays_behind() {
    on_each_tree(|root, tree| {
        let (from, to) = (root.join("from"), root.join("to"));
        fs::write(&from, "").unwrap();
        fs::write(&to, "").unwrap();
        // cap_net_raw=p, revision 2
        let capability = [0, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        if setxattr(&from, "security.capability", &capability, XattrFlags::empty()).is_err() {
            return;
        }
        tree.copy_attributes("from", "to").unwrap();
        assert_eq!(attribute(&to, "security.capability"), None);
    });
}

#[test]
fn an_acl_that_the_old_file_did_not_have_goes() {
    on_each_tree(|root, tree| {
        let (from, to) = (root.join("from"), root.join("to"));
        fs::write(&from, "").unwrap();
        fs::write(&to, "").unwrap();
        if setxattr(&to, "system.posix_acl_access", &acl_for(1_234), XattrFlags::empty()).is_err() {
            return;
        }
        tree.copy_attributes("from", "to").unwrap();
        assert_eq!(attribute(&to, "system.posix_acl_access"), None);
    });
}

#[test]
fn what_may_not_be_carried_is_left_without_an_error() {
    if !needs_root("files of another owner in the local tree") {
        return;
    }
    on_each_tree(|root, tree| {
        give_away(root);
        fs::write(root.join("theirs"), "").unwrap();
        let _ = setxattr(root.join("theirs"), "user.note", b"a note", XattrFlags::empty());
        unprivileged(|| {
            fs::write(root.join("ours"), "").unwrap();
            tree.copy_attributes("theirs", "ours").unwrap();
            assert_ne!(fs::metadata(root.join("ours")).unwrap().uid(), 0);
            assert_eq!(attribute(&root.join("ours"), "user.note"), attribute(&root.join("theirs"), "user.note"));
        });
    });
}

#[test]
fn a_full_and_a_read_only_file_system_are_told_apart() {
    let Some(place) = in_own_namespaces(
        "tests::permissions::a_full_and_a_read_only_file_system_are_told_apart",
        "mkdir full fixed
        mount -t tmpfs -o size=64k,nr_inodes=8 none full
        mount -t tmpfs none fixed
        echo content >fixed/file
        mkdir fixed/folder
        mount -o remount,bind,ro fixed",
    ) else {
        return;
    };
    let full = DiskTree::open(place.join("full")).unwrap();
    assert!(full.space().unwrap().total_bytes <= 64 * 1024);
    let file = full.create("file", 0o600).unwrap();
    assert_eq!(file.write_at(0, &[1; 1024 * 1024]).unwrap_err().kind, TreeErrorKind::NoSpace);
    assert_eq!(full.space().unwrap().free_bytes, 0);
    let error = (0..8).find_map(|number| full.make_folder(&format!("folder {number}")).err()).unwrap();
    assert_eq!(error.kind, TreeErrorKind::NoSpace);

    let fixed = DiskTree::open(place.join("fixed")).unwrap();
    assert!(fixed.open("file").is_ok());
    for result in [
        fixed.create("new", 0o600).map(drop),
        fixed.make_folder("new"),
        fixed.unlink("file"),
        fixed.remove_folder("folder"),
        fixed.rename("file", "new"),
        fixed.rename_new("file", "new"),
        fixed.link("file", "new"),
        fixed.set_mode("file", 0o600),
        fixed.open("file").unwrap().set_mode(0o600),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.kind, TreeErrorKind::ReadOnly, "{error}");
    }
}

fn set_mode(root: &Path, name: &str, mode: u32) {
    fs::set_permissions(root.join(name), PermissionsExt::from_mode(mode)).unwrap();
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(64 * 1024);
    getxattr(path, name, spare_capacity(&mut value)).ok().map(|_| value)
}

/// `user::rw-, user:<id>:r--, group::---, mask::r--, other::---`, as the kernel has it.
fn acl_for(id: u32) -> Vec<u8> {
    let none = u32::MAX;
    let entries: [(u16, u16, u32); 5] = [(1, 6, none), (2, 4, id), (4, 0, none), (0x10, 4, none), (0x20, 0, none)];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    acl
}
