//! The world itself is tested here: its doubles against the conformance suites, its judge against agents that break one
//! promise each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]

use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use gosync_engine::MirrorConfig;
use gosync_engine::ports::local::Kind;
use gosync_engine::ports::runtime::blocking;
use gosync_engine::ports::store::{Condition, ListRequest, PutRequest};
use gosync_engine::ports::{Lease, LocalTree, Ports, StoreErrorKind, TreeErrorKind};
use gosync_plan::Direction;

mod conformance;
mod scripted;

use crate::disk::Renaming;
use crate::options::{Faults, Leasing, Options};
use crate::run::{Mirror, Outcome, simulate_with};
use crate::runtime::Port;
use crate::tree::SimTree;
use crate::world::{World, lock};

fn calm() -> Options {
    Options { faults: Faults::NONE, steps: 0, agents: 1, ..Options::new(7) }
}

/// A tree of a world in which nothing happens by itself.
fn tree() -> SimTree {
    let mut world = World::new(&calm());
    world.profile.leasing = Leasing::Always;
    (world.profile.exchange, world.profile.links) = (true, true);
    world.replicas[0].disk.tick_ns = 1;
    world.replicas[0].disk.permissions = false;
    let world = Arc::new(Mutex::new(world));
    let life = lock(&world).boot(0);
    SimTree(Port { world, replica: 0, life })
}

fn by<F: Future<Output = ()> + Send + 'static>(agent: impl Fn(Ports) -> F) -> impl Fn(MirrorConfig, Ports) -> Mirror {
    move |_, ports| {
        let work = agent(ports);
        let forever = async {
            work.await;
            pending().await
        };
        (None, Box::pin(forever))
    }
}

/// What a single agent answers that nobody disturbs.
fn answer_of<T, F>(agent: impl Fn(Ports) -> F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let slot = Arc::new(Mutex::new(None));
    let filled = Arc::clone(&slot);
    let _ = simulate_with(
        &calm(),
        &by(|ports| {
            let (work, slot) = (agent(ports), Arc::clone(&filled));
            async move {
                let answer = work.await;
                *slot.lock().unwrap() = Some(answer);
            }
        }),
    );
    let answer = slot.lock().unwrap().take();
    answer.expect("the agent came to its end")
}

#[test]
fn a_program_that_writes_or_maps_a_file_refuses_the_lease() {
    let tree = tree();
    drop(tree.create("a", 0o644).unwrap());
    let file = tree.open("a").unwrap();
    let ino = usize::try_from(tree.stat("a").unwrap().fingerprint.inode).unwrap();
    let disk = |act: &dyn Fn(&mut crate::disk::Inode)| act(tree.0.lock().replicas[0].disk.inode_mut(ino));
    disk(&|inode| inode.leasable = true);
    assert_eq!(file.lease(), Lease::Granted);
    file.release_lease();
    disk(&|inode| inode.mappings = 1);
    assert_eq!(file.lease(), Lease::Busy);
    disk(&|inode| (inode.mappings, inode.leasable) = (0, false));
    assert_eq!(file.lease(), Lease::Unavailable);
}

#[test]
fn an_exchange_moves_ctime_and_nothing_else_that_a_change_of_content_moves() {
    let tree = tree();
    drop(tree.create("a", 0o644).unwrap());
    drop(tree.create("b", 0o600).unwrap());
    let before = tree.stat("a").unwrap().fingerprint;
    tree.exchange("a", "b").unwrap();
    let after = tree.stat("b").unwrap().fingerprint;
    assert!(after.same_but_ctime(&before) && after.ctime_ns != before.ctime_ns);
}

#[test]
fn a_program_goes_on_writing_to_the_file_that_it_opened() {
    let tree = tree();
    drop(tree.create("a", 0o644).unwrap());
    let ino = usize::try_from(tree.stat("a").unwrap().fingerprint.inode).unwrap();
    drop(tree.create("new", 0o644).unwrap());
    tree.exchange("a", "new").unwrap();
    let world = &mut *tree.0.lock();
    world.replicas[0].disk.write(ino, 0, b"late");
    let disk = &world.replicas[0].disk;
    assert_eq!(disk.bytes(disk.lookup("new").unwrap()), b"late");
    assert_eq!(disk.bytes(disk.lookup("a").unwrap()), b"");
}

#[test]
fn a_store_through_a_mapping_moves_no_time() {
    let tree = tree();
    drop(tree.create("a", 0o644).unwrap());
    let before = tree.stat("a").unwrap();
    let ino = usize::try_from(before.fingerprint.inode).unwrap();
    tree.0.lock().user_acts(0, |world| world.replicas[0].disk.write(ino, 0, b"one"));
    let written = tree.stat("a").unwrap();
    tree.0.lock().user_acts(0, |world| world.replicas[0].disk.store(ino, 0, b"two"));
    assert_eq!(tree.stat("a").unwrap(), written);
    assert_ne!(before, written);
}

