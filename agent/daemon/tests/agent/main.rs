//! The agent as a process: started from a config, talked to at its socket, ended by signals.
//!
//! The agent under test is this very binary, started again for one test that runs an agent and ends with its exit code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may stop at the first surprise

mod commands;
mod doctor;
mod ending;
mod logging;
mod playground;
mod provisioning;
mod reloading;
mod rig;
mod starting;
mod syncing;
mod trouble;

/// No test of its own: what `rig` starts.
#[test]
fn agent_process() {
    rig::be_the_agent();
}
