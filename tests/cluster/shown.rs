//! What `kubectl get` and `kubectl explain` show of a SyncMirror.

use gosync_tests::cluster::control_plane::ControlPlane;
use gosync_tests::cluster::host::file;
use gosync_tests::wait;
use serde_json::{Value, json};

use crate::definition::mirror;

#[tokio::test]
async fn a_list_shows_how_mirrors_fare_and_a_wide_one_where_they_are() {
    let cluster = ControlPlane::shared().await;
    let kubectl = cluster.kubectl();
    let ns = &kubectl.namespace("columns").await;
    kubectl.apply(&mirror(ns, "models", &json!({ "s3": { "prefix": "m/" }, "direction": "Pull" }))).accepted();
    let status = json!({ "status": {
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "PodsMissingAgent", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
        "summary": "11/12 in sync, 1 hydrating", "pendingFiles": 7, "lagSeconds": 31, "conflicts": 2,
    } });
    let status = status.to_string();
    let patch = ["patch", "smir", "models", "-n", ns, "--subresource=status", "--type=merge", "-p", &status];
    kubectl.run(&patch).accepted();

    // Columns stand below their names.
    let shown = |arguments: &[&str]| -> Vec<(String, String)> {
        let table = kubectl.run(&[&["get", "-n", ns], arguments].concat()).accepted().out;
        let (names, row) = table.split_once('\n').unwrap();
        let mut begins: Vec<usize> = Vec::new();
        let mut cells = Vec::new();
        for name in names.split_whitespace() {
            let from = begins.last().map_or(0, |last| last + 1);
            begins.push(from + names[from..].find(name).unwrap());
        }
        for (number, begin) in begins.iter().enumerate() {
            let end = begins.get(number + 1).copied().unwrap_or(usize::MAX);
            let cell = |line: &str| line.get(*begin..end.min(line.len())).unwrap_or_default().trim().to_owned();
            cells.push((cell(names), cell(row.lines().next().unwrap())));
        }
        cells
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let narrow = [
        pair("NAME", "models"),
        pair("READY", "False"),
        pair("SYNC", "11/12 in sync, 1 hydrating"),
        pair("PENDING", "7"),
        pair("LAG", "31"),
        pair("CONFLICTS", "2"),
    ];
    for resource in ["smir", "syncmirrors", "gosync"] {
        let cells = shown(&[resource]);
        assert_eq!(cells[..6], narrow, "kubectl get {resource}");
        assert_eq!(cells[6].0, "AGE");
        assert_eq!(cells.len(), 7, "{cells:?}");
    }
    let wide = shown(&["smir", "-o", "wide"]);
    assert_eq!(wide[7..], [pair("BUCKET", "acme-ml"), pair("PREFIX", "m/"), pair("DIRECTION", "Pull")]);
}

/// Each field below a schema, with dots.
fn fields(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        fields(field, &path, found);
        fields(&field["items"], &path, found);
        found.push(path);
    }
}

#[tokio::test]
async fn every_field_is_explained() {
    let cluster = ControlPlane::shared().await;
    let kubectl = cluster.kubectl();
    let text = std::fs::read_to_string(file("crds/syncmirrors.gosync.dev.yaml")).unwrap();
    let definition: Value = serde_saphyr::from_str(&text).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut all = Vec::new();
    fields(schema, "syncmirror", &mut all);
    assert!(all.len() > 80, "{all:?}");

    let tree = wait::until("the API server knows the definition's words", async || {
        let told = kubectl.run(&["explain", "syncmirror", "--recursive"]);
        if told.ok { Ok(told.out) } else { Err(told.err) }
    })
    .await;
    for path in &all {
        let name = path.rsplit('.').next().unwrap();
        assert!(tree.lines().any(|line| line.split_whitespace().next() == Some(name)), "{path} isn't in\n{tree}");
    }
    // The sections say each of their fields in words; a field without them would be followed by a mark of nothing.
    let sections: Vec<&String> =
        all.iter().filter(|path| all.iter().any(|other| other.starts_with(&format!("{path}.")))).collect();
    for section in sections {
        let told = kubectl.run(&["explain", section]).accepted().out;
        assert!(!told.contains("<no description>"), "{section}:\n{told}");
        assert!(told.contains("DESCRIPTION:\n    "), "{section}:\n{told}");
    }
}
