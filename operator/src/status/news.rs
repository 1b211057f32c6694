//! What of a status is worth an Event: edges, so that nothing has to be remembered but the status before.

use gosync_crds::SyncMirrorStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{CONFLICTS_PRESENT, INJECTION_COMPLETE, READY};

/// Something for an Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Nothing to worry about.
    pub good: bool,
    /// In a word.
    pub reason: String,
    /// In a sentence.
    pub note: String,
}

/// What is new since `before`.
pub fn news(now: &SyncMirrorStatus, before: Option<&SyncMirrorStatus>) -> Vec<News> {
    // Of each the status that is good.
    let watched = [(READY, "True"), (INJECTION_COMPLETE, "True"), (CONFLICTS_PRESENT, "False")];
    let mut out: Vec<News> = Vec::new();
    for (type_, well) in watched {
        let find = |status: &SyncMirrorStatus| -> Option<Condition> {
            status.conditions.iter().find(|condition| condition.type_ == type_).cloned()
        };
        let (Some(new), old) = (find(now), before.and_then(find)) else { continue };
        let is = (new.status.as_str(), new.reason.as_str());
        // One that never was otherwise than well is none.
        let was = old.as_ref().map_or((well, is.1), |old| (old.status.as_str(), old.reason.as_str()));
        let good = new.status == well;
        let changed = if good { was.0 != well } else { was != is };
        // Pods that come up are no news, only that they are up.
        let on_the_way = matches!(is.1, "Hydrating" | "Starting" | "WaitingForConfig");
        if changed && !on_the_way && !out.iter().any(|told| told.reason == new.reason) {
            out.push(News { good, reason: new.reason, note: new.message });
        }
    }
    out
}
