//! The conditions, as kstatus reads them: `kubectl wait`, Helm, Argo CD and Flux understand them.

use gosync_crds::SyncMirrorStatus;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::verdict::{Kind, Verdict};
use super::{Facts, Versions, restarts, risk, short, whole};
use crate::agents::{Pending, TOLD};

/// Every pod is kept in step.
pub const READY: &str = "Ready";
/// Every agent has nothing to send or fetch.
pub const SYNCED: &str = "Synced";
/// Every pod has its agent.
pub const INJECTION_COMPLETE: &str = "InjectionComplete";
/// No agent is older than the operator.
pub const AGENTS_UP_TO_DATE: &str = "AgentsUpToDate";
/// Conflict copies wait for somebody to choose.
pub const CONFLICTS_PRESENT: &str = "ConflictsPresent";
/// A pod of the last day went with files that were not sent.
pub const DATA_AT_RISK: &str = "DataAtRisk";
/// It is on its way to being ready by itself.
pub const RECONCILING: &str = "Reconciling";
/// It waits for a person.
pub const STALLED: &str = "Stalled";

const TRUE: &str = "True";
const FALSE: &str = "False";
const UNKNOWN: &str = "Unknown";

/// Pods and workloads that a message names at most.
const NAMED: usize = 5;

struct Said {
    status: &'static str,
    reason: String,
    message: String,
}

fn said(status: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Said {
    Said { status, reason: reason.into(), message: message.into() }
}

/// All of them, in their order.
pub fn all(
    facts: &Facts<'_>,
    verdicts: &[Verdict],
    versions: &Versions,
    status: &SyncMirrorStatus,
    before: Option<&SyncMirrorStatus>,
) -> Vec<Condition> {
    let said = [
        (READY, ready(facts, verdicts)),
        (SYNCED, synced(facts, verdicts)),
        (INJECTION_COMPLETE, injection(facts)),
        (AGENTS_UP_TO_DATE, up_to_date(facts, versions)),
        (CONFLICTS_PRESENT, conflicts(status)),
        (DATA_AT_RISK, at_risk(facts, before)),
        (RECONCILING, reconciling(facts, verdicts)),
        (STALLED, stalled(facts, verdicts)),
    ];
    let conditions = said.into_iter().map(|(type_, said)| {
        condition(facts.mirror.metadata.generation, type_, said.status, &said.reason, said.message, before, facts.now)
    });
    conditions.collect()
}

/// Those of a mirror that can't even be read.
pub fn refused(
    generation: Option<i64>,
    (reason, message): &(&'static str, String),
    before: Option<&SyncMirrorStatus>,
    now: Timestamp,
) -> Vec<Condition> {
    let both = [(READY, FALSE), (STALLED, TRUE)];
    let both = both.map(|(type_, status)| condition(generation, type_, status, reason, message.clone(), before, now));
    both.into()
}

/// One of them. It keeps the time of `before` where its status is the same.
fn condition(
    generation: Option<i64>,
    type_: &str,
    status: &str,
    reason: &str,
    message: String,
    before: Option<&SyncMirrorStatus>,
    now: Timestamp,
) -> Condition {
    let old = before.and_then(|before| before.conditions.iter().find(|condition| condition.type_ == type_));
    let since = old.filter(|old| old.status == status).map(|old| old.last_transition_time.clone());
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: short(message),
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(whole(now))),
    }
}

fn ready(facts: &Facts<'_>, verdicts: &[Verdict]) -> Said {
    if let Some((reason, message)) = &facts.refused {
        return said(FALSE, *reason, message);
    }
    match verdicts.first() {
        None => said(TRUE, "NoPods", "no pod is selected, and none asks for this mirror"),
        Some(worst) => match worst.kind {
            Kind::InSync | Kind::Syncing => said(TRUE, "KeptInStep", "every pod is kept in step"),
            Kind::Missing => {
                let said_of_them = injection(facts);
                said(FALSE, said_of_them.reason, said_of_them.message)
            }
            Kind::Unreachable => said(UNKNOWN, worst.reason.as_str(), together(verdicts, worst)),
            _ => said(FALSE, worst.reason.as_str(), together(verdicts, worst)),
        },
    }
}

