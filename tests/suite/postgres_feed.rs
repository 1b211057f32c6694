//! The feed in a real Postgres: each reader has each change once, in one order, whatever happens, and who freezes holds up
//! nobody for long (R17, R18).

use std::ops::Range;
use std::time::{Duration, Instant};

use gosync_engine::ports::MetadataStore as _;
use gosync_engine::ports::metadata::{ChangeRow, Changes, Cursor};
use gosync_metadata::{PostgresMetadata, PostgresOptions};
use gosync_tests::feed::{put, storm};
use gosync_tests::postgres::Postgres;
use gosync_tests::process::Process;
use gosync_tests::wait;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::process::Signal;
use sqlx::query_scalar;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reader_has_each_change_once_in_one_order_whatever_happens_to_the_feed() {
    // `make bench` does it for a minute.
    eprintln!("{}", storm(Duration::from_secs(20)).await);
}

/// Names the database to a child process; its absence means that we are the parent.
const CHILD_URL: &str = "GOSYNC_TEST_CHILD_URL";

#[tokio::test]
async fn child_that_records_until_it_is_ended() {
    let Some(url) = std::env::var_os(CHILD_URL) else { return };
    let options = PostgresOptions { url: url.into_string().unwrap(), ..PostgresOptions::default() };
    let metadata = PostgresMetadata::open(options).await.unwrap();
    let store = metadata.store("endpoint", "bucket").await.unwrap().id;
    for number in 0_u64.. {
        let batch = (0..50).map(|file| put(format!("child/{file}"), &number.to_string())).collect();
        // It is thrown out while it is frozen, and goes on.
        let _ = metadata.record(store, "child", batch).await;
    }
}

#[tokio::test]
async fn a_writer_that_freezes_anywhere_holds_up_the_others_for_seconds_only_and_readers_skip_nothing() {
    let server = Postgres::start(&[]).await;
    let database = server.database().await;
    let metadata = PostgresMetadata::open(database.settings()).await.unwrap();
    let store = metadata.store("endpoint", "bucket").await.unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "postgres_feed::child_that_records_until_it_is_ended", "--nocapture", "--test-threads=1"])
        .env(CHILD_URL, database.url());
    let child = Process::start("child", child, &server.folder.path().join("child.log"));
    wait::until("the child records", async || {
        let head = metadata.store("endpoint", "bucket").await.unwrap().head_seq;
        wait::hold(head > 100, format!("{head} changes"))
    })
    .await;

    let mut dice = SmallRng::seed_from_u64(7);
    let (mut number, mut frozen_with_the_counter) = (0, 0);
    let mut seen = Vec::new();
    let mut cursor = None;
    let mut watcher = database.connect().await;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_micros(dice.random_range(0..5_000))).await;
        child.signal(Signal::STOP);
        // What the server was asked for before, it does.
        let states = "SELECT coalesce(string_agg(state, ','), '') FROM pg_stat_activity \
                      WHERE datname = current_database() AND query LIKE 'WITH counter%' AND state <> 'idle'";
        let state: String = wait::until("the server has done what it was asked for", async || {
            let state: String = query_scalar(states).fetch_one(&mut watcher).await.unwrap();
            wait::hold(!state.contains("active"), "active").map(|()| state)
        })
        .await;
        if state.contains("idle in transaction") {
            frozen_with_the_counter += 1;
            // It holds the counter. Nobody waits for it longer than the server lets it sleep.
            let began = Instant::now();
            wait::until_within(Duration::from_secs(15), "another writer goes on", async || {
                number += 1;
                metadata.record(store.id, "parent", vec![put(format!("parent/{number}"), "e")]).await.map(drop)
            })
            .await;
            eprintln!("another writer went on after {} ms", began.elapsed().as_millis());
        }
        child.signal(Signal::CONT);
        read_on(&metadata, store.id, &mut cursor, &mut seen).await;
        if frozen_with_the_counter == 2 {
            break;
        }
    }
    assert!(frozen_with_the_counter > 0, "it was never caught with the counter");
    drop(child);
    metadata.record(store.id, "parent", vec![put("last", "e")]).await.unwrap();
    read_on(&metadata, store.id, &mut cursor, &mut seen).await;
    assert!(seen.iter().map(|row| row.seq).eq(1..=seen.len() as u64), "a gap, or an order that isn't one");
    assert_eq!(seen.last().unwrap().s3_key, "last");
    // A batch is there as a whole or not at all.
    assert_eq!(seen.iter().filter(|row| row.client_id == "child").count() % 50, 0);
}

async fn read_on(metadata: &PostgresMetadata, store: i64, cursor: &mut Option<Cursor>, seen: &mut Vec<ChangeRow>) {
    loop {
        let Changes::Next { rows, cursor: next, .. } =
            metadata.changes_since(store, cursor.as_ref(), 1_000).await.unwrap()
        else {
            panic!("the feed is lost at {cursor:?}")
        };
        if rows.is_empty() {
            return;
        }
        *cursor = next;
        seen.extend(rows);
    }
}

/// Where a statement of a batch ends, its transaction may stay open: between any two of its steps.
const STEPS: Range<usize> = 0..4;

#[tokio::test]
async fn a_transaction_that_is_left_open_at_any_step_delays_the_others_and_loses_nothing() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    let metadata = PostgresMetadata::open(database.settings()).await.unwrap();
    let store = metadata.store("endpoint", "bucket").await.unwrap().id;
    metadata.record(store, "client", vec![put("f", "e0")]).await.unwrap();
    for step in STEPS {
        // The steps of an agent's batch, with its time limits.
        let mut open = database.connect().await;
        let steps = [
            "BEGIN; SET LOCAL lock_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = '5s'".to_owned(),
            "SELECT * FROM files".to_owned(),
            format!("SELECT FROM stores WHERE id = {store} FOR UPDATE"),
            format!("UPDATE stores SET head_seq = head_seq + 1 WHERE id = {store}"),
        ];
        for statement in &steps[..=step] {
            sqlx::Executor::execute(&mut open, sqlx::AssertSqlSafe(statement.clone())).await.unwrap();
        }
        wait::until_within(Duration::from_secs(15), "another writer goes on", async || {
            metadata.record(store, "client", vec![put("f", &format!("e{}", step + 1))]).await.map(drop)
        })
        .await;
        drop(open);
    }
    let Changes::Next { rows, .. } = metadata.changes_since(store, None, 100).await.unwrap() else { panic!("lost") };
    assert!(rows.iter().map(|row| row.seq).eq(1..=5), "{rows:?}");
}
