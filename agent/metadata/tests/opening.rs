//! Opening: many at once, files of newer agents, files that are damaged or not ours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use common::{CHILD_PATH, CHILD_TASK, ancestor, put, start_child};
use futures_util::future::join_all;
use gosync_engine::ports::state::{StateChange, StateError, StateErrorKind};
use gosync_engine::ports::{MetadataStore as _, ReplicaState as _, metadata_conformance};
use gosync_metadata::{JournalMode, SqliteMetadata, SqliteState, StateOptions};
use sqlx::migrate::Migrator;
use sqlx::{ConnectOptions as _, Connection as _};

async fn open_state(path: &Path) -> Result<SqliteState, StateError> {
    SqliteState::open(path, StateOptions::default()).await
}

async fn open_metadata(path: &Path) -> Result<SqliteMetadata, StateError> {
    SqliteMetadata::open(path, JournalMode::Wal).await
}

#[track_caller]
fn assert_refused<T>(result: Result<T, StateError>, kind: StateErrorKind, path: &Path) {
    let error = result.err().expect("it is refused");
    assert_eq!(error.kind, kind, "{error} {:?}", error.source);
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error} does not name {}", path.display());
}

#[tokio::test]
async fn folders_above_the_file_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b c/state.db?mode=memory#x%20");
    let state = open_state(&path).await.unwrap();
    state.apply(vec![StateChange::PutNote("n".into(), "1".into())]).await.unwrap();
    state.close().await;
    assert!(path.is_file());
    assert_eq!(open_state(&path).await.unwrap().note("n").await.unwrap(), Some("1".into()));
}

#[tokio::test]
async fn many_processes_may_open_the_same_new_files_at_once() {
    for (task, journal) in [("wal", JournalMode::Wal), ("delete", JournalMode::Delete)] {
        let folder = tempfile::tempdir().unwrap();
        let mut children: Vec<_> = (0..6)
            .map(|number| start_child("child_that_opens_when_told", folder.path(), &format!("{task} {number}")))
            .collect();
        let mut outputs = Vec::new();
        for child in &mut children {
            let mut output = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            while !line.contains("ready") {
                line.clear();
                assert!(output.read_line(&mut line).unwrap() > 0, "the child ended before it was ready");
            }
            outputs.push(output);
        }
        for child in &mut children {
            child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        }
        for (mut child, mut output) in children.into_iter().zip(outputs) {
            let mut rest = String::new();
            output.read_to_string(&mut rest).unwrap();
            assert!(child.wait().unwrap().success(), "{rest}");
        }
        let state = SqliteState::open(&folder.path().join("state.db"), StateOptions { journal }).await.unwrap();
        let metadata = SqliteMetadata::open(&folder.path().join("gosync.db"), journal).await.unwrap();
        let store = metadata.store("endpoint", "bucket").await.unwrap();
        assert_eq!(store.head_seq, 6);
        for number in 0..6 {
            assert_eq!(state.note(&number.to_string()).await.unwrap(), Some("here".into()));
        }
    }
}

#[tokio::test]
async fn child_that_opens_when_told() {
    let Some(folder) = std::env::var_os(CHILD_PATH) else { return };
    let task = std::env::var(CHILD_TASK).unwrap();
    let (journal, number) = task.split_once(' ').unwrap();
    let journal = if journal == "delete" { JournalMode::Delete } else { JournalMode::Wal };
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let folder = Path::new(&folder);
    let state = SqliteState::open(&folder.join("state.db"), StateOptions { journal }).await.unwrap();
    state.apply(vec![StateChange::PutNote(number.into(), "here".into())]).await.unwrap();
    let metadata = SqliteMetadata::open(&folder.join("gosync.db"), journal).await.unwrap();
    let store = metadata.store("endpoint", "bucket").await.unwrap();
    metadata.record(store.id, number, vec![put(number, "e")]).await.unwrap();
}

#[tokio::test]
async fn several_handles_in_one_process_may_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let states = join_all((0..8).map(|_| open_state(&path))).await;
    for (number, state) in states.into_iter().enumerate() {
        state.unwrap().apply(vec![StateChange::PutNote(number.to_string(), "here".into())]).await.unwrap();
    }
    assert_eq!(open_state(&path).await.unwrap().note("7").await.unwrap(), Some("here".into()));
}

#[tokio::test]
async fn a_file_of_a_newer_agent_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["state.db", "gosync.db"] {
        let path = folder.path().join(name);
        match name {
            "state.db" => open_state(&path).await.unwrap().close().await,
            _ => open_metadata(&path).await.unwrap().close().await,
        }
        let mut raw = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9000, 'later', 1, x'00', 0)",
        )
        .execute(&mut raw)
        .await
        .unwrap();
        raw.close().await.unwrap();
        let before = std::fs::read(&path).unwrap();
        match name {
            "state.db" => {
                let refused = open_state(&path).await;
                assert!(refused.as_ref().err().unwrap().to_string().contains("newer"));
                assert_refused(refused, StateErrorKind::Newer, &path);
            }
            _ => assert_refused(open_metadata(&path).await, StateErrorKind::Newer, &path),
        }
        assert!(std::fs::read(&path).unwrap() == before, "{name} was changed");
    }
}

