//! The watch over a mirror's root: its events as hints, and its end as polling until it can be had again.
//!
//! A watch that can't be had costs latency alone: the engine scans at each interval meanwhile.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gosync_api::messages::WatchState;
use gosync_engine::{Hint, MirrorHandle};
use gosync_fs::{Watch, WatchError, WatchEvent, WatchOptions};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::chain::chain;

/// After the root was lost.
const LOST_RETRY: Duration = Duration::from_secs(1);
/// After the kernel had no more watches to give.
const LIMIT_RETRY: Duration = Duration::from_secs(60);
const WHY_LIMIT: &str = "the kernel grants no more watches (raise fs.inotify.max_user_watches)";
const WHY_NETWORK: &str = "a network file system tells nothing of what other hosts do; it is looked at each interval";
const WHY_LOST: &str = "the folder at the root's path is gone or another one";

/// Watches until dropped.
pub struct Watcher {
    lost: Arc<Notify>,
    /// `None`: there is nothing to be watched for.
    _keeping: Option<AbortOnDropHandle<()>>,
}

/// How the watch stands, for people.
pub type WatchStanding = Arc<Mutex<WatchState>>;

enum Trouble {
    Limit,
    Lost,
}

struct Keeper {
    root: PathBuf,
    handle: MirrorHandle,
    standing: WatchStanding,
    lost: Arc<Notify>,
}

type Begun = Result<(Watch, mpsc::UnboundedReceiver<Trouble>), WatchError>;

impl Watcher {
    /// Returns when the whole root is watched, or when it is known that it can't be: what happens from now on is hinted.
    pub async fn start(root: PathBuf, handle: MirrorHandle, standing: WatchStanding) -> Self {
        let lost = Arc::new(Notify::new());
        let keeper = Keeper { root, handle, standing, lost: Arc::clone(&lost) };
        let begun = keeper.begin().await;
        Self { lost, _keeping: Some(AbortOnDropHandle::new(tokio::spawn(keeper.keep(begun)))) }
    }

    /// Of a root on a network file system: the kernel hears of nothing that other hosts do there.
    pub fn polling(handle: &MirrorHandle, standing: &WatchStanding) -> Self {
        tell(handle, standing, Some(WHY_NETWORK.to_owned()));
        Self { lost: Arc::new(Notify::new()), _keeping: None }
    }

    /// Returns when the root is no longer where it was, as far as the watch can tell.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }
}

impl Keeper {
    async fn begin(&self) -> Option<Begun> {
        let (root, handle) = (self.root.clone(), self.handle.clone());
        let (troubles, told) = mpsc::unbounded_channel();
        let begun = tokio::task::spawn_blocking(move || {
            let at = root.clone();
            let sink = move |event| match event {
                WatchEvent::LimitReached => drop(troubles.send(Trouble::Limit)),
                WatchEvent::Lost => drop(troubles.send(Trouble::Lost)),
                event => {
                    if let Some(hint) = hint_of(&at, event) {
                        handle.hint(hint);
                    }
                }
            };
            Watch::start(root, sink, WatchOptions::default())
        })
        .await
        .ok()?;
        // Told before the mirror begins, this costs no sweep of its own.
        if begun.is_ok() {
            self.tell(None);
        }
        Some(begun.map(|watch| (watch, told)))
    }

    async fn keep(self, begun: Option<Begun>) {
        let mut begun = begun;
        loop {
            let wait = match begun {
                // The runtime goes down.
                None => return,
                Some(Err(error)) => {
                    self.tell(Some(chain(&error)));
                    LIMIT_RETRY
                }
                Some(Ok((watch, mut told))) => match told.recv().await {
                    None | Some(Trouble::Lost) => {
                        drop(watch);
                        self.tell(Some(WHY_LOST.to_owned()));
                        self.lost.notify_one();
                        LOST_RETRY
                    }
                    Some(Trouble::Limit) => {
                        self.tell(Some(WHY_LIMIT.to_owned()));
                        // Until then, what is watched is watched.
                        tokio::time::sleep(LIMIT_RETRY).await;
                        Duration::ZERO
                    }
                },
            };
            tokio::time::sleep(wait).await;
            begun = self.begin().await;
        }
    }

    fn tell(&self, why_polling: Option<String>) {
        tell(&self.handle, &self.standing, why_polling);
    }
}

fn tell(handle: &MirrorHandle, standing: &WatchStanding, why_polling: Option<String>) {
    let watching = why_polling.is_none();
    handle.hint(Hint::WatchHealthy(watching));
    *standing.lock().unwrap_or_else(PoisonError::into_inner) = WatchState { watching, why_polling };
}

/// `None`: not for the engine.
fn hint_of(root: &Path, event: WatchEvent) -> Option<Hint> {
    Some(match event {
        WatchEvent::Changed(path) => Hint::LocalChanged(path),
        WatchEvent::Closed(path) => Hint::LocalClosed(path),
        WatchEvent::Removed(path) => Hint::LocalRemoved(path),
        WatchEvent::FolderAppeared(path) => Hint::LocalFolder(path),
        WatchEvent::Overflow => Hint::LocalOverflow,
        // The old name waits for the new one, the new name is complete as it is.
        WatchEvent::Renamed(path) if root.join(&path).symlink_metadata().is_ok() => Hint::LocalClosed(path),
        WatchEvent::Renamed(path) => Hint::LocalRemoved(path),
        WatchEvent::LimitReached | WatchEvent::Lost => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    #[test]
    fn the_two_names_of_a_rename_are_told_apart_by_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("new"), "x").unwrap();
        let of = |name: &str| hint_of(root.path(), WatchEvent::Renamed(name.into())).unwrap();
        assert_eq!(of("new"), Hint::LocalClosed("new".into()));
        assert_eq!(of("old"), Hint::LocalRemoved("old".into()));
    }

    #[test]
    fn trouble_of_the_watch_is_no_hint() {
        assert_eq!(hint_of(Path::new("/"), WatchEvent::Lost), None);
        assert_eq!(hint_of(Path::new("/"), WatchEvent::LimitReached), None);
        assert_eq!(hint_of(Path::new("/"), WatchEvent::Overflow), Some(Hint::LocalOverflow));
    }
}
