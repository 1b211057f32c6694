//! The commands of `gosync-operator`: what can be said, and what is printed.
//!
//! Exit codes: 0 done, 1 failed and may work later, 2 wrong usage or input.

mod files;
mod inject;
mod serve;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use inject::{InjectArgs, Output};
pub use serve::ServeArgs;

/// Gives pods the agent that SyncMirrors ask for
#[derive(Debug, Parser)]
#[command(name = "gosync-operator", version, arg_required_else_help = true, max_term_width = 120)]
pub struct Cli {
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print a pod with the agent that its SyncMirrors give it
    #[command(after_help = "\
The same decision as in the cluster, from files alone. What a person should know goes to stderr. A pod that gets no agent is \
printed as it is.

Examples:
  gosync-operator inject -f pod.yaml --mirror models.yaml
  kubectl get pod web -o yaml | gosync-operator inject -f - --mirror models.yaml --mirror other.yaml --output patch")]
    Inject(InjectArgs),
    /// Run the operator
    #[command(after_help = "\
Runs until it gets SIGTERM. Any number of replicas may run: each answers API servers, and one leads. In a cluster it finds the \
API server by itself, elsewhere by KUBECONFIG.")]
    Serve(Box<ServeArgs>),
}

/// Why a command did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The input is wrong: each mistake on a line, with file and field.
    Input(Vec<String>),
    /// The result can't be printed.
    Output(String),
    /// The operator can't run, or had to end.
    Serve(String),
    /// Nobody reads what is printed (`| head`): end in silence.
    NobodyReads,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(mistakes) => f.write_str(&mistakes.join("\n")),
            Self::Output(text) | Self::Serve(text) => f.write_str(text),
            Self::NobodyReads => Ok(()),
        }
    }
}

/// Does what was said.
pub fn run(cli: &Cli) -> ExitCode {
    let result = match &cli.command {
        Command::Inject(args) => inject::run(args),
        Command::Serve(args) => serve::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.to_string().lines() {
                tell("error", line);
            }
            ExitCode::from(match failure {
                Failure::Input(_) => 2,
                Failure::Output(_) | Failure::Serve(_) => 1,
                Failure::NobodyReads => 0,
            })
        }
    }
}

/// A line for people. That nobody can read it keeps nothing from being done.
fn tell(kind: &str, message: &str) {
    let _ = writeln!(io::stderr(), "{kind}: {message}");
}

/// A result.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::NobodyReads,
        _ => Failure::Output(format!("the result can't be printed: {error}")),
    })
}
