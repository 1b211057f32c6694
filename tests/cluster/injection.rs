//! Every shape of pod through the webhook of a running operator: the API server makes of it exactly what the decision says.

use std::collections::BTreeSet;

use gosync_operator::inject::inject;
use gosync_tests::cluster::control_plane::pod;
use gosync_tests::cluster::host;
use gosync_tests::cluster::kubectl::{Kubectl, Told};
use gosync_tests::cluster::operator::{IMAGE, Installation, name};
use gosync_tests::wait;
use serde_json::{Value, json};

use crate::cases::{Case, all};
use crate::definition::mirror;
use crate::mesh::Mesh;

/// What an API server refuses by itself, with its words: these cases stay with the operator's own tests.
const IMPOSSIBLE: &[(&str, &str)] = &[
    ("static-pod", "must set spec.nodeName"),
    ("no-such-volume", "Not found: \"data\""),
    ("no-volumes-at-all", "Not found: \"data\""),
    ("restricted-no-uid", "violates PodSecurity"),
];

/// The namespace of a case, for what the case calls so.
fn namespace(case: &Case, called: &str) -> String {
    let name = format!("{}-{}", host::run(), case.name);
    if called == "ml" { name } else { format!("{name}-{called}") }
}

fn called(pod: &Value) -> &str {
    pod["metadata"]["namespace"].as_str().unwrap_or("ml")
}

/// A pod without what differs from one creation to the next, and without the token that every pod gets: at the first
/// question of the webhook it is there, and in a pod that comes with its agent it isn't.
fn comparable(mut pod: Value) -> Value {
    let metadata = pod["metadata"].as_object_mut().unwrap();
    for field in ["uid", "creationTimestamp", "managedFields", "resourceVersion"] {
        metadata.remove(field);
    }
    if metadata.contains_key("generateName") {
        metadata.remove("name");
    }
    let is_token = |entry: &Value| entry["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-"));
    let spec = &mut pod["spec"];
    spec["volumes"].as_array_mut().unwrap().retain(|volume| !is_token(volume));
    for kind in ["initContainers", "containers"] {
        for container in spec[kind].as_array_mut().into_iter().flatten() {
            if let Some(mounts) = container["volumeMounts"].as_array_mut() {
                mounts.retain(|mount| !is_token(mount));
            }
        }
    }
    pod
}

/// API servers give every container a token that has a place for it, also one that a webhook added.
fn agent_has_token(pod: &Value) -> bool {
    let mut containers = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    let agent = containers.find(|container| container["name"] == "gosync-agent");
    agent.is_some_and(|agent| agent["volumeMounts"].to_string().contains("\"kube-api-access-"))
}

/// What the decision needs nothing of, and an API server does.
fn fill_in(pod: &mut Value) {
    for volume in pod["spec"]["volumes"].as_array_mut().into_iter().flatten() {
        if volume["ephemeral"].is_object() {
            let claim = &mut volume["ephemeral"]["volumeClaimTemplate"]["spec"];
            claim["accessModes"] = json!(["ReadWriteOnce"]);
            claim["resources"] = json!({ "requests": { "storage": "1Gi" } });
        }
    }
    for container in pod["spec"]["initContainers"].as_array_mut().into_iter().flatten() {
        if container["image"].is_null() {
            container["image"] = json!("example/other");
        }
    }
    for owner in pod["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
        owner["uid"] = json!("00000000-0000-4000-8000-000000000001");
    }
}

/// Fields that no API server knows yet are let pass and dropped, as an older client's.
fn create(kubectl: &Kubectl, pod: &Value, dry_run: bool) -> Told {
    let dry_run = if dry_run { "--dry-run=server" } else { "--dry-run=none" };
    kubectl.run_with(&["create", "--validate=ignore", dry_run, "-o", "json", "-f", "-"], &pod.to_string())
}

