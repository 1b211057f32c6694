//! Watches that fill stores, and whether they go on.
//!
//! A watch that ends or fails is begun again by the library, with longer and longer pauses. What must not happen is that nothing
//! happens: every watch is begun anew within minutes even where nothing changes, and one that isn't is wedged.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use kube::api::Api;
use kube::runtime::reflector::store::Writer;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Resource};
use rand::Rng;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

/// API servers end a watch after this time, in seconds. Less than the client's read time-out.
const WATCH_SECONDS: u32 = 240;
/// A watch that was not begun anew for so long is wedged: its own time, a pause after failures, and a request that hangs.
pub const WEDGED: Duration = Duration::from_secs(660);

/// When each watch was last begun.
#[derive(Debug, Default)]
pub struct Progress(Mutex<BTreeMap<&'static str, (Instant, SystemTime)>>);

impl Progress {
    /// A client whose requests count as progress of a watch. The watch is expected to go on until the result is dropped.
    pub fn client(self: &Arc<Self>, client: &Client, name: &'static str) -> (Client, Expected) {
        let (progress, inner) = (self.clone(), client.clone());
        let service = tower::service_fn(move |request| {
            progress.note(name);
            let inner = inner.clone();
            async move { inner.send(request).await }
        });
        self.note(name);
        (Client::new(service, client.default_namespace()), Expected { progress: self.clone(), name })
    }

    /// A watch that is wedged.
    pub fn wedged(&self, now: Instant) -> Option<&'static str> {
        let late = |(_, (last, _)): &(_, &(Instant, SystemTime))| now.duration_since(*last) > WEDGED;
        self.lock().iter().find(late).map(|(name, _)| *name)
    }

    /// When each was last begun, in seconds since 1970.
    pub fn times(&self) -> Vec<(&'static str, u64)> {
        let seconds = |time: &SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.lock().iter().map(|(name, (_, time))| (*name, seconds(time))).collect()
    }

    fn note(&self, name: &'static str) {
        self.lock().insert(name, (Instant::now(), SystemTime::now()));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, (Instant, SystemTime)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A watch that is expected to go on.
pub struct Expected {
    progress: Arc<Progress>,
    name: &'static str,
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.progress.lock().remove(self.name);
    }
}

/// Pauses after failures of a watch: twice as long each time, with half of it at random, and never so long that edits wait for
/// long once the API server is back.
#[derive(Debug, Default)]
struct Pauses {
    failures: u32,
}

/// A failure so long after the one before is another one to people.
const FAILS_ANEW: Duration = Duration::from_secs(60);
/// The shortest and the longest pause, in milliseconds.
const PAUSE_MILLISECONDS: (u64, u64) = (500, 5_000);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let (shortest, longest) = PAUSE_MILLISECONDS;
        let pause = shortest.saturating_mul(2_u64.saturating_pow(self.failures)).min(longest);
        self.failures = self.failures.saturating_add(1);
        Some(Duration::from_millis(rand::rng().random_range(pause / 2..=pause)))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Fills a store until it is dropped. `prune` sees each object before it is kept, `touched` is called after each change.
pub async fn follow<K>(
    name: &'static str,
    api: Api<K>,
    config: watcher::Config,
    writer: Writer<K>,
    prune: impl FnMut(&mut K),
    touched: impl Fn(),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let stream = watcher(api, config.timeout(WATCH_SECONDS)).modify(prune).backoff(Pauses::default());
    let stream = reflector(writer, stream);
    futures_util::pin_mut!(stream);
    let mut failed: Option<Instant> = None;
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
            Ok(_) => touched(),
            Err(error) => {
                // An API server that is away is told of once, and not at each try.
                if failed.is_none_or(|last| last.elapsed() > FAILS_ANEW) {
                    tracing::warn!("the watch of {name} failed and is begun again: {error}");
                } else {
                    tracing::debug!("the watch of {name} failed again: {error}");
                }
                failed = Some(Instant::now());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_seconds_and_begin_anew_after_a_success() {
        let mut pauses = Pauses::default();
        let bounds = |millis: u64| Duration::from_millis(millis / 2)..=Duration::from_millis(millis);
        for millis in [500, 1_000, 2_000, 4_000, 5_000, 5_000] {
            assert!(pauses.next().is_some_and(|pause| bounds(millis).contains(&pause)), "{millis}");
        }
        pauses.reset();
        assert!(pauses.next().is_some_and(|pause| bounds(500).contains(&pause)));
    }
}
