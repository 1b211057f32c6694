//! Whose files are, and who may read them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use crate::agent::Agent;
use crate::pair::{MIRROR, Pair, Tree};
use crate::process::needs_root;

/// The user that permissions are tried with; root alone can become it.
pub const UNPRIVILEGED: u32 = 65_534;

pub fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// To the unprivileged user, with all that is in it.
pub fn give_away(path: &Path) {
    chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}

/// As [`Pair::filled`], with an agent whom permissions hold back; none when there is no root to start it.
pub async fn filled(files: usize) -> Option<(Pair, Agent, Tree)> {
    if !needs_root("running the agent as a user whom permissions hold back") {
        return None;
    }
    let pair = Pair::new().await;
    pair.fill(files, 3);
    let expected = pair.local();
    give_away(pair.home.path());
    let agent = Agent::start_unprivileged(pair.home.path(), &pair.config).await;
    agent.in_step(MIRROR).await;
    pair.both_hold(&expected).await;
    Some((pair, agent, expected))
}
