//! What was deleted in the bucket: kept, listed, brought back.

use gosync_tests::pair::{MIRROR, Pair, tree, write};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bucket_deleted_is_listed_in_the_trash_and_comes_back_when_it_is_restored() {
    let pair = Pair::new().await;
    let files = tree([("a/one", "1"), ("a/two", "2"), ("b", "3"), ("c", "4")]);
    pair.write_all(&files);
    let agent = pair.start().await;
    pair.both_hold(&files).await;
    pair.delete_all(["a/one", "a/two", "b"]).await;
    pair.both_hold(&tree([("c", "4")])).await;
    let list = |more: &[&str]| {
        let entries = agent.ask(&[&["sync", "trash", "list"], more].concat())["entries"].as_array().unwrap().clone();
        let mut entries: Vec<_> = entries
            .iter()
            .map(|entry| (entry["path"].as_str().unwrap().to_owned(), entry["id"].as_str().unwrap().to_owned()))
            .collect();
        entries.sort();
        entries
    };
    let all = list(&[]);
    assert_eq!(all.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["a/one", "a/two", "b"]);
    assert_eq!(list(&["--under", "a"]).len(), 2);

    // By id, then a folder by its path.
    let restored = agent.ask(&["sync", "trash", "restore", &all[2].1]);
    assert_eq!((restored["restored"][0]["to"].as_str(), &restored["failed"]), (Some("b"), &json!([])));
    pair.both_hold(&tree([("b", "3"), ("c", "4")])).await;
    // A new file has the name by now: the old one comes back beside it.
    write(&pair.root.join("a/one"), "new");
    let restored = agent.ask(&["sync", "trash", "restore", "a"]);
    assert_eq!(restored["restored"].as_array().unwrap().len(), 2, "{restored:#}");
    let mut expected = tree([("a/one", "new"), ("a/two", "2"), ("b", "3"), ("c", "4")]);
    let beside = restored["restored"].as_array().unwrap().iter().find(|one| one["path"] == "a/one").unwrap();
    expected.insert(beside["to"].as_str().unwrap().to_owned(), "1".into());
    assert_eq!(expected.len(), 5);
    pair.both_hold(&expected).await;
    assert_eq!(list(&[]), []);
    agent.in_step(MIRROR).await;
}

/// A name of 255 bytes leaves no room for anything that the trash would add.
fn longest() -> String {
    format!("sub/{}.txt", "n".repeat(251))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_name_comes_back_from_the_trash_whole() {
    let pair = Pair::new().await;
    let longest = longest();
    let files = tree([(&longest, "precious"), ("other", "stays")]);
    pair.write_all(&files);
    let agent = pair.start().await;
    // Deleted twice: no two items meet in the trash.
    for _ in 0..2 {
        pair.both_hold(&files).await;
        pair.delete_all([&longest]).await;
        pair.both_hold(&tree([("other", "stays")])).await;
        let listed = agent.trash();
        assert_eq!(listed.len(), 1, "{listed:#?}");
        assert_eq!(listed[0]["path"], longest);
        let restored = agent.ask(&["sync", "trash", "restore", &longest]);
        assert_eq!((&restored["restored"][0]["to"], &restored["failed"]), (&json!(longest), &json!([])));
    }
    pair.both_hold(&files).await;
    agent.in_step(MIRROR).await;
    assert_eq!(agent.mirror(MIRROR)["problems"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn deny_brings_the_longest_name_back_from_the_trash() {
    const FILES: usize = 60;
    let pair = Pair::new().await;
    pair.fill(FILES, 3);
    let longest = longest();
    pair.write_all(&tree([(&longest, "precious")]));
    let expected = pair.local();
    let agent = pair.start().await;
    pair.both_hold(&expected).await;

    let mut paths: Vec<_> = expected.keys().collect();
    paths.retain(|path| **path != longest);
    // Few enough to be carried over.
    pair.delete_all([&[&longest], &paths[..20]].concat()).await;
    let left = expected.clone().into_iter().filter(|(path, _)| paths[20..].contains(&path)).collect();
    pair.both_hold(&left).await;
    // With these, more than half in ten minutes.
    pair.delete_all(&paths[20..40]).await;
    let halt = agent.halted(MIRROR, &["too-many-deletes"]).await;
    assert_eq!(pair.local(), left);
    agent.ask(&["sync", "deny", &halt]);
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_here_comes_back_from_the_versions_of_the_bucket() {
    let pair = Pair::new().await;
    pair.bucket.enable_versions().await;
    let files = tree([("a/one", "old"), ("a/two", "2"), ("stays", "3")]);
    pair.write_all(&files);
    let agent = pair.start().await;
    pair.both_hold(&files).await;
    write(&pair.root.join("a/one"), "newer");
    let expected = tree([("a/one", "newer"), ("a/two", "2"), ("stays", "3")]);
    pair.both_hold(&expected).await;
    std::fs::remove_dir_all(pair.root.join("a")).unwrap();
    pair.both_hold(&tree([("stays", "3")])).await;

    assert_eq!(agent.trash(), [json!(null); 0]);
    let listed = agent.ask(&["sync", "trash", "list", "--versions", "--under", "a"]);
    let mut entries = listed["entries"].as_array().unwrap().clone();
    entries.sort_by_key(|entry| entry["path"].to_string());
    let told: Vec<_> = entries.iter().map(|it| (&it["path"], &it["source"], &it["bytes"])).collect();
    let version = json!("version");
    assert_eq!(
        told,
        [(&json!("a/one"), &version, &json!(5)), (&json!("a/two"), &version, &json!(1))],
        "with the newest content"
    );

    // One by its id, while somebody else has taken the path; the folder by its path.
    write(&pair.root.join("a/two"), "another");
    let restored = agent.ask(&["sync", "trash", "restore", entries[1]["id"].as_str().unwrap()]);
    let beside = restored["restored"][0]["to"].as_str().unwrap().to_owned();
    assert!(beside.starts_with("a/two.conflict-"), "{restored:#}");
    agent.in_step(MIRROR).await;
    let restored = agent.ask(&["sync", "trash", "restore", "a"]);
    assert_eq!((&restored["restored"][0]["to"], &restored["failed"]), (&json!("a/one"), &json!([])));
    let mut expected = expected;
    expected.insert("a/two".into(), "another".into());
    expected.insert(beside, "2".into());
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
    // What stands is no deleted version, and what never was is none either.
    let failed = agent.run(&["sync", "trash", "restore", "a/one", "nothing"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(gosync_tests::tree::names(&pair.root.join(".gosync/tmp")).is_empty());
}
