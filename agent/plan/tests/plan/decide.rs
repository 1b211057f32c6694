//! The two-way table, row by row.

use gosync_plan::facts::Special;
use gosync_plan::{
    Action, Ancestor, Decision, ExpectLocal, ExpectRemote, Fingerprint, Generation, LocalEntry, ModeMerge, ModePolicy,
    Need, ObjectFacts, Problem, RemoteEntry, is_lazy, merge_mode,
};

use crate::support::{
    Content, MINE, OLD, THEIRS, ancestor, edited_file, edited_fingerprint, every_local, every_remote, fingerprint,
    generation, headed, listed, read, rewritten_object, unchanged_file, unchanged_object, unread,
};

fn decide(ancestor: Option<&Ancestor>, local: &LocalEntry, remote: &RemoteEntry) -> Decision {
    gosync_plan::decide(ancestor, local, remote, ModePolicy::Full)
}

/// With the usual ancestor.
fn known(local: &LocalEntry, remote: &RemoteEntry) -> Decision {
    decide(Some(&ancestor()), local, remote)
}

fn with_mode(fingerprint: Fingerprint, mode: u32) -> Fingerprint {
    Fingerprint { mode: 0o100_000 | mode, ctime_ns: 9_000, ..fingerprint }
}

fn facts_with_mode(mode: u32) -> ObjectFacts {
    ObjectFacts { mode: Some(mode), ..ObjectFacts::default() }
}

// Rows of the table.

#[test]
fn unchanged_on_both_sides_is_nothing() {
    assert_eq!(known(&unchanged_file(), &unchanged_object()), Decision::Nothing);
    assert_eq!(known(&unchanged_file(), &RemoteEntry::Presumed), Decision::Nothing);
}

#[test]
fn a_local_edit_is_uploaded_over_the_ancestors_object() {
    let upload = Decision::Do(Action::Upload {
        local: edited_fingerprint(MINE),
        expect: ExpectRemote::Object(generation(OLD, 1)),
    });
    assert_eq!(known(&edited_file(), &unchanged_object()), upload);
    assert_eq!(known(&edited_file(), &RemoteEntry::Presumed), upload);
}

#[test]
fn a_local_edit_of_another_size_needs_no_reading() {
    let local = edited_fingerprint(Content(4));
    let expect = ExpectRemote::Object(generation(OLD, 1));
    assert_eq!(known(&unread(local), &RemoteEntry::Presumed), Decision::Do(Action::Upload { local, expect }));
}

#[test]
fn a_remote_edit_is_downloaded_over_the_ancestors_file() {
    let download = Action::Download { remote: generation(THEIRS, 2), expect: ExpectLocal::File(fingerprint(OLD)) };
    assert_eq!(known(&unchanged_file(), &rewritten_object()), Decision::Do(download.clone()));
    assert_eq!(known(&unchanged_file(), &listed(generation(THEIRS, 2))), Decision::Do(download));
}

#[test]
fn a_file_created_locally_is_uploaded_if_the_key_is_free() {
    let upload = Decision::Do(Action::Upload { local: edited_fingerprint(MINE), expect: ExpectRemote::Absent });
    assert_eq!(decide(None, &edited_file(), &RemoteEntry::Absent), upload);
    assert_eq!(decide(None, &edited_file(), &RemoteEntry::Presumed), upload);
}

#[test]
fn an_object_created_remotely_is_downloaded_if_the_path_is_free() {
    let download = Action::Download { remote: generation(THEIRS, 2), expect: ExpectLocal::Absent };
    assert_eq!(decide(None, &LocalEntry::Absent, &rewritten_object()), Decision::Do(download));
}

#[test]
fn the_same_content_on_both_sides_is_recorded_without_a_transfer() {
    let local = edited_fingerprint(MINE);
    let record = Decision::Do(Action::Record { local, remote: generation(MINE, 2) });
    let object = headed(generation(MINE, 2), ObjectFacts::default());
    assert_eq!(decide(None, &edited_file(), &object), record);
    assert_eq!(known(&edited_file(), &object), record);
}

