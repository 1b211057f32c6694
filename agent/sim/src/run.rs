//! The driver: polls the agents, moves time, lets things happen, and asks in the end whether all promises were kept.
//!
//! One thread, no executor but this one. An agent's future is polled when it was woken, and dropped when its process
//! was killed; a killed one is started again on the same disk and state.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures_channel::oneshot;
use gosync_engine::ports::{Cache, CachedMetadata, MetadataStore, Ports};
use gosync_engine::{Command, Ended, Hint, MirrorConfig, MirrorHandle, View};
use gosync_plan::{ConflictPolicy, Direction, HaltReason};

use crate::cache::SimCache;
use crate::options::Options;
use crate::runtime::Port;
use crate::state::{SimMetadata, SimState};
use crate::store::SimStore;
use crate::tree::SimTree;
use crate::world::{Effects, Event, Shared, Stats, Violation, Who, World, lock};

const MS: u64 = 1_000_000;

/// More events than any run that settles needs.
const EVENTS_MAX: u64 = 3_000_000;

/// How long the feed may take in a world that rests, a lost one included: the lister has to list once.
const NEWS_MS: u64 = 60_000;
const NEWS_ROUNDS: u32 = 4;
const SCANS_TO_SETTLE_MAX: u32 = 4;

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    pub violations: Vec<Violation>,
    /// A line for each event, if a story was asked for.
    pub story: Vec<String>,
    pub stats: Stats,
}

pub type Mirror = (Option<MirrorHandle>, Pin<Box<dyn Future<Output = Ended> + Send>>);

/// Runs one world from its seed. The same options give the same outcome.
#[must_use]
pub fn simulate(options: &Options) -> Outcome {
    simulate_with(options, &an_agent)
}

/// The one that ships.
pub(crate) fn an_agent(config: MirrorConfig, ports: Ports) -> Mirror {
    let (handle, future) = gosync_engine::mirror(config, ports);
    (Some(handle), Box::pin(future))
}

/// The same with any agent.
pub(crate) fn simulate_with(options: &Options, start: &dyn Fn(MirrorConfig, Ports) -> Mirror) -> Outcome {
    run_world(options, World::new(options), start)
}

/// The same in a world that somebody has prepared.
pub(crate) fn run_world(options: &Options, world: World, start: &dyn Fn(MirrorConfig, Ports) -> Mirror) -> Outcome {
    let world = Arc::new(Mutex::new(world));
    let mut run = Run { agents: (0..options.agents).map(|_| None).collect(), world, start };
    run.run_to_the_end();
    let Run { agents, world, .. } = run;
    drop(agents);
    let left = lock(&world).take_events();
    drop(left);
    let mut world = lock(&world);
    world.stats.virtual_ms = world.now_ms();
    Outcome {
        seed: options.seed,
        violations: std::mem::take(&mut world.violations),
        story: std::mem::take(&mut world.story),
        stats: world.stats,
    }
}

struct Agent {
    life: u32,
    handle: Option<MirrorHandle>,
    future: Pin<Box<dyn Future<Output = Ended> + Send>>,
    woken: Arc<Woken>,
    view: Option<oneshot::Receiver<View>>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Run<'a> {
    world: Shared,
    agents: Vec<Option<Agent>>,
    start: &'a dyn Fn(MirrorConfig, Ports) -> Mirror,
}

