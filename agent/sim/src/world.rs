//! Everything that exists in one run: time, machines, the bucket, the people, and what was noticed so far.
//!
//! It is a discrete-event world: each event has its moment, and nothing happens between two events but what they
//! schedule. All of it is behind one lock which the ports take for each call; no port keeps it while an agent runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use gosync_engine::Hint;
use gosync_engine::ports::store::{Condition, ObjectHeaders};
use gosync_plan::RelPath;

use crate::bucket::{Bucket, LOOKALIKE_FOR_EVER};
use crate::dice::Dice;
use crate::disk::{Disk, is_synced};
use crate::feed::Feed;
use crate::fleet::Fleet;
use crate::ledger::{ContentId, Ledger};
use crate::options::{Leasing, Options, Profile};
use crate::rows::Rows;
use crate::users::Writer;

/// The world's start, nanoseconds since 1970.
pub const START_NS: i64 = 1_790_000_000_000_000_000;

const MS: u64 = 1_000_000;

/// More than any agent needs between two events.
const ASKS_FOR_TIME_MAX: u32 = 1_000_000;

pub type Shared = Arc<Mutex<World>>;

pub fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Agent(usize),
    User(usize),
    Tool,
    World,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(replica) => write!(f, "agent-{replica}"),
            Self::User(replica) => write!(f, "user-{replica}"),
            Self::Tool => f.write_str("s3-tool"),
            Self::World => f.write_str("world"),
        }
    }
}

pub enum Event {
    Wake(Waker),
    /// A blocking call of an agent; not run if that agent's process is no more.
    Job {
        replica: usize,
        life: u32,
        job: Box<dyn FnOnce() + Send>,
    },
    Hint {
        replica: usize,
        life: u32,
        hint: Hint,
    },
    /// People do something by themselves.
    People,
    Start {
        replica: usize,
    },
    /// A process that stood still goes on.
    Thaw,
    /// A request arrives long after the agent that sent it gave up or died.
    Late(LateRequest),
    /// A person looks at halts and answers them.
    Operator,
    /// A test does something.
    #[cfg(test)]
    Act(Box<dyn FnOnce(&mut World) + Send>),
}

pub enum LateRequest {
    Put { replica: usize, key: String, body: Vec<u8>, headers: ObjectHeaders, condition: Condition },
    Delete { replica: usize, key: String, condition: Condition },
}

/// A machine with one agent, its tree and its users.
pub struct Replica {
    pub disk: Disk,
    pub rows: Rows,
    pub feed: Feed,
    /// Counts the agent's processes; a port of another life answers "killed" only.
    pub life: u32,
    pub running: bool,
    pub kills_left: u32,
    /// The process stands still until then.
    pub frozen_until_ns: u64,
    clock_skew_ns: i64,
    boot_ns: u64,
    pub writers: Vec<Writer>,
    /// Its state was lost once: what it sent before is a stranger's to it.
    pub forgot: bool,
    /// A person said no to one of its halts, and had deletes forgotten.
    pub denied: bool,
}

/// What agents changed; in a settled world nothing of it moves any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    pub puts: u64,
    pub multipart: u64,
    pub copies: u64,
    pub deletes: u64,
    /// Changes of synced names, contents and modes in local trees.
    pub local: u64,
    /// Rows of ancestor, journal, files and file_changes.
    pub rows: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub effects: Effects,
    pub system_calls: u64,
    pub requests: u64,
    pub kills: u64,
    pub faults: u64,
    /// Steps of users and tools.
    pub steps: u64,
    pub virtual_ms: u64,
    pub contents: u64,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// `P1`, `P2`, …
    pub promise: &'static str,
    pub message: String,
    pub virtual_ms: u64,
    /// As the story names it.
    pub content: Option<String>,
}

pub struct World {
    pub dice: Dice,
    pub profile: Profile,
    now_ns: u64,
    /// How often an agent has asked for the time since something happened last.
    asked_for_time: u32,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    pub replicas: Vec<Replica>,
    pub bucket: Bucket,
    /// What agents share beside it, if they do.
    pub fleet: Option<Fleet>,
    pub ledger: Ledger,
    pub steps_left: u32,
    /// People and faults have stopped.
    pub quiet: bool,
    /// Somebody answers halts.
    pub operator: bool,
    /// Files that an agent took away although a user had just changed them: to be mended in the end.
    pub unproven: Vec<(usize, String, ContentId)>,
    /// What users put where: an agent that only receives leaves it there.
    pub put_by_users: BTreeSet<(usize, String, ContentId)>,
    pub modes_by_users: BTreeSet<(usize, String)>,
    /// Which agent a key is as it is of; none for tools.
    pub authors: BTreeMap<String, usize>,
    pub violations: Vec<Violation>,
    pub stats: Stats,
    telling: bool,
    pub story: Vec<String>,
}

