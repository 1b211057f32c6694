//! What agents share beside the bucket: the metadata on a server of its own, which is away now and then, loses replies, is
//! pruned, restored from a backup or made anew; and who may list.

use gosync_engine::Hint;

use crate::cache::Server;
use crate::dice::Dice;
use crate::feed::Feed;
use crate::options::{BUCKET, ENDPOINT, FleetProfile};
use crate::world::{Event, START_NS, Who, World};

const MS: u64 = 1_000_000;

pub struct Fleet {
    pub feed: Feed,
    pub cache: Option<Server>,
    backup: Option<Feed>,
    /// Until when each agent is without the server.
    away_until_ns: Vec<u64>,
    listers: Vec<Lister>,
    /// P7: the server's clock is nobody's.
    clock_skew_ms: i64,
}

/// What an agent did as the one that lists.
#[derive(Clone, Default)]
struct Lister {
    /// The lease as it was granted last: its name and holder.
    lease: Option<(String, String)>,
    granted_ns: u64,
    listed_ns: u64,
}

impl Fleet {
    pub fn new(profile: FleetProfile, agents: usize, dice: &mut Dice) -> Self {
        Self {
            feed: Feed::new(dice),
            cache: profile.cache.then(Server::new),
            backup: None,
            away_until_ns: vec![0; agents],
            listers: vec![Lister::default(); agents],
            clock_skew_ms: i64::try_from(dice.between(0, 10_000_000)).unwrap_or_default(),
        }
    }
}

impl World {
    /// The metadata that this agent works with, at the time that their server has.
    pub fn feed_of(&mut self, replica: usize) -> &mut Feed {
        let (now_ms, host_ms) = (self.now_ms(), self.host_clock_ns(replica) / 1_000_000);
        match &mut self.fleet {
            Some(fleet) => {
                let passed_ms = i64::try_from(now_ms).unwrap_or_default();
                fleet.feed.clock_ms = START_NS / 1_000_000 + passed_ms + fleet.clock_skew_ms;
                &mut fleet.feed
            }
            None => {
                let feed = &mut self.replicas[replica].feed;
                feed.clock_ms = host_ms;
                feed
            }
        }
    }

    /// Whether a call of shared metadata fails before it has any effect.
    pub fn metadata_call_fails(&mut self, replica: usize) -> bool {
        let Some((fleet, profile)) = self.fleet.as_ref().zip(self.profile.fleet) else { return false };
        let away = fleet.away_until_ns[replica] > self.now_ns();
        away || (!self.quiet && self.dice.chance(profile.faults))
    }

    /// Whether nobody hears what a call of shared metadata came to.
    pub fn metadata_reply_is_lost(&mut self) -> bool {
        let faults = self.profile.fleet.map_or(0.0, |profile| profile.faults);
        !self.quiet && self.dice.chance(faults)
    }

    /// Somebody works on the server, or its network.
    pub fn the_database_may_falter(&mut self) {
        let Some(profile) = self.profile.fleet else { return };
        if profile.goes_away && self.dice.chance(0.03) {
            self.the_database_goes_away();
        }
        if profile.cache && profile.wrong_entries > 0.0 {
            self.the_cache_may_falter();
        }
        if profile.is_pruned && self.dice.chance(0.03) {
            self.tell(Who::World, || "the feed is pruned, whoever has read it".to_owned());
            if let Some(fleet) = &mut self.fleet {
                fleet.feed.prune_all(&mut self.dice);
            }
        }
        if profile.is_restored && self.dice.chance(0.04) {
            match self.dice.chance(0.6) {
                true => self.back_up_metadata(),
                false => self.restore_metadata(),
            }
        }
        if profile.is_made_anew && self.dice.chance(0.01) {
            self.tell(Who::World, || "the tables are made anew".to_owned());
            if let Some(fleet) = &mut self.fleet {
                fleet.feed = Feed::new(&mut self.dice);
            }
        }
    }

