//! What is told of a mirror: conditions, counts, words, and when nothing is to be written.

use gosync_crds::{SyncMirror, SyncMirrorStatus};
use gosync_operator::agents::{AgentState, Ending};
use gosync_operator::status::*;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::known::{lay_over, mirror};

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// A mirror's state in an agent's answer: at rest, with `over` over it.
fn state(over: Value) -> Box<gosync_operator::agents::MirrorState> {
    let mut state = json!({
        "name": "models", "status": "active", "phase": "idle", "hydrated": true, "lag_seconds": 0.0,
        "files": 10, "bytes": 1000, "pending": { "files": 0, "bytes": 0 }, "last_sync": "2026-03-01T11:59:00Z",
    });
    lay_over(&mut state, &over);
    serde_json::from_value(state).unwrap()
}

fn agent(pod: &str, seen: Seen) -> Agent {
    Agent { pod: pod.to_owned(), created: Some("2026-03-01T11:58:00Z".parse().unwrap()), seen }
}

fn told(pod: &str, over: Value) -> Agent {
    agent(pod, Seen::Told { version: "0.1.0".to_owned(), state: state(over) })
}

fn missing(pod: &str, workload: Option<&str>) -> Missing {
    Missing { pod: pod.to_owned(), workload: workload.map(str::to_owned), because: None }
}

fn facts<'a>(mirror: &'a SyncMirror, agents: Vec<Agent>, missing: Vec<Missing>) -> Facts<'a> {
    Facts {
        mirror,
        refused: None,
        agents,
        missing,
        in_the_way: None,
        restarts: Vec::new(),
        endings: Vec::new(),
        version: "0.1.0",
        now: now(),
    }
}

fn of(mirror: &SyncMirror, agents: Vec<Agent>, missing: Vec<Missing>) -> SyncMirrorStatus {
    status(&facts(mirror, agents, missing), None)
}

/// `True/KeptInStep`, for a condition.
fn said(status: &SyncMirrorStatus, type_: &str) -> String {
    let condition = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
    format!("{}/{}", condition.status, condition.reason)
}

fn message(status: &SyncMirrorStatus, type_: &str) -> String {
    status.conditions.iter().find(|condition| condition.type_ == type_).unwrap().message.clone()
}

#[test]
fn a_mirror_without_pods_is_ready_so_that_nobody_waits_for_it() {
    let status = of(&mirror(json!({})), vec![], vec![]);
    for type_ in [READY, SYNCED, INJECTION_COMPLETE] {
        assert_eq!(said(&status, type_), "True/NoPods");
    }
    assert_eq!(said(&status, STALLED), "False/GoingOn");
    assert_eq!(said(&status, RECONCILING), "False/Settled");
    assert_eq!(status.summary, "no pods");
}

#[test]
fn pods_at_rest_are_ready_in_sync_and_counted() {
    let status = of(&mirror(json!({})), vec![told("a", json!({})), told("b", json!({}))], vec![]);
    assert_eq!(said(&status, READY), "True/KeptInStep");
    assert_eq!(said(&status, SYNCED), "True/InSync");
    assert_eq!(said(&status, CONFLICTS_PRESENT), "False/NoConflicts");
    assert_eq!(status.summary, "2/2 in sync");
    assert_eq!((status.files, status.bytes, status.pods.in_sync, status.pods.hydrated), (20, 2000, 2, 2));
    assert_eq!(status.agent_version, "0.1.0");
    assert!(status.worst_pods.is_empty());
}

#[test]
fn work_under_way_leaves_a_mirror_ready_and_not_synced() {
    let busy = told("b", json!({ "pending": { "files": 3, "bytes": 90 }, "lag_seconds": 7.4 }));
    let status = of(&mirror(json!({})), vec![told("a", json!({})), busy], vec![]);
    assert_eq!((said(&status, READY), said(&status, SYNCED)), ("True/KeptInStep".into(), "False/Syncing".into()));
    assert_eq!(status.summary, "1/2 in sync, 1 syncing");
    assert_eq!((status.pending_files, status.pending_bytes, status.lag_seconds), (3, 90, 5));
    assert_eq!(status.worst_pods[0].name, "b");
}

