//! The second pass, over several paths.

use gosync_plan::{
    Action, Ancestor, Decision, Difference, ExpectLocal, Fingerprint, LocalEntry, ModePolicy, NameProblem, Outcome,
    Plan, Problem, RelPath, RemoteEntry, RemoteObject, decide, settle,
};
use proptest::prelude::*;

use crate::support::{Content, MINE, OLD, THEIRS, ancestor, fingerprint, generation, listed, read, unread};

fn path(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn difference(at: &str, ancestor: Option<Ancestor>, local: LocalEntry, remote: RemoteEntry) -> Difference {
    let outcome = match decide(ancestor.as_ref(), &local, &remote, ModePolicy::Off) {
        Decision::Do(action) => Outcome::Do(action),
        Decision::Report(problem) => Outcome::Report(problem),
        decision => panic!("{at}: {decision:?} is no difference"),
    };
    Difference { path: path(at), ancestor, local, remote, outcome }
}

/// A file that is new here, with an inode of its own.
fn created(at: &str, inode: u64) -> Difference {
    difference(at, None, unread(Fingerprint { inode, ..fingerprint(MINE) }), RemoteEntry::Absent)
}

fn created_remotely(at: &str, content: Content) -> Difference {
    difference(at, None, LocalEntry::Absent, listed(generation(content, 2)))
}

fn deleted(at: &str) -> Difference {
    difference(at, Some(ancestor()), LocalEntry::Absent, listed(generation(OLD, 1)))
}

fn deleted_remotely(at: &str) -> Difference {
    difference(at, Some(ancestor()), unread(fingerprint(OLD)), RemoteEntry::Absent)
}

fn told(plan: &Plan) -> Vec<String> {
    let name = |action: &Action| match action {
        Action::Upload { .. } => "upload",
        Action::Download { .. } => "download",
        Action::Record { .. } => "record",
        Action::ApplyMode { .. } => "mode",
        Action::Conflict { .. } => "conflict",
        Action::Replace { .. } => "replace",
        Action::Overrule { .. } => "overrule",
        Action::MoveAside { .. } => "aside",
        Action::DeleteObject { .. } => "delete",
        Action::TrashLocal { .. } => "trash",
        Action::Forget => "forget",
    };
    let moved = |moved: bool| if moved { " (moved)" } else { "" };
    plan.operations.iter().map(|one| format!("{} {}{}", name(&one.action), one.path, moved(one.moved))).collect()
}

fn beside_folder(at: &str) -> (RelPath, Problem) {
    (path(at), Problem::Name { why: NameProblem::BesideFolder })
}

// File against folder.

#[test]
fn a_new_file_moves_aside_for_a_folder_from_the_bucket() {
    let plan = settle(vec![created("a", 1), created("a-1", 2), created_remotely("a/b/c", THEIRS)]);
    assert_eq!(told(&plan), ["aside a", "upload a-1", "download a/b/c"]);
    assert_eq!(plan.operations[0].action, Action::MoveAside { local: fingerprint_with_inode(1) });
}

fn fingerprint_with_inode(inode: u64) -> Fingerprint {
    Fingerprint { inode, ..fingerprint(MINE) }
}

#[test]
fn a_file_in_any_state_moves_aside_for_a_folder() {
    let mine = read(fingerprint(MINE), MINE);
    let standing = [
        difference("a", Some(ancestor()), mine.clone(), listed(generation(OLD, 1))),
        difference("a", Some(ancestor()), unread(fingerprint(OLD)), listed(generation(THEIRS, 2))),
        difference("a", None, mine.clone(), listed(generation(MINE, 2))),
        difference("a", Some(ancestor()), unread(Fingerprint { size: 0, ..fingerprint(OLD) }), RemoteEntry::Presumed),
    ];
    for standing in standing {
        let plan = settle(vec![created_remotely("a/b", THEIRS), standing]);
        assert_eq!(told(&plan), ["aside a", "download a/b"]);
    }
}

#[test]
fn a_file_that_goes_to_the_trash_goes_before_the_folder_comes() {
    let plan = settle(vec![deleted_remotely("a"), created_remotely("a/b", THEIRS), deleted_remotely("c")]);
    assert_eq!(told(&plan), ["trash a", "download a/b", "trash c"]);
}

#[test]
fn of_objects_that_no_file_system_holds_together_the_folder_keeps_the_name() {
    let plan = settle(vec![
        created_remotely("a", THEIRS),
        created_remotely("a/b", THEIRS),
        created_remotely("a/b/c", THEIRS),
        created_remotely("ab", THEIRS),
    ]);
    assert_eq!(told(&plan), ["download a/b/c", "download ab"]);
    assert_eq!(plan.problems, [beside_folder("a"), beside_folder("a/b")]);
}

#[test]
fn an_object_where_a_folder_stands_is_reported_and_blocks_nothing() {
    let in_the_way = difference("a", None, LocalEntry::Folder, listed(generation(THEIRS, 2)));
    let plan = settle(vec![in_the_way, created("a/b", 1), created_remotely("a/c", THEIRS)]);
    assert_eq!(told(&plan), ["upload a/b", "download a/c"]);
    assert_eq!(plan.problems, [(path("a"), Problem::FolderInTheWay)]);
}

#[test]
fn a_file_made_into_a_folder_is_deleted_after_its_children_are_sent() {
    let made_into_folder = difference("a", Some(ancestor()), LocalEntry::Folder, listed(generation(OLD, 1)));
    let plan = settle(vec![made_into_folder, created("a/b", 9)]);
    assert_eq!(told(&plan), ["upload a/b", "delete a"]);
}

#[test]
fn a_child_edited_remotely_survives_the_removal_of_its_folder() {
    let edited = difference("a/kept", Some(ancestor()), LocalEntry::Absent, listed(generation(THEIRS, 2)));
    let plan = settle(vec![deleted("a/x"), edited, created_remotely("a/new", MINE), deleted("a/y")]);
    assert_eq!(told(&plan), ["download a/kept", "download a/new", "delete a/y", "delete a/x"]);
}

// Moved content.

#[test]
fn a_renamed_file_is_no_delete() {
    let renamed = Fingerprint { ctime_ns: 9_000, ..fingerprint(OLD) };
    let plan =
        settle(vec![deleted("old"), difference("new", None, unread(renamed), RemoteEntry::Absent), deleted("z")]);
    assert_eq!(told(&plan), ["upload new", "delete z (moved)", "delete old"]);
}

#[test]
fn a_file_copied_elsewhere_and_deleted_is_no_delete() {
    let copied = read(Fingerprint { inode: 99, mtime_ns: 9_000, ..fingerprint(OLD) }, OLD);
    let plan = settle(vec![deleted("old"), difference("new", None, copied, RemoteEntry::Absent)]);
    assert_eq!(told(&plan), ["upload new", "delete old (moved)"]);
}

#[test]
fn a_file_renamed_over_another_is_no_delete() {
    let other = Ancestor { fingerprint: Fingerprint { inode: 70, ..fingerprint(OLD) }, ..ancestor() };
    let other = Ancestor { content: Some(THEIRS.hash()), generation: generation(THEIRS, 1), ..other };
    let over = difference("b", Some(other), read(fingerprint(OLD), OLD), listed(generation(THEIRS, 1)));
    assert_eq!(told(&settle(vec![deleted("a"), over])), ["upload b", "delete a (moved)"]);
}

#[test]
fn a_file_that_stood_there_all_along_excuses_no_delete() {
    let chowned = read(Fingerprint { ctime_ns: 9_000, ..fingerprint(OLD) }, OLD);
    let stood = difference("b", Some(ancestor()), chowned, listed(generation(OLD, 1)));
    assert_eq!(told(&settle(vec![deleted("a"), stood])), ["record b", "delete a"]);
}

#[test]
fn an_object_renamed_in_the_bucket_is_no_delete() {
    let plan = settle(vec![deleted_remotely("old"), created_remotely("new", OLD)]);
    assert_eq!(told(&plan), ["download new", "trash old (moved)"]);
    let plan = settle(vec![deleted_remotely("old"), created_remotely("new", THEIRS)]);
    assert_eq!(told(&plan), ["download new", "trash old"]);
}

#[test]
fn an_object_that_stood_there_all_along_excuses_no_delete() {
    let edited_here = read(Fingerprint { inode: 70, mtime_ns: 9_000, ..fingerprint(MINE) }, MINE);
    let stood = difference("b", Some(ancestor()), edited_here, listed(generation(OLD, 1)));
    assert_eq!(told(&settle(vec![deleted_remotely("a"), stood])), ["upload b", "trash a"]);
}

#[test]
fn a_rename_and_a_copy_excuse_one_delete_each() {
    let copied = read(Fingerprint { inode: 99, mtime_ns: 9_000, ..fingerprint(OLD) }, OLD);
    let plan = settle(vec![
        deleted("a"),
        deleted("b"),
        difference("c", None, unread(fingerprint(OLD)), RemoteEntry::Absent),
        difference("d", None, copied, RemoteEntry::Absent),
    ]);
    assert_eq!(told(&plan), ["upload c", "upload d", "delete b (moved)", "delete a (moved)"]);
}

#[test]
fn one_new_file_does_not_excuse_many_deletes_of_its_copies() {
    let mut differences: Vec<_> = (0..10).map(|n| deleted(&format!("copy-{n}"))).collect();
    differences.push(difference(
        "new",
        None,
        read(Fingerprint { inode: 99, ..fingerprint(OLD) }, OLD),
        RemoteEntry::Absent,
    ));
    assert_eq!(settle(differences).operations.iter().filter(|one| one.moved).count(), 1);
}

#[test]
fn content_under_a_path_that_is_left_alone_excuses_no_delete() {
    let mut new = difference("new", None, unread(fingerprint(OLD)), RemoteEntry::Absent);
    new.outcome = Outcome::Report(Problem::Name { why: NameProblem::KeyTooLong });
    assert_eq!(told(&settle(vec![deleted("old"), new])), ["delete old"]);
}

// Order.

#[test]
fn of_two_differences_of_one_path_the_last_counts() {
    let plan = settle(vec![deleted("a"), created("a", 1)]);
    assert_eq!(told(&plan), ["upload a"]);
}

#[test]
fn a_hundred_thousand_differences_settle() {
    let mut differences = Vec::new();
    for n in 0..50_000_u64 {
        let before = Ancestor { fingerprint: Fingerprint { inode: n, ..fingerprint(OLD) }, ..ancestor() };
        let renamed = unread(before.fingerprint);
        let old = format!("old/{}/{n}", n % 100);
        differences.push(difference(&old, Some(before), LocalEntry::Absent, listed(generation(OLD, 1))));
        differences.push(difference(&format!("new/{}/{n}", n % 100), None, renamed, RemoteEntry::Absent));
    }
    let plan = settle(differences);
    assert_eq!(plan.operations.len(), 100_000);
    assert_eq!(plan.operations.iter().filter(|one| one.moved).count(), 50_000);
}

/// `None` where nothing would be done.
fn any_difference() -> impl Strategy<Value = Option<Difference>> {
    let name = "[ab](/[ab]){0,3}(-[ab])?";
    let content = || prop_oneof![Just(OLD), Just(MINE), Just(THEIRS), Just(Content(0))];
    let local = prop_oneof![
        Just(LocalEntry::Absent),
        Just(LocalEntry::Folder),
        (content(), 0..4u64, 0..3i64).prop_map(|(content, inode, mtime_ns)| {
            read(Fingerprint { inode, mtime_ns, ..fingerprint(content) }, content)
        }),
    ];
    let remote = prop_oneof![
        Just(RemoteEntry::Absent),
        (content(), 0..3u32).prop_map(|(content, token)| RemoteEntry::Object(RemoteObject {
            generation: generation(content, token),
            facts: None,
            content: Some(content.hash()),
        })),
    ];
    (name, proptest::option::of(Just(ancestor())), local, remote).prop_map(|(at, ancestor, local, remote)| {
        let outcome = match decide(ancestor.as_ref(), &local, &remote, ModePolicy::Off) {
            Decision::Do(action) => Outcome::Do(action),
            Decision::Report(problem) => Outcome::Report(problem),
            Decision::Nothing | Decision::Look(_) => return None,
        };
        Some(Difference { path: path(&at), ancestor, local, remote, outcome })
    })
}

fn some_differences() -> impl Strategy<Value = Vec<Difference>> {
    proptest::collection::vec(any_difference(), 0..40).prop_map(|some| some.into_iter().flatten().collect())
}

/// The file that an operation expects, and takes away or overwrites.
fn needs_file(action: &Action) -> bool {
    !matches!(
        action,
        Action::Download { expect: ExpectLocal::Absent, .. } | Action::DeleteObject { .. } | Action::Forget
    )
}

proptest! {
    #[test]
    fn a_plan_can_run_in_its_order(differences in some_differences()) {
        let plan = settle(differences.clone());
        let operations = &plan.operations;

        // Each path comes out once, as an operation or as a problem.
        let mut ins: Vec<_> = differences.iter().map(|one| &one.path).collect();
        let mut outs: Vec<_> = operations.iter().map(|one| &one.path).chain(plan.problems.iter().map(|one| &one.0)).collect();
        ins.sort();
        ins.dedup();
        outs.sort();
        prop_assert_eq!(ins, outs);

        for (position, operation) in operations.iter().enumerate() {
            if let Action::Download { expect: ExpectLocal::Absent, .. } = operation.action {
                for other in operations.iter().filter(|other| operation.path.is_below(&other.path)) {
                    let makes_room = matches!(other.action, Action::MoveAside { .. } | Action::TrashLocal { .. });
                    prop_assert!(makes_room || !needs_file(&other.action), "{:?} above {:?}", other, operation);
                    prop_assert!(!matches!(other.action, Action::Download { .. }), "{:?} above {:?}", other, operation);
                    let before = operations[..position].iter().any(|earlier| earlier.path == other.path);
                    prop_assert!(before || !makes_room, "{:?} after {:?}", other, operation);
                }
            }
            prop_assert!(!operation.moved || operation.action.is_delete());
            if let Action::DeleteObject { .. } = operation.action {
                for later in &operations[position + 1..] {
                    prop_assert!(later.action.is_delete(), "{:?} after {:?}", later, operation);
                    prop_assert!(!later.path.is_below(&operation.path), "{:?} after {:?}", later, operation);
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_looks_does_not_matter(differences in some_differences()) {
        let mut sorted = differences.clone();
        sorted.reverse();
        sorted.sort_by(|a, b| a.path.cmp(&b.path));
        sorted.dedup_by(|next, kept| next.path == kept.path);
        prop_assert_eq!(settle(differences), settle(sorted));
    }
}

#[test]
fn a_plan_prints_one_flat_object_for_each_operation() {
    let plan = settle(vec![deleted_remotely("a"), created_remotely("b", THEIRS)]);
    assert_eq!(
        serde_json::to_value(&plan).unwrap(),
        serde_json::json!({
            "operations": [
                {
                    "path": "b",
                    "action": "download",
                    "remote": {"etag": "03".repeat(16), "size": 100, "version_id": null, "last_modified": "2"},
                    "expect": "absent",
                    "moved": false,
                },
                {
                    "path": "a",
                    "action": "trash-local",
                    "local": {"size": 100, "mtime_ns": 1000, "ctime_ns": 2000, "inode": 7, "mode": 0o100_644},
                    "moved": false,
                },
            ],
            "problems": [],
        })
    );
}
