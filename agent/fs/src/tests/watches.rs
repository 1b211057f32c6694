use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::places::{give_away, in_own_namespaces, places, unprivileged};
use crate::watch::{Watch, WatchErrorKind, WatchEvent, WatchOptions};

/// Far more than any event takes: reached only when the event never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A watched root and what was told of it.
struct Watched {
    root: PathBuf,
    events: Receiver<WatchEvent>,
    _watch: Watch,
}

impl Watched {
    fn new(root: &Path) -> Self {
        let (sender, events) = channel();
        let options = WatchOptions { root_check_ms: 50, ..WatchOptions::default() };
        let watch = Watch::start(root, move |event| drop(sender.send(event)), options).unwrap();
        Self { root: root.to_owned(), events, _watch: watch }
    }

    /// Everything that is told until `last`, with it.
    #[track_caller]
    fn until(&self, last: &WatchEvent) -> Vec<WatchEvent> {
        let mut told = Vec::new();
        while told.last() != Some(last) {
            match self.events.recv_timeout(PATIENCE) {
                Ok(event) => told.push(event),
                Err(_) => panic!("{last:?} never came, only {told:?}"),
            }
        }
        told
    }

    /// Everything that is told of what was done so far.
    #[track_caller]
    fn so_far(&self) -> Vec<WatchEvent> {
        fs::write(self.root.join("the end"), "").unwrap();
        let mut told = self.until(&WatchEvent::Closed("the end".into()));
        fs::remove_file(self.root.join("the end")).unwrap();
        self.until(&WatchEvent::Removed("the end".into()));
        told.retain(|event| path_of(event) != Some("the end"));
        told
    }

    /// Waits until each of `files` was told, or stood in a folder that was announced when that was heard.
    #[track_caller]
    fn seen(&self, files: impl IntoIterator<Item = String>) {
        let mut missing: HashSet<String> = files.into_iter().collect();
        while !missing.is_empty() {
            match self.events.recv_timeout(PATIENCE) {
                Ok(FolderAppeared(folder)) => {
                    missing.retain(|file| !Path::new(file).starts_with(&folder) || !self.root.join(file).exists());
                }
                Ok(event) => drop(path_of(&event).map(|path| missing.remove(path))),
                Err(_) => panic!("{missing:?} never came"),
            }
        }
    }

    /// Waits until every one of `expected` was told, in whatever order.
    #[track_caller]
    fn all(&self, expected: impl IntoIterator<Item = WatchEvent>) {
        let mut missing: HashSet<WatchEvent> = expected.into_iter().collect();
        while !missing.is_empty() {
            match self.events.recv_timeout(PATIENCE) {
                Ok(event) => missing.remove(&event),
                Err(_) => panic!("{missing:?} never came"),
            };
        }
    }
}

fn path_of(event: &WatchEvent) -> Option<&str> {
    match event {
        WatchEvent::Changed(path)
        | WatchEvent::Closed(path)
        | WatchEvent::Renamed(path)
        | WatchEvent::Removed(path)
        | WatchEvent::FolderAppeared(path) => Some(path),
        WatchEvent::Overflow | WatchEvent::LimitReached | WatchEvent::Lost => None,
    }
}

fn on_each_root(test: impl Fn(&Path)) {
    for place in places() {
        let root = place.path().join("root");
        fs::create_dir(&root).unwrap();
        test(&root);
    }
}

use WatchEvent::{Changed, Closed, FolderAppeared, LimitReached, Lost, Overflow, Removed, Renamed};

#[test]
fn a_save_by_rename_tells_both_names_and_the_close() {
    on_each_root(|root| {
        fs::write(root.join("file"), "old").unwrap();
        let watched = Watched::new(root);
        fs::write(root.join(".file.swp"), "new").unwrap();
        fs::rename(root.join(".file.swp"), root.join("file")).unwrap();
        let told = watched.so_far();
        assert!(told.contains(&Closed(".file.swp".into())), "{told:?}");
        assert_eq!(told[told.len() - 2..], [Renamed(".file.swp".into()), Renamed("file".into())]);
    });
}

