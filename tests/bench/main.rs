//! `make bench`: the agent beside rclone on the same MinIO, on loopback, in one run. Only the ratios mean something: the
//! machine is whatever it is, so each row is measured in pairs, one tool right after the other, and the median of the
//! pairs' ratios is what counts.
//!
//! Prints a table and writes the numbers to `bench/results/`. What must be reached is given as a share of rclone's figure.
// A benchmark stops at the first surprise: there is nobody to hand an error to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod feed;
mod fleet;
mod operator;
mod run;
mod scale;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use gosync_tests::process::Folder;
use gosync_tests::proxy::{Proxy, Verdict};
use gosync_tests::rclone::Rclone;
use gosync_tests::server::{Address, Server};
use gosync_tests::tree::{self, Compare};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use serde_json::json;

use run::{Agent, Spent, peer};

/// The way to the store.
struct Line {
    /// Of the results.
    name: &'static str,
    /// Added to each request.
    delay: Duration,
    /// At once, of the peer: what serves it best on this line.
    transfers: &'static str,
    /// What is measured, in the order of the table, with the share of rclone's figure that must be reached.
    rows: [Row; 5],
}

const LOOPBACK: Line = Line {
    name: "peers",
    delay: Duration::ZERO,
    transfers: "16",
    rows: [
        Row { name: "first upload", wall_max: Some(0.684), cpu_max: Some(0.396) },
        Row { name: "first download", wall_max: Some(0.698), cpu_max: Some(0.637) },
        Row { name: "nothing changed", wall_max: Some(1.0), cpu_max: None },
        Row { name: "1 GiB up", wall_max: Some(0.53), cpu_max: None },
        Row { name: "1 GiB down", wall_max: Some(0.86), cpu_max: None },
    ],
};

/// A store far away. rclone takes as many workers here as s5cmd does unasked.
const LONG_LINE: Line = Line {
    name: "line",
    delay: Duration::from_millis(50),
    transfers: "256",
    rows: [
        Row { name: "first upload", wall_max: Some(1.0), cpu_max: None },
        Row { name: "first download", wall_max: Some(1.0), cpu_max: None },
        Row { name: "nothing changed", wall_max: Some(1.0), cpu_max: None },
        Row { name: "1 GiB up", wall_max: Some(1.0), cpu_max: None },
        Row { name: "1 GiB down", wall_max: Some(1.0), cpu_max: None },
    ],
};

/// Peak memory of the agent over the rows with many files, bytes.
const PEAK_BYTES_MAX: u64 = 48 << 20;

struct Row {
    name: &'static str,
    wall_max: Option<f64>,
    cpu_max: Option<f64>,
}

/// How much work a run is; smaller figures are for trying the benchmark itself.
struct Size {
    rounds: usize,
    files: usize,
    file_bytes: usize,
    big_bytes: usize,
}

/// A size from the environment.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number")))
}

impl Size {
    fn from_environment() -> Self {
        Self {
            rounds: number("GOSYNC_BENCH_ROUNDS", 3),
            files: number("GOSYNC_BENCH_FILES", 10_000),
            file_bytes: 4 << 10,
            big_bytes: number("GOSYNC_BENCH_BIG_MIB", 1024) << 20,
        }
    }
}

