//! `gosync-operator inject`: the decision of the webhook for a file on disk.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gosync_crds::schema::to_yaml;
use serde_json::Value;

use super::{Failure, files, print, tell};
use crate::inject::{Outcome, Settings, inject};

/// What is injected where.
#[derive(Debug, Args)]
pub struct InjectArgs {
    /// The pod (YAML or JSON); - is standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub pod: PathBuf,
    /// A file with SyncMirrors; may be given several times
    #[arg(short, long = "mirror", value_name = "FILE", required = true)]
    pub mirrors: Vec<PathBuf>,
    /// The agent's image
    #[arg(long, value_name = "IMAGE", default_value = concat!("gosync:", env!("CARGO_PKG_VERSION")))]
    pub image: String,
    /// The pod's namespace enforces the Pod Security Standard `restricted`
    #[arg(long)]
    pub restricted: bool,
    /// What is printed
    #[arg(short, long, value_name = "FORM", default_value = "yaml")]
    pub output: Output,
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// The pod as YAML
    Yaml,
    /// The pod as JSON
    Json,
    /// The JSON patch alone
    Patch,
}

/// Reads, decides, prints.
pub fn run(args: &InjectArgs) -> Result<(), Failure> {
    let mut mistakes = Vec::new();
    let mut collect = |failure: Failure| match failure {
        Failure::Input(found) => mistakes.extend(found),
        other => mistakes.push(other.to_string()),
    };
    let pod = files::pod(&args.pod).map_err(&mut collect);
    let mirrors = files::mirrors(&args.mirrors).map_err(&mut collect);
    let (Ok(mut pod), Ok(mirrors)) = (pod, mirrors) else { return Err(Failure::Input(mistakes)) };

    let settings =
        Settings { image: args.image.clone(), image_pull_policy: None, restricted_namespace: args.restricted };
    let outcome = inject(&pod, &mirrors, &settings);
    for message in outcome.messages() {
        tell("warning", &message);
    }
    if outcome == Outcome::NotConcerned {
        tell("warning", "no GoSync agent: no SyncMirror selects the pod, and it asks for none");
    }
    let patch = outcome.patch();
    json_patch::patch(&mut pod, &patch)
        .map_err(|error| Failure::Output(format!("the patch can't be applied: {error}")))?;
    let json = |value: &Value| format!("{value:#}\n");
    match args.output {
        Output::Yaml => print(&to_yaml(&pod)),
        Output::Json => print(&json(&pod)),
        Output::Patch => print(&json(&serde_json::to_value(&patch).unwrap_or_default())),
    }
}
