//! The doctor, with a store and with agents that ran.

use gosync_agent::doctor::{AgentFound, ConfigFound, Questions, doctor};
use gosync_api::config::load;
use gosync_api::doctor::{Check, Diagnosis, Verdict};
use serde_json::{Value, json};

use crate::rig::{BUCKET, KEY, Rig, until};

async fn ask(rig: &Rig, config: &Value, agent: AgentFound, probe: bool) -> Diagnosis {
    let path = rig.path("asked.yaml");
    std::fs::write(&path, config.to_string()).unwrap();
    let loaded = load(&path, None).unwrap();
    doctor(Questions { config: ConfigFound::Loaded(Box::new(loaded)), agent, release: "test".into(), probe }).await
}

fn nobody() -> AgentFound {
    AgentFound::Nobody { why: "no agent".into(), next: "start one".into() }
}

#[track_caller]
fn check<'a>(found: &'a Diagnosis, name: &str, verdict: Verdict) -> &'a Check {
    let check = found.checks.iter().find(|check| check.check == name && check.verdict == verdict);
    check.unwrap_or_else(|| panic!("no {name} that is {verdict} in {found:#?}"))
}

fn lacks(found: &Diagnosis, name: &str) -> bool {
    found.checks.iter().all(|check| check.check != name)
}

/// Room or not is the machine's, not ours.
fn config(rig: &Rig) -> Value {
    let mut config = rig.one_mirror();
    config["sync"]["min_free"] = json!({"bytes": "0B"});
    config
}

#[tokio::test]
async fn a_store_is_met_step_by_step_and_nothing_is_written() {
    let rig = Rig::new().await;
    let found = ask(&rig, &config(&rig), nobody(), false).await;
    for name in ["config", "data_dir", "root", "clock", "endpoint", "credentials", "bucket", "listing", "versions"] {
        check(&found, name, Verdict::Ok);
    }
    assert!(check(&found, "conditions", Verdict::Warning).next.as_ref().unwrap().contains("--probe"));
    assert_eq!(found.verdict, Verdict::Warning, "{found:#?}");
    let counters = rig.store.as_ref().unwrap().counters().snapshot();
    assert!(counters.total() > 0 && counters.writes() == 0, "{counters:?}");
    assert!(!rig.path("data").exists() && !rig.path("docs").exists());
}

#[tokio::test]
async fn a_probe_is_made_where_it_is_asked_for_and_leaves_nothing() {
    let rig = Rig::new().await;
    let found = ask(&rig, &config(&rig), nobody(), true).await;
    let conditions = check(&found, "conditions", Verdict::Ok);
    assert!(conditions.found.contains("proven just now: create, replace"), "{conditions:?}");
    let left = ask(&rig, &config(&rig), nobody(), false).await;
    check(&left, "conditions", Verdict::Warning);
    let counters = rig.store.as_ref().unwrap().counters().snapshot();
    assert!(counters.writes() > 0, "{counters:?}");
    assert_eq!(rig.stranger().keys().await, [""; 0]);
}

#[tokio::test]
async fn each_refusal_of_a_store_is_told_at_its_step() {
    let mut rig = Rig::new().await;
    let mut other = config(&rig);
    other["s3"]["secret_key"] = json!("wrong");
    let found = ask(&rig, &other, nobody(), false).await;
    assert!(check(&found, "credentials", Verdict::Wrong).next.as_ref().unwrap().contains("s3.secret_key"));
    assert!(lacks(&found, "bucket") && lacks(&found, "conditions"), "{found:#?}");

    let mut other = config(&rig);
    other["s3"]["bucket"] = json!("elsewhere");
    let found = ask(&rig, &other, nobody(), false).await;
    check(&found, "credentials", Verdict::Ok);
    assert!(check(&found, "bucket", Verdict::Wrong).next.as_ref().unwrap().contains("elsewhere"));

    rig.stop_store().await;
    let found = ask(&rig, &config(&rig), nobody(), false).await;
    assert!(check(&found, "endpoint", Verdict::Wrong).found.contains(&rig.url));
    assert!(lacks(&found, "credentials") && lacks(&found, "clock"), "{found:#?}");
    rig.start_store(KEY, &[BUCKET]).await;
    check(&ask(&rig, &config(&rig), nobody(), false).await, "listing", Verdict::Ok);
}

#[tokio::test]
async fn an_agent_says_what_it_holds_and_what_it_found_out_remains_when_it_ends() {
    let rig = Rig::new().await;
    let mut agent = rig.start_with_note(&config(&rig)).await;
    // Counted now and then, not with each file.
    let state = until("the file is counted", async || {
        let state = agent.get("/sync/state").await.unwrap();
        if state["mirrors"][0]["files"] == 1 { Ok(state) } else { Err(format!("{state:#}")) }
    })
    .await;
    let answers = AgentFound::Answers {
        socket: agent.socket.display().to_string(),
        state: Box::new(serde_json::from_value(state).unwrap()),
    };
    let found = ask(&rig, &config(&rig), answers, false).await;
    assert!(check(&found, "conditions", Verdict::Ok).found.contains("by the running agent"), "{found:#?}");
    assert!(check(&found, "status", Verdict::Ok).found.contains("1 file in step"), "{found:#?}");
    assert!(found.checks.iter().any(|check| check.found.starts_with("held by the agent")), "{found:#?}");
    assert_eq!(found.verdict, Verdict::Ok, "{found:#?}");

    // Somebody who can't find its socket.
    let found = ask(&rig, &config(&rig), nobody(), false).await;
    assert!(check(&found, "data_dir", Verdict::Wrong).found.contains("no agent answers for it"));
    assert!(check(&found, "root", Verdict::Wrong).found.contains("works on"));

    assert_eq!(agent.stop().await, Some(0));
    let found = ask(&rig, &config(&rig), nobody(), false).await;
    assert!(check(&found, "conditions", Verdict::Ok).found.contains("when it last probed"), "{found:#?}");
    std::fs::remove_dir_all(rig.path("docs")).unwrap();
    let found = ask(&rig, &config(&rig), nobody(), false).await;
    assert!(check(&found, "root", Verdict::Wrong).found.contains("is gone"), "{found:#?}");
}

#[tokio::test]
async fn a_folder_without_room_is_wrong_for_who_downloads_and_a_warning_for_who_only_sends() {
    let rig = Rig::new().await;
    std::fs::create_dir(rig.path("docs")).unwrap();
    let mut config = rig.one_mirror();
    config["sync"]["min_free"] = json!({"percent": 100, "bytes": "900000GiB"});
    assert!(check(&ask(&rig, &config, nobody(), false).await, "space", Verdict::Wrong).found.contains("min_free"));
    config["syncs"][0]["direction"] = json!("push");
    check(&ask(&rig, &config, nobody(), false).await, "space", Verdict::Warning);
}
