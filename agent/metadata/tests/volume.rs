//! A hundred thousand files in bounded memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]

mod common;

use common::{ancestor, path, peak_memory_bytes, put};
use gosync_engine::ports::metadata::{Changes, FilesQuery};
use gosync_engine::ports::state::StateChange;
use gosync_engine::ports::{MetadataStore as _, ReplicaState as _};
use gosync_metadata::{JournalMode, SqliteMetadata, SqliteState, StateOptions};

const FILES: usize = 100_000;
const PAGE: usize = 1_000;
/// Caches of a few connections, a page of rows as values and as JSON; far less than all rows at once.
const MEMORY_BYTES_MAX: u64 = 48 << 20;

fn names() -> impl Iterator<Item = String> {
    (0..FILES).map(|number| format!("folder {:03}/of many/file number {number:06}.txt", number / 500))
}

/// One test, so that the memory is that of one thing at a time.
#[tokio::test]
async fn a_hundred_thousand_rows_pass_through_bounded_memory() {
    let before = peak_memory_bytes();
    ancestors().await;
    let after_state = peak_memory_bytes();
    assert!(after_state - before < MEMORY_BYTES_MAX, "{} bytes for the state", after_state - before);
    files().await;
    let after_metadata = peak_memory_bytes();
    assert!(after_metadata - before < MEMORY_BYTES_MAX, "{} bytes for the metadata", after_metadata - before);
}

async fn ancestors() {
    let folder = tempfile::tempdir().unwrap();
    let state = SqliteState::open(&folder.path().join("state.db"), StateOptions::default()).await.unwrap();
    let mut names = names().enumerate().peekable();
    while names.peek().is_some() {
        let puts = names
            .by_ref()
            .take(10 * PAGE)
            .map(|(number, name)| StateChange::PutAncestor(path(name), ancestor(number as u64)));
        state.apply(puts.collect()).await.unwrap();
    }
    let (mut after, mut rows, mut bytes) = (None, 0, 0);
    loop {
        let page = state.ancestors_after(after.as_ref(), PAGE).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        rows += page.len() as u64;
        bytes += page.iter().map(|(_, ancestor)| ancestor.fingerprint.size).sum::<u64>();
    }
    assert_eq!(rows, FILES as u64);
    assert_eq!(state.ancestor_totals().await.unwrap(), (rows, bytes));
    state.apply(vec![StateChange::DropAllAncestors]).await.unwrap();
    assert_eq!(state.ancestor_totals().await.unwrap(), (0, 0));
}

async fn files() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = SqliteMetadata::open(&folder.path().join("gosync.db"), JournalMode::Wal).await.unwrap();
    let store = metadata.store("endpoint", "bucket").await.unwrap().id;
    for _ in ["new", "known"] {
        let mut names = names().peekable();
        while names.peek().is_some() {
            metadata
                .record(store, "client", names.by_ref().take(PAGE).map(|name| put(name, "e")).collect())
                .await
                .unwrap();
        }
    }
    assert_eq!(metadata.totals(store, "").await.unwrap(), (FILES as u64, FILES as u64));
    assert_eq!(metadata.totals(store, "folder 007/").await.unwrap(), (500, 500));

    let (mut after, mut listed) = (None, 0);
    loop {
        let query = FilesQuery { store, prefix: String::new(), deleted: false, after: after.take(), limit: PAGE };
        let page = metadata.files(query).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.s3_key.clone());
        listed += page.iter().filter(|row| !row.is_directory).count();
    }
    assert_eq!(listed, FILES);

    let (mut cursor, mut told) = (None, 0);
    loop {
        let Changes::Next { rows, cursor: next, .. } =
            metadata.changes_since(store, cursor.as_ref(), PAGE).await.unwrap()
        else {
            panic!("the cursor is lost");
        };
        if rows.is_empty() {
            break;
        }
        told += rows.len();
        cursor = next;
    }
    assert_eq!(told, FILES);
    assert_eq!(metadata.prune(store, FILES as u64).await.unwrap(), FILES as u64 - 1);
}
