use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};

use gosync_engine::ports::{LocalTree, TreeFile};

use super::places::{on_each_tree, places};
use crate::tree::DiskTree;

const MIB: u64 = 1024 * 1024;

#[test]
fn a_copy_keeps_holes() {
    on_each_tree(|root, tree| {
        let data = vec![7; MIB as usize];
        let sparse = File::create(root.join("sparse")).unwrap();
        sparse.write_all_at(&data, 8 * MIB).unwrap();
        sparse.write_all_at(&data, 40 * MIB + 5).unwrap();
        sparse.set_len(64 * MIB + 3).unwrap();
        File::create(root.join("hollow")).unwrap().set_len(16 * MIB).unwrap();
        for name in ["sparse", "hollow"] {
            let from = tree.open_file(name).unwrap();
            let by_kernel = tree.create("by kernel", 0o600).unwrap();
            from.copy_within_kernel(tree_file(root, "by kernel").as_fd()).unwrap();
            let by_hand = tree.create("by hand", 0o600).unwrap();
            from.copy_to(&*by_hand).unwrap();
            let original = fs::metadata(root.join(name)).unwrap();
            for copy in ["by kernel", "by hand"] {
                let copied = fs::metadata(root.join(copy)).unwrap();
                assert_eq!(copied.len(), original.len());
                // 512 bytes each; the bounds of extents may differ by some blocks
                assert!(copied.blocks() <= original.blocks() + 64, "{copy}: {} blocks", copied.blocks());
                assert!(fs::read(root.join(copy)).unwrap() == fs::read(root.join(name)).unwrap(), "{copy} differs");
                tree.unlink(copy).unwrap();
            }
            drop((by_kernel, by_hand));
        }
    });
}

#[test]
fn a_folder_of_a_hundred_thousand_names_is_read_whole() {
    for place in places() {
        let tree = DiskTree::open(place.path()).unwrap();
        tree.make_folder("folder").unwrap();
        for number in 0..100_000 {
            tree.create(&format!("folder/file {number}"), 0o600).unwrap();
        }
        let names: HashSet<_> =
            tree.read_folder("folder").unwrap().into_iter().map(|entry| entry.name.unwrap()).collect();
        assert_eq!(names.len(), 100_000);
        assert!((0..100_000).all(|number| names.contains(&format!("file {number}"))));
    }
}

#[test]
fn a_name_that_is_not_utf_8_is_told_as_it_is() {
    on_each_tree(|root, tree| {
        fs::write(root.join(OsStr::from_bytes(b"caf\xe9")), "").unwrap();
        fs::create_dir(root.join(OsStr::from_bytes(b"\xff\xfe"))).unwrap();
        fs::write(root.join("café"), "").unwrap();
        let mut entries = tree.read_folder("").unwrap();
        entries.sort_by_key(|entry| entry.name.clone().map_or_else(|bytes| bytes, String::into_bytes));
        let names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, [Ok("café".to_owned()), Err(b"caf\xe9".to_vec()), Err(b"\xff\xfe".to_vec())]);
    });
}

#[test]
fn a_writer_goes_on_in_the_file_that_was_exchanged() {
    on_each_tree(|root, tree| {
        let writer = File::create(root.join("file")).unwrap();
        fs::write(root.join("new"), "new").unwrap();
        tree.exchange("new", "file").unwrap();
        writer.write_all_at(b"late", 0).unwrap();
        assert_eq!(fs::read(root.join("file")).unwrap(), b"new");
        assert_eq!(fs::read(root.join("new")).unwrap(), b"late");
    });
}

#[test]
fn times_before_1970_are_kept() {
    on_each_tree(|_, tree| {
        let file = tree.create("file", 0o600).unwrap();
        for mtime_ns in [-1, -1_000_000_000, -1_500_000_001, 0, 4_102_444_800_000_000_001] {
            file.set_mtime_ns(mtime_ns).unwrap();
            assert_eq!(tree.stat("file").unwrap().fingerprint.mtime_ns, mtime_ns);
        }
    });
}

fn tree_file(root: &std::path::Path, name: &str) -> File {
    File::options().write(true).open(root.join(name)).unwrap()
}
