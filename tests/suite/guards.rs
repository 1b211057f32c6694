//! What must never be taken for a delete, and what a person is asked before: lying listings, emptied buckets, too many
//! deletes at once.

use std::collections::BTreeMap;
use std::fs;

use gosync_dev_s3::{Effect, Fault, Operation};
use gosync_tests::pair::{MIRROR, Pair, write};
use gosync_tests::wait;
use serde_json::json;

/// Over the 20 below which no guard asks.
const FILES: usize = 30;

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
    let (mut agent, expected) = pair.fill_and_start(FILES).await;
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
            assert_eq!(agent.trash(), [json!(null); 0], "{name}");
        }
    }
    pair.both_hold(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_that_fail_are_told_and_mend_by_themselves() {
    let (pair, agent, expected) = Pair::filled(FILES).await;
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
    let (pair, agent, expected) = Pair::filled(FILES).await;
    pair.delete_all(expected.keys()).await;
    let halt = agent.halted(MIRROR, &["remote-emptied"]).await;
    assert_eq!(agent.run(&["sync", "flush", "--wait"]).status.code(), Some(7));
    assert_eq!(pair.local(), expected);
    // Creations go on both ways.
    write(&pair.root.join("new-here"), "up");
    pair.goes_up("new-here").await;
    assert_eq!(agent.mirror(MIRROR)["status"], "halted");

    agent.ask(&["sync", "deny", &halt]);
    let mut expected = expected;
    expected.insert("new-here".to_owned(), "up".into());
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_emptied_under_a_small_mirror_takes_no_file() {
    let (pair, mut agent, expected) = Pair::filled(5).await;
    agent.stop().await;
    pair.delete_all(expected.keys()).await;
    agent.restart().await;
    agent.halted(MIRROR, &["remote-emptied"]).await;
    pair.four_checks().await;
    assert_eq!(pair.local(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_bucket_that_is_approved_moves_the_files_to_the_trash() {
    let (pair, agent, expected) = Pair::filled(FILES).await;
    pair.delete_all(expected.keys()).await;
    let halt = agent.halted(MIRROR, &["remote-emptied"]).await;
    agent.ask(&["sync", "approve", &halt]);
    pair.both_hold(&BTreeMap::new()).await;
    agent.in_step(MIRROR).await;
    assert_eq!(agent.trash().len(), FILES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_bucket_takes_no_file_not_even_when_it_is_made_again_empty() {
    let (pair, agent, expected) = Pair::filled(FILES).await;
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
    let (pair, agent, expected) = Pair::filled(MANY).await;
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
        let (mut agent, expected) = pair.fill_and_start(MANY).await;
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
    let (pair, agent, expected) = Pair::filled(MANY).await;
    pair.delete_all(expected.keys().take(120)).await;
    let halt = agent.halted(MIRROR, &["too-many-deletes"]).await;
    let kept = pair.local().len();
    assert!(kept >= MANY / 2, "only {kept} of {MANY} files are left");
    agent.ask(&["sync", "deny", &halt]);
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deletes_that_are_approved_are_done() {
    let (pair, agent, mut expected) = Pair::filled(MANY).await;
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
    let (pair, agent, expected) = Pair::filled(MANY).await;
    delete_files(&pair, 0..120);
    agent.halted(MIRROR, &["too-many-deletes"]).await;
    for (path, content) in &expected {
        write(&pair.root.join(path), content);
    }
    agent.in_step(MIRROR).await;
    pair.both_hold(&expected).await;
    assert_eq!(pair.deletes(), 0);
}
