//! What every [`LocalTree`] does, whatever it stands on: the conformance suite of the port.
//!
//! Each check is given an empty tree that nobody else writes to, and tells what was wrong. Only what can be done through
//! the port is here: symlinks, other mounts, permissions and the like are tested where they can be made.

use super::local::Kind;
use super::{Lease, LocalTree, Stat, TreeError, TreeErrorKind, TreeFile};

/// A check, given a fresh tree.
pub type Check = fn(&dyn LocalTree) -> Result<(), String>;

/// All of them, by name.
pub const CHECKS: &[(&str, Check)] = &[
    ("the_root_is_a_folder_and_stays_what_it_was", the_root_is_a_folder_and_stays_what_it_was),
    ("what_was_written_is_read", what_was_written_is_read),
    ("a_file_grows_and_shrinks", a_file_grows_and_shrinks),
    ("a_file_is_opened_again_for_writing", a_file_is_opened_again_for_writing),
    ("creating_never_replaces", creating_never_replaces),
    ("what_is_not_there_is_not_found", what_is_not_there_is_not_found),
    ("below_a_file_there_is_no_folder", below_a_file_there_is_no_folder),
    ("files_and_folders_are_told_apart", files_and_folders_are_told_apart),
    ("a_folder_tells_all_its_names", a_folder_tells_all_its_names),
    ("a_folder_with_names_in_it_stays", a_folder_with_names_in_it_stays),
    ("a_rename_replaces_and_keeps_the_inode", a_rename_replaces_and_keeps_the_inode),
    ("a_rename_respects_folders", a_rename_respects_folders),
    ("a_folder_moves_with_all_below_it", a_folder_moves_with_all_below_it),
    ("a_rename_to_a_new_name_replaces_nothing", a_rename_to_a_new_name_replaces_nothing),
    ("an_exchange_swaps_two_names", an_exchange_swaps_two_names),
    ("a_link_is_a_second_name", a_link_is_a_second_name),
    ("mode_and_time_are_kept_to_the_last_bit", mode_and_time_are_kept_to_the_last_bit),
    ("an_open_file_outlives_its_name", an_open_file_outlives_its_name),
    ("a_copy_is_whole", a_copy_is_whole),
    ("a_lease_is_refused_while_somebody_writes", a_lease_is_refused_while_somebody_writes),
    ("attributes_go_from_one_file_to_another", attributes_go_from_one_file_to_another),
    ("any_legal_name_works", any_legal_name_works),
    ("a_name_that_is_too_long_is_refused", a_name_that_is_too_long_is_refused),
    ("no_path_leads_out_of_the_root", no_path_leads_out_of_the_root),
    ("what_is_there_can_be_made_durable", what_is_there_can_be_made_durable),
];

fn the_root_is_a_folder_and_stays_what_it_was(tree: &dyn LocalTree) -> Result<(), String> {
    let opened = tree.opened_root();
    same("the root", &done("root", tree.root())?, &opened)?;
    done("make folder", tree.make_folder("folder"))?;
    same("the root with a folder in it", &done("root", tree.root())?, &opened)?;
    let root = done("stat of the root", tree.stat(""))?;
    same("the kind of the root", &root.kind, &Kind::Folder)?;
    same("the inode of the root", &root.fingerprint.inode, &opened.inode)?;
    same("the mount of the root", &root.mount, &opened.mount)?;
    let folder = done("stat of the folder", tree.stat("folder"))?;
    same("the mount of the folder", &folder.mount, &opened.mount)
}

