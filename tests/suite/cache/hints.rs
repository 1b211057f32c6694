//! Hints by Redis: soon, few, and back after a gap.

use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use gosync_cache::RedisCache;
use gosync_engine::ports::Cache as _;
use gosync_tests::redis::Redis;
use gosync_tests::wait;

use super::{config, open, up};

async fn next(heads: &mut BoxStream<'static, u64>) -> u64 {
    tokio::time::timeout(wait::PATIENCE, heads.next()).await.expect("no hint arrives").unwrap()
}

/// Reads hints until this one.
async fn until(heads: &mut BoxStream<'static, u64>, wanted: u64) -> usize {
    let mut read = 1;
    while next(heads).await != wanted {
        read += 1;
    }
    read
}

/// Reads hints until this one, or until one says that there may have been any: only the newest of those that nobody has read
/// yet is kept, and a connection that comes back late may ask to look after the hint has come.
async fn until_heard(heads: &mut BoxStream<'static, u64>, wanted: u64) {
    while ![0, wanted].contains(&next(heads).await) {}
}

#[tokio::test]
async fn a_hint_reaches_the_other_agents_and_many_in_a_row_are_few_messages() {
    let redis = Redis::start().await;
    let (one, other) = (open(&config(&redis)).await, open(&config(&redis)).await);
    let mut heads = other.heads("channel");
    assert_eq!(next(&mut heads).await, 0, "listening begins with a look");
    one.publish("channel", 1);
    assert_eq!(next(&mut heads).await, 1);
    let mut stranger = redis.stranger().await;
    let calls = async |stranger: &mut gosync_tests::redis::Stranger| {
        let told = stranger.text(&["INFO", "commandstats"]).await;
        let calls =
            told.split_once("cmdstat_publish:calls=").map(|(_, rest)| rest.split(',').next().unwrap().to_owned());
        calls.map_or(0, |calls| calls.parse::<u64>().unwrap())
    };
    let before = calls(&mut stranger).await;
    for head in 2..=10_000 {
        one.publish("channel", head);
    }
    until(&mut heads, 10_000).await;
    // All were told before the sender had its turn, but for one that may have been on its way.
    assert!(calls(&mut stranger).await - before <= 2);
}

#[tokio::test]
async fn who_listens_hears_again_after_a_restart_and_looks_once() {
    let mut redis = Redis::start().await;
    let (one, other) = (open(&config(&redis)).await, open(&config(&redis)).await);
    let (mut heads, mut second) = (other.heads("channel"), other.heads("another"));
    assert_eq!((next(&mut heads).await, next(&mut second).await), (0, 0));
    for round in 1..4 {
        redis.kill();
        // Nobody hears this one, and nobody waits for it.
        one.publish("channel", round * 10);
        redis.restart().await;
        up(&one).await;
        until(&mut heads, 0).await;
        until(&mut second, 0).await;
        one.publish("channel", round * 10 + 1);
        until_heard(&mut heads, round * 10 + 1).await;
        one.publish("another", round);
        until_heard(&mut second, round).await;
    }
}

#[tokio::test]
async fn listening_may_begin_before_there_is_a_redis() {
    let mut redis = Redis::start().await;
    redis.kill();
    let cache = RedisCache::open(&config(&redis)).unwrap();
    let mut heads = cache.heads("channel");
    assert_eq!(heads.next().now_or_never(), None);
    redis.restart().await;
    assert_eq!(next(&mut heads).await, 0);
    up(&cache).await;
    cache.publish("channel", 5);
    assert_eq!(next(&mut heads).await, 5);
}

#[tokio::test]
async fn who_listens_hears_again_after_a_redis_that_hung() {
    let redis = Redis::start().await;
    let (one, other) = (open(&config(&redis)).await, open(&config(&redis)).await);
    let mut heads = other.heads("channel");
    assert_eq!(next(&mut heads).await, 0);
    redis.hang();
    one.publish("channel", 1);
    super::down(&one).await;
    redis.go_on();
    up(&one).await;
    one.publish("channel", 2);
    until(&mut heads, 2).await;
}

#[tokio::test]
async fn a_forged_hint_is_a_hint_and_nonsense_is_none() {
    let redis = Redis::start().await;
    let cache = open(&config(&redis)).await;
    let mut heads = cache.heads("channel");
    assert_eq!(next(&mut heads).await, 0);
    let mut stranger = redis.stranger().await;
    for message in ["", "abc", "-1", "1.5", "18446744073709551616", "\u{ff}"] {
        stranger.ask(&["PUBLISH", "gosync:channel", message]).await;
    }
    stranger.ask(&["PUBLISH", "gosync:channel", "18446744073709551615"]).await;
    assert_eq!(next(&mut heads).await, u64::MAX);
    // It does not drown what is true.
    cache.publish("channel", 3);
    assert_eq!(next(&mut heads).await, 3);
}

#[tokio::test]
async fn a_cache_that_is_dropped_leaves_no_connection() {
    let redis = Redis::start().await;
    let cache = open(&config(&redis)).await;
    let mut heads = cache.heads("channel");
    assert_eq!(next(&mut heads).await, 0);
    let mut stranger = redis.stranger().await;
    let clients =
        async |stranger: &mut gosync_tests::redis::Stranger| stranger.text(&["CLIENT", "LIST"]).await.lines().count();
    assert_eq!(clients(&mut stranger).await, 3, "the stranger, one for questions, one that listens");
    drop(cache);
    wait::until("the connections are gone", async || {
        let clients = clients(&mut stranger).await;
        wait::hold(clients == 1, format!("{clients} clients"))
    })
    .await;
    // The stream ends, or never tells anything more.
    let ended = tokio::time::timeout(Duration::from_millis(1), heads.next()).await;
    assert!(matches!(ended, Ok(None) | Err(_)));
}
