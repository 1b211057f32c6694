//! What the sequences of one mirror share: configuration, ports, and the few things that several of them touch.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_lock::Semaphore;
use gosync_plan::conflict::ConflictTag;
use gosync_plan::names::NameProblem;
use gosync_plan::{Ancestor, Fingerprint, Generation, Nonce, RelPath};
use serde::{Deserialize, Serialize};

use crate::budget::{Budget, Permit};
use crate::config::MirrorConfig;
use crate::durable::Target;
use crate::feed::{self, Position};
use crate::gather::Gather;
use crate::handle::Conditions;
use crate::ignored::IgnoreRules;
use crate::ports::cache_entries::{Content, ContentWanted};
use crate::ports::metadata::{FileChange, Recorded as Told};
use crate::ports::runtime::blocking;
use crate::ports::state::{JournalEntry, StateChange, StateError, StateErrorKind};
use crate::ports::store::Condition;
use crate::ports::{LocalTree, Ports, StoreCache, TreeErrorKind};

/// Where downloads are written before they are put in place. Purged at start.
pub const TMP: &str = ".gosync/tmp";
/// Contents that were taken out of their place and are not yet known to be at rest. Never purged unverified.
pub const DISPLACED: &str = ".gosync/displaced";
pub const TRASH: &str = ".gosync/trash";
pub const MARKER: &str = ".gosync/marker";
/// What the row of this tree's replica may hold by its agent's doing, where agents share their metadata.
pub const BEAT: &str = ".gosync/beat";
/// The mirror's own folder in its root.
pub const OWN: &str = ".gosync";

#[derive(Clone)]
pub struct Context {
    pub config: Arc<MirrorConfig>,
    pub ports: Ports,
    pub shared: Arc<Shared>,
}

/// Set once at start, or guarded; never held over an await.
pub struct Shared {
    /// Contents and names that are to be durable.
    pub syncs: Gather<Vec<Target>, Result<Result<(), TreeErrorKind>, Killed>>,
    /// What is told to metadata that others share.
    pub tellings: Gather<Vec<FileChange>, Result<Told, StateError>>,
    /// What is asked of the cache, claimed there and filled.
    pub contents: Gather<ContentWanted, Option<Content>>,
    pub claims: Gather<(ContentWanted, String), bool>,
    pub fills: Gather<(ContentWanted, Content), ()>,
    /// Requests for small contents at once.
    small: Budget,
    /// Parts of large files on their way up at once, all files together.
    pub parts: Semaphore,
    /// And ranges on their way down.
    pub ranges: Semaphore,
    /// A walk tells the folders, too.
    pub keep_folders: bool,
    pub ignore: Mutex<IgnoreRules>,
    /// Held while a folder's rules are read, so that an older look never undoes a newer one.
    pub loading_rules: Mutex<()>,
    pub identity: Mutex<Identity>,
    recorded: Mutex<Recorded>,
    displaced: Mutex<Vec<JournalEntry>>,
    /// Uploads that were under way when the last run ended.
    recovered: Mutex<BTreeSet<Nonce>>,
    /// What was lately kept of an object that the local file is to replace, by its path and ETag: where it went.
    kept: Mutex<BTreeMap<(RelPath, String), Option<RelPath>>>,
    /// The first run is over: what is new from now on may be something old under a new name.
    hydrated: AtomicBool,
    /// Where contents were lately copied to in the bucket, by where they came from.
    copied: Mutex<BTreeMap<RelPath, RelPath>>,
    /// Where contents went that were lately moved to the trash.
    trashed: Mutex<Trashed>,
    /// What the others are still to be told, by key: the metadata were away.
    untold: Mutex<BTreeMap<String, FileChange>>,
    metadata_is_away: AtomicBool,
    /// Names that an operation is about to give and may take back: nobody looks at them meanwhile.
    reserved: Mutex<BTreeSet<RelPath>>,
}

/// Contents in the trash that are remembered by what the bucket called them. Each takes about 200 bytes.
const TRASHED_MAX: usize = 20_000;

/// Objects that were kept for a replacement that has not come yet.
const KEPT_MAX: usize = 1_000;

/// Copies in the bucket that are remembered until their source goes.
const COPIED_MAX: usize = 20_000;