fn what_was_written_is_read(tree: &dyn LocalTree) -> Result<(), String> {
    done("make folder", tree.make_folder("folder"))?;
    let file = done("create", tree.create("folder/file", 0o600))?;
    done("write", file.write_at(0, b"hello"))?;
    done("write", file.write_at(5, b" world"))?;
    done("write over", file.write_at(0, b"H"))?;
    same("the content by the creator", &content(&*file)?, &b"Hello world".to_vec())?;

    let opened = done("open", tree.open("folder/file"))?;
    same("the content by another", &content(&*opened)?, &b"Hello world".to_vec())?;
    let mut buffer = [0; 8];
    same("bytes read at the end", &done("read", opened.read_at(11, &mut buffer))?, &0)?;
    same("bytes read after the end", &done("read", opened.read_at(1_000, &mut buffer))?, &0)?;

    let stat = done("stat", tree.stat("folder/file"))?;
    same("the kind", &stat.kind, &Kind::File)?;
    same("the size", &stat.fingerprint.size, &11)?;
    same("the links", &stat.links, &1)?;
    same("the mode", &stat.fingerprint.mode, &0o100_600)?;
    same("what the open file tells", &done("fstat", opened.stat())?, &stat)
}

fn a_file_grows_and_shrinks(tree: &dyn LocalTree) -> Result<(), String> {
    let file = done("create", tree.create("file", 0o600))?;
    done("write", file.write_at(0, b"abcdef"))?;
    done("shorten", file.set_len(2))?;
    done("lengthen", file.set_len(4))?;
    same("the content", &content(&*file)?, &b"ab\0\0".to_vec())?;
    done("write behind the end", file.write_at(6, b"x"))?;
    same("the content", &content(&*file)?, &b"ab\0\0\0\0x".to_vec())
}

fn a_file_is_opened_again_for_writing(tree: &dyn LocalTree) -> Result<(), String> {
    write(tree, "file", b"abcdef")?;
    let file = done("open for writing", tree.reopen("file"))?;
    done("write", file.write_at(2, b"XY"))?;
    same("the content", &read(tree, "file")?, &b"abXYef".to_vec())?;
    done("make folder", tree.make_folder("folder"))?;
    refused("open a folder for writing", tree.reopen("folder"), TreeErrorKind::IsAFolder)?;
    refused("open what is not there", tree.reopen("no"), TreeErrorKind::NotFound)
}

fn creating_never_replaces(tree: &dyn LocalTree) -> Result<(), String> {
    write(tree, "file", b"content")?;
    done("make folder", tree.make_folder("folder"))?;
    refused("create over a file", tree.create("file", 0o600), TreeErrorKind::Exists)?;
    refused("create over a folder", tree.create("folder", 0o600), TreeErrorKind::Exists)?;
    refused("make folder over a file", tree.make_folder("file"), TreeErrorKind::Exists)?;
    refused("make folder over a folder", tree.make_folder("folder"), TreeErrorKind::Exists)?;
    same("the content", &read(tree, "file")?, &b"content".to_vec())
}

fn what_is_not_there_is_not_found(tree: &dyn LocalTree) -> Result<(), String> {
    write(tree, "file", b"")?;
    for path in ["no", "no/such/path"] {
        refused("stat", tree.stat(path), TreeErrorKind::NotFound)?;
        refused("open", tree.open(path), TreeErrorKind::NotFound)?;
        refused("read folder", tree.read_folder(path), TreeErrorKind::NotFound)?;
        refused("sync folder", tree.sync_folder(path), TreeErrorKind::NotFound)?;
        refused("remove folder", tree.remove_folder(path), TreeErrorKind::NotFound)?;
        refused("unlink", tree.unlink(path), TreeErrorKind::NotFound)?;
        refused("set mode", tree.set_mode(path, 0o600), TreeErrorKind::NotFound)?;
        refused("rename", tree.rename(path, "other"), TreeErrorKind::NotFound)?;
        refused("rename to a new name", tree.rename_new(path, "other"), TreeErrorKind::NotFound)?;
        refused("exchange", tree.exchange(path, "file"), TreeErrorKind::NotFound)?;
        refused("exchange", tree.exchange("file", path), TreeErrorKind::NotFound)?;
        refused("link", tree.link(path, "other"), TreeErrorKind::NotFound)?;
        refused("copy attributes from", tree.copy_attributes(path, "file"), TreeErrorKind::NotFound)?;
        refused("copy attributes to", tree.copy_attributes("file", path), TreeErrorKind::NotFound)?;
    }
    refused("create", tree.create("no/file", 0o600), TreeErrorKind::NotFound)?;
    refused("make folder", tree.make_folder("no/folder"), TreeErrorKind::NotFound)?;
    refused("rename", tree.rename("file", "no/file"), TreeErrorKind::NotFound)?;
    refused("rename to a new name", tree.rename_new("file", "no/file"), TreeErrorKind::NotFound)?;
    refused("link", tree.link("file", "no/file"), TreeErrorKind::NotFound)
}

