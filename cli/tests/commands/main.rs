//! The binary as people and scripts meet it: arguments in, stdout, stderr and exit code out. Where a command needs an
//! agent, a stand-in answers at a real socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may stop at the first surprise

mod agent;
mod build;
mod cache;
mod config;
mod doctor;
mod local;
mod stand_in;
mod sync;

use std::path::Path;

use assert_cmd::Command;

/// The binary, without the environment and home folder of whoever runs the tests.
fn gosync(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gosync"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home).current_dir(home);
    command
}

/// What a command printed and how it ended.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The JSON document of an error.
fn error_of(ran: &Ran) -> serde_json::Value {
    serde_json::from_str::<serde_json::Value>(&ran.stderr).unwrap_or_else(|error| panic!("{error}: {}", ran.stderr))
        ["error"]
        .clone()
}
