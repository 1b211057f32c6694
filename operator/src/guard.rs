//! The guard: admission policies that the API server evaluates by itself, also while the operator is away. They see pods after
//! all webhooks, and refuse or warn about those that should have an agent and have none.
//!
//! Only pods that ask for an agent by their label, and those of a mirror with `guard: Deny`, can be refused. Everything else
//! passes.

use gosync_crds::agent::CONFIG_FOLDER;
use gosync_crds::schema::to_yaml;
use serde_json::{Value, json};

use crate::inject::{CONTAINER, GUARD_ANNOTATION, INJECT_LABEL, MIRRORS_ANNOTATION, NOT_INJECTED_ANNOTATION};

/// The policies with their bindings are kept in this file, in this crate's folder.
pub const FILE: &str = "guard.yaml";

const BEGINNING: &str = "\
# Made from operator/src/guard.rs by `GOSYNC_REGENERATE=1 cargo test -p gosync-operator`: edit that.
# A test fails when the two differ.
";

/// Pods that ask for an agent.
const OPTED_IN: &str = "gosync-guard";
/// Pods that a mirror with `guard: Deny` concerns.
const DENIED: &str = "gosync-guard-deny";
/// Pods that a mirror merely selects.
const WARNED: &str = "gosync-guard-warn";

/// The policies and their bindings, in order.
pub fn objects() -> Vec<Value> {
    let mut out = Vec::new();
    for policy in policies() {
        out.push(policy.policy());
        out.push(policy.binding());
    }
    out
}

/// The same as it stands in [`FILE`].
pub fn yaml() -> String {
    let documents: Vec<String> = objects().iter().map(to_yaml).collect();
    format!("{BEGINNING}{}", documents.join("---\n"))
}

