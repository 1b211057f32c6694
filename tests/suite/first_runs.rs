//! What two filled sides come to, and what is synced at all: unions, conflicts, clashes, ignored and odd names, renames,
//! the trash.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use gosync_tests::agent::{Agent, config, with_mirror};
use gosync_tests::pair::{MIRROR, Pair, contents, write};
use gosync_tests::proxy::{Kind, Proxy};
use gosync_tests::{tree, wait};
use serde_json::{Value, json};

fn map(files: &[(&str, &str)]) -> BTreeMap<String, Bytes> {
    files.iter().map(|(path, content)| ((*path).to_owned(), Bytes::from((*content).to_owned()))).collect()
}

/// The copies of a path that a conflict made.
fn copies_of(found: &BTreeMap<String, Bytes>, stem: &str) -> Vec<String> {
    let begin = format!("{stem}.conflict-");
    found.keys().filter(|path| path.starts_with(&begin)).cloned().collect()
}

/// Contents of objects that went through the proxy, the probe's own aside.
fn transfers(proxy: &Proxy) -> Vec<String> {
    let content = [Kind::Get, Kind::Put, Kind::Copy, Kind::MultipartCreate];
    let seen = proxy.seen().into_iter();
    let own = |key: &str| key.contains("/.gosync/") || key.contains("/.gosync%2F");
    seen.filter(|seen| content.contains(&seen.kind) && !own(&seen.key)).map(|seen| seen.to_string()).collect()
}

fn paths(mirror: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let notes = mirror["paths"].as_array().unwrap().iter();
    notes.map(|note| (text(&note["path"]), text(&note["reason"]))).collect()
}

