//! Configs to begin with: commented examples, and the file that `config init` writes.

use super::agent::{TOP, reference};
use super::expand::escape;
use super::section::KeyDoc;
use super::shown::Shown;
use crate::words::words;

words! {
    /// The examples.
    pub enum Profile {
        /// What one needs to begin.
        Simple = "simple",
        /// Every key with its default.
        Advanced = "advanced",
        /// For an agent in a pod.
        Kubernetes = "kubernetes",
    }
}

/// A commented example. It loads as it is; bucket and folders are to be changed.
pub fn generate(profile: Profile) -> String {
    match profile {
        Profile::Simple => include_str!("examples/simple.yaml").to_owned(),
        Profile::Kubernetes => include_str!("examples/kubernetes.yaml").to_owned(),
        Profile::Advanced => advanced(),
    }
}

/// Values of the example for keys that have no default.
fn example(path: &str) -> Option<Shown> {
    let text = match path {
        "data_dir" => "~/.gosync",
        "s3.bucket" => "my-bucket",
        "syncs[].name" => "documents",
        "syncs[].local_path" => "~/Documents",
        "syncs[].s3_path" => "/documents",
        "syncs[].ignore_patterns" => {
            let patterns = ["*.tmp", ".DS_Store", "node_modules"];
            return Some(Shown::List(patterns.map(|p| Shown::Text(p.to_owned())).to_vec()));
        }
        _ => return None,
    };
    Some(Shown::Text(text.to_owned()))
}

fn advanced() -> String {
    let mut out = String::from(
        "# Every key of GoSync with its default. What you don't change can be left out.\n\
         # Strings may hold ${VARIABLE}, ${VARIABLE:-default} and a leading ~; $$ is a dollar.\n\
         # Every key outside `syncs` can also be set by the environment: GOSYNC_S3_BUCKET sets s3.bucket.\n\
         # Every secret may be kept in a file: access_key_file instead of access_key.\n",
    );
    let keys = reference();
    for top in TOP {
        out.push('\n');
        if top == "syncs" {
            out += "# An entry may also hold s3, metadata, cache and every key of sync, for that mirror alone.\n";
        }
        let below = |key: &&KeyDoc| {
            key.path == top || key.path.starts_with(&format!("{top}.")) || key.path.starts_with(&format!("{top}["))
        };
        let mut open: Vec<String> = Vec::new();
        let mut first_of_entry = true;
        for key in keys.iter().filter(below) {
            write_key(key, &mut open, &mut first_of_entry, &mut out);
        }
    }
    out
}

/// Writes one key below the sections that it stands in; `open` are the sections that were begun.
fn write_key(key: &KeyDoc, open: &mut Vec<String>, first_of_entry: &mut bool, out: &mut String) {
    let mut parts: Vec<&str> = key.path.split('.').collect();
    let name = parts.pop().unwrap_or_default();
    while !open.iter().zip(&parts).all(|(a, b)| a == b) || open.len() > parts.len() {
        open.pop();
    }
    for part in parts.iter().skip(open.len()).copied().collect::<Vec<_>>() {
        let indent = "  ".repeat(open.len());
        out.push_str(&format!("{indent}{}:\n", part.trim_end_matches("[]")));
        open.push(part.to_owned());
    }
    let in_entry = open.first().is_some_and(|part| part.ends_with("[]"));
    let starts_entry = in_entry && *first_of_entry;
    *first_of_entry &= !in_entry;
    let depth = open.len() + usize::from(in_entry && !starts_entry);
    let indent = "  ".repeat(depth);
    let kind = if key.kind.starts_with("one of") || key.kind.starts_with("off or") {
        format!(" ({})", key.kind)
    } else {
        String::new()
    };
    let dash = if starts_entry { "- " } else { "" };
    let value = inline(&example(&key.path).unwrap_or_else(|| key.default.clone()));
    *out += &format!("{indent}# {}{kind}\n{indent}{dash}{name}: {value}\n", key.doc);
}

/// A value as it stands behind its key.
fn inline(value: &Shown) -> String {
    match value {
        Shown::List(items) => {
            let items: Vec<String> = items.iter().map(|item| serde_json::to_string(item).unwrap_or_default()).collect();
            format!("[{}]", items.join(", "))
        }
        _ => serde_saphyr::to_string(value).unwrap_or_default().trim_end().to_owned(),
    }
}

/// What `config init` asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InitAnswers {
    /// Where the agent keeps its own state.
    pub data_dir: String,
    /// The store; empty for AWS.
    pub endpoint: String,
    /// Region; empty for the default one.
    pub region: String,
    /// Bucket.
    pub bucket: String,
    /// Access key; empty to use the credentials of the environment.
    pub access_key: String,
    /// Secret key to it.
    pub secret_key: String,
    /// The mirror's name.
    pub name: String,
    /// The folder.
    pub local_path: String,
    /// `/prefix`, or `s3://bucket/prefix`.
    pub s3_path: String,
}

/// The smallest config for these answers, with comments. Answers are taken as they are, but for a leading `~` of paths.
pub fn init(answers: &InitAnswers) -> String {
    // A JSON string is a YAML string too, whatever it holds.
    let line = |indent: &str, key: &str, value: &str| {
        let value = serde_json::to_string(&escape(value)).unwrap_or_default();
        format!("{indent}{key}: {value}\n")
    };
    let mut out = String::from("# GoSync. `gosync config generate --profile advanced` shows every key.\n");
    out += &line("", "data_dir", &answers.data_dir);
    out += "\nmetadata:\n  type: sqlite\n\ns3:\n";
    if !answers.endpoint.is_empty() {
        out += &line("  ", "endpoint", &answers.endpoint);
    }
    if !answers.region.is_empty() {
        out += &line("  ", "region", &answers.region);
    }
    out += &line("  ", "bucket", &answers.bucket);
    if answers.access_key.is_empty() {
        out += "  # No keys here: those of the environment, profile or instance are used.\n";
    } else {
        out += &line("  ", "access_key", &answers.access_key);
        out += &line("  ", "secret_key", &answers.secret_key);
    }
    out += "\nsyncs:\n";
    out += &line("  - ", "name", &answers.name);
    out += &line("    ", "local_path", &answers.local_path);
    out += &line("    ", "s3_path", &answers.s3_path);
    out
}
