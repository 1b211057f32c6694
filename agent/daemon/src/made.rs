//! Mirrors that were made by a command, as the agent's own list keeps them.

use std::path::PathBuf;

use gosync_api::config::{AgentConfig, MirrorConfig, MirrorSpec, Problems, RealDisk};
use gosync_api::messages::MirrorRequest;
use gosync_api::words::Direction;
use serde::{Deserialize, Serialize};

/// One row, beside its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub local_path: PathBuf,
    pub s3_path: String,
    pub direction: Direction,
    #[serde(default)]
    pub ignore: Vec<String>,
}

impl Made {
    pub fn of(request: &MirrorRequest) -> Self {
        Self {
            local_path: PathBuf::from(&request.local_path),
            s3_path: request.s3_path.clone(),
            direction: request.direction.unwrap_or(Direction::TwoWay),
            ignore: request.ignore.clone(),
        }
    }

    /// Its settings, checked against the config and against `others` of its kind.
    pub fn settings(
        &self,
        name: &str,
        config: &AgentConfig,
        others: &[MirrorConfig],
    ) -> Result<MirrorConfig, Problems> {
        let spec = MirrorSpec {
            name: name.to_owned(),
            local_path: self.local_path.clone(),
            s3_path: self.s3_path.clone(),
            direction: self.direction,
            ignore_patterns: self.ignore.clone(),
        };
        config.mirror(&spec, others, &RealDisk)
    }
}
