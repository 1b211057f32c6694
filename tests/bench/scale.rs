//! What many files, large files and slow lines cost: rows that a peer has no counterpart for, or that ask for a bound.
//!
//! The objects of the rows with a million files are written past the dev store, straight into its index: a million requests
//! would measure nothing more. They are empty, and so are the files: what is measured is what each path costs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use gosync_dev_s3::{Counters, Operation};
use gosync_tests::dev_store::DevStore;
use gosync_tests::process::Folder;
use gosync_tests::server::Server;
use serde_json::json;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::run::{Agent, Spent};
use crate::{number, random, settle};

const MIB: u64 = 1 << 20;
const SWEEP_BYTES_MAX: u64 = 100 * MIB;
const GROWTH_MAX: f64 = 1.3;
const PROVISION_SECONDS_MAX: f64 = 60.0;
const IDLE_BYTES_MAX: u64 = 30 * MIB;
const IDLE_CPU_MAX: f64 = 0.01;
const IDLE_SECONDS: u64 = 60;
const LARGE_FILES: usize = 4;
const LARGE_BYTES_MAX: u64 = 96 * MIB;
const RECOVERY_MAX: f64 = 1.1;

/// Where a file of so many stands.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A thousand files a folder.
    Folders,
    /// All in one.
    Flat,
}

impl Shape {
    fn path(self, number: u64) -> String {
        match self {
            Self::Folders => format!("folder-{:04}/{number:07}", number / 1_000),
            Self::Flat => format!("{number:07}"),
        }
    }

    /// The same in the words of SQLite, for the row `n`.
    fn sql(self) -> &'static str {
        match self {
            Self::Folders => "printf('docs/folder-%04d/%07d', n / 1000, n)",
            Self::Flat => "printf('docs/%07d', n)",
        }
    }
}

pub async fn run() {
    let many = number("GOSYNC_BENCH_MANY", 1_000_000) as u64;
    println!("| | measured | at most | |\n|---|---|---|---|");
    let mut rows = Rows::default();
    for shape in [Shape::Folders, Shape::Flat] {
        let few = sweep(&mut rows, shape, many / 10).await;
        let all = sweep(&mut rows, shape, many).await;
        let growth = all as f64 / few as f64;
        rows.add(
            &format!("the same, growth of the peak ({shape:?})"),
            format!("{growth:.2}"),
            GROWTH_MAX,
            growth <= GROWTH_MAX,
        );
    }
    provision(&mut rows, many).await;
    transfers(&mut rows).await;
    recovery(&mut rows).await;
    crate::write_results("scale", &json!({"files": many, "rows": rows.0}));
}

#[derive(Default)]
pub struct Rows(pub Vec<serde_json::Value>);

impl Rows {
    pub fn add(&mut self, row: &str, measured: String, most: impl ToString, reached: bool) {
        let (most, told) = (most.to_string(), if reached { "reached" } else { "missed" });
        println!("| {row} | {measured} | {most} | {told} |");
        self.0.push(json!({"row": row, "measured": measured, "at_most": most, "reached": reached}));
    }

    fn bytes(&mut self, row: &str, spent: &Spent, most: u64) {
        let reached = spent.peak_bytes <= most;
        self.add(row, format!("{} MiB ({spent})", spent.peak_bytes / MIB), format!("{} MiB", most / MIB), reached);
    }
}

/// A store whose bucket holds so many empty objects below `docs/`.
pub async fn filled(shape: Shape, files: u64) -> DevStore {
    let store = DevStore::start().await;
    store.bucket("bucket").await;
    let index = store.folder.path().join("data/index.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(index);
    let mut index = options.connect().await.unwrap();
    let statement = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
         INSERT INTO versions (bucket, key, name, latest, marker, size, etag, modified_ms, details)
         SELECT (SELECT id FROM buckets), CAST({} AS BLOB), 'null', 1, 0, 0,
                'd41d8cd98f00b204e9800998ecf8427e', 1700000000000, '{{}}' FROM numbers",
        shape.sql()
    );
    let statement = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(i64::try_from(files).unwrap() - 1);
    statement.execute(&mut index).await.unwrap();
    index.close().await.unwrap();
    store
}

pub fn plant(root: &Path, shape: Shape, files: u64) {
    for number in 0..files {
        let path = root.join(shape.path(number));
        if number % 1_000 == 0 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        fs::File::create(path).unwrap();
    }
}

fn reads_and_writes(counters: &Counters) -> u64 {
    let counts = counters.snapshot();
    let of = |operation| counts.of(operation);
    of(Operation::GetObject) + of(Operation::PutObject) + of(Operation::CopyObject) + of(Operation::DeleteObject)
}

