//! The log: where it goes, and its level while the agent runs.

use serde_json::{Value, json};

use crate::rig::{Rig, hold, until};

#[tokio::test]
async fn a_log_with_a_file_goes_there_and_nowhere_else() {
    let rig = Rig::new().await;
    let mut config = rig.one_mirror();
    config["log"] = json!({"level": "info", "format": "json", "file": rig.path("logs/agent.log")});
    let mut agent = rig.start(&config).await;
    agent.in_step("docs").await;
    assert_eq!(agent.stop().await, Some(0));
    let log = std::fs::read_to_string(rig.path("logs/agent.log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"] == "the agent is ready"), "{log}");
    assert!(!agent.log().contains("the agent is ready"), "{}", agent.log());

    let mut agent = rig.start(&config).await;
    assert_eq!(agent.stop().await, Some(0));
    let longer = std::fs::read_to_string(rig.path("logs/agent.log")).unwrap();
    assert!(longer.len() > log.len() && longer.starts_with(&log), "{longer}");
}

#[tokio::test]
async fn a_log_that_can_not_be_opened_is_a_mistake_of_the_config() {
    let rig = Rig::new().await;
    std::fs::write(rig.path("file"), "").unwrap();
    for path in [rig.path("file/agent.log"), rig.temp.path().to_owned(), "/dev/full".into()] {
        let mut config = rig.one_mirror();
        config["log"] = json!({"file": path});
        let mut agent = rig.launch(&config);
        assert_eq!(agent.end().await.code(), Some(2));
        let told = agent.log();
        assert!(told.contains("log.file") && told.contains(path.to_str().unwrap()), "{told}");
        assert!(told.contains("data.yaml:"), "its line is told: {told}");
    }
}

#[tokio::test]
async fn the_level_is_changed_by_a_command_until_the_config_is_read_again() {
    let rig = Rig::new().await;
    let mut config = rig.one_mirror();
    config["log"]["level"] = json!("info");
    let agent = rig.start(&config).await;
    agent.in_step("docs").await;
    let set = async |level: &str| agent.post("/log-level", &json!({"level": level})).await;
    assert_eq!(set("error").await, (200, json!({"old": "info", "new": "error"})));
    let before = agent.log();
    agent.post("/sync/pause", &json!({"name": "docs"})).await;
    agent.post("/sync/resume", &json!({"name": "docs"})).await;
    assert_eq!(agent.log(), before, "a pause is no error");
    let (status, refused) = set("loud").await;
    assert_eq!(status, 400, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("`trace`"), "{refused}");
    assert_eq!(set("trace").await.1, json!({"old": "error", "new": "trace"}));
    assert!(agent.log().contains("level was changed by a command"), "{}", agent.log());

    config["sync"]["interval"] = json!("2s");
    std::fs::write(rig.path("data.yaml"), config.to_string()).unwrap();
    until("the config's level is back", async || {
        let (_, answer) = set("trace").await;
        hold(answer["old"] == "info", format!("{answer}"))
    })
    .await;
}
