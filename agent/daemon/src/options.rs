//! What a command line asks of an agent. Pure values.

use std::path::PathBuf;

/// `gosync agent --config <file or folder> [--data-dir <dir>]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The config: a file, or a folder of `*.yaml`.
    pub config: PathBuf,
    /// Stands above the config's `data_dir`.
    pub data_dir: Option<PathBuf>,
    /// What `state` tells as the agent's version.
    pub version: String,
    /// What `gosync_build_info` tells beside it.
    pub commit: String,
}

/// `gosync agent --dev [--dev-dir <dir>]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DevOptions {
    /// Where the playground lives; made if it isn't there.
    pub dir: PathBuf,
    pub version: String,
    pub commit: String,
    /// Colours on the screen.
    pub color: bool,
}
