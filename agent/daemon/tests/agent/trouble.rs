//! Trouble outside: told in the state, and over when it is mended, without a restart.

use serde_json::{Value, json};

use crate::rig::{Agent, BUCKET, KEY, Rig, has_content, hold, until};

fn error_class(mirror: &Value) -> &str {
    mirror["errors"][0]["class"].as_str().unwrap_or_default()
}

fn error_message(mirror: &Value) -> &str {
    mirror["errors"][0]["message"].as_str().unwrap_or_default()
}

/// Active again, and files go up.
async fn recovers(rig: &Rig, agent: &Agent) {
    agent.has_status("docs", "active").await;
    std::fs::write(rig.path("docs/after"), "all is well").unwrap();
    let stranger = rig.stranger();
    until("the object is there", async || stranger.get("files/after").await.ok_or("no")).await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_an_error_until_it_does() {
    let mut rig = Rig::new().await;
    rig.stop_store().await;
    let agent = rig.start(&rig.one_mirror()).await;
    let mirror = agent.has_status("docs", "error").await;
    assert_eq!(error_class(&mirror), "endpoint");
    let said = format!("{} can't be reached: connection refused", rig.url);
    assert!(error_message(&mirror).starts_with(&said), "{}", error_message(&mirror));
    let state = agent.get("/sync/state").await.unwrap();
    assert_eq!(state["dependencies"][0]["up"], json!(false), "{state:#}");
    assert_eq!(agent.http("/livez").await.unwrap().0, 200);
    assert_eq!(agent.http("/readyz").await.unwrap().0, 503);
    assert_eq!(agent.http("/startupz").await.unwrap().0, 503);
    rig.start_store(KEY, &[BUCKET]).await;
    recovers(&rig, &agent).await;
}

#[tokio::test]
async fn wrong_credentials_are_an_error_until_they_are_right() {
    let mut rig = Rig::new().await;
    rig.stop_store().await;
    rig.start_store("another-key", &[BUCKET]).await;
    let agent = rig.start(&rig.one_mirror()).await;
    let mirror = agent.has_status("docs", "error").await;
    assert_eq!(error_class(&mirror), "credentials");
    assert!(error_message(&mirror).ends_with("check s3.access_key"), "{}", error_message(&mirror));
    rig.stop_store().await;
    rig.start_store(KEY, &[BUCKET]).await;
    recovers(&rig, &agent).await;
}

#[tokio::test]
async fn a_missing_bucket_is_an_error_until_it_is_made() {
    let mut rig = Rig::new().await;
    rig.stop_store().await;
    std::fs::remove_dir_all(rig.path("store")).unwrap();
    rig.start_store(KEY, &[]).await;
    let agent = rig.start(&rig.one_mirror()).await;
    let mirror = agent.has_status("docs", "error").await;
    assert_eq!(error_class(&mirror), "bucket");
    let said = format!("the bucket {BUCKET} doesn't exist at {}: make it, or correct s3.bucket", rig.url);
    assert_eq!(error_message(&mirror), said);
    rig.stranger().make_bucket().await;
    recovers(&rig, &agent).await;
}

#[tokio::test]
async fn once_hydrated_a_start_without_network_is_hydrated() {
    let mut rig = Rig::new().await;
    let mut agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    agent.flush().await;
    agent.kill();
    rig.stop_store().await;
    let agent = rig.start(&rig.one_mirror()).await;
    until("the start-up probe passes", async || match agent.http("/startupz").await? {
        (200, _) => Ok(()),
        (_, why) => Err(why),
    })
    .await;
}

#[tokio::test]
async fn another_prefix_is_not_hydrated_before_it_was_looked_at() {
    let mut rig = Rig::new().await;
    let mut agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    assert_eq!(agent.stop().await, Some(0));
    rig.stop_store().await;
    let mut config = rig.one_mirror();
    config["syncs"][0]["s3_path"] = json!("/others");
    let agent = rig.start(&config).await;
    let mirror = agent.has_status("docs", "error").await;
    assert_eq!(mirror["hydrated"], json!(false), "{mirror:#}");
    assert_eq!(agent.http("/startupz").await.unwrap().0, 503);
    rig.start_store(KEY, &[BUCKET]).await;
    agent.in_step("docs").await;
}

#[tokio::test]
async fn a_volume_that_is_not_mounted_at_start_halts_the_mirror_until_it_is() {
    let rig = Rig::new().await;
    let config = rig.one_volume();
    let mut agent = rig.start_with_note(&config).await;
    assert_eq!(agent.stop().await, Some(0));
    std::fs::rename(rig.path("docs"), rig.path("volume")).unwrap();
    let note = rig.path("data/mirrors/docs.volume");

    // Nothing at all, a bare mount point, and one that has something else in it.
    let agent = rig.start(&config).await;
    let mirror = agent.has_status("docs", "halted").await;
    assert!(!rig.path("docs").exists());
    std::fs::create_dir(rig.path("docs")).unwrap();
    for stands in ["an empty folder is there", "the folder there has no .gosync"] {
        until(stands, async || {
            let halt = agent.mirror("docs").await["halts"][0].clone();
            let said = halt["message"].as_str().unwrap_or_default();
            hold(
                halt["reason"] == "root-missing" && said.contains(stands) && said.contains(note.to_str().unwrap()),
                said,
            )
        })
        .await;
        std::fs::write(rig.path("docs/other"), "of somebody else").unwrap();
    }
    assert!(mirror["halts"][0]["message"].as_str().unwrap().contains("nothing is there"), "{mirror:#}");
    let found: Vec<_> = std::fs::read_dir(rig.path("docs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(found, ["other"], "something was written or downloaded");
    assert_eq!(rig.stranger().get("files/other").await, None);

    std::fs::remove_dir_all(rig.path("docs")).unwrap();
    std::fs::rename(rig.path("volume"), rig.path("docs")).unwrap();
    recovers(&rig, &agent).await;
    assert_eq!(rig.stranger().get("files/note.txt").await.as_deref(), Some("x"));
}

#[tokio::test]
async fn without_its_note_an_empty_folder_begins_anew() {
    let rig = Rig::new().await;
    let config = rig.one_volume();
    let mut agent = rig.start_with_note(&config).await;
    assert_eq!(agent.stop().await, Some(0));
    std::fs::remove_dir_all(rig.path("docs")).unwrap();
    let agent = rig.start(&config).await;
    agent.has_status("docs", "halted").await;
    std::fs::remove_file(rig.path("data/mirrors/docs.volume")).unwrap();
    has_content(&rig.path("docs/note.txt"), "x").await;
    agent.has_status("docs", "active").await;
}

#[tokio::test]
async fn a_root_that_goes_halts_the_mirror_until_it_is_back() {
    let rig = Rig::new().await;
    let agent = rig.start_with_note(&rig.one_mirror()).await;
    std::fs::rename(rig.path("docs"), rig.path("elsewhere")).unwrap();
    let mirror = agent.has_status("docs", "halted").await;
    assert_eq!(mirror["halts"][0]["reason"], "root-missing");
    std::fs::rename(rig.path("elsewhere"), rig.path("docs")).unwrap();
    recovers(&rig, &agent).await;
    assert_eq!(rig.stranger().get("files/note.txt").await.as_deref(), Some("x"));
}

#[tokio::test]
async fn a_known_root_that_is_missing_at_start_is_not_made_anew() {
    let rig = Rig::new().await;
    let mut agent = rig.start_with_note(&rig.one_mirror()).await;
    assert_eq!(agent.stop().await, Some(0));
    std::fs::rename(rig.path("docs"), rig.path("elsewhere")).unwrap();
    let agent = rig.start(&rig.one_mirror()).await;
    let mirror = agent.has_status("docs", "halted").await;
    assert_eq!(mirror["halts"][0]["reason"], "root-missing");
    assert!(!rig.path("docs").exists());
    let (status, answer) = agent.post("/sync/approve", &json!({"halt": mirror["halts"][0]["id"]})).await;
    assert_eq!(status, 409, "{answer}");
    std::fs::rename(rig.path("elsewhere"), rig.path("docs")).unwrap();
    recovers(&rig, &agent).await;
    assert_eq!(rig.stranger().get("files/note.txt").await.as_deref(), Some("x"));
}

#[tokio::test]
async fn into_another_folder_at_the_roots_path_nothing_is_written() {
    let rig = Rig::new().await;
    let agent = rig.start_with_note(&rig.one_mirror()).await;
    std::fs::rename(rig.path("docs"), rig.path("elsewhere")).unwrap();
    std::fs::create_dir(rig.path("docs")).unwrap();
    agent.has_status("docs", "halted").await;
    until("the new folder is found out", async || {
        let mirror = agent.mirror("docs").await;
        if mirror["halts"][0]["reason"] == "root-replaced" { Ok(()) } else { Err(format!("{mirror:#}")) }
    })
    .await;
    assert_eq!(std::fs::read_dir(rig.path("docs")).unwrap().count(), 0);
    assert_eq!(rig.stranger().get("files/note.txt").await.as_deref(), Some("x"));
}

#[tokio::test]
async fn of_two_agents_on_one_folder_one_stands_by_and_takes_over() {
    let rig = Rig::new().await;
    let mut first = rig.start(&rig.one_mirror()).await;
    first.in_step("docs").await;
    let mut config = rig.one_mirror();
    config["data_dir"] = json!(rig.path("data-2"));
    let second = rig.start(&config).await;
    let mirror = second.has_status("docs", "error").await;
    assert_eq!((error_class(&mirror), &mirror["phase"]), ("locked", &json!("standby")));
    first.kill();
    second.in_step("docs").await;
    std::fs::write(rig.path("docs/note.txt"), "x").unwrap();
    second.flush().await;
    let stranger = rig.stranger();
    stranger.put("files/note.txt", "y").await;
    has_content(&rig.path("docs/note.txt"), "y").await;
}
