//! Mirrors that only send, of folders into which nothing can be written: a mount that allows it to nobody, or a folder of
//! another user. Whoever fills the folder does so elsewhere.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use gosync_tests::agent::Agent;
use gosync_tests::mount::Mount;
use gosync_tests::pair::{MIRROR, Pair, Tree, contents, tree, write};
use gosync_tests::process::needs_root;
use gosync_tests::wait;
use serde_json::{Value, json};

/// Few enough that the guards of many files have no say.
const FEW: usize = 6;

/// A pair that only sends, and the folder from which its root is mounted.
async fn pair() -> Option<(Pair, PathBuf)> {
    if !needs_root("mounting a mirror's root so that nobody can write into it") {
        return None;
    }
    let mut pair = Pair::new().await;
    pair.config["syncs"][0]["direction"] = json!("push");
    let disk = pair.home.dir("disk");
    Some((pair, disk))
}

fn fill(folder: &Path, files: usize) -> Tree {
    for number in 0..files {
        write(&folder.join(format!("d{}/f{number}", number % 2)), format!("content {number}"));
    }
    contents(folder)
}

async fn bucket_holds(pair: &Pair, expected: &Tree) {
    wait::until("the bucket holds what the folder does", async || {
        let found = pair.remote().await;
        wait::hold(found == *expected, format!("{:?}", found.keys()))
    })
    .await;
}

/// Nothing but what was put there.
fn is_untouched(folder: &Path, expected: &Tree) {
    assert_eq!(contents(folder), *expected);
    assert!(!folder.join(".gosync").exists(), "a folder of ours");
}

/// What went wrong so far, by the log.
fn complaints(agent: &Agent) -> Vec<String> {
    let log = agent.process().log();
    let is_bad = |line: &&str| line.contains("WARN") || line.contains("ERROR");
    log.lines().filter(is_bad).map(str::to_owned).collect()
}

