//! What every [`ReplicaState`] does, as checks that any implementation runs in its tests.
//!
//! Each check begins by emptying what it looks at, so that one instance serves all of them, in any order. Durability
//! and sharing of commits are the implementations' own tests: the port doesn't show them.

use gosync_plan::{Ancestor, ContentHash, Digests, Fingerprint, Generation, HaltReason, Nonce, RelPath};

use super::state::{
    Displaced, ExpectRemoteRow, HaltRow, JournalEntry, JournalKind, ReplicaState, StateChange, StateError, UploadRow,
};

/// All checks.
pub async fn conforms(state: &dyn ReplicaState) -> Result<(), String> {
    an_empty_state_holds_nothing(state).await?;
    an_ancestor_comes_back_as_it_was_put(state).await?;
    ancestors_are_found_by_path_in_the_order_asked_for(state).await?;
    pages_follow_each_other_in_byte_order(state).await?;
    a_folder_is_paged_without_its_neighbours(state).await?;
    an_ancestor_is_found_by_its_object(state).await?;
    the_ancestor_of_a_large_content_is_found(state).await?;
    open_ancestors_are_those_marked_open(state).await?;
    totals_follow_every_change(state).await?;
    changes_of_one_apply_take_effect_in_their_order(state).await?;
    the_journal_holds_an_operation_until_its_end(state).await?;
    uploads_halts_and_notes_are_kept_replaced_and_dropped(state).await?;
    a_large_apply_is_one_like_any_other(state).await
}

pub async fn an_empty_state_holds_nothing(state: &dyn ReplicaState) -> Result<(), String> {
    clear(state).await?;
    same("pages", told(state.ancestors_after(None, 10).await)?, vec![])?;
    same("ancestors", told(state.ancestors(&[path("a")?]).await)?, vec![None])?;
    same("ancestors of no paths", told(state.ancestors(&[]).await)?, vec![])?;
    same("open ancestors", told(state.open_ancestors().await)?, vec![])?;
    same("totals", told(state.ancestor_totals().await)?, (0, 0))?;
    same("journal", told(state.journal().await)?, vec![])?;
    same("uploads", told(state.uploads().await)?, vec![])?;
    same("halts", told(state.halts().await)?, vec![])?;
    same("a note", told(state.note("cursor").await)?, None)?;
    told(state.apply(vec![]).await)?;
    // Dropping what isn't there is done, not an error.
    told(state.apply(vec![StateChange::DropAncestor(path("a")?), StateChange::End(Nonce([9; 16]))]).await)?;
    same("totals", told(state.ancestor_totals().await)?, (0, 0))
}

pub async fn an_ancestor_comes_back_as_it_was_put(state: &dyn ReplicaState) -> Result<(), String> {
    clear(state).await?;
    let plain = ancestor(1);
    let extreme = Ancestor {
        fingerprint: Fingerprint {
            size: 1 << 53,
            mtime_ns: i64::MIN,
            ctime_ns: i64::MAX,
            inode: u64::MAX,
            mode: u32::MAX,
        },
        generation: Generation {
            etag: "d41d8cd98f00b204e9800998ecf8427e-10000".into(),
            size: 0,
            version_id: Some("null".into()),
            last_modified: Some("Wed, 21 Oct 2015 07:28:00 GMT".into()),
        },
        content: Some(ContentHash([0xff; 32])),
        nonce: Some(Nonce([0; 16])),
        open: true,
    };
    let odd_names = ["a", "\u{1}", "line\nbreak", "quote\"'\\", "e\u{301}", "\u{e9}", "\u{10ffff}", "*?%_", "a b/c d"];
    for name in odd_names {
        for ancestor in [&plain, &extreme] {
            told(state.apply(vec![StateChange::PutAncestor(path(name)?, ancestor.clone())]).await)?;
            same(name, told(state.ancestors(&[path(name)?]).await)?, vec![Some(ancestor.clone())])?;
        }
    }
    let paged = told(state.ancestors_after(None, 100).await)?;
    same("rows", paged.len(), odd_names.len())?;
    same("the row of a page", paged.into_iter().find(|(name, _)| name.as_str() == "a"), Some((path("a")?, extreme)))
}

