//! What is known of a mirror's pods, gathered from what is watched and from what agents told. Here nothing is asked.

use std::sync::Arc;

use gosync_crds::SyncMirror;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::PartialObjectMeta;
use serde_json::json;

use crate::agents::{AgentState, InjectedPod, Polls};
use crate::inject::wanted;
use crate::status::{Agent, Seen};

/// A pod without the agent that it should have.
#[derive(Debug, Clone, PartialEq)]
pub struct Lacking {
    /// Its name.
    pub pod: String,
    /// What made it.
    pub owner: Option<OwnerReference>,
    /// Why it would get none if it were made anew, in a word and a sentence.
    pub because: Option<(&'static str, String)>,
}

/// The pods that have an agent for a mirror, and those that lack one. `mirrors` are all of its namespace.
pub fn pods(
    mirror: &SyncMirror,
    mirrors: &[SyncMirror],
    injected: &[Arc<InjectedPod>],
    others: &[Arc<PartialObjectMeta<Pod>>],
    polls: &Polls,
) -> (Vec<Agent>, Vec<Lacking>) {
    let name = mirror.mirror_name();
    let namespace = mirror.metadata.namespace.as_deref();
    let here = injected.iter().filter(|pod| Some(pod.namespace()) == namespace && pod.lives());
    let (serving, not_serving): (Vec<_>, Vec<_>) = here.partition(|pod| pod.serves(name));
    let agents = serving.into_iter().map(|pod| Agent {
        pod: pod.name().to_owned(),
        created: pod.created(),
        seen: seen(pod, name, polls.of(pod.uid())),
    });
    let bare = others.iter().map(|pod| &pod.metadata).filter(|metadata| metadata.namespace.as_deref() == namespace);
    let bare = bare.filter(|metadata| metadata.deletion_timestamp.is_none());
    let candidates = bare.chain(not_serving.into_iter().map(|pod| pod.metadata()));
    let mut lacking: Vec<Lacking> = candidates.filter_map(|metadata| lacks(metadata, name, mirrors)).collect();
    let mut agents: Vec<Agent> = agents.collect();
    agents.sort_by(|one, other| one.pod.cmp(&other.pod));
    lacking.sort_by(|one, other| one.pod.cmp(&other.pod));
    (agents, lacking)
}

/// True while an agent that runs has not been asked yet, as at the beginning of a leadership: a status would tell less than the
/// one that stands there.
pub fn unsettled(mirror: &SyncMirror, injected: &[Arc<InjectedPod>], polls: &Polls) -> bool {
    let namespace = mirror.metadata.namespace.as_deref();
    let here = injected.iter().filter(|pod| Some(pod.namespace()) == namespace && pod.lives());
    let mut running = here.filter(|pod| pod.serves(mirror.mirror_name()) && pod.address().is_some());
    running.any(|pod| !polls.settled(pod.uid()))
}

/// What would keep the agent of a pod that runs out of the next one: another mirror came that is in the way of this one.
pub fn in_the_way(
    mirror: &SyncMirror,
    mirrors: &[SyncMirror],
    injected: &[Arc<InjectedPod>],
) -> Option<(&'static str, String)> {
    if mirrors.len() < 2 {
        return None;
    }
    let namespace = mirror.metadata.namespace.as_deref();
    let here = injected.iter().filter(|pod| Some(pod.namespace()) == namespace && pod.lives());
    let mut lacking =
        here.filter_map(|pod| Some((pod, lacks(pod.metadata(), mirror.mirror_name(), mirrors)?.because?)));
    let (pod, (reason, why)) = lacking.find(|(pod, _)| pod.serves(mirror.mirror_name()))?;
    Some((reason, format!("pod {} has its agent, and would get none if it were made anew: {why}", pod.name())))
}

fn lacks(metadata: &ObjectMeta, name: &str, mirrors: &[SyncMirror]) -> Option<Lacking> {
    let (names, skip) = wanted(&json!({ "metadata": metadata }), mirrors);
    if !names.iter().any(|wanted| wanted == name) {
        return None;
    }
    let owners = metadata.owner_references.iter().flatten();
    Some(Lacking {
        pod: metadata.name.clone().unwrap_or_default(),
        owner: owners.into_iter().find(|owner| owner.controller == Some(true)).cloned(),
        because: skip.map(|skip| (skip.reason(), skip.to_string())),
    })
}

fn seen(pod: &InjectedPod, mirror: &str, told: Option<Result<Arc<AgentState>, String>>) -> Seen {
    if let Some((reason, message)) = pod.trouble() {
        return Seen::NotRunning(reason.to_owned(), message.to_owned());
    }
    if pod.address().is_none() {
        return Seen::Starting;
    }
    match told {
        None => Seen::Starting,
        Some(Err(why)) => Seen::Unreachable(why),
        Some(Ok(state)) => match state.mirror(mirror) {
            None => Seen::Unconfigured { version: state.version.clone() },
            Some(told) => Seen::Told { version: state.version.clone(), state: Box::new(told.clone()) },
        },
    }
}
