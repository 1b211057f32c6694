//! The guard while no operator is there: what it refuses and with which words, what it never touches, and how it is removed.

use gosync_tests::cluster::control_plane::{ControlPlane, pod};
use gosync_tests::cluster::host::own;
use gosync_tests::wait;
use serde_json::{Value, json};

use crate::definition::mirror;

/// A pod that asks for the agent of the mirror `models`.
fn asking(namespace: &str) -> Value {
    pod(json!({
        "name": "asks", "namespace": namespace,
        "labels": { "gosync.dev/inject": "true" }, "annotations": { "gosync.dev/mirrors": "models" },
    }))
}

/// A mirror that selects `app: trainer`.
fn selecting(namespace: &str, guard: &str) -> Value {
    mirror(namespace, "models", &json!({ "selector": { "matchLabels": { "app": "trainer" } }, "guard": guard }))
}

fn trainer(namespace: &str, name: &str) -> Value {
    pod(json!({ "name": name, "namespace": namespace, "labels": { "app": "trainer" } }))
}

#[tokio::test]
async fn a_pod_that_asks_and_has_no_agent_is_refused_while_the_operator_is_away() {
    let cluster = ControlPlane::shared().await;
    let kubectl = cluster.kubectl();
    let ns = &kubectl.namespace("asking").await;
    for told in [kubectl.create(&asking(ns)), kubectl.dry_run(&asking(ns))] {
        told.refused("this pod asks for a GoSync agent (gosync.dev/inject) and has none");
        told.refused("the GoSync operator did not answer; the pod is accepted once it does");
        told.refused(&own("kubectl delete validatingadmissionpolicybinding gosync-guard"));
    }
    let mut impostor = asking(ns);
    impostor["spec"]["initContainers"] = json!([{ "name": "gosync-agent", "image": "x" }]);
    kubectl.create(&impostor).refused("and has none");
    let mut told_why = asking(ns);
    told_why["metadata"]["annotations"]["gosync.dev/not-injected"] = json!("apply SyncMirror models first");
    kubectl.create(&told_why).refused("apply SyncMirror models first");
}

#[tokio::test]
async fn the_owner_of_a_refused_pod_tells_why() {
    let cluster = ControlPlane::shared().await;
    let kubectl = cluster.kubectl();
    let ns = &kubectl.namespace("owners").await;
    let template = asking(ns);
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": ns },
        "spec": {
            "selector": { "matchLabels": { "gosync.dev/inject": "true" } },
            "template": {
                "metadata": { "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"] },
                "spec": template["spec"],
            },
        },
    });
    kubectl.apply(&deployment).accepted();
    wait::until("the Deployment says that its pods are refused, and why", async || {
        let deployment = kubectl.get(ns, &["deployment", "web"]);
        let told = deployment["status"]["conditions"].to_string();
        wait::hold(told.contains("ReplicaFailure") && told.contains("this pod asks for a GoSync agent"), told)
    })
    .await;
}

#[tokio::test]
async fn nobody_who_did_not_ask_is_in_its_way() {
    let cluster = ControlPlane::shared().await;
    let kubectl = cluster.kubectl();
    let ns = &kubectl.namespace("others").await;
    let metadata = [
        json!({ "name": "plain", "namespace": ns }),
        json!({ "name": "labelled", "namespace": ns, "labels": { "app": "web" } }),
        json!({ "name": "opted-out", "namespace": ns, "labels": { "gosync.dev/inject": "false" } }),
        json!({ "name": "noted", "namespace": ns, "annotations": { "gosync.dev/mirrors": "models" } }),
        json!({
            "name": "may-start-without", "namespace": ns,
            "labels": { "gosync.dev/inject": "true" }, "annotations": { "gosync.dev/guard": "Off" },
        }),
    ];
    for metadata in metadata {
        let told = kubectl.create(&pod(metadata)).accepted();
        assert_eq!(told.err, "", "not even a warning");
    }
    let of_the_system = json!({ "name": "x", "namespace": "kube-system", "labels": { "gosync.dev/inject": "true" } });
    assert_eq!(kubectl.dry_run(&pod(of_the_system)).accepted().err, "");
    // What runs stays alone: labels that come later, status, the end.
    kubectl.run(&["label", "pod", "plain", "-n", ns, "gosync.dev/inject=true"]).accepted();
    kubectl.run(&["annotate", "pod", "plain", "-n", ns, "a=b"]).accepted();
    kubectl.run(&["delete", "pod", "plain", "-n", ns, "--grace-period=0", "--force"]).accepted();
}

