//! Rounds of a mirror against a fake API server: what is sent, and that nothing is where nothing changed.

use std::sync::Arc;

use gosync_crds::SyncMirror;
use gosync_operator::agents::{AgentState, InjectedPod, Polls};
use gosync_operator::inject::{INJECTED_LABEL, INJECTED_MIRRORS_ANNOTATION};
use gosync_operator::reconcile::{Context, Memories, config_map, round};
use gosync_operator::rollout::{Owners, Restarter, Verdict, judge, nudge};
use gosync_operator::stores::{Stores, Writers};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::Action;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use kube::runtime::{reflector, watcher};
use serde_json::{Value, json};

use crate::fake::Fake;
use crate::known::{container, lay_over, mirror, settings};

const CONFIG: &str = "/api/v1/namespaces/ml/configmaps/gosync-mirror-models";
const STATUS: &str = "/apis/gosync.dev/v1alpha1/namespaces/ml/syncmirrors/models/status";
const MIRROR: &str = "/apis/gosync.dev/v1alpha1/namespaces/ml/syncmirrors/models";

/// A leader's surroundings.
struct World {
    fake: Fake,
    context: Arc<Context>,
    writers: Writers,
    injected: Writer<InjectedPod>,
    others: Writer<PartialObjectMeta<Pod>>,
    polls: Arc<Polls>,
}

fn world() -> World {
    let fake = Fake::default();
    let (stores, mut writers) = Stores::new();
    let (injected, mut injected_writer) = reflector::store();
    let (others, mut others_writer) = reflector::store();
    let polls: Arc<Polls> = Arc::default();
    fn begin<K: kube::Resource<DynamicType = ()> + Clone + 'static>(writer: &mut Writer<K>) {
        for event in [Event::Init, Event::InitDone] {
            writer.apply_watcher_event(&event);
        }
    }
    begin(&mut writers.mirrors);
    begin(&mut writers.namespaces);
    begin(&mut injected_writer);
    begin(&mut others_writer);
    let client = fake.client();
    let reporter = Reporter { controller: "gosync-operator".to_owned(), instance: Some("test".to_owned()) };
    let context = Arc::new(Context {
        client: client.clone(),
        stores,
        injected,
        others,
        polls: polls.clone(),
        endings: Arc::default(),
        owners: Owners::default(),
        restarter: Restarter { settings: settings() },
        recorder: Recorder::new(client, reporter),
        metrics: Arc::default(),
        version: "0.1.0",
        memory: Memories::default(),
    });
    World { fake, context, writers, injected: injected_writer, others: others_writer, polls }
}

impl World {
    /// The mirror is there, at that generation.
    fn mirror(&mut self, generation: i64, spec: Value) -> Arc<DeserializeGuard<SyncMirror>> {
        let mut mirror = mirror(spec);
        mirror.metadata.uid = Some("u-1".to_owned());
        mirror.metadata.generation = Some(generation);
        if self.fake.get(MIRROR).is_none() {
            self.fake.put(MIRROR, serde_json::to_value(&mirror).unwrap());
        }
        self.guard(DeserializeGuard(Ok(mirror)))
    }

    fn guard(&mut self, guard: DeserializeGuard<SyncMirror>) -> Arc<DeserializeGuard<SyncMirror>> {
        self.writers.mirrors.apply_watcher_event(&watcher::Event::Apply(guard.clone()));
        Arc::new(guard)
    }

    fn injected(&mut self, name: &str, over: Value) {
        let mut pod = json!({
            "metadata": {
                "name": name, "namespace": "ml", "uid": name, "labels": { "app": "trainer", INJECTED_LABEL: "true" },
                "annotations": { INJECTED_MIRRORS_ANNOTATION: "models" },
            },
            "spec": { "initContainers": [{ "name": "gosync-agent", "ports": [{ "name": "gosync-metrics", "containerPort": 9754 }] }] },
            "status": {
                "phase": "Running", "podIP": "10.0.0.7",
                "initContainerStatuses": [{ "name": "gosync-agent", "state": { "running": { "startedAt": "2026-03-01T12:00:00Z" } } }],
            },
        });
        lay_over(&mut pod, &over);
        let pod = serde_json::from_value(pod).unwrap();
        self.injected.apply_watcher_event(&Event::Apply(pod));
    }

