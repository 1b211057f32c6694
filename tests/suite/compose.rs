//! The example for several agents: as far as it can be shown without an engine for containers, by the same parts as
//! processes of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gosync_tests::agent::{Agent, gosync};
use gosync_tests::pair::{contents, tree, write};
use gosync_tests::postgres::{PASSWORD, Postgres, USER};
use gosync_tests::process::Folder;
use gosync_tests::redis::Redis;
use gosync_tests::server::{Server, Which};
use gosync_tests::wait;
use serde_json::{Value, json};

const SERVICE_KEYS: [&str; 13] = [
    "build",
    "command",
    "configs",
    "depends_on",
    "entrypoint",
    "environment",
    "healthcheck",
    "image",
    "read_only",
    "restart",
    "stop_grace_period",
    "user",
    "volumes",
];

/// The example with its anchors and merges worked out.
fn example() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/compose.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// `${NAME:-default}` by its default, as without a file `.env`.
fn defaults(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let (variable, after) = rest.split_once('}').unwrap();
    let (_, default) = variable.split_once(":-").expect("a variable with a default");
    format!("{before}{default}{}", defaults(after))
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
}

#[test]
fn the_example_names_only_what_it_defines() {
    let example = example();
    assert_eq!(names(&example), BTreeSet::from(["configs", "name", "services", "volumes"]));
    let services = example["services"].as_object().unwrap();
    assert_eq!(names(&example["services"]), BTreeSet::from(["left", "minio", "postgres", "redis", "right"]));
    let mut used = BTreeSet::new();
    for (name, service) in services {
        for key in names(service) {
            assert!(SERVICE_KEYS.contains(&key), "{name}: {key} is no key of a service that we use");
        }
        assert!(service["image"].is_string(), "{name}");
        for other in names(&service["depends_on"]) {
            assert!(services.contains_key(other), "{name} depends on {other}");
            let condition = service["depends_on"][other]["condition"].as_str().unwrap();
            let is_checked = services[other].get("healthcheck").is_some();
            assert_eq!(condition == "service_healthy", is_checked, "{name} waits for {other} as far as it tells");
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let (source, target) = volume.as_str().unwrap().split_once(':').unwrap();
            assert!(target.starts_with('/'), "{name}: {volume}");
            if !source.starts_with('.') {
                used.insert(source);
            }
        }
        for config in service["configs"].as_array().into_iter().flatten() {
            assert!(example["configs"][config["source"].as_str().unwrap()]["content"].is_string(), "{name}: {config}");
        }
    }
    assert_eq!(names(&example["volumes"]), used);
    // The passwords of servers and agents are the same ones.
    let value = |service: &str, key: &str| services[service]["environment"][key].clone();
    for agent in ["left", "right"] {
        assert_eq!(value(agent, "GOSYNC_METADATA_POSTGRES_PASSWORD"), value("postgres", "POSTGRES_PASSWORD"));
        assert_eq!(value(agent, "GOSYNC_S3_ACCESS_KEY"), value("minio", "MINIO_ROOT_USER"));
        assert_eq!(value(agent, "GOSYNC_S3_SECRET_KEY"), value("minio", "MINIO_ROOT_PASSWORD"));
        assert_eq!(value(agent, "GOSYNC_AGENT_DEVICE_NAME"), agent);
        assert_eq!(services[agent]["stop_grace_period"], "45s", "15 seconds above the drain");
    }
}

#[test]
fn the_agents_config_holds() {
    let home = Folder::new("compose");
    let file = home.path().join("config.yaml");
    std::fs::write(&file, example()["configs"]["agent"]["content"].as_str().unwrap()).unwrap();
    let output = gosync(home.path(), &["config", "validate", "--format", "json", "--config", file.to_str().unwrap()])
        .envs(environment(&example(), "left"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&checked["warnings"], &checked["not_yet"]), (&json!([]), &json!([])));
}

fn environment(example: &Value, service: &str) -> BTreeMap<String, String> {
    let environment = example["services"][service]["environment"].as_object().unwrap();
    environment.iter().map(|(key, value)| (key.clone(), defaults(value.as_str().unwrap()))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_agents_work_as_one_with_the_same_parts() {
    let (postgres, redis, server) =
        (Postgres::shared().await, Redis::start().await, Server::shared(Which::Minio).await);
    let (database, bucket) = (postgres.database().await, server.bucket("compose").await);
    let example = example();
    let config: Value = serde_saphyr::from_str(example["configs"]["agent"]["content"].as_str().unwrap()).unwrap();
    let folder = Folder::new("compose");
    let mut agents = Vec::new();
    for name in ["left", "right"] {
        let (home, files) = (folder.dir(name), folder.dir(&format!("{name}-files")));
        let mut config = config.clone();
        // What the network and the volumes of the containers stand for.
        config["data_dir"] = json!(home.join("data"));
        config["metadata"]["postgres"] = json!({
            "host": "127.0.0.1", "port": database.port, "user": USER, "password": PASSWORD, "database": database.name,
        });
        config["cache"]["redis"] = json!({"host": "127.0.0.1", "port": redis.port});
        config["s3"]["endpoint"] = json!(server.address.endpoint);
        config["s3"]["access_key"] = json!(server.address.access_key);
        config["s3"]["secret_key"] = json!(server.address.secret_key);
        config["s3"]["bucket"] = json!(bucket.bucket);
        config["syncs"][0]["local_path"] = json!(files);
        config["agent"] = json!({
            "device_name": name, "metrics": {"listen": "127.0.0.1:0"},
        });
        agents.push((Agent::start(&home, &config).await, files));
    }
    let expected = tree([("a", "from the left"), ("folder/b", "from the right")]);
    for ((_, files), (path, content)) in agents.iter().zip(&expected) {
        write(&files.join(path), content);
    }
    wait::until("both folders hold both files", async || {
        for (agent, files) in &agents {
            wait::hold(contents(files) == expected, agent.state())?;
        }
        Ok::<(), Value>(())
    })
    .await;
    for (agent, _) in &agents {
        assert!(agent.run(&["probe", "ready"]).status.success());
    }
}
