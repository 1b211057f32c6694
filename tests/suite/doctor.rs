//! The doctor as a command that somebody may end in the middle.

use std::process::Stdio;
use std::time::Duration;

use gosync_engine::ports::MetadataStore as _;
use gosync_metadata::PostgresMetadata;
use gosync_tests::agent::gosync;
use gosync_tests::pair::{MIRROR, PREFIX, Pair};
use gosync_tests::postgres::{PASSWORD, Postgres, USER};
use gosync_tests::proxy::{Kind, Verdict};
use gosync_tests::redis::Redis;
use gosync_tests::wait;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

const PROBES: &str = "docs/.gosync/probe/";
/// Over the hour after which nobody is at work there any more.
const LONG_MS: i64 = 2 * 3_600_000;

/// What probes have in the bucket: objects, and uploads under way.
async fn left(pair: &Pair) -> (Vec<String>, usize) {
    let keys = pair.bucket.keys(PROBES).await;
    let uploads = pair.bucket.open_uploads("").await.len();
    (keys, uploads)
}

/// As if all that is in the bucket had been put there earlier.
async fn age(pair: &Pair) {
    let index = SqliteConnectOptions::new().filename(pair.store.folder.path().join("data/index.db"));
    let mut index = index.connect().await.unwrap();
    sqlx::query("UPDATE versions SET modified_ms = modified_ms - $1").bind(LONG_MS).execute(&mut index).await.unwrap();
    index.close().await.unwrap();
}

/// Asks the doctor to probe; that it did so is what it tells.
fn probe(pair: &Pair) {
    let file = pair.home.path().join("asked.yaml");
    std::fs::write(&file, pair.config.to_string()).unwrap();
    let args = ["doctor", "--probe", "--format", "json", "--config", file.to_str().unwrap()];
    let output = gosync(pair.home.path(), &args).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let checks = told["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["check"] == "conditions").unwrap_or_else(|| panic!("{told:#}"));
    assert!(found["found"].as_str().unwrap().starts_with("proven just now"), "{told:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_probe_of_the_doctor_left_goes_with_a_later_probe_whoever_makes_it() {
    for by_agent in [false, true] {
        let pair = Pair::new().await;
        // One that has probed before.
        let mut agent = if by_agent { Some(pair.start().await) } else { None };
        if let Some(agent) = &mut agent {
            agent.until(MIRROR, "it has probed", |mirror| mirror["store"]["conditions"]["create"] == "proven").await;
            agent.stop().await;
            pair.proxy.forget();
        }
        let file = pair.home.path().join("killed.yaml");
        std::fs::write(&file, pair.config.to_string()).unwrap();
        // It stands still where it has an object and an upload in the bucket.
        pair.proxy.rule(|seen| match seen.kind {
            Kind::MultipartComplete => Verdict::Delay(Duration::from_secs(3_600)),
            _ => Verdict::Pass,
        });
        let args = ["doctor", "--probe", "--config", file.to_str().unwrap()];
        let mut killed = gosync(pair.home.path(), &args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait::until("it is in the middle of its probe", async || {
            let seen = pair.proxy.count(Kind::MultipartComplete);
            wait::hold(seen > 0, seen)
        })
        .await;
        killed.kill().unwrap();
        killed.wait().unwrap();
        pair.proxy.pass();
        let (keys, uploads) = left(&pair).await;
        assert_eq!((keys.len(), uploads), (1, 1), "{keys:?}");
        // Nothing of a probe, though it lies there.
        let foreign = format!("{PROBES}notes/put");
        pair.bucket.put(&foreign, "somebody's").await;

        // Another one may be at work there just now: it is left alone, and leaves nothing itself.
        probe(&pair);
        let mut both = keys.clone();
        both.push(foreign.clone());
        both.sort();
        assert_eq!(left(&pair).await, (both, 1));

        age(&pair).await;
        match &mut agent {
            None => probe(&pair),
            Some(agent) => {
                // It believes what it found out for a day.
                let state =
                    SqliteConnectOptions::new().filename(pair.home.path().join(format!("data/mirrors/{MIRROR}.db")));
                let mut state = state.connect().await.unwrap();
                let query = "UPDATE notes SET value = json_set(value, '$.at_ms', 0) WHERE name = 'probe'";
                assert_eq!(sqlx::query(query).execute(&mut state).await.unwrap().rows_affected(), 1);
                state.close().await.unwrap();
                agent.restart().await;
                agent.in_step(MIRROR).await;
            }
        }
        wait::until("nothing is left", async || {
            let found = left(&pair).await;
            wait::hold(found == (vec![foreign.clone()], 0), format!("{found:?}"))
        })
        .await;
        assert_eq!(pair.bucket.keys(PREFIX).await, [foreign]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_asks_the_database_and_the_cache_that_agents_share_and_changes_nothing_there() {
    let (postgres, mut redis) = (Postgres::shared().await, Redis::start().await);
    let database = postgres.database().await;
    let pair = Pair::new().await;
    let mut config = pair.config.clone();
    let server = |user: &str, password: &str| {
        json!({"type": "postgres", "postgres": {"host": "127.0.0.1", "port": database.port, "user": user,
               "password": password, "database": database.name}})
    };
    config["cache"] = json!({"enabled": true, "redis": {"host": "127.0.0.1", "port": redis.port}});
    let ask = |config: &Value| -> Value {
        let file = pair.home.path().join("asked.yaml");
        std::fs::write(&file, config.to_string()).unwrap();
        let args = ["doctor", "--format", "json", "--config", file.to_str().unwrap()];
        let output = gosync(pair.home.path(), &args).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    let found = |told: &Value, name: &str| -> (String, String) {
        let check = told["checks"].as_array().unwrap().iter().find(|check| check["check"] == name);
        let check = check.unwrap_or_else(|| panic!("{name}: {told:#}"));
        (check["verdict"].as_str().unwrap().to_owned(), check["found"].as_str().unwrap().to_owned())
    };
    let tables = async || -> i64 {
        let count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        sqlx::query_scalar(count).fetch_one(&mut database.connect().await).await.unwrap()
    };
    config["metadata"] = server(USER, PASSWORD);
    let told = ask(&config);
    let (verdict, text) = found(&told, "postgres");
    assert!(verdict == "ok" && text.contains("the first agent makes the tables"), "{verdict} {text}");
    assert_eq!(found(&told, "cache").0, "ok", "{told:#}");
    assert_eq!(tables().await, 0);

    // Somebody who may only read.
    let reader = format!("reader_{}", database.name);
    PostgresMetadata::open(database.settings()).await.unwrap().close().await;
    let grants = format!(
        "CREATE ROLE {reader} LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}"
    );
    database.execute(&grants).await;
    config["metadata"] = server(&reader, PASSWORD);
    let (verdict, text) = found(&ask(&config), "postgres");
    assert!(verdict == "wrong" && text.contains("may not write"), "{verdict} {text}");
    database.execute(&format!("DROP OWNED BY {reader}; DROP ROLE {reader}")).await;

    config["metadata"] = server(USER, "another one");
    redis.kill();
    let told = ask(&config);
    let (verdict, text) = found(&told, "postgres");
    assert!(verdict == "wrong" && text.contains("password authentication failed"), "{verdict} {text}");
    assert!(!told.to_string().contains("another one"), "{told:#}");
    assert_eq!(found(&told, "cache").0, "warning", "{told:#}");
}
