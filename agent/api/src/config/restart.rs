//! Which keys hold from an agent's start to its end. A running agent takes on changes of all others.

/// The keys, and the sections of keys.
const UNTIL_RESTART: [&str; 6] = ["data_dir", "log.format", "log.file", "log.rotation", "metadata", "agent"];

/// True where a change of this key waits for a restart of the agent.
pub fn waits_for_restart(path: &str) -> bool {
    UNTIL_RESTART.iter().any(|key| path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}