struct Policy {
    name: &'static str,
    /// Evaluated for each SyncMirror of the pod's namespace.
    mirrors: bool,
    action: &'static str,
    /// Names with their expressions, each of which may use those before it.
    variables: Vec<(&'static str, String)>,
    /// What has to hold.
    validation: String,
    /// Why it doesn't: a CEL text.
    message: String,
}

/// What the pod's label says: `'true'`, `'false'`, or `''` where it has none.
fn wish() -> String {
    entry("labels", INJECT_LABEL)
}

fn annotation(name: &str) -> String {
    entry("annotations", name)
}

/// An entry of the pod's labels or annotations, `''` where there is none.
fn entry(of: &str, name: &str) -> String {
    let all = format!("object.metadata.{of}");
    format!("has({all}) && '{name}' in {all} ? {all}['{name}'] : ''")
}

/// An agent in the right form: one that starts before the application and goes on beside it.
fn has_agent() -> String {
    format!(
        "has(object.spec.initContainers) && object.spec.initContainers.exists(c, c.name == '{CONTAINER}' && has(c.restartPolicy) && c.restartPolicy == 'Always' && has(c.args) && c.args.exists(a, a == '--config={CONFIG_FOLDER}'))"
    )
}

/// The mirror selects the pod. The operators are those of label selectors; the API server sees to it that no others occur.
fn selected() -> String {
    let labels = "variables.labels";
    format!(
        "has(params.spec.selector) \
         && (!has(params.spec.selector.matchLabels) || params.spec.selector.matchLabels.all(k, k in {labels} && {labels}[k] == params.spec.selector.matchLabels[k])) \
         && (!has(params.spec.selector.matchExpressions) || params.spec.selector.matchExpressions.all(e, \
         e.operator == 'In' ? e.key in {labels} && {labels}[e.key] in e.values : \
         e.operator == 'NotIn' ? !(e.key in {labels}) || !({labels}[e.key] in e.values) : \
         e.operator == 'Exists' ? e.key in {labels} : !(e.key in {labels})))"
    )
}

fn off(name: &str) -> String {
    format!("To switch this check off: kubectl delete validatingadmissionpolicybinding {name}")
}

fn policies() -> [Policy; 3] {
    let labels = ("labels", "has(object.metadata.labels) ? object.metadata.labels : {}".to_owned());
    let agent = ("agent", has_agent());
    let concerned = ("concerned", format!("variables.wish != 'false' && ({})", selected()));
    let named = (
        "named",
        "variables.wish == 'true' && variables.names.split(',').exists(n, n.trim() == params.metadata.name)".to_owned(),
    );
    let wish = ("wish", wish());
    let names = ("names", annotation(MIRRORS_ANNOTATION));
    [
        Policy {
            name: OPTED_IN,
            mirrors: false,
            action: "Deny",
            variables: vec![
                wish.clone(),
                ("reason", annotation(NOT_INJECTED_ANNOTATION)),
                ("guard", annotation(GUARD_ANNOTATION)),
                agent.clone(),
            ],
            validation: "variables.wish != 'true' || variables.agent || variables.guard in ['Warn', 'Off']".to_owned(),
            message: format!(
                "'this pod asks for a GoSync agent ({INJECT_LABEL}) and has none, so that its files would not be kept: ' + (variables.reason == '' ? 'the GoSync operator did not answer; the pod is accepted once it does' : variables.reason) + '. To let this pod start without one, annotate it {GUARD_ANNOTATION}: \"Off\". {}'",
                off(OPTED_IN)
            ),
        },
        Policy {
            name: DENIED,
            mirrors: true,
            action: "Deny",
            variables: vec![labels.clone(), wish.clone(), names, agent.clone(), concerned.clone(), named],
            validation: "params.spec.guard != 'Deny' || variables.agent || !(variables.concerned || variables.named)"
                .to_owned(),
            message: format!(
                "'SyncMirror ' + params.metadata.name + ' lets no pod start without a GoSync agent (spec.guard: Deny), and this pod has none. {}'",
                off(DENIED)
            ),
        },
        Policy {
            name: WARNED,
            mirrors: true,
            action: "Warn",
            variables: vec![labels, wish, agent, concerned],
            validation: "!(params.spec.guard in ['', 'Warn']) || variables.agent || variables.wish == 'true' || !variables.concerned".to_owned(),
            message: format!(
                "'SyncMirror ' + params.metadata.name + ' selects this pod, which has no GoSync agent: its files are not kept. {}'",
                off(WARNED)
            ),
        },
    ]
}

impl Policy {
    fn policy(&self) -> Value {
        let variables: Vec<Value> =
            self.variables.iter().map(|(name, expression)| json!({ "name": name, "expression": expression })).collect();
        let mut spec = json!({
            // Without the mirrors (their definition gone, say) nothing is judged by them; pods that ask are judged by themselves alone.
            "failurePolicy": if self.mirrors { "Ignore" } else { "Fail" },
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced",
                }],
                "namespaceSelector": {
                    "matchExpressions": [{ "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"] }],
                },
            },
            // Nothing can be added to the stand-ins of a node's static pods.
            "matchConditions": [{
                "name": "no-stand-in",
                "expression": "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)",
            }],
            "variables": variables,
            "validations": [{ "expression": self.validation, "messageExpression": self.message, "reason": "Forbidden" }],
        });
        if self.mirrors {
            spec["paramKind"] = json!({ "apiVersion": "gosync.dev/v1alpha1", "kind": "SyncMirror" });
        } else {
            spec["matchConstraints"]["objectSelector"] = json!({ "matchLabels": { INJECT_LABEL: "true" } });
        }
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": self.name },
            "spec": spec,
        })
    }

    fn binding(&self) -> Value {
        let mut spec = json!({ "policyName": self.name, "validationActions": [self.action] });
        if self.mirrors {
            // Without a namespace: those of the pod's.
            spec["paramRef"] = json!({ "selector": {}, "parameterNotFoundAction": "Allow" });
        }
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": self.name },
            "spec": spec,
        })
    }
}
