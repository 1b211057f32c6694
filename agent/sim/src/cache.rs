//! The cache as agents see it: away now and then; entries get lost, are as they were before, or somebody else's; hints come
//! late, twice, or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream::{BoxStream, StreamExt as _, pending};
use gosync_engine::ports::cache::{
    Cache, CacheError, CacheErrorKind, CacheLimits, CacheStanding, CacheStats, NewEntry, Wanted,
};
use gosync_engine::ports::cache_memory::MemoryCache;

use crate::runtime::Port;
use crate::world::{Who, World};

const MS: u64 = 1_000_000;
const LIMITS: CacheLimits = CacheLimits { ttl_ms: 300_000, content_bytes_max: 200 };

/// The server.
pub struct Server {
    memory: Arc<MemoryCache>,
    /// The time that it was told last.
    now_ms: u64,
    down_until_ns: u64,
    /// What stood under a name before.
    older: BTreeMap<String, Bytes>,
}

impl Server {
    pub fn new() -> Self {
        Self { memory: Arc::new(MemoryCache::new(LIMITS)), now_ms: 0, down_until_ns: 0, older: BTreeMap::new() }
    }
}

impl World {
    /// The server at its work; `None`: it is away, or there is none.
    fn cache_server(&mut self) -> Option<&mut Server> {
        let (now_ns, now_ms, quiet) = (self.now_ns(), self.now_ms(), self.quiet);
        let server = self.fleet.as_mut()?.cache.as_mut().filter(|server| quiet || server.down_until_ns <= now_ns)?;
        server.memory.pass_ms(now_ms - server.now_ms);
        server.now_ms = now_ms;
        Some(server)
    }

    fn wrong_entry(&mut self) -> bool {
        let likely = self.profile.fleet.map_or(0.0, |profile| profile.wrong_entries);
        !self.quiet && self.dice.chance(likely)
    }

    /// It is stopped for a while, or emptied.
    pub fn the_cache_may_falter(&mut self) {
        let milliseconds = self.dice.between(10, 20_000);
        let (forgets, stops) = (self.dice.chance(0.02), self.dice.chance(0.02));
        let now_ns = self.now_ns();
        let Some(server) = self.cache_server() else { return };
        if forgets {
            server.memory.forget();
        }
        if stops {
            server.down_until_ns = now_ns + milliseconds * MS;
        }
        if forgets || stops {
            self.tell(Who::World, || format!("the cache forgets ({forgets}), is away ({stops}) for {milliseconds} ms"));
        }
    }

    /// What an agent is given in place of the entry.
    fn perhaps_another(&mut self, name: &str, value: Option<Bytes>) -> Option<Bytes> {
        if !self.wrong_entry() {
            return value;
        }
        self.stats.faults += 1;
        let which = self.dice.below(4);
        let at = self.dice.below(64);
        let server = self.cache_server()?;
        match which {
            0 => None,
            1 => server.older.get(name).cloned().or(value),
            2 => {
                let entries = server.memory.entries();
                entries.into_values().nth(at)
            }
            _ => value.map(|value| {
                let mut bytes = value.to_vec();
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
                Bytes::from(bytes)
            }),
        }
    }
}

pub struct SimCache(pub Port);

impl SimCache {
    /// One call; `None`: nobody answers.
    async fn call<T>(&self, act: impl FnOnce(&mut World, &MemoryCache) -> T) -> Option<T> {
        self.0.pause(50, 800).await;
        let answer = {
            let world = &mut *self.0.lock();
            if !self.0.alive(world) {
                return None;
            }
            let memory = Arc::clone(&world.cache_server()?.memory);
            act(world, &memory)
        };
        self.0.pause(20, 500).await;
        Some(answer)
    }
}

fn unavailable() -> CacheError {
    CacheError { kind: CacheErrorKind::Unavailable, what: "the simulated cache".to_owned(), source: None }
}

#[async_trait]
impl Cache for SimCache {
    fn limits(&self) -> CacheLimits {
        LIMITS
    }

    async fn get(&self, wanted: &[Wanted]) -> Vec<Option<Bytes>> {
        let get = |world: &mut World, memory: &MemoryCache| {
            let found = memory.get(wanted).now_or_never().unwrap_or_default();
            let mut given = Vec::new();
            for (wanted, value) in wanted.iter().zip(found) {
                let value = world.perhaps_another(&wanted.key, value);
                given.push(value.filter(|value| value.len() as u64 <= wanted.bytes_max));
            }
            given
        };
        self.call(get).await.unwrap_or_else(|| vec![None; wanted.len()])
    }

    async fn set(&self, entries: Vec<NewEntry>) -> Result<(), CacheError> {
        let set = |world: &mut World, memory: &MemoryCache| {
            let before = memory.entries();
            let mut kept = Vec::new();
            for entry in entries {
                if let (Some(old), Some(server)) = (before.get(&entry.key), world.cache_server()) {
                    server.older.insert(entry.key.clone(), old.clone());
                }
                if !world.wrong_entry() {
                    kept.push(entry);
                }
            }
            let set = memory.set(kept).now_or_never().unwrap_or_else(|| Err(unavailable()));
            if world.metadata_reply_is_lost() { Err(unavailable()) } else { set }
        };
        self.call(set).await.unwrap_or_else(|| Err(unavailable()))
    }

    async fn delete(&self, keys: &[String]) -> Result<(), CacheError> {
        let delete = |_: &mut World, memory: &MemoryCache| {
            memory.delete(keys).now_or_never().unwrap_or_else(|| Err(unavailable()))
        };
        self.call(delete).await.unwrap_or_else(|| Err(unavailable()))
    }

    async fn flush(&self) -> Result<u64, CacheError> {
        let flush = |_: &mut World, memory: &MemoryCache| memory.flush().now_or_never();
        self.call(flush).await.flatten().unwrap_or_else(|| Err(unavailable()))
    }

    async fn stats(&self) -> Result<CacheStats, CacheError> {
        let stats = |_: &mut World, memory: &MemoryCache| memory.stats().now_or_never();
        self.call(stats).await.flatten().unwrap_or_else(|| Err(unavailable()))
    }

    fn standing(&self) -> CacheStanding {
        CacheStanding { up: self.0.lock().cache_server().is_some(), since_ms: 0, trouble: None }
    }

    fn count(&self, hits: u64, misses: u64) {
        if let Some(server) = self.0.lock().cache_server() {
            server.memory.count(hits, misses);
        }
    }

    fn publish(&self, _: &str, _: u64) {
        let world = &mut *self.0.lock();
        if self.0.alive(world) && world.cache_server().is_some() {
            world.tell_fleet(self.0.replica);
        }
    }

    /// The world brings hints itself.
    fn heads(&self, _: &str) -> BoxStream<'static, u64> {
        pending().boxed()
    }
}