/// Makes the namespaces and mirrors of the cases, and waits until the operator and the API server know them.
async fn prepare(kubectl: &Kubectl, cases: &[Case]) {
    let mut objects = Vec::new();
    let mut namespaces = BTreeSet::new();
    let mut selecting = BTreeSet::new();
    let mut config_maps = BTreeSet::new();
    for case in cases {
        let mut names = BTreeSet::from([namespace(case, "ml"), namespace(case, called(&case.pod))]);
        let labels = match case.settings.restricted_namespace {
            true => json!({ "pod-security.kubernetes.io/enforce": "restricted" }),
            false => json!({}),
        };
        while let Some(name) = names.pop_first() {
            let metadata = json!({ "name": name, "labels": labels });
            let mut object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
            host::label(&mut object);
            objects.push(object);
            namespaces.insert(name);
        }
        for mirror in &case.mirrors {
            let mut object = serde_json::to_value(mirror).unwrap();
            object["metadata"]["namespace"] = json!(namespace(case, "ml"));
            let name = mirror.metadata.name.as_deref().unwrap();
            config_maps.insert(format!("{}/gosync-mirror-{name}", namespace(case, "ml")));
            if mirror.spec.selector.is_some() {
                selecting.insert(namespace(case, "ml"));
            }
            objects.push(object);
        }
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    kubectl.run_with(&["create", "-f", "-"], &list.to_string()).accepted();
    // What comes last is known last.
    let ns = &kubectl.namespace("canary").await;
    kubectl.create(&mirror(ns, "models", &json!({ "selector": {} }))).accepted();
    selecting.insert(ns.clone());

    wait::until("there is a ConfigMap of every mirror", async || {
        let maps = kubectl.run(&["get", "configmaps", "-A", "-l", "gosync.dev/mirror", "-o", "json"]).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let maps = maps["items"].as_array().unwrap().iter().map(|map| &map["metadata"]);
        let there: BTreeSet<String> =
            maps.map(|metadata| format!("{}/{}", text(&metadata["namespace"]), text(&metadata["name"]))).collect();
        let missing: Vec<&String> = config_maps.difference(&there).collect();
        wait::hold(missing.is_empty(), format!("{missing:?}"))
    })
    .await;
    wait::until("pods of every namespace with a selecting mirror are asked about", async || {
        let configuration = kubectl.get("default", &["mutatingwebhookconfiguration", &name()]);
        let asked = configuration["webhooks"][1]["namespaceSelector"].to_string();
        let missing: Vec<&String> = selecting.iter().filter(|name| !asked.contains(&format!("\"{name}\""))).collect();
        wait::hold(missing.is_empty(), format!("{missing:?}"))
    })
    .await;
    wait::until("every namespace has its service account", async || {
        let accounts = kubectl.run(&["get", "serviceaccounts", "-A", "-o", "jsonpath={.items[*].metadata.namespace}"]);
        let accounts = accounts.accepted().out;
        let there: BTreeSet<&str> = accounts.split_whitespace().collect();
        let missing: Vec<&String> = namespaces.iter().filter(|name| !there.contains(name.as_str())).collect();
        wait::hold(missing.is_empty(), format!("{missing:?}"))
    })
    .await;
    injected_at_all(kubectl, ns).await;
}

/// Waits until a plain pod of that namespace gets an agent.
pub async fn injected_at_all(kubectl: &Kubectl, namespace: &str) {
    wait::until("pods get agents", async || {
        let told =
            kubectl.dry_run(&pod(json!({ "name": "canary", "namespace": namespace, "labels": { "app": "trainer" } })));
        wait::hold(told.out.contains("\"gosync-agent\""), format!("{told:?}"))
    })
    .await;
}

/// What differs between the decision and what the API server made of a pod, in words.
fn wrong(kubectl: &Kubectl, case: &Case) -> Option<String> {
    let mut pod = case.pod.clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["namespace"] = json!(namespace(case, called(&case.pod)));
    if pod["metadata"]["name"].is_null() && pod["metadata"]["generateName"].is_null() {
        pod["metadata"]["generateName"] = json!("nameless-");
    }
    fill_in(&mut pod);
    let mut settings = case.settings.clone();
    settings.image = IMAGE.to_owned();
    let mut mirrors = case.mirrors.clone();
    mirrors.iter_mut().for_each(|mirror| mirror.metadata.namespace = Some(namespace(case, "ml")));
    let outcome = inject(&pod, &mirrors, &settings);
    let mut decided = pod.clone();
    json_patch::patch(&mut decided, &outcome.patch()).unwrap();

    // A pod that comes with its agent is only defaulted.
    let expected = create(kubectl, &decided, true);
    let guarded = expected.err.contains("this pod asks for a GoSync agent");
    if let Some((_, words)) = IMPOSSIBLE.iter().find(|(name, _)| *name == case.name) {
        return (expected.ok || !expected.err.contains(words)).then(|| format!("{expected:?}"));
    }
    if !expected.ok && !guarded {
        return Some(format!("the API server refuses it: {}", expected.err));
    }
    for dry_run in [true, false] {
        let told = create(kubectl, &pod, dry_run);
        let how = if dry_run { "in a dry run" } else { "stored" };
        if told.ok != expected.ok {
            return Some(format!("{how}: {}\nexpected: {}", told.err, expected.err));
        }
        if !told.ok && !expected.err.lines().all(|line| line.starts_with("Warning") || told.err.contains(line)) {
            return Some(format!("{how} it is refused with: {}\nexpected: {}", told.err, expected.err));
        }
        if told.ok {
            if agent_has_token(&told.json()) && case.result == "injected" {
                return Some(format!("{how} the agent has the token of the application's service account"));
            }
            let (found, expected) = (comparable(told.json()), comparable(expected.json()));
            let agent = found["spec"]["initContainers"].to_string().contains("/etc/gosync/mirrors");
            if agent != ["injected", "moved", "AlreadyInjected"].contains(&case.result) {
                return Some(format!("{how} it has an agent: {agent}, and is said to be {}", case.result));
            }
            if found != expected {
                return Some(format!("{how}:\n{found:#}\nexpected:\n{expected:#}"));
            }
        }
        for message in outcome.messages() {
            let begin: String = message.chars().take(200).collect();
            if !told.err.contains(&begin) {
                return Some(format!("{how}: no warning \"{begin}\" in: {}", told.err));
            }
        }
    }
    None
}

#[tokio::test]
async fn the_api_server_makes_of_every_shape_of_pod_what_the_decision_says_in_dry_runs_too() {
    let installation = Installation::shared().await;
    let kubectl = installation.kubectl();
    let cases = all();
    prepare(kubectl, &cases).await;
    let wrong: Vec<String> =
        cases.iter().filter_map(|case| Some(format!("=== {}: {}", case.name, wrong(kubectl, case)?))).collect();
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_proxy_that_comes_in_after_the_agent_is_before_it_when_the_pod_is_made() {
    let installation = Installation::start().await;
    let kubectl = installation.kubectl();
    let ns = &kubectl.namespace("ml").await;
    kubectl.create(&mirror(ns, "models", &json!({ "selector": {} }))).accepted();
    injected_at_all(kubectl, ns).await;
    let mesh = Mesh::start(ns, installation.cluster.address()).await;
    kubectl.apply(&mesh.configuration).accepted();
    let made = wait::until("the mesh is asked too", async || {
        let told = kubectl.dry_run(&pod(json!({ "name": "t", "namespace": ns })));
        if told.out.contains("istio-proxy") { Ok(told.json()) } else { Err(told.err) }
    })
    .await;
    let containers = made["spec"]["initContainers"].as_array().unwrap();
    let names: Vec<&str> = containers.iter().map(|container| container["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["istio-proxy", "gosync-agent"]);
    let moved = installation.operator.count("gosync_injection_requests_total", "moved").await;
    assert!(moved > 0.0, "the second question of the same pod moved it");
}

#[tokio::test]
async fn no_pod_is_asked_about_where_no_mirror_is() {
    let installation = Installation::start().await;
    let kubectl = installation.kubectl();
    let ns = &kubectl.namespace("without").await;
    for name in ["plain", "labelled"] {
        let told = kubectl.create(&pod(json!({ "name": name, "namespace": ns, "labels": { "app": "trainer" } })));
        assert_eq!(told.accepted().err, "");
    }
    let asked = installation.operator.count("gosync_injection_requests_total", "").await;
    assert!(asked == 0.0, "the webhook was asked {asked} times");
}
