//! Where the real servers and rclone are: got by `tests/tools/fetch` into a cache outside the repository.

use std::path::PathBuf;
use std::process::Command;

/// The binary of a tool, at the version pinned in `tests/tools/<name>/go.mod` or of this machine's Debian.
pub fn path(name: &str) -> PathBuf {
    let fetch = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/fetch");
    let output = Command::new(fetch).args(["--path", name]).output().unwrap_or_else(|error| panic!("{fetch}: {error}"));
    assert!(output.status.success(), "{fetch} --path {name}: {}", String::from_utf8_lossy(&output.stderr));
    let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end());
    assert!(
        path.exists(),
        "{name} isn't there: {} is missing. Run `make tools` (or `tests/tools/fetch {name}`); `make test` does it first.",
        path.display()
    );
    path
}
