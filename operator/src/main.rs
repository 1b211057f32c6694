//! The binary: arguments in, output and exit code out.

use std::process::ExitCode;

use clap::Parser;
use gosync_operator::command::{Cli, run};

fn main() -> ExitCode {
    run(&Cli::parse())
}
