//! Nearly all files changed at once: ransom, shifted times, a wrong mount. Nobody's content is written over before a person
//! has said so.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

use gosync_tests::pair::{MIRROR, Pair, Tree, write};
use gosync_tests::proxy::{Kind, Seen, Verdict};
use gosync_tests::wait;

/// Over the 20 below which no guard asks.
const FILES: usize = 30;

fn change_all(pair: &Pair, expected: &Tree) {
    for path in expected.keys() {
        write(&pair.root.join(path), "encrypted, pay here");
    }
}

fn puts(pair: &Pair) -> usize {
    pair.requests(|kind| kind == Kind::Put).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_changed_at_once_waits_for_an_answer() {
    let (pair, mut agent, expected) = Pair::filled(FILES).await;
    agent.stop().await;
    change_all(&pair, &expected);
    agent.restart().await;
    let halt = agent.halted(MIRROR, &["everything-changed"]).await;
    assert_eq!(pair.remote().await, expected);
    agent.ask(&["sync", "approve", &halt]);
    let changed = pair.local();
    pair.both_hold(&changed).await;
    agent.in_step(MIRROR).await;
}

/// What a person read off is what they can answer, however long they took.
#[tokio::test(flavor = "multi_thread")]
async fn the_halt_of_everything_changed_keeps_its_id_and_is_carried_over_exactly_once() {
    let (pair, mut agent, expected) = Pair::filled(FILES).await;
    agent.stop().await;
    change_all(&pair, &expected);
    pair.proxy.forget();
    agent.restart().await;
    let halt = agent.halted(MIRROR, &["everything-changed"]).await;
    for restarted in [false, true] {
        if restarted {
            agent.kill();
            agent.restart().await;
        }
        for _ in 0..2 {
            pair.four_checks().await;
            assert_eq!(agent.halted(MIRROR, &["everything-changed"]).await, halt);
        }
        // Another edit of a file that waits is no way around.
        let edited = expected.keys().next().unwrap();
        write(&pair.root.join(edited), format!("encrypted again, {restarted}"));
        let created = format!("new-{restarted}");
        write(&pair.root.join(&created), "goes up");
        pair.goes_up(&created).await;
        pair.four_checks().await;
        let mut remote = pair.remote().await;
        remote.retain(|path, _| !path.starts_with("new-"));
        assert_eq!(remote, expected, "written over");
    }
    assert_eq!(agent.halted(MIRROR, &["everything-changed"]).await, halt);
    assert_eq!(puts(&pair), 2, "the two creations");

    agent.ask(&["sync", "approve", &halt]);
    let changed = pair.local();
    pair.both_hold(&changed).await;
    agent.in_step(MIRROR).await;
    pair.four_checks().await;
    assert_eq!(puts(&pair), FILES + 2);
    assert_eq!(agent.mirror(MIRROR)["status"], "active");
    assert_eq!(agent.mirror(MIRROR)["conflicts"], 0);
}

/// How many there would have been is not known then, so they wait as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_look_that_breaks_off_lets_no_overwrite_through() {
    // Several pages, so that the listing can break off late.
    let pair = Pair::with_store(|options| options.page_size_max = 10).await;
    let (mut agent, expected) = pair.fill_and_start(FILES).await;
    agent.stop().await;
    change_all(&pair, &expected);
    pair.proxy.forget();
    let is_late = |query: &str| query.contains("continuation-token") || query.contains("start-after");
    pair.proxy.rule(move |seen| match seen.kind == Kind::List && is_late(&seen.query) {
        true => Verdict::Answer(500),
        false => Verdict::Pass,
    });
    agent.restart().await;
    wait::until("several looks broke off", async || {
        let begun = pair.proxy.seen().iter().filter(|seen| seen.kind == Kind::List && !is_late(&seen.query)).count();
        wait::hold(begun >= 5, begun)
    })
    .await;
    assert_eq!(puts(&pair), 0);
    assert_eq!(pair.remote().await, expected);

    pair.proxy.pass();
    agent.halted(MIRROR, &["everything-changed"]).await;
    pair.four_checks().await;
    assert_eq!(puts(&pair), 0);
    assert_eq!(pair.remote().await, expected);
}

/// The same from the other side: somebody wrote over the whole bucket, while nobody ran and while the agent watches.
#[tokio::test(flavor = "multi_thread")]
async fn everything_changed_in_the_bucket_at_once_waits_for_an_answer_too() {
    for running in [false, true] {
        let (pair, mut agent, expected) = Pair::filled(FILES).await;
        if running {
            // What has just changed is looked at once more by itself.
            let newest = || expected.keys().map(|path| fs::metadata(pair.root.join(path)).unwrap().ctime()).max();
            let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
            wait::until("the files are old enough", async || wait::hold(now() - newest().unwrap() > 6, "fresh")).await;
            // One check sees it all: those that would come in the midst of it fail.
            let listing = |seen: &Seen| seen.kind == Kind::List;
            pair.proxy.rule(move |seen| if listing(seen) { Verdict::Answer(500) } else { Verdict::Pass });
            agent.in_error(MIRROR, "endpoint").await;
        } else {
            agent.stop().await;
        }
        let changed: Tree = expected.keys().map(|path| (path.clone(), "encrypted, pay here".into())).collect();
        pair.put_all(&changed).await;
        if running {
            pair.proxy.pass();
        } else {
            agent.restart().await;
        }
        let halt = agent.halted(MIRROR, &["everything-changed"]).await;
        pair.four_checks().await;
        assert_eq!(pair.local(), expected, "written over; running: {running}");
        agent.ask(&["sync", "approve", &halt]);
        pair.both_hold(&changed).await;
        agent.in_step(MIRROR).await;
    }
}

/// What a person denies is undone: the other side's contents come back, and the changed ones are kept beside them.
async fn undone(pair: &Pair, agent: &mut gosync_tests::agent::Agent, expected: &Tree) {
    let halt = agent.halted(MIRROR, &["everything-changed"]).await;
    agent.ask(&["sync", "deny", &halt]);
    wait::until("all is as it was, and kept as it became", async || {
        let (local, remote) = (pair.local(), pair.remote().await);
        let is_whole = |tree: &Tree| expected.iter().all(|(path, content)| tree.get(path) == Some(content));
        let copies =
            local.iter().filter(|(path, content)| path.contains(".conflict-") && *content == "encrypted, pay here");
        wait::hold(is_whole(&local) && local == remote && copies.count() == FILES, format!("{local:?}\n{remote:?}"))
    })
    .await;
    agent.in_step(MIRROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_changed_all_over_gets_back_what_the_bucket_has() {
    let (pair, mut agent, expected) = Pair::filled(FILES).await;
    agent.stop().await;
    change_all(&pair, &expected);
    agent.restart().await;
    undone(&pair, &mut agent, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_was_changed_all_over_gets_back_what_the_folder_has() {
    let (pair, mut agent, expected) = Pair::filled(FILES).await;
    agent.stop().await;
    for path in expected.keys() {
        pair.bucket.put(&format!("docs/{path}"), "encrypted, pay here").await;
    }
    agent.restart().await;
    undone(&pair, &mut agent, &expected).await;
}
