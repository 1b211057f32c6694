//! One question of an API server and its answer, as JSON: an AdmissionReview in, an AdmissionReview out.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::Known;
use crate::inject::{Outcome, Settings, inject};

/// Longest warning that an API server passes on whole, in bytes.
const WARNING_BYTES_MAX: usize = 256;

/// A question that can't be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is missing from the AdmissionReview")]
pub struct BadReview {
    what: &'static str,
}

/// An answer with what is counted and logged of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The AdmissionReview to send.
    pub review: Value,
    /// What became of the pod.
    pub result: &'static str,
    /// Why it gets no agent; empty where it does.
    pub reason: &'static str,
    /// The pod's name, or the beginning of it.
    pub pod: String,
}

/// Answers. The pod is always allowed: refusing is the guard's.
pub fn answer(review: &Value, known: &dyn Known, settings: Settings) -> Result<Answer, BadReview> {
    let request = &review["request"];
    let uid = request["uid"].as_str().ok_or(BadReview { what: "request.uid" })?;
    let pod = request.get("object").filter(|object| object.is_object()).ok_or(BadReview { what: "request.object" })?;
    let namespace = request["namespace"].as_str().unwrap_or_default();
    let settings = Settings { restricted_namespace: known.restricted(namespace), ..settings };
    let outcome = inject(pod, &known.mirrors(namespace), &settings);
    let (result, reason) = match &outcome {
        Outcome::NotConcerned => ("not-concerned", ""),
        Outcome::Skipped { skip, .. } => ("skipped", skip.reason()),
        Outcome::Injected(_) => ("injected", ""),
        Outcome::Moved(_) => ("moved", ""),
    };
    let mut response = json!({ "uid": uid, "allowed": true });
    let patch = outcome.patch();
    if !patch.0.is_empty() {
        let patch = serde_json::to_vec(&patch).unwrap_or_default();
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(BASE64_STANDARD.encode(patch));
    }
    let warnings: Vec<String> = outcome.messages().iter().map(|message| shortened(message)).collect();
    if !warnings.is_empty() {
        response["warnings"] = json!(warnings);
    }
    let metadata = &pod["metadata"];
    let name = metadata["name"].as_str().or_else(|| metadata["generateName"].as_str()).unwrap_or_default();
    Ok(Answer {
        review: json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response }),
        result,
        reason,
        pod: name.to_owned(),
    })
}

fn shortened(text: &str) -> String {
    if text.len() <= WARNING_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = WARNING_BYTES_MAX - "…".len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