    /// A pod passes by at its end, with what its agent left.
    fn ends(&self, name: &str, volume: Value, over: Value) {
        let receipt = json!({
            "mirror": "models", "flushed": false, "hydrated": true, "a_later_field": 1, "finished": "2026-03-01T12:00:00Z",
            "pending": { "files": 2, "bytes": 20, "first": ["a.bin"] },
        });
        let mut terminated = json!({
            "exitCode": 1, "finishedAt": jiff::Timestamp::now().to_string(),
            "message": json!({ "receipts": [receipt] }).to_string(),
        });
        lay_over(&mut terminated, &over);
        let mut data = json!({ "name": "data" });
        lay_over(&mut data, &volume);
        let pod = json!({
            "metadata": {
                "name": name, "namespace": "ml", "uid": name, "deletionTimestamp": "2026-03-01T12:00:00Z",
                "annotations": { INJECTED_MIRRORS_ANNOTATION: "models" },
            },
            "spec": { "volumes": [data] },
            "status": { "phase": "Failed", "initContainerStatuses": [
                { "name": "gosync-agent", "state": { "terminated": terminated } },
            ] },
        });
        let mut pod: InjectedPod = serde_json::from_value(pod).unwrap();
        pod.prune();
        self.context.endings.note(&pod);
    }

    /// A pod that the mirror selects and that has no agent.
    fn bare(&mut self, name: &str, owner: Option<(&str, &str)>) {
        let owners = owner.map(|(kind, owner)| {
            json!([{ "apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": owner, "controller": true }])
        });
        let pod = json!({
            "metadata": { "name": name, "namespace": "ml", "uid": name, "labels": { "app": "trainer" }, "ownerReferences": owners },
        });
        self.others.apply_watcher_event(&Event::Apply(serde_json::from_value(pod).unwrap()));
    }

    /// What the agent of a pod tells.
    fn tells(&self, pod: &str, over: Value) {
        let mut state = json!({ "name": "models", "status": "active", "phase": "idle", "hydrated": true, "files": 3 });
        lay_over(&mut state, &over);
        let state = json!({ "version": "0.1.0", "mirrors": [state] });
        self.polls.note(pod, Ok(serde_json::from_value::<AgentState>(state).unwrap()));
    }

    async fn round(&self, mirror: &Arc<DeserializeGuard<SyncMirror>>) -> Action {
        round(mirror.clone(), self.context.clone()).await.unwrap()
    }

    /// What stands in the status by now.
    fn status(&self) -> Value {
        self.fake.get(MIRROR).unwrap()["status"].clone()
    }

    /// `False/PodsMissingAgent`, of a condition.
    fn said(&self, type_: &str) -> String {
        let status = self.status();
        let condition =
            status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == type_).unwrap().clone();
        format!("{}/{}", condition["status"].as_str().unwrap(), condition["reason"].as_str().unwrap())
    }
}

#[tokio::test]
async fn a_round_applies_config_and_status_and_the_next_one_sends_nothing() {
    let mut world = world();
    let mirror = world.mirror(1, json!({}));
    world.injected("a", json!({}));
    world.tells("a", json!({}));
    world.round(&mirror).await;
    let asked = world.fake.asked();
    let writes: Vec<String> = asked.iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect();
    assert_eq!(writes, [format!("PATCH {CONFIG}"), format!("PATCH {STATUS}")]);
    assert!(asked.iter().all(|asked| asked.query.contains("fieldManager=gosync-operator")), "{asked:?}");
    assert_eq!(asked[0].body["metadata"]["ownerReferences"][0]["uid"], "u-1");
    assert!(asked[0].body["data"]["mirror.yaml"].as_str().unwrap().contains("acme-ml"));
    assert!(asked[0].body["data"]["base.yaml"].as_str().unwrap().contains("/run/gosync"));
    assert_eq!(world.status()["summary"], "1/1 in sync");
    for _ in 0..3 {
        world.round(&mirror).await;
    }
    assert_eq!(world.fake.asked(), []);
}

