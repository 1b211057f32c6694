//! Directions and conflict policies: tables of what differs from the two-way one, and what no mixture of entries may do.

use gosync_plan::decide::{Diverged, Keep};
use gosync_plan::policy::approved;
use gosync_plan::{
    Action, Ancestor, ConflictPolicy, Decision, Direction, ExpectLocal, ExpectRemote, LocalEntry, Policy, Problem,
    RemoteEntry,
};

use crate::support::{
    MINE, OLD, THEIRS, ancestor, edited_file, edited_fingerprint, every_local, every_remote, fingerprint, generation,
    rewritten_object, unchanged_file, unchanged_object,
};

const PUSH: Policy = one_way(Direction::Push);
const PULL: Policy = one_way(Direction::Pull);

const fn one_way(direction: Direction) -> Policy {
    Policy { mode: gosync_plan::ModePolicy::Full, direction, conflicts: ConflictPolicy::KeepBoth }
}

fn both_ways(conflicts: ConflictPolicy) -> Policy {
    Policy { conflicts, ..one_way(Direction::TwoWay) }
}

/// With the usual ancestor.
fn known(policy: Policy, local: &LocalEntry, remote: &RemoteEntry) -> Decision {
    policy.decide(Some(&ancestor()), local, remote)
}

fn diverged(how: Diverged) -> Decision {
    Decision::Report(Problem::Diverged { how })
}

/// Every action that any mixture of entries leads to, with the entries.
fn every_action(policy: Policy, mut check: impl FnMut(&Action, Option<&Ancestor>, &LocalEntry, &RemoteEntry)) {
    for ancestor in [None, Some(ancestor())] {
        for local in every_local() {
            for remote in every_remote() {
                if let Decision::Do(action) = policy.decide(ancestor.as_ref(), &local, &remote) {
                    check(&action, ancestor.as_ref(), &local, &remote);
                }
            }
        }
    }
}

// Pull.

#[test]
fn a_mirror_that_only_receives_never_writes_to_the_bucket() {
    every_action(PULL, |action, ancestor, local, remote| {
        let writes = matches!(action, Action::Upload { .. } | Action::Overrule { .. } | Action::DeleteObject { .. });
        assert!(!writes, "{action:?} of {ancestor:?}, {local:?}, {remote:?}");
    });
}

#[test]
fn local_creations_and_edits_stay_where_only_the_bucket_is_followed() {
    assert_eq!(PULL.decide(None, &edited_file(), &RemoteEntry::Absent), Decision::Nothing);
    assert_eq!(known(PULL, &edited_file(), &unchanged_object()), Decision::Nothing);
    assert_eq!(known(PULL, &edited_file(), &RemoteEntry::Presumed), Decision::Nothing);
}

#[test]
fn a_remote_edit_over_a_local_one_keeps_the_local_one_as_a_copy() {
    let conflict = Action::Conflict { local: edited_fingerprint(MINE), remote: generation(THEIRS, 2) };
    assert_eq!(known(PULL, &edited_file(), &rewritten_object()), Decision::Do(conflict));
}

#[test]
fn a_file_deleted_here_comes_back_where_only_the_bucket_is_followed() {
    let download = Action::Download { remote: generation(OLD, 1), expect: ExpectLocal::Absent };
    assert_eq!(known(PULL, &LocalEntry::Absent, &unchanged_object()), Decision::Do(download));
    assert_eq!(known(PULL, &LocalEntry::Folder, &unchanged_object()), Decision::Report(Problem::FolderInTheWay));
}

#[test]
fn a_delete_in_the_bucket_is_followed_but_not_over_an_edit() {
    let trash = Action::TrashLocal { local: fingerprint(OLD) };
    assert_eq!(known(PULL, &unchanged_file(), &RemoteEntry::Absent), Decision::Do(trash));
    assert_eq!(known(PULL, &edited_file(), &RemoteEntry::Absent), Decision::Do(Action::Forget));
}

// Push.

#[test]
fn a_mirror_that_only_sends_never_touches_its_files() {
    every_action(PUSH, |action, ancestor, local, remote| {
        let is_harmless = matches!(
            action,
            Action::Upload { .. } | Action::Record { .. } | Action::DeleteObject { .. } | Action::Forget
        );
        assert!(is_harmless, "{action:?} of {ancestor:?}, {local:?}, {remote:?}");
    });
}

#[test]
fn what_others_do_in_the_bucket_is_left_alone_and_told() {
    assert_eq!(PUSH.decide(None, &LocalEntry::Absent, &rewritten_object()), diverged(Diverged::Created));
    assert_eq!(known(PUSH, &unchanged_file(), &rewritten_object()), diverged(Diverged::Edited));
    assert_eq!(known(PUSH, &edited_file(), &rewritten_object()), diverged(Diverged::Edited));
    assert_eq!(known(PUSH, &LocalEntry::Absent, &rewritten_object()), diverged(Diverged::Edited));
}

#[test]
fn an_object_deleted_in_the_bucket_is_sent_again() {
    let upload = Action::Upload { local: fingerprint(OLD), expect: ExpectRemote::Absent };
    assert_eq!(known(PUSH, &unchanged_file(), &RemoteEntry::Absent), Decision::Do(upload));
}

#[test]
fn a_file_deleted_here_takes_its_unchanged_object_along_where_only_the_folder_counts() {
    let delete = Action::DeleteObject { remote: generation(OLD, 1) };
    assert_eq!(known(PUSH, &LocalEntry::Absent, &unchanged_object()), Decision::Do(delete));
}

#[test]
fn an_approved_path_becomes_what_the_folder_says() {
    let remote = generation(THEIRS, 2);
    let overrule = Action::Overrule { local: fingerprint(OLD), remote: remote.clone(), keep: Keep::InTrash };
    assert_eq!(approved(Some(&ancestor()), &unchanged_file(), &rewritten_object()), Some(overrule));
    let delete = Action::DeleteObject { remote };
    assert_eq!(approved(Some(&ancestor()), &LocalEntry::Absent, &rewritten_object()), Some(delete));
    assert_eq!(approved(None, &LocalEntry::Absent, &rewritten_object()), None, "nothing here ever spoke of it");
}

// Both ways.

#[test]
fn a_policy_settles_conflicts_and_nothing_else() {
    let (local, remote) = (edited_fingerprint(MINE), generation(THEIRS, 2));
    let replace = Action::Replace { local, remote: remote.clone() };
    let overrule = Action::Overrule { local, remote, keep: Keep::InTrash };
    for (policy, settled) in [(ConflictPolicy::RemoteWins, replace), (ConflictPolicy::LocalWins, overrule)] {
        assert_eq!(known(both_ways(policy), &edited_file(), &rewritten_object()), Decision::Do(settled));
        every_action(both_ways(ConflictPolicy::KeepBoth), |action, ancestor, local, remote| {
            if !matches!(action, Action::Conflict { .. }) {
                let under_policy = both_ways(policy).decide(ancestor, local, remote);
                assert_eq!(under_policy, Decision::Do(action.clone()), "{ancestor:?}, {local:?}, {remote:?}");
            }
        });
    }
}
