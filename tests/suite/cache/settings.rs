//! How a Redis is reached: password, user, database, TLS, URL; and that no secret is told.

use gosync_cache::{RedisCache, RedisConfig};
use gosync_engine::ports::Cache as _;
use gosync_tests::redis::{Options, Redis};
use gosync_tests::wait;

use super::{config, get, open, set};

const PASSWORD: &str = "pass-of-all";
const OWN: &str = "pass-of-one";
/// All that the cache needs, and no more.
const RULES: &str =
    "resetchannels &gosync:* ~gosync:* +getrange +set +unlink +scan +publish +subscribe +unsubscribe +ping +select";

async fn works(config: &RedisConfig) {
    let cache = open(config).await;
    set(&cache, "a", b"1").await;
    assert_eq!(get(&cache, "a").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(cache.stats().await.unwrap().keys, 1);
    assert_eq!(cache.flush().await.unwrap(), 1);
}

/// Its trouble, which names no secret.
async fn refused(config: &RedisConfig, why: &str) {
    let cache = RedisCache::open(config).unwrap();
    let trouble = wait::until("it says why it is down", async || {
        let standing = cache.standing();
        let trouble = standing.trouble.clone().unwrap_or_default();
        wait::hold(!standing.up && trouble.contains(why), format!("{standing:?}")).map(|()| trouble)
    })
    .await;
    assert!(!trouble.contains(PASSWORD) && !trouble.contains(OWN) && !trouble.contains("wrong"), "{trouble}");
    assert!(!format!("{cache:?} {config:?}").contains("pass-of"));
    assert_eq!(get(&cache, "a").await, None);
}

fn secured(tls: bool) -> Options {
    Options { password: Some(PASSWORD), user: Some(("gosync", OWN, RULES)), tls, ..Options::default() }
}

#[tokio::test]
async fn password_user_and_database_number_are_used() {
    let redis = Redis::start_with(secured(false)).await;
    let plain = config(&redis);
    works(&RedisConfig { password: PASSWORD.to_owned(), ..plain.clone() }).await;
    let user = RedisConfig { username: "gosync".to_owned(), password: OWN.to_owned(), ..plain.clone() };
    works(&user).await;
    refused(&plain, "NOAUTH").await;
    refused(&RedisConfig { password: "wrong".to_owned(), ..plain.clone() }, "WRONGPASS").await;
    refused(&RedisConfig { username: "nobody".to_owned(), ..user.clone() }, "WRONGPASS").await;
    refused(&RedisConfig { db: 99, ..user.clone() }, "out of range").await;

    let third = open(&RedisConfig { db: 3, ..user.clone() }).await;
    set(&third, "a", b"1").await;
    let mut stranger = redis.stranger().await;
    assert_eq!(stranger.keys("*").await, [""; 0]);
    stranger.ask(&["SELECT", "3"]).await;
    assert_eq!(stranger.keys("*").await, ["gosync:a"]);
    // Another prefix is not this user's.
    let other = open(&RedisConfig { prefix: "other".to_owned(), ..user }).await;
    assert_eq!(get(&other, "a").await, None);
    assert!(other.standing().trouble.is_some_and(|trouble| trouble.contains("NOPERM")));
}

#[tokio::test]
async fn a_url_says_it_all() {
    let redis = Redis::start_with(secured(true)).await;
    let of = |url: String| RedisConfig { url, host: "nowhere.invalid".to_owned(), port: 1, ..config(&redis) };
    works(&of(format!("redis://gosync:{OWN}@127.0.0.1:{}/2", redis.port))).await;
    works(&of(format!("redis://:{PASSWORD}@127.0.0.1:{}", redis.port))).await;
    let ca_pem = Some(std::fs::read(redis.ca_file()).unwrap());
    let tls = of(format!("rediss://gosync:{OWN}@127.0.0.1:{}/2", redis.tls_port));
    works(&RedisConfig { ca_pem, ..tls }).await;
    refused(&of(format!("redis://gosync:wrong@127.0.0.1:{}", redis.port)), "WRONGPASS").await;
}

#[tokio::test]
async fn tls_trusts_the_named_certificate_and_no_other() {
    let redis = Redis::start_with(secured(true)).await;
    let ca_pem = Some(std::fs::read(redis.ca_file()).unwrap());
    let tls = RedisConfig { port: redis.tls_port, password: PASSWORD.to_owned(), tls: true, ..config(&redis) };
    works(&RedisConfig { ca_pem: ca_pem.clone(), ..tls.clone() }).await;
    // The system's certificates say nothing of it, nor does it go by another name.
    refused(&tls, "ertificate").await;
    refused(&RedisConfig { host: "localhost".to_owned(), ca_pem, ..tls.clone() }, "ertificate").await;
    // Without TLS on the port that speaks it.
    let plain = RedisCache::open(&RedisConfig { tls: false, ..tls }).unwrap();
    assert_eq!(get(&plain, "a").await, None);
}
