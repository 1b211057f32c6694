//! Tells the binary where it comes from: commit, build date, compiler.
//!
//! Needs no git: the commit is read from the repository's own files, else from the text that `git archive` fills in,
//! else from `GOSYNC_COMMIT`, which wins over both. What can't be known is left out; a build never fails for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for variable in ["GOSYNC_COMMIT", "SOURCE_DATE_EPOCH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let named = env::var("GOSYNC_COMMIT").ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = named.or_else(|| from_repository(&root)).or_else(|| from_archive(&root)) {
        println!("cargo:rustc-env=GOSYNC_BUILD_COMMIT={commit}");
    }
    if let Some(seconds) = build_seconds() {
        println!("cargo:rustc-env=GOSYNC_BUILD_SECONDS={seconds}");
    }
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    if let Ok(output) = Command::new(rustc).arg("--version").output()
        && let Some(line) = String::from_utf8_lossy(&output.stdout).lines().next()
    {
        println!("cargo:rustc-env=GOSYNC_BUILD_RUSTC={line}");
    }
    println!("cargo:rustc-env=GOSYNC_BUILD_TARGET={}", env::var("TARGET").unwrap_or_default());
}

/// Reproducible builds name their date.
fn build_seconds() -> Option<u64> {
    match env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds.trim().parse().ok(),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|age| age.as_secs()),
    }
}

pub fn from_repository(root: &Path) -> Option<String> {
    // No further up: a repository around an unpacked archive is another's.
    let dot_git = root.parent()?.join(".git");
    // In a worktree `.git` is a file that names the folder, and refs may stand in the main one.
    let git_dir = match fs::read_to_string(&dot_git) {
        Ok(text) => dot_git.parent()?.join(text.strip_prefix("gitdir:")?.trim()),
        Err(_) => dot_git,
    };
    let common = match fs::read_to_string(git_dir.join("commondir")) {
        Ok(text) => git_dir.join(text.trim()),
        Err(_) => git_dir.clone(),
    };
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).ok()?;
        println!("cargo:rerun-if-changed={}", path.display());
        Some(text)
    };
    let head = read(git_dir.join("HEAD"))?;
    let Some(name) = head.trim().strip_prefix("ref:").map(str::trim) else { return commit(&head) };
    let packed = || {
        let packed = read(common.join("packed-refs"))?;
        let line = packed.lines().find(|line| line.split_once(' ').is_some_and(|(_, of)| of == name))?;
        commit(line.split_once(' ')?.0)
    };
    read(common.join(name)).as_deref().and_then(commit).or_else(packed)
}

/// `git archive` puts the commit there, as `.gitattributes` asks.
pub fn from_archive(root: &Path) -> Option<String> {
    commit(&fs::read_to_string(root.join("commit.txt")).ok()?)
}

/// The text, if it is a hash.
fn commit(text: &str) -> Option<String> {
    let text = text.trim();
    (matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_owned())
}
