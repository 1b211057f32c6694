//! The feed in a real Postgres that syncs every commit: what eight writers get through while five readers follow, and
//! a minute of it with everything going wrong.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gosync_engine::ports::MetadataStore as _;
use gosync_engine::ports::metadata::Changes;
use gosync_metadata::PostgresMetadata;
use gosync_tests::feed::{put, storm};
use gosync_tests::postgres::{Database, Postgres};
use serde_json::json;

use crate::number;

const WRITERS: usize = 8;
const READERS: usize = 5;
const BATCH: usize = 50;
const CHANGES_MIN: f64 = 5_000.0;

pub async fn run() {
    let seconds = number("GOSYNC_BENCH_FEED_SECONDS", 60) as u64;
    println!("feed under faults: {}", storm(Duration::from_secs(seconds)).await);

    let server = Postgres::start(&["fsync=on", "synchronous_commit=on", "shared_buffers=128MB"]).await;
    let database = server.database().await;
    let began = Instant::now();
    let (changes, slowest) = follow(&database, Duration::from_secs(seconds / 2)).await;
    let rate = changes as f64 / began.elapsed().as_secs_f64();
    let told = if rate >= CHANGES_MIN { "reached" } else { "missed" };
    println!("| | measured | at least | |\n|---|---|---|---|");
    println!(
        "| change feed, {WRITERS} writers, batches of {BATCH}, durable, {READERS} readers, none skipped | {rate:.0} changes/s, slowest batch {} ms | {CHANGES_MIN} | {told} |",
        slowest.as_millis()
    );
    crate::write_results(
        "feed",
        &json!({"changes_per_second": rate, "at_least": CHANGES_MIN, "reached": rate >= CHANGES_MIN}),
    );
}

/// Returns how many changes were written and read by every reader, and how long the slowest batch took.
async fn follow(database: &Database, work: Duration) -> (u64, Duration) {
    let opened = PostgresMetadata::open(database.settings()).await.unwrap();
    let store = opened.store("endpoint", "bucket").await.unwrap().id;
    let (written, working) = (AtomicU64::new(0), AtomicBool::new(true));
    let until = Instant::now() + work;
    let writers = join_all((0..WRITERS).map(async |writer| {
        let metadata = PostgresMetadata::open(database.settings()).await.unwrap();
        let (mut slowest, mut number) = (Duration::ZERO, 0);
        while Instant::now() < until {
            // New files and new contents of known ones, by turns.
            let batch = (0..BATCH).map(|file| put(format!("{writer}/{}/{file}", number / 2), &number.to_string()));
            let began = Instant::now();
            metadata.record(store, &format!("writer-{writer}"), batch.collect()).await.unwrap();
            slowest = slowest.max(began.elapsed());
            written.fetch_add(BATCH as u64, Ordering::Relaxed);
            number += 1;
        }
        slowest
    }));
    let writing = async {
        let slowest = writers.await.into_iter().max().unwrap_or_default();
        working.store(false, Ordering::Relaxed);
        slowest
    };
    let readers = join_all((0..READERS).map(async |_| {
        let metadata = PostgresMetadata::open(database.settings()).await.unwrap();
        let (mut cursor, mut read) = (None, 0);
        loop {
            let ending = !working.load(Ordering::Relaxed);
            let found = metadata.changes_since(store, cursor.as_ref(), 1_000).await.unwrap();
            let Changes::Next { rows, cursor: next, .. } = found else { panic!("the feed is lost") };
            if rows.is_empty() {
                if ending {
                    return read;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            for row in rows {
                read += 1;
                assert_eq!(row.seq, read, "a reader skipped something");
            }
            cursor = next;
        }
    }));
    let (slowest, read) = futures_util::future::join(writing, readers).await;
    let written = written.into_inner();
    assert!(read.iter().all(|read| *read == written), "{written} written, {read:?} read");
    (written, slowest)
}