#[test]
fn different_contents_on_both_sides_are_a_conflict() {
    let local = edited_fingerprint(MINE);
    let conflict = Decision::Do(Action::Conflict { local, remote: generation(THEIRS, 2) });
    assert_eq!(decide(None, &edited_file(), &rewritten_object()), conflict);
    assert_eq!(known(&edited_file(), &rewritten_object()), conflict);
}

#[test]
fn a_deleted_file_takes_its_unchanged_object_along() {
    let delete = Decision::Do(Action::DeleteObject { remote: generation(OLD, 1) });
    assert_eq!(known(&LocalEntry::Absent, &unchanged_object()), delete);
    // A folder in the file's place is no file either.
    assert_eq!(known(&LocalEntry::Folder, &unchanged_object()), delete);
}

#[test]
fn a_deleted_file_does_not_take_along_the_same_content_written_again() {
    let again = generation(OLD, 2);
    let download = Action::Download { remote: again.clone(), expect: ExpectLocal::Absent };
    assert_eq!(known(&LocalEntry::Absent, &listed(again)), Decision::Do(download));
}

#[test]
fn an_object_is_never_deleted_without_a_look_at_it() {
    assert_eq!(known(&LocalEntry::Absent, &RemoteEntry::Presumed), Decision::Look(Need::Head));
    assert_eq!(known(&LocalEntry::Folder, &RemoteEntry::Presumed), Decision::Look(Need::Head));
}

#[test]
fn a_deleted_object_takes_its_unchanged_file_to_the_trash() {
    let trash = Action::TrashLocal { local: fingerprint(OLD) };
    assert_eq!(known(&unchanged_file(), &RemoteEntry::Absent), Decision::Do(trash));
}

#[test]
fn a_remote_edit_beats_a_local_delete() {
    let download = Action::Download { remote: generation(THEIRS, 2), expect: ExpectLocal::Absent };
    assert_eq!(known(&LocalEntry::Absent, &rewritten_object()), Decision::Do(download));
}

#[test]
fn a_local_edit_beats_a_remote_delete() {
    let upload = Action::Upload { local: edited_fingerprint(MINE), expect: ExpectRemote::Absent };
    assert_eq!(known(&edited_file(), &RemoteEntry::Absent), Decision::Do(upload));
}

#[test]
fn a_local_change_of_mode_beats_a_remote_delete() {
    let local = with_mode(fingerprint(OLD), 0o755);
    let upload = Action::Upload { local, expect: ExpectRemote::Absent };
    assert_eq!(known(&read(local, OLD), &RemoteEntry::Absent), Decision::Do(upload));
}

#[test]
fn deleted_on_both_sides_is_forgotten() {
    assert_eq!(known(&LocalEntry::Absent, &RemoteEntry::Absent), Decision::Do(Action::Forget));
    assert_eq!(known(&LocalEntry::Folder, &RemoteEntry::Absent), Decision::Do(Action::Forget));
}

#[test]
fn what_was_never_there_is_nothing() {
    for local in [LocalEntry::Absent, LocalEntry::Folder] {
        assert_eq!(decide(None, &local, &RemoteEntry::Absent), Decision::Nothing);
        assert_eq!(decide(None, &local, &RemoteEntry::Presumed), Decision::Nothing);
    }
}

#[test]
fn a_folder_in_the_place_of_a_new_object_is_reported() {
    assert_eq!(decide(None, &LocalEntry::Folder, &unchanged_object()), Decision::Report(Problem::FolderInTheWay));
    assert_eq!(known(&LocalEntry::Folder, &rewritten_object()), Decision::Report(Problem::FolderInTheWay));
}

// Looks that failed, and entries that are no files.

