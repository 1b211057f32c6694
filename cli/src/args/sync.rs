//! What can be said after `gosync sync`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use gosync_api::config::parse_duration;
use gosync_api::words::{Answer, Direction};

use super::{one_of, remote_path};

#[derive(Debug, Subcommand)]
pub enum SyncCommand {
    /// How the agent and its mirrors stand: phase, queue, last sync, errors, halts
    #[command(after_help = "\
Examples:
  gosync sync state
  gosync sync state --watch
  gosync sync state --format json")]
    State {
        /// Print it again whenever a second has passed, until Ctrl-C
        #[arg(short, long)]
        watch: bool,
    },
    /// The mirrors, one a line
    #[command(after_help = "\
Example:
  gosync sync list --format yaml")]
    List,
    /// Keep a folder and an S3 prefix in step from now on
    #[command(after_help = "\
The agent remembers the mirror over restarts. The first run joins both sides: nothing is deleted on either.

Examples:
  gosync sync mirror ~/Documents /documents --wait
  gosync sync mirror ./site s3://other-bucket/site --name site --ignore '*.tmp,node_modules'")]
    Mirror(MirrorArgs),
    /// Take over the keys of a prefix by listing them: no object is read or written
    #[command(after_help = "\
Example:
  gosync sync provision /documents")]
    Provision(ProvisionArgs),
    /// Stop a mirror until `resume`; it stays paused over restarts
    #[command(after_help = "\
Example:
  gosync sync pause documents")]
    Pause {
        /// The mirror's name
        name: String,
    },
    /// Let a paused mirror go on
    #[command(after_help = "\
Example:
  gosync sync resume documents")]
    Resume {
        /// The mirror's name
        name: String,
    },
    /// Forget a mirror; never deletes files, objects or trash
    #[command(after_help = "\
A mirror of the config is taken out by editing the config.

Example:
  gosync sync remove documents")]
    Remove {
        /// The mirror's name
        name: String,
    },
    /// Bring both sides in step now, and get a receipt
    #[command(after_help = "\
The receipt names cursor, counts and a hash of the tree. With --wait the exit code is 0 only if nothing is pending.

Example:
  gosync sync flush documents --wait --timeout 5m")]
    Flush(FlushArgs),
    /// The conflict copies that wait for somebody to choose
    #[command(after_help = "\
Example:
  gosync sync conflicts documents")]
    Conflicts {
        /// Only of this mirror
        name: Option<String>,
    },
    /// Answer a halt with yes: what the guard stopped is done
    #[command(after_help = "\
`gosync sync state` names the halts, and for each what both answers would do.

Example:
  gosync sync approve h1")]
    Approve(AnswerArgs),
    /// Answer a halt with no: what can be had back is brought back
    #[command(after_help = "\
`gosync sync state` names the halts, and for each what both answers would do.

Example:
  gosync sync deny h1")]
    Deny(AnswerArgs),
    /// Show what a cycle would do now
    #[command(after_help = "\
Both sides are looked at now, and nothing is changed: the operations are shown in their order, with the guards' verdict.

Examples:
  gosync sync plan
  gosync sync plan documents --all --format json")]
    Plan(PlanArgs),
    /// Show what is known of a path, and why it stands as it does
    #[command(after_help = "\
The path may be absolute, relative to the current folder or to the mirror's, a key, or s3://bucket/key. Both sides are
looked at once, and nothing is changed.

Examples:
  gosync sync explain ~/Documents/notes/today.txt
  gosync sync explain s3://my-bucket/documents/notes")]
    Explain(ExplainArgs),
    /// Wait until a mirror has applied what a cursor names
    #[command(after_help = "\
The cursor is the one of a receipt of any agent that shares the metadata: what that agent had sent by then is here when
this returns.

Examples:
  gosync sync wait documents --for 1742
  gosync sync wait --for 1742 --timeout 5m")]
    Wait(WaitArgs),
    /// Deleted and replaced contents: list them, restore them
    #[command(after_help = "\
Examples:
  gosync sync trash list
  gosync sync trash restore notes/today.txt")]
    Trash {
        #[command(subcommand)]
        command: TrashCommand,
    },
}

