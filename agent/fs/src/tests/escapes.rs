use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use gosync_engine::ports::local::Kind;
use gosync_engine::ports::{LocalTree, TreeError, TreeErrorKind};
use gosync_plan::facts::Special;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};

use super::places::{in_own_namespaces, on_each_tree};
use crate::tree::DiskTree;

#[test]
fn no_symlink_on_the_way_is_followed() {
    on_each_tree(|root, tree| {
        let outside = outside(root);
        fs::create_dir_all(root.join("inside/below")).unwrap();
        fs::write(root.join("inside/below/file"), "inside").unwrap();
        fs::write(root.join("mine"), "mine").unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink("inside", root.join("harmless")).unwrap();
        symlink(".", root.join("inside/self")).unwrap();
        symlink("/", root.join("inside/below/top")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        let ways = [
            "absolute",
            "absolute/below",
            "relative",
            "harmless/below",
            "inside/self/below",
            "inside/below/top",
            "inside/below/top/etc",
            "dangling",
        ];
        for way in ways {
            for name in ["file", "new"] {
                let path = format!("{way}/{name}");
                escapes(&path, tree.stat(&path));
                escapes(&path, tree.open(&path));
                escapes(&path, tree.create(&path, 0o600));
                escapes(&path, tree.read_folder(&path));
                escapes(&path, tree.make_folder(&path));
                escapes(&path, tree.remove_folder(&path));
                escapes(&path, tree.unlink(&path));
                escapes(&path, tree.rename(&path, "other"));
                escapes(&path, tree.rename("mine", &path));
                escapes(&path, tree.rename_new(&path, "other"));
                escapes(&path, tree.rename_new("mine", &path));
                escapes(&path, tree.exchange("mine", &path));
                escapes(&path, tree.exchange(&path, "mine"));
                escapes(&path, tree.link("mine", &path));
                escapes(&path, tree.link(&path, "other"));
                escapes(&path, tree.set_mode(&path, 0o777));
                escapes(&path, tree.copy_attributes("mine", &path));
                escapes(&path, tree.copy_attributes(&path, "mine"));
                escapes(&path, tree.sync_folder(&path));
                assert!(tree.lock(&path).is_err());
            }
        }
        untouched(&outside);
        assert_eq!(fs::read(root.join("mine")).unwrap(), b"mine");
    });
}

#[test]
fn a_symlink_itself_is_told_moved_and_removed_but_never_followed() {
    on_each_tree(|root, tree| {
        let outside = outside(root);
        fs::write(root.join("mine"), "mine").unwrap();
        for target in ["../outside/file", "../outside", "mine", "nowhere"] {
            symlink(target, root.join("link")).unwrap();
            assert_eq!(tree.stat("link").unwrap().kind, Kind::Special(Special::Symlink));
            escapes(target, tree.open("link"));
            escapes(target, tree.read_folder("link"));
            escapes(target, tree.sync_folder("link"));
            escapes(target, tree.set_mode("link", 0o777));
            escapes(target, tree.copy_attributes("mine", "link"));
            escapes(target, tree.copy_attributes("link", "mine"));
            is(TreeErrorKind::Exists, tree.create("link", 0o600));
            is(TreeErrorKind::Exists, tree.make_folder("link"));
            is(TreeErrorKind::Exists, tree.rename_new("mine", "link"));
            is(TreeErrorKind::NotAFolder, tree.remove_folder("link"));
            assert!(tree.lock("link").is_err());
            tree.link("link", "twin").unwrap();
            tree.rename("twin", "moved").unwrap();
            tree.exchange("moved", "mine").unwrap();
            assert_eq!(fs::read_link(root.join("mine")).unwrap(), Path::new(target));
            tree.exchange("moved", "mine").unwrap();
            // A rename between two names of one symlink does nothing, so both are there to be removed.
            tree.unlink("moved").unwrap();
            tree.unlink("link").unwrap();
        }
        untouched(&outside);
        assert_eq!(fs::read(root.join("mine")).unwrap(), b"mine");
    });
}

#[test]
fn a_folder_swapped_for_a_symlink_meanwhile_leads_nowhere() {
    on_each_tree(|root, tree| {
        let outside = outside(root);
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("folder/file"), "inside").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    renameat_with(CWD, root.join("folder"), CWD, root.join("link"), RenameFlags::EXCHANGE).unwrap();
                }
            });
            let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
            let foreign = inode(&outside.join("file"));
            let mut answers = Vec::new();
            for _ in 0..5_000 {
                answers.push(tree.open("folder/file").and_then(|file| file.stat()));
                let _ = tree.set_mode("folder/file", 0o666);
                let _ = tree.create("folder/new", 0o600);
                let _ = tree.unlink("folder/new");
            }
            done.store(true, Ordering::Relaxed);
            for answer in answers {
                match answer {
                    Ok(stat) => assert_ne!(stat.fingerprint.inode, foreign),
                    Err(error) => assert_eq!(error.kind, TreeErrorKind::Escapes, "{error}: {:?}", error.source),
                }
            }
        });
        untouched(&outside);
    });
}

