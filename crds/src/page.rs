//! The reference of the resource as a page for people, `docs/syncmirror.md`: each field with type, default, meaning and
//! what becomes of it. Made from the schema and the table, so that it can't know a field that they don't.

use serde_json::Value;

use crate::agent::{TABLE, Use};
use crate::schema;

const BEGINNING: &str = "\
# SyncMirror

<!-- Made by `GOSYNC_REGENERATE=1 cargo test -p gosync-crds` from the types in crds/src: edit those. A test fails when the two differ. -->

A SyncMirror says which volume of which pods is kept in step with which prefix of a bucket. `kubectl explain syncmirror.spec` prints the same
words. The last column says which key of the [agent's config](configuration.md) a field becomes; keys of an entry of `syncs` begin with
`syncs[].`. Fields without a default may be left out, unless they are *required*.

Of several mirrors of one pod, the first by name decides about the keys outside `syncs`.

| field | type | default | meaning | becomes |
|---|---|---|---|---|
";

/// The whole page.
pub fn page() -> String {
    let mut out = BEGINNING.to_owned();
    for leaf in leaves() {
        let cells = [format!("`{}`", leaf.field), leaf.kind, leaf.default, leaf.description, becomes(&leaf.field)];
        out += &format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    out
}

/// A field that holds a value rather than further fields of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The field below `spec`.
    pub field: String,
    /// What belongs there.
    pub kind: String,
    /// What holds when nothing is written.
    pub default: String,
    /// What it does.
    pub description: String,
}

/// The fields of the spec in the order of the table, then those that it lacks.
pub fn leaves() -> Vec<Leaf> {
    let mut leaves = Vec::new();
    let schema = schema::open_api();
    if let Some(spec) = schema.pointer("/properties/spec") {
        below(spec, "", "", &mut leaves);
    }
    let rank = |leaf: &Leaf| TABLE.iter().position(|row| row.field == leaf.field).unwrap_or(usize::MAX);
    leaves.sort_by_key(rank);
    leaves
}

fn below(schema: &Value, path: &str, required: &str, leaves: &mut Vec<Leaf>) {
    let whole = TABLE.iter().any(|row| row.field == path);
    let Some(properties) = schema["properties"].as_object().filter(|_| !whole) else {
        leaves.push(leaf(schema, path, required));
        return;
    };
    for (name, property) in properties {
        let field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let must = schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name));
        below(property, &field, if must { "*required*" } else { "" }, leaves);
    }
}

fn leaf(schema: &Value, path: &str, required: &str) -> Leaf {
    let words = schema["enum"].as_array().map(|words| {
        let words: Vec<String> = words
            .iter()
            .filter_map(Value::as_str)
            .filter(|word| !word.is_empty())
            .map(|word| format!("`{word}`"))
            .collect();
        words.join(", ")
    });
    let range = match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", {least} or more"),
        _ => String::new(),
    };
    let kind = words.unwrap_or_else(|| format!("{}{range}", schema["type"].as_str().unwrap_or_default()));
    let default = match &schema["default"] {
        Value::Null => required.to_owned(),
        value => format!("`{value}`"),
    };
    let description = schema["description"].as_str().unwrap_or_default().to_owned();
    Leaf { field: path.to_owned(), kind, default, description }
}

/// The keys of a field, or what the operator does with it.
fn becomes(field: &str) -> String {
    let uses = TABLE.iter().filter(|row| row.field == field).map(|row| match row.becomes {
        Use::Base(key, _) => format!("`{key}`"),
        Use::Mirror(key, _) => format!("`syncs[].{key}`"),
        Use::Operator(does) => does.to_owned(),
    });
    uses.collect::<Vec<_>>().join(", ")
}
