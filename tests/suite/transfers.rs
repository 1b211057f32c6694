//! Transfers that don't go as they should: cut off, throttled, refused for the time on a clock.

use bytes::Bytes;
use gosync_dev_s3::{Effect, Fault, Operation};
use gosync_tests::pair::{MIRROR, Pair, Tree, write};
use gosync_tests::proxy::{Kind, Seen, Verdict};
use gosync_tests::wait;
use std::sync::atomic::{AtomicUsize, Ordering};

const MIB: usize = 1 << 20;
const PART_BYTES: usize = 5 * MIB;

fn noise(bytes: usize) -> Bytes {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut noise);
    noise.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_was_cut_off_fetches_no_range_twice_not_even_after_a_kill() {
    const PARTS: usize = 8;
    const THROUGH: usize = 4;
    for killed in [false, true] {
        let pair = Pair::new().await;
        let expected = Tree::from([("large".to_owned(), noise(PARTS * PART_BYTES - 1))]);
        let mut agent = pair.start().await;
        // So many ranges come through, then none does.
        let begun = AtomicUsize::new(0);
        let is_range = |seen: &Seen| seen.kind == Kind::Get && seen.range.is_some();
        pair.proxy.rule(move |seen| {
            if is_range(seen) && begun.fetch_add(1, Ordering::Relaxed) >= THROUGH {
                return Verdict::Refuse;
            }
            Verdict::Pass
        });
        pair.put_all(&expected).await;
        let refused = || pair.proxy.seen().iter().filter(|seen| is_range(seen) && seen.status.is_none()).count();
        wait::until("ranges are asked for in vain", async || wait::hold(refused() > 0, refused())).await;
        let noted = wait::until("what came through is noted", async || {
            let noted = noted_ranges(&pair.root.join(".gosync/tmp"));
            wait::hold(noted.len() == THROUGH, format!("{noted:?}")).map(|()| noted)
        })
        .await;
        let held: u64 = noted.iter().map(|part| (PART_BYTES - usize::from(*part == PARTS - 1)) as u64).sum();
        if killed {
            agent.kill();
        }
        pair.proxy.forget();
        pair.proxy.pass();
        if killed {
            agent.restart().await;
        }
        pair.both_hold(&expected).await;
        let fetched: u64 = pair.proxy.seen().iter().filter(|seen| is_range(seen)).map(|seen| seen.received_bytes).sum();
        assert_eq!(fetched, (PARTS * PART_BYTES - 1) as u64 - held, "after a kill: {killed}");
        agent.in_step(MIRROR).await;
        assert!(gosync_tests::tree::names(&pair.root.join(".gosync/tmp")).is_empty());
    }
}

/// Which ranges of the one large file have come: beside what came of it stand what it is, then a hash for each of them.
fn noted_ranges(tmp: &std::path::Path) -> Vec<usize> {
    let notes = gosync_tests::tree::names(tmp).into_iter().find(|name| name.ends_with(".ranges"));
    let notes = notes.and_then(|notes| std::fs::read(tmp.join(notes)).ok()).unwrap_or_default();
    let parts = notes.chunks(32).skip(1).enumerate();
    parts.filter(|(_, hash)| hash.len() == 32 && hash.iter().any(|byte| *byte != 0)).map(|(part, _)| part).collect()
}

