//! Agents on one folder that several hosts can write to: one of them is active, by a lease in Postgres, the others stand by
//! and take over. Two mounts of a folder through FUSE stand for two hosts.

mod passthrough;

use std::fs;
use std::path::{Path, PathBuf};

use fuser::BackgroundSession;
use gosync_tests::agent::{Agent, config, with_mirror};
use gosync_tests::fleet::{Fleet, Member};
use gosync_tests::pair::{MIRROR, Tree, contents, tree};
use gosync_tests::postgres::Postgres;
use gosync_tests::process::{Folder, needs_root};
use gosync_tests::wait;
use passthrough::show;
use rustix::process::Signal;
use serde_json::{Value, json};

fn can_mount() -> bool {
    if !needs_root("mounting a folder that counts as one on a network file system") {
        return false;
    }
    if !Path::new("/dev/fuse").exists() {
        eprintln!("left out: there is no /dev/fuse here");
        return false;
    }
    true
}

/// A folder, and the places where hosts see it. Agents have to end before it.
struct Volume {
    shown: Vec<BackgroundSession>,
    folder: Folder,
}

impl Volume {
    fn new() -> Self {
        Self { shown: Vec::new(), folder: Folder::new("volume") }
    }

    fn show_at(&mut self, root: &Path) {
        self.shown.push(show(self.folder.path(), root));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.shown.clear();
    }
}

fn beside_the_files(config: &mut Value) {
    config["syncs"][0]["state"] = json!("volume");
}

fn in_the_data_dir(_: &mut Value) {}

async fn stands_by(member: &Member) {
    member.agent.until(MIRROR, "stands by", |mirror| mirror["phase"] == "standby").await;
    member.agent.in_error(MIRROR, "locked").await;
}