#[tokio::test]
async fn a_new_leader_that_finds_the_status_as_it_is_writes_none() {
    let mut first = world();
    let mirror = first.mirror(1, json!({}));
    first.round(&mirror).await;
    let mut stored: SyncMirror = serde_json::from_value(first.fake.get(MIRROR).unwrap()).unwrap();
    stored.metadata.generation = Some(1);
    let mut second = world();
    let mirror = second.guard(DeserializeGuard(Ok(stored)));
    second.round(&mirror).await;
    assert_eq!(
        second.fake.written(),
        [format!("PATCH {CONFIG}")],
        "it can't know of the config, which is applied as it is"
    );
}

#[tokio::test]
async fn an_edit_is_applied_at_once_and_a_status_waits_for_its_time() {
    let mut world = world();
    let mirror = world.mirror(1, json!({}));
    world.round(&mirror).await;
    world.fake.asked();
    world.bare("lacking", None);
    let mirror = world.mirror(2, json!({ "intervalSeconds": 5 }));
    world.round(&mirror).await;
    assert_eq!(world.fake.written(), [format!("PATCH {CONFIG}")], "the status was written a moment ago");
}

#[tokio::test]
async fn pods_that_the_agent_of_which_serves_other_mirrors_lack_this_one() {
    let mut world = world();
    let mirror = world.mirror(1, json!({}));
    world.injected("a", json!({ "metadata": { "annotations": { INJECTED_MIRRORS_ANNOTATION: "other" } } }));
    world.injected("of-another-place", json!({ "metadata": { "namespace": "web" } }));
    world.injected("ended", json!({ "status": { "phase": "Succeeded" } }));
    world.round(&mirror).await;
    assert_eq!(world.said("InjectionComplete"), "False/PodsMissingAgent");
    assert_eq!((&world.status()["pods"]["matched"], &world.status()["pods"]["missing"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_mirror_whose_volume_another_one_takes_is_told_before_its_pods_lose_their_agent() {
    let mut world = world();
    let select = json!({ "selector": { "matchLabels": { "app": "trainer" } } });
    let first = world.mirror(1, select.clone());
    let mut other = mirror(select);
    (other.metadata.name, other.metadata.uid) = (Some("other".to_owned()), Some("u-2".to_owned()));
    world.guard(DeserializeGuard(Ok(other)));
    world.injected("a", json!({}));
    world.tells("a", json!({}));
    world.round(&first).await;
    assert_eq!(world.said("Ready"), "True/KeptInStep", "what runs goes on");
    assert_eq!(world.said("InjectionComplete"), "False/SameVolume");
    let told = world.status()["conditions"].to_string();
    assert!(told.contains("pod a has its agent, and would get none if it were made anew: SyncMirrors"), "{told}");
}

#[tokio::test]
async fn an_agent_counts_as_unreachable_only_after_it_failed_twice() {
    let mut world = world();
    let mirror = world.mirror(1, json!({}));
    world.injected("a", json!({}));
    world.tells("a", json!({}));
    world.polls.note("a", Err("10.0.0.7:9754: no answer in time".to_owned()));
    world.round(&mirror).await;
    assert_eq!(world.said("Synced"), "True/InSync");
    assert_eq!(world.polls.of("a").map(|told| told.is_ok()), Some(true));
    world.polls.note("a", Err("10.0.0.7:9754: no answer in time".to_owned()));
    assert_eq!(world.polls.of("a").map(|told| told.is_ok()), Some(false));
}

#[tokio::test]
async fn a_new_leader_says_nothing_before_it_has_asked_the_agents() {
    let mut world = world();
    let mirror = world.mirror(1, json!({}));
    world.injected("a", json!({}));
    assert_eq!(world.round(&mirror).await, Action::requeue(std::time::Duration::from_secs(1)));
    assert_eq!(world.fake.written(), [format!("PATCH {CONFIG}")]);
    world.polls.note("a", Err("10.0.0.7:9754: connection refused".to_owned()));
    world.round(&mirror).await;
    assert_eq!(world.fake.written(), [""; 0], "a single failure says nothing");
    world.tells("a", json!({}));
    world.round(&mirror).await;
    assert_eq!(world.said("Synced"), "True/InSync");
}

#[tokio::test]
async fn a_config_that_can_not_be_written_is_told() {
    let mut world = world();
    let mirror = world.mirror(1, json!({}));
    world.fake.refuse("/api/v1/namespaces/ml/configmaps");
    world.round(&mirror).await;
    assert_eq!(world.said("Ready"), "False/ConfigNotWritten");
    assert_eq!(world.said("Stalled"), "True/ConfigNotWritten");
}

#[tokio::test]
async fn a_status_that_can_not_be_written_is_a_failure_that_is_tried_again_later_each_time() {
    let mut world = world();
    let mirror = world.mirror(1, json!({}));
    world.fake.refuse(STATUS);
    let mut pauses = Vec::new();
    for _ in 0..3 {
        let error = round(mirror.clone(), world.context.clone()).await.unwrap_err();
        pauses.push(gosync_operator::reconcile::after_failure(mirror.clone(), &error, world.context.clone()));
    }
    let seconds = [2, 4, 8].map(|seconds| Action::requeue(std::time::Duration::from_secs(seconds)));
    assert_eq!(pauses, seconds);
}

#[tokio::test]
async fn a_namespace_or_a_mirror_that_ends_gets_nothing() {
    let mut world = world();
    let namespace = json!({ "metadata": { "name": "ml", "deletionTimestamp": "2026-03-01T12:00:00Z" } });
    let namespace: PartialObjectMeta<Namespace> = serde_json::from_value(namespace).unwrap();
    world.writers.namespaces.apply_watcher_event(&Event::Apply(namespace));
    let mirror = world.mirror(1, json!({}));
    assert_eq!(world.round(&mirror).await, Action::await_change());
    assert_eq!(world.fake.asked(), []);
}

#[tokio::test]
async fn a_mirror_that_can_not_be_read_is_told_once_and_holds_up_no_other() {
    let mut world = world();
    let broken = json!({
        "apiVersion": "gosync.dev/v1alpha1", "kind": "SyncMirror",
        "metadata": { "name": "models", "namespace": "ml", "uid": "u-1", "generation": 4 },
        "spec": { "volume": { "name": "data" }, "s3": { "bucket": "b" }, "direction": "Sideways" },
    });
    world.fake.put(MIRROR, broken.clone());
    let guard: DeserializeGuard<SyncMirror> = serde_json::from_value(broken).unwrap();
    let mirror = world.guard(guard);
    world.round(&mirror).await;
    assert_eq!(world.said("Ready"), "False/SpecUnreadable");
    let events = "POST /apis/events.k8s.io/v1/namespaces/ml/events".to_owned();
    assert_eq!(world.fake.written(), [format!("PATCH {STATUS}"), events]);
    world.round(&mirror).await;
    assert_eq!(world.fake.written(), [""; 0]);
    assert!(world.context.stores.mirrors_of("ml").is_empty(), "the webhook passes it over");
}

#[tokio::test]
async fn bad_news_are_an_event_once() {
    let mut world = world();
    let mirror = world.mirror(1, json!({}));
    world.injected("a", json!({}));
    world.tells("a", json!({ "errors": [{ "class": "bucket" }] }));
    world.round(&mirror).await;
    let asked = world.fake.asked();
    let events: Vec<&Value> =
        asked.iter().filter(|asked| asked.path.ends_with("/events")).map(|asked| &asked.body).collect();
    assert_eq!(events.len(), 1, "{asked:?}");
    assert_eq!((&events[0]["reason"], &events[0]["type"]), (&json!("BucketNotFound"), &json!("Warning")));
    assert_eq!(events[0]["regarding"]["name"], "models");
    world.round(&mirror).await;
    assert_eq!(world.fake.asked(), []);
}

#[tokio::test]
async fn a_pod_that_ends_with_files_unsent_is_an_event_once_a_condition_and_counted() {
    let mut world = world();
    let mirror = world.mirror(1, json!({}));
    for _ in 0..2 {
        world.ends("t-0", json!({ "emptyDir": {} }), json!({}));
        world.ends("t-1", json!({ "emptyDir": {} }), json!({}));
        world.ends("t-2", json!({ "persistentVolumeClaim": { "claimName": "data-t-2" } }), json!({}));
        world.ends("t-3", json!({ "emptyDir": {} }), json!({ "message": "panicked" }));
    }
    world.round(&mirror).await;
    assert_eq!(world.said("DataAtRisk"), "True/FilesNotSent");
    let asked = world.fake.asked();
    let events = asked.iter().filter(|asked| asked.path.ends_with("/events"));
    let mut told: Vec<String> =
        events.map(|event| format!("{} {}", event.body["reason"], event.body["related"]["name"])).collect();
    told.sort();
    assert_eq!(told, [r#""DataAtRisk" "t-0""#, r#""DataAtRisk" "t-1""#, r#""UnsentDataKept" "t-2""#]);
    let metrics = world.context.metrics.render();
    for line in [
        r#"gosync_pods_ended_unsent_total{result="at_risk"} 2"#,
        r#"gosync_pods_ended_unsent_total{result="kept"} 1"#,
        "gosync_data_at_risk_files_total 4",
        "gosync_data_at_risk_bytes_total 40",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} isn't in\n{metrics}");
    }
    world.round(&mirror).await;
    assert_eq!(world.fake.asked(), [], "it was told");
}

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/ml/deployments/trainer";

fn deployment(over: Value) -> Value {
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "trainer", "namespace": "ml", "uid": "d-1", "generation": 5 },
        "spec": { "replicas": 1, "template": {
            "metadata": { "labels": { "app": "trainer" } },
            "spec": { "containers": [container("app", json!({}))], "volumes": [{ "name": "data", "emptyDir": {} }] },
        } },
        "status": { "observedGeneration": 5, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1 },
    });
    lay_over(&mut deployment, &over);
    deployment
}

fn restarting(world: &mut World) -> Arc<DeserializeGuard<SyncMirror>> {
    let set = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": { "name": "trainer-7d", "namespace": "ml",
        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "trainer", "uid": "d-1", "controller": true }] } });
    world.fake.put("/apis/apps/v1/namespaces/ml/replicasets/trainer-7d", set);
    world.fake.put(DEPLOYMENT, deployment(json!({})));
    world.bare("trainer-7d-x", Some(("ReplicaSet", "trainer-7d")));
    world.mirror(3, json!({ "rollout": { "onMissing": "Restart" } }))
}

