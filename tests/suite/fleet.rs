//! Agents that share their metadata in Postgres are as one: what one does is with the others without a listing, and the
//! bucket is listed by one of them.

use std::fs;
use std::process::Command;
use std::time::Duration;

use gosync_tests::fleet::{Fleet, Member};
use gosync_tests::pair::{MIRROR, PREFIX, Tree, contents, tree};
use gosync_tests::postgres::Postgres;
use gosync_tests::proxy::Kind;
use gosync_tests::redis::Redis;
use gosync_tests::replica::LONG;
use gosync_tests::wait;
use rustix::process::Signal;
use serde_json::json;
use sqlx::Row as _;

/// So long that nothing in a test is ever found by a listing.
fn never_lists(config: &mut serde_json::Value) {
    config["sync"]["interval"] = json!("1h");
}

async fn two(fleet: &Fleet) -> (Member, Member) {
    let (left, right) = (fleet.join_with("left", never_lists).await, fleet.join_with("right", never_lists).await);
    left.hydrated().await;
    right.hydrated().await;
    (left, right)
}

async fn epoch(fleet: &Fleet) -> String {
    let mut connection = fleet.database.connect().await;
    sqlx::query("SELECT epoch FROM stores").fetch_one(&mut connection).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_agent_writes_edits_renames_and_deletes_is_with_the_others_without_a_listing() {
    let fleet = Fleet::new().await;
    let (left, right) = two(&fleet).await;
    let listed = fleet.listings();

    left.write("a", "one");
    left.write("folder/b", "two");
    fleet.all_hold(&[&left, &right], &tree([("a", "one"), ("folder/b", "two")])).await;
    right.write("a", "edited there");
    fleet.all_hold(&[&left, &right], &tree([("a", "edited there"), ("folder/b", "two")])).await;
    fs::rename(left.root.join("folder"), left.root.join("moved")).unwrap();
    fleet.all_hold(&[&left, &right], &tree([("a", "edited there"), ("moved/b", "two")])).await;
    right.delete("a");
    fleet.all_hold(&[&left, &right], &tree([("moved/b", "two")])).await;

    assert_eq!(fleet.listings(), listed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_file_is_one_rename_in_the_feed() {
    let fleet = Fleet::new().await;
    let (left, right) = two(&fleet).await;
    left.write("a", "one");
    fleet.all_hold(&[&left, &right], &tree([("a", "one")])).await;
    fs::rename(left.root.join("a"), left.root.join("b")).unwrap();
    fleet.all_hold(&[&left, &right], &tree([("b", "one")])).await;
    left.flushed().await;

    let mut connection = fleet.database.connect().await;
    let changes = sqlx::query("SELECT change_type, old_path, new_path FROM file_changes ORDER BY seq");
    let changes = changes.fetch_all(&mut connection).await.unwrap();
    let told: Vec<(String, Option<String>, Option<String>)> =
        changes.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let path = |path: &str| Some(format!("/docs/{path}"));
    assert_eq!(
        told,
        [
            ("CREATE".to_owned(), None, path("a")),
            ("CREATE".to_owned(), None, path("b")),
            ("RENAME".to_owned(), path("a"), path("b")),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_tell_what_each_replica_is_configured_to() {
    let fleet = Fleet::new().await;
    let _both = two(&fleet).await;
    let mut connection = fleet.database.connect().await;
    wait::until("both have their row", async || {
        let rows = sqlx::query("SELECT name, local_path, s3_path, bidirectional, status FROM sync_configs ORDER BY 2");
        let rows = rows.fetch_all(&mut connection).await.unwrap();
        let told: Vec<(String, String, String, bool, String)> =
            rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect();
        let row = |name: &str| {
            let local = fleet.root(name).display().to_string();
            (MIRROR.to_owned(), local, "s3://bucket/docs".to_owned(), true, "active".to_owned())
        };
        wait::hold(told == [row("left"), row("right")], format!("{told:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_agent_lists_for_all_and_what_a_stranger_does_is_with_all() {
    let fleet = Fleet::new().await;
    let mut members = Vec::new();
    for name in ["one", "two", "three", "four"] {
        members.push(fleet.join(name).await);
    }
    let all: Vec<&Member> = members.iter().collect();
    fleet.bucket.put("docs/new", "from outside").await;
    fleet.all_hold(&all, &tree([("new", "from outside")])).await;
    fleet.bucket.put("docs/new", "edited outside").await;
    fleet.all_hold(&all, &tree([("new", "edited outside")])).await;
    fleet.bucket.delete("docs/new").await;
    fleet.all_hold(&all, &Tree::new()).await;

    let lists = || all.iter().filter(|member| member.state()["feed"]["lists"] == true).count();
    assert_eq!(lists(), 1);
    // One listing a second, whoever makes it.
    let before = fleet.listings();
    let started = std::time::Instant::now();
    wait::until("five listings", async || {
        let seen = fleet.listings() - before;
        wait::hold(seen >= 5, seen)
    })
    .await;
    let seconds = started.elapsed().as_secs() as usize;
    assert!(fleet.listings() - before <= seconds + 2, "{} in {seconds} s", fleet.listings() - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_agent_lists_when_the_one_that_did_is_gone() {
    let fleet = Fleet::new().await;
    let mut first = fleet.join("first").await;
    first.hydrated().await;
    let second = fleet.join("second").await;
    second.hydrated().await;
    first.agent.until(MIRROR, "it lists", |mirror| mirror["feed"]["lists"] == true).await;

    first.agent.kill();
    fleet.bucket.put("docs/new", "from outside").await;
    fleet.all_hold(&[&second], &tree([("new", "from outside")])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_on_both_sides_meet_as_a_conflict_and_nothing_is_lost() {
    let fleet = Fleet::new().await;
    let (left, right) = two(&fleet).await;
    left.write("a", "one");
    fleet.all_hold(&[&left, &right], &tree([("a", "one")])).await;
    for member in [&left, &right] {
        member.agent.signal(Signal::STOP);
    }
    left.write("a", "of the left one");
    right.write("a", "of the right one");
    for member in [&left, &right] {
        member.agent.signal(Signal::CONT);
    }
    wait::until("both contents are everywhere", async || {
        for tree in [contents(&left.root), contents(&right.root), fleet.remote().await] {
            let mut held: Vec<_> = tree.values().cloned().collect();
            held.sort();
            wait::hold(held == ["of the left one", "of the right one"], format!("{tree:?}"))?;
        }
        Ok::<(), String>(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_agent_hydrates_from_the_rows_and_a_restarted_one_asks_the_bucket_for_nothing() {
    let fleet = Fleet::new().await;
    let left = fleet.join_with("left", never_lists).await;
    let expected: Tree = (0..300).map(|n| (format!("d{}/f{n}", n % 7), format!("content {n}").into())).collect();
    for (path, content) in &expected {
        left.write(path, content);
    }
    left.flushed().await;
    let listed = fleet.listings();
    let mut right = fleet.join_with("right", never_lists).await;
    right.hydrated().await;
    fleet.all_hold(&[&left, &right], &expected).await;
    assert_eq!(fleet.listings(), listed);

    right.agent.stop().await;
    fleet.proxy.forget();
    right.agent.restart().await;
    right.agent.in_step(MIRROR).await;
    let of_objects = |kind| matches!(kind, Kind::List | Kind::Head | Kind::Get | Kind::Put | Kind::Delete | Kind::Copy);
    let asked: Vec<_> =
        fleet.proxy.seen().into_iter().filter(|seen| of_objects(seen.kind)).map(|seen| seen.to_string()).collect();
    assert_eq!(asked, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_a_receipts_cursor_ends_when_all_of_it_is_here() {
    let fleet = Fleet::new().await;
    let (left, right) = two(&fleet).await;
    for number in 0..50 {
        left.write(&format!("f{number}"), format!("content {number}"));
    }
    let cursor = left.flushed().await;
    let waited = right.agent.ask(&["sync", "wait", MIRROR, "--for", &cursor, "--timeout", "60s"]);
    assert_eq!(waited["mirrors"][0]["reached"], true);
    assert_eq!(contents(&right.root), contents(&left.root));
    assert_eq!(contents(&right.root).len(), 50);

    let far = right.agent.run(&["sync", "wait", "--for", "999999999", "--timeout", "1s"]);
    assert_eq!(far.status.code(), Some(1));
    let nonsense = right.agent.run(&["sync", "wait", "--for", "yesterday"]);
    assert!(!nonsense.status.success());
    assert!(String::from_utf8_lossy(&nonsense.stderr).contains("is no cursor"), "{nonsense:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_edits_still_go_up_and_are_told_when_it_is_back() {
    let mut postgres = Postgres::start(&[]).await;
    let fleet = Fleet::with(postgres.database().await, |_| {}).await;
    let (left, mut right) = two(&fleet).await;
    left.write("a", "one");
    fleet.all_hold(&[&left, &right], &tree([("a", "one")])).await;

    postgres.stop().await;
    left.agent.in_error(MIRROR, "metadata").await;
    left.write("b", "two");
    wait::until("b is in the bucket", async || fleet.bucket.head("docs/b").await.ok_or("absent")).await;
    // One that stops meanwhile brings its edits up first, and needs nothing else.
    right.write("d", "four");
    assert!(right.agent.stop().await.success());
    fleet.bucket.head("docs/d").await.unwrap();
    // One that starts meanwhile knows what it has, and waits for news.
    right.agent.restart().await;
    right.write("c", "three");
    wait::until("c is in the bucket", async || fleet.bucket.head("docs/c").await.ok_or(right.state())).await;

    postgres.restart().await;
    let expected = tree([("a", "one"), ("b", "two"), ("c", "three"), ("d", "four")]);
    fleet.all_hold(&[&left, &right], &expected).await;
    for member in [&left, &right] {
        member.agent.until(MIRROR, "no error", |mirror| mirror["errors"] == json!([])).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_loses_nothing_and_skips_nothing() {
    let postgres = Postgres::start(&[]).await;
    let fleet = Fleet::with(postgres.database().await, |_| {}).await;
    let (left, right) = (fleet.join("left").await, fleet.join("right").await);
    left.write("old", "before the backup");
    left.write("edited", "before the backup");
    fleet.all_hold(&[&left, &right], &tree([("old", "before the backup"), ("edited", "before the backup")])).await;
    postgres.back_up(&fleet.database).await;
    left.write("new", "after it");
    right.write("edited", "after it");
    left.delete("old");
    let after = tree([("new", "after it"), ("edited", "after it")]);
    fleet.all_hold(&[&left, &right], &after).await;

    postgres.restore(&fleet.database).await;
    left.write("newer", "after the restore");
    let mut expected = after;
    expected.insert("newer".to_owned(), "after the restore".into());
    fleet.all_hold(&[&left, &right], &expected).await;
    let third = fleet.join("third").await;
    fleet.all_hold(&[&left, &right, &third], &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_of_overlapping_prefixes_see_each_other() {
    let fleet = Fleet::new().await;
    let whole = fleet
        .join_with("whole", |config| {
            never_lists(config);
            config["syncs"][0]["s3_path"] = json!("/");
        })
        .await;
    let docs = fleet.join_with("docs", never_lists).await;
    whole.hydrated().await;
    docs.hydrated().await;
    docs.write("a", "from the part");
    wait::until("the whole has it", async || fs::read(whole.root.join("docs/a")).map_err(|error| error.to_string()))
        .await;
    whole.write("docs/b", "from the whole");
    wait::until("the part has it", async || fs::read(docs.root.join("b")).map_err(|error| error.to_string())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stood_still_past_its_leases_overwrites_nothing() {
    let fleet = Fleet::new().await;
    let (left, right) = (fleet.join("left").await, fleet.join("right").await);
    left.hydrated().await;
    right.hydrated().await;
    left.write("a", "one");
    fleet.all_hold(&[&left, &right], &tree([("a", "one")])).await;

    left.agent.signal(Signal::STOP);
    right.write("a", "edited meanwhile");
    right.write("b", "new meanwhile");
    // The other one lists once the lease of the one that stands still has run out.
    right.agent.until(MIRROR, "it lists", |mirror| mirror["feed"]["lists"] == true).await;
    fleet.bucket.put(&format!("{PREFIX}c"), "from outside").await;
    let expected = tree([("a", "edited meanwhile"), ("b", "new meanwhile"), ("c", "from outside")]);
    fleet.all_hold(&[&right], &expected).await;
    left.agent.signal(Signal::CONT);
    fleet.all_hold(&[&left, &right], &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deletes_of_one_agent_halt_it_and_the_others_keep_their_files() {
    let fleet = Fleet::new().await;
    let (left, right) = two(&fleet).await;
    let expected: Tree = (0..60).map(|n| (format!("f{n}"), format!("content {n}").into())).collect();
    for (path, content) in &expected {
        left.write(path, content);
    }
    fleet.all_hold(&[&left, &right], &expected).await;
    for path in expected.keys().take(50) {
        left.delete(path);
    }
    let halt = left.agent.halted(MIRROR, &["too-many-deletes"]).await;
    assert_eq!(contents(&right.root), expected);
    left.agent.ask(&["sync", "approve", &halt]);
    // Once a person has answered, nobody else asks again.
    let rest: Tree = contents(&left.root);
    assert_eq!(rest.len(), 10);
    fleet.all_hold(&[&left, &right], &rest).await;
    tokio::time::timeout(Duration::from_secs(30), right.flushed()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_of_several_agents_count_together() {
    let fleet = Fleet::new().await;
    let (left, right) = two(&fleet).await;
    let expected: Tree = (0..60).map(|n| (format!("f{n:02}"), format!("content {n}").into())).collect();
    for (path, content) in &expected {
        left.write(path, content);
    }
    fleet.all_hold(&[&left, &right], &expected).await;
    // Neither of them deletes as many as are ever asked about.
    let paths: Vec<&String> = expected.keys().collect();
    for path in &paths[..19] {
        left.delete(path);
    }
    let rest: Tree = expected.iter().skip(19).map(|(path, content)| (path.clone(), content.clone())).collect();
    fleet.all_hold(&[&left, &right], &rest).await;
    for path in &paths[19..38] {
        right.delete(path);
    }
    right.agent.halted(MIRROR, &["too-many-deletes"]).await;
    assert_eq!(fleet.remote().await, rest);
    assert_eq!(contents(&left.root), rest);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_of_several_agents_at_the_same_moment_count_together() {
    let fleet = Fleet::new().await;
    let mut members = Vec::new();
    for name in ["one", "two", "three", "four"] {
        members.push(fleet.join_with(name, never_lists).await);
    }
    let all: Vec<&Member> = members.iter().collect();
    let files: Tree = (0..100).map(|n| (format!("f{n:02}"), format!("content {n}").into())).collect();
    for (path, content) in &files {
        all[0].write(path, content);
    }
    fleet.all_hold(&all, &files).await;
    for member in &all {
        member.hydrated().await;
        member.agent.signal(Signal::STOP);
    }
    // Fifteen each are never asked about, sixty are.
    let paths: Vec<&String> = files.keys().collect();
    for (member, paths) in all.iter().zip(paths.chunks(15)) {
        paths.iter().for_each(|path| member.delete(path));
    }
    for member in &all {
        member.agent.signal(Signal::CONT);
    }
    wait::until("somebody asks", async || {
        let halts: Vec<_> = all.iter().map(|member| member.state()["halts"].clone()).collect();
        wait::hold(halts.iter().any(|halts| halts[0]["reason"] == "too-many-deletes"), format!("{halts:?}"))
    })
    .await;
    // The others have sent theirs, or ask as well.
    wait::until("nobody else deletes", async || {
        let held: Vec<_> = all.iter().map(|member| member.state()).collect();
        let waits = |state: &serde_json::Value| state["halts"] == json!([]) && state["pending"]["files"] != 0;
        wait::hold(!held.iter().any(waits), format!("{held:#?}"))
    })
    .await;
    let left = fleet.remote().await;
    assert!(left.len() >= 50, "{} of 100 are left", left.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_begins_a_new_epoch_and_what_redis_keeps_of_the_old_one_is_not_believed() {
    let (postgres, redis) = (Postgres::start(&[]).await, Redis::start().await);
    let fleet = Fleet::with(postgres.database().await, |_| {}).await;
    let settings = |config: &mut serde_json::Value| {
        never_lists(config);
        config["cache"] = json!({"enabled": true, "redis": {"host": "127.0.0.1", "port": redis.port}});
    };
    let left = fleet.join_with("left", settings).await;
    let mut right = fleet.join_with("right", settings).await;
    let before = tree([("a", "before the backup"), ("b", "before the backup")]);
    for (path, content) in &before {
        left.write(path, content);
    }
    fleet.all_hold(&[&left, &right], &before).await;
    let first = epoch(&fleet).await;
    postgres.back_up(&fleet.database).await;
    let after = tree([("a", "after it"), ("b", "before the backup"), ("c", "after it")]);
    left.write("a", "after it");
    left.write("c", "after it");
    fleet.all_hold(&[&left, &right], &after).await;
    assert_eq!(epoch(&fleet).await, first);
    let cursor = right.flushed().await;
    assert!(right.agent.stop().await.success());
    postgres.restore(&fleet.database).await;
    wait::until("another epoch", async || wait::hold(epoch(&fleet).await != first, "the same")).await;
    let second = epoch(&fleet).await;
    left.write("d", "after the restore");
    right.agent.restart().await;
    let mut expected = after;
    expected.insert("d".to_owned(), "after the restore".into());
    fleet.all_hold(&[&left, &right], &expected).await;
    let third = fleet.join_with("third", settings).await;
    fleet.all_hold(&[&left, &right, &third], &expected).await;
    let waited = third.agent.run(&["sync", "wait", MIRROR, "--for", &cursor, "--timeout", "60s"]);
    let told = String::from_utf8_lossy(&waited.stderr);
    assert!(told.contains("another history of the database"), "{told}");
    let cursor = right.flushed().await;
    third.agent.ask(&["sync", "wait", MIRROR, "--for", &cursor, "--timeout", "60s"]);
    assert_eq!(epoch(&fleet).await, second, "the one that was stopped had read an epoch that is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_stopped_while_a_backup_was_restored_notices_when_it_starts() {
    let postgres = Postgres::start(&[]).await;
    let fleet = Fleet::with(postgres.database().await, |_| {}).await;
    let mut member = fleet.join_with("only", never_lists).await;
    member.write("a", "before the backup");
    fleet.all_hold(&[&member], &tree([("a", "before the backup")])).await;
    postgres.back_up(&fleet.database).await;
    member.write("a", "after it");
    member.write("b", "after it");
    let after = tree([("a", "after it"), ("b", "after it")]);
    fleet.all_hold(&[&member], &after).await;
    wait::until_within(LONG, "it tells how far it is", async || {
        let told =
            "SELECT sync_cursor FROM sync_states JOIN stores ON head_seq::text = split_part(sync_cursor, ':', 1)";
        let found = sqlx::query(told).fetch_optional(&mut fleet.database.connect().await).await.unwrap();
        wait::hold(found.is_some(), "not yet")
    })
    .await;
    assert!(member.agent.stop().await.success());
    let first = epoch(&fleet).await;
    postgres.restore(&fleet.database).await;
    member.agent.restart().await;
    wait::until("another epoch", async || wait::hold(epoch(&fleet).await != first, "the same")).await;
    fleet.all_hold(&[&member], &after).await;
    // What the rows had forgotten is in them again.
    let another = fleet.join_with("another", never_lists).await;
    fleet.all_hold(&[&member, &another], &after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stood_in_the_way_of_anothers_file_is_followed_at_once_when_it_is_gone() {
    let fleet = Fleet::new().await;
    let (left, right) = two(&fleet).await;
    assert!(Command::new("mkfifo").arg(right.root.join("pipe")).status().unwrap().success());
    std::os::unix::fs::symlink("nowhere", right.root.join("folder")).unwrap();
    let expected = tree([("pipe", "a file elsewhere"), ("folder/file", "another one")]);
    for (path, content) in &expected {
        left.write(path, content);
    }
    fleet.all_hold(&[&left], &expected).await;
    right.agent.until(MIRROR, "both have a problem", |mirror| mirror["problems"].as_u64() >= Some(2)).await;
    // Whoever waits for it is told that it is not all there.
    let cursor = left.flushed().await;
    let waited = right.agent.run(&["sync", "wait", MIRROR, "--for", &cursor, "--timeout", "60s"]);
    assert_eq!(waited.status.code(), Some(1));
    let told = String::from_utf8_lossy(&waited.stderr);
    assert!(told.contains("pipe") && told.contains("folder/file"), "{told}");
    right.delete("pipe");
    right.delete("folder");
    fleet.all_hold(&[&left, &right], &expected).await;
    let waited = right.agent.ask(&["sync", "wait", MIRROR, "--for", &cursor, "--timeout", "60s"]);
    assert_eq!(waited["mirrors"][0]["reached"], true);
}

/// One of those who are halted still lists, and what it finds ends the halts.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_was_emptied_and_is_filled_again_goes_on_by_itself() {
    let fleet = Fleet::new().await;
    let (left, right) = (fleet.join("left").await, fleet.join("right").await);
    let mut files = Tree::new();
    for number in 0..30 {
        files.insert(format!("folder/{number}"), format!("content {number}").into());
    }
    for (path, content) in &files {
        left.write(path, content);
    }
    fleet.all_hold(&[&left, &right], &files).await;
    for path in files.keys() {
        fleet.bucket.delete(&format!("{PREFIX}{path}")).await;
    }
    for member in [&left, &right] {
        member.agent.halted(MIRROR, &["too-many-deletes", "remote-emptied"]).await;
    }
    for (path, content) in &files {
        fleet.bucket.put(&format!("{PREFIX}{path}"), content.clone()).await;
    }
    for member in [&left, &right] {
        let goes_on = |mirror: &serde_json::Value| mirror["halts"].as_array().is_some_and(Vec::is_empty);
        wait::until_within(Duration::from_secs(90), "nobody is halted any more", async || {
            let state = member.state();
            wait::hold(goes_on(&state), format!("{state:#}\n{}", member.agent.process().tail()))
        })
        .await;
        member.flushed().await;
    }
    fleet.all_hold(&[&left, &right], &files).await;
}
