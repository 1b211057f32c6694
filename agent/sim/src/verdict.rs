//! The end of a story, for people: what was broken, and the history of the content that it concerns.

use crate::run::Outcome;

/// Lines of a content's history that are worth reading.
const HISTORY_LINES_MAX: usize = 60;

impl Outcome {
    /// The verdict, one line each.
    #[must_use]
    pub fn verdict(&self) -> Vec<String> {
        let stats = &self.stats;
        let mut lines = vec![format!(
            "seed {}: {} steps of users and tools, {} system calls, {} requests, {} faults, {} kills, {} s of virtual time",
            self.seed,
            stats.steps,
            stats.system_calls,
            stats.requests,
            stats.faults,
            stats.kills,
            stats.virtual_ms / 1_000,
        )];
        if self.violations.is_empty() {
            lines.push("every promise was kept".to_owned());
        }
        for violation in &self.violations {
            lines.push(format!("{} broken at {} ms: {}", violation.promise, violation.virtual_ms, violation.message));
            let Some(content) = &violation.content else { continue };
            let history: Vec<&String> = self.story.iter().filter(|line| line.contains(content.as_str())).collect();
            let skipped = history.len().saturating_sub(HISTORY_LINES_MAX);
            lines.push(format!("  the history of {content}"));
            lines.extend(history[skipped..].iter().map(|line| format!("  {line}")));
        }
        lines
    }
}
