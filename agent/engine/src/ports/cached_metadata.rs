//! A metadata store that reads through the cache: reads fill it, writes mark what they changed.
//!
//! What it answers is never older than what this agent knows already: its own writes, and every change of the feed that it
//! has read through here. Beyond that a row may be as old as an entry's time to live, where a mark got lost (the cache was
//! away, or its server lost it); listings are asked for with the sequence that the database has now, so they are exact, but
//! for facts that were filled in later without a change (a checksum that became known).
//!
//! Everything else is passed on as it is: feed, leases and states are the database's alone. A kill between a write and its
//! mark is a lost mark.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::cache::Cache;
use super::cache_entries::{FILL_WITHIN_MS, FeedHead, RowFound, StoreCache};
use super::metadata::{
    ChangeRow, Changes, Cursor, FileChange, FileRow, FilesQuery, MetadataStore, Pruned, Recorded, StoreRow,
    SyncConfigRow, SyncStateRow,
};
use super::state::StateError;

/// Keys whose newest change is remembered; beyond that, only that there were changes.
const KNOWN_MAX: usize = 10_000;

pub struct CachedMetadata {
    inner: Arc<dyn MetadataStore>,
    cache: Arc<dyn Cache>,
    /// Milliseconds that never go back.
    now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    stores: Mutex<HashMap<i64, Known>>,
    opened: Option<Opened>,
}

type Opened = Box<dyn Fn(&StoreCache) -> Kept + Send + Sync>;
/// Whatever has to live as long as the cache of a store is used.
pub type Kept = Box<dyn Any + Send + Sync>;

/// What this agent knows of one store.
struct Known {
    endpoint: String,
    bucket: String,
    epoch: String,
    /// False from a lost cursor until the epoch is read again.
    sure: bool,
    cache: StoreCache,
    /// The newest sequence that was seen.
    head: u64,
    /// Of keys that aren't named below.
    floor: u64,
    /// The newest change of a key.
    changed: HashMap<String, u64>,
    /// Keys that were changed here and that the cache could not be told of.
    unmarked: BTreeSet<String>,
    _kept: Option<Kept>,
}

impl Known {
    fn saw(&mut self, key: &str, sequence: u64) {
        self.head = self.head.max(sequence);
        if self.changed.len() >= KNOWN_MAX && !self.changed.contains_key(key) {
            self.changed.clear();
            self.floor = self.head;
        }
        let newest = self.changed.entry(key.to_owned()).or_default();
        *newest = sequence.max(*newest);
    }

    fn at_least(&self, key: &str) -> u64 {
        self.changed.get(key).copied().unwrap_or_default().max(self.floor)
    }
}

impl CachedMetadata {
    #[must_use]
    pub fn new(
        inner: Arc<dyn MetadataStore>,
        cache: Arc<dyn Cache>,
        now_ms: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self { inner, cache, now_ms: Box::new(now_ms), stores: Mutex::default(), opened: None }
    }

    /// The same, which calls `opened` whenever it begins to use the cache of a store, whose row was asked for here.
    #[must_use]
    pub fn opening(self, opened: impl Fn(&StoreCache) -> Kept + Send + Sync + 'static) -> Self {
        Self { opened: Some(Box::new(opened)), ..self }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Known>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: nobody has asked for this store's row yet, so its epoch isn't known.
    fn with<T>(&self, store: i64, of: impl FnOnce(&mut Known) -> T) -> Option<T> {
        self.lock().get_mut(&store).map(of)
    }

    fn note_store(&self, endpoint: &str, bucket: &str, row: &StoreRow) {
        let mut stores = self.lock();
        let known = stores.get_mut(&row.id).filter(|known| known.epoch == row.epoch);
        if let Some(known) = known {
            known.sure = true;
            known.head = known.head.max(row.head_seq);
            return;
        }
        let cache = StoreCache::new(Arc::clone(&self.cache), &row.epoch);
        let kept = self.opened.as_ref().map(|opened| opened(&cache));
        let known = Known {
            cache,
            endpoint: endpoint.to_owned(),
            bucket: bucket.to_owned(),
            epoch: row.epoch.clone(),
            sure: true,
            head: row.head_seq,
            floor: 0,
            changed: HashMap::new(),
            unmarked: BTreeSet::new(),
            _kept: kept,
        };
        stores.insert(row.id, known);
    }

    /// These are about to be changed: until the cache was told so, they are read from the database.
    fn will_change(&self, store: i64, keys: &[String]) {
        self.with(store, |known| {
            known.unmarked.extend(keys.iter().cloned());
            // A cache that is away for so many has outlived most of its entries when it is back.
            while known.unmarked.len() > KNOWN_MAX {
                known.unmarked.pop_first();
            }
        });
    }

    /// Tells the cache that these were changed, and those that it could not be told of before.
    async fn mark(&self, store: i64, keys: &[String]) {
        let left = self.with(store, |known| {
            known.unmarked.extend(keys.iter().cloned());
            (known.cache.clone(), known.unmarked.iter().cloned().collect::<Vec<_>>())
        });
        let Some((cache, keys)) = left else { return };
        if !keys.is_empty() && cache.rows_changed(&keys).await.is_ok() {
            self.with(store, |known| {
                for key in &keys {
                    known.unmarked.remove(key);
                }
            });
        }
    }

    async fn mark_what_is_left(&self, store: i64) {
        let left = self.with(store, |known| !known.unmarked.is_empty()).unwrap_or_default();
        if left && self.cache.standing().up {
            self.mark(store, &[]).await;
        }
    }

    /// How far the feed is, as the database has it now: with the id of its newest change, since a restored backup counts
    /// anew.
    async fn now(&self, store: i64) -> Result<Option<(StoreCache, FeedHead)>, StateError> {
        let place = self.with(store, |known| (known.endpoint.clone(), known.bucket.clone()));
        let Some((endpoint, bucket)) = place else { return Ok(None) };
        let Some(row) = self.inner.known_store(&endpoint, &bucket).await?.filter(|row| row.id == store) else {
            return Ok(None);
        };
        let newest = self.inner.change(store, row.head_seq).await?;
        self.note_store(&endpoint, &bucket, &row);
        let head = FeedHead { sequence: row.head_seq, row_id: newest.map(|change| change.row_id).unwrap_or_default() };
        Ok(self.with(store, |known| known.cache.clone()).map(|cache| (cache, head)))
    }
}

/// Rows of folders follow from others' and are nobody's own to mark.
fn is_cached(key: &str) -> bool {
    !key.is_empty() && !key.ends_with('/')
}

#[async_trait]
impl MetadataStore for CachedMetadata {
    async fn store(&self, endpoint: &str, bucket: &str) -> Result<StoreRow, StateError> {
        let row = self.inner.store(endpoint, bucket).await?;
        self.note_store(endpoint, bucket, &row);
        Ok(row)
    }