#[test]
fn an_agent_that_is_not_root_meets_permissions_and_its_users_do_not() {
    let tree = tree();
    tree.make_folder("d").unwrap();
    drop(tree.create("d/a", 0o644).unwrap());
    {
        let world = &mut *tree.0.lock();
        let disk = &mut world.replicas[0].disk;
        disk.permissions = true;
        let folder = disk.lookup("d").unwrap();
        disk.set_mode(folder, 0);
        assert!(disk.rename("d/a", "d/b", Renaming::Replace).is_ok());
    }
    assert_eq!(tree.read_folder("d").unwrap_err().kind, TreeErrorKind::Permission);
    assert_eq!(tree.stat("d/b").unwrap_err().kind, TreeErrorKind::Permission);
    assert_eq!(tree.stat("d").unwrap().kind, Kind::Folder);
}

#[test]
fn what_an_agent_did_not_sync_may_be_gone_after_a_power_loss() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..40 {
        let tree = tree();
        tree.0.lock().dice = crate::dice::Dice::new(seed);
        let synced = tree.create("synced", 0o644).unwrap();
        synced.write_at(0, b"content").unwrap();
        synced.sync().unwrap();
        tree.sync_folder("").unwrap();
        tree.create("unsynced", 0o644).unwrap().write_at(0, b"content").unwrap();
        let world = &mut *tree.0.lock();
        world.lose_power(0);
        let disk = &world.replicas[0].disk;
        assert_eq!(disk.bytes(disk.lookup("synced").unwrap()), b"content");
        outcomes.insert(disk.lookup("unsynced").ok().map(|ino| disk.bytes(ino).len()));
    }
    assert!(outcomes.contains(&None), "the name may be gone");
    assert!(outcomes.contains(&Some(0)), "the name may be there without its data");
    assert!(outcomes.contains(&Some(7)), "all may be there");
}

#[test]
fn what_a_user_wrote_and_nobody_synced_may_come_back_shorter_or_as_it_was() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..40 {
        let tree = tree();
        let world = &mut *tree.0.lock();
        (world.dice, world.replicas[0].disk.users_sync) = (crate::dice::Dice::new(seed), false);
        let disk = &mut world.replicas[0].disk;
        let ino = disk.create("a", 0o644).unwrap();
        disk.write(ino, 0, b"before");
        disk.sync_file(ino);
        let synced = disk.inode(ino).mtime_ns;
        disk.write(ino, 0, b"content");
        world.lose_power(0);
        let disk = &world.replicas[0].disk;
        outcomes.insert((disk.bytes(ino).len(), disk.inode(ino).mtime_ns == synced));
    }
    assert!(outcomes.contains(&(0, false)), "the data is gone, the new time is not: {outcomes:?}");
    assert!(outcomes.contains(&(6, true)), "it is as it was: {outcomes:?}");
    assert!(outcomes.contains(&(7, false)), "all may be there: {outcomes:?}");
}

#[test]
fn agents_that_work_one_way_are_caught_where_they_work_the_other() {
    let broken = |direction| {
        let tree = tree();
        let world = &mut *tree.0.lock();
        world.profile.directions = vec![direction];
        world.may_write_to_bucket(0, "PUT");
        world.may_write_to_tree(0, "a");
        world.may_write_to_tree(0, ".gosync/tmp/a");
        world.violations.iter().map(|violation| violation.promise).collect::<Vec<_>>()
    };
    assert_eq!(broken(Direction::TwoWay), Vec::<&str>::new());
    assert_eq!(broken(Direction::Push), ["push"]);
    assert_eq!(broken(Direction::Pull), ["pull"]);
}

#[test]
fn a_killed_process_reaches_nothing_any_more() {
    let tree = tree();
    tree.0.lock().kill(0);
    assert_eq!(tree.stat("").unwrap_err().kind, TreeErrorKind::Killed);
}

/// Agents that are given some time to see what people did, and then work on all paths that they see.
async fn after_a_while(ports: &Ports) -> (Vec<String>, Vec<String>) {
    ports.clock.sleep_ms(20_000).await;
    let mut keys = Vec::new();
    let mut token = None;
    loop {
        let request = ListRequest { token: token.take(), ..ListRequest::default() };
        let page = ports.store.list(request).await.unwrap();
        keys.extend(page.objects.into_iter().map(|object| object.key).filter(|key| !key.contains(".gosync")));
        match page.next {
            Some(next) => token = Some(next),
            None => break,
        }
    }
    let tree = Arc::clone(&ports.local);
    let names = blocking(&*ports.workers, move || {
        let names = tree.read_folder("").unwrap().into_iter().filter_map(|entry| entry.name.ok());
        names.filter(|name| tree.stat(name).is_ok_and(|stat| stat.kind == Kind::File)).collect()
    });
    (names.await.unwrap(), keys)
}

