//! What only got another name crosses no line: the bucket copies its object, and whoever else has the content copies the file.

use std::fs;
use std::time::Duration;

use gosync_tests::agent::{Agent, with_mirror};
use gosync_tests::pair::{MIRROR, Pair, Tree, contents, write};
use gosync_tests::process::Folder;
use gosync_tests::proxy::{Kind, Verdict};
use gosync_tests::wait;
use serde_json::json;

const FILES: usize = 300;

/// A pair and another folder of the same prefix, kept by the same agent; both in step.
async fn two_folders() -> (Pair, Folder, Agent) {
    let mut pair = Pair::new().await;
    let other = Folder::new("other");
    pair.config = with_mirror(pair.config.take(), "other", other.path(), "/docs");
    pair.fill(FILES, 3);
    let agent = pair.start().await;
    both_hold(&pair, &other, &pair.local()).await;
    for mirror in [MIRROR, "other"] {
        agent.in_step(mirror).await;
    }
    (pair, other, agent)
}

async fn both_hold(pair: &Pair, other: &Folder, expected: &Tree) {
    wait::until("both folders and the bucket hold the same", async || {
        let (here, there, bucket) = (pair.local(), contents(other.path()), pair.remote().await);
        let differ = |tree: &Tree| expected.iter().filter(|(path, content)| tree.get(*path) != Some(content)).count();
        wait::hold(
            [&here, &there, &bucket].iter().all(|tree| *tree == expected),
            format!("{} here, {} there, {} in the bucket differ", differ(&here), differ(&there), differ(&bucket)),
        )
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_folder_sends_and_fetches_no_content() {
    let (pair, other, _agent) = two_folders().await;
    let mut expected = Tree::new();
    for (path, content) in pair.local() {
        expected.insert(path.replacen("d0/", "renamed/deep/", 1), content);
    }
    pair.proxy.forget();
    fs::create_dir(pair.root.join("renamed")).unwrap();
    fs::rename(pair.root.join("d0"), pair.root.join("renamed/deep")).unwrap();
    both_hold(&pair, &other, &expected).await;
    assert_eq!(pair.requests(|kind| matches!(kind, Kind::Put | Kind::Get)).len(), 0, "{:?}", pair.transfers());
    assert_eq!(pair.requests(|kind| kind == Kind::Copy).len(), FILES / 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_file_that_is_edited_at_once_is_sent() {
    let (pair, other, _agent) = two_folders().await;
    let mut expected = pair.local();
    expected.remove("d1/f0001").unwrap();
    expected.insert("new name".into(), "new content".into());
    fs::rename(pair.root.join("d1/f0001"), pair.root.join("new name")).unwrap();
    write(&pair.root.join("new name"), "new content");
    both_hold(&pair, &other, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_an_object_by_somebody_else_is_copied_here() {
    let (pair, other, agent) = two_folders().await;
    let mut expected = pair.local();
    expected.insert("copied".into(), expected["d2/f0002"].clone());
    pair.proxy.forget();
    pair.bucket.put("docs/copied", expected["copied"].clone()).await;
    both_hold(&pair, &other, &expected).await;
    assert_eq!(pair.requests(|kind| kind == Kind::Get).len(), 0);
    drop(agent);
}

/// Names that change places, and names that only change their case, are renames like any other.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_change_places_or_case_end_where_they_were_put() {
    let (pair, other, _agent) = two_folders().await;
    let mut expected = pair.local();
    let (one, two) = (expected.remove("d0/f0000").unwrap(), expected.remove("d0/f0003").unwrap());
    expected.insert("d0/f0000".into(), two);
    expected.insert("d0/f0003".into(), one);
    let third = expected.remove("d0/f0006").unwrap();
    expected.insert("d0/F0006".into(), third);
    let folder = pair.root.join("d0");
    fs::rename(folder.join("f0000"), folder.join("kept")).unwrap();
    fs::rename(folder.join("f0003"), folder.join("f0000")).unwrap();
    fs::rename(folder.join("kept"), folder.join("f0003")).unwrap();
    fs::rename(folder.join("f0006"), folder.join("F0006")).unwrap();
    both_hold(&pair, &other, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_that_is_renamed_or_copied_is_made_of_parts_that_the_bucket_has() {
    let (pair, other, agent) = two_folders().await;
    let mut large = vec![0; 12 << 20];
    blake3::Hasher::new().update(b"large").finalize_xof().fill(&mut large);
    write(&pair.root.join("large"), &large);
    both_hold(&pair, &other, &pair.local()).await;
    for mirror in [MIRROR, "other"] {
        agent.in_step(mirror).await;
    }
    pair.proxy.forget();
    fs::copy(pair.root.join("large"), pair.root.join("copied")).unwrap();
    both_hold(&pair, &other, &pair.local()).await;
    fs::create_dir(pair.root.join("elsewhere")).unwrap();
    fs::rename(pair.root.join("large"), pair.root.join("elsewhere/renamed")).unwrap();
    both_hold(&pair, &other, &pair.local()).await;
    assert_eq!(pair.requests(|kind| matches!(kind, Kind::Put | Kind::Get)).len(), 0, "{:?}", pair.transfers());
    assert_eq!(pair.requests(|kind| kind == Kind::Copy).len(), 2 * 3);
    for mirror in [MIRROR, "other"] {
        agent.in_step(mirror).await;
    }
}

/// One after the other, so that most of them wait for longer than their deletes do.
#[tokio::test(flavor = "multi_thread")]
async fn large_files_of_a_renamed_folder_are_copied_before_their_old_objects_go() {
    const LARGE_FILES: u64 = 4;
    let mut pair = Pair::new().await;
    pair.config["sync"]["workers"] = json!(1);
    for number in 0..LARGE_FILES {
        let mut large = vec![0; 6 << 20];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut large);
        write(&pair.root.join(format!("old/{number}")), &large);
    }
    let agent = pair.start().await;
    pair.both_hold(&pair.local()).await;
    pair.proxy.forget();
    let takes_long =
        |kind| if kind == Kind::Copy { Verdict::Delay(Duration::from_millis(1_500)) } else { Verdict::Pass };
    pair.proxy.rule(move |seen| takes_long(seen.kind));
    fs::rename(pair.root.join("old"), pair.root.join("new")).unwrap();
    pair.both_hold(&pair.local()).await;
    agent.in_step(MIRROR).await;
    assert_eq!(pair.requests(|kind| matches!(kind, Kind::Put | Kind::Get)).len(), 0, "{:?}", pair.transfers());
    let copies = pair.requests(|kind| kind == Kind::Copy);
    assert!(copies.iter().all(|copy| copy.status == Some(200)), "{copies:?}");
}
