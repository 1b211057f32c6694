//! A file and a folder of one name, where nobody lists, and where others keep both in the bucket.

use std::fs;

use gosync_tests::dev_store::DevStore;
use gosync_tests::fleet::Fleet;
use gosync_tests::pair::{MIRROR, PREFIX, contents, tree, write};
use gosync_tests::process::Folder;
use gosync_tests::replica::Replica;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn what_others_keep_below_the_name_of_an_object_stays_there() {
    let store = DevStore::start().await;
    let bucket = store.bucket("bucket").await;
    let of_others = tree([("name", "an object"), ("name/child", "below it")]);
    for (path, content) in &of_others {
        bucket.put(&format!("{PREFIX}{path}"), content.clone()).await;
    }
    let folder = Folder::new("one-name");
    let replica = Replica::start(&folder, "left", &bucket).await;
    replica.agent.in_step(MIRROR).await;
    write(&replica.root.join("name/mine"), "mine");
    replica.cycles(2).await;
    replica.agent.in_step(MIRROR).await;
    assert_eq!(contents(&replica.root), tree([("name/child", "below it"), ("name/mine", "mine")]));
    let mut expected = of_others;
    expected.insert("name/mine".to_owned(), "mine".into());
    assert_eq!(bucket.contents(PREFIX).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_takes_a_folders_place_is_with_agents_that_never_list() {
    let fleet = Fleet::new().await;
    let never_lists = |config: &mut serde_json::Value| config["sync"]["interval"] = json!("1h");
    let (left, right) = (fleet.join_with("left", never_lists).await, fleet.join_with("right", never_lists).await);
    left.hydrated().await;
    right.hydrated().await;
    for path in ["name/one", "name/two"] {
        left.write(path, path);
    }
    fleet.all_hold(&[&left, &right], &tree([("name/one", "name/one"), ("name/two", "name/two")])).await;
    fs::remove_dir_all(left.root.join("name")).unwrap();
    left.write("name", "a file now");
    fleet.all_hold(&[&left, &right], &tree([("name", "a file now")])).await;
}
