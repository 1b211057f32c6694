//! Applications that hold a file open while the other side changes it. Whatever they wrote is found on both sides when
//! they are done: at its path or in a conflict copy.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use gosync_tests::pair::{MIRROR, PREFIX, write};
use gosync_tests::process::Folder;
use gosync_tests::replica::{Replica, bucket, in_step, quiet};
use gosync_tests::server::Server;
use gosync_tests::stranger::Stranger;
use gosync_tests::tree::{self, Compare};
use gosync_tests::wait;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _};

/// Two replicas, and an application on the left that is about to open files there.
struct Scene {
    left: Replica,
    right: Replica,
    bucket: Stranger,
    folder: Folder,
    _server: Arc<Server>,
}

impl Scene {
    /// Both sides hold these files.
    async fn new(name: &str, files: &[(&str, &[u8])]) -> Self {
        let (server, bucket) = bucket(name).await;
        let folder = Folder::new(name);
        for (path, content) in files {
            write(&Replica::root(&folder, "left").join(path), content);
        }
        // Not twenty times as long as the tests below: a file that never comes to rest goes up all the same.
        let patient = |config: &mut serde_json::Value| config["sync"]["settle_max"] = json!("5m");
        let left = Replica::start_with(&folder, "left", &bucket, patient).await;
        let right = Replica::start_with(&folder, "right", &bucket, patient).await;
        in_step(&left, &right, &bucket, Compare::Everything).await;
        Self { left, right, bucket, folder, _server: server }
    }

    /// The other side writes this; returns when the left agent knows and waits for the application.
    async fn changed_on_the_right(&self, path: &str, content: &[u8]) {
        write(&self.right.root.join(path), content);
        let key = format!("{PREFIX}{path}");
        wait::until("the other side's edit is in the bucket", async || {
            let found = self.bucket.get(&key).await;
            wait::hold(found.as_deref() == Some(content), format!("{:?} bytes", found.map(|found| found.len())))
        })
        .await;
        self.left.cycles(1).await;
        self.left
            .agent
            .until(MIRROR, &format!("{path} is held open"), |mirror| {
                mirror["paths"].as_array().unwrap().iter().any(|note| note["path"] == path && note["state"] == "busy")
            })
            .await;
    }

