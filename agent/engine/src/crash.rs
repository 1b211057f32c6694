//! Crash points: the moments of the sequences in which a debug build can be told to die, so that a test meets each of them.
//! Each lies between an act and what is written down about it, or between what was written down and the act.
//!
//! The engine only says that it is there; what happens then is up to whoever drives it ([`on_reach`]). A release build
//! compiles to nothing.

macro_rules! crash_points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CrashPoint {
            $($(#[$doc])* $point,)*
        }

        #[cfg(debug_assertions)]
        impl CrashPoint {
            pub const ALL: &[Self] = &[$(Self::$point),*];

            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

crash_points! {
    /// The marker is written, under another name.
    MarkerWritten = "marker-written",
    /// The marker stands, and the state doesn't know of it.
    MarkerPlaced = "marker-placed",
    /// Objects and an upload of the probe are in the bucket.
    Probing = "probing",
    /// The metadata knows, the replica's state doesn't.
    MetadataTold = "metadata-told",
    /// The tree holds a beat that the metadata were not told of yet.
    BeatWritten = "beat-written",
    BeatTold = "beat-told",
    /// The tree has a replica id of its own, and the mirror goes on as what it was.
    Parted = "parted",

    UploadJournalled = "upload-journalled",
    UploadSent = "upload-sent",
    /// The store has a multipart upload whose id nobody noted.
    PartsBegun = "parts-begun",
    /// Its id is noted, no part is sent.
    PartsNoted = "parts-noted",
    PartSent = "part-sent",
    PartsCompleted = "parts-completed",
    /// The bucket has copied an object under a new key.
    CopiedInBucket = "copied-in-bucket",

    /// The verified content is in a temp file.
    Fetched = "fetched",
    RangeFetched = "range-fetched",
    CopiedInTree = "copied-in-tree",
    PlacedNew = "placed-new",
    InstallJournalled = "install-journalled",
    /// The new content lies in `displaced`, not yet exchanged.
    NewSetAside = "new-set-aside",
    Exchanged = "exchanged",
    /// All is in place and durable, nothing recorded.
    Placed = "placed",
    /// The loser of a conflict has its second name.
    ConflictCopyMade = "conflict-copy-made",
    /// What an overruled object holds is kept.
    OverruledKept = "overruled-kept",

    DeleteJournalled = "delete-journalled",
    ObjectDeleted = "object-deleted",
    TrashJournalled = "trash-journalled",
    Trashed = "trashed",
    /// The ancestor of a trashed file is gone.
    TrashRecorded = "trash-recorded",
    /// The ancestor of a file in a folder's way is gone.
    AsideForgotten = "aside-forgotten",
    MovedAside = "moved-aside",

    /// A displaced content found its end; the journal doesn't know.
    DisplacedSettled = "displaced-settled",
    /// A trash item stands at its path again.
    TrashRestored = "trash-restored",
    /// A bucket version is in a temp file.
    VersionFetched = "version-fetched",
}

#[cfg(debug_assertions)]
mod switch {
    use std::sync::OnceLock;

    use super::CrashPoint;

    static REACHED: OnceLock<fn(CrashPoint)> = OnceLock::new();

    /// Is told of every point from now on. Only the first call counts.
    pub fn on_reach(hook: fn(CrashPoint)) {
        let _ = REACHED.set(hook);
    }

    pub(crate) fn reached(point: CrashPoint) {
        if let Some(hook) = REACHED.get() {
            hook(point);
        }
    }
}

#[cfg(debug_assertions)]
pub use switch::on_reach;
#[cfg(debug_assertions)]
pub(crate) use switch::reached;

#[cfg(not(debug_assertions))]
pub(crate) const fn reached(_: CrashPoint) {}

#[cfg(all(test, debug_assertions))]
mod tests {
    use std::collections::BTreeSet;

    use super::CrashPoint;

    #[test]
    fn every_crash_point_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = CrashPoint::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), CrashPoint::ALL.len());
    }
}
