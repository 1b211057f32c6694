//! Contents that change though nobody has written to their files.

use std::fs;

use gosync_tests::agent::Agent;
use gosync_tests::mount::Mount;
use gosync_tests::pair::{MIRROR, Pair, contents, write};
use gosync_tests::process::needs_root;
use gosync_tests::wait;
use serde_json::json;

const BYTES: usize = 4_096;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_disk_lost_is_found_by_a_scrub_and_never_replaces_the_object() {
    if !needs_root("mounting a file system of its own") {
        return;
    }
    let mut pair = Pair::new().await;
    let image = pair.home.path().join("disk.img");
    let mount = Mount::image(&image, &pair.root, 64 << 20);
    let (good, rotten) = ([7; BYTES], [8; BYTES]);
    write(&pair.root.join("file"), good);
    write(&pair.root.join("other"), "untouched");
    let mut agent = pair.start().await;
    agent.stop().await;

    mount.unmount();
    let mut disk = fs::read(&image).unwrap();
    let blocks = disk.chunks_exact_mut(BYTES).filter(|block| **block == good);
    assert_eq!(blocks.map(|block| block.copy_from_slice(&rotten)).count(), 1);
    fs::write(&image, disk).unwrap();
    let _mount = Mount::image(&image, &pair.root, 0);
    assert_eq!(fs::read(pair.root.join("file")).unwrap(), rotten);
    // It looks unchanged, and is not read again for nothing.
    agent.restart().await;
    agent.in_step(MIRROR).await;
    assert_eq!(pair.bucket.get("docs/file").await.unwrap(), good.as_slice());

    agent.stop().await;
    pair.config["sync"]["scrub"] = json!("1h");
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    wait::until("both contents are kept", async || {
        let found = contents(&pair.root);
        let copy = found.iter().find(|(path, _)| path.starts_with("file.conflict-"));
        wait::hold(
            found.get("file").is_some_and(|file| *file == good.as_slice())
                && copy.is_some_and(|(_, content)| *content == rotten.as_slice()),
            format!("{:?}", found.keys()),
        )
    })
    .await;
    agent.in_step(MIRROR).await;
    assert_eq!(pair.bucket.get("docs/file").await.unwrap(), good.as_slice());
    assert_eq!(pair.remote().await, pair.local());
    assert!(agent.process().log().contains("changed without a trace"), "{}", agent.process().log());
}
