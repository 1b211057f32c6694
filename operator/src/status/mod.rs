//! What is told of a mirror: pure, from what is known of it and of its pods.
//!
//! The same facts give the same status, so that nothing is written when nothing changed. Numbers that move all the time are
//! rounded, and lists are cut.

mod conditions;
mod news;
mod risk;
mod verdict;

use gosync_crds::{OnMissing, PodCounts, SyncMirror, SyncMirrorStatus, WORST_PODS_MAX, WorstPod};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub use conditions::{
    AGENTS_UP_TO_DATE, CONFLICTS_PRESENT, DATA_AT_RISK, INJECTION_COMPLETE, READY, RECONCILING, STALLED, SYNCED,
};
pub use news::{News, news};
pub use risk::{counts, event, is_at_risk};
pub use verdict::{Kind, Verdict};

use crate::agents::{Ending, MirrorState};

/// Longest message of a condition or a pod, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1_024;
/// Ages that are told of a lag, in seconds: the greatest that is not above it.
const LAGS: [i64; 16] = [0, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600, 21_600, 86_400, 604_800];

/// What is known of a mirror and its pods.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The mirror, as it stands in the cluster.
    pub mirror: &'a SyncMirror,
    /// Why nothing can be done with it, in a word and a sentence.
    pub refused: Option<(&'static str, String)>,
    /// Its pods with an agent.
    pub agents: Vec<Agent>,
    /// Its pods without one.
    pub missing: Vec<Missing>,
    /// Why pods that have an agent would get none if they were made anew, in a word and a sentence.
    pub in_the_way: Option<(&'static str, String)>,
    /// Restarts that wait, each with what they wait for.
    pub restarts: Vec<String>,
    /// Pods of the last day that ended with something unsent, the newest first.
    pub endings: Vec<Ending>,
    /// The operator's release.
    pub version: &'a str,
    /// The time.
    pub now: Timestamp,
}

/// A pod with an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// The pod's name.
    pub pod: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// What its agent tells.
    pub seen: Seen,
}

/// What an agent tells of a mirror.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// Nothing yet: it comes up.
    Starting,
    /// Its container can't start: Kubernetes' word and sentence.
    NotRunning(String, String),
    /// It runs and can't be reached.
    Unreachable(String),
    /// It answers, and doesn't know the mirror: its config has not arrived, or can't be read.
    Unconfigured {
        /// Its release.
        version: String,
    },
    /// How the mirror stands.
    Told {
        /// Its release.
        version: String,
        /// The mirror.
        state: Box<MirrorState>,
    },
}

/// A pod that should have an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The pod's name.
    pub pod: String,
    /// What it can be restarted by: `deployment/trainer`. None for bare pods and those of Jobs.
    pub workload: Option<String>,
    /// Why it would not even get one if it were made anew, in a word and a sentence.
    pub because: Option<(&'static str, String)>,
}

/// The status. Conditions of `before` keep their times where they still hold.
pub fn status(facts: &Facts<'_>, before: Option<&SyncMirrorStatus>) -> SyncMirrorStatus {
    let verdicts = verdict::all(facts);
    let told = |agent: &Agent| match &agent.seen {
        Seen::Told { state, .. } => Some(state.as_ref().clone()),
        _ => None,
    };
    let states: Vec<MirrorState> = facts.agents.iter().filter_map(told).collect();
    let sum = |number: fn(&MirrorState) -> i64| states.iter().map(number).fold(0_i64, i64::saturating_add);
    let versions = Versions::of(facts);
    let matched = facts.agents.len() + facts.missing.len();
    let count = |wanted: fn(&Kind) -> bool| verdicts.iter().filter(|verdict| wanted(&verdict.kind)).count();
    let mut status = SyncMirrorStatus {
        observed_generation: facts.mirror.metadata.generation,
        conditions: Vec::new(),
        pods: PodCounts {
            matched: number(matched),
            injected: number(facts.agents.len()),
            hydrated: number(states.iter().filter(|state| state.hydrated).count()),
            in_sync: number(count(|kind| *kind == Kind::InSync)),
            missing: number(facts.missing.len()),
            outdated: number(versions.outdated),
        },
        summary: summary(facts, &verdicts),
        files: sum(|state| state.files),
        bytes: sum(|state| state.bytes),
        pending_files: sum(|state| state.pending.files),
        pending_bytes: sum(|state| state.pending.bytes),
        conflicts: sum(|state| state.conflicts),
        errors: sum(|state| i64::try_from(state.errors.len()).unwrap_or(i64::MAX)),
        lag_seconds: states.iter().map(|state| rounded(state.lag_seconds)).max().unwrap_or(0),
        last_sync_time: states.iter().filter_map(|state| state.last_sync).max().map(|time| Time(whole(time))),
        last_sync_request: request(facts, &states, before),
        agent_version: versions.oldest.clone().unwrap_or_default(),
        worst_pods: worst(&verdicts),
    };
    status.conditions = conditions::all(facts, &verdicts, &versions, &status, before);
    status
}

