//! `gosync man`: the manual, made from the definitions that `--help` prints. Writes whole files over what is there, so that
//! it can be given again.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use gosync_api::Exit;

use crate::args::{Cli, ManArgs};
use crate::failure::Failure;
use crate::output::Output;

pub fn run(args: &ManArgs, output: &Output) -> Result<ExitCode, Failure> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    match &args.dir {
        None => output.print(&page(&root).map_err(|error| Failure::output(&error))?)?,
        Some(dir) => {
            let mut written = Vec::new();
            write(&root, dir, &mut written)?;
            output.done(&written, |written| format!("wrote {} pages to {}", written.len(), dir.display()))?;
        }
    }
    Ok(Exit::Ok.into())
}

/// A page for the command, and one for each below it.
fn write(command: &Command, dir: &Path, written: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let file = dir.join(Man::new(command.clone()).get_filename());
    let failed = |error: io::Error| {
        let message = format!("{} can't be written: {error}", file.display());
        Failure::new(Exit::Failed, "write", message, "name a folder that you may write to with --dir")
    };
    let text = page(command).map_err(failed)?;
    std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&file, text)).map_err(failed)?;
    written.push(file);
    command.get_subcommands().filter(|inner| !inner.is_hide_set()).try_for_each(|inner| write(inner, dir, written))
}

fn page(command: &Command) -> io::Result<String> {
    let man = Man::new(command.clone()).manual("GoSync").source(format!("gosync {}", crate::version::VERSION));
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (titled, prose): (Vec<&str>, Vec<&str>) = after
        .split("\n\n")
        .filter(|part| !part.is_empty())
        .partition(|part| part.split_once('\n').is_some_and(|(title, _)| title.ends_with(':')));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    let mut roff = Roff::new();
    for part in prose {
        roff.control("PP", []).text([roman(part)]);
    }
    roff.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|inner| !inner.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    // Lines that stand below a title stay lines: examples are to be copied.
    let mut roff = Roff::new();
    for (title, lines) in titled.iter().filter_map(|part| part.split_once('\n')) {
        roff.control("SH", [title.trim_end_matches(':').to_uppercase().as_str()]).control("nf", []);
        for line in lines.lines() {
            roff.text([roman(line.trim_start())]);
        }
        roff.control("fi", []);
    }
    roff.to_writer(&mut page)?;
    String::from_utf8(page).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
