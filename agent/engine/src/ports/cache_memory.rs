//! A cache in memory that does all that a server may do to its clients, on demand: it is down, refuses, forgets, or holds
//! what somebody planted. For tests and the simulator.
//!
//! It is strict where a server is not: a call that breaks the port's rules is remembered, and [`MemoryCache::wrongs`] tells.
//! Its time stands still until it is moved.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_channel::mpsc::{UnboundedSender, unbounded};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::cache::{Cache, CacheError, CacheErrorKind, CacheLimits, CacheStanding, CacheStats, NewEntry, Wanted};

pub struct MemoryCache {
    limits: CacheLimits,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    now_ms: u64,
    entries: BTreeMap<String, Entry>,
    listeners: BTreeMap<String, Vec<UnboundedSender<u64>>>,
    down_since_ms: Option<u64>,
    bytes_allowed: Option<u64>,
    hits: u64,
    misses: u64,
    wrongs: Vec<String>,
}

struct Entry {
    value: Bytes,
    ends_ms: u64,
}

impl MemoryCache {
    #[must_use]
    pub fn new(limits: CacheLimits) -> Self {
        Self { limits, inner: Mutex::default() }
    }

    /// Moves its time.
    pub fn pass_ms(&self, milliseconds: u64) {
        self.lock().now_ms += milliseconds;
    }

    /// It answers nobody, or goes on with what it had.
    pub fn set_down(&self, down: bool) {
        let mut inner = self.lock();
        inner.down_since_ms = down.then_some(inner.now_ms);
    }

    /// It refuses what would not fit any more.
    pub fn set_bytes_allowed(&self, allowed: Option<u64>) {
        self.lock().bytes_allowed = allowed;
    }

    /// It forgets everything, as a restart does.
    pub fn forget(&self) {
        self.lock().entries.clear();
    }

    /// What stands there, by name.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<String, Bytes> {
        let mut inner = self.lock();
        inner.expire();
        inner.entries.iter().map(|(key, entry)| (key.clone(), entry.value.clone())).collect()
    }

    /// Puts there what a stranger might.
    pub fn plant(&self, key: &str, value: Bytes) {
        self.lock().entries.insert(key.to_owned(), Entry { value, ends_ms: u64::MAX });
    }

    /// Calls that broke a rule of the port.
    #[must_use]
    pub fn wrongs(&self) -> Vec<String> {
        self.lock().wrongs.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn up(&self, doing: &str) -> Result<MutexGuard<'_, Inner>, CacheError> {
        let mut inner = self.lock();
        inner.expire();
        if inner.down_since_ms.is_some() {
            let what = doing.to_owned();
            return Err(CacheError { kind: CacheErrorKind::Unavailable, what, source: None });
        }
        Ok(inner)
    }
}

impl Inner {
    fn expire(&mut self) {
        let now_ms = self.now_ms;
        self.entries.retain(|_, entry| entry.ends_ms > now_ms);
    }

    fn bytes(&self) -> u64 {
        self.entries.iter().map(|(key, entry)| (key.len() + entry.value.len()) as u64).sum()
    }

    fn wrong(&mut self, what: String) {
        self.wrongs.push(what);
    }
}

#[async_trait]
impl Cache for MemoryCache {
    fn limits(&self) -> CacheLimits {
        self.limits
    }

    async fn get(&self, wanted: &[Wanted]) -> Vec<Option<Bytes>> {
        let Ok(mut inner) = self.up("reading") else { return vec![None; wanted.len()] };
        if wanted.iter().any(|wanted| wanted.key.is_empty() || wanted.bytes_max == 0) {
            inner.wrong(format!("{wanted:?} asks for nothing"));
        }
        let value = |wanted: &Wanted| {
            let value = &inner.entries.get(&wanted.key)?.value;
            (value.len() as u64 <= wanted.bytes_max).then(|| value.clone())
        };
        wanted.iter().map(value).collect()
    }

    async fn set(&self, entries: Vec<NewEntry>) -> Result<(), CacheError> {
        let mut inner = self.up("writing")?;
        let mut refused = false;
        for NewEntry { key, value, ttl_ms, only_if_absent } in entries {
            if key.is_empty() || value.is_empty() || ttl_ms == 0 {
                inner.wrong(format!("{key:?} of {} bytes for {ttl_ms} ms", value.len()));
            }
            let needed = (key.len() + value.len()) as u64;
            if inner.bytes_allowed.is_some_and(|allowed| inner.bytes() + needed > allowed) {
                refused = true;
            } else if !only_if_absent || !inner.entries.contains_key(&key) {
                let ends_ms = inner.now_ms.saturating_add(ttl_ms);
                inner.entries.insert(key, Entry { value, ends_ms });
            }
        }
        if refused {
            let what = "writing: out of memory".to_owned();
            return Err(CacheError { kind: CacheErrorKind::Refused, what, source: None });
        }
        Ok(())
    }

    async fn delete(&self, keys: &[String]) -> Result<(), CacheError> {
        let mut inner = self.up("deleting")?;
        for key in keys {
            inner.entries.remove(key);
        }
        Ok(())
    }

    async fn flush(&self) -> Result<u64, CacheError> {
        let mut inner = self.up("flushing")?;
        let keys = inner.entries.len() as u64;
        inner.entries.clear();
        Ok(keys)
    }

    async fn stats(&self) -> Result<CacheStats, CacheError> {
        let inner = self.up("counting")?;
        Ok(CacheStats {
            hits: inner.hits,
            misses: inner.misses,
            keys: inner.entries.len() as u64,
            keys_more: false,
            memory_used_bytes: Some(inner.bytes()),
            memory_allowed_bytes: inner.bytes_allowed,
        })
    }

    fn standing(&self) -> CacheStanding {
        let inner = self.lock();
        CacheStanding {
            up: inner.down_since_ms.is_none(),
            since_ms: inner.down_since_ms.unwrap_or_default().cast_signed(),
            trouble: inner.down_since_ms.map(|_| "it is down".to_owned()),
        }
    }

    fn count(&self, hits: u64, misses: u64) {
        let mut inner = self.lock();
        inner.hits += hits;
        inner.misses += misses;
    }

    fn publish(&self, channel: &str, head: u64) {
        let Ok(mut inner) = self.up("publishing") else { return };
        if let Some(listeners) = inner.listeners.get_mut(channel) {
            listeners.retain(|listener| listener.unbounded_send(head).is_ok());
        }
    }

    fn heads(&self, channel: &str) -> BoxStream<'static, u64> {
        let (sender, receiver) = unbounded();
        // It listens at once; the receiver is here, so this can't fail.
        let _ = sender.unbounded_send(0);
        self.lock().listeners.entry(channel.to_owned()).or_default().push(sender);
        receiver.boxed()
    }
}