async fn is_active(member: &Member) {
    member.agent.until(MIRROR, "active", |mirror| mirror["status"] == "active" && mirror["hydrated"] == true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_agents_on_a_shared_volume_one_is_active_and_the_other_follows_when_it_is_killed() {
    if !can_mount() {
        return;
    }
    for place in [in_the_data_dir, beside_the_files] {
        let fleet = Fleet::new().await;
        let mut volume = Volume::new();
        volume.show_at(&fleet.root("left"));
        volume.show_at(&fleet.root("right"));
        let mut left = fleet.join_with("left", place).await;
        is_active(&left).await;
        let right = fleet.join_with("right", place).await;
        stands_by(&right).await;

        left.write("a", "by the one");
        fleet.bucket.put("docs/b", "from outside").await;
        let mut expected = tree([("a", "by the one"), ("b", "from outside")]);
        fleet.all_hold(&[&left, &right], &expected).await;
        assert_eq!(left.state()["watch"]["watching"], false);
        stands_by(&right).await;

        left.agent.kill();
        is_active(&right).await;
        right.write("c", "by the other");
        right.delete("a");
        expected.remove("a");
        expected.insert("c".to_owned(), "by the other".into());
        fleet.all_hold(&[&right], &expected).await;
        // It is its turn no more.
        left.agent.restart().await;
        stands_by(&left).await;
        // At once, when the other one ends by itself.
        let mut right = right;
        right.agent.stop().await;
        is_active(&left).await;
        left.write("d", "by the one again");
        expected.insert("d".to_owned(), "by the one again".into());
        fleet.all_hold(&[&left], &expected).await;
    }
}

/// Whether both are on one host, so that the frozen one still has the lock, or on two.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stood_still_past_its_lease_of_a_shared_volume_writes_nothing_more() {
    if !can_mount() {
        return;
    }
    for (hosts, place) in [(1, in_the_data_dir as fn(&mut Value)), (2, beside_the_files)] {
        let fleet = Fleet::new().await;
        let mut volume = Volume::new();
        let at_left = |config: &mut Value| {
            place(config);
            config["syncs"][0]["local_path"] = json!(fleet.root("left"));
        };
        volume.show_at(&fleet.root("left"));
        if hosts == 2 {
            volume.show_at(&fleet.root("right"));
        }
        let left = fleet.join_with("left", place).await;
        is_active(&left).await;
        let right = match hosts {
            1 => Member { root: fleet.root("left"), ..fleet.join_with("right", at_left).await },
            _ => fleet.join_with("right", place).await,
        };
        stands_by(&right).await;

        // In the middle of its work.
        let names: Vec<String> = (0..300).map(|number| format!("d{}/f{number}", number % 5)).collect();
        for name in &names {
            fleet.bucket.put(&format!("docs/{name}"), "first").await;
        }
        wait::until("some are here", async || wait::hold(contents(&right.root).len() > 10, "few")).await;
        left.agent.signal(Signal::STOP);
        is_active(&right).await;
        let mut expected: Tree = names.iter().map(|name| (name.clone(), "first".into())).collect();
        fleet.all_hold(&[&right], &expected).await;
        for name in names.iter().step_by(3) {
            right.write(name, "edited since");
            expected.insert(name.clone(), "edited since".into());
        }
        for name in names.iter().skip(1).step_by(30) {
            right.delete(name);
            expected.remove(name);
        }
        fleet.bucket.put("docs/new", "from outside").await;
        expected.insert("new".to_owned(), "from outside".into());
        fleet.all_hold(&[&right], &expected).await;

        left.agent.signal(Signal::CONT);
        stands_by(&left).await;
        assert_eq!(contents(&right.root), expected);
        fleet.all_hold(&[&right], &expected).await;
        is_active(&right).await;
        assert_eq!(right.state()["conflicts"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_volume_keeps_its_state_without_memory_that_hosts_would_share() {
    if !can_mount() {
        return;
    }
    let fleet = Fleet::new().await;
    let mut volume = Volume::new();
    volume.show_at(&fleet.root("left"));
    let left = fleet.join_with("left", beside_the_files).await;
    is_active(&left).await;
    left.write("a", "one");
    fleet.all_hold(&[&left], &tree([("a", "one")])).await;
    let state = fs::read(volume.path(".gosync/state.db")).unwrap();
    // The file's own word for how it is written: 1 is a rollback journal, 2 a write-ahead log.
    assert_eq!(state[18..20], [1, 1]);
    assert!(!volume.path(".gosync/state.db-shm").exists());
    let watch = &left.state()["watch"];
    assert!(watch["why_polling"].as_str().unwrap().contains("network"), "{watch}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_volume_is_left_alone_while_the_database_cannot_say_whose_turn_it_is() {
    if !can_mount() {
        return;
    }
    let mut postgres = Postgres::start(&[]).await;
    let fleet = Fleet::with(postgres.database().await, |_| {}).await;
    let mut volume = Volume::new();
    volume.show_at(&fleet.root("left"));
    let left = fleet.join_with("left", beside_the_files).await;
    is_active(&left).await;
    left.write("a", "one");
    fleet.all_hold(&[&left], &tree([("a", "one")])).await;

    postgres.stop().await;
    left.agent
        .until(MIRROR, "it has stopped", |mirror| {
            let errors = mirror["errors"].as_array().unwrap();
            let told = |error: &Value| error["message"].as_str().unwrap().contains("nobody knows which agent");
            mirror["phase"] == "waiting" && errors.iter().any(told)
        })
        .await;
    left.write("b", "two");
    fleet.bucket.put("docs/c", "from outside").await;
    postgres.restart().await;
    fleet.all_hold(&[&left], &tree([("a", "one"), ("b", "two"), ("c", "from outside")])).await;
    is_active(&left).await;
}

/// Nobody can take turns by two databases: the lock file stands for the other one.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_another_database_stands_by_for_as_long_as_the_first_one_lives() {
    if !can_mount() {
        return;
    }
    let fleet = Fleet::new().await;
    let mut volume = Volume::new();
    volume.show_at(&fleet.root("left"));
    let mut left = fleet.join("left").await;
    is_active(&left).await;
    left.write("a", "one");

    let others = Fleet::new().await;
    let home = Folder::new("other");
    let mut config = with_mirror(config(home.path(), &fleet.store.address, "bucket"), MIRROR, &left.root, "/docs");
    config["metadata"] = others.metadata();
    let other = Member { agent: Agent::start(home.path(), &config).await, root: left.root.clone() };
    stands_by(&other).await;
    // Longer than any lease of theirs.
    let renewals = async || -> i64 {
        let mut connection = fleet.database.connect().await;
        let until = "SELECT expires_at FROM leases WHERE name LIKE 'tree %'";
        sqlx::query_scalar(until).fetch_one(&mut connection).await.unwrap()
    };
    let before = renewals().await;
    wait::until("the lease was renewed often", async || {
        let now = renewals().await;
        wait::hold(now - before > 20_000, now - before)
    })
    .await;
    stands_by(&other).await;
    left.agent.stop().await;
    is_active(&other).await;
}
