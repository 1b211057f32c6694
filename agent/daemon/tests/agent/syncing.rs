//! Files that go where they belong.

use gosync_dev_s3::Operation;
use serde_json::json;

use crate::rig::{Rig, has_content, hold, is_gone, until, with_mirror};

#[tokio::test]
async fn a_file_goes_to_the_bucket_and_comes_back_changed() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    let (file, stranger) = (rig.path("docs/note.txt"), rig.stranger());
    std::fs::write(&file, "mine").unwrap();
    until("the object is there", async || {
        stranger.get("files/note.txt").await.filter(|text| text == "mine").ok_or("no")
    })
    .await;
    agent.flush().await;
    stranger.put("files/note.txt", "theirs").await;
    has_content(&file, "theirs").await;
    stranger.delete("files/note.txt").await;
    is_gone(&file).await;
}

#[tokio::test]
async fn two_mirrors_of_one_prefix_follow_each_other() {
    let rig = Rig::new().await;
    // Hints alone: nobody lists before the test is over.
    let mut config = with_mirror(rig.one_mirror(), "copy", &rig.path("copy"), "/files");
    config["sync"]["interval"] = json!("1h");
    let agent = rig.start(&config).await;
    agent.in_step("docs").await;
    agent.in_step("copy").await;
    std::fs::create_dir_all(rig.path("docs/a/b")).unwrap();
    std::fs::write(rig.path("docs/a/b/note.txt"), "one").unwrap();
    has_content(&rig.path("copy/a/b/note.txt"), "one").await;
    std::fs::write(rig.path("copy/a/b/note.txt"), "two").unwrap();
    has_content(&rig.path("docs/a/b/note.txt"), "two").await;
    std::fs::remove_file(rig.path("copy/a/b/note.txt")).unwrap();
    is_gone(&rig.path("docs/a/b/note.txt")).await;
}

#[tokio::test]
async fn a_mirror_of_the_whole_bucket_and_one_of_a_prefix_hint_each_other() {
    let rig = Rig::new().await;
    let mut config = with_mirror(rig.one_mirror(), "whole", &rig.path("whole"), "/");
    config["sync"]["interval"] = json!("1h");
    let agent = rig.start(&config).await;
    agent.in_step("docs").await;
    agent.in_step("whole").await;
    std::fs::write(rig.path("docs/note.txt"), "up").unwrap();
    has_content(&rig.path("whole/files/note.txt"), "up").await;
    std::fs::write(rig.path("whole/files/note.txt"), "down").unwrap();
    has_content(&rig.path("docs/note.txt"), "down").await;
}

#[tokio::test]
async fn once_in_step_nothing_is_sent() {
    let rig = Rig::new().await;
    std::fs::create_dir(rig.path("docs")).unwrap();
    for number in 0..50 {
        std::fs::write(rig.path(&format!("docs/{number}")), format!("{number}")).unwrap();
    }
    let mut agent = rig.start(&rig.one_mirror()).await;
    agent.flush().await;
    assert_eq!(agent.stop().await, Some(0));
    let counters = rig.store.as_ref().unwrap().counters();
    let before = counters.snapshot();
    let agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    agent.flush().await;
    // One listing each second: three of them are three quiet cycles.
    let listings = counters.snapshot().listings();
    until("three listings", async || hold(counters.snapshot().listings() >= listings + 3, "not yet")).await;
    let counts = counters.snapshot().since(&before);
    assert_eq!((counts.writes(), counts.of(Operation::GetObject)), (0, 0), "{counts:?}");
}

#[tokio::test]
async fn limits_of_the_line_slow_down_and_lose_nothing() {
    let rig = Rig::new().await;
    let mut config = rig.one_mirror();
    config["sync"]["bandwidth"] = json!({"upload": 200_000, "download": 200_000});
    let agent = rig.start(&config).await;
    agent.in_step("docs").await;
    let content = "0123456789".repeat(30_000);
    std::fs::write(rig.path("docs/large"), &content).unwrap();
    let stranger = rig.stranger();
    until("the object is there", async || {
        stranger.get("files/large").await.filter(|text| *text == content).ok_or("no")
    })
    .await;
    stranger.put("files/down", &content).await;
    has_content(&rig.path("docs/down"), &content).await;
    agent.flush().await;
}

#[tokio::test]
async fn state_in_the_volume_lives_beside_the_files() {
    let rig = Rig::new().await;
    let config = rig.one_volume();
    let mut agent = rig.start_with_note(&config).await;
    assert!(rig.path("docs/.gosync/state.db").exists());
    assert!(!rig.path("data/mirrors/docs.db").exists());
    assert_eq!(agent.stop().await, Some(0));
    let agent = rig.start(&config).await;
    agent.in_step("docs").await;
    assert_eq!(rig.stranger().get("files/note.txt").await.as_deref(), Some("x"));
}
