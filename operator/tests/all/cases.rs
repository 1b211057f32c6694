//! Shapes of pods, each with what becomes of it. What exactly is added stands in `tests/goldens/<name>.yaml`.

use gosync_crds::SyncMirror;
use gosync_operator::inject::Settings;
use serde_json::{Value, json};

use crate::known::{container, mirror, named, other, pod, settings, sidecar};

/// A pod, its mirrors, and what becomes of it in a word: `injected`, `moved`, `not concerned`, or the reason of the skip.
pub struct Case {
    pub name: &'static str,
    pub pod: Value,
    pub mirrors: Vec<SyncMirror>,
    pub settings: Settings,
    pub result: &'static str,
    /// Words that the warnings hold, one each.
    pub warnings: Vec<&'static str>,
}

impl Case {
    fn new(name: &'static str, result: &'static str, pod: Value) -> Self {
        Self { name, pod, mirrors: vec![mirror(json!({}))], settings: settings(), result, warnings: Vec::new() }
    }

    fn mirrors(mut self, mirrors: Vec<SyncMirror>) -> Self {
        self.mirrors = mirrors;
        self
    }

    fn warns(mut self, words: &'static str) -> Self {
        self.warnings.push(words);
        self
    }

    fn restricted(mut self) -> Self {
        self.settings.restricted_namespace = true;
        self
    }
}

/// All of them.
pub fn all() -> Vec<Case> {
    [owners(), volumes(), mounts(), users(), classes(), sidecars(), ends(), mirrors(), places(), survivors()]
        .into_iter()
        .flatten()
        .collect()
}

fn owned(kind: &str, name: &str) -> Value {
    json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "1", "controller": true }])
}

fn owners() -> Vec<Case> {
    let of = |kind: &str| json!({ "metadata": { "ownerReferences": owned(kind, "trainer") } });
    let slow = mirror(json!({ "hydration": { "timeoutSeconds": 900 } }));
    let mut generated = pod(
        json!({ "metadata": { "generateName": "trainer-7d9f-", "ownerReferences": owned("ReplicaSet", "trainer-7d9f") } }),
    );
    generated["metadata"].as_object_mut().unwrap().remove("name");
    let job = |policy: &str| json!({ "metadata": { "ownerReferences": owned("Job", "train") }, "spec": { "restartPolicy": policy } });
    vec![
        Case::new("bare-pod", "injected", pod(json!({}))),
        Case::new("deployment", "injected", generated.clone()),
        Case::new("deployment-slow-hydration", "injected", generated)
            .mirrors(vec![slow])
            .warns("progressDeadlineSeconds"),
        Case::new("statefulset", "injected", pod(of("StatefulSet"))),
        Case::new("daemonset", "injected", pod(of("DaemonSet"))),
        Case::new("job-never", "injected", pod(job("Never"))),
        Case::new("job-on-failure", "injected", pod(job("OnFailure"))),
        Case::new(
            "cronjob",
            "injected",
            pod(json!({
                "metadata": { "generateName": "nightly-29-", "ownerReferences": owned("Job", "nightly-29") },
                "spec": { "restartPolicy": "OnFailure", "activeDeadlineSeconds": 600 },
            })),
        ),
    ]
}