#[test]
fn a_failed_look_on_either_side_decides_nothing() {
    let ancestor = ancestor();
    for ancestor in [None, Some(&ancestor)] {
        for remote in every_remote() {
            let decision = decide(ancestor, &LocalEntry::Unknown("i/o error".into()), &remote);
            assert_eq!(decision, Decision::Report(Problem::LocalLook { message: "i/o error".into() }));
        }
        for local in every_local() {
            let decision = decide(ancestor, &local, &RemoteEntry::Unknown("503".into()));
            assert!(matches!(decision, Decision::Report(_)), "{local:?}: {decision:?}");
        }
    }
}

#[test]
fn a_symlink_in_the_place_of_a_file_deletes_nothing() {
    for remote in every_remote().into_iter().filter(|remote| !matches!(remote, RemoteEntry::Unknown(_))) {
        let decision = known(&LocalEntry::Special(Special::Symlink), &remote);
        assert_eq!(decision, Decision::Report(Problem::Special { kind: Special::Symlink }));
    }
}

#[test]
fn every_overwrite_and_delete_names_what_it_saw() {
    let ancestor = ancestor();
    for ancestor in [None, Some(&ancestor)] {
        for local in every_local() {
            for remote in every_remote() {
                let Decision::Do(action) = decide(ancestor, &local, &remote) else { continue };
                let seen_file = match &local {
                    LocalEntry::File(file) => Some(file.fingerprint),
                    _ => None,
                };
                let seen_object = match &remote {
                    RemoteEntry::Object(object) => Some(object.generation.clone()),
                    RemoteEntry::Presumed => ancestor.map(|ancestor| ancestor.generation.clone()),
                    _ => None,
                };
                let what = format!("{ancestor:?}\n{local:?}\n{remote:?}\n{action:?}");
                match action {
                    Action::Upload { local, expect } => {
                        assert_eq!(Some(local), seen_file, "{what}");
                        assert_eq!(expect, seen_object.map_or(ExpectRemote::Absent, ExpectRemote::Object), "{what}");
                    }
                    Action::Download { remote, expect } => {
                        assert_eq!(Some(remote), seen_object, "{what}");
                        assert_eq!(expect, seen_file.map_or(ExpectLocal::Absent, ExpectLocal::File), "{what}");
                    }
                    Action::DeleteObject { remote } => {
                        assert!(seen_file.is_none() && ancestor.is_some(), "{what}");
                        assert_eq!(Some(remote), seen_object, "{what}");
                    }
                    Action::TrashLocal { local } => {
                        assert!(seen_object.is_none() && ancestor.is_some(), "{what}");
                        assert_eq!(Some(local), seen_file, "{what}");
                    }
                    Action::Forget => {
                        assert!(seen_file.is_none() && seen_object.is_none() && ancestor.is_some(), "{what}");
                    }
                    Action::Record { local, remote }
                    | Action::ApplyMode { local, remote, .. }
                    | Action::Conflict { local, remote }
                    | Action::Replace { local, remote } => {
                        assert_eq!((Some(local), Some(remote)), (seen_file, seen_object), "{what}");
                    }
                    Action::Overrule { .. } | Action::MoveAside { .. } => {
                        panic!("the table never asks for this: {what}")
                    }
                }
            }
        }
    }
}

// Keys that moved without the content.

#[test]
fn a_new_owner_costs_a_reading_and_a_record_but_no_transfer() {
    let local = Fingerprint { ctime_ns: 9_000, ..fingerprint(OLD) };
    assert_eq!(known(&unread(local), &unchanged_object()), Decision::Look(Need::HASH));
    let record = Action::Record { local, remote: generation(OLD, 1) };
    assert_eq!(known(&read(local, OLD), &unchanged_object()), Decision::Do(record));
}

