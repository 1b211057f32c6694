//! Agents that share a Postgres and a Redis: what one has had in hand the others need not fetch, and nothing that the cache
//! does or says is in the way of anybody.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use gosync_tests::fleet::{Fleet, Member};
use gosync_tests::pair::{MIRROR, Tree, tree};
use gosync_tests::proxy::Kind;
use gosync_tests::redis::{Redis, Reply};
use serde_json::{Value, json};
use sqlx::Row as _;

/// With this cache, and so that nothing is found by a listing but at a start.
fn with(redis: &Redis) -> impl Fn(&mut Value) {
    let port = redis.port;
    move |config| {
        config["sync"]["interval"] = json!("1h");
        config["cache"] = json!({"enabled": true, "redis": {"host": "127.0.0.1", "port": port}});
    }
}

async fn cache_is_up(member: &Member) {
    gosync_tests::wait::until("the cache is up", async || {
        let state = member.agent.state();
        let cache = state["dependencies"].as_array().unwrap().iter().find(|found| found["name"] == "cache").cloned();
        gosync_tests::wait::hold(cache.is_some_and(|cache| cache["up"] == true), state)
    })
    .await;
}

fn numbered(count: usize) -> Tree {
    (0..count).map(|n| (format!("d{}/f{n}", n % 7), format!("content {n}").into())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_agent_sent_or_fetched_the_others_take_from_the_cache() {
    let (fleet, redis) = (Fleet::new().await, Redis::start().await);
    let listing = |config: &mut Value| {
        with(&redis)(config);
        config["sync"]["interval"] = json!("1s");
    };
    let (left, right) = (fleet.join_with("left", listing).await, fleet.join_with("right", listing).await);
    for member in [&left, &right] {
        member.hydrated().await;
        cache_is_up(member).await;
    }
    right.agent.ask(&["sync", "pause", MIRROR]);
    let mut expected = numbered(150);
    for (path, content) in &expected {
        fleet.bucket.put(&format!("docs/{path}"), content.clone()).await;
    }
    fleet.all_hold(&[&left], &expected).await;
    left.write("script", "#!/bin/sh\n");
    fs::set_permissions(left.root.join("script"), fs::Permissions::from_mode(0o750)).unwrap();
    expected.extend(tree([("script", "#!/bin/sh\n")]));
    left.flushed().await;
    assert!(fleet.proxy.count(Kind::Get) >= 150);

    fleet.proxy.forget();
    right.agent.ask(&["sync", "resume", MIRROR]);
    fleet.all_hold(&[&left, &right], &expected).await;
    assert_eq!(fleet.proxy.count(Kind::Get), 0);
    let [ours, theirs] = [&left, &right].map(|member| fs::metadata(member.root.join("script")).unwrap());
    assert_eq!((ours.mode(), ours.mtime(), ours.mtime_nsec()), (theirs.mode(), theirs.mtime(), theirs.mtime_nsec()));
    let hits = right.agent.ask(&["cache", "stats"])["caches"][0]["hits"].as_u64().unwrap();
    assert!(hits >= 151, "{hits}");

    // Edits, too: the bucket is asked for nothing.
    right.write("script", "#!/bin/bash\n");
    expected.extend(tree([("script", "#!/bin/bash\n")]));
    fleet.all_hold(&[&left, &right], &expected).await;
    assert_eq!(fleet.proxy.count(Kind::Get), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_hydrate_together_fetch_most_objects_once() {
    const FILES: usize = 300;
    let (fleet, redis) = (Fleet::new().await, Redis::start().await);
    let expected = numbered(FILES);
    for (path, content) in &expected {
        fleet.bucket.put(&format!("docs/{path}"), content.clone()).await;
    }
    let mut members = Vec::new();
    for name in ["one", "two", "three", "four"] {
        members.push(fleet.join_with(name, with(&redis)).await);
    }
    fleet.all_hold(&members.iter().collect::<Vec<_>>(), &expected).await;
    let fetched = fleet.proxy.count(Kind::Get);
    assert!((FILES..2 * FILES).contains(&fetched), "{fetched} of {FILES} by four");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_cache_no_connection_to_the_database_is_kept_for_news() {
    let (fleet, redis) = (Fleet::new().await, Redis::start().await);
    let left = fleet.join_with("left", with(&redis)).await;
    let right = fleet.join_with("right", with(&redis)).await;
    left.write("a", "1");
    fleet.all_hold(&[&left, &right], &tree([("a", "1")])).await;
    let mut connection = fleet.database.connect().await;
    let listening = sqlx::query(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'listen%'",
    );
    assert_eq!(listening.fetch_one(&mut connection).await.unwrap().get::<i64, _>(0), 0);
    // The same agents without the cache do keep one each.
    let third = fleet.join("third").await;
    third.hydrated().await;
    gosync_tests::wait::until("one listens", async || {
        let listening = sqlx::query(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'listen%'",
        );
        let count = listening.fetch_one(&mut connection).await.unwrap().get::<i64, _>(0);
        gosync_tests::wait::hold(count == 1, count)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_lies_is_emptied_and_dies_changes_no_file() {
    let (fleet, mut redis) = (Fleet::new().await, Redis::start().await);
    let left = fleet.join_with("left", with(&redis)).await;
    let right = fleet.join_with("right", with(&redis)).await;
    cache_is_up(&left).await;
    let mut expected = Tree::new();
    let mut write = |member: &Member, round: usize| {
        // Fewer than any guard asks about.
        for n in 0..15 {
            let (path, content) = (format!("f{n}"), format!("round {round}, file {n}"));
            member.write(&path, &content);
            expected.insert(path, content.into());
        }
        expected.clone()
    };
    let first = write(&left, 0);
    fleet.all_hold(&[&left, &right], &first).await;

    // Whatever stands there is something else now, and of the right kind.
    let mut stranger = redis.stranger().await;
    let keys = stranger.keys("gosync:*").await;
    assert!(keys.len() >= 15, "{keys:?}");
    for key in &keys {
        let Reply::Bytes(mut value) = stranger.ask(&["GET", key]).await else { continue };
        if let Some(last) = value.last_mut() {
            *last ^= 1;
        }
        stranger.ask_bytes(&[b"SET", key.as_bytes(), &value]).await;
    }
    let third = fleet.join_with("third", with(&redis)).await;
    fleet.all_hold(&[&left, &right, &third], &first).await;

    let all = [&left, &right, &third];
    stranger.ask(&["FLUSHALL"]).await;
    fleet.all_hold(&all, &write(&right, 1)).await;
    redis.hang();
    fleet.all_hold(&all, &write(&left, 2)).await;
    redis.go_on();
    redis.kill();
    fleet.all_hold(&all, &write(&third, 3)).await;
    redis.restart().await;
    cache_is_up(&left).await;
    fleet.all_hold(&all, &write(&right, 4)).await;
    for member in all {
        assert_eq!(member.state()["conflicts"], 0);
    }
}
