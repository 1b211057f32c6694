//! Mirrors that work one way, and who wins where both sides changed a file.

use std::fs;
use std::path::Path;

use gosync_tests::agent::Agent;
use gosync_tests::pair::{MIRROR, Pair, Tree, write};
use gosync_tests::wait;
use serde_json::{Value, json};

/// A pair whose mirror has these further settings.
async fn pair_with(settings: &[(&str, &str)]) -> Pair {
    let mut pair = Pair::new().await;
    for (key, value) in settings {
        pair.config["syncs"][0][*key] = json!(value);
    }
    pair
}

fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned().into())).collect()
}

/// Whatever was asked of the store that could have changed anything, the probe's requests included.
fn writes(pair: &Pair) -> Vec<String> {
    pair.proxy.seen().iter().filter(|seen| seen.kind.writes()).map(ToString::to_string).collect()
}

/// The paths that the mirror shows in this state.
fn shown(mirror: &Value, state: &str) -> Vec<String> {
    let notes = mirror["paths"].as_array().into_iter().flatten();
    let mut paths: Vec<String> =
        notes.filter(|note| note["state"] == state).map(|note| note["path"].as_str().unwrap().to_owned()).collect();
    paths.sort();
    paths
}

async fn holds(what: &str, folder: &Path, expected: &Tree) {
    wait::until(what, async || {
        let found = gosync_tests::pair::contents(folder);
        wait::hold(found == *expected, format!("{found:?}"))
    })
    .await;
}

/// The contents in the trash.
fn trashed(pair: &Pair) -> Vec<String> {
    let mut files: Vec<String> = gosync_tests::pair::contents(&pair.root.join(".gosync/trash"))
        .into_values()
        .map(|content| String::from_utf8(content.to_vec()).unwrap())
        .collect();
    files.sort();
    files
}

// ---- pull -----------------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_only_receives_follows_the_bucket_and_never_writes_to_it() {
    let pair = pair_with(&[("direction", "pull")]).await;
    let there = tree(&[("edited", "1"), ("lost", "2"), ("deleted there", "3"), ("changed there", "4")]);
    pair.put_all(&there).await;
    write(&pair.root.join("only here"), "mine");
    let agent = pair.start().await;
    let mut here = there.clone();
    here.insert("only here".into(), "mine".into());
    holds("all comes down", &pair.root, &here).await;

    write(&pair.root.join("edited"), "edited here");
    fs::remove_file(pair.root.join("lost")).unwrap();
    pair.delete_all(["deleted there"]).await;
    pair.bucket.put("docs/changed there", "5").await;
    here.insert("edited".into(), "edited here".into());
    here.insert("changed there".into(), "5".into());
    here.remove("deleted there");
    holds("what was lost comes back, edits stay, the bucket is followed", &pair.root, &here).await;

    pair.bucket.put("docs/edited", "edited there").await;
    wait::until("the object takes the name", async || {
        let found = fs::read_to_string(pair.root.join("edited")).unwrap_or_default();
        wait::hold(found == "edited there", found)
    })
    .await;
    let copies: Vec<_> = pair.local().into_iter().filter(|(path, _)| path.contains(".conflict-")).collect();
    assert_eq!(copies.len(), 1, "{copies:?}");
    assert_eq!(copies[0].1, "edited here");
    let listed = agent.ask(&["sync", "conflicts", MIRROR]);
    assert_eq!(
        (&listed["conflicts"][0]["path"], &listed["conflicts"][0]["copy"]),
        (&json!("edited"), &json!(copies[0].0))
    );
    agent.until(MIRROR, "it is counted", |mirror| mirror["conflicts"] == 1).await;
    agent.in_step(MIRROR).await;
    pair.four_checks().await;
    assert_eq!(writes(&pair), Vec::<String>::new());
}

