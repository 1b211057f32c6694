//! A SyncMirror from its first apply to its end, with a running operator, pods that are objects alone and agents that only
//! answer.

use gosync_tests::cluster::control_plane::pod;
use gosync_tests::cluster::kubectl::Kubectl;
use gosync_tests::cluster::operator::Installation;
use gosync_tests::cluster::stub::{Stub, state};
use gosync_tests::wait;
use serde_json::{Value, json};

use crate::definition::mirror;
use crate::injection::injected_at_all;

/// A mirror that selects `app: trainer` and whose agents listen on that port.
pub fn selecting(namespace: &str, name: &str, port: u16) -> Value {
    mirror(
        namespace,
        name,
        &json!({ "selector": { "matchLabels": { "app": "trainer" } }, "agent": { "metricsPort": port } }),
    )
}

pub fn trainer(namespace: &str, name: &str) -> Value {
    pod(json!({ "name": name, "namespace": namespace, "labels": { "app": "trainer" } }))
}

/// What a kubelet tells of a pod whose agent runs at that address.
pub fn runs(kubectl: &Kubectl, namespace: &str, name: &str, ip: &str) {
    let status = json!({ "status": {
        "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }],
        "initContainerStatuses": [{
            "name": "gosync-agent", "image": "x", "imageID": "", "ready": true, "started": true, "restartCount": 0,
            "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
        }],
    } });
    let status = status.to_string();
    kubectl
        .run(&["patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", &status])
        .accepted();
}

/// What a kubelet tells of a pod at its end, with what its agent left; a moment later it deletes the pod.
fn ends(kubectl: &Kubectl, namespace: &str, name: &str, receipt: &Value) {
    let message = json!({ "receipts": [receipt] }).to_string();
    let status = json!({ "status": { "phase": "Failed", "initContainerStatuses": [{
        "name": "gosync-agent", "image": "x", "imageID": "", "ready": false, "started": false, "restartCount": 0,
        "state": { "terminated": { "exitCode": 1, "finishedAt": jiff::Timestamp::now().to_string(), "message": message } },
    }] } });
    let status = status.to_string();
    kubectl
        .run(&["patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", &status])
        .accepted();
    kubectl.run(&["delete", "pod", name, "-n", namespace, "--grace-period=0", "--force"]).accepted();
}

/// Status and reason of a condition, such as `True KeptInStep`.
pub fn condition(mirror: &Value, type_: &str) -> String {
    let conditions = mirror["status"]["conditions"].as_array().into_iter().flatten();
    let mut found = conditions.filter(|condition| condition["type"] == type_);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    found.next().map(|found| format!("{} {}", text(&found["status"]), text(&found["reason"]))).unwrap_or_default()
}

