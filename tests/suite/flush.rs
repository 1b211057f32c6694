//! What may be called flushed: at a person's word, and at the end.

use std::fs;

use gosync_tests::agent::Agent;
use gosync_tests::pair::{MIRROR, Pair, write};
use gosync_tests::proxy::Verdict;
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
