//! The playground: two folders and a bucket that anybody can try out with one command.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gosync_tests::agent::gosync;
use gosync_tests::pair::{contents, write};
use gosync_tests::process::{Folder, Process};
use gosync_tests::server::Address;
use gosync_tests::stranger::Stranger;
use gosync_tests::wait;
use rustix::process::Signal;
use serde_json::{Value, json};

struct Playground {
    // Before the folder: fields are dropped in this order.
    process: Process,
    home: Folder,
    /// What was printed before this start.
    printed_before: usize,
}

impl Playground {
    async fn start() -> Self {
        let home = Folder::new("dev");
        let command = gosync(home.path(), &["agent", "--dev", "--dev-dir", "play"]);
        let process = Process::start("gosync agent --dev", command, &home.path().join("log"));
        let mut playground = Self { process, home, printed_before: 0 };
        playground.ready().await;
        playground
    }

    /// Ctrl-C, then waits for a good end.
    async fn interrupt(&mut self) {
        self.process.signal(Signal::INT);
        let status = wait::until_within(Duration::from_secs(90), "the playground ends", async || {
            self.process.ended().ok_or_else(|| self.process.tail())
        })
        .await;
        assert_eq!(status.code(), Some(0), "{}", self.process.tail());
    }

    async fn again(&mut self) {
        self.printed_before = self.process.log().len();
        self.process.restart();
        self.ready().await;
    }

    async fn ready(&mut self) {
        wait::until("the playground answers", async || {
            if let Some(status) = self.process.ended() {
                panic!("the playground ended ({status})\n{}", self.process.tail());
            }
            let state = gosync(self.home.path(), &["sync", "state", "--dev-dir", "play"]).output().unwrap();
            wait::hold(state.status.success(), self.process.tail())
        })
        .await;
    }

    /// What this start has printed until now.
    fn printed(&self) -> String {
        self.process.log().split_off(self.printed_before)
    }

    /// What stands behind these words, up to the next space.
    fn told(&self, words: &str) -> String {
        let printed = self.printed();
        let (_, rest) = printed.split_once(words).unwrap_or_else(|| panic!("no {words:?} in:\n{printed}"));
        rest.split_whitespace().next().unwrap().to_owned()
    }

    /// A plain client with the address and the keys that were printed.
    fn bucket(&self) -> Stranger {
        let address = Address {
            endpoint: self.told("  at "),
            access_key: self.told("AWS_ACCESS_KEY_ID="),
            secret_key: self.told("AWS_SECRET_ACCESS_KEY="),
        };
        Stranger::new(&address, "playground")
    }

    fn port(&self) -> u16 {
        self.told("  at ").rsplit(':').next().unwrap().parse().unwrap()
    }

    fn left(&self) -> PathBuf {
        self.home.path().join("play/left")
    }

    fn right(&self) -> PathBuf {
        self.home.path().join("play/right")
    }

