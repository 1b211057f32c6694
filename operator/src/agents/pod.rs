//! A pod with an agent, as far as it is used here: the rest is dropped while it is decoded, because there may be thousands.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};

use crate::inject::{CONTAINER, INJECTED_MIRRORS_ANNOTATION, METRICS_PORT, MIRRORS_ANNOTATION};

/// A pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct InjectedPod {
    #[serde(deserialize_with = "lean")]
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

/// What is used of a pod's metadata. Who manages which field is most of it otherwise.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

fn lean<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    let used = Metadata::deserialize(from)?;
    let ours = [INJECTED_MIRRORS_ANNOTATION, MIRRORS_ANNOTATION];
    let annotations = used.annotations.map(|all| all.into_iter().filter(|(name, _)| ours.contains(&name.as_str())));
    Ok(ObjectMeta {
        name: used.name,
        namespace: used.namespace,
        uid: used.uid,
        resource_version: used.resource_version,
        creation_timestamp: used.creation_timestamp,
        deletion_timestamp: used.deletion_timestamp,
        labels: used.labels,
        annotations: annotations.map(Iterator::collect),
        owner_references: used.owner_references,
        ..ObjectMeta::default()
    })
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    init_containers: Vec<Container>,
    #[serde(rename = "volumes", deserialize_with = "ending_with_the_pod")]
    own_volumes: Vec<String>,
}

/// The names of those volumes that end with their pod.
fn ending_with_the_pod<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let volumes = Vec::<Volume>::deserialize(from)?.into_iter();
    let own = volumes.filter(|volume| volume.empty_dir.is_some() || volume.ephemeral.is_some() || volume.csi.is_some());
    Ok(own.map(|volume| volume.name).collect())
}

/// Claims and what is on a node or a server of its own stay.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Volume {
    name: String,
    empty_dir: Option<serde::de::IgnoredAny>,
    ephemeral: Option<serde::de::IgnoredAny>,
    csi: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    ports: Vec<Port>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Port {
    name: String,
    container_port: u16,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    state: State,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct State {
    running: Option<serde::de::IgnoredAny>,
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Terminated {
    message: String,
    finished_at: Option<Time>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
    message: String,
}

/// Reasons of a container that is simply not up yet.
const COMING_UP: [&str; 3] = ["", "PodInitializing", "ContainerCreating"];

impl InjectedPod {
    /// Drops the containers of others.
    pub fn prune(&mut self) {
        let (containers, statuses) = (&mut self.spec.init_containers, &mut self.status.init_container_statuses);
        containers.retain(|container| container.name == CONTAINER);
        containers.shrink_to_fit();
        statuses.retain(|status| status.name == CONTAINER);
        statuses.shrink_to_fit();
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Its uid.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// When it was made.
    pub fn created(&self) -> Option<Timestamp> {
        self.metadata.creation_timestamp.as_ref().map(|time| time.0)
    }

    /// Its agent serves that mirror.
    pub fn serves(&self, mirror: &str) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        let names = annotations.and_then(|all| all.get(INJECTED_MIRRORS_ANNOTATION)).map(String::as_str);
        names.is_some_and(|names| names.split(',').any(|name| name.trim() == mirror))
    }

    /// What stands above its spec.
    pub fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    /// It is neither at its end nor past it.
    pub fn lives(&self) -> bool {
        self.metadata.deletion_timestamp.is_none() && !matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// What its agent left at the end of the pod, and when. None while the pod lives, and where it was killed without a word.
    pub fn last_words(&self) -> Option<(&str, Option<Timestamp>)> {
        if self.lives() {
            return None;
        }
        let status = self.status.init_container_statuses.iter().find(|status| status.name == CONTAINER)?;
        let terminated = status.state.terminated.as_ref().filter(|terminated| !terminated.message.is_empty())?;
        Some((&terminated.message, terminated.finished_at.as_ref().map(|time| time.0)))
    }

    /// The names of the volumes that end with it.
    pub fn volumes_of_its_own(&self) -> &[String] {
        &self.spec.own_volumes
    }

    /// Where its agent answers; none while it doesn't run.
    pub fn address(&self) -> Option<String> {
        let status = self.status.init_container_statuses.iter().find(|status| status.name == CONTAINER);
        status?.state.running.as_ref()?;
        let container = self.spec.init_containers.iter().find(|container| container.name == CONTAINER)?;
        let port = container.ports.iter().find(|port| port.name == METRICS_PORT)?.container_port;
        let ip = self.status.pod_ip.as_str();
        match (ip.is_empty(), ip.contains(':')) {
            (true, _) => None,
            (false, true) => Some(format!("[{ip}]:{port}")),
            (false, false) => Some(format!("{ip}:{port}")),
        }
    }

    /// What keeps its agent from starting, in Kubernetes' word and sentence.
    pub fn trouble(&self) -> Option<(&str, &str)> {
        let status = self.status.init_container_statuses.iter().find(|status| status.name == CONTAINER)?;
        let waiting = status.state.waiting.as_ref()?;
        let comes_up = COMING_UP.contains(&waiting.reason.as_str());
        (!comes_up).then_some((waiting.reason.as_str(), waiting.message.as_str()))
    }
}

impl Resource for InjectedPod {
    type DynamicType = ();
    type Scope = <Pod as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
