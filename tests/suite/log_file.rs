//! The agent's log, on a disk of its own.

use std::fs;

use gosync_tests::mount::Mount;
use gosync_tests::pair::{MIRROR, Pair};
use gosync_tests::process::needs_root;
use gosync_tests::wait;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_on_a_full_disk_costs_its_lines_and_stops_nothing() {
    if !needs_root("a small file system is mounted") {
        return;
    }
    let mut pair = Pair::new().await;
    let logs = pair.home.dir("logs");
    let _disk = Mount::tmpfs_of(&logs, 256 << 10);
    let log = logs.join("agent.log");
    pair.config["log"] = json!({"level": "debug", "file": log});
    let agent = pair.start().await;
    let ballast = logs.join("ballast");
    assert!(fs::write(&ballast, vec![0; 1 << 20]).is_err(), "the disk is full");
    // More lines than the last page of the log may still hold.
    pair.fill(100, 3);
    pair.both_hold(&pair.local()).await;
    agent.in_step(MIRROR).await;
    let told = agent.process().log();
    assert!(told.contains("lines are dropped until it can"), "{told}");

    fs::remove_file(&ballast).unwrap();
    let full = fs::metadata(&log).unwrap().len();
    wait::until("lines are written again", async || {
        agent.ask(&["sync", "pause", MIRROR]);
        agent.ask(&["sync", "resume", MIRROR]);
        let now = fs::metadata(&log).unwrap().len();
        wait::hold(now > full, now)
    })
    .await;
    let lines = fs::read_to_string(&log).unwrap();
    assert!(lines.ends_with('\n') && lines.contains("resumed"), "{lines}");
    agent.in_step(MIRROR).await;
}
