//! The rig itself: what the other tests conclude from must hold first.

use std::time::Duration;

use gosync_tests::proxy::{Kind, Proxy, Verdict};
use gosync_tests::rclone::Rclone;
use gosync_tests::server::Server;
use gosync_tests::stranger::Stranger;
use gosync_tests::tree::{self, Compare, Gardener};
use gosync_tests::{process::Folder, wait};

#[tokio::test]
async fn the_proxy_forwards_signed_requests_and_counts_them() {
    let server = Server::minio().await;
    server.bucket("bucket").await;
    let proxy = Proxy::start(&server.address).await;
    let stranger = Stranger::new(&proxy.address, "bucket");
    let content = vec![7; 100_000];

    stranger.put("odd key/ü+%", content.clone()).await;
    assert_eq!(stranger.get("odd key/ü+%").await.unwrap(), content);
    assert_eq!(stranger.head("odd key/ü+%").await.unwrap().size, 100_000);
    assert_eq!(stranger.keys("").await, ["odd key/ü+%"]);
    let seen = proxy.seen();
    let kinds: Vec<Kind> = seen.iter().map(|seen| seen.kind).collect();
    assert_eq!(kinds, [Kind::Put, Kind::Get, Kind::Head, Kind::List]);
    assert_eq!((seen[0].sent_bytes, seen[1].received_bytes), (100_000, 100_000));
    assert_eq!(proxy.writes().len(), 1);

    proxy.forget();
    stranger.delete("odd key/ü+%").await;
    assert_eq!(proxy.count(Kind::Delete), 1);
}

#[tokio::test]
async fn the_proxy_spoils_what_a_rule_names() {
    let server = Server::minio().await;
    let direct = server.bucket("bucket").await;
    let proxy = Proxy::start(&server.address).await;
    let stranger = Stranger::new(&proxy.address, "bucket");
    direct.put("there", vec![1; 10_000]).await;

    proxy.rule(|seen| match seen.kind {
        Kind::Put => Verdict::LoseReply,
        Kind::Get => Verdict::CutBody,
        Kind::List => Verdict::Answer(503),
        Kind::Delete => Verdict::Refuse,
        _ => Verdict::Delay(Duration::from_millis(1)),
    });
    let bucket = "bucket";
    let put = stranger.client.put_object().bucket(bucket).key("lost");
    assert!(put.send().await.is_err());
    wait::until("the lost PUT took effect", async || direct.head("lost").await.ok_or("absent")).await;
    let get = stranger.client.get_object().bucket(bucket).key("there");
    assert!(get.send().await.unwrap().body.collect().await.is_err());
    let list = stranger.client.list_objects_v2().bucket(bucket);
    assert!(list.send().await.is_err());
    let delete = stranger.client.delete_object().bucket(bucket).key("there");
    assert!(delete.send().await.is_err());
    assert!(stranger.head("there").await.is_some());
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_data() {
    for mut server in [Server::minio().await, Server::versitygw().await] {
        let stranger = server.bucket("bucket").await;
        stranger.put("key", "content").await;
        server.kill();
        assert!(stranger.answers().await.is_err());
        server.restart().await;
        assert_eq!(stranger.get("key").await.unwrap(), "content");
    }
}

#[tokio::test]
async fn rclone_copies_a_random_tree_there_and_back() {
    let server = Server::minio().await;
    server.bucket("bucket").await;
    let rclone = Rclone::new(&server.address);
    let folder = Folder::new("rclone");
    let (here, back) = (folder.dir("here"), folder.dir("back"));
    Gardener::new(1).plant(&here, 50, 1000);

    rclone.run(&["copy", here.to_str().unwrap(), "s3:bucket/p"]);
    rclone.run(&["copy", "s3:bucket/p", back.to_str().unwrap()]);
    tree::same(&here, &back, Compare::Content).unwrap();
    Gardener::new(2).tend(&back, 1, 1000);
    tree::same(&here, &back, Compare::Content).unwrap_err();
}

#[test]
fn the_same_seed_grows_the_same_tree() {
    let folder = Folder::new("seeds");
    for name in ["one", "two"] {
        let root = folder.dir(name);
        let mut gardener = Gardener::new(42);
        gardener.plant(&root, 40, 500);
    }
    tree::same(&folder.path().join("one"), &folder.path().join("two"), Compare::ContentAndMode).unwrap();
}
