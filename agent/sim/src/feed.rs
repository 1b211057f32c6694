//! The metadata of a store, in memory: files, their feed, states of replicas, configurations, leases.

use std::collections::BTreeMap;

use gosync_engine::planted::{self, Planted};
use gosync_engine::ports::FileRow;
use gosync_engine::ports::metadata::{
    ChangeRow, ChangeType, Changes, Cursor, FileChange, FilesQuery, Pruned, Recorded, Refused, StoreRow, SyncConfigRow,
    SyncStateRow,
};
use gosync_plan::Generation;

use crate::dice::Dice;

#[derive(Clone)]
pub struct Feed {
    /// Makes row ids that no other feed has.
    token: u64,
    /// Numbers of stores are those of these tables alone.
    first_store: i64,
    /// Planted: changes that have their numbers and are not committed, and until when.
    uncommitted: Vec<(u64, i64)>,
    /// Milliseconds since 1970; set before each call.
    pub clock_ms: i64,
    stores: Vec<Store>,
    next_file: i64,
    /// And when each was put.
    states: BTreeMap<(String, i64, String), (SyncStateRow, i64)>,
    /// Of the rows of `states`.
    beats: BTreeMap<(String, i64, String), String>,
    /// And of their deletes: how many, and when that was told.
    deletes: BTreeMap<(String, i64, String), (u64, i64)>,
    configs: BTreeMap<(String, String), SyncConfigRow>,
    leases: BTreeMap<String, (String, i64, u64)>,
}

#[derive(Clone)]
struct Store {
    endpoint: String,
    bucket: String,
    row: StoreRow,
    /// Whether a file or a folder's own object stands behind the row: (row, is an object).
    files: BTreeMap<String, FileRow>,
    changes: BTreeMap<u64, ChangeRow>,
    prefixes: BTreeMap<String, u64>,
}

impl Feed {
    pub fn new(dice: &mut Dice) -> Self {
        let token = u64::from_le_bytes(dice.bytes());
        Self {
            token,
            first_store: i64::try_from(token % 1_000).unwrap_or_default(),
            uncommitted: Vec::new(),
            clock_ms: 0,
            stores: Vec::new(),
            next_file: 1,
            states: BTreeMap::new(),
            beats: BTreeMap::new(),
            deletes: BTreeMap::new(),
            configs: BTreeMap::new(),
            leases: BTreeMap::new(),
        }
    }

    pub fn store(&mut self, endpoint: &str, bucket: &str) -> StoreRow {
        if let Some(row) = self.known_store(endpoint, bucket) {
            return row;
        }
        let id = self.first_store + i64::try_from(self.stores.len()).unwrap_or_default();
        let row = StoreRow { id, epoch: format!("{:x}-{id}", self.token), head_seq: 0, pruned_seq: 0 };
        self.stores.push(Store {
            endpoint: endpoint.to_owned(),
            bucket: bucket.to_owned(),
            row: row.clone(),
            files: BTreeMap::new(),
            changes: BTreeMap::new(),
            prefixes: BTreeMap::new(),
        });
        row
    }

    pub fn renew_epoch(&mut self, store: i64, epoch: &str) {
        let token = self.token;
        if let Some(store) = self.at_mut(store).filter(|store| store.row.epoch == epoch) {
            store.row.epoch = format!("{token:x}-{}-{}", store.row.id, store.row.head_seq);
            store.prefixes.clear();
        }
    }

    /// A backup was restored: what is recorded from now on was never there before.
    pub fn is_restored(&mut self, dice: &mut Dice) {
        self.token = u64::from_le_bytes(dice.bytes());
    }

    /// Somebody drops change rows up to here, whoever has read them.
    pub fn prune_all(&mut self, dice: &mut Dice) {
        for index in 0..self.stores.len() {
            let row = &self.stores[index].row;
            let (store, below) = (row.id, dice.between(row.pruned_seq, row.head_seq));
            self.prune(store, below);
        }
    }

