//! The first look at two sides that were both filled or edited while nobody watched, and what a tree may hold beside
//! plain files: links, odd names, moved folders.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::process::Command;

use bytes::Bytes;
use gosync_tests::agent::{Agent, note, with_mirror};
use gosync_tests::pair::{MIRROR, PREFIX, Pair, Tree, contents, tree, write};
use gosync_tests::wait;
use serde_json::{Value, json};

/// The one conflict copy in a tree.
fn the_copy(found: &Tree) -> String {
    let copies: Vec<_> = found.keys().filter(|path| path.contains(".conflict-")).collect();
    assert_eq!(copies.len(), 1, "{copies:?}");
    copies[0].clone()
}

/// Waits until both sides hold `expected` and one conflict copy with the content `loser`; returns the copy's path.
async fn both_hold_with_copy(pair: &Pair, agent: &Agent, mut expected: Tree, loser: &'static str) -> String {
    wait::until("a conflict copy", async || {
        wait::hold(pair.local().len() > expected.len(), format!("{:#}", agent.mirror(MIRROR)))
    })
    .await;
    agent.in_step(MIRROR).await;
    let copy = the_copy(&pair.local());
    expected.insert(copy.clone(), loser.into());
    pair.both_hold(&expected).await;
    copy
}

fn is_problem(mirror: &Value, path: &str) -> bool {
    note(mirror, path).is_some_and(|note| note["state"] == "problem")
}

