//! A metadata store that reads through the cache, over SQLite: the same answers, whatever the cache does.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use gosync_cache::{cached, cached_telling};
use gosync_engine::ports::cache::CacheLimits;
use gosync_engine::ports::cache_memory::MemoryCache;
use gosync_engine::ports::metadata::{Changes, Expected, FileChange, FileRow, FilesQuery, Recorded, StoreRow};
use gosync_engine::ports::{Cache, CachedMetadata, MetadataStore, StoreCache, metadata_conformance};
use gosync_metadata::{JournalMode, PostgresMetadata, SqliteMetadata};
use gosync_plan::Generation;
use gosync_tests::postgres::Postgres;
use gosync_tests::process::Folder;
use gosync_tests::redis::Redis;

use super::{HOUR_MS, config, down, open, up};

fn memory() -> Arc<MemoryCache> {
    Arc::new(MemoryCache::new(CacheLimits { ttl_ms: HOUR_MS, content_bytes_max: 1 << 20 }))
}

async fn sqlite(folder: &Path) -> Arc<SqliteMetadata> {
    Arc::new(SqliteMetadata::open(&folder.join("gosync.db"), JournalMode::Wal).await.unwrap())
}

fn put(key: &str, etag: &str) -> FileChange {
    FileChange::Put {
        key: key.to_owned(),
        expects: Expected::Any,
        generation: Generation { etag: etag.to_owned(), size: 1, version_id: None, last_modified: None },
        content: None,
        modified_ns: None,
        mode: None,
        mime_type: None,
    }
}

/// Several agents on one database and one cache.
struct Agents {
    database: Arc<SqliteMetadata>,
    store: StoreRow,
    agents: Vec<CachedMetadata>,
    _folder: Folder,
}

impl Agents {
    async fn new(cache: &Arc<dyn Cache>, count: usize) -> Self {
        let folder = Folder::new("rows");
        let database = sqlite(folder.path()).await;
        let agents: Vec<_> = (0..count).map(|_| cached(Arc::clone(&database) as _, Arc::clone(cache))).collect();
        let store = database.store("http://s3", "bucket").await.unwrap();
        for agent in &agents {
            assert_eq!(agent.store("http://s3", "bucket").await.unwrap(), store);
        }
        Self { database, store, agents, _folder: folder }
    }

    async fn etag(&self, agent: usize, key: &str) -> Option<String> {
        let row: Option<FileRow> = self.agents[agent].file_by_key(self.store.id, key).await.unwrap();
        row.map(|row| row.etag)
    }

    async fn record(&self, agent: usize, changes: Vec<FileChange>) -> Recorded {
        self.agents[agent].record(self.store.id, "replica", changes).await.unwrap()
    }

    async fn list(&self, agent: usize) -> Vec<String> {
        let query = FilesQuery { store: self.store.id, limit: 100, ..FilesQuery::default() };
        self.agents[agent]
            .files(query)
            .await
            .unwrap()
            .into_iter()
            .map(|row| format!("{} {}", row.s3_key, row.etag))
            .collect()
    }

    /// Past everybody: what another agent would write whose marks get lost.
    async fn record_unmarked(&self, changes: Vec<FileChange>) {
        self.database.record(self.store.id, "stranger", changes).await.unwrap();
    }
}

fn dynamic(cache: &Arc<MemoryCache>) -> Arc<dyn Cache> {
    Arc::clone(cache) as _
}

#[tokio::test]
async fn metadata_behind_a_cache_does_what_its_port_says() {
    let redis = Redis::start().await;
    let real: Arc<dyn Cache> = Arc::new(open(&config(&redis)).await);
    let broken = memory();
    broken.set_down(true);
    let full = memory();
    full.set_bytes_allowed(Some(1));
    for cache in [real, dynamic(&memory()), dynamic(&broken), dynamic(&full)] {
        let folder = Folder::new("conformance");
        let metadata = cached(sqlite(folder.path()).await, cache);
        metadata_conformance::conforms(&metadata).await.unwrap();
    }
}

#[tokio::test]
async fn metadata_in_postgres_behind_a_redis_does_what_its_port_says() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    let redis = Redis::start().await;
    let cache: Arc<dyn Cache> = Arc::new(open(&config(&redis)).await);
    let metadata = Arc::new(PostgresMetadata::open(database.settings()).await.unwrap());
    metadata_conformance::conforms(&cached(Arc::clone(&metadata) as _, Arc::clone(&cache))).await.unwrap();

    // Two agents with connections of their own.
    let other = PostgresMetadata::open(database.settings()).await.unwrap();
    let agents = [cached(metadata, Arc::clone(&cache)), cached(Arc::new(other), cache)];
    let mut store = 0;
    for agent in &agents {
        store = agent.store("http://s3", "bucket").await.unwrap().id;
        assert_eq!(agent.file_by_key(store, "a").await.unwrap(), None);
    }
    for round in 0..20 {
        let recorded = agents[round % 2].record(store, "replica", vec![put("a", &format!("e{round}"))]).await.unwrap();
        assert!(recorded.refused.is_empty());
        for agent in &agents {
            let row = agent.file_by_key(store, "a").await.unwrap().unwrap();
            assert_eq!((row.etag, row.seq), (format!("e{round}"), recorded.head));
            let query = FilesQuery { store, limit: 10, ..FilesQuery::default() };
            assert_eq!(agent.files(query).await.unwrap()[0].seq, recorded.head);
        }
    }
    for agent in &agents {
        agent.close().await;
    }
}

