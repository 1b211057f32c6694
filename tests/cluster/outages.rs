//! Parts that go away and come back: the operator, its leader, the API server, the certificate.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gosync_tests::cluster::certificates;
use gosync_tests::cluster::control_plane::{ControlPlane, pod};
use gosync_tests::cluster::host::{needs_own_api_server, own};
use gosync_tests::cluster::kubectl::Kubectl;
use gosync_tests::cluster::operator::{Installation, Operator, install, name, namespace};
use gosync_tests::cluster::stub::{Stub, state};
use gosync_tests::wait;
use serde_json::{Value, json};

use crate::definition::mirror;
use crate::injection::injected_at_all;
use crate::mirrors::{runs, selecting, told, trainer};

fn leader(kubectl: &Kubectl) -> String {
    kubectl.get(&namespace(), &["lease", &name()])["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

fn asking(namespace: &str) -> Value {
    let labels = json!({ "gosync.dev/inject": "true" });
    let template = pod(json!({ "labels": labels, "annotations": { "gosync.dev/mirrors": "models" } }));
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "asks", "namespace": namespace },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": { "metadata": template["metadata"], "spec": template["spec"] },
        },
    })
}

async fn has_pod_with_agent(kubectl: &Kubectl, namespace: &str) {
    wait::until("the Deployment has a pod with an agent", async || {
        let pods = kubectl.get(namespace, &["pods", "-l", "gosync.dev/injected=true"]);
        let owner = kubectl.get(namespace, &["replicasets"]);
        wait::hold(
            pods["items"].as_array().is_some_and(|pods| !pods.is_empty()),
            format!("{:#}", owner["items"][0]["status"]),
        )
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_operator_is_away_nobody_waits_who_did_not_ask_and_who_asked_starts_after_its_return() {
    let mut installation = Installation::start().await;
    let kubectl = installation.kubectl().clone();
    let ns = &kubectl.namespace("ml").await;
    kubectl.apply(&selecting(ns, "models", 9754)).accepted();
    injected_at_all(&kubectl, ns).await;
    installation.operator.kill();

    kubectl.create(&pod(json!({ "name": "plain", "namespace": ns }))).accepted();
    let selected = kubectl.create(&trainer(ns, "selected")).accepted();
    assert!(selected.err.contains("which has no GoSync agent"), "{}", selected.err);
    assert!(selected.json()["spec"]["initContainers"].is_null());
    kubectl.apply(&asking(ns)).accepted();
    wait::until("the pod that asks is refused, and its owner says why", async || {
        let sets = kubectl.get(ns, &["replicasets"]).to_string();
        wait::hold(sets.contains("the GoSync operator did not answer"), sets)
    })
    .await;

    let mut back = Operator::start(&installation.cluster, "back");
    back.take_over(&kubectl);
    back.ready().await;
    has_pod_with_agent(&kubectl, ns).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_asked_before_its_mirror_starts_once_that_is_applied() {
    let installation = Installation::shared().await;
    let kubectl = installation.kubectl();
    let ns = &kubectl.namespace("early").await;
    kubectl.apply(&asking(ns)).accepted();
    wait::until("it is refused with the reason", async || {
        let sets = kubectl.get(ns, &["replicasets"]).to_string();
        wait::hold(sets.contains("apply SyncMirror models first"), sets)
    })
    .await;
    kubectl.apply(&selecting(ns, "models", 9754)).accepted();
    has_pod_with_agent(kubectl, ns).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_one_leads_and_the_other_takes_over_when_it_is_killed_or_ends() {
    let mut installation = Installation::start().await;
    let kubectl = installation.kubectl().clone();
    let ns = &kubectl.namespace("ml").await;
    wait::until("the first leads", async || wait::hold(leader(&kubectl).starts_with("one-"), leader(&kubectl))).await;
    let agent = Stub::start(5, state("models", json!({}))).await;
    let mut models = selecting(ns, "models", agent.port());
    // Long over, so that nothing but what the agent says tells that its volume is filled.
    models["spec"]["hydration"] = json!({ "timeoutSeconds": 1 });
    kubectl.apply(&models).accepted();
    injected_at_all(&kubectl, ns).await;
    kubectl.create(&trainer(ns, "t-0")).accepted();
    runs(&kubectl, ns, "t-0", &agent.ip());
    let in_step = told(&kubectl, ns, "models", "Ready", "True KeptInStep").await;
    let mut second = Operator::start(&installation.cluster, "two");
    second.ready().await;
    assert!(leader(&kubectl).starts_with("one-"), "the second only stands by");

    // Both answer API servers: the second one does so without leading.
    second.take_over(&kubectl);
    wait::until("the second one is asked", async || {
        injected_at_all(&kubectl, ns).await;
        let count = second.count("gosync_injection_requests_total", "injected").await;
        wait::hold(count > 0.0, count)
    })
    .await;
    assert!(leader(&kubectl).starts_with("one-"));

    installation.operator.kill();
    wait::until("the second leads", async || wait::hold(leader(&kubectl).starts_with("two-"), second.tail())).await;
    kubectl.apply(&mirror(ns, "more", &json!({}))).accepted();
    told(&kubectl, ns, "more", "Ready", "True NoPods").await;

    let mut third = Operator::start(&installation.cluster, "three");
    third.ready().await;
    second.end().await;
    third.take_over(&kubectl);
    wait::until("the third leads", async || wait::hold(leader(&kubectl).starts_with("three-"), third.tail())).await;
    kubectl.apply(&mirror(ns, "again", &json!({}))).accepted();
    told(&kubectl, ns, "again", "Ready", "True NoPods").await;

    // A leader that has asked nobody yet says nothing of what another one was told.
    let asked = agent.asked();
    wait::until("the new leader asks the agent too", async || wait::hold(agent.asked() > asked, asked)).await;
    let now = told(&kubectl, ns, "models", "Ready", "True KeptInStep").await;
    assert_eq!(since_of_ready(&now), since_of_ready(&in_step), "it was never told otherwise");
}

fn since_of_ready(mirror: &Value) -> Value {
    let conditions = mirror["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == "Ready").unwrap()["lastTransitionTime"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_for_a_minute_finds_the_same_operator_at_work() {
    if !needs_own_api_server("taking it away for a minute") {
        return;
    }
    let mut installation = Installation::start().await;
    let kubectl = installation.kubectl().clone();
    let ns = &kubectl.namespace("ml").await;
    kubectl.apply(&selecting(ns, "models", 9754)).accepted();
    told(&kubectl, ns, "models", "Ready", "True NoPods").await;
    installation.cluster.away();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(installation.operator.get("/livez").await.unwrap().0, 200, "a restart would help nobody");
    installation.cluster.back().await;

    kubectl.apply(&mirror(ns, "after", &json!({}))).accepted();
    told(&kubectl, ns, "after", "Ready", "True NoPods").await;
    installation.operator.ready().await;
    injected_at_all(&kubectl, ns).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_while_pods_are_made_and_none_goes_without_its_agent() {
    let installation = Installation::start().await;
    let kubectl = installation.kubectl();
    let ns = &kubectl.namespace("ml").await;
    kubectl.apply(&selecting(ns, "models", 9754)).accepted();
    injected_at_all(kubectl, ns).await;
    let (system, secret) = (&namespace(), &own("gosync-operator-certificate"));
    let served = || kubectl.get(system, &["secret", secret])["data"]["tls.crt"].clone();
    let before = served();
    let rotate = ["annotate", "secret", secret, "-n", system, "gosync.dev/rotate=now"];
    kubectl.run(&rotate).accepted();
    let made = async || {
        let told = kubectl.dry_run(&trainer(ns, "t")).accepted();
        assert!(told.out.contains("\"gosync-agent\""), "{}\n{}", told.err, installation.operator.tail());
    };
    wait::until_within(Duration::from_secs(120), "another certificate is served", async || {
        made().await;
        wait::hold(served() != before, installation.operator.tail())
    })
    .await;
    for _ in 0..20 {
        made().await;
    }
}

/// Makes what somebody else would: another authority with its certificate, in the Secret and trusted by API servers.
fn give(cluster: &ControlPlane) {
    let (authority, certificate, key) = certificates::webhook(cluster.address());
    let (authority, certificate, key) =
        (BASE64_STANDARD.encode(authority), BASE64_STANDARD.encode(certificate), BASE64_STANDARD.encode(key));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": own("gosync-operator-certificate"), "namespace": namespace() },
        "data": { "tls.crt": certificate, "tls.key": key },
    });
    cluster.kubectl().apply(&secret).accepted();
    let trust = |number: u8| json!({ "op": "add", "path": format!("/webhooks/{number}/clientConfig/caBundle"), "value": authority });
    let patch = json!([trust(0), trust(1)]).to_string();
    cluster.kubectl().run(&["patch", "mutatingwebhookconfiguration", &name(), "--type=json", "-p", &patch]).accepted();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_somebody_else_gives_is_served_and_left_as_it_is() {
    let cluster = ControlPlane::start().await;
    let kubectl = cluster.kubectl();
    install(kubectl).await;
    let mut operator = Operator::start_with(&cluster, "one", &["--certificate", "given"]);
    operator.take_over(kubectl);
    let ns = &kubectl.namespace("ml").await;
    kubectl.apply(&selecting(ns, "models", 9754)).accepted();
    wait::until("the leader has API servers ask about the namespace", async || {
        let configuration = kubectl.get("default", &["mutatingwebhookconfiguration", &name()]);
        wait::hold(configuration["webhooks"][1]["namespaceSelector"].to_string().contains(ns), configuration)
    })
    .await;
    let (status, why) = operator.get("/readyz").await.unwrap();
    assert_eq!((status, why.trim()), (503, "no certificate is served that API servers trust"));

    let given = || {
        let secret = kubectl.get(&namespace(), &["secret", &own("gosync-operator-certificate")]);
        let configuration = kubectl.get("default", &["mutatingwebhookconfiguration", &name()]);
        let bundles = [0, 1].map(|entry: usize| configuration["webhooks"][entry]["clientConfig"]["caBundle"].clone());
        (secret["data"].clone(), bundles)
    };
    // Given once, and replaced while it is served.
    for other in ["first", "second"] {
        give(&cluster);
        let before = given();
        operator.ready().await;
        injected_at_all(kubectl, ns).await;
        // The leader has written the configuration once more by then.
        kubectl.apply(&mirror(ns, other, &json!({}))).accepted();
        told(kubectl, ns, other, "Ready", "True NoPods").await;
        assert_eq!(given(), before);
    }
}
