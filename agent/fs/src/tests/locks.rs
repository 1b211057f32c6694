use std::fs;

use super::places::{on_each_tree, places};
use crate::lock::{LockError, lock_file};

#[test]
fn a_lock_keeps_others_out_until_it_is_dropped() {
    on_each_tree(|root, tree| {
        fs::create_dir(root.join(".gosync")).unwrap();
        let lock = tree.lock(".gosync/lock").unwrap();
        assert!(matches!(tree.lock(".gosync/lock"), Err(LockError::Held { .. })));
        assert!(matches!(lock_file(&root.join(".gosync/lock")), Err(LockError::Held { .. })));
        tree.lock(".gosync/other").unwrap();
        drop(lock);
        tree.lock(".gosync/lock").unwrap();
    });
}

#[test]
fn a_lock_whose_file_was_replaced_is_another_lock() {
    for place in places() {
        let path = place.path().join("lock");
        let _first = lock_file(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = lock_file(&path).unwrap();
        assert!(matches!(lock_file(&path), Err(LockError::Held { .. })));
    }
}

#[test]
fn a_lock_needs_its_folder_and_follows_no_symlink() {
    for place in places() {
        assert!(matches!(lock_file(&place.path().join("no/lock")), Err(LockError::Failed { .. })));
        std::os::unix::fs::symlink("elsewhere", place.path().join("lock")).unwrap();
        assert!(matches!(lock_file(&place.path().join("lock")), Err(LockError::Failed { .. })));
        assert!(!place.path().join("elsewhere").exists());
    }
}
