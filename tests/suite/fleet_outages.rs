//! A fleet through everything that its parts can do to it, with writes going on all the time: nothing is lost, nobody storms
//! what is in trouble, and all of it ends by itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gosync_tests::fleet::{Fleet, Member};
use gosync_tests::pair::{MIRROR, Tree, write};
use gosync_tests::postgres::Postgres;
use gosync_tests::proxy::Verdict;
use gosync_tests::redis::Redis;
use gosync_tests::wait;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::sleep;

/// Files that one writer goes on editing.
const FILES: usize = 20;
const PAUSE: Duration = Duration::from_millis(150);
/// Of one trouble, after it is noticed.
const LONG_ENOUGH: Duration = Duration::from_secs(2);
/// Requests of the fleet in that time, where every one of them is refused: three agents with a few tries each.
const REFUSED_MAX: usize = 300;

/// Edits files of its own until it is told to end; returns what it wrote last.
fn writer(name: &'static str, root: PathBuf, works: Arc<AtomicBool>) -> tokio::task::JoinHandle<Tree> {
    tokio::spawn(async move {
        let mut last = Tree::new();
        for number in 0.. {
            if !works.load(Ordering::Relaxed) {
                break;
            }
            let (path, content) = (format!("{name}/{:02}", number % FILES), format!("{name} wrote {number}"));
            write(&root.join(&path), &content);
            last.insert(path, content.into());
            sleep(PAUSE).await;
        }
        last
    })
}

async fn dependency(member: &Member, name: &str, up: bool) {
    wait::until_within(wait::PATIENCE, &format!("{name} is seen {}", if up { "up" } else { "down" }), async || {
        let state = member.agent.state();
        let found = state["dependencies"].as_array().unwrap().iter().find(|found| found["name"] == name).cloned();
        wait::hold(found.is_some_and(|found| found["up"] == up), state)
    })
    .await;
}

async fn no_errors(member: &Member) {
    member
        .agent
        .until(MIRROR, "no error", |mirror| mirror["errors"] == json!([]) && mirror["halts"] == json!([]))
        .await;
}

fn settings(redis: &Redis) -> impl Fn(&mut Value) {
    let port = redis.port;
    move |config| config["cache"] = json!({"enabled": true, "redis": {"host": "127.0.0.1", "port": port}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_comes_through_every_outage_with_writes_going_on() {
    let (mut postgres, mut redis) = (Postgres::start(&["max_connections=30"]).await, Redis::start().await);
    let fleet = Fleet::with(postgres.database().await, |_| {}).await;
    let mut members = Vec::new();
    for name in ["one", "two", "three"] {
        members.push(fleet.join_with(name, settings(&redis)).await);
    }
    let all: Vec<&Member> = members.iter().collect();
    for member in &all {
        member.hydrated().await;
    }
    let works = Arc::new(AtomicBool::new(true));
    let root = |member: usize| -> &Path { &all[member].root };
    let writers = [("a", root(0)), ("b", root(1)), ("c", root(2))]
        .map(|(name, root)| writer(name, root.to_owned(), Arc::clone(&works)));

    // The database: stopped, killed, full, and back at an older state.
    postgres.back_up(&fleet.database).await;
    postgres.stop().await;
    dependency(all[0], "postgres", false).await;
    sleep(LONG_ENOUGH).await;
    postgres.restart().await;
    dependency(all[0], "postgres", true).await;
    postgres.kill();
    dependency(all[1], "postgres", false).await;
    postgres.restart().await;
    dependency(all[1], "postgres", true).await;
    let mut taken = Vec::new();
    while let Ok(connection) = fleet.database.try_connect().await {
        taken.push(connection);
    }
    sleep(LONG_ENOUGH).await;
    drop(taken);
    dependency(all[2], "postgres", true).await;
    postgres.restore(&fleet.database).await;

    // The cache: gone, and back with nothing in it.
    redis.kill();
    dependency(all[0], "cache", false).await;
    redis.restart().await;
    dependency(all[0], "cache", true).await;

    // The store: every request refused, then slow, then gone.
    fleet.proxy.rule(|_| Verdict::Answer(503));
    all[0].agent.until(MIRROR, "an error", |mirror| mirror["errors"] != json!([])).await;
    fleet.proxy.forget();
    sleep(LONG_ENOUGH).await;
    let refused = fleet.proxy.seen().len();
    assert!(refused <= REFUSED_MAX, "{refused} requests in {LONG_ENOUGH:?} to a store that refuses all of them");
    fleet.proxy.rule(|_| Verdict::Delay(Duration::from_millis(500)));
    sleep(LONG_ENOUGH).await;
    fleet.proxy.rule(|_| Verdict::Refuse);
    all[1].agent.in_error(MIRROR, "endpoint").await;
    fleet.proxy.pass();

    // One of them stands still for longer than a lease lasts, while its files are edited.
    all[0].agent.signal(Signal::STOP);
    wait::until_within(wait::PATIENCE, "another one lists", async || {
        let lists = all[1..].iter().any(|member| member.state()["feed"]["lists"] == true);
        wait::hold(lists, "nobody lists")
    })
    .await;
    all[0].agent.signal(Signal::CONT);

    works.store(false, Ordering::Relaxed);
    let mut expected = Tree::new();
    for writer in writers {
        expected.extend(writer.await.unwrap());
    }
    fleet.all_hold(&all, &expected).await;
    for member in &all {
        no_errors(member).await;
        assert!(member.agent.run(&["probe", "ready"]).status.success());
        assert_eq!(member.state()["conflicts"], 0);
    }
}
