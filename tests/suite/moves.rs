//! Two folders of one prefix, kept by agents of their own, in which files are renamed while the other side does the same or
//! something else: nothing is lost, both come to rest with the same, and what only got another name crosses no line.

use std::fs;
use std::path::Path;

use gosync_tests::dev_store::DevStore;
use gosync_tests::pair::{MIRROR, PREFIX, Tree, contents, write};
use gosync_tests::process::Folder;
use gosync_tests::proxy::Kind;
use gosync_tests::replica::{LONG, Replica, quiet};
use gosync_tests::stranger::Stranger;
use gosync_tests::union::is_the_union;
use gosync_tests::wait;
use rustix::process::Signal;

/// Enough that no guard asks.
const OTHERS: usize = 260;

/// What one side does with the files of a cell: `f`, and `g` in a folder with another below it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Nothing,
    ToX,
    ToY,
    /// Only the case changes.
    Case,
    /// Renamed and edited at once.
    ToXEdited,
    Edit,
    Delete,
    /// A new file under the name that the other side may choose.
    CreateX,
    /// The folder below takes the place of the one above it.
    Invert,
}

use Act::{Case, CreateX, Delete, Edit, Invert, Nothing, ToX, ToXEdited, ToY};

const ACTS: [Act; 9] = [Nothing, ToX, ToY, Case, ToXEdited, Edit, Delete, CreateX, Invert];
const RENAMES: [Act; 4] = [ToX, ToY, Case, Invert];

fn cell(left: Act, right: Act) -> String {
    format!("{left:?}-{right:?}")
}

fn cells() -> impl Iterator<Item = (Act, Act)> {
    ACTS.into_iter().flat_map(|left| ACTS.into_iter().map(move |right| (left, right)))
}

fn act(place: &Path, side: &str, act: Act) {
    let rename = |from: &str, to: &str| fs::rename(place.join(from), place.join(to)).unwrap();
    let new = |what: &str| format!("{what} on the {side} in {}", place.file_name().unwrap().display());
    match act {
        Nothing => {}
        ToX => rename("f", "x"),
        ToY => rename("f", "y"),
        Case => rename("f", "F"),
        ToXEdited => {
            rename("f", "x");
            write(&place.join("x"), new("renamed and edited"));
        }
        Edit => {
            write(&place.join("f"), new("edited"));
            write(&place.join("a/b/g"), new("g edited"));
        }
        Delete => {
            fs::remove_file(place.join("f")).unwrap();
            fs::remove_dir_all(place.join("a")).unwrap();
        }
        CreateX => write(&place.join("x"), new("created")),
        Invert => {
            rename("a/b", "b");
            rename("a", "b/a");
        }
    }
}

async fn two_replicas(folder: &Folder, bucket: &Stranger) -> [Replica; 2] {
    let in_step = async |name: &str| {
        let replica = Replica::start(folder, name, bucket).await;
        wait::until_within(LONG, &format!("{name} is in step"), async || {
            let flush = replica.agent.flush(MIRROR, "60s");
            wait::hold(flush.code == Some(0), flush.told)
        })
        .await;
        replica
    };
    [in_step("left").await, in_step("right").await]
}

/// Both folders and the bucket hold the same: returned.
async fn meet(replicas: &[Replica; 2], bucket: &Stranger) -> Tree {
    wait::until_within(LONG, "both folders and the bucket hold the same", async || {
        let [left, right] = replicas.each_ref().map(|replica| contents(&replica.root));
        let differ = left.iter().filter(|(path, content)| right.get(*path) != Some(content)).map(|(path, _)| path);
        let differ: Vec<_> = differ.chain(right.keys().filter(|path| !left.contains_key(*path))).take(10).collect();
        wait::hold(differ.is_empty(), format!("the folders: {differ:?}"))?;
        let mut keys = bucket.keys(PREFIX).await;
        keys.retain(|key| !key.contains("/.gosync/"));
        let local = left.keys().map(|path| format!("{PREFIX}{path}"));
        wait::hold(local.eq(keys.iter().cloned()), format!("{} local files, {} objects", left.len(), keys.len()))?;
        let mut remote = bucket.contents(PREFIX).await;
        remote.retain(|path, _| !path.starts_with(".gosync/"));
        if remote == left { Ok(left) } else { Err("the bucket has other contents".to_owned()) }
    })
    .await
}

