//! Every case against its stated result and its file. `GOSYNC_REGENERATE=1` writes the files anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gosync_crds::schema::to_yaml;
use gosync_operator::inject::{Outcome, inject};
use serde_json::json;

use crate::cases::{Case, all};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

fn word(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::NotConcerned => "not concerned",
        Outcome::Skipped { skip, .. } => skip.reason(),
        Outcome::Injected(_) => "injected",
        Outcome::Moved(_) => "moved",
    }
}

fn golden(case: &Case) -> String {
    let outcome = inject(&case.pod, &case.mirrors, &case.settings);
    to_yaml(&json!({ "result": word(&outcome), "messages": outcome.messages(), "patch": outcome.patch() }))
}

#[test]
fn every_shape_of_pod_has_its_stated_result() {
    let mut wrong = Vec::new();
    for case in all() {
        let outcome = inject(&case.pod, &case.mirrors, &case.settings);
        if word(&outcome) != case.result {
            wrong.push(format!("{}: {}, not {}: {:?}", case.name, word(&outcome), case.result, outcome.messages()));
        }
        if let Outcome::Injected(injection) = &outcome {
            let told: Vec<String> = injection.warnings.iter().map(ToString::to_string).collect();
            let all_told = case.warnings.iter().all(|words| told.iter().any(|warning| warning.contains(words)));
            if told.len() != case.warnings.len() || !all_told {
                wrong.push(format!("{}: warnings {told:?}, not {:?}", case.name, case.warnings));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_shape_of_pod_gets_exactly_what_its_file_says() {
    let regenerate = std::env::var_os("GOSYNC_REGENERATE").is_some();
    let mut differing = Vec::new();
    let mut files = BTreeSet::new();
    for case in all() {
        let path = folder().join(format!("{}.yaml", case.name));
        let text = golden(&case);
        if regenerate {
            fs::write(&path, &text).unwrap();
        }
        if fs::read_to_string(&path).unwrap_or_default() != text {
            differing.push(case.name);
        }
        assert!(files.insert(path), "two cases are called {}", case.name);
    }
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        assert!(files.contains(&path), "{} is no case's", path.display());
    }
    assert!(
        differing.is_empty(),
        "look at them, then run GOSYNC_REGENERATE=1 cargo test -p gosync-operator: {differing:?}"
    );
}