/// Waits until a condition is told so.
pub async fn told(kubectl: &Kubectl, namespace: &str, name: &str, type_: &str, wanted: &str) -> Value {
    wait::until(&format!("{namespace}/{name}: {type_} is {wanted}"), async || {
        let mirror = kubectl.get(namespace, &["smir", name]);
        if condition(&mirror, type_) == wanted { Ok(mirror) } else { Err(format!("{:#}", mirror["status"])) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_told_of_from_its_first_apply_to_its_last_pod() {
    let installation = Installation::shared().await;
    let kubectl = installation.kubectl();
    let ns = &kubectl.namespace("story").await;
    let agent = Stub::start(
        2,
        state("models", json!({ "hydrated": false, "phase": "hydrating", "pending": { "files": 9, "bytes": 900 } })),
    )
    .await;
    kubectl.apply(&selecting(ns, "models", agent.port())).accepted();
    let first = told(kubectl, ns, "models", "Ready", "True NoPods").await;
    assert_eq!(first["status"]["observedGeneration"], 1);
    let map = kubectl.get(ns, &["configmap", "gosync-mirror-models"]);
    assert_eq!(map["metadata"]["ownerReferences"][0]["kind"], "SyncMirror");
    let texts = map["data"].clone();
    assert!(texts["mirror.yaml"].as_str().unwrap().contains("acme-ml"), "{texts}");

    injected_at_all(kubectl, ns).await;
    kubectl.create(&trainer(ns, "t-0")).accepted();
    let mirror = told(kubectl, ns, "models", "Ready", "False Starting").await;
    assert_eq!(condition(&mirror, "InjectionComplete"), "True AllInjected");
    assert_eq!(condition(&mirror, "Reconciling"), "True Starting");
    runs(kubectl, ns, "t-0", &agent.ip());
    let mirror = told(kubectl, ns, "models", "Ready", "False Hydrating").await;
    assert_eq!(mirror["status"]["pods"]["hydrated"], 0);
    agent.tell(state("models", json!({})));
    let mirror = told(kubectl, ns, "models", "Ready", "True KeptInStep").await;
    assert_eq!(mirror["status"]["summary"], "1/1 in sync");
    assert_eq!(mirror["status"]["files"], 12);
    for condition in ["Ready", "Synced", "InjectionComplete"] {
        let wait = format!("--for=condition={condition}");
        kubectl.run(&["wait", &wait, "smir/models", "-n", ns, "--timeout=5s"]).accepted();
    }

    // An edit reaches what agents read, and the status says that it was seen.
    let edit = json!({ "spec": { "ignorePatterns": ["*.part"], "syncRequest": "now-1" } }).to_string();
    kubectl.run(&["patch", "smir", "models", "-n", ns, "--type=merge", "-p", &edit]).accepted();
    wait::until("the edit is in the ConfigMap and observed", async || {
        let map = kubectl.get(ns, &["configmap", "gosync-mirror-models"]);
        let mirror = kubectl.get(ns, &["smir", "models"]);
        let edited = map["data"].to_string().contains("*.part") && mirror["status"]["observedGeneration"] == 2;
        wait::hold(edited, format!("{map:#} {mirror:#}"))
    })
    .await;
    agent.tell(state("models", json!({ "request": "now-1", "conflicts": 2 })));
    let mirror = told(kubectl, ns, "models", "ConflictsPresent", "True ConflictsUnresolved").await;
    assert_eq!(mirror["status"]["conflicts"], 2);
    assert_eq!(mirror["status"]["lastSyncRequest"], "now-1");
    wait::until("an Event tells of the conflicts", async || {
        let events = kubectl.get(ns, &["events.events.k8s.io"]).to_string();
        wait::hold(events.contains("ConflictsUnresolved"), events)
    })
    .await;

    kubectl.run(&["delete", "smir", "models", "-n", ns, "--timeout=30s"]).accepted();
    wait::until("the ConfigMap goes with its mirror", async || {
        let map = kubectl.get(ns, &["configmap", "gosync-mirror-models"]);
        wait::hold(map.is_null(), map)
    })
    .await;
    assert!(!kubectl.get(ns, &["pod", "t-0"]).is_null(), "the pod stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_fails_or_is_silent_is_named_and_silence_is_never_taken_for_trouble() {
    let installation = Installation::shared().await;
    let kubectl = installation.kubectl();
    let ns = &kubectl.namespace("failing").await;
    let agent = Stub::start(3, state("models", json!({ "errors": [{ "class": "credentials" }] }))).await;
    kubectl.apply(&selecting(ns, "models", agent.port())).accepted();
    injected_at_all(kubectl, ns).await;
    kubectl.create(&trainer(ns, "t-0")).accepted();
    runs(kubectl, ns, "t-0", &agent.ip());
    wait::until("the status names the pod", async || {
        let mirror = kubectl.get(ns, &["smir", "models"]);
        let ready = condition(&mirror, "Ready");
        wait::hold(
            ready.starts_with("False Credentials") && mirror["status"]["worstPods"].to_string().contains("t-0"),
            mirror,
        )
    })
    .await;
    agent.tell(state("models", json!({ "status": "halted", "halts": ["first_merge"] })));
    let mirror = told(kubectl, ns, "models", "Ready", "False FirstMergeHalted").await;
    assert_eq!(condition(&mirror, "Stalled"), "True FirstMergeHalted");
    assert!(mirror["status"].to_string().contains("-c gosync-agent -- gosync sync state"));
    // Nobody listens at that address.
    runs(kubectl, ns, "t-0", "127.0.0.99");
    let mirror = told(kubectl, ns, "models", "Ready", "Unknown StatusUnreachable").await;
    assert_eq!(condition(&mirror, "Synced"), "Unknown StatusUnreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_from_before_its_mirror_is_told_of_with_the_command_that_helps() {
    let installation = Installation::shared().await;
    let kubectl = installation.kubectl();
    let ns = &kubectl.namespace("before").await;
    let template = trainer(ns, "x");
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": ns },
        "spec": {
            "selector": { "matchLabels": { "app": "trainer" } },
            "template": { "metadata": { "labels": template["metadata"]["labels"] }, "spec": template["spec"] },
        },
    });
    kubectl.apply(&deployment).accepted();
    kubectl.create(&trainer(ns, "bare")).accepted();
    let pods = async |wanted: usize| {
        wait::until("the pods are there", async || {
            let pods = kubectl.get(ns, &["pods"]);
            wait::hold(pods["items"].as_array().is_some_and(|pods| pods.len() == wanted), pods)
        })
        .await;
    };
    pods(2).await;
    kubectl.apply(&selecting(ns, "models", 9754)).accepted();
    let mirror = told(kubectl, ns, "models", "InjectionComplete", "False PodsMissingAgent").await;
    let text = mirror["status"].to_string();
    assert!(text.contains(&format!("kubectl -n {ns} rollout restart deployment/web")), "{text}");
    assert_eq!(mirror["status"]["pods"]["missing"], 2);
    kubectl.run(&["delete", "pod", "bare", "-n", ns, "--grace-period=0", "--force"]).accepted();
    // A rollout that is under way would be waited for.
    let pods = kubectl.get(ns, &["pods"]);
    let ready =
        json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } }).to_string();
    for pod in pods["items"].as_array().unwrap() {
        let name = pod["metadata"]["name"].as_str().unwrap();
        kubectl.run(&["patch", "pod", name, "-n", ns, "--subresource=status", "-p", &ready]).accepted();
    }

    // Told to, the operator does it itself: the Deployment gets a new ReplicaSet, whose pods have agents.
    injected_at_all(kubectl, ns).await;
    let edit = json!({ "spec": { "rollout": { "onMissing": "Restart" } } }).to_string();
    kubectl.run(&["patch", "smir", "models", "-n", ns, "--type=merge", "-p", &edit]).accepted();
    wait::until("a pod of the Deployment has an agent", async || {
        let pods = kubectl.get(ns, &["pods", "-l", "gosync.dev/injected=true"]);
        wait::hold(pods["items"].as_array().is_some_and(|pods| !pods.is_empty()), kubectl.get(ns, &["smir", "models"]))
    })
    .await;
    assert_eq!(kubectl.get(ns, &["deployment", "web"])["metadata"]["generation"], 2, "restarted once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pod_could_not_send_before_its_end_is_told_when_the_pod_is_gone() {
    let installation = Installation::shared().await;
    let kubectl = installation.kubectl();
    let ns = &kubectl.namespace("ending").await;
    let agent = Stub::start(6, state("models", json!({}))).await;
    kubectl.apply(&selecting(ns, "models", agent.port())).accepted();
    injected_at_all(kubectl, ns).await;
    kubectl.create(&trainer(ns, "t-0")).accepted();
    let mut with_claim = trainer(ns, "t-1");
    with_claim["spec"]["volumes"] = json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }]);
    kubectl.create(&with_claim).accepted();
    for name in ["t-0", "t-1"] {
        runs(kubectl, ns, name, &agent.ip());
    }
    let mirror = told(kubectl, ns, "models", "Ready", "True KeptInStep").await;
    assert_eq!(condition(&mirror, "DataAtRisk"), "False NothingLost");

    let receipt = json!({
        "mirror": "models", "flushed": false, "hydrated": true, "reason": "no answer in time", "finished": jiff::Timestamp::now().to_string(),
        "pending": { "files": 3, "bytes": 300, "first": ["epoch-7/model.bin"] },
    });
    for name in ["t-1", "t-0"] {
        ends(kubectl, ns, name, &receipt);
    }
    let mirror = told(kubectl, ns, "models", "DataAtRisk", "True FilesNotSent").await;
    let text = mirror["status"]["conditions"].to_string();
    assert!(text.contains("pod t-0 ended with 3 files of 300 bytes unsent (no answer in time)"), "{text}");
    assert!(!text.contains("t-1"), "its files are on the claim: {text}");
    wait::until("an Event of each names the pod", async || {
        let events = kubectl.get(ns, &["events.events.k8s.io"]);
        let events = events["items"].as_array().unwrap().iter();
        let mut told: Vec<String> = events
            .filter(|event| event["note"].to_string().contains("epoch-7/model.bin"))
            .map(|event| format!("{} {}", event["reason"], event["related"]["name"]))
            .collect();
        told.sort();
        let wanted = [r#""DataAtRisk" "t-0""#, r#""UnsentDataKept" "t-1""#];
        wait::hold(told == wanted, format!("{told:?}"))
    })
    .await;
    assert!(installation.operator.count("gosync_data_at_risk_files_total", "").await >= 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_mirrors_of_one_volume_or_prefix_are_refused_by_a_condition_of_both() {
    let installation = Installation::shared().await;
    let kubectl = installation.kubectl();
    let ns = &kubectl.namespace("overlapping").await;
    let agent = Stub::start(7, state("models", json!({}))).await;
    kubectl.apply(&selecting(ns, "models", agent.port())).accepted();
    injected_at_all(kubectl, ns).await;
    kubectl.create(&trainer(ns, "t-0")).accepted();
    runs(kubectl, ns, "t-0", &agent.ip());
    told(kubectl, ns, "models", "InjectionComplete", "True AllInjected").await;

    let apply = |name: &str, over: Value| {
        let mut mirror = selecting(ns, name, agent.port());
        mirror["spec"].as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
        kubectl.apply(&mirror).accepted();
    };
    apply("other", json!({}));
    in_each_others_way(kubectl, ns, "SameVolume", "SyncMirrors models and other keep the same files of volume data")
        .await;
    // Another folder, and still the same prefix of the bucket.
    apply("models", json!({ "volume": { "name": "data", "subPath": "one" } }));
    apply("other", json!({ "volume": { "name": "data", "subPath": "another" } }));
    in_each_others_way(kubectl, ns, "SamePrefix", "SyncMirrors models and other both keep s3://acme-ml/").await;
    apply("other", json!({ "volume": { "name": "data", "subPath": "another" }, "direction": "Pull" }));
    told(kubectl, ns, "models", "InjectionComplete", "True AllInjected").await;
    told(kubectl, ns, "other", "InjectionComplete", "False PodsMissingAgent").await;
}

/// Both are told, what runs goes on, and a new pod gets no agent.
async fn in_each_others_way(kubectl: &Kubectl, ns: &str, reason: &str, words: &str) {
    let refused = format!("False {reason}");
    let newcomer = told(kubectl, ns, "other", "Ready", &refused).await;
    assert_eq!(condition(&newcomer, "Stalled"), format!("True {reason}"));
    let first = told(kubectl, ns, "models", "InjectionComplete", &refused).await;
    assert_eq!(condition(&first, "Ready"), "True KeptInStep");
    for mirror in [newcomer, first] {
        assert!(mirror["status"]["conditions"].to_string().contains(words), "{mirror:#}");
    }
    let told = kubectl.dry_run(&trainer(ns, "t-1")).accepted();
    assert!(told.err.contains(words) && !told.out.contains("\"gosync-agent\""), "{}", told.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_older_and_newer_than_the_operator_are_understood_and_told() {
    let installation = Installation::shared().await;
    let kubectl = installation.kubectl();
    let ns = &kubectl.namespace("releases").await;
    // As little as one ever told, and as much as nobody tells yet.
    let old = json!({ "version": "0.0.1", "mirrors": [{ "name": "models", "hydrated": true, "files": 3 }] });
    let new = json!({
        "version": "0.9.0", "moon": { "phase": "full" }, "mirrors": [
            { "name": "models", "status": "active", "phase": "dreaming", "hydrated": true, "files": 7, "weather": ["rain"],
              "halts": [], "errors": [], "pending": { "files": 0, "bytes": 0, "folders": 1 } },
            { "name": "not-known-here", "status": "floating" },
        ],
    });
    let other = json!({ "version": "9.0.0", "mirrors": { "models": { "hydrated": true } } });
    let agent = Stub::start(8, old).await;
    kubectl.apply(&selecting(ns, "models", agent.port())).accepted();
    injected_at_all(kubectl, ns).await;
    kubectl.create(&trainer(ns, "t-0")).accepted();
    runs(kubectl, ns, "t-0", &agent.ip());
    let mirror = told(kubectl, ns, "models", "Ready", "True KeptInStep").await;
    assert_eq!(condition(&mirror, "AgentsUpToDate"), "False AgentsOutdated");
    assert_eq!((&mirror["status"]["files"], &mirror["status"]["pods"]["outdated"]), (&json!(3), &json!(1)));
    agent.tell(new);
    let mirror = told(kubectl, ns, "models", "AgentsUpToDate", "False VersionSkew").await;
    assert_eq!(condition(&mirror, "Ready"), "True KeptInStep");
    assert_eq!(mirror["status"]["files"], 7);
    // What can't be read says nothing of the mirror.
    agent.tell(other);
    let mirror = told(kubectl, ns, "models", "Ready", "Unknown StatusUnreachable").await;
    assert!(mirror["status"].to_string().contains("its answer can't be read"), "{mirror:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_change_is_not_written_again() {
    let installation = Installation::shared().await;
    let kubectl = installation.kubectl();
    let ns = &kubectl.namespace("quiet").await;
    let agent = Stub::start(4, state("models", json!({}))).await;
    kubectl.apply(&selecting(ns, "models", agent.port())).accepted();
    injected_at_all(kubectl, ns).await;
    kubectl.create(&trainer(ns, "t-0")).accepted();
    runs(kubectl, ns, "t-0", &agent.ip());
    told(kubectl, ns, "models", "Ready", "True KeptInStep").await;
    let versions = || {
        let version = |what: [&str; 2]| kubectl.get(ns, &what)["metadata"]["resourceVersion"].clone();
        [version(["smir", "models"]), version(["configmap", "gosync-mirror-models"])]
    };
    let (before, asked) = (versions(), agent.asked());
    wait::until("the agent is asked twice more", async || wait::hold(agent.asked() >= asked + 3, agent.asked())).await;
    assert_eq!(versions(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_with_its_mirrors_and_one_of_that_name_can_come_back() {
    let installation = Installation::shared().await;
    let kubectl = installation.kubectl();
    for _ in 0..2 {
        let ns = &kubectl.namespace("passing").await;
        kubectl.apply(&selecting(ns, "models", 9754)).accepted();
        injected_at_all(kubectl, ns).await;
        told(kubectl, ns, "models", "Ready", "True NoPods").await;
        kubectl.run(&["delete", "namespace", ns, "--timeout=60s"]).accepted();
    }
}
