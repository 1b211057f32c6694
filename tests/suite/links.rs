//! Symbolic links: left alone, or kept as links. Followed never.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use gosync_tests::agent::{Agent, note, with_mirror};
use gosync_tests::pair::{MIRROR, PREFIX, Pair, write};
use gosync_tests::process::Folder;
use gosync_tests::wait;
use serde_json::json;

/// A pair and another folder of the same prefix that keep links.
async fn two_folders() -> (Pair, Folder, Agent) {
    let mut pair = Pair::new().await;
    let other = Folder::new("other");
    pair.config = with_mirror(pair.config.take(), "other", other.path(), "/docs");
    pair.config["sync"]["symlinks"] = json!("preserve");
    let agent = pair.start().await;
    agent.in_step("other").await;
    (pair, other, agent)
}

/// Where the links below a folder point to; our own folder aside.
fn links(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if kind.is_dir() && name != ".gosync" {
                folders.push(entry.path());
            } else if kind.is_symlink() {
                found.insert(name, fs::read_link(entry.path()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

async fn point_there(root: &Path, expected: &[(&str, &str)]) {
    let expected: BTreeMap<_, _> = expected.iter().map(|(path, to)| ((*path).to_owned(), (*to).to_owned())).collect();
    wait::until("the links are there", async || {
        let found = links(root);
        wait::hold(found == expected, format!("{found:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_kept_as_links_and_never_followed() {
    let (pair, other, mut agent) = two_folders().await;
    let outside = Folder::new("outside");
    write(&outside.path().join("file"), "not ours");
    let absolute = outside.path().to_str().unwrap().to_owned();
    let first = [
        ("absolute", &*absolute),
        ("dangling", "nowhere/to be found"),
        ("folder/relative", "../file"),
        ("loop", "loop"),
        ("to-a-folder", "folder"),
    ];
    write(&pair.root.join("file"), "pointed to");
    fs::create_dir(pair.root.join("folder")).unwrap();
    for (path, to) in first {
        symlink(to, pair.root.join(path)).unwrap();
    }
    point_there(other.path(), &first).await;
    // To other tools it is an object that tells its kind as theirs do, and where it points to.
    let head = pair.bucket.head("docs/dangling").await.unwrap();
    assert_eq!(head.metadata.get("mode").map(String::as_str), Some("120777"), "{head:?}");
    assert_eq!(pair.bucket.get("docs/dangling").await.unwrap(), "nowhere/to be found");
    let time = |root: &Path| fs::symlink_metadata(root.join("dangling")).unwrap().modified().unwrap();
    assert_eq!(time(&pair.root), time(other.path()));

    // Pointed elsewhere here, replaced by a file and the other way round there, deleted.
    fs::remove_file(pair.root.join("dangling")).unwrap();
    symlink("file", pair.root.join("dangling")).unwrap();
    fs::remove_file(pair.root.join("loop")).unwrap();
    fs::remove_file(other.path().join("to-a-folder")).unwrap();
    write(&other.path().join("to-a-folder"), "a file now");
    fs::remove_file(other.path().join("file")).unwrap();
    symlink("folder/relative", other.path().join("file")).unwrap();
    let second =
        [("absolute", &*absolute), ("dangling", "file"), ("file", "folder/relative"), ("folder/relative", "../file")];
    for root in [&*pair.root, other.path()] {
        point_there(root, &second).await;
        wait::until("the file is one", async || {
            let found = fs::read(root.join("to-a-folder")).ok();
            wait::hold(found.as_deref() == Some(b"a file now"), format!("{found:?}"))
        })
        .await;
    }

    // Once in step nothing is sent, not after a restart either.
    for mirror in [MIRROR, "other"] {
        agent.in_step(mirror).await;
    }
    pair.proxy.forget();
    agent.stop().await;
    agent.restart().await;
    pair.four_checks().await;
    agent.in_step(MIRROR).await;
    assert_eq!(pair.transfers(), [""; 0]);
    assert_eq!(fs::read(outside.path().join("file")).unwrap(), b"not ours");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_pointed_elsewhere_on_both_sides_is_kept_twice() {
    let (pair, other, mut agent) = two_folders().await;
    symlink("before", pair.root.join("link")).unwrap();
    point_there(other.path(), &[("link", "before")]).await;
    agent.in_step(MIRROR).await;
    agent.stop().await;
    for (root, to) in [(&*pair.root, "here"), (other.path(), "there")] {
        fs::remove_file(root.join("link")).unwrap();
        symlink(to, root.join("link")).unwrap();
    }
    agent.restart().await;
    for root in [&*pair.root, other.path()] {
        wait::until("both are kept, as links", async || {
            let found = links(root);
            let mut targets: Vec<_> = found.values().map(String::as_str).collect();
            targets.sort_unstable();
            wait::hold(targets == ["here", "there"] && found.contains_key("link"), format!("{found:?}"))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_left_alone_where_they_are_not_kept() {
    let (mut pair, _other, mut agent) = two_folders().await;
    write(&pair.root.join("file"), "pointed to");
    symlink("file", pair.root.join("ours")).unwrap();
    pair.goes_up("ours").await;
    agent.stop().await;

    let stranger = Folder::new("stranger");
    let root = stranger.dir("docs");
    symlink("nowhere", root.join("theirs")).unwrap();
    pair.config["data_dir"] = json!(stranger.path().join("data"));
    pair.config["sync"]["symlinks"] = json!("skip");
    pair.config["syncs"] = json!([{"name": MIRROR, "local_path": root, "s3_path": "/docs"}]);
    let agent = Agent::start(stranger.path(), &pair.config).await;
    let mirror = agent
        .until(MIRROR, "both links are reported", |mirror| {
            note(mirror, "ours").is_some() && mirror["problems"].as_u64() >= Some(2)
        })
        .await;
    assert!(note(&mirror, "ours").unwrap()["reason"].as_str().unwrap().contains("symlinks: preserve"), "{mirror:#}");
    wait::until("the file is there", async || {
        let found = fs::read(root.join("file")).ok();
        wait::hold(found.as_deref() == Some(b"pointed to"), format!("{found:?}"))
    })
    .await;
    assert!(fs::symlink_metadata(root.join("ours")).is_err());
    agent.in_step(MIRROR).await;
    assert_eq!(pair.bucket.head("docs/theirs").await, None);
    assert_eq!(pair.bucket.get("docs/ours").await.unwrap(), "file");
}

/// Its files go from the bucket and from the other side like deleted ones, and the link takes the folder's place.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_takes_a_folders_place_takes_it_everywhere() {
    let (pair, other, agent) = two_folders().await;
    for path in ["real/kept", "d/x", "d/deep/y"] {
        write(&pair.root.join(path), path);
    }
    pair.both_hold(&pair.local()).await;
    agent.in_step("other").await;
    fs::remove_dir_all(pair.root.join("d")).unwrap();
    symlink("real", pair.root.join("d")).unwrap();
    point_there(other.path(), &[("d", "real")]).await;
    for mirror in [MIRROR, "other"] {
        agent.in_step(mirror).await;
    }
    let keys: Vec<String> = pair.remote().await.into_keys().collect();
    assert_eq!(keys, ["d", "real/kept"]);
    assert_eq!(fs::read(other.path().join("real/kept")).unwrap(), b"real/kept");
}

/// An object that can be no link here is a problem of its path, and of nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_cannot_be_made_is_reported_and_holds_nothing_up() {
    let (pair, _other, agent) = two_folders().await;
    let put = async |path: &str, to: Vec<u8>| {
        let request = pair.bucket.client.put_object().bucket(&pair.bucket.bucket).key(format!("{PREFIX}{path}"));
        request.metadata("mode", "120777").body(to.into()).send().await.unwrap();
    };
    put("bad/nul", b"a\0b".to_vec()).await;
    put("bad/long", vec![b'x'; 5_000]).await;
    put("bad/empty", Vec::new()).await;
    put("good", b"somewhere".to_vec()).await;
    agent
        .until(MIRROR, "the three are reported", |mirror| {
            ["bad/nul", "bad/long", "bad/empty"].iter().all(|path| note(mirror, path).is_some())
        })
        .await;
    point_there(&pair.root, &[("good", "somewhere")]).await;
    write(&pair.root.join("file"), "sent");
    agent.in_step(MIRROR).await;
    assert_eq!(pair.bucket.get("docs/file").await.unwrap(), "sent");
    assert_eq!(pair.bucket.get("docs/bad/nul").await.unwrap(), "a\0b");

    // What becomes of it later arrives.
    put("bad/nul", b"elsewhere".to_vec()).await;
    point_there(&pair.root, &[("good", "somewhere"), ("bad/nul", "elsewhere")]).await;
    agent.until(MIRROR, "that one is no problem any more", |mirror| note(mirror, "bad/nul").is_none()).await;
    agent.in_step(MIRROR).await;
}
