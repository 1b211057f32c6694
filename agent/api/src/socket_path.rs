//! Where a command looks for the agent's socket, in order, and how to say where it looked.
//!
//! Pure: the caller reads the environment and the playground's note, and tries the candidates one after the other.

use std::path::{Path, PathBuf};

/// The socket's file name in a data_dir.
pub const SOCKET_FILE: &str = "gosync.sock";
/// The data_dir of a playground, inside its folder.
pub const DEV_DATA_DIR: &str = "agent";
/// The file in a playground's data_dir that holds the socket's path when the path beside it would be too long.
pub const DEV_NOTE: &str = "socket";
/// The playground's folder when none is named.
pub const DEV_DIR: &str = "gosync-dev";
/// Longest path that a Unix socket can be bound to, in bytes.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What is known about where the socket may be.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// `--socket`.
    pub flag: Option<PathBuf>,
    /// `--dev-dir`, with the content of its note if there is one.
    pub dev_dir: Option<Playground>,
    /// `GOSYNC_SOCKET`.
    pub environment: Option<PathBuf>,
    /// `agent.socket_path` of the config that was named.
    pub named_config: Option<PathBuf>,
    /// `agent.socket_path` of the config at its usual place.
    pub config: Option<PathBuf>,
    /// The home folder.
    pub home: Option<PathBuf>,
    /// The playground in the current folder, if there is one.
    pub dev_here: Option<Playground>,
}

/// A playground's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playground {
    /// The folder itself.
    pub dir: PathBuf,
    /// What [`DEV_NOTE`] in its data_dir says.
    pub note: Option<PathBuf>,
}

impl Playground {
    /// The file that may hold the socket's path.
    pub fn note_path(dir: &Path) -> PathBuf {
        dir.join(DEV_DATA_DIR).join(DEV_NOTE)
    }

    fn socket(&self) -> PathBuf {
        self.note.clone().unwrap_or_else(|| self.dir.join(DEV_DATA_DIR).join(SOCKET_FILE))
    }
}

/// One place to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The socket's path.
    pub path: PathBuf,
    /// What points there, for messages.
    pub why: &'static str,
}

/// The places to try, best first. What a person named (`--socket`, `--dev-dir`, `--config` or their variables) is tried
/// alone: falling back to another agent would do the command in the wrong place.
pub fn candidates(known: &Known) -> Vec<Candidate> {
    let one = |path: PathBuf, why| vec![Candidate { path, why }];
    if let Some(path) = &known.flag {
        return one(path.clone(), "--socket");
    }
    if let Some(playground) = &known.dev_dir {
        return one(playground.socket(), "--dev-dir");
    }
    if let Some(path) = &known.environment {
        return one(path.clone(), "GOSYNC_SOCKET");
    }
    if let Some(path) = &known.named_config {
        return one(path.clone(), "agent.socket_path of the named config");
    }
    let mut places = Vec::new();
    if let Some(path) = &known.config {
        places.push(Candidate { path: path.clone(), why: "agent.socket_path of the config" });
    }
    if let Some(home) = &known.home {
        places.push(Candidate { path: home.join(".gosync").join(SOCKET_FILE), why: "the home folder" });
    }
    for folder in ["/var/lib/gosync", "/run/gosync"] {
        places.push(Candidate { path: Path::new(folder).join(SOCKET_FILE), why: "the system's folder" });
    }
    if let Some(playground) = &known.dev_here {
        places.push(Candidate { path: playground.socket(), why: "the playground in this folder" });
    }
    let mut seen = Vec::new();
    places.retain(|place| {
        let new = !seen.contains(&place.path);
        seen.push(place.path.clone());
        new
    });
    places
}

/// The text for "no agent": where it looked, one place a line, and how to start one.
pub fn no_agent_message(tried: &[Candidate]) -> String {
    let mut text = String::from("no agent answers at its socket; looked at:\n");
    for candidate in tried {
        text.push_str(&format!("  {} ({})\n", candidate.path.display(), candidate.why));
    }
    text.push_str("start one with `gosync agent --config <file>` (or `gosync agent --dev` to try it out), or name its socket with --socket");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(known: &Known) -> Vec<String> {
        candidates(known).iter().map(|c| c.path.display().to_string()).collect()
    }

    #[test]
    fn a_socket_that_was_named_is_the_only_one_tried() {
        let mut known = Known {
            named_config: Some("/c.sock".into()),
            home: Some("/home/ada".into()),
            dev_here: Some(Playground { dir: "gosync-dev".into(), note: None }),
            ..Known::default()
        };
        assert_eq!(paths(&known), ["/c.sock"]);
        known.environment = Some("/e.sock".into());
        assert_eq!(paths(&known), ["/e.sock"]);
        known.flag = Some("/f.sock".into());
        assert_eq!(paths(&known), ["/f.sock"]);
    }

    #[test]
    fn without_a_name_the_config_comes_first_and_the_playground_last() {
        let known = Known {
            config: Some("/srv/gosync.sock".into()),
            home: Some("/home/ada".into()),
            dev_here: Some(Playground { dir: "gosync-dev".into(), note: None }),
            ..Known::default()
        };
        assert_eq!(
            paths(&known),
            [
                "/srv/gosync.sock",
                "/home/ada/.gosync/gosync.sock",
                "/var/lib/gosync/gosync.sock",
                "/run/gosync/gosync.sock",
                "gosync-dev/agent/gosync.sock"
            ]
        );
    }

    #[test]
    fn a_place_named_twice_is_tried_once() {
        let known = Known { config: Some("/var/lib/gosync/gosync.sock".into()), ..Known::default() };
        assert_eq!(paths(&known), ["/var/lib/gosync/gosync.sock", "/run/gosync/gosync.sock"]);
    }

    #[test]
    fn the_note_of_a_playground_leads_to_its_short_socket() {
        let known = Known {
            dev_dir: Some(Playground { dir: "/deep/dev".into(), note: Some("/run/user/1000/gosync-1.sock".into()) }),
            ..Known::default()
        };
        assert_eq!(paths(&known), ["/run/user/1000/gosync-1.sock"]);
    }

    #[test]
    fn the_message_says_where_it_looked_and_how_to_start_an_agent() {
        let known = Known { home: Some("/home/ada".into()), ..Known::default() };
        let message = no_agent_message(&candidates(&known));
        assert!(message.contains("/home/ada/.gosync/gosync.sock"), "{message}");
        assert!(message.contains("/run/gosync/gosync.sock"), "{message}");
        assert!(message.contains("gosync agent --config"), "{message}");
    }
}
