//! The resource as its users see it: schema, rules, page, and what agents read of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may stop at the first surprise

mod generated;
mod round_trip;
mod rules;

use serde_json::{Value, json};

/// The smallest mirror, with `spec` over it, key by key.
fn mirror_with(spec: Value) -> Value {
    let mut mirror = json!({
        "apiVersion": "gosync.dev/v1alpha1",
        "kind": "SyncMirror",
        "metadata": { "name": "models", "namespace": "ml" },
        "spec": { "volume": { "name": "data" }, "s3": { "bucket": "acme-ml" } },
    });
    lay_over(&mut mirror["spec"], &spec);
    mirror
}

fn lay_over(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// The value at a field with dots, as a spec of its own.
fn at(field: &str, value: Value) -> Value {
    field.rsplit('.').fold(value, |value, part| json!({ part: value }))
}
