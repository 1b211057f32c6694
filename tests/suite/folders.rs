//! Folders that are kept for their own sake, by markers in the bucket.

use std::fs;
use std::path::Path;

use gosync_tests::agent::{Agent, note, with_mirror};
use gosync_tests::pair::{MIRROR, Pair, write};
use gosync_tests::process::Folder;
use gosync_tests::wait;
use serde_json::json;

/// A pair and another folder of the same prefix that keep folders.
async fn two_folders() -> (Pair, Folder, Agent) {
    let mut pair = Pair::new().await;
    let other = Folder::new("other");
    pair.config = with_mirror(pair.config.take(), "other", other.path(), "/docs");
    pair.config["sync"]["directory_markers"] = json!(true);
    // How long a folder whose marker is gone is waited for to become empty.
    pair.config["sync"]["settle_max"] = json!("3s");
    let agent = pair.start().await;
    agent.in_step("other").await;
    (pair, other, agent)
}

/// Folders and files below a root, folders with a `/` behind them; our own folder aside.
fn entries(root: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().map(Result::unwrap) {
            let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if name == ".gosync" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                found.push(format!("{name}/"));
            } else {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

async fn all_hold(pair: &Pair, roots: &[&Path], expected: &[&str]) {
    wait::until("the folders and the bucket hold the same", async || {
        let mut keys = pair.bucket.keys("docs/").await;
        keys.retain(|key| !key.starts_with("docs/.gosync/"));
        let bucket: Vec<_> = keys.iter().map(|key| key.trim_start_matches("docs/")).collect();
        let found: Vec<_> = roots.iter().map(|root| entries(root)).collect();
        wait::hold(bucket == expected && found.iter().all(|found| found == expected), format!("{bucket:?} {found:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_kept_by_markers_on_both_sides() {
    let (pair, other, mut agent) = two_folders().await;
    let roots = [&*pair.root, other.path()];
    fs::create_dir_all(pair.root.join("empty/deep down")).unwrap();
    write(&other.path().join("full/file"), "in a folder");
    pair.bucket.put("docs/theirs/", "").await;
    pair.bucket.put("docs/theirs too/file", "whose folder has no marker yet").await;
    let first = ["empty/", "empty/deep down/", "full/", "full/file", "theirs too/", "theirs too/file", "theirs/"];
    all_hold(&pair, &roots, &first).await;
    assert_eq!(pair.bucket.head("docs/empty/deep down/").await.unwrap().size, 0);

    // Away with everything in one of them, with one that is empty, and with a file alone.
    fs::remove_dir_all(pair.root.join("empty")).unwrap();
    fs::remove_dir(other.path().join("theirs")).unwrap();
    fs::remove_file(other.path().join("full/file")).unwrap();
    fs::rename(pair.root.join("theirs too"), pair.root.join("renamed")).unwrap();
    all_hold(&pair, &roots, &["full/", "renamed/", "renamed/file"]).await;

    for mirror in [MIRROR, "other"] {
        agent.in_step(mirror).await;
    }
    pair.proxy.forget();
    agent.stop().await;
    fs::create_dir(pair.root.join("while nobody ran")).unwrap();
    fs::remove_dir_all(other.path().join("renamed")).unwrap();
    agent.restart().await;
    all_hold(&pair, &roots, &["full/", "while nobody ran/"]).await;
    for mirror in [MIRROR, "other"] {
        agent.in_step(mirror).await;
    }
    pair.proxy.forget();
    pair.four_checks().await;
    assert_eq!(pair.transfers(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_that_goes_takes_only_an_empty_folder_along() {
    let (pair, other, agent) = two_folders().await;
    let roots = [&*pair.root, other.path()];
    fs::create_dir(pair.root.join("empty")).unwrap();
    write(&pair.root.join("full/file"), "keeps its folder");
    all_hold(&pair, &roots, &["empty/", "full/", "full/file"]).await;
    agent.in_step(MIRROR).await;
    pair.delete_all(["empty/", "full/"]).await;
    all_hold(&pair, &roots, &["full/", "full/file"]).await;
    for mirror in [MIRROR, "other"] {
        agent.in_step(mirror).await;
    }
    pair.delete_all(["full/", "full/file"]).await;
    all_hold(&pair, &roots, &[]).await;

    pair.bucket.put("docs/no folder/", "some bytes").await;
    agent.until(MIRROR, "it is reported", |mirror| note(mirror, "no folder").is_some()).await;
    assert!(!pair.root.join("no folder").exists());
    assert_eq!(pair.bucket.get("docs/no folder/").await.unwrap(), "some bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_mean_nothing_where_folders_are_not_kept() {
    let (mut pair, other, mut agent) = two_folders().await;
    fs::create_dir(pair.root.join("kept")).unwrap();
    all_hold(&pair, &[&pair.root, other.path()], &["kept/"]).await;
    agent.stop().await;
    pair.config["sync"]["directory_markers"] = json!(false);
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    pair.bucket.put("docs/theirs/", "").await;
    fs::remove_dir(pair.root.join("kept")).unwrap();
    fs::create_dir(pair.root.join("ours")).unwrap();
    pair.four_checks().await;
    agent.in_step(MIRROR).await;
    assert_eq!(entries(&pair.root), ["ours/"]);
    assert_eq!(entries(other.path()), ["kept/"]);
    assert_eq!(pair.bucket.keys("docs/").await, ["docs/kept/", "docs/theirs/"]);
    assert_eq!(agent.mirror(MIRROR)["problems"], 0);
}
