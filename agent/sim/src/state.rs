//! A replica's state and metadata as the engine sees them: transactions that take a little time, fail, or are the
//! process's last.

use std::collections::BTreeMap;

use async_trait::async_trait;
use gosync_engine::planted::{self, Planted};
use gosync_engine::ports::metadata::{
    ChangeRow, Changes, Cursor, FileChange, FilesQuery, Pruned, Recorded, StoreRow, SyncConfigRow, SyncStateRow,
};
use gosync_engine::ports::state::{HaltRow, StateErrorKind, UploadRow};
use gosync_engine::ports::{FileRow, JournalEntry, MetadataStore, ReplicaState, StateChange, StateError};
use gosync_plan::{Ancestor, ContentHash, RelPath};

use crate::feed::Feed;
use crate::rows::Rows;
use crate::runtime::Port;
use crate::world::{Who, World};

/// Who tells what nobody of the fleet did: whoever lists the bucket.
const OUTSIDE: &str = "outside";

pub struct SimState(pub Port);

pub struct SimMetadata(pub Port);

impl Port {
    /// One transaction.
    async fn transaction<T>(
        &self,
        name: &str,
        effect: bool,
        act: impl FnOnce(&mut World) -> T,
    ) -> Result<T, StateError> {
        let failed = |kind| Err(StateError { kind, what: name.to_owned(), source: None });
        self.pause(10, 1_000).await;
        let answer = {
            let world = &mut *self.lock();
            if !self.alive(world) {
                return failed(StateErrorKind::Killed);
            }
            let die_before = world.dice.chance(0.5);
            if die_before && world.kill_is_due(self.replica, effect) {
                return failed(StateErrorKind::Killed);
            }
            if !world.quiet && effect && world.dice.chance(world.profile.disk_faults) {
                world.stats.faults += 1;
                world.tell(Who::Agent(self.replica), || format!("{name}: fails"));
                return failed(StateErrorKind::Unavailable);
            }
            let answer = act(world);
            if !die_before && world.kill_is_due(self.replica, effect) {
                return failed(StateErrorKind::Killed);
            }
            answer
        };
        self.pause(10, 500).await;
        Ok(answer)
    }

    async fn rows<T>(&self, name: &str, act: impl FnOnce(&Rows) -> T) -> Result<T, StateError> {
        self.transaction(name, false, |world| act(&world.replicas[self.replica].rows)).await
    }

    async fn feed<T>(&self, name: &str, effect: bool, act: impl FnOnce(&mut Feed) -> T) -> Result<T, StateError> {
        self.metadata(name, effect, |world| act(world.feed_of(self.replica))).await
    }

    /// One transaction of the metadata: the replica's own, or those of a server that it shares with others.
    async fn metadata<T>(&self, name: &str, effect: bool, act: impl FnOnce(&mut World) -> T) -> Result<T, StateError> {
        if self.lock().fleet.is_none() {
            return self.transaction(name, effect, act).await;
        }
        let failed = |kind| Err(StateError { kind, what: name.to_owned(), source: None });
        self.pause(100, 2_000).await;
        let answer = {
            let world = &mut *self.lock();
            if !self.alive(world) {
                return failed(StateErrorKind::Killed);
            }
            let die_before = world.dice.chance(0.5);
            if die_before && world.kill_is_due(self.replica, effect) {
                return failed(StateErrorKind::Killed);
            }
            if world.metadata_call_fails(self.replica) {
                world.stats.faults += 1;
                world.tell(Who::Agent(self.replica), || format!("{name}: fails"));
                return failed(StateErrorKind::Unavailable);
            }
            let answer = act(world);
            if !die_before && world.kill_is_due(self.replica, effect) {
                return failed(StateErrorKind::Killed);
            }
            if world.metadata_reply_is_lost() {
                world.stats.faults += 1;
                world.tell(Who::World, || format!("the reply to {name} of agent-{} is lost", self.replica));
                return failed(StateErrorKind::Unavailable);
            }
            answer
        };
        self.pause(100, 1_000).await;
        Ok(answer)
    }
}

