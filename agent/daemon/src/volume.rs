//! Whose turn it is on a tree that other hosts can write to: of all agents that have it and share a database, one is active,
//! by a lease there (R27). The others stand by.
//!
//! The active one renews its lease, and stops writing before it ends: the [`Fence`] closes by itself, whether or not
//! anybody notices. A process that was killed or stood still is followed when its lease has ended, by the database's clock.
//! The lease is of the marker's uuid and the file system's own id, so that copies of a tree on other file systems have
//! leases of their own; one on the same file system has to get another marker.
//!
//! Beside it there is the lock file, where the file system has locks: it keeps out agents that know nothing of this
//! database. In it stands by which lease it was taken: a lock that is held for a lease that is over holds nobody up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gosync_engine::ports::{Ids as _, LocalTree, MetadataStore, StateError, TreeError, TreeErrorKind};
use gosync_engine::{Marker, UNREADABLE, place_marker, read_marker};
use gosync_fs::{DiskTree, boot_ms};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::chain::chain;
use crate::one_mirror::Why;
use crate::ports::RandomIds;
use crate::root::{LOCK, locked, tree_trouble};
use crate::words;

const LEASE_MS: u64 = 15_000;
/// Nothing is written any more when this much of the lease is left: what was begun may end.
const MARGIN_MS: u64 = 2_000;
const RENEWAL: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(1);
/// A lease that can't be given back runs out.
const RELEASE_WAIT: Duration = Duration::from_secs(2);
const LOCK_BYTES_MAX: usize = 256;

/// Open while this agent may write to the tree.
#[derive(Default)]
pub struct Fence {
    until_ms: AtomicU64,
}

impl Fence {
    pub fn is_open(&self) -> bool {
        boot_ms() < self.until_ms.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub fn open_for(&self, milliseconds: u64) {
        self.open_until(boot_ms() + milliseconds);
    }

    fn open_until(&self, until_ms: u64) {
        self.until_ms.store(until_ms, Ordering::Release);
    }

    pub fn close(&self) {
        self.open_until(0);
    }

    fn left(&self) -> Duration {
        Duration::from_millis(self.until_ms.load(Ordering::Acquire).saturating_sub(boot_ms()))
    }
}

/// What is asked for.
pub struct Claim {
    pub metadata: Arc<dyn MetadataStore>,
    /// Tells databases apart.
    pub epoch: String,
    /// Another one for each mirror of each process.
    pub holder: String,
    /// What the root's first marker says.
    pub mirror: String,
    pub remote: String,
    /// The volume that the state knows.
    pub known: Option<String>,
    /// The lock file is held by somebody else.
    pub is_held: bool,
    /// Nothing is written into the root for it.
    pub read_only: bool,
}

/// The right to write to a tree, kept up until this is dropped or given back.
pub struct VolumeLease {
    fence: Arc<Fence>,
    lost: CancellationToken,
    held: Held,
    _keeping: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct Held {
    metadata: Arc<dyn MetadataStore>,
    name: String,
    holder: String,
    volume: String,
}

impl VolumeLease {
    /// `locked` while another one is active.
    pub async fn take(tree: &Arc<DiskTree>, claim: Claim) -> Result<Self, Why> {
        let Claim { metadata, epoch, holder, mirror, remote, known, is_held, read_only } = claim;
        let at = Arc::clone(tree);
        let found = on_disk(move || Ok((volume_of(&*at, known, mirror, remote)?, at.file_system_id()?)));
        let (volume, file_system) = found.await?;
        let held = Held { metadata, name: format!("tree {volume} {file_system:x}"), holder, volume };
        let fence = Arc::new(Fence::default());
        let Some(fencing) = held.renew(&fence).await.map_err(unanswered)? else {
            return Err(locked("it has the lease of this volume"));
        };
        let taken = format!("{epoch} {fencing}\n");
        let at = Arc::clone(tree);
        let noted = match read_only {
            true => Ok(!is_held),
            false => on_disk(move || note_lease(&*at, is_held, &taken)).await,
        };
        if !matches!(noted, Ok(true)) {
            held.release().await;
            noted?;
            return Err(locked(".gosync/lock is held, and not for a lease of this database that is over"));
        }
        let lost = CancellationToken::new();
        let keeping = keep(held.clone(), fencing, Arc::clone(tree), Arc::clone(&fence), lost.clone());
        Ok(Self { fence, lost, held, _keeping: AbortOnDropHandle::new(tokio::spawn(keeping)) })
    }

    pub fn fence(&self) -> Arc<Fence> {
        Arc::clone(&self.fence)
    }

    /// Returns when it is not to be had any more.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Nothing is written any more from here on.
    pub fn close(&self) {
        self.lost.cancel();
        self.fence.close();
    }

    /// Somebody else may have it at once.
    pub async fn give_back(self) {
        self.close();
        self.held.release().await;
    }
}

impl Held {
    /// The fencing number, with the fence open for as long as the lease lasts; `None`: another one has it.
    async fn renew(&self, fence: &Fence) -> Result<Option<u64>, StateError> {
        // The database counts from when it is asked, and so later.
        let asked_ms = boot_ms();
        let fencing = self.metadata.lease(&self.name, &self.holder, LEASE_MS).await?;
        if fencing.is_some() {
            fence.open_until(asked_ms + LEASE_MS - MARGIN_MS);
        }
        Ok(fencing)
    }

