//! The words for people: every decision has some, and they name the side that changed.

use gosync_plan::decide::Decision;
use gosync_plan::why::{Change, local_change, remote_change, why};
use gosync_plan::{ConflictPolicy, Direction, Policy};

use crate::support::*;

#[test]
fn every_decision_of_every_policy_has_its_rule_in_words() {
    for direction in [Direction::TwoWay, Direction::Push, Direction::Pull] {
        for conflicts in [ConflictPolicy::KeepBoth, ConflictPolicy::RemoteWins, ConflictPolicy::LocalWins] {
            let policy = Policy { direction, conflicts, ..Policy::default() };
            for known in [None, Some(ancestor())] {
                for local in every_local() {
                    for remote in every_remote() {
                        let decision = policy.decide(known.as_ref(), &local, &remote);
                        let text = why(policy, known.as_ref(), &local, &remote, &decision);
                        assert!(!text.is_empty() && !text.contains('\n'), "{decision:?}");
                        if decision == Decision::Nothing {
                            assert!(!text.contains(" is sent") && !text.contains("is fetched"), "{text}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn what_became_of_a_side_is_told_against_what_was_in_step() {
    let (known, policy) = (ancestor(), Policy::default());
    assert_eq!(local_change(Some(&known), &unchanged_file(), policy), Change::Unchanged);
    assert_eq!(local_change(Some(&known), &edited_file(), policy), Change::Edited);
    assert_eq!(local_change(Some(&known), &unread(edited_fingerprint(MINE)), policy), Change::Touched);
    assert_eq!(local_change(None, &edited_file(), policy), Change::Created);
    assert_eq!(remote_change(Some(&known), &unchanged_object()), Change::Unchanged);
    assert_eq!(remote_change(Some(&known), &rewritten_object()), Change::Edited);
    assert_eq!(remote_change(Some(&known), &listed(generation(OLD, 2))), Change::Touched);
    assert_eq!(remote_change(None, &unchanged_object()), Change::Created);
}
