//! The guard's policies, evaluated as the API server does: pods with and without agents, with and without the operator.

use std::fs;
use std::path::Path;

use gosync_crds::SyncMirror;
use gosync_operator::guard;
use gosync_operator::inject::{GUARD_ANNOTATION, INJECT_LABEL, MIRRORS_ANNOTATION, NOT_INJECTED_ANNOTATION, inject};
use kube::core::cel::{VapEvaluator, VapExpression};
use serde_json::{Value, json};

use crate::cases::all;
use crate::known::{mirror, pod, settings};

/// Variables put in where they are used, as the evaluator knows none. It also takes labels for fields of a schema, whose names it
/// escapes; an API server does so for no mapping.
fn inlined(text: &str, variables: &[Value]) -> String {
    let text = variables.iter().rev().fold(text.to_owned(), |text, variable| {
        let name = format!("variables.{}", variable["name"].as_str().unwrap());
        text.replace(&name, &format!("({})", variable["expression"].as_str().unwrap()))
    });
    [INJECT_LABEL, MIRRORS_ANNOTATION, NOT_INJECTED_ANNOTATION, GUARD_ANNOTATION].iter().fold(text, |text, name| {
        let escaped = name.replace('.', "__dot__").replace('/', "__slash__").replace('-', "__dash__");
        text.replace(&format!("'{name}'"), &format!("'{escaped}'"))
    })
}

/// What the policies say of a pod: for each that fails, its action and message.
fn verdicts(pod: &Value, mirrors: &[SyncMirror]) -> Vec<(String, String)> {
    let objects = guard::objects();
    let mut out = Vec::new();
    for pair in objects.chunks(2) {
        let (spec, action) = (&pair[0]["spec"], pair[1]["spec"]["validationActions"][0].as_str().unwrap());
        let wanted = &spec["matchConstraints"]["objectSelector"]["matchLabels"];
        let labels = &pod["metadata"]["labels"];
        if wanted.as_object().is_some_and(|wanted| wanted.iter().any(|(name, value)| labels[name] != *value)) {
            continue;
        }
        let variables = spec["variables"].as_array().unwrap();
        let text = |field: &str| inlined(spec["validations"][0][field].as_str().unwrap(), variables);
        let expression = VapExpression {
            expression: text("expression"),
            message: None,
            message_expression: Some(text("messageExpression")),
        };
        let parameters: Vec<Option<Value>> = match spec["paramKind"].is_object() {
            true => mirrors.iter().map(|mirror| Some(serde_json::to_value(mirror).unwrap())).collect(),
            false => vec![None],
        };
        for parameter in parameters {
            let mut evaluator = VapEvaluator::builder().object(pod.clone());
            if let Some(parameter) = parameter {
                evaluator = evaluator.params(parameter);
            }
            let result = evaluator.build().evaluate(std::slice::from_ref(&expression)).remove(0);
            if !result.passed {
                out.push((action.to_owned(), result.message.unwrap_or_default()));
            }
        }
    }
    out
}

fn injected(pod: &Value, mirrors: &[SyncMirror]) -> Value {
    let mut after = pod.clone();
    json_patch::patch(&mut after, &inject(pod, mirrors, &settings()).patch()).unwrap();
    after
}

fn opted_in() -> Value {
    pod(json!({ "metadata": {
        "labels": { "app": "web", "gosync.dev/inject": "true" },
        "annotations": { "gosync.dev/mirrors": "models" },
    } }))
}

#[test]
fn the_file_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(guard::FILE);
    if std::env::var_os("GOSYNC_REGENERATE").is_some() {
        fs::write(&path, guard::yaml()).unwrap();
    }
    let same = fs::read_to_string(&path).unwrap_or_default() == guard::yaml();
    assert!(same, "run GOSYNC_REGENERATE=1 cargo test -p gosync-operator");
}