    /// Both sides come to hold the same, and each of these contents whole.
    async fn keeps(&self, contents: &[&[u8]]) {
        in_step(&self.left, &self.right, &self.bucket, Compare::Content).await;
        for root in [&self.left.root, &self.right.root] {
            let found: Vec<Vec<u8>> = tree::names(root).iter().map(|name| fs::read(root.join(name)).unwrap()).collect();
            for content in contents {
                let there = found.iter().any(|found| found == content);
                assert!(there, "{} lacks {:?}", root.display(), String::from_utf8_lossy(content));
            }
        }
        quiet(&self.left, &self.right).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_appended_through_an_open_handle_survive_the_other_sides_edit() {
    let scene = Scene::new("open-append", &[("app.log", b"begin\n")]).await;
    let mut log = OpenOptions::new().append(true).open(scene.left.root.join("app.log")).unwrap();
    let mut expected = b"begin\n".to_vec();
    let mut append = |count: usize| {
        for number in 0..count {
            let line = format!("line {number} of {count}\n");
            log.write_all(line.as_bytes()).unwrap();
            expected.extend_from_slice(line.as_bytes());
        }
    };
    append(1);
    scene.changed_on_the_right("app.log", b"rotated").await;
    append(2);
    scene.left.cycles(2).await;
    append(3);
    drop(log);
    scene.keeps(&[&expected, b"rotated"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_written_in_place_survives_the_other_sides_edit() {
    let scene = Scene::new("open-in-place", &[("disk.img", &[0; 100_000])]).await;
    let image = File::options().read(true).write(true).open(scene.left.root.join("disk.img")).unwrap();
    scene.changed_on_the_right("disk.img", &[7; 100_000]).await;
    // Nothing was written before the other side's edit arrived.
    let mut expected = vec![0; 100_000];
    for (number, offset) in (1..).zip([0_usize, 99_990, 50_000]) {
        image.write_all_at(&[number; 10], offset as u64).unwrap();
        expected[offset..offset + 10].fill(number);
        scene.left.cycles(1).await;
    }
    drop(image);
    scene.keeps(&[&expected, &[7; 100_000]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_through_a_mapping_survive_the_other_sides_edit() {
    const BYTES: usize = 8_192;
    let scene = Scene::new("open-mapped", &[("mapped", &[1; BYTES])]).await;
    let mut mapping = Mapping::of(&scene.left.root.join("mapped"), BYTES);
    mapping.fill(0..10, 2);
    scene.changed_on_the_right("mapped", &[9; BYTES]).await;
    mapping.fill(4_096..4_106, 3);
    scene.left.cycles(2).await;
    mapping.fill(8_000..8_010, 4);
    drop(mapping);
    let mut expected = vec![1; BYTES];
    expected[0..10].fill(2);
    expected[4_096..4_106].fill(3);
    expected[8_000..8_010].fill(4);
    scene.keeps(&[&expected, &[9; BYTES]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_sqlite_committed_survive_the_other_sides_edit() {
    let scene = Scene::new("open-sqlite", &[("readme", b"two databases will come")]).await;
    let modes = [("rollback.db", SqliteJournalMode::Delete), ("wal.db", SqliteJournalMode::Wal)];
    let mut open = Vec::new();
    for (name, mode) in modes {
        let mut database = Database::open(&scene.left.root.join(name), mode).await;
        database.insert(0..10).await;
        database.close().await;
    }
    in_step(&scene.left, &scene.right, &scene.bucket, Compare::Content).await;
    for (name, mode) in modes {
        let mut database = Database::open(&scene.left.root.join(name), mode).await;
        database.insert(10..20).await;
        open.push(database);
    }
    for (name, _) in modes {
        scene.changed_on_the_right(name, b"no database any more").await;
    }
    for database in &mut open {
        database.insert(20..50).await;
    }
    scene.left.cycles(2).await;
    for mut database in open {
        database.insert(50..60).await;
        database.close().await;
    }
    scene.keeps(&[b"no database any more"]).await;
    // Looked at aside: SQLite would write beside what it opens.
    let aside = scene.folder.dir("aside");
    for (name, mode) in modes {
        let stem = name.strip_suffix(".db").unwrap();
        let mut kept = Vec::new();
        for found in tree::names(&scene.right.root) {
            if found.starts_with(stem) && found.ends_with(".db") {
                let copy = aside.join(&found);
                fs::copy(scene.right.root.join(&found), &copy).unwrap();
                kept.push(Database::rows(&copy, mode).await);
            }
        }
        assert!(kept.contains(&Some((0..60).collect())), "{name}: {kept:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_held_open_outlives_its_delete_on_the_other_side() {
    let scene = Scene::new("open-deleted", &[("draft.txt", b"begin "), ("other.txt", b"stays")]).await;
    let mut draft = OpenOptions::new().append(true).open(scene.left.root.join("draft.txt")).unwrap();
    fs::remove_file(scene.right.root.join("draft.txt")).unwrap();
    wait::until("the object is gone", async || {
        wait::hold(scene.bucket.head(&format!("{PREFIX}draft.txt")).await.is_none(), "still there")
    })
    .await;
    scene.left.cycles(3).await;
    draft.write_all(b"and end").unwrap();
    drop(draft);
    scene.keeps(&[b"begin and end", b"stays"]).await;
    assert_eq!(fs::read(scene.right.root.join("draft.txt")).unwrap(), b"begin and end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_never_closed_arrives_all_the_same() {
    let (_server, bucket) = bucket("open-for-ever").await;
    let folder = Folder::new("open-for-ever");
    let hasty = |config: &mut serde_json::Value| config["sync"]["settle_max"] = json!("2s");
    let left = Replica::start_with(&folder, "left", &bucket, hasty).await;
    let right = Replica::start_with(&folder, "right", &bucket, hasty).await;
    let mut log = File::create(left.root.join("app.log")).unwrap();
    let mut expected = Vec::new();
    for number in 0..3 {
        let line = format!("line {number}\n");
        log.write_all(line.as_bytes()).unwrap();
        expected.extend_from_slice(line.as_bytes());
        wait::until("what was written so far is on the other side", async || {
            let found = fs::read(right.root.join("app.log")).unwrap_or_default();
            wait::hold(found == expected, String::from_utf8_lossy(&found).into_owned())
        })
        .await;
        let head = bucket.head(&format!("{PREFIX}app.log")).await.unwrap();
        assert!(head.metadata.contains_key("gosync-open"), "not marked as read while it was open: {:?}", head.metadata);
    }
    log.write_all(b"end\n").unwrap();
    drop(log);
    expected.extend_from_slice(b"end\n");
    in_step(&left, &right, &bucket, Compare::Content).await;
    assert_eq!(fs::read(right.root.join("app.log")).unwrap(), expected);
    quiet(&left, &right).await;
}

/// A file mapped for writing whose handle is closed: no event tells of what is stored through it.
struct Mapping {
    begin: *mut u8,
    bytes: usize,
}

// SAFETY: the mapping is this value's alone, and belongs to no thread.
#[allow(unsafe_code, reason = "there is no mapping a file without it")]
unsafe impl Send for Mapping {}

impl Mapping {
    #[allow(unsafe_code, reason = "there is no mapping a file without it")]
    fn of(path: &Path, bytes: usize) -> Self {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let both = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping of a file that is that long; unmapped once, when this value is dropped.
        let begin = unsafe { mmap(std::ptr::null_mut(), bytes, both, MapFlags::SHARED, &file, 0) }.unwrap();
        Self { begin: begin.cast(), bytes }
    }

    #[allow(unsafe_code, reason = "there is no mapping a file without it")]
    fn fill(&mut self, range: std::ops::Range<usize>, value: u8) {
        assert!(range.end <= self.bytes);
        // SAFETY: inside the mapping, which nobody else in this process knows.
        unsafe { self.begin.add(range.start).write_bytes(value, range.len()) };
    }
}

impl Drop for Mapping {
    #[allow(unsafe_code, reason = "there is no mapping a file without it")]
    fn drop(&mut self) {
        // SAFETY: mapped by `of`, with this length.
        unsafe { munmap(self.begin.cast(), self.bytes).unwrap() };
    }
}

/// An application's database.
struct Database(SqliteConnection);

impl Database {
    async fn open(path: &Path, mode: SqliteJournalMode) -> Self {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).journal_mode(mode);
        let mut connection = options.connect().await.unwrap();
        sqlx::query("CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY, filler BLOB)")
            .execute(&mut connection)
            .await
            .unwrap();
        Self(connection)
    }

    /// One transaction each.
    async fn insert(&mut self, numbers: std::ops::Range<i64>) {
        for number in numbers {
            let insert = sqlx::query("INSERT INTO rows VALUES ($1, randomblob(2000))").bind(number);
            insert.execute(&mut self.0).await.unwrap();
        }
    }

    async fn close(self) {
        self.0.close().await.unwrap();
    }

    /// The numbers in it, unless it is no sound database.
    async fn rows(path: &Path, mode: SqliteJournalMode) -> Option<Vec<i64>> {
        let options = SqliteConnectOptions::new().filename(path).journal_mode(mode);
        let mut connection = options.connect().await.ok()?;
        let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.ok()?;
        let rows = sqlx::query_scalar("SELECT n FROM rows ORDER BY n").fetch_all(&mut connection).await.ok()?;
        (sound == "ok").then_some(rows)
    }
}