fn synced(facts: &Facts<'_>, verdicts: &[Verdict]) -> Said {
    let mut of_agents = verdicts.iter().filter(|verdict| verdict.kind != Kind::Missing);
    if facts.agents.is_empty() {
        return match facts.missing.is_empty() {
            true => said(TRUE, "NoPods", "there is no pod to keep in step"),
            false => said(UNKNOWN, "NoAgents", "no pod has an agent"),
        };
    }
    // What is known comes first: that another can't be reached takes nothing from it.
    let known = of_agents.clone().find(|verdict| !matches!(verdict.kind, Kind::Unreachable | Kind::InSync));
    match known.or_else(|| of_agents.find(|verdict| verdict.kind == Kind::Unreachable)) {
        None => said(TRUE, "InSync", "every agent has nothing to send or fetch"),
        Some(worst) if worst.kind == Kind::Unreachable => {
            said(UNKNOWN, worst.reason.as_str(), together(verdicts, worst))
        }
        Some(worst) => said(FALSE, worst.reason.as_str(), together(verdicts, worst)),
    }
}

fn injection(facts: &Facts<'_>) -> Said {
    let missing = &facts.missing;
    if missing.is_empty() {
        if let Some((reason, message)) = &facts.in_the_way {
            return said(FALSE, *reason, message);
        }
        return match facts.agents.len() {
            0 => said(TRUE, "NoPods", "there is no pod that needs an agent"),
            _ => said(TRUE, "AllInjected", "every pod has its agent"),
        };
    }
    if let Some((pod, (reason, message))) = missing.iter().find_map(|pod| Some((&pod.pod, pod.because.as_ref()?))) {
        return said(FALSE, *reason, format!("pod {pod} has no agent: {message}"));
    }
    let namespace = facts.mirror.metadata.namespace.as_deref().unwrap_or_default();
    let names: Vec<&str> = missing.iter().map(|pod| pod.pod.as_str()).collect();
    let mut message = format!("{} without an agent: {}", pods(missing.len()), listed(&names));
    let mut workloads: Vec<&str> = missing.iter().filter_map(|pod| pod.workload.as_deref()).collect();
    workloads.sort_unstable();
    workloads.dedup();
    if !workloads.is_empty() {
        let shown = &workloads[..workloads.len().min(NAMED)];
        message += &format!(". They get one with: kubectl -n {namespace} rollout restart {}", shown.join(" "));
        if workloads.len() > NAMED {
            message += &format!(" (and {} more)", workloads.len() - NAMED);
        }
    }
    let bare = missing.iter().filter(|pod| pod.workload.is_none()).count();
    if bare > 0 {
        message += &format!(". {bare} of them can't be restarted: delete and make anew what is bare, and Jobs with it");
    }
    for restart in facts.restarts.iter().take(NAMED) {
        message += &format!(". {restart}");
    }
    said(FALSE, "PodsMissingAgent", message)
}

fn up_to_date(facts: &Facts<'_>, versions: &Versions) -> Said {
    let (own, oldest) = (facts.version, versions.oldest.as_deref().unwrap_or_default());
    if versions.apart > 0 {
        let message = format!(
            "{} too far from the operator's release {own} (the oldest is {oldest}): restart them",
            agents(versions.apart)
        );
        return said(FALSE, "VersionSkew", message);
    }
    if versions.outdated > 0 {
        let message = format!(
            "{} older than the operator {own} (the oldest is {oldest}); they change with their pods",
            agents(versions.outdated)
        );
        return said(FALSE, "AgentsOutdated", message);
    }
    said(TRUE, "UpToDate", "no agent is older than the operator")
}

