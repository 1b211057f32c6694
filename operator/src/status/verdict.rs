//! How each pod of a mirror stands: a kind to count, a reason to act on, a sentence that names the object at fault.

use gosync_crds::{HydrationMode, OnTimeout, SyncMirror};

use super::{Agent, Facts, Missing, Seen, short};
use crate::agents::MirrorState;

/// Kinds, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A guard halted it.
    Halted,
    /// Something outside is wrong.
    Failing,
    /// The agent's container doesn't start.
    NotRunning,
    /// The time for hydration is over.
    Slow,
    /// No agent.
    Missing,
    /// The agent can't be reached.
    Unreachable,
    /// The volume is being filled.
    Hydrating,
    /// The agent comes up.
    Starting,
    /// A person stopped it.
    Paused,
    /// Something is to be sent or fetched.
    Syncing,
    /// All is well.
    InSync,
}

impl Kind {
    /// All that stands in a summary beside what is in sync.
    pub const WORDS: [(Self, &'static str); 10] = [
        (Self::Halted, "halted"),
        (Self::Failing, "in error"),
        (Self::NotRunning, "not running"),
        (Self::Slow, "hydrating for too long"),
        (Self::Missing, "without agent"),
        (Self::Unreachable, "unreachable"),
        (Self::Hydrating, "hydrating"),
        (Self::Starting, "starting"),
        (Self::Paused, "paused"),
        (Self::Syncing, "syncing"),
    ];
}

/// How a pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The pod.
    pub pod: String,
    /// In a word for counting.
    pub kind: Kind,
    /// In a word to act on.
    pub reason: String,
    /// In a sentence.
    pub message: String,
    /// It goes on when a person does something, and not before.
    pub waits_for_person: bool,
}

/// Of all pods, the worst first.
pub fn all(facts: &Facts<'_>) -> Vec<Verdict> {
    let agents = facts.agents.iter().map(|agent| of_agent(facts, agent));
    let mut verdicts: Vec<Verdict> = agents.chain(facts.missing.iter().map(|pod| of_missing(facts, pod))).collect();
    verdicts.sort_by(|one, other| (one.kind, &one.pod).cmp(&(other.kind, &other.pod)));
    verdicts
}

fn verdict(pod: &str, kind: Kind, reason: impl Into<String>, message: String, waits_for_person: bool) -> Verdict {
    Verdict { pod: pod.to_owned(), kind, reason: reason.into(), message: short(message), waits_for_person }
}

fn of_missing(facts: &Facts<'_>, missing: &Missing) -> Verdict {
    let pod = &missing.pod;
    let manual = !super::restarts(facts.mirror) || missing.workload.is_none();
    match (&missing.because, &missing.workload) {
        (Some((reason, message)), _) => verdict(pod, Kind::Missing, *reason, message.clone(), true),
        (None, Some(workload)) => {
            let message = format!("it has no agent, and gets one with a restart of {workload}");
            verdict(pod, Kind::Missing, "PodsMissingAgent", message, manual)
        }
        (None, None) => {
            let message = "it has no agent; nothing restarts it: delete it and make it anew".to_owned();
            verdict(pod, Kind::Missing, "PodsMissingAgent", message, manual)
        }
    }
}

fn of_agent(facts: &Facts<'_>, agent: &Agent) -> Verdict {
    let pod = &agent.pod;
    let mirror = facts.mirror;
    match &agent.seen {
        Seen::NotRunning(reason, message) => {
            let message = format!("its agent doesn't start: {reason}: {message}");
            verdict(pod, Kind::NotRunning, "AgentNotRunning", message, false)
        }
        Seen::Unreachable(why) => {
            let message = format!("its agent doesn't answer ({why}): is there a NetworkPolicy or mesh in between?");
            verdict(pod, Kind::Unreachable, "StatusUnreachable", message, false)
        }
        Seen::Starting if is_late(facts, agent) => slow(mirror, pod, "it has not started"),
        Seen::Starting => verdict(pod, Kind::Starting, "Starting", "its agent comes up".to_owned(), false),
        Seen::Unconfigured { .. } if is_late(facts, agent) => slow(mirror, pod, "its config has not arrived"),
        Seen::Unconfigured { .. } => {
            let message =
                "its agent waits for the config of this mirror, which the kubelet brings within about two minutes";
            verdict(pod, Kind::Starting, "WaitingForConfig", message.to_owned(), false)
        }
        Seen::Told { state, .. } => of_state(facts, agent, state),
    }
}

