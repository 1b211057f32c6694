//! What must never be taken for a delete, and what a person is asked before: lost roots, lying listings, emptied buckets,
//! too many deletes at once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use gosync_dev_s3::{Effect, Fault, Operation};
use gosync_tests::agent::{Agent, UNPRIVILEGED};
use gosync_tests::pair::{MIRROR, Pair, write};
use gosync_tests::process::needs_root;
use gosync_tests::proxy::{Kind, Seen};
use gosync_tests::wait;
use serde_json::{Value, json};

/// Over the 20 below which no guard asks.
const FILES: usize = 30;
const ROOT_HALTS: &[&str] = &["root-missing", "root-emptied", "root-replaced", "volume-changed"];

async fn filled() -> (Pair, Agent, BTreeMap<String, Bytes>) {
    filled_with(FILES).await
}

async fn filled_with(files: usize) -> (Pair, Agent, BTreeMap<String, Bytes>) {
    let pair = Pair::new().await;
    pair.fill(files, 3);
    let expected = pair.local();
    let agent = pair.start().await;
    pair.both_hold(&expected).await;
    (pair, agent, expected)
}

/// Nothing was deleted in the bucket by anybody.
async fn bucket_keeps(pair: &Pair, expected: &BTreeMap<String, Bytes>) {
    assert_eq!(deletes(pair), 0);
    let remote = pair.remote().await;
    let lost: Vec<_> = expected.keys().filter(|path| !remote.contains_key(*path)).collect();
    assert!(lost.is_empty(), "gone from the bucket: {lost:?}");
}

/// Objects of the mirror that were deleted through the proxy.
fn deletes(pair: &Pair) -> usize {
    let probe = |seen: &Seen| seen.key.starts_with("docs/.gosync/");
    let seen = pair.proxy.seen();
    seen.iter().filter(|seen| matches!(seen.kind, Kind::Delete | Kind::DeleteMany) && !probe(seen)).count()
}

/// Four remote checks that began from now on: whoever wanted to conclude something has done so.
async fn four_checks(pair: &Pair) {
    let listings = || pair.proxy.count(Kind::List);
    let before = listings();
    wait::until("four listings", async || {
        let seen = listings() - before;
        wait::hold(seen >= 4, seen)
    })
    .await;
}

