//! What one mirror is told: names, policies and limits. Every limit has its unit in its name.

use gosync_plan::{DeleteLimits, Policy, Prefix};

#[derive(Clone, Debug)]
pub struct MirrorConfig {
    /// Symbolic links are synced as links; else they are left alone.
    pub keep_links: bool,
    /// Folders are kept by markers, empty ones too.
    pub keep_folders: bool,
    /// Nothing can be written into the root: it has no marker, no trash and no temp files. For mirrors that only send.
    pub root_is_read_only: bool,
    /// The metadata are shared with other agents: the mirror lives from the feed, and lists for all of them or not at all.
    pub shared: bool,
    /// The state lies in the root: whoever copies the root copies it, too.
    pub state_travels: bool,
    pub name: String,
    /// The name of this machine or pod that people read; in conflict names.
    pub device: String,
    /// Endpoint and bucket, as the ancestor's key: another one is a first run.
    pub endpoint: String,
    pub bucket: String,
    pub prefix: Prefix,
    /// gitignore lines of the configuration, beside the `.gosyncignore` files.
    pub ignore: Vec<String>,
    /// Which way it works, who wins conflicts, which bits of the mode count.
    pub policy: Policy,
    pub deletes: DeleteLimits,
    pub limits: Limits,
}

/// The table of limits. Defaults are those of the configuration page.
#[derive(Clone, Debug)]
pub struct Limits {
    pub interval_ms: u64,
    pub scan_interval_ms: u64,
    /// A file that doesn't come to rest is read all the same after this.
    pub settle_max_ms: u64,
    /// After close or rename of a file, before it is looked at.
    pub quiet_ms: u64,
    /// While writing goes on.
    pub quiet_max_ms: u64,
    /// How long a delete waits for the creation that makes it a rename.
    pub delete_wait_ms: u64,
    /// A burst of deletes has ended when this long none came.
    pub burst_quiet_ms: u64,
    pub burst_max_ms: u64,
    /// Too many deletes are counted over this window.
    pub delete_window_ms: u64,
    pub retries_max: u32,
    pub conflicts_per_path_max: u32,
    /// Files over this go up in parts, and down by ranges.
    pub part_bytes: u64,
    /// Requests for small files at once, where the store is near.
    pub small_operations_max: usize,
    /// The same where each of them mostly waits for the line.
    pub small_operations_far_max: usize,
    /// Operations on files over `part_bytes` at once (`workers`).
    pub large_operations_max: usize,
    /// Parts in flight of one file.
    pub parts_per_file_max: usize,
    /// Ranges of one large file that are fetched at once: what has come of one is on the disk a MiB later, so that they take
    /// less memory than parts.
    pub ranges_per_file_max: usize,
    /// Small contents held in memory at once, bytes.
    pub buffer_bytes_max: u64,
    /// Planned operations kept in memory before the sweep waits. Many more than run at once, so that none waits for the
    /// sweep; few, because each takes 760 bytes and its strings, and the queue's ring keeps its largest size.
    pub queue_max: usize,
    pub displaced_wait_ms: u64,
    /// Where no lease is to be had.
    pub displaced_unleased_wait_ms: u64,
    pub trash_age_ms: u64,
    pub trash_bytes: u64,
    pub min_free_percent: u8,
    pub min_free_bytes: u64,
    pub stale_upload_ms: u64,
    pub drain_ms: u64,
    /// Probe results hold this long.
    pub probe_ms: u64,
    /// Every file is read again that often; `None`: never.
    pub scrub_ms: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        const SECOND: u64 = 1_000;
        const HOUR: u64 = 3_600 * SECOND;
        const MIB: u64 = 1 << 20;
        Self {
            interval_ms: 60 * SECOND,
            scan_interval_ms: HOUR,
            settle_max_ms: 30 * SECOND,
            quiet_ms: 50,
            quiet_max_ms: SECOND,
            delete_wait_ms: 500,
            burst_quiet_ms: 2 * SECOND,
            burst_max_ms: 30 * SECOND,
            delete_window_ms: 600 * SECOND,
            retries_max: 3,
            conflicts_per_path_max: 20,
            part_bytes: 5 * MIB,
            small_operations_max: 32,
            small_operations_far_max: 128,
            large_operations_max: 4,
            parts_per_file_max: 4,
            ranges_per_file_max: 8,
            buffer_bytes_max: 16 * MIB,
            queue_max: 1_000,
            displaced_wait_ms: 10 * SECOND,
            displaced_unleased_wait_ms: 24 * HOUR,
            trash_age_ms: 7 * 24 * HOUR,
            trash_bytes: 1 << 30,
            min_free_percent: 5,
            min_free_bytes: 1 << 30,
            stale_upload_ms: 24 * HOUR,
            drain_ms: 30 * SECOND,
            probe_ms: 24 * HOUR,
            scrub_ms: None,
        }
    }
}