#[async_trait]
impl ReplicaState for SimState {
    async fn ancestors(&self, paths: &[RelPath]) -> Result<Vec<Option<Ancestor>>, StateError> {
        self.0.rows("ancestors", |rows| paths.iter().map(|path| rows.ancestors.get(path).cloned()).collect()).await
    }

    async fn ancestors_after(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Ancestor)>, StateError> {
        self.0.rows("ancestors", |rows| rows.page("", after, limit)).await
    }

    async fn ancestors_below(
        &self,
        folder: &RelPath,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Ancestor)>, StateError> {
        self.0.rows("ancestors", |rows| rows.page(&format!("{folder}/"), after, limit)).await
    }

    async fn ancestor_of_object(&self, etag: &str, size: u64) -> Result<Option<(RelPath, Ancestor)>, StateError> {
        let is_it = |ancestor: &Ancestor| ancestor.generation.etag == etag && ancestor.generation.size == size;
        let find = |rows: &Rows| {
            let found = rows.ancestors.iter().find(|(_, ancestor)| is_it(ancestor));
            found.map(|(path, ancestor)| (path.clone(), ancestor.clone()))
        };
        self.0.rows("ancestors", find).await
    }

    async fn ancestor_of_large_content(
        &self,
        content: ContentHash,
        size: u64,
    ) -> Result<Option<(RelPath, Ancestor)>, StateError> {
        let is_it = |ancestor: &Ancestor| ancestor.content == Some(content) && ancestor.fingerprint.size == size;
        let find = |rows: &Rows| {
            let found = rows.ancestors.iter().find(|(_, ancestor)| is_it(ancestor));
            found.map(|(path, ancestor)| (path.clone(), ancestor.clone()))
        };
        self.0.rows("ancestors", find).await
    }

    async fn open_ancestors(&self) -> Result<Vec<RelPath>, StateError> {
        let open = |rows: &Rows| {
            rows.ancestors.iter().filter(|(_, ancestor)| ancestor.open).map(|(path, _)| path.clone()).collect()
        };
        self.0.rows("open ancestors", open).await
    }

    async fn ancestor_totals(&self) -> Result<(u64, u64), StateError> {
        let total = |rows: &Rows| {
            let files = rows.ancestors.iter().filter(|(path, _)| !path.is_marker());
            let sizes = files.map(|(_, ancestor)| ancestor.fingerprint.size);
            (sizes.clone().count() as u64, sizes.sum())
        };
        self.0.rows("totals", total).await
    }

    async fn journal(&self) -> Result<Vec<JournalEntry>, StateError> {
        self.0.rows("journal", |rows| rows.journal.values().cloned().collect()).await
    }

    async fn uploads(&self) -> Result<Vec<UploadRow>, StateError> {
        self.0.rows("uploads", |rows| rows.uploads.values().cloned().collect()).await
    }

