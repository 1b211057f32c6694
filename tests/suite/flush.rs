//! What may be called flushed: at a person's word, and at the end.

use std::fs;

use gosync_tests::agent::{Agent, with_mirror};
use gosync_tests::pair::{MIRROR, Pair, tree, write};
use gosync_tests::process::Folder;
use gosync_tests::proxy::Verdict;
use gosync_tests::wait;
use serde_json::{Value, json};

/// With a store that was never there, and with one that is gone when all seems to be done.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_store_could_be_asked_about_is_not_flushed_and_says_why() {
    for known in [false, true] {
        let mut pair = Pair::new().await;
        pair.config["sync"]["drain"] = json!("2s");
        write(&pair.root.join("note"), "content");
        if !known {
            pair.proxy.rule(|_| Verdict::Refuse);
        }
        let mut agent = Agent::start(pair.home.path(), &pair.config).await;
        if known {
            agent.in_step(MIRROR).await;
            pair.proxy.rule(|_| Verdict::Refuse);
        }
        let flush = agent.flush(MIRROR, "1s");
        assert_eq!((flush.code, &flush.receipt["flushed"]), (Some(1), &json!(false)), "{}", flush.told);

        agent.in_error(MIRROR, "endpoint").await;
        let flush = agent.flush(MIRROR, "2s");
        assert_eq!((flush.code, &flush.receipt["flushed"]), (Some(1), &json!(false)), "{}", flush.told);
        assert!(names_the_trouble(&flush.told), "{}", flush.told);

        let before = agent.process().log().len();
        assert_eq!(agent.stop().await.code(), Some(1), "{}", agent.process().tail());
        let receipts = fs::read(pair.home.path().join("data/receipt.json")).unwrap();
        let receipts: Value = serde_json::from_slice(&receipts).unwrap();
        assert_eq!(receipts["receipts"][0]["flushed"], json!(false), "{receipts:#}");
        let last_words = agent.process().log().split_off(before);
        assert!(names_the_trouble(&last_words), "{last_words}");
    }
}

/// Which request to the store failed, whatever it was.
fn names_the_trouble(told: &str) -> bool {
    ["ListObjectsV2", "HeadObject", "PutObject", "GetObject"].iter().any(|request| told.contains(request))
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_count_what_is_in_step_and_replicas_in_step_have_one_tree() {
    let mut pair = Pair::new().await;
    let other = Folder::new("other");
    pair.config = with_mirror(pair.config.take(), "other", other.path(), "/docs");
    pair.write_all(&tree([("a", "1"), ("b/c", "22"), ("b/d", "333")]));
    let agent = pair.start().await;
    let receipts = async || {
        wait::until("both are flushed", async || {
            let both = [MIRROR, "other"].map(|mirror| agent.flush(mirror, "30s"));
            let done = both.iter().all(|flush| flush.code == Some(0) && flush.receipt["flushed"] == true);
            let one = both[0].receipt["tree"] == both[1].receipt["tree"];
            if done && one {
                Ok(both.map(|flush| flush.receipt))
            } else {
                Err(format!("{} {}", both[0].told, both[1].told))
            }
        })
        .await
    };
    let before = receipts().await;
    for receipt in &before {
        assert_eq!((&receipt["files"], &receipt["bytes"]), (&json!(3), &json!(6)), "{receipt:#}");
        assert_eq!(receipt["pending"]["files"], 0, "{receipt:#}");
    }
    std::fs::write(pair.root.join("a"), "edited").unwrap();
    let after = receipts().await;
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before["tree"], after["tree"]);
        let number =
            |receipt: &Value| receipt["cursor"].as_str().unwrap().split('-').next().unwrap().parse::<u64>().unwrap();
        assert!(number(after) >= number(before), "{before:#} {after:#}");
        assert_eq!((&after["files"], &after["bytes"]), (&json!(3), &json!(11)), "{after:#}");
    }
}