fn volumes() -> Vec<Case> {
    let with = |source: Value| {
        let mut volume = json!({ "name": "data" });
        crate::known::lay_over(&mut volume, &source);
        pod(json!({ "spec": { "volumes": [volume] } }))
    };
    vec![
        Case::new("empty-dir", "injected", with(json!({ "emptyDir": { "sizeLimit": "5Gi" } }))),
        Case::new(
            "memory-limited",
            "injected",
            with(json!({ "emptyDir": { "medium": "Memory", "sizeLimit": "1Gi" } })),
        ),
        Case::new("memory-unlimited", "injected", with(json!({ "emptyDir": { "medium": "Memory" } })))
            .warns("sizeLimit"),
        Case::new("claim", "injected", with(json!({ "persistentVolumeClaim": { "claimName": "data-trainer-0" } }))),
        Case::new(
            "ephemeral",
            "injected",
            with(json!({ "ephemeral": { "volumeClaimTemplate": { "spec": { "accessModes": ["ReadWriteOnce"] } } } })),
        ),
        Case::new("csi", "injected", with(json!({ "csi": { "driver": "disk.example.org" } }))),
        Case::new("host-path", "injected", with(json!({ "hostPath": { "path": "/srv/models" } }))),
        Case::new("projected", "VolumeKind", with(json!({ "projected": { "sources": [] } }))),
        Case::new("config-map", "VolumeKind", with(json!({ "configMap": { "name": "models" } }))),
        Case::new(
            "block",
            "BlockVolume",
            pod(json!({ "spec": {
                "containers": [other("app", json!({ "volumeDevices": [{ "name": "data", "devicePath": "/dev/xvda" }] }))],
                "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "disk" } }],
            } })),
        ),
        Case::new(
            "ephemeral-block",
            "BlockVolume",
            with(json!({ "ephemeral": { "volumeClaimTemplate": { "spec": { "volumeMode": "Block" } } } })),
        ),
        Case::new(
            "claim-read-only",
            "ReadOnlyVolume",
            with(json!({ "persistentVolumeClaim": { "claimName": "shared", "readOnly": true } })),
        ),
        Case::new("no-such-volume", "NoSuchVolume", pod(json!({ "spec": { "volumes": [] } }))),
        Case::new("no-volumes-at-all", "NoSuchVolume", pod(json!({ "spec": { "volumes": null } }))),
    ]
}

fn mounts() -> Vec<Case> {
    let with =
        |mounts: Value| pod(json!({ "spec": { "containers": [container("app", json!({ "volumeMounts": mounts }))] } }));
    let read_only = || with(json!([{ "name": "data", "mountPath": "/data", "readOnly": true }]));
    vec![
        Case::new("sub-path", "injected", with(json!([{ "name": "data", "mountPath": "/data", "subPath": "models" }]))),
        Case::new(
            "sub-path-expr",
            "injected",
            with(json!([{ "name": "data", "mountPath": "/data", "subPathExpr": "$(POD_NAME)" }])),
        ),
        Case::new("mirror-of-a-folder", "injected", pod(json!({})))
            .mirrors(vec![mirror(json!({ "volume": { "subPath": "in/a" } }))]),
        Case::new(
            "several-mounts",
            "injected",
            with(json!([
                { "name": "data", "mountPath": "/a", "subPath": "a", "readOnly": true },
                { "name": "data", "mountPath": "/b", "subPath": "b" },
            ])),
        ),
        Case::new("read-only-mount", "ReadOnlyMount", read_only()),
        Case::new("read-only-mount-push", "ReadOnlyMount", read_only())
            .mirrors(vec![mirror(json!({ "direction": "Push" }))]),
        Case::new("read-only-mount-pull", "injected", read_only())
            .mirrors(vec![mirror(json!({ "direction": "Pull" }))]),
        Case::new("mounted-by-nobody", "injected", with(json!([]))).warns("no container mounts volume data"),
    ]
}