pub async fn ancestors_are_found_by_path_in_the_order_asked_for(state: &dyn ReplicaState) -> Result<(), String> {
    clear(state).await?;
    put(state, &["a", "b", "c"]).await?;
    let asked = [path("c")?, path("nothing")?, path("a")?, path("c")?];
    let found = told(state.ancestors(&asked).await)?;
    same("ancestors", found, vec![Some(ancestor(2)), None, Some(ancestor(0)), Some(ancestor(2))])
}

pub async fn pages_follow_each_other_in_byte_order(state: &dyn ReplicaState) -> Result<(), String> {
    clear(state).await?;
    // Case, signs that stand before and after `/`, letters beyond ASCII in the order of their UTF-8.
    let sorted = [
        "B",
        "a",
        "a\u{1}",
        "a\u{1}\u{1}",
        "a\u{1}\u{2}",
        "a\u{2}",
        "a-1",
        "a.txt",
        "a/b",
        "a/b/c",
        "a0",
        "b",
        "z",
        "\u{e9}",
        "\u{ffff}",
        "\u{1f600}",
    ];
    let mut shuffled = sorted;
    shuffled.reverse();
    put(state, &shuffled).await?;
    for limit in [1, 2, 5, sorted.len(), 1000] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = told(state.ancestors_after(after.as_ref(), limit).await)?;
            let Some((last, _)) = page.last() else { break };
            if page.len() > limit {
                return Err(format!("a page of {} rows, at most {limit} were asked for", page.len()));
            }
            after = Some(last.clone());
            seen.extend(page.into_iter().map(|(path, _)| path.as_str().to_owned()));
        }
        same("the order", seen, sorted.map(str::to_owned).to_vec())?;
    }
    let next = told(state.ancestors_after(Some(&path("a/a")?), 1).await)?;
    same("after a path that has no row", next.first().map(|(path, _)| path.as_str().to_owned()), Some("a/b".into()))
}

pub async fn a_folder_is_paged_without_its_neighbours(state: &dyn ReplicaState) -> Result<(), String> {
    clear(state).await?;
    put(state, &["a", "a-1", "a.b", "a/1", "a/2/x", "a/2/y", "a/3", "a0", "aa/1", "b/1"]).await?;
    let folder = path("a")?;
    let names =
        |page: Vec<(RelPath, Ancestor)>| page.into_iter().map(|(path, _)| path.as_str().to_owned()).collect::<Vec<_>>();
    same(
        "a",
        names(told(state.ancestors_below(&folder, None, 100).await)?),
        strings(&["a/1", "a/2/x", "a/2/y", "a/3"]),
    )?;
    let first = told(state.ancestors_below(&folder, None, 2).await)?;
    same("the first page", names(first), strings(&["a/1", "a/2/x"]))?;
    let next = told(state.ancestors_below(&folder, Some(&path("a/2/x")?), 2).await)?;
    same("the next page", names(next), strings(&["a/2/y", "a/3"]))?;
    let end = told(state.ancestors_below(&folder, Some(&path("a/3")?), 2).await)?;
    same("the end", names(end), vec![])?;
    let from_outside = told(state.ancestors_below(&folder, Some(&path("Z")?), 1).await)?;
    same("after a path before the folder", names(from_outside), strings(&["a/1"]))?;
    same("a/2", names(told(state.ancestors_below(&path("a/2")?, None, 100).await)?), strings(&["a/2/x", "a/2/y"]))?;
    same("none", names(told(state.ancestors_below(&path("c")?, None, 100).await)?), vec![])
}