    /// Planted: what was recorded after `head` gets through to readers only in a while.
    pub fn commit_later(&mut self, store: i64, head: u64, milliseconds: u64) {
        let until_ms = self.clock_ms + i64::try_from(milliseconds).unwrap_or_default();
        let now = self.head(store);
        self.uncommitted.extend((head + 1..=now).map(|sequence| (sequence, until_ms)));
    }

    /// Tables that were made anew have other stores.
    pub fn knows(&self, store: i64) -> bool {
        self.at(store).is_some()
    }

    pub fn head(&self, store: i64) -> u64 {
        self.at(store).map_or(0, |store| store.row.head_seq)
    }

    fn is_committed(&self, sequence: u64) -> bool {
        !self.uncommitted.iter().any(|(of, until_ms)| *of == sequence && self.clock_ms < *until_ms)
    }

    pub fn known_store(&self, endpoint: &str, bucket: &str) -> Option<StoreRow> {
        let mut stores = self.stores.iter();
        stores.find(|store| store.endpoint == endpoint && store.bucket == bucket).map(|store| store.row.clone())
    }

    fn at(&self, store: i64) -> Option<&Store> {
        self.stores.get(usize::try_from(store - self.first_store).ok()?)
    }

    fn at_mut(&mut self, store: i64) -> Option<&mut Store> {
        self.stores.get_mut(usize::try_from(store - self.first_store).ok()?)
    }

    pub fn file_by_id(&self, id: i64) -> Option<FileRow> {
        self.stores.iter().flat_map(|store| store.files.values()).find(|row| row.id == id).cloned()
    }

    pub fn file_by_key(&self, store: i64, key: &str) -> Option<FileRow> {
        self.at(store)?.files.get(key).cloned()
    }

    pub fn files(&self, query: &FilesQuery) -> Vec<FileRow> {
        let Some(store) = self.at(query.store) else { return Vec::new() };
        store
            .files
            .iter()
            .filter(|(key, row)| key.starts_with(&query.prefix) && (query.deleted || !row.is_deleted))
            .filter(|(key, _)| query.after.as_ref().is_none_or(|after| *key > after))
            .map(|(_, row)| row.clone())
            .take(query.limit)
            .collect()
    }

    pub fn totals(&self, store: i64, prefix: &str) -> (u64, u64) {
        let Some(store) = self.at(store) else { return (0, 0) };
        let files =
            store.files.iter().filter(|(key, row)| key.starts_with(prefix) && !row.is_deleted && !row.is_directory);
        files.fold((0, 0), |(files, bytes), (_, row)| (files + 1, bytes + row.size))
    }

    /// Returns what was recorded, and how many rows of files and changes were written.
    pub fn record(&mut self, store: i64, client: &str, mut changes: Vec<FileChange>) -> (Recorded, u64) {
        changes.sort_by(|a, b| a.key().cmp(b.key()));
        let (mut written, mut refused) = (0, Vec::new());
        for change in changes {
            let known = self.file_by_key(store, change.key());
            if !change.is_known(known.as_ref()) && !change.expects().is_met(known.as_ref()) {
                refused.push(Refused { key: change.key().to_owned(), row: known });
                continue;
            }
            written += match change {
                FileChange::Put { key, expects: _, generation, content, modified_ns, mode, mime_type } => {
                    let news = FileRow {
                        checksum: content,
                        modified_ns,
                        mode,
                        mime_type,
                        ..self.blank(store, &key, &generation, client)
                    };
                    self.put(store, news)
                }
                FileChange::Delete { key, expects: _, moved_to } => self.delete(store, client, &key, moved_to),
            };
        }
        (Recorded { head: self.head(store), refused }, written)
    }

