//! Why a server did not start. Requests answer with S3 errors instead.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The options contradict themselves or the limits of S3.
    Options,
    /// Another server owns the data folder.
    InUse,
    /// The address can't be listened on.
    Listen,
    /// The data folder can't be made, read or written.
    Disk,
    /// The index can't be opened or read.
    Index,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{0}")]
    Options(String),
    #[error("another server owns {}", path.display())]
    InUse { path: PathBuf },
    #[error("can't listen on {addr}")]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error("can't use {}", path.display())]
    Disk { path: PathBuf, source: std::io::Error },
    #[error("can't use the index {}", path.display())]
    Index { path: PathBuf, source: sqlx::Error },
}

impl Error {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Options(_) => Kind::Options,
            Self::InUse { .. } => Kind::InUse,
            Self::Listen { .. } => Kind::Listen,
            Self::Disk { .. } => Kind::Disk,
            Self::Index { .. } => Kind::Index,
        }
    }
}