fn below_a_file_there_is_no_folder(tree: &dyn LocalTree) -> Result<(), String> {
    write(tree, "file", b"")?;
    write(tree, "other", b"")?;
    for path in ["file/x", "file/x/y"] {
        refused("stat", tree.stat(path), TreeErrorKind::NotAFolder)?;
        refused("open", tree.open(path), TreeErrorKind::NotAFolder)?;
        refused("create", tree.create(path, 0o600), TreeErrorKind::NotAFolder)?;
        refused("read folder", tree.read_folder(path), TreeErrorKind::NotAFolder)?;
        refused("make folder", tree.make_folder(path), TreeErrorKind::NotAFolder)?;
        refused("remove folder", tree.remove_folder(path), TreeErrorKind::NotAFolder)?;
        refused("unlink", tree.unlink(path), TreeErrorKind::NotAFolder)?;
        refused("set mode", tree.set_mode(path, 0o600), TreeErrorKind::NotAFolder)?;
        refused("rename", tree.rename("other", path), TreeErrorKind::NotAFolder)?;
        refused("rename to a new name", tree.rename_new("other", path), TreeErrorKind::NotAFolder)?;
        refused("link", tree.link("other", path), TreeErrorKind::NotAFolder)?;
    }
    Ok(())
}

fn files_and_folders_are_told_apart(tree: &dyn LocalTree) -> Result<(), String> {
    write(tree, "file", b"")?;
    done("make folder", tree.make_folder("folder"))?;
    same("the kind of a folder", &done("stat", tree.stat("folder"))?.kind, &Kind::Folder)?;
    refused("open a folder", tree.open("folder"), TreeErrorKind::IsAFolder)?;
    refused("unlink a folder", tree.unlink("folder"), TreeErrorKind::IsAFolder)?;
    refused("remove a file as a folder", tree.remove_folder("file"), TreeErrorKind::NotAFolder)?;
    refused("read a file as a folder", tree.read_folder("file"), TreeErrorKind::NotAFolder)?;
    refused("sync a file as a folder", tree.sync_folder("file"), TreeErrorKind::NotAFolder)
}

fn a_folder_tells_all_its_names(tree: &dyn LocalTree) -> Result<(), String> {
    has_names(tree, "", &[])?;
    done("make folder", tree.make_folder("b"))?;
    write(tree, "a", b"")?;
    write(tree, ".hidden", b"")?;
    write(tree, "b/c", b"")?;
    has_names(tree, "", &[".hidden", "a", "b"])?;
    has_names(tree, "b", &["c"])?;
    for entry in done("read folder", tree.read_folder(""))? {
        let is_folder = entry.name.as_deref() == Ok("b");
        if entry.is_folder.is_some_and(|told| told != is_folder) {
            return Err(format!("{entry:?} has the wrong kind"));
        }
    }
    done("unlink", tree.unlink("b/c"))?;
    has_names(tree, "b", &[])
}

fn a_folder_with_names_in_it_stays(tree: &dyn LocalTree) -> Result<(), String> {
    done("make folder", tree.make_folder("folder"))?;
    write(tree, "folder/file", b"")?;
    refused("remove a filled folder", tree.remove_folder("folder"), TreeErrorKind::NotEmpty)?;
    done("unlink", tree.unlink("folder/file"))?;
    done("remove an empty folder", tree.remove_folder("folder"))?;
    refused("stat", tree.stat("folder"), TreeErrorKind::NotFound)
}

