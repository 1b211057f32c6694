//! `onMissing: Restart`: the operator restarts Deployments, StatefulSets and DaemonSets whose pods have no agent.
//!
//! Once for each generation of mirror and workload, which stands in an annotation of the workload itself, so that a new leader
//! knows it too. Never while a rollout goes on or waits for a person, and only when it is proven that new pods get an agent.

use std::collections::BTreeSet;

use gosync_crds::SyncMirror;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use super::proof;
use crate::inject::{Outcome, Settings, inject};
use crate::reconcile::{Context, MANAGER, publish};
use crate::status::{Missing, News};

/// Annotation of a restarted workload: the generations for which it was, `<mirror>=<its generation>/<the workload's>`.
pub const RESTARTED_ANNOTATION: &str = "gosync.dev/restarted";
/// Annotation of its pods: what changes in the template.
const RESTARTED_AT_ANNOTATION: &str = "gosync.dev/restarted-at";

/// Restarts of what has no agent.
#[derive(Debug, Clone)]
pub struct Restarter {
    /// What new pods would get.
    pub settings: Settings,
}

/// Whether a workload is restarted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Restart,
    /// Not now, for this reason.
    Wait(String),
    /// Not for these generations, for this reason.
    Never(String),
}

/// Judges a workload by itself, as JSON: pure.
pub fn judge(workload: &Value, mirror: &SyncMirror) -> Verdict {
    let kind = workload["kind"].as_str().unwrap_or_default();
    let spec = &workload["spec"];
    if spec["paused"] == true {
        return Verdict::Never("it is paused".to_owned());
    }
    if spec["updateStrategy"]["type"] == "OnDelete" {
        return Verdict::Never("its update strategy is OnDelete".to_owned());
    }
    let generation = workload["metadata"]["generation"].as_i64().unwrap_or(0);
    if restarted(workload, mirror.mirror_name()) == Some((mirror.metadata.generation.unwrap_or(0), generation)) {
        return Verdict::Never("it was restarted for this already".to_owned());
    }
    let status = &workload["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    if count("observedGeneration") < generation {
        return Verdict::Wait("its rollout has not begun".to_owned());
    }
    let (wanted, updated, ready) = match kind {
        "DaemonSet" => (count("desiredNumberScheduled"), count("updatedNumberScheduled"), count("numberReady")),
        _ => (spec["replicas"].as_i64().unwrap_or(1), count("updatedReplicas"), count("readyReplicas")),
    };
    // A StatefulSet that was never updated has none that count as such.
    let updated =
        if kind == "StatefulSet" && status["currentRevision"] == status["updateRevision"] { wanted } else { updated };
    if updated < wanted || ready < wanted {
        return Verdict::Wait("its pods are not all up to date and ready".to_owned());
    }
    Verdict::Restart
}

/// The generations of mirror and workload for which it was restarted last.
fn restarted(workload: &Value, mirror: &str) -> Option<(i64, i64)> {
    let notes = workload["metadata"]["annotations"][RESTARTED_ANNOTATION].as_str()?;
    let note = notes.split(',').find_map(|note| note.strip_prefix(mirror)?.strip_prefix('='))?;
    let (of_mirror, own) = note.split_once('/')?;
    Some((of_mirror.parse().ok()?, own.parse().ok()?))
}

/// The patch: of the template, so that pods are made anew, and the note of it. It holds for this very version alone.
fn patch(workload: &Value, mirror: &SyncMirror, now: &str) -> Value {
    let name = mirror.mirror_name();
    let notes = workload["metadata"]["annotations"][RESTARTED_ANNOTATION].as_str().unwrap_or_default();
    let of_others = notes.split(',').filter(|note| !note.is_empty() && !note.starts_with(&format!("{name}=")));
    let generation = workload["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
    let own = format!("{name}={}/{generation}", mirror.metadata.generation.unwrap_or(0));
    let notes: Vec<String> = of_others.map(str::to_owned).chain([own]).collect();
    json!({
        "metadata": {
            "resourceVersion": workload["metadata"]["resourceVersion"],
            "annotations": { RESTARTED_ANNOTATION: notes.join(",") },
        },
        "spec": { "template": { "metadata": { "annotations": { RESTARTED_AT_ANNOTATION: now } } } },
    })
}

/// The kind that a name of `kubectl` means.
fn resource(kind: &str) -> Option<ApiResource> {
    let kind = match kind {
        "deployment" => "Deployment",
        "statefulset" => "StatefulSet",
        "daemonset" => "DaemonSet",
        _ => return None,
    };
    Some(ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind)))
}

impl Restarter {
    /// Restarts what may be restarted. What may not is told, each in a sentence.
    pub async fn restart(
        &self,
        mirror: &SyncMirror,
        mirrors: &[SyncMirror],
        missing: &[Missing],
        context: &Context,
    ) -> Vec<String> {
        let workloads = missing.iter().filter(|pod| pod.because.is_none()).filter_map(|pod| pod.workload.as_deref());
        let workloads: BTreeSet<&str> = workloads.collect();
        let mut told = Vec::new();
        for workload in workloads {
            if let Err(why) = self.one(workload, mirror, mirrors, context).await {
                tracing::debug!(mirror = mirror.mirror_name(), workload, "not restarted: {why}");
                told.push(format!("{workload} is not restarted: {why}"));
            }
        }
        told
    }

    async fn one(
        &self,
        workload: &str,
        mirror: &SyncMirror,
        mirrors: &[SyncMirror],
        context: &Context,
    ) -> Result<(), String> {
        let (kind, name) = workload.split_once('/').ok_or("its kind is not known")?;
        let resource = resource(kind).ok_or("its kind is not known")?;
        let namespace = mirror.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
        let object = api.get(name).await.map_err(|error| format!("it can't be read: {error}"))?;
        let value = serde_json::to_value(&object).map_err(|error| error.to_string())?;
        match judge(&value, mirror) {
            Verdict::Restart => {}
            Verdict::Wait(why) | Verdict::Never(why) => return Err(why),
        }
        let pod = proof::pod_of(&value, namespace);
        let restricted_namespace = context.stores.enforces_restricted(namespace);
        let settings = Settings { restricted_namespace, ..self.settings.clone() };
        match inject(&pod, mirrors, &settings) {
            Outcome::Injected(_) => {}
            Outcome::Skipped { skip, .. } => return Err(format!("new pods would get no agent: {skip}")),
            Outcome::NotConcerned | Outcome::Moved(_) => return Err("new pods would get no agent".to_owned()),
        }
        proof::prove(&context.client, namespace, pod).await?;
        let patch = patch(&value, mirror, &jiff::Timestamp::now().to_string());
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        api.patch(name, &params, &Patch::Merge(&patch))
            .await
            .map_err(|error| format!("it can't be patched: {error}"))?;
        tracing::info!(namespace, mirror = mirror.mirror_name(), workload, "restarted, since its pods have no agent");
        let of = ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            uid: object.metadata.uid,
            ..ObjectReference::default()
        };
        let note = format!("restarted for SyncMirror {}: its pods had no agent", mirror.mirror_name());
        publish(&of, None, &News { good: true, reason: "RestartedForAgent".to_owned(), note }, context).await;
        Ok(())
    }
}