    async fn known_store(&self, endpoint: &str, bucket: &str) -> Result<Option<StoreRow>, StateError> {
        let row = self.inner.known_store(endpoint, bucket).await?;
        if let Some(row) = &row {
            self.note_store(endpoint, bucket, row);
        }
        Ok(row)
    }

    async fn renew_epoch(&self, store: i64, epoch: &str) -> Result<(), StateError> {
        self.with(store, |known| known.sure = false);
        self.inner.renew_epoch(store, epoch).await
    }

    async fn file_by_id(&self, id: i64) -> Result<Option<FileRow>, StateError> {
        self.inner.file_by_id(id).await
    }

    async fn file_by_key(&self, store: i64, key: &str) -> Result<Option<FileRow>, StateError> {
        Ok(self.files_by_key(store, &[key.to_owned()]).await?.pop().flatten())
    }

    async fn files_by_key(&self, store: i64, keys: &[String]) -> Result<Vec<Option<FileRow>>, StateError> {
        self.mark_what_is_left(store).await;
        let asked: Option<(StoreCache, u64, Vec<(&str, u64)>)> = self.with(store, |known| {
            let may = |key: &&String| known.sure && is_cached(key) && !known.unmarked.contains(*key);
            let asked = keys.iter().filter(may).map(|key| (key.as_str(), known.at_least(key)));
            (known.cache.clone(), known.head, asked.collect())
        });
        let up = self.cache.standing().up;
        let Some((cache, head, asked)) = asked.filter(|(_, _, asked)| up && !asked.is_empty()) else {
            return self.inner.files_by_key(store, keys).await;
        };
        let began_ms = (self.now_ms)();
        let cached: BTreeMap<&str, RowFound> =
            asked.iter().map(|(key, _)| *key).zip(cache.rows(&asked).await).collect();
        let missing: Vec<String> =
            keys.iter().filter(|key| !matches!(cached.get(key.as_str()), Some(RowFound::Row(_)))).cloned().collect();
        let mut read: BTreeMap<&str, Option<FileRow>> = BTreeMap::new();
        if !missing.is_empty() {
            read = missing.iter().map(String::as_str).zip(self.inner.files_by_key(store, &missing).await?).collect();
        }
        if (self.now_ms)() < began_ms + FILL_WITHIN_MS {
            let fill: Vec<(String, Option<FileRow>)> = read
                .iter()
                .filter(|(key, _)| matches!(cached.get(*key), Some(RowFound::Miss)))
                .map(|(key, row)| ((*key).to_owned(), row.clone()))
                .collect();
            if !fill.is_empty() {
                // Not kept is read again.
                let _ = cache.fill_rows(head, fill).await;
            }
        }
        let row = |key: &String| match cached.get(key.as_str()) {
            Some(RowFound::Row(row)) => row.as_deref().cloned(),
            _ => read.get(key.as_str()).cloned().flatten(),
        };
        Ok(keys.iter().map(row).collect())
    }