fn a_rename_replaces_and_keeps_the_inode(tree: &dyn LocalTree) -> Result<(), String> {
    done("make folder", tree.make_folder("folder"))?;
    let moved = write(tree, "folder/new", b"new")?;
    write(tree, "old", b"old")?;
    done("rename", tree.rename("folder/new", "old"))?;
    same("the content", &read(tree, "old")?, &b"new".to_vec())?;
    same_but_ctime("the renamed file", &done("stat", tree.stat("old"))?, &moved)?;
    refused("stat of the old name", tree.stat("folder/new"), TreeErrorKind::NotFound)?;
    done("rename to itself", tree.rename("old", "old"))?;
    same("the content", &read(tree, "old")?, &b"new".to_vec())
}

fn a_rename_respects_folders(tree: &dyn LocalTree) -> Result<(), String> {
    write(tree, "file", b"")?;
    done("make folder", tree.make_folder("empty"))?;
    done("make folder", tree.make_folder("filled"))?;
    done("make folder", tree.make_folder("moved"))?;
    write(tree, "filled/file", b"")?;
    refused("a file over a folder", tree.rename("file", "empty"), TreeErrorKind::IsAFolder)?;
    refused("a folder over a file", tree.rename("empty", "file"), TreeErrorKind::NotAFolder)?;
    refused("a folder over a filled one", tree.rename("moved", "filled"), TreeErrorKind::NotEmpty)?;
    refused("a folder into itself", tree.rename("moved", "moved/below"), TreeErrorKind::Failed)?;
    refused("a folder into itself", tree.rename_new("moved", "moved/below"), TreeErrorKind::Failed)?;
    done("a folder over an empty one", tree.rename("moved", "empty"))?;
    has_names(tree, "", &["empty", "file", "filled"])
}

fn a_folder_moves_with_all_below_it(tree: &dyn LocalTree) -> Result<(), String> {
    done("make folder", tree.make_folder("a"))?;
    done("make folder", tree.make_folder("a/b"))?;
    write(tree, "a/b/file", b"content")?;
    done("make folder", tree.make_folder("c"))?;
    done("rename to a new name", tree.rename_new("a", "c/moved"))?;
    same("the content", &read(tree, "c/moved/b/file")?, &b"content".to_vec())?;
    refused("stat of the old name", tree.stat("a"), TreeErrorKind::NotFound)
}

fn a_rename_to_a_new_name_replaces_nothing(tree: &dyn LocalTree) -> Result<(), String> {
    let moved = write(tree, "from", b"from")?;
    write(tree, "taken", b"taken")?;
    done("make folder", tree.make_folder("folder"))?;
    refused("over a file", tree.rename_new("from", "taken"), TreeErrorKind::Exists)?;
    refused("over a folder", tree.rename_new("from", "folder"), TreeErrorKind::Exists)?;
    refused("over itself", tree.rename_new("from", "from"), TreeErrorKind::Exists)?;
    same("the content", &read(tree, "taken")?, &b"taken".to_vec())?;
    done("to a free name", tree.rename_new("from", "folder/to"))?;
    same_but_ctime("the moved file", &done("stat", tree.stat("folder/to"))?, &moved)?;
    refused("stat of the old name", tree.stat("from"), TreeErrorKind::NotFound)
}