pub async fn an_ancestor_is_found_by_its_object(state: &dyn ReplicaState) -> Result<(), String> {
    clear(state).await?;
    put(state, &["a", "b"]).await?;
    let known = told(state.ancestors(&[path("b")?]).await)?.remove(0).ok_or("no row")?;
    let other = Generation { etag: "another".into(), size: 77, ..known.generation.clone() };
    let moved = Ancestor { generation: other, ..known };
    told(state.apply(vec![StateChange::PutAncestor(path("b")?, moved.clone())]).await)?;
    same("b", told(state.ancestor_of_object("another", 77).await)?, Some((path("b")?, moved)))?;
    same("another size", told(state.ancestor_of_object("another", 78).await)?, None)?;
    same("another ETag", told(state.ancestor_of_object("none", 77).await)?, None)
}

pub async fn the_ancestor_of_a_large_content_is_found(state: &dyn ReplicaState) -> Result<(), String> {
    clear(state).await?;
    let large = |size: u64, content: u8| {
        let known = ancestor(1);
        let fingerprint = Fingerprint { size, ..known.fingerprint };
        Ancestor { fingerprint, content: Some(ContentHash([content; 32])), ..known }
    };
    let changes = [("a", large(6 << 20, 1)), ("b", large(6 << 20, 2)), ("c", large(7 << 20, 1))];
    let put = |(name, ancestor): &(&str, Ancestor)| Ok(StateChange::PutAncestor(path(name)?, ancestor.clone()));
    told(state.apply(changes.iter().map(put).collect::<Result<_, String>>()?).await)?;
    let find =
        async |content: u8, size: u64| told(state.ancestor_of_large_content(ContentHash([content; 32]), size).await);
    same("b", find(2, 6 << 20).await?, Some((path("b")?, large(6 << 20, 2))))?;
    same("another size", find(2, 7 << 20).await?, None)?;
    same("another content", find(3, 6 << 20).await?, None)
}

pub async fn open_ancestors_are_those_marked_open(state: &dyn ReplicaState) -> Result<(), String> {
    clear(state).await?;
    let open = Ancestor { open: true, ..ancestor(1) };
    let changes = vec![
        StateChange::PutAncestor(path("rest")?, ancestor(1)),
        StateChange::PutAncestor(path("log")?, open.clone()),
        StateChange::PutAncestor(path("db")?, open),
    ];
    told(state.apply(changes).await)?;
    let mut found = told(state.open_ancestors().await)?;
    found.sort();
    same("open", found, vec![path("db")?, path("log")?])?;
    told(
        state
            .apply(vec![StateChange::PutAncestor(path("log")?, ancestor(1)), StateChange::DropAncestor(path("db")?)])
            .await,
    )?;
    same("none is open", told(state.open_ancestors().await)?, vec![])
}

pub async fn totals_follow_every_change(state: &dyn ReplicaState) -> Result<(), String> {
    clear(state).await?;
    let sized = |size| {
        let mut ancestor = ancestor(0);
        ancestor.fingerprint.size = size;
        ancestor
    };
    let changes = vec![
        StateChange::PutAncestor(path("a")?, sized(10)),
        StateChange::PutAncestor(path("b")?, sized(100)),
        StateChange::PutAncestor(path("c")?, sized(0)),
    ];
    told(state.apply(changes).await)?;
    same("three rows", told(state.ancestor_totals().await)?, (3, 110))?;
    told(state.apply(vec![StateChange::PutAncestor(path("a")?, sized(1))]).await)?;
    same("a replaced one", told(state.ancestor_totals().await)?, (3, 101))?;
    told(state.apply(vec![StateChange::DropAncestor(path("b")?), StateChange::DropAncestor(path("x")?)]).await)?;
    same("a dropped one", told(state.ancestor_totals().await)?, (2, 1))?;
    told(state.apply(vec![StateChange::DropAllAncestors]).await)?;
    same("all dropped", told(state.ancestor_totals().await)?, (0, 0))
}

