//! Starts: good ones, and those that are refused.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::rig::{Rig, with_mirror};

#[tokio::test]
async fn a_fresh_start_makes_its_folders_and_answers() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    let mode = |name: &str| std::fs::metadata(rig.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("data"), 0o700);
    assert_eq!(mode("data/gosync.sock"), 0o600);
    assert!(rig.path("docs/.gosync/marker").exists());
    assert!(rig.path("data/mirrors/docs.db").exists());
}

#[tokio::test]
async fn every_mistake_is_told_and_the_exit_code_is_two() {
    let rig = Rig::new().await;
    let mut config = rig.one_mirror();
    config["sync"]["interval"] = json!("60");
    config["s3"]["buckett"] = json!("x");
    config["log"]["level"] = json!("loud");
    let mut agent = rig.launch(&config);
    assert_eq!(agent.end().await.code(), Some(2));
    for key in ["sync.interval", "s3.buckett", "log.level"] {
        assert!(agent.log().contains(key), "{key} is not told:\n{}", agent.log());
    }
}

#[tokio::test]
async fn what_is_not_there_yet_is_refused_by_name() {
    let rig = Rig::new().await;
    let mut config = rig.one_mirror();
    config["agent"]["otlp"] = json!({"endpoint": "http://127.0.0.1:1"});
    let mut agent = rig.launch(&config);
    assert_eq!(agent.end().await.code(), Some(2));
    let log = agent.log();
    assert!(log.contains("not yet") && log.contains("agent.otlp.endpoint"), "{log}");
}

#[tokio::test]
async fn a_second_agent_on_one_data_dir_is_refused() {
    let rig = Rig::new().await;
    let first = rig.start(&rig.one_mirror()).await;
    let mut second = rig.launch(&rig.one_mirror());
    assert_eq!(second.end().await.code(), Some(1));
    assert!(second.log().contains("another agent runs on the data_dir"), "{}", second.log());
    first.in_step("docs").await;
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let rig = Rig::new().await;
    let mut agent = rig.start(&rig.one_mirror()).await;
    agent.kill();
    assert!(agent.socket.exists());
    let agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
}

#[tokio::test]
async fn something_that_is_no_socket_is_left_alone() {
    let rig = Rig::new().await;
    std::fs::create_dir(rig.path("data")).unwrap();
    std::fs::write(rig.path("data/gosync.sock"), "precious").unwrap();
    let mut agent = rig.launch(&rig.one_mirror());
    assert_eq!(agent.end().await.code(), Some(1));
    assert_eq!(std::fs::read_to_string(rig.path("data/gosync.sock")).unwrap(), "precious");
}

#[tokio::test]
async fn an_occupied_port_is_a_warning_and_metrics_stay_off() {
    let rig = Rig::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = rig.one_mirror();
    config["agent"]["metrics"]["listen"] = json!(taken.local_addr().unwrap().to_string());
    let agent = rig.start(&config).await;
    agent.in_step("docs").await;
    let state = agent.get("/sync/state").await.unwrap();
    assert_eq!(state["metrics"], json!(null));
    assert!(state["metrics_problem"].as_str().unwrap().contains("metrics and probes are off"), "{state:#}");
}

#[tokio::test]
async fn a_free_port_serves_probes_metrics_and_counts_without_paths() {
    let rig = Rig::new().await;
    std::fs::create_dir(rig.path("docs")).unwrap();
    std::fs::write(rig.path("docs/secret-name"), "x").unwrap();
    let agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    for probe in ["/livez", "/startupz", "/readyz"] {
        assert_eq!(agent.http(probe).await.unwrap().0, 200, "{probe}");
    }
    let (_, state) = agent.http("/v1/state").await.unwrap();
    assert!(state.contains(r#""name":"docs""#) && state.contains(r#""files":1"#), "{state}");
    assert!(!state.contains("secret-name") && !state.contains(rig.temp.path().to_str().unwrap()), "{state}");
    let (_, metrics) = agent.http("/metrics").await.unwrap();
    for line in [
        r#"gosync_transferred_files_total{mirror="docs",direction="upload"} 1"#,
        r#"gosync_build_info{version="test",commit="c0ffee"} 1"#,
        r#"gosync_dependency_up{name="s3"} 1"#,
        r#"gosync_halted{mirror="docs",reason="root-missing"} 0"#,
        r#"gosync_hydration_progress_ratio{mirror="docs"} 1.0"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in:\n{metrics}");
    }
}

#[tokio::test]
async fn an_idle_agent_costs_sixty_series_at_most() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    let (status, metrics) = agent.http("/metrics").await.unwrap();
    assert_eq!(status, 200, "{metrics}");
    let series = metrics.lines().filter(|line| !line.starts_with('#')).count();
    assert!((1..=60).contains(&series), "{series} series:\n{metrics}");
}

#[tokio::test]
async fn two_ends_that_share_no_version_are_told_so() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.config()).await;
    let header = "/sync/state HTTP/1.0\r\ngosync-api: 99; oldest=98; release=9.9.9\r\nx:";
    let (status, text) = agent.ask("GET", header, "").await.unwrap();
    assert_eq!(status, 426, "{text}");
    assert!(text.contains("9.9.9"), "{text}");
}

#[tokio::test]
async fn more_mirrors_than_threads_start_all_the_same() {
    let rig = Rig::new().await;
    let mut config = rig.config();
    for number in 0..20 {
        let name = format!("mirror-{number}");
        config = with_mirror(config, &name, &rig.path(&name), &format!("/{name}"));
    }
    let agent = rig.start(&config).await;
    agent.flush().await;
    assert_eq!(agent.http("/readyz").await.unwrap().0, 200);
}
