//! Single sentences about the agent's container that goldens show but don't say.

use gosync_crds::SyncMirror;
use gosync_operator::inject::{CONTAINER, Outcome, inject};
use serde_json::{Value, json};

use crate::cases::all;
use crate::known::{container, mirror, other, pod, settings, sidecar};

fn injected(pod: &Value, mirrors: &[SyncMirror]) -> Value {
    let outcome = inject(pod, mirrors, &settings());
    assert!(matches!(outcome, Outcome::Injected(_)), "{outcome:?}");
    let mut after = pod.clone();
    json_patch::patch(&mut after, &outcome.patch()).unwrap();
    after
}

fn agent_of(pod: &Value) -> Value {
    pod["spec"]["initContainers"].as_array().unwrap().iter().find(|c| c["name"] == CONTAINER).unwrap().clone()
}

/// Every pod of the list that gets an agent, with it.
fn all_injected() -> Vec<(&'static str, Value)> {
    let cases = all().into_iter().filter(|case| case.result == "injected");
    cases
        .map(|case| {
            let mut after = case.pod.clone();
            json_patch::patch(&mut after, &inject(&case.pod, &case.mirrors, &case.settings).patch()).unwrap();
            (case.name, after)
        })
        .collect()
}

#[test]
fn a_pod_never_waits_for_a_secret_or_config_map_of_ours() {
    for (name, pod) in all_injected() {
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        let config = volumes.iter().find(|volume| volume["name"] == "gosync-config").unwrap();
        for source in config["projected"]["sources"].as_array().unwrap() {
            for (kind, source) in source.as_object().unwrap() {
                assert_eq!(source["optional"], true, "{name}: {kind} {source}");
            }
        }
    }
}

#[test]
fn every_agent_passes_the_restricted_standard_but_for_a_root_that_the_application_is_too() {
    for (name, pod) in all_injected() {
        let context = &agent_of(&pod)["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }), "{name}");
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
        let root = context["runAsUser"] == 0;
        assert_eq!(context["runAsNonRoot"], json!(!root), "{name}");
    }
}

#[test]
fn probes_ask_the_port_that_the_agent_listens_on() {
    for (name, pod) in all_injected() {
        let agent = agent_of(&pod);
        let port = &agent["ports"][0]["containerPort"];
        assert_eq!(&agent["startupProbe"]["httpGet"]["port"], port, "{name}");
        assert_eq!(&agent["livenessProbe"]["httpGet"]["port"], port, "{name}");
        let environment = agent["env"].as_array().unwrap();
        let listen = environment.iter().find(|variable| variable["name"] == "GOSYNC_AGENT_METRICS_LISTEN").unwrap();
        assert_eq!(listen["value"], format!("0.0.0.0:{port}"), "{name}");
        assert!(agent["readinessProbe"].is_null(), "{name}");
    }
}

#[test]
fn every_folder_that_a_mirrors_config_names_is_mounted() {
    for case in all().into_iter().filter(|case| case.result == "injected") {
        let Outcome::Injected(injection) = inject(&case.pod, &case.mirrors, &case.settings) else { panic!() };
        let agent = agent_of(&injected(&case.pod, &case.mirrors));
        let mounts: Vec<&str> =
            agent["volumeMounts"].as_array().unwrap().iter().filter_map(|mount| mount["mountPath"].as_str()).collect();
        for name in injection.mirrors {
            let mirror = case.mirrors.iter().find(|mirror| mirror.mirror_name() == name).unwrap();
            let folder = gosync_crds::agent::volume_path(&mirror.spec.volume.name);
            assert!(mounts.contains(&folder.as_str()), "{}: {folder}", case.name);
            assert!(gosync_crds::agent::mirror(mirror).contains(&folder), "{}", case.name);
        }
    }
}

/// The class of service as Kubernetes computes it.
fn is_guaranteed(pod: &Value) -> bool {
    let containers =
        ["containers", "initContainers"].map(|list| pod["spec"][list].as_array().cloned().unwrap_or_default());
    containers.concat().iter().all(|container| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = &container["resources"]["limits"][name];
            let request = &container["resources"]["requests"][name];
            !limit.is_null() && (request.is_null() || request == limit)
        })
    })
}

#[test]
fn a_guaranteed_pod_stays_guaranteed() {
    let mut seen = 0;
    for case in all().into_iter().filter(|case| case.result == "injected" && is_guaranteed(&case.pod)) {
        assert!(is_guaranteed(&injected(&case.pod, &case.mirrors)), "{}", case.name);
        seen += 1;
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn the_agent_stands_behind_native_proxies_and_before_all_else() {
    let position = |init: Value| -> Vec<String> {
        let pod = injected(&pod(json!({ "spec": { "initContainers": init } })), &[mirror(json!({}))]);
        let containers = pod["spec"]["initContainers"].as_array().unwrap().clone();
        containers.iter().map(|container| container["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(position(json!([other("a", json!({}))])), ["gosync-agent", "a"]);
    assert_eq!(
        position(json!([other("istio-init", json!({})), sidecar("istio-proxy"), other("a", json!({}))])),
        ["istio-init", "istio-proxy", "gosync-agent", "a"]
    );
    // The ordinary proxy starts after all init containers: behind its redirection there would be no network.
    assert_eq!(
        position(json!([other("istio-init", json!({})), other("a", json!({}))])),
        ["gosync-agent", "istio-init", "a"]
    );
}

#[test]
fn volumes_in_memory_are_added_to_the_memory_limit() {
    let volume = json!({ "name": "data", "emptyDir": { "medium": "Memory", "sizeLimit": "1Gi" } });
    let pod = injected(&pod(json!({ "spec": { "volumes": [volume] } })), &[mirror(json!({}))]);
    assert_eq!(agent_of(&pod)["resources"]["limits"]["memory"], "1280Mi");
}

#[test]
fn the_longest_drain_makes_the_grace_period_longer_once() {
    let drain = |name: &str, seconds: i64| {
        crate::known::named(
            name,
            json!({ "volume": { "subPath": name }, "s3": { "prefix": format!("{name}/") }, "drain": { "timeoutSeconds": seconds } }),
        )
    };
    let pod = injected(&pod(json!({})), &[drain("a", 40), drain("b", 70)]);
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 100);
}

#[test]
fn the_uid_is_that_of_the_container_that_writes() {
    let containers = json!([
        other("proxy", json!({ "securityContext": { "runAsUser": 1337 } })),
        container("app", json!({ "securityContext": { "runAsUser": 1000, "runAsGroup": 2000 } })),
    ]);
    let context = agent_of(&injected(&pod(json!({ "spec": { "containers": containers } })), &[mirror(json!({}))]))["securityContext"].clone();
    assert_eq!((&context["runAsUser"], &context["runAsGroup"]), (&json!(1000), &json!(2000)));
}

#[test]
fn the_agent_never_gets_the_api_token_of_the_applications_service_account() {
    for (name, pod) in all_injected() {
        let agent = agent_of(&pod);
        let mounts = agent["volumeMounts"].as_array().unwrap();
        let token = mounts.iter().find(|mount| mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount");
        assert_eq!(token.map(|mount| mount["name"].as_str()), Some(Some("gosync-run")), "{name}");
    }
}
