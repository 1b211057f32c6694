//! A root that can't be trusted: emptied, removed, moved, replaced, unmounted, or with a marker made by hand. Nothing is
//! concluded from it, and nothing is written into what stands there instead.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use fuser::{Errno, FileAttr, FileHandle, FileType, Filesystem, INodeNo, ReplyAttr, ReplyEntry, Request};
use gosync_tests::agent::{Agent, note, with_mirror};
use gosync_tests::mount::Mount;
use gosync_tests::pair::{MIRROR, Pair, Tree, write};
use gosync_tests::process::{Folder, needs_root};
use gosync_tests::proxy::{Kind, Seen, Verdict};
use gosync_tests::wait;
use serde_json::{Value, json};

/// Over the 20 below which no guard asks.
const FILES: usize = 30;
/// So few that the guard against many deletes has no say.
const FEW: usize = 5;
const ROOT_HALTS: &[&str] = &["root-missing", "root-emptied", "root-replaced", "volume-changed"];

fn move_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::rename(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn empty(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            fs::remove_dir_all(entry.path()).unwrap();
        } else {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

async fn emptied_while_nobody_looked() -> (Pair, Agent, Tree) {
    let (pair, mut agent, expected) = Pair::filled(FILES).await;
    agent.meanwhile(false, || empty(&pair.root)).await;
    (pair, agent, expected)
}

/// Whoever wanted to conclude something has done so. Of a halted root nothing is listed, so the agent's turns are told by
/// another mirror that it is given.
async fn four_turns(pair: &Pair, agent: &Agent) {
    agent.ask(&["sync", "mirror", pair.home.dir("beside").to_str().unwrap(), "/beside"]);
    let turns = || {
        let seen = pair.proxy.seen();
        seen.iter().filter(|seen| seen.kind == Kind::List && seen.query.contains("prefix=beside%2F")).count()
    };
    wait::until("four turns", async || wait::hold(turns() >= 4, turns())).await;
    assert_eq!(agent.mirror(MIRROR)["status"], "halted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_root_deletes_nothing_and_goes_on_when_the_files_are_back() {
    let (pair, agent, expected) = Pair::filled(FILES).await;
    let aside = pair.home.path().join("aside");
    move_all(&pair.root, &aside);
    agent.halted(MIRROR, ROOT_HALTS).await;
    let flush = agent.run(&["sync", "flush", MIRROR, "--wait"]);
    assert_eq!(flush.status.code(), Some(7), "{flush:?}");
    pair.bucket_keeps(&expected).await;

    move_all(&aside, &pair.root);
    agent.in_step(MIRROR).await;
    pair.both_hold(&expected).await;
    pair.bucket_keeps(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_emptied_while_nobody_looked_deletes_nothing() {
    let (pair, agent, expected) = emptied_while_nobody_looked().await;
    agent.halted(MIRROR, ROOT_HALTS).await;
    pair.bucket_keeps(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn denying_that_a_root_was_emptied_on_purpose_downloads_all_of_it() {
    let (pair, agent, expected) = emptied_while_nobody_looked().await;
    let halt = agent.halted(MIRROR, &["root-emptied"]).await;
    agent.ask(&["sync", "deny", &halt]);
    agent.in_step(MIRROR).await;
    pair.both_hold(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approving_that_a_root_was_emptied_on_purpose_deletes_the_objects() {
    let (pair, agent, _) = emptied_while_nobody_looked().await;
    let halt = agent.halted(MIRROR, &["root-emptied"]).await;
    agent.ask(&["sync", "approve", &halt]);
    pair.both_hold(&BTreeMap::new()).await;
    agent.in_step(MIRROR).await;
}

/// So few files that the guard against many deletes has no say: the missing marker alone has to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_root_emptied_with_its_marker_deletes_nothing() {
    let (pair, agent, expected) = Pair::filled(FEW).await;
    empty(&pair.root);
    agent.halted(MIRROR, ROOT_HALTS).await;
    pair.bucket_keeps(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_root_deletes_nothing() {
    let (pair, agent, expected) = Pair::filled(FEW).await;
    fs::remove_dir_all(&pair.root).unwrap();
    agent.halted(MIRROR, ROOT_HALTS).await;
    pair.bucket_keeps(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_moved_away_deletes_nothing_and_goes_on_when_it_is_back() {
    let (pair, agent, expected) = Pair::filled(FILES).await;
    let aside = pair.home.path().join("aside");
    fs::rename(&pair.root, &aside).unwrap();
    agent.halted(MIRROR, ROOT_HALTS).await;
    pair.bucket_keeps(&expected).await;

    fs::rename(&aside, &pair.root).unwrap();
    agent.in_step(MIRROR).await;
    write(&pair.root.join("new"), "after");
    let expected = pair.local();
    pair.both_hold(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_replaced_by_another_folder_is_neither_read_nor_written() {
    for running in [true, false] {
        let (pair, mut agent, expected) = Pair::filled(FILES).await;
        let aside = pair.home.path().join("aside");
        agent
            .meanwhile(running, || {
                fs::rename(&pair.root, &aside).unwrap();
                write(&pair.root.join("foreign"), "not of this mirror");
            })
            .await;
        agent.halted(MIRROR, ROOT_HALTS).await;
        pair.bucket.put("docs/while-away", "later").await;
        four_turns(&pair, &agent).await;
        let found: Vec<String> = pair.local().into_keys().collect();
        assert_eq!(found, ["foreign"], "written into the foreign folder");
        assert!(!pair.remote().await.contains_key("foreign"), "the foreign folder went up");
        pair.bucket_keeps(&expected).await;

        fs::remove_dir_all(&pair.root).unwrap();
        fs::rename(&aside, &pair.root).unwrap();
        agent.in_step(MIRROR).await;
        let mut expected = expected;
        expected.insert("while-away".to_owned(), "later".into());
        pair.both_hold(&expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_root_that_is_approved_is_a_first_run_that_joins_both_sides() {
    let (pair, mut agent, mut expected) = Pair::filled(FILES).await;
    agent
        .meanwhile(false, || {
            fs::rename(&pair.root, pair.home.path().join("aside")).unwrap();
            write(&pair.root.join("foreign"), "joins");
        })
        .await;
    let halt = agent.halted(MIRROR, &["root-replaced"]).await;
    agent.ask(&["sync", "approve", &halt]);
    agent.in_step(MIRROR).await;
    expected.insert("foreign".to_owned(), "joins".into());
    pair.both_hold(&expected).await;
    assert_eq!(pair.deletes(), 0);
}

/// By hand: the same marker in an emptied root, or one with another id.
#[tokio::test(flavor = "multi_thread")]
async fn a_marker_made_by_hand_in_an_emptied_root_deletes_nothing() {
    for (same, running) in [(true, true), (true, false), (false, true), (false, false)] {
        let (pair, mut agent, expected) = Pair::filled(FILES).await;
        let marker = pair.root.join(".gosync/marker");
        let mut text: Value = serde_json::from_slice(&fs::read(&marker).unwrap()).unwrap();
        if !same {
            text["uuid"] = json!("11111111111111111111111111111111");
        }
        agent
            .meanwhile(running, || {
                empty(&pair.root);
                write(&marker, text.to_string());
            })
            .await;
        agent.halted(MIRROR, &[ROOT_HALTS, &["too-many-deletes"]].concat()).await;
        four_turns(&pair, &agent).await;
        pair.bucket_keeps(&expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmounted_root_deletes_nothing() {
    if !needs_root("mounting a file system for the mirror's root") {
        return;
    }
    for running in [true, false] {
        let pair = Pair::new().await;
        let mount = Mount::tmpfs(&pair.root);
        let (mut agent, expected) = pair.fill_and_start(FILES).await;
        agent.meanwhile(running, || drop(mount)).await;
        agent.halted(MIRROR, ROOT_HALTS).await;
        four_turns(&pair, &agent).await;
        assert!(!pair.root.join(".gosync").exists(), "the empty mount point was made a root");
        assert_eq!(pair.local(), BTreeMap::new(), "written below the mount point");
        pair.bucket_keeps(&expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_is_mounted_later_goes_on_by_itself() {
    if !needs_root("mounting a file system for the mirror's root") {
        return;
    }
    let pair = Pair::new().await;
    // The disk, here a folder that is bound to the root: it survives being unmounted.
    let disk = pair.home.dir("disk");
    let mount = Mount::bind(&disk, &pair.root);
    let (mut agent, expected) = pair.fill_and_start(FILES).await;
    agent.meanwhile(false, || drop(mount)).await;
    agent.halted(MIRROR, ROOT_HALTS).await;
    let _mount = Mount::bind(&disk, &pair.root);
    agent.in_step(MIRROR).await;
    pair.bucket_keeps(&expected).await;
    pair.both_hold(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_bound_to_a_second_place_is_in_no_second_mirror() {
    if !needs_root("binding a folder inside the mirror's root to another place") {
        return;
    }
    let (pair, agent, expected) = Pair::filled(FILES).await;
    let second = Folder::new("bound");
    let _mount = Mount::bind(&pair.root.join("d1"), second.path());
    let refused = agent.run(&["sync", "mirror", second.path().to_str().unwrap(), "/elsewhere"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("lies inside"), "{said}");
    pair.bucket_keeps(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_covers_or_leaves_a_folder_inside_the_root_deletes_nothing() {
    if !needs_root("mounting a file system inside the mirror's root") {
        return;
    }
    let (pair, mut agent, expected) = Pair::filled(FILES).await;
    let covered = pair.root.join("d1");
    let mount = Mount::tmpfs(&covered);
    // With events for every file below: they were seen to go.
    pair.four_checks().await;
    pair.bucket_keeps(&expected).await;
    agent.kill();
    agent.restart().await;
    agent.until(MIRROR, "the mount is reported", |mirror| note(mirror, "d1").is_some()).await;
    pair.four_checks().await;
    pair.bucket_keeps(&expected).await;
    write(&covered.join("on-the-mount"), "stays where it is");
    pair.four_checks().await;
    assert!(!pair.remote().await.contains_key("d1/on-the-mount"));

    drop(mount);
    agent.kill();
    agent.restart().await;
    agent.in_step(MIRROR).await;
    pair.bucket_keeps(&expected).await;
    pair.both_hold(&expected).await;
}

/// No guard counts so few: that the marker is another one has to do, while the agent runs and at its start.
#[tokio::test(flavor = "multi_thread")]
async fn a_marker_made_by_hand_in_a_small_emptied_root_deletes_nothing() {
    // Of a mirror of somebody else's, with all that belongs to it.
    let (other, mut its_agent, _) = Pair::filled(1).await;
    its_agent.stop().await;
    let copied = fs::read_to_string(other.root.join(".gosync/marker")).unwrap();
    let by_hand = json!({"uuid": "1".repeat(32), "created": "", "mirror": "", "remote": ""}).to_string();
    for marker in ["{}", "not JSON", &by_hand, &copied] {
        for running in [true, false] {
            let (pair, mut agent, expected) = Pair::filled(FEW).await;
            agent
                .meanwhile(running, || {
                    empty(&pair.root);
                    write(&pair.root.join(".gosync/marker"), marker);
                })
                .await;
            let halt = agent.halted(MIRROR, ROOT_HALTS).await;
            pair.bucket_keeps(&expected).await;
            // Whatever was about to be concluded: as a first run it is the bucket that fills the folder.
            let state = agent.mirror(MIRROR);
            let answer = if state["halts"][0]["reason"] == "root-emptied" { "deny" } else { "approve" };
            agent.ask(&["sync", answer, &halt]);
            agent.in_step(MIRROR).await;
            pair.both_hold(&expected).await;
            pair.bucket_keeps(&expected).await;
        }
    }
}

/// A tidy person removes what they don't know; the root stays the one that it was.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_folders_removed_from_the_root_hold_up_nothing() {
    let (pair, agent, mut expected) = Pair::filled(FEW).await;
    for round in 0..3 {
        for own in ["displaced", "tmp", "trash"] {
            let folder = pair.root.join(".gosync").join(own);
            if folder.exists() {
                fs::remove_dir_all(folder).unwrap();
            }
        }
        // A replacement, a new file, and a file for the trash.
        let replaced = expected.keys().next().unwrap().clone();
        expected.insert(replaced.clone(), format!("replaced {round}").into());
        expected.insert(format!("new-{round}"), "new".into());
        for path in [replaced, format!("new-{round}")] {
            pair.bucket.put(&format!("docs/{path}"), expected[&path].clone()).await;
        }
        let (deleted, _) = expected.pop_last().unwrap();
        pair.bucket.delete(&format!("docs/{deleted}")).await;
        pair.both_hold(&expected).await;
        agent.in_step(MIRROR).await;
    }
}

/// The state lies on the volume itself, so nothing in it can say that the volume is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_with_its_state_that_is_not_mounted_at_the_start_is_missed_and_not_filled() {
    if !needs_root("mounting a file system for the mirror's root") {
        return;
    }
    let mut pair = Pair::new().await;
    pair.config["syncs"][0]["state"] = json!("volume");
    let disk = pair.home.path().join("disk");
    let _disk = Mount::tmpfs(&disk);
    let mount = Mount::bind(&disk, &pair.root);
    let (mut agent, mut expected) = pair.fill_and_start(FILES).await;
    agent.stop().await;
    drop(mount);

    // Twice: the first start must not have made a root of it.
    for _ in 0..2 {
        agent.restart().await;
        agent.halted(MIRROR, &["root-missing"]).await;
        assert_eq!(agent.run(&["sync", "flush", MIRROR, "--wait"]).status.code(), Some(7));
        agent.kill();
    }
    agent.restart().await;
    agent.halted(MIRROR, &["root-missing"]).await;
    pair.bucket.put("docs/while-away", "later").await;
    four_turns(&pair, &agent).await;
    assert_eq!(fs::read_dir(&pair.root).unwrap().count(), 0, "written into the bare mount point");
    pair.bucket_keeps(&expected).await;

    let _mount = Mount::bind(&disk, &pair.root);
    agent.in_step(MIRROR).await;
    expected.insert("while-away".to_owned(), "later".into());
    pair.both_hold(&expected).await;
    pair.bucket_keeps(&expected).await;
}

/// What was here of the old prefix says nothing of the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_of_another_prefix_is_hydrated_only_when_that_is_through() {
    let (mut pair, mut agent, mut expected) = Pair::filled(FEW).await;
    let is_hydrated = |agent: &Agent| {
        let told = agent.mirror(MIRROR)["hydrated"].as_bool().unwrap();
        assert_eq!(agent.run(&["probe", "startup"]).status.success(), told);
        told
    };
    assert!(is_hydrated(&agent));
    agent.stop().await;

    pair.bucket.put("other/theirs", "of the other prefix").await;
    pair.config["syncs"][0]["s3_path"] = json!("/other");
    let other = |seen: &Seen| seen.key.starts_with("other/theirs");
    for unreachable in [true, false] {
        // First nothing is answered, then all but the one content that is missing here.
        pair.proxy.rule(move |seen| match unreachable || (seen.kind == Kind::Get && other(seen)) {
            true => Verdict::Answer(503),
            false => Verdict::Pass,
        });
        let asked = pair.proxy.seen().len();
        let mut agent = Agent::start(pair.home.path(), &pair.config).await;
        wait::until("the store was asked in vain", async || {
            let seen = pair.proxy.seen().split_off(asked);
            wait::hold(seen.iter().filter(|seen| seen.status == Some(503)).count() >= 3, seen.len())
        })
        .await;
        assert!(!is_hydrated(&agent));
        agent.stop().await;
    }
    pair.proxy.pass();
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    agent.until(MIRROR, "hydrated", |mirror| mirror["hydrated"] == true).await;
    assert!(is_hydrated(&agent));
    assert_eq!(fs::read(pair.root.join("theirs")).unwrap(), b"of the other prefix");
    // A union: the old prefix keeps what it had, and the new one gets it.
    expected.insert("theirs".to_owned(), "of the other prefix".into());
    agent.in_step(MIRROR).await;
    assert_eq!(pair.bucket.contents("other/").await, expected);
    assert_eq!(pair.bucket.keys("docs/").await.len(), FEW);
}

/// A file system that somebody behind it could write to. It notes whether anybody did so on this side.
struct Foreign(Arc<AtomicBool>);

impl Filesystem for Foreign {
    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let time = SystemTime::UNIX_EPOCH;
        let root = FileAttr {
            ino,
            size: 0,
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: FileType::Directory,
            perm: 0o755,
            nlink: 2,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 512,
            flags: 0,
        };
        reply.attr(&Duration::ZERO, &root);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        self.0.store(true, Ordering::Relaxed);
        reply.error(Errno::EROFS);
    }
}

/// FUSE stands for all of them: it doesn't tell whether there is a network behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_on_a_network_file_system_is_refused_and_nothing_is_written_there() {
    if !needs_root("mounting a file system that counts as a network one for the mirror's root") {
        return;
    }
    if !Path::new("/dev/fuse").exists() {
        eprintln!("left out: there is no /dev/fuse here");
        return;
    }
    let mut pair = Pair::new().await;
    let local = pair.home.dir("local");
    write(&local.join("note"), "goes up");
    pair.config = with_mirror(pair.config.clone(), "local", &local, "/local");
    let written = Arc::new(AtomicBool::new(false));
    let _mount = fuser::spawn_mount(Foreign(Arc::clone(&written)), &pair.root, &fuser::Config::default()).unwrap();
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    agent.in_error(MIRROR, "shared-volume-needs-postgres").await;
    let message = agent.mirror(MIRROR)["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains(pair.root.to_str().unwrap()) && message.contains("network"), "{message}");
    // The other mirror goes on, and so does the trouble of this one.
    agent.in_step("local").await;
    assert_eq!(pair.bucket.get("local/note").await.as_deref(), Some(&b"goes up"[..]));
    assert_eq!(agent.mirror(MIRROR)["status"], "error");
    assert_eq!(pair.bucket.keys("docs/").await, [""; 0]);
    assert!(!written.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_no_folder_to_be_mirrored() {
    let pair = Pair::new().await;
    let agent = pair.start().await;
    let file = pair.home.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let refused = agent.run(&["sync", "mirror", file.to_str().unwrap(), "/other"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is no folder"), "{refused:?}");
    assert_eq!(agent.state()["mirrors"].as_array().unwrap().len(), 1);
}
