//! What a pod's owner is restarted by. A ReplicaSet is asked for its Deployment once, by its metadata.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::{Client, Resource};

use crate::reconcile::is_not_found;

/// ReplicaSets that are remembered; then all are forgotten.
const REMEMBERED: usize = 4_096;

/// What is known of ReplicaSets, by uid.
#[derive(Debug, Default)]
pub struct Owners(Mutex<HashMap<String, Option<String>>>);

impl Owners {
    /// `deployment/trainer`, `statefulset/db` or `daemonset/log`; none for what no restart makes anew.
    pub async fn workload(&self, client: &Client, namespace: &str, owner: Option<&OwnerReference>) -> Option<String> {
        let owner = owner?;
        let of = |kind: &str| Some(format!("{kind}/{}", owner.name));
        match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("apps/v1", "StatefulSet") => of("statefulset"),
            ("apps/v1", "DaemonSet") => of("daemonset"),
            ("apps/v1", "ReplicaSet") => self.deployment(client, namespace, owner).await,
            _ => None,
        }
    }

    async fn deployment(&self, client: &Client, namespace: &str, set: &OwnerReference) -> Option<String> {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&set.uid) {
            return known.clone();
        }
        let api: Api<PartialObjectMeta<ReplicaSet>> = Api::namespaced(client.clone(), namespace);
        let found = match api.get(&set.name).await {
            Ok(found) => {
                let mut owners = found.meta().owner_references.clone().unwrap_or_default().into_iter();
                let deployment = owners.find(|owner| owner.controller == Some(true) && owner.kind == "Deployment");
                deployment.map(|owner| format!("deployment/{}", owner.name))
            }
            Err(error) if is_not_found(&error) => None,
            Err(error) => {
                tracing::warn!(namespace, replica_set = set.name, "can't be asked for its Deployment: {error}");
                return None;
            }
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(set.uid.clone(), found.clone());
        found
    }
}
