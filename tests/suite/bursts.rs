//! Many deletes at once that are none, or that must not be excused; and a disk on which the trash leaves no room.

use std::fs;

use gosync_tests::mount::Mount;
use gosync_tests::pair::{MIRROR, Pair, write};
use gosync_tests::process::needs_root;
use gosync_tests::wait;
use serde_json::json;

/// Over the 20 below which no guard asks.
const FILES: usize = 40;

/// Equal contents that stood there all along excuse nothing.
#[tokio::test(flavor = "multi_thread")]
async fn many_deletes_among_files_of_equal_content_wait_for_an_answer() {
    let pair = Pair::new().await;
    for number in 0..FILES {
        write(&pair.root.join(format!("same/{number:02}")), "the same everywhere");
    }
    let agent = pair.start().await;
    let expected = pair.local();
    pair.both_hold(&expected).await;
    for number in 0..FILES - 10 {
        fs::remove_file(pair.root.join(format!("same/{number:02}"))).unwrap();
    }
    let halt = agent.halted(MIRROR, &["too-many-deletes"]).await;
    pair.bucket_keeps(&expected).await;
    agent.ask(&["sync", "deny", &halt]);
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_renamed_in_the_bucket_is_no_burst_of_deletes() {
    let pair = Pair::new().await;
    for number in 0..FILES {
        write(&pair.root.join(format!("old/{number:02}")), format!("content {number}"));
    }
    let agent = pair.start().await;
    let before = pair.local();
    pair.both_hold(&before).await;
    for (path, content) in &before {
        pair.bucket.put(&format!("docs/{}", path.replace("old/", "new/")), content.clone()).await;
    }
    pair.delete_all(before.keys()).await;
    let expected = before.into_iter().map(|(path, content)| (path.replace("old/", "new/"), content)).collect();
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
    assert!(!agent.process().log().contains("halted"), "{}", agent.process().log());
}

/// What is younger than a day leaves the trash only when a person says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_trash_that_leaves_no_room_waits_for_an_answer() {
    if !needs_root("a small file system is mounted") {
        return;
    }
    const MIB: usize = 1 << 20;
    let mut pair = Pair::new().await;
    let _disk = Mount::tmpfs_of(&pair.root, 24 * MIB);
    pair.config["sync"]["min_free"] = json!({"percent": 5, "bytes": "1MiB"});
    for number in 0..3 {
        write(&pair.root.join(format!("big/{number}")), vec![number; 4 * MIB]);
    }
    let agent = pair.start().await;
    let full = pair.local();
    pair.both_hold(&full).await;
    pair.delete_all(full.keys()).await;
    wait::until("the files are in the trash", async || {
        let files = agent.trash().len();
        wait::hold(files == 3, files)
    })
    .await;
    pair.bucket.put("docs/new", vec![9; 14 * MIB]).await;
    let halt = agent.halted(MIRROR, &["trash-full"]).await;
    assert_eq!(agent.trash().len(), 3);
    agent.ask(&["sync", "approve", &halt]);
    let expected = [("new".to_owned(), vec![9; 14 * MIB].into())].into();
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
    let left = agent.trash().len();
    assert!(left < 3, "the oldest made room: {left}");
}
