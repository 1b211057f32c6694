//! The config, edited while the agent runs.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::rig::{Agent, Rig, has_content, hold, until, with_mirror};

fn write(rig: &Rig, config: &Value) {
    std::fs::write(rig.path("data.yaml"), config.to_string()).unwrap();
}

async fn names(agent: &Agent) -> Vec<String> {
    let list = agent.get("/sync/list").await.unwrap();
    list["mirrors"].as_array().unwrap().iter().map(|mirror| mirror["name"].as_str().unwrap().to_owned()).collect()
}

async fn has_mirrors(agent: &Agent, wanted: &[&str]) {
    until(&format!("the mirrors are {wanted:?}"), async || {
        let found = names(agent).await;
        hold(found == wanted, format!("{found:?}\n{}", agent.log()))
    })
    .await;
}

/// Waits until the state says this of what waits for a restart.
async fn tells(agent: &Agent, is_so: impl Fn(&Value) -> bool) {
    until("what waits for a restart is told", async || {
        let state = agent.get("/sync/state").await?;
        hold(is_so(&state["restart_needed"]), format!("{state:#}"))
    })
    .await;
}

#[tokio::test]
async fn mirrors_come_change_and_go_with_the_config() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    write(&rig, &with_mirror(rig.one_mirror(), "copy", &rig.path("copy"), "/files"));
    has_mirrors(&agent, &["copy", "docs"]).await;
    std::fs::write(rig.path("docs/note.txt"), "x").unwrap();
    has_content(&rig.path("copy/note.txt"), "x").await;

    let mut elsewhere = with_mirror(rig.config(), "copy", &rig.path("copy"), "/files");
    elsewhere["syncs"][0]["ignore_patterns"] = json!(["*.tmp"]);
    write(&rig, &elsewhere);
    has_mirrors(&agent, &["copy"]).await;
    agent.in_step("copy").await;
    std::fs::write(rig.path("copy/a.tmp"), "x").unwrap();
    std::fs::write(rig.path("copy/b"), "x").unwrap();
    agent.flush().await;
    assert_eq!(rig.stranger().get("files/a.tmp").await, None);
    assert!(rig.stranger().get("files/b").await.is_some());
}

#[tokio::test]
async fn a_hangup_reads_the_config_and_says_what_waits_for_a_restart() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.one_mirror()).await;
    let mut config = rig.one_mirror();
    config["agent"]["device_name"] = json!("another");
    write(&rig, &config);
    agent.signal(Signal::HUP);
    tells(&agent, |waits| *waits == json!(["agent.device_name"])).await;
    agent.flush().await;
}

#[tokio::test]
async fn a_config_with_mistakes_changes_nothing() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.one_mirror()).await;
    let mut config = rig.config();
    config["sync"]["interval"] = json!("soon");
    write(&rig, &config);
    tells(&agent, |waits| waits.to_string().contains("sync.interval")).await;
    assert_eq!(names(&agent).await, ["docs"]);
    write(&rig, &rig.one_mirror());
    tells(&agent, |waits| *waits == json!([])).await;
}