// ---- both sides -----------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_file_edited_on_both_sides_while_the_agent_was_stopped_is_kept_twice_with_one_copy() {
    let pair = Pair::new().await;
    write(&pair.root.join("notes/today.txt"), "old");
    let mut agent = pair.start().await;
    agent.stop().await;
    write(&pair.root.join("notes/today.txt"), "mine");
    pair.bucket.put("docs/notes/today.txt", "theirs").await;
    agent.restart().await;
    agent.in_step(MIRROR).await;

    let found = pair.local();
    let copies = copies_of(&found, "notes/today");
    assert_eq!((found.len(), copies.len()), (2, 1), "{found:?}");
    assert_eq!(found["notes/today.txt"], "theirs");
    assert_eq!(found[&copies[0]], "mine");
    assert!(copies[0].ends_with(".txt"), "{copies:?}");
    pair.both_hold(&found).await;

    let told = agent.ask(&["sync", "conflicts"]);
    assert_eq!(told["conflicts"].as_array().unwrap().len(), 1, "{told:#}");
    assert_eq!((&told["conflicts"][0]["path"], &told["conflicts"][0]["copy"]), (
        &json!("notes/today.txt"),
        &json!(copies[0])
    ));
    assert_eq!(agent.mirror(MIRROR)["conflicts"], 1);

    // Resolved by deleting the copy, as one resolves it.
    fs::remove_file(pair.root.join(&copies[0])).unwrap();
    pair.both_hold(&map(&[("notes/today.txt", "theirs")])).await;
    agent.in_step(MIRROR).await;
    assert_eq!(agent.ask(&["sync", "conflicts"])["conflicts"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_that_edited_one_file_while_stopped_end_with_both_contents_and_one_copy() {
    let pair = Pair::new().await;
    let home = pair.home.dir("second");
    let root = home.join("docs");
    let second = with_mirror(config(&home, &pair.proxy.address, "bucket"), MIRROR, &root, "/docs");
    write(&pair.root.join("plan"), "old");
    let mut one = pair.start().await;
    let mut two = Agent::start(&home, &second).await;
    two.in_step(MIRROR).await;
    assert_eq!(contents(&root), map(&[("plan", "old")]));
    one.stop().await;
    two.stop().await;
    write(&pair.root.join("plan"), "of one");
    write(&root.join("plan"), "of two");
    one.restart().await;
    one.in_step(MIRROR).await;
    two.restart().await;
    two.in_step(MIRROR).await;

    wait::until("both folders hold the same two files", async || {
        let found = (pair.local(), contents(&root));
        wait::hold(found.0 == found.1 && found.0.len() == 2, format!("{found:?}"))
    })
    .await;
    let found = pair.local();
    let mut both: Vec<&[u8]> = found.values().map(|content| &content[..]).collect();
    both.sort_unstable();
    assert_eq!(both, [b"of one", b"of two"]);
    assert_eq!(copies_of(&found, "plan").len(), 1);
    pair.both_hold(&found).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_run_with_both_sides_filled_is_a_union() {
    let pair = Pair::new().await;
    for (path, content) in [("only/here", "1"), ("same", "2"), ("other.txt", "of the folder")] {
        write(&pair.root.join(path), content);
    }
    for (path, content) in [("only/there", "3"), ("same", "2"), ("other.txt", "of the bucket")] {
        pair.bucket.put(&format!("docs/{path}"), content).await;
    }
    let agent = pair.start().await;
    let found = pair.local();
    let copies = copies_of(&found, "other");
    assert_eq!(copies.len(), 1, "{found:?}");
    let mut expected =
        map(&[("only/here", "1"), ("only/there", "3"), ("same", "2"), ("other.txt", "of the bucket")]);
    expected.insert(copies[0].clone(), "of the folder".into());
    pair.both_hold(&expected).await;
    assert_eq!(agent.mirror(MIRROR)["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_files_are_adopted_without_a_transfer() {
    let pair = Pair::new().await;
    pair.fill(60, 4);
    // More than one part: its ETag is no MD5.
    let large: Vec<u8> = (0..11_000_000_u32).map(|n| (n % 251) as u8).collect();
    write(&pair.root.join("large"), &large);
    write(&pair.root.join("empty"), "");
    let expected = pair.local();
    for (path, content) in &expected {
        if path != "large" {
            pair.bucket.put(&format!("docs/{path}"), content.clone()).await;
        }
    }
    put_in_parts(&pair, "docs/large", large.into()).await;
    let mut agent = pair.start().await;
    assert_eq!(transfers(&pair.proxy), [""; 0]);
    assert_eq!(agent.mirror(MIRROR)["files"], 62);

    // Adopted for good: the next start needs no transfer either, and an edit is one.
    agent.stop().await;
    pair.proxy.forget();
    agent.restart().await;
    agent.in_step(MIRROR).await;
    assert_eq!(transfers(&pair.proxy), [""; 0]);
    write(&pair.root.join("empty"), "no longer");
    agent.in_step(MIRROR).await;
    assert_eq!(transfers(&pair.proxy).len(), 1);
}

async fn put_in_parts(pair: &Pair, key: &str, content: Bytes) {
    const PART: usize = 5 << 20;
    let (client, bucket) = (&pair.bucket.client, &pair.bucket.bucket);
    let upload = client.create_multipart_upload().bucket(bucket).key(key).send().await.unwrap();
    let upload = upload.upload_id.unwrap();
    let mut done = CompletedMultipartUpload::builder();
    for (number, from) in (1..).zip((0..content.len()).step_by(PART)) {
        let part = content.slice(from..content.len().min(from + PART));
        let request = client.upload_part().bucket(bucket).key(key).upload_id(&upload).part_number(number);
        let etag = request.body(part.into()).send().await.unwrap().e_tag.unwrap();
        done = done.parts(CompletedPart::builder().part_number(number).e_tag(etag).build());
    }
    let request = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(upload);
    request.multipart_upload(done.build()).send().await.unwrap();
}

// ---- files against folders ------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn where_a_file_meets_a_folder_the_folder_keeps_the_name() {
    let pair = Pair::new().await;
    write(&pair.root.join("x.txt"), "a file here");
    pair.bucket.put("docs/x.txt/inside", "a folder there").await;
    let agent = pair.start().await;
    let found = pair.local();
    assert_eq!(found["x.txt/inside"], "a folder there");
    let copies = copies_of(&found, "x");
    assert_eq!((found.len(), copies.len()), (2, 1), "{found:?}");
    assert_eq!(found[&copies[0]], "a file here");
    pair.both_hold(&found).await;

    // The same when it happens later, to a file that was in step.
    write(&pair.root.join("y"), "in step");
    agent.in_step(MIRROR).await;
    pair.bucket.delete("docs/y").await;
    pair.bucket.put("docs/y/inside", "a folder now").await;
    wait::until("the folder has come", async || fs::read(pair.root.join("y/inside")).map(|_| ())).await;
    agent.in_step(MIRROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_in_the_place_of_a_folder_is_told_and_left_alone() {
    let pair = Pair::new().await;
    write(&pair.root.join("x/inside"), "a folder here");
    pair.bucket.put("docs/x", "an object there").await;
    pair.bucket.put("docs/z", "others go on").await;
    let agent = pair.start().await;
    assert_eq!(pair.local(), map(&[("x/inside", "a folder here"), ("z", "others go on")]));
    let remote = map(&[("x", "an object there"), ("x/inside", "a folder here"), ("z", "others go on")]);
    assert_eq!(pair.remote().await, remote);
    agent
        .until(MIRROR, "the object is told", |mirror| paths(mirror).iter().any(|(path, _)| path.ends_with('x')))
        .await;
}

// ---- what is synced -------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn ignored_paths_stay_on_their_side() {
    let mut pair = Pair::new().await;
    pair.config["syncs"][0]["ignore_patterns"] = json!(["*.tmp", "node_modules", "/build/"]);
    write(&pair.root.join(".gosyncignore"), "secret/\n*.log\n!keep.log\n");
    write(&pair.root.join("sub/.gosyncignore"), "local-only\n");
    let ignored = ["a.tmp", "sub/b.tmp", "sub/node_modules/x", "build/out", "secret/key", "x.log", "sub/local-only"];
    let synced = ["a.txt", "keep.log", "sub/build/out", "local-only"];
    for path in ignored.iter().chain(&synced) {
        write(&pair.root.join(path), *path);
    }
    pair.bucket.put("docs/there.tmp", "stays there").await;
    pair.bucket.put("docs/there.txt", "comes").await;
    let agent = pair.start().await;
    let remote = pair.remote().await;
    for path in synced {
        assert_eq!(remote.get(path).map(|content| &content[..]), Some(path.as_bytes()), "{path}");
    }
    for path in ignored {
        assert!(!remote.contains_key(path), "{path} went up");
        assert!(pair.root.join(path).exists(), "{path} is gone");
    }
    assert!(remote.contains_key(".gosyncignore"), "the rules are an ordinary file");
    assert!(pair.root.join("there.txt").exists() && !pair.root.join("there.tmp").exists());
    assert!(remote.contains_key("there.tmp"));
    assert_eq!(agent.mirror(MIRROR)["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synced_file_that_becomes_ignored_is_deleted_nowhere() {
    let pair = Pair::new().await;
    write(&pair.root.join("draft.doc"), "text");
    write(&pair.root.join("final"), "text");
    let agent = pair.start().await;
    write(&pair.root.join(".gosyncignore"), "*.doc\n");
    agent.in_step(MIRROR).await;
    wait::until("it is no longer counted", async || {
        let files = agent.mirror(MIRROR)["files"].clone();
        wait::hold(files == 2, files)
    })
    .await;
    assert!(pair.root.join("draft.doc").exists());
    assert!(pair.remote().await.contains_key("draft.doc"));
    // What happens to it now stays where it happens.
    fs::remove_file(pair.root.join("draft.doc")).unwrap();
    agent.in_step(MIRROR).await;
    assert!(pair.remote().await.contains_key("draft.doc"));
    // Without the rule it is a file of the bucket like any other.
    fs::remove_file(pair.root.join(".gosyncignore")).unwrap();
    pair.both_hold(&map(&[("draft.doc", "text"), ("final", "text")])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_folder_is_no_burst_of_deletes() {
    let pair = Pair::new().await;
    for number in 0..60 {
        write(&pair.root.join(format!("old/deep/{number}")), format!("content {number}"));
    }
    let agent = pair.start().await;
    fs::rename(pair.root.join("old"), pair.root.join("new")).unwrap();
    let expected: BTreeMap<String, Bytes> =
        (0..60).map(|number| (format!("new/deep/{number}"), format!("content {number}").into())).collect();
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
    assert!(!agent.process().log().contains("halted"), "{}", agent.process().tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_renamed_while_the_agent_was_stopped_is_no_burst_of_deletes() {
    let pair = Pair::new().await;
    for number in 0..60 {
        write(&pair.root.join(format!("old/{number}")), format!("content {number}"));
    }
    write(&pair.root.join("beside"), "stays");
    let mut agent = pair.start().await;
    agent.stop().await;
    fs::rename(pair.root.join("old"), pair.root.join("new")).unwrap();
    agent.restart().await;
    let expected = pair.local();
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
    assert!(!agent.process().log().contains("halted"), "{}", agent.process().tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_special_files_are_told_and_left_alone() {
    let pair = Pair::new().await;
    write(&pair.home.path().join("outside/secret"), "not yours");
    write(&pair.root.join("plain"), "goes up");
    std::os::unix::fs::symlink(pair.home.path().join("outside"), pair.root.join("link")).unwrap();
    std::os::unix::fs::symlink("plain", pair.root.join("to-plain")).unwrap();
    std::os::unix::fs::symlink("nowhere", pair.root.join("dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(pair.root.join("fifo")).status().unwrap().success());
    let _socket = UnixListener::bind(pair.root.join("socket")).unwrap();
    // Below a link an object has no place: it must not be written through it.
    pair.bucket.put("docs/link/from-the-bucket", "x").await;
    let agent = pair.start_with_problems().await;
    agent
        .until(MIRROR, "each is told", |mirror| {
            let told = paths(mirror);
            ["link", "to-plain", "dangling", "fifo", "socket"]
                .iter()
                .all(|name| told.iter().any(|(path, _)| path == name))
        })
        .await;
    wait::until("the plain one goes up", async || pair.bucket.get("docs/plain").await.ok_or("absent")).await;
    let remote = pair.remote().await;
    assert_eq!(remote.keys().collect::<Vec<_>>(), ["link/from-the-bucket", "plain"]);
    let outside: Vec<String> = tree::names(&pair.home.path().join("outside"));
    assert_eq!(outside, ["secret"], "written through a link");
    assert!(fs::symlink_metadata(pair.root.join("link")).unwrap().is_symlink());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_legal_name_is_synced_both_ways() {
    let pair = Pair::new().await;
    let long = "n".repeat(255);
    let umlaut_long = "ü".repeat(127);
    let names = [
        "new\nline",
        "tab\there",
        "caf\u{e9}",
        "cafe\u{301}",
        "Case",
        "case",
        "CASE",
        " leading and trailing ",
        "100%",
        "%2F",
        "plus+and&amp;",
        "quote'\"<>|?*:",
        "back\\slash",
        "...",
        "..dots",
        "-dash",
        "~",
        "\u{1f600}",
        "\u{fffd}",
        &long,
        &umlaut_long,
        "foo-1",
        "foo.txt",
        "foo/x",
        "foo0",
        "sub.conflict-like/name.conflict-",
    ];
    let mut expected = BTreeMap::new();
    for (number, name) in names.iter().enumerate() {
        // Every other one begins in the bucket.
        let content = format!("content {number}");
        if number % 2 == 0 {
            write(&pair.root.join(name), &content);
        } else {
            pair.bucket.put(&format!("docs/{name}"), content.clone()).await;
        }
        expected.insert((*name).to_owned(), Bytes::from(content));
    }
    let agent = pair.start().await;
    pair.both_hold(&expected).await;
    // And edits and deletes of them, on the side they came from and on the other one.
    for (number, name) in names.iter().enumerate() {
        let content = format!("edited {number}");
        match number % 4 {
            0 => write(&pair.root.join(name), &content),
            1 => {
                pair.bucket.put(&format!("docs/{name}"), content.clone()).await;
            }
            2 => {
                pair.bucket.delete(&format!("docs/{name}")).await;
                expected.remove(*name);
                continue;
            }
            _ => {
                fs::remove_file(pair.root.join(name)).unwrap();
                expected.remove(*name);
                continue;
            }
        }
        expected.insert((*name).to_owned(), content.into());
    }
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_no_file_can_have_are_told_and_left_alone() {
    let pair = Pair::new().await;
    let too_long = format!("docs/{}", "n".repeat(256));
    let odd = [
        "docs/a//b",
        "docs//abs",
        "docs/../outside",
        "docs/x/../../outside",
        "docs/./y",
        "docs/z/.",
        "docs/w/..",
        "docs/folder/",
        too_long.as_str(),
    ];
    for key in odd {
        pair.bucket.put(key, "odd").await;
    }
    pair.bucket.put("docs/both", "an object").await;
    pair.bucket.put("docs/both/inside", "below it").await;
    // A prefix that only begins alike is somebody else's.
    pair.bucket.put("docs2/other", "not ours").await;
    pair.bucket.put("docs", "not ours").await;
    // Names of ours are never synced.
    pair.bucket.put("docs/.gosync/marker", "forged").await;
    pair.bucket.put("docs/.gosync/trash/x", "forged").await;
    pair.bucket.put("docs/plain", "comes").await;
    write(&pair.root.join("here"), "goes");
    let before = names_around(&pair);

    let agent = pair.start_with_problems().await;
    wait::until("what is plain comes and goes", async || {
        let gone = pair.bucket.get("docs/here").await.is_some();
        let found = pair.local();
        let wanted = map(&[("both/inside", "below it"), ("here", "goes"), ("plain", "comes")]);
        wait::hold(found == wanted && gone, format!("{found:?}\n{}", agent.process().tail()))
    })
    .await;
    agent
        .until(MIRROR, "each is told", |mirror| {
            let told = paths(mirror);
            // `folder/` is what tools make for an empty folder: left alone, and no trouble.
            let mut wanted: Vec<&str> = odd.iter().filter(|key| !key.ends_with("folder/")).copied().collect();
            wanted.push("both");
            wanted.iter().all(|key| {
                let path = key.strip_prefix("docs/").unwrap();
                told.iter().any(|(told, _)| told == key || told == path)
            })
        })
        .await;
    for key in odd {
        assert_eq!(pair.bucket.get(key).await.as_deref(), Some(&b"odd"[..]), "{key}");
    }
    assert_eq!(names_around(&pair), before, "something was made outside the root");
    let marker: Value = serde_json::from_slice(&fs::read(pair.root.join(".gosync/marker")).unwrap()).unwrap();
    assert!(marker["uuid"].is_string());
    assert!(!pair.root.join(".gosync/trash/x").exists());

    // They don't block others later on either.
    pair.bucket.put("docs/later", "comes too").await;
    wait::until("later ones come", async || fs::read(pair.root.join("later")).map(|_| ())).await;
}

fn names_around(pair: &Pair) -> Vec<String> {
    let names = fs::read_dir(pair.home.path()).unwrap();
    let ours = |name: &String| !["data", "config.yaml", "agent.log"].contains(&name.as_str());
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).filter(ours).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn local_names_that_no_key_can_have_are_told_and_left_alone() {
    let pair = Pair::new().await;
    let bytes = pair.root.join(OsStr::from_bytes(b"latin-\xe9"));
    fs::write(&bytes, "not UTF-8").unwrap();
    let deep = pair.root.join(vec!["d".repeat(200); 6].join("/"));
    write(&deep.join("file"), "a key of more than 1,024 bytes");
    write(&pair.root.join("plain"), "goes up");
    let agent = pair.start_with_problems().await;
    wait::until("the plain one goes up", async || pair.bucket.get("docs/plain").await.ok_or("absent")).await;
    agent.until(MIRROR, "both are told", |mirror| mirror["problems"].as_u64() == Some(2)).await;
    assert_eq!(pair.remote().await.len(), 1);
    assert!(Path::new(&bytes).exists() && deep.join("file").exists());
}

// ---- the trash ------------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_file_deleted_in_the_bucket_is_in_the_trash_and_comes_back_by_restore() {
    let pair = Pair::new().await;
    write(&pair.root.join("sub/dear"), "precious");
    write(&pair.root.join("sub/other"), "stays");
    let agent = pair.start().await;
    pair.bucket.delete("docs/sub/dear").await;
    pair.both_hold(&map(&[("sub/other", "stays")])).await;
    let list = agent.ask(&["sync", "trash", "list", MIRROR]);
    let entries = list["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "{list:#}");
    assert_eq!((&entries[0]["path"], &entries[0]["bytes"]), (&json!("sub/dear"), &json!(8)));

    agent.ask(&["sync", "trash", "restore", entries[0]["id"].as_str().unwrap()]);
    pair.both_hold(&map(&[("sub/dear", "precious"), ("sub/other", "stays")])).await;
    agent.in_step(MIRROR).await;

    // By path, and beside what has taken its place meanwhile.
    pair.bucket.delete("docs/sub/dear").await;
    pair.both_hold(&map(&[("sub/other", "stays")])).await;
    write(&pair.root.join("sub/dear"), "another one");
    let restored = agent.ask(&["sync", "trash", "restore", "sub/dear"]);
    let to = restored["restored"][0]["to"].as_str().unwrap();
    assert_ne!(to, "sub/dear", "{restored:#}");
    pair.both_hold(&map(&[("sub/dear", "another one"), (to, "precious"), ("sub/other", "stays")])).await;
}
