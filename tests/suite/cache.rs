//! The cache in a real Redis: what it holds, what it survives, and what is never believed.

mod agents;
mod entries;
mod fleet;
mod hints;
mod rows;
mod settings;
mod trouble;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use gosync_cache::{RedisCache, RedisConfig};
use gosync_engine::ports::Cache;
use gosync_engine::ports::cache::{NewEntry, Wanted};
use gosync_engine::ports::cache_conformance;
use gosync_tests::redis::Redis;
use gosync_tests::wait;

const HOUR_MS: u64 = 3_600_000;

/// On the plain port of a server without passwords.
fn config(redis: &Redis) -> RedisConfig {
    RedisConfig {
        host: "127.0.0.1".to_owned(),
        port: redis.port,
        username: String::new(),
        password: String::new(),
        db: 0,
        prefix: "gosync".to_owned(),
        tls: false,
        ca_pem: None,
        url: String::new(),
        ttl: Duration::from_secs(300),
        content_bytes_max: 1 << 20,
    }
}

async fn open(config: &RedisConfig) -> RedisCache {
    let cache = RedisCache::open(config).unwrap();
    up(&cache).await;
    cache
}

async fn up(cache: &RedisCache) {
    wait::until("the cache is up", async || wait::hold(cache.standing().up, format!("{:?}", cache.standing()))).await;
}

async fn down(cache: &RedisCache) {
    wait::until("the cache is down", async || wait::hold(!cache.standing().up, format!("{:?}", cache.standing())))
        .await;
}

async fn get(cache: &dyn Cache, key: &str) -> Option<Bytes> {
    let mut found = cache.get(&[Wanted { key: key.to_owned(), bytes_max: 1 << 20 }]).await;
    assert_eq!(found.len(), 1);
    found.pop().unwrap()
}

fn entry(key: &str, value: &[u8]) -> NewEntry {
    NewEntry { key: key.to_owned(), value: Bytes::copy_from_slice(value), ttl_ms: HOUR_MS, only_if_absent: false }
}

async fn set(cache: &dyn Cache, key: &str, value: &[u8]) {
    cache.set(vec![entry(key, value)]).await.unwrap();
}

fn sleep(duration: Duration) -> BoxFuture<'static, ()> {
    Box::pin(tokio::time::sleep(duration))
}

#[tokio::test]
async fn a_cache_in_redis_does_what_its_port_says() {
    let redis = Redis::start().await;
    let cache = open(&config(&redis)).await;
    cache_conformance::conforms(&cache, &sleep).await.unwrap();
    // Whatever the prefix is made of, and beside another's keys.
    let cache = open(&RedisConfig { prefix: "[a-z]*?\\^\u{e9} \n".to_owned(), ..config(&redis) }).await;
    redis.stranger().await.ask(&["SET", "ab:1", "not ours"]).await;
    cache_conformance::conforms(&cache, &sleep).await.unwrap();
    assert_eq!(redis.stranger().await.keys("*").await, ["ab:1"]);
}

#[tokio::test]
async fn a_flush_takes_the_keys_of_its_own_prefix_and_no_others() {
    let redis = Redis::start().await;
    let mut stranger = redis.stranger().await;
    let ours = open(&config(&redis)).await;
    let theirs = open(&RedisConfig { prefix: "gosync2".to_owned(), ..config(&redis) }).await;
    let elsewhere = open(&RedisConfig { db: 1, ..config(&redis) }).await;
    for cache in [&ours, &theirs, &elsewhere] {
        set(cache, "a", b"1").await;
        set(cache, "b", b"2").await;
    }
    stranger.ask(&["SET", "gosync", "a stranger's"]).await;
    stranger.ask(&["SET", "session:gosync:a", "a stranger's"]).await;
    assert_eq!(ours.stats().await.unwrap().keys, 2);
    assert_eq!(ours.flush().await.unwrap(), 2);
    assert_eq!(stranger.keys("*").await, ["gosync", "gosync2:a", "gosync2:b", "session:gosync:a"]);
    assert_eq!((get(&elsewhere, "a").await.as_deref(), get(&ours, "a").await), (Some(&b"1"[..]), None));
}
