//! Faults that the simulator must be able to find. They exist in debug builds only; a release build compiles to "no".

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    None,
    /// Uploads go out without their condition.
    SkipPrecondition,
    /// The ancestor is written before the content is in place.
    AncestorBeforeSync,
    /// A listing that broke off counts as complete, and what it leaves out as deleted without a further look.
    IncompleteListingTrusted,
    /// A local edit of a path that was deleted in the bucket is treated as unedited.
    EditVersusDeleteAsDelete,
    /// An object that carries our nonce counts as our write, whatever it holds.
    NonceTrustedAlone,
    /// A start throws away what was displaced, as it does with temp files.
    DisplacedPurgedAtStart,
    /// A listing counts as new however long ago it was made, and what it leaves out as deleted without a further look.
    StaleListingDeletes,
    /// Over the cap of conflict copies the file is overwritten instead of held.
    CapOverwrites,
    /// A change takes its sequence number before the order of commits is fixed. (In the simulator's metadata.)
    SequenceBeforeCommit,
    /// A cursor is a number alone: a restored backup goes unnoticed. (In the simulator's metadata.)
    CursorWithoutRowId,
    /// What stands in the cache is believed without a proof.
    CacheTrusted,
    /// Whoever lists asks for its lease once, and not before each batch.
    LeaseNotRechecked,
    /// Nobody takes turns at the keys of a store without conditions.
    TurnNotTaken,
}

#[cfg(debug_assertions)]
mod switch {
    use super::Planted;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Planted> = const { Cell::new(Planted::None) };
    }

    /// Plants a fault for everything that runs on this thread.
    pub fn set(planted: Planted) {
        PLANTED.with(|cell| cell.set(planted));
    }

    #[must_use]
    pub fn is(planted: Planted) -> bool {
        PLANTED.with(Cell::get) == planted
    }
}

#[cfg(debug_assertions)]
pub use switch::{is, set};

#[cfg(not(debug_assertions))]
#[must_use]
pub const fn is(_: Planted) -> bool {
    false
}
