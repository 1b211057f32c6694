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
pub const ERROR_CLASSES: &[&str] = &[
    PERMISSION,
    LOCKED,
    SHARED_VOLUME,
    LOCAL,
    STATE,
    METADATA,
    ENDPOINT,
    CREDENTIALS,
    BUCKET,
    THROTTLED,
    INTERNAL,
    OTHER,
];

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
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use std::path::Path;

    use gosync_api::messages::ErrorCode;
    use gosync_api::words::PathState;
    use gosync_plan::NameProblem;

    use super::*;

    fn read(path: &str) -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    }

    /// Breaks the build when a reason is added, so that it is listed here.
    fn every_name_problem() -> [NameProblem; 8] {
        use NameProblem as Problem;
        let known = |problem| match problem {
            Problem::EmptyComponent
            | Problem::DotComponent
            | Problem::ComponentTooLong
            | Problem::KeyTooLong
            | Problem::Nul
            | Problem::OwnFolder
            | Problem::NotUtf8
            | Problem::BesideFolder => problem,
        };
        [
            Problem::EmptyComponent,
            Problem::DotComponent,
            Problem::ComponentTooLong,
            Problem::KeyTooLong,
            Problem::Nul,
            Problem::OwnFolder,
            Problem::NotUtf8,
            Problem::BesideFolder,
        ]
        .map(known)
    }

    /// The names of the doctor's checks, as its source has them.
    fn checks() -> Vec<String> {
        let mut names = Vec::new();
        for file in ["machine", "mod", "root", "running", "store"] {
            let source = read(&format!("src/doctor/{file}.rs"));
            let code = source.split("#[cfg(test)]").next().unwrap();
            for call in ["checks.ok(", "checks.warning(", "checks.wrong(", "self.ok(", "self.warning(", "self.wrong("] {
                let calls = code.split(call).skip(1);
                let named = calls.filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next());
                names.extend(named.map(str::to_owned));
            }
            // The steps towards a store.
            let steps = code.split("(\"").filter_map(|step| step.split_once("\", format!("));
            names.extend(steps.map(|(name, _)| name).filter(|name| !name.contains('"')).map(str::to_owned));
        }
        names.sort();
        names.dedup();
        names
    }

    #[test]
    fn everything_that_can_be_wrong_has_its_entry_in_the_docs() {
        let page = read("../../docs/troubleshooting.md");
        let headings = HaltReason::ALL.iter().map(|reason| reason.as_str());
        let headings =
            headings.chain(ERROR_CLASSES.iter().copied()).chain(PathState::ALL.iter().map(|state| state.as_str()));
        for word in headings {
            assert!(page.contains(&format!("\n### {word}\n\n")), "{word} has no heading");
        }
        let reasons = every_name_problem().map(|problem| format!("`{problem}`"));
        let codes = ErrorCode::ALL.iter().map(|code| format!("`{code}`"));
        let checks = checks();
        assert!(checks.len() > 10, "{checks:?}");
        for word in reasons.into_iter().chain(codes).chain(checks.iter().map(|check| format!("`{check}`"))) {
            let rows = page.lines().filter(|line| line.starts_with("| "));
            let mut entries = rows.filter_map(|row| row.split(" | ").next());
            assert!(entries.any(|entry| entry.contains(&word)), "{word} has no row");
        }
    }

    #[test]
    fn an_unknown_class_is_still_one_of_the_list() {
        assert_eq!(error_class("s3"), ENDPOINT);
        assert_eq!(error_class("credentials"), CREDENTIALS);
        assert_eq!(error_class("of a later engine"), OTHER);
        assert!(ERROR_CLASSES.contains(&OTHER));
    }
}