    async fn files(&self, query: FilesQuery) -> Result<Vec<FileRow>, StateError> {
        if !self.cache.standing().up {
            return self.inner.files(query).await;
        }
        let Some((cache, head)) = self.now(query.store).await? else { return self.inner.files(query).await };
        if let Some(rows) = cache.listing(&query, &head).await {
            return Ok(rows);
        }
        let rows = self.inner.files(query.clone()).await?;
        // Only what was the same from before until after belongs to this point of the feed.
        if self.now(query.store).await?.is_some_and(|(_, after)| after == head) {
            // Not kept is listed again.
            let _ = cache.fill_listing(&query, &head, &rows).await;
        }
        Ok(rows)
    }

    async fn totals(&self, store: i64, prefix: &str) -> Result<(u64, u64), StateError> {
        self.inner.totals(store, prefix).await
    }

    async fn record(&self, store: i64, client: &str, changes: Vec<FileChange>) -> Result<Recorded, StateError> {
        let keys: Vec<String> =
            changes.iter().map(FileChange::key).filter(|key| is_cached(key)).map(str::to_owned).collect();
        let any = !changes.is_empty();
        self.will_change(store, &keys);
        let recorded = self.inner.record(store, client, changes).await;
        if let Ok(Recorded { head, .. }) = &recorded {
            self.with(store, |known| {
                known.head = known.head.max(*head);
                keys.iter().for_each(|key| known.saw(key, *head));
            });
        }
        // After a failure too: it may have been written.
        self.mark(store, &keys).await;
        // After the marks: who comes because of it finds no row from before.
        if let (true, Ok(Recorded { head, .. })) = (any, &recorded) {
            self.with(store, |known| known.cache.publish(*head));
        }
        recorded
    }

    async fn changes_since(&self, store: i64, cursor: Option<&Cursor>, limit: usize) -> Result<Changes, StateError> {
        let changes = self.inner.changes_since(store, cursor, limit).await?;
        match &changes {
            Changes::Next { rows, epoch, .. } => {
                self.with(store, |known| {
                    known.sure &= known.epoch == *epoch;
                    rows.iter().for_each(|row| known.saw(&row.s3_key, row.seq));
                });
            }
            // Other tables, perhaps: their epoch has to be asked for again.
            Changes::CursorLost => drop(self.with(store, |known| known.sure = false)),
        }
        Ok(changes)
    }

    async fn change(&self, store: i64, sequence: u64) -> Result<Option<ChangeRow>, StateError> {
        self.inner.change(store, sequence).await
    }

    async fn prune(&self, store: i64, sequence: u64) -> Result<u64, StateError> {
        self.inner.prune(store, sequence).await
    }

    async fn prune_below_cursors(&self, store: i64, silent_ms: u64) -> Result<Pruned, StateError> {
        self.inner.prune_below_cursors(store, silent_ms).await
    }

    async fn prefix_listed(&self, store: i64, prefix: &str) -> Result<Option<u64>, StateError> {
        self.inner.prefix_listed(store, prefix).await
    }

    async fn set_prefix_listed(&self, store: i64, prefix: &str, sequence: u64) -> Result<(), StateError> {
        self.inner.set_prefix_listed(store, prefix, sequence).await
    }

    async fn sync_state(&self, client: &str, store: i64, prefix: &str) -> Result<Option<SyncStateRow>, StateError> {
        self.inner.sync_state(client, store, prefix).await
    }

    async fn put_sync_state(&self, row: &SyncStateRow) -> Result<(), StateError> {
        self.inner.put_sync_state(row).await
    }

    async fn drop_sync_state(&self, client: &str) -> Result<(), StateError> {
        self.inner.drop_sync_state(client).await
    }

    async fn beat(&self, row: &SyncStateRow, from: &[String], to: &str) -> Result<String, StateError> {
        self.inner.beat(row, from, to).await
    }

    async fn announce_deletes(
        &self,
        row: &SyncStateRow,
        deletes: u64,
        within_ms: u64,
    ) -> Result<BTreeMap<String, u64>, StateError> {
        self.inner.announce_deletes(row, deletes, within_ms).await
    }

    async fn sync_configs(&self) -> Result<Vec<SyncConfigRow>, StateError> {
        self.inner.sync_configs().await
    }

    async fn sync_config(&self, name: &str, client: &str) -> Result<Option<SyncConfigRow>, StateError> {
        self.inner.sync_config(name, client).await
    }

    async fn put_sync_config(&self, row: &SyncConfigRow) -> Result<(), StateError> {
        self.inner.put_sync_config(row).await
    }

    async fn drop_sync_config(&self, name: &str, client: &str) -> Result<(), StateError> {
        self.inner.drop_sync_config(name, client).await
    }

    async fn lease(&self, name: &str, holder: &str, milliseconds: u64) -> Result<Option<u64>, StateError> {
        self.inner.lease(name, holder, milliseconds).await
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), StateError> {
        self.inner.release(name, holder).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
