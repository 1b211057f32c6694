//! What a table is made of: colours, relative times, sizes, texts that can't disturb the terminal.

use std::borrow::Cow;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, Color, Table, presets};
use gosync_api::words::Status;
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use jiff::Timestamp;

pub const ERROR: Style = AnsiColor::Red.on_default().bold();
pub const WARN: Style = AnsiColor::Yellow.on_default();
pub const HINT: Style = AnsiColor::Cyan.on_default();
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const STRONG: Style = Style::new().bold();
pub const FAINT: Style = Style::new().dimmed();

/// The colour of a status.
pub fn of_status(status: Status) -> Style {
    match status {
        Status::Active => GOOD,
        Status::Paused => WARN,
        Status::Halted | Status::Error => ERROR,
    }
}

/// The same for a cell of a table.
pub fn status_cell(status: Status) -> Cell {
    let color = match status {
        Status::Active => Color::Green,
        Status::Paused => Color::Yellow,
        Status::Halted | Status::Error => Color::Red,
    };
    Cell::new(status).fg(color)
}

/// An empty table of plain columns. Nothing is wrapped into narrow cells: paths are there to be copied.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        // Taken away again where colours are not wanted.
        .enforce_styling()
        .set_header(header.iter().copied());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// The table as lines without blanks at their ends.
pub fn lines(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Names come from other people and tools: control characters in them show as escapes instead of moving the cursor.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() });
    Cow::Owned(shown.collect())
}

/// How long ago, as `5m ago`.
pub fn ago(then: Option<Timestamp>, now: Timestamp) -> String {
    match then {
        Some(then) => format!("{} ago", span(age(then, now))),
        None => "never".to_owned(),
    }
}

/// For how long it has been so, as ` for 5m`; empty where it isn't known.
pub fn since(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map(|then| format!(" for {}", span(age(then, now)))).unwrap_or_default()
}

/// A length of time, as `5m`.
pub fn span(duration: Duration) -> String {
    format!("{:#}", HumanDuration(duration))
}

/// How long something took, as `12ms` or `5m`.
pub fn took(duration: Duration) -> String {
    if duration < Duration::from_secs(1) { format!("{}ms", duration.as_millis()) } else { span(duration) }
}

/// Clocks may differ: what lies ahead is now.
pub fn age(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// A number of bytes, as `3.40 GiB`.
pub fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// A number, as `12,345`.
pub fn count(count: u64) -> String {
    HumanCount(count).to_string()
}

/// A number of things, as `1 file` or `12,345 files`.
pub fn things(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may stop at the first surprise
    use super::*;

    #[test]
    fn a_name_can_not_move_the_cursor() {
        assert_eq!(clean("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(clean("Überblick 🦀.txt"), "Überblick 🦀.txt");
    }

    #[test]
    fn times_are_told_from_now() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        assert_eq!(ago(at("2026-11-22T11:59:48Z"), now), "12s ago");
        assert_eq!(ago(at("2026-11-22T09:00:00Z"), now), "3h ago");
        assert_eq!(ago(at("2026-11-22T12:00:05Z"), now), "0s ago");
        assert_eq!(ago(None, now), "never");
        assert_eq!(since(None, now), "");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(things(1, "file"), "1 file");
        assert_eq!(things(12_345, "file"), "12,345 files");
    }
}