    fn the_database_goes_away(&mut self) {
        let milliseconds =
            if self.dice.chance(0.7) { self.dice.between(10, 3_000) } else { self.dice.between(3_000, 40_000) };
        let until_ns = self.now_ns() + milliseconds * MS;
        let agents = self.replicas.len();
        let only = Some(self.dice.below(2 * agents)).filter(|only| *only < agents);
        self.take_metadata_away(only, until_ns);
    }

    /// From one agent, or from all.
    pub fn take_metadata_away(&mut self, only: Option<usize>, until_ns: u64) {
        let whose = only.map_or("all agents are".to_owned(), |only| format!("agent-{only} is"));
        let milliseconds = (until_ns - self.now_ns()) / MS;
        self.tell(Who::World, || format!("{whose} without metadata for {milliseconds} ms"));
        if let Some(fleet) = &mut self.fleet {
            let away = fleet.away_until_ns.iter_mut().enumerate();
            let concerned = away.filter(|(replica, _)| only.is_none_or(|only| only == *replica));
            concerned.for_each(|(_, until)| *until = until_ns);
        }
    }

    pub fn back_up_metadata(&mut self) {
        self.tell(Who::World, || "a backup of the metadata is made".to_owned());
        if let Some(fleet) = &mut self.fleet {
            fleet.backup = Some(fleet.feed.clone());
        }
    }

    pub fn restore_metadata(&mut self) {
        let Some(fleet) = &mut self.fleet else { return };
        if let Some(backup) = fleet.backup.clone() {
            fleet.feed = backup;
            fleet.feed.is_restored(&mut self.dice);
            self.tell(Who::World, || "the metadata are restored from a backup".to_owned());
        }
    }

    /// The others hear that there are news; late, twice, or not at all.
    pub fn tell_fleet(&mut self, of: usize) {
        for replica in (0..self.replicas.len()).filter(|replica| *replica != of) {
            let machine = &self.replicas[replica];
            let (life, running) = (machine.life, machine.running);
            let lost = !self.quiet && self.dice.chance(self.profile.lost_hints);
            if lost || !running {
                continue;
            }
            for _ in 0..if self.dice.chance(0.1) { 2 } else { 1 } {
                let delay_ms =
                    if self.dice.chance(0.9) { self.dice.between(0, 50) } else { self.dice.between(50, 5_000) };
                self.schedule(delay_ms * MS, Event::Hint { replica, life, hint: Hint::Feed });
            }
        }
    }

    /// Where conditions have no effect, whoever knows nothing of turns would overwrite what is under way, and be overwritten.
    pub fn is_somebodys_turn(&self, key: &str) -> bool {
        let weak = self.profile.fleet.is_some_and(|of| of.conditions.is_incomplete());
        let name = weak.then(|| format!("key {ENDPOINT} {BUCKET} {key}"));
        self.fleet.as_ref().zip(name).is_some_and(|(fleet, name)| fleet.feed.is_taken(&name))
    }

    pub fn has_listed(&mut self, replica: usize) {
        let now_ns = self.now_ns();
        if let Some(fleet) = &mut self.fleet {
            fleet.listers[replica].listed_ns = now_ns;
        }
    }

    pub fn lease_is_granted(&mut self, replica: usize, name: &str, holder: &str) {
        let now_ns = self.now_ns();
        if let Some(fleet) = &mut self.fleet {
            let lister = &mut fleet.listers[replica];
            (lister.lease, lister.granted_ns) = (Some((name.to_owned(), holder.to_owned())), now_ns);
        }
    }

    /// R4, R20: whoever tells what a page showed has had the lease since it saw the page.
    pub fn judge_lister(&mut self, replica: usize) {
        let Some(fleet) = &self.fleet else { return };
        let lister = &fleet.listers[replica];
        let holds = lister.lease.as_ref().is_some_and(|(name, holder)| fleet.feed.is_held(name, holder));
        if !holds && lister.granted_ns < lister.listed_ns {
            let message =
                format!("agent-{replica} tells what it listed, and has not had the lease since it saw the page");
            self.violate("R4", None, message);
        }
    }
}