/// By row and tool, one figure a round.
type Figures = BTreeMap<(usize, &'static str), Vec<Spent>>;

// Several threads: one waits for the tools while others serve them the dev store.
#[tokio::main]
async fn main() {
    match std::env::args().nth(1).as_deref() {
        None => beside_rclone(&LOOPBACK).await,
        Some("line") => beside_rclone(&LONG_LINE).await,
        Some("scale") => scale::run().await,
        Some("feed") => feed::run().await,
        Some("fleet") => fleet::run().await,
        Some("operator") => operator::run().await,
        Some(other) => panic!("{other}: nothing, line, scale, feed, fleet or operator"),
    }
}

async fn beside_rclone(line: &Line) {
    let size = Size::from_environment();
    let folder = Folder::new("bench");
    println!(
        "{} files of {} bytes, then one of {} MiB; {} rounds",
        size.files,
        size.file_bytes,
        size.big_bytes >> 20,
        size.rounds
    );
    let (small, big) = (folder.dir("small"), folder.dir("big"));
    plant_files(&small, size.files, size.file_bytes);
    fs::write(big.join("big"), random(0, size.big_bytes)).unwrap();

    let server = Server::minio().await;
    let address = match line.delay {
        Duration::ZERO => server.address.clone(),
        delay => delayed(&server.address, delay),
    };
    let mut figures = Figures::new();
    for round in 0..size.rounds {
        let name = format!("round-{round}");
        let bucket = server.bucket(&name).await;
        let work = folder.dir(&name);
        let sources = Sources { small: &small, big: &big };
        let gosync = Gosync::new(&address, &bucket.bucket, &work, &sources);
        let rclone = Peer::new(&address, &bucket.bucket, &work, &sources, line.transfers);
        for (number, row) in line.rows.iter().enumerate() {
            // Pairs right after each other, and each begins as often as the other.
            let mut tools = ["gosync", "rclone"];
            tools.rotate_left((round + number) % 2);
            for tool in tools {
                settle();
                let spent = match tool {
                    "gosync" => gosync.measure(number).await,
                    _ => rclone.measure(number),
                };
                println!("round {round}  {tool:7} {:16} {spent}", row.name);
                figures.entry((number, tool)).or_default().push(spent);
            }
        }
        gosync.check(&sources);
        rclone.check(&sources);
        fs::remove_dir_all(&work).unwrap();
        fs::remove_dir_all(server.folder.path().join("data").join(&name)).unwrap();
    }
    report(line, &figures, &size);
}

/// The same store behind a proxy that holds up each request, on a thread of its own: this one waits for the tools.
fn delayed(address: &Address, delay: Duration) -> Address {
    let (sender, receiver) = std::sync::mpsc::channel();
    let address = address.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let proxy = Proxy::start(&address).await;
            proxy.rule(move |_| Verdict::Delay(delay));
            sender.send(proxy.address.clone()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

/// What others left for the disk to write is not to be paid by whoever syncs next.
fn settle() {
    assert!(Command::new("sync").status().unwrap().success());
}

fn random(seed: u64, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    SmallRng::seed_from_u64(seed).fill_bytes(&mut content);
    content
}

/// A hundred files a folder.
fn plant_files(root: &Path, files: usize, bytes: usize) {
    for number in 0..files {
        let folder = root.join(format!("folder-{:03}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&folder).unwrap();
        }
        fs::write(folder.join(format!("file-{number:06}.bin")), random(number as u64, bytes)).unwrap();
    }
}

/// What is uploaded.
struct Sources<'a> {
    small: &'a Path,
    big: &'a Path,
}

fn made(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).unwrap();
    path
}

/// The agents of one round: one for each direction and size.
struct Gosync {
    up: Agent,
    down: Agent,
    big_up: Agent,
    big_down: Agent,
    to: PathBuf,
    big_to: PathBuf,
}

impl Gosync {
    fn new(address: &Address, bucket: &str, work: &Path, sources: &Sources<'_>) -> Self {
        // The agent leaves its marker in the root: it gets a copy, not the original.
        let (from, to) = (made(work.join("gosync/from")), made(work.join("gosync/to")));
        let (big_from, big_to) = (made(work.join("gosync/big-from")), made(work.join("gosync/big-to")));
        copy_all(sources.small, &from);
        copy_all(sources.big, &big_from);
        Self {
            up: Agent::new(address, bucket, &from, "/gosync/small"),
            down: Agent::new(address, bucket, &to, "/gosync/small"),
            big_up: Agent::new(address, bucket, &big_from, "/gosync/big"),
            big_down: Agent::new(address, bucket, &big_to, "/gosync/big"),
            to,
            big_to,
        }
    }

    /// The row of a [`Line`] with this number.
    async fn measure(&self, row: usize) -> Spent {
        let agent = [&self.up, &self.down, &self.up, &self.big_up, &self.big_down][row];
        agent.until_flushed().await
    }

    fn check(&self, sources: &Sources<'_>) {
        tree::same(sources.small, &self.to, Compare::Everything).unwrap();
        tree::same(sources.big, &self.big_to, Compare::Everything).unwrap();
    }
}

/// rclone's commands of one round, in the order of a [`Line`]'s rows.
struct Peer {
    rclone: Rclone,
    commands: [Vec<String>; 5],
    to: PathBuf,
    big_to: PathBuf,
}

impl Peer {
    fn new(address: &Address, bucket: &str, work: &Path, sources: &Sources<'_>, transfers: &str) -> Self {
        let (to, big_to) = (made(work.join("rclone/to")), made(work.join("rclone/big-to")));
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let (small, big) = (text(sources.small), text(sources.big));
        let (small_remote, big_remote) = (format!("s3:{bucket}/rclone/small"), format!("s3:{bucket}/rclone/big"));
        let command = |command: &str, from: &str, to: &str, more: &[&str]| {
            [&[command, from, to, "--transfers", transfers, "--checkers", transfers], more]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        let big_up = ["--s3-upload-concurrency", "8", "--s3-chunk-size", "16M"];
        let commands = [
            command("copy", &small, &small_remote, &["--no-traverse"]),
            command("copy", &small_remote, &text(&to), &["--fast-list"]),
            command("sync", &small, &small_remote, &["--size-only", "--fast-list"]),
            command("copy", &big, &big_remote, &big_up),
            command("copy", &big_remote, &text(&big_to), &["--multi-thread-streams", "8"]),
        ];
        Self { rclone: Rclone::new(address), commands, to, big_to }
    }

    fn measure(&self, row: usize) -> Spent {
        let args: Vec<&str> = self.commands[row].iter().map(String::as_str).collect();
        peer(self.rclone.command(&args))
    }

    fn check(&self, sources: &Sources<'_>) {
        tree::same(sources.small, &self.to, Compare::Content).unwrap();
        tree::same(sources.big, &self.big_to, Compare::Content).unwrap();
    }
}

fn copy_all(from: &Path, to: &Path) {
    for name in tree::names(from) {
        let target = to.join(&name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(&name), &target).unwrap();
        let modified = fs::metadata(from.join(&name)).unwrap().modified().unwrap();
        fs::File::options().write(true).open(&target).unwrap().set_modified(modified).unwrap();
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn report(line: &Line, figures: &Figures, size: &Size) {
    println!("\n| | gosync s / CPU s / MiB | rclone s / CPU s / MiB | wall ratio | at most | CPU ratio | at most | |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut rows = Vec::new();
    for (number, row) in line.rows.iter().enumerate() {
        let (ours, theirs) = (&figures[&(number, "gosync")], &figures[&(number, "rclone")]);
        let pairs = || ours.iter().zip(theirs);
        let wall = median(pairs().map(|(ours, theirs)| ours.wall_seconds / theirs.wall_seconds));
        let cpu = median(pairs().map(|(ours, theirs)| ours.cpu_seconds / theirs.cpu_seconds));
        let medians = |spent: &[Spent]| {
            let mib = median(spent.iter().map(|spent| spent.peak_bytes as f64)) / f64::from(1 << 20);
            (
                median(spent.iter().map(|spent| spent.wall_seconds)),
                median(spent.iter().map(|spent| spent.cpu_seconds)),
                mib,
            )
        };
        let (ours, theirs) = (medians(ours), medians(theirs));
        let reached = row.wall_max.is_none_or(|most| wall <= most) && row.cpu_max.is_none_or(|most| cpu <= most);
        let most = |most: Option<f64>| most.map_or(String::new(), |most| format!("{most:.2}"));
        println!(
            "| {} | {:.2} / {:.2} / {:.0} | {:.2} / {:.2} / {:.0} | {wall:.2} | {} | {cpu:.2} | {} | {} |",
            row.name,
            ours.0,
            ours.1,
            ours.2,
            theirs.0,
            theirs.1,
            theirs.2,
            most(row.wall_max),
            most(row.cpu_max),
            if reached { "reached" } else { "missed" },
        );
        rows.push(json!({
            "row": row.name, "wall_ratio": wall, "wall_ratio_max": row.wall_max, "cpu_ratio": cpu, "cpu_ratio_max": row.cpu_max,
            "gosync": {"wall_seconds": ours.0, "cpu_seconds": ours.1, "peak_mib": ours.2},
            "rclone": {"wall_seconds": theirs.0, "cpu_seconds": theirs.1, "peak_mib": theirs.2},
        }));
    }
    let peak = (0..3).flat_map(|row| &figures[&(row, "gosync")]).map(|spent| spent.peak_bytes).max().unwrap();
    let reached = if peak <= PEAK_BYTES_MAX { "reached" } else { "missed" };
    println!(
        "\npeak memory of the agent with {} files: {} MiB, at most {} MiB: {reached}",
        size.files,
        peak >> 20,
        PEAK_BYTES_MAX >> 20
    );

    let result = json!({"files": size.files, "file_bytes": size.file_bytes, "big_bytes": size.big_bytes, "rounds": size.rounds,
        "peak_bytes": peak, "peak_bytes_max": PEAK_BYTES_MAX, "rows": rows});
    write_results(line.name, &result);
}

fn write_results(name: &str, result: &serde_json::Value) {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/results");
    fs::create_dir_all(&results).unwrap();
    let seconds = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let file = results.join(format!("{name}-{seconds}.json"));
    fs::write(&file, serde_json::to_string_pretty(result).unwrap()).unwrap();
    println!("written to bench/results/{name}-{seconds}.json");
}
