//! What holds for every pod, over the list of shapes and over random ones.

use gosync_operator::inject::{CONTAINER, INJECTED_LABEL, INJECTED_MIRRORS_ANNOTATION, Outcome, Settings, inject};
use json_patch::PatchOperation;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::cases::all;
use crate::known::{container, mirror, named, other, settings, sidecar};

fn applied(pod: &Value, outcome: &Outcome) -> Value {
    let mut after = pod.clone();
    json_patch::patch(&mut after, &outcome.patch()).unwrap();
    after
}

/// Injecting again changes nothing.
fn is_idempotent(pod: &Value, mirrors: &[gosync_crds::SyncMirror], settings: &Settings) {
    let once = applied(pod, &inject(pod, mirrors, settings));
    let twice = applied(&once, &inject(&once, mirrors, settings));
    assert_eq!(once, twice);
}

/// Nothing but additions, and what was there is there afterwards, in its order.
fn only_adds(pod: &Value, mirrors: &[gosync_crds::SyncMirror], settings: &Settings) {
    let outcome = inject(pod, mirrors, settings);
    let Outcome::Injected(injection) = &outcome else { return };
    for operation in &injection.patch.0 {
        assert!(matches!(operation, PatchOperation::Add(_)), "{operation:?}");
    }
    let after = applied(pod, &outcome);
    // Two values grow at their place; all else stays.
    let grows = [
        "/spec/terminationGracePeriodSeconds",
        "/metadata/annotations/cluster-autoscaler.kubernetes.io~1safe-to-evict-local-volumes",
    ];
    let mut without = without_ours(&after);
    for place in grows {
        if let (Some(before), Some(now)) = (pod.pointer(place), without.pointer_mut(place)) {
            *now = before.clone();
        }
    }
    assert_eq!(holds(&without, pod, ""), None);
}

fn without_ours(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for (list, names) in [("initContainers", &[CONTAINER][..]), ("volumes", &["gosync-config", "gosync-run"])] {
        if let Some(items) = pod["spec"][list].as_array_mut() {
            items.retain(|item| !names.iter().any(|name| item["name"] == *name));
        }
    }
    pod
}

/// Where `after` lacks something of `before`. Lists have to be the same, mappings may have grown; nothing, `null` and empty are one.
fn holds(after: &Value, before: &Value, place: &str) -> Option<String> {
    match (after, before) {
        (Value::Object(after), Value::Object(before)) => before
            .iter()
            .find_map(|(key, value)| holds(after.get(key).unwrap_or(&Value::Null), value, &format!("{place}/{key}"))),
        (Value::Array(after), Value::Array(before)) if after.len() == before.len() => after
            .iter()
            .zip(before)
            .enumerate()
            .find_map(|(index, (after, before))| holds(after, before, &format!("{place}/{index}"))),
        (Value::Array(after), Value::Null) if after.is_empty() => None,
        (Value::Object(_), Value::Null) => None,
        (after, before) => (after != before).then(|| format!("{place}: {before} became {after}")),
    }
}

#[test]
fn injecting_twice_is_injecting_once_for_every_shape() {
    for case in all() {
        is_idempotent(&case.pod, &case.mirrors, &case.settings);
    }
}

#[test]
fn nothing_is_changed_or_taken_away_in_any_shape() {
    for case in all() {
        only_adds(&case.pod, &case.mirrors, &case.settings);
    }
}

#[test]
fn a_proxy_that_comes_in_after_the_first_call_is_stood_behind_by_the_second_and_the_third_changes_nothing() {
    for case in all().into_iter().filter(|case| case.result == "injected") {
        for at_end in [false, true] {
            let mut pod = applied(&case.pod, &inject(&case.pod, &case.mirrors, &case.settings));
            let containers = pod["spec"]["initContainers"].as_array_mut().unwrap();
            let at = if at_end { containers.len() } else { 0 };
            containers.insert(at, sidecar("istio-proxy"));
            let pod = applied(&pod, &inject(&pod, &case.mirrors, &case.settings));
            let names: Vec<&str> =
                pod["spec"]["initContainers"].as_array().unwrap().iter().filter_map(|c| c["name"].as_str()).collect();
            let index = |name: &str| names.iter().rposition(|found| *found == name).unwrap();
            assert!(index(CONTAINER) > index("istio-proxy"), "{}: {names:?}", case.name);
            assert_eq!(names.iter().filter(|name| **name == CONTAINER).count(), 1);
            is_idempotent(&pod, &case.mirrors, &case.settings);
        }
    }
}

#[test]
fn what_is_not_injected_is_not_touched_but_for_the_reason_where_it_asked() {
    for case in all().into_iter().filter(|case| !["injected", "moved"].contains(&case.result)) {
        let asked = case.pod["metadata"]["labels"]["gosync.dev/inject"] == "true";
        let outcome = inject(&case.pod, &case.mirrors, &case.settings);
        let after = applied(&case.pod, &outcome);
        let reason = &after["metadata"]["annotations"]["gosync.dev/not-injected"];
        match (asked, &outcome) {
            (true, Outcome::Skipped { skip, .. }) => assert_eq!(reason, &json!(skip.to_string()), "{}", case.name),
            _ => assert!(outcome.patch().0.is_empty(), "{}", case.name),
        }
    }
}