fn an_exchange_swaps_two_names(tree: &dyn LocalTree) -> Result<(), String> {
    done("make folder", tree.make_folder("folder"))?;
    let a = write(tree, "folder/a", b"content of a")?;
    let b = write(tree, "b", b"b's")?;
    done("exchange", tree.exchange("folder/a", "b"))?;
    same_but_ctime("what was b", &done("stat", tree.stat("folder/a"))?, &b)?;
    same_but_ctime("what was a", &done("stat", tree.stat("b"))?, &a)?;
    same("the content", &read(tree, "folder/a")?, &b"b's".to_vec())?;
    same("the content", &read(tree, "b")?, &b"content of a".to_vec())?;
    done("make folder", tree.make_folder("other"))?;
    done("exchange of a file and a folder", tree.exchange("b", "other"))?;
    same("the kind", &done("stat", tree.stat("b"))?.kind, &Kind::Folder)
}

fn a_link_is_a_second_name(tree: &dyn LocalTree) -> Result<(), String> {
    let first = write(tree, "first", b"content")?;
    done("make folder", tree.make_folder("folder"))?;
    done("link", tree.link("first", "folder/second"))?;
    let second = done("stat", tree.stat("folder/second"))?;
    same("the inode", &second.fingerprint.inode, &first.fingerprint.inode)?;
    same("the links", &second.links, &2)?;
    refused("over a file", tree.link("first", "folder/second"), TreeErrorKind::Exists)?;
    refused("over a folder", tree.link("first", "folder"), TreeErrorKind::Exists)?;
    // As POSIX has it, and easily forgotten: a rename between two names of one file does nothing.
    done("rename of one over the other", tree.rename("first", "folder/second"))?;
    done("stat of the first", tree.stat("first"))?;
    done("unlink", tree.unlink("first"))?;
    same("the links", &done("stat", tree.stat("folder/second"))?.links, &1)?;
    same("the content", &read(tree, "folder/second")?, &b"content".to_vec())
}

fn mode_and_time_are_kept_to_the_last_bit(tree: &dyn LocalTree) -> Result<(), String> {
    const MTIME_NS: i64 = 1_234_567_890_123_456_789;
    let before = write(tree, "file", b"content")?;
    let file = done("open", tree.open("file"))?;
    done("set mtime", file.set_mtime_ns(MTIME_NS))?;
    done("set mode of the open file", file.set_mode(0o640))?;
    let now = done("stat", tree.stat("file"))?;
    same("the time", &now.fingerprint.mtime_ns, &MTIME_NS)?;
    same("the mode", &now.fingerprint.mode, &0o100_640)?;
    same("the inode", &now.fingerprint.inode, &before.fingerprint.inode)?;
    done("set mode", tree.set_mode("file", 0o751))?;
    same("the mode", &done("fstat", file.stat())?.fingerprint.mode, &0o100_751)?;
    // What st_mode says may be handed back as it is.
    done("set mode with a file type", tree.set_mode("file", 0o100_600))?;
    same("the mode", &done("fstat", file.stat())?.fingerprint.mode, &0o100_600)?;
    same("the time", &done("fstat", file.stat())?.fingerprint.mtime_ns, &MTIME_NS)
}

fn an_open_file_outlives_its_name(tree: &dyn LocalTree) -> Result<(), String> {
    write(tree, "file", b"content")?;
    let file = done("open", tree.open("file"))?;
    done("rename", tree.rename("file", "elsewhere"))?;
    done("unlink", tree.unlink("elsewhere"))?;
    write(tree, "file", b"another")?;
    same("the content", &content(&*file)?, &b"content".to_vec())?;
    same("the links", &done("fstat", file.stat())?.links, &0)
}

fn a_copy_is_whole(tree: &dyn LocalTree) -> Result<(), String> {
    let long: Vec<u8> = (0..700_000_u32).map(|i| (i % 251) as u8).collect();
    for bytes in [&b""[..], b"short", &long] {
        let from = done("create", tree.create("from", 0o600))?;
        done("write", from.write_at(0, bytes))?;
        let to = done("create", tree.create("to", 0o600))?;
        done("write", to.write_at(0, b"longer than the short one"))?;
        done("copy", from.copy_to(&*to))?;
        if content(&*to)? != bytes {
            return Err(format!("the copy of {} bytes differs", bytes.len()));
        }
        done("write into the copy", to.write_at(0, b"x"))?;
        if content(&*from)? != bytes {
            return Err("writing into the copy changed the original".into());
        }
        done("unlink", tree.unlink("from"))?;
        done("unlink", tree.unlink("to"))?;
    }
    Ok(())
}

