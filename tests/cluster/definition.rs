//! The definition of SyncMirror as the API server applies it: rules with their messages, ranges, defaults, what can't be
//! changed; stored and in dry runs alike.

use std::collections::BTreeSet;

use gosync_tests::cluster::control_plane::ControlPlane;
use gosync_tests::cluster::host::file;
use gosync_tests::cluster::kubectl::{Kubectl, Told};
use serde_json::{Value, json};

/// The smallest mirror, with `spec` over it.
pub fn mirror(namespace: &str, name: &str, spec: &Value) -> Value {
    let mut mirror = json!({
        "apiVersion": "gosync.dev/v1alpha1",
        "kind": "SyncMirror",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "volume": { "name": "data" }, "s3": { "bucket": "acme-ml" } },
    });
    lay_over(&mut mirror["spec"], spec);
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

/// A field, values that fit, values that don't, and what is said of those.
struct Rule {
    field: &'static str,
    fits: Vec<Value>,
    breaks: Vec<Value>,
    message: &'static str,
}

fn rules() -> Vec<Rule> {
    let rule = |field, fits: &[Value], breaks: &[Value], message| Rule {
        field,
        fits: fits.to_vec(),
        breaks: breaks.to_vec(),
        message,
    };
    let bundle = json!({ "configMapKeyRef": { "name": "ca", "key": "ca.crt" } });
    vec![
        rule("s3.prefix", &[json!(""), json!("models/")], &[json!("/models")], "prefix has to begin without /"),
        rule(
            "s3.prefix",
            &[json!("a/b"), json!("..a/b..")],
            &[json!("a//b"), json!("../x"), json!("a/./b"), json!("a/.gosync/b")],
            "prefix has to consist of plain folder names",
        ),
        rule(
            "s3.prefix",
            &[json!("a/${POD_NAME}/${POD_NAMESPACE}/${NODE_NAME}/")],
            &[json!("$HOME"), json!("${HOME}/x"), json!("a$")],
            "and no other $",
        ),
        rule("s3.prefix", &[json!("x".repeat(512))], &[json!("x".repeat(513))], "may not be more than 512"),
        rule(
            "s3.bucket",
            &[json!("acme-ml"), json!("a.b_c")],
            &[json!("acme/ml"), json!("s3://acme"), json!(".ab")],
            "bucket has to be the name alone",
        ),
        rule("s3.bucket", &[json!("abc")], &[json!("ab")], "at least 3 chars"),
        rule(
            "s3.endpoint",
            &[
                json!(""),
                json!("s3.example.org"),
                json!("minio:9000"),
                json!("https://s3.example.org/"),
                json!("[::1]:9000"),
            ],
            &[json!("ftp://x"), json!("https://user:pass@x"), json!("https://x/path"), json!("a b"), json!("http://")],
            "endpoint has to be a host",
        ),
        rule(
            "s3",
            &[json!({ "endpoint": "https://minio:9000", "caBundle": bundle })],
            &[json!({ "endpoint": "http://minio:9000", "caBundle": bundle })],
            "caBundle has no use",
        ),
        rule(
            "s3.serverSideEncryption",
            &[json!({ "type": "KMS", "kmsKeyId": "k" }), json!({ "type": "AES256" })],
            &[json!({ "kmsKeyId": "k" }), json!({ "type": "AES256", "kmsKeyId": "k" })],
            "kmsKeyId is for type KMS only",
        ),
        rule(
            "conflictPolicy",
            &[json!("KeepBoth"), json!("RemoteWins"), json!("LocalWins")],
            &[json!("Mine")],
            "Unsupported value",
        ),
        rule("volume.name", &[json!("a".repeat(63))], &[json!("Data"), json!("a_b"), json!("-a")], "spec.volumes"),
        rule("volume.subPath", &[json!(""), json!("a/b/")], &[json!("/a")], "it has to begin without /"),
        rule(
            "volume.subPath",
            &[json!("a..b")],
            &[json!("../a"), json!("a//b"), json!("${X}"), json!(".gosync")],
            "subPath has to consist of plain folder names",
        ),
        rule("deleteGuard.maxPercent", &[json!(0), json!(100)], &[json!(101)], "less than or equal to 100"),
        rule("intervalSeconds", &[json!(1)], &[json!(0)], "greater than or equal to 1"),
        rule("hydration.timeoutSeconds", &[json!(86_400)], &[json!(86_401)], "less than or equal to 86400"),
        rule("drain.timeoutSeconds", &[json!(0)], &[json!(-1)], "greater than or equal to 0"),
        rule("transfer.workers", &[json!(1), json!(64)], &[json!(65)], "less than or equal to 64"),
        rule("transfer.chunkSizeBytes", &[json!(5_242_880)], &[json!(5_242_879)], "greater than or equal to 5242880"),
        rule("agent.metricsPort", &[json!(1024), json!(65_535)], &[json!(1023)], "greater than or equal to 1024"),
        rule("agent.runAsUser", &[json!(0), Value::Null], &[json!(-1)], "greater than or equal to 0"),
        rule("direction", &[json!("TwoWay"), json!("Pull"), json!("Push")], &[json!("Both")], "Unsupported value"),
        rule("suspend", &[json!(true)], &[json!("yes")], "must be of type boolean"),
        rule("hydration.mod", &[], &[json!("Full")], "unknown field \"spec.hydration.mod\""),
        rule("metadata", &[], &[json!({ "postgres": {} })], "Required value"),
    ]
}

