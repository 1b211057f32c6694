//! The guards (R14): how much may be deleted before a person is asked.

use serde::{Deserialize, Serialize};

/// Why a mirror is halted. Spelled in kebab-case everywhere that people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HaltReason {
    RootMissing,
    RootEmptied,
    RootReplaced,
    VolumeChanged,
    RemoteEmptied,
    TooManyDeletes,
    EverythingChanged,
    FirstMerge,
    TrashFull,
}

/// `max_deletes` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteLimits {
    /// percent of the ancestor as it was at the window's start
    pub percent: u8,
    pub files: u64,
    /// fewer than this are never too many
    pub min: u64,
}

impl Default for DeleteLimits {
    fn default() -> Self {
        Self { percent: 50, files: 10_000, min: 20 }
    }
}

/// Paths that may differ at a first run, and percent of those that both sides have.
const FIRST_MERGE_MIN: u64 = 20;
const FIRST_MERGE_PERCENT: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardVerdict {
    Pass,
    Halt(HaltReason),
}

/// Too many = executed and planned within one window: more than a share of the ancestor as it was at the window's
/// start, or more than a number of files, and at least `min`. Approved deletes, and those whose content stands under
/// another path, are not counted by the caller. Nothing planned halts nothing.
#[must_use]
pub fn too_many_deletes(
    limits: DeleteLimits,
    ancestors_at_window_start: u64,
    executed: u64,
    planned: u64,
) -> GuardVerdict {
    let deletes = executed.saturating_add(planned);
    let share_exceeded = u128::from(deletes) * 100 > u128::from(limits.percent) * u128::from(ancestors_at_window_start);
    let too_many = planned > 0 && deletes >= limits.min && (share_exceeded || deletes > limits.files);
    verdict(too_many, HaltReason::TooManyDeletes)
}

/// A complete listing of nothing, where at least `min` paths were in step.
#[must_use]
pub fn remote_emptied(ancestors: u64, listed: u64, min: u64) -> GuardVerdict {
    verdict(listed == 0 && ancestors >= min.max(1), HaltReason::RemoteEmptied)
}

/// A scan that succeeded and found none of at least `min` files that were in step.
#[must_use]
pub fn root_emptied(ancestors: u64, still_there: u64, min: u64) -> GuardVerdict {
    verdict(still_there == 0 && ancestors >= min.max(1), HaltReason::RootEmptied)
}

/// Nearly every file changed its content on one side within one sweep: at least `min` of them, and over 90 %.
#[must_use]
pub fn everything_changed(ancestors: u64, changed: u64, min: u64) -> GuardVerdict {
    let nearly_all = u128::from(changed) * 100 > u128::from(ancestors) * 90;
    verdict(nearly_all && changed >= min.max(1), HaltReason::EverythingChanged)
}

/// A first run that finds other contents under many of the names that both sides have: these are hardly two copies of one
/// tree.
#[must_use]
pub fn first_merge(common: u64, differing: u64) -> GuardVerdict {
    let share_exceeded = u128::from(differing) * 100 > u128::from(common) * u128::from(FIRST_MERGE_PERCENT);
    verdict(differing > FIRST_MERGE_MIN && share_exceeded, HaltReason::FirstMerge)
}

fn verdict(halt: bool, reason: HaltReason) -> GuardVerdict {
    if halt { GuardVerdict::Halt(reason) } else { GuardVerdict::Pass }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: DeleteLimits = DeleteLimits { percent: 50, files: 10_000, min: 20 };
    const TOO_MANY: GuardVerdict = GuardVerdict::Halt(HaltReason::TooManyDeletes);

    #[test]
    fn more_than_half_of_the_ancestor_is_too_much() {
        assert_eq!(too_many_deletes(LIMITS, 100, 0, 50), GuardVerdict::Pass);
        assert_eq!(too_many_deletes(LIMITS, 100, 0, 51), TOO_MANY);
    }

    #[test]
    fn a_first_run_asks_about_more_than_twenty_that_are_more_than_a_tenth() {
        let halt = GuardVerdict::Halt(HaltReason::FirstMerge);
        assert_eq!(first_merge(20, 20), GuardVerdict::Pass);
        assert_eq!(first_merge(21, 21), halt);
        assert_eq!(first_merge(210, 21), GuardVerdict::Pass);
        assert_eq!(first_merge(209, 21), halt);
    }

    #[test]
    fn what_was_executed_in_the_window_counts_too() {
        assert_eq!(too_many_deletes(LIMITS, 100, 30, 20), GuardVerdict::Pass);
        assert_eq!(too_many_deletes(LIMITS, 100, 30, 21), TOO_MANY);
        assert_eq!(too_many_deletes(LIMITS, 100, u64::MAX, 1), TOO_MANY);
    }

    #[test]
    fn more_than_the_number_of_files_is_too_much_whatever_the_share() {
        assert_eq!(too_many_deletes(LIMITS, 1_000_000, 0, 10_000), GuardVerdict::Pass);
        assert_eq!(too_many_deletes(LIMITS, 1_000_000, 0, 10_001), TOO_MANY);
    }

    #[test]
    fn a_few_deletes_are_never_too_many() {
        assert_eq!(too_many_deletes(LIMITS, 19, 0, 19), GuardVerdict::Pass);
        assert_eq!(too_many_deletes(LIMITS, 20, 0, 20), TOO_MANY);
        assert_eq!(too_many_deletes(LIMITS, 0, 0, 20), TOO_MANY);
    }

    #[test]
    fn nothing_planned_halts_nothing() {
        assert_eq!(too_many_deletes(LIMITS, 100, 90, 0), GuardVerdict::Pass);
    }

    #[test]
    fn a_bucket_is_emptied_when_many_paths_were_in_step_and_none_is_listed() {
        assert_eq!(remote_emptied(20, 0, 20), GuardVerdict::Halt(HaltReason::RemoteEmptied));
        assert_eq!(remote_emptied(19, 0, 20), GuardVerdict::Pass);
        assert_eq!(remote_emptied(20, 1, 20), GuardVerdict::Pass);
        assert_eq!(remote_emptied(0, 0, 0), GuardVerdict::Pass);
    }

    #[test]
    fn a_root_is_emptied_when_many_paths_were_in_step_and_none_is_found() {
        assert_eq!(root_emptied(20, 0, 20), GuardVerdict::Halt(HaltReason::RootEmptied));
        assert_eq!(root_emptied(20, 1, 20), GuardVerdict::Pass);
        assert_eq!(root_emptied(0, 0, 0), GuardVerdict::Pass);
    }
}