fn of_state(facts: &Facts<'_>, agent: &Agent, state: &MirrorState) -> Verdict {
    let pod = &agent.pod;
    let mirror = facts.mirror;
    if let Some(halt) = state.halts.first() {
        let message = format!(
            "halted by a guard ({halt}); to see the question and answer it: kubectl -n {} exec {pod} -c gosync-agent -- gosync sync state",
            mirror.metadata.namespace.as_deref().unwrap_or_default()
        );
        return verdict(pod, Kind::Halted, format!("{}Halted", camel(halt)), message, true);
    }
    if let Some(error) = state.errors.first() {
        let (reason, message, waits) = explained(&error.class, mirror);
        return verdict(pod, Kind::Failing, reason, message, waits);
    }
    if state.status == "paused" {
        let (reason, by) =
            if mirror.spec.suspend { ("Suspended", "spec.suspend") } else { ("Paused", "`gosync sync pause`") };
        return verdict(pod, Kind::Paused, reason, format!("paused by {by}"), false);
    }
    if !state.hydrated && mirror.spec.hydration.mode == HydrationMode::Full {
        if is_late(facts, agent) {
            return slow(mirror, pod, "its volume is not filled");
        }
        let (files, bytes) = (state.pending.files, state.pending.bytes);
        let message = format!("its volume is being filled: {files} files of {bytes} bytes to go");
        return verdict(pod, Kind::Hydrating, "Hydrating", message, false);
    }
    if state.pending.files > 0 {
        let message = format!("{} files of {} bytes to go", state.pending.files, state.pending.bytes);
        return verdict(pod, Kind::Syncing, "Syncing", message, false);
    }
    verdict(pod, Kind::InSync, "InSync", String::new(), false)
}

fn slow(mirror: &SyncMirror, pod: &str, what: &str) -> Verdict {
    let seconds = mirror.spec.hydration.timeout_seconds;
    let (goes, waits) = match mirror.spec.hydration.on_timeout {
        OnTimeout::Block => ("its application goes on waiting", true),
        OnTimeout::Start => ("its application starts with what is there", false),
    };
    verdict(pod, Kind::Slow, "HydrationSlow", format!("{what} after {seconds} s; {goes}"), waits)
}

/// The time for hydration is over, by the pod's age.
fn is_late(facts: &Facts<'_>, agent: &Agent) -> bool {
    let seconds = i64::from(facts.mirror.spec.hydration.timeout_seconds);
    agent.created.is_some_and(|created| facts.now.as_second() - created.as_second() > seconds)
}

/// A class of errors as reason and sentence, and whether only a person can end it.
fn explained(class: &str, mirror: &SyncMirror) -> (String, String, bool) {
    let s3 = &mirror.spec.s3;
    let secret = s3.credentials_secret_ref.as_ref().map(|secret| &secret.name);
    let (reason, message, waits) = match class {
        "credentials" => {
            let where_ = secret.map_or("the pod's own identity".to_owned(), |name| {
                format!("Secret {name} (keys access_key and secret_key)")
            });
            ("CredentialsMissing", format!("credentials are missing or refused: look at {where_}"), true)
        }
        "bucket" => ("BucketNotFound", format!("bucket {} is not there, or may not be looked at", s3.bucket), true),
        "endpoint" => {
            let endpoint = if s3.endpoint.is_empty() { "AWS" } else { &s3.endpoint };
            ("EndpointUnreachable", format!("the store at {endpoint} doesn't answer"), false)
        }
        "throttled" => ("StoreThrottled", format!("the store slows down requests to bucket {}", s3.bucket), false),
        "permission" => (
            "VolumePermission",
            format!(
                "the agent may not use the files of volume {}: set runAsUser or fsGroup of the pod, or spec.agent.runAsUser of the SyncMirror",
                mirror.spec.volume.name
            ),
            true,
        ),
        "shared-volume-needs-postgres" => (
            "SharedVolumeNeedsPostgres",
            format!("volume {} is shared over a network: set spec.metadata.postgres", mirror.spec.volume.name),
            true,
        ),
        "metadata" => {
            let secret = mirror.spec.metadata.as_ref().map(|metadata| &metadata.postgres.url_secret_ref.name);
            let name = secret.map_or("the metadata", String::as_str);
            ("MetadataUnreachable", format!("the database of Secret {name} doesn't answer"), false)
        }
        "locked" => ("VolumeLocked", format!("another agent works on volume {}", mirror.spec.volume.name), false),
        "local" | "state" => {
            ("VolumeTrouble", format!("volume {} can't be read or written", mirror.spec.volume.name), false)
        }
        other => return (format!("{}Error", camel(other)), format!("{other}: its log says more"), false),
    };
    (reason.to_owned(), message, waits)
}

/// `first-merge` as `FirstMerge`.
fn camel(word: &str) -> String {
    let part = |part: &str| {
        let mut letters = part.chars().filter(char::is_ascii_alphanumeric);
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    let camel: String = word.split(['-', '_', ' ']).map(part).collect();
    // A reason has to begin with a letter.
    if camel.starts_with(|first: char| first.is_ascii_alphabetic()) { camel } else { format!("Other{camel}") }
}
