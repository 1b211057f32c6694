//! Pods and mirrors from files, with every mistake named by file and field.

use std::io::Read;
use std::path::Path;

use gosync_crds::SyncMirror;
use gosync_crds::check;
use serde_json::Value;

use super::Failure;

/// Largest file that is read, in bytes: more than an API server takes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A pod; `-` is standard input.
pub fn pod(path: &Path) -> Result<Value, Failure> {
    let wrong = |message: &str| Failure::Input(vec![format!("{}: {message}", shown(path))]);
    let mut documents = documents(path)?;
    let pod = match documents.len() {
        1 => documents.remove(0),
        number => return Err(wrong(&format!("one pod belongs here, not {number} documents"))),
    };
    match pod["kind"].as_str() {
        Some("Pod") => {}
        Some(kind) => return Err(wrong(&format!("kind: Pod belongs here, not {kind}"))),
        None => return Err(wrong("kind: it is required, and has to be Pod")),
    }
    let mut mistakes = Vec::new();
    let containers = pod["spec"]["containers"].as_array();
    if containers.is_none_or(Vec::is_empty) {
        mistakes.push("spec.containers: a list with at least one container belongs here".to_owned());
    }
    for field in ["containers", "initContainers", "volumes"] {
        let entries = &pod["spec"][field];
        if !entries.is_null() && !entries.is_array() {
            mistakes.push(format!("spec.{field}: a list belongs here"));
        }
        for (index, entry) in entries.as_array().into_iter().flatten().enumerate() {
            if entry["name"].as_str().is_none_or(str::is_empty) {
                mistakes.push(format!("spec.{field}[{index}].name: it is required"));
            }
        }
    }
    for field in ["labels", "annotations"] {
        let entries = &pod["metadata"][field];
        if !entries.is_null() && !entries.is_object() {
            mistakes.push(format!("metadata.{field}: a mapping belongs here"));
        }
        for (name, value) in entries.as_object().into_iter().flatten() {
            if !value.is_string() {
                mistakes.push(format!("metadata.{field}.{name}: a text belongs here; write \"{value}\""));
            }
        }
    }
    if mistakes.is_empty() {
        return Ok(pod);
    }
    mistakes.sort();
    mistakes.dedup();
    Err(Failure::Input(mistakes.iter().map(|mistake| format!("{}: {mistake}", shown(path))).collect()))
}

/// The mirrors of some files, each of which may hold several.
pub fn mirrors(paths: &[impl AsRef<Path>]) -> Result<Vec<SyncMirror>, Failure> {
    let mut mirrors = Vec::new();
    let mut mistakes = Vec::new();
    for path in paths.iter().map(AsRef::as_ref) {
        let documents = match documents(path) {
            Ok(documents) => documents,
            Err(Failure::Input(mut found)) => {
                mistakes.append(&mut found);
                continue;
            }
            Err(other) => return Err(other),
        };
        if documents.is_empty() {
            mistakes.push(format!("{}: it holds no SyncMirror", shown(path)));
        }
        for document in documents {
            match check::read(&document) {
                Ok(mirror) => mirrors.push(mirror),
                Err(problems) => {
                    mistakes.extend(problems.iter().map(|problem| format!("{}: {problem}", shown(path))));
                }
            }
        }
    }
    if mistakes.is_empty() { Ok(mirrors) } else { Err(Failure::Input(mistakes)) }
}

/// The documents of a YAML file (JSON is YAML too), without empty ones.
fn documents(path: &Path) -> Result<Vec<Value>, Failure> {
    let wrong = |message: String| Failure::Input(vec![format!("{}: {message}", shown(path))]);
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)),
    };
    read.map_err(|error| wrong(format!("can't be read: {error}")))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| wrong(format!("it is no YAML: {error}")))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

fn shown(path: &Path) -> String {
    match path.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => path.display().to_string(),
    }
}