/// Adopts so many files, then looks at all of them again. Returns the peak of the second run, bytes.
async fn sweep(rows: &mut Rows, shape: Shape, files: u64) -> u64 {
    let folder = Folder::new("scale");
    let root = folder.dir("docs");
    let store = filled(shape, files).await;
    plant(&root, shape, files);
    settle();
    let change = |config: &mut serde_json::Value| {
        // A listing tells no mode: a HEAD for each would be all that the first run costs.
        config["sync"] = json!({"mode": "off"});
    };
    let agent = Agent::with(&store.address, "bucket", &root, "/docs", change);
    let adopted = agent.until_flushed().await;
    rows.bytes(&format!("first run, {files} files that are there already ({shape:?})"), &adopted, SWEEP_BYTES_MAX);
    let swept = agent.until_flushed().await;
    rows.bytes(&format!("sweep of {files} unchanged files ({shape:?})"), &swept, SWEEP_BYTES_MAX);
    if files <= 100_000 && matches!(shape, Shape::Folders) {
        idle(rows, &agent, &store, files).await;
    }
    swept.peak_bytes
}

async fn idle(rows: &mut Rows, agent: &Agent, store: &DevStore, files: u64) {
    let running = agent.start();
    agent.flush();
    let (before, requests) = (running.cpu(), store.counters().snapshot().total());
    tokio::time::sleep(Duration::from_secs(IDLE_SECONDS)).await;
    let share = (running.cpu() - before) / IDLE_SECONDS as f64;
    let asked = (store.counters().snapshot().total() - requests) * 3_600 / IDLE_SECONDS;
    let resident = running.resident();
    running.end();
    let row = format!("idle, {files} files");
    rows.add(&format!("{row}: memory"), format!("{} MiB", resident / MIB), "30 MiB", resident <= IDLE_BYTES_MAX);
    rows.add(&format!("{row}: share of a core"), format!("{share:.4}"), IDLE_CPU_MAX, share <= IDLE_CPU_MAX);
    rows.add(&format!("{row}: requests an hour"), asked.to_string(), "", true);
}

async fn provision(rows: &mut Rows, keys: u64) {
    let store = filled(Shape::Folders, keys).await;
    let folder = Folder::new("scale");
    let agent = Agent::with(&store.address, "bucket", &folder.dir("unused"), "/docs", |config| {
        config["syncs"] = json!([]);
    });
    let before = reads_and_writes(&store.counters());
    let spent = agent.provision("/docs");
    let touched = reads_and_writes(&store.counters()) - before;
    let row = format!("provision of {keys} keys");
    rows.bytes(&row, &spent, SWEEP_BYTES_MAX);
    let reached = spent.wall_seconds <= PROVISION_SECONDS_MAX;
    rows.add(&format!("{row}: seconds"), format!("{:.1}", spent.wall_seconds), PROVISION_SECONDS_MAX, reached);
    rows.add(&format!("{row}: objects read or written"), touched.to_string(), 0, touched == 0);
}

/// Large files at once, up to MinIO and down again.
async fn transfers(rows: &mut Rows) {
    let bytes = number("GOSYNC_BENCH_BIG_MIB", 1_024) << 20;
    let (folder, server) = (Folder::new("scale"), Server::minio().await);
    let bucket = server.bucket("transfers").await;
    let (from, to) = (folder.dir("from"), folder.dir("to"));
    for number in 0..LARGE_FILES {
        fs::write(from.join(format!("big-{number}")), random(number as u64, bytes)).unwrap();
    }
    for (way, root) in [("up", &from), ("down", &to)] {
        settle();
        let agent = Agent::with(&server.address, &bucket.bucket, root, "/docs", |_| {});
        let row = format!("{LARGE_FILES} files of {} MiB at once, {way}", bytes >> 20);
        rows.bytes(&row, &agent.until_flushed().await, LARGE_BYTES_MAX);
    }
}

/// Killed in the middle of the first upload, against the share of it that was left to do.
async fn recovery(rows: &mut Rows) {
    let files = number("GOSYNC_BENCH_FILES", 10_000);
    let (folder, server) = (Folder::new("scale"), Server::minio().await);
    let bucket = server.bucket("recovery").await;
    let mut ratios = Vec::new();
    for round in 0..3 {
        let (whole, killed) = (folder.dir(&format!("whole-{round}")), folder.dir(&format!("killed-{round}")));
        for root in [&whole, &killed] {
            crate::plant_files(root, files, 4 << 10);
        }
        settle();
        let prefix = format!("/whole-{round}");
        let uninterrupted = Agent::with(&server.address, &bucket.bucket, &whole, &prefix, |_| {}).until_flushed().await;
        settle();
        let prefix = format!("killed-{round}/");
        let agent = Agent::with(&server.address, &bucket.bucket, &killed, &format!("/{prefix}"), |_| {});
        let running = agent.start();
        tokio::time::sleep(Duration::from_secs_f64(uninterrupted.wall_seconds / 2.0)).await;
        running.kill();
        let left = files - bucket.keys(&prefix).await.iter().filter(|key| !key.contains("/.gosync/")).count();
        let spent = agent.until_flushed().await;
        ratios.push(spent.wall_seconds / (uninterrupted.wall_seconds * left as f64 / files as f64));
    }
    let ratio = crate::median(ratios.into_iter());
    rows.add(
        "kill -9 in the middle, to settled / what was left",
        format!("{ratio:.2}"),
        RECOVERY_MAX,
        ratio <= RECOVERY_MAX,
    );
}
