//! Stores that ignore conditions on writes: with a Postgres in common agents take turns at each file, without one the looks
//! before and after a write and the trash carry the promises. Nothing is lost either way, and the state says what is weaker.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gosync_dev_s3::{Condition, Conditions, Effect, Fault, Operation, Options};
use gosync_tests::agent::Agent;
use gosync_tests::dev_store::DevStore;
use gosync_tests::fleet::Fleet;
use gosync_tests::pair::{MIRROR, PREFIX, Pair, Tree, contents, tree, write};
use gosync_tests::postgres::Postgres;
use gosync_tests::process::Folder;
use gosync_tests::proxy::{Kind, Seen, Verdict};
use gosync_tests::replica::{LONG, Replica};
use gosync_tests::stranger::Stranger;
use gosync_tests::taken_out::User;
use gosync_tests::wait;
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::Row as _;
use tokio::time::sleep;

const NOTHING: Conditions = Conditions {
    put: Condition::Ignored,
    complete: Condition::Ignored,
    copy: Condition::Ignored,
    delete: Condition::Ignored,
};

fn ignores_all(options: &mut Options) {
    options.conditions = NOTHING;
}

fn refuses_all(options: &mut Options) {
    options.conditions = Conditions {
        put: Condition::Refused,
        complete: Condition::Refused,
        copy: Condition::Refused,
        delete: Condition::Refused,
    };
}

/// As MinIO does.
fn ignores_on_delete_and_copy(options: &mut Options) {
    options.conditions = Conditions { copy: Condition::Ignored, delete: Condition::Ignored, ..Conditions::default() };
}

fn never_lists(config: &mut Value) {
    config["sync"]["interval"] = json!("1h");
}

/// No guard asks about what these users delete.
fn unguarded(config: &mut Value) {
    config["sync"]["max_deletes"] = json!({"percent": 100, "files": 10_000, "min": 1_000});
}

/// The files that are fought for, and how often each user acts.
const FILES: usize = 16;
const ACTS: usize = 60;

/// Of an outage: each edit is tried a few times.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// Writes take different times from the look before them to their effect.
fn slow_writes() -> impl Fn(&Seen) -> Verdict + Send + Sync + 'static {
    let count = AtomicU64::new(0);
    move |seen| {
        let is_ours = seen.key.contains(".gosync") || !seen.kind.writes();
        let turn = count.fetch_add(1, Ordering::Relaxed);
        if is_ours { Verdict::Pass } else { Verdict::Delay(Duration::from_millis(turn * 37 % 200)) }
    }
}

/// Two users edit, make and delete the same files at once.
async fn race(folder: &Folder, roots: [&Path; 2]) -> [User; 2] {
    let user = |number: usize, name: &'static str| {
        User::new(name, roots[number], folder.dir(&format!("{name}-took-out")), number as u64)
    };
    let mut users = [user(0, "left"), user(1, "right")];
    for _ in 0..ACTS {
        for user in &mut users {
            user.acts(FILES);
        }
        sleep(Duration::from_millis(60)).await;
    }
    users
}

/// What somebody wrote and nobody who saw it replaced.
fn to_be_found(users: &[User; 2]) -> BTreeSet<Vec<u8>> {
    let [left, right] = users;
    let written = left.written.union(&right.written);
    written.filter(|content| ![left, right].iter().any(|user| user.taken_out.contains(*content))).cloned().collect()
}

fn missing(wanted: &BTreeSet<Vec<u8>>, found: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
    let found: BTreeSet<Vec<u8>> = found.into_iter().collect();
    wanted.difference(&found).map(|content| String::from_utf8_lossy(content).into_owned()).collect()
}

fn weaker(mirror: &Value) -> Vec<String> {
    mirror["store"]["weaker"].as_array().unwrap().iter().map(|words| words.as_str().unwrap().to_owned()).collect()
}