#[test]
fn hydration_is_on_the_way_until_its_time_is_over() {
    let filling =
        || told("a", json!({ "hydrated": false, "phase": "hydrating", "pending": { "files": 5, "bytes": 50 } }));
    let fresh = of(&mirror(json!({})), vec![filling()], vec![]);
    assert_eq!((said(&fresh, READY), said(&fresh, RECONCILING)), ("False/Hydrating".into(), "True/Hydrating".into()));
    assert_eq!(fresh.summary, "0/1 in sync, 1 hydrating");
    let late = of(&mirror(json!({ "hydration": { "timeoutSeconds": 60 } })), vec![filling()], vec![]);
    assert_eq!((said(&late, READY), said(&late, STALLED)), ("False/HydrationSlow".into(), "True/HydrationSlow".into()));
    assert!(message(&late, READY).contains("its application goes on waiting"), "{}", message(&late, READY));
}

#[test]
fn an_agent_that_can_not_be_reached_is_never_called_out_of_sync() {
    let gone = agent("b", Seen::Unreachable("10.0.0.7:9754: no answer in time".to_owned()));
    let status = of(&mirror(json!({})), vec![told("a", json!({})), gone], vec![]);
    assert_eq!(said(&status, READY), "Unknown/StatusUnreachable");
    assert_eq!(said(&status, SYNCED), "Unknown/StatusUnreachable");
    assert_eq!(said(&status, STALLED), "False/GoingOn");
    assert_eq!(status.summary, "1/2 in sync, 1 unreachable");
}

#[test]
fn each_class_of_error_and_each_halt_names_what_to_look_at() {
    let mirror = mirror(json!({ "s3": { "credentialsSecretRef": { "name": "s3-creds" } } }));
    let cases = [
        (json!({ "errors": [{ "class": "credentials" }] }), "CredentialsMissing", "Secret s3-creds", "True"),
        (json!({ "errors": [{ "class": "bucket" }] }), "BucketNotFound", "bucket acme-ml", "True"),
        (json!({ "errors": [{ "class": "permission" }] }), "VolumePermission", "spec.agent.runAsUser", "True"),
        (
            json!({ "errors": [{ "class": "shared-volume-needs-postgres" }] }),
            "SharedVolumeNeedsPostgres",
            "spec.metadata.postgres",
            "True",
        ),
        (json!({ "errors": [{ "class": "endpoint" }] }), "EndpointUnreachable", "AWS", "False"),
        (json!({ "errors": [{ "class": "a-later-one" }] }), "ALaterOneError", "its log", "False"),
        (json!({ "halts": ["first-merge"], "status": "halted" }), "FirstMergeHalted", "kubectl -n ml exec a", "True"),
        (json!({ "halts": ["too-many-deletes"] }), "TooManyDeletesHalted", "guard", "True"),
    ];
    for (over, reason, words, stalled) in cases {
        let status = of(&mirror, vec![told("a", over)], vec![]);
        assert_eq!(said(&status, READY), format!("False/{reason}"));
        assert!(message(&status, READY).contains(words), "{}", message(&status, READY));
        assert!(said(&status, STALLED).starts_with(stalled), "{reason}: {}", said(&status, STALLED));
        assert_eq!(status.worst_pods[0].reason, reason);
    }
}

#[test]
fn pods_without_an_agent_are_told_with_the_command_that_gives_them_one() {
    let lacking =
        vec![missing("a-1", Some("deployment/a")), missing("a-2", Some("deployment/a")), missing("bare", None)];
    let status = of(&mirror(json!({})), vec![told("b", json!({}))], lacking);
    assert_eq!(said(&status, INJECTION_COMPLETE), "False/PodsMissingAgent");
    assert_eq!(said(&status, READY), "False/PodsMissingAgent");
    assert_eq!(said(&status, SYNCED), "True/InSync", "of those with an agent");
    let words = message(&status, INJECTION_COMPLETE);
    assert!(words.contains("kubectl -n ml rollout restart deployment/a"), "{words}");
    assert!(
        words.contains("3 pods are without an agent: a-1, a-2, bare") && words.contains("1 of them can't be restarted"),
        "{words}"
    );
    assert_eq!((status.pods.matched, status.pods.injected, status.pods.missing), (4, 1, 3));
    assert_eq!(said(&status, STALLED), "True/PodsMissingAgent");
}

