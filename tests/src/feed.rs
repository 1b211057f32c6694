//! The feed in a real Postgres under everything that can happen to it: eight writers and five readers, with pruning,
//! connections, writers and the server killed, a backup restored and the tables made anew in between.
//!
//! Each reader must have each change once, in one order (R17, R18), and where the feed is lost to it, it compares everything
//! and goes on from there. In the end all know the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gosync_engine::ports::MetadataStore as _;
use gosync_engine::ports::metadata::{
    ChangeRow, ChangeType, Changes, Cursor, Expected, FileChange, FilesQuery, SyncStateRow,
};
use gosync_engine::ports::state::StateError;
use gosync_metadata::{PostgresMetadata, PostgresOptions};
use gosync_plan::Generation;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::postgres::{Database, Postgres};
use crate::wait;

const WRITERS: u64 = 8;
const READERS: u64 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// An object of one byte.
pub fn put(key: impl Into<String>, etag: &str) -> FileChange {
    FileChange::Put {
        key: key.into(),
        expects: Expected::Any,
        generation: Generation { etag: etag.into(), size: 1, version_id: None, last_modified: None },
        content: None,
        modified_ns: None,
        mode: None,
        mime_type: None,
    }
}

fn delete(key: String, etag: String) -> FileChange {
    let held = Generation { etag, size: 1, version_id: None, last_modified: None };
    FileChange::Delete { key, expects: Expected::Object(Some(held)), moved_to: None }
}