fn is_told(mirror: &Value) -> bool {
    let weaker = mirror["root"]["weaker"].as_array().unwrap();
    mirror["root"]["read_only"] == true && weaker.iter().any(|line| line.as_str().unwrap().contains("no marker"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_nobody_can_write_to_is_sent_and_stays_as_it_is() {
    for mounted in [true, false] {
        let Some((pair, disk)) = pair().await else { return };
        // Either way it is filled at `folder`, and the agent sees it at its root.
        let (folder, mount) = match mounted {
            true => (disk.clone(), Some(Mount::bind_read_only(&disk, &pair.root))),
            false => (pair.root.clone(), None),
        };
        let mut expected = fill(&folder, FEW);
        let mut agent = match mounted {
            true => Agent::start(pair.home.path(), &pair.config).await,
            false => {
                // All but the root belongs to the agent's user.
                gosync_tests::permissions::give_away(pair.home.path());
                chown(&pair.root, Some(0), Some(0)).unwrap();
                Agent::start_unprivileged(pair.home.path(), &pair.config).await
            }
        };
        agent.in_step(MIRROR).await;
        bucket_holds(&pair, &expected).await;
        let changed = fs::metadata(&folder).unwrap().mtime_nsec();

        // Edits, creations and deletes, while it runs and while it doesn't; a restart sends nothing anew.
        for running in [true, false] {
            if !running {
                agent.stop().await;
                pair.proxy.forget();
            }
            let edited = format!("edited, {running}");
            write(&folder.join("d0/f0"), &edited);
            write(&folder.join(format!("d1/new-{running}")), "new");
            let deleted = if running { "d0/f2" } else { "d1/f3" };
            fs::remove_file(folder.join(deleted)).unwrap();
            expected.insert("d0/f0".into(), edited.into());
            expected.insert(format!("d1/new-{running}"), "new".into());
            expected.remove(deleted).unwrap();
            if !running {
                agent.restart().await;
            }
            bucket_holds(&pair, &expected).await;
            agent.in_step(MIRROR).await;
        }
        assert_eq!(pair.transfers().len(), 3, "{:?}", pair.transfers());

        let mirror = agent.mirror(MIRROR);
        assert!(is_told(&mirror), "{mirror:#}");
        assert_eq!(
            (&mirror["status"], &mirror["errors"], &mirror["paths"]),
            (&json!("active"), &json!([]), &json!([]))
        );
        let shown = agent.run(&["sync", "state"]).stdout;
        let shown = String::from_utf8_lossy(&shown).into_owned();
        assert!(shown.contains("weaker") && shown.contains("no marker"), "{shown}");
        is_untouched(&folder, &expected);
        assert_eq!(fs::metadata(&folder).unwrap().mtime_nsec(), changed);
        assert_eq!(complaints(&agent), [""; 0]);
        agent.stop().await;
        drop(mount);
    }
}

/// What others write to the bucket is told, and can't be approved: there is no trash that would keep it.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_is_left_alone_where_no_trash_could_keep_it() {
    let Some((mut pair, disk)) = pair().await else { return };
    pair.config["sync"]["settle_max"] = json!("1s");
    let _mount = Mount::bind_read_only(&disk, &pair.root);
    let mut expected = fill(&disk, FEW);
    let agent = pair.start().await;
    bucket_holds(&pair, &expected).await;
    pair.bucket.put("docs/d0/f0", "by somebody else").await;
    let is_diverged = |mirror: &Value| {
        mirror["paths"].as_array().unwrap().iter().any(|note| note["path"] == "d0/f0" && note["state"] == "diverged")
    };
    agent.until(MIRROR, "it is diverged", is_diverged).await;
    let refused = agent.run(&["sync", "approve", pair.root.join("d0/f0").to_str().unwrap()]);
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("would be lost"),
        "{refused:?}"
    );
    assert!(is_diverged(&agent.mirror(MIRROR)));
    // As it says: once the object is gone, the file is sent.
    pair.delete_all(["d0/f0"]).await;
    bucket_holds(&pair, &expected).await;
    agent.in_step(MIRROR).await;

    // A large file that somebody writes to all the time has no private copy, and arrives all the same.
    expected.insert("log".into(), vec![b'x'; 6 << 20].into());
    let mut log = File::create(disk.join("log")).unwrap();
    log.write_all(&expected["log"]).unwrap();
    bucket_holds(&pair, &expected).await;
    drop(log);
    agent.in_step(MIRROR).await;
    is_untouched(&disk, &expected);
}

/// Its inode alone tells the folder from another one in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_a_marker_that_is_emptied_or_replaced_deletes_nothing() {
    let Some((pair, disk)) = pair().await else { return };
    let expected = fill(&disk, FEW);
    let mount = Mount::bind_read_only(&disk, &pair.root);
    let mut agent = pair.start().await;
    bucket_holds(&pair, &expected).await;

    // Emptied, however few there were.
    let aside = pair.home.dir("aside");
    agent
        .meanwhile(false, || {
            for name in ["d0", "d1"] {
                fs::rename(disk.join(name), aside.join(name)).unwrap();
            }
        })
        .await;
    agent.halted(MIRROR, &["root-emptied"]).await;
    pair.bucket_keeps(&expected).await;
    for name in ["d0", "d1"] {
        fs::rename(aside.join(name), disk.join(name)).unwrap();
    }
    agent.in_step(MIRROR).await;

    // Not mounted; another one mounted there.
    agent.meanwhile(false, || mount.unmount()).await;
    agent.halted(MIRROR, &["root-replaced", "volume-changed"]).await;
    assert_eq!(fs::read_dir(&pair.root).unwrap().count(), 0, "written into the bare mount point");
    let other = pair.home.dir("other");
    write(&other.join("foreign"), "not of this mirror");
    let mount = Mount::bind_read_only(&other, &pair.root);
    agent.kill();
    agent.restart().await;
    agent.halted(MIRROR, &["volume-changed"]).await;
    pair.bucket_keeps(&expected).await;
    assert!(!pair.remote().await.contains_key("foreign"));
    agent.meanwhile(false, || mount.unmount()).await;
    let mount = Mount::bind_read_only(&disk, &pair.root);
    agent.in_step(MIRROR).await;
    assert_eq!(pair.remote().await, expected);

    // Emptied on purpose.
    agent
        .meanwhile(false, || {
            fs::remove_dir_all(disk.join("d0")).unwrap();
            fs::remove_dir_all(disk.join("d1")).unwrap();
        })
        .await;
    let halt = agent.halted(MIRROR, &["root-emptied"]).await;
    agent.ask(&["sync", "approve", &halt]);
    bucket_holds(&pair, &Tree::new()).await;
    agent.in_step(MIRROR).await;
    is_untouched(&disk, &tree([]));
    agent.stop().await;
    drop(mount);
}

/// A folder that can be written to one day gets its marker then, and one that can't any more is known by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_can_be_written_to_only_at_times_stays_the_same_one() {
    let Some((pair, disk)) = pair().await else { return };
    let mut expected = fill(&disk, FEW);
    let mut agent: Option<Agent> = None;
    for (round, read_only) in [true, false, true].into_iter().enumerate() {
        let mount = if read_only { Mount::bind_read_only(&disk, &pair.root) } else { Mount::bind(&disk, &pair.root) };
        let mut running = match agent.take() {
            Some(mut known) => {
                known.restart().await;
                known
            }
            None => pair.start().await,
        };
        write(&disk.join("round"), format!("{round}"));
        expected.insert("round".into(), format!("{round}").into());
        bucket_holds(&pair, &expected).await;
        running.in_step(MIRROR).await;
        let mirror = running.mirror(MIRROR);
        assert_eq!(mirror["root"]["read_only"], read_only, "{mirror:#}");
        assert_eq!(mirror["halts"], json!([]));
        assert_eq!(disk.join(".gosync/marker").exists(), round > 0);
        running.stop().await;
        mount.unmount();
        agent = Some(running);
    }
    assert_eq!(pair.deletes(), 0);
    assert_eq!(pair.transfers().len(), FEW + 3, "nothing is sent twice: {:?}", pair.transfers());
}
