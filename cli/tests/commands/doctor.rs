//! `gosync doctor`: what it finds without an agent, with one, and that it leaves everything as it was.

use std::path::Path;

use gosync_api::messages::{Conditions, ErrorNow, MirrorState, PathNote, Proof, State, StoreState, route};
use gosync_api::words::{PathState, Status};
use serde_json::{Value, json};

use crate::stand_in::StandIn;
use crate::{Ran, gosync, run};

/// A config whose store is not there.
fn write_config(home: &Path) {
    let config = json!({
        "data_dir": home.join("data"),
        "metadata": {"type": "sqlite"},
        "s3": {"endpoint": "http://127.0.0.1:1", "bucket": "files", "access_key": "a", "secret_key": "s"},
        "syncs": [{"name": "docs", "local_path": home.join("docs"), "s3_path": "/docs"}],
        "sync": {"min_free": {"bytes": "0B"}},
    });
    std::fs::write(home.join("config.yaml"), config.to_string()).unwrap();
}

fn diagnosis(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", ran.stdout, ran.stderr))
}

#[track_caller]
fn check<'a>(diagnosis: &'a Value, name: &str, verdict: &str) -> &'a Value {
    let checks = diagnosis["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["check"] == name && check["verdict"] == verdict);
    found.unwrap_or_else(|| panic!("no {name} that is {verdict} in {diagnosis:#}"))
}

fn doctor(home: &Path, more: &[&str]) -> Ran {
    run(gosync(home).args(["doctor", "--config", "config.yaml", "--format", "json"]).args(more))
}

#[test]
fn without_an_agent_config_machine_and_store_are_checked_and_nothing_is_made() {
    let home = tempfile::tempdir().unwrap();
    write_config(home.path());
    let ran = doctor(home.path(), &[]);
    let found = diagnosis(&ran);
    assert_eq!((ran.code, &found["verdict"]), (1, &json!("wrong")), "{found:#}");
    check(&found, "config", "ok");
    check(&found, "data_dir", "ok");
    assert!(check(&found, "root", "ok")["found"].as_str().unwrap().contains("not there yet"));
    check(&found, "agent", "warning");
    let endpoint = check(&found, "endpoint", "wrong");
    assert_eq!(endpoint["mirror"], "docs");
    assert!(endpoint["found"].as_str().unwrap().contains("http://127.0.0.1:1"), "{endpoint}");
    assert!(endpoint["next"].as_str().unwrap().contains("s3.endpoint"), "{endpoint}");
    let names: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["config.yaml"], "something was made");
}

#[test]
fn the_table_names_each_check_and_the_next_step() {
    let home = tempfile::tempdir().unwrap();
    write_config(home.path());
    let ran = run(gosync(home.path()).args(["doctor", "--config", "config.yaml"]));
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.starts_with("RESULT"), "{}", ran.stdout);
    assert!(ran.stdout.contains("next: ") && ran.stdout.contains("1 wrong"), "{}", ran.stdout);
    let yaml = run(gosync(home.path()).args(["doctor", "--config", "config.yaml", "--format", "yaml"])).stdout;
    assert!(yaml.starts_with("verdict: wrong"), "{yaml}");
}

#[test]
fn every_mistake_of_a_config_is_a_check_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("config.yaml"), "data_dir: /d\ns3: {buckett: b}\nsync: {interval: 60}\n").unwrap();
    let found = diagnosis(&doctor(home.path(), &[]));
    for key in ["s3.buckett", "sync.interval"] {
        let checks = found["checks"].as_array().unwrap();
        let told = checks.iter().find(|check| check["found"].as_str().unwrap().contains(key));
        assert!(told.is_some_and(|told| told["verdict"] == "wrong" && told["next"].is_string()), "{key}: {found:#}");
    }
}

#[test]
fn what_the_agent_would_refuse_and_a_root_that_was_known_are_wrong() {
    let home = tempfile::tempdir().unwrap();
    write_config(home.path());
    std::fs::create_dir_all(home.path().join("data/mirrors")).unwrap();
    std::fs::write(home.path().join("data/mirrors/docs.db"), "").unwrap();
    let text = std::fs::read_to_string(home.path().join("config.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["agent"]["otlp"] = json!({"endpoint": "http://127.0.0.1:1"});
    std::fs::write(home.path().join("config.yaml"), config.to_string()).unwrap();
    let found = diagnosis(&doctor(home.path(), &[]));
    assert!(check(&found, "config", "wrong")["found"].as_str().unwrap().contains("agent.otlp.endpoint"));
    assert!(check(&found, "root", "wrong")["found"].as_str().unwrap().contains("is gone"));
    assert_eq!(std::fs::metadata(home.path().join("data/mirrors/docs.db")).unwrap().len(), 0);
}

fn state(home: &Path) -> State {
    let conditions = Conditions { create: Proof::Proven, delete: Proof::Missing, ..Conditions::default() };
    let problem = PathNote { path: "a//b".into(), state: PathState::Problem, reason: "odd".into(), since: None };
    let mirror = MirrorState {
        name: "docs".into(),
        local_path: home.join("docs").display().to_string(),
        s3_path: "s3://files/docs".into(),
        status: Status::Error,
        conflicts: 2,
        problems: 1,
        paths: vec![problem],
        errors: vec![ErrorNow { class: "endpoint".into(), message: "no route".into(), since: None }],
        store: StoreState { conditions, weaker: vec!["deletes wait one interval".into()] },
        ..MirrorState::default()
    };
    State {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: 4_711,
        data_dir: home.join("data").display().to_string(),
        config_files: vec!["the playground".into()],
        mirrors: vec![mirror],
        ..State::default()
    }
}

#[test]
fn a_running_agent_tells_what_only_it_knows() {
    let home = tempfile::tempdir().unwrap();
    let agent = StandIn::new().with(route::STATE, &state(home.path()));
    std::fs::create_dir(home.path().join("docs")).unwrap();
    // Without a config, as in a playground.
    let found = diagnosis(&run(agent.command(&["doctor", "--format", "json"]).current_dir(home.path())));
    assert!(check(&found, "agent", "ok")["found"].as_str().unwrap().contains("4711"), "{found:#}");
    check(&found, "config", "ok");
    check(&found, "root", "ok");
    assert!(check(&found, "error", "wrong")["found"].as_str().unwrap().contains("no route"));
    assert!(check(&found, "problems", "warning")["found"].as_str().unwrap().contains("a//b (odd)"));
    check(&found, "conflicts", "warning");
    assert_eq!(agent.asked().len(), 1);
    assert_eq!(agent.asked()[0].line, format!("GET {}", route::STATE));
}

#[test]
fn an_agent_of_another_data_dir_is_not_taken_for_that_of_the_config() {
    let home = tempfile::tempdir().unwrap();
    write_config(home.path());
    let agent = StandIn::new().with(route::STATE, &state(Path::new("/elsewhere")));
    let config = home.path().join("config.yaml");
    let found = diagnosis(&agent.run(&["doctor", "--format", "json", "--config", config.to_str().unwrap()]));
    assert!(check(&found, "agent", "warning")["found"].as_str().unwrap().contains("/elsewhere/data"), "{found:#}");
    assert!(found["checks"].as_array().unwrap().iter().all(|check| check["check"] != "conflicts"), "{found:#}");
}
