//! The rules that no single type shows, in CEL, each with what a person reads when it is broken. The API server applies
//! them at every write, also in dry runs; the checks of a file apply the same texts.

use serde_json::{Value, json};

fn rule(rule: &str, field: &str, message: &str) -> Value {
    let mut out = json!({ "rule": rule, "message": message });
    if !field.is_empty() {
        out["fieldPath"] = json!(field);
    }
    out
}

/// Of the whole object.
pub fn root() -> Value {
    json!([rule(
        "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",
        "",
        "metadata.name has to be 63 small letters, digits and dashes at most: agents use it as the name of the mirror",
    )])
}

/// Of the spec.
pub fn spec() -> Value {
    json!([rule(
        "!has(self.conflictPolicy) || self.direction == 'TwoWay'",
        ".conflictPolicy",
        "conflictPolicy is for direction TwoWay only: a mirror that goes one way has no conflicts to settle",
    )])
}

/// Of the bucket.
pub fn s3() -> Value {
    let fixed = |field: &str| {
        rule(
            &format!("self.{field} == oldSelf.{field}"),
            &format!(".{field}"),
            &format!(
                "{field} can't be changed: make another SyncMirror for another place, and delete this one (no data is deleted)"
            ),
        )
    };
    json!([
        fixed("bucket"),
        fixed("prefix"),
        fixed("endpoint"),
        rule(
            "self.bucket.matches('^[A-Za-z0-9_-][A-Za-z0-9._-]*$')",
            ".bucket",
            "bucket has to be the name alone: letters, digits, dots and dashes; what follows it belongs into prefix",
        ),
        rule("!self.prefix.startsWith('/')", ".prefix", "prefix has to begin without /, such as models/"),
        rule(
            "!self.prefix.contains('//') && !self.prefix.split('/').exists(part, part == '.' || part == '..' || part == '.gosync')",
            ".prefix",
            "prefix has to consist of plain folder names: no empty ones, no . or .., and not .gosync",
        ),
        rule(
            "self.prefix.matches('^([^$]|[$][{](POD_NAME|POD_NAMESPACE|NODE_NAME)[}])*$')",
            ".prefix",
            "prefix may hold ${POD_NAME}, ${POD_NAMESPACE} and ${NODE_NAME}, and no other $",
        ),
        rule(
            "self.endpoint == '' || self.endpoint.matches('^(https?://)?([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\\\\[[0-9A-Fa-f:.]+\\\\])(:[0-9]{1,5})?/?$')",
            ".endpoint",
            "endpoint has to be a host (s3.example.org), host:port or URL (https://s3.example.org), without credentials and path",
        ),
        rule(
            "!has(self.caBundle) || !self.endpoint.startsWith('http://')",
            ".caBundle",
            "caBundle has no use with an endpoint that begins with http://",
        ),
    ])
}

/// Of the encryption.
pub fn encryption() -> Value {
    json!([rule("self.kmsKeyId == '' || self.type == 'KMS'", ".kmsKeyId", "kmsKeyId is for type KMS only")])
}

/// Of the volume.
pub fn volume() -> Value {
    json!([
        rule(
            "self.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            ".name",
            "name has to be that of a volume in the pod's spec.volumes: small letters, digits and dashes",
        ),
        rule(
            "!self.subPath.startsWith('/')",
            ".subPath",
            "subPath is a folder in the volume: it has to begin without /"
        ),
        rule(
            "!self.subPath.contains('$') && !self.subPath.contains('//') && !self.subPath.split('/').exists(part, part == '.' || part == '..' || part == '.gosync')",
            ".subPath",
            "subPath has to consist of plain folder names: no empty ones, no . or .., no $, and not .gosync",
        ),
    ])
}
