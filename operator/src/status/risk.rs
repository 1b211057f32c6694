//! What pods left unsent at their end: lost with a volume that went with the pod, or kept on one that the next pod gets.

use gosync_crds::{Direction, HydrationMode, OnTimeout, SyncMirror};

use super::News;
use crate::agents::Ending;

/// True where something may be lost: it was on a volume of the pod's own.
pub fn is_at_risk(mirror: &SyncMirror, ending: &Ending) -> bool {
    ending.volumes_gone.contains(&mirror.spec.volume.name)
}

/// True where the pod may have written anything: not where the mirror only receives, and not where the application still waited
/// for its files.
pub fn counts(mirror: &SyncMirror, ending: &Ending) -> bool {
    let hydration = &mirror.spec.hydration;
    let may_have_run =
        ending.receipt.hydrated || hydration.mode == HydrationMode::None || hydration.on_timeout == OnTimeout::Start;
    mirror.spec.direction != Direction::Pull && may_have_run
}

/// What is said of one end.
pub fn sentence(mirror: &SyncMirror, ending: &Ending) -> String {
    let receipt = &ending.receipt;
    let why = match (&receipt.reason, receipt.finished) {
        (Some(reason), _) => format!(" ({reason})"),
        (None, None) => " (its agent was killed before it was through)".to_owned(),
        (None, Some(_)) => String::new(),
    };
    let (files, bytes) = (receipt.pending.count.files, receipt.pending.count.bytes);
    let what = match files {
        0 => "without knowing whether everything was sent".to_owned(),
        1 => format!("with 1 file of {bytes} bytes unsent"),
        number => format!("with {number} files of {bytes} bytes unsent"),
    };
    let volume = &mirror.spec.volume.name;
    let then = match is_at_risk(mirror, ending) {
        true => format!("its volume {volume} went with it"),
        false => format!("its volume {volume} stays, and the next pod with it sends what is there"),
    };
    format!("pod {} ended {what}{why}; {then}", ending.pod)
}

/// The Event of one end, which names the first paths.
pub fn event(mirror: &SyncMirror, ending: &Ending) -> News {
    let at_risk = is_at_risk(mirror, ending);
    let first = &ending.receipt.pending.first;
    let paths = if first.is_empty() { String::new() } else { format!(". First: {}", first.join(", ")) };
    News {
        good: !at_risk,
        reason: if at_risk { "DataAtRisk" } else { "UnsentDataKept" }.to_owned(),
        note: super::short(sentence(mirror, ending) + &paths),
    }
}
