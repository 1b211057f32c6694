//! How halts begin and end beside what the other rooms' tests show: each reason's own end, and answers that are refused.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use gosync_tests::agent::Agent;
use gosync_tests::mount::Mount;
use gosync_tests::pair::{MIRROR, PREFIX, Pair, Tree, tree, write};
use gosync_tests::process::needs_root;
use gosync_tests::wait;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

/// Over the 20 below which no guard asks.
const FILES: usize = 30;
const MIB: usize = 1 << 20;

/// A halt that has no such answer says so, and stays.
async fn refused(agent: &Agent, answer: &str, halt: &str, reason: &str) {
    let output = agent.run(&["sync", answer, halt]);
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(agent.halted(MIRROR, &[reason]).await, halt);
}

/// From then on it has this id over restarts.
async fn is_written_down(pair: &Pair, halt: &str) {
    let state = SqliteConnectOptions::new().filename(pair.home.path().join(format!("data/mirrors/{MIRROR}.db")));
    let mut state = state.connect().await.unwrap();
    wait::until("the halt is written down", async || {
        let query = sqlx::query_scalar("SELECT count(*) FROM halts WHERE id = $1").bind(halt);
        let found: i64 = query.fetch_one(&mut state).await.unwrap();
        wait::hold(found == 1, found)
    })
    .await;
    state.close().await.unwrap();
}