pub async fn changes_of_one_apply_take_effect_in_their_order(state: &dyn ReplicaState) -> Result<(), String> {
    clear(state).await?;
    put(state, &["old"]).await?;
    let changes = vec![
        StateChange::PutAncestor(path("before")?, ancestor(1)),
        StateChange::DropAllAncestors,
        StateChange::PutAncestor(path("twice")?, ancestor(1)),
        StateChange::PutAncestor(path("twice")?, ancestor(2)),
        StateChange::PutAncestor(path("gone")?, ancestor(1)),
        StateChange::DropAncestor(path("gone")?),
        StateChange::DropAncestor(path("back")?),
        StateChange::PutAncestor(path("back")?, ancestor(3)),
        StateChange::PutNote("n".into(), "1".into()),
        StateChange::DropNote("n".into()),
        StateChange::Begin(entry(1, "a")?),
        StateChange::End(Nonce([1; 16])),
        StateChange::Begin(entry(2, "a")?),
        StateChange::Begin(entry(2, "b")?),
    ];
    told(state.apply(changes).await)?;
    let left = vec![(path("back")?, ancestor(3)), (path("twice")?, ancestor(2))];
    same("ancestors", told(state.ancestors_after(None, 10).await)?, left)?;
    same("the note", told(state.note("n").await)?, None)?;
    same("the journal", told(state.journal().await)?, vec![entry(2, "b")?])
}

pub async fn the_journal_holds_an_operation_until_its_end(state: &dyn ReplicaState) -> Result<(), String> {
    clear(state).await?;
    let Ancestor { fingerprint, generation, .. } = ancestor(7);
    let displaced =
        |content| Displaced { fingerprint: Fingerprint { inode: u64::MAX, ..fingerprint }, content, to_trash: false };
    let hash = ContentHash([7; 32]);
    let digests = Digests { md5: Some([1; 16]), crc64nvme: Some(u64::MAX), ..Digests::of_hash(hash, 1 << 40) };
    let kinds = vec![
        JournalKind::Upload { expect: ExpectRemoteRow::Absent, digests, local: fingerprint, open: true },
        JournalKind::Upload {
            expect: ExpectRemoteRow::Object(generation.clone()),
            digests,
            local: fingerprint,
            open: false,
        },
        JournalKind::DeleteObject { remote: generation.clone() },
        JournalKind::Install { new: hash, remote: generation.clone(), replaces: None, recorded: false },
        JournalKind::Install {
            new: hash,
            remote: generation.clone(),
            replaces: Some(displaced(Some(hash))),
            recorded: true,
        },
        JournalKind::Trash { to: ".gosync/trash/x\ny".into(), expects: displaced(None), remote: Some(generation) },
    ];
    let mut entries = Vec::new();
    for (number, kind) in (1..).zip(kinds) {
        entries.push(JournalEntry { kind, ..entry(number, "dir/\u{1}file")? });
    }
    told(state.apply(entries.iter().cloned().map(StateChange::Begin).collect()).await)?;
    let mut found = told(state.journal().await)?;
    found.sort_by_key(|entry| entry.id);
    same("the journal", &found, &entries)?;
    told(state.apply(entries[1..].iter().map(|entry| StateChange::End(entry.id)).collect()).await)?;
    same("what has not ended", told(state.journal().await)?, vec![entries[0].clone()])
}

pub async fn uploads_halts_and_notes_are_kept_replaced_and_dropped(state: &dyn ReplicaState) -> Result<(), String> {
    clear(state).await?;
    let upload = |part_bytes| -> Result<UploadRow, String> {
        Ok(UploadRow {
            upload: "an upload\"s id".into(),
            key: "prefix/big".into(),
            path: path("big")?,
            operation: Nonce([3; 16]),
            local: ancestor(3).fingerprint,
            digests: Digests::of_hash(ContentHash([3; 32]), 1 << 30),
            part_bytes,
            began_ms: 1,
        })
    };
    let halt = HaltRow {
        id: "k3f".into(),
        reason: HaltReason::TooManyDeletes,
        message: "60 of 100 files\nwould be deleted".into(),
        count: 60,
        since_ms: -1,
    };
    told(state.apply(vec![StateChange::PutUpload(upload(5)?), StateChange::PutHalt(halt.clone())]).await)?;
    told(
        state
            .apply(vec![StateChange::PutUpload(upload(6)?), StateChange::PutNote("cursor".into(), "1:a".into())])
            .await,
    )?;
    told(state.apply(vec![StateChange::PutNote("cursor".into(), "{\"2\":null}".into())]).await)?;
    same("uploads", told(state.uploads().await)?, vec![upload(6)?])?;
    same("halts", told(state.halts().await)?, vec![halt.clone()])?;
    same("the note", told(state.note("cursor").await)?, Some("{\"2\":null}".into()))?;
    same("another note", told(state.note("Cursor").await)?, None)?;
    let drops = vec![
        StateChange::DropUpload(upload(6)?.upload),
        StateChange::DropHalt(halt.id),
        StateChange::DropNote("cursor".into()),
    ];
    told(state.apply(drops).await)?;
    same("uploads", told(state.uploads().await)?, vec![])?;
    same("halts", told(state.halts().await)?, vec![])?;
    same("the note", told(state.note("cursor").await)?, None)
}

