//! SQLite passes the suites of its ports, in both journal modes, and again after it was closed and opened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]

use gosync_engine::ports::{MetadataStore as _, metadata_conformance, state_conformance};
use gosync_metadata::{JournalMode, SqliteMetadata, SqliteState, StateOptions};

#[tokio::test]
async fn state_in_sqlite_conforms_in_both_journal_modes() {
    for journal in [JournalMode::Wal, JournalMode::Delete] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        for _ in 0..2 {
            let state = SqliteState::open(&path, StateOptions { journal }).await.unwrap();
            state_conformance::conforms(&state).await.unwrap();
            state.close().await;
        }
    }
}

#[tokio::test]
async fn metadata_in_sqlite_conforms_in_both_journal_modes() {
    for journal in [JournalMode::Wal, JournalMode::Delete] {
        let folder = tempfile::tempdir().unwrap();
        let metadata = SqliteMetadata::open(&folder.path().join("gosync.db"), journal).await.unwrap();
        metadata_conformance::conforms(&metadata).await.unwrap();
        metadata.close().await;
    }
}
