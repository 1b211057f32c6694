//! The agent's resources. They never lower the pod's class of service: what is Guaranteed stays so.

use gosync_crds::SyncMirror;
use serde_json::{Map, Value, json};

use super::pod::Pod;
use super::quantity::{bytes, written};
use super::reason::Warning;

/// Asked for where a mirror doesn't say otherwise.
const REQUEST_CPU: &str = "25m";
const REQUEST_MEMORY: &str = "64Mi";
/// Memory limit, to which volumes in memory are added, in bytes.
const LIMIT_MEMORY_BYTES: u64 = 256 << 20;
/// CPU of a pod that is Guaranteed, where requests have to be limits.
const GUARANTEED_CPU: &str = "250m";

/// The container's resources.
pub fn of(pod: &Pod<'_>, mirrors: &[&SyncMirror], warnings: &mut Vec<Warning>) -> Value {
    let own = &mirrors[0].spec.agent.resources;
    let named = |map: &std::collections::BTreeMap<String, _>| -> Map<String, Value> {
        map.iter().map(|(name, quantity)| (name.clone(), json!(quantity))).collect()
    };
    let (mut requests, mut limits) = (named(&own.requests), named(&own.limits));
    // Where the pod as a whole has resources, containers share them, and further requests might not fit in.
    if pod.value()["spec"]["resources"].is_object() {
        return written_out(requests, limits);
    }
    let memory = memory_limit(pod, mirrors, warnings);
    if guaranteed(pod) {
        limits.entry("cpu").or_insert_with(|| requests.get("cpu").cloned().unwrap_or(json!(GUARANTEED_CPU)));
        if let Some(memory) = memory {
            limits.entry("memory").or_insert_with(|| requests.get("memory").cloned().unwrap_or(json!(memory)));
        } else {
            let least = json!(written(LIMIT_MEMORY_BYTES));
            limits.entry("memory").or_insert_with(|| requests.get("memory").cloned().unwrap_or(least));
        }
        for name in ["cpu", "memory"] {
            if let Some(limit) = limits.get(name) {
                requests.insert(name.to_owned(), limit.clone());
            }
        }
        return written_out(requests, limits);
    }
    // Kubernetes takes a limit that stands alone for the request too: no default of ours may pass it.
    if !limits.contains_key("cpu") {
        requests.entry("cpu").or_insert(json!(REQUEST_CPU));
    }
    if !limits.contains_key("memory") {
        requests.entry("memory").or_insert(json!(REQUEST_MEMORY));
        let asked = requests["memory"].as_str().and_then(bytes).unwrap_or(0);
        if let Some(memory) = memory {
            let enough = bytes(&memory).unwrap_or(0).max(asked);
            limits.insert("memory".to_owned(), json!(written(enough)));
        }
    }
    written_out(requests, limits)
}

fn written_out(requests: Map<String, Value>, limits: Map<String, Value>) -> Value {
    let mut out = json!({});
    for (name, map) in [("requests", requests), ("limits", limits)] {
        if !map.is_empty() {
            out[name] = Value::Object(map);
        }
    }
    out
}

/// What an agent writes to a volume in memory counts as its own memory. None: it can't be bounded.
fn memory_limit(pod: &Pod<'_>, mirrors: &[&SyncMirror], warnings: &mut Vec<Warning>) -> Option<String> {
    let mut limit = LIMIT_MEMORY_BYTES;
    let mut bounded = true;
    let mut volumes: Vec<&str> = mirrors.iter().map(|mirror| mirror.spec.volume.name.as_str()).collect();
    volumes.sort_unstable();
    volumes.dedup();
    for name in volumes {
        let empty_dir = pod.volume(name).map_or(&Value::Null, |volume| &volume["emptyDir"]);
        if empty_dir["medium"] != "Memory" {
            continue;
        }
        let size = match &empty_dir["sizeLimit"] {
            Value::String(text) => bytes(text),
            Value::Number(number) => number.as_u64(),
            _ => None,
        };
        match size.filter(|size| *size > 0) {
            Some(size) => limit = limit.saturating_add(size),
            None => {
                bounded = false;
                warnings.push(Warning::UnlimitedMemoryVolume { volume: name.to_owned() });
            }
        }
    }
    bounded.then(|| written(limit))
}

/// Every container has limits of CPU and memory, and asks for just as much.
fn guaranteed(pod: &Pod<'_>) -> bool {
    let mut containers = pod.all_containers().peekable();
    containers.peek().is_some()
        && containers.all(|container| {
            let resources = &container["resources"];
            ["cpu", "memory"].iter().all(|name| {
                let (limit, request) = (&resources["limits"][name], &resources["requests"][name]);
                !limit.is_null() && (request.is_null() || request == limit)
            })
        })
}
