//! What is not to leave the machine.

use std::fs;
use std::io::Write as _;

use gosync_tests::pair::{MIRROR, Pair, tree, write};
use gosync_tests::wait;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn ignored_files_stay_on_their_side() {
    let mut pair = Pair::new().await;
    pair.config["syncs"][0]["ignore_patterns"] = json!(["*.tmp", "build/"]);
    let kept = tree([
        ("a.txt", "kept"),
        ("keep.log", "kept"),
        ("sub/public", "kept"),
        ("secret", "kept: the rule is of sub"),
        (".gosyncignore", "*.log\n!keep.log\n"),
        ("sub/.gosyncignore", "secret\n"),
    ]);
    let mine = ["x.tmp", "sub/x.tmp", "build/out", "old.log", "sub/secret"];
    pair.write_all(&kept);
    for path in mine {
        write(&pair.root.join(path), "mine");
    }
    let theirs = tree([("y.tmp", "theirs"), ("build/theirs", "theirs"), ("sub/y.log", "theirs")]);
    pair.put_all(&theirs).await;
    let agent = pair.start().await;

    let mut remote = kept.clone();
    remote.extend(theirs.clone());
    let mut local = kept;
    local.extend(mine.map(|path| (path.to_owned(), "mine".into())));
    let hold = async || {
        wait::until("each side holds its own", async || {
            wait::hold(pair.local() == local && pair.remote().await == remote, format!("{:?}", pair.local()))
        })
        .await;
    };
    hold().await;
    // Nor when they change while it watches.
    write(&pair.root.join("x.tmp"), "mine");
    write(&pair.root.join("new.log"), "mine");
    fs::remove_file(pair.root.join("new.log")).unwrap();
    agent.in_step(MIRROR).await;
    hold().await;
    assert_eq!(agent.mirror(MIRROR)["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synced_file_that_becomes_ignored_stays_in_the_bucket_when_it_is_deleted_here() {
    let pair = Pair::new().await;
    pair.write_all(&tree([("a.log", "was synced"), ("b.txt", "is synced")]));
    let agent = pair.start().await;
    write(&pair.root.join(".gosyncignore"), "*.log\n");
    pair.goes_up(".gosyncignore").await;
    agent.in_step(MIRROR).await;
    fs::remove_file(pair.root.join("a.log")).unwrap();
    fs::remove_file(pair.root.join("b.txt")).unwrap();
    wait::until("the other's delete goes up", async || {
        wait::hold(pair.bucket.head("docs/b.txt").await.is_none(), "still there")
    })
    .await;
    agent.in_step(MIRROR).await;
    assert!(pair.bucket.head("docs/a.log").await.is_some());
    assert!(!pair.root.join("a.log").exists());
}

/// Whoever writes a rule and then the file that it is for has not been slow: both come in one burst of events.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_an_ignore_file_just_written_speaks_of_never_leaves() {
    let pair = Pair::new().await;
    for number in 0..10 {
        write(&pair.root.join(format!("sub{number}/deep/there")), "an existing folder");
    }
    let agent = pair.start().await;
    // One folder after the other, the root in their midst, with all that the agent does meanwhile.
    for number in 0..10 {
        let folder = if number == 5 { String::new() } else { format!("sub{number}/") };
        write(&pair.root.join(format!("{folder}.gosyncignore")), format!("secret{number}\n*.log\n"));
        write(&pair.root.join(format!("{folder}secret{number}")), "stays here");
        write(&pair.root.join(format!("{folder}deep/a.log")), "stays here");
        let travels = format!("{folder}travels");
        write(&pair.root.join(&travels), "goes up");
        pair.goes_up(&travels).await;
    }
    // The same for a rule that is added to a file that was known.
    write(&pair.root.join("sub0/.gosyncignore"), "secret0\n*.log\nlate\n");
    write(&pair.root.join("sub0/late"), "stays here");
    agent.in_step(MIRROR).await;

    let sent: Vec<String> = pair.transfers();
    let ignored = |name: &String| ["secret", ".log", "late"].iter().any(|part| name.contains(part));
    assert_eq!(sent.iter().filter(|request| ignored(request)).collect::<Vec<_>>(), [&""; 0]);
    let remote = pair.remote().await;
    assert_eq!(remote.keys().filter(|path| ignored(path)).collect::<Vec<_>>(), [&""; 0]);
    assert_eq!(remote.len(), 10 + 10 + 10, "the rules, what was there, what travels: {:?}", remote.keys());
    for number in (0..10).filter(|number| *number != 5) {
        assert_eq!(fs::read(pair.root.join(format!("sub{number}/secret{number}"))).unwrap(), b"stays here");
    }
}

/// An editor empties the file or moves it away before it writes it anew. The rules of before hold until it is done.
#[tokio::test(flavor = "multi_thread")]
async fn rules_hold_while_their_file_is_being_saved_and_end_when_it_is_gone() {
    let pair = Pair::new().await;
    let rules = pair.root.join(".gosyncignore");
    write(&rules, "secret\n");
    write(&pair.root.join("secret"), "stays here");
    let agent = pair.start().await;
    let notice = async |round: &str| {
        // Looked at, not only left where it was.
        write(&pair.root.join("secret"), round);
        write(&pair.root.join(round), "goes up");
        pair.goes_up(round).await;
        agent.in_step(MIRROR).await;
        assert_eq!(pair.bucket.head("docs/secret").await, None, "{round}");
    };

    let mut open = fs::File::create(&rules).unwrap();
    write(&pair.root.join("secret"), "while it is emptied");
    write(&pair.root.join("emptied"), "goes up");
    pair.goes_up("emptied").await;
    assert_eq!(pair.bucket.head("docs/secret").await, None);
    open.write_all(b"secret\nother\n").unwrap();
    drop(open);
    notice("saved").await;

    fs::rename(&rules, pair.root.join("backup")).unwrap();
    write(&pair.root.join("secret"), "while it is away");
    write(&pair.root.join("away"), "goes up");
    pair.goes_up("away").await;
    assert_eq!(pair.bucket.head("docs/secret").await, None);
    write(&rules, "secret\n");
    notice("back").await;

    fs::remove_file(&rules).unwrap();
    pair.goes_up("secret").await;
}

/// While nobody ran, too: what changed meanwhile is known from hints before the first walk has read the rules.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_was_written_while_nobody_ran_holds_from_the_start() {
    let pair = Pair::new().await;
    write(&pair.root.join("sub/there"), "an existing folder");
    let mut agent = pair.start().await;
    agent.stop().await;
    write(&pair.root.join("sub/.gosyncignore"), "secret*\n");
    write(&pair.root.join("sub/secret0"), "stays here");
    agent.relaunch();
    // At its start, as soon as it watches and before: all of them are ignored.
    for number in 1..50 {
        write(&pair.root.join(format!("sub/secret{number}")), "stays here");
    }
    agent.answering().await;
    write(&pair.root.join("sub/travels"), "goes up");
    pair.goes_up("sub/travels").await;
    agent.in_step(MIRROR).await;
    let remote: Vec<String> = pair.remote().await.into_keys().collect();
    assert_eq!(remote, ["sub/.gosyncignore", "sub/there", "sub/travels"]);
    assert_eq!(pair.transfers().iter().filter(|request| request.contains("secret")).count(), 0);
}
