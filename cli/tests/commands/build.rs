//! The build script: where the commit comes from, with and without a repository, and never from git itself.

use std::fs;
use std::path::Path;

// Its main belongs to cargo.
#[allow(dead_code)]
#[path = "../../build.rs"]
mod script;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The commit of the crate `cli` below a folder.
fn commit(folder: &Path) -> Option<String> {
    script::from_repository(&folder.join("cli"))
}

#[test]
fn the_commit_is_read_from_the_repositorys_own_files() {
    let folder = tempfile::tempdir().unwrap();
    let git = folder.path().join(".git");
    write(&git.join("HEAD"), COMMIT);
    assert_eq!(commit(folder.path()).as_deref(), Some(COMMIT), "detached");
    write(&git.join("HEAD"), "ref: refs/heads/main\n");
    assert_eq!(commit(folder.path()), None, "no commit yet");
    write(&git.join("packed-refs"), &format!("# pack-refs with: peeled\n{COMMIT} refs/heads/main\n"));
    assert_eq!(commit(folder.path()).as_deref(), Some(COMMIT), "packed");
    let newer = COMMIT.replace('0', "f");
    write(&git.join("refs/heads/main"), &format!("{newer}\n"));
    assert_eq!(commit(folder.path()), Some(newer), "a ref of its own is newer than a packed one");
}

#[test]
fn a_worktree_leads_to_the_repository() {
    let folder = tempfile::tempdir().unwrap();
    let git = folder.path().join("main/.git");
    write(&git.join("refs/heads/side"), COMMIT);
    write(&git.join("worktrees/side/HEAD"), "ref: refs/heads/side\n");
    write(&git.join("worktrees/side/commondir"), "../..\n");
    write(&folder.path().join("side/.git"), &format!("gitdir: {}\n", git.join("worktrees/side").display()));
    assert_eq!(commit(&folder.path().join("side")).as_deref(), Some(COMMIT));
}

#[test]
fn an_archive_carries_its_commit_along() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(commit(folder.path()), None);
    assert_eq!(script::from_archive(folder.path()), None);
    // As it stands in the repository, before an archive is made.
    let placeholder = include_str!("../../commit.txt");
    write(&folder.path().join("commit.txt"), placeholder);
    assert_eq!(script::from_archive(folder.path()), None);
    write(&folder.path().join("commit.txt"), &format!("{COMMIT}\n"));
    assert_eq!(script::from_archive(folder.path()).as_deref(), Some(COMMIT));
}