fn users() -> Vec<Case> {
    let of_pod = |context: Value| json!({ "spec": { "securityContext": context } });
    let of_container =
        |context: Value| json!({ "spec": { "containers": [container("app", json!({ "securityContext": context }))] } });
    let two = json!({ "spec": { "containers": [
        container("reader", json!({ "securityContext": { "runAsUser": 1000 }, "volumeMounts": [{ "name": "data", "mountPath": "/d", "readOnly": true }] })),
        container("writer", json!({ "securityContext": { "runAsUser": 2000, "runAsGroup": 3000 } })),
    ] } });
    let strict = json!({ "spec": {
        "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [container("app", json!({ "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } } }))],
    } });
    vec![
        Case::new("no-uid", "injected", pod(json!({}))),
        Case::new("pod-uid", "injected", pod(of_pod(json!({ "runAsUser": 1000, "runAsGroup": 1000 })))),
        Case::new(
            "container-uid",
            "injected",
            pod(of_container(json!({ "runAsUser": 1001, "seLinuxOptions": { "level": "s0:c1,c2" } }))),
        ),
        Case::new("two-uids", "injected", pod(two)).warns("runs as that of writer"),
        Case::new("uid-of-the-mirror", "injected", pod(of_pod(json!({ "runAsUser": 1000 }))))
            .mirrors(vec![mirror(json!({ "agent": { "runAsUser": 5000, "runAsGroup": 6000 } }))]),
        Case::new("fs-group", "injected", pod(of_pod(json!({ "runAsUser": 1000, "fsGroup": 2000 })))),
        Case::new(
            "fs-group-policy",
            "injected",
            pod(of_pod(json!({ "runAsUser": 1000, "fsGroup": 2000, "fsGroupChangePolicy": "Always" }))),
        ),
        Case::new("restricted", "injected", pod(strict)).restricted(),
        Case::new("restricted-no-uid", "injected", pod(of_pod(json!({ "runAsNonRoot": true }))))
            .restricted()
            .warns("no uid is named"),
        Case::new("non-root-no-uid", "injected", pod(of_container(json!({ "runAsNonRoot": true }))))
            .warns("no uid is named"),
    ]
}