#[test]
fn pods_that_the_operator_restarts_itself_are_on_the_way() {
    let restarting = mirror(json!({ "rollout": { "onMissing": "Restart" } }));
    let status = of(&restarting, vec![], vec![missing("a-1", Some("deployment/a"))]);
    assert_eq!(
        (said(&status, RECONCILING), said(&status, STALLED)),
        ("True/PodsMissingAgent".into(), "False/GoingOn".into())
    );
    let bare = of(&restarting, vec![], vec![missing("bare", None)]);
    assert_eq!(said(&bare, STALLED), "True/PodsMissingAgent", "nobody restarts it");
}

#[test]
fn mirrors_in_each_others_way_are_refused_by_a_condition() {
    let because = Some(("SameVolume", "SyncMirrors models and other keep the same files".to_owned()));
    let pod = Missing { because, ..missing("a", Some("deployment/a")) };
    let status = of(&mirror(json!({})), vec![], vec![pod]);
    assert_eq!(
        (said(&status, READY), said(&status, INJECTION_COMPLETE)),
        ("False/SameVolume".into(), "False/SameVolume".into())
    );
    assert!(message(&status, READY).contains("models and other"));
}

#[test]
fn conflicts_are_told_and_leave_the_mirror_in_step() {
    let status = of(&mirror(json!({})), vec![told("a", json!({ "conflicts": 2 }))], vec![]);
    assert_eq!(said(&status, CONFLICTS_PRESENT), "True/ConflictsUnresolved");
    assert_eq!(said(&status, READY), "True/KeptInStep");
    assert_eq!(status.conflicts, 2);
}

/// The end of a pod that had two files left, `minutes` before now.
fn ending(pod: &str, minutes: i64, volumes_gone: &[&str], over: Value) -> Ending {
    let mut receipt = json!({
        "mirror": "models", "flushed": false, "hydrated": true, "reason": "no answer in time", "finished": "2026-03-01T11:00:00Z",
        "pending": { "files": 2, "bytes": 20, "first": ["a.bin", "b.bin"] },
    });
    lay_over(&mut receipt, &over);
    Ending {
        pod: pod.to_owned(),
        uid: pod.to_owned(),
        at: now() - SignedDuration::from_mins(minutes),
        receipt: serde_json::from_value(receipt).unwrap(),
        volumes_gone: volumes_gone.iter().map(|&name| name.to_owned()).collect(),
        told: false,
    }
}

#[test]
fn files_that_went_with_their_pod_are_at_risk_and_those_on_a_volume_that_stays_are_not() {
    let mirror = mirror(json!({}));
    let after = |endings: Vec<Ending>| status(&Facts { endings, ..facts(&mirror, vec![], vec![]) }, None);
    assert_eq!(said(&after(vec![]), DATA_AT_RISK), "False/NothingLost");
    let lost = after(vec![ending("t-1", 5, &["data"], json!({})), ending("t-0", 9, &["data"], json!({}))]);
    assert_eq!(said(&lost, DATA_AT_RISK), "True/FilesNotSent");
    let words = message(&lost, DATA_AT_RISK);
    assert!(words.contains("pod t-1 ended with 2 files of 20 bytes unsent (no answer in time)"), "{words}");
    assert!(words.contains("1 more in the last day, with 2 files of 20 bytes") && !words.contains("a.bin"), "{words}");
    assert_eq!(said(&lost, READY), "True/NoPods", "what runs now is none the worse");

    let claim = ending("t-0", 5, &["another"], json!({}));
    assert_eq!(said(&after(vec![claim.clone()]), DATA_AT_RISK), "False/NothingLost");
    let (kept, gone) = (event(&mirror, &claim), event(&mirror, &ending("t-0", 5, &["data"], json!({}))));
    assert_eq!((kept.reason.as_str(), kept.good), ("UnsentDataKept", true));
    assert!(kept.note.contains("the next pod with it sends what is there"), "{}", kept.note);
    assert_eq!((gone.reason.as_str(), gone.good), ("DataAtRisk", false));
    assert!(gone.note.ends_with("First: a.bin, b.bin"), "{}", gone.note);
}

