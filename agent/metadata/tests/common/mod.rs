//! What several test files share: sample values, and this very test binary started again as another process.
#![allow(dead_code, reason = "each test file is a crate of its own and uses only a part")]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use gosync_engine::ports::metadata::{Expected, FileChange};
use gosync_plan::{Ancestor, ContentHash, Fingerprint, Generation, Nonce, RelPath};

/// Names the database to a child process; its absence means that we are the parent.
pub const CHILD_PATH: &str = "GOSYNC_TEST_CHILD_PATH";
/// What else the child is told.
pub const CHILD_TASK: &str = "GOSYNC_TEST_CHILD_TASK";

/// Starts this test binary again, running only the test `name`, with pipes to its input and output.
pub fn start_child(name: &str, database: &Path, task: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD_PATH, database)
        .env(CHILD_TASK, task)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

pub fn path(path: impl Into<String>) -> RelPath {
    RelPath::new(path).unwrap()
}

/// As large as they usually are.
pub fn ancestor(number: u64) -> Ancestor {
    Ancestor {
        fingerprint: Fingerprint {
            size: number,
            mtime_ns: 1_700_000_000_000_000_000,
            ctime_ns: 1_700_000_000_000_000_001,
            inode: number,
            mode: 0o100_644,
        },
        generation: Generation {
            etag: format!("{number:032x}"),
            size: number,
            version_id: None,
            last_modified: Some("1700000000".into()),
        },
        content: Some(ContentHash([7; 32])),
        nonce: Some(Nonce([8; 16])),
        open: false,
    }
}

pub fn put(key: impl Into<String>, etag: &str) -> FileChange {
    let generation =
        Generation { etag: etag.into(), size: 1, version_id: None, last_modified: Some("1700000000".into()) };
    let (key, expects) = (key.into(), Expected::Any);
    FileChange::Put { key, expects, generation, content: None, modified_ns: None, mode: None, mime_type: None }
}

/// Most memory that this process has had, bytes.
pub fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
