//! Each rule of the resource, kept and broken, with the message that a person reads.

use gosync_crds::check::{compare, read};
use serde_json::{Value, json};

use crate::{at, mirror_with};

/// What is wrong with the smallest mirror when one field has that value.
fn problems(field: &str, value: Value) -> Vec<String> {
    match read(&mirror_with(at(field, value))) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
fn accepts(field: &str, values: &[Value]) {
    for value in values {
        assert_eq!(problems(field, value.clone()), [""; 0], "{field}: {value}");
    }
}

#[track_caller]
fn refuses(field: &str, values: &[Value], message: &str) {
    for value in values {
        let found = problems(field, value.clone());
        assert!(found.iter().any(|problem| problem.contains(message)), "{field}: {value}: {found:?}");
        assert!(found.iter().all(|problem| problem.starts_with("spec.")), "{found:?}");
    }
}

#[test]
fn the_smallest_mirror_takes_every_default() {
    let mirror = read(&mirror_with(json!({}))).unwrap();
    assert_eq!(mirror.spec.interval_seconds, 60);
    assert_eq!(mirror.spec.s3.region, "us-east-1");
    assert_eq!(mirror.spec.transfer.chunk_size_bytes, 5_242_880);
    assert_eq!(mirror.spec.hydration.timeout_seconds, 540);
    assert_eq!((mirror.spec.drain.timeout_seconds, mirror.spec.drain.extend_grace_period), (60, true));
    assert_eq!(mirror.spec.agent.metrics_port, 9754);
    assert_eq!(mirror.spec.conflict_policy, None);
    // A part of a section keeps the rest of it.
    let part = read(&mirror_with(at("deleteGuard.maxPercent", json!(10)))).unwrap();
    assert_eq!(part.spec.delete_guard.max_percent, 10);
    assert_eq!(part.spec.delete_guard.max_files, 10_000);
}

#[test]
fn a_prefix_is_made_of_plain_folder_names_and_the_pods_variables() {
    accepts(
        "s3.prefix",
        &[json!(""), json!("models/"), json!("a/b"), json!("a/${POD_NAME}/${NODE_NAME}/"), json!("..a/b..")],
    );
    refuses("s3.prefix", &[json!("/models")], "has to begin without /");
    refuses("s3.prefix", &[json!("a//b"), json!("../x"), json!("a/./b"), json!("a/.gosync/b")], "plain folder names");
    refuses("s3.prefix", &[json!("$HOME"), json!("${HOME}/x"), json!("a$")], "and no other $");
    refuses("s3.prefix", &[json!("x".repeat(513))], "at most 512 characters");
}

#[test]
fn a_bucket_is_a_name_alone() {
    accepts("s3.bucket", &[json!("acme-ml"), json!("a.b_c")]);
    refuses("s3.bucket", &[json!("acme/ml"), json!("s3://acme"), json!(".ab")], "the name alone");
    refuses("s3.bucket", &[json!("ab")], "at least 3 characters");
}

#[test]
fn an_endpoint_is_a_host_a_port_or_a_url() {
    let fits =
        ["", "s3.example.org", "minio:9000", "http://minio.ml.svc:9000", "https://s3.example.org/", "[::1]:9000"];
    accepts("s3.endpoint", &fits.map(|text| json!(text)));
    let broken = ["ftp://x", "https://user:pass@x", "https://x/path", "a b", "http://"];
    refuses("s3.endpoint", &broken.map(|text| json!(text)), "endpoint has to be a host");
}

#[test]
fn certificates_need_an_endpoint_that_speaks_tls() {
    let bundle = json!({ "configMapKeyRef": { "name": "ca", "key": "ca.crt" } });
    accepts("s3", &[json!({ "endpoint": "https://minio:9000", "caBundle": bundle })]);
    refuses("s3", &[json!({ "endpoint": "http://minio:9000", "caBundle": bundle })], "caBundle has no use");
}

#[test]
fn a_kms_key_needs_the_type_kms() {
    accepts("s3.serverSideEncryption", &[json!({ "type": "KMS", "kmsKeyId": "k" }), json!({ "type": "AES256" })]);
    refuses("s3.serverSideEncryption", &[json!({ "kmsKeyId": "k" })], "for type KMS only");
}

#[test]
fn a_conflict_policy_needs_both_directions() {
    accepts("conflictPolicy", &[json!("KeepBoth"), json!("RemoteWins"), json!("LocalWins")]);
    let one_way = |direction: &str| json!({ "direction": direction, "conflictPolicy": "KeepBoth" });
    for direction in ["Pull", "Push"] {
        let problems = read(&mirror_with(one_way(direction))).unwrap_err();
        assert!(problems[0].to_string().contains("for direction TwoWay only"), "{problems:?}");
        assert!(read(&mirror_with(json!({ "direction": direction }))).is_ok());
    }
}

#[test]
fn a_volume_and_its_folder_are_plain_names() {
    accepts("volume.name", &[json!("data"), json!("a".repeat(63))]);
    refuses("volume.name", &[json!("Data"), json!("a_b"), json!("-a")], "spec.volumes");
    accepts("volume.subPath", &[json!(""), json!("a/b"), json!("a/")]);
    refuses("volume.subPath", &[json!("/a")], "begin without /");
    refuses("volume.subPath", &[json!("../a"), json!("a//b"), json!("${X}"), json!(".gosync")], "plain folder names");
}

#[test]
fn numbers_keep_their_ranges() {
    let most: &[(&str, i64)] = &[
        ("deleteGuard.maxPercent", 100),
        ("hydration.timeoutSeconds", 86_400),
        ("drain.timeoutSeconds", 86_400),
        ("transfer.workers", 64),
        ("transfer.chunkSizeBytes", 5_368_709_120),
        ("transfer.maxRetries", 100),
        ("agent.metricsPort", 65_535),
    ];
    for (field, most) in most {
        accepts(field, &[json!(most)]);
        refuses(field, &[json!(most + 1)], &format!("at most {most}"));
    }
    let least: &[(&str, i64)] = &[
        ("deleteGuard.maxPercent", 0),
        ("deleteGuard.maxFiles", 0),
        ("intervalSeconds", 1),
        ("hydration.timeoutSeconds", 1),
        ("drain.timeoutSeconds", 0),
        ("transfer.chunkSizeBytes", 5_242_880),
        ("files.trashMaxBytes", 0),
        ("agent.metricsPort", 1024),
        ("agent.runAsUser", 0),
    ];
    for (field, least) in least {
        accepts(field, &[json!(least)]);
        refuses(field, &[json!(least - 1)], &format!("at least {least}"));
    }
}

#[test]
fn unknown_fields_and_words_are_named() {
    refuses("direction", &[json!("Both")], "is not one of");
    refuses("hydration.mod", &[json!("Full")], "there is no such field");
    refuses("suspend", &[json!("yes")], "of the type boolean");
    refuses("metadata.postgres", &[json!({})], "it is required");
}

#[test]
fn a_place_can_not_be_changed() {
    let old = mirror_with(json!({ "s3": { "prefix": "a/", "endpoint": "minio:9000" } }));
    let old = serde_json::to_value(read(&old).unwrap()).unwrap();
    for (field, value) in [("bucket", "other"), ("prefix", "b/"), ("endpoint", "minio:9001")] {
        let mut edited = old.clone();
        edited["spec"]["s3"][field] = json!(value);
        let problems = compare(&edited, Some(&old)).unwrap_err();
        let text = problems[0].to_string();
        assert!(text.contains(&format!("{field} can't be changed")), "{text}");
    }
    let mut edited = old.clone();
    edited["spec"]["s3"]["region"] = json!("eu-west-1");
    assert!(compare(&edited, Some(&old)).is_ok());
}

#[test]
fn a_name_that_no_mirror_can_have_is_refused() {
    for name in ["a.b", &"a".repeat(64)] {
        let mut mirror = mirror_with(json!({}));
        mirror["metadata"]["name"] = json!(name);
        let problems = read(&mirror).unwrap_err();
        assert!(problems[0].message.contains("63 small letters"), "{problems:?}");
    }
}

#[test]
fn another_kind_is_told_at_once() {
    let problems = read(&json!({ "apiVersion": "v1", "kind": "Pod" })).unwrap_err();
    assert_eq!(problems[0].to_string(), "apiVersion: gosync.dev/v1alpha1 belongs here, not v1");
}