    fn blank(&self, store: i64, key: &str, generation: &Generation, client: &str) -> FileRow {
        FileRow {
            id: 0,
            store_id: store,
            path: format!("/{key}"),
            s3_key: key.to_owned(),
            size: generation.size,
            modified_ns: None,
            created_ms: self.clock_ms,
            etag: generation.etag.clone(),
            version_id: generation.version_id.clone(),
            last_modified: generation.last_modified.clone(),
            checksum: None,
            mime_type: None,
            mode: None,
            is_directory: key.ends_with('/'),
            parent_id: None,
            version: 1,
            is_deleted: false,
            deleted_ms: None,
            seq: 0,
            updated_by: client.to_owned(),
        }
    }

    fn put(&mut self, store: i64, mut news: FileRow) -> u64 {
        let known = self.file_by_key(store, &news.s3_key);
        if let Some(known) =
            known.as_ref().filter(|known| known.holds_object() && known.generation().same(&news.generation()))
        {
            return u64::from(self.fill_in(known.clone(), &news));
        }
        news.parent_id = self.parent(store, &news.s3_key, &news.updated_by);
        let change_type = match &known {
            Some(known) if known.holds_object() => ChangeType::Update,
            _ => ChangeType::Create,
        };
        match &known {
            Some(known) => {
                news.id = known.id;
                news.created_ms = known.created_ms;
                news.version = known.version + 1;
            }
            None => news.id = self.new_id(),
        }
        let old_path = (change_type == ChangeType::Update).then(|| news.path.clone());
        let new_path = Some(news.path.clone());
        self.change(news, change_type, old_path, new_path);
        2
    }

    /// What a closer look told of a version that is known already.
    fn fill_in(&mut self, known: FileRow, seen: &FileRow) -> bool {
        let filled = FileRow {
            version_id: known.version_id.clone().or_else(|| seen.version_id.clone()),
            last_modified: known.last_modified.clone().or_else(|| seen.last_modified.clone()),
            checksum: known.checksum.or(seen.checksum),
            modified_ns: known.modified_ns.or(seen.modified_ns),
            mode: known.mode.or(seen.mode),
            mime_type: known.mime_type.clone().or_else(|| seen.mime_type.clone()),
            ..known.clone()
        };
        let news = filled != known;
        if let (true, Some(store)) = (news, self.at_mut(known.store_id)) {
            store.files.insert(filled.s3_key.clone(), FileRow { version: known.version + 1, ..filled });
        }
        news
    }

    fn delete(&mut self, store: i64, client: &str, key: &str, moved_to: Option<String>) -> u64 {
        let Some(known) = self.file_by_key(store, key).filter(FileRow::holds_object) else { return 0 };
        let old_path = Some(known.path.clone());
        // A folder stays one without its object.
        let gone = !known.is_directory;
        let deleted = FileRow {
            is_deleted: gone,
            deleted_ms: gone.then_some(self.clock_ms),
            version: known.version + 1,
            updated_by: client.to_owned(),
            ..known
        };
        let change_type = if moved_to.is_some() { ChangeType::Rename } else { ChangeType::Delete };
        self.change(deleted, change_type, old_path, moved_to.map(|key| format!("/{key}")));
        2
    }

    fn change(
        &mut self,
        mut row: FileRow,
        change_type: ChangeType,
        old_path: Option<String>,
        new_path: Option<String>,
    ) {
        let (token, changed_ms) = (self.token, self.clock_ms);
        let Some(store) = self.at_mut(row.store_id) else { return };
        store.row.head_seq += 1;
        row.seq = store.row.head_seq;
        let change = ChangeRow {
            seq: row.seq,
            row_id: format!("{token:x}.{}.{}", row.store_id, row.seq),
            file_id: row.id,
            s3_key: row.s3_key.clone(),
            change_type,
            changed_ms,
            client_id: row.updated_by.clone(),
            old_path,
            new_path,
            etag: row.etag.clone(),
            size: row.size,
        };
        store.changes.insert(row.seq, change);
        if row.is_directory && matches!(change_type, ChangeType::Delete | ChangeType::Rename) {
            row =
                FileRow { etag: String::new(), size: 0, checksum: None, version_id: None, last_modified: None, ..row };
        }
        store.files.insert(row.s3_key.clone(), row);
    }