    async fn halts(&self) -> Result<Vec<HaltRow>, StateError> {
        self.0.rows("halts", |rows| rows.halts.values().cloned().collect()).await
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StateError> {
        self.0.rows("note", |rows| rows.notes.get(name).cloned()).await
    }

    async fn apply(&self, changes: Vec<StateChange>) -> Result<(), StateError> {
        let replica = self.0.replica;
        let paths: Vec<RelPath> = changes.iter().filter_map(placed).collect();
        let apply = |world: &mut World| {
            for change in &changes {
                world.tell(Who::Agent(replica), || format!("records {}", in_short(change)));
            }
            world.stats.effects.rows += world.replicas[replica].rows.apply(changes);
        };
        let applied = self.0.transaction("apply", true, apply).await;
        if applied.is_err() {
            self.0.lock().left_unrecorded(replica, |_, path| paths.iter().any(|placed| placed.as_str() == path));
        }
        applied
    }
}

/// Where a content is to be recorded.
fn placed(change: &StateChange) -> Option<RelPath> {
    match change {
        StateChange::PutAncestor(path, _) => Some(path.clone()),
        _ => None,
    }
}

fn in_short(change: &StateChange) -> String {
    match change {
        StateChange::PutAncestor(path, ancestor) => {
            format!("ancestor {path}: {ancestor:?}")
        }
        StateChange::Begin(entry) => format!("begin {:?} {}: {:?}", entry.id, entry.path, entry.kind),
        StateChange::PutNote(name, _) => format!("note {name}"),
        other => format!("{other:?}"),
    }
}

#[async_trait]
impl MetadataStore for SimMetadata {
    async fn store(&self, endpoint: &str, bucket: &str) -> Result<StoreRow, StateError> {
        self.0.feed("store", true, |feed| feed.store(endpoint, bucket)).await
    }

    async fn known_store(&self, endpoint: &str, bucket: &str) -> Result<Option<StoreRow>, StateError> {
        self.0.feed("known store", false, |feed| feed.known_store(endpoint, bucket)).await
    }

    async fn file_by_id(&self, id: i64) -> Result<Option<FileRow>, StateError> {
        self.0.feed("file by id", false, |feed| feed.file_by_id(id)).await
    }

    async fn renew_epoch(&self, store: i64, epoch: &str) -> Result<(), StateError> {
        self.0.feed("renew epoch", true, |feed| feed.renew_epoch(store, epoch)).await
    }

    async fn files_by_key(&self, store: i64, keys: &[String]) -> Result<Vec<Option<FileRow>>, StateError> {
        let keys = keys.to_vec();
        let rows = move |feed: &mut Feed| keys.iter().map(|key| feed.file_by_key(store, key)).collect();
        self.0.feed("files by key", false, rows).await
    }

    async fn file_by_key(&self, store: i64, key: &str) -> Result<Option<FileRow>, StateError> {
        self.0.feed("file by key", false, |feed| feed.file_by_key(store, key)).await
    }

    async fn files(&self, query: FilesQuery) -> Result<Vec<FileRow>, StateError> {
        self.0.feed("files", false, |feed| feed.files(&query)).await
    }

    async fn totals(&self, store: i64, prefix: &str) -> Result<(u64, u64), StateError> {
        self.0.feed("totals", false, |feed| feed.totals(store, prefix)).await
    }

    async fn record(&self, store: i64, client: &str, changes: Vec<FileChange>) -> Result<Recorded, StateError> {
        let replica = self.0.replica;
        let record = |world: &mut World| {
            if client == OUTSIDE {
                world.judge_lister(replica);
            }
            let commit_ms = if planted::is(Planted::SequenceBeforeCommit) { world.dice.between(0, 60) } else { 0 };
            let keys: Vec<String> = changes.iter().map(|change| change.key().to_owned()).collect();
            let feed = world.feed_of(replica);
            if !feed.knows(store) {
                return None;
            }
            let before = feed.head(store);
            let (recorded, written) = feed.record(store, client, changes);
            if commit_ms > 0 {
                feed.commit_later(store, before, commit_ms);
            }
            let head = recorded.head;
            world.tell(Who::Agent(replica), || format!("tells the others {keys:?} as {client}: {before} to {head}"));
            world.stats.effects.rows += written;
            // Where there is a cache, hints come by it.
            if written > 0 && world.fleet.as_ref().is_some_and(|fleet| fleet.cache.is_none()) {
                world.tell_fleet(replica);
            }
            Some(recorded)
        };
        let no_such_store =
            || StateError { kind: StateErrorKind::Unavailable, what: "record".to_owned(), source: None };
        self.0.metadata("record", true, record).await?.ok_or_else(no_such_store)
    }