#[tokio::test]
async fn nothing_is_restarted_unless_a_dry_run_proves_that_new_pods_get_an_agent() {
    let mut world = world();
    let mirror = restarting(&mut world);
    // The fake makes pods as they are: no webhook adds anything.
    world.round(&mirror).await;
    let asked = world.fake.asked();
    assert!(asked.iter().any(|asked| asked.method == "POST" && asked.query.contains("dryRun=All")), "{asked:?}");
    assert!(!asked.iter().any(|asked| asked.method == "PATCH" && asked.path == DEPLOYMENT), "{asked:?}");
    assert_eq!(world.said("InjectionComplete"), "False/PodsMissingAgent");
    let told = world.status()["conditions"][2]["message"].as_str().unwrap().to_owned();
    assert!(told.contains("deployment/trainer is not restarted: the API server did not ask the webhook"), "{told}");
}

#[tokio::test]
async fn a_workload_is_restarted_once_for_each_generation() {
    let mut world = world();
    let mirror = restarting(&mut world);
    world.fake.inject();
    world.round(&mirror).await;
    let asked = world.fake.asked();
    let patches: Vec<&Value> = asked
        .iter()
        .filter(|asked| asked.method == "PATCH" && asked.path == DEPLOYMENT)
        .map(|asked| &asked.body)
        .collect();
    assert_eq!(patches.len(), 1, "{asked:?}");
    assert_eq!(patches[0]["metadata"]["annotations"]["gosync.dev/restarted"], "models=3/6");
    assert!(patches[0]["spec"]["template"]["metadata"]["annotations"]["gosync.dev/restarted-at"].is_string());
    assert!(asked.iter().any(|asked| asked.body["reason"] == "RestartedForAgent"), "{asked:?}");

    // The rollout is over, and its pods have no agent all the same.
    let mut now = world.fake.get(DEPLOYMENT).unwrap();
    now["metadata"]["generation"] = json!(6);
    now["status"]["observedGeneration"] = json!(6);
    world.fake.put(DEPLOYMENT, now);
    world.round(&mirror).await;
    assert!(!world.fake.written().contains(&format!("PATCH {DEPLOYMENT}")));
}

