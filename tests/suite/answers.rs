//! What a person answers to a halt holds for all that was asked about, through kills, open files and stores in trouble, and
//! for nothing that comes later.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gosync_tests::agent::Agent;
use gosync_tests::pair::{MIRROR, Pair, Tree, write};
use gosync_tests::proxy::{Kind, Verdict};
use gosync_tests::wait;
use serde_json::json;

/// Over the 20 below which no guard asks.
const FILES: usize = 40;

/// Every file is something else, as after a ransom, and a person says that it was not meant to be.
async fn encrypted() -> (Pair, Agent, Tree, String) {
    let (pair, mut agent, good) = Pair::filled(FILES).await;
    agent
        .meanwhile(false, || {
            for path in good.keys() {
                write(&pair.root.join(path), format!("encrypted {path}"));
            }
        })
        .await;
    let halt = agent.halted(MIRROR, &["everything-changed"]).await;
    (pair, agent, good, halt)
}

/// Everything good is at its path on both sides, and everything that was denied is beside it.
async fn all_is_back(pair: &Pair, good: &Tree) {
    wait::until("all is back", async || {
        for (side, found) in [("folder", pair.local()), ("bucket", pair.remote().await)] {
            let lost: Vec<_> = good.iter().filter(|(path, content)| found.get(*path) != Some(content)).collect();
            wait::hold(lost.is_empty(), format!("{side}: {:?}", lost.first()))?;
            let kept = found.iter().filter(|(path, _)| path.contains(".conflict-")).count();
            wait::hold(kept == good.len(), format!("{side}: {kept} copies"))?;
        }
        Ok::<(), String>(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_denied_stays_denied_over_a_kill_in_the_middle() {
    let (pair, mut agent, good, halt) = encrypted().await;
    // The good contents come back until the way to the store is lost.
    let fetched = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&fetched);
    pair.proxy.rule(move |seen| match seen.kind {
        Kind::Get if counted.fetch_add(1, Ordering::Relaxed) >= 10 => Verdict::Refuse,
        _ => Verdict::Pass,
    });
    agent.ask(&["sync", "deny", &halt]);
    wait::until("some came back", async || {
        let found = pair.local();
        let back = good.iter().filter(|(path, content)| found.get(*path) == Some(content)).count();
        wait::hold(back >= 5, back)
    })
    .await;
    agent.kill();
    pair.proxy.pass();
    agent.restart().await;
    all_is_back(&pair, &good).await;
    // Once all is done, an edit is an edit again.
    agent.in_step(MIRROR).await;
    let path = good.keys().next().unwrap();
    wait::until("the answer is over", async || {
        write(&pair.root.join(path), "edited later");
        agent.in_step(MIRROR).await;
        let found = pair.bucket.get(&format!("docs/{path}")).await;
        wait::hold(found.as_deref() == Some(b"edited later"), format!("{found:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_denied_while_it_was_open_is_denied_when_it_is_closed() {
    let (pair, agent, good, halt) = encrypted().await;
    let open = fs::File::options().write(true).open(pair.root.join(good.keys().next().unwrap())).unwrap();
    agent.ask(&["sync", "deny", &halt]);
    agent.until(MIRROR, "it is seen open", |mirror| mirror["paths"].to_string().contains("busy")).await;
    drop(open);
    all_is_back(&pair, &good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_after_an_approval_are_asked_about_anew() {
    let mut pair = Pair::new().await;
    pair.config["sync"]["max_deletes"] = json!({"percent": 10});
    let (agent, expected) = pair.fill_and_start(120).await;
    let paths: Vec<&String> = expected.keys().collect();
    let delete = |some: &[&String]| some.iter().for_each(|path| fs::remove_file(pair.root.join(path)).unwrap());
    delete(&paths[..25]);
    let halt = agent.halted(MIRROR, &["too-many-deletes"]).await;
    // Who wins is no question here.
    let unasked = agent.run(&["sync", "approve", &halt, "--answer", "remote"]);
    assert_eq!(unasked.status.code(), Some(2), "{}", String::from_utf8_lossy(&unasked.stderr));
    agent.ask(&["sync", "approve", &halt]);
    delete(&paths[25..60]);
    let again = agent.halted(MIRROR, &["too-many-deletes"]).await;
    assert_ne!(again, halt);
    wait::until("the approved ones are gone, and no others", async || {
        let left = pair.remote().await.len();
        wait::hold(left == 95, left)
    })
    .await;
    pair.four_checks().await;
    assert_eq!(pair.remote().await.len(), 95);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_only_sends_says_that_it_brings_nothing_back() {
    let mut pair = Pair::new().await;
    pair.config["syncs"][0]["direction"] = json!("push");
    pair.fill(60, 3);
    let agent = pair.start().await;
    let files = pair.local();
    for path in files.keys().take(40) {
        fs::remove_file(pair.root.join(path)).unwrap();
    }
    let halt = agent.halted(MIRROR, &["too-many-deletes"]).await;
    let denied = agent.run(&["sync", "deny", &halt]);
    assert!(!denied.status.success());
    assert!(String::from_utf8_lossy(&denied.stderr).contains("brings nothing back"), "{denied:?}");
    assert_eq!(pair.remote().await, files);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_are_kept_hide_no_change_of_most_files() {
    let mut pair = Pair::new().await;
    pair.config["sync"]["directory_markers"] = json!(true);
    for folder in 0..80 {
        fs::create_dir_all(pair.root.join(format!("empty/{folder}"))).unwrap();
    }
    pair.fill(FILES, 3);
    let mut agent = pair.start().await;
    let good = pair.local();
    agent
        .meanwhile(false, || {
            for path in good.keys() {
                write(&pair.root.join(path), format!("encrypted {path}"));
            }
        })
        .await;
    let halt = agent.halted(MIRROR, &["everything-changed"]).await;
    agent.ask(&["sync", "deny", &halt]);
    wait::until("all is back", async || {
        let found = pair.local();
        wait::hold(good.iter().all(|(path, content)| found.get(path) == Some(content)), "not yet")
    })
    .await;
    agent
        .meanwhile(true, || {
            for path in pair.local().keys() {
                fs::remove_file(pair.root.join(path)).unwrap();
            }
        })
        .await;
    agent.halted(MIRROR, &["too-many-deletes", "root-emptied"]).await;
}

/// An agent that was away brings back what it has, and another one has newer contents: both are kept, whether the other's
/// halt ends by an answer or by itself.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_content_that_is_brought_back_to_an_emptied_bucket_overwrites_no_newer_one() {
    let (pair, agent, before) = Pair::filled(FILES).await;
    pair.delete_all(before.keys()).await;
    agent.halted(MIRROR, &["too-many-deletes", "remote-emptied"]).await;
    for (path, content) in &before {
        let old = path.ends_with('0');
        pair.bucket.put(&format!("docs/{path}"), if old { b"old".to_vec().into() } else { content.clone() }).await;
    }
    agent.until(MIRROR, "it goes on by itself", |mirror| mirror["halts"].as_array().is_some_and(Vec::is_empty)).await;
    agent.in_step(MIRROR).await;
    for found in [pair.local(), pair.remote().await] {
        let lost: Vec<_> = before.values().filter(|content| !found.values().any(|there| there == *content)).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}

/// What stands at a deleted file's path by then was put there by somebody who didn't know what the file holds.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_to_the_path_of_a_denied_delete_meanwhile_overwrites_nothing() {
    let (pair, agent, before) = Pair::filled(FILES).await;
    pair.delete_all(before.keys()).await;
    let halt = agent.halted(MIRROR, &["too-many-deletes", "remote-emptied"]).await;
    let path = before.keys().next().unwrap();
    write(&pair.root.join(path), "the newest");
    wait::until("the edit goes up although deletes wait", async || {
        let found = pair.remote().await;
        wait::hold(found.get(path).is_some_and(|content| **content == *b"the newest"), format!("{found:?}"))
    })
    .await;
    pair.delete_all([path]).await;
    pair.four_checks().await;
    pair.bucket.put(&format!("docs/{path}"), "an older one").await;
    pair.four_checks().await;
    agent.ask(&["sync", "deny", &halt]);
    agent.in_step(MIRROR).await;
    for found in [pair.local(), pair.remote().await] {
        assert_eq!(found.len(), FILES + 1, "{found:?}");
        for content in ["the newest", "an older one"] {
            assert!(found.values().any(|found| **found == *content.as_bytes()), "{content}: {found:?}");
        }
    }
}
