//! The cache in a Redis server.
//!
//! One connection for questions, and one for hints where somebody listens. Both come back by themselves. What was asked
//! when a connection broke is not asked again: its asker has gone on with a miss.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike as _, EventInterface as _, KeysInterface as _};
use fred::types::{Expiration, InfoKind, Key, SetOptions, Value};
use futures_util::stream::BoxStream;
use gosync_engine::ports::cache::{
    Cache, CacheError, CacheErrorKind, CacheLimits, CacheStanding, CacheStats, NewEntry, Wanted,
};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::circuit::{Circuit, is_refusal};
use crate::config::{ConfigError, RedisConfig, SILENCE_MAX, Target};
use crate::hints::Hints;

/// Of one pipeline: small enough for its answers to come in time.
const PIPELINE_BYTES_MAX: u64 = 2 << 20;
const PIPELINE_KEYS_MAX: usize = 256;
/// A page of SCAN.
const SCAN_COUNT: u32 = 1_000;
/// Counting keys is for people: after this long it is said that there are more.
const COUNT_WAIT: Duration = Duration::from_secs(2);
/// How often a Redis that is down is pinged, and one from which nobody wants anything.
const PING_DOWN: Duration = Duration::from_millis(100);
const PING_UP: Duration = Duration::from_secs(5);
/// Before a client whose connecting ended is begun again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Entries in Redis, each under `<prefix>:`.
pub struct RedisCache {
    client: Client,
    circuit: Arc<Circuit>,
    hints: Hints,
    prefix: String,
    address: String,
    limits: CacheLimits,
    hits: AtomicU64,
    misses: AtomicU64,
    _tasks: JoinSet<()>,
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache")
            .field("address", &self.address)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl RedisCache {
    /// Begins to connect and returns at once. Must be called inside a tokio runtime.
    pub fn open(config: &RedisConfig) -> Result<Self, ConfigError> {
        let Target { builder, address } = config.target()?;
        // There is always a config: it was given.
        let client = builder.build().map_err(|_| ConfigError::Url)?;
        let circuit = Arc::new(Circuit::new(address.clone()));
        let mut tasks = JoinSet::new();
        let stuck = Arc::new(Notify::new());
        tasks.spawn(keep_connected(client.clone(), Arc::clone(&stuck)));
        tasks.spawn(keep_watch(client.clone(), Arc::clone(&circuit), stuck));
        tasks.spawn(note_losses(client.clone(), Arc::clone(&circuit)));
        let limits = CacheLimits {
            ttl_ms: u64::try_from(config.ttl.as_millis()).unwrap_or(u64::MAX),
            content_bytes_max: config.content_bytes_max,
        };
        Ok(Self {
            hints: Hints::new(client.clone(), builder, Arc::clone(&circuit), &mut tasks),
            client,
            circuit,
            prefix: format!("{}:", config.prefix),
            address,
            limits,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            _tasks: tasks,
        })
    }

    /// `host:port/database`
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Hits and misses since it was opened.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// One answer per key, for as many as one pipeline holds.
    async fn get_some(&self, wanted: &[Wanted]) -> Result<Vec<Option<Bytes>>, CacheError> {
        const DOING: &str = "reading entries";
        self.circuit.check(DOING)?;
        let failed = |error: &Error| self.circuit.failed(DOING, error);
        let pipeline = self.client.pipeline();
        for Wanted { key, bytes_max } in wanted {
            // One byte more than wanted: so a longer one is told from one that fits, and never comes whole.
            let last = usize::try_from(*bytes_max).unwrap_or(usize::MAX).min(isize::MAX.cast_unsigned());
            let () = pipeline.getrange(self.name(key), 0, last).await.map_err(|error| failed(&error))?;
        }
        let answers = pipeline.try_all::<Value>().await;
        if answers.len() != wanted.len() {
            let error = answers.into_iter().find_map(Result::err);
            return Err(failed(&error.unwrap_or_else(|| Error::new(fred::error::ErrorKind::Protocol, "cut answers"))));
        }
        let mut found = Vec::with_capacity(wanted.len());
        for (answer, wanted) in answers.into_iter().zip(wanted) {
            found.push(match answer {
                Ok(value) => {
                    value.into_bytes().filter(|bytes| !bytes.is_empty() && bytes.len() as u64 <= wanted.bytes_max)
                }
                Err(error) if error.details().starts_with("NOPERM") => {
                    self.circuit.note_refusal(&error);
                    return Err(failed(&error));
                }
                // Something else stands there.
                Err(error) if is_refusal(&error) => None,
                Err(error) => return Err(failed(&error)),
            });
        }
        Ok(found)
    }

    async fn set_some(&self, entries: &[NewEntry]) -> Result<(), CacheError> {
        const DOING: &str = "writing entries";
        self.circuit.check_write(DOING)?;
        let failed = |error: &Error| self.circuit.failed(DOING, error);
        let pipeline = self.client.pipeline();
        for NewEntry { key, value, ttl_ms, only_if_absent } in entries {
            let expire = Expiration::PX(i64::try_from(*ttl_ms).unwrap_or(i64::MAX));
            let options = only_if_absent.then_some(SetOptions::NX);
            let set = pipeline.set(self.name(key), value.clone(), Some(expire), options, false);
            let () = set.await.map_err(|error| failed(&error))?;
        }
        let mut refused = None;
        for answer in pipeline.try_all::<Value>().await {
            match answer {
                Ok(_) => {}
                Err(error) if is_refusal(&error) => refused = Some(error),
                Err(error) => return Err(failed(&error)),
            }
        }
        match refused {
            None => {
                self.circuit.written();
                Ok(())
            }
            Some(error) => {
                self.circuit.note_refusal(&error);
                Err(failed(&error))
            }
        }
    }

    /// One page of our own names, and where to go on.
    async fn scan(&self, doing: &str, cursor: String) -> Result<(Option<String>, Vec<Key>), CacheError> {
        self.circuit.check(doing)?;
        let pattern = format!("{}*", escaped(&self.prefix));
        let page = self.client.scan_page::<(String, Vec<Key>), _, _>(cursor, pattern, Some(SCAN_COUNT), None).await;
        let (cursor, keys) = page.map_err(|error| self.circuit.failed(doing, &error))?;
        Ok(((cursor != "0").then_some(cursor), keys))
    }

    /// (keys, whether there are more)
    async fn count_keys(&self) -> Result<(u64, bool), CacheError> {
        let began = Instant::now();
        let (mut keys, mut next) = (0, Some("0".to_owned()));
        while let Some(cursor) = next {
            if began.elapsed() > COUNT_WAIT {
                return Ok((keys, true));
            }
            let (more, page) = self.scan("counting entries", cursor).await?;
            keys += page.len() as u64;
            next = more;
        }
        Ok((keys, false))
    }
}

#[async_trait]
impl Cache for RedisCache {
    fn limits(&self) -> CacheLimits {
        self.limits
    }

