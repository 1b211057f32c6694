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
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Resource};
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
    let stream = watcher(api, config.timeout(WATCH_SECONDS)).modify(prune).default_backoff();
    let stream = reflector(writer, stream);
    futures_util::pin_mut!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
            Ok(_) => touched(),
            Err(error) => tracing::warn!("the watch of {name} failed and is begun again: {error}"),
        }
    }
}
