//! Where the tests run: in memory and on a disk, with and without `openat2`, with and without privileges.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use tempfile::TempDir;

use crate::beneath::Beneath;
use crate::tree::DiskTree;

/// nobody
const UNPRIVILEGED: u32 = 65_534;

/// A folder on tmpfs, and one on the disk that the tests were built on.
pub fn places() -> Vec<TempDir> {
    let disk = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    [PathBuf::from("/dev/shm"), disk].iter().map(|place| tempfile::tempdir_in(place).unwrap()).collect()
}

/// Runs `test` for each kind of tree, each time in an empty one. Beside the root (first argument) the folder that it
/// is in is the test's, too.
pub fn on_each_tree(test: impl Fn(&Path, &DiskTree)) {
    for make in [Beneath::new, Beneath::without_openat2] {
        for place in places() {
            let root = place.path().join("root");
            std::fs::create_dir(&root).unwrap();
            test(&root, &DiskTree::open_with(root.clone(), make).unwrap());
        }
    }
}

/// Runs `test` as an ordinary user. Credentials are a thread's as far as the kernel is concerned: the other tests keep
/// theirs.
pub fn unprivileged<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if geteuid().is_root() {
                set_thread_groups(&[]).unwrap();
                let group = Gid::from_raw(UNPRIVILEGED);
                set_thread_res_gid(group, group, group).unwrap();
                let user = Uid::from_raw(UNPRIVILEGED);
                set_thread_res_uid(user, user, user).unwrap();
            }
            test()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// False when a test has to leave itself out. `what`: for the list of tests that do.
pub fn needs_root(what: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("left out: root is needed for {what}");
    }
    root
}

/// Lets [`unprivileged`] tests work in `folder`, which until now belongs to whoever runs the tests.
pub fn give_away(folder: &Path) {
    if geteuid().is_root() {
        std::os::unix::fs::chown(folder, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        // The folder that the root is in is made for its owner alone.
        let above = folder.parent().unwrap();
        std::fs::set_permissions(above, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
}

const INSIDE: &str = "GOSYNC_FS_TEST_PLACE";

/// Runs the test named `test` once more, in namespaces of its own in which it may mount and set limits: first the
/// shell commands of `setup`, in an empty folder, then the test. There `Some` folder is returned; here `None`.
pub fn in_own_namespaces(test: &str, setup: &str) -> Option<PathBuf> {
    if let Some(place) = std::env::var_os(INSIDE) {
        return Some(place.into());
    }
    let place = tempfile::tempdir().unwrap();
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script, "sh"]);
        command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
        command.env(INSIDE, place.path()).current_dir(place.path());
        command
    };
    if !unshare("true").status().is_ok_and(|status| status.success()) {
        eprintln!("left out: {test} needs user namespaces");
        return None;
    }
    let output = unshare(&format!("{setup}\nexec \"$@\"")).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("1 passed"), "{told}");
    None
}