#[derive(Debug, Args)]
pub struct MirrorArgs {
    /// The folder
    pub local_path: PathBuf,
    /// /prefix in the config's bucket, or s3://bucket/prefix
    #[arg(value_parser = remote_path)]
    pub s3_path: String,
    /// Name of the mirror [default: made from the folder's name]
    #[arg(long)]
    pub name: Option<String>,
    /// What is not synced, in the syntax of .gitignore; several with commas
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',')]
    pub ignore: Vec<String>,
    /// Both ways (the default); false: push only
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        conflicts_with = "direction", overrides_with = "no_bidirectional"
    )]
    pub bidirectional: Option<bool>,
    /// Push only
    #[arg(long, conflicts_with = "direction", overrides_with = "bidirectional")]
    pub no_bidirectional: bool,
    /// Which way it works [default: two-way]
    #[arg(long, value_parser = one_of(Direction::ALL, Direction::as_str))]
    pub direction: Option<Direction>,
    /// Wait until the first run has brought both sides together
    #[arg(short, long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// Say what would be done, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl MirrorArgs {
    /// The direction that was asked for, in whichever way.
    pub fn direction(&self) -> Option<Direction> {
        match (self.direction, self.bidirectional, self.no_bidirectional) {
            (Some(direction), _, _) => Some(direction),
            (None, Some(true), _) => Some(Direction::TwoWay),
            (None, Some(false), _) | (None, None, true) => Some(Direction::Push),
            (None, None, false) => None,
        }
    }
}

#[derive(Debug, Args)]
pub struct ProvisionArgs {
    /// /prefix in the config's bucket, or s3://bucket/prefix
    #[arg(value_parser = remote_path)]
    pub s3_path: String,
    /// Count, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Subfolders too (the default); false: only the keys right below the prefix
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", action = clap::ArgAction::Set
    )]
    pub recursive: bool,
}

#[derive(Debug, Args)]
pub struct FlushArgs {
    /// Only this mirror
    pub name: Option<String>,
    /// Wait until it is done
    #[arg(short, long)]
    pub wait: bool,
    /// Longest wait, such as 60s or 5m
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub struct WaitArgs {
    /// Only this mirror
    pub name: Option<String>,
    /// A cursor, as receipts name it
    #[arg(long = "for", value_name = "CURSOR")]
    pub cursor: String,
    /// Longest wait, such as 60s or 5m
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Only of this mirror
    pub name: Option<String>,
    /// Name every operation, however many there are
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A file or folder, here or in the bucket
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Only in this mirror
    #[arg(long, value_name = "NAME")]
    pub mirror: Option<String>,
}

#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// The halt's id, as `gosync sync state` shows it; or, of a mirror that only sends, a diverged path
    pub halt: String,
    /// Where yes and no are not enough
    #[arg(long, value_parser = one_of(Answer::ALL, Answer::as_str))]
    pub answer: Option<Answer>,
}

#[derive(Debug, Subcommand)]
pub enum TrashCommand {
    /// What can be restored, newest first
    #[command(after_help = "\
Example:
  gosync sync trash list documents --under notes
  gosync sync trash list --versions --under notes")]
    List {
        /// Only of this mirror
        name: Option<String>,
        /// Only below this path
        #[arg(long, value_name = "PATH")]
        under: Option<String>,
        /// Also what was deleted in the bucket and is kept as one of its versions; looks at each of them
        #[arg(long)]
        versions: bool,
    },
    /// Bring contents back; a path that is taken again is not overwritten
    #[command(after_help = "\
Examples:
  gosync sync trash restore t17
  gosync sync trash restore notes --mirror documents")]
    Restore {
        /// Ids of `trash list`, or paths (the newest content of each, from the trash or else from the bucket's versions; a
        /// folder with all below it)
        #[arg(required = true, value_name = "ID or PATH")]
        what: Vec<String>,
        /// The mirror that the paths are in
        #[arg(long, value_name = "NAME")]
        mirror: Option<String>,
    },
}
