//! Agents that share a Postgres, and a Redis: how soon an edit on one is on another, what twenty that hydrate at once ask of
//! the store, what a warm cache and a current feed spare, and five hundred light clients on one feed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gosync_dev_s3::Operation;
use gosync_engine::ports::MetadataStore as _;
use gosync_metadata::{PostgresMetadata, PostgresOptions};
use gosync_tests::dev_store::DevStore;
use gosync_tests::feed::put;
use gosync_tests::pgbouncer::PgBouncer;
use gosync_tests::postgres::{Database, PASSWORD, Postgres, USER};
use gosync_tests::process::Folder;
use gosync_tests::rclone::Rclone;
use gosync_tests::redis::Redis;
use gosync_tests::server::{Address, Server};
use serde_json::json;
use sqlx::Row as _;
use tokio::sync::Semaphore;

use crate::run::{Agent, Running, peer};
use crate::scale::{Rows, Shape, filled, plant};
use crate::{made, number, plant_files, settle};

const IDLE_FILES: u64 = 100_000;
const EDITS: usize = 500;
const EDITS_A_SECOND: u32 = 5;
const TOGETHER: usize = 20;
const TOGETHER_FILES: usize = 2_000;
const CLIENTS: usize = 500;
const SERVER_CONNECTIONS: u32 = 20;
/// Shares of rclone's time that stand for 0.4 and 0.5 of s5cmd's.
const WARM_CACHE_MAX: f64 = 0.37;
const CURRENT_FEED_MAX: f64 = 0.5;

pub async fn run() {
    println!("| | measured | at most | |\n|---|---|---|---|");
    let mut rows = Rows::default();
    let postgres = Postgres::start(&["fsync=on", "synchronous_commit=on", "shared_buffers=128MB"]).await;
    let redis = Redis::start().await;
    for (by, cache, p50_max) in [("Redis", Some(&redis), 150), ("Postgres alone", None, 300)] {
        let latencies = latencies(&postgres.database().await, cache).await;
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_millis();
        rows.add(
            &format!("edit to content elsewhere, hinted by {by}: p50, ms"),
            at(0.5).to_string(),
            p50_max,
            at(0.5) <= p50_max,
        );
        rows.add("the same: p99, ms", at(0.99).to_string(), 1_000, at(0.99) <= 1_000);
    }
    together(&mut rows, &postgres, &redis).await;
    warm(&mut rows, &postgres, &redis).await;
    light(&mut rows, &postgres).await;
    crate::write_results("fleet", &json!({"rows": rows.0}));
}

/// An agent on the fleet's database, and on its cache where it has one.
fn agent(store: &Address, bucket: &str, root: &Path, database: &Database, cache: Option<&Redis>) -> Agent {
    Agent::with(store, bucket, root, "/docs", |config| {
        // How long a row takes says nothing of how often is listed in it.
        config["sync"]["interval"] = json!("1h");
        config["metadata"] = json!({"type": "postgres", "postgres": {
            "host": "127.0.0.1", "port": database.port, "user": USER, "password": PASSWORD, "database": database.name,
        }});
        if let Some(redis) = cache {
            let redis = json!({"host": "127.0.0.1", "port": redis.port, "prefix": database.name});
            config["cache"] = json!({"enabled": true, "ttl": "1h", "redis": redis});
        }
    })
}

/// From the return of a rename in one folder until the other one has the content, sorted.
async fn latencies(database: &Database, cache: Option<&Redis>) -> Vec<Duration> {
    let (folder, store) = (Folder::new("fleet"), filled(Shape::Folders, IDLE_FILES).await);
    let [here, there] = ["here", "there"].map(|name| folder.dir(name));
    let agents = [&here, &there].map(|root| {
        plant(root, Shape::Folders, IDLE_FILES);
        agent(&store.address, "bucket", root, database, cache)
    });
    let running: Vec<Running<'_>> = agents.iter().map(Agent::start).collect();
    for agent in &agents {
        agent.flush();
    }
    fs::create_dir(here.join("edits")).unwrap();
    let mut every = tokio::time::interval(Duration::from_secs(1) / EDITS_A_SECOND);
    let mut waits = Vec::new();
    for edit in 0..number("GOSYNC_BENCH_EDITS", EDITS) {
        every.tick().await;
        let content = format!("edit {edit}");
        let (from, path) = (folder.path().join("edit"), format!("edits/{}", edit % 50));
        fs::write(&from, &content).unwrap();
        fs::rename(&from, here.join(&path)).unwrap();
        waits.push(tokio::spawn(until_there(there.join(path), content)));
    }
    let mut latencies: Vec<Duration> = join_all(waits).await.into_iter().map(Result::unwrap).collect();
    for running in running {
        running.end();
    }
    latencies.sort();
    latencies
}