#[test]
fn a_flush_that_could_not_look_or_was_cut_off_is_told_as_that() {
    let mirror = mirror(json!({}));
    let words = |over: Value| event(&mirror, &ending("t-0", 5, &["data"], over)).note;
    let blind = words(json!({ "pending": { "files": 0, "bytes": 0, "first": [] } }));
    assert!(blind.contains("without knowing whether everything was sent (no answer in time)"), "{blind}");
    let killed = words(json!({ "reason": null, "finished": null }));
    assert!(killed.contains("2 files of 20 bytes unsent (its agent was killed before it was through)"), "{killed}");
}

#[test]
fn a_pod_that_could_not_have_written_anything_loses_nothing() {
    let unfilled = ending("t-0", 5, &["data"], json!({ "hydrated": false }));
    let filled = ending("t-0", 5, &["data"], json!({}));
    assert!(counts(&mirror(json!({})), &filled));
    assert!(!counts(&mirror(json!({})), &unfilled), "its application never started");
    assert!(counts(&mirror(json!({ "hydration": { "onTimeout": "Start" } })), &unfilled));
    assert!(counts(&mirror(json!({ "hydration": { "mode": "None" } })), &unfilled));
    assert!(!counts(&mirror(json!({ "direction": "Pull" })), &filled));
}

#[test]
fn a_new_leader_goes_on_telling_of_data_at_risk_until_a_day_is_over() {
    let mirror = mirror(json!({}));
    let lost = Facts { endings: vec![ending("t-0", 0, &["data"], json!({}))], ..facts(&mirror, vec![], vec![]) };
    let before = status(&lost, None);
    let at = |hours: i64| Facts { now: now() + SignedDuration::from_hours(hours), ..facts(&mirror, vec![], vec![]) };
    assert!(same(&status(&at(23), Some(&before)), Some(&before)));
    assert_eq!(said(&status(&at(24), Some(&before)), DATA_AT_RISK), "False/NothingLost");
}

#[test]
fn releases_may_lie_two_minors_apart_and_more_is_a_condition() {
    let of_version = |version: &str| {
        let agent = agent("a", Seen::Told { version: version.to_owned(), state: state(json!({})) });
        let mirror = mirror(json!({}));
        let facts = Facts { version: "1.5.0", ..facts(&mirror, vec![agent], vec![]) };
        let status = status(&facts, None);
        (said(&status, AGENTS_UP_TO_DATE), status.pods.outdated, said(&status, READY))
    };
    assert_eq!(of_version("1.5.0"), ("True/UpToDate".into(), 0, "True/KeptInStep".into()));
    assert_eq!(of_version("1.3.9"), ("False/AgentsOutdated".into(), 1, "True/KeptInStep".into()));
    assert_eq!(of_version("1.2.0"), ("False/VersionSkew".into(), 1, "True/KeptInStep".into()));
    assert_eq!(of_version("1.7.0"), ("True/UpToDate".into(), 0, "True/KeptInStep".into()));
    assert_eq!(of_version("1.8.0"), ("False/VersionSkew".into(), 0, "True/KeptInStep".into()));
    assert_eq!(of_version("2.5.0"), ("False/VersionSkew".into(), 0, "True/KeptInStep".into()));
}

#[test]
fn a_mirror_at_rest_has_nothing_new_to_write_however_long() {
    let mirror = mirror(json!({}));
    let before = of(&mirror, vec![told("a", json!({}))], vec![]);
    let mut later =
        facts(&mirror, vec![told("a", json!({ "last_sync": "2026-03-01T12:10:00Z", "lag_seconds": 0.3 }))], vec![]);
    later.now = now() + SignedDuration::from_mins(10);
    assert!(same(&status(&later, Some(&before)), Some(&before)));
    assert!(!same(&before, None));
    let busy = facts(&mirror, vec![told("a", json!({ "pending": { "files": 1, "bytes": 1 } }))], vec![]);
    assert!(!same(&status(&busy, Some(&before)), Some(&before)));
}

