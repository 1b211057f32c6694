//! The reference of the resource as a page for people, `docs/syncmirror.md`: each field with type, default, meaning and
//! what becomes of it. Made from the schema and the table, so that it can't know a field that they don't.

use serde_json::Value;

use crate::agent::{TABLE, Use};
use crate::schema;

const BEGINNING: &str = "\
# SyncMirror

<!-- Made by `GOSYNC_REGENERATE=1 cargo test -p gosync-crds` from the types in crds/src: edit those. A test fails when the two differ. -->

A SyncMirror says which volume of which pods is kept in step with which prefix of a bucket. `kubectl explain syncmirror.spec` prints the same
words. The last column says which key of the [agent's config](configuration.md) a field becomes; keys of an entry of `syncs` begin with
`syncs[].`. Fields without a default may be left out, unless they are *required*.

Of several mirrors of one pod, the first by name decides about the keys outside `syncs`.

| field | type | default | meaning | becomes |
|---|---|---|---|---|
";

const ENDING: &str = "
## What the status says

`kubectl get smir` shows the most of it; `kubectl describe` all. It is written every 15 seconds at most, and not at all while nothing
changed: `lastSyncTime` alone is no change, and lags are rounded. The numbers are sums over the pods.

| condition | True | otherwise |
|---|---|---|
| `Ready` | every pod is kept in step, or there is none | the reason of the pod that stands worst; `Unknown` with `StatusUnreachable` where an agent can't be asked |
| `Synced` | no agent has anything to send or fetch | `Syncing`, or what keeps it from that |
| `InjectionComplete` | every pod has its agent | `PodsMissingAgent`, with the command that gives them one; `SameVolume`, `SamePrefix`, `MirrorMissing` where a restart would not help; the first two also where pods would lose theirs with the next restart |
| `AgentsUpToDate` | no agent is older than the operator | `AgentsOutdated`; `VersionSkew` where they are more than two minor releases apart |
| `ConflictsPresent` | conflict copies wait for somebody to choose | there are none |
| `DataAtRisk` | a pod of the last day ended with files that were not sent, and its volume went with it: `FilesNotSent` | `NothingLost` |
| `Reconciling` | it is on its way to being ready by itself: `Hydrating`, `Starting`, `WaitingForConfig` | it stands still |
| `Stalled` | it waits for a person: a halt (`FirstMergeHalted`, `TooManyDeletesHalted` and so on), `CredentialsMissing`, `BucketNotFound`, `VolumePermission`, `SharedVolumeNeedsPostgres`, `HydrationSlow`, pods that nobody restarts | nothing needs a person |

They are those that kstatus reads, so that `kubectl wait --for=condition=Ready`, Helm, Argo CD and Flux understand them. A message names the
object at fault. What changed for the worse, and that it is over, is an Event too.

## At the end of a pod

The agent sends what is left, for `drain.timeoutSeconds` at most, and leaves a receipt as the termination message of its container. What it
could not send is an Event that names the pod and the first paths. On a volume that stays, such as a claim, the next pod sends it, and the
Event is `UnsentDataKept`. What was on an emptyDir or another volume of the pod's own is lost with it: the Event is `DataAtRisk`, and the
condition of that name says so for a day, with files and bytes. A longer `drain.timeoutSeconds` or a claim keeps it from happening again. Of a
pod whose agent is killed without a word (its node is gone, it ran out of memory) nothing is known.

## Pods that were there before

A SyncMirror gives an agent to pods that are made after it. Those that run already are counted as `missing`, and the condition
`InjectionComplete` holds the `kubectl rollout restart` line for them. With `rollout.onMissing: Restart` the operator does it: Deployments,
StatefulSets and DaemonSets, once for each generation of mirror and workload, while all their pods are up to date and ready, and only after a
dry run has shown that a new pod gets its agent. It never restarts what is paused or has the update strategy `OnDelete`; bare pods and those
of Jobs are only told. An emptyDir ends with its pod, as in any restart.
";

/// The whole page.
pub fn page() -> String {
    let mut out = BEGINNING.to_owned();
    for leaf in leaves() {
        let cells = [format!("`{}`", leaf.field), leaf.kind, leaf.default, leaf.description, becomes(&leaf.field)];
        out += &format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    out + ENDING
}

/// A field that holds a value rather than further fields of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The field below `spec`.
    pub field: String,
    /// What belongs there.
    pub kind: String,
    /// What holds when nothing is written.
    pub default: String,
    /// What it does.
    pub description: String,
}

/// The fields of the spec in the order of the table, then those that it lacks.
pub fn leaves() -> Vec<Leaf> {
    let mut leaves = Vec::new();
    let schema = schema::open_api();
    if let Some(spec) = schema.pointer("/properties/spec") {
        below(spec, "", "", &mut leaves);
    }
    let rank = |leaf: &Leaf| TABLE.iter().position(|row| row.field == leaf.field).unwrap_or(usize::MAX);
    leaves.sort_by_key(rank);
    leaves
}

fn below(schema: &Value, path: &str, required: &str, leaves: &mut Vec<Leaf>) {
    let whole = TABLE.iter().any(|row| row.field == path);
    let Some(properties) = schema["properties"].as_object().filter(|_| !whole) else {
        leaves.push(leaf(schema, path, required));
        return;
    };
    for (name, property) in properties {
        let field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let must = schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name));
        below(property, &field, if must { "*required*" } else { "" }, leaves);
    }
}

fn leaf(schema: &Value, path: &str, required: &str) -> Leaf {
    let words = schema["enum"].as_array().map(|words| {
        let words: Vec<String> = words
            .iter()
            .filter_map(Value::as_str)
            .filter(|word| !word.is_empty())
            .map(|word| format!("`{word}`"))
            .collect();
        words.join(", ")
    });
    let range = match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", {least} or more"),
        _ => String::new(),
    };
    let kind = words.unwrap_or_else(|| format!("{}{range}", schema["type"].as_str().unwrap_or_default()));
    let default = match &schema["default"] {
        Value::Null => required.to_owned(),
        value => format!("`{value}`"),
    };
    let description = schema["description"].as_str().unwrap_or_default().to_owned();
    Leaf { field: path.to_owned(), kind, default, description }
}

/// The keys of a field, or what the operator does with it.
fn becomes(field: &str) -> String {
    let uses = TABLE.iter().filter(|row| row.field == field).map(|row| match row.becomes {
        Use::Base(key, _) => format!("`{key}`"),
        Use::Mirror(key, _) => format!("`syncs[].{key}`"),
        Use::Operator(does) => does.to_owned(),
    });
    uses.collect::<Vec<_>>().join(", ")
}
