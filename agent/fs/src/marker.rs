//! What stands for a folder in a tree that keeps folders: a file without content, there as long as the folder is.

use gosync_engine::ports::local::Kind;
use gosync_engine::ports::{Lease, Stat, TreeError, TreeErrorKind, TreeFile};
use gosync_plan::Fingerprint;

use crate::error::Refused;

/// Told of every folder, whatever comes and goes in it.
const MODE: u32 = 0o040_755;

pub(crate) fn stat(folder: &Stat) -> Stat {
    let fingerprint = Fingerprint { size: 0, mtime_ns: 0, ctime_ns: 0, inode: 0, mode: MODE };
    Stat { kind: Kind::File, fingerprint, links: 1, mount: folder.mount }
}

pub(crate) struct Marker {
    stat: Stat,
    path: String,
}

impl Marker {
    pub fn new(stat: Stat, path: &str) -> Self {
        Self { stat, path: path.into() }
    }

    fn refused(&self, call: &'static str) -> TreeError {
        Refused::new(TreeErrorKind::Unsupported).at(call, &self.path)
    }
}

impl TreeFile for Marker {
    fn stat(&self) -> Result<Stat, TreeError> {
        Ok(self.stat)
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> Result<usize, TreeError> {
        Ok(0)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> Result<(), TreeError> {
        Err(self.refused("write"))
    }

    fn set_len(&self, _: u64) -> Result<(), TreeError> {
        Err(self.refused("ftruncate"))
    }

    fn set_mode(&self, _: u32) -> Result<(), TreeError> {
        Err(self.refused("fchmod"))
    }

    fn set_mtime_ns(&self, _: i64) -> Result<(), TreeError> {
        Err(self.refused("futimens"))
    }

    /// Its folder's name is made durable with the folder above.
    fn sync(&self) -> Result<(), TreeError> {
        Ok(())
    }

    fn lease(&self) -> Lease {
        Lease::Granted
    }

    fn release_lease(&self) {}

    fn copy_to(&self, to: &dyn TreeFile) -> Result<(), TreeError> {
        to.set_len(0)
    }
}
