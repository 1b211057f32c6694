//! The playground's screen: one line per event. A screen that is gone stops nothing.

use std::fmt::Write as _;
use std::io::Write as _;

use gosync_engine::ports::Event;

use crate::one_mirror::Why;
use crate::words;

pub struct Screen {
    color: bool,
}

#[derive(Clone, Copy)]
enum Tone {
    Plain,
    Warning,
    Good,
}

impl Screen {
    pub fn new(color: bool) -> Self {
        Self { color }
    }

    pub fn say(&self, text: &str) {
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    pub fn event(&self, mirror: &str, event: &Event) {
        if let Some((tone, text)) = line(event) {
            self.tell(mirror, tone, &text);
        }
    }

    pub fn down(&self, mirror: &str, why: &Why) {
        let text = match why {
            Why::Halt(reason, message) => format!("■ halted, {reason}: {message}"),
            Why::Error { class, message } => format!("! {class}: {message}"),
        };
        self.tell(mirror, Tone::Warning, &text);
    }

    fn tell(&self, mirror: &str, tone: Tone, text: &str) {
        // A name may hold anything; a terminal obeys some of it.
        let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let (dim, paint, reset) = match (self.color, tone) {
            (false, _) => ("", "", ""),
            (true, Tone::Plain) => ("\x1b[2m", "", "\x1b[0m"),
            (true, Tone::Warning) => ("\x1b[2m", "\x1b[33m", "\x1b[0m"),
            (true, Tone::Good) => ("\x1b[2m", "\x1b[32m", "\x1b[0m"),
        };
        self.say(&format!("{dim}{mirror:<6}{reset}{paint}{text}{reset}"));
    }
}

fn line(event: &Event) -> Option<(Tone, String)> {
    Some(match event {
        Event::Uploaded { path, bytes } => (Tone::Plain, format!("↑ {path}  {}", size(*bytes))),
        Event::Downloaded { path, bytes } => (Tone::Plain, format!("↓ {path}  {}", size(*bytes))),
        Event::LinksParted { path, other_names } => {
            (Tone::Warning, format!("! {path}  was replaced; its {other_names} other hard links keep the old content"))
        }
        Event::CopiedInBucket { path, from } => (Tone::Plain, format!("↑ {path}  copied in the bucket from {from}")),
        Event::CopiedInTree { path } => (Tone::Plain, format!("↓ {path}  copied here, nothing fetched")),
        Event::DeletedObject { path } => (Tone::Plain, format!("✕ {path}  deleted from the bucket")),
        Event::Trashed { path } => (Tone::Plain, format!("✕ {path}  moved to .gosync/trash")),
        Event::Conflict { path, copy } => {
            (Tone::Warning, format!("! {path}  changed on both sides; the content from here is kept as {copy}"))
        }
        Event::Halted { reason, message } => {
            (Tone::Warning, format!("■ halted, {}: {message}", words::halt_reason(*reason)))
        }
        Event::HaltEnded { reason } => (Tone::Good, format!("▶ no longer halted, {}", words::halt_reason(*reason))),
        Event::Rotten { path } => {
            (Tone::Warning, format!("! {path}  its content has changed, though nobody seems to have written to it"))
        }
        Event::Problem { path, message } => (Tone::Warning, format!("! {path}  {message}")),
        Event::Trouble { class, message } => (Tone::Warning, format!("! {}: {message}", words::error_class(class))),
        Event::TroubleEnded { class } => (Tone::Good, format!("▶ {}: mended", words::error_class(class))),
        Event::WatchOverflow => (Tone::Warning, "! events were lost: looking at everything".to_owned()),
        Event::Recorded { .. } | Event::SweepEnded { .. } | Event::Hydrated { .. } => return None,
        Event::FeedLost | Event::BucketListed { .. } | Event::IsACopy { .. } => return None,
    })
}

/// With two digits that mean something.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut text = String::new();
    if bytes < 1024 {
        let _ = write!(text, "{bytes} B");
        return text;
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value < 10.0);
    let _ = write!(text, "{value:.digits$} {}", UNITS[unit]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1024), "1.0 KiB");
        assert_eq!(size(300 << 20), "300 MiB");
        assert_eq!(size(u64::MAX), "16384 PiB");
    }
}