/// Waits until both folders and the bucket hold the same.
async fn same(agents: [&Agent; 2], roots: [&Path; 2], bucket: &Stranger) {
    wait::until_within(LONG, "both folders and the bucket hold the same", async || {
        let mut remote = bucket.contents(PREFIX).await;
        remote.retain(|path, _| !path.starts_with(".gosync/"));
        let [left, right] = roots.map(contents);
        let told = || agents.map(|agent| format!("{:#}", agent.mirror(MIRROR))).join("\n");
        let keys = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        if left == right && left == remote {
            return Ok(());
        }
        Err(format!("left {:?}\nright {:?}\nbucket {:?}\n{}", keys(&left), keys(&right), keys(&remote), told()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_take_turns_lose_no_edit_to_each_other_on_a_store_without_conditions() {
    for ignores in [ignores_all as fn(&mut Options), refuses_all, ignores_on_delete_and_copy] {
        let postgres = Postgres::shared().await;
        let fleet = Fleet::with(postgres.database().await, ignores).await;
        let settings = |config: &mut Value| {
            never_lists(config);
            unguarded(config);
        };
        let (left, right) = (fleet.join_with("left", settings).await, fleet.join_with("right", settings).await);
        left.hydrated().await;
        right.hydrated().await;
        let folder = Folder::new("turns");
        fleet.proxy.rule(slow_writes());
        let users = race(&folder, [&left.root, &right.root]).await;
        fleet.proxy.pass();
        same([&left.agent, &right.agent], [&left.root, &right.root], &fleet.bucket).await;

        // Not only in somebody's trash: each edit stands in the bucket, at its path or as a conflict copy.
        let lost = missing(&to_be_found(&users), fleet.remote().await.into_values().map(|content| content.to_vec()));
        assert_eq!(lost, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_conditions_and_without_postgres_every_edit_is_still_to_be_had_somewhere() {
    for (options, versions) in [(ignores_all as fn(&mut Options), false), (ignores_all, true), (refuses_all, false)] {
        let store = DevStore::start_with(options).await;
        let bucket = store.bucket("bucket").await;
        if versions {
            bucket.enable_versions().await;
        }
        let folder = Folder::new("alone");
        let left = Replica::start_with(&folder, "left", &bucket, unguarded).await;
        let right = Replica::start_with(&folder, "right", &bucket, unguarded).await;
        for replica in [&left, &right] {
            replica.agent.in_step(MIRROR).await;
            replica.proxy.rule(slow_writes());
        }
        let users = race(&folder, [&left.root, &right.root]).await;
        for replica in [&left, &right] {
            replica.proxy.pass();
        }
        same([&left.agent, &right.agent], [&left.root, &right.root], &bucket).await;

        let found = left.kept().into_iter().chain(right.kept());
        assert_eq!(missing(&to_be_found(&users), found), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stood_still_past_its_turn_sends_nothing_by_it() {
    let postgres = Postgres::shared().await;
    let fleet = Fleet::with(postgres.database().await, ignores_all).await;
    let (left, right) = (fleet.join_with("left", never_lists).await, fleet.join_with("right", never_lists).await);
    left.write("a", "one");
    fleet.all_hold(&[&left, &right], &tree([("a", "one")])).await;

    // The look before the write is under way, and the turn taken.
    let is_turn = |seen: &Seen| seen.kind == Kind::Head && seen.key.ends_with("docs/a");
    fleet.proxy.forget();
    fleet.proxy.rule(move |seen| if is_turn(seen) { Verdict::Delay(Duration::from_secs(4)) } else { Verdict::Pass });
    let mut connection = fleet.database.connect().await;
    let mut holds = async || {
        let row = sqlx::query(
            "SELECT count(*) FROM leases WHERE name LIKE 'key %/a' AND holder <> '' AND expires_at > 0 \
                               AND expires_at > (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        );
        row.fetch_one(&mut connection).await.unwrap().get::<i64, _>(0) == 1
    };
    left.write("a", "of the left one");
    wait::until("the left one looks in its turn", async || {
        let looks = fleet.proxy.seen().iter().any(|seen| is_turn(seen) && seen.status.is_none());
        wait::hold(looks && holds().await, "it does not look")
    })
    .await;
    left.agent.signal(Signal::STOP);
    fleet.proxy.pass();
    right.write("a", "of the right one");
    wait::until("the right one's turn came", async || {
        wait::hold(fleet.remote().await["a"] == "of the right one", "it did not")
    })
    .await;
    left.agent.signal(Signal::CONT);

    wait::until("both edits are everywhere", async || {
        for tree in [contents(&left.root), contents(&right.root), fleet.remote().await] {
            let mut found: Vec<_> = tree.into_values().collect();
            found.sort();
            wait::hold(found == ["of the left one", "of the right one"], format!("{found:?}"))?;
        }
        Ok::<(), String>(())
    })
    .await;
    assert_eq!(fleet.remote().await["a"], "of the right one");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_agents_take_turns_a_rename_is_a_copy_in_the_bucket_and_a_delete_waits_for_nothing() {
    let postgres = Postgres::shared().await;
    let fleet = Fleet::with(postgres.database().await, ignores_on_delete_and_copy).await;
    let (left, right) = (fleet.join_with("left", never_lists).await, fleet.join_with("right", never_lists).await);
    left.write("old/a", "one");
    left.write("old/b", "two");
    fleet.all_hold(&[&left, &right], &tree([("old/a", "one"), ("old/b", "two")])).await;
    left.flushed().await;
    right.hydrated().await;
    fleet.proxy.forget();

    std::fs::rename(left.root.join("old"), left.root.join("new")).unwrap();
    fleet.all_hold(&[&left, &right], &tree([("new/a", "one"), ("new/b", "two")])).await;
    let contents = fleet.proxy.count(Kind::Put) + fleet.proxy.count(Kind::Get);
    assert_eq!((fleet.proxy.count(Kind::Copy), contents), (2, 0));

    let words = weaker(&left.state()).join("\n");
    for part in
        ["conditions on DELETE: agents that share this Postgres take turns", "on copies", "while Postgres is away"]
    {
        assert!(words.contains(part), "{words}");
    }
    assert!(!words.contains("on PUT"), "{words}");
    let doctor = left.agent.ask(&["doctor"]).to_string();
    assert!(doctor.contains("agents that share this Postgres take turns"), "{doctor}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_takes_turns_a_renamed_file_is_sent_again_and_the_state_says_so() {
    let pair = Pair::with_store(ignores_all).await;
    write(&pair.root.join("old"), "one");
    let agent = pair.start().await;
    pair.both_hold(&tree([("old", "one")])).await;
    pair.proxy.forget();
    std::fs::rename(pair.root.join("old"), pair.root.join("new")).unwrap();
    pair.both_hold(&tree([("new", "one")])).await;
    assert_eq!(pair.requests(|kind| kind == Kind::Copy).len(), 0);
    assert_eq!(pair.requests(|kind| kind == Kind::Put).len(), 1);

    let told = weaker(&agent.mirror(MIRROR));
    assert_eq!(told.len(), 4, "{told:?}");
    let words = told.join("\n");
    for part in ["deletes wait one interval", "is sent again", "go to the trash"] {
        assert!(words.contains(part), "{words}");
    }
    let doctor = agent.ask(&["doctor"]).to_string();
    assert!(doctor.contains("deletes wait one interval"), "{doctor}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_goes_with_an_unconditional_delete_comes_back_from_its_version() {
    let pair = Pair::with_store(ignores_all).await;
    pair.bucket.enable_versions().await;
    write(&pair.root.join("a"), "one");
    let _agent = pair.start().await;
    pair.both_hold(&tree([("a", "one")])).await;
    // After the last look, before the effect.
    let edit = Effect::StrangerPuts("edited in the last moment".into());
    pair.store.faults().add(Fault::new(edit).on(Operation::DeleteObject).key("docs/a").times(1));
    std::fs::remove_file(pair.root.join("a")).unwrap();
    wait::until("the delete goes out", async || wait::hold(pair.deletes() > 0, "none yet")).await;
    pair.both_hold(&tree([("a", "edited in the last moment")])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_nothing_is_written_to_a_store_without_conditions() {
    let mut postgres = Postgres::start(&[]).await;
    let fleet = Fleet::with(postgres.database().await, ignores_all).await;
    let left = fleet.join("left").await;
    left.write("a", "one");
    fleet.all_hold(&[&left], &tree([("a", "one")])).await;
    left.flushed().await;

    postgres.stop().await;
    left.agent.until(MIRROR, "an error", |mirror| mirror["errors"] != json!([])).await;
    fleet.proxy.forget();
    left.write("a", "edited");
    left.write("b", "new");
    left.agent.until(MIRROR, "two wait", |mirror| mirror["pending"]["files"].as_u64() >= Some(2)).await;
    sleep(LONG_ENOUGH).await;
    assert_eq!(fleet.proxy.writes(), Vec::<String>::new());
    assert_eq!(fleet.remote().await, tree([("a", "one")]));

    postgres.restart().await;
    fleet.all_hold(&[&left], &tree([("a", "edited"), ("b", "new")])).await;
}
