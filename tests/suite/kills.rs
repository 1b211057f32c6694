//! kill -9, again and again, while files go up on one side and come down on the other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use gosync_tests::pair::{PREFIX, write};
use gosync_tests::process::Folder;
use gosync_tests::replica::{LONG, Replica, in_step, quiet};
use gosync_tests::server::Server;
use gosync_tests::tree::{self, Compare};
use gosync_tests::wait;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

const FILES: usize = 2_000;
/// Before all others in the order of keys, so that kills meet it too.
const LARGE: &str = "a/large.bin";
const LARGE_BYTES: usize = 300 << 20;
const KILLS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_lose_nothing_and_show_nobody_half_a_file() {
    // Its own: the uploads that are left over are counted on its disk.
    let server = Server::minio().await;
    let bucket = server.bucket("kills").await;
    let folder = Folder::new("kills");
    let mut random = SmallRng::seed_from_u64(20);
    let mut writer = Writer {
        root: Replica::root(&folder, "left"),
        aside: folder.dir("aside"),
        expected: BTreeMap::new(),
        deleted: BTreeMap::new(),
    };
    for number in 0..FILES {
        writer.put(&format!("d{:02}/f{number:04}", number % 40), random.random_range(0..20_000), &mut random);
    }
    writer.put(LARGE, LARGE_BYTES, &mut random);

    let left = Replica::start(&folder, "left", &bucket).await;
    let right = Replica::start(&folder, "right", &bucket).await;
    let watchers = [&left, &right].map(|replica| Watcher::start(&replica.root));
    let mut both = [left, right];
    for kill in 0..KILLS {
        // Work goes on meanwhile, or the last kills would meet agents that have nothing left to do.
        for _ in 0..20 {
            writer.change(&mut random);
        }
        if kill == KILLS / 2 {
            writer.put(LARGE, LARGE_BYTES, &mut random);
        }
        // The only sleep that is meant: the moment of a kill is what the seed chooses.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1_500))).await;
        let agent = &mut both[random.random_range(0..2)].agent;
        agent.kill();
        agent.relaunch();
    }
    let [mut left, mut right] = both;
    left.agent.answering().await;
    right.agent.answering().await;

    in_step(&left, &right, &bucket, Compare::Everything).await;
    let settled = tree::read(&right.root);
    let expected = &writer.expected;
    let lost: Vec<&String> = expected.keys().filter(|path| !settled.contains_key(*path)).collect();
    assert_eq!(lost, Vec::<&String>::new());
    let other: Vec<_> = settled.iter().filter(|(path, file)| expected.get(*path) != Some(&file.blake3)).collect();
    // One that was deleted while an agent came back from a kill in the middle of its upload looks like one that a power loss
    // took, and comes back as it was.
    let came_back = |path: &String, hash| !expected.contains_key(path) && writer.deleted.get(path) == Some(hash);
    let unasked: Vec<_> = other.iter().filter(|(path, file)| !came_back(path, &file.blake3)).collect();
    assert!(unasked.is_empty(), "more, or other contents: {unasked:?}");
    assert!(other.len() <= KILLS, "{other:?}");
    for watcher in watchers {
        watcher.stop();
    }
    for replica in [&left, &right] {
        let tmp = replica.root.join(".gosync/tmp");
        wait::until("nothing is left of unfinished work", async || {
            let left_over = tree::names(&tmp).len() + tree::names(&replica.root.join(".gosync/displaced")).len();
            wait::hold(left_over == 0, left_over)
        })
        .await;
    }
    wait::until_within(LONG, "no upload of ours is left open", async || {
        let open = bucket.open_uploads(&format!("{PREFIX}{LARGE}")).await;
        wait::hold(open.is_empty(), format!("{open:?}"))
    })
    .await;
    quiet(&left, &right).await;
}

/// The application on one side: each of its files appears whole, by a rename, and begins with the hash of its content.
struct Writer {
    root: PathBuf,
    aside: PathBuf,
    expected: BTreeMap<String, blake3::Hash>,
    /// What it deleted, as it was last.
    deleted: BTreeMap<String, blake3::Hash>,
}

const HASH_BYTES: usize = 32;

impl Writer {
    fn put(&mut self, path: &str, bytes: usize, random: &mut SmallRng) {
        let mut content = vec![0; HASH_BYTES + bytes];
        random.fill_bytes(&mut content[HASH_BYTES..]);
        let hash = blake3::hash(&content[HASH_BYTES..]);
        content[..HASH_BYTES].copy_from_slice(hash.as_bytes());
        self.expected.insert(path.to_owned(), blake3::hash(&content));
        let aside = self.aside.join("next");
        write(&aside, content);
        let to = self.root.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(aside, to).unwrap();
    }

    /// Edits, deletes or adds one of the small files.
    fn change(&mut self, random: &mut SmallRng) {
        let path = format!("d{:02}/f{:04}", random.random_range(0..40), random.random_range(0..FILES));
        if self.expected.contains_key(&path) && random.random_ratio(1, 4) {
            fs::remove_file(self.root.join(&path)).unwrap();
            let last = self.expected.remove(&path);
            self.deleted.extend(last.map(|hash| (path, hash)));
        } else {
            self.put(&path, random.random_range(0..20_000), random);
        }
    }
}

/// A reader of all that stands in a folder, at all times.
struct Watcher {
    stop: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Watcher {
    fn start(root: &Path) -> Self {
        let (stop, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted, root) = (Arc::clone(&stop), Arc::clone(&read), root.to_owned());
        let thread = std::thread::spawn(move || {
            let mut random = SmallRng::seed_from_u64(21);
            while !stopped.load(Ordering::Relaxed) {
                let names = tree::names(&root);
                // Many at random rather than all: the large one alone would take most of the time.
                for _ in 0..200.min(names.len()) {
                    let path = root.join(&names[random.random_range(0..names.len())]);
                    // Gone by now: not there is whole, too.
                    let Ok(content) = fs::read(&path) else { continue };
                    assert!(is_whole(&content), "{}: {} bytes that are no whole file", path.display(), content.len());
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { stop, read, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("each content that was seen is whole");
        assert!(self.read.load(Ordering::Relaxed) > 1_000);
    }
}

fn is_whole(content: &[u8]) -> bool {
    content.len() >= HASH_BYTES && blake3::hash(&content[HASH_BYTES..]).as_bytes() == &content[..HASH_BYTES]
}