/// Opened again for as long as the server is away, as an agent does.
async fn open(database: &Database) -> PostgresMetadata {
    let options = PostgresOptions { announce: true, ..database.settings() };
    let opened = async {
        loop {
            match PostgresMetadata::open(options.clone()).await {
                Ok(metadata) => return metadata,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    tokio::time::timeout(wait::PATIENCE, opened).await.expect("the metadata opens")
}

/// What all share.
struct World {
    database: Database,
    working: AtomicBool,
    /// Writers have ended: what is there now is all.
    complete: AtomicBool,
    /// Batches that writers were told are recorded.
    batches: AtomicU64,
}

impl World {
    fn works(&self) -> bool {
        self.working.load(Ordering::Relaxed)
    }
}

/// Writes batches under keys of its own and under a few that all write, until the work ends. Whatever fails is tried again
/// with the store's number asked for anew.
async fn write(world: Arc<World>, writer: u64, life: u64) {
    let metadata = open(&world.database).await;
    let mut dice = SmallRng::seed_from_u64(writer << 32 | life);
    let mut number = 0;
    while world.works() {
        tokio::time::sleep(PAUSE).await;
        let Ok(store) = metadata.store("endpoint", "bucket").await else { continue };
        for _ in 0..20 {
            number += 1;
            let etag = format!("{writer}.{life}.{number}");
            let mut batch: Vec<_> =
                (0..dice.random_range(1..20)).map(|file| put(format!("own/{writer}/{file}"), &etag)).collect();
            batch.push(put(format!("shared/{}", dice.random_range(0..5)), &etag));
            if dice.random_ratio(1, 4) {
                batch.push(delete(format!("own/{writer}/0"), etag));
            }
            match metadata.record(store.id, &format!("writer-{writer}"), batch).await {
                Ok(_) => world.batches.fetch_add(1, Ordering::Relaxed),
                Err(_) => break,
            };
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A stretch of the feed that was read without a gap.
#[derive(Default)]
struct Stretch {
    epoch: String,
    rows: Vec<ChangeRow>,
    /// Where it began: what stood at the comparison that began it.
    after: u64,
}

/// What one reader has seen: its stretches, and what it makes of them: key to ETag.
#[derive(Default)]
struct Seen {
    stretches: Vec<Stretch>,
    view: BTreeMap<String, String>,
}

impl Seen {
    fn apply(&mut self, row: ChangeRow) {
        match row.change_type {
            ChangeType::Delete | ChangeType::Rename => self.view.remove(&row.s3_key),
            ChangeType::Create | ChangeType::Update => self.view.insert(row.s3_key.clone(), row.etag.clone()),
        };
        self.stretches.last_mut().unwrap().rows.push(row);
    }

    /// A full comparison: everything as it is at one moment, and the feed's newest row of that moment.
    async fn compare(&mut self, metadata: &PostgresMetadata, reader: u64) -> Result<Option<Place>, StateError> {
        let store = metadata.store("endpoint", "bucket").await?;
        let query = FilesQuery { store: store.id, deleted: true, limit: 100_000, ..FilesQuery::default() };
        let files = metadata.files(query).await?;
        let newest = files.iter().map(|row| row.seq).max().unwrap_or_default();
        let head = metadata.change(store.id, newest).await?;
        // A backup may have come in between.
        let stands = |change: &ChangeRow| files.iter().any(|row| row.seq == newest && row.s3_key == change.s3_key);
        if !head.as_ref().map_or(newest == 0, stands) {
            return Ok(None);
        }
        let cursor = head.map(|head| Cursor { sequence: head.seq, row_id: head.row_id });
        let place = Place { store: store.id, epoch: store.epoch, cursor };
        // From here on nothing is pruned that this reader needs; until here it may have been.
        metadata.put_sync_state(&place.state(reader)).await?;
        if !matches!(metadata.changes_since(place.store, place.cursor.as_ref(), 1).await?, Changes::Next { .. }) {
            return Ok(None);
        }
        self.view = files.into_iter().filter(|row| row.holds_object()).map(|row| (row.s3_key, row.etag)).collect();
        self.stretches.push(Stretch { epoch: place.epoch.clone(), after: newest, rows: Vec::new() });
        Ok(Some(place))
    }
}

/// How far a reader has come.
#[derive(Clone)]
struct Place {
    store: i64,
    epoch: String,
    cursor: Option<Cursor>,
}

impl Place {
    fn state(&self, reader: u64) -> SyncStateRow {
        SyncStateRow {
            client_id: format!("reader-{reader}"),
            store_id: self.store,
            prefix: String::new(),
            last_sync_ms: None,
            cursor: self.cursor.clone(),
            epoch: self.epoch.clone(),
            device_name: "reader".into(),
            platform: "linux".into(),
            agent_version: "0".into(),
            status: "active".into(),
        }
    }
}

/// Reads until the work has ended and nothing is left to read.
async fn read(world: Arc<World>, reader: u64) -> Seen {
    let metadata = open(&world.database).await;
    let mut hints = metadata.listen();
    let mut seen = Seen::default();
    let mut place: Option<Place> = None;
    loop {
        let ending = world.complete.load(Ordering::Relaxed);
        let Some(at) = &mut place else {
            place = seen.compare(&metadata, reader).await.unwrap_or_default();
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        match metadata.changes_since(at.store, at.cursor.as_ref(), 50).await {
            Ok(Changes::Next { rows, .. }) if rows.is_empty() && ending => return seen,
            Ok(Changes::Next { rows, .. }) if rows.is_empty() => {
                let _ = tokio::time::timeout(PAUSE, hints.recv()).await;
            }
            Ok(Changes::Next { rows, cursor, .. }) => {
                rows.into_iter().for_each(|row| seen.apply(row));
                at.cursor = cursor;
                // A state that couldn't be told only keeps more of the feed.
                let _ = metadata.put_sync_state(&at.state(reader)).await;
            }
            Ok(Changes::CursorLost) => place = None,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Numbers of each stretch have no gap, and no two readers have seen different rows under one number, but for rows that a
/// restored backup has taken back. Returns how many rows were compared.
fn assert_one_order(all: &[Seen]) -> usize {
    let mut by_row: HashMap<(&str, &str), (usize, &ChangeRow)> = HashMap::new();
    let mut compared = 0;
    for (reader, seen) in all.iter().enumerate() {
        let mut own: HashMap<(&str, &str), u64> = HashMap::new();
        for stretch in &seen.stretches {
            for (row, wanted) in stretch.rows.iter().zip(stretch.after + 1..) {
                assert_eq!(row.seq, wanted, "reader {reader}: a gap");
                let id = (stretch.epoch.as_str(), row.row_id.as_str());
                assert_eq!(own.insert(id, row.seq), None, "reader {reader} has a change twice: {row:?}");
                let (other, first) = by_row.entry(id).or_insert((reader, row));
                assert_eq!(*first, row, "readers {other} and {reader} disagree");
                compared += 1;
            }
        }
    }
    compared
}

/// Lets them work that long, at least until everything has happened twice, and stops the process at the first reader that
/// missed something. Returns what happened, for people.
pub async fn storm(work: Duration) -> String {
    let mut server = Postgres::start(&[]).await;
    let database = server.database().await;
    let admin = open(&database).await;
    admin.store("endpoint", "bucket").await.unwrap();
    let world = Arc::new(World {
        database: database.clone(),
        working: AtomicBool::new(true),
        complete: AtomicBool::new(false),
        batches: AtomicU64::new(0),
    });
    let readers: Vec<_> = (0..READERS).map(|reader| tokio::spawn(read(Arc::clone(&world), reader))).collect();
    let mut writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(Arc::clone(&world), writer, 0))).collect();

    let mut dice = SmallRng::seed_from_u64(7);
    let (started, mut life, mut step) = (Instant::now(), 0, 0);
    let mut done: BTreeMap<&str, u64> = BTreeMap::new();
    while started.elapsed() < work || step < 16 {
        let before = world.batches.load(Ordering::Relaxed);
        step += 1;
        let what = match step % 8 {
            1 | 5 => {
                // Connections end in the middle of whatever they do.
                let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE application_name = 'gosync' AND random() < 0.5";
                database.execute(end).await;
                "connections ended"
            }
            2 => {
                // A writer is killed in the middle of whatever it does, and comes back.
                life += 1;
                let writer = dice.random_range(0..WRITERS);
                let place = &mut writers[usize::try_from(writer).unwrap()];
                place.abort();
                *place = tokio::spawn(write(Arc::clone(&world), writer, life));
                "a writer killed"
            }
            3 | 7 => {
                let store = wait::until("the store", async || admin.store("endpoint", "bucket").await).await;
                let pruned = admin.prune_below_cursors(store.id, 3_600_000).await;
                if pruned.is_ok_and(|pruned| pruned.changes > 0) { "pruned" } else { "nothing pruned" }
            }
            4 if step == 4 => {
                server.back_up(&database).await;
                "backed up"
            }
            4 => {
                server.restore(&database).await;
                "restored"
            }
            6 if step == 6 => {
                server.kill();
                server.restart().await;
                "the server killed"
            }
            6 => {
                // The tables are made anew: another epoch.
                let drop = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
                wait::until("the tables are dropped", async || database.try_execute(drop).await).await;
                wait::until("the tables are there again", async || PostgresMetadata::open(database.settings()).await)
                    .await;
                server.back_up(&database).await;
                "made anew"
            }
            _ => "nothing",
        };
        *done.entry(what).or_default() += 1;
        wait::until("writers go on", async || {
            let after = world.batches.load(Ordering::Relaxed);
            wait::hold(after >= before + 10, format!("{} batches after: {what}", after - before))
        })
        .await;
    }
    world.working.store(false, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    world.complete.store(true, Ordering::Relaxed);
    let all: Vec<Seen> = join_all(readers).await.into_iter().map(Result::unwrap).collect();
    assert!(done.contains_key("pruned") && done.contains_key("restored") && done.contains_key("made anew"), "{done:?}");

    let compared = assert_one_order(&all);
    let store = admin.store("endpoint", "bucket").await.unwrap();
    let query = FilesQuery { store: store.id, limit: 100_000, ..FilesQuery::default() };
    let files: BTreeMap<_, _> = admin
        .files(query)
        .await
        .unwrap()
        .into_iter()
        .filter(|row| row.holds_object())
        .map(|row| (row.s3_key, row.etag))
        .collect();
    // Lost by what takes rows back, and by nothing else: pruning and dead connections cost nobody the feed.
    let losses = done.get("restored").copied().unwrap_or_default() + done.get("made anew").copied().unwrap_or_default();
    for (reader, seen) in all.iter().enumerate() {
        assert_eq!(seen.view, files, "reader {reader}");
        assert!(
            seen.stretches.len() as u64 <= 1 + losses,
            "reader {reader} lost the feed {} times in {done:?}",
            seen.stretches.len() - 1
        );
    }
    format!("{compared} rows read, {} batches written, {done:?}", world.batches.load(Ordering::Relaxed))
}
