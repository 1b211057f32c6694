//! The command line: what can be said, and how `--help` explains it. Values only; nothing is done here.

mod sync;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use gosync_api::config::{LogLevel, Profile, RemotePath, Wrong};
use gosync_api::messages::Probe;

pub use sync::*;

/// Keeps a folder and an S3 prefix in step, both ways, without ever losing a file
#[derive(Debug, Parser)]
#[command(name = "gosync", version, arg_required_else_help = true, max_term_width = 120, after_help = BEGIN)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const BEGIN: &str = "\
Begin here:
  gosync agent --dev      a playground: two folders, one bucket, no account needed
  gosync config init      write a config for your own S3
  gosync agent            keep what that config names in step
  gosync sync state       see how everything stands

`gosync agent` is the daemon; sync, probe and log-level talk to a running agent, the rest needs none.

Exit codes:
  0 done  1 failed, may work later  2 wrong usage or config  3 no agent at the socket  7 halted by a guard

Environment:
  GOSYNC_CONFIG, GOSYNC_SOCKET, GOSYNC_DEV_DIR    instead of --config, --socket, --dev-dir
  GOSYNC_<SECTION>_<KEY>                          sets a key of the config: GOSYNC_S3_BUCKET
  NO_COLOR                                        no colours";

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Config: a file, or a folder of *.yaml [default: ~/.gosync/config.yaml, else the folder /etc/gosync]
    #[arg(short, long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Socket of the agent [default: the config's, else gosync.sock in ~/.gosync, /var/lib/gosync or /run/gosync, else
    /// the playground's in this folder]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Folder of the playground [default: ./gosync-dev]
    #[arg(long, global = true, value_name = "DIR")]
    pub dev_dir: Option<PathBuf>,
    /// How results are printed; with json and yaml errors too
    #[arg(long, global = true, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
    /// Print what was asked for and errors only: no confirmations, notes, progress
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// No colours
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Yaml,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent in the foreground
    #[command(after_help = "\
Keeps every mirror in step until it gets SIGTERM or Ctrl-C; then it sends what is still to be sent, and ends with 0 if \
that was everything.

Examples:
  gosync agent --config ~/.gosync/config.yaml
  gosync agent --dev")]
    Agent(AgentArgs),
    /// Look at mirrors, make them, pause them, answer their questions
    #[command(after_help = "\
Examples:
  gosync sync state
  gosync sync mirror ~/Documents /documents")]
    Sync {
        #[command(subcommand)]
        command: SyncCommand,
    },
    /// Write, check and show the config
    #[command(after_help = "\
Examples:
  gosync config init
  gosync config validate --config ./config.yaml")]
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Ask whether the agent lives, has started or is ready: exit code 0 or 1
    #[command(after_help = "\
Example:
  gosync probe ready && ls ~/Documents")]
    Probe {
        /// What is asked
        #[arg(value_parser = one_of(Probe::ALL, Probe::as_str))]
        probe: Probe,
    },
    /// Run a simulated world of agents, people and faults, and tell its story
    #[command(after_help = "\
The same seed, steps and agents give the same story. Exit code 1: a promise was broken.

Examples:
  gosync sim --seed 7
  gosync sim --seed 7 --shared
  gosync sim --seed 7 --steps 50 --agents 2 --quiet")]
    Sim(SimArgs),
    /// Print the completions of a shell
    #[command(after_help = "\
Examples:
  gosync completions bash > ~/.local/share/bash-completion/completions/gosync
  gosync completions zsh > \"${fpath[1]}/_gosync\"
  gosync completions fish > ~/.config/fish/completions/gosync.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write one for each command
    #[command(after_help = "\
Examples:
  gosync man | man -l -
  gosync man --dir ~/.local/share/man/man1 && man gosync-sync-mirror")]
    Man(ManArgs),
    /// Look for what is wrong: config, machine, store and, where one runs, agent
    #[command(after_help = "\
Changes nothing. Exit code 1: something is wrong; warnings alone end with 0.

Examples:
  gosync doctor
  gosync doctor --config ./config.yaml --format json")]
    Doctor(DoctorArgs),
    /// Look at the cache in Redis, or empty it
    #[command(after_help = "\
Examples:
  gosync cache stats
  gosync cache flush")]
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// Change how much the agent logs, until it is restarted or reads its config again
    #[command(after_help = "\