#[test]
fn what_is_neither_file_nor_folder_is_told_and_not_opened() {
    on_each_tree(|root, tree| {
        mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
        let _listener = UnixListener::bind(root.join("socket")).unwrap();
        let mut specials = vec![("fifo", Special::Fifo), ("socket", Special::Socket)];
        // Only with privileges: /dev/null by another name.
        let null = makedev(1, 3);
        if mknodat(CWD, root.join("device"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), null).is_ok() {
            specials.push(("device", Special::Device));
        }
        for (name, special) in specials {
            assert_eq!(tree.stat(name).unwrap().kind, Kind::Special(special));
            let error = tree.open(name).err().unwrap();
            // A file system mounted with nodev refuses by itself.
            assert!(matches!(error.kind, TreeErrorKind::Unsupported | TreeErrorKind::Permission), "{name}: {error:?}");
            is(TreeErrorKind::NotAFolder, tree.read_folder(name));
            is(TreeErrorKind::NotAFolder, tree.stat(&format!("{name}/below")));
            is(TreeErrorKind::Exists, tree.create(name, 0o600));
            tree.unlink(name).unwrap();
        }
    });
}

#[test]
fn another_mount_is_told_and_not_entered() {
    let Some(place) = in_own_namespaces(
        "tests::escapes::another_mount_is_told_and_not_entered",
        "mkdir -p root/folder root/mounted root/bound root/same
        echo inside >root/folder/file
        echo inside >root/file
        mount -t tmpfs none root/mounted
        mkdir root/mounted/below
        echo other >root/mounted/below/file
        mount --bind root/folder root/bound
        mount --bind root/folder/file root/file",
    ) else {
        return;
    };
    let root = place.join("root");
    for make in [crate::beneath::Beneath::new, crate::beneath::Beneath::without_openat2] {
        let tree = DiskTree::open_with(root.clone(), make).unwrap();
        for path in ["mounted", "bound", "file"] {
            let stat = tree.stat(path).unwrap();
            assert_eq!(stat.kind, Kind::Special(Special::Mount), "{path}");
            assert_ne!(stat.mount, tree.opened_root().mount);
        }
        for path in ["mounted/below", "mounted/below/file", "bound/file"] {
            is(TreeErrorKind::OtherMount, tree.stat(path));
            is(TreeErrorKind::OtherMount, tree.open(path));
            is(TreeErrorKind::OtherMount, tree.unlink(path));
            is(TreeErrorKind::OtherMount, tree.set_mode(path, 0o777));
            is(TreeErrorKind::OtherMount, tree.rename_new("folder/file", path));
            is(TreeErrorKind::OtherMount, tree.link("folder/file", path));
        }
        is(TreeErrorKind::OtherMount, tree.create("mounted/new", 0o600));
        is(TreeErrorKind::OtherMount, tree.make_folder("mounted/new"));
        is(TreeErrorKind::OtherMount, tree.read_folder("mounted"));
        is(TreeErrorKind::OtherMount, tree.read_folder("bound"));
        is(TreeErrorKind::OtherMount, tree.open("file"));
        is(TreeErrorKind::OtherMount, tree.remove_folder("mounted"));
        is(TreeErrorKind::OtherMount, tree.unlink("file"));
        is(TreeErrorKind::OtherMount, tree.rename("folder/file", "file"));
        is(TreeErrorKind::OtherMount, tree.exchange("folder/file", "file"));
        assert_eq!(fs::read(root.join("folder/file")).unwrap(), b"inside\n");
        assert_eq!(tree.stat("folder").unwrap().mount, tree.opened_root().mount);
    }
}

#[test]
fn calls_stay_in_the_root_that_was_opened() {
    on_each_tree(|root, tree| {
        fs::write(root.join("file"), "first").unwrap();
        assert_eq!(tree.root().unwrap(), tree.opened_root());
        let aside = root.parent().unwrap().join("aside");
        fs::rename(root, &aside).unwrap();
        is(TreeErrorKind::NotFound, tree.root());
        assert_eq!(tree.stat("file").unwrap().fingerprint.size, 5);

        fs::create_dir(root).unwrap();
        assert_ne!(tree.root().unwrap(), tree.opened_root());
        tree.unlink("file").unwrap();
        tree.create("new", 0o600).unwrap();
        assert!(aside.join("new").exists());
        assert!(!root.join("new").exists());

        fs::remove_dir(root).unwrap();
        fs::write(root, "a file").unwrap();
        is(TreeErrorKind::NotAFolder, tree.root());
    });
}

/// A folder beside the root that nobody may touch.
fn outside(root: &Path) -> std::path::PathBuf {
    let outside = root.parent().unwrap().join("outside");
    fs::create_dir_all(outside.join("below")).unwrap();
    fs::write(outside.join("file"), "outside").unwrap();
    fs::write(outside.join("below/file"), "outside").unwrap();
    for file in ["file", "below/file"] {
        fs::set_permissions(outside.join(file), std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    }
    outside
}

fn untouched(outside: &Path) {
    for folder in [outside.to_owned(), outside.join("below")] {
        let file = fs::metadata(folder.join("file")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&file), 0o100_640);
        assert_eq!(fs::read(folder.join("file")).unwrap(), b"outside");
    }
    assert_eq!(fs::read_dir(outside).unwrap().count(), 2);
    assert_eq!(fs::read_dir(outside.join("below")).unwrap().count(), 1);
}

#[track_caller]
fn is<T>(kind: TreeErrorKind, result: Result<T, TreeError>) {
    let error = result.err().expect("an error");
    assert_eq!(error.kind, kind, "{error}: {:?}", error.source);
}

#[track_caller]
fn escapes<T>(what: &str, result: Result<T, TreeError>) {
    let error = result.err().unwrap_or_else(|| panic!("{what} leads out"));
    assert_eq!(error.kind, TreeErrorKind::Escapes, "{what}: {error}: {:?}", error.source);
}
