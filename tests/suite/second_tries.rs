//! What is done again, after a kill, a power loss or a failed try, is done to what is there by then: nothing of the first try
//! is believed that the second can't see.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;

use gosync_engine::crash::CrashPoint;
use gosync_tests::agent::Agent;
use gosync_tests::mount::Mount;
use gosync_tests::pair::{MIRROR, Pair, contents, tree, write};
use gosync_tests::process::needs_root;
use gosync_tests::proxy::{Kind, Verdict};
use gosync_tests::wait;
use serde_json::json;

const SIGABRT: i32 = 6;

/// The agent dies when the object of its upload is there, before anything is written down about it.
async fn dies_after_the_upload(pair: &Pair) {
    let mut agent = Agent::launch_to_crash(pair.home.path(), &pair.config, CrashPoint::UploadSent.name());
    assert_eq!(agent.end().await.signal(), Some(SIGABRT));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_power_loss_took_after_its_upload_comes_back() {
    let pair = Pair::new().await;
    pair.start().await.stop().await;
    write(&pair.root.join("new"), "sent and not yet on the disk");
    dies_after_the_upload(&pair).await;
    fs::remove_file(pair.root.join("new")).unwrap();
    let _agent = pair.start().await;
    pair.both_hold(&tree([("new", "sent and not yet on the disk")])).await;
    assert_eq!(pair.deletes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_a_power_loss_took_back_after_its_upload_stays() {
    let pair = Pair::new().await;
    write(&pair.root.join("file"), "before");
    pair.start().await.stop().await;
    // The old content is put back as the same file, which is what the loss of a rename does.
    let before = pair.home.path().join("before");
    fs::hard_link(pair.root.join("file"), &before).unwrap();
    fs::write(pair.home.path().join("after"), "the edit").unwrap();
    fs::rename(pair.home.path().join("after"), pair.root.join("file")).unwrap();
    dies_after_the_upload(&pair).await;
    fs::rename(&before, pair.root.join("file")).unwrap();
    let _agent = pair.start().await;
    pair.both_hold(&tree([("file", "the edit")])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_from_another_volume_is_no_reason_to_delete() {
    let pair = Pair::new().await;
    write(&pair.root.join("old"), "in step");
    pair.start().await.stop().await;
    write(&pair.root.join("new"), "sent");
    dies_after_the_upload(&pair).await;
    // Another disk of ours comes up in its place.
    fs::rename(&pair.root, pair.home.path().join("away")).unwrap();
    fs::create_dir_all(pair.root.join(".gosync")).unwrap();
    let marker = fs::read_to_string(pair.home.path().join("away/.gosync/marker")).unwrap();
    let mut marker: serde_json::Value = serde_json::from_str(&marker).unwrap();
    marker["uuid"] = json!("another");
    fs::write(pair.root.join(".gosync/marker"), marker.to_string()).unwrap();
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    let halt = agent.halted(MIRROR, &["volume-changed"]).await;
    for refused in [&["sync", "trash", "list"][..], &["sync", "trash", "restore", "2026-01-01/x~00000000"]] {
        let output = agent.run(refused);
        assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    }
    agent.ask(&["sync", "approve", &halt]);
    pair.both_hold(&tree([("old", "in step"), ("new", "sent")])).await;
    assert_eq!(pair.deletes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_back_to_what_was_lately_downloaded_is_an_edit() {
    let pair = Pair::new().await;
    write(&pair.root.join("file"), "first");
    let mut agent = pair.start().await;
    pair.bucket.put("docs/file", "second, from the bucket").await;
    pair.both_hold(&tree([("file", "second, from the bucket")])).await;
    agent.in_step(MIRROR).await;
    write(&pair.root.join("file"), "third");
    pair.both_hold(&tree([("file", "third")])).await;
    // What the download replaced is still watched when it stops.
    agent.stop().await;
    write(&pair.root.join("file"), "second, from the bucket");
    let _agent = pair.start().await;
    pair.both_hold(&tree([("file", "second, from the bucket")])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_lets_go_in_the_bucket_of_a_pushing_mirror_is_in_the_trash() {
    let mut pair = Pair::new().await;
    pair.config["syncs"][0]["direction"] = json!("push");
    write(&pair.root.join("file"), "ours");
    let agent = pair.start().await;
    pair.bucket.put("docs/file", "somebody else's").await;
    fs::remove_file(pair.root.join("file")).unwrap();
    let shown = |mirror: &serde_json::Value| {
        mirror["paths"].as_array().into_iter().flatten().any(|note| note["state"] == "diverged")
    };
    agent.until(MIRROR, "it is shown as diverged", shown).await;
    agent.ask(&["sync", "approve", pair.root.join("file").to_str().unwrap()]);
    wait::until("the object is gone", async || {
        let left = pair.bucket.head("docs/file").await.is_some();
        wait::hold(!left, "there still")
    })
    .await;
    let kept: Vec<_> = contents(&pair.root.join(".gosync/trash")).into_values().collect();
    assert_eq!(kept, ["somebody else's"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_the_folder_overrules_is_kept_once_however_often_it_is_tried() {
    let mut pair = Pair::new().await;
    pair.config["syncs"][0]["conflict_policy"] = json!("local-wins");
    write(&pair.root.join("file"), "first");
    let mut agent = pair.start().await;
    // Each try to send it is refused by the store for a while.
    pair.proxy.rule(|seen| match seen.kind {
        Kind::Put if seen.key == "docs/file" => Verdict::Answer(500),
        _ => Verdict::Pass,
    });
    agent.meanwhile(false, || write(&pair.root.join("file"), "ours")).await;
    pair.bucket.put("docs/file", "theirs").await;
    wait::until("it was tried a few times", async || {
        let tries = pair.requests(|kind| kind == Kind::Put).len();
        wait::hold(tries >= 8, tries)
    })
    .await;
    pair.proxy.pass();
    pair.both_hold(&tree([("file", "ours")])).await;
    let kept: Vec<_> = contents(&pair.root.join(".gosync/trash")).into_values().collect();
    assert_eq!(kept, ["theirs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_an_open_file_that_the_disk_has_no_room_for_leaves_nothing() {
    const BYTES: usize = 12 << 20;
    if !needs_root("mounting a file system of its own") {
        return;
    }
    let mut pair = Pair::new().await;
    let _disk = Mount::tmpfs_of(&pair.root, 18 << 20);
    pair.config["sync"]["settle_max"] = json!("1s");
    pair.config["sync"]["min_free"] = json!({"percent": 0, "bytes": "1MiB"});
    let agent = pair.start().await;
    let mut log = fs::File::create(pair.root.join("app.log")).unwrap();
    log.write_all(&vec![b'x'; BYTES]).unwrap();
    agent.until(MIRROR, "it can't be copied", |mirror| mirror["errors"] != json!([])).await;
    let left: u64 = fs::read_dir(pair.root.join(".gosync/tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().size())
        .sum();
    assert_eq!(left, 0);
    drop(log);
    wait::until("it is sent once it is closed", async || {
        let size = pair.bucket.head("docs/app.log").await.map(|head| head.size);
        wait::hold(size == Some(BYTES as u64), format!("{size:?}"))
    })
    .await;
}