Example:
  gosync log-level debug")]
    LogLevel {
        /// The least severe level that is written
        #[arg(value_parser = one_of(LogLevel::ALL, LogLevel::as_str))]
        level: LogLevel,
    },
    /// Print version, commit, build date, compiler and features
    #[command(after_help = "\
Example:
  gosync version --json")]
    Version(VersionArgs),
}

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// How it stands: hits and misses of the agent, keys, memory
    #[command(after_help = "\
Example:
  gosync cache stats --format json")]
    Stats,
    /// Drop every entry under its prefix, and no other key; all is read anew from where it came
    #[command(after_help = "\
Example:
  gosync cache flush")]
    Flush,
}

#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Where the agent keeps its own state; stands above the config's data_dir
    #[arg(long, value_name = "DIR", conflicts_with = "dev")]
    pub data_dir: Option<PathBuf>,
    /// Playground: an S3 store of its own and two folders, `left` and `right`, that mirror one prefix of it
    #[arg(long, conflicts_with = "config")]
    pub dev: bool,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Write a config: from options, and from questions on a terminal
    #[command(after_help = "\
Writes to --config, else to ~/.gosync/config.yaml, readable by you alone.

Examples:
  gosync config init
  gosync config init --bucket my-bucket --local-path ~/Documents --s3-path /documents
  gosync config init --config ./minio.yaml --endpoint http://127.0.0.1:9000 \\
      --bucket b --access-key me --local-path ./files --s3-path /files")]
    Init(Box<InitArgs>),
    /// Check a config; tells every mistake with its place, and exits with 2
    #[command(after_help = "\
Example:
  gosync config validate --config /etc/gosync")]
    Validate,
    /// Print the values that hold, defaults and environment included; secrets are masked
    #[command(after_help = "\
Example:
  gosync config show --format json")]
    Show,
    /// Print a commented example
    #[command(after_help = "\
With --config it is written there instead.

Examples:
  gosync config generate
  gosync config generate --profile advanced > config.yaml")]
    Generate {
        /// simple: what one needs to begin; advanced: every key with its default; kubernetes: an agent in a pod
        #[arg(long, default_value = "simple", value_parser = one_of(Profile::ALL, Profile::as_str))]
        profile: Profile,
        /// Overwrite what is there
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// Where the agent keeps its own state [default: ~/.gosync]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// The store: host, host:port or URL [default: AWS]
    #[arg(long)]
    pub endpoint: Option<String>,
    /// Region [default: us-east-1]
    #[arg(long)]
    pub region: Option<String>,
    /// Bucket
    #[arg(long)]
    pub bucket: Option<String>,
    /// Access key [default: the credentials of environment, profile or instance]
    #[arg(long)]
    pub access_key: Option<String>,
    /// Secret key to it; other users may see it in the list of processes: on a terminal better wait for the question
    #[arg(long, requires = "access_key")]
    pub secret_key: Option<String>,
    /// Name of the mirror [default: made from the folder's name]
    #[arg(long)]
    pub name: Option<String>,
    /// The folder
    #[arg(long, value_name = "DIR")]
    pub local_path: Option<String>,
    /// /prefix in the bucket, or s3://other-bucket/prefix
    #[arg(long, value_parser = remote_path)]
    pub s3_path: Option<String>,
    /// Overwrite what is there
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct SimArgs {
    /// Which world
    #[arg(long, value_name = "N")]
    pub seed: u64,
    /// What people and other tools do, all together
    #[arg(long, value_name = "M", default_value_t = 200)]
    pub steps: u32,
    /// How many agents share the bucket
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = agents)]
    pub agents: usize,
    /// The agents share their metadata and a cache
    #[arg(long)]
    pub shared: bool,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write a page for each command to this folder instead
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Find out anew which conditions the store honours: writes below <prefix>.gosync/probe/ and takes it away again
    #[arg(long)]
    pub probe: bool,
}

#[derive(Debug, Args)]
pub struct VersionArgs {
    /// The version alone
    #[arg(long, conflicts_with = "json")]
    pub short: bool,
    /// The same as --format json
    #[arg(long)]
    pub json: bool,
}

/// One word of a closed list, in help and completions too.
fn one_of<T>(all: &'static [T], text: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + std::str::FromStr + 'static,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|word| text(*word))).try_map(|word| word.parse::<T>())
}

fn remote_path(text: &str) -> Result<String, Wrong> {
    text.parse::<RemotePath>().map(|_| text.to_owned())
}