    async fn release(&self) {
        let _ = timeout(RELEASE_WAIT, self.metadata.release(&self.name, &self.holder)).await;
    }
}

/// Renews the lease until it is lost.
async fn keep(held: Held, fencing: u64, tree: Arc<DiskTree>, fence: Arc<Fence>, lost: CancellationToken) {
    let mut wait = RENEWAL;
    loop {
        sleep(wait).await;
        if lost.is_cancelled() {
            return;
        }
        let at = Arc::clone(&tree);
        let marker = tokio::task::spawn_blocking(move || read_marker(&*at));
        let is_another =
            matches!(timeout(fence.left(), marker).await, Ok(Ok(Ok(Some(marker)))) if marker.uuid != held.volume);
        // What is open now was paid for by the renewal before; this one opens it further, unless it was closed meanwhile.
        let fresh = Fence::default();
        let renewed = timeout(fence.left(), held.renew(&fresh)).await;
        match renewed {
            Ok(Ok(Some(now))) if now == fencing && !is_another && fence.is_open() && !lost.is_cancelled() => {
                fence.open_until(fresh.until_ms.load(Ordering::Acquire));
                wait = RENEWAL;
            }
            Ok(Err(_)) if fence.left() > Duration::ZERO && !is_another => wait = RETRY.min(fence.left()),
            // Over, or another one's; or of another volume than the one whose marker stands there by now.
            _ => {
                fence.close();
                lost.cancel();
                return;
            }
        }
    }
}

/// The uuid of the root's marker, which is made where there is none and none is known.
fn volume_of(tree: &dyn LocalTree, known: Option<String>, mirror: String, remote: String) -> Result<String, TreeError> {
    let marker = match (read_marker(tree)?, known) {
        (Some(marker), _) => marker,
        (None, Some(known)) => return Ok(known),
        (None, None) => {
            let created = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            place_marker(tree, &Marker { uuid: RandomIds.nonce().to_hex(), created, mirror, remote })?
        }
    };
    if marker.uuid == UNREADABLE {
        let source = std::io::Error::other("the marker can't be understood");
        return Err(TreeError {
            source: Some(source),
            ..TreeError::new(TreeErrorKind::Failed, "read", ".gosync/marker")
        });
    }
    Ok(marker.uuid)
}

/// Says in the lock file by which lease it is this agent's turn. False: the file is locked for something else.
fn note_lease(tree: &dyn LocalTree, is_held: bool, taken: &str) -> Result<bool, TreeError> {
    let file = match tree.reopen(LOCK) {
        // Nothing is written into a root that has no folder of ours.
        Err(error) if error.is_not_found() => return Ok(true),
        opened => opened?,
    };
    if is_held {
        let mut bytes = vec![0; LOCK_BYTES_MAX];
        let read = file.read_at(0, &mut bytes)?;
        if !is_over(&String::from_utf8_lossy(&bytes[..read]), taken) {
            return Ok(false);
        }
    }
    file.write_at(0, taken.as_bytes())?;
    file.set_len(taken.len() as u64)?;
    Ok(true)
}

/// Whether the lease that is `noted` ended before the one that was `taken` began: numbers of one database only grow.
fn is_over(noted: &str, taken: &str) -> bool {
    let parts = |text: &str| {
        let (epoch, fencing) = text.trim().split_once(' ')?;
        Some((epoch.to_owned(), fencing.parse::<u64>().ok()?))
    };
    match (parts(noted), parts(taken)) {
        (Some((epoch, before)), Some((same, now))) => epoch == same && before < now,
        _ => false,
    }
}

async fn on_disk<T: Send + 'static>(job: impl FnOnce() -> Result<T, TreeError> + Send + 'static) -> Result<T, Why> {
    let stopping = |_| Why::Error { class: words::INTERNAL, message: "the agent is stopping".to_owned() };
    tokio::task::spawn_blocking(job).await.map_err(stopping)?.map_err(tree_trouble)
}

/// The database doesn't answer: nobody knows whose turn it is.
pub fn unanswered(error: StateError) -> Why {
    let message = format!(
        "the folder lies on a network file system, and without the database nobody knows which agent may work on it: {}",
        chain(&error)
    );
    Why::Error { class: words::METADATA, message }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    #[test]
    fn a_lock_holds_nobody_up_whose_lease_is_over() {
        assert!(is_over("e 7\n", "e 8\n"));
        for noted in ["e 8\n", "e 9\n", "f 7\n", "", "7", "e x"] {
            assert!(!is_over(noted, "e 8\n"), "{noted:?}");
        }
    }

    #[test]
    fn a_fence_is_open_for_its_time_and_never_before() {
        let fence = Fence::default();
        assert!(!fence.is_open());
        fence.open_for(60_000);
        assert!(fence.is_open() && fence.left() > Duration::from_secs(50));
        fence.open_until(boot_ms());
        assert!(!fence.is_open() && fence.left() == Duration::ZERO);
    }

    #[test]
    fn of_many_who_give_a_root_its_first_marker_all_get_the_same() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(".gosync")).unwrap();
        let all: Vec<_> = (0..8)
            .map(|_| {
                let root = root.path().to_owned();
                std::thread::spawn(move || {
                    volume_of(&DiskTree::open(root).unwrap(), None, "docs".into(), "remote".into()).unwrap()
                })
            })
            .collect();
        let uuids: Vec<String> = all.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(uuids.iter().all(|uuid| *uuid == uuids[0]), "{uuids:?}");
        let names: Vec<_> = std::fs::read_dir(root.path().join(".gosync")).unwrap().collect();
        assert_eq!(names.len(), 1);
    }
}
