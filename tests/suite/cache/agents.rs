//! Agents with a cache: it is told, it can be emptied, and it never keeps one from working.

use gosync_tests::agent::{Agent, gosync};
use gosync_tests::pair::{MIRROR, Pair, tree};
use gosync_tests::redis::{Options, Redis};
use gosync_tests::wait;
use serde_json::{Value, json};

fn with_redis(mut config: Value, redis: &Redis) -> Value {
    config["cache"] = json!({"enabled": true, "redis": {"host": "127.0.0.1", "port": redis.port}});
    config
}

async fn dependency(agent: &Agent, up: bool) {
    wait::until("the state tells how the cache stands", async || {
        let state = agent.state();
        let found = state["dependencies"].as_array().unwrap().iter().find(|found| found["name"] == "cache").cloned();
        wait::hold(found.as_ref().is_some_and(|found| found["up"] == up && found["since"].is_string()), state)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_cache_says_so_and_how_to_have_one() {
    let mut pair = Pair::new().await;
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    for command in ["stats", "flush"] {
        let output = agent.run(&["cache", command]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("the cache is off") && told.contains("cache.enabled"), "{told}");
    }
    assert_eq!(agent.mirror(MIRROR)["cache"]["enabled"], false);
    // A running agent takes it on, and leaves it again.
    let redis = Redis::start().await;
    let off = pair.config.clone();
    pair.config = with_redis(pair.config, &redis);
    let path = pair.home.path().join("config.yaml");
    std::fs::write(&path, pair.config.to_string()).unwrap();
    dependency(&agent, true).await;
    agent.in_step(MIRROR).await;
    assert_eq!(agent.mirror(MIRROR)["cache"]["enabled"], true);
    std::fs::write(&path, off.to_string()).unwrap();
    wait::until("the cache is off again", async || {
        let code = agent.run(&["cache", "stats"]).status.code();
        wait::hold(code == Some(2), format!("{code:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_is_told_and_emptied_by_commands() {
    let redis = Redis::start_with(Options { settings: vec![("maxmemory", "64mb")], ..Options::default() }).await;
    let pair = Pair::new().await;
    let agent = Agent::start(pair.home.path(), &with_redis(pair.config.clone(), &redis)).await;
    dependency(&agent, true).await;
    let mut stranger = redis.stranger().await;
    for key in ["gosync:a", "gosync:b", "not:ours"] {
        stranger.ask(&["SET", key, "1"]).await;
    }
    let stats = &agent.ask(&["cache", "stats"])["caches"][0];
    assert_eq!(stats["address"], format!("127.0.0.1:{}/0", redis.port));
    assert_eq!((&stats["prefix"], &stats["up"], &stats["keys"]), (&json!("gosync"), &json!(true), &json!(2)));
    assert!(stats["memory_used"].as_u64().unwrap() > 0 && stats["memory_allowed"] == 64 << 20, "{stats}");
    assert!(stats["hits"].is_u64() && stats["misses"].is_u64());
    let table = agent.run(&["cache", "stats"]);
    let table = String::from_utf8_lossy(&table.stdout);
    assert!(table.contains("up") && table.contains("keys") && table.contains("memory"), "{table}");
    assert_eq!(agent.ask(&["cache", "flush"])["caches"][0]["keys"], 2);
    assert_eq!(stranger.keys("*").await, ["not:ours"]);
    let table = agent.run(&["sync", "state"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("cache: up"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_starts_and_syncs_without_its_redis_and_finds_it_later() {
    let mut redis = Redis::start().await;
    redis.kill();
    let pair = Pair::new().await;
    let files = tree([("a", "1"), ("b/c", "2")]);
    pair.write_all(&files);
    let agent = Agent::start(pair.home.path(), &with_redis(pair.config.clone(), &redis)).await;
    pair.both_hold(&files).await;
    agent.in_step(MIRROR).await;
    dependency(&agent, false).await;
    // The first try to connect has to come to its end before anybody can tell why there is none.
    wait::until("why it is down is known", async || {
        let stats = agent.ask(&["cache", "stats"])["caches"][0].clone();
        wait::hold(stats["trouble"].as_str().is_some_and(|trouble| trouble.contains("refused")), stats)
    })
    .await;
    let output = agent.run(&["cache", "flush"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains("next:") && told.contains("refused"), "{told}");
    let stats = &agent.ask(&["cache", "stats"])["caches"][0];
    assert!(stats["up"] == false && stats["trouble"].as_str().unwrap().contains("refused"), "{stats}");
    redis.restart().await;
    dependency(&agent, true).await;
    redis.hang();
    dependency(&agent, false).await;
    redis.go_on();
    dependency(&agent, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_settings_that_cannot_be_used_are_told_and_stop_nothing() {
    let redis = Redis::start_with(Options { password: Some("secret-word"), ..Options::default() }).await;
    let pair = Pair::new().await;
    let mut config = with_redis(pair.config.clone(), &redis);
    config["cache"]["redis"]["tls"] = json!(true);
    config["cache"]["redis"]["ca_file"] = json!(pair.home.path().join("none.pem"));
    let files = tree([("a", "1")]);
    pair.write_all(&files);
    let agent = Agent::start(pair.home.path(), &config).await;
    pair.both_hold(&files).await;
    let stats = &agent.ask(&["cache", "stats"])["caches"][0];
    assert!(stats["up"] == false && stats["trouble"].as_str().unwrap().contains("none.pem"), "{stats}");

    let mut config = with_redis(pair.config.clone(), &redis);
    config["cache"]["redis"]["password"] = json!("wrong-word");
    std::fs::write(pair.home.path().join("config.yaml"), config.to_string()).unwrap();
    wait::until("the server refuses the password", async || {
        let stats = agent.ask(&["cache", "stats"]).to_string();
        wait::hold(stats.contains("WRONGPASS"), stats)
    })
    .await;
    config["cache"]["redis"]["password"] = json!("secret-word");
    std::fs::write(pair.home.path().join("config.yaml"), config.to_string()).unwrap();
    dependency(&agent, true).await;
    let told = agent.process().log() + &agent.state().to_string() + &agent.ask(&["cache", "stats"]).to_string();
    assert!(!told.contains("secret-word") && !told.contains("wrong-word"));
}

#[test]
fn mistakes_in_the_section_of_the_cache_are_told_with_their_places() {
    let home = gosync_tests::process::Folder::new("cache-mistakes");
    let config = "\
data_dir: d
s3: {bucket: files}
cache:
  enabled: true
  redis: {db: 256, prefix: \"\", url: \"http://me:hidden@h\", hots: h}
  max_content_size: 1GiB
";
    std::fs::write(home.path().join("c.yaml"), config).unwrap();
    let output = gosync(home.path(), &["config", "validate", "-c", "c.yaml"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    for key in ["redis.db", "redis.prefix", "redis.url", "redis.hots", "cache.max_content_size"] {
        assert!(told.lines().any(|line| line.contains("c.yaml:") && line.contains(key)), "{key} in {told}");
    }
    assert!(!told.contains("hidden"), "{told}");
}
