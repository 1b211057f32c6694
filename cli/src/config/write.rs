//! Writes a config file: whole or not at all, and readable by its owner alone, because it may hold secrets.
//!
//! A crash leaves at most a hidden temporary file in the folder.

use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use gosync_api::Exit;
use tempfile::NamedTempFile;

use crate::failure::Failure;

pub fn to_file(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::usage(
            format!("{} is a folder", path.display()),
            format!("name a file in it, such as {}", path.join("config.yaml").display()),
        ));
    }
    let failed = |error: &io::Error| {
        let message = format!("{} can't be written: {error}", path.display());
        Failure::new(Exit::Failed, "write", message, "make its folder writable, or name another file with --config")
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !force {
        refuse_taken(path)?;
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| failed(&error))?;
    let write = || {
        // Made with mode 0600.
        let mut file = NamedTempFile::with_prefix_in(".gosync-config-", folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    let file = write().map_err(|error: io::Error| failed(&error))?;
    let result = if force { file.persist(path) } else { file.persist_noclobber(path) };
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(taken(path)),
        Err(error) => Err(failed(&error.error)),
    }
}

/// What stands there is found out before anything is made.
pub fn refuse_taken(path: &Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() { Err(taken(path)) } else { Ok(()) }
}

fn taken(path: &Path) -> Failure {
    Failure::new(
        Exit::Usage,
        "exists",
        format!("{} is there already", path.display()),
        "overwrite it with --force, or name another file with --config",
    )
}
