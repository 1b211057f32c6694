//! The agent's container: a native sidecar, an init container that goes on running.

use gosync_crds::SyncMirror;
use gosync_crds::agent::{CONFIG_FOLDER, FILE_MODE_VARIABLE, RUN_FOLDER, SOCKET, TERMINATION_MESSAGE, volume_path};
use serde_json::{Value, json};

use super::pod::{Pod, list};
use super::reason::Warning;
use super::{CONTAINER, METRICS_PORT, Settings, resources, security, volumes};

/// The binary in the agent's image.
const BINARY: &str = "/usr/local/bin/gosync";
/// Where Kubernetes puts the API token of the pod's service account, into every container that has nothing there.
const TOKEN_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The agent itself applies the time for hydration: the kubelet would kill it in the middle. So many tries, one a second.
const STARTUP_TRIES: u32 = 86_400;

/// Where the pod's init containers have ours.
pub fn own(pod: &Pod<'_>) -> Option<usize> {
    let config = json!(format!("--config={CONFIG_FOLDER}"));
    let mut containers = pod.init_containers();
    containers.position(|container| {
        container["name"] == CONTAINER
            && container["restartPolicy"] == "Always"
            && list(&container["args"]).any(|argument| *argument == config)
    })
}

/// The container.
pub fn build(
    pod: &Pod<'_>,
    mirrors: &[&SyncMirror],
    settings: &Settings,
    port: i64,
    warnings: &mut Vec<Warning>,
) -> Value {
    let mut exposed = json!({ "name": METRICS_PORT, "containerPort": port, "protocol": "TCP" });
    if pod.host_network() {
        // So that the scheduler keeps two of them from one node.
        exposed["hostPort"] = json!(port);
    }
    let get = |path: &str| json!({ "path": path, "port": port, "scheme": "HTTP" });
    let mut container = json!({
        "name": CONTAINER,
        "image": settings.image,
        "args": ["agent", format!("--config={CONFIG_FOLDER}")],
        "restartPolicy": "Always",
        "env": environment(pod, port),
        "ports": [exposed],
        "startupProbe": { "httpGet": get("/startupz"), "periodSeconds": 1, "failureThreshold": STARTUP_TRIES },
        // Of the process alone: no outside part is asked.
        "livenessProbe": { "httpGet": get("/livez"), "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6 },
        // Starts the flush and returns; what is left when SIGTERM comes is drained then.
        "lifecycle": { "preStop": { "exec": { "command": [BINARY, "--quiet", "sync", "flush"] } } },
        "resources": resources::of(pod, mirrors, warnings),
        "securityContext": security::context(pod, mirrors, settings, warnings),
        "volumeMounts": mounts(mirrors),
    });
    if let Some(policy) = &settings.image_pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    container
}

fn environment(pod: &Pod<'_>, port: i64) -> Value {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let text = |name: &str, value: &str| json!({ "name": name, "value": value });
    let mut variables = vec![
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("NODE_NAME", "spec.nodeName"),
        // Wins over the config: probes are part of the pod and can't follow an edit of it.
        text("GOSYNC_AGENT_METRICS_LISTEN", &format!("0.0.0.0:{port}")),
        text("GOSYNC_SOCKET", SOCKET),
        text(TERMINATION_MESSAGE.0, TERMINATION_MESSAGE.1),
        // The root file system is read-only.
        text("TMPDIR", RUN_FOLDER),
    ];
    if pod.fs_group().is_some() {
        // The kubelet gives the group rights to every file at each mount: only the executable bit is the application's.
        variables.push(text(FILE_MODE_VARIABLE, "exec"));
    }
    Value::Array(variables)
}

fn mounts(mirrors: &[&SyncMirror]) -> Value {
    let mut mounts = vec![
        json!({ "name": volumes::CONFIG, "mountPath": CONFIG_FOLDER, "readOnly": true }),
        json!({ "name": volumes::RUN, "mountPath": RUN_FOLDER }),
        // The application's rights in the cluster are none of the agent's: an empty folder takes the token's place.
        json!({ "name": volumes::RUN, "mountPath": TOKEN_FOLDER, "subPath": "no-token", "readOnly": true }),
    ];
    let mut names: Vec<&str> = mirrors.iter().map(|mirror| mirror.spec.volume.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    mounts.extend(names.iter().map(|name| json!({ "name": name, "mountPath": volume_path(name) })));
    Value::Array(mounts)
}
