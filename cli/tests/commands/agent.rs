//! Finding the agent, and understanding it.

use gosync_api::messages::{ErrorCode, List, State, route};
use serde_json::json;

use crate::stand_in::{Asked, StandIn};
use crate::{error_of, gosync, run};

fn empty() -> List {
    List::default()
}

#[test]
fn without_an_agent_a_command_ends_with_3_and_says_where_it_looked_and_how_to_start_one() {
    let home = tempfile::tempdir().unwrap();
    let ran = run(gosync(home.path()).args(["sync", "state"]));
    assert_eq!(ran.code, 3);
    assert_eq!(ran.stdout, "");
    let beside_home = home.path().join(".gosync/gosync.sock").display().to_string();
    for expected in [beside_home.as_str(), "/var/lib/gosync/gosync.sock", "/run/gosync/gosync.sock", "gosync agent"] {
        assert!(ran.stderr.contains(expected), "{expected} in {}", ran.stderr);
    }
}

#[test]
fn without_an_agent_json_is_json() {
    let home = tempfile::tempdir().unwrap();
    let ran = run(gosync(home.path()).args(["sync", "list", "--format", "json"]));
    let error = error_of(&ran);
    assert_eq!((ran.code, error["code"].as_str().unwrap()), (3, "no-agent"));
    assert!(error["hint"].as_str().unwrap().contains("gosync agent --config"), "{error}");
}

#[test]
fn a_socket_that_was_named_is_the_only_one_tried() {
    let here = StandIn::at(|home| home.join(".gosync/gosync.sock")).with(route::LIST, &empty());
    let ran = run(gosync(here.home()).args(["--socket", "elsewhere.sock", "sync", "list"]));
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("elsewhere.sock") && !ran.stderr.contains(".gosync/gosync.sock"), "{}", ran.stderr);
    assert_eq!(here.asked().len(), 0);
    assert_eq!(run(gosync(here.home()).args(["sync", "list"])).code, 0);
}

#[test]
fn a_socket_that_nobody_listens_at_is_no_agent() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("left-over.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let ran = run(gosync(home.path()).env("GOSYNC_SOCKET", &socket).args(["sync", "list"]));
    assert_eq!(ran.code, 3, "{}", ran.stderr);
}

#[test]
fn the_playground_is_found_by_option_by_variable_and_in_the_current_folder() {
    let playground = StandIn::at(|home| home.join("gosync-dev/agent/gosync.sock")).with(route::LIST, &empty());
    let home = playground.home();
    assert_eq!(run(gosync(home).args(["sync", "list"])).code, 0);
    let elsewhere = tempfile::tempdir().unwrap();
    let dir = home.join("gosync-dev");
    assert_eq!(run(gosync(elsewhere.path()).arg("--dev-dir").arg(&dir).args(["sync", "list"])).code, 0);
    assert_eq!(run(gosync(elsewhere.path()).env("GOSYNC_DEV_DIR", &dir).args(["sync", "list"])).code, 0);
    assert_eq!(run(gosync(elsewhere.path()).args(["sync", "list"])).code, 3);
}

#[test]
fn the_note_of_a_playground_leads_to_its_socket() {
    let playground = StandIn::at(|home| home.join("short.sock")).with(route::LIST, &empty());
    let home = playground.home();
    std::fs::create_dir_all(home.join("gosync-dev/agent")).unwrap();
    std::fs::write(home.join("gosync-dev/agent/socket"), format!("{}\n", home.join("short.sock").display())).unwrap();
    assert_eq!(run(gosync(home).args(["sync", "list"])).code, 0);
}