#[derive(Default)]
struct Trashed {
    /// By ETag and size.
    places: HashMap<(String, u64), (String, Fingerprint)>,
    /// The oldest first.
    order: VecDeque<(String, u64)>,
}

/// A reserved name; dropping it gives it free.
pub struct Reserved {
    shared: Arc<Shared>,
    path: RelPath,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        lock(&self.shared.reserved).remove(&self.path);
    }
}

impl Shared {
    #[must_use]
    pub fn reserve(self: &Arc<Self>, path: RelPath) -> Reserved {
        lock(&self.reserved).insert(path.clone());
        Reserved { shared: Arc::clone(self), path }
    }

    /// The object's content lies in the trash now: another name of it needs no transfer.
    pub fn remember_trashed(&self, object: &Generation, to: String, file: Fingerprint) {
        let mut trashed = lock(&self.trashed);
        if trashed.order.len() >= TRASHED_MAX
            && let Some(oldest) = trashed.order.pop_front()
        {
            trashed.places.remove(&oldest);
        }
        let key = (object.etag.clone(), object.size);
        trashed.order.push_back(key.clone());
        trashed.places.insert(key, (to, file));
    }

    /// Where such a content lies in the trash, and as what file it went there.
    #[must_use]
    pub fn trashed(&self, etag: &str, size: u64) -> Option<(String, Fingerprint)> {
        lock(&self.trashed).places.get(&(etag.to_owned(), size)).cloned()
    }

    pub fn has_recovered(&self, uploads: impl IntoIterator<Item = Nonce>) {
        *lock(&self.recovered) = uploads.into_iter().collect();
    }

    #[must_use]
    pub fn was_recovered(&self, upload: Nonce) -> bool {
        lock(&self.recovered).contains(&upload)
    }

    /// Where that object was kept by an earlier try: as a conflict copy, or (`None`) in the trash.
    #[must_use]
    pub fn kept(&self, path: &RelPath, etag: &str) -> Option<Option<RelPath>> {
        lock(&self.kept).get(&(path.clone(), etag.to_owned())).cloned()
    }

    pub fn has_kept(&self, path: RelPath, etag: String, copy: Option<RelPath>) {
        let mut kept = lock(&self.kept);
        if kept.len() >= KEPT_MAX {
            // Then it is kept once more, at worst.
            kept.clear();
        }
        kept.insert((path, etag), copy);
    }

    pub fn forget_kept(&self, path: &RelPath, etag: &str) {
        lock(&self.kept).remove(&(path.clone(), etag.to_owned()));
    }

    pub fn remember_copied(&self, from: RelPath, to: RelPath) {
        let mut copied = lock(&self.copied);
        if copied.len() < COPIED_MAX {
            copied.insert(from, to);
        }
    }

    /// Where the bucket had a copy of this made, if lately it had.
    #[must_use]
    pub fn take_copied(&self, from: &RelPath) -> Option<RelPath> {
        lock(&self.copied).remove(from)
    }

    pub fn untold(&self, files: Vec<FileChange>, keys_max: usize) {
        let mut untold = lock(&self.untold);
        for file in files {
            if untold.len() < keys_max || untold.contains_key(file.key()) {
                untold.insert(file.key().to_owned(), file);
            }
        }
    }

    #[must_use]
    pub fn take_untold(&self) -> Vec<FileChange> {
        std::mem::take(&mut *lock(&self.untold)).into_values().collect()
    }

    #[must_use]
    pub fn metadata_is_away(&self) -> bool {
        self.metadata_is_away.load(Ordering::Relaxed)
    }

    pub fn metadata_answers(&self, answers: bool) {
        self.metadata_is_away.store(!answers, Ordering::Relaxed);
    }

    pub fn is_hydrated(&self) -> bool {
        self.hydrated.load(Ordering::Relaxed)
    }

    pub fn hydrated(&self) {
        self.hydrated.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_reserved(&self, path: &RelPath) -> bool {
        lock(&self.reserved).contains(path)
    }
}

/// Who this replica is, known once the mirror has started.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub replica: String,
    /// What the root's marker says.
    pub volume: String,
    /// Whose copy this tree was found to be, if it is one.
    pub copy_of: Option<CopyOf>,
    /// The row of the store in the metadata; `None` until they have answered for the first time.
    pub store: Option<i64>,
    /// Of that row's feed.
    pub epoch: String,
    pub conditions: Conditions,
    /// The newest sequence number that a record of ours got.
    pub cursor: u64,
    /// How far the feed was read since the start.
    pub read: Option<Position>,
}