#[test]
fn reading_can_wait_only_where_ctime_alone_moved_and_the_object_is_the_ancestors() {
    let chowned = read(Fingerprint { ctime_ns: 9_000, ..fingerprint(OLD) }, OLD);
    let touched = read(Fingerprint { mtime_ns: 9_000, ..fingerprint(OLD) }, OLD);
    let lazy = |ancestor: &Ancestor, local: &LocalEntry, remote: &RemoteEntry| match local {
        LocalEntry::File(file) => is_lazy(ancestor, file, remote),
        _ => panic!("a file was given"),
    };
    assert!(lazy(&ancestor(), &chowned, &unchanged_object()));
    assert!(lazy(&ancestor(), &chowned, &RemoteEntry::Presumed));
    assert!(!lazy(&ancestor(), &chowned, &rewritten_object()));
    assert!(!lazy(&ancestor(), &chowned, &RemoteEntry::Absent));
    assert!(!lazy(&ancestor(), &touched, &unchanged_object()));
    assert!(!lazy(&Ancestor { open: true, ..ancestor() }, &chowned, &unchanged_object()));
}

#[test]
fn a_touched_file_is_recorded_and_not_sent() {
    let local = edited_fingerprint(OLD);
    let record = Action::Record { local, remote: generation(OLD, 1) };
    assert_eq!(known(&read(local, OLD), &unchanged_object()), Decision::Do(record));
}

#[test]
fn a_token_that_the_reply_to_a_put_did_not_tell_is_learned_once() {
    let mut ancestor = ancestor();
    ancestor.generation.last_modified = None;
    let record = Action::Record { local: fingerprint(OLD), remote: generation(OLD, 1) };
    assert_eq!(decide(Some(&ancestor), &unchanged_file(), &unchanged_object()), Decision::Do(record));
    assert_eq!(known(&unchanged_file(), &unchanged_object()), Decision::Nothing);
}

#[test]
fn an_object_written_again_with_the_same_content_is_recorded_after_a_head() {
    let again = generation(OLD, 2);
    assert_eq!(known(&unchanged_file(), &listed(again.clone())), Decision::Look(Need::Head));
    let record = Action::Record { local: fingerprint(OLD), remote: again.clone() };
    assert_eq!(known(&unchanged_file(), &headed(again, ObjectFacts::default())), Decision::Do(record));
}

#[test]
fn an_object_written_again_does_not_make_a_local_edit_a_conflict() {
    let again = generation(OLD, 2);
    let upload = Action::Upload { local: edited_fingerprint(MINE), expect: ExpectRemote::Object(again.clone()) };
    assert_eq!(known(&edited_file(), &headed(again, ObjectFacts::default())), Decision::Do(upload));
}

#[test]
fn an_equal_etag_that_tells_no_content_leads_to_a_download() {
    let again = generation(OLD, 2);
    let facts = ObjectFacts { etag_opaque: true, ..ObjectFacts::default() };
    let download = Action::Download { remote: again.clone(), expect: ExpectLocal::File(fingerprint(OLD)) };
    assert_eq!(known(&unchanged_file(), &headed(again, facts)), Decision::Do(download));
}

#[test]
fn an_equal_etag_of_a_form_of_its_own_leads_to_a_download() {
    let mut ancestor = ancestor();
    ancestor.generation.etag = "inode-and-time".into();
    let again = Generation { last_modified: Some("2".into()), ..ancestor.generation.clone() };
    let download = Action::Download { remote: again.clone(), expect: ExpectLocal::File(fingerprint(OLD)) };
    let object = headed(again, ObjectFacts::default());
    assert_eq!(decide(Some(&ancestor), &unchanged_file(), &object), Decision::Do(download));
}

#[test]
fn another_token_with_the_same_etag_asks_for_a_head_whatever_the_policy() {
    for local in [unchanged_file(), edited_file()] {
        let again = listed(generation(OLD, 2));
        let decision = gosync_plan::decide(Some(&ancestor()), &local, &again, ModePolicy::Off);
        assert_eq!(decision, Decision::Look(Need::Head));
    }
}

// Ancestors that were adopted unread.

fn adopted() -> Ancestor {
    Ancestor { content: None, ..ancestor() }
}

