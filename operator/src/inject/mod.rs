//! Which agent a pod gets: `inject(pod, mirrors, settings)`, pure, over raw JSON.
//!
//! Pods are never read into types and written back: what a later Kubernetes adds to them has to survive. The patch only adds
//! (a number that grows and a list in an annotation are written anew at their place). The one exception: an agent that stands
//! before a mesh proxy that came in later is taken out and put back behind it, as it stands.
//! Injecting twice is injecting once; nothing is kept between calls, so that there is nothing to undo.

mod container;
mod edit;
mod overlap;
mod pod;
mod port;
mod position;
mod quantity;
mod reason;
mod resources;
mod security;
mod select;
mod volumes;

use gosync_crds::SyncMirror;
use json_patch::Patch;
use serde_json::{Value, json};

pub use reason::{Skip, Warning};

use edit::Edit;
use pod::Pod;
use select::Concern;

/// Name of the agent's container.
pub const CONTAINER: &str = "gosync-agent";
/// Name of its port for metrics, probes and `/v1/state`.
pub const METRICS_PORT: &str = "gosync-metrics";
/// Label of pods: `"true"` asks for an agent, `"false"` wants none.
pub const INJECT_LABEL: &str = "gosync.dev/inject";
/// Annotation of pods that ask for an agent: the names of their mirrors, separated by commas.
pub const MIRRORS_ANNOTATION: &str = "gosync.dev/mirrors";
/// Label of pods that have got an agent.
pub const INJECTED_LABEL: &str = "gosync.dev/injected";
/// Annotation of pods that have got an agent: the names of its mirrors, separated by commas.
pub const INJECTED_MIRRORS_ANNOTATION: &str = "gosync.dev/injected-mirrors";

/// Annotation of pods that ask for an agent and get none: the reason, for the guard to tell.
pub const NOT_INJECTED_ANNOTATION: &str = "gosync.dev/not-injected";
/// Annotation of pods that may start without the agent that they ask for: `Warn` or `Off`.
pub const GUARD_ANNOTATION: &str = "gosync.dev/guard";

/// What `kubectl logs` and `exec` mean when they name no container.
const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";
/// Volumes that don't keep a node from being drained.
const SAFE_TO_EVICT_ANNOTATION: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
/// The grace period of pods that name none, in seconds.
const GRACE_PERIOD_SECONDS: i64 = 30;

/// What is the installation's to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The agent's image, by digest when it is known.
    pub image: String,
    /// When the image is pulled. Absent: as Kubernetes decides.
    pub image_pull_policy: Option<String>,
    /// The pod's namespace enforces the Pod Security Standard `restricted`.
    pub restricted_namespace: bool,
}

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// No mirror selects it and it asks for none.
    NotConcerned,
    /// It gets none. One that asks for an agent gets the reason as an annotation, with which the guard refuses it.
    Skipped {
        /// Why.
        skip: Skip,
        /// The annotation.
        patch: Patch,
    },
    /// It gets an agent.
    Injected(Injection),
    /// It has its agent, and a mesh proxy came in behind it: the agent moves behind that.
    Moved(Patch),
}

/// An agent for a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// What is added.
    pub patch: Patch,
    /// The names of the mirrors that it serves, in order.
    pub mirrors: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

impl Outcome {
    /// The patch; empty where nothing changes.
    pub fn patch(&self) -> Patch {
        match self {
            Self::Injected(injection) => injection.patch.clone(),
            Self::Moved(patch) | Self::Skipped { patch, .. } => patch.clone(),
            Self::NotConcerned => Patch(Vec::new()),
        }
    }

    /// What a person is told about it.
    pub fn messages(&self) -> Vec<String> {
        match self {
            Self::Injected(injection) => injection.warnings.iter().map(ToString::to_string).collect(),
            Self::Skipped { skip, .. } if skip.is_news() => vec![format!("no GoSync agent: {skip}")],
            Self::NotConcerned | Self::Skipped { .. } | Self::Moved(_) => Vec::new(),
        }
    }
}

