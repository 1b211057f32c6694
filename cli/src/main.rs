//! The binary: arguments in, output and exit code out. `gosync agent` starts the daemon; most of the rest asks a running
//! agent over its socket.
//!
//! Nothing here is retried or kept: a command that was interrupted can be given again.

mod agent;
mod args;
mod cache;
mod client;
mod completions;
mod config;
mod doctor;
mod failure;
mod man;
mod output;
mod place;
mod progress;
mod sim;
mod style;
mod sync;
mod version;

use std::future::Future;
use std::process::ExitCode;

use clap::Parser;
use gosync_api::Exit;
use gosync_api::config::LogLevel;
use gosync_api::messages::{LogLevelRequest, LogLevelSet, Probe, ProbeRequest, ProbeResult, route};

use crate::args::{Cli, Command, Format, Global};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(&cli.global);
    let result = match &cli.command {
        // The agent makes its own runtime and its own end.
        Command::Agent(args) => agent::run(args, &cli.global),
        Command::Sync { command } => client(&cli.global, async |client| sync::run(command, client, &output).await),
        Command::Config { command } => config::run(command, &cli.global, &output),
        Command::Probe { probe } => client(&cli.global, async |client| ask(*probe, client, &output).await),
        Command::Sim(args) => sim::run(args, &output),
        Command::Completions { shell } => completions::run(*shell, &output),
        Command::Man(args) => man::run(args, &output),
        Command::Doctor(args) => doctor::run(args, &cli.global, &output),
        Command::Cache { command } => client(&cli.global, async |client| cache::run(command, client, &output).await),
        Command::LogLevel { level } => client(&cli.global, async |client| log_level(*level, client, &output).await),
        Command::Version(args) => version::run(args, &output),
    };
    match result {
        Ok(code) => code,
        // As it stands in the arguments: what follows a command of a later release is not parsed.
        Err(failure) => Output::of(wanted_format()).failure(failure).into(),
    }
}

/// Runs a command that talks to the agent. One thread is plenty for it.
fn client(global: &Global, run: impl AsyncFnOnce(&Client) -> Result<Exit, Failure>) -> Result<ExitCode, Failure> {
    let client = Client::new(global)?;
    Ok(block_on(run(&client))??.into())
}

fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::new(Exit::Failed, "internal", format!("the runtime can't start: {error}"), ""))?;
    Ok(runtime.block_on(future))
}

async fn ask(probe: Probe, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let result: ProbeResult = client.get(route::PROBE, &ProbeRequest { probe }, client::PROBE).await?;
    output.done(&result, |result| match result.ok {
        true => format!("{probe}: yes"),
        false => format!("{probe}: no\n{}", sync::indented(&result.reasons)),
    })?;
    Ok(if result.ok { Exit::Ok } else { Exit::Failed })
}

async fn log_level(level: LogLevel, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let set: LogLevelSet = client.post(route::LOG_LEVEL, &LogLevelRequest { level }, client::ASK).await?;
    output.done(&set, |LogLevelSet { old, new }| match old == new {
        true => format!("the agent's log has the level {new} already"),
        false => {
            format!("the agent's log: {old} before, {new} now, until the agent is restarted or reads its config again")
        }
    })?;
    Ok(Exit::Ok)
}

/// Help and version are results; the rest is wrong usage, in JSON or YAML for those who asked for it.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A reader that went away is no error.
        let _ = error.print();
        return Exit::Ok.into();
    }
    match wanted_format() {
        Format::Table => {
            let _ = error.print();
            Exit::Usage.into()
        }
        format => {
            let text = error.to_string();
            let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
            let message = message.trim_start_matches("error:").trim();
            Output::of(format).failure(Failure::usage(message, rest.trim())).into()
        }
    }
}

/// `--format` as it stands in the arguments, whether or not they can be parsed as a whole.
fn wanted_format() -> Format {
    let arguments: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let value = arguments.iter().enumerate().find_map(|(index, argument)| match argument.strip_prefix("--format") {
        Some("") => arguments.get(index + 1).map(String::as_str),
        Some(rest) => rest.strip_prefix('='),
        None => None,
    });
    match value {
        Some("json") => Format::Json,
        Some("yaml") => Format::Yaml,
        _ => Format::Table,
    }
}
