//! The custom resource definition: the schema of the types with the rules in CEL, and its text.

pub mod rules;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::SyncMirror;

/// The file that [`yaml`] is kept in, in this crate's folder.
pub const FILE: &str = "syncmirrors.gosync.dev.yaml";

const BEGINNING: &str = "\
# Made from the types in crds/src by `GOSYNC_REGENERATE=1 cargo test -p gosync-crds`: edit those.
# A test fails when the two differ.
";

/// The definition as JSON.
pub fn definition() -> Value {
    let mut definition = serde_json::to_value(SyncMirror::crd()).unwrap_or_default();
    if let Some(versions) = definition.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
                schema["x-kubernetes-validations"] = rules::root();
                tidy(schema);
                // What the operator has not said is not there.
                if let Some(status) = schema.pointer_mut("/properties/status") {
                    without_defaults(status);
                }
            }
        }
    }
    definition
}

/// The definition as a type, to be applied.
pub fn typed() -> Result<CustomResourceDefinition, serde_json::Error> {
    serde_json::from_value(definition())
}

/// The schema of the version that is served.
pub fn open_api() -> Value {
    definition().pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().unwrap_or_else(|| json!({}))
}

/// The definition as it stands in [`FILE`].
pub fn yaml() -> String {
    format!("{BEGINNING}{}", to_yaml(&definition()))
}

/// YAML with the keys of each mapping in the order of the alphabet, whatever order the value keeps.
pub fn to_yaml(value: &Value) -> String {
    serde_saphyr::to_string(&ordered(value)).unwrap_or_default()
}

fn ordered(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), ordered(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(ordered).collect()),
        other => other.clone(),
    }
}

fn without_defaults(schema: &mut Value) {
    if let Some(properties) = schema["properties"].as_object_mut() {
        for property in properties.values_mut() {
            if let Some(property) = property.as_object_mut() {
                property.remove("default");
            }
            without_defaults(property);
        }
    }
    if schema["items"].is_object() {
        without_defaults(&mut schema["items"]);
    }
}

/// Descriptions on one line each, as `kubectl explain` wraps them itself.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            // The original is a page about numbers.
            if map.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
                map.insert("description".to_owned(), json!("An amount, such as 25m or 64Mi."));
            }
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}