/// While nobody runs, and while both agents run but see nothing before all is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_rename_meets_whatever_the_other_side_did_and_nothing_is_lost() {
    for running in [true, false] {
        let store = DevStore::start().await;
        let bucket = store.bucket("bucket").await;
        let folder = Folder::new("moves");
        let root = Replica::root(&folder, "left");
        for number in 0..OTHERS {
            write(&root.join(format!("others/{number}")), format!("content {number}"));
        }
        for (left, right) in cells() {
            let name = cell(left, right);
            for path in ["f", "a/in a", "a/b/g"] {
                write(&root.join(&name).join(path), format!("{path} of {name}"));
            }
        }
        let mut replicas = two_replicas(&folder, &bucket).await;
        let before = meet(&replicas, &bucket).await;

        for replica in &mut replicas {
            if running {
                replica.agent.signal(Signal::STOP);
            } else {
                replica.agent.stop().await;
            }
        }
        for (left, right) in cells() {
            act(&replicas[0].root.join(cell(left, right)), "left", left);
            act(&replicas[1].root.join(cell(left, right)), "right", right);
        }
        let edited = replicas.each_ref().map(|replica| contents(&replica.root));
        for replica in &mut replicas {
            replica.proxy.forget();
            if running {
                replica.agent.signal(Signal::CONT);
            } else {
                replica.agent.restart().await;
            }
        }
        let after = meet(&replicas, &bucket).await;
        // Both edited `f` and `g`, or made an `x` each.
        let made = [ToX, ToXEdited, CreateX];
        let twice = |left: Act, right: Act| match (left, right) {
            (Edit, Edit) => 2,
            (ToX, ToX) => 0,
            _ => usize::from(made.contains(&left) && made.contains(&right)),
        };
        let conflicts: usize = cells().map(|(left, right)| twice(left, right)).sum();
        assert_eq!(is_the_union(&before, edited.each_ref(), &after), conflicts);

        // What one side renamed and the other left alone was neither sent nor fetched. (Of two that rename one file, the
        // second may find its object gone.)
        for (left, right) in cells().filter(|(left, right)| {
            [(left, right), (right, left)].iter().any(|(one, other)| RENAMES.contains(one) && **other == Nothing)
        }) {
            let place = format!("{PREFIX}{}/", cell(left, right));
            for replica in &replicas {
                let mut seen = replica.proxy.seen();
                seen.retain(|seen| matches!(seen.kind, Kind::Put | Kind::Get) && seen.key.starts_with(&place));
                assert!(seen.is_empty(), "{seen:?}");
            }
        }
        let [left, right] = &replicas;
        quiet(left, right).await;
    }
}

/// As large as a folder of pictures or sources. Counted before the store, for the agent that moves and for the one that follows.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_files_in_a_moved_folder_cross_no_line() {
    const FILES: usize = 10_000;
    const BYTES: usize = 200;
    let store = DevStore::start().await;
    let bucket = store.bucket("bucket").await;
    let folder = Folder::new("moved");
    for side in ["left", "right"] {
        for number in 0..FILES {
            let content = format!("{number:0BYTES$}");
            write(&Replica::root(&folder, side).join(format!("old/{}/{number:05}", number % 20)), content);
        }
    }
    let replicas = two_replicas(&folder, &bucket).await;
    let names = |replica: &Replica| {
        let mut names = gosync_tests::tree::names(&replica.root);
        names.sort();
        names
    };
    let objects = async || {
        let mut keys = bucket.keys(PREFIX).await;
        keys.retain(|key| !key.contains("/.gosync/"));
        keys.iter().map(|key| key[PREFIX.len()..].to_owned()).collect::<Vec<_>>()
    };
    let mut expected = names(&replicas[0]);
    assert_eq!(objects().await, expected);
    for replica in &replicas {
        replica.proxy.forget();
    }

    let root = &replicas[0].root;
    fs::create_dir(root.join("new")).unwrap();
    fs::rename(root.join("old"), root.join("new/place")).unwrap();
    for name in &mut expected {
        *name = name.replacen("old/", "new/place/", 1);
    }
    wait::until_within(LONG, "the folder is moved everywhere", async || {
        let [left, right] = replicas.each_ref().map(names);
        let moved = |names: &[String]| names.iter().filter(|name| name.starts_with("new/")).count();
        wait::hold(left == expected && right == expected, format!("{} of {FILES} files followed", moved(&right)))?;
        let keys = objects().await;
        wait::hold(keys == expected, format!("{} of {FILES} objects", moved(&keys)))
    })
    .await;
    // What the probe of the store's conditions does aside.
    let count = |kind: Kind| {
        let seen = replicas.iter().flat_map(|replica| replica.proxy.seen());
        seen.filter(|seen| seen.kind == kind && !seen.key.contains("/.gosync/")).count()
    };
    assert_eq!(count(Kind::Copy), FILES);
    for kind in [Kind::Put, Kind::Get, Kind::MultipartCreate] {
        assert_eq!(count(kind), 0, "{kind:?}");
    }
    for number in [0, 4_321, FILES - 1] {
        let path = format!("new/place/{}/{number:05}", number % 20);
        assert_eq!(fs::read_to_string(replicas[1].root.join(path)).unwrap(), format!("{number:0BYTES$}"));
    }
}
