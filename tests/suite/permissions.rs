//! What the agent's user may not read. It runs unprivileged here, so that permissions hold it back.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, chown};

use gosync_tests::agent::note;
use gosync_tests::pair::{MIRROR, write};
use gosync_tests::permissions::{filled, give_away, mode};
use serde_json::Value;

const FILES: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_folder_blocks_only_itself() {
    let Some((pair, mut agent, expected)) = filled(FILES).await else { return };

    let closed = pair.root.join("d1");
    mode(&closed, 0o000);
    for restarted in [false, true] {
        if restarted {
            agent.kill();
            agent.restart().await;
            agent.in_error(MIRROR, "permission").await;
        }
        let name = format!("new-{restarted}");
        write(&pair.root.join(&name), "goes up");
        give_away(&pair.root.join(&name));
        pair.goes_up(&name).await;
        pair.bucket.put("docs/d1/from-the-bucket", "waits").await;
        pair.four_checks().await;
        pair.bucket_keeps(&expected).await;
    }

    mode(&closed, 0o755);
    agent.in_step(MIRROR).await;
    assert_eq!(fs::read(closed.join("from-the-bucket")).unwrap(), b"waits");
    pair.bucket_keeps(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_root_is_an_error_that_ends_by_itself() {
    let Some((pair, mut agent, expected)) = filled(FILES).await else { return };
    agent.stop().await;
    mode(&pair.root, 0o000);
    agent.restart().await;
    agent.in_error(MIRROR, "permission").await;
    pair.bucket_keeps(&expected).await;
    mode(&pair.root, 0o755);
    agent.in_step(MIRROR).await;
    pair.both_hold(&expected).await;
    pair.bucket_keeps(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_file_is_told_and_its_object_stays() {
    let Some((pair, agent, expected)) = filled(FILES).await else { return };
    let file = pair.root.join("d0/f0000");
    fs::write(&file, "secret").unwrap();
    chown(&file, Some(0), Some(0)).unwrap();
    mode(&file, 0o600);
    agent.until(MIRROR, "the file is reported", |mirror| note(mirror, "d0/f0000").is_some()).await;
    write(&pair.root.join("another"), "goes up");
    give_away(&pair.root.join("another"));
    pair.goes_up("another").await;
    pair.bucket_keeps(&expected).await;
}

/// A flush is no success while something could not even be read; it says what. Mended, nobody needs to say so.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_not_flushed_and_is_taken_up_by_itself_once_it_can() {
    for (closed, path) in [("d1", "d1/new"), ("new", "new")] {
        let Some((pair, agent, mut expected)) = filled(FILES).await else { return };

        // From its first moment on nobody but root can read the file, or the folder that it is in.
        let closed = pair.root.join(closed);
        if closed.is_dir() {
            mode(&closed, 0o000);
        }
        let file = pair.root.join(path);
        let mut open = fs::OpenOptions::new().write(true).create_new(true).mode(0o000).open(&file).unwrap();
        open.write_all(b"locked away").unwrap();
        drop(open);
        if closed.is_dir() {
            mode(&file, 0o644);
        }

        for _ in 0..2 {
            let flush = agent.flush(MIRROR, "5s");
            assert_eq!((flush.code, &flush.receipt["flushed"]), (Some(1), &false.into()), "{}", flush.told);
            let name = closed.file_name().unwrap().to_str().unwrap();
            // Itself, or what is below it.
            let first = flush.receipt["pending"]["first"].as_array().unwrap();
            let names = |path: &Value| path.as_str().unwrap().split('/').next() == Some(name);
            assert!(!first.is_empty() && first.iter().all(names), "{}", flush.told);
            let mirror = agent.mirror(MIRROR);
            assert_eq!(mirror["status"], "error", "{mirror:#}");
            assert!(note(&mirror, name).is_some(), "{mirror:#}");
        }
        pair.bucket_keeps(&expected).await;

        mode(&closed, 0o755);
        agent.until(MIRROR, "active by itself", |mirror| mirror["status"] == "active").await;
        expected.insert(path.to_owned(), "locked away".into());
        pair.both_hold(&expected).await;
        let flush = agent.flush(MIRROR, "30s");
        assert_eq!((flush.code, &flush.receipt["flushed"]), (Some(0), &true.into()), "{}", flush.told);
    }
}