#[test]
fn writing_reading_chmod_and_removal_tell_what_they_should() {
    on_each_root(|root| {
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("folder/file"), "content").unwrap();
        let watched = Watched::new(root);
        fs::read(root.join("folder/file")).unwrap();
        fs::read_dir(root.join("folder")).unwrap().for_each(drop);
        assert_eq!(watched.so_far(), []);
        fs::set_permissions(root.join("folder/file"), PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(watched.so_far(), [Changed("folder/file".into())]);
        let mut file = fs::File::options().append(true).open(root.join("folder/file")).unwrap();
        std::io::Write::write_all(&mut file, b"more").unwrap();
        assert_eq!(watched.so_far(), [Changed("folder/file".into())]);
        drop(file);
        assert_eq!(watched.so_far(), [Closed("folder/file".into())]);
        fs::hard_link(root.join("folder/file"), root.join("link")).unwrap();
        assert!(watched.so_far().contains(&Changed("link".into())));
        fs::remove_file(root.join("folder/file")).unwrap();
        assert!(watched.so_far().contains(&Removed("folder/file".into())));
    });
}

#[test]
fn nothing_is_missed_in_folders_that_are_made_at_once() {
    on_each_root(|root| {
        let watched = Watched::new(root);
        for round in 0..50 {
            let top = format!("top {round}");
            let deep = format!("{top}/a/b/c");
            fs::create_dir_all(root.join(&deep)).unwrap();
            fs::write(root.join(&deep).join("early"), "").unwrap();
            watched.until(&FolderAppeared(top));
            fs::write(root.join(&deep).join("late"), "").unwrap();
            watched.seen([format!("{deep}/late")]);
            // Now that it has come to rest.
            watched.so_far();
            fs::write(root.join(&deep).join("early"), "").unwrap();
            watched.all([Closed(format!("{deep}/early"))]);
        }
    });
}

#[test]
fn nothing_is_missed_in_a_storm_of_folders() {
    on_each_root(|root| {
        let watched = Watched::new(root);
        let paths: Vec<String> =
            (0..1_000).map(|number| format!("{}/{}/{}/file", number % 7, number % 31, number)).collect();
        for path in &paths {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), "").unwrap();
        }
        watched.seen(paths);
    });
}

#[test]
fn a_folder_that_is_moved_in_is_announced_and_watched_and_one_moved_out_is_not() {
    on_each_root(|root| {
        let outside = root.parent().unwrap().join("folder");
        fs::create_dir_all(outside.join("a/b")).unwrap();
        fs::write(outside.join("a/b/file"), "").unwrap();
        let watched = Watched::new(root);

        fs::rename(&outside, root.join("folder")).unwrap();
        assert_eq!(
            watched.until(&FolderAppeared("folder".into())),
            [Renamed("folder".into()), FolderAppeared("folder".into())]
        );
        fs::write(root.join("folder/a/b/file"), "in").unwrap();
        watched.all([Closed("folder/a/b/file".into())]);

        // Within: what is written there is told by its new path.
        fs::rename(root.join("folder"), root.join("moved")).unwrap();
        watched.all([Renamed("folder".into()), Renamed("moved".into()), FolderAppeared("moved".into())]);
        fs::write(root.join("moved/a/b/file"), "within").unwrap();
        watched.all([Closed("moved/a/b/file".into())]);

        fs::rename(root.join("moved"), &outside).unwrap();
        watched.all([Renamed("moved".into())]);
        // The last events may still be on their way, then there are no more.
        loop {
            fs::write(outside.join("a/b/file"), "out").unwrap();
            if watched.so_far().is_empty() {
                break;
            }
        }

        // In again, under the first name.
        fs::rename(&outside, root.join("folder")).unwrap();
        watched.all([FolderAppeared("folder".into())]);
        fs::write(root.join("folder/a/b/file"), "in again").unwrap();
        watched.all([Closed("folder/a/b/file".into())]);
    });
}

