//! What a run is asked for, and the peculiarities of one world, which follow from the seed.

use gosync_engine::handle::Conditions;
use gosync_engine::{Limits, MirrorConfig};
use gosync_plan::{ConflictPolicy, DeleteLimits, Direction, Policy, Prefix};

use crate::dice::Dice;

pub const ENDPOINT: &str = "sim";
pub const BUCKET: &str = "bucket";

/// A run of the simulator.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    /// What users and tools do, all together.
    pub steps: u32,
    pub agents: usize,
    /// The agents share their metadata: feed, listing and cache.
    pub shared: bool,
    pub faults: Faults,
    /// Keep a line for each event; without it only violations are told.
    pub story: bool,
}

impl Options {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, steps: 200, agents: 3, shared: false, faults: Faults::default(), story: false }
    }

    /// A world of agents that share their metadata.
    #[must_use]
    pub fn shared(seed: u64) -> Self {
        Self { shared: true, ..Self::new(seed) }
    }
}

/// Which kinds of trouble there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Agents are killed in the middle of calls.
    pub kills: bool,
    /// Machines lose power, and with it what was not synced.
    pub power: bool,
    /// Requests fail before or after their effect, replies are cut, listings break off.
    pub store: bool,
    /// System calls and commits fail.
    pub disk: bool,
    /// Watch events get lost.
    pub hints: bool,
    /// Users act between two system calls of an agent.
    pub races: bool,
    /// Shared metadata are away, lose replies, are pruned, restored from a backup, or made anew.
    pub metadata: bool,
    /// What stands in the cache is lost, old or somebody else's.
    pub cache: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            kills: true,
            power: true,
            store: true,
            disk: true,
            hints: true,
            races: true,
            metadata: true,
            cache: true,
        }
    }
}

impl Faults {
    pub const NONE: Self = Self {
        kills: false,
        power: false,
        store: false,
        disk: false,
        hints: false,
        races: false,
        metadata: false,
        cache: false,
    };
}

/// What a host says when it is asked for leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leasing {
    Always,
    /// Some files belong to others.
    Sometimes,
    Never,
}

/// One world's peculiarities.
#[derive(Clone, Debug)]
pub struct Profile {
    pub prefix: &'static str,
    pub versioned: bool,
    /// As with KMS: the ETag is no MD5.
    pub opaque_etags: bool,
    pub crc64nvme: bool,
    /// The store's own page size.
    pub page_keys: usize,
    pub leasing: Leasing,
    /// Agents are not root.
    pub permissions: bool,
    /// Folder entries tell whether they are folders.
    pub entry_kinds: bool,
    /// Resolution of file times, nanoseconds.
    pub tick_ns: i64,
    pub watch: bool,
    pub part_bytes: u64,
    pub interval_ms: u64,
    pub scan_interval_ms: u64,
    /// Guards are low enough to halt.
    pub guarded: bool,
    /// Mean time between what users and tools do by themselves, milliseconds.
    pub pause_ms: u64,
    pub store_faults: f64,
    /// Requests may arrive after their sender gave up.
    pub late_requests: bool,
    pub disk_faults: f64,
    pub lost_hints: f64,
    /// How likely somebody acts just before a system call or request of an agent.
    pub races: f64,
    pub kills: u32,
    pub power: bool,
    /// A restarted agent may find its state gone.
    pub forgetful: bool,
    /// Agents may stand still for a while and go on as if nothing had been.
    pub freezes: bool,
    /// Hosts' clocks may jump.
    pub clocks_jump: bool,
    /// How likely a page of a listing is wrong.
    pub lies: f64,
    /// The file system knows hard links.
    pub links: bool,
    /// The file system knows `renameat2` with flags.
    pub exchange: bool,
    /// Mirrors tell each other of what they wrote.
    pub remote_hints: f64,
    /// The latest start of an agent, milliseconds.
    pub start_ms: u64,
    /// Who wins where both sides changed a file; the same for all agents.
    pub conflicts: ConflictPolicy,
    /// How many conflict copies a path may have.
    pub copies_max: u32,
    /// Which way each agent works.
    pub directions: Vec<Direction>,
    /// Both sides are full before the first run, and many paths differ.
    pub filled: bool,
    /// A power loss takes data that a program wrote and nobody synced, and now and then some that was synced.
    pub loses_pages: bool,
    /// What the agents share beside the bucket, if they do.
    pub fleet: Option<FleetProfile>,
}

