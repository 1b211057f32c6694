//! The reference of the config as a page for people, `docs/configuration.md`. Made from the tables that the config is read
//! by, so that neither can know a key that the other doesn't.

use super::agent::{AgentConfig, TOP, reference};
use super::generate::{Profile, generate};
use super::not_yet::not_yet;
use super::restart::waits_for_restart;
use super::section::KeyDoc;
use super::shown::Shown;

const BEGINNING: &str = "\
# Configuration

<!-- Made by `make docs` from the tables in agent/api/src/config: edit those. A test fails when the two differ. -->

The agent reads one YAML file, or a folder of them. It is the one that `--config` names, else `GOSYNC_CONFIG`, else
`~/.gosync/config.yaml`, else the folder `/etc/gosync`.

- `gosync config init` writes one and asks for what it needs; `gosync config generate --profile advanced` prints every key with its default.
- `gosync config validate` tells every mistake at once, with file and line; `gosync config show` prints the values that hold, with secrets
  masked.

";

const RULES: &str = "\
## Rules

- **Folder**: all its `*.yaml` are read in the order of their names. Lists of `syncs` add up; another key that is set twice with different
  values is a mistake.
- **Variables**: every text may hold `${VAR}`, `${VAR:-default}`, `$VAR`, `${data_dir}` and a leading `~`; `$$` is a dollar. A variable that is
  not set is a mistake.
- **Environment**: each key outside `syncs` can also be set as `GOSYNC_<SECTION>_<KEY>`, which wins over the file: `GOSYNC_S3_BUCKET` is
  `s3.bucket`.
- **Secrets**: each key marked *secret* has a twin with `_file` behind its name, which names a file to read it from.
- **Paths** that are relative are taken from the folder of the file that they stand in.
- **Durations** have a unit: `500ms`, `60s`, `5m`, `1h30m`, `7d`. **Sizes** are bytes, or have one: `5MB` is 5,000,000, `5MiB` is 5,242,880.
  **Percents** are numbers from 0 to 100.
- **Changes** of a *live* key are taken on while the agent runs, soon after the file is saved; where a mirror is concerned, it alone starts
  anew. Those of a *restart* key wait for a restart, and `gosync sync state` names them. A file with mistakes changes nothing.

";

/// The whole page.
pub fn page() -> String {
    let mut out = BEGINNING.to_owned();
    out += &format!("The smallest one that is of use:\n\n```yaml\n{}```\n\n", generate(Profile::Simple));
    out += RULES;
    out += &later();
    let keys = reference();
    for top in TOP {
        let below = |key: &&KeyDoc| {
            key.path == top || key.path.starts_with(&format!("{top}.")) || key.path.starts_with(&format!("{top}["))
        };
        out += &format!(
            "## {top}\n\n{}| key | value | default | meaning | changes |\n|---|---|---|---|---|\n",
            about(top)
        );
        for key in keys.iter().filter(below) {
            out += &row(key);
        }
        out.push('\n');
    }
    format!("{}\n", out.trim_end())
}

/// What there is to say before the keys of a section.
fn about(top: &str) -> &'static str {
    match top {
        "log" => "The agent's log.\n\n",
        "metadata" => "The database that says what is known of the buckets.\n\n",
        "cache" => "A Redis that agents share: what one has read, the others need not read again.\n\n",
        "s3" => "The object store. An entry of `syncs` may hold an `s3` of its own, for what differs there.\n\n",
        "syncs" => {
            "The mirrors, one entry each. An entry may also hold `s3`, `metadata`, `cache`, and every key of `sync` \
             straight in it, for\nthat mirror alone.\n\n"
        }
        "sync" => "How mirrors work, unless their entries say otherwise.\n\n",
        "agent" => "The process.\n\n",
        _ => "",
    }
}

fn row(key: &KeyDoc) -> String {
    let kind = if key.secret { format!("{}, *secret*", key.kind) } else { key.kind.clone() };
    let changes = if waits_for_restart(&key.path) { "restart" } else { "live" };
    let cells = [&format!("`{}`", key.path), &kind, &default(key), &key.doc, changes].map(cell);
    format!("| {} |\n", cells.join(" | "))
}

fn default(key: &KeyDoc) -> String {
    let text = match &key.default {
        Shown::Text(text) if text.is_empty() && key.doc.contains("Required") => return "none".to_owned(),
        Shown::Text(text) if text.is_empty() => "\"\"".to_owned(),
        Shown::Text(text) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    };
    format!("`{text}`")
}

/// Nothing in it ends the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// What is known, but refused by this release.
fn later() -> String {
    let mut config = AgentConfig::new("/".into());
    config.agent.otlp.endpoint = "http://127.0.0.1:4318".to_owned();
    let keys: Vec<String> =
        not_yet(&config).iter().map(|problem| format!("`{}`: {}", problem.key, problem.what)).collect();
    match keys.as_slice() {
        [] => String::new(),
        keys => format!(
            "Some keys are read and checked, but an agent of this release refuses a config that turns them on:\n\n- {}\n\n",
            keys.join("\n- ")
        ),
    }
}
