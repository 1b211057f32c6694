//! Every change that one side can make to a file against every change that the other can make, all at once.

use std::fs::File;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use gosync_tests::agent::Agent;
use gosync_tests::pair::{MIRROR, PREFIX, Pair, Tree, write};
use gosync_tests::proxy::Kind;
use gosync_tests::union::is_the_union;
use gosync_tests::wait;
use rustix::process::Signal;

/// Enough that no guard asks.
const OTHERS: usize = 90;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Nothing,
    /// The same content with another time: touched here, written again in the bucket.
    Again,
    Edited,
    /// An edit that is older than what it replaces, by its own time.
    Backdated,
    /// The edit that the other side makes too.
    SameEdit,
    Deleted,
}

use Change::{Again, Backdated, Deleted, Edited, Nothing, SameEdit};

const HERE: [Change; 6] = [Nothing, Again, Edited, Backdated, SameEdit, Deleted];
/// In a bucket nobody sets times.
const THERE: [Change; 5] = [Nothing, Again, Edited, SameEdit, Deleted];

fn path(here: Change, there: Change) -> String {
    format!("{here:?}/{there:?}.txt").to_lowercase()
}

fn pairs() -> impl Iterator<Item = (Change, Change)> {
    HERE.into_iter().flat_map(|here| THERE.into_iter().map(move |there| (here, there)))
}

fn old(path: &str) -> String {
    format!("old content of {path}")
}

fn change_here(pair: &Pair, change: Change, path: &str) {
    let file = pair.root.join(path);
    let set_time = |time| File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    match change {
        Nothing => {}
        Again => set_time(long_ago),
        Edited => write(&file, format!("edited here: {path}")),
        Backdated => {
            write(&file, format!("backdated here: {path}"));
            set_time(long_ago);
        }
        SameEdit => write(&file, format!("edited alike: {path}")),
        Deleted => std::fs::remove_file(&file).unwrap(),
    }
}

async fn change_there(pair: &Pair, change: Change, path: &str) {
    let put = async |content: String| {
        pair.bucket.put(&format!("{PREFIX}{path}"), content).await;
    };
    match change {
        Nothing => {}
        Again => put(old(path)).await,
        Edited | Backdated => put(format!("edited there: {path}")).await,
        SameEdit => put(format!("edited alike: {path}")).await,
        Deleted => pair.delete_all([path]).await,
    }
}

/// Both sides hold the same files, and from then on nothing is sent.
async fn settles(pair: &Pair, agent: &Agent) -> Tree {
    let after = wait::until("both sides hold the same", async || {
        let (local, remote) = (pair.local(), pair.remote().await);
        let differ = local.iter().filter(|(path, content)| remote.get(*path) != Some(content));
        let differ: Vec<_> =
            differ.map(|(path, _)| path).chain(remote.keys().filter(|p| !local.contains_key(*p))).collect();
        if differ.is_empty() { Ok(local) } else { Err(format!("{differ:?}")) }
    })
    .await;
    agent.in_step(MIRROR).await;
    pair.proxy.forget();
    pair.four_checks().await;
    let sent = pair.requests(Kind::writes);
    assert!(sent.is_empty(), "{sent:?}");
    assert_eq!(pair.local(), after);
    after
}

/// While nobody runs, and while the agent runs but sees neither side's change before the other's.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_one_side_meets_every_change_of_the_other() {
    for running in [true, false] {
        let pair = Pair::new().await;
        pair.fill(OTHERS, 3);
        for (here, there) in pairs() {
            let path = path(here, there);
            write(&pair.root.join(&path), old(&path));
        }
        let mut before = pair.local();
        let mut agent = pair.start().await;
        pair.both_hold(&before).await;
        // The store tells the times of its objects in seconds, and without versions these tell equal contents apart.
        let written = SystemTime::now();
        wait::until("the next second", async || wait::hold(written.elapsed().unwrap().as_secs() >= 1, "not yet")).await;

        if running {
            agent.signal(Signal::STOP);
        } else {
            agent.stop().await;
        }
        for (here, there) in pairs() {
            let path = path(here, there);
            change_here(&pair, here, &path);
            change_there(&pair, there, &path).await;
        }
        // New on one side, on both with one content, on both with two.
        let created = |files: &[(&str, &str)]| -> Tree {
            files.iter().map(|(path, content)| (format!("new/{path}"), Bytes::from(content.to_string()))).collect()
        };
        pair.write_all(&created(&[("here", "1"), ("alike", "2"), ("other.txt", "created here")]));
        pair.put_all(&created(&[("there", "3"), ("alike", "2"), ("other.txt", "created there")])).await;
        let (left, right) = (pair.local(), pair.remote().await);
        if running {
            agent.signal(Signal::CONT);
        } else {
            agent.restart().await;
        }

        let after = settles(&pair, &agent).await;
        // What was written again in the bucket is no longer the object that was in step: it comes back.
        before.remove(&path(Deleted, Again)).unwrap();
        // Edited against edited, twice, each against the edit that the other side makes elsewhere, and created twice.
        assert_eq!(is_the_union(&before, [&left, &right], &after), 6, "{after:#?}");
        // Where contents differ, the bucket's has the name.
        assert_eq!(after[&path(Edited, Edited)], right[&path(Edited, Edited)]);
        assert_eq!(after["new/other.txt"], "created there");
        // What only the bucket deleted is in the trash.
        let trash = agent.trash();
        for here in [Nothing, Again] {
            let path = path(here, Deleted);
            assert!(trash.iter().any(|entry| entry["path"] == path), "{path}: {trash:#?}");
        }
        assert_eq!(agent.mirror(MIRROR)["problems"], 0);
    }
}