#[test]
fn an_injected_pod_says_so_and_for_which_mirrors() {
    for case in all().into_iter().filter(|case| case.result == "injected") {
        let after = applied(&case.pod, &inject(&case.pod, &case.mirrors, &case.settings));
        assert_eq!(after["metadata"]["labels"][INJECTED_LABEL], "true", "{}", case.name);
        assert!(after["metadata"]["annotations"][INJECTED_MIRRORS_ANNOTATION].is_string(), "{}", case.name);
        let ours = after["spec"]["initContainers"].as_array().unwrap().iter().filter(|c| c["name"] == CONTAINER);
        assert_eq!(ours.count(), 1, "{}", case.name);
    }
}

/// Values that no version of Kubernetes knows.
fn unknown() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z/~ $]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z/~]{1,5}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

fn any_container() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "app",
        "web",
        "istio-proxy",
        "linkerd-proxy",
        "istio-init",
        "vault-agent",
        "gosync-agent",
    ]);
    let uid = prop::option::of(0..3000i64);
    let resources = prop::sample::select(vec![
        json!({}),
        json!({ "limits": { "cpu": "1", "memory": "1Gi" } }),
        json!({ "requests": { "cpu": "1" } }),
        json!(null),
    ]);
    (name, uid, resources, any::<[bool; 4]>(), prop::option::of(9750..9758i64), unknown()).prop_map(
        |(name, uid, resources, [mounts, read_only, always, restricted], port, unknown)| {
            let mut out = if mounts { container(name, json!({})) } else { other(name, json!({})) };
            if mounts {
                out["volumeMounts"][0]["readOnly"] = json!(read_only);
            }
            if let Some(uid) = uid {
                out["securityContext"] = json!({ "runAsUser": uid, "runAsNonRoot": restricted });
            }
            if let Some(port) = port {
                out["ports"] = json!([{ "containerPort": port }]);
            }
            if always {
                out["restartPolicy"] = json!("Always");
            }
            out["resources"] = resources;
            out["future"] = unknown;
            out
        },
    )
}

fn any_pod() -> impl Strategy<Value = Value> {
    let source = prop::sample::select(vec![
        json!({ "emptyDir": {} }),
        json!({ "emptyDir": { "medium": "Memory" } }),
        json!({ "emptyDir": { "medium": "Memory", "sizeLimit": "1Gi" } }),
        json!({ "persistentVolumeClaim": { "claimName": "c" } }),
        json!({ "persistentVolumeClaim": { "claimName": "c", "readOnly": true } }),
        json!({ "projected": {} }),
    ]);
    let containers = prop::collection::vec(any_container(), 1..4);
    let init = prop::option::of(prop::collection::vec(any_container(), 0..5));
    let label = prop::sample::select(vec![
        json!({}),
        json!({ "gosync.dev/inject": "true" }),
        json!({ "gosync.dev/inject": "false" }),
        json!(null),
    ]);
    let grace = prop::option::of(0..4000i64);
    let group = prop::option::of(0..3000i64);
    (source, containers, init, label, grace, group, any::<[bool; 3]>(), unknown()).prop_map(
        |(source, containers, init, label, grace, group, [host_network, has_metadata, named], unknown)| {
            let mut volume = source;
            volume["name"] = json!("data");
            let mut spec = json!({ "containers": containers, "volumes": [volume], "future": unknown.clone() });
            if let Some(init) = init {
                spec["initContainers"] = json!(init);
            }
            if let Some(grace) = grace {
                spec["terminationGracePeriodSeconds"] = json!(grace);
            }
            if let Some(group) = group {
                spec["securityContext"] = json!({ "fsGroup": group });
            }
            spec["hostNetwork"] = json!(host_network);
            let mut metadata = Map::new();
            if has_metadata {
                metadata.insert("labels".to_owned(), label);
                let annotations = if named { json!({ "gosync.dev/mirrors": "models" }) } else { unknown };
                metadata
                    .insert("annotations".to_owned(), if annotations.is_object() { annotations } else { Value::Null });
            }
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn injecting_twice_is_injecting_once_for_random_pods(pod in any_pod(), restricted in any::<bool>()) {
        let settings = Settings { restricted_namespace: restricted, ..settings() };
        let every = json!({ "selector": { "matchLabels": null } });
        let folder = json!({ "selector": { "matchLabels": null }, "volume": { "subPath": "a" }, "direction": "Pull" });
        for mirrors in [vec![mirror(every)], vec![named("pull", folder)], vec![mirror(json!({}))], vec![]] {
            is_idempotent(&pod, &mirrors, &settings);
            only_adds(&pod, &mirrors, &settings);
        }
    }
}