fn agents(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(agents @ 1..=16) => Ok(agents),
        _ => Err("write a number from 1 to 16".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // tests may stop at the first surprise
    use clap::CommandFactory;
    use gosync_api::words::Direction;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    fn mirror(line: &str) -> MirrorArgs {
        match parse(format!("gosync sync mirror here /there {line}").trim_end()).unwrap().command {
            Command::Sync { command: SyncCommand::Mirror(args) } => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_direction_can_be_said_in_three_ways() {
        assert_eq!(mirror("").direction(), None);
        assert_eq!(mirror("--bidirectional").direction(), Some(Direction::TwoWay));
        assert_eq!(mirror("--bidirectional=true").direction(), Some(Direction::TwoWay));
        assert_eq!(mirror("--bidirectional=false").direction(), Some(Direction::Push));
        assert_eq!(mirror("--no-bidirectional").direction(), Some(Direction::Push));
        assert_eq!(mirror("--direction pull").direction(), Some(Direction::Pull));
        assert!(parse("gosync sync mirror here /there --bidirectional --direction push").is_err());
    }

    #[test]
    fn patterns_come_with_commas_or_one_by_one() {
        assert_eq!(mirror("--ignore a,b --ignore c").ignore, ["a", "b", "c"]);
    }

    #[test]
    fn provision_is_recursive_unless_told_otherwise() {
        let recursive = |line: &str| match parse(line).unwrap().command {
            Command::Sync { command: SyncCommand::Provision(args) } => args.recursive,
            other => panic!("{other:?}"),
        };
        assert!(recursive("gosync sync provision /docs"));
        assert!(recursive("gosync sync provision /docs --recursive"));
        assert!(!recursive("gosync sync provision /docs --recursive=false"));
    }

    #[test]
    fn a_timeout_needs_a_unit() {
        assert!(parse("gosync sync flush --wait --timeout 5m").is_ok());
        let error = parse("gosync sync flush --wait --timeout 60").unwrap_err().to_string();
        assert!(error.contains("has no unit"), "{error}");
    }

    #[test]
    fn help_stays_short_enough_to_be_read() {
        fn visit(command: &clap::Command) {
            // One long text anywhere turns the whole page into paragraphs.
            assert!(command.get_long_about().is_none(), "{}", command.get_name());
            for argument in command.get_arguments() {
                let words = argument.get_possible_values();
                let long = argument.get_long_help().is_some() || words.iter().any(|word| word.get_help().is_some());
                assert!(!long, "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(visit);
        }
        visit(&Cli::command());
    }

    /// The commands that a page shows in its blocks of shell, in the words that the shell would hand over.
    fn shown(page: &str) -> Vec<String> {
        let mut commands = Vec::new();
        for block in page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            for line in block.lines().map(|line| line.split(" #").next().unwrap_or_default()) {
                let parts = line.split(['|', '&', '>', ';']);
                commands.extend(parts.filter_map(|part| {
                    let words: Vec<&str> = part.split_whitespace().collect();
                    let words = if let ["sudo", rest @ ..] = words.as_slice() { rest } else { words.as_slice() };
                    let words = if let ["-u", _, rest @ ..] = words { rest } else { words };
                    (words.first() == Some(&"gosync")).then(|| words.join(" "))
                }));
            }
        }
        commands
    }

    #[test]
    fn every_command_that_the_docs_show_is_understood() {
        let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut pages = vec![top.join("README.md")];
        for folder in ["docs", "examples/laptop", "examples/server"] {
            let entries = std::fs::read_dir(top.join(folder)).unwrap().map(|entry| entry.unwrap().path());
            pages.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
        }
        let mut seen = 0;
        for page in pages {
            for command in shown(&std::fs::read_to_string(&page).unwrap()) {
                if let Err(error) = parse(&command) {
                    assert!(!error.use_stderr(), "{}: {command}\n{error}", page.display());
                }
                seen += 1;
            }
        }
        assert!(seen > 30, "{seen} commands");
    }

    #[test]
    fn every_command_has_one_line_and_an_example() {
        fn visit(command: &clap::Command, path: &str) {
            for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help" && !inner.is_hide_set()) {
                let path = format!("{path} {}", inner.get_name());
                let about = inner.get_about().map(ToString::to_string).unwrap_or_default();
                assert!(!about.is_empty() && !about.contains('\n') && !about.ends_with('.'), "{path}: {about}");
                let after = inner.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(after.contains("Example") && after.contains(&format!("  {path}")), "{path}: {after}");
                visit(inner, &path);
            }
        }
        visit(&Cli::command(), "gosync");
    }
}