#[test]
fn the_config_tells_where_the_socket_is() {
    let agent = StandIn::at(|home| home.join("data/here.sock")).with(route::LIST, &empty());
    let home = agent.home();
    let config = "data_dir: data\ns3: {bucket: my-bucket}\nagent: {socket_path: data/here.sock}\n";
    std::fs::write(home.join("config.yaml"), config).unwrap();
    let ran = run(gosync(home).args(["sync", "list", "--config", "config.yaml"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(run(gosync(home).env("GOSYNC_CONFIG", "config.yaml").args(["sync", "list"])).code, 0);

    std::fs::create_dir(home.join(".gosync")).unwrap();
    let config = format!(
        "data_dir: {}\ns3: {{bucket: my-bucket}}\nagent: {{socket_path: '${{data_dir}}/here.sock'}}\n",
        home.join("data").display()
    );
    std::fs::write(home.join(".gosync/config.yaml"), config).unwrap();
    let ran = run(gosync(home).args(["sync", "list"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn a_config_that_was_named_and_is_wrong_is_told() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("config.yaml"), "bucket: x\n").unwrap();
    let ran = run(gosync(home.path()).args(["sync", "list", "--config", "config.yaml"]));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("config.yaml:1:1"), "{}", ran.stderr);
}

#[test]
fn a_default_config_that_is_wrong_does_not_hide_the_agent() {
    let agent = StandIn::at(|home| home.join(".gosync/gosync.sock")).with(route::LIST, &empty());
    std::fs::write(agent.home().join(".gosync/config.yaml"), "bucket: x\n").unwrap();
    assert_eq!(run(gosync(agent.home()).args(["sync", "list"])).code, 0);
    std::fs::remove_file(agent.home().join(".gosync/gosync.sock")).unwrap();
    let ran = run(gosync(agent.home()).args(["sync", "list"]));
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("gosync config validate"), "{}", ran.stderr);
}

#[test]
fn both_ends_say_their_version_and_an_agent_that_is_too_new_is_told() {
    let agent = StandIn::new().with(route::LIST, &empty()).saying("9; oldest=8; release=7.0.0");
    let ran = agent.run(&["sync", "list"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("7.0.0") && ran.stderr.contains("update this one"), "{}", ran.stderr);
}

#[test]
fn a_newer_agent_that_still_understands_us_is_listened_to() {
    let state = json!({"version": "0.9.0", "mirrors": [], "later": true});
    let agent = StandIn::new().with(route::STATE, &state).saying("9; oldest=1; release=0.9.0");
    let ran = agent.run(&["sync", "state"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.starts_with("gosync 0.9.0"), "{}", ran.stdout);
}

#[test]
fn something_else_at_the_socket_is_told() {
    let agent = StandIn::new().raw(route::LIST, 200, "<html>".into()).raw(route::STATE, 502, "bad gateway".into());
    for command in ["list", "state"] {
        let ran = agent.run(&["sync", command]);
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains("doesn't speak as an agent does"), "{}", ran.stderr);
    }
}

#[test]
fn the_agents_error_decides_about_the_exit_code() {
    for (code, exit) in [
        (ErrorCode::NotFound, 2),
        (ErrorCode::Refused, 2),
        (ErrorCode::NotYet, 2),
        (ErrorCode::Unavailable, 1),
        (ErrorCode::Forbidden, 1),
        (ErrorCode::Halted, 7),
    ] {
        let agent = StandIn::new().with_error(route::PAUSE, code, "no way", "try another");
        let ran = agent.run(&["sync", "pause", "docs"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (exit, "error: no way\nnext: try another\n"), "{code}");
        let error = error_of(&agent.run(&["sync", "pause", "docs", "--format", "json"]));
        assert_eq!(error, json!({"code": code, "message": "no way", "hint": "try another"}));
    }
}

#[test]
fn errors_come_as_yaml_too() {
    let agent = StandIn::new().with_error(route::LIST, ErrorCode::Unavailable, "no way", "try later");
    let ran = agent.run(&["sync", "list", "--format", "yaml"]);
    assert_eq!(ran.stderr, "error:\n  code: unavailable\n  message: no way\n  hint: try later\n");
}

#[test]
fn probes_answer_with_their_exit_code() {
    let agent = StandIn::new().with(route::PROBE, &json!({"ok": true}));
    assert_eq!(agent.run(&["probe", "ready"]).code, 0);
    assert_eq!(agent.asked()[0].line, "GET /probe?probe=ready");
    let agent = StandIn::new().with(route::PROBE, &json!({"ok": false, "reasons": ["docs hydrates"]}));
    let ran = agent.run(&["probe", "startup"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, "startup: no\n  docs hydrates\n"));
    assert_eq!(agent.run(&["probe", "often"]).code, 2);
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let agent = StandIn::new().with(route::STATE, &State::default());
    let socket = agent.home().join("agent.sock");
    for args in [&["sync", "state"][..], &["completions", "bash"], &["sim", "--seed", "1", "--steps", "5"], &["--help"]]
    {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_gosync"))
            .args(args)
            .env("GOSYNC_SOCKET", &socket)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn the_logs_level_is_changed_and_the_one_from_before_is_told() {
    let stand_in = StandIn::new().with(route::LOG_LEVEL, &json!({"old": "info", "new": "debug"}));
    let ran = stand_in.run(&["log-level", "debug"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("info before, debug now"), "{}", ran.stdout);
    assert_eq!(stand_in.asked()[0], Asked { line: "POST /log-level".into(), body: json!({"level": "debug"}) });
    let json: serde_json::Value =
        serde_json::from_str(&stand_in.run(&["log-level", "debug", "--format", "json"]).stdout).unwrap();
    assert_eq!(json, json!({"old": "info", "new": "debug"}));
    let wrong = stand_in.run(&["log-level", "loud"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("error, warn, info, debug, trace"), "{}", wrong.stderr);
    assert_eq!(stand_in.asked().len(), 2);
}