// ---- push -----------------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_only_sends_leaves_alone_what_others_write_and_tells_it() {
    let pair = pair_with(&[("direction", "push")]).await;
    pair.write_all(&tree(&[("kept", "1"), ("rewritten", "2"), ("removed there", "3"), ("removed here", "4")]));
    let agent = pair.start().await;
    let sent = pair.local();
    wait::until("all goes up", async || {
        let found = pair.remote().await;
        wait::hold(found == sent, format!("{found:?}"))
    })
    .await;

    pair.bucket.put("docs/foreign", "not ours").await;
    pair.bucket.put("docs/rewritten", "by somebody else").await;
    pair.delete_all(["removed there"]).await;
    fs::remove_file(pair.root.join("removed here")).unwrap();
    let expected =
        tree(&[("kept", "1"), ("rewritten", "by somebody else"), ("removed there", "3"), ("foreign", "not ours")]);
    wait::until("what was removed there is sent again", async || {
        let found = pair.remote().await;
        wait::hold(found == expected, format!("{found:?}"))
    })
    .await;
    agent
        .until(MIRROR, "both are shown as diverged", |mirror| shown(mirror, "diverged") == ["foreign", "rewritten"])
        .await;
    assert_eq!(pair.local(), tree(&[("kept", "1"), ("rewritten", "2"), ("removed there", "3")]));

    // An edit of such a path waits for a person.
    write(&pair.root.join("rewritten"), "edited here");
    write(&pair.root.join("kept"), "edited too");
    wait::until("the other edit goes up", async || {
        let found = pair.bucket.get("docs/kept").await;
        wait::hold(found.as_deref() == Some(b"edited too"), format!("{found:?}"))
    })
    .await;
    pair.four_checks().await;
    assert_eq!(pair.bucket.get("docs/rewritten").await.as_deref(), Some(b"by somebody else".as_slice()));

    agent.ask(&["sync", "approve", pair.root.join("rewritten").to_str().unwrap()]);
    wait::until("the folder wins", async || {
        let found = pair.bucket.get("docs/rewritten").await;
        wait::hold(found.as_deref() == Some(b"edited here"), format!("{found:?}"))
    })
    .await;
    assert_eq!(trashed(&pair), ["by somebody else"]);
    // Where the folder has nothing, nothing of it can win.
    let refused = agent.run(&["sync", "approve", pair.root.join("foreign").to_str().unwrap()]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("nothing at foreign that could win"), "{said}");
    assert_eq!(pair.bucket.get("docs/foreign").await.as_deref(), Some(b"not ours".as_slice()));
    pair.delete_all(["foreign"]).await;
    agent.until(MIRROR, "nothing is diverged any more", |mirror| shown(mirror, "diverged").is_empty()).await;
}

// ---- conflicts ------------------------------------------------------------------------------------------------------