fn a_lease_is_refused_while_somebody_writes(tree: &dyn LocalTree) -> Result<(), String> {
    let writer = done("create", tree.create("file", 0o600))?;
    done("write", writer.write_at(0, b"content"))?;
    let reader = done("open", tree.open("file"))?;
    let another = done("open", tree.open("file"))?;
    if reader.lease() == Lease::Unavailable {
        return Ok(());
    }
    same("the lease beside a writer", &reader.lease(), &Lease::Busy)?;
    drop(writer);
    same("the lease beside a reader", &reader.lease(), &Lease::Granted)?;
    reader.release_lease();
    reader.release_lease();
    same("the lease of another", &another.lease(), &Lease::Granted)?;
    same("the lease beside a lease", &reader.lease(), &Lease::Granted)
}

fn attributes_go_from_one_file_to_another(tree: &dyn LocalTree) -> Result<(), String> {
    write(tree, "from", b"from")?;
    let before = write(tree, "to", b"to")?;
    done("copy attributes", tree.copy_attributes("from", "to"))?;
    same_but_ctime("what isn't carried", &done("stat", tree.stat("to"))?, &before)?;
    same("the content", &read(tree, "to")?, &b"to".to_vec())
}

fn any_legal_name_works(tree: &dyn LocalTree) -> Result<(), String> {
    let longest = "é".repeat(127) + "x";
    let mut all = vec![
        "A",
        "a",
        "\u{e9}",
        "e\u{301}",
        "new\nline",
        "tab\t",
        " ",
        "back\\slash",
        "*?[",
        "...",
        "-rf",
        "con",
        "%2F",
        "\u{202e}",
        "\u{1}",
        "\u{7f}",
        "\u{1f600}",
        &longest,
    ];
    for name in &all {
        write(tree, name, name.as_bytes())?;
    }
    all.sort_unstable();
    has_names(tree, "", &all)?;
    for name in &all {
        same("the content", &read(tree, name)?, &name.as_bytes().to_vec())?;
    }
    for name in &all {
        let moved = format!("folder {name}");
        if moved.len() <= 255 {
            done("rename to a new name", tree.rename_new(name, &moved))?;
        }
    }
    Ok(())
}

fn a_name_that_is_too_long_is_refused(tree: &dyn LocalTree) -> Result<(), String> {
    let name = "x".repeat(256);
    write(tree, "file", b"")?;
    refused("stat", tree.stat(&name), TreeErrorKind::NameTooLong)?;
    refused("stat below", tree.stat(&format!("{name}/x")), TreeErrorKind::NameTooLong)?;
    refused("create", tree.create(&name, 0o600), TreeErrorKind::NameTooLong)?;
    refused("make folder", tree.make_folder(&name), TreeErrorKind::NameTooLong)?;
    refused("rename to a new name", tree.rename_new("file", &name), TreeErrorKind::NameTooLong)
}

