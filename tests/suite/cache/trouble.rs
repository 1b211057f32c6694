//! What a Redis may do to its clients: be killed, forget, hang, be full. Nobody waits for it, and it comes back by itself.

use futures_util::FutureExt as _;
use gosync_engine::ports::{Cache as _, CacheErrorKind};
use gosync_tests::redis::{Options, Redis, Reply};
use gosync_tests::wait;

use super::{config, down, entry, get, open, set, up};
use gosync_cache::RedisCache;

#[tokio::test]
async fn a_redis_that_is_killed_is_only_misses_until_it_is_back() {
    let mut redis = Redis::start().await;
    let cache = open(&config(&redis)).await;
    let since = cache.standing().since_ms;
    for round in 0..3 {
        set(&cache, "a", b"1").await;
        assert_eq!(get(&cache, "a").await.as_deref(), Some(&b"1"[..]), "round {round}");
        redis.kill();
        // Noticed even where nobody asks.
        down(&cache).await;
        assert_eq!(get(&cache, "a").await, None);
        assert_eq!(cache.set(vec![entry("a", b"2")]).await.unwrap_err().kind, CacheErrorKind::Unavailable);
        assert_eq!(cache.delete(&["a".to_owned()]).await.unwrap_err().kind, CacheErrorKind::Unavailable);
        assert_eq!(cache.flush().await.unwrap_err().kind, CacheErrorKind::Unavailable);
        assert_eq!(cache.stats().await.unwrap_err().kind, CacheErrorKind::Unavailable);
        wait::until("it says why", async || {
            let trouble = cache.standing().trouble.unwrap_or_default();
            wait::hold(trouble.contains("refused"), trouble)
        })
        .await;
        redis.restart().await;
        up(&cache).await;
        assert_eq!(get(&cache, "a").await, None, "it remembers nothing");
    }
    assert!(cache.standing().since_ms > since && cache.standing().trouble.is_none());
}