#[tokio::test]
async fn what_one_agent_writes_another_does_not_read_as_it_was() {
    let redis = Redis::start().await;
    let memory = memory();
    for cache in [Arc::new(open(&config(&redis)).await) as Arc<dyn Cache>, dynamic(&memory)] {
        let agents = Agents::new(&cache, 2).await;
        assert_eq!(agents.etag(1, "a").await, None);
        assert_eq!(agents.list(1).await, [""; 0]);
        for round in 0..20 {
            agents.record(round % 2, vec![put("a", &format!("e{round}")), put("b", "e")]).await;
            for agent in [1, 0, 1] {
                assert_eq!(agents.etag(agent, "a").await, Some(format!("e{round}")), "round {round}");
                assert_eq!(agents.list(agent).await, [format!("a e{round}"), "b e".to_owned()]);
            }
            // After the marks have gone too.
            memory.pass_ms(60_000);
            assert_eq!(agents.etag(1, "a").await, Some(format!("e{round}")));
        }
    }
}

#[tokio::test]
async fn what_one_agent_has_read_another_reads_from_the_cache() {
    let memory = memory();
    let agents = Agents::new(&dynamic(&memory), 2).await;
    agents.record_unmarked(vec![put("a", "e1"), put("b", "e1")]).await;
    assert_eq!(agents.etag(0, "a").await.as_deref(), Some("e1"));
    assert_eq!(agents.list(0).await.len(), 2);
    let keys = ["b", "a", "none", "a", "", "folder/"].map(str::to_owned);
    for _ in 0..2 {
        let rows = agents.agents[0].files_by_key(agents.store.id, &keys).await.unwrap();
        let found: Vec<_> = rows.iter().map(|row| row.as_ref().map(|row| row.s3_key.as_str())).collect();
        assert_eq!(found, [Some("b"), Some("a"), None, Some("a"), None, None]);
    }
    let before = memory.stats().await.unwrap().hits;
    assert_eq!(agents.etag(1, "a").await.as_deref(), Some("e1"));
    assert_eq!(agents.list(1).await.len(), 2);
    assert_eq!(agents.etag(1, "none").await, None);
    assert_eq!(memory.stats().await.unwrap().hits - before, 3);
    assert_eq!(memory.wrongs(), [""; 0]);
}

#[tokio::test]
async fn a_row_is_never_older_than_what_the_feed_has_told() {
    let memory = memory();
    let agents = Agents::new(&dynamic(&memory), 1).await;
    agents.record_unmarked(vec![put("a", "e1")]).await;
    assert_eq!(agents.etag(0, "a").await.as_deref(), Some("e1"));
    // The mark of this change gets lost, so the row may still be had ...
    agents.record_unmarked(vec![put("a", "e2")]).await;
    assert_eq!(agents.etag(0, "a").await.as_deref(), Some("e1"));
    // ... but not by who has read of it. A listing is asked for as of now in any case.
    assert_eq!(agents.list(0).await, ["a e2"]);
    let Changes::Next { rows, .. } = agents.agents[0].changes_since(agents.store.id, None, 10).await.unwrap() else {
        panic!("the feed is lost");
    };
    assert_eq!(rows.len(), 2);
    assert_eq!(agents.etag(0, "a").await.as_deref(), Some("e2"));
    assert_eq!(agents.etag(0, "a").await.as_deref(), Some("e2"));
}

#[tokio::test]
async fn a_change_that_the_cache_missed_is_marked_when_it_is_back() {
    let mut redis = Redis::start().await;
    let cache = Arc::new(open(&config(&redis)).await);
    let agents = Agents::new(&(Arc::clone(&cache) as Arc<dyn Cache>), 2).await;
    agents.record_unmarked(vec![put("a", "e1")]).await;
    assert_eq!(agents.etag(0, "a").await.as_deref(), Some("e1"));
    redis.hang();
    agents.record(1, vec![put("a", "e2")]).await;
    down(&cache).await;
    // Nobody waits, and nobody is told wrong.
    assert_eq!((agents.etag(0, "a").await.as_deref(), agents.etag(1, "a").await.as_deref()), (Some("e2"), Some("e2")));
    redis.go_on();
    up(&cache).await;
    assert_eq!(agents.etag(1, "a").await.as_deref(), Some("e2"));
    assert_eq!(agents.etag(0, "a").await.as_deref(), Some("e2"));
    redis.kill();
    agents.record(1, vec![put("a", "e3")]).await;
    redis.restart().await;
    up(&cache).await;
    assert_eq!((agents.etag(0, "a").await.as_deref(), agents.etag(1, "a").await.as_deref()), (Some("e3"), Some("e3")));
}