#[test]
fn an_adopted_file_that_stays_as_it_is_is_never_read() {
    assert_eq!(decide(Some(&adopted()), &unchanged_file(), &unchanged_object()), Decision::Nothing);
    let trash = Action::TrashLocal { local: fingerprint(OLD) };
    assert_eq!(decide(Some(&adopted()), &unchanged_file(), &RemoteEntry::Absent), Decision::Do(trash));
}

#[test]
fn what_an_adopted_file_holds_is_recorded_once_it_is_known() {
    let record = Action::Record { local: fingerprint(OLD), remote: generation(OLD, 1) };
    let decision = decide(Some(&adopted()), &read(fingerprint(OLD), OLD), &unchanged_object());
    assert_eq!(decision, Decision::Do(record));
}

#[test]
fn a_touched_adopted_file_is_compared_with_its_object() {
    let local = edited_fingerprint(OLD);
    let md5 = Need::LocalDigests { md5: true, multipart_part_bytes: None, crc64nvme: false };
    for remote in [unchanged_object(), RemoteEntry::Presumed, RemoteEntry::Absent] {
        assert_eq!(decide(Some(&adopted()), &unread(local), &remote), Decision::Look(md5));
    }
    let record = Action::Record { local, remote: generation(OLD, 1) };
    assert_eq!(decide(Some(&adopted()), &read(local, OLD), &unchanged_object()), Decision::Do(record));
    let trash = Action::TrashLocal { local };
    assert_eq!(decide(Some(&adopted()), &read(local, OLD), &RemoteEntry::Absent), Decision::Do(trash));
}

#[test]
fn an_edited_adopted_file_is_an_edit_once_a_head_tells_the_etag_is_an_md5() {
    let adopted = adopted();
    let upload = |expect| Decision::Do(Action::Upload { local: edited_fingerprint(MINE), expect });
    assert_eq!(decide(Some(&adopted), &edited_file(), &unchanged_object()), Decision::Look(Need::Head));
    assert_eq!(decide(Some(&adopted), &edited_file(), &RemoteEntry::Presumed), Decision::Look(Need::Head));
    let object = headed(generation(OLD, 1), ObjectFacts::default());
    assert_eq!(decide(Some(&adopted), &edited_file(), &object), upload(ExpectRemote::Object(generation(OLD, 1))));
    // Its object is gone, nothing proves the file unedited: it stays.
    assert_eq!(decide(Some(&adopted), &edited_file(), &RemoteEntry::Absent), upload(ExpectRemote::Absent));
}

// Files that were open for writing.

#[test]
fn a_file_last_seen_open_is_read_again_however_unchanged_it_looks() {
    let open = Ancestor { open: true, ..ancestor() };
    assert_eq!(decide(Some(&open), &unchanged_file(), &unchanged_object()), Decision::Look(Need::HASH));
    let record = Action::Record { local: fingerprint(OLD), remote: generation(OLD, 1) };
    let at_rest = decide(Some(&open), &read(fingerprint(OLD), OLD), &unchanged_object());
    assert_eq!(at_rest, Decision::Do(record));
    let stored_through_a_mapping = decide(Some(&open), &read(fingerprint(OLD), MINE), &unchanged_object());
    let expect = ExpectRemote::Object(generation(OLD, 1));
    assert_eq!(stored_through_a_mapping, Decision::Do(Action::Upload { local: fingerprint(OLD), expect }));
}

// Power loss.

#[test]
fn a_file_that_lost_its_data_but_not_its_time_is_never_uploaded() {
    for size in [0, OLD.size() - 1] {
        let local = Fingerprint { size, ctime_ns: 9_000, ..fingerprint(OLD) };
        let repair = |remote: Generation| Decision::Do(Action::Replace { local, remote });
        assert_eq!(known(&unread(local), &unchanged_object()), repair(generation(OLD, 1)));
        assert_eq!(known(&unread(local), &RemoteEntry::Presumed), repair(generation(OLD, 1)));
        assert_eq!(known(&unread(local), &rewritten_object()), repair(generation(THEIRS, 2)));
        assert_eq!(known(&unread(local), &RemoteEntry::Absent), Decision::Do(Action::TrashLocal { local }));
    }
}