fn conflicts(status: &SyncMirrorStatus) -> Said {
    match status.conflicts {
        0 => said(FALSE, "NoConflicts", "there are no conflict copies"),
        number => {
            let message = format!(
                "conflict copies that wait for somebody to choose: {number}; `gosync sync conflicts` in the pod lists them"
            );
            said(TRUE, "ConflictsUnresolved", message)
        }
    }
}

/// For a day. A leader that has not seen the end itself repeats what the one before said.
fn at_risk(facts: &Facts<'_>, before: Option<&SyncMirrorStatus>) -> Said {
    let mut lost = facts.endings.iter().filter(|ending| risk::is_at_risk(facts.mirror, ending));
    if let Some(newest) = lost.next() {
        let others: Vec<_> = lost.map(|ending| ending.receipt.pending.count).collect();
        let mut message = risk::sentence(facts.mirror, newest);
        if !others.is_empty() {
            let sum = |of: fn(&Pending) -> i64| others.iter().map(of).fold(0_i64, i64::saturating_add);
            let (files, bytes) = (sum(|pending| pending.files), sum(|pending| pending.bytes));
            message += &format!("; {} more in the last day, with {files} files of {bytes} bytes", others.len());
        }
        return said(TRUE, "FilesNotSent", message);
    }
    let held = before.and_then(|before| before.conditions.iter().find(|condition| condition.type_ == DATA_AT_RISK));
    let held = held.filter(|held| held.status == TRUE && facts.now.duration_since(held.last_transition_time.0) < TOLD);
    match held {
        Some(held) => said(TRUE, held.reason.as_str(), held.message.as_str()),
        None => said(FALSE, "NothingLost", "no pod of the last day went with files that were not sent"),
    }
}

fn reconciling(facts: &Facts<'_>, verdicts: &[Verdict]) -> Said {
    let on_the_way = |verdict: &&Verdict| match verdict.kind {
        Kind::Hydrating | Kind::Starting => true,
        Kind::Missing => restarts(facts.mirror) && !verdict.waits_for_person,
        _ => false,
    };
    match verdicts.iter().find(on_the_way).filter(|_| facts.refused.is_none()) {
        Some(verdict) => said(TRUE, verdict.reason.as_str(), together(verdicts, verdict)),
        None => said(FALSE, "Settled", ""),
    }
}

fn stalled(facts: &Facts<'_>, verdicts: &[Verdict]) -> Said {
    if let Some((reason, message)) = &facts.refused {
        return said(TRUE, *reason, message);
    }
    match verdicts.iter().find(|verdict| verdict.waits_for_person) {
        Some(verdict) if verdict.kind == Kind::Missing => {
            let said_of_them = injection(facts);
            said(TRUE, said_of_them.reason, said_of_them.message)
        }
        Some(verdict) => said(TRUE, verdict.reason.as_str(), together(verdicts, verdict)),
        None => said(FALSE, "GoingOn", ""),
    }
}

/// A pod's sentence, with how many fare alike.
fn together(verdicts: &[Verdict], one: &Verdict) -> String {
    let alike = verdicts.iter().filter(|verdict| verdict.reason == one.reason).count();
    let others = match alike {
        0 | 1 => String::new(),
        number => format!(" (and {} like it)", number - 1),
    };
    format!("pod {}: {}{others}", one.pod, one.message)
}

fn listed(names: &[&str]) -> String {
    let shown = &names[..names.len().min(NAMED)];
    match names.len() > NAMED {
        true => format!("{} and {} more", shown.join(", "), names.len() - NAMED),
        false => shown.join(", "),
    }
}

fn pods(number: usize) -> String {
    if number == 1 { "1 pod is".to_owned() } else { format!("{number} pods are") }
}

fn agents(number: usize) -> String {
    if number == 1 { "1 agent is".to_owned() } else { format!("{number} agents are") }
}