#[tokio::test]
async fn hostile_rows_are_never_told() {
    let memory = memory();
    let agents = Agents::new(&dynamic(&memory), 1).await;
    agents.record_unmarked(vec![put("a", "e1"), put("b", "e2")]).await;
    for _ in 0..2 {
        assert_eq!(agents.etag(0, "a").await.as_deref(), Some("e1"));
        assert_eq!(agents.etag(0, "b").await.as_deref(), Some("e2"));
        assert_eq!(agents.list(0).await, ["a e1", "b e2"]);
    }
    let good = memory.entries();
    assert_eq!(good.len(), 3);
    // Who knows all but the epoch.
    let forger = StoreCache::new(dynamic(&memory), "guessed");
    let wrong = FileRow {
        etag: "forged".to_owned(),
        ..agents.agents[0].file_by_key(agents.store.id, "a").await.unwrap().unwrap()
    };
    forger.fill_rows(u64::MAX, vec![("a".to_owned(), Some(wrong))]).await.unwrap();
    let values: Vec<Bytes> =
        memory.entries().into_values().chain([Bytes::from_static(b"{}"), Bytes::from(vec![0; 100])]).collect();
    for value in values {
        for name in good.keys() {
            memory.plant(name, value.clone());
        }
        assert_eq!(agents.etag(0, "a").await.as_deref(), Some("e1"));
        assert_eq!(agents.etag(0, "b").await.as_deref(), Some("e2"));
        assert_eq!(agents.list(0).await, ["a e1", "b e2"]);
    }
}

#[tokio::test]
async fn tables_that_were_made_anew_have_none_of_the_old_rows() {
    let memory = memory();
    let cache = dynamic(&memory);
    let old = Agents::new(&cache, 1).await;
    old.record_unmarked(vec![put("a", "old"), put("b", "old")]).await;
    assert_eq!(old.etag(0, "a").await.as_deref(), Some("old"));
    assert_eq!(old.list(0).await.len(), 2);
    // The same store with the same number, in another database.
    let new = Agents::new(&cache, 1).await;
    assert_eq!(old.store.id, new.store.id);
    assert_eq!(new.etag(0, "a").await, None);
    new.record_unmarked(vec![put("c", "new"), put("d", "new")]).await;
    assert_eq!(new.list(0).await, ["c new", "d new"]);
}

#[tokio::test]
async fn who_listens_is_told_of_each_commit_after_its_rows_are_marked() {
    let memory = memory();
    let agents = Agents::new(&dynamic(&memory), 2).await;
    let listener = StoreCache::new(dynamic(&memory), &agents.store.epoch);
    let mut heads = listener.heads();
    assert_eq!(heads.next().await, Some(0));
    agents.record(0, vec![put("a", "e1"), put("b", "e1")]).await;
    assert_eq!(heads.next().await, Some(2));
    assert_eq!(agents.etag(1, "a").await.as_deref(), Some("e1"));
    agents.record(1, vec![put("a", "e2")]).await;
    assert_eq!(heads.next().await, Some(3));
    agents.record(1, Vec::new()).await;
    assert_eq!(heads.next().now_or_never(), None);
}

#[tokio::test]
async fn an_agent_is_told_of_what_another_one_commits() {
    let mut redis = Redis::start().await;
    let cache = Arc::new(open(&config(&redis)).await);
    let agents = Agents::new(&(Arc::clone(&cache) as Arc<dyn Cache>), 1).await;
    let (teller, mut told) = tokio::sync::watch::channel(());
    let listener = cached_telling(Arc::clone(&agents.database) as _, Arc::clone(&cache) as _, move || {
        let _ = teller.send(());
    });
    listener.store("http://s3", "bucket").await.unwrap();
    // Listening begins with a look; each commit is another.
    told.changed().await.unwrap();
    for round in 0..3 {
        agents.record(0, vec![put("a", &format!("e{round}"))]).await;
        told.changed().await.unwrap();
    }
    redis.kill();
    redis.restart().await;
    up(&cache).await;
    told.changed().await.unwrap();
    drop(listener);
    // Whoever was told has gone: this ends.
    while told.changed().await.is_ok() {}
}
