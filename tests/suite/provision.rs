//! Taking over a large bucket into the metadata by its listing alone.

use std::fs;

use futures_util::StreamExt as _;
use gosync_tests::agent::Agent;
use gosync_tests::pair::{MIRROR, PREFIX, Pair, write};
use gosync_tests::proxy::Kind;
use gosync_tests::replica::LONG;
use gosync_tests::wait;
use serde_json::json;

const KEYS: usize = 100_000;
const PARALLEL: usize = 32;
/// Of a debug build, 40 MiB of which are the program itself: a page of keys at a time is all that has to be held.
const PROVISION_BYTES_MAX: u64 = 64 << 20;
/// Adopting has batches of paths under way beside it, capped, which come to about 95 MiB. Had every file a place in
/// memory (its path, fingerprint, generation and hashes, half a KiB at least), these many would need 50 MiB more.
const ADOPTION_BYTES_MAX: u64 = 128 << 20;

fn path(number: usize) -> String {
    format!("folder-{:03}/a-file-with-quite-a-name-{number:06}.txt", number % 200)
}

fn content(number: usize) -> String {
    format!("content of file {number}\n")
}

/// The most memory that a process ever had.
fn peak_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_taken_over_by_listing_alone_and_equal_files_are_adopted_without_a_transfer() {
    let pair = Pair::new().await;
    let puts = (0..KEYS).map(|number| {
        let bucket = &pair.bucket;
        async move { bucket.put(&format!("{PREFIX}{}", path(number)), content(number)).await }
    });
    futures_util::stream::iter(puts).buffer_unordered(PARALLEL).for_each(async |_| {}).await;
    pair.bucket.put("docs/odd//key", "reported").await;

    let mut config = pair.config.clone();
    config["syncs"] = json!([]);
    let mut agent = Agent::start(pair.home.path(), &config).await;
    let counted = agent.ask(&["sync", "provision", "/docs", "--dry-run"]);
    assert_eq!((&counted["keys"], &counted["added"]), (&json!(KEYS + 1), &json!(KEYS)));
    // A dry run took nothing over.
    let taken = agent.ask(&["sync", "provision", "/docs"]);
    assert_eq!((&taken["keys"], &taken["added"]), (&json!(KEYS + 1), &json!(KEYS)));
    assert_eq!(taken["odd_keys"], 1);
    assert_eq!(taken["odd_first"][0]["key"], "docs/odd//key");
    // A second one finds them all.
    let again = agent.ask(&["sync", "provision", "/docs"]);
    assert_eq!((&again["added"], &again["updated"]), (&json!(0), &json!(0)));
    assert_eq!(pair.transfers(), [""; 0]);
    assert_eq!(pair.proxy.count(Kind::Head), 0);
    let peak = peak_bytes(agent.process().id());
    assert!(peak < PROVISION_BYTES_MAX, "{} MiB at the peak", peak >> 20);
    agent.stop().await;

    for number in 0..KEYS {
        write(&pair.root.join(path(number)), content(number));
    }
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    wait::until_within(LONG, "all files are adopted", async || {
        let mirror = agent.mirror(MIRROR);
        let idle = mirror["phase"] == "idle" && mirror["status"] == "active";
        wait::hold(mirror["files"] == KEYS && idle, mirror)
    })
    .await;
    assert_eq!(pair.transfers(), [""; 0]);
    let peak = peak_bytes(agent.process().id());
    assert!(peak < ADOPTION_BYTES_MAX, "{} MiB at the peak of the adoption", peak >> 20);
    // They are known by their contents now: an edit is no conflict.
    write(&pair.root.join(path(7)), "edited");
    wait::until("the edit goes up", async || {
        let found = pair.bucket.get(&format!("{PREFIX}{}", path(7))).await.unwrap();
        wait::hold(found == "edited", "not yet")
    })
    .await;
    agent.until(MIRROR, "idle again", |mirror| mirror["phase"] == "idle" && mirror["pending"]["files"] == 0).await;
    assert_eq!(agent.mirror(MIRROR)["conflicts"], 0);
}
