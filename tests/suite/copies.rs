//! Copies and clones of a volume: whoever goes on with one beside the other is a replica of its own, and nothing is deleted
//! for what a copy lacks.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use gosync_engine::crash::CrashPoint;
use gosync_tests::agent::{Agent, config, with_mirror};
use gosync_tests::fleet::{Fleet, Member};
use gosync_tests::mount::Mount;
use gosync_tests::pair::{MIRROR, Pair, Tree, contents, tree, write};
use gosync_tests::postgres::Postgres;
use gosync_tests::process::{Folder, needs_root};
use gosync_tests::wait;
use serde_json::{Value, json};
use sqlx::query_scalar;

/// The moments between what the tree says of whose it is and what the metadata say.
pub const CRASH_POINTS: &[CrashPoint] = &[CrashPoint::BeatWritten, CrashPoint::BeatTold, CrashPoint::Parted];
const SIGABRT: i32 = 6;
const IMAGE_BYTES: u64 = 64 << 20;
const FILES: usize = 30;

fn beside_the_files(config: &mut Value) {
    config["syncs"][0]["state"] = json!("volume");
    config["sync"]["interval"] = json!("1s");
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn beat_in(root: &Path) -> String {
    fs::read_to_string(root.join(".gosync/beat")).unwrap()
}

fn replica(agent: &Agent) -> String {
    agent.mirror(MIRROR)["replica"].as_str().unwrap().to_owned()
}

async fn parted(member: &Member, of: &str) {
    let mirror = member
        .agent
        .until(MIRROR, "it has found out", |mirror| mirror["copy_of"].is_object() && mirror["hydrated"] == true)
        .await;
    assert_eq!(mirror["copy_of"]["replica"], of);
    assert_ne!(mirror["replica"], of);
}

/// A volume with its state on it, an agent that works on it, and what it holds.
struct Original {
    fleet: Fleet,
    images: Folder,
    left: Member,
    mount: Mount,
    expected: Tree,
}

impl Original {
    async fn new() -> Self {
        let (fleet, images) = (Fleet::new().await, Folder::new("images"));
        let mount = Mount::image(&images.path().join("left"), &fleet.root("left"), IMAGE_BYTES);
        let expected: Tree = (0..FILES)
            .map(|number| (format!("d{}/f{number}", number % 3), format!("content {number}").into()))
            .collect();
        for (path, content) in &expected {
            write(&fleet.root("left").join(path), content);
        }
        let left = fleet.join_with("left", beside_the_files).await;
        left.hydrated().await;
        fleet.all_hold(&[&left], &expected).await;
        left.agent.in_step(MIRROR).await;
        Self { fleet, images, left, mount, expected }
    }

    /// All of the volume as it is at this moment, as a storage system clones it.
    fn clone_volume(&self) -> PathBuf {
        let (from, to) = (self.images.path().join("left"), self.images.path().join("right"));
        run(Command::new("fsfreeze").arg("-f").arg(&self.left.root));
        let copied = Command::new("cp").arg("--sparse=always").arg(&from).arg(&to).output();
        run(Command::new("fsfreeze").arg("-u").arg(&self.left.root));
        assert!(copied.unwrap().status.success());
        to
    }

    async fn beats_once_more(&self) {
        let before = beat_in(&self.left.root);
        wait::until("another beat", async || {
            let now = beat_in(&self.left.root);
            wait::hold(now.lines().all(|value| !before.contains(value)), now)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_clone_of_a_volume_lacks_is_deleted_nowhere() {
    if !needs_root("mounting a volume and its clone") {
        return;
    }
    let original = Original::new().await;
    let Original { fleet, left, expected, .. } = &original;
    let clone = original.clone_volume();
    original.beats_once_more().await;
    let _clone = Mount::image(&clone, &fleet.root("right"), 0);
    // As if it had been copied file by file, while the original went on.
    let lacks = expected.keys().step_by(7);
    for path in lacks {
        fs::remove_file(fleet.root("right").join(path)).unwrap();
    }
    let right = fleet.join_with("right", beside_the_files).await;
    let id = replica(&left.agent);
    parted(&right, &id).await;
    fleet.all_hold(&[left, &right], expected).await;
    assert_eq!(replica(&left.agent), id);
    assert!(left.state()["copy_of"].is_null());
    assert_eq!(left.agent.trash().len(), 0);

    // From now on they are two like any others.
    let mut expected = expected.clone();
    right.write("of the clone", "x");
    left.write("of the original", "y");
    let (first, last) = (expected.keys().next().unwrap().clone(), expected.keys().last().unwrap().clone());
    right.delete(&first);
    left.delete(&last);
    expected.retain(|path, _| ![&first, &last].contains(&path));
    expected.insert("of the clone".into(), "x".into());
    expected.insert("of the original".into(), "y".into());
    fleet.all_hold(&[left, &right], &expected).await;
    let mut connection = fleet.database.connect().await;
    let rows: i64 =
        query_scalar("SELECT count(*) FROM sync_states WHERE beat <> ''").fetch_one(&mut connection).await.unwrap();
    assert_eq!(rows, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_agents_that_start_on_one_image_exactly_one_keeps_the_id() {
    if !needs_root("mounting a volume and its clone") {
        return;
    }
    let mut original = Original::new().await;
    let id = replica(&original.left.agent);
    original.left.agent.stop().await;
    let clone = original.clone_volume();
    let Original { fleet, images: _images, mut left, mount: _mount, expected } = original;
    let _clone = Mount::image(&clone, &fleet.root("right"), 0);
    // Somebody else is in the bucket meanwhile: no reader is to miss it.
    fleet.bucket.put("docs/new", "from outside").await;
    let (_, right) = tokio::join!(left.agent.restart(), fleet.join_with("right", beside_the_files));
    let members = [&left, &right];
    let parted = wait::until("one has found out", async || {
        let states = members.map(Member::state);
        let parted: Vec<usize> = (0..2).filter(|at| states[*at]["copy_of"].is_object()).collect();
        if parted.is_empty() { Err("neither".to_owned()) } else { Ok(parted) }
    })
    .await;
    assert_eq!(parted.len(), 1);
    let (parted, kept) = (members[parted[0]], members[1 - parted[0]]);
    self::parted(parted, &id).await;
    assert_eq!(replica(&kept.agent), id);
    let mut expected = expected;
    expected.insert("new".into(), "from outside".into());
    fleet.all_hold(&members, &expected).await;
    for (number, member) in members.into_iter().enumerate() {
        let path = format!("of {number}");
        member.write(&path, "x");
        expected.insert(path, "x".into());
    }
    fleet.all_hold(&members, &expected).await;
    // Neither goes on to doubt it.
    let beats = || members.map(|member| beat_in(&member.root));
    let before = beats();
    wait::until("both beat on", async || {
        let now = beats();
        wait::hold(now[0] != before[0] && now[1] != before[1], format!("{now:?}"))
    })
    .await;
    assert_eq!(replica(&kept.agent), id);
    assert_ne!(replica(&parted.agent), id);
}

/// The folder's own inode tells a copy that was made file by file, also without a database that agents share.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_copy_of_a_folder_lacks_is_deleted_nowhere() {
    let mut pair = Pair::new().await;
    beside_the_files(&mut pair.config);
    let (agent, expected) = pair.fill_and_start(FILES).await;
    agent.in_step(MIRROR).await;
    let home = Folder::new("copy");
    let root = home.path().join("docs");
    run(Command::new("cp").arg("-a").arg(&pair.root).arg(&root));
    for path in expected.keys().step_by(7) {
        fs::remove_file(root.join(path)).unwrap();
    }
    let older = expected.keys().nth(1).unwrap();
    write(&root.join(older), "as it was when it was copied");
    let mut config = with_mirror(config(home.path(), &pair.store.address, "bucket"), MIRROR, &root, "/docs");
    beside_the_files(&mut config);
    let copy = Agent::start(home.path(), &config).await;
    copy.in_step(MIRROR).await;
    let mirror = copy.mirror(MIRROR);
    assert_eq!(mirror["copy_of"]["replica"], replica(&agent));
    assert_ne!(mirror["replica"], replica(&agent));
    let remote = pair.remote().await;
    for (path, content) in &expected {
        assert_eq!(remote.get(path), Some(content), "{path}");
        assert_eq!(fs::read(root.join(path)).unwrap(), content[..], "{path}");
    }
    // What differed was kept beside it.
    assert_eq!(remote.len(), expected.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_killed_between_two_beats_is_still_the_same_and_deletes_at_once() {
    let fleet = Fleet::new().await;
    let home = Folder::new("killed");
    let root = home.dir("docs");
    let mut config = with_mirror(config(home.path(), &fleet.proxy.address, "bucket"), MIRROR, &root, "/docs");
    config["metadata"] = fleet.metadata();
    write(&root.join("kept"), "content");
    let points: Vec<&CrashPoint> = CRASH_POINTS.iter().filter(|point| **point != CrashPoint::Parted).collect();
    for number in 0..3 {
        write(&root.join(format!("f{number}")), "content");
    }
    let mut agent = Agent::start(home.path(), &config).await;
    agent.in_step(MIRROR).await;
    let id = replica(&agent);
    for (number, point) in points.into_iter().enumerate() {
        agent.stop().await;
        let mut dying = Agent::launch_to_crash(home.path(), &config, point.name());
        assert_eq!(dying.end().await.signal(), Some(SIGABRT), "{point:?}");
        fs::remove_file(root.join(format!("f{number}"))).unwrap();
        agent = Agent::start(home.path(), &config).await;
        let started = std::time::Instant::now();
        agent.in_step(MIRROR).await;
        assert_eq!(fleet.bucket.head(&format!("docs/f{number}")).await, None, "{point:?}: {:?}", started.elapsed());
        let mirror = agent.mirror(MIRROR);
        assert_eq!((mirror["replica"].as_str(), &mirror["copy_of"]), (Some(id.as_str()), &Value::Null), "{point:?}");
    }
    agent.kill();
    fs::remove_file(root.join("f2")).unwrap();
    agent.restart().await;
    agent.in_step(MIRROR).await;
    assert_eq!(fleet.remote().await, tree([("kept", "content")]));
    assert_eq!(replica(&agent), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_as_it_parts_from_the_original_is_a_replica_of_its_own() {
    if !needs_root("mounting a volume and its clone") {
        return;
    }
    let original = Original::new().await;
    let Original { fleet, left, expected, .. } = &original;
    let clone = original.clone_volume();
    original.beats_once_more().await;
    let _clone = Mount::image(&clone, &fleet.root("right"), 0);
    let home = Folder::new("right");
    let mut config =
        with_mirror(config(home.path(), &fleet.proxy.address, "bucket"), MIRROR, &fleet.root("right"), "/docs");
    config["metadata"] = fleet.metadata();
    beside_the_files(&mut config);
    let mut dying = Agent::launch_to_crash(home.path(), &config, CrashPoint::Parted.name());
    assert_eq!(dying.end().await.signal(), Some(SIGABRT));
    let right = Member { agent: Agent::start(home.path(), &config).await, root: fleet.root("right") };
    parted(&right, &replica(&left.agent)).await;
    right.write("of the clone", "x");
    let mut expected = expected.clone();
    expected.insert("of the clone".into(), "x".into());
    fleet.all_hold(&[left, &right], &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_of_the_database_makes_nobody_a_copy() {
    let postgres = Postgres::start(&[]).await;
    let fleet = Fleet::with(postgres.database().await, |_| {}).await;
    let (left, right) = (fleet.join("left").await, fleet.join("right").await);
    left.write("a", "one");
    left.write("b", "two");
    fleet.all_hold(&[&left, &right], &tree([("a", "one"), ("b", "two")])).await;
    let ids = [replica(&left.agent), replica(&right.agent)];
    postgres.back_up(&fleet.database).await;
    let before = [beat_in(&left.root), beat_in(&right.root)];
    wait::until("both beat on", async || {
        let moved = |root: &Path, before: &str| beat_in(root).lines().all(|value| !before.contains(value));
        wait::hold(moved(&left.root, &before[0]) && moved(&right.root, &before[1]), "not yet")
    })
    .await;
    postgres.restore(&fleet.database).await;
    left.delete("a");
    // Nobody deletes while another's value stands in his row; that it stands still shows that nobody else is there.
    fleet.all_hold(&[&left, &right], &tree([("b", "two")])).await;
    assert_eq!([replica(&left.agent), replica(&right.agent)], ids);
    for member in [&left, &right] {
        assert!(member.state()["copy_of"].is_null());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_waits_until_the_database_can_say_whose_tree_it_is_and_the_rest_does_not() {
    let mut postgres = Postgres::start(&[]).await;
    let fleet = Fleet::with(postgres.database().await, |_| {}).await;
    let mut left = fleet.join("left").await;
    left.write("a", "one");
    left.write("b", "two");
    fleet.all_hold(&[&left], &tree([("a", "one"), ("b", "two")])).await;
    let id = replica(&left.agent);
    left.agent.stop().await;
    postgres.stop().await;
    left.delete("a");
    left.write("b", "edited");
    left.write("c", "three");
    left.agent.restart().await;
    wait::until("the rest goes up", async || {
        let remote = fleet.remote().await;
        wait::hold(remote == tree([("a", "one"), ("b", "edited"), ("c", "three")]), format!("{remote:?}"))
    })
    .await;
    left.agent.until(MIRROR, "the delete waits", |mirror| mirror["pending"]["files"] == 1).await;
    assert!(fleet.bucket.head("docs/a").await.is_some());
    postgres.restart().await;
    fleet.all_hold(&[&left], &tree([("b", "edited"), ("c", "three")])).await;
    assert_eq!(replica(&left.agent), id);
    assert_eq!(contents(&left.root).len(), 2);
}

/// Nothing in such a root could be copied along with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_from_a_root_that_cannot_be_written_is_deleted_without_a_beat() {
    if !needs_root("mounting a folder read-only") {
        return;
    }
    let fleet = Fleet::new().await;
    let disk = Folder::new("disk");
    for name in ["a", "b", "c"] {
        write(&disk.path().join(name), "content");
    }
    let _mount = Mount::bind_read_only(disk.path(), &fleet.root("left"));
    let left = fleet.join_with("left", |config| config["syncs"][0]["direction"] = json!("push")).await;
    left.agent.in_step(MIRROR).await;
    assert_eq!(fleet.remote().await.len(), 3);
    fs::remove_file(disk.path().join("b")).unwrap();
    fleet.all_hold(&[&left], &tree([("a", "content"), ("c", "content")])).await;
    assert!(!left.root.join(".gosync/beat").exists());
}