#[test]
fn a_folder_that_is_removed_and_made_again_is_watched_again() {
    on_each_root(|root| {
        fs::create_dir_all(root.join("a/b")).unwrap();
        let watched = Watched::new(root);
        for round in 0..50 {
            fs::remove_dir_all(root.join("a")).unwrap();
            fs::create_dir_all(root.join("a/b")).unwrap();
            watched.until(&FolderAppeared("a".into()));
            let path = format!("a/b/file {round}");
            fs::write(root.join(&path), "").unwrap();
            watched.seen([path.clone()]);
            watched.so_far();
            fs::write(root.join(&path), "").unwrap();
            watched.all([Closed(path)]);
        }
    });
}

#[test]
fn folders_that_change_places_stay_watched() {
    on_each_root(|root| {
        fs::create_dir_all(root.join("a/only in the first")).unwrap();
        fs::create_dir_all(root.join("b/only in the second")).unwrap();
        let watched = Watched::new(root);
        for round in 0..101 {
            renameat_with(CWD, root.join("a"), CWD, root.join("b"), RenameFlags::EXCHANGE).unwrap();
            if round % 10 == 0 {
                watched.so_far();
            }
        }
        watched.so_far();
        for path in ["a/only in the second/file", "b/only in the first/file"] {
            fs::write(root.join(path), "").unwrap();
            watched.all([Closed(path.into())]);
        }
    });
}

#[test]
fn five_thousand_files_at_once_are_all_told() {
    on_each_root(|root| {
        let watched = Watched::new(root);
        let paths: Vec<String> = (0..5_000).map(|number| format!("file {number}")).collect();
        for path in &paths {
            fs::write(root.join(path), "").unwrap();
        }
        watched.all(paths.into_iter().map(Closed));
    });
}

#[test]
fn our_own_folder_is_never_told() {
    on_each_root(|root| {
        let watched = Watched::new(root);
        fs::create_dir_all(root.join(".gosync/tmp")).unwrap();
        fs::write(root.join(".gosync/tmp/file"), "").unwrap();
        assert_eq!(watched.so_far(), []);
        // A rename out of it is told by its new name.
        fs::rename(root.join(".gosync/tmp/file"), root.join("file")).unwrap();
        assert_eq!(watched.so_far(), [Renamed("file".into())]);
        fs::create_dir_all(root.join("folder/.gosync")).unwrap();
        assert!(watched.so_far().contains(&FolderAppeared("folder".into())));
        drop(watched);
        let again = Watched::new(root);
        fs::write(root.join(".gosync/tmp/other"), "").unwrap();
        assert_eq!(again.so_far(), []);
    });
}

#[test]
fn a_name_that_is_not_utf_8_is_told_by_its_folder() {
    on_each_root(|root| {
        let watched = Watched::new(root);
        fs::create_dir(root.join("folder")).unwrap();
        watched.all([FolderAppeared("folder".into())]);
        fs::write(root.join("folder").join(OsStr::from_bytes(b"\xff")), "").unwrap();
        watched.all([Changed("folder".into())]);
        fs::create_dir(root.join(OsStr::from_bytes(b"\xfe"))).unwrap();
        watched.all([Changed(String::new())]);
    });
}

#[test]
fn an_unreadable_folder_blocks_only_itself() {
    on_each_root(|root| {
        give_away(root);
        unprivileged(|| {
            for folder in ["a", "closed", "z"] {
                fs::create_dir(root.join(folder)).unwrap();
            }
            fs::set_permissions(root.join("closed"), PermissionsExt::from_mode(0o000)).unwrap();
            let watched = Watched::new(root);
            for folder in ["a", "z"] {
                fs::write(root.join(folder).join("file"), "").unwrap();
                watched.all([Closed(format!("{folder}/file"))]);
            }
            fs::set_permissions(root.join("closed"), PermissionsExt::from_mode(0o700)).unwrap();
            watched.all([FolderAppeared("closed".into())]);
            fs::write(root.join("closed/file"), "").unwrap();
            watched.all([Closed("closed/file".into())]);
        });
    });
}