fn no_path_leads_out_of_the_root(tree: &dyn LocalTree) -> Result<(), String> {
    write(tree, "file", b"")?;
    done("make folder", tree.make_folder("folder"))?;
    for path in ["..", "../file", "folder/..", "folder/../file", "/", "/file", ".", "./file", "folder/", "folder//x"] {
        refused("stat", tree.stat(path), TreeErrorKind::Escapes)?;
        refused("open", tree.open(path), TreeErrorKind::Escapes)?;
        refused("create", tree.create(path, 0o600), TreeErrorKind::Escapes)?;
        refused("read folder", tree.read_folder(path), TreeErrorKind::Escapes)?;
        refused("make folder", tree.make_folder(path), TreeErrorKind::Escapes)?;
        refused("remove folder", tree.remove_folder(path), TreeErrorKind::Escapes)?;
        refused("unlink", tree.unlink(path), TreeErrorKind::Escapes)?;
        refused("set mode", tree.set_mode(path, 0o600), TreeErrorKind::Escapes)?;
        refused("rename from", tree.rename(path, "other"), TreeErrorKind::Escapes)?;
        refused("rename to", tree.rename("file", path), TreeErrorKind::Escapes)?;
        refused("rename to a new name", tree.rename_new("file", path), TreeErrorKind::Escapes)?;
        refused("exchange", tree.exchange("file", path), TreeErrorKind::Escapes)?;
        refused("link", tree.link("file", path), TreeErrorKind::Escapes)?;
        refused("copy attributes", tree.copy_attributes("file", path), TreeErrorKind::Escapes)?;
    }
    // The root's own name stands in a folder that is not ours.
    refused("remove the root", tree.remove_folder(""), TreeErrorKind::Escapes)?;
    refused("rename the root", tree.rename("", "other"), TreeErrorKind::Escapes)?;
    refused("rename over the root", tree.rename("file", ""), TreeErrorKind::Escapes)?;
    has_names(tree, "", &["file", "folder"])
}

fn what_is_there_can_be_made_durable(tree: &dyn LocalTree) -> Result<(), String> {
    done("make folder", tree.make_folder("folder"))?;
    let file = done("create", tree.create("folder/file", 0o600))?;
    done("write", file.write_at(0, b"content"))?;
    done("sync", file.sync())?;
    done("sync folder", tree.sync_folder("folder"))?;
    done("sync the root", tree.sync_folder(""))?;
    done("sync the tree", tree.sync_tree())?;
    let space = done("space", tree.space())?;
    if space.free_bytes > space.total_bytes || space.total_bytes == 0 {
        return Err(format!("{space:?} makes no sense"));
    }
    Ok(())
}

fn write(tree: &dyn LocalTree, path: &str, bytes: &[u8]) -> Result<Stat, String> {
    let file = done("create", tree.create(path, 0o600))?;
    done("write", file.write_at(0, bytes))?;
    done("fstat", file.stat())
}

fn read(tree: &dyn LocalTree, path: &str) -> Result<Vec<u8>, String> {
    content(&*done("open", tree.open(path))?)
}

fn content(file: &dyn TreeFile) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match done("read", file.read_at(bytes.len() as u64, &mut buffer))? {
            0 => return Ok(bytes),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

/// `expected` in byte order.
fn has_names(tree: &dyn LocalTree, folder: &str, expected: &[&str]) -> Result<(), String> {
    let mut names = Vec::new();
    for entry in done("read folder", tree.read_folder(folder))? {
        names.push(entry.name.map_err(|name| format!("{name:?} was read, but is not ours"))?);
    }
    names.sort_unstable();
    same("the names", &names.as_slice(), &expected)
}

fn done<T>(what: &str, result: Result<T, TreeError>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}: {:?}", error.source))
}

fn refused<T>(what: &str, result: Result<T, TreeError>, kind: TreeErrorKind) -> Result<(), String> {
    match result {
        Ok(_) => Err(format!("{what} succeeded, {kind:?} expected")),
        Err(error) if error.kind == kind => Ok(()),
        Err(error) => Err(format!("{what}: {error}: {:?}, {kind:?} expected", error.source)),
    }
}

fn same<A: std::fmt::Debug + PartialEq<B>, B: std::fmt::Debug>(
    what: &str,
    found: &A,
    expected: &B,
) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, {expected:?} expected")) }
}

/// Renames and links move ctime on real file systems, so it is not compared.
fn same_but_ctime(what: &str, found: &Stat, expected: &Stat) -> Result<(), String> {
    same(what, &(found.kind, found.fingerprint.same_but_ctime(&expected.fingerprint)), &(expected.kind, true))
}
