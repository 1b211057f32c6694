//! The writer: commits are shared, and a write fails by its own fault only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]

mod common;

use common::{ancestor, path, put};
use futures_util::future::join_all;
use gosync_engine::ports::state::{StateChange, StateErrorKind};
use gosync_engine::ports::{MetadataStore as _, ReplicaState as _};
use gosync_metadata::{JournalMode, SqliteMetadata, SqliteState, StateOptions};
use sqlx::{ConnectOptions as _, Connection as _};

#[tokio::test]
async fn applies_that_come_together_share_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let state = SqliteState::open(&folder.path().join("state.db"), StateOptions::default()).await.unwrap();
    let applies = (0..200)
        .map(|number| state.apply(vec![StateChange::PutAncestor(path(format!("f{number}")), ancestor(number))]));
    for result in join_all(applies).await {
        result.unwrap();
    }
    let commits = state.commits();
    // One thread: they queue up in large parts before the writer runs at all.
    assert!((1..20).contains(&commits), "{commits} commits");
    assert_eq!(state.ancestor_totals().await.unwrap().0, 200);
    state.apply(vec![]).await.unwrap();
    assert_eq!(state.commits(), commits, "an apply of nothing needs no commit");
}

#[tokio::test]
async fn more_applies_than_the_queue_holds_are_all_done() {
    let folder = tempfile::tempdir().unwrap();
    let state = SqliteState::open(&folder.path().join("state.db"), StateOptions::default()).await.unwrap();
    let applies = (0..2_000)
        .map(|number| state.apply(vec![StateChange::PutAncestor(path(format!("f{number}")), ancestor(number))]));
    for result in join_all(applies).await {
        result.unwrap();
    }
    assert_eq!(state.ancestor_totals().await.unwrap().0, 2_000);
    assert!(state.commits() < 200, "{} commits", state.commits());
}

#[tokio::test]
async fn a_write_that_fails_does_not_take_its_neighbours_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = SqliteMetadata::open(&folder.path().join("gosync.db"), JournalMode::Wal).await.unwrap();
    let store = metadata.store("endpoint", "bucket").await.unwrap().id;
    let writes = (0..10).map(|number| {
        let store = if number == 4 { store + 1 } else { store };
        metadata.record(store, "client", vec![put(format!("f{number}"), "e")])
    });
    let results = join_all(writes).await;
    for (number, result) in results.iter().enumerate() {
        assert_eq!(result.is_ok(), number != 4, "{number}: {result:?}");
    }
    assert_eq!(metadata.store("endpoint", "bucket").await.unwrap().head_seq, 9);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_writer_working() {
    let folder = tempfile::tempdir().unwrap();
    let state = SqliteState::open(&folder.path().join("state.db"), StateOptions::default()).await.unwrap();
    for number in 0..50 {
        let apply = state.apply(vec![StateChange::PutNote("n".into(), number.to_string())]);
        tokio::select! {
            biased;
            _ = apply => {}
            () = std::future::ready(()) => {}
        }
    }
    state.apply(vec![StateChange::PutNote("last".into(), "1".into())]).await.unwrap();
    // What was queued before is done by now, in its order.
    assert_eq!(state.note("n").await.unwrap(), Some("49".into()));
}

#[tokio::test]
async fn a_locked_file_is_unavailable_until_the_lock_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = SqliteState::open(&path, StateOptions::default()).await.unwrap();
    let mut other = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let note = |value: &str| vec![StateChange::PutNote("n".into(), value.into())];
    let error = state.apply(note("1")).await.unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Unavailable, "{error} {:?}", error.source);
    assert_eq!(state.note("n").await.unwrap(), None);
    lock.rollback().await.unwrap();
    state.apply(note("2")).await.unwrap();
    assert_eq!(state.note("n").await.unwrap(), Some("2".into()));
}

#[tokio::test]
async fn after_closing_everything_is_refused_and_no_log_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let state = SqliteState::open(&folder.path().join("state.db"), StateOptions::default()).await.unwrap();
    let apply = state.apply(vec![StateChange::PutNote("n".into(), "1".into())]);
    let (applied, ()) = futures_util::future::join(apply, state.close()).await;
    applied.unwrap();
    let error = state.apply(vec![StateChange::PutNote("n".into(), "2".into())]).await.unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Unavailable);
    assert_eq!(state.note("n").await.unwrap_err().kind, StateErrorKind::Unavailable);
    state.close().await;
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["state.db"]);
}

#[tokio::test]
async fn mirrors_of_the_command_line_and_pauses_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gosync.db");
    let metadata = SqliteMetadata::open(&path, JournalMode::Wal).await.unwrap();
    assert_eq!(metadata.mirrors().await.unwrap(), []);
    metadata.put_mirror("photos", r#"{"local_path":"/a"}"#).await.unwrap();
    metadata.set_mirror_paused("photos", true).await.unwrap();
    metadata.put_mirror("photos", r#"{"local_path":"/b"}"#).await.unwrap();
    metadata.set_mirror_paused("from-config", true).await.unwrap();
    metadata.put_mirror("active", "{}").await.unwrap();
    metadata.close().await;

    let metadata = SqliteMetadata::open(&path, JournalMode::Wal).await.unwrap();
    let found: Vec<_> =
        metadata.mirrors().await.unwrap().into_iter().map(|row| (row.name, row.config, row.paused)).collect();
    let wanted = [
        ("active".into(), Some("{}".into()), false),
        ("from-config".into(), None, true),
        ("photos".into(), Some(r#"{"local_path":"/b"}"#.to_owned()), true),
    ];
    assert_eq!(found, wanted);
    metadata.set_mirror_paused("photos", false).await.unwrap();
    assert!(metadata.drop_mirror("active").await.unwrap());
    assert!(!metadata.drop_mirror("active").await.unwrap());
    let found: Vec<_> = metadata.mirrors().await.unwrap().into_iter().map(|row| (row.name, row.paused)).collect();
    assert_eq!(found, [("from-config".into(), true), ("photos".into(), false)]);
}

#[tokio::test]
async fn a_lease_runs_out_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = SqliteMetadata::open(&folder.path().join("gosync.db"), JournalMode::Wal).await.unwrap();
    let first = metadata.lease("lister", "a", 50).await.unwrap().unwrap();
    let second = loop {
        if let Some(fencing) = metadata.lease("lister", "b", 60_000).await.unwrap() {
            break fencing;
        }
        tokio::task::yield_now().await;
    };
    assert!(second > first);
}
