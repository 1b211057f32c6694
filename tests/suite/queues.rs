//! What waits for long holds up nothing else: many large files, and writes that the store refuses.

use std::fs;
use std::time::Duration;

use gosync_tests::agent::Agent;
use gosync_tests::pair::{MIRROR, Pair, Tree, write};
use gosync_tests::proxy::{Kind, Verdict};
use gosync_tests::wait;

/// More than run at once, and more than are ever looked through for one that may.
const LARGE_FILES: usize = 220;
/// More than are kept waiting before nothing more is looked for.
const REFUSED: usize = 1_100;
const MINE: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_overtakes_hundreds_of_large_ones() {
    let pair = Pair::new().await;
    let agent = pair.start().await;
    // The store's conditions are known when this is there: trying them takes uploads in parts, too.
    write(&pair.root.join("first"), "first");
    pair.both_hold(&pair.local()).await;
    let verdict =
        |kind| if kind == Kind::MultipartCreate { Verdict::Delay(Duration::from_secs(600)) } else { Verdict::Pass };
    pair.proxy.rule(move |seen| verdict(seen.kind));
    for number in 0..LARGE_FILES {
        let path = pair.root.join(format!("large/{number}"));
        write(&path, format!("content {number}"));
        // Holes: only their length is large.
        fs::File::options().write(true).open(&path).unwrap().set_len(6 << 20).unwrap();
    }
    agent
        .until(MIRROR, "the large files wait to be sent", |mirror| {
            mirror["pending"]["files"].as_u64() >= Some(LARGE_FILES as u64)
        })
        .await;
    write(&pair.root.join("small"), "small");
    wait::until("the small file is in the bucket", async || {
        wait::hold(pair.remote().await.contains_key("small"), "it is not")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_the_store_refuses_hold_up_no_download() {
    let pair = Pair::new().await;
    pair.proxy.rule(|seen| if seen.kind.writes() { Verdict::Answer(403) } else { Verdict::Pass });
    let mut expected = Tree::new();
    for number in 0..REFUSED {
        expected.insert(format!("here/{number}"), format!("mine {number}").into());
    }
    pair.write_all(&expected);
    for number in 0..MINE {
        let (path, content) = (format!("there/{number}"), format!("theirs {number}"));
        pair.bucket.put(&format!("docs/{path}"), content.clone()).await;
        expected.insert(path, content.into());
    }
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    wait::until("all files of the bucket are here", async || {
        let here = pair.local().keys().filter(|path| path.starts_with("there/")).count();
        wait::hold(here == MINE, format!("{here} of {MINE}"))
    })
    .await;
    pair.proxy.pass();
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
}
