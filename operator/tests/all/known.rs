//! Pods and mirrors to begin with.

use gosync_crds::{SyncMirror, check};
use gosync_operator::inject::Settings;
use serde_json::{Value, json};

/// Puts `over` over `base`, key by key; a list takes the other's place, and `null` takes a key away.
pub fn lay_over(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.remove(key);
                } else {
                    lay_over(base.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// The mirror `models` of the volume `data`, which selects `app: trainer`, with `spec` over it.
pub fn mirror(spec: Value) -> SyncMirror {
    named("models", spec)
}

/// The same under another name.
pub fn named(name: &str, spec: Value) -> SyncMirror {
    let mut mirror = json!({
        "apiVersion": "gosync.dev/v1alpha1",
        "kind": "SyncMirror",
        "metadata": { "name": name, "namespace": "ml" },
        "spec": {
            "selector": { "matchLabels": { "app": "trainer" } },
            "volume": { "name": "data" },
            "s3": { "bucket": "acme-ml", "prefix": "models/" },
        },
    });
    lay_over(&mut mirror["spec"], &spec);
    check::read(&mirror).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// A pod with one container and the emptyDir `data`, with `over` over it.
pub fn pod(over: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "trainer-0", "namespace": "ml", "labels": { "app": "trainer" } },
        "spec": {
            "containers": [container("app", json!({}))],
            "volumes": [{ "name": "data", "emptyDir": {} }],
        },
    });
    lay_over(&mut pod, &over);
    pod
}

/// A container that mounts the volume `data`, with `over` over it.
pub fn container(name: &str, over: Value) -> Value {
    let mut container =
        json!({ "name": name, "image": "example/app", "volumeMounts": [{ "name": "data", "mountPath": "/data" }] });
    lay_over(&mut container, &over);
    container
}

/// A container that mounts nothing.
pub fn other(name: &str, over: Value) -> Value {
    let mut container = json!({ "name": name, "image": "example/other" });
    lay_over(&mut container, &over);
    container
}

/// A native sidecar that mounts nothing.
pub fn sidecar(name: &str) -> Value {
    other(name, json!({ "restartPolicy": "Always" }))
}

/// An installation whose namespaces enforce nothing.
pub fn settings() -> Settings {
    Settings {
        image: format!("gosync@sha256:{}", "0".repeat(64)),
        image_pull_policy: None,
        restricted_namespace: false,
    }
}