/// The peculiarities of what agents share.
#[derive(Clone, Copy, Debug)]
pub struct FleetProfile {
    /// How likely a call of the metadata fails, or its reply is lost.
    pub faults: f64,
    /// Everybody, or one agent alone, is without the database for a while now and then.
    pub goes_away: bool,
    pub is_pruned: bool,
    /// Somebody restores an older backup.
    pub is_restored: bool,
    /// Somebody makes the tables anew.
    pub is_made_anew: bool,
    /// There is a cache.
    pub cache: bool,
    /// How likely an entry is not what was put there.
    pub wrong_entries: f64,
    /// Full scans are so rare that only the feed can have told what one agent has of another.
    pub lives_from_feed: bool,
    /// Conditions that have no effect at the store are `Some(false)`: turns at the keys stand in for them.
    pub conditions: Conditions,
}

impl FleetProfile {
    fn roll(faults: Faults, dice: &mut Dice) -> Self {
        let often = |wanted: bool, probability: f64, dice: &mut Dice| dice.chance(probability) && wanted;
        let mut profile = Self {
            faults: if often(faults.metadata, 0.5, dice) { 0.02 } else { 0.0 },
            goes_away: often(faults.metadata, 0.5, dice),
            is_pruned: often(faults.metadata, 0.4, dice),
            is_restored: often(faults.metadata, 0.3, dice),
            is_made_anew: often(faults.metadata, 0.15, dice),
            cache: dice.chance(0.6),
            wrong_entries: if often(faults.cache, 0.6, dice) { 0.1 } else { 0.0 },
            lives_from_feed: dice.chance(0.6),
            conditions: Conditions::default(),
        };
        if dice.chance(0.3) {
            profile.conditions = some_without_effect(dice);
            // Whoever restores takes turns away that somebody has; they can't be told from those that ran out.
            (profile.is_restored, profile.is_made_anew) = (false, false);
        }
        profile
    }
}

/// As with known stores, or any of them.
fn some_without_effect(dice: &mut Dice) -> Conditions {
    let mut ignored = |probability: f64| dice.chance(probability).then_some(false);
    if ignored(0.5).is_some() {
        return Conditions { delete: Some(false), copy: Some(false), ..Conditions::default() };
    }
    Conditions {
        put: ignored(0.6),
        multipart: ignored(0.6),
        delete: ignored(0.6),
        copy: ignored(0.6),
        ..Conditions::default()
    }
}

/// Longer than any world goes on before it rests.
const RARE_SCAN_MS: u64 = 180_000;

impl Profile {
    pub fn roll(options: &Options, dice: &mut Dice) -> Self {
        let mut profile = Self::roll_alone(options.faults, options.agents, dice);
        if options.shared {
            // Of dice of their own, so that the rest of the world is what it is without.
            let fleet = FleetProfile::roll(options.faults, &mut Dice::new(!options.seed));
            if fleet.lives_from_feed {
                profile.scan_interval_ms = RARE_SCAN_MS;
            }
            // They are on different hosts.
            profile.remote_hints = 0.0;
            if fleet.conditions.is_incomplete() {
                // Between its last look at its turn and the arrival of its request nobody can help it.
                profile.freezes = false;
            }
            profile.fleet = Some(fleet);
        }
        profile
    }