pub async fn a_large_apply_is_one_like_any_other(state: &dyn ReplicaState) -> Result<(), String> {
    clear(state).await?;
    let mut paths = Vec::new();
    for number in 0..2_500_u32 {
        paths.push(path(&format!("folder {}/file {number:05}", number % 7))?);
    }
    paths.sort();
    let puts = paths.iter().map(|path| StateChange::PutAncestor(path.clone(), ancestor(1)));
    told(state.apply(puts.collect()).await)?;
    let found = told(state.ancestors(&paths).await)?;
    same("rows found", found.iter().flatten().count(), paths.len())?;
    let (in_order, _): (Vec<_>, Vec<_>) = told(state.ancestors_after(None, paths.len()).await)?.into_iter().unzip();
    if in_order != paths {
        return Err("the rows are not in the order of their paths".into());
    }
    told(state.apply(paths.into_iter().map(StateChange::DropAncestor).collect()).await)?;
    same("totals", told(state.ancestor_totals().await)?, (0, 0))
}

async fn clear(state: &dyn ReplicaState) -> Result<(), String> {
    let mut changes = vec![StateChange::DropAllAncestors];
    changes.extend(told(state.journal().await)?.into_iter().map(|entry| StateChange::End(entry.id)));
    changes.extend(told(state.uploads().await)?.into_iter().map(|row| StateChange::DropUpload(row.upload)));
    changes.extend(told(state.halts().await)?.into_iter().map(|row| StateChange::DropHalt(row.id)));
    changes.extend(["cursor", "n"].map(|name| StateChange::DropNote(name.into())));
    told(state.apply(changes).await)
}

/// One ancestor for each name; the one at position `i` is `ancestor(i)`.
async fn put(state: &dyn ReplicaState, names: &[&str]) -> Result<(), String> {
    let mut changes = Vec::new();
    for (number, name) in (0..).zip(names) {
        changes.push(StateChange::PutAncestor(path(name)?, ancestor(number)));
    }
    told(state.apply(changes).await)
}

fn ancestor(number: u8) -> Ancestor {
    Ancestor {
        fingerprint: Fingerprint { size: number.into(), mtime_ns: 2, ctime_ns: 3, inode: 4, mode: 0o100_644 },
        generation: Generation {
            etag: format!("e{number}"),
            size: number.into(),
            version_id: None,
            last_modified: None,
        },
        content: None,
        nonce: None,
        open: false,
    }
}

fn entry(number: u8, at: &str) -> Result<JournalEntry, String> {
    let kind = JournalKind::DeleteObject { remote: ancestor(number).generation };
    Ok(JournalEntry { id: Nonce([number; 16]), path: path(at)?, kind, began_ms: number.into() })
}

fn path(path: &str) -> Result<RelPath, String> {
    RelPath::new(path).map_err(|problem| format!("{path:?}: {problem}"))
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn told<T>(result: Result<T, StateError>) -> Result<T, String> {
    result.map_err(|error| format!("{error} {:?}", error.source))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: found {found:?}, wanted {wanted:?}")) }
}