impl World {
    pub fn new(options: &Options) -> Self {
        let mut dice = Dice::new(options.seed);
        let profile = Profile::roll(options, &mut dice);
        let replicas = (0..options.agents).map(|_| Replica::new(&profile, &mut dice)).collect();
        let fleet = profile.fleet.map(|of| Fleet::new(of, options.agents, &mut dice));
        let mut bucket = Bucket::new(profile.versioned, profile.opaque_etags, profile.crc64nvme);
        if fleet.is_some() {
            bucket.lookalike_seconds = LOOKALIKE_FOR_EVER;
            bucket.conditions = profile.fleet.map(|of| of.conditions).unwrap_or_default();
        }
        Self {
            now_ns: 0,
            asked_for_time: 0,
            queue: BTreeMap::new(),
            events: 0,
            replicas,
            fleet,
            bucket,
            ledger: Ledger::new(profile.config(0).prefix),
            steps_left: options.steps,
            quiet: false,
            operator: true,
            unproven: Vec::new(),
            put_by_users: BTreeSet::new(),
            modes_by_users: BTreeSet::new(),
            authors: BTreeMap::new(),
            violations: Vec::new(),
            stats: Stats::default(),
            telling: options.story,
            story: Vec::new(),
            profile,
            dice,
        }
    }

    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ns / MS
    }

    /// Number of things that happened; for "before" and "after" within one moment.
    pub fn moment(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    /// A call took a little time.
    pub fn tick(&mut self) {
        self.now_ns += self.dice.between(2_000, 60_000);
        self.set_clocks();
    }

    fn set_clocks(&mut self) {
        let now_ns = i64::try_from(self.now_ns).unwrap_or(i64::MAX);
        for replica in &mut self.replicas {
            replica.disk.clock_ns = START_NS + now_ns + replica.clock_skew_ns;
        }
        self.bucket.clock_seconds = u64::try_from((START_NS + now_ns) / 1_000_000_000).unwrap_or_default();
    }

    pub fn host_clock_ns(&self, replica: usize) -> i64 {
        self.replicas[replica].disk.clock_ns
    }

    pub fn monotonic_ms(&mut self, replica: usize) -> Option<u64> {
        self.asked_for_time += 1;
        (self.asked_for_time < ASKS_FOR_TIME_MAX).then_some(())?;
        let now_ms = self.now_ns.saturating_sub(self.replicas[replica].boot_ns) / MS;
        Some(now_ms)
    }

    pub fn schedule(&mut self, in_ns: u64, event: Event) {
        let number = self.moment();
        self.queue.insert((self.now_ns + in_ns, number), event);
    }

    /// Goes on to the next event, unless that lies beyond `end_ns`.
    pub fn next_event(&mut self, end_ns: u64) -> Option<Event> {
        let first = self.queue.first_entry()?;
        let (at_ns, _) = *first.key();
        if at_ns > end_ns {
            self.now_ns = self.now_ns.max(end_ns);
            return None;
        }
        let event = first.remove();
        self.asked_for_time = 0;
        self.now_ns = self.now_ns.max(at_ns);
        self.set_clocks();
        Some(event)
    }

    /// To be dropped outside the lock: jobs hold ports.
    pub fn take_events(&mut self) -> BTreeMap<(u64, u64), Event> {
        std::mem::take(&mut self.queue)
    }

    pub fn alive(&self, replica: usize, life: u32) -> bool {
        self.replicas[replica].running && self.replicas[replica].life == life
    }

    /// Starts a process on this machine.
    pub fn boot(&mut self, replica: usize) -> u32 {
        let now_ns = self.now_ns;
        let back_ns = self.dice.between(0, 5_000 * MS);
        let machine = &mut self.replicas[replica];
        machine.life += 1;
        machine.running = true;
        machine.boot_ns = now_ns.saturating_sub(back_ns);
        machine.frozen_until_ns = 0;
        let life = machine.life;
        if self.profile.forgetful && life > 1 && self.dice.chance(0.3) {
            self.tell(Who::World, || format!("the state of agent-{replica} is lost"));
            self.replicas[replica].rows = Rows::default();
            self.replicas[replica].forgot = true;
        }
        self.tell(Who::World, || format!("agent-{replica} starts (life {life})"));
        life
    }

    /// A process is stopped for a while, or a clock is set.
    pub fn a_host_may_falter(&mut self) {
        let replica = self.dice.below(self.replicas.len());
        if self.profile.freezes && self.dice.chance(0.03) {
            let milliseconds = self.dice.between(10, 20_000);
            self.replicas[replica].frozen_until_ns = self.now_ns + milliseconds * MS;
            self.tell(Who::World, || format!("agent-{replica} stands still for {milliseconds} ms"));
            self.schedule(milliseconds * MS, Event::Thaw);
        }
        if self.profile.clocks_jump && self.dice.chance(0.02) {
            self.replicas[replica].set_clock(&mut self.dice);
            self.tell(Who::World, || format!("the clock of host {replica} is set"));
        }
    }

    /// The process ends in the middle of what it does.
    pub fn kill(&mut self, replica: usize) {
        self.stats.kills += 1;
        self.replicas[replica].running = false;
        self.replicas[replica].kills_left = self.replicas[replica].kills_left.saturating_sub(1);
        self.tell(Who::World, || format!("agent-{replica} is killed"));
        self.left_halfway(replica);
        if self.profile.power && self.dice.chance(0.4) {
            self.lose_power(replica);
        }
        let pause_ms = if self.dice.chance(0.8) { self.dice.between(1, 500) } else { self.dice.between(500, 15_000) };
        self.schedule(pause_ms * MS, Event::Start { replica });
    }

    /// Whether the process ends at this point. Effects are rarer than looks, and more interesting.
    pub fn kill_is_due(&mut self, replica: usize, effect: bool) -> bool {
        let due =
            !self.quiet && self.replicas[replica].kills_left > 0 && self.dice.chance(if effect { 0.02 } else { 0.001 });
        if due {
            self.kill(replica);
        }
        due
    }

    /// A watch event, as far as there is a watch; late, lost, or twice.
    pub fn notice(&mut self, replica: usize, path: &str, hint: fn(String) -> Hint) {
        let machine = &self.replicas[replica];
        if !self.profile.watch || !machine.running || !is_synced(path) {
            return;
        }
        let life = machine.life;
        let lost = !self.quiet && self.dice.chance(self.profile.lost_hints);
        let copies = if lost {
            0
        } else if self.dice.chance(0.1) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let delay_ms = if self.dice.chance(0.9) { self.dice.between(0, 5) } else { self.dice.between(5, 2_000) };
            self.schedule(delay_ms * MS, Event::Hint { replica, life, hint: hint(path.to_owned()) });
        }
    }

    /// Other mirrors hear of what an agent did to a key; or of what nobody did.
    pub fn tell_other_mirrors(&mut self, of: usize, path: &str) {
        let Ok(path) = RelPath::new(path) else { return };
        let likely = self.profile.remote_hints;
        for replica in 0..self.replicas.len() {
            if replica != of && self.replicas[replica].running && self.dice.chance(likely) {
                let life = self.replicas[replica].life;
                let delay_ms = self.dice.between(0, 200);
                self.schedule(delay_ms * MS, Event::Hint { replica, life, hint: Hint::Remote(path.clone()) });
            }
        }
    }

    pub fn tell(&mut self, who: Who, text: impl FnOnce() -> String) {
        if self.telling {
            let line = format!("{:>10.4}s  {:<8} {}", self.now_ns as f64 / 1e9, who.to_string(), text());
            self.story.push(line);
        }
    }

    pub fn violate(&mut self, promise: &'static str, content: Option<ContentId>, message: String) {
        self.tell(Who::World, || format!("VIOLATION of {promise}: {message}"));
        let content = content.map(|content| content.to_string());
        self.violations.push(Violation { promise, message, virtual_ms: self.now_ms(), content });
    }
}

