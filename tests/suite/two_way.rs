//! A real tree, both ways, at its real size.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gosync_tests::pair::MIRROR;
use gosync_tests::process::Folder;
use gosync_tests::replica::{LONG, Replica, bucket, in_step, quiet};
use gosync_tests::tree::{self, Compare, File, Gardener};
use gosync_tests::union::is_the_union;
use gosync_tests::wait;
use rustix::process::Signal;
use tokio::task::spawn_blocking;

type Tree = BTreeMap<String, File>;

/// Edits, deletes, renames and new folders on each side.
const CHANGES: usize = 200;
/// Paths that both sides edit for certain.
const SURE_CONFLICTS: usize = 5;
const BYTES_MAX: usize = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_real_tree_goes_up_and_down_whole_and_edits_on_both_sides_meet() {
    let (_server, bucket) = bucket("two-way").await;
    let folder = Folder::new("two-way");
    copy_real_tree(&Replica::root(&folder, "left"));

    let left = Replica::start(&folder, "left", &bucket).await;
    let files = tree::names(&left.root).len();
    assert!(files >= 10_000, "{files} files are no large tree");
    wait::until_within(LONG, "the tree is up", async || {
        let mirror = left.agent.mirror(MIRROR);
        wait::hold(mirror["files"] == files && mirror["phase"] == "idle", mirror)
    })
    .await;
    let right = Replica::start(&folder, "right", &bucket).await;
    in_step(&left, &right, &bucket, Compare::Everything).await;

    // While the agents run.
    tend_both(&left, &right, 1).await;
    in_step(&left, &right, &bucket, Compare::Everything).await;

    // While they stand still: neither side can have seen the other's edits, so that the result is known exactly.
    let before = tree::read(&left.root);
    for replica in [&left, &right] {
        replica.agent.signal(Signal::STOP);
    }
    tend_both(&left, &right, 3).await;
    for (number, path) in before.keys().step_by(before.len() / SURE_CONFLICTS).enumerate() {
        for replica in [&left, &right] {
            let path = replica.root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, format!("edit {number} of {}", replica.root.display())).unwrap();
        }
    }
    let edited = [&left, &right].map(|replica| tree::read(&replica.root));
    for replica in [&left, &right] {
        replica.agent.signal(Signal::CONT);
    }
    in_step(&left, &right, &bucket, Compare::Everything).await;
    let [before, one, other, after] =
        [&before, &edited[0], &edited[1], &tree::read(&left.root)].map(|tree: &Tree| hashes(tree));
    assert!(is_the_union(&before, [&one, &other], &after) >= SURE_CONFLICTS);

    quiet(&left, &right).await;
}

async fn tend_both(left: &Replica, right: &Replica, seed: u64) {
    let tend = |root: PathBuf, seed| spawn_blocking(move || Gardener::new(seed).tend(&root, CHANGES, BYTES_MAX));
    let (one, other) = tokio::join!(tend(left.root.clone(), seed), tend(right.root.clone(), seed + 1));
    one.unwrap();
    other.unwrap();
}

fn hashes(tree: &Tree) -> BTreeMap<String, blake3::Hash> {
    tree.iter().map(|(path, file)| (path.clone(), file.blake3)).collect()
}

/// Go's sources, which are wherever these tests can run, since the servers are built with Go.
fn copy_real_tree(to: &Path) {
    let output = Command::new("go").args(["env", "GOROOT"]).output().unwrap();
    let source = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end()).join("src/.");
    let copied = Command::new("cp").arg("-rp").arg(source).arg(to).status().unwrap();
    assert!(copied.success());
}