#[test]
fn a_file_that_a_person_truncated_is_an_ordinary_edit() {
    let local = Fingerprint { size: 0, ..edited_fingerprint(OLD) };
    let expect = ExpectRemote::Object(generation(OLD, 1));
    assert_eq!(known(&unread(local), &unchanged_object()), Decision::Do(Action::Upload { local, expect }));
}

// Modes.

#[test]
fn an_object_tells_only_the_bits_that_count() {
    assert_eq!(ModePolicy::Full.told(0o100_606), Some(0o100_606));
    assert_eq!(ModePolicy::Exec.told(0o100_606), Some(0o100_644));
    assert_eq!(ModePolicy::Exec.told(0o102_770), Some(0o100_754));
    assert_eq!(ModePolicy::Exec.told(0o040_755), Some(0o040_755), "a folder's marker");
    assert_eq!(ModePolicy::Off.told(0o100_606), None);
}

#[test]
fn a_mode_changed_on_one_side_wins() {
    let policy = ModePolicy::Full;
    assert_eq!(merge_mode(Some(0o644), 0o755, Some(0o644), policy), ModeMerge::Send);
    assert_eq!(merge_mode(Some(0o644), 0o755, None, policy), ModeMerge::Send);
    assert_eq!(merge_mode(Some(0o644), 0o644, Some(0o755), policy), ModeMerge::Apply(0o755));
    assert_eq!(merge_mode(Some(0o644), 0o644, None, policy), ModeMerge::Keep);
}

#[test]
fn of_two_changed_modes_the_objects_wins() {
    assert_eq!(merge_mode(Some(0o644), 0o600, Some(0o755), ModePolicy::Full), ModeMerge::Apply(0o755));
    assert_eq!(merge_mode(Some(0o644), 0o755, Some(0o755), ModePolicy::Full), ModeMerge::Keep);
    assert_eq!(merge_mode(None, 0o600, Some(0o755), ModePolicy::Full), ModeMerge::Apply(0o755));
    assert_eq!(merge_mode(None, 0o600, None, ModePolicy::Full), ModeMerge::Keep);
}

#[test]
fn only_the_bits_of_the_policy_are_merged() {
    let exec = ModePolicy::Exec;
    assert_eq!(merge_mode(Some(0o100_600), 0o100_640, Some(0o600), exec), ModeMerge::Keep);
    assert_eq!(merge_mode(Some(0o100_640), 0o100_640, Some(0o755), exec), ModeMerge::Apply(0o740));
    assert_eq!(merge_mode(Some(0o100_755), 0o100_755, Some(0o644), exec), ModeMerge::Apply(0o655));
    assert_eq!(merge_mode(Some(0o644), 0o777, Some(0o600), ModePolicy::Off), ModeMerge::Keep);
    assert_eq!(merge_mode(Some(0o644), 0o777, None, ModePolicy::Off), ModeMerge::Keep);
}

#[test]
fn a_local_change_of_mode_alone_is_sent() {
    let local = with_mode(fingerprint(OLD), 0o755);
    assert_eq!(known(&unread(local), &unchanged_object()), Decision::Look(Need::HASH));
    let expect = ExpectRemote::Object(generation(OLD, 1));
    assert_eq!(known(&read(local, OLD), &unchanged_object()), Decision::Do(Action::Upload { local, expect }));
}

#[test]
fn a_change_of_mode_outside_the_policy_is_recorded_and_not_sent() {
    for (policy, mode) in [(ModePolicy::Exec, 0o600), (ModePolicy::Off, 0o755)] {
        let local = with_mode(fingerprint(OLD), mode);
        let record = Action::Record { local, remote: generation(OLD, 1) };
        let decision = gosync_plan::decide(Some(&ancestor()), &read(local, OLD), &unchanged_object(), policy);
        assert_eq!(decision, Decision::Do(record));
    }
}

