//! File systems of a test's own; for root alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounted for as long as this lives.
pub struct Mount(PathBuf);

impl Mount {
    pub fn tmpfs(at: &Path) -> Self {
        Self::mounted(at, &[])
    }

    /// One that is full at so many bytes.
    pub fn tmpfs_of(at: &Path, bytes: usize) -> Self {
        Self::mounted(at, &["-o", &format!("size={bytes}")])
    }

    fn mounted(at: &Path, options: &[&str]) -> Self {
        fs::create_dir_all(at).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs"]).args(options).arg("gosync-test").arg(at));
        Self(at.to_owned())
    }

    /// An ext4 file system of so many bytes in a file, made where it is not there yet.
    pub fn image(image: &Path, at: &Path, bytes: u64) -> Self {
        if !image.exists() {
            fs::File::create(image).unwrap().set_len(bytes).unwrap();
            run(Command::new("mkfs.ext4").args(["-q", "-F", "-b", "4096"]).arg(image));
        }
        fs::create_dir_all(at).unwrap();
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at));
        Self(at.to_owned())
    }

    /// At once and for good: everything is on the disk then.
    pub fn unmount(self) {
        run(Command::new("umount").arg(&self.0));
        std::mem::forget(self);
    }

    /// A folder seen at another place: what is in it survives being unmounted there.
    pub fn bind(from: &Path, at: &Path) -> Self {
        run(Command::new("mount").arg("--bind").arg(from).arg(at));
        Self(at.to_owned())
    }

    /// The same where nothing can be written, not even by root.
    pub fn bind_read_only(from: &Path, at: &Path) -> Self {
        let mount = Self::bind(from, at);
        run(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(at));
        mount
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: an agent may still have it open.
        run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