fn move_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::rename(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn empty(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            fs::remove_dir_all(entry.path()).unwrap();
        } else {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

// ---- the root -----------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_root_deletes_nothing_and_goes_on_when_the_files_are_back() {
    let (pair, agent, expected) = filled().await;
    let aside = pair.home.path().join("aside");
    move_all(&pair.root, &aside);
    agent.halted(MIRROR, ROOT_HALTS).await;
    let flush = agent.run(&["sync", "flush", MIRROR, "--wait"]);
    assert_eq!(flush.status.code(), Some(7), "{flush:?}");
    bucket_keeps(&pair, &expected).await;

    move_all(&aside, &pair.root);
    agent.in_step(MIRROR).await;
    pair.both_hold(&expected).await;
    bucket_keeps(&pair, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_emptied_while_nobody_looked_deletes_nothing() {
    let (pair, mut agent, expected) = filled().await;
    agent.stop().await;
    empty(&pair.root);
    agent.restart().await;
    agent.halted(MIRROR, ROOT_HALTS).await;
    bucket_keeps(&pair, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn denying_that_a_root_was_emptied_on_purpose_downloads_all_of_it() {
    let (pair, mut agent, expected) = filled().await;
    agent.stop().await;
    empty(&pair.root);
    agent.restart().await;
    let halt = agent.halted(MIRROR, &["root-emptied"]).await;
    agent.ask(&["sync", "deny", &halt]);
    agent.in_step(MIRROR).await;
    pair.both_hold(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approving_that_a_root_was_emptied_on_purpose_deletes_the_objects() {
    let (pair, mut agent, _) = filled().await;
    agent.stop().await;
    empty(&pair.root);
    agent.restart().await;
    let halt = agent.halted(MIRROR, &["root-emptied"]).await;
    agent.ask(&["sync", "approve", &halt]);
    pair.both_hold(&BTreeMap::new()).await;
    agent.in_step(MIRROR).await;
}

/// So few files that the guard against many deletes has no say: the missing marker alone has to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_root_emptied_with_its_marker_deletes_nothing() {
    let (pair, agent, expected) = filled_with(5).await;
    empty(&pair.root);
    agent.halted(MIRROR, ROOT_HALTS).await;
    bucket_keeps(&pair, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_root_deletes_nothing() {
    let (pair, agent, expected) = filled_with(5).await;
    fs::remove_dir_all(&pair.root).unwrap();
    agent.halted(MIRROR, ROOT_HALTS).await;
    bucket_keeps(&pair, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_moved_away_deletes_nothing_and_goes_on_when_it_is_back() {
    let (pair, agent, expected) = filled().await;
    let aside = pair.home.path().join("aside");
    fs::rename(&pair.root, &aside).unwrap();
    agent.halted(MIRROR, ROOT_HALTS).await;
    bucket_keeps(&pair, &expected).await;

    fs::rename(&aside, &pair.root).unwrap();
    agent.in_step(MIRROR).await;
    write(&pair.root.join("new"), "after");
    let expected = pair.local();
    pair.both_hold(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_replaced_by_another_folder_is_neither_read_nor_written() {
    for running in [true, false] {
        let (pair, mut agent, expected) = filled().await;
        if !running {
            agent.stop().await;
        }
        let aside = pair.home.path().join("aside");
        fs::rename(&pair.root, &aside).unwrap();
        write(&pair.root.join("foreign"), "not of this mirror");
        if !running {
            agent.restart().await;
        }
        agent.halted(MIRROR, ROOT_HALTS).await;
        pair.bucket.put("docs/while-away", "later").await;
        four_polls(&agent).await;
        let found: Vec<String> = pair.local().into_keys().collect();
        assert_eq!(found, ["foreign"], "written into the foreign folder");
        assert!(!pair.remote().await.contains_key("foreign"), "the foreign folder went up");
        bucket_keeps(&pair, &expected).await;

        fs::remove_dir_all(&pair.root).unwrap();
        fs::rename(&aside, &pair.root).unwrap();
        agent.in_step(MIRROR).await;
        let mut expected = expected;
        expected.insert("while-away".to_owned(), "later".into());
        pair.both_hold(&expected).await;
    }
}

/// Under a halt of the root nothing is listed, so turns are told by the halt standing through several answers.
async fn four_polls(agent: &Agent) {
    for _ in 0..4 {
        agent.halted(MIRROR, ROOT_HALTS).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_root_that_is_approved_is_a_first_run_that_joins_both_sides() {
    let (pair, mut agent, mut expected) = filled().await;
    agent.stop().await;
    fs::rename(&pair.root, pair.home.path().join("aside")).unwrap();
    write(&pair.root.join("foreign"), "joins");
    agent.restart().await;
    let halt = agent.halted(MIRROR, &["root-replaced"]).await;
    agent.ask(&["sync", "approve", &halt]);
    agent.in_step(MIRROR).await;
    expected.insert("foreign".to_owned(), "joins".into());
    pair.both_hold(&expected).await;
    assert_eq!(deletes(&pair), 0);
}

/// By hand: the same marker in an emptied root, or one with another id.
#[tokio::test(flavor = "multi_thread")]
async fn a_marker_made_by_hand_in_an_emptied_root_deletes_nothing() {
    for (same, running) in [(true, true), (true, false), (false, true), (false, false)] {
        let (pair, mut agent, expected) = filled().await;
        let marker = pair.root.join(".gosync/marker");
        let mut text: Value = serde_json::from_slice(&fs::read(&marker).unwrap()).unwrap();
        if !same {
            text["uuid"] = json!("11111111111111111111111111111111");
        }
        if !running {
            agent.stop().await;
        }
        empty(&pair.root);
        write(&marker, text.to_string());
        if !running {
            agent.restart().await;
        }
        agent.halted(MIRROR, &[ROOT_HALTS, &["too-many-deletes"]].concat()).await;
        four_polls_of_anything(&agent).await;
        bucket_keeps(&pair, &expected).await;
    }
}

async fn four_polls_of_anything(agent: &Agent) {
    for _ in 0..4 {
        assert_eq!(agent.mirror(MIRROR)["status"], "halted");
    }
}

/// A file system of its own for as long as this lives.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "gosync-test"]).arg(at));
        Self(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: an agent may still have it open.
        run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmounted_root_deletes_nothing() {
    if !needs_root("mounting a file system for the mirror's root") {
        return;
    }
    for running in [true, false] {
        let pair = Pair::new().await;
        let mount = Mount::tmpfs(&pair.root);
        pair.fill(FILES, 3);
        let expected = pair.local();
        let mut agent = pair.start().await;
        pair.both_hold(&expected).await;
        if !running {
            agent.stop().await;
        }
        drop(mount);
        if !running {
            agent.restart().await;
        }
        agent.halted(MIRROR, ROOT_HALTS).await;
        four_polls(&agent).await;
        assert!(!pair.root.join(".gosync").exists(), "the empty mount point was made a root");
        assert_eq!(pair.local(), BTreeMap::new(), "written below the mount point");
        bucket_keeps(&pair, &expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_is_mounted_later_goes_on_by_itself() {
    if !needs_root("mounting a file system for the mirror's root") {
        return;
    }
    let pair = Pair::new().await;
    // The disk, here a folder that is bound to the root: it survives being unmounted.
    let disk = pair.home.dir("disk");
    let bind = || {
        run(Command::new("mount").arg("--bind").arg(&disk).arg(&pair.root));
        Mount(pair.root.clone())
    };
    let mount = bind();
    pair.fill(FILES, 3);
    let expected = pair.local();
    let mut agent = pair.start().await;
    pair.both_hold(&expected).await;
    agent.stop().await;
    drop(mount);
    agent.restart().await;
    agent.halted(MIRROR, ROOT_HALTS).await;
    let _mount = bind();
    agent.in_step(MIRROR).await;
    bucket_keeps(&pair, &expected).await;
    pair.both_hold(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_covers_or_leaves_a_folder_inside_the_root_deletes_nothing() {
    if !needs_root("mounting a file system inside the mirror's root") {
        return;
    }
    let (pair, mut agent, expected) = filled().await;
    let covered = pair.root.join("d1");
    let mount = Mount::tmpfs(&covered);
    // With events for every file below: they were seen to go.
    four_checks(&pair).await;
    bucket_keeps(&pair, &expected).await;
    agent.kill();
    agent.restart().await;
    agent.until(MIRROR, "the mount is reported", |mirror| note(mirror, "d1").is_some()).await;
    four_checks(&pair).await;
    bucket_keeps(&pair, &expected).await;
    write(&covered.join("on-the-mount"), "stays where it is");
    four_checks(&pair).await;
    assert!(!pair.remote().await.contains_key("d1/on-the-mount"));

    drop(mount);
    agent.kill();
    agent.restart().await;
    agent.in_step(MIRROR).await;
    bucket_keeps(&pair, &expected).await;
    pair.both_hold(&expected).await;
}

/// What the state says of a path that is not simply in step.
fn note<'a>(mirror: &'a Value, path: &str) -> Option<&'a Value> {
    mirror["paths"].as_array().unwrap().iter().find(|note| note["path"].as_str().unwrap().trim_end_matches('/') == path)
}

// ---- listings -----------------------------------------------------------------------------------------------------

/// Every way in which a page can be wrong, while the agent runs and at its start.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_fails_lies_or_is_cut_deletes_nothing() {
    let lies = [
        Effect::SlowDown,
        Effect::Refuse("InternalError"),
        Effect::Refuse("AccessDenied"),
        Effect::CutBody { after_bytes: 700 },
        Effect::ShortenBody { to_bytes: 700 },
        Effect::LoseReply,
        Effect::FailAfterEffect,
        Effect::DropKeys { every: 3 },
        Effect::DropKeys { every: 1 },
        Effect::DuplicateKeys,
        Effect::DisorderKeys,
        Effect::EndEarly,
        Effect::EmptyPage,
    ];
    // Several pages, so that one may end early.
    let pair = Pair::with_store(|options| options.page_size_max = 10).await;
    pair.fill(FILES, 3);
    let expected = pair.local();
    let mut agent = pair.start().await;
    for lie in lies {
        for running in [true, false] {
            let name = format!("{lie:?}, {}", if running { "while it runs" } else { "at its start" });
            if !running {
                agent.kill();
            }
            let fault = pair.store.faults().add(Fault::new(lie.clone()).on(Operation::ListObjectsV2));
            if !running {
                agent.restart().await;
            }
            wait::until(&format!("listings were hit: {name}"), async || {
                let hits = pair.store.faults().hits(fault);
                wait::hold(hits >= 6, format!("{hits}\n{:#}", agent.mirror(MIRROR)))
            })
            .await;
            assert_eq!(pair.local(), expected, "{name}");
            pair.store.faults().clear();
            agent.in_step(MIRROR).await;
            assert_eq!(pair.local(), expected, "{name}");
            assert_eq!(agent.ask(&["sync", "trash", "list"])["entries"], json!([]), "{name}");
        }
    }
    pair.both_hold(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_that_fail_are_told_and_mend_by_themselves() {
    let (pair, agent, expected) = filled().await;
    for lie in [Effect::Refuse("InternalError"), Effect::DisorderKeys, Effect::ShortenBody { to_bytes: 700 }] {
        pair.store.faults().add(Fault::new(lie).on(Operation::ListObjectsV2));
        agent.in_error(MIRROR, "endpoint").await;
        pair.store.faults().clear();
        agent.until(MIRROR, "active again", |mirror| mirror["status"] == "active").await;
    }
    pair.both_hold(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_bucket_takes_no_file_and_deny_uploads_them_again() {
    let (pair, agent, expected) = filled().await;
    for path in expected.keys() {
        pair.bucket.delete(&format!("docs/{path}")).await;
    }
    let halt = agent.halted(MIRROR, &["remote-emptied"]).await;
    assert_eq!(agent.run(&["sync", "flush", "--wait"]).status.code(), Some(7));
    assert_eq!(pair.local(), expected);
    // Creations go on both ways.
    write(&pair.root.join("new-here"), "up");
    wait::until("a creation goes up", async || pair.bucket.get("docs/new-here").await.ok_or("absent")).await;
    assert_eq!(agent.mirror(MIRROR)["status"], "halted");

    agent.ask(&["sync", "deny", &halt]);
    let mut expected = expected;
    expected.insert("new-here".to_owned(), "up".into());
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_bucket_that_is_approved_moves_the_files_to_the_trash() {
    let (pair, agent, expected) = filled().await;
    for path in expected.keys() {
        pair.bucket.delete(&format!("docs/{path}")).await;
    }
    let halt = agent.halted(MIRROR, &["remote-emptied"]).await;
    agent.ask(&["sync", "approve", &halt]);
    pair.both_hold(&BTreeMap::new()).await;
    agent.in_step(MIRROR).await;
    let entries = agent.ask(&["sync", "trash", "list"])["entries"].as_array().unwrap().len();
    assert_eq!(entries, FILES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_bucket_takes_no_file_not_even_when_it_is_made_again_empty() {
    let (pair, agent, expected) = filled().await;
    pair.bucket.delete_bucket().await;
    agent.until(MIRROR, "halted or in error", |mirror| mirror["status"] != "active").await;
    agent
        .until(MIRROR, "the bucket is missed", |mirror| {
            mirror["errors"].as_array().unwrap().iter().any(|error| error["class"] == "bucket")
        })
        .await;
    assert_eq!(pair.local(), expected);
    pair.bucket.create_bucket().await;
    let halt = agent.halted(MIRROR, &["remote-emptied"]).await;
    assert_eq!(pair.local(), expected);
    agent.ask(&["sync", "deny", &halt]);
    pair.both_hold(&expected).await;
}

// ---- many deletes -------------------------------------------------------------------------------------------------

const MANY: usize = 200;

fn delete_files(pair: &Pair, numbers: std::ops::Range<usize>) {
    for number in numbers {
        fs::remove_file(pair.root.join(format!("d{}/f{number:04}", number % 3))).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn most_of_the_files_deleted_at_once_waits_for_an_answer_and_deny_brings_all_back() {
    let (pair, agent, expected) = filled_with(MANY).await;
    delete_files(&pair, 0..120);
    let halt = agent.halted(MIRROR, &["too-many-deletes"]).await;
    let kept = pair.remote().await.len();
    assert!(kept >= MANY / 2, "only {kept} of {MANY} objects are left");
    assert_eq!(agent.run(&["sync", "flush", MIRROR, "--wait"]).status.code(), Some(7));
    // Edits and creations go on.
    write(&pair.root.join("new"), "up");
    write(&pair.root.join("d0/f0150"), "edited");
    let mut expected = expected;
    expected.insert("new".to_owned(), "up".into());
    expected.insert("d0/f0150".to_owned(), "edited".into());
    wait::until("they go up", async || {
        let edited = pair.bucket.get("docs/d0/f0150").await;
        wait::hold(edited.as_deref() == Some(b"edited") && pair.bucket.head("docs/new").await.is_some(), "not yet")
    })
    .await;

    agent.ask(&["sync", "deny", &halt]);
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
}

/// What was deleted before the halt is had from the bucket's versions, after a restart too.
#[tokio::test(flavor = "multi_thread")]
async fn with_versions_deny_brings_back_what_was_deleted_before_the_halt() {
    for restarted in [false, true] {
        let pair = Pair::new().await;
        pair.bucket.enable_versions().await;
        pair.fill(MANY, 3);
        let expected = pair.local();
        let mut agent = pair.start().await;
        delete_files(&pair, 0..80);
        wait::until("the first burst is carried over", async || {
            let left = pair.remote().await.len();
            wait::hold(left == MANY - 80, left)
        })
        .await;
        delete_files(&pair, 80..120);
        let halt = agent.halted(MIRROR, &["too-many-deletes"]).await;
        assert_eq!(pair.remote().await.len(), MANY - 80);
        if restarted {
            agent.kill();
            agent.restart().await;
            assert_eq!(agent.halted(MIRROR, &["too-many-deletes"]).await, halt);
        }
        agent.ask(&["sync", "deny", &halt]);
        pair.both_hold(&expected).await;
        agent.in_step(MIRROR).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deletes_in_the_bucket_wait_too_and_deny_uploads_the_files_again() {
    let (pair, agent, expected) = filled_with(MANY).await;
    for path in expected.keys().take(120) {
        pair.bucket.delete(&format!("docs/{path}")).await;
    }
    let halt = agent.halted(MIRROR, &["too-many-deletes"]).await;
    let kept = pair.local().len();
    assert!(kept >= MANY / 2, "only {kept} of {MANY} files are left");
    agent.ask(&["sync", "deny", &halt]);
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deletes_that_are_approved_are_done() {
    let (pair, agent, mut expected) = filled_with(MANY).await;
    delete_files(&pair, 0..120);
    let halt = agent.halted(MIRROR, &["too-many-deletes"]).await;
    agent.ask(&["sync", "approve", &halt]);
    expected.retain(|path, _| path[path.len() - 4..].parse::<usize>().unwrap() >= 120);
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
    // Approved ones no longer count.
    delete_files(&pair, 120..125);
    expected.retain(|path, _| path[path.len() - 4..].parse::<usize>().unwrap() >= 125);
    pair.both_hold(&expected).await;
    assert_eq!(agent.mirror(MIRROR)["status"], "active");
}

/// However many files it holds, and whichever way the rename is noticed: by events, or by a scan after a start.
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_folder_is_no_burst_of_deletes() {
    let mut pair = Pair::new().await;
    pair.config["sync"]["max_deletes"] = json!({"percent": 10, "files": 25, "min": 20});
    for number in 0..FILES * 2 {
        write(&pair.root.join(format!("old/deep/{number}")), format!("content {number}"));
    }
    let mut agent = pair.start().await;
    let rename = |from: &str, to: &str| {
        fs::rename(pair.root.join(from), pair.root.join(to)).unwrap();
        pair.local()
    };
    let expected = rename("old", "new");
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
    agent.stop().await;
    let expected = rename("new", "newer");
    agent.restart().await;
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
    assert!(!agent.process().log().contains("halted"), "{}", agent.process().log());
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_that_are_undone_end_their_halt() {
    let (pair, agent, expected) = filled_with(MANY).await;
    delete_files(&pair, 0..120);
    agent.halted(MIRROR, &["too-many-deletes"]).await;
    for (path, content) in &expected {
        write(&pair.root.join(path), content);
    }
    agent.in_step(MIRROR).await;
    pair.both_hold(&expected).await;
    assert_eq!(deletes(&pair), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_changed_at_once_waits_for_an_answer() {
    let (pair, mut agent, expected) = filled().await;
    agent.stop().await;
    for path in expected.keys() {
        write(&pair.root.join(path), "encrypted, pay here");
    }
    agent.restart().await;
    let halt = agent.halted(MIRROR, &["everything-changed"]).await;
    assert_eq!(pair.remote().await, expected);
    agent.ask(&["sync", "approve", &halt]);
    let changed = pair.local();
    pair.both_hold(&changed).await;
    agent.in_step(MIRROR).await;
}

// ---- permissions --------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_folder_blocks_only_itself() {
    if !needs_root("running the agent as a user whom permissions hold back") {
        return;
    }
    let pair = Pair::new().await;
    pair.fill(FILES, 3);
    let expected = pair.local();
    give_away(pair.home.path());
    let mut agent = Agent::start_unprivileged(pair.home.path(), &pair.config).await;
    agent.in_step(MIRROR).await;
    pair.both_hold(&expected).await;

    let closed = pair.root.join("d1");
    mode(&closed, 0o000);
    for restarted in [false, true] {
        if restarted {
            agent.kill();
            agent.restart().await;
            agent.in_error(MIRROR, "permission").await;
        }
        let name = format!("new-{restarted}");
        write(&pair.root.join(&name), "goes up");
        give_away(&pair.root.join(&name));
        let key = format!("docs/{name}");
        wait::until("the rest goes on", async || pair.bucket.get(&key).await.ok_or("absent")).await;
        pair.bucket.put("docs/d1/from-the-bucket", "waits").await;
        four_checks(&pair).await;
        bucket_keeps(&pair, &expected).await;
    }

    mode(&closed, 0o755);
    agent.in_step(MIRROR).await;
    assert_eq!(fs::read(closed.join("from-the-bucket")).unwrap(), b"waits");
    bucket_keeps(&pair, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_root_is_an_error_that_ends_by_itself() {
    if !needs_root("running the agent as a user whom permissions hold back") {
        return;
    }
    let pair = Pair::new().await;
    pair.fill(FILES, 3);
    let expected = pair.local();
    give_away(pair.home.path());
    let mut agent = Agent::start_unprivileged(pair.home.path(), &pair.config).await;
    agent.in_step(MIRROR).await;
    agent.stop().await;
    mode(&pair.root, 0o000);
    agent.restart().await;
    agent.in_error(MIRROR, "permission").await;
    bucket_keeps(&pair, &expected).await;
    mode(&pair.root, 0o755);
    agent.in_step(MIRROR).await;
    pair.both_hold(&expected).await;
    bucket_keeps(&pair, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_file_is_told_and_its_object_stays() {
    if !needs_root("running the agent as a user whom permissions hold back") {
        return;
    }
    let pair = Pair::new().await;
    pair.fill(FILES, 3);
    let expected = pair.local();
    give_away(pair.home.path());
    let agent = Agent::start_unprivileged(pair.home.path(), &pair.config).await;
    agent.in_step(MIRROR).await;
    let file = pair.root.join("d0/f0000");
    fs::write(&file, "secret").unwrap();
    chown(&file, Some(0), Some(0)).unwrap();
    mode(&file, 0o600);
    agent.until(MIRROR, "the file is reported", |mirror| note(mirror, "d0/f0000").is_some()).await;
    write(&pair.root.join("another"), "goes up");
    give_away(&pair.root.join("another"));
    wait::until("the rest goes on", async || pair.bucket.get("docs/another").await.ok_or("absent")).await;
    bucket_keeps(&pair, &expected).await;
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// To the unprivileged user, with all that is in it.
fn give_away(path: &Path) {
    chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}