#[test]
fn every_pod_that_gets_its_agent_passes() {
    for case in all().into_iter().filter(|case| ["injected", "moved", "AlreadyInjected"].contains(&case.result)) {
        let after = injected(&case.pod, &case.mirrors);
        assert_eq!(verdicts(&after, &case.mirrors), [], "{}", case.name);
    }
}

#[test]
fn pods_that_no_mirror_concerns_are_never_spoken_of() {
    for case in all().into_iter().filter(|case| case.result == "not concerned") {
        assert_eq!(verdicts(&case.pod, &case.mirrors), [], "{}", case.name);
    }
}

#[test]
fn a_pod_that_asks_for_an_agent_is_refused_while_nobody_gives_it_one() {
    let found = verdicts(&opted_in(), &[mirror(json!({}))]);
    assert_eq!(found.len(), 1, "{found:?}");
    let (action, message) = &found[0];
    assert_eq!(action, "Deny");
    assert!(message.contains("the GoSync operator did not answer"), "{message}");
    assert!(message.contains("kubectl delete validatingadmissionpolicybinding gosync-guard"), "{message}");
}

#[test]
fn a_pod_that_asks_and_can_have_none_is_refused_with_the_reason() {
    let found = verdicts(&injected(&opted_in(), &[]), &[]);
    assert!(found[0].1.contains("apply SyncMirror models first"), "{found:?}");
}

#[test]
fn a_mirror_may_let_pods_that_ask_start_without() {
    for guard in ["Warn", "Off"] {
        let mirrors = [mirror(json!({ "guard": guard, "volume": { "name": "other" } }))];
        assert_eq!(verdicts(&injected(&opted_in(), &mirrors), &mirrors), [], "{guard}");
    }
}

#[test]
fn a_selected_pod_without_an_agent_starts_with_a_warning_unless_the_mirror_says_otherwise() {
    let actions = |guard: &str| -> Vec<String> {
        let found = verdicts(&pod(json!({})), &[mirror(json!({ "guard": guard }))]);
        found.into_iter().map(|(action, _)| action).collect()
    };
    assert_eq!(actions(""), ["Warn"]);
    assert_eq!(actions("Warn"), ["Warn"]);
    assert_eq!(actions("Deny"), ["Deny"]);
    assert_eq!(actions("Off"), [""; 0]);
}

#[test]
fn a_pod_that_opted_out_is_let_alone() {
    let out = pod(json!({ "metadata": { "labels": { "gosync.dev/inject": "false" } } }));
    assert_eq!(verdicts(&out, &[mirror(json!({ "guard": "Deny" }))]), []);
}

#[test]
fn a_container_of_that_name_in_another_form_is_no_agent() {
    let mut impostor = opted_in();
    impostor["spec"]["initContainers"] = json!([{ "name": "gosync-agent", "image": "x" }]);
    assert_eq!(verdicts(&impostor, &[]).len(), 1);
}

#[test]
fn selectors_are_understood_as_kubernetes_understands_them() {
    let expressions = [
        (json!([{ "key": "app", "operator": "In", "values": ["trainer", "x"] }]), true),
        (json!([{ "key": "app", "operator": "NotIn", "values": ["trainer"] }]), false),
        (json!([{ "key": "tier", "operator": "NotIn", "values": ["a"] }]), true),
        (json!([{ "key": "app", "operator": "Exists" }]), true),
        (json!([{ "key": "app", "operator": "DoesNotExist" }]), false),
        (json!([{ "key": "tier", "operator": "DoesNotExist" }]), true),
        (json!([]), true),
    ];
    for (expressions, selects) in expressions {
        let mirrors =
            [mirror(json!({ "guard": "Deny", "selector": { "matchLabels": null, "matchExpressions": expressions } }))];
        assert_eq!(!verdicts(&pod(json!({})), &mirrors).is_empty(), selects, "{:?}", mirrors[0].spec.selector);
        let agent = !injected(&pod(json!({})), &mirrors)["spec"]["initContainers"].is_null();
        assert_eq!(agent, selects, "the webhook and the guard agree");
    }
}