fn broken_by<F: Future<Output = ()> + Send + 'static>(agent: impl Fn(Ports) -> F) -> BTreeSet<&'static str> {
    let broken = |seed| {
        let options = Options { faults: Faults::NONE, steps: 100, ..Options::new(seed) };
        simulate_with(&options, &by(&agent)).violations
    };
    (0..6).flat_map(broken).map(|violation| violation.promise).collect()
}

#[test]
fn an_agent_that_does_nothing_breaks_only_the_promise_to_settle() {
    assert_eq!(broken_by(|_| async {}), BTreeSet::from(["P2"]));
}

#[test]
fn an_agent_that_deletes_objects_which_nobody_deleted_is_caught() {
    let broken = broken_by(|ports| async move {
        let (_, keys) = after_a_while(&ports).await;
        for key in keys {
            ports.store.delete(&key, &Condition::None).await.unwrap();
        }
    });
    assert!(broken.contains("P5") && broken.contains("P1"), "{broken:?}");
}

#[test]
fn an_agent_that_trashes_files_which_nobody_deleted_is_caught() {
    let broken = broken_by(|ports| async move {
        let (names, _) = after_a_while(&ports).await;
        let tree = Arc::clone(&ports.local);
        let trash = move || {
            let _ = tree.make_folder(".gosync");
            let _ = tree.make_folder(".gosync/trash");
            for name in names {
                let _ = tree.rename(&name, &format!(".gosync/trash/{name}"));
            }
        };
        blocking(&*ports.workers, trash).await.unwrap();
    });
    assert!(broken.contains("P5") && !broken.contains("P1"), "{broken:?}");
}

#[test]
fn an_agent_that_removes_the_only_copy_is_caught() {
    let broken = broken_by(|ports| async move {
        let (names, _) = after_a_while(&ports).await;
        let tree = Arc::clone(&ports.local);
        blocking(&*ports.workers, move || names.iter().for_each(|name| drop(tree.unlink(name)))).await.unwrap();
    });
    assert!(broken.contains("P1"), "{broken:?}");
}

#[test]
fn an_agent_that_writes_in_place_is_caught() {
    let broken = broken_by(|ports| async move {
        after_a_while(&ports).await;
        let tree = Arc::clone(&ports.local);
        let write = move || {
            let file = tree.create("download", 0o644).unwrap();
            file.write_at(0, b"half a con").unwrap();
        };
        blocking(&*ports.workers, write).await.unwrap();
    });
    assert!(broken.contains("P3"), "{broken:?}");
}

#[test]
fn an_agent_that_sends_half_a_file_is_caught() {
    let broken = broken_by(|ports| async move {
        let (names, _) = after_a_while(&ports).await;
        for name in names {
            let (tree, path) = (Arc::clone(&ports.local), name.clone());
            let read = blocking(&*ports.workers, move || {
                let mut half = vec![0; 3];
                let read = tree.open(&path).unwrap().read_at(0, &mut half).unwrap();
                half.truncate(read);
                half
            });
            let body = Bytes::from(read.await.unwrap());
            for prefix in ["", "p/"] {
                let key = format!("{prefix}{name}");
                let request = PutRequest { key, body: body.clone(), ..PutRequest::default() };
                ports.store.put(request).await.unwrap();
            }
        }
    });
    assert!(broken.contains("P3"), "{broken:?}");
}

#[test]
fn an_agent_that_writes_over_objects_which_it_never_saw_is_caught() {
    let broken = broken_by(|ports| async move {
        let (_, keys) = after_a_while(&ports).await;
        for key in keys {
            let request = PutRequest { key, body: Bytes::from_static(b"mine"), ..PutRequest::default() };
            ports.store.put(request).await.unwrap();
        }
    });
    assert!(broken.contains("P1"), "{broken:?}");
}

#[test]
fn replies_get_lost_after_their_effect_and_requests_fail_before_it() {
    let lost_after = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&lost_after);
    let agent = by(move |ports: Ports| {
        let seen = Arc::clone(&seen);
        async move {
            for number in 0..200 {
                let key = format!("p/.gosync/{number}");
                let request = PutRequest { key: key.clone(), body: Bytes::from(key.clone()), ..PutRequest::default() };
                let failed = ports.store.put(request).await.is_err_and(|error| error.kind == StoreErrorKind::Transport);
                if let (true, Ok(head)) = (failed, ports.store.head(&key).await) {
                    seen.lock().unwrap().insert(head.is_some());
                }
            }
        }
    });
    for seed in 0..20 {
        let faults = Faults { store: true, ..Faults::NONE };
        let _ = simulate_with(&Options { faults, agents: 1, ..Options::new(seed) }, &agent);
    }
    assert_eq!(*lost_after.lock().unwrap(), BTreeSet::from([false, true]));
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let story = |seed| {
        let agent = by(|ports| async move {
            after_a_while(&ports).await;
        });
        let Outcome { story, .. } =
            simulate_with(&Options { story: true, faults: Faults::NONE, ..Options::new(seed) }, &agent);
        story
    };
    assert!(!story(1).is_empty());
    assert_eq!(story(1), story(1));
    assert_ne!(story(1), story(2));
}
