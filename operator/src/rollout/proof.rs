//! Whether a new pod of a workload would get its agent: asked of the API server by a dry run, which calls the webhook.

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Map, Value, json};

use crate::inject::{CONTAINER, INJECTED_LABEL};

/// The pod that a workload would make.
pub fn pod_of(workload: &Value, namespace: &str) -> Value {
    let template = &workload["spec"]["template"];
    let mut metadata = template["metadata"].as_object().cloned().unwrap_or_else(Map::new);
    let name = workload["metadata"]["name"].as_str().unwrap_or("pod");
    metadata.insert("generateName".to_owned(), json!(format!("{name}-")));
    metadata.insert("namespace".to_owned(), json!(namespace));
    let mut spec = template["spec"].clone();
    // The claims that a StatefulSet makes for its pods are volumes of theirs.
    for claim in workload["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let name = &claim["metadata"]["name"];
        let volume = json!({ "name": name, "persistentVolumeClaim": { "claimName": name } });
        if let Some(spec) = spec.as_object_mut()
            && let Some(volumes) = spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut()
        {
            volumes.push(volume);
        }
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
}

/// Makes it, in a dry run.
pub async fn prove(client: &Client, namespace: &str, pod: Value) -> Result<(), String> {
    let pod: Pod = serde_json::from_value(pod).map_err(|error| format!("its template can't be read: {error}"))?;
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let made = api.create(&params, &pod).await.map_err(|error| format!("a dry run of a new pod failed: {error}"))?;
    let containers = made.spec.as_ref().and_then(|spec| spec.init_containers.as_ref());
    let labels = made.metadata.labels.as_ref();
    let has_agent = containers.is_some_and(|all| all.iter().any(|container| container.name == CONTAINER))
        && labels.is_some_and(|labels| labels.contains_key(INJECTED_LABEL));
    if has_agent { Ok(()) } else { Err("the API server did not ask the webhook in a dry run of a new pod".to_owned()) }
}