/// A replica that this tree was when it was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyOf {
    pub replica: String,
    /// milliseconds since 1970 of this host: when it was found out
    pub since_ms: i64,
}

/// When each path was last recorded, in a count of records: tells a sweep which of its pages are older than a row.
#[derive(Default)]
struct Recorded {
    count: u64,
    /// Sweeps that are under way; a plan makes one of its own.
    sweeps: usize,
    /// The only sweep has handed over everything up to here, so that nobody asks for it any more.
    passed: Option<RelPath>,
    at: BTreeMap<RelPath, u64>,
}

impl Context {
    #[must_use]
    pub fn new(config: MirrorConfig, ports: Ports) -> Self {
        let limits = &config.limits;
        let shared = Shared {
            syncs: Gather::default(),
            tellings: Gather::default(),
            contents: Gather::default(),
            claims: Gather::default(),
            fills: Gather::default(),
            small: Budget::new(limits.small_operations_max, limits.small_operations_far_max),
            parts: Semaphore::new(limits.large_operations_max * 2),
            ranges: Semaphore::new(limits.large_operations_max * 4),
            keep_folders: config.keep_folders,
            ignore: Mutex::new(IgnoreRules::new(&config.ignore)),
            loading_rules: Mutex::new(()),
            identity: Mutex::new(Identity::default()),
            recorded: Mutex::new(Recorded::default()),
            displaced: Mutex::new(Vec::new()),
            recovered: Mutex::default(),
            kept: Mutex::default(),
            hydrated: AtomicBool::new(false),
            copied: Mutex::default(),
            trashed: Mutex::new(Trashed::default()),
            untold: Mutex::new(BTreeMap::new()),
            metadata_is_away: AtomicBool::new(false),
            reserved: Mutex::new(BTreeSet::new()),
        };
        Self { config: Arc::new(config), ports, shared: Arc::new(shared) }
    }

