//! Somebody else works in the bucket with a tool of their own, rclone, while agents run.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use gosync_tests::pair::{PREFIX, Pair, Tree, write};
use gosync_tests::process::Folder;
use gosync_tests::rclone::Rclone;
use gosync_tests::replica::{LONG, Replica, bucket, in_step, quiet};
use gosync_tests::stranger::Stranger;
use gosync_tests::tree::{self, Compare, Gardener};
use gosync_tests::wait;

/// Two replicas with the same few files of all sorts of names.
async fn two_replicas(folder: &Folder, bucket: &Stranger) -> (Replica, Replica) {
    Gardener::new(7).plant(&Replica::root(folder, "left"), 60, 5_000);
    let left = Replica::start(folder, "left", bucket).await;
    let right = Replica::start(folder, "right", bucket).await;
    in_step(&left, &right, bucket, Compare::Everything).await;
    (left, right)
}

/// The path in the bucket as rclone spells it.
fn remote(bucket: &Stranger, path: &str) -> String {
    format!("s3:{}/{PREFIX}{path}", bucket.bucket)
}

/// The file's content in both folders is this.
async fn both_hold(left: &Replica, right: &Replica, path: &str, content: Option<&[u8]>) {
    wait::until(&format!("both folders follow in {path}"), async || {
        let found = [left, right].map(|replica| fs::read(replica.root.join(path)).ok());
        wait::hold(
            found.iter().all(|found| found.as_deref() == content),
            format!("{:?} bytes", found.map(|found| found.map(|content| content.len()))),
        )
    })
    .await;
}

/// A moment that no clock shows by itself, with all nine digits.
fn long_ago(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000 + second, 987_654_321)
}