// ---- both sides filled --------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_file_edited_on_both_sides_while_nobody_ran_is_kept_twice_with_exactly_one_copy() {
    let pair = Pair::new().await;
    write(&pair.root.join("note.txt"), "base");
    let mut agent = pair.start().await;
    agent.stop().await;
    write(&pair.root.join("note.txt"), "from the folder");
    pair.bucket.put("docs/note.txt", "from the bucket").await;
    agent.restart().await;
    let copy = both_hold_with_copy(&pair, &agent, tree([("note.txt", "from the bucket")]), "from the folder").await;
    assert!(copy.starts_with("note.conflict-") && copy.ends_with(".txt"), "{copy}");

    // Nor does a further start make one.
    agent.kill();
    agent.restart().await;
    agent.in_step(MIRROR).await;
    assert_eq!(pair.local().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_folders_that_edit_one_file_while_nobody_ran_both_end_with_both_contents() {
    let pair = Pair::new().await;
    let other = pair.home.dir("other");
    let config = with_mirror(pair.config.clone(), "other", &other, "/docs");
    write(&pair.root.join("note.txt"), "base");
    let mut agent = Agent::start(pair.home.path(), &config).await;
    wait::until("the file is in both folders", async || wait::hold(other.join("note.txt").exists(), agent.state()))
        .await;
    agent.in_step(MIRROR).await;
    agent.in_step("other").await;
    agent.stop().await;
    write(&pair.root.join("note.txt"), "of the one");
    write(&other.join("note.txt"), "of the other");
    agent.restart().await;

    wait::until("both folders and the bucket hold both contents", async || {
        let (one, two, bucket) = (pair.local(), contents(&other), pair.remote().await);
        let mut found: Vec<_> = one.values().cloned().collect();
        found.sort();
        wait::hold(
            one == two && one == bucket && found == [Bytes::from("of the one"), Bytes::from("of the other")],
            format!("{one:?}\n{two:?}\n{bucket:?}"),
        )
    })
    .await;
    agent.in_step(MIRROR).await;
    agent.in_step("other").await;
    the_copy(&pair.local());
    assert_eq!(pair.local().len(), 2);
    assert_eq!(pair.local(), contents(&other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_run_with_both_sides_filled_joins_them() {
    let pair = Pair::new().await;
    pair.write_all(&tree([("mine/a", "only here"), ("same", "equal"), ("differs.txt", "of the folder")]));
    pair.put_all(&tree([("theirs/b", "only there"), ("same", "equal"), ("differs.txt", "of the bucket")])).await;
    let agent = pair.start().await;
    let joined = tree([
        ("mine/a", "only here"),
        ("theirs/b", "only there"),
        ("same", "equal"),
        ("differs.txt", "of the bucket"),
    ]);
    both_hold_with_copy(&pair, &agent, joined, "of the folder").await;
    assert_eq!(pair.deletes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_files_are_adopted_without_a_transfer() {
    let pair = Pair::new().await;
    pair.fill(50, 3);
    write(&pair.root.join("empty"), "");
    let expected = pair.local();
    pair.put_all(&expected).await;
    let agent = pair.start().await;
    agent.until(MIRROR, "all are in step", |mirror| mirror["files"] == expected.len()).await;
    assert_eq!(pair.transfers(), [""; 0]);
    pair.both_hold(&expected).await;
    // They were adopted: an edit is an edit of theirs and no conflict.
    write(&pair.root.join("d0/f0000"), "edited");
    let mut expected = expected;
    expected.insert("d0/f0000".to_owned(), "edited".into());
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
    assert_eq!(agent.mirror(MIRROR)["conflicts"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_meets_a_folder_of_its_name_in_the_bucket_becomes_a_conflict_copy() {
    let pair = Pair::new().await;
    write(&pair.root.join("a"), "a file");
    pair.put_all(&tree([("a/b", "in a folder")])).await;
    let agent = pair.start().await;
    both_hold_with_copy(&pair, &agent, tree([("a/b", "in a folder")]), "a file").await;
}

/// The bucket can hold both, a file system can't: the object stays where it is and is named.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_meets_a_folder_of_its_name_is_reported_and_kept() {
    let pair = Pair::new().await;
    write(&pair.root.join("a/b"), "in a folder");
    pair.put_all(&tree([("a", "an object")])).await;
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    pair.goes_up("a/b").await;
    agent.until(MIRROR, "the object is reported", |mirror| is_problem(mirror, "a")).await;
    agent.in_step(MIRROR).await;
    assert_eq!(pair.bucket.get("docs/a").await.as_deref(), Some(&b"an object"[..]));
    assert_eq!(pair.local().get("a/b").map(|content| &content[..]), Some(&b"in a folder"[..]));
}

// ---- what is left out ---------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn links_and_pipes_are_skipped_and_reported_and_never_followed() {
    let pair = Pair::new().await;
    let outside = pair.home.dir("outside");
    write(&outside.join("private"), "stays outside");
    write(&pair.root.join("file"), "plain");
    symlink("file", pair.root.join("to-file")).unwrap();
    symlink(&outside, pair.root.join("to-folder")).unwrap();
    symlink("nowhere", pair.root.join("dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(pair.root.join("pipe")).status().unwrap().success());
    // The bucket would have something written through a link, and over one.
    pair.put_all(&tree([("to-folder/planted", "from the bucket"), ("to-file", "from the bucket")])).await;
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    pair.goes_up("file").await;
    agent
        .until(MIRROR, "all four are reported", |mirror| {
            ["to-file", "to-folder", "dangling", "pipe"].iter().all(|path| is_problem(mirror, path))
        })
        .await;
    agent.in_step(MIRROR).await;
    assert_eq!(contents(&outside), tree([("private", "stays outside")]));
    assert_eq!(fs::read_link(pair.root.join("to-file")).unwrap().to_str(), Some("file"));
    assert_eq!(fs::read(pair.root.join("file")).unwrap(), b"plain");
    let remote = tree([("file", "plain"), ("to-folder/planted", "from the bucket"), ("to-file", "from the bucket")]);
    assert_eq!(pair.remote().await, remote);
}

// ---- names --------------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn any_legal_name_goes_both_ways() {
    let longest = format!("{}.txt", "x".repeat(251));
    let names = |side: &str| {
        let longest = format!("{side}{}", &longest[side.len()..]);
        let names = ["new\nline", "caf\u{e9}", "cafe\u{301}", "Case", "case", "a b+c&d=%2F", "quote'\"\\", "~", "*?"];
        let names = names.into_iter().map(str::to_owned).chain([longest]);
        names.map(|name| (format!("{side}/{name}"), Bytes::from(name))).collect::<Tree>()
    };
    let pair = Pair::new().await;
    pair.write_all(&names("here"));
    pair.put_all(&names("there")).await;
    let mut agent = pair.start().await;
    let mut expected = names("here");
    expected.extend(names("there"));
    pair.both_hold(&expected).await;

    // The longest name leaves no room for what a conflict copy adds.
    agent.stop().await;
    let path = expected.keys().find(|path| path.len() > 250).unwrap().clone();
    write(&pair.root.join(&path), "edited here");
    pair.bucket.put(&format!("{PREFIX}{path}"), "edited there").await;
    agent.restart().await;
    expected.insert(path, "edited there".into());
    both_hold_with_copy(&pair, &agent, expected, "edited here").await;
    assert_eq!(agent.mirror(MIRROR)["problems"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_name_that_no_key_can_spell_is_reported_and_blocks_nobody() {
    let pair = Pair::new().await;
    let odd = pair.root.join(OsStr::from_bytes(b"latin-\xe9"));
    fs::write(&odd, "not UTF-8").unwrap();
    write(&pair.root.join("plain"), "goes up");
    let agent = pair.start().await;
    agent.until(MIRROR, "it is reported", |mirror| is_problem(mirror, "latin-\u{fffd}")).await;
    assert_eq!(pair.remote().await, tree([("plain", "goes up")]));
    assert_eq!(fs::read(&odd).unwrap(), b"not UTF-8");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_no_file_can_have_are_left_alone_and_nothing_leaves_the_root() {
    let pair = Pair::new().await;
    let long = "y".repeat(256);
    let odd = ["a//b", "../x", "/abs", "dir/./x", "dir/../../y", "..", ".", &long, "deep/../z"];
    let odd: Tree = odd.into_iter().map(|path| (path.to_owned(), "odd".into())).collect();
    let mut expected = tree([("a/b", "plain"), ("dir/x", "plain"), ("x", "plain"), ("dir2/y", "plain")]);
    pair.put_all(&odd).await;
    pair.put_all(&expected).await;
    // Ours by name, somebody else's by content.
    pair.bucket.put("docs/.gosync/marker", "forged").await;
    let neighbours = || {
        let mut names: Vec<_> =
            fs::read_dir(pair.home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    let before = neighbours();
    agent
        .until(MIRROR, "the odd keys are reported and the others are here", |mirror| {
            // Named by their keys: they have no path.
            odd.keys().all(|path| is_problem(mirror, &format!("{PREFIX}{path}"))) && pair.local() == expected
        })
        .await;
    agent.in_step(MIRROR).await;

    // Others go on, both ways, and a restart changes nothing.
    write(&pair.root.join("a/b"), "edited");
    pair.bucket.put("docs/new", "new").await;
    expected.extend(tree([("a/b", "edited"), ("new", "new")]));
    let remote = || expected.clone().into_iter().chain(odd.clone()).collect::<Tree>();
    wait::until("both sides follow", async || {
        wait::hold(pair.local() == expected && pair.remote().await == remote(), format!("{:?}", pair.local()))
    })
    .await;
    assert_eq!(neighbours(), before);
    assert!(!pair.home.path().join("x").exists() && !pair.home.path().join("y").exists());
    let marker = fs::read(pair.root.join(".gosync/marker")).unwrap();
    assert_ne!(marker, b"forged");
}

// ---- moved, trashed, in conflict ----------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn renaming_the_folder_of_most_files_is_no_burst_of_deletes() {
    for running in [true, false] {
        let pair = Pair::new().await;
        pair.fill(100, 1);
        write(&pair.root.join("stays"), "here");
        let moved: Tree =
            pair.local().into_iter().map(|(path, content)| (path.replace("d0/", "moved/"), content)).collect();
        let mut agent = pair.start().await;
        agent.meanwhile(running, || fs::rename(pair.root.join("d0"), pair.root.join("moved")).unwrap()).await;
        wait::until("both sides hold the moved files", async || {
            let mirror = agent.mirror(MIRROR);
            assert_eq!(mirror["halts"], json!([]), "{mirror:#}");
            wait::hold(pair.local() == moved && pair.remote().await == moved, mirror)
        })
        .await;
        agent.in_step(MIRROR).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_are_listed_until_somebody_settles_them() {
    let pair = Pair::new().await;
    write(&pair.root.join("sub/note"), "of the folder");
    pair.put_all(&tree([("sub/note", "of the bucket")])).await;
    let agent = pair.start().await;
    let copy = both_hold_with_copy(&pair, &agent, tree([("sub/note", "of the bucket")]), "of the folder").await;
    let conflicts = || agent.ask(&["sync", "conflicts", MIRROR])["conflicts"].as_array().unwrap().clone();
    let listed = conflicts();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((&listed[0]["path"], &listed[0]["copy"]), (&json!("sub/note"), &json!(copy)));
    assert_eq!(agent.mirror(MIRROR)["conflicts"], 1);

    fs::rename(pair.root.join(&copy), pair.root.join("sub/note")).unwrap();
    pair.both_hold(&tree([("sub/note", "of the folder")])).await;
    wait::until("it is listed no more", async || wait::hold(conflicts().is_empty(), format!("{:?}", conflicts())))
        .await;
    agent.until(MIRROR, "nor is it counted", |mirror| mirror["conflicts"] == 0).await;
    agent.in_step(MIRROR).await;
}