#[test]
fn paused_and_ondelete_workloads_are_never_restarted_and_rollouts_are_waited_for() {
    let mut mirror = mirror(json!({}));
    mirror.metadata.generation = Some(3);
    let verdict = |over: Value| judge(&deployment(over), &mirror);
    assert_eq!(verdict(json!({})), Verdict::Restart);
    assert!(matches!(verdict(json!({ "spec": { "paused": true } })), Verdict::Never(_)));
    assert!(matches!(
        verdict(json!({ "kind": "DaemonSet", "spec": { "updateStrategy": { "type": "OnDelete" } } })),
        Verdict::Never(_)
    ));
    assert!(matches!(verdict(json!({ "status": { "observedGeneration": 4 } })), Verdict::Wait(_)));
    assert!(matches!(verdict(json!({ "status": { "updatedReplicas": 0 } })), Verdict::Wait(_)));
    assert!(matches!(verdict(json!({ "status": { "readyReplicas": 0 } })), Verdict::Wait(_)));
    let noted = |note: &str| json!({ "metadata": { "annotations": { "gosync.dev/restarted": note } } });
    assert!(matches!(verdict(noted("other=1/1,models=3/5")), Verdict::Never(_)));
    assert_eq!(verdict(noted("models=2/5")), Verdict::Restart, "for another generation of the mirror");
    assert_eq!(verdict(noted("models=3/4")), Verdict::Restart, "the workload was changed since");
    let set = json!({ "kind": "StatefulSet", "status": { "updatedReplicas": null, "currentRevision": "r1", "updateRevision": "r1" } });
    assert_eq!(verdict(set), Verdict::Restart, "one that was never updated counts none as updated");
}

#[tokio::test]
async fn owners_whose_pods_were_refused_are_nudged_and_no_others() {
    let fake = Fake::default();
    let set = |name: &str, label: &str, has: i64| {
        let labels = json!({ "gosync.dev/inject": label });
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": { "name": name, "namespace": "ml" },
            "spec": { "replicas": 2, "template": { "metadata": { "labels": labels }, "spec": {} } }, "status": { "replicas": has },
        })
    };
    for (name, label, has) in [("refused", "true", 0), ("whole", "true", 2), ("never-asked", "other", 0)] {
        fake.put(&format!("/apis/apps/v1/namespaces/ml/replicasets/{name}"), set(name, label, has));
    }
    let nudged = nudge(&fake.client(), "ml", &[]).await.unwrap();
    assert_eq!(nudged, ["replicaset/refused"]);
    assert_eq!(fake.written(), ["PATCH /apis/apps/v1/namespaces/ml/replicasets/refused"]);
}

#[test]
fn rendering_the_same_mirror_gives_the_same_config() {
    let mirror = mirror(json!({}));
    assert_eq!(
        serde_json::to_string(&config_map(&mirror)).unwrap(),
        serde_json::to_string(&config_map(&mirror)).unwrap()
    );
}