#[test]
fn a_remote_change_of_mode_alone_is_applied_without_a_transfer() {
    let again = generation(OLD, 2);
    let apply = Action::ApplyMode { local: fingerprint(OLD), remote: again.clone(), mode: 0o755 };
    assert_eq!(known(&unchanged_file(), &headed(again, facts_with_mode(0o755))), Decision::Do(apply));
}

#[test]
fn a_local_mode_and_a_remote_content_both_survive() {
    let local = with_mode(fingerprint(OLD), 0o755);
    let object = headed(generation(THEIRS, 2), facts_with_mode(0o644));
    let download = Action::Download { remote: generation(THEIRS, 2), expect: ExpectLocal::File(local) };
    assert_eq!(known(&read(local, OLD), &object), Decision::Do(download));
    assert_eq!(merge_mode(Some(0o100_644), local.mode, Some(0o644), ModePolicy::Full), ModeMerge::Send);
}

#[test]
fn equal_contents_with_different_modes_take_the_objects() {
    let object = headed(generation(MINE, 2), facts_with_mode(0o600));
    let apply = Action::ApplyMode { local: edited_fingerprint(MINE), remote: generation(MINE, 2), mode: 0o600 };
    assert_eq!(decide(None, &edited_file(), &object), Decision::Do(apply));
}

#[test]
fn a_first_meeting_asks_for_the_mode_unless_it_does_not_matter() {
    let object = listed(generation(MINE, 2));
    assert_eq!(decide(None, &edited_file(), &object), Decision::Look(Need::Head));
    let record = Action::Record { local: edited_fingerprint(MINE), remote: generation(MINE, 2) };
    assert_eq!(gosync_plan::decide(None, &edited_file(), &object, ModePolicy::Off), Decision::Do(record));
}

// The whole table at a glance.

fn word(decision: &Decision) -> String {
    let debug = format!("{decision:?}");
    let inner = debug.strip_prefix("Do(").unwrap_or(&debug);
    inner.chars().take_while(|c| c.is_alphanumeric()).collect()
}

#[test]
fn what_each_side_holds_decides_alone_and_in_every_combination() {
    let mine = read(edited_fingerprint(MINE), MINE);
    let locals = [
        LocalEntry::Absent,
        read(fingerprint(OLD), OLD),
        mine,
        LocalEntry::Folder,
        LocalEntry::Special(Special::Symlink),
        LocalEntry::Unknown("i/o error".into()),
    ];
    let facts = ObjectFacts::default;
    let remotes = [
        RemoteEntry::Absent,
        headed(generation(OLD, 1), facts()),
        headed(generation(THEIRS, 2), facts()),
        headed(generation(MINE, 2), facts()),
        RemoteEntry::Unknown("503".into()),
    ];
    let table = |ancestor: Option<&Ancestor>| -> Vec<String> {
        let row = |local: &LocalEntry| {
            remotes.iter().map(|remote| word(&decide(ancestor, local, remote))).collect::<Vec<_>>()
        };
        locals.iter().map(|local| row(local).join(" ")).collect()
    };
    // Remote:                     absent, old, theirs, mine, unknown. Local: absent, old, mine, folder, link, unknown.
    assert_eq!(
        table(None),
        [
            "Nothing Download Download Download Report",
            "Upload Record Conflict Conflict Report",
            "Upload Conflict Conflict Record Report",
            "Nothing Report Report Report Report",
            "Report Report Report Report Report",
            "Report Report Report Report Report",
        ]
    );
    assert_eq!(
        table(Some(&ancestor())),
        [
            "Forget DeleteObject Download Download Report",
            "TrashLocal Nothing Download Download Report",
            "Upload Upload Conflict Record Report",
            "Forget DeleteObject Report Report Report",
            "Report Report Report Report Report",
            "Report Report Report Report Report",
        ]
    );
}