impl Run<'_> {
    fn run_to_the_end(&mut self) {
        {
            let mut world = lock(&self.world);
            let profile = world.profile.clone();
            world.tell(Who::World, || format!("{profile:?}"));
            if profile.filled {
                world.fill_both_sides();
            }
            for replica in 0..self.agents.len() {
                let delay_ms = world.dice.between(0, profile.start_ms);
                world.schedule(delay_ms * MS, Event::Start { replica });
            }
            world.schedule(0, Event::People);
            if world.operator {
                world.schedule(1_000 * MS, Event::Operator);
            }
        }
        while lock(&self.world).steps_left > 0 {
            if !self.go_on(u64::MAX) {
                return;
            }
        }
        let (interval_ms, scan_interval_ms) = self.rest();
        let settled = self.wait(3 * scan_interval_ms + 3 * interval_ms + 90_000);
        if !settled {
            return;
        }
        {
            let mut world = lock(&self.world);
            for difference in world.differences() {
                world.violate("P2", None, difference);
            }
            world.judge_the_end();
        }
        if !self.news() {
            return;
        }
        // A row that knows more of an object than the ancestor completes it at the next scan, and the other way round.
        let scans_max = if lock(&self.world).fleet.is_some() { SCANS_TO_SETTLE_MAX } else { 1 };
        let (mut before, mut after) = (Effects::default(), self.effects());
        for _ in 0..scans_max {
            before = after;
            if !self.wait(scan_interval_ms + 2 * interval_ms + 1_000) {
                return;
            }
            after = self.effects();
            if before == after {
                return;
            }
        }
        let message = format!("everything had settled, and still something was sent: {before:?}, then {after:?}");
        lock(&self.world).violate("P2", None, message);
    }

    /// What one agent sends all others have soon, by the feed alone; even when the feed has just been restored from an
    /// older backup. `false`: this run can't go on.
    fn news(&mut self) -> bool {
        let is_told = {
            let world = lock(&self.world);
            world.profile.watch && world.profile.fleet.is_some_and(|fleet| fleet.lives_from_feed)
        };
        if !is_told {
            return true;
        }
        lock(&self.world).back_up_metadata();
        for round in 0..NEWS_ROUNDS {
            {
                let mut world = lock(&self.world);
                let restored = round > 0 && world.profile.fleet.is_some_and(|fleet| fleet.is_restored);
                if restored {
                    world.restore_metadata();
                }
                for replica in 0..self.agents.len() {
                    let path = format!("news/{round}-{replica}");
                    world.saves(replica, &path);
                }
            }
            if !self.wait(NEWS_MS) {
                return false;
            }
            let mut world = lock(&self.world);
            for difference in world.differences() {
                world.violate("P2", None, format!("{NEWS_MS} ms after the last save: {difference}"));
            }
            world.judge_the_end();
        }
        true
    }

    /// Everybody goes home, nothing fails any more.
    fn rest(&mut self) -> (u64, u64) {
        let mut world = lock(&self.world);
        world.tell(Who::World, || "from here on nobody disturbs".to_owned());
        world.quiet = true;
        for replica in 0..self.agents.len() {
            world.users_go_home(replica);
        }
        (world.profile.interval_ms, world.profile.scan_interval_ms)
    }

    fn effects(&self) -> Effects {
        lock(&self.world).stats.effects
    }

    fn wait(&mut self, milliseconds: u64) -> bool {
        let end_ns = lock(&self.world).now_ns() + milliseconds * MS;
        while lock(&self.world).now_ns() < end_ns {
            if !self.go_on(end_ns) {
                return false;
            }
        }
        true
    }

    /// One event and all that follows from it at once. `false`: this run can't go on.
    fn go_on(&mut self, end_ns: u64) -> bool {
        self.poll_agents();
        let event = {
            let mut world = lock(&self.world);
            if world.violations.len() > 20 {
                return false;
            }
            if world.moment() > EVENTS_MAX {
                world.violate("P2", None, "more events than any run that settles needs".to_owned());
                return false;
            }
            world.next_event(end_ns)
        };
        let Some(event) = event else { return lock(&self.world).now_ns() < u64::MAX && end_ns < u64::MAX };
        match event {
            Event::Wake(waker) => waker.wake(),
            Event::Job { replica, life, job } => {
                let thaw_ns = self.frozen_for_ns(replica);
                if thaw_ns > 0 {
                    lock(&self.world).schedule(thaw_ns, Event::Job { replica, life, job });
                } else if lock(&self.world).alive(replica, life) {
                    self.guarded(replica, job);
                }
            }
            Event::Hint { replica, life, hint } => {
                if let Some(agent) = self.agents[replica].as_ref().filter(|agent| agent.life == life)
                    && let Some(handle) = &agent.handle
                {
                    handle.hint(hint);
                }
            }
            Event::People => self.people(),
            Event::Start { replica } => self.start(replica),
            // Whoever was woken while it stood still is polled after this event.
            Event::Thaw => {}
            Event::Late(request) => lock(&self.world).late_request_arrives(request),
            Event::Operator => self.operator(),
            #[cfg(test)]
            Event::Act(act) => act(&mut lock(&self.world)),
        }
        self.bury();
        true
    }

    fn people(&self) {
        let mut world = lock(&self.world);
        if world.quiet || world.steps_left == 0 {
            return;
        }
        world.steps_left -= 1;
        world.a_host_may_falter();
        world.the_database_may_falter();
        let replicas = world.replicas.len();
        match world.dice.below(replicas + 1) {
            replica if replica < replicas => world.user_step(replica, None),
            _ => world.tool_step(None),
        }
        // Bursts and rests.
        let mean_ms = world.profile.pause_ms;
        let pause_ms =
            if world.dice.chance(0.5) { world.dice.between(0, 3) } else { world.dice.between(1, 3 * mean_ms) };
        world.schedule(pause_ms * MS, Event::People);
    }

    fn start(&mut self, replica: usize) {
        let (life, config, watch, has_cache) = {
            let mut world = lock(&self.world);
            let life = world.boot(replica);
            let has_cache = world.fleet.as_ref().is_some_and(|fleet| fleet.cache.is_some());
            (life, world.profile.config(replica), world.profile.watch, has_cache)
        };
        let port = Port { world: Arc::clone(&self.world), replica, life };
        let own: Arc<dyn MetadataStore> = Arc::new(SimMetadata(port.clone()));
        let cache = has_cache.then(|| Arc::new(SimCache(port.clone())) as Arc<dyn Cache>);
        let metadata = match &cache {
            Some(cache) => {
                let clock = port.clone();
                Arc::new(CachedMetadata::new(own, Arc::clone(cache), move || clock.lock().now_ms()))
            }
            None => own,
        };
        let ports = Ports {
            local: Arc::new(SimTree(port.clone())),
            store: Arc::new(SimStore(port.clone())),
            state: Arc::new(SimState(port.clone())),
            metadata,
            cache,
            clock: Arc::new(port.clone()),
            ids: Arc::new(port.clone()),
            workers: Arc::new(port.clone()),
            observer: Arc::new(port),
        };
        let (handle, future) = (self.start)(config, ports);
        if let Some(handle) = &handle {
            handle.hint(Hint::WatchHealthy(watch));
        }
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.agents[replica] = Some(Agent { life, handle, future, woken, view: None });
    }

    fn poll_agents(&mut self) {
        loop {
            let runnable: Vec<usize> = (0..self.agents.len())
                .filter(|replica| self.frozen_for_ns(*replica) == 0)
                .filter(|replica| {
                    self.agents[*replica].as_ref().is_some_and(|agent| agent.woken.0.swap(false, Ordering::Relaxed))
                })
                .collect();
            if runnable.is_empty() {
                return;
            }
            for replica in runnable {
                let Some(mut agent) = self.agents[replica].take() else { continue };
                let waker = Waker::from(Arc::clone(&agent.woken));
                let polled = self.guarded(replica, || agent.future.as_mut().poll(&mut Context::from_waker(&waker)));
                let alive = lock(&self.world).alive(replica, agent.life);
                match polled {
                    Some(Poll::Pending) if alive => self.agents[replica] = Some(agent),
                    // Nothing is wrong with it: whoever runs it opens the root again.
                    Some(Poll::Ready(Ended::ReopenRoot)) if alive => {
                        drop(agent);
                        self.start(replica);
                    }
                    Some(Poll::Ready(ended)) if alive => {
                        drop(agent);
                        let mut world = lock(&self.world);
                        world.violate("P4", None, format!("agent-{replica} ended by itself: {ended:?}"));
                        world.replicas[replica].running = false;
                    }
                    _ => {}
                }
            }
        }
    }

    fn frozen_for_ns(&self, replica: usize) -> u64 {
        let world = lock(&self.world);
        world.replicas[replica].frozen_until_ns.saturating_sub(world.now_ns())
    }

    /// Runs an agent's code; `None` when it panicked.
    fn guarded<T>(&self, replica: usize, run: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(answer) => Some(answer),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default().to_owned();
                let mut world = lock(&self.world);
                world.violate("P4", None, format!("agent-{replica} panicked: {text}"));
                world.replicas[replica].running = false;
                None
            }
        }
    }

    /// Drops what is left of killed processes.
    fn bury(&mut self) {
        for replica in 0..self.agents.len() {
            let dead = self.agents[replica].as_ref().is_some_and(|agent| !lock(&self.world).alive(replica, agent.life));
            if dead {
                self.agents[replica] = None;
            }
        }
    }

    /// A person reads the states of the mirrors now and then, and answers their halts.
    fn operator(&mut self) {
        for replica in 0..self.agents.len() {
            let Some(agent) = &mut self.agents[replica] else { continue };
            let Some(handle) = &agent.handle else { continue };
            if let Some(view) = agent.view.as_mut().and_then(|view| view.try_recv().ok().flatten()) {
                for halt in view.halts {
                    let mut world = lock(&self.world);
                    // Nothing but an answer ends a first merge, and to "no" it stays as it is.
                    let is_last_word = world.quiet && halt.reason == HaltReason::FirstMerge;
                    let approve = is_last_word || world.dice.chance(0.5);
                    let winners = [ConflictPolicy::KeepBoth, ConflictPolicy::RemoteWins, ConflictPolicy::LocalWins];
                    let one_way = world.profile.directions[replica] != Direction::TwoWay;
                    let winners = if one_way { &winners[..2] } else { &winners };
                    let winner = world.dice.pick(winners).copied().filter(|_| halt.reason == HaltReason::FirstMerge);
                    let answer = if approve { "approves" } else { "denies" };
                    world.tell(Who::World, || {
                        format!("a person {answer} {:?} of agent-{replica} ({winner:?})", halt.reason)
                    });
                    world.replicas[replica].denied |= !approve;
                    drop(world);
                    let (reply, _) = oneshot::channel();
                    handle.send(match approve {
                        true => Command::Approve { halt: halt.id, winner, reply },
                        false => Command::Deny { halt: halt.id, reply },
                    });
                }
            }
            let (sender, receiver) = oneshot::channel();
            handle.send(Command::View(sender));
            agent.view = Some(receiver);
        }
        lock(&self.world).schedule(10_000 * MS, Event::Operator);
    }
}