async fn until_there(path: PathBuf, content: String) -> Duration {
    let began = Instant::now();
    while !fs::read_to_string(&path).is_ok_and(|found| found == content) {
        assert!(began.elapsed() < Duration::from_secs(120), "{} never came", path.display());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    began.elapsed()
}

/// Twenty agents that begin at once on files that none of them has.
async fn together(rows: &mut Rows, postgres: &Postgres, redis: &Redis) {
    let (folder, store) = (Folder::new("fleet"), DevStore::start().await);
    let bucket = store.bucket("bucket").await;
    for file in 0..TOGETHER_FILES {
        bucket.put(&format!("docs/{:02}/{file}", file % 40), format!("content of {file}, {}", "x".repeat(1_000))).await;
    }
    let asked = |operation| store.counters().snapshot().of(operation);
    // What one agent alone asks.
    let alone = postgres.database().await;
    let before = asked(Operation::ListObjectsV2);
    agent(&store.address, "bucket", &folder.dir("alone"), &alone, None).until_flushed().await;
    let listings_of_one = asked(Operation::ListObjectsV2) - before;

    let database = postgres.database().await;
    let roots: Vec<PathBuf> = (0..TOGETHER).map(|number| folder.dir(&format!("together-{number}"))).collect();
    let agents: Vec<Agent> =
        roots.iter().map(|root| agent(&store.address, "bucket", root, &database, Some(redis))).collect();
    let (gets, lists) = (asked(Operation::GetObject), asked(Operation::ListObjectsV2));
    let began = Instant::now();
    let running: Vec<Running<'_>> = agents.iter().map(Agent::start).collect();
    for root in &roots {
        while gosync_tests::tree::names(root).len() < TOGETHER_FILES {
            assert!(began.elapsed() < Duration::from_secs(600), "{} is not filled", root.display());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let (gets, lists) = (asked(Operation::GetObject) - gets, asked(Operation::ListObjectsV2) - lists);
    running.into_iter().for_each(Running::kill);
    let most = TOGETHER_FILES as f64 * 1.2;
    let row = format!("{TOGETHER} agents hydrate {TOGETHER_FILES} files at once ({seconds:.1} s): GETs");
    rows.add(&row, gets.to_string(), most, gets as f64 <= most);
    rows.add("the same: LISTs, as one agent alone", lists.to_string(), listings_of_one, lists <= listings_of_one);

    let second = agent(&store.address, "bucket", &folder.dir("second"), &database, Some(redis));
    let gets = asked(Operation::GetObject);
    second.until_flushed().await;
    let ratio = 1.0 - (asked(Operation::GetObject) - gets) as f64 / TOGETHER_FILES as f64;
    rows.add("contents that the next agent finds in the cache, at least", format!("{ratio:.3}"), 0.95, ratio >= 0.95);
}

/// A download with everything in Redis and a start with a current feed, each beside rclone.
async fn warm(rows: &mut Rows, postgres: &Postgres, redis: &Redis) {
    let files = number("GOSYNC_BENCH_FILES", 10_000);
    let (folder, server) = (Folder::new("fleet"), Server::minio().await);
    let (bucket, database) = (server.bucket("warm").await, postgres.database().await);
    let from = folder.dir("from");
    plant_files(&from, files, 4 << 10);
    agent(&server.address, &bucket.bucket, &from, &database, Some(redis)).until_flushed().await;
    let rclone = Rclone::new(&server.address);
    let remote = format!("s3:{}/docs", bucket.bucket);
    let (mut downloads, mut starts) = (Vec::new(), Vec::new());
    for round in 0..number("GOSYNC_BENCH_ROUNDS", 3) {
        let (ours, theirs) =
            (made(folder.path().join(format!("ours-{round}"))), made(folder.path().join(format!("theirs-{round}"))));
        let agent = agent(&server.address, &bucket.bucket, &ours, &database, Some(redis));
        let theirs = theirs.to_str().unwrap();
        settle();
        let down = agent.until_flushed().await;
        settle();
        let beside =
            peer(rclone.command(&["copy", &remote, theirs, "--transfers", "16", "--checkers", "16", "--fast-list"]));
        println!("round {round}  warm cache    gosync {down}  rclone {beside}");
        downloads.push(down.wall_seconds / beside.wall_seconds);
        settle();
        let start = agent.until_flushed().await;
        let beside = peer(rclone.command(&["sync", theirs, &remote, "--size-only", "--fast-list", "--checkers", "16"]));
        println!("round {round}  current feed  gosync {start}  rclone {beside}");
        starts.push(start.wall_seconds / beside.wall_seconds);
    }
    for (row, ratios, most) in [
        ("first download with a warm Redis / rclone", downloads, WARM_CACHE_MAX),
        ("nothing changed, with a current feed / rclone", starts, CURRENT_FEED_MAX),
    ] {
        let ratio = crate::median(ratios.into_iter());
        rows.add(row, format!("{ratio:.2}"), most, ratio <= most);
    }
}

/// Clients that only follow, behind PgBouncer, beside a few that write.
async fn light(rows: &mut Rows, postgres: &Postgres) {
    let database = postgres.database().await;
    let bouncer = PgBouncer::start(&database, SERVER_CONNECTIONS).await;
    let settings = PostgresOptions { max_connections: 1, ..database.settings_at(bouncer.port) };
    let store = PostgresMetadata::open(settings.clone()).await.unwrap().store("endpoint", "bucket").await.unwrap().id;
    // Five hundred handshakes cost this machine what they cost five hundred machines elsewhere.
    let (follow, all_follow) = (&Semaphore::new(0), CLIENTS as u32);
    let until = Instant::now() + Duration::from_secs(number("GOSYNC_BENCH_FEED_SECONDS", 60) as u64);
    let followers = join_all((0..CLIENTS).map(async |client| {
        let metadata = PostgresMetadata::new(&settings).unwrap();
        // Not all at the same moment.
        tokio::time::sleep(Duration::from_millis(client as u64 * 4)).await;
        let (mut cursor, mut read, mut follows) = (None, 0, false);
        while Instant::now() < until {
            let found = metadata.changes_since(store, cursor.as_ref(), 1_000).await.unwrap();
            let gosync_engine::ports::metadata::Changes::Next { rows, cursor: next, .. } = found else {
                panic!("lost")
            };
            if !std::mem::replace(&mut follows, true) {
                follow.add_permits(1);
            }
            (read, cursor) = (read + rows.len(), next);
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        read
    }));
    let writers = join_all((0..8).map(async |writer| {
        let metadata = PostgresMetadata::new(&settings).unwrap();
        let (mut slowest, mut number) = (Duration::ZERO, 0);
        drop(follow.acquire_many(all_follow).await.unwrap());
        while Instant::now() < until {
            let began = Instant::now();
            metadata.record(store, "writer", vec![put(format!("{writer}/{number}"), "1")]).await.unwrap();
            slowest = slowest.max(began.elapsed());
            number += 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        slowest
    }));
    let connections = async {
        let mut connection = database.connect().await;
        let mut most = 0;
        while Instant::now() < until {
            let count = sqlx::query("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()");
            most = most.max(count.fetch_one(&mut connection).await.unwrap().get::<i64, _>(0) - 1);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        most
    };
    let (read, slowest, connections) = futures_util::join!(followers, writers, connections);
    assert!(read.iter().all(|read| *read > 0), "a client has read nothing");
    let slowest = slowest.into_iter().max().unwrap_or_default().as_millis();
    rows.add(
        &format!("{CLIENTS} clients on one feed: slowest write of 8 writers, ms"),
        slowest.to_string(),
        1_000,
        slowest <= 1_000,
    );
    rows.add(
        "the same, behind PgBouncer: connections of the server",
        connections.to_string(),
        SERVER_CONNECTIONS,
        connections <= i64::from(SERVER_CONNECTIONS),
    );
}
