//! What the operator may do and what it may not, asked by itself.

use gosync_tests::cluster::control_plane::ControlPlane;
use gosync_tests::cluster::host::own;
use gosync_tests::cluster::operator::{install, name, namespace};

/// A namespace that holds nothing of the operator's.
const OTHER: &str = "default";
/// The operator's own, by the name that the files of the repository have for it.
const SYSTEM: &str = "gosync-system";

/// Verbs, what they are done to, and where: what the operator does.
const MAY: &[(&str, &str, &str)] = &[
    ("get list watch", "syncmirrors.gosync.dev", OTHER),
    ("patch", "syncmirrors.gosync.dev/status", OTHER),
    ("create patch", "configmaps", OTHER),
    ("get list watch", "pods", OTHER),
    ("get list watch", "namespaces", ""),
    ("get list watch", "replicasets.apps", OTHER),
    ("get list watch", "deployments.apps", OTHER),
    ("get list watch", "statefulsets.apps", OTHER),
    ("get list watch", "daemonsets.apps", OTHER),
    ("get list watch", "jobs.batch", OTHER),
    ("create patch", "events.events.k8s.io", OTHER),
    ("get list watch patch", "mutatingwebhookconfigurations.admissionregistration.k8s.io/gosync-operator", ""),
    ("get create patch", "leases.coordination.k8s.io", SYSTEM),
    ("create", "secrets", SYSTEM),
    ("get list watch update", "secrets/gosync-operator-certificate", SYSTEM),
    ("patch", "replicasets.apps", OTHER),
    ("patch", "deployments.apps", OTHER),
    ("create", "pods", OTHER),
];

/// What it has no business with: users' Secrets and ConfigMaps, running things in pods, ending anything, rights.
const MAY_NOT: &[(&str, &str, &str)] = &[
    ("get list watch create patch update delete", "secrets", OTHER),
    ("get list watch delete", "secrets", "kube-system"),
    ("list patch delete", "secrets", SYSTEM),
    ("get", "secrets/another", SYSTEM),
    ("get list watch delete", "configmaps", OTHER),
    ("update patch delete", "pods", OTHER),
    ("create", "pods/exec", OTHER),
    ("create get", "pods/attach", OTHER),
    ("create", "pods/portforward", OTHER),
    ("get", "pods/log", OTHER),
    ("patch create", "pods/ephemeralcontainers", OTHER),
    ("create", "pods/eviction", OTHER),
    ("create update patch delete", "syncmirrors.gosync.dev", OTHER),
    ("create update delete", "deployments.apps", OTHER),
    ("delete create", "jobs.batch", OTHER),
    ("create update patch delete", "namespaces", ""),
    ("get list patch", "nodes", ""),
    ("get create patch", "leases.coordination.k8s.io", OTHER),
    ("patch get", "mutatingwebhookconfigurations.admissionregistration.k8s.io/another", ""),
    ("create delete", "mutatingwebhookconfigurations.admissionregistration.k8s.io", ""),
    ("get patch delete", "validatingwebhookconfigurations.admissionregistration.k8s.io", ""),
    ("get patch delete", "validatingadmissionpolicybindings.admissionregistration.k8s.io", ""),
    ("create patch bind escalate", "clusterroles.rbac.authorization.k8s.io", ""),
    ("create patch", "rolebindings.rbac.authorization.k8s.io", SYSTEM),
    ("create", "serviceaccounts/token", OTHER),
    ("impersonate", "users", ""),
    ("get", "persistentvolumeclaims", OTHER),
    ("get", "customresourcedefinitions.apiextensions.k8s.io", ""),
];

#[tokio::test]
async fn the_operator_may_do_what_it_does_and_not_what_it_has_no_business_with() {
    let cluster = ControlPlane::start().await;
    install(cluster.kubectl()).await;
    let account = cluster.as_account(&namespace(), &name());
    let mut wrong = Vec::new();
    for (answer, questions) in [("yes", MAY), ("no", MAY_NOT)] {
        for (verbs, resource, namespace) in questions {
            let (resource, namespace) = (own(resource), own(namespace));
            // What is a part of all objects of a kind, and what is one of them.
            let subresources =
                ["status", "exec", "attach", "portforward", "log", "ephemeralcontainers", "eviction", "token"];
            let (resource, subresource) = match resource.split_once('/') {
                Some((resource, part)) if subresources.contains(&part) => (resource, format!("--subresource={part}")),
                _ => (resource.as_str(), String::new()),
            };
            for verb in verbs.split(' ') {
                let mut arguments = vec!["auth", "can-i", verb, resource];
                if !subresource.is_empty() {
                    arguments.push(&subresource);
                }
                if !namespace.is_empty() {
                    arguments.extend(["-n", &namespace]);
                }
                let told = account.run(&arguments);
                // What the API server never heard of, nobody may.
                if told.out.trim() != answer || told.err.contains("doesn't have a resource type") {
                    wrong.push(format!("{}: {} {}", arguments[2..].join(" "), told.out.trim(), told.err.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "answered otherwise than stated:\n{}", wrong.join("\n"));
}
