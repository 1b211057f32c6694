//! Every field of the spec arrives in the agent: rendered, read by the agent's own loader, and found at its key.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use gosync_api::AgentConfig;
use gosync_api::config::{Disk, SslMode};
use gosync_crds::SyncMirror;
use gosync_crds::agent::{self, TABLE, Use};
use gosync_crds::check::read;
use serde_json::{Value, json};

use crate::{at, mirror_with};

/// Holds whatever is asked for.
struct Full;

impl Disk for Full {
    fn read(&self, path: &Path) -> io::Result<String> {
        match path.file_name().and_then(|name| name.to_str()) {
            Some("postgres_url") => Ok("postgres://u:p@db/x".to_owned()),
            Some("redis_url") => Ok("redis://cache".to_owned()),
            _ => Ok(format!("content of {}", path.display())),
        }
    }

    fn real_path(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

fn mirror(spec: Value) -> SyncMirror {
    read(&mirror_with(spec)).unwrap_or_else(|problems| panic!("{problems:?}"))
}

#[track_caller]
fn loaded(mirrors: &[SyncMirror]) -> AgentConfig {
    agent::config(mirrors, BTreeMap::new(), &Full).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Each field with a value that is not its default, and what the agent shows at its key then.
fn samples() -> Vec<(&'static str, Value, Value)> {
    let key = json!({ "name": "n", "key": "k" });
    vec![
        ("volume.name", json!("other"), json!("/volumes/other")),
        ("volume.subPath", json!("a/b/"), json!("/volumes/data/a/b")),
        ("s3.bucket", json!("other-bucket"), json!("s3://other-bucket/")),
        ("s3.prefix", json!("a/b/"), json!("s3://acme-ml/a/b")),
        ("s3.region", json!("eu-west-1"), json!("eu-west-1")),
        ("s3.endpoint", json!("https://minio:9000"), json!("https://minio:9000")),
        ("s3.forcePathStyle", json!(true), json!("true")),
        ("s3.caBundle.configMapKeyRef", key.clone(), json!("/etc/gosync/mirrors/files/models/ca.crt")),
        ("s3.serverSideEncryption.type", json!("AES256"), json!("AES256")),
        ("s3.serverSideEncryption", json!({ "type": "KMS", "kmsKeyId": "arn:$x" }), json!("arn:$x")),
        ("direction", json!("Pull"), json!("pull")),
        ("conflictPolicy", json!("RemoteWins"), json!("remote-wins")),
        ("ignorePatterns", json!(["*.tmp", "~$*.docx", "~/x", "a$B"]), json!(["*.tmp", "~$*.docx", "\\~/x", "a$B"])),
        ("deleteGuard.maxPercent", json!(7), json!(7)),
        ("deleteGuard.maxFiles", json!(8), json!(8)),
        ("deleteGuard.minFiles", json!(9), json!(9)),
        ("hydration.mode", json!("None"), json!("none")),
        ("hydration.timeoutSeconds", json!(541), json!("9m1s")),
        ("hydration.onTimeout", json!("Start"), json!("start")),
        ("drain.timeoutSeconds", json!(61), json!("1m1s")),
        ("intervalSeconds", json!(59), json!("59s")),
        ("transfer.workers", json!(5), json!(5)),
        ("transfer.chunkSizeBytes", json!(8_388_609), json!("8388609")),
        ("transfer.maxRetries", json!(9), json!(9)),
        ("transfer.uploadBytesPerSecond", json!(1001), json!("1001")),
        ("transfer.downloadBytesPerSecond", json!(1002), json!("1002")),
        ("files.mode", json!("Off"), json!("off")),
        ("files.symlinks", json!("Preserve"), json!("preserve")),
        ("files.directoryMarkers", json!(true), json!(true)),
        ("files.trashMaxAgeSeconds", json!(61), json!("1m1s")),
        ("files.trashMaxBytes", json!(1003), json!("1003")),
        ("suspend", json!(true), json!(true)),
        ("syncRequest", json!("now $1"), json!("now $1")),
        ("agent.logLevel", json!("debug"), json!("debug")),
        ("agent.metricsPort", json!(9999), json!("0.0.0.0:9999")),
    ]
}

/// What the agent shows at a key of the table.
fn shown(config: &AgentConfig, becomes: Use) -> Value {
    let shown = serde_json::to_value(config.shown()).unwrap();
    let (root, key) = match becomes {
        Use::Base(key, _) => (&shown, key),
        // What a mirror shows as its bucket is a part of its path.
        Use::Mirror("s3.bucket", _) => (&shown["syncs"][0], "s3_path"),
        Use::Mirror(key, _) => (&shown["syncs"][0], key),
        Use::Operator(_) => return Value::Null,
    };
    key.split('.').fold(root.clone(), |at, part| at[part].clone())
}

#[test]
fn every_field_that_is_a_key_is_read_back_from_it_by_the_agents_own_loader() {
    for (field, value, expected) in samples() {
        let config = loaded(&[mirror(at(field, value))]);
        let deepest =
            TABLE.iter().rfind(|row| row.field == field || row.field.starts_with(&format!("{field}."))).unwrap();
        let found = shown(&config, deepest.becomes);
        let same = found == expected || found.to_string().trim_matches('"') == expected.to_string().trim_matches('"');
        assert!(same, "{field}: {found}, not {expected}");
        let before = shown(&loaded(&[mirror(json!({}))]), deepest.becomes);
        assert_ne!(found, before, "{field} is no change");
    }
}

#[test]
fn no_key_of_the_table_lacks_its_sample() {
    let secret = ["s3.credentialsSecretRef.name", "metadata.postgres.urlSecretRef", "cache.redis.urlSecretRef"];
    for row in TABLE.iter().filter(|row| !matches!(row.becomes, Use::Operator(_))) {
        let tried =
            samples().iter().any(|(field, ..)| row.field == *field || row.field.starts_with(&format!("{field}.")));
        assert!(tried || secret.contains(&row.field), "{}", row.field);
    }
}

#[test]
fn secrets_are_files_in_the_folder_of_the_config() {
    let reference = json!({ "urlSecretRef": { "name": "gosync-db", "key": "url" } });
    let config = loaded(&[mirror(json!({
        "s3": { "credentialsSecretRef": { "name": "s3-creds" } },
        "metadata": { "postgres": reference },
        "cache": { "redis": reference },
    }))]);
    let own = &config.syncs[0];
    let file = |name: &str| Some(PathBuf::from(format!("/etc/gosync/mirrors/files/models/{name}")));
    assert_eq!(own.s3.access_key.file().map(Path::to_owned), file("access_key"));
    assert_eq!(own.s3.secret_key.file().map(Path::to_owned), file("secret_key"));
    assert_eq!(own.metadata.postgres.url.file().map(Path::to_owned), file("postgres_url"));
    assert_eq!(own.metadata.kind.as_str(), "postgres");
    assert_eq!(own.metadata.postgres.sslmode, SslMode::Prefer);
    assert_eq!(own.cache.redis.url.file().map(Path::to_owned), file("redis_url"));
    assert!(own.cache.enabled);
}

#[test]
fn the_agent_finds_where_to_leave_its_last_receipts() {
    let (variable, path) = agent::TERMINATION_MESSAGE;
    let environment = BTreeMap::from([(variable.to_owned(), path.to_owned())]);
    let config = agent::config(&[mirror(json!({}))], environment, &Full).unwrap();
    assert_eq!(config.agent.termination_message_path.as_deref(), Some(Path::new(path)));
}

#[test]
fn what_the_spec_leaves_out_is_the_resources_default() {
    let config = loaded(&[mirror(json!({}))]);
    let own = &config.syncs[0];
    assert_eq!((own.name.as_str(), own.local_path.as_path()), ("models", Path::new("/volumes/data")));
    assert_eq!(own.state.as_str(), "volume");
    assert_eq!(own.sync.drain.as_secs(), 60);
    assert_eq!(own.sync.mode.as_str(), "full");
    assert_eq!(config.data_dir, Path::new("/run/gosync/data"));
    assert_eq!(config.agent.socket_path, Path::new(agent::SOCKET));
}

#[test]
fn where_the_kubelet_changes_modes_a_full_mode_is_the_executable_bit_and_others_stay() {
    let mode = |spec: Value| {
        let environment = BTreeMap::from([(agent::FILE_MODE_VARIABLE.to_owned(), "exec".to_owned())]);
        let config = agent::config(&[mirror(spec)], environment, &Full).unwrap();
        config.syncs[0].sync.mode.as_str()
    };
    assert_eq!(mode(json!({})), "exec");
    assert_eq!(mode(at("files.mode", json!("Off"))), "off");
}

#[test]
fn a_prefix_takes_the_pods_name() {
    let environment = BTreeMap::from([("POD_NAME".to_owned(), "trainer-0".to_owned())]);
    let config = agent::config(&[mirror(at("s3.prefix", json!("m/${POD_NAME}/")))], environment, &Full).unwrap();
    assert_eq!(config.syncs[0].prefix, "m/trainer-0/");
    assert_eq!(config.agent.device_name, "trainer-0");
}

#[test]
fn mirrors_of_one_pod_are_one_config_and_the_first_by_name_decides_what_they_share() {
    let named = |name: &str, volume: &str, level: &str| {
        let mut value = mirror_with(json!({ "volume": { "name": volume }, "agent": { "logLevel": level } }));
        value["metadata"]["name"] = json!(name);
        read(&value).unwrap()
    };
    // One that is called like the shared file does not take its place.
    let config = loaded(&[named("models", "b", "debug"), named("base", "a", "error")]);
    let names: Vec<&str> = config.syncs.iter().map(|mirror| mirror.name.as_str()).collect();
    assert_eq!(names, ["base", "models"]);
    assert_eq!(config.log.level.as_str(), "error");
}

#[test]
fn the_same_spec_gives_the_same_bytes() {
    let one = mirror(at("ignorePatterns", json!(["b", "a"])));
    assert_eq!(agent::mirror(&one), agent::mirror(&one.clone()));
    assert_eq!(agent::base(&one), agent::base(&one.clone()));
}