    /// Runs `job` on the local tree, on a thread that may block.
    pub async fn local<T: Send + 'static>(
        &self,
        job: impl FnOnce(&dyn LocalTree) -> T + Send + 'static,
    ) -> Result<T, Killed> {
        let tree = Arc::clone(&self.ports.local);
        blocking(&*self.ports.workers, move || job(&*tree)).await.ok_or(Killed)
    }

    /// Waits until one more small request may be sent.
    pub async fn request(&self) -> Permit<'_> {
        self.shared.small.acquire(&*self.ports.clock).await
    }

    /// What agents that share the metadata keep for each other; `None` where they don't, or can't now.
    #[must_use]
    pub fn store_cache(&self) -> Option<StoreCache> {
        let cache = self.ports.cache.as_ref().filter(|cache| self.config.shared && cache.standing().up)?;
        let identity = lock(&self.shared.identity);
        identity.store.map(|_| StoreCache::new(Arc::clone(cache), &identity.epoch))
    }

    #[must_use]
    pub fn identity(&self) -> Identity {
        lock(&self.shared.identity).clone()
    }

    #[must_use]
    pub fn conditions(&self) -> Conditions {
        lock(&self.shared.identity).conditions
    }

    /// What a request may say to a store that keeps such conditions or doesn't: where they have no effect they do no harm,
    /// unless they are refused.
    #[must_use]
    pub fn sayable(&self, condition: Condition, is_kept: Option<bool>) -> Condition {
        if is_kept == Some(false) && self.conditions().refused { Condition::None } else { condition }
    }

    /// The store doesn't keep every condition, and those who share the metadata can make up for that among them.
    #[must_use]
    pub fn takes_turns(&self) -> bool {
        self.config.shared && self.conditions().is_incomplete()
    }

    #[must_use]
    pub fn is_ignored(&self, path: &RelPath) -> bool {
        lock(&self.shared.ignore).is_ignored(path, false)
    }

    /// The path of a listed key below the prefix; a marker's where folders are kept.
    #[must_use]
    pub fn listed_path(&self, key: &str) -> Option<Result<RelPath, NameProblem>> {
        let prefix = &self.config.prefix;
        if self.config.keep_folders { prefix.path_or_marker(key) } else { prefix.path(key) }
    }

    /// The tag of conflict copies made now.
    #[must_use]
    pub fn conflict_tag(&self) -> ConflictTag {
        let seconds = self.ports.clock.utc_ns().div_euclid(1_000_000_000);
        ConflictTag::new(seconds, &self.config.device, &self.identity().replica)
    }

    #[must_use]
    pub fn utc_ms(&self) -> i64 {
        self.ports.clock.utc_ns().div_euclid(1_000_000)
    }

    /// `YYYY-MM-DD`, for the trash.
    #[must_use]
    pub fn utc_date(&self) -> String {
        let seconds = self.ports.clock.utc_ns().div_euclid(1_000_000_000);
        jiff::Timestamp::from_second(seconds)
            .map_or_else(|_| "1970-01-01".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
    }

    /// Tells the metadata, then writes ancestors and ends journal entries. What a kill in between leaves unwritten is found
    /// to be done by the next look, and told again. Where the metadata can't be told, the rest is written all the same.
    pub async fn record(&self, changes: Vec<StateChange>, files: Vec<FileChange>) -> Result<(), StateError> {
        let touched: Vec<RelPath> = changes
            .iter()
            .filter_map(|change| match change {
                StateChange::PutAncestor(path, _) | StateChange::DropAncestor(path) => Some(path.clone()),
                _ => None,
            })
            .collect();
        let told = feed::tell(self, files).await;
        if matches!(&told, Err(error) if error.kind == StateErrorKind::Killed) {
            return told;
        }
        self.ports.state.apply(changes).await?;
        let mut recorded = lock(&self.shared.recorded);
        recorded.count += 1;
        if recorded.sweeps > 0 {
            let count = recorded.count;
            let Recorded { passed, at, .. } = &mut *recorded;
            at.extend(touched.into_iter().filter(|path| Some(path) > passed.as_ref()).map(|path| (path, count)));
        }
        told
    }

    /// A content was taken out of its place under this entry: it has to be settled later.
    pub fn displaced(&self, entry: JournalEntry) {
        lock(&self.shared.displaced).push(entry);
    }

    #[must_use]
    pub fn take_displaced(&self) -> Vec<JournalEntry> {
        std::mem::take(&mut *lock(&self.shared.displaced))
    }

    /// A sweep begins: from now on records are remembered by path.
    pub fn sweep_begins(&self) {
        let mut recorded = lock(&self.shared.recorded);
        recorded.sweeps += 1;
        recorded.passed = None;
    }

    /// Everything up to `path` is handed over.
    pub fn sweep_passed(&self, path: RelPath) {
        let mut recorded = lock(&self.shared.recorded);
        if recorded.sweeps == 1 {
            recorded.at = recorded.at.split_off(&path);
            recorded.passed = Some(path);
        }
    }

    pub fn sweep_ends(&self) {
        let mut recorded = lock(&self.shared.recorded);
        recorded.sweeps = recorded.sweeps.saturating_sub(1);
        if recorded.sweeps == 0 {
            recorded.at = BTreeMap::new();
        }
    }

    /// What to compare with [`Self::recorded_since`] later.
    #[must_use]
    pub fn record_count(&self) -> u64 {
        lock(&self.shared.recorded).count
    }

    /// The ancestor of `path` was written after `count` was read.
    #[must_use]
    pub fn recorded_since(&self, path: &RelPath, count: u64) -> bool {
        lock(&self.shared.recorded).at.get(path).is_some_and(|at| *at > count)
    }

    /// The ancestor as it stands now.
    pub async fn ancestor(&self, path: &RelPath) -> Result<Option<Ancestor>, StateError> {
        Ok(self.ports.state.ancestors(std::slice::from_ref(path)).await?.pop().flatten())
    }
}

/// The process is going down in the middle of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Killed;

impl From<Killed> for StateError {
    fn from(_: Killed) -> Self {
        Self { kind: StateErrorKind::Killed, what: "the process is going down".to_owned(), source: None }
    }
}

/// A poisoned lock only means that a thread died while it held it; the values here are whole at any moment.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
