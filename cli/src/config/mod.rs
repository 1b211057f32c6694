//! `gosync config`: write, check and show configs. Talks to no agent.

mod init;
mod write;

use std::process::ExitCode;

use gosync_api::Exit;
use gosync_api::config::{Loaded, Problem, generate, not_yet};
use serde::Serialize;

use crate::args::{ConfigCommand, Global};
use crate::failure::Failure;
use crate::output::Output;
use crate::place;

pub fn run(command: &ConfigCommand, global: &Global, output: &Output) -> Result<ExitCode, Failure> {
    match command {
        ConfigCommand::Init(args) => init::run(args, global, output)?,
        ConfigCommand::Validate => validate(&place::load_config(global)?, output)?,
        ConfigCommand::Show => {
            let Loaded { config, warnings, .. } = place::load_config(global)?;
            let yaml = config.show().map_err(|error| {
                Failure::new(Exit::Failed, "output", format!("the config can't be shown: {error}"), "")
            })?;
            output.result(&config.shown(), |_| yaml)?;
            notes(&warnings, output);
        }
        ConfigCommand::Generate { profile, force } => match &global.config {
            Some(path) => {
                write::to_file(path, &generate(*profile), *force)?;
                output.note(&format!("wrote {}; change bucket, folder and prefix in it", path.display()));
            }
            None => output.print(&generate(*profile))?,
        },
    }
    Ok(Exit::Ok.into())
}

/// A config that holds.
#[derive(Serialize)]
struct Valid {
    valid: bool,
    files: Vec<String>,
    mirrors: usize,
    warnings: Vec<Problem>,
    /// What `gosync agent` of this release refuses.
    not_yet: Vec<Problem>,
}

fn validate(loaded: &Loaded, output: &Output) -> Result<(), Failure> {
    let valid = Valid {
        valid: true,
        files: loaded.files.iter().map(|file| file.display().to_string()).collect(),
        mirrors: loaded.config.syncs.len(),
        warnings: loaded.warnings.clone(),
        not_yet: not_yet(&loaded.config),
    };
    output.done(&valid, |valid| {
        let s = if valid.mirrors == 1 { "" } else { "s" };
        format!("{}: no mistakes; {} mirror{s}", valid.files.join(", "), valid.mirrors)
    })?;
    notes(&valid.warnings, output);
    for problem in &valid.not_yet {
        output.note(&format!("{problem} (`gosync agent` of this release refuses it)"));
    }
    Ok(())
}

fn notes(warnings: &[Problem], output: &Output) {
    for warning in warnings {
        output.note(&format!("warning: {warning}"));
    }
}