#[tokio::test]
async fn metadata_of_each_earlier_schema_is_brought_up_to_date_with_what_is_in_it() {
    let migrations = Migrator::new(Path::new("migrations/metadata")).await.unwrap();
    let newest = migrations.iter().map(|migration| migration.version).max().unwrap();
    assert!(newest > 1);
    for version in 1..newest {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gosync.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut old = options.connect().await.unwrap();
        migrations.run_to(version, &mut old).await.unwrap();
        sqlx::raw_sql(
            "INSERT INTO stores (id, endpoint, bucket, epoch, head_seq) VALUES (7, 'endpoint', 'bucket', 'e', 1); \
             INSERT INTO files (id, store_id, s3_key, size, created_time, etag, is_directory, version, is_deleted, seq, updated_by) \
             VALUES (1, 7, 'old', 3, 0, 'e1', 0, 1, 0, 1, 'c'); \
             INSERT INTO file_changes (store_id, seq, row_id, file_id, s3_key, change_type, changed_at, client_id, etag, size) \
             VALUES (7, 1, 'r', 1, 'old', 'CREATE', 0, 'c', 'e1', 3); \
             INSERT INTO sync_states (client_id, store_id, prefix, epoch, device_name, platform, agent_version, status) \
             VALUES ('c', 7, '', 'e', 'd', 'p', 'v', 'active')",
        )
        .execute(&mut old)
        .await
        .unwrap();
        if version > 1 {
            // Agents of that release said when they were seen.
            sqlx::raw_sql("UPDATE sync_states SET seen_at = unixepoch() * 1000").execute(&mut old).await.unwrap();
        }
        old.close().await.unwrap();
        let metadata = open_metadata(&path).await.unwrap();
        assert_eq!(metadata.store("endpoint", "bucket").await.unwrap().id, 7);
        assert_eq!(metadata.file_by_key(7, "old").await.unwrap().unwrap().size, 3);
        assert_eq!(metadata.record(7, "c", vec![put("new", "e")]).await.unwrap().head, 2);
        // It was there when the agents learned to tell who is silent.
        assert_eq!(metadata.prune_below_cursors(7, 3_600_000).await.unwrap().clients, 0);
        metadata_conformance::conforms(&metadata).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_reported_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let text = "this is not a database ".repeat(1000);
    std::fs::write(&path, &text).unwrap();
    assert_refused(open_state(&path).await, StateErrorKind::Corrupt, &path);
    assert_refused(open_metadata(&path).await, StateErrorKind::Corrupt, &path);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_database_of_another_kind_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    open_state(&path).await.unwrap().close().await;
    assert_refused(open_metadata(&path).await, StateErrorKind::Corrupt, &path);
    open_state(&path).await.unwrap();

    let foreign = folder.path().join("foreign.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&foreign).create_if_missing(true);
    let mut raw = options.connect().await.unwrap();
    sqlx::query("CREATE TABLE files (name TEXT)").execute(&mut raw).await.unwrap();
    raw.close().await.unwrap();
    assert_refused(open_metadata(&foreign).await, StateErrorKind::Corrupt, &foreign);
}

#[tokio::test]
async fn a_damaged_file_is_reported_by_whoever_meets_the_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = open_state(&path).await.unwrap();
    let puts =
        (0..5_000).map(|number| StateChange::PutAncestor(common::path(format!("file {number:05}")), ancestor(number)));
    state.apply(puts.collect()).await.unwrap();
    state.close().await;
    let whole = std::fs::read(&path).unwrap();

    // Cut off in the middle.
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let cut = match open_state(&path).await {
        Ok(state) => state.ancestors_after(None, usize::MAX).await.map(drop),
        Err(error) => Err(error),
    };
    assert_refused(cut, StateErrorKind::Corrupt, &path);

    // Pages in the middle overwritten.
    std::fs::write(&path, &whole).unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(20 * 4096)).unwrap();
    file.write_all(&vec![0xa5; whole.len() - 40 * 4096]).unwrap();
    drop(file);
    let read = match open_state(&path).await {
        Ok(state) => state.ancestors_after(None, usize::MAX).await.map(drop),
        Err(error) => Err(error),
    };
    assert_refused(read, StateErrorKind::Corrupt, &path);
}

#[tokio::test]
async fn what_stands_in_the_way_is_named() {
    let folder = tempfile::tempdir().unwrap();
    assert_refused(open_state(folder.path()).await, StateErrorKind::Unavailable, folder.path());
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_refused(open_state(&file.join("state.db")).await, StateErrorKind::Unavailable, &file);
}

#[tokio::test]
async fn an_empty_file_is_a_new_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    std::fs::write(&path, "").unwrap();
    assert_eq!(open_state(&path).await.unwrap().ancestor_totals().await.unwrap(), (0, 0));
}

#[tokio::test]
async fn the_journal_mode_may_change_between_two_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    for (number, journal) in [JournalMode::Wal, JournalMode::Delete, JournalMode::Wal].into_iter().enumerate() {
        let state = SqliteState::open(&path, StateOptions { journal }).await.unwrap();
        state.apply(vec![StateChange::PutNote(number.to_string(), "here".into())]).await.unwrap();
        let has_log = folder.path().join("state.db-wal").exists();
        assert_eq!(has_log, journal == JournalMode::Wal);
        assert_eq!(state.note("0").await.unwrap(), Some("here".into()));
        state.close().await;
    }
}
