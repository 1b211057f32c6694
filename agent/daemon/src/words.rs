//! The engine's words as the socket, the metrics and people know them.

use gosync_api::words::{HaltReason, Phase};
use gosync_plan::guard;

/// What an error is about where a file, a folder or the root may not be read or written.
pub const PERMISSION: &str = "permission";
/// A second agent has the tree.
pub const LOCKED: &str = "locked";
/// A file system that other hosts can write to.
pub const SHARED_VOLUME: &str = "shared-volume-needs-postgres";
pub const LOCAL: &str = "local";
pub const STATE: &str = "state";
/// The database that agents share.
pub const METADATA: &str = "metadata";
pub const ENDPOINT: &str = "endpoint";
pub const CREDENTIALS: &str = "credentials";
pub const BUCKET: &str = "bucket";
pub const THROTTLED: &str = "throttled";
/// A fault of the agent's own.
pub const INTERNAL: &str = "internal";
pub const OTHER: &str = "other";

/// Every class there is: the closed list behind a metric's label.
pub const ERROR_CLASSES: &[&str] =
    &[PERMISSION, LOCKED, SHARED_VOLUME, LOCAL, STATE, METADATA, ENDPOINT, CREDENTIALS, BUCKET, THROTTLED, INTERNAL, OTHER];

/// Classes that say that the store is not there for us.
pub fn is_of_the_store(class: &str) -> bool {
    [ENDPOINT, CREDENTIALS, BUCKET, THROTTLED].contains(&class)
}

/// The engine's class as people know it.
pub fn error_class(class: &str) -> &'static str {
    if class == "s3" {
        return ENDPOINT;
    }
    ERROR_CLASSES.iter().copied().find(|known| *known == class).unwrap_or(OTHER)
}

pub fn halt_reason(reason: guard::HaltReason) -> HaltReason {
    match reason {
        guard::HaltReason::RootMissing => HaltReason::RootMissing,
        guard::HaltReason::RootEmptied => HaltReason::RootEmptied,
        guard::HaltReason::RootReplaced => HaltReason::RootReplaced,
        guard::HaltReason::VolumeChanged => HaltReason::VolumeChanged,
        guard::HaltReason::RemoteEmptied => HaltReason::RemoteEmptied,
        guard::HaltReason::TooManyDeletes => HaltReason::TooManyDeletes,
        guard::HaltReason::EverythingChanged => HaltReason::EverythingChanged,
        guard::HaltReason::FirstMerge => HaltReason::FirstMerge,
        guard::HaltReason::TrashFull => HaltReason::TrashFull,
    }
}

pub fn phase(phase: gosync_engine::handle::Phase) -> Phase {
    use gosync_engine::handle::Phase as Engine;
    match phase {
        Engine::Waiting => Phase::Waiting,
        Engine::Hydrating => Phase::Hydrating,
        Engine::Syncing => Phase::Syncing,
        Engine::Idle => Phase::Idle,
        Engine::Closing => Phase::Closing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_class_is_still_one_of_the_list() {
        assert_eq!(error_class("s3"), ENDPOINT);
        assert_eq!(error_class("credentials"), CREDENTIALS);
        assert_eq!(error_class("of a later engine"), OTHER);
        assert!(ERROR_CLASSES.contains(&OTHER));
    }
}
