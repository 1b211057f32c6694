//! Keys that parse and validate but that the agent does not act on yet. It refuses them instead of passing over them in
//! silence.

use super::agent::AgentConfig;
use super::problem::{Problem, Wrong};

/// Everything in the config that this release does not do yet, with its place.
pub fn not_yet(config: &AgentConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !config.agent.otlp.endpoint.is_empty() {
        let key = "agent.otlp.endpoint";
        let what = "not yet: sending traces is not in this release";
        problems.push(Wrong::new(what, "leave it out").at(config.places.near(key).cloned(), key));
    }
    problems
}