/// Waits until the object of the path holds this.
async fn goes_up_as(pair: &Pair, path: &str, content: &str) {
    wait::until(&format!("{path} goes up"), async || {
        let found = pair.bucket.get(&format!("{PREFIX}{path}")).await;
        wait::hold(found.as_deref() == Some(content.as_bytes()), format!("{found:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_are_put_back_end_the_halt_of_an_emptied_bucket() {
    let (pair, agent, expected) = Pair::filled(FILES).await;
    pair.delete_all(expected.keys()).await;
    agent.halted(MIRROR, &["remote-emptied"]).await;
    pair.put_all(&expected).await;
    agent.in_step(MIRROR).await;
    pair.both_hold(&expected).await;
    assert_eq!(agent.trash().len(), 0);
}

/// Where a folder stood there is a file, or a link to another folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_whose_place_a_file_or_a_link_takes_deletes_nothing() {
    for link in [false, true] {
        for running in [true, false] {
            let (pair, mut agent, expected) = Pair::filled(FILES).await;
            let aside = pair.home.path().join("aside");
            let elsewhere = pair.home.dir("elsewhere");
            write(&elsewhere.join("foreign"), "not of this mirror");
            agent
                .meanwhile(running, || {
                    fs::rename(&pair.root, &aside).unwrap();
                    if link {
                        symlink(&elsewhere, &pair.root).unwrap();
                    } else {
                        write(&pair.root, "a file now");
                    }
                })
                .await;
            let reason = ["root-missing", "root-replaced"];
            let halt = agent.halted(MIRROR, &reason).await;
            if agent.mirror(MIRROR)["halts"][0]["reason"] == "root-missing" {
                for answer in ["approve", "deny"] {
                    refused(&agent, answer, &halt, "root-missing").await;
                }
            }
            pair.bucket_keeps(&expected).await;
            assert!(!pair.remote().await.contains_key("foreign"), "somebody else's file went up");
            assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1, "written into somebody else's folder");

            fs::remove_file(&pair.root).unwrap();
            fs::rename(&aside, &pair.root).unwrap();
            agent.in_step(MIRROR).await;
            pair.both_hold(&expected).await;
            pair.bucket_keeps(&expected).await;
        }
    }
}

/// The marker of another volume: somebody mounted the wrong one, or restored another one's copy.
#[tokio::test(flavor = "multi_thread")]
async fn another_volume_in_the_roots_place_waits_until_the_old_one_is_back_or_it_is_approved() {
    let (pair, mut agent, mut expected) = Pair::filled(FILES).await;
    let aside = pair.home.path().join("aside");
    agent
        .meanwhile(false, || {
            fs::rename(&pair.root, &aside).unwrap();
            write(&pair.root.join("foreign"), "of another volume");
            let marker = fs::read_to_string(aside.join(".gosync/marker")).unwrap();
            let mut marker: serde_json::Value = serde_json::from_str(&marker).unwrap();
            marker["uuid"] = json!("00000000-0000-4000-8000-000000000000");
            write(&pair.root.join(".gosync/marker"), marker.to_string());
        })
        .await;
    let halt = agent.halted(MIRROR, &["volume-changed"]).await;
    // Denied or not, it stays as it is.
    refused(&agent, "deny", &halt, "volume-changed").await;
    assert_eq!(pair.local().into_keys().collect::<Vec<_>>(), ["foreign"]);
    pair.bucket_keeps(&expected).await;

    let other = pair.home.path().join("other");
    fs::rename(&pair.root, &other).unwrap();
    fs::rename(&aside, &pair.root).unwrap();
    agent.in_step(MIRROR).await;
    pair.both_hold(&expected).await;

    // Once more, and this time it is meant.
    agent
        .meanwhile(false, || {
            fs::rename(&pair.root, &aside).unwrap();
            fs::rename(&other, &pair.root).unwrap();
        })
        .await;
    let halt = agent.halted(MIRROR, &["volume-changed"]).await;
    agent.ask(&["sync", "approve", &halt]);
    agent.in_step(MIRROR).await;
    expected.insert("foreign".to_owned(), "of another volume".into());
    pair.both_hold(&expected).await;
    assert_eq!(pair.deletes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_trash_goes_on_when_there_is_room_again() {
    if !needs_root("a small file system is mounted") {
        return;
    }
    let mut pair = Pair::new().await;
    let _disk = Mount::tmpfs_of(&pair.root, 24 * MIB);
    pair.config["sync"]["min_free"] = json!({"percent": 5, "bytes": "1MiB"});
    let files: Tree = (0..3).map(|number| (format!("big/{number}"), vec![number; 4 * MIB].into())).collect();
    pair.write_all(&files);
    let agent = pair.start().await;
    pair.both_hold(&files).await;
    pair.delete_all(files.keys()).await;
    wait::until("the files are in the trash", async || {
        let found = agent.trash().len();
        wait::hold(found == 3, found)
    })
    .await;
    pair.bucket.put("docs/new", vec![9; 14 * MIB]).await;
    let halt = agent.halted(MIRROR, &["trash-full"]).await;
    refused(&agent, "deny", &halt, "trash-full").await;
    // What needs little room and takes nobody's place goes on, both ways, and so do edits.
    write(&pair.root.join("small"), "new");
    pair.goes_up("small").await;
    write(&pair.root.join("small"), "goes up");
    goes_up_as(&pair, "small", "goes up").await;
    pair.bucket.put("docs/small-there", "comes down").await;
    let mut expected = tree([("small", "goes up"), ("small-there", "comes down")]);
    wait::until("a small file comes down", async || {
        wait::hold(pair.local() == expected, format!("{:?}", pair.local().keys()))
    })
    .await;
    assert_eq!(agent.halted(MIRROR, &["trash-full"]).await, halt);

    // A person makes room elsewhere: here by taking one out of the trash by hand.
    let trash = pair.root.join(".gosync/trash");
    let taken: BTreeMap<_, _> = gosync_tests::pair::contents(&trash);
    let (first, second) = {
        let mut big = taken.iter().filter(|(_, content)| content.len() == 4 * MIB).map(|(path, _)| path);
        (big.next().unwrap(), big.next().unwrap())
    };
    fs::remove_file(trash.join(first)).unwrap();
    fs::remove_file(trash.join(second)).unwrap();
    expected.insert("new".to_owned(), vec![9; 14 * MIB].into());
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
    assert_eq!(agent.mirror(MIRROR)["halts"], json!([]));
}

/// The marker alone says nothing of the files: where none of many is left at one look, a person is asked.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_all_gone_from_beside_their_marker_are_an_emptied_root() {
    let (pair, mut agent, mut expected) = Pair::filled(FILES).await;
    let aside = pair.home.dir("aside");
    let folders = ["d0", "d1", "d2"];
    let move_all = |from: &Path, to: &Path| {
        for name in folders {
            fs::rename(from.join(name), to.join(name)).unwrap();
        }
    };
    agent.meanwhile(false, || move_all(&pair.root, &aside)).await;
    let halt = agent.halted(MIRROR, &["root-emptied"]).await;
    // Nothing comes down into it, and nothing goes up from it.
    pair.bucket.put("docs/while-away", "later").await;
    write(&pair.root.join("here"), "waits");
    is_written_down(&pair, &halt).await;
    agent.kill();
    agent.restart().await;
    assert_eq!(agent.halted(MIRROR, &["root-emptied"]).await, halt);
    assert_eq!(agent.run(&["sync", "flush", MIRROR, "--wait"]).status.code(), Some(7));
    assert_eq!(pair.local(), tree([("here", "waits")]));
    assert!(!pair.remote().await.contains_key("here"));
    pair.bucket_keeps(&expected).await;

    move_all(&aside, &pair.root);
    agent.in_step(MIRROR).await;
    expected.extend(tree([("here", "waits"), ("while-away", "later")]));
    pair.both_hold(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_root_that_is_denied_stays_halted_until_the_old_one_is_back() {
    let (pair, mut agent, expected) = Pair::filled(FILES).await;
    let aside = pair.home.path().join("aside");
    agent
        .meanwhile(false, || {
            fs::rename(&pair.root, &aside).unwrap();
            write(&pair.root.join("foreign"), "not of this mirror");
        })
        .await;
    let halt = agent.halted(MIRROR, &["root-replaced"]).await;
    refused(&agent, "deny", &halt, "root-replaced").await;
    pair.bucket_keeps(&expected).await;
    fs::remove_dir_all(&pair.root).unwrap();
    fs::rename(&aside, &pair.root).unwrap();
    agent.in_step(MIRROR).await;
    pair.both_hold(&expected).await;
}

/// So few files that no other guard has a say: what the agent itself has sent since is no object that is back.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_an_emptied_bucket_does_not_end_its_halt() {
    const SOME: usize = 10;
    for restarted in [false, true] {
        let (pair, mut agent, mut expected) = Pair::filled(SOME).await;
        pair.delete_all(expected.keys()).await;
        let halt = agent.halted(MIRROR, &["remote-emptied"]).await;
        // A creation, and an edit of what is gone there.
        write(&pair.root.join("new"), "goes up");
        goes_up_as(&pair, "new", "goes up").await;
        write(&pair.root.join("d0/f0000"), "edited");
        goes_up_as(&pair, "d0/f0000", "edited").await;
        expected.extend(tree([("new", "goes up"), ("d0/f0000", "edited")]));
        if restarted {
            agent.kill();
            agent.restart().await;
        }
        pair.four_checks().await;
        assert_eq!(agent.halted(MIRROR, &["remote-emptied"]).await, halt);
        // One object that somebody has put there is not all of them either.
        pair.bucket.put("docs/theirs", "comes down").await;
        expected.extend(tree([("theirs", "comes down")]));
        wait::until("it comes down", async || {
            wait::hold(pair.local() == expected, format!("{:?}", pair.local().keys()))
        })
        .await;
        pair.four_checks().await;
        assert_eq!(agent.halted(MIRROR, &["remote-emptied"]).await, halt);
        assert_eq!(pair.local(), expected);

        agent.ask(&["sync", "deny", &halt]);
        pair.both_hold(&expected).await;
        agent.in_step(MIRROR).await;
        assert_eq!(agent.mirror(MIRROR)["halts"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn creations_go_both_ways_while_many_deletes_wait_and_overwrites_wait_with_them() {
    let (pair, agent, mut expected) = Pair::filled(FILES).await;
    for number in 0..25 {
        fs::remove_file(pair.root.join(format!("d{}/f{number:04}", number % 3))).unwrap();
    }
    let halt = agent.halted(MIRROR, &["too-many-deletes"]).await;
    pair.bucket.put("docs/theirs", "comes down").await;
    pair.bucket.put("docs/d2/f0029", "overwritten there").await;
    write(&pair.root.join("mine"), "goes up");
    write(&pair.root.join("d1/f0028"), "edited");
    goes_up_as(&pair, "mine", "goes up").await;
    goes_up_as(&pair, "d1/f0028", "edited").await;
    wait::until("the creation comes down", async || wait::hold(pair.root.join("theirs").exists(), "not yet")).await;
    pair.four_checks().await;
    assert_eq!(fs::read(pair.root.join("d2/f0029")).unwrap(), expected["d2/f0029"]);
    assert_eq!(agent.halted(MIRROR, &["too-many-deletes"]).await, halt);

    agent.ask(&["sync", "deny", &halt]);
    expected.extend(tree([
        ("theirs", "comes down"),
        ("d2/f0029", "overwritten there"),
        ("mine", "goes up"),
        ("d1/f0028", "edited"),
    ]));
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
}

/// Nobody knows whether the old contents that are back are all of them: a person says when it is over.
#[tokio::test(flavor = "multi_thread")]
async fn the_halt_of_everything_changed_does_not_end_by_itself() {
    let (pair, mut agent, expected) = Pair::filled(FILES).await;
    agent
        .meanwhile(false, || {
            for path in expected.keys() {
                write(&pair.root.join(path), "encrypted, pay here");
            }
        })
        .await;
    let halt = agent.halted(MIRROR, &["everything-changed"]).await;
    pair.write_all(&expected);
    pair.four_checks().await;
    agent.kill();
    agent.restart().await;
    pair.four_checks().await;
    assert_eq!(agent.halted(MIRROR, &["everything-changed"]).await, halt);
    agent.ask(&["sync", "approve", &halt]);
    agent.in_step(MIRROR).await;
    pair.both_hold(&expected).await;
    assert_eq!(pair.deletes(), 0);
}
