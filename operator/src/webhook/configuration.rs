//! What API servers are told of the webhook: the two entries as they are installed, and what the leader keeps current in them.

use std::collections::BTreeSet;

use gosync_crds::schema::to_yaml;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use crate::inject::INJECT_LABEL;

/// The entries are kept in this file, in this crate's folder.
pub const FILE: &str = "webhook.yaml";
/// The entry of pods that ask for an agent.
pub const OPTED_IN: &str = "opted-in.gosync.dev";
/// The entry of pods in namespaces whose mirrors select some.
pub const SELECTED: &str = "selected.gosync.dev";
/// Where the operator is installed, unless it says otherwise.
pub const NAMESPACE: &str = "gosync-system";
/// What it is called there, and the name of its configuration.
pub const NAME: &str = "gosync-operator";
/// The path of the webhook.
pub const PATH: &str = "/mutate";
/// Its port: one that clusters let API servers reach on nodes.
pub const PORT: u16 = 10_250;

const BEGINNING: &str = "\
# Made from operator/src/webhook/configuration.rs by `GOSYNC_REGENERATE=1 cargo test -p gosync-operator`: edit that.
# A test fails when the two differ. The operator itself adds caBundle, and namespaceSelector to the second entry.
";

const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

/// The configuration as it is installed.
pub fn installed(namespace: &str) -> Value {
    let entry = |name: &str, operator: &str| {
        json!({
            "name": name,
            "admissionReviewVersions": ["v1"],
            "clientConfig": { "service": { "name": NAME, "namespace": namespace, "path": PATH, "port": 443 } },
            // Nobody is held up while the operator is away: the guard sees to those that asked.
            "failurePolicy": "Ignore",
            "matchPolicy": "Equivalent",
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "None",
            "timeoutSeconds": 3,
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced",
            }],
            "objectSelector": { "matchExpressions": [{ "key": INJECT_LABEL, "operator": operator, "values": ["true"] }] },
            "matchConditions": [
                {
                    "name": "no-system-namespace",
                    "expression": format!("!(request.namespace in ['kube-system', '{namespace}'])"),
                },
                {
                    "name": "no-stand-in",
                    "expression": "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)",
                },
            ],
        })
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": NAME },
        "webhooks": [entry(OPTED_IN, "In"), entry(SELECTED, "NotIn")],
    })
}

/// The same as it stands in [`FILE`].
pub fn yaml() -> String {
    format!("{BEGINNING}{}", to_yaml(&installed(NAMESPACE)))
}

/// What has to be applied so that API servers trust `authorities` (where those are ours to tell) and ask about the pods of
/// `namespaces`. None where it is so.
pub fn difference(
    now: &MutatingWebhookConfiguration,
    authorities: Option<&str>,
    namespaces: &BTreeSet<String>,
) -> Option<Value> {
    let entries = now.webhooks.as_deref().unwrap_or_default();
    let selector = selector(namespaces);
    let mut differs = false;
    let mut wanted = Vec::new();
    for entry in entries.iter().filter(|entry| [OPTED_IN, SELECTED].contains(&entry.name.as_str())) {
        let mut out = json!({ "name": entry.name });
        if let Some(authorities) = authorities {
            let bundle = k8s_openapi::ByteString(authorities.as_bytes().to_vec());
            differs |= entry.client_config.ca_bundle.as_ref() != Some(&bundle);
            out["clientConfig"] = json!({ "caBundle": bundle });
        }
        if entry.name == SELECTED {
            differs |= entry.namespace_selector.as_ref()
                != serde_json::from_value::<LabelSelector>(selector.clone()).ok().as_ref();
            out["namespaceSelector"] = selector.clone();
        }
        wanted.push(out);
    }
    differs.then(|| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": now.metadata.name },
            "webhooks": wanted,
        })
    })
}

/// Every namespace has the label of its name, so that none is meant where none is named.
fn selector(namespaces: &BTreeSet<String>) -> Value {
    let expression = match namespaces.is_empty() {
        true => json!({ "key": NAMESPACE_LABEL, "operator": "DoesNotExist" }),
        false => json!({ "key": NAMESPACE_LABEL, "operator": "In", "values": namespaces }),
    };
    json!({ "matchExpressions": [expression] })
}

/// The authorities that API servers trust for both entries, as PEM; none where an entry lacks them.
pub fn trusted(now: &MutatingWebhookConfiguration) -> Option<String> {
    let entries = now.webhooks.as_deref().unwrap_or_default();
    let ours = entries.iter().filter(|entry| [OPTED_IN, SELECTED].contains(&entry.name.as_str()));
    let bundles = ours.map(|entry| entry.client_config.ca_bundle.clone().unwrap_or_default());
    let mut bundles: Vec<Vec<u8>> = bundles.map(|bundle| bundle.0).collect();
    bundles.dedup();
    match bundles.as_slice() {
        [one] => String::from_utf8(one.clone()).ok().filter(|text| !text.is_empty()),
        _ => None,
    }
}