impl Replica {
    fn new(profile: &Profile, dice: &mut Dice) -> Self {
        let mut disk = Disk::new(profile.tick_ns);
        disk.permissions = profile.permissions;
        disk.users_sync = !profile.loses_pages;
        Self {
            disk,
            rows: Rows::default(),
            feed: Feed::new(dice),
            life: 0,
            running: false,
            kills_left: profile.kills,
            frozen_until_ns: 0,
            clock_skew_ns: a_skew_ns(dice),
            boot_ns: 0,
            writers: Vec::new(),
            forgot: false,
            denied: false,
        }
    }

    /// Somebody sets the host's clock.
    pub fn set_clock(&mut self, dice: &mut Dice) {
        self.clock_skew_ns = a_skew_ns(dice);
    }

    pub fn leasable(profile: &Profile, dice: &mut Dice) -> bool {
        match profile.leasing {
            Leasing::Always => true,
            Leasing::Sometimes => dice.chance(0.7),
            Leasing::Never => false,
        }
    }
}

/// P7: no two clocks agree.
fn a_skew_ns(dice: &mut Dice) -> i64 {
    const HOUR_NS: i64 = 3_600_000_000_000;
    (i64::try_from(dice.between(0, 48)).unwrap_or(0) - 24) * HOUR_NS
}
