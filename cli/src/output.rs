//! Where results, notes and errors go: results to stdout in the format that was asked for, all else to stderr.
//!
//! Colours are written always and taken away again where they are not wanted (`anstream` looks at the terminal, NO_COLOR
//! and TERM). A reader that went away is no error.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use gosync_api::Exit;
use serde::Serialize;

use crate::args::{Format, Global};
use crate::failure::{Failure, Report};
use crate::style;

/// How this command prints.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    quiet: bool,
}

impl Output {
    pub fn new(global: &Global) -> Self {
        if global.no_color {
            anstream::ColorChoice::Never.write_global();
        }
        Self { format: global.format, quiet: global.quiet }
    }

    /// In a format, before or beside what the options say.
    pub fn of(format: Format) -> Self {
        Self { format, quiet: false }
    }

    /// True when a person reads along: notes and progress are welcome.
    pub fn chatty(&self) -> bool {
        self.format == Format::Table && !self.quiet
    }

    /// Prints a result; `table` makes of it what people read.
    pub fn result<T: Serialize>(&self, result: &T, table: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.print(&table(result)),
            Format::Json | Format::Yaml => self.print(&encode(self.format, result)?),
        }
    }

    /// Prints what was done: a result for programs, a line for people unless they want quiet.
    pub fn done<T: Serialize>(&self, result: &T, line: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        if self.format == Format::Table && self.quiet { Ok(()) } else { self.result(result, line) }
    }

    /// Prints a text to stdout as it is, with a newline at its end.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        write!(out, "{text}{newline}").and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
    }

    /// Begins a fresh screen, where a table goes to a terminal.
    pub fn clear(&self) -> Result<(), Failure> {
        if self.format == Format::Table && std::io::stdout().is_terminal() {
            console::Term::stdout().clear_screen().map_err(|error| Failure::output(&error))?;
        }
        Ok(())
    }

    /// Something that a person may want to know besides.
    pub fn note(&self, text: &str) {
        if self.chatty() {
            // What can't be told on stderr can't be told at all.
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }

    /// Tells a failure and answers with the exit code.
    pub fn failure(&self, failure: Failure) -> Exit {
        let Failure::Told(report) = failure else { return Exit::Ok };
        let text = match self.format {
            Format::Table => for_people(&report),
            Format::Json | Format::Yaml => {
                encode(self.format, &BTreeMap::from([("error", &report)])).unwrap_or_else(|_| for_people(&report))
            }
        };
        let _ = writeln!(anstream::stderr(), "{}", text.trim_end());
        report.exit
    }
}

/// Control characters that JSON takes as they are (they stand in its strings alone) would be taken for commands to a terminal,
/// and be taken away as such.
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            '\u{7f}'..='\u{9f}' => escaped.push_str(&format!("\\u{:04x}", u32::from(char))),
            char => escaped.push(char),
        }
    }
    escaped
}

fn encode<T: Serialize>(format: Format, value: &T) -> Result<String, Failure> {
    let text = match format {
        Format::Yaml => serde_saphyr::to_string(value).map_err(|error| error.to_string()),
        Format::Json | Format::Table => {
            serde_json::to_string_pretty(value).map(|text| escape(&text)).map_err(|error| error.to_string())
        }
    };
    text.map_err(|error| Failure::new(Exit::Failed, "output", format!("the result can't be written: {error}"), ""))
}

fn for_people(report: &Report) -> String {
    let (error, hint) = (style::ERROR, style::HINT);
    let mut text = format!("{error}error:{error:#} {}\n", report.message);
    for problem in &report.problems {
        text += &format!("  {problem}\n");
    }
    if let Some(next) = &report.hint {
        text += &format!("{hint}next:{hint:#} {next}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    #[test]
    fn a_name_comes_through_json_whole_whatever_characters_it_has() {
        let name = "a\u{7f}b\u{9b}31mc\u{1b}[0md\n\u{e9}";
        let text = encode(Format::Json, &name).unwrap();
        assert!(text.chars().all(|char| !char.is_control()), "{text:?}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), name);
    }
}