    /// A command as it is printed: with the exported socket.
    fn ask(&self, args: &[&str]) -> Value {
        let mut command = gosync(self.home.path(), args);
        let output =
            command.args(["--format", "json"]).env("GOSYNC_SOCKET", self.told("GOSYNC_SOCKET=")).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until the two folders and the bucket hold the same and nothing is left to do.
    async fn in_step(&self) {
        wait::until("both folders and the bucket hold the same", async || {
            let flush = gosync(self.home.path(), &["sync", "flush", "--wait", "--dev-dir", "play"]).output().unwrap();
            let (left, right) = (contents(&self.left()), contents(&self.right()));
            let mut remote = self.bucket().contents("files/").await;
            remote.retain(|key, _| !key.starts_with(".gosync/"));
            let keys = |side: &BTreeMap<String, _>| side.keys().cloned().collect::<Vec<_>>();
            wait::hold(
                flush.status.success() && left == right && left == remote,
                format!("{:?}\n{:?}\n{:?}\n{}", keys(&left), keys(&right), keys(&remote), self.process.tail()),
            )
        })
        .await;
    }
}

async fn holds(path: &Path, content: &str) {
    wait::until(&format!("{} holds {content:?}", path.display()), async || {
        let found = fs::read_to_string(path).map_err(|error| error.to_string())?;
        wait::hold(found == content, found)
    })
    .await;
}

async fn is_gone(path: &Path) {
    wait::until(&format!("{} is gone", path.display()), async || wait::hold(!path.exists(), "still there")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_dropped_into_one_folder_shows_in_the_other_and_in_the_bucket() {
    let playground = Playground::start().await;
    let printed = playground.printed();
    for folder in ["play/left", "play/right", "s3://playground/files"] {
        assert!(printed.contains(folder), "{folder} in:\n{printed}");
    }
    let (left, right, bucket) = (playground.left(), playground.right(), playground.bucket());

    write(&left.join("note.txt"), "from the left");
    holds(&right.join("note.txt"), "from the left").await;
    assert_eq!(bucket.get("files/note.txt").await.as_deref(), Some(b"from the left".as_slice()));

    let found = playground.ask(&["doctor"]);
    assert_eq!((&found["checks"][0]["check"], &found["checks"][0]["verdict"]), (&json!("config"), &json!("ok")));

    bucket.put("files/note.txt", "from the bucket").await;
    holds(&left.join("note.txt"), "from the bucket").await;
    holds(&right.join("note.txt"), "from the bucket").await;

    write(&right.join("deep/er/note.txt"), "from the right");
    holds(&left.join("deep/er/note.txt"), "from the right").await;
    playground.in_step().await;
    assert_eq!(playground.ask(&["sync", "list"])["mirrors"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_in_one_folder_goes_to_the_trash_of_the_other() {
    let playground = Playground::start().await;
    let (left, right, bucket) = (playground.left(), playground.right(), playground.bucket());
    write(&left.join("sub/note.txt"), "precious");
    holds(&right.join("sub/note.txt"), "precious").await;
    playground.in_step().await;

    fs::remove_file(left.join("sub/note.txt")).unwrap();
    is_gone(&right.join("sub/note.txt")).await;
    assert_eq!(bucket.get("files/sub/note.txt").await, None);
    let kept = contents(&right.join(".gosync/trash"));
    assert!(kept.len() == 1 && kept.keys().all(|path| path.contains("/sub/note.txt")), "{:?}", kept.keys());
    assert_eq!(kept.values().next().unwrap(), "precious");
    let trash = playground.ask(&["sync", "trash", "list"]);
    assert_eq!(trash["entries"].as_array().unwrap().len(), 1, "{trash:#}");
    assert_eq!(trash["entries"][0]["path"], "sub/note.txt", "{trash:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_goes_on_where_the_first_ended() {
    let mut playground = Playground::start().await;
    let (left, right) = (playground.left(), playground.right());
    for number in 0..20 {
        write(&left.join(format!("d/f{number}")), format!("content {number}"));
    }
    playground.in_step().await;
    let bucket = playground.bucket();
    let objects = async |bucket: &Stranger| {
        let mut heads = Vec::new();
        for key in bucket.keys("files/d/").await {
            heads.push(bucket.head(&key).await);
        }
        heads
    };
    let before = objects(&bucket).await;
    assert_eq!(before.len(), 20);
    let keys = [&bucket.address.access_key, &bucket.address.secret_key].map(String::clone);
    playground.interrupt().await;

    // A first run would bring it back.
    fs::remove_file(left.join("d/f0")).unwrap();
    write(&right.join("meanwhile"), "new");
    playground.again().await;
    let bucket = playground.bucket();
    assert_eq!([&bucket.address.access_key, &bucket.address.secret_key].map(String::clone), keys);
    is_gone(&right.join("d/f0")).await;
    holds(&left.join("meanwhile"), "new").await;
    playground.in_step().await;

    let moved: Vec<String> =
        playground.printed().lines().filter(|line| line.contains(['↑', '↓'])).map(str::to_owned).collect();
    assert_eq!(moved.len(), 2, "only the new file was carried over, up and down: {moved:#?}");
    assert!(moved.iter().all(|line| line.contains("meanwhile")), "{moved:#?}");
    assert_eq!(objects(&bucket).await, before[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_told_and_the_playground_goes_on_at_another() {
    let mut playground = Playground::start().await;
    write(&playground.left().join("note.txt"), "before");
    playground.in_step().await;
    let port = playground.port();
    playground.interrupt().await;
    // Other playgrounds may have come in between: whoever holds it, it is taken.
    let _taken = wait::until("the port is ours", async || TcpListener::bind(("127.0.0.1", port))).await;

    playground.again().await;
    let printed = playground.printed();
    assert_ne!(playground.port(), port);
    assert!(printed.contains(&format!("Port {port} is taken")), "{printed}");
    assert!(printed.contains(&playground.port().to_string()), "{printed}");
    write(&playground.right().join("note.txt"), "after the move");
    holds(&playground.left().join("note.txt"), "after the move").await;
    playground.in_step().await;
    assert!(contents(&playground.left()).len() == 1, "a move of the port is no reason for a conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_playground_in_the_same_folder_is_refused() {
    let playground = Playground::start().await;
    let second = gosync(playground.home.path(), &["agent", "--dev", "--dev-dir", "play"]).output().unwrap();
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{told}");
    assert!(told.contains("another agent"), "{told}");
    write(&playground.left().join("note.txt"), "goes on");
    holds(&playground.right().join("note.txt"), "goes on").await;
}