#[tokio::test]
async fn a_selected_pod_without_an_agent_starts_with_a_warning_unless_the_mirror_says_otherwise() {
    let cluster = ControlPlane::shared().await;
    let kubectl = cluster.kubectl();
    let warning = "SyncMirror models selects this pod, which has no GoSync agent";
    for (namespace, guard) in [("selected", ""), ("warned", "Warn"), ("off", "Off"), ("denied", "Deny")] {
        let namespace = &kubectl.namespace(namespace).await;
        kubectl.apply(&selecting(namespace, guard)).accepted();
        // The policies see mirrors by a watch of the API server's.
        wait::until("the guard knows the mirror", async || {
            let told = kubectl.dry_run(&trainer(namespace, "t"));
            match guard {
                "Off" => Ok(told.accepted()),
                "Deny" if !told.ok => Ok(told),
                "" | "Warn" if told.err.contains(warning) => Ok(told.accepted()),
                _ => Err(format!("{told:?}")),
            }
        })
        .await;
        let told = kubectl.create(&trainer(namespace, "t"));
        match guard {
            "Deny" => {
                told.refused("SyncMirror models lets no pod start without a GoSync agent (spec.guard: Deny)");
                let mut out = trainer(namespace, "out");
                out["metadata"]["labels"]["gosync.dev/inject"] = json!("false");
                kubectl.create(&out).accepted();
            }
            "Off" => assert_eq!(told.accepted().err, ""),
            _ => assert!(
                told.accepted().err.contains(&own("kubectl delete validatingadmissionpolicybinding gosync-guard-warn"))
            ),
        }
        let other = pod(json!({ "name": "other", "namespace": namespace, "labels": { "app": "web" } }));
        assert_eq!(kubectl.create(&other).accepted().err, "");
    }
    let elsewhere = trainer("default", "elsewhere");
    assert_eq!(kubectl.dry_run(&elsewhere).accepted().err, "", "a mirror speaks for its namespace alone");
}

/// The last words of the message.
fn way_out(message: &str) -> Vec<&str> {
    let command = message.split_once("To switch this check off: kubectl ").unwrap().1;
    command.split_whitespace().take(3).collect()
}

#[tokio::test]
async fn each_check_is_gone_by_the_command_that_its_message_names() {
    // Others rely on the guard of theirs.
    let cluster = ControlPlane::start().await;
    let kubectl = cluster.kubectl();
    let ml = &kubectl.namespace("ml").await;
    let warned = &kubectl.namespace("warned").await;
    kubectl.apply(&selecting(ml, "Deny")).accepted();
    kubectl.apply(&selecting(warned, "Warn")).accepted();
    for (pod, check) in [
        (asking("default"), "gosync-guard"),
        (trainer(ml, "t"), "gosync-guard-deny"),
        (trainer(warned, "t"), "gosync-guard-warn"),
    ] {
        let told = wait::until("it speaks of the pod", async || {
            let told = kubectl.dry_run(&pod);
            wait::hold(!told.err.is_empty(), "nothing is said").map(|()| told)
        })
        .await;
        let command = way_out(&told.err);
        assert_eq!(command[2], own(check));
        kubectl.run(&command).accepted();
        wait::until("nothing is said any more", async || {
            let told = kubectl.dry_run(&pod);
            wait::hold(told.ok && told.err.is_empty(), format!("{told:?}"))
        })
        .await;
    }
}
