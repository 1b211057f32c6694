//! What a running agent says of itself and of its mirrors.

use gosync_api::config::AgentConfig;
use gosync_api::messages::{MirrorState, State, Verb};
use gosync_api::words::{PathState, Status};

use super::{AgentFound, Checks, Subject};

/// Paths of a kind that are named.
const PATHS_MAX: usize = 3;

/// The agent, if it is that of the config.
pub fn agent<'a>(
    checks: &mut Checks,
    config: Option<&AgentConfig>,
    found: &'a AgentFound,
    release: &str,
) -> Option<&'a State> {
    let (socket, state) = match found {
        AgentFound::Nobody { why, next } => {
            checks.warning("agent", None, why, next);
            return None;
        }
        AgentFound::Trouble { why, next } => {
            checks.wrong("agent", None, why, next);
            return None;
        }
        AgentFound::Answers { socket, state } => (socket, state.as_ref()),
    };
    if let Some(config) = config
        && std::path::Path::new(&state.data_dir) != config.data_dir
    {
        let found = format!("the agent at {socket} works in {}, which is not this config's data_dir", state.data_dir);
        let next = "its mirrors were left out; name its config with --config, or its socket with --socket";
        checks.warning("agent", None, found, next);
        return None;
    }
    let answers = format!("version {} answers at {socket}, process {}", state.version, state.pid);
    if state.version == release {
        checks.ok("agent", None, answers);
    } else {
        let next = "restart the agent, so that both ends are of one release";
        checks.warning("agent", None, format!("{answers}; this is {release}"), next);
    }
    for told in &state.restart_needed {
        let next = "mend the config, or restart the agent where only that is asked for";
        checks.warning("agent", None, format!("waits for a restart or for the config to be mended: {told}"), next);
    }
    if let Some(problem) = &state.metrics_problem {
        checks.warning("agent", None, problem, "set agent.metrics.listen to a free address, or to \"\"");
    }
    Some(state)
}

/// How a mirror stands.
pub fn mirror(checks: &mut Checks, subject: &Subject) {
    let Some(state) = &subject.state else { return };
    let mirror = Some(subject.name.as_str());
    for halt in &state.halts {
        let verbs = [(Verb::Approve, "gosync sync approve"), (Verb::Deny, "gosync sync deny")];
        let answers: Vec<String> = verbs
            .into_iter()
            .filter(|(verb, _)| halt.answers.iter().any(|answer| answer.verb == *verb))
            .map(|(_, command)| format!("`{command} {}`", halt.id))
            .collect();
        let next = match answers.is_empty() {
            true => "it ends by itself when the cause is gone".to_owned(),
            false => format!("`gosync sync state` says what follows from {}", answers.join(" and ")),
        };
        checks.wrong("halt", mirror, format!("{}: {}", halt.reason, halt.message), &next);
    }
    for error in &state.errors {
        checks.wrong(
            "error",
            mirror,
            format!("{}: {}", error.class, error.message),
            "mend it: it is tried again by itself",
        );
    }
    if state.status == Status::Paused {
        checks.warning(
            "status",
            mirror,
            "paused",
            &format!("`gosync sync resume {}` when it is to go on", subject.name),
        );
    }
    if let Some(why) = &state.watch.why_polling {
        checks.warning("watch", mirror, format!("the folder is polled: {why}"), "see the check \"watches\"");
    }
    paths(checks, state);
    if state.conflicts > 0 {
        let found = match state.conflicts {
            1 => "1 conflict copy lies unresolved".to_owned(),
            more => format!("{more} conflict copies lie unresolved"),
        };
        checks.warning(
            "conflicts",
            mirror,
            found,
            "`gosync sync conflicts` lists them; keep what you want, delete the rest",
        );
    }
    if state.status == Status::Active {
        let waits = match state.pending.files {
            0 if state.hydrated => {
                let s = if state.files == 1 { "" } else { "s" };
                format!("{}, {} file{s} in step", state.phase, state.files)
            }
            0 => format!("{}, not compared as a whole yet", state.phase),
            pending => format!("{}, {pending} files pending for {:.0} s", state.phase, state.lag_seconds),
        };
        checks.ok("status", mirror, waits);
    }
}

/// Paths that need a person.
fn paths(checks: &mut Checks, state: &MirrorState) {
    let mirror = Some(state.name.as_str());
    for (kind, check, next) in [
        (PathState::Problem, "problems", "`gosync sync explain <path>` says more of each"),
        (PathState::Held, "held", "resolve some of their conflict copies: `gosync sync conflicts`"),
        (PathState::Diverged, "diverged", "`gosync sync approve <path>` lets the folder win"),
    ] {
        let noted: Vec<_> = state.paths.iter().filter(|note| note.state == kind).collect();
        let number =
            if kind == PathState::Problem { state.problems.max(noted.len() as u64) } else { noted.len() as u64 };
        if number == 0 {
            continue;
        }
        let named: Vec<String> =
            noted.iter().take(PATHS_MAX).map(|note| format!("{} ({})", note.path, note.reason)).collect();
        let more = if number as usize > named.len() { ", and more" } else { "" };
        let s = if number == 1 { "" } else { "s" };
        checks.warning(check, mirror, format!("{number} path{s}: {}{more}", named.join(", ")), next);
    }
}