/// Decides what becomes of `pod`. `mirrors` are those that exist; those of another namespace than the pod's are passed over.
pub fn inject(pod: &Value, mirrors: &[SyncMirror], settings: &Settings) -> Outcome {
    let pod = Pod::new(pod);
    let concern = Concern::of(&pod, mirrors);
    decide(&pod, &concern, settings).unwrap_or_else(|skip| {
        let mut edit = Edit::new(pod.value());
        if concern.opted_in && skip != Skip::AlreadyInjected {
            edit.set("/metadata/annotations", NOT_INJECTED_ANNOTATION, json!(skip.to_string()));
            if let Some(guard) = concern.lifted() {
                edit.set("/metadata/annotations", GUARD_ANNOTATION, json!(guard.as_str()));
            }
        }
        Outcome::Skipped { skip, patch: edit.into_patch() }
    })
}

/// The mirrors that a pod should be served by, of which only the metadata are known, and what would keep an agent out of it
/// even if it were made anew, as far as that shows there.
pub fn wanted(pod: &Value, mirrors: &[SyncMirror]) -> (Vec<String>, Option<Skip>) {
    let pod = Pod::new(pod);
    let concern = Concern::of(&pod, mirrors);
    if concern.opted_out {
        return (Vec::new(), None);
    }
    let missing = concern.missing.map(|name| Skip::MirrorMissing { name });
    let stand_in = pod.annotation("kubernetes.io/config.mirror").map(|_| Skip::MirrorPod);
    let skip = missing.or(stand_in).or_else(|| overlap::check(&concern.mirrors).err());
    (concern.mirrors.iter().map(|mirror| mirror.mirror_name().to_owned()).collect(), skip)
}

fn decide(pod: &Pod<'_>, concern: &Concern<'_>, settings: &Settings) -> Result<Outcome, Skip> {
    let mirrors = &concern.mirrors;
    if let Some(name) = &concern.missing {
        return Err(Skip::MirrorMissing { name: name.clone() });
    }
    match (mirrors.is_empty(), concern.opted_in, concern.opted_out) {
        (true, true, _) => return Err(Skip::NoMirror),
        (true, false, _) => return Ok(Outcome::NotConcerned),
        (false, _, true) => return Err(Skip::OptedOut),
        (false, _, false) => {}
    }
    if let Some(at) = container::own(pod) {
        return match position::moved(pod, at) {
            Some(patch) => Ok(Outcome::Moved(patch)),
            None => Err(Skip::AlreadyInjected),
        };
    }
    can_have_one(pod)?;
    for mirror in mirrors {
        volumes::check(pod, mirror)?;
    }
    overlap::check(mirrors)?;

    let mut warnings = Vec::new();
    warn(pod, mirrors, &mut warnings);
    let port = port::choose(pod, mirrors[0].spec.agent.metrics_port.into(), &mut warnings)?;
    let container = container::build(pod, mirrors, settings, port, &mut warnings);

    let mut edit = Edit::new(pod.value());
    edit.add("/spec/initContainers", position::of(pod), container);
    for volume in volumes::own(mirrors) {
        edit.push("/spec/volumes", volume);
    }
    if pod.fs_group().is_some() && pod.value().pointer("/spec/securityContext/fsGroupChangePolicy").is_none() {
        edit.set("/spec/securityContext", "fsGroupChangePolicy", json!("OnRootMismatch"));
    }
    let extra = mirrors.iter().map(|mirror| &mirror.spec.drain).filter(|drain| drain.extend_grace_period);
    let extra = extra.map(|drain| i64::from(drain.timeout_seconds)).max().unwrap_or(0);
    if extra > 0 {
        edit.set("/spec", "terminationGracePeriodSeconds", json!(grace_period_seconds(pod) + extra));
    }
    let names: Vec<String> = mirrors.iter().map(|mirror| mirror.mirror_name().to_owned()).collect();
    marks(pod, mirrors, &names, &mut edit);
    Ok(Outcome::Injected(Injection { patch: edit.into_patch(), mirrors: names, warnings }))
}