    fn roll_alone(faults: Faults, agents: usize, dice: &mut Dice) -> Self {
        let often = |wanted: bool, probability: f64, dice: &mut Dice| dice.chance(probability) && wanted;
        let leasing = match dice.below(8) {
            0 => Leasing::Never,
            1 => Leasing::Sometimes,
            _ => Leasing::Always,
        };
        let interval_ms = dice.between(1_000, 8_000);
        let troubled = often(faults.store, 0.6, dice);
        let failing = often(faults.disk, 0.4, dice);
        let exchange = dice.chance(0.92);
        // Where nothing can be exchanged, a moment is left in which a file is lost that is saved just then.
        let racing = often(faults.races, 0.7, dice) && exchange;
        let one_way = dice.chance(0.25);
        let direction = |dice: &mut Dice| match dice.below(5) {
            0 | 1 if one_way => Direction::Push,
            2 | 3 if one_way => Direction::Pull,
            _ => Direction::TwoWay,
        };
        Self {
            fleet: None,
            directions: (0..agents).map(|_| direction(dice)).collect(),
            copies_max: if dice.chance(0.2) { 1 } else { 20 },
            filled: dice.chance(0.08),
            loses_pages: often(faults.power, 0.5, dice),
            prefix: if dice.chance(0.5) { "p/" } else { "" },
            versioned: dice.chance(0.4),
            opaque_etags: dice.chance(0.15),
            crc64nvme: dice.chance(0.5),
            page_keys: if dice.chance(0.8) { dice.below(7) + 2 } else { 1_000 },
            leasing,
            permissions: dice.chance(0.5),
            entry_kinds: dice.chance(0.8),
            tick_ns: if dice.chance(0.2) { 4_000_000 } else { 1 },
            watch: dice.chance(0.85),
            part_bytes: dice.between(24, 90),
            interval_ms,
            scan_interval_ms: interval_ms * dice.between(2, 10),
            guarded: dice.chance(0.2),
            pause_ms: dice.between(20, 1_000),
            store_faults: if troubled { 0.03 } else { 0.0 },
            late_requests: often(faults.store, 0.5, dice),
            disk_faults: if failing { 0.004 } else { 0.0 },
            lost_hints: if faults.hints { 0.15 } else { 0.0 },
            races: if racing { 0.03 } else { 0.0 },
            kills: if faults.kills { u32::try_from(dice.below(6)).unwrap_or(0) } else { 0 },
            power: faults.power,
            forgetful: often(faults.kills, 0.15, dice),
            freezes: often(faults.races, 0.3, dice),
            clocks_jump: often(faults.disk, 0.2, dice),
            lies: if often(faults.store, 0.2, dice) { 0.05 } else { 0.0 },
            links: dice.chance(0.9),
            exchange,
            remote_hints: if dice.chance(0.5) { 0.5 } else { 0.0 },
            start_ms: if dice.chance(0.7) { 3_000 } else { 60_000 },
            conflicts: match dice.below(6) {
                0 => ConflictPolicy::RemoteWins,
                1 => ConflictPolicy::LocalWins,
                _ => ConflictPolicy::KeepBoth,
            },
        }
    }

    pub fn config(&self, replica: usize) -> MirrorConfig {
        let deletes = if self.guarded {
            DeleteLimits { percent: 50, files: 10_000, min: 4 }
        } else {
            DeleteLimits { percent: 100, files: u64::MAX, min: u64::MAX }
        };
        MirrorConfig {
            shared: self.fleet.is_some(),
            state_travels: false,
            name: format!("mirror-{replica}"),
            device: format!("host-{replica}"),
            endpoint: ENDPOINT.into(),
            bucket: BUCKET.into(),
            prefix: Prefix::new(self.prefix),
            ignore: Vec::new(),
            keep_links: false,
            keep_folders: false,
            root_is_read_only: false,
            policy: Policy {
                conflicts: self.conflicts,
                direction: self.directions.get(replica).copied().unwrap_or_default(),
                ..Policy::default()
            },
            deletes,
            limits: Limits {
                interval_ms: self.interval_ms,
                scan_interval_ms: self.scan_interval_ms,
                settle_max_ms: 3_000,
                part_bytes: self.part_bytes,
                displaced_unleased_wait_ms: 60_000,
                min_free_bytes: 1,
                conflicts_per_path_max: self.copies_max,
                ..Limits::default()
            },
        }
    }
}
