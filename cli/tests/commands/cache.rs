//! `gosync cache`: what is asked of the agent, and how its answers are shown.

use gosync_api::messages::{CacheFlushed, CacheStats, Caches, CachesFlushed, ErrorCode, route};
use serde_json::Value;

use crate::error_of;
use crate::stand_in::StandIn;

#[test]
fn the_caches_come_as_json_and_yaml_too() {
    let one =
        CacheStats { address: "localhost:6379/0".into(), prefix: "gosync".into(), hits: 7, ..CacheStats::default() };
    let caches = Caches { caches: vec![one.clone(), CacheStats { prefix: "other".into(), ..one }] };
    let agent = StandIn::new().with(route::CACHE_STATS, &caches);
    let json: Caches = serde_json::from_str(&agent.run(&["cache", "stats", "--format", "json"]).stdout).unwrap();
    assert_eq!(json, caches);
    let yaml = agent.run(&["cache", "stats", "--format=yaml"]).stdout;
    assert!(yaml.starts_with("caches:\n") && yaml.contains("hits: 7"), "{yaml}");
    assert_eq!(agent.run(&["cache", "stats"]).stdout.matches("localhost:6379/0").count(), 2);
    assert_eq!(agent.asked()[0].line, "GET /cache/stats");
}

#[test]
fn a_flush_says_what_it_dropped_and_where() {
    let one = CacheFlushed { address: "localhost:6379/0".into(), prefix: "gosync".into(), keys: 1 };
    let flushed = CachesFlushed { caches: vec![one.clone(), CacheFlushed { keys: 1_200, prefix: "b".into(), ..one }] };
    let agent = StandIn::new().with(route::CACHE_FLUSH, &flushed);
    let ran = agent.run(&["cache", "flush"]);
    insta::assert_snapshot!(ran.stdout, @"
    localhost:6379/0: 1 key under gosync: dropped
    localhost:6379/0: 1,200 keys under b: dropped
    ");
    assert_eq!((ran.code, agent.asked()[0].line.as_str()), (0, "POST /cache/flush"));
    assert_eq!(agent.run(&["cache", "flush", "--quiet"]).stdout, "");
}

#[test]
fn a_cache_that_is_off_or_away_ends_with_the_next_step() {
    for (code, exit) in [(ErrorCode::Refused, 2), (ErrorCode::Unavailable, 1)] {
        let agent = StandIn::new().with_error(route::CACHE_FLUSH, code, "it is not there", "see that it is");
        let ran = agent.run(&["cache", "flush"]);
        assert_eq!(ran.code, exit);
        assert!(
            ran.stderr.contains("it is not there") && ran.stderr.contains("next: see that it is"),
            "{}",
            ran.stderr
        );
        let ran = agent.run(&["cache", "flush", "--format", "json"]);
        assert_eq!(error_of(&ran)["code"], Value::from(code.as_str()));
    }
}