fn classes() -> Vec<Case> {
    let with =
        |resources: Value| json!({ "spec": { "containers": [container("app", json!({ "resources": resources }))] } });
    let guaranteed = json!({ "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "1", "memory": "1Gi" } });
    let mut in_memory = pod(with(guaranteed.clone()));
    in_memory["spec"]["volumes"][0] =
        json!({ "name": "data", "emptyDir": { "medium": "Memory", "sizeLimit": "512Mi" } });
    let own = |resources: Value| vec![mirror(json!({ "agent": { "resources": resources } }))];
    vec![
        Case::new("guaranteed", "injected", pod(with(guaranteed.clone()))),
        Case::new(
            "guaranteed-by-limits-alone",
            "injected",
            pod(with(json!({ "limits": { "cpu": "1", "memory": "1Gi" } }))),
        ),
        Case::new("guaranteed-in-memory", "injected", in_memory),
        Case::new("guaranteed-own-requests", "injected", pod(with(guaranteed)))
            .mirrors(own(json!({ "requests": { "cpu": "500m" }, "limits": { "memory": "1Gi" } }))),
        Case::new("burstable", "injected", pod(with(json!({ "requests": { "cpu": "100m" } })))),
        Case::new("best-effort", "injected", pod(with(json!({})))),
        Case::new("own-resources", "injected", pod(json!({}))).mirrors(own(
            json!({ "requests": { "memory": "512Mi", "ephemeral-storage": "1Gi" }, "limits": { "cpu": 2 } }),
        )),
        Case::new(
            "resources-of-the-pod",
            "injected",
            pod(
                json!({ "spec": { "resources": { "requests": { "cpu": "1" }, "limits": { "cpu": "1", "memory": "1Gi" } } } }),
            ),
        ),
    ]
}

fn sidecars() -> Vec<Case> {
    let init = |containers: Value| pod(json!({ "spec": { "initContainers": containers } }));
    let own_agent = || {
        let mut own = other("gosync-agent", json!({}));
        own["args"] = json!(["serve"]);
        own
    };
    let injected = |before: Vec<Value>, after: Vec<Value>| {
        let mut agent = sidecar("gosync-agent");
        agent["args"] = json!(["agent", "--config=/etc/gosync/mirrors"]);
        agent["added-by-another"] = json!({ "kept": true });
        let containers: Vec<Value> = before.into_iter().chain([agent]).chain(after).collect();
        init(json!(containers))
    };
    vec![
        Case::new(
            "istio-native",
            "injected",
            init(json!([other("istio-init", json!({})), sidecar("istio-proxy"), other("migrate", json!({}))])),
        ),
        Case::new(
            "istio-ordinary",
            "injected",
            pod(json!({ "spec": {
                "initContainers": [other("istio-init", json!({})), other("migrate", json!({}))],
                "containers": [container("app", json!({})), other("istio-proxy", json!({}))],
            } })),
        ),
        Case::new(
            "linkerd-native",
            "injected",
            init(json!([other("linkerd-init", json!({})), sidecar("linkerd-proxy")])),
        ),
        Case::new(
            "linkerd-ordinary",
            "injected",
            pod(json!({ "spec": {
                "initContainers": [other("linkerd-init", json!({}))],
                "containers": [other("linkerd-proxy", json!({})), container("app", json!({}))],
            } })),
        ),
        Case::new(
            "vault-native",
            "injected",
            init(json!([other("vault-agent-init", json!({})), sidecar("vault-agent")])),
        ),
        Case::new(
            "vault-before-istio",
            "injected",
            init(json!([sidecar("vault-agent"), sidecar("istio-proxy"), sidecar("otel-collector")])),
        ),
        Case::new(
            "otel-before-linkerd",
            "injected",
            init(json!([sidecar("otel-collector"), sidecar("linkerd-proxy")])),
        ),
        Case::new(
            "otel-ordinary",
            "injected",
            pod(json!({ "spec": { "containers": [other("otel-collector", json!({})), container("app", json!({}))] } })),
        ),
        Case::new(
            "user-init-containers",
            "injected",
            init(json!([container("fetch", json!({})), other("migrate", json!({}))])),
        ),
        Case::new(
            "own-container-of-that-name",
            "NameTaken",
            pod(json!({ "spec": { "containers": [own_agent(), container("app", json!({}))] } })),
        ),
        Case::new("own-init-container-of-that-name", "NameTaken", init(json!([own_agent()]))),
        Case::new(
            "own-volume-of-that-name",
            "NameTaken",
            pod(
                json!({ "spec": { "volumes": [{ "name": "data", "emptyDir": {} }, { "name": "gosync-run", "emptyDir": {} }] } }),
            ),
        ),
        Case::new("already-injected", "AlreadyInjected", injected(vec![], vec![other("migrate", json!({}))])),
        Case::new("already-injected-behind-istio", "AlreadyInjected", injected(vec![sidecar("istio-proxy")], vec![])),
        Case::new(
            "istio-came-in-later",
            "moved",
            injected(vec![], vec![other("istio-init", json!({})), sidecar("istio-proxy"), other("migrate", json!({}))]),
        ),
    ]
}

fn ends() -> Vec<Case> {
    let grace = |seconds: i64| pod(json!({ "spec": { "terminationGracePeriodSeconds": seconds } }));
    let not_longer =
        |seconds: i64| mirror(json!({ "drain": { "timeoutSeconds": seconds, "extendGracePeriod": false } }));
    vec![
        Case::new("grace-0", "injected", grace(0)),
        Case::new("grace-30", "injected", grace(30)),
        Case::new("grace-3600", "injected", grace(3600)),
        Case::new("grace-not-extended", "injected", grace(30)).mirrors(vec![not_longer(20)]),
        Case::new("grace-too-short", "injected", grace(30))
            .mirrors(vec![not_longer(60)])
            .warns("more than the pod's grace period"),
    ]
}

fn mirrors() -> Vec<Case> {
    let long = "m".repeat(63);
    let long_pod = || {
        pod(json!({
            "metadata": { "name": "p".repeat(63) },
            "spec": {
                "containers": [container("app", json!({ "volumeMounts": [{ "name": "v".repeat(63), "mountPath": "/data" }] }))],
                "volumes": [{ "name": "v".repeat(63), "emptyDir": {} }],
            },
        }))
    };
    let opted_in = |names: &str| {
        pod(json!({ "metadata": {
        "labels": { "app": "web", "gosync.dev/inject": "true" },
        "annotations": { "gosync.dev/mirrors": names },
    } }))
    };
    let secrets = |name: &str| {
        json!({
            "s3": {
                "bucket": format!("{name}-bucket"),
                "credentialsSecretRef": { "name": format!("{name}-creds") },
                "caBundle": { "configMapKeyRef": { "name": format!("{name}-ca"), "key": "tls.crt" } },
            },
            "metadata": { "postgres": { "urlSecretRef": { "name": "gosync-db", "key": "url" } } },
            "cache": { "redis": { "urlSecretRef": { "name": "gosync-redis", "key": "url" } } },
            "volume": { "name": name },
            "drain": { "timeoutSeconds": if name == "models" { 60 } else { 90 } },
            "agent": { "logLevel": if name == "models" { "info" } else { "debug" } },
        })
    };
    let two_volumes = || {
        pod(json!({ "spec": {
            "containers": [container("app", json!({ "volumeMounts": [{ "name": "models", "mountPath": "/m" }, { "name": "results", "mountPath": "/r" }] }))],
            "volumes": [{ "name": "models", "emptyDir": {} }, { "name": "results", "persistentVolumeClaim": { "claimName": "r" } }],
        } }))
    };
    let no_selector = |name: &str, spec: Value| {
        let mut mirror = named(name, spec);
        mirror.spec.selector = None;
        mirror
    };
    let folder = |name: &str, folder: &str, prefix: &str| {
        named(name, json!({ "volume": { "subPath": folder }, "s3": { "prefix": prefix } }))
    };
    vec![
        Case::new("names-of-63", "injected", long_pod()).mirrors(vec![named(&long, json!({ "volume": { "name": "v".repeat(63) } }))]),
        Case::new("two-mirrors", "injected", two_volumes())
            .mirrors(vec![named("results", secrets("results")), named("models", secrets("models"))])
            .warns("spec.agent.logLevel differs"),
        Case::new("two-folders-of-one-volume", "injected", pod(json!({}))).mirrors(vec![folder("a", "a", "a/"), folder("b", "b", "b/")]),
        Case::new("two-mirrors-of-one-folder", "SameVolume", pod(json!({}))).mirrors(vec![folder("a", "x", "a/"), folder("b", "x/y", "b/")]),
        Case::new("two-mirrors-of-one-prefix", "SamePrefix", pod(json!({}))).mirrors(vec![folder("a", "a", "m/"), folder("b", "b", "m/sub/")]),
        Case::new("one-pulls-what-the-other-keeps", "injected", pod(json!({})))
            .mirrors(vec![folder("a", "a", "m/"), named("b", json!({ "volume": { "subPath": "b" }, "s3": { "prefix": "m/" }, "direction": "Pull" }))]),
        Case::new("opted-in", "injected", opted_in("models")).mirrors(vec![no_selector("models", json!({}))]),
        Case::new("opted-in-for-two", "injected", opted_in("b, a"))
            .mirrors(vec![folder("a", "a", "a/"), folder("b", "b", "b/"), folder("c", "c", "c/")]),
        // Secrets and ConfigMaps that don't exist yet are optional sources: nothing of this decision depends on them.
        Case::new("mirror-not-there-yet", "MirrorMissing", opted_in("models")).mirrors(vec![]),
        Case::new("one-of-two-not-there-yet", "MirrorMissing", opted_in("models,other")),
        Case::new("mirror-of-another-namespace", "MirrorMissing", {
            let mut pod = opted_in("models");
            pod["metadata"]["namespace"] = json!("web");
            pod
        }),
        Case::new("opted-in-and-may-start-without", "NoSuchVolume", opted_in("models"))
            .mirrors(vec![mirror(json!({ "volume": { "name": "other" }, "guard": "Warn" }))]),
        Case::new("opted-in-without-a-name", "NoMirror", opted_in("")),
        Case::new("opted-out", "OptedOut", pod(json!({ "metadata": { "labels": { "gosync.dev/inject": "false" } } }))),
        Case::new("opted-out-of-nothing", "not concerned", pod(json!({ "metadata": { "labels": { "app": "web", "gosync.dev/inject": "false" } } }))),
        Case::new("not-selected", "not concerned", pod(json!({ "metadata": { "labels": { "app": "web" } } }))),
        Case::new("selected-by-expression", "injected", pod(json!({})))
            .mirrors(vec![mirror(json!({ "selector": { "matchLabels": null, "matchExpressions": [{ "key": "app", "operator": "In", "values": ["trainer"] }] } }))]),
        Case::new("replica-with-its-own-prefix", "injected", pod(json!({}))).mirrors(vec![mirror(json!({ "s3": { "prefix": "r/${POD_NAME}/" } }))]),
        Case::new("suspended", "injected", pod(json!({}))).mirrors(vec![mirror(json!({ "suspend": true }))]),
    ]
}

fn places() -> Vec<Case> {
    let with_port = |port: i64, spec: Value| {
        let mut pod = pod(
            json!({ "spec": { "containers": [container("app", json!({ "ports": [{ "containerPort": port }] }))] } }),
        );
        crate::known::lay_over(&mut pod["spec"], &spec);
        pod
    };
    vec![
        Case::new("port-taken", "injected", with_port(9754, json!({ "initContainers": [{ "name": "s", "restartPolicy": "Always", "ports": [{ "containerPort": 9755 }] }] })))
            .warns("on 9756"),
        Case::new(
            "port-taken-by-udp",
            "injected",
            pod(json!({ "spec": { "containers": [container("app", json!({ "ports": [{ "containerPort": 9754, "protocol": "UDP" }] }))] } })),
        ),
        Case::new("host-network", "injected", with_port(8080, json!({ "hostNetwork": true }))),
        Case::new("host-network-port-taken", "PortTaken", with_port(9754, json!({ "hostNetwork": true }))),
        Case::new("host-users-false", "injected", pod(json!({ "spec": { "hostUsers": false } }))),
        Case::new("static-pod", "MirrorPod", pod(json!({ "metadata": { "annotations": { "kubernetes.io/config.mirror": "hash" } } }))),
        Case::new("windows", "Windows", pod(json!({ "spec": { "nodeSelector": { "kubernetes.io/os": "windows" } } }))),
        Case::new("windows-by-os", "Windows", pod(json!({ "spec": { "os": { "name": "windows" } } }))),
        Case::new("shared-processes", "injected", pod(json!({ "spec": { "shareProcessNamespace": true } }))),
    ]
}

fn survivors() -> Vec<Case> {
    vec![
        Case::new(
            "unknown-fields",
            "injected",
            pod(json!({
                "metadata": { "annotations": {
                    "kubectl.kubernetes.io/default-container": "app",
                    "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "scratch",
                } },
                "futureTop": [1, { "a": null }],
                "spec": {
                    "futureField": { "deep": [true, 1.5, "x/y~z"] },
                    "volumes": [{ "name": "data", "emptyDir": { "futureKind": "fast" } }, { "name": "new", "futureSource": {} }],
                    "containers": [container("app", json!({ "futureProbe": { "grpc2": { "port": 1 } } }))],
                },
            })),
        ),
        Case::new("no-labels", "injected", {
            let mut pod = pod(json!({}));
            pod["metadata"] = json!({});
            pod
        })
        .mirrors(vec![mirror(json!({ "selector": { "matchLabels": null } }))]),
    ]
}