#[tokio::test]
async fn a_cache_that_was_never_there_is_down_and_then_up() {
    let mut redis = Redis::start().await;
    redis.kill();
    let cache = RedisCache::open(&config(&redis)).unwrap();
    assert!(!cache.standing().up);
    assert_eq!(get(&cache, "a").await, None);
    wait::until("it says why", async || {
        let trouble = cache.standing().trouble.unwrap_or_default();
        wait::hold(trouble.contains("refused"), trouble)
    })
    .await;
    redis.restart().await;
    up(&cache).await;
    set(&cache, "a", b"1").await;
    assert_eq!(get(&cache, "a").await.as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn a_redis_that_hangs_is_waited_for_once() {
    let redis = Redis::start().await;
    let cache = open(&config(&redis)).await;
    set(&cache, "a", b"1").await;
    redis.hang();
    assert_eq!(get(&cache, "a").await, None);
    // From here on nothing is even sent.
    assert!(!cache.standing().up);
    for _ in 0..1_000 {
        let asked = cache.get(&[super::Wanted { key: "a".to_owned(), bytes_max: 10 }]).now_or_never();
        assert_eq!(asked.expect("it waits"), [None]);
        let written = cache.set(vec![entry("b", b"2")]).now_or_never();
        assert_eq!(written.expect("it waits").unwrap_err().kind, CacheErrorKind::Unavailable);
    }
    assert_eq!(cache.standing().trouble.as_deref(), Some("no answer in time"));
    redis.go_on();
    up(&cache).await;
    assert_eq!(get(&cache, "a").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(get(&cache, "b").await, None, "what was refused is not done later");
}

#[tokio::test]
async fn a_redis_that_hangs_is_noticed_where_nobody_asks() {
    let redis = Redis::start().await;
    let cache = open(&config(&redis)).await;
    redis.hang();
    down(&cache).await;
    redis.go_on();
    up(&cache).await;
}

#[tokio::test]
async fn a_redis_that_forgets_everything_is_asked_as_before() {
    let redis = Redis::start().await;
    let cache = open(&config(&redis)).await;
    set(&cache, "a", b"1").await;
    redis.stranger().await.ask(&["FLUSHALL"]).await;
    assert_eq!(get(&cache, "a").await, None);
    set(&cache, "a", b"2").await;
    assert_eq!(get(&cache, "a").await.as_deref(), Some(&b"2"[..]));
    assert!(cache.standing().up);
}

#[tokio::test]
async fn a_redis_that_evicts_holds_the_newest() {
    let settings = vec![("maxmemory", "8mb"), ("maxmemory-policy", "allkeys-lru")];
    let redis = Redis::start_with(Options { settings, ..Options::default() }).await;
    let cache = open(&config(&redis)).await;
    let value = vec![7; 100_000];
    for number in 0..200 {
        set(&cache, &format!("v{number}"), &value).await;
    }
    assert_eq!(get(&cache, "v199").await.as_deref(), Some(&value[..]));
    let stats = cache.stats().await.unwrap();
    assert!(stats.keys < 200 && stats.memory_allowed_bytes == Some(8 << 20), "{stats:?}");
    assert!(cache.standing().up && cache.standing().trouble.is_none(), "{:?}", cache.standing());
}

#[tokio::test]
async fn a_redis_that_is_full_refuses_what_is_new_and_answers_what_it_has() {
    let settings = vec![("maxmemory", "6mb"), ("maxmemory-policy", "noeviction")];
    let redis = Redis::start_with(Options { settings, ..Options::default() }).await;
    let cache = open(&config(&redis)).await;
    set(&cache, "first", b"1").await;
    let mut number = 0;
    let refused = loop {
        match cache.set(vec![entry(&format!("v{number}"), &[7; 100_000])]).await {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind, CacheErrorKind::Refused);
    let standing = cache.standing();
    assert!(standing.up && standing.trouble.as_ref().is_some_and(|trouble| trouble.contains("OOM")), "{standing:?}");
    // It is not even sent for a while.
    let again = cache.set(vec![entry("next", b"2")]).now_or_never();
    assert_eq!(again.expect("it waits").unwrap_err().kind, CacheErrorKind::Refused);
    assert_eq!(get(&cache, "first").await.as_deref(), Some(&b"1"[..]));
    let names: Vec<String> = (0..number).map(|number| format!("v{number}")).collect();
    cache.delete(&names).await.unwrap();
    wait::until("there is room again", async || {
        cache.set(vec![entry("next", b"2")]).await.map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(cache.standing().trouble, None);
}

#[tokio::test]
async fn what_stands_there_in_another_kind_or_size_is_a_miss() {
    let redis = Redis::start().await;
    let cache = open(&config(&redis)).await;
    let mut stranger = redis.stranger().await;
    stranger.ask(&["RPUSH", "gosync:list", "a", "b"]).await;
    stranger.ask(&["HSET", "gosync:hash", "a", "b"]).await;
    stranger.ask(&["SET", "gosync:empty", ""]).await;
    stranger.ask(&["SETRANGE", "gosync:large", "100000000", "x"]).await;
    set(&cache, "good", b"1").await;
    let keys = ["list", "hash", "good", "empty", "large", "none"];
    let wanted: Vec<_> = keys.iter().map(|key| super::Wanted { key: (*key).to_owned(), bytes_max: 1_000 }).collect();
    let found = cache.get(&wanted).await;
    let found: Vec<Option<&[u8]>> = found.iter().map(Option::as_deref).collect();
    assert_eq!(found, [None, None, Some(&b"1"[..]), None, None, None]);
    assert!(cache.standing().up);
    // They are ours to overwrite and to flush.
    set(&cache, "list", b"2").await;
    assert_eq!(get(&cache, "list").await.as_deref(), Some(&b"2"[..]));
    assert_eq!(cache.flush().await.unwrap(), 5);
    assert_eq!(stranger.ask(&["DBSIZE"]).await, Reply::Number(0));
}