/// The status of a mirror that can't be read.
pub fn refused(
    generation: Option<i64>,
    refusal: &(&'static str, String),
    before: Option<&SyncMirrorStatus>,
    now: Timestamp,
) -> SyncMirrorStatus {
    SyncMirrorStatus {
        observed_generation: generation,
        conditions: conditions::refused(generation, refusal, before, now),
        summary: refusal.0.to_owned(),
        ..SyncMirrorStatus::default()
    }
}

/// True when there is nothing to write. When a mirror was last in step is never news by itself: of one that rests it would
/// be, every minute.
pub fn same(now: &SyncMirrorStatus, before: Option<&SyncMirrorStatus>) -> bool {
    let Some(before) = before else { return false };
    let untimed = SyncMirrorStatus { last_sync_time: before.last_sync_time.clone(), ..now.clone() };
    untimed == *before
}

/// The request of the spec once every pod has done it, until then the one before.
fn request(facts: &Facts<'_>, states: &[MirrorState], before: Option<&SyncMirrorStatus>) -> String {
    let wanted = &facts.mirror.spec.sync_request;
    let done = states.len() == facts.agents.len() && states.iter().all(|state| state.request == *wanted);
    if done { wanted.clone() } else { before.map(|before| before.last_sync_request.clone()).unwrap_or_default() }
}

/// Agents by their releases.
struct Versions {
    /// The oldest.
    oldest: Option<String>,
    /// Older than the operator's.
    outdated: usize,
    /// Further from the operator's than is tried.
    apart: usize,
}

/// Releases of agents and operator may lie so many minor ones apart.
const MINORS_APART: u64 = 2;

impl Versions {
    fn of(facts: &Facts<'_>) -> Self {
        let versions = facts.agents.iter().filter_map(|agent| match &agent.seen {
            Seen::Told { version, .. } | Seen::Unconfigured { version } => Some(version.as_str()),
            _ => None,
        });
        let mut versions: Vec<&str> = versions.filter(|version| !version.is_empty()).collect();
        versions.sort_by_key(|version| parts(version));
        let own = parts(facts.version);
        let apart = |version: &&&str| {
            let other = parts(version);
            other.0 != own.0 || other.1.abs_diff(own.1) > MINORS_APART
        };
        Self {
            oldest: versions.first().map(|version| (*version).to_owned()),
            outdated: versions.iter().filter(|version| parts(version) < own).count(),
            apart: versions.iter().filter(apart).count(),
        }
    }
}

/// The numbers of a release; what follows a dash is passed over.
fn parts(version: &str) -> (u64, u64, u64) {
    let plain = version.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
    let mut numbers = plain.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

/// `11/12 in sync, 1 hydrating`.
fn summary(facts: &Facts<'_>, verdicts: &[Verdict]) -> String {
    if let Some((reason, _)) = &facts.refused {
        return (*reason).to_owned();
    }
    if verdicts.is_empty() {
        return "no pods".to_owned();
    }
    let count = |kind: Kind| verdicts.iter().filter(|verdict| verdict.kind == kind).count();
    let mut out = format!("{}/{} in sync", count(Kind::InSync), verdicts.len());
    for (kind, words) in Kind::WORDS {
        match count(kind) {
            0 => {}
            number => out += &format!(", {number} {words}"),
        }
    }
    out
}

fn worst(verdicts: &[Verdict]) -> Vec<WorstPod> {
    let bad = verdicts.iter().filter(|verdict| verdict.kind != Kind::InSync);
    let pod = |verdict: &Verdict| WorstPod {
        name: verdict.pod.clone(),
        reason: verdict.reason.clone(),
        message: verdict.message.clone(),
    };
    bad.take(WORST_PODS_MAX).map(pod).collect()
}

fn rounded(lag_seconds: f64) -> i64 {
    LAGS.into_iter().rfind(|lag| *lag as f64 <= lag_seconds).unwrap_or(0)
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The API keeps whole seconds.
pub fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Cuts a text to what a status may hold.
pub fn short(text: String) -> String {
    if text.len() <= MESSAGE_BYTES_MAX {
        return text;
    }
    let mut end = MESSAGE_BYTES_MAX - "…".len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// Whether the operator itself restarts what has no agent.
fn restarts(mirror: &SyncMirror) -> bool {
    mirror.spec.rollout.on_missing == OnMissing::Restart
}
