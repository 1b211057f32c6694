//! What is wrong with a mirror that the API server let through: one of a newer release, or a selector that no API server reads.

use gosync_crds::SyncMirror;
use kube::core::Selector;

/// Why nothing can be done with a mirror, in a word and a sentence.
pub type Refusal = (&'static str, String);

/// Looks at it.
pub fn validate(mirror: &SyncMirror) -> Result<(), Refusal> {
    let selector = mirror.spec.selector.clone().map(Selector::try_from).transpose();
    selector.map(drop).map_err(|error| ("SelectorUnreadable", format!("spec.selector can't be read: {error}")))
}

/// Of one that can't be read at all.
pub fn unreadable(error: &str) -> Refusal {
    ("SpecUnreadable", format!("this release of the operator can't read the SyncMirror: {error}"))
}