/// Both sides change one file and one side each another; what the files hold then, and what the trash does.
async fn after_a_conflict(policy: &str) -> (Pair, Agent) {
    let pair = pair_with(&[("conflict_policy", policy)]).await;
    pair.write_all(&tree(&[("both", "old"), ("here", "old"), ("there", "old")]));
    let mut agent = pair.start().await;
    pair.both_hold(&pair.local()).await;
    agent.stop().await;
    write(&pair.root.join("both"), "changed here");
    write(&pair.root.join("here"), "changed here");
    pair.bucket.put("docs/both", "changed there").await;
    pair.bucket.put("docs/there", "changed there").await;
    agent.restart().await;
    agent.in_step(MIRROR).await;
    (pair, agent)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_bucket_wins_the_file_goes_to_the_trash() {
    let (pair, _agent) = after_a_conflict("remote-wins").await;
    pair.both_hold(&tree(&[("both", "changed there"), ("here", "changed here"), ("there", "changed there")])).await;
    wait::until("the loser is in the trash", async || {
        let found = trashed(&pair);
        wait::hold(found.contains(&"changed here".to_owned()), format!("{found:?}"))
    })
    .await;
}

/// Until nobody can write to it any more it is kept in another place than the trash.
#[tokio::test(flavor = "multi_thread")]
async fn a_loser_is_in_the_list_of_the_trash_at_once_and_comes_back() {
    let (pair, agent) = after_a_conflict("remote-wins").await;
    let listed = agent.trash();
    assert_eq!(listed.len(), 1, "{listed:#?}");
    assert_eq!((&listed[0]["path"], &listed[0]["bytes"]), (&json!("both"), &json!("changed here".len())));
    let restored = agent.ask(&["sync", "trash", "restore", listed[0]["id"].as_str().unwrap()]);
    assert_eq!(restored["failed"], json!([]), "{restored:#}");
    // Beside what has its name by now.
    let to = restored["restored"][0]["to"].as_str().unwrap();
    let expected =
        [("both", "changed there"), (to, "changed here"), ("here", "changed here"), ("there", "changed there")];
    pair.both_hold(&tree(&expected)).await;
    assert_eq!(agent.trash(), [json!(null); 0]);
    agent.in_step(MIRROR).await;
    assert_eq!(trashed(&pair), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_folder_wins_the_objects_content_goes_to_the_trash() {
    let (pair, _agent) = after_a_conflict("local-wins").await;
    pair.both_hold(&tree(&[("both", "changed here"), ("here", "changed here"), ("there", "changed there")])).await;
    assert_eq!(trashed(&pair), ["changed there"]);
}

// ---- first merges ---------------------------------------------------------------------------------------------------

/// More than the guard lets pass.
const DIFFERING: usize = 21;

/// Two trees that were never in step and hold different contents under many names; the halt of their first merge.
async fn first_merge() -> (Pair, Agent, String) {
    let pair = Pair::new().await;
    for number in 0..DIFFERING {
        write(&pair.root.join(format!("both/{number}")), "here");
        pair.bucket.put(&format!("docs/both/{number}"), "there").await;
    }
    for number in 0..DIFFERING {
        write(&pair.root.join(format!("same/{number}")), "same");
        pair.bucket.put(&format!("docs/same/{number}"), "same").await;
    }
    write(&pair.root.join("only here"), "1");
    pair.bucket.put("docs/only there", "2").await;
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    let halt = agent.halted(MIRROR, &["first-merge"]).await;
    wait::until("what only one side has is carried over", async || {
        let (local, remote) = (pair.local(), pair.remote().await);
        wait::hold(local.contains_key("only there") && remote.contains_key("only here"), "not yet")
    })
    .await;
    for number in 0..DIFFERING {
        let path = format!("both/{number}");
        assert_eq!(pair.local()[&path], "here");
        assert_eq!(pair.remote().await[&path], "there");
    }
    // What is the same on both sides is in step already: with an edit of it nothing meets.
    agent.until(MIRROR, "it is in step", |mirror| mirror["files"] == DIFFERING + 2).await;
    (pair, agent, halt)
}

/// Both sides hold the winner's content in all that differed; what else is there.
async fn joined(pair: &Pair, agent: &Agent, winner: &str) -> Tree {
    wait::until("all is joined", async || {
        let (local, remote) = (pair.local(), pair.remote().await);
        let wins = |tree: &Tree| (0..DIFFERING).all(|number| tree[&format!("both/{number}")] == winner);
        wait::hold(wins(&local) && wins(&remote) && local == remote, format!("{local:?}\n{remote:?}"))
    })
    .await;
    agent.in_step(MIRROR).await;
    let mut further = pair.local();
    further.retain(|path, _| path.contains(".conflict-"));
    further
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_merge_of_different_trees_asks_who_wins_and_the_bucket_may() {
    let (pair, agent, halt) = first_merge().await;
    let unsaid = agent.run(&["sync", "approve", &halt]);
    assert!(!unsaid.status.success() && String::from_utf8_lossy(&unsaid.stderr).contains("--answer"));
    agent.ask(&["sync", "approve", &halt, "--answer", "remote"]);
    assert_eq!(joined(&pair, &agent, "there").await, Tree::new());
    wait::until("the losers are in the trash", async || {
        let found = trashed(&pair).len();
        wait::hold(found == DIFFERING, found)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_merge_can_be_won_by_the_folder() {
    let (pair, agent, halt) = first_merge().await;
    agent.ask(&["sync", "approve", &halt, "--answer", "local"]);
    assert_eq!(joined(&pair, &agent, "here").await, Tree::new());
    assert_eq!(trashed(&pair), vec!["there"; DIFFERING]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_merge_can_keep_both() {
    let (pair, agent, halt) = first_merge().await;
    agent.ask(&["sync", "approve", &halt, "--answer", "keep-both"]);
    let copies = joined(&pair, &agent, "there").await;
    assert_eq!(copies.len(), DIFFERING);
    assert!(copies.values().all(|content| content == "here"), "{copies:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_merge_that_is_denied_pauses_the_mirror() {
    let (pair, agent, halt) = first_merge().await;
    agent.ask(&["sync", "deny", &halt]);
    write(&pair.root.join("later"), "3");
    let flush = agent.run(&["sync", "flush", MIRROR, "--wait"]);
    assert!(!flush.status.success() && !pair.remote().await.contains_key("later"), "{flush:?}");
    agent.ask(&["sync", "resume", MIRROR]);
    wait::until("what is only here goes up", async || pair.bucket.get("docs/later").await.ok_or("absent")).await;
    assert_eq!(agent.halted(MIRROR, &["first-merge"]).await, halt);
}