    fn new_id(&mut self) -> i64 {
        self.next_file += 1;
        self.next_file
    }

    /// The row of the folder that holds `key`, made where it is missing.
    fn parent(&mut self, store: i64, key: &str, client: &str) -> Option<i64> {
        let end = key.trim_end_matches('/').rfind('/').filter(|_| !key.is_empty())?;
        let folder = &key[..=end];
        if let Some(row) = self.file_by_key(store, folder) {
            return Some(row.id);
        }
        let nothing = Generation { etag: String::new(), size: 0, version_id: None, last_modified: None };
        let parent_id = self.parent(store, folder, client);
        let row = FileRow { id: self.new_id(), parent_id, ..self.blank(store, folder, &nothing, client) };
        let id = row.id;
        self.at_mut(store)?.files.insert(folder.to_owned(), row);
        Some(id)
    }

    pub fn changes_since(&self, store: i64, cursor: Option<&Cursor>, limit: usize) -> Changes {
        let Some(store) = self.at(store) else { return Changes::CursorLost };
        let from = match cursor {
            None if store.row.pruned_seq > 0 => return Changes::CursorLost,
            None => 0,
            Some(cursor) => match store.changes.get(&cursor.sequence) {
                Some(row) if row.row_id == cursor.row_id => cursor.sequence,
                _ if planted::is(Planted::CursorWithoutRowId) && cursor.sequence >= store.row.pruned_seq => {
                    cursor.sequence
                }
                _ => return Changes::CursorLost,
            },
        };
        let readable = store.changes.range(from + 1..).filter(|(sequence, _)| self.is_committed(**sequence));
        let rows: Vec<ChangeRow> = readable.take(limit).map(|(_, row)| row.clone()).collect();
        let last = rows.last().map(|row| Cursor { sequence: row.seq, row_id: row.row_id.clone() });
        Changes::Next { rows, cursor: last.or_else(|| cursor.cloned()), epoch: store.row.epoch.clone() }
    }

    pub fn prune(&mut self, store: i64, sequence: u64) -> u64 {
        let Some(store) = self.at_mut(store) else { return 0 };
        let newest = store.changes.keys().next_back().copied().unwrap_or_default();
        let below = sequence.min(newest);
        let before = store.changes.len();
        store.changes.retain(|seq, _| *seq >= below);
        let dropped = before - store.changes.len();
        if dropped > 0 {
            store.row.pruned_seq = store.row.pruned_seq.max(below);
        }
        dropped as u64
    }

    pub fn prune_below_cursors(&mut self, store: i64, silent_ms: u64) -> Pruned {
        let Some(epoch) = self.at(store).map(|store| store.row.epoch.clone()) else { return Pruned::default() };
        let silent_since = self.clock_ms.saturating_sub(i64::try_from(silent_ms).unwrap_or(i64::MAX));
        let before = self.states.len();
        self.states.retain(|_, (row, seen_ms)| row.store_id != store || *seen_ms >= silent_since);
        let clients = (before - self.states.len()) as u64;
        let cursors = self.states.values().filter(|(row, _)| row.store_id == store && row.epoch == epoch);
        let read_by_all = cursors.filter_map(|(row, _)| Some(row.cursor.as_ref()?.sequence)).min();
        Pruned { changes: read_by_all.map_or(0, |sequence| self.prune(store, sequence)), clients }
    }

    pub fn change_at(&self, store: i64, sequence: u64) -> Option<ChangeRow> {
        self.at(store)?.changes.get(&sequence).filter(|_| self.is_committed(sequence)).cloned()
    }

    pub fn prefix_listed(&self, store: i64, prefix: &str) -> Option<u64> {
        self.at(store)?.prefixes.get(prefix).copied()
    }

