//! `gosync config`, for real: files are written, read, checked.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::{Ran, error_of, gosync, run};

const INIT: [&str; 8] =
    ["config", "init", "--bucket", "my-bucket", "--local-path", "Documents", "--s3-path", "/documents"];

fn at(home: &Path, args: &[&str]) -> Ran {
    run(gosync(home).args(args))
}

#[test]
fn what_init_writes_holds_and_is_the_owners_alone() {
    let home = tempfile::tempdir().unwrap();
    let keys = ["--access-key", "me", "--secret-key", "hush", "--endpoint", "http://127.0.0.1:9000"];
    let ran = at(home.path(), &[&INIT[..], &keys[..]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let file = home.path().join(".gosync/config.yaml");
    assert_eq!(ran.stdout, format!("wrote {}\n", file.display()));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(ran.stderr.contains("gosync config validate"), "{}", ran.stderr);

    let ran = at(home.path(), &["config", "validate"]);
    assert_eq!((ran.code, ran.stdout), (0, format!("{}: no mistakes; 1 mirror\n", file.display())), "{}", ran.stderr);

    let ran = at(home.path(), &["config", "show", "--format", "json"]);
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(shown["s3"]["bucket"], "my-bucket");
    assert_eq!(shown["syncs"][0]["name"], "documents");
    assert_eq!(shown["syncs"][0]["local_path"], home.path().join("Documents").to_str().unwrap());
    let ran = at(home.path(), &["config", "show"]);
    assert!(ran.stdout.contains("bucket: my-bucket"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("hush"), "{}", ran.stdout);
}

#[test]
fn init_overwrites_nothing_unless_told_to() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("mine.yaml");
    std::fs::write(&file, "precious").unwrap();
    let args = [&INIT[..], &["--config", "mine.yaml"]].concat();
    let ran = at(home.path(), &args);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--force"), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(at(home.path(), &[&args[..], &["--force"]].concat()).code, 0);
    assert!(std::fs::read_to_string(&file).unwrap().contains("my-bucket"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn init_without_a_terminal_asks_nothing_and_names_all_that_is_missing() {
    let home = tempfile::tempdir().unwrap();
    let ran = at(home.path(), &["config", "init", "--access-key", "me"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--bucket, --local-path, --s3-path, --secret-key are missing"), "{}", ran.stderr);
    assert!(!home.path().join(".gosync").exists());
}

#[test]
fn init_writes_nothing_that_does_not_hold() {
    let home = tempfile::tempdir().unwrap();
    let ran = at(home.path(), &[&INIT[..], &["--name", "Not A Label"]].concat());
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("syncs[0].name"), "{}", ran.stderr);
    assert!(!home.path().join(".gosync").exists());
}

#[test]
fn validate_tells_every_mistake_with_its_place_and_ends_with_2() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("c.yaml"), "data_dir: d\ns3: {bukcet: b}\nsync:\n  interval: 60\n").unwrap();
    let ran = at(home.path(), &["config", "validate", "--config", "c.yaml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    for expected in ["c.yaml:2:", "did you mean `bucket`?", "c.yaml:4:", "sync.interval", "has no unit"] {
        assert!(ran.stderr.contains(expected), "{expected} in {}", ran.stderr);
    }
    let ran = at(home.path(), &["config", "validate", "-c", "c.yaml", "--format", "json"]);
    let error = error_of(&ran);
    assert_eq!((ran.code, error["code"].as_str().unwrap()), (2, "config"));
    let keys: Vec<&str> =
        error["problems"].as_array().unwrap().iter().map(|problem| problem["key"].as_str().unwrap()).collect();
    assert!(keys.contains(&"sync.interval") && keys.contains(&"s3.bukcet"), "{keys:?}");
}

#[test]
fn the_agent_tells_mistakes_as_validate_does() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("c.yaml"), "data_dir: d\ns3: {bukcet: b}\nsync:\n  interval: 60\n").unwrap();
    let [agent, validate] =
        [&["agent", "-c", "c.yaml"][..], &["config", "validate", "-c", "c.yaml"]].map(|args| at(home.path(), args));
    assert_eq!((agent.code, agent.stderr.as_str()), (2, validate.stderr.as_str()));
    assert!(agent.stderr.starts_with("error: ") && agent.stderr.contains("\nnext: "), "{}", agent.stderr);
    assert!(!home.path().join("d").exists());

    std::fs::write(
        home.path().join("c.yaml"),
        "data_dir: d\ns3: {bucket: my-bucket}\nagent: {otlp: {endpoint: \"http://127.0.0.1:1\"}}\n",
    )
    .unwrap();
    let agent = at(home.path(), &["agent", "-c", "c.yaml", "--format", "json"]);
    let error = error_of(&agent);
    assert_eq!((agent.code, &error["code"]), (2, &serde_json::json!("not-yet")));
    assert_eq!(error["problems"][0]["key"], "agent.otlp.endpoint");
}

#[test]
fn validate_says_what_this_release_refuses_to_run() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(
        home.path().join("c.yaml"),
        "data_dir: d\ns3: {bucket: my-bucket}\nagent: {otlp: {endpoint: \"http://127.0.0.1:1\"}}\n",
    )
    .unwrap();
    let ran = at(home.path(), &["config", "validate", "-c", "c.yaml"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("not yet") && ran.stderr.contains("agent.otlp.endpoint"), "{}", ran.stderr);
}

#[test]
fn a_folder_is_a_config_too() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("conf");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("base.yaml"), "data_dir: d\ns3: {bucket: my-bucket}\n").unwrap();
    std::fs::write(folder.join("more.yaml"), "syncs: [{name: a, local_path: /a, s3_path: /a}]\n").unwrap();
    let ran = at(home.path(), &["config", "validate", "-c", "conf"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.ends_with("1 mirror\n"), "{}", ran.stdout);
}

#[test]
fn without_a_config_it_says_where_it_looked() {
    let home = tempfile::tempdir().unwrap();
    for args in [&["config", "validate"][..], &["config", "show"], &["agent"]] {
        let ran = at(home.path(), args);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains(".gosync/config.yaml and /etc/gosync"), "{}", ran.stderr);
        assert!(ran.stderr.contains("gosync config init"), "{}", ran.stderr);
    }
    let ran = at(home.path(), &["config", "validate", "--config", "nowhere.yaml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("nowhere.yaml: there is no such file"), "{}", ran.stderr);
}

#[test]
fn every_example_holds() {
    let home = tempfile::tempdir().unwrap();
    for profile in ["simple", "advanced", "kubernetes"] {
        let ran = at(home.path(), &["config", "generate", "--profile", profile]);
        assert_eq!(ran.code, 0);
        let file = format!("{profile}.yaml");
        assert_eq!(at(home.path(), &["config", "generate", "--profile", profile, "--config", &file]).code, 0);
        assert_eq!(std::fs::read_to_string(home.path().join(&file)).unwrap(), ran.stdout);
        let ran = at(home.path(), &["config", "validate", "--config", &file]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(at(home.path(), &["config", "generate", "--config", &file]).code, 2);
    }
    assert_eq!(at(home.path(), &["config", "generate", "--profile", "baroque"]).code, 2);
}
