//! `gosync sim`: one simulated world, told as a story.

use std::process::ExitCode;

use gosync_api::Exit;
use gosync_sim::{Options, Outcome, simulate};
use serde_json::{Value, json};

use crate::args::SimArgs;
use crate::failure::Failure;
use crate::output::Output;

pub fn run(args: &SimArgs, output: &Output) -> Result<ExitCode, Failure> {
    // The history of a broken promise is taken from the story, so it is kept also when it isn't printed.
    let SimArgs { seed, steps, agents, shared } = *args;
    let options = Options { steps, agents, shared, story: true, ..Options::new(seed) };
    let outcome = simulate(&options);
    output.result(&as_json(&outcome, args), |_| {
        let mut lines = if output.chatty() { outcome.story.clone() } else { Vec::new() };
        lines.extend(outcome.verdict());
        lines.join("\n")
    })?;
    Ok(if outcome.violations.is_empty() { Exit::Ok } else { Exit::Failed }.into())
}

fn as_json(outcome: &Outcome, args: &SimArgs) -> Value {
    let stats = &outcome.stats;
    let violations = outcome.violations.iter().map(|violation| {
        json!({
            "promise": violation.promise,
            "message": violation.message,
            "virtual_ms": violation.virtual_ms,
            "content": violation.content,
        })
    });
    json!({
        "seed": outcome.seed,
        "steps": args.steps,
        "agents": args.agents,
        "shared": args.shared,
        "kept": outcome.violations.is_empty(),
        "violations": violations.collect::<Vec<_>>(),
        "stats": {
            "steps": stats.steps,
            "system_calls": stats.system_calls,
            "requests": stats.requests,
            "faults": stats.faults,
            "kills": stats.kills,
            "virtual_ms": stats.virtual_ms,
        },
        "story": outcome.story,
    })
}