    pub fn set_prefix_listed(&mut self, store: i64, prefix: &str, sequence: u64) {
        if let Some(store) = self.at_mut(store) {
            store.prefixes.insert(prefix.to_owned(), sequence);
        }
    }

    pub fn sync_state(&self, client: &str, store: i64, prefix: &str) -> Option<SyncStateRow> {
        self.states.get(&(client.to_owned(), store, prefix.to_owned())).map(|(row, _)| row.clone())
    }

    pub fn put_sync_state(&mut self, row: SyncStateRow) {
        self.states.insert((row.client_id.clone(), row.store_id, row.prefix.clone()), (row, self.clock_ms));
    }

    pub fn drop_sync_state(&mut self, client: &str) {
        self.states.retain(|(of, ..), _| of != client);
        self.beats.retain(|(of, ..), _| of != client);
        self.deletes.retain(|(of, ..), _| of != client);
    }

    pub fn beat(&mut self, row: &SyncStateRow, from: &[String], to: &str) -> String {
        let key = (row.client_id.clone(), row.store_id, row.prefix.clone());
        if !self.states.contains_key(&key) {
            self.put_sync_state(row.clone());
            self.beats.remove(&key);
        }
        let beat = self.beats.entry(key).or_default();
        if beat.is_empty() || from.contains(beat) {
            to.clone_into(beat);
        }
        beat.clone()
    }

    pub fn announce_deletes(&mut self, row: &SyncStateRow, deletes: u64, within_ms: u64) -> BTreeMap<String, u64> {
        let key = (row.client_id.clone(), row.store_id, row.prefix.clone());
        if !self.states.contains_key(&key) {
            self.put_sync_state(row.clone());
        }
        self.deletes.insert(key, (deletes, self.clock_ms));
        let since = self.clock_ms.saturating_sub(i64::try_from(within_ms).unwrap_or(i64::MAX));
        let others = self.deletes.iter().filter(|((client, store, prefix), (deletes, told_ms))| {
            (*store, prefix) == (row.store_id, &row.prefix)
                && *client != row.client_id
                && *deletes > 0
                && *told_ms > since
        });
        others.map(|((client, ..), (deletes, _))| (client.clone(), *deletes)).collect()
    }

    pub fn sync_configs(&self) -> Vec<SyncConfigRow> {
        self.configs.values().cloned().collect()
    }

    pub fn sync_config(&self, name: &str, client: &str) -> Option<SyncConfigRow> {
        self.configs.get(&(name.to_owned(), client.to_owned())).cloned()
    }

    pub fn put_sync_config(&mut self, row: SyncConfigRow) {
        self.configs.insert((row.name.clone(), row.client_id.clone()), row);
    }

    pub fn drop_sync_config(&mut self, name: &str, client: &str) {
        self.configs.remove(&(name.to_owned(), client.to_owned()));
    }

    pub fn lease(&mut self, name: &str, holder: &str, milliseconds: u64) -> Option<u64> {
        let until = self.clock_ms.saturating_add(i64::try_from(milliseconds).unwrap_or(i64::MAX));
        let fence = match self.leases.get(name) {
            Some((other, end, fence)) if other == holder && *end >= self.clock_ms => *fence,
            Some((other, end, _)) if other != holder && *end > self.clock_ms => return None,
            Some((_, _, fence)) => fence + 1,
            None => 1,
        };
        self.leases.insert(name.to_owned(), (holder.to_owned(), until, fence));
        Some(fence)
    }

    pub fn is_held(&self, name: &str, holder: &str) -> bool {
        self.leases.get(name).is_some_and(|(of, end, _)| of == holder && *end > self.clock_ms)
    }

    pub fn is_taken(&self, name: &str) -> bool {
        self.leases.get(name).is_some_and(|(_, end, _)| *end > self.clock_ms)
    }

    pub fn release(&mut self, name: &str, holder: &str) {
        if let Some((_, end, _)) = self.leases.get_mut(name).filter(|(of, ..)| of == holder) {
            *end = i64::MIN;
        }
    }
}
