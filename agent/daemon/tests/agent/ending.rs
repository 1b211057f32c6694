//! Ends: flushed or not, and what they leave behind.

use std::os::unix::fs::MetadataExt as _;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::rig::{Agent, Rig, until};

fn receipt(rig: &Rig) -> Value {
    let text = std::fs::read_to_string(rig.path("data/receipt.json")).unwrap();
    let receipts: Value = serde_json::from_str(&text).unwrap();
    receipts["receipts"][0].clone()
}

/// An agent whose last change has no store to go to.
async fn cut_off_with_a_change(drain: &str) -> (Rig, Agent) {
    let mut rig = Rig::new().await;
    let mut config = rig.one_mirror();
    config["sync"]["drain"] = json!(drain);
    let message = rig.path("termination-log");
    std::fs::write(&message, "x".repeat(10_000)).unwrap();
    config["agent"]["termination_message_path"] = json!(message);
    let agent = rig.start(&config).await;
    agent.in_step("docs").await;
    rig.stop_store().await;
    std::fs::write(rig.path("docs/last.txt"), "words").unwrap();
    (rig, agent)
}

#[tokio::test]
async fn a_last_change_is_flushed_before_the_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let rig = Rig::new().await;
        let mut agent = rig.start(&rig.one_mirror()).await;
        agent.in_step("docs").await;
        std::fs::write(rig.path("docs/last.txt"), "words").unwrap();
        agent.signal(signal);
        assert_eq!(agent.end().await.code(), Some(0), "{}", agent.log());
        assert_eq!(rig.stranger().get("files/last.txt").await.as_deref(), Some("words"));
        let receipt = receipt(&rig);
        assert_eq!((&receipt["flushed"], &receipt["files"]), (&json!(true), &json!(1)), "{receipt:#}");
        assert!(receipt["finished"].is_string() && receipt["tree"].is_string());
        assert!(!agent.socket.exists());
    }
}

#[tokio::test]
async fn what_could_not_be_flushed_is_in_the_receipt_and_the_exit_code() {
    let (rig, mut agent) = cut_off_with_a_change("1s").await;
    assert_eq!(agent.stop().await, Some(1));
    assert_eq!(receipt(&rig)["flushed"], json!(false));
}

#[tokio::test]
async fn what_could_not_be_flushed_is_the_termination_message_in_the_file_that_was_there() {
    let (rig, mut agent) = cut_off_with_a_change("1s").await;
    let path = rig.path("termination-log");
    let inode = || std::fs::metadata(&path).unwrap().ino();
    let before = inode();
    assert_eq!(agent.stop().await, Some(1));
    assert_eq!(inode(), before, "a kubelet looks at the file that it made");
    let message = std::fs::read_to_string(&path).unwrap();
    assert!(message.len() < 4096, "{message}");
    let message: Value = serde_json::from_str(&message).unwrap();
    let receipt = &message["receipts"][0];
    assert_eq!(
        (&receipt["mirror"], &receipt["flushed"], &receipt["hydrated"]),
        (&json!("docs"), &json!(false), &json!(true))
    );
    assert_eq!(receipt["pending"]["first"], json!(["last.txt"]), "{receipt:#}");
    assert!(receipt["pending"]["files"] == 1 && receipt["finished"].is_string(), "{receipt:#}");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (rig, mut agent) = cut_off_with_a_change("1h").await;
    agent.signal(Signal::TERM);
    until("the flush has begun", async || if rig.path("data/receipt.json").exists() { Ok(()) } else { Err("not yet") })
        .await;
    assert_eq!(agent.stop().await, Some(1));
    assert_eq!(receipt(&rig)["flushed"], json!(false));
    let message = std::fs::read_to_string(rig.path("termination-log")).unwrap();
    assert!(message.contains(r#""flushed":false"#) && message.contains(r#""finished":null"#), "{message}");
}
