//! From the config to what an engine is told. The one place where the keys of `sync` become limits with units.

use std::time::Duration;

use gosync_api::config::{self, Bytes, Every, FileMode, MetadataKind, StatePlace, Symlinks, SyncSettings};
use gosync_api::words;
use gosync_engine::{Limits, MirrorConfig};
use gosync_plan::decide::ModePolicy;
use gosync_plan::{ConflictPolicy, DeleteLimits, Direction, Policy, Prefix};

/// The smallest part that stores take, bytes; smaller values of `chunk_size` are raised to it.
const PART_BYTES_MIN: u64 = 5 << 20;

/// What the engine of a mirror is told. `endpoint` identifies the store: with another one it is a first run.
pub fn engine_config(mirror: &config::MirrorConfig, endpoint: &str, device: &str) -> MirrorConfig {
    MirrorConfig {
        name: mirror.name.clone(),
        device: device.to_owned(),
        endpoint: endpoint.to_owned(),
        bucket: mirror.s3.bucket.clone(),
        prefix: Prefix::new(&mirror.prefix),
        ignore: mirror.ignore_patterns.clone(),
        policy: Policy {
            mode: mode(mirror.sync.mode),
            direction: match mirror.direction {
                words::Direction::TwoWay => Direction::TwoWay,
                words::Direction::Push => Direction::Push,
                words::Direction::Pull => Direction::Pull,
            },
            conflicts: match mirror.conflict_policy {
                config::ConflictPolicy::KeepBoth => ConflictPolicy::KeepBoth,
                config::ConflictPolicy::RemoteWins => ConflictPolicy::RemoteWins,
                config::ConflictPolicy::LocalWins => ConflictPolicy::LocalWins,
            },
        },
        deletes: DeleteLimits {
            percent: mirror.sync.max_deletes.percent.0,
            files: mirror.sync.max_deletes.files,
            min: mirror.sync.max_deletes.min,
        },
        limits: limits(&mirror.sync),
        // What it is shows when it is opened.
        root_is_read_only: false,
        shared: mirror.metadata.kind == MetadataKind::Postgres,
        state_travels: mirror.state == StatePlace::Volume,
        keep_folders: mirror.sync.directory_markers,
        keep_links: mirror.sync.symlinks == Symlinks::Preserve,
    }
}

fn mode(mode: FileMode) -> ModePolicy {
    match mode {
        FileMode::Full => ModePolicy::Full,
        FileMode::Exec => ModePolicy::Exec,
        FileMode::Off => ModePolicy::Off,
    }
}

/// What has no key keeps the engine's default.
fn limits(sync: &SyncSettings) -> Limits {
    let Bytes(chunk_bytes) = sync.chunk_size;
    Limits {
        interval_ms: milliseconds(sync.interval),
        scan_interval_ms: milliseconds(sync.scan_interval),
        settle_max_ms: milliseconds(sync.settle_max),
        retries_max: sync.max_retries,
        conflicts_per_path_max: sync.max_conflicts_per_path,
        part_bytes: chunk_bytes.max(PART_BYTES_MIN),
        large_operations_max: usize::try_from(sync.workers).unwrap_or(usize::MAX),
        trash_age_ms: milliseconds(sync.trash.max_age),
        trash_bytes: sync.trash.max_size.0,
        min_free_percent: sync.min_free.percent.0,
        min_free_bytes: sync.min_free.bytes.0,
        stale_upload_ms: milliseconds(sync.stale_upload_age),
        drain_ms: milliseconds(sync.drain),
        scrub_ms: match sync.scrub {
            Every::Off => None,
            Every::Each(period) => Some(milliseconds(period)),
        },
        ..Limits::default()
    }
}

pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_without_words_gives_the_engines_defaults() {
        let from_config = format!("{:?}", limits(&SyncSettings::default()));
        assert_eq!(from_config, format!("{:?}", Limits::default()));
    }

    #[test]
    fn parts_are_never_smaller_than_a_store_takes() {
        let of = |bytes| limits(&SyncSettings { chunk_size: Bytes(bytes), ..SyncSettings::default() }).part_bytes;
        assert_eq!(of(5_000_000), 5 << 20);
        assert_eq!(of(1), 5 << 20);
        assert_eq!(of(64 << 20), 64 << 20);
    }

    #[test]
    fn times_and_sizes_keep_their_value() {
        let limits = limits(&SyncSettings {
            interval: Duration::from_millis(1_500),
            workers: 9,
            drain: Duration::from_secs(7),
            max_retries: 0,
            ..SyncSettings::default()
        });
        assert_eq!(limits.interval_ms, 1_500);
        assert_eq!(limits.large_operations_max, 9);
        assert_eq!(limits.drain_ms, 7_000);
        assert_eq!(limits.retries_max, 0);
    }

    #[test]
    fn every_mode_has_its_policy() {
        assert_eq!(mode(FileMode::Full), ModePolicy::Full);
        assert_eq!(mode(FileMode::Exec), ModePolicy::Exec);
        assert_eq!(mode(FileMode::Off), ModePolicy::Off);
    }
}
