//! Keys that parse and validate but that the agent does not act on yet. It refuses them instead of passing over them in
//! silence.

use super::agent::{AgentConfig, Cache};
use super::problem::{Problem, Wrong};
use super::section::join_path;

/// Everything in the config that this release does not do yet, with its place.
pub fn not_yet(config: &AgentConfig) -> Vec<Problem> {
    let mut found = Found { config, problems: Vec::new() };
    if !config.agent.otlp.endpoint.is_empty() {
        found.add("agent.otlp.endpoint", "sending traces", "leave it out");
    }
    found.cache(&config.cache, "cache");
    for (index, mirror) in config.syncs.iter().enumerate() {
        let path = format!("syncs[{index}]");
        // What a mirror inherits has been said already.
        if mirror.cache != config.cache {
            found.cache(&mirror.cache, &format!("{path}.cache"));
        }
    }
    found.problems
}

struct Found<'a> {
    config: &'a AgentConfig,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn add(&mut self, key: &str, what: &str, hint: &str) {
        let place = self.config.places.near(key).cloned();
        self.problems.push(Wrong::new(format!("not yet: {what} is not in this release"), hint).at(place, key));
    }

    fn cache(&mut self, cache: &Cache, section: &str) {
        if cache.enabled {
            self.add(&join_path(section, "enabled"), "caching in Redis", "use `enabled: false`");
        }
    }
}