    async fn get(&self, wanted: &[Wanted]) -> Vec<Option<Bytes>> {
        let mut found = Vec::with_capacity(wanted.len());
        for some in pipelines(wanted, |wanted| wanted.bytes_max) {
            match self.get_some(some).await {
                Ok(answers) => found.extend(answers),
                // The circuit is open now, or this was refused as a whole: the others would fare no better.
                Err(_) => break,
            }
        }
        found.resize(wanted.len(), None);
        found
    }

    async fn set(&self, entries: Vec<NewEntry>) -> Result<(), CacheError> {
        for some in pipelines(&entries, |entry| entry.value.len() as u64) {
            self.set_some(some).await?;
        }
        Ok(())
    }

    async fn delete(&self, keys: &[String]) -> Result<(), CacheError> {
        const DOING: &str = "deleting entries";
        for some in keys.chunks(PIPELINE_KEYS_MAX) {
            self.circuit.check(DOING)?;
            let names: Vec<String> = some.iter().map(|key| self.name(key)).collect();
            let deleted = self.client.unlink::<Value, _>(names).await;
            deleted.map_err(|error| self.circuit.failed(DOING, &error))?;
        }
        Ok(())
    }

    async fn flush(&self) -> Result<u64, CacheError> {
        const DOING: &str = "flushing the cache";
        let (mut gone, mut next) = (0, Some("0".to_owned()));
        while let Some(cursor) = next {
            let (more, keys) = self.scan(DOING, cursor).await?;
            if !keys.is_empty() {
                let deleted = self.client.unlink::<u64, _>(keys).await;
                gone += deleted.map_err(|error| self.circuit.failed(DOING, &error))?;
            }
            next = more;
        }
        Ok(gone)
    }