/// Twice: in a dry run and stored. Both have to say the same.
fn create(kubectl: &Kubectl, mirror: &Value) -> Told {
    let (dry, stored) = (kubectl.dry_run(mirror), kubectl.create(mirror));
    assert_eq!(dry.ok, stored.ok, "{mirror}: a dry run says \"{}\", and the other \"{}\"", dry.err, stored.err);
    if !stored.ok {
        assert_eq!(dry.err, stored.err, "{mirror}");
    }
    stored
}

/// The messages of all rules of the definition.
fn messages() -> BTreeSet<String> {
    fn below(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for rule in fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                    found.insert(rule["message"].as_str().unwrap().to_owned());
                }
                fields.values().for_each(|value| below(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| below(value, found)),
            _ => {}
        }
    }
    let text = std::fs::read_to_string(file("crds/syncmirrors.gosync.dev.yaml")).unwrap();
    let mut found = BTreeSet::new();
    below(&serde_saphyr::from_str(&text).unwrap(), &mut found);
    found
}

#[tokio::test]
async fn every_rule_lets_pass_what_fits_and_says_what_does_not_in_dry_runs_too() {
    let cluster = ControlPlane::shared().await;
    let kubectl = cluster.kubectl();
    let ns = &kubectl.namespace("rules").await;
    let mut said = String::new();
    for (number, rule) in rules().iter().enumerate() {
        for (at_number, value) in rule.fits.iter().enumerate() {
            let fits = mirror(ns, &format!("fits-{number}-{at_number}"), &at(rule.field, value.clone()));
            create(kubectl, &fits).accepted();
        }
        for value in &rule.breaks {
            let told = create(kubectl, &mirror(ns, "breaks", &at(rule.field, value.clone())));
            told.refused(rule.message);
            assert!(told.err.contains("spec."), "which field it is has to be told: {}", told.err);
            said += &told.err;
        }
    }

    for direction in ["Pull", "Push"] {
        let one_way = json!({ "direction": direction, "conflictPolicy": "KeepBoth" });
        let told = create(kubectl, &mirror(ns, "breaks", &one_way));
        told.refused("conflictPolicy is for direction TwoWay only");
        said += &told.err;
    }
    for name in ["a.b".to_owned(), "a".repeat(64)] {
        let told = create(kubectl, &mirror(ns, &name, &json!({})));
        told.refused("metadata.name has to be 63 small letters");
        said += &told.err;
    }
    // What compares with the old object has a test of its own.
    let unsaid: Vec<String> = messages()
        .into_iter()
        .filter(|message| !message.contains("can't be changed") && !said.contains(message))
        .collect();
    assert_eq!(unsaid, [""; 0], "no refusal of these rules was seen");
}

