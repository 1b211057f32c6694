//! `provision`: by listing alone.

use gosync_dev_s3::Operation;
use serde_json::json;

use crate::rig::{Rig, with_mirror};

#[tokio::test]
async fn keys_are_taken_over_by_listing_alone_and_then_adopted() {
    let rig = Rig::new().await;
    let stranger = rig.stranger();
    for number in 0..30 {
        stranger.put(&format!("files/sub/{number:02}"), &format!("content {number}")).await;
    }
    stranger.put("files/top", "top").await;
    stranger.put("files//odd", "odd").await;
    stranger.put("elsewhere/x", "x").await;
    let mut agent = rig.start(&rig.config()).await;
    let counters = rig.store.as_ref().unwrap().counters();
    let before = counters.snapshot();

    let provision = async |body| agent.post("/sync/provision", &body).await.1["result"].clone();
    let dry = provision(json!({"s3_path": "/files", "dry_run": true})).await;
    assert_eq!((&dry["keys"], &dry["added"], &dry["odd_keys"]), (&json!(32), &json!(31), &json!(1)), "{dry}");
    let shallow = provision(json!({"s3_path": "/files", "recursive": false})).await;
    assert_eq!((&shallow["keys"], &shallow["added"]), (&json!(1), &json!(1)), "{shallow}");
    let done = provision(json!({"s3_path": "/files"})).await;
    assert_eq!((&done["keys"], &done["added"]), (&json!(32), &json!(30)), "{done}");
    assert_eq!(done["odd_first"][0]["key"], "files//odd");
    stranger.put("files/top", "another").await;
    let again = provision(json!({"s3_path": "/files"})).await;
    assert_eq!((&again["added"], &again["updated"]), (&json!(0), &json!(1)), "{again}");

    let counts = counters.snapshot().since(&before);
    assert_eq!(counts.of(Operation::GetObject) + counts.of(Operation::HeadObject), 0, "{counts:?}");
    assert_eq!(counts.writes(), 1, "the stranger's alone: {counts:?}");
    assert_eq!(agent.stop().await, Some(0));

    // Identical local files are adopted without a transfer.
    std::fs::create_dir_all(rig.path("docs/sub")).unwrap();
    for number in 0..30 {
        std::fs::write(rig.path(&format!("docs/sub/{number:02}")), format!("content {number}")).unwrap();
    }
    std::fs::write(rig.path("docs/top"), "another").unwrap();
    let before = counters.snapshot();
    let agent = rig.start(&with_mirror(rig.config(), "docs", &rig.path("docs"), "/files")).await;
    agent.flush().await;
    let counts = counters.snapshot().since(&before);
    assert_eq!(counts.of(Operation::GetObject), 0, "{counts:?}");
    let mirror = agent.mirror("docs").await;
    assert_eq!(mirror["files"], 31, "{mirror:#}");
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_told_with_a_next_step() {
    let mut rig = Rig::new().await;
    let mut config = rig.config();
    config["sync"]["max_retries"] = json!(1);
    let agent = rig.start(&config).await;
    rig.stop_store().await;
    let (_, line) = agent.post("/sync/provision", &json!({"s3_path": "/files"})).await;
    assert_eq!(line["error"]["code"], "unavailable", "{line}");
    assert!(line["error"]["hint"].as_str().unwrap().contains("again"), "{line}");
    let (status, _) = agent.post("/sync/provision", &json!({"s3_path": 3})).await;
    assert_eq!(status, 400);
}