    async fn stats(&self) -> Result<CacheStats, CacheError> {
        let (keys, keys_more) = self.count_keys().await?;
        // Who may not ask for it knows the rest all the same.
        let memory = match self.client.info::<String>(Some(InfoKind::Memory)).await {
            Ok(memory) => memory,
            Err(error) => match self.circuit.failed("asking for the memory", &error) {
                error if error.kind == CacheErrorKind::Refused => String::new(),
                error => return Err(error),
            },
        };
        let told = |name: &str| {
            let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|number| number.trim().parse::<u64>().ok())
        };
        let (hits, misses) = self.counts();
        Ok(CacheStats {
            hits,
            misses,
            keys,
            keys_more,
            memory_used_bytes: told("used_memory"),
            memory_allowed_bytes: told("maxmemory").filter(|bytes| *bytes > 0),
        })
    }

    fn standing(&self) -> CacheStanding {
        self.circuit.standing()
    }

    fn count(&self, hits: u64, misses: u64) {
        self.hits.fetch_add(hits, Ordering::Relaxed);
        self.misses.fetch_add(misses, Ordering::Relaxed);
    }

    fn publish(&self, channel: &str, head: u64) {
        self.hints.publish(self.name(channel), head);
    }

    fn heads(&self, channel: &str) -> BoxStream<'static, u64> {
        self.hints.heads(self.name(channel))
    }
}

/// Cuts a long row of questions or entries into such as one pipeline holds.
fn pipelines<T>(all: &[T], bytes: impl Fn(&T) -> u64) -> impl Iterator<Item = &[T]> {
    let mut rest = all;
    std::iter::from_fn(move || {
        let mut sum = 0_u64;
        let fits = rest.iter().take(PIPELINE_KEYS_MAX).take_while(|one| {
            sum = sum.saturating_add(bytes(one));
            sum <= PIPELINE_BYTES_MAX
        });
        // One that is too large goes alone.
        let (some, others) = rest.split_at(fits.count().max(1).min(rest.len()));
        rest = others;
        (!some.is_empty()).then_some(some)
    })
}

/// A prefix as a pattern: it may hold what means something in one.
fn escaped(prefix: &str) -> String {
    let mut pattern = String::new();
    for char in prefix.chars() {
        if matches!(char, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern
}

/// Keeps a client connected until it is dropped: its policy tries again without end, and what ends all the same is begun
/// anew. So is one that is stuck.
pub async fn keep_connected(client: Client, stuck: Arc<Notify>) {
    loop {
        let mut connection = AbortOnDropHandle::new(client.connect());
        tokio::select! {
            _ = &mut connection => sleep(RECONNECT).await,
            () = stuck.notified() => {}
        }
    }
}

/// Finds out when Redis is back, and whether it still is where nobody asks.
async fn keep_watch(client: Client, circuit: Arc<Circuit>, stuck: Arc<Notify>) {
    let mut answered = Instant::now();
    loop {
        if circuit.is_up() {
            let _ = timeout(PING_UP, circuit.opened.notified()).await;
            if !circuit.is_up() {
                continue;
            }
        } else {
            sleep(PING_DOWN).await;
            // Nothing is queued for a connection that isn't there.
            if !client.is_connected() {
                answered = Instant::now();
                continue;
            }
        }
        match client.ping::<Value>(None).await {
            Ok(_) => {
                answered = Instant::now();
                circuit.close();
            }
            Err(error) => circuit.lost(&error),
        }
        if answered.elapsed() > SILENCE_MAX + PING_UP {
            answered = Instant::now();
            stuck.notify_one();
        }
    }
}

/// Lost connections are noticed where nobody asks, and why there is none.
async fn note_losses(client: Client, circuit: Arc<Circuit>) {
    let mut errors = client.error_rx();
    loop {
        match errors.recv().await {
            Ok((error, _)) => circuit.lost(&error),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => {
                sleep(Duration::from_secs(1)).await;
                errors = client.error_rx();
            }
        }
    }
}