fn set_mtime(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rclone_edits_adds_and_deletes_is_followed() {
    let (_server, bucket) = bucket("rclone-edits").await;
    let folder = Folder::new("rclone-edits");
    write(&Replica::root(&folder, "left").join("notes/edited.txt"), "ours");
    write(&Replica::root(&folder, "left").join("notes/deleted.txt"), "ours too");
    write(&Replica::root(&folder, "left").join("notes/moved.txt"), "on its way");
    write(&Replica::root(&folder, "left").join("old/gone with its folder"), "last file");
    let (left, right) = two_replicas(&folder, &bucket).await;
    let rclone = Rclone::new(&bucket.address);
    let theirs = folder.dir("theirs");

    write(&theirs.join("edited.txt"), "theirs");
    rclone.run(&["copy", theirs.to_str().unwrap(), &remote(&bucket, "notes")]);
    both_hold(&left, &right, "notes/edited.txt", Some(b"theirs")).await;

    Gardener::new(8).plant(&theirs, 30, 5_000);
    rclone.run(&["copy", theirs.to_str().unwrap(), &remote(&bucket, "new")]);
    rclone.run(&["deletefile", &remote(&bucket, "notes/deleted.txt")]);
    rclone.run(&["moveto", &remote(&bucket, "notes/moved.txt"), &remote(&bucket, "notes/there.txt")]);
    rclone.run(&["purge", &remote(&bucket, "old")]);
    both_hold(&left, &right, "notes/deleted.txt", None).await;
    both_hold(&left, &right, "notes/moved.txt", None).await;
    both_hold(&left, &right, "notes/there.txt", Some(b"on its way")).await;
    both_hold(&left, &right, "old/gone with its folder", None).await;
    in_step(&left, &right, &bucket, Compare::Everything).await;
    tree::same(&theirs, &left.root.join("new"), Compare::Content).unwrap();
    quiet(&left, &right).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rclone_and_we_read_each_others_times() {
    let (_server, bucket) = bucket("rclone-times").await;
    let folder = Folder::new("rclone-times");
    let ours = Replica::root(&folder, "left").join("ours.txt");
    write(&ours, "written long ago");
    set_mtime(&ours, long_ago(0));
    // Over the size of one part, so that its ETag is no MD5.
    let large = Replica::root(&folder, "left").join("large.bin");
    write(&large, vec![5; 12 << 20]);
    set_mtime(&large, long_ago(1));
    let (left, right) = two_replicas(&folder, &bucket).await;
    let rclone = Rclone::new(&bucket.address);

    // One line for each file with size, time and name; the same tool reads the folder and the bucket.
    let listed = |place: &str| {
        let mut lines: Vec<String> =
            rclone.run(&["lsl", place, "--exclude", "/.gosync/**"]).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let root = left.root.to_str().unwrap();
    assert_eq!(listed(root), listed(&remote(&bucket, "")));
    assert!(listed(root).iter().any(|line| line.contains(".987654321") && line.ends_with("ours.txt")));

    let theirs = folder.dir("theirs");
    Gardener::new(9).plant(&theirs, 10, 5_000);
    for (number, name) in (2..).zip(tree::names(&theirs)) {
        set_mtime(&theirs.join(name), long_ago(number));
    }
    rclone.run(&["copy", "--metadata", theirs.to_str().unwrap(), &remote(&bucket, "theirs")]);
    in_step(&left, &right, &bucket, Compare::Everything).await;
    wait::until("their files are here with their times and modes", async || {
        tree::same(&theirs, &right.root.join("theirs"), Compare::Everything)
    })
    .await;

    // A time by itself is no change of content: it is followed by nobody, and not sent back.
    rclone.run(&["touch", "--no-create", "-t", "2020-02-02T02:02:02", &remote(&bucket, "ours.txt")]);
    quiet(&left, &right).await;
    for replica in [&left, &right] {
        assert_eq!(fs::metadata(replica.root.join("ours.txt")).unwrap().modified().unwrap(), long_ago(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_content_under_our_own_old_headers_is_seen_as_new() {
    let (_server, bucket) = bucket("stale-headers").await;
    let folder = Folder::new("stale-headers");
    write(&Replica::root(&folder, "left").join("report.txt"), "first version");
    let (left, right) = two_replicas(&folder, &bucket).await;

    // What a tool does that edits an object and keeps its user metadata, hash and nonce of ours among it.
    let key = format!("{PREFIX}report.txt");
    let headers = bucket.head(&key).await.unwrap().metadata;
    assert!(headers.contains_key("gosync-blake3"), "{headers:?}");
    let request = bucket.client.put_object().bucket(&bucket.bucket).key(&key);
    let metadata = headers.into_iter().collect();
    request.set_metadata(Some(metadata)).body(b"other version".to_vec().into()).send().await.unwrap();

    both_hold(&left, &right, "report.txt", Some(b"other version")).await;
    in_step(&left, &right, &bucket, Compare::Content).await;
    quiet(&left, &right).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_hard_links_of_a_replaced_file_keep_the_old_content_and_that_is_told() {
    let pair = Pair::new().await;
    write(&pair.root.join("first"), "old");
    fs::hard_link(pair.root.join("first"), pair.root.join("second")).unwrap();
    let agent = pair.start().await;
    pair.bucket.put("docs/first", "new").await;
    pair.both_hold(&Tree::from([("first".into(), "new".into()), ("second".into(), "old".into())])).await;
    let told = || agent.process().log().contains("its other hard links keep the old content");
    wait::until("the log tells of the links", async || told().then_some(()).ok_or_else(|| agent.process().log())).await;
}

/// MinIO can't have both, and hides the one behind the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_and_a_folder_take_each_others_place_where_the_store_cannot_have_both() {
    let (_server, bucket) = bucket("each-others-place").await;
    let folder = Folder::new("each-others-place");
    let root = Replica::root(&folder, "left");
    for path in ["folder/first", "folder/deep/second", "file"] {
        write(&root.join(path), format!("old {path}"));
    }
    let left = Replica::start(&folder, "left", &bucket).await;
    let right = Replica::start(&folder, "right", &bucket).await;
    in_step(&left, &right, &bucket, Compare::Everything).await;
    fs::remove_dir_all(root.join("folder")).unwrap();
    write(&root.join("folder"), "a file by now");
    fs::remove_file(root.join("file")).unwrap();
    write(&root.join("file/inside"), "a folder by now");
    wait::until_within(LONG, "both changes arrive on the right", async || {
        let found = ["folder", "file/inside"].map(|path| fs::read_to_string(right.root.join(path)).ok());
        let arrived = found == [Some("a file by now".to_owned()), Some("a folder by now".to_owned())];
        wait::hold(arrived, format!("{found:?}"))
    })
    .await;
    in_step(&left, &right, &bucket, Compare::Everything).await;
    quiet(&left, &right).await;
}
