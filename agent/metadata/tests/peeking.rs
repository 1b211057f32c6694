//! Looking into a state without touching it.
#![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]

use gosync_engine::ports::ReplicaState as _;
use gosync_engine::ports::state::StateChange;
use gosync_metadata::{SqliteState, StateOptions, peek_note};

#[tokio::test]
async fn a_note_is_read_and_nothing_is_made_beside_the_file() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a b?.db");
    assert_eq!(peek_note(&path, "probe").await, None);
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    let state = SqliteState::open(&path, StateOptions::default()).await.unwrap();
    state.apply(vec![StateChange::PutNote("probe".into(), "found".into())]).await.unwrap();
    state.close().await;
    drop(state);
    let names = || {
        let entries = std::fs::read_dir(temp.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let (before, content) = (names(), std::fs::read(&path).unwrap());
    assert_eq!(peek_note(&path, "probe").await.as_deref(), Some("found"));
    assert_eq!(peek_note(&path, "other").await, None);
    assert_eq!((names(), std::fs::read(&path).unwrap()), (before, content));
}