#[test]
fn after_an_overflow_everything_is_watched_anew() {
    on_each_root(|root| {
        let (sender, events) = channel();
        let (gate, opened) = channel::<()>();
        let sink = move |event| {
            // The first event is held back until the queue behind it has overflowed.
            let _ = opened.recv();
            drop(sender.send(event));
        };
        let options = WatchOptions { queue_events_max: 10, ..WatchOptions::default() };
        let watch = Watch::start(root, sink, options).unwrap();
        for number in 0..1_000 {
            fs::write(root.join(format!("file {number}")), "").unwrap();
        }
        fs::create_dir_all(root.join("a/b")).unwrap();
        drop(gate);
        let watched = Watched { root: root.to_owned(), events, _watch: watch };
        watched.until(&Overflow);
        fs::write(root.join("a/b/file"), "").unwrap();
        // As the queue is that small, more may be lost: then it says so again.
        loop {
            match watched.events.recv_timeout(PATIENCE).unwrap() {
                Closed(path) if path == "a/b/file" => break,
                Overflow => fs::write(root.join("a/b/file"), "").unwrap(),
                _ => {}
            }
        }
    });
}

#[test]
fn a_root_that_goes_away_is_lost() {
    for take_away in [
        |root: &Path| fs::remove_dir(root).unwrap(),
        |root: &Path| fs::rename(root, root.with_extension("moved")).unwrap(),
        // No event is raised for what happens to a folder above.
        |root: &Path| fs::rename(root.parent().unwrap(), root.parent().unwrap().with_extension("moved")).unwrap(),
        |root: &Path| {
            fs::rename(root, root.with_extension("moved")).unwrap();
            fs::create_dir(root).unwrap();
        },
    ] {
        on_each_root(|above| {
            let root = above.join("in/root");
            fs::create_dir_all(&root).unwrap();
            let watched = Watched::new(&root);
            take_away(&root);
            watched.until(&Lost);
            assert_eq!(
                watched.events.recv_timeout(PATIENCE),
                Err(RecvTimeoutError::Disconnected),
                "the watch has ended"
            );
        });
    }
}

#[test]
fn a_root_that_is_mounted_over_or_unmounted_is_lost() {
    let Some(place) = in_own_namespaces(
        "tests::watches::a_root_that_is_mounted_over_or_unmounted_is_lost",
        "mkdir root over; mount -t tmpfs none root",
    ) else {
        return;
    };
    let root = place.join("root");
    let run = |command: &str, arguments: &[&str]| {
        assert!(std::process::Command::new(command).args(arguments).arg(&root).status().unwrap().success());
    };
    let watched = Watched::new(&root);
    run("mount", &["-t", "tmpfs", "none"]);
    watched.until(&Lost);
    run("umount", &[]);
    let watched = Watched::new(&root);
    run("umount", &["--lazy"]);
    watched.until(&Lost);
}

#[test]
fn the_limit_of_watches_is_told_when_it_is_reached() {
    let Some(place) = in_own_namespaces(
        "tests::watches::the_limit_of_watches_is_told_when_it_is_reached",
        "mkdir -p root/a root/b many/a many/b many/c many/d many/e many/f
        echo 6 >/proc/sys/user/max_inotify_watches
        echo 2 >/proc/sys/user/max_inotify_instances",
    ) else {
        return;
    };
    let start = |root: &str| Watch::start(place.join(root), drop, WatchOptions::default());
    assert_eq!(start("many").unwrap_err().kind, WatchErrorKind::LimitReached);

    let watched = Watched::new(&place.join("root"));
    for folder in ["c", "d", "e", "f", "g"] {
        fs::create_dir(place.join("root").join(folder)).unwrap();
    }
    watched.until(&LimitReached);
    // What is watched stays so.
    fs::write(place.join("root/a/file"), "").unwrap();
    let told = watched.until(&Closed("a/file".into()));
    assert!(!told.contains(&LimitReached), "once is enough");

    let _second = start("root/a");
    assert_eq!(start("root/b").unwrap_err().kind, WatchErrorKind::LimitReached);
}

#[test]
fn a_root_that_is_not_there_is_no_watch() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("file"), "").unwrap();
    for root in ["no", "file"] {
        let error = Watch::start(place.path().join(root), drop, WatchOptions::default()).unwrap_err();
        assert_eq!(error.kind, WatchErrorKind::Root);
    }
}
