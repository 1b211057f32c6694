//! kill -9 in the middle of writes: what was answered is there, and each write is there whole or not at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

use common::{CHILD_PATH, CHILD_TASK, ancestor, path, put, start_child};
use futures_util::future::join_all;
use gosync_engine::ports::metadata::{Changes, FilesQuery};
use gosync_engine::ports::state::{JournalEntry, JournalKind, StateChange};
use gosync_engine::ports::{MetadataStore as _, ReplicaState as _};
use gosync_metadata::{JournalMode, SqliteMetadata, SqliteState, StateOptions};
use gosync_plan::Nonce;

const WORKERS: u64 = 6;
const ROWS_PER_WRITE: u64 = 4;
/// After how many answered writes each child is killed.
const KILLED_AFTER: [usize; 6] = [1, 7, 20, 55, 3, 120];

/// Runs the child test until it has answered `writes` writes, kills it, and returns every write it has told of.
fn run_and_kill(child_test: &str, database: &Path, task: &str, writes: usize) -> Vec<(u64, u64)> {
    let mut child = start_child(child_test, database, task);
    let mut answered = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // A last line may be cut off.
        if let Ok(line) = line
            && let Some(rest) = line.strip_prefix("answered ")
            && let Some((worker, rest)) = rest.split_once(' ')
            && let Some(number) = rest.strip_suffix('.')
        {
            answered.push((worker.parse().unwrap(), number.parse().unwrap()));
            if answered.len() == writes {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    assert!(answered.len() >= writes, "the child ended by itself");
    answered
}

fn tell_answered(worker: u64, number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "answered {worker} {number}.").unwrap();
    out.flush().unwrap();
}

#[tokio::test]
async fn every_answered_apply_survives_kill_9_whole_in_both_journal_modes() {
    for (task, journal) in [("wal", JournalMode::Wal), ("delete", JournalMode::Delete)] {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state.db");
        let mut answered = BTreeSet::new();
        for writes in KILLED_AFTER {
            answered.extend(run_and_kill("child_that_applies", &database, task, writes));
            let state = SqliteState::open(&database, StateOptions { journal }).await.unwrap();
            let mut rows: BTreeMap<(u64, u64), u64> = BTreeMap::new();
            for (path, _) in state.ancestors_after(None, usize::MAX).await.unwrap() {
                let mut numbers = path.as_str().split('/').map(|number| number.parse::<u64>().unwrap());
                *rows.entry((numbers.next().unwrap(), numbers.next().unwrap())).or_default() += 1;
            }
            for (write, count) in &rows {
                assert_eq!(*count, ROWS_PER_WRITE, "{write:?} is there in part");
            }
            for write in &answered {
                assert!(rows.contains_key(write), "{write:?} was answered and is gone");
            }
            assert_eq!(state.ancestor_totals().await.unwrap().0, rows.len() as u64 * ROWS_PER_WRITE);
            for worker in 0..WORKERS {
                let last = rows.keys().filter(|(of, _)| *of == worker).map(|(_, number)| *number).max();
                assert_eq!(
                    state.note(&format!("worker {worker}")).await.unwrap(),
                    last.map(|number| number.to_string())
                );
                let begun = state.journal().await.unwrap().into_iter().find(|entry| u64::from(entry.id.0[0]) == worker);
                assert_eq!(begun.map(|entry| entry.began_ms.cast_unsigned()), last);
            }
            state.close().await;
        }
    }
}

#[tokio::test]
async fn child_that_applies() {
    let Some(database) = std::env::var_os(CHILD_PATH) else { return };
    let journal = if std::env::var(CHILD_TASK).unwrap() == "delete" { JournalMode::Delete } else { JournalMode::Wal };
    let state = SqliteState::open(Path::new(&database), StateOptions { journal }).await.unwrap();
    join_all((0..WORKERS).map(|worker| {
        let state = &state;
        async move {
            let note = format!("worker {worker}");
            let first = state.note(&note).await.unwrap().map_or(0, |last| last.parse::<u64>().unwrap() + 1);
            for number in first.. {
                let mut changes = vec![
                    StateChange::PutNote(note.clone(), number.to_string()),
                    StateChange::Begin(JournalEntry {
                        id: Nonce([u8::try_from(worker).unwrap(); 16]),
                        path: path("a"),
                        kind: JournalKind::DeleteObject { remote: ancestor(1).generation },
                        began_ms: number.cast_signed(),
                    }),
                ];
                let rows = (0..ROWS_PER_WRITE).map(|row| path(format!("{worker}/{number}/{row}")));
                changes.extend(rows.map(|path| StateChange::PutAncestor(path, ancestor(number))));
                state.apply(changes).await.unwrap();
                tell_answered(worker, number);
            }
        }
    }))
    .await;
}

#[tokio::test]
async fn the_feed_has_no_gap_and_no_half_batch_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("gosync.db");
    let mut answered = BTreeSet::new();
    for (round, writes) in KILLED_AFTER.into_iter().enumerate() {
        for (worker, number) in run_and_kill("child_that_records", &database, &round.to_string(), writes) {
            answered.insert(format!("{round}/{worker}/{number}"));
        }
        let metadata = SqliteMetadata::open(&database, JournalMode::Wal).await.unwrap();
        let store = metadata.store("endpoint", "bucket").await.unwrap();
        let Changes::Next { rows, .. } = metadata.changes_since(store.id, None, usize::MAX).await.unwrap() else {
            panic!("the feed from its beginning is there");
        };
        assert!((1..).zip(&rows).all(|(wanted, row)| row.seq == wanted), "a gap in the feed");
        assert_eq!(rows.len() as u64, store.head_seq);
        let mut batches: BTreeMap<&str, u64> = BTreeMap::new();
        for row in &rows {
            *batches.entry(row.s3_key.rsplit_once('/').unwrap().0).or_default() += 1;
        }
        assert!(batches.values().all(|count| *count == ROWS_PER_WRITE), "a batch is there in part");
        for batch in &answered {
            assert!(batches.contains_key(batch.as_str()), "{batch} was answered and is gone");
        }
        let query = FilesQuery { store: store.id, limit: usize::MAX, ..FilesQuery::default() };
        let files = metadata.files(query).await.unwrap();
        assert_eq!(files.iter().filter(|row| !row.is_directory).count(), rows.len());
        metadata.close().await;
    }
}

#[tokio::test]
async fn child_that_records() {
    let Some(database) = std::env::var_os(CHILD_PATH) else { return };
    let round = std::env::var(CHILD_TASK).unwrap();
    let metadata = SqliteMetadata::open(Path::new(&database), JournalMode::Wal).await.unwrap();
    let store = metadata.store("endpoint", "bucket").await.unwrap().id;
    join_all((0..WORKERS).map(|worker| {
        let (metadata, round) = (&metadata, &round);
        async move {
            for number in 0_u64.. {
                let batch = (0..ROWS_PER_WRITE).map(|row| put(format!("{round}/{worker}/{number}/{row}"), "e"));
                metadata.record(store, "client", batch.collect()).await.unwrap();
                tell_answered(worker, number);
            }
        }
    }))
    .await;
}