#[tokio::test]
async fn the_place_of_a_mirror_can_not_be_changed_and_the_rest_can() {
    let cluster = ControlPlane::shared().await;
    let kubectl = cluster.kubectl();
    let ns = &kubectl.namespace("places").await;
    let place = json!({ "s3": { "prefix": "a/", "endpoint": "minio:9000" } });
    kubectl.apply(&mirror(ns, "models", &place)).accepted();
    let mut said = String::new();
    for (field, value) in [("bucket", "other"), ("prefix", "b/"), ("endpoint", "minio:9001")] {
        let edit = json!({ "spec": { "s3": { field: value } } }).to_string();
        for dry_run in ["--dry-run=server", "--dry-run=none"] {
            let patch = ["patch", "smir", "models", "-n", ns, "--type=merge", dry_run, "-p", &edit];
            let told = kubectl.run(&patch);
            told.refused(&format!("{field} can't be changed: make another SyncMirror for another place"));
            said += &told.err;
        }
    }
    let unsaid: Vec<String> = messages()
        .into_iter()
        .filter(|message| message.contains("can't be changed") && !said.contains(message))
        .collect();
    assert_eq!(unsaid, [""; 0], "no refusal of these rules was seen");

    let edit = json!({ "spec": { "s3": { "region": "eu-west-1" }, "suspend": true, "direction": "Pull" } }).to_string();
    kubectl.run(&["patch", "smir", "models", "-n", ns, "--type=merge", "-p", &edit]).accepted();
}

#[tokio::test]
async fn what_is_not_written_has_the_defaults_that_the_checks_of_a_file_give_it() {
    let cluster = ControlPlane::shared().await;
    let kubectl = cluster.kubectl();
    let ns = &kubectl.namespace("defaults").await;
    for (name, spec) in [("smallest", json!({})), ("part", at("deleteGuard.maxPercent", json!(10)))] {
        let written = mirror(ns, name, &spec);
        let stored = kubectl.create(&written).json();
        assert_eq!(stored["spec"]["intervalSeconds"], 60);
        assert_eq!(stored["spec"]["deleteGuard"]["maxFiles"], 10_000);
        let from_file = gosync_crds::check::read(&written).unwrap();
        let from_server: gosync_crds::SyncMirror = serde_json::from_value(stored).unwrap();
        let (from_file, from_server) =
            (serde_json::to_value(&from_file.spec).unwrap(), serde_json::to_value(&from_server.spec).unwrap());
        assert_eq!(from_file, from_server);
    }
}

#[tokio::test]
async fn an_edit_is_a_new_generation_and_a_status_is_not() {
    let cluster = ControlPlane::shared().await;
    let kubectl = cluster.kubectl();
    let ns = &kubectl.namespace("generations").await;
    assert_eq!(kubectl.create(&mirror(ns, "models", &json!({}))).json()["metadata"]["generation"], 1);
    let patch = |subresource: &[&str], patch: Value| {
        let patch = patch.to_string();
        let mut arguments = vec!["patch", "smir", "models", "-n", ns, "-o", "json", "--type=merge", "-p", &patch];
        arguments.extend(subresource);
        kubectl.run(&arguments).json()
    };
    let told = patch(
        &["--subresource=status"],
        json!({ "status": { "summary": "1/1 in sync" }, "spec": { "suspend": true } }),
    );
    assert_eq!(told["metadata"]["generation"], 1);
    assert_eq!(told["spec"]["suspend"], false, "the status alone is written there");
    let told = patch(&[], json!({ "spec": { "suspend": true }, "status": { "summary": "other" } }));
    assert_eq!(told["metadata"]["generation"], 2);
    assert_eq!(told["status"]["summary"], "1/1 in sync", "and the spec alone here");
}
