//! Owners whose pods were refused wait longer and longer before they try again, up to 16 minutes. A change of their
//! annotations has them try at once.
//!
//! Which those are is seen at each nudge anew: they make pods that ask for an agent and have fewer than they want. To nudge one
//! that does not need it changes nothing but an annotation.

use gosync_crds::SyncMirror;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use super::proof::pod_of;
use crate::inject::{INJECT_LABEL, wanted};
use crate::reconcile::MANAGER;

/// Annotation of an owner that was nudged: when.
const NUDGED_ANNOTATION: &str = "gosync.dev/nudged-at";
/// Owners that are listed at once.
const PAGE: u32 = 200;

/// Nudges those of a namespace. Returns their names.
pub async fn nudge(client: &Client, namespace: &str, mirrors: &[SyncMirror]) -> Result<Vec<String>, kube::Error> {
    let mut nudged = Vec::new();
    for (group, kind) in [("apps", "ReplicaSet"), ("apps", "StatefulSet"), ("apps", "DaemonSet"), ("batch", "Job")] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = api.list(&params).await?;
            for owner in &page.items {
                let value = serde_json::to_value(owner).unwrap_or_default();
                let name = owner.metadata.name.clone().unwrap_or_default();
                if lacks_pods(kind, &value) && asks(&value, namespace, mirrors) {
                    touch(&api, &name).await?;
                    nudged.push(format!("{}/{name}", kind.to_ascii_lowercase()));
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
    }
    Ok(nudged)
}

async fn touch(api: &Api<DynamicObject>, name: &str) -> Result<(), kube::Error> {
    let patch = json!({ "metadata": { "annotations": { NUDGED_ANNOTATION: jiff::Timestamp::now().to_string() } } });
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_metadata(name, &params, &Patch::Merge(&patch)).await {
        Err(error) if !crate::reconcile::is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Its pods ask for an agent, or a mirror lets none start without.
fn asks(owner: &Value, namespace: &str, mirrors: &[SyncMirror]) -> bool {
    let pod = pod_of(owner, namespace);
    if pod["metadata"]["labels"][INJECT_LABEL] == "true" {
        return true;
    }
    let (names, _) = wanted(&pod, mirrors);
    let denies = |mirror: &&SyncMirror| mirror.spec.guard == gosync_crds::Guard::Deny;
    mirrors.iter().filter(denies).any(|mirror| names.iter().any(|name| name == mirror.mirror_name()))
}

/// It has fewer pods than it wants.
fn lacks_pods(kind: &str, owner: &Value) -> bool {
    let (spec, status) = (&owner["spec"], &owner["status"]);
    let count = |value: &Value, none: i64| value.as_i64().unwrap_or(none);
    match kind {
        "DaemonSet" => count(&status["currentNumberScheduled"], 0) < count(&status["desiredNumberScheduled"], 0),
        "Job" => {
            let over = status["completionTime"].is_string()
                || status["conditions"].as_array().into_iter().flatten().any(|condition| {
                    matches!(condition["type"].as_str(), Some("Failed" | "Complete")) && condition["status"] == "True"
                });
            let suspended = spec["suspend"] == true;
            !over && !suspended && count(&status["active"], 0) == 0
        }
        _ => count(&status["replicas"], 0) < count(&spec["replicas"], 1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]
    use super::*;

    #[test]
    fn only_owners_that_lack_pods_need_a_nudge() {
        let set = |wanted: i64, has: i64| json!({ "spec": { "replicas": wanted }, "status": { "replicas": has } });
        assert!(lacks_pods("ReplicaSet", &set(2, 1)));
        assert!(!lacks_pods("StatefulSet", &set(2, 2)));
        assert!(!lacks_pods("ReplicaSet", &set(0, 0)));
        assert!(lacks_pods(
            "DaemonSet",
            &json!({ "status": { "desiredNumberScheduled": 3, "currentNumberScheduled": 1 } })
        ));
        assert!(lacks_pods("Job", &json!({ "spec": {}, "status": {} })));
        assert!(!lacks_pods("Job", &json!({ "spec": {}, "status": { "completionTime": "2026-01-01T00:00:00Z" } })));
        assert!(!lacks_pods("Job", &json!({ "spec": { "suspend": true }, "status": {} })));
    }

    #[test]
    fn only_owners_whose_pods_ask_are_nudged() {
        let owner = |labels: Value| json!({ "metadata": { "name": "web" }, "spec": { "template": { "metadata": { "labels": labels } } } });
        assert!(asks(&owner(json!({ INJECT_LABEL: "true" })), "ml", &[]));
        assert!(!asks(&owner(json!({ "app": "web" })), "ml", &[]));
    }
}