    async fn changes_since(&self, store: i64, cursor: Option<&Cursor>, limit: usize) -> Result<Changes, StateError> {
        self.0.feed("changes", false, |feed| feed.changes_since(store, cursor, limit)).await
    }

    async fn change(&self, store: i64, sequence: u64) -> Result<Option<ChangeRow>, StateError> {
        self.0.feed("change", false, |feed| feed.change_at(store, sequence)).await
    }

    async fn prune(&self, store: i64, sequence: u64) -> Result<u64, StateError> {
        self.0.feed("prune", true, |feed| feed.prune(store, sequence)).await
    }

    async fn prune_below_cursors(&self, store: i64, silent_ms: u64) -> Result<Pruned, StateError> {
        self.0.feed("prune", true, |feed| feed.prune_below_cursors(store, silent_ms)).await
    }

    async fn prefix_listed(&self, store: i64, prefix: &str) -> Result<Option<u64>, StateError> {
        self.0.feed("prefix", false, |feed| feed.prefix_listed(store, prefix)).await
    }

    async fn set_prefix_listed(&self, store: i64, prefix: &str, sequence: u64) -> Result<(), StateError> {
        let replica = self.0.replica;
        let set = |world: &mut World| {
            world.judge_lister(replica);
            world.feed_of(replica).set_prefix_listed(store, prefix, sequence);
        };
        self.0.metadata("set prefix", true, set).await
    }

    async fn sync_state(&self, client: &str, store: i64, prefix: &str) -> Result<Option<SyncStateRow>, StateError> {
        self.0.feed("sync state", false, |feed| feed.sync_state(client, store, prefix)).await
    }

    async fn put_sync_state(&self, row: &SyncStateRow) -> Result<(), StateError> {
        self.0.feed("put sync state", true, |feed| feed.put_sync_state(row.clone())).await
    }

    async fn drop_sync_state(&self, client: &str) -> Result<(), StateError> {
        self.0.feed("drop sync state", true, |feed| feed.drop_sync_state(client)).await
    }

    async fn beat(&self, row: &SyncStateRow, from: &[String], to: &str) -> Result<String, StateError> {
        self.0.feed("beat", true, |feed| feed.beat(row, from, to)).await
    }

    async fn announce_deletes(
        &self,
        row: &SyncStateRow,
        deletes: u64,
        within_ms: u64,
    ) -> Result<BTreeMap<String, u64>, StateError> {
        self.0.feed("announce deletes", true, |feed| feed.announce_deletes(row, deletes, within_ms)).await
    }

    async fn sync_configs(&self) -> Result<Vec<SyncConfigRow>, StateError> {
        self.0.feed("configs", false, |feed| feed.sync_configs()).await
    }

    async fn sync_config(&self, name: &str, client: &str) -> Result<Option<SyncConfigRow>, StateError> {
        self.0.feed("config", false, |feed| feed.sync_config(name, client)).await
    }

    async fn put_sync_config(&self, row: &SyncConfigRow) -> Result<(), StateError> {
        self.0.feed("put config", true, |feed| feed.put_sync_config(row.clone())).await
    }

    async fn drop_sync_config(&self, name: &str, client: &str) -> Result<(), StateError> {
        self.0.feed("drop config", true, |feed| feed.drop_sync_config(name, client)).await
    }

    async fn lease(&self, name: &str, holder: &str, milliseconds: u64) -> Result<Option<u64>, StateError> {
        let replica = self.0.replica;
        let take = |world: &mut World| {
            let fence = world.feed_of(replica).lease(name, holder, milliseconds);
            if fence.is_some() {
                world.lease_is_granted(replica, name, holder);
            }
            world.tell(Who::Agent(replica), || format!("asks for the lease {name:?}: {fence:?}"));
            fence
        };
        self.0.metadata("lease", true, take).await
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), StateError> {
        self.0.feed("release", true, |feed| feed.release(name, holder)).await
    }

    async fn close(&self) {}
}