/// What lies about from another object, or has lost its pages, is not believed.
#[tokio::test(flavor = "multi_thread")]
async fn a_partial_download_that_is_not_what_was_noted_is_fetched_anew() {
    let pair = Pair::new().await;
    let mut agent = pair.start().await;
    let is_range = |seen: &Seen| seen.kind == Kind::Get && seen.range.is_some();
    let begun = AtomicUsize::new(0);
    pair.proxy.rule(move |seen| {
        if is_range(seen) && begun.fetch_add(1, Ordering::Relaxed) >= 2 { Verdict::Refuse } else { Verdict::Pass }
    });
    let expected = Tree::from([("large".to_owned(), noise(4 * PART_BYTES))]);
    pair.put_all(&expected).await;
    let refused = || pair.proxy.seen().iter().filter(|seen| is_range(seen) && seen.status.is_none()).count();
    wait::until("ranges are asked for in vain", async || wait::hold(refused() > 2, refused())).await;
    agent.kill();
    let tmp = pair.root.join(".gosync/tmp");
    let partial = gosync_tests::tree::names(&tmp).into_iter().find(|name| !name.ends_with(".ranges")).unwrap();
    // A power loss keeps the size and loses pages.
    let file = std::fs::File::options().write(true).open(tmp.join(partial)).unwrap();
    for part in 0..4 {
        std::os::unix::fs::FileExt::write_all_at(&file, &[0; 4096], (part * PART_BYTES + 8192) as u64).unwrap();
    }
    pair.proxy.forget();
    pair.proxy.pass();
    agent.restart().await;
    pair.both_hold(&expected).await;
    let fetched: u64 = pair.proxy.seen().iter().filter(|seen| is_range(seen)).map(|seen| seen.received_bytes).sum();
    assert_eq!(fetched, 4 * PART_BYTES as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_slow_downs_is_ridden_out_with_few_requests() {
    const FILES: usize = 60;
    const STORM: usize = 200;
    let pair = Pair::new().await;
    let agent = pair.start().await;
    let operations =
        [Operation::PutObject, Operation::HeadObject, Operation::CreateMultipartUpload, Operation::UploadPart];
    let storm = Fault::new(Effect::SlowDown).times(STORM as u64);
    let storm = pair.store.faults().add(operations.into_iter().fold(storm, Fault::on));
    pair.fill(FILES, 3);
    write(&pair.root.join("large"), noise(3 * PART_BYTES));
    pair.both_hold(&pair.local()).await;
    agent.in_step(MIRROR).await;
    assert_eq!(pair.store.faults().hits(storm), STORM as u64, "it was ridden out");
    // Each refused request is one attempt of one file: looks and writes that got through are as many as without a storm.
    let sent = pair.requests(|kind| kind == Kind::Put).len();
    assert!(sent <= STORM + FILES + 3, "{sent} writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_told_to_slow_down_hold_up_no_small_file() {
    let pair = Pair::new().await;
    let agent = pair.start().await;
    let storm = pair.store.faults().add(Fault::new(Effect::SlowDown).on(Operation::UploadPart).under("docs/large"));
    // More large files than may be on their way at once.
    for number in 0..6 {
        write(&pair.root.join(format!("large-{number}")), noise(PART_BYTES + number + 1));
    }
    wait::until("parts are refused", async || {
        let hits = pair.store.faults().hits(storm);
        wait::hold(hits >= 8, hits)
    })
    .await;
    pair.fill(50, 3);
    wait::until("the small files are in the bucket", async || {
        let small = pair.bucket.keys("docs/d").await.len();
        wait::hold(small == 50, small)
    })
    .await;
    assert_eq!(pair.bucket.keys("docs/large").await, [""; 0]);
    pair.store.faults().clear();
    pair.both_hold(&pair.local()).await;
    agent.in_step(MIRROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_finds_the_clock_wrong_is_told_as_such_and_served_once_it_does_not() {
    let pair = Pair::new().await;
    let agent = pair.start().await;
    pair.store.faults().add(Fault::new(Effect::Refuse("RequestTimeTooSkewed")));
    agent
        .until(MIRROR, "told of the clock", |mirror| {
            let errors = mirror["errors"].as_array().unwrap();
            errors.iter().any(|error| error["message"].as_str().unwrap().contains("set this machine's clock"))
        })
        .await;
    write(&pair.root.join("meanwhile"), "1");
    pair.store.faults().clear();
    pair.both_hold(&pair.local()).await;
    agent.until(MIRROR, "over it", |mirror| mirror["errors"].as_array().unwrap().is_empty()).await;
}