#[test]
fn a_request_is_repeated_once_every_pod_has_done_it() {
    let mirror = mirror(json!({ "syncRequest": "two" }));
    let before = SyncMirrorStatus { last_sync_request: "one".to_owned(), ..SyncMirrorStatus::default() };
    let repeated = |agents: Vec<Agent>| status(&facts(&mirror, agents, vec![]), Some(&before)).last_sync_request;
    let did = |pod: &str, request: &str| told(pod, json!({ "request": request }));
    assert_eq!(repeated(vec![did("a", "two"), did("b", "one")]), "one");
    assert_eq!(repeated(vec![did("a", "two"), agent("b", Seen::Starting)]), "one");
    assert_eq!(repeated(vec![did("a", "two"), did("b", "two")]), "two");
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let mirror = mirror(json!({}));
    let before = of(&mirror, vec![told("a", json!({}))], vec![]);
    let mut busy = facts(&mirror, vec![told("a", json!({ "pending": { "files": 1, "bytes": 1 } }))], vec![]);
    busy.now = now() + SignedDuration::from_secs(60);
    let after = status(&busy, Some(&before));
    let time = |status: &SyncMirrorStatus, type_: &str| {
        status.conditions.iter().find(|condition| condition.type_ == type_).unwrap().last_transition_time.0
    };
    assert_eq!(time(&after, READY), now());
    assert_eq!(time(&after, SYNCED), busy.now);
}

#[test]
fn a_status_is_bounded_whatever_agents_say() {
    let long = "x".repeat(5_000);
    let pods = (0..500).map(|n| agent(&format!("pod-{n:03}"), Seen::Unreachable(long.clone()))).collect();
    let lacking = (0..500).map(|n| missing(&format!("lacking-{n:03}"), Some(&format!("deployment/d-{n}")))).collect();
    let status = of(&mirror(json!({})), pods, lacking);
    assert_eq!(status.worst_pods.len(), 10);
    assert!(serde_json::to_string(&status).unwrap().len() < 32_000);
}

#[test]
fn the_worst_come_first() {
    let pods = vec![
        told("d", json!({ "pending": { "files": 1, "bytes": 1 } })),
        agent("c", Seen::Starting),
        agent("b", Seen::NotRunning("ImagePullBackOff".to_owned(), "no such image".to_owned())),
        told("a", json!({ "halts": ["root-missing"] })),
    ];
    let status = of(&mirror(json!({})), pods, vec![]);
    let names: Vec<&str> = status.worst_pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert_eq!(status.summary, "0/4 in sync, 1 halted, 1 not running, 1 starting, 1 syncing");
}

#[test]
fn news_are_edges_for_the_worse_and_the_end_of_them() {
    let mirror = mirror(json!({}));
    let good = of(&mirror, vec![told("a", json!({}))], vec![]);
    let bad = of(&mirror, vec![told("a", json!({ "errors": [{ "class": "bucket" }] }))], vec![]);
    assert_eq!(news(&good, None), []);
    let worse = news(&bad, Some(&good));
    assert_eq!((worse.len(), worse[0].reason.as_str(), worse[0].good), (1, "BucketNotFound", false));
    assert_eq!(news(&bad, Some(&bad)), []);
    let better = news(&good, Some(&bad));
    assert_eq!((better.len(), better[0].reason.as_str(), better[0].good), (1, "KeptInStep", true));
    let starting = of(&mirror, vec![agent("a", Seen::Starting)], vec![]);
    assert_eq!(news(&starting, Some(&good)), [], "a pod that comes up is none");
}

#[test]
fn words_of_newer_agents_and_missing_ones_are_read_all_the_same() {
    let text = r#"{"version":"9.9.9","brand_new":[1],"mirrors":[{"name":"models","status":"dreaming","phase":"flying","errors":[{"class":"x","more":1}]}]}"#;
    let state: AgentState = serde_json::from_str(text).unwrap();
    assert_eq!(state.mirror("models").unwrap().status, "dreaming");
    assert_eq!(state.mirror("other"), None);
}
