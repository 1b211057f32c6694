//! What is kept for a mirror: one ConfigMap with the texts that its agents read. Pure, and the same mirror gives the same bytes.

use std::collections::BTreeMap;

use gosync_crds::SyncMirror;
use gosync_crds::agent::{BASE_FILE, MIRROR_KEY, base, config_map_name, mirror as own};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

/// Who the operator is to the API server: the manager of the fields that it writes.
pub const MANAGER: &str = "gosync-operator";
/// Label of what belongs to a mirror: its name.
pub const MIRROR_LABEL: &str = "gosync.dev/mirror";

/// The ConfigMap of a mirror. It goes with the mirror, by its owner reference.
pub fn config_map(mirror: &SyncMirror) -> ConfigMap {
    let name = mirror.mirror_name();
    let labels = [("app.kubernetes.io/managed-by", MANAGER), (MIRROR_LABEL, name)];
    let texts = [(BASE_FILE, base(mirror)), (MIRROR_KEY, own(mirror))];
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(config_map_name(name)),
            namespace: mirror.metadata.namespace.clone(),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            owner_references: owner(mirror).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from(texts.map(|(key, text)| (key.to_owned(), text)))),
        ..ConfigMap::default()
    }
}

/// Deleting the mirror is not held up by what it owns: that would need a right on its finalizers.
fn owner(mirror: &SyncMirror) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: SyncMirror::api_version(&()).into_owned(),
        kind: SyncMirror::kind(&()).into_owned(),
        name: mirror.metadata.name.clone()?,
        uid: mirror.metadata.uid.clone()?,
        controller: Some(true),
        block_owner_deletion: None,
    })
}