/// What keeps any agent out of a pod.
fn can_have_one(pod: &Pod<'_>) -> Result<(), Skip> {
    if pod.annotation("kubernetes.io/config.mirror").is_some() {
        return Err(Skip::MirrorPod);
    }
    let os =
        pod.value().pointer("/spec/os/name").or_else(|| pod.value().pointer("/spec/nodeSelector/kubernetes.io~1os"));
    if os == Some(&json!("windows")) {
        return Err(Skip::Windows);
    }
    if pod.all_containers().any(|container| container["name"] == CONTAINER) {
        return Err(Skip::NameTaken { what: "container", name: CONTAINER.to_owned() });
    }
    match pod.volumes().find(|volume| volumes::OWN.iter().any(|own| volume["name"] == *own)) {
        Some(volume) => {
            Err(Skip::NameTaken { what: "volume", name: volume["name"].as_str().unwrap_or_default().to_owned() })
        }
        None => Ok(()),
    }
}

/// What is odd, but keeps no agent out.
fn warn(pod: &Pod<'_>, mirrors: &[&SyncMirror], warnings: &mut Vec<Warning>) {
    // Only a Deployment's pods are counted against a deadline, and they come from a ReplicaSet.
    let deployment = pod.owners().any(|owner| owner["kind"] == "ReplicaSet");
    for mirror in mirrors {
        let name = mirror.mirror_name().to_owned();
        let (hydration, drain) = (&mirror.spec.hydration, &mirror.spec.drain);
        if deployment && hydration.timeout_seconds > 600 {
            warnings
                .push(Warning::HydrationPassesDeadline { mirror: name.clone(), seconds: hydration.timeout_seconds });
        }
        if !drain.extend_grace_period && i64::from(drain.timeout_seconds) > grace_period_seconds(pod) {
            warnings.push(Warning::DrainPassesGracePeriod { mirror: name, seconds: drain.timeout_seconds });
        }
    }
    let first = mirrors[0];
    for mirror in &mirrors[1..] {
        let fields = [
            ("logLevel", mirror.spec.agent.log_level != first.spec.agent.log_level),
            ("metricsPort", mirror.spec.agent.metrics_port != first.spec.agent.metrics_port),
            ("resources", mirror.spec.agent.resources != first.spec.agent.resources),
            ("runAsUser", mirror.spec.agent.run_as_user != first.spec.agent.run_as_user),
            ("runAsGroup", mirror.spec.agent.run_as_group != first.spec.agent.run_as_group),
        ];
        let differing = fields.into_iter().filter(|(_, differs)| *differs);
        warnings.extend(differing.map(|(field, _)| Warning::FirstDecides {
            field,
            first: first.mirror_name().to_owned(),
            other: mirror.mirror_name().to_owned(),
        }));
    }
}

fn grace_period_seconds(pod: &Pod<'_>) -> i64 {
    pod.value()["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(GRACE_PERIOD_SECONDS)
}

/// Labels and annotations.
fn marks(pod: &Pod<'_>, mirrors: &[&SyncMirror], names: &[String], edit: &mut Edit) {
    edit.set("/metadata/labels", INJECTED_LABEL, json!("true"));
    edit.set("/metadata/annotations", INJECTED_MIRRORS_ANNOTATION, json!(names.join(",")));
    // The application: what uses a mirrored volume, else what stands first.
    let mounts = mirrors.iter().flat_map(|mirror| pod.mounts(&mirror.spec.volume.name));
    let user = mounts.filter(|mount| mount.app).map(|mount| mount.container).next();
    let user = user.or_else(|| pod.containers().next()).and_then(|container| container["name"].as_str());
    if let (Some(user), None) = (user, pod.annotation(DEFAULT_CONTAINER_ANNOTATION)) {
        edit.set("/metadata/annotations", DEFAULT_CONTAINER_ANNOTATION, json!(user));
    }
    let safe = match pod.annotation(SAFE_TO_EVICT_ANNOTATION) {
        Some(others) if !others.is_empty() => format!("{others},{}", volumes::RUN),
        _ => volumes::RUN.to_owned(),
    };
    edit.set("/metadata/annotations", SAFE_TO_EVICT_ANNOTATION, json!(safe));
}
