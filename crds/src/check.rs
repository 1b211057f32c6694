//! A SyncMirror from a file, checked as an API server checks it: defaults, types, ranges, unknown fields, rules. All problems
//! at once, each with its field.

use std::fmt;

use kube::core::cel::{Validator, apply_defaults};
use serde_json::Value;

use crate::{GROUP, SyncMirror, schema};

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The field, such as `spec.s3.prefix`; empty for the whole.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

/// Reads a SyncMirror as the API server would: what is not written takes its default.
pub fn read(value: &Value) -> Result<SyncMirror, Vec<Problem>> {
    compare(value, None)
}

/// The same for an edit of `old`: what must not change is compared.
pub fn compare(value: &Value, old: Option<&Value>) -> Result<SyncMirror, Vec<Problem>> {
    let version = format!("{GROUP}/v1alpha1");
    for (field, expected) in [("apiVersion", version.as_str()), ("kind", "SyncMirror")] {
        let found = value.get(field).and_then(Value::as_str).unwrap_or("nothing");
        if found != expected {
            return Err(vec![Problem {
                field: field.to_owned(),
                message: format!("{expected} belongs here, not {found}"),
            }]);
        }
    }
    let schema = schema::open_api();
    let value = apply_defaults(&schema, value);
    let mut problems = Vec::new();
    if value.pointer("/metadata/name").and_then(Value::as_str).is_none_or(str::is_empty) {
        problems.push(Problem { field: "metadata.name".to_owned(), message: "it is required".to_owned() });
    }
    structure(&schema, &value, "", &mut problems);
    if problems.is_empty()
        && let Err(errors) = Validator::new().validate(&schema, &value, old)
    {
        let fields = errors.into_vec().into_iter();
        problems.extend(fields.map(|error| Problem { field: error.field_path, message: error.message }));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    serde_json::from_value(value).map_err(|error| vec![Problem { field: String::new(), message: error.to_string() }])
}

/// What the schema says of types, ranges and names.
fn structure(schema: &Value, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    let mut wrong = |message: String| problems.push(Problem { field: path.to_owned(), message });
    if value.is_null() && (schema["nullable"] == true || path.is_empty()) {
        return;
    }
    if schema["x-kubernetes-int-or-string"] == true {
        if !value.is_string() && !value.is_number() {
            wrong("a quantity belongs here, such as 64Mi".to_owned());
        }
        return;
    }
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    if !fits {
        let kind = schema["type"].as_str().unwrap_or_default();
        wrong(format!("it has to be of the type {kind}"));
        return;
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        let words: Vec<String> = words.iter().map(Value::to_string).collect();
        wrong(format!("{value} is not one of {}", words.join(", ")));
    }
    for (limit, broken, text) in [
        ("minimum", number(value) < number(&schema["minimum"]), "at least"),
        ("maximum", number(value) > number(&schema["maximum"]), "at most"),
    ] {
        if broken && !schema[limit].is_null() {
            wrong(format!("it has to be {text} {}", number(&schema[limit])));
        }
    }
    let length = match value {
        Value::String(text) => Some((text.chars().count(), "minLength", "maxLength", "characters")),
        Value::Array(items) => Some((items.len(), "minItems", "maxItems", "entries")),
        _ => None,
    };
    if let Some((length, least, most, unit)) = length {
        if schema[least].as_u64().is_some_and(|least| (length as u64) < least) {
            wrong(format!("it has to have at least {} {unit}", schema[least]));
        }
        if schema[most].as_u64().is_some_and(|most| length as u64 > most) {
            wrong(format!("it has to have at most {} {unit}", schema[most]));
        }
    }
    match value {
        Value::Object(map) => fields(schema, map, path, problems),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                structure(&schema["items"], item, &format!("{path}[{index}]"), problems);
            }
        }
        _ => {}
    }
}

fn fields(schema: &Value, map: &serde_json::Map<String, Value>, path: &str, problems: &mut Vec<Problem>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !map.contains_key(name) {
            problems.push(Problem { field: below(name), message: "it is required".to_owned() });
        }
    }
    let known = schema["properties"].as_object();
    for (name, value) in map {
        // The API server knows these by itself.
        if path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
            continue;
        }
        match known.and_then(|known| known.get(name)) {
            Some(schema) => structure(schema, value, &below(name), problems),
            None if schema["additionalProperties"].is_object() => {
                structure(&schema["additionalProperties"], value, &below(name), problems);
            }
            None => {
                let names: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                let message = format!("there is no such field; those here are {}", names.join(", "));
                problems.push(Problem { field: below(name), message });
            }
        }
    }
}

/// Numbers of the schema may be written as floats.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}
