//! Bars on stderr while the agent works: one for each mirror, none where nobody looks (no terminal, --quiet, JSON).

use std::collections::BTreeMap;
use std::time::Duration;

use gosync_api::messages::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::client::Event;
use crate::output::Output;
use crate::style::{bytes, clean, things};

/// How often a bar moves where nothing else happens.
const TICK: Duration = Duration::from_millis(120);
const KNOWN: &str = "{prefix} [{bar:30}] {percent:>3}% {msg}";
const OPEN: &str = "{prefix} {spinner} {msg}";

pub struct Bars {
    all: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
    output: Output,
    /// What is counted.
    thing: &'static str,
}

impl Bars {
    /// Bars that count `thing`s.
    pub fn new(thing: &'static str, output: &Output) -> Self {
        // Draws nothing where stderr is no terminal.
        let target = if output.chatty() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { all: MultiProgress::with_draw_target(target), bars: BTreeMap::new(), output: *output, thing }
    }

    pub fn on(&mut self, event: Event) {
        match event {
            Event::Note(text) => self.all.suspend(|| self.output.note(&clean(&text))),
            Event::Progress(progress) => self.show(&progress),
        }
    }

    fn show(&mut self, progress: &Progress) {
        // Bytes move where files are large; files count where they are small.
        let (done, total) = match (progress.bytes_total, progress.files_total) {
            (0, files) => (progress.files, files),
            (total, _) => (progress.bytes, total),
        };
        let template = if total > 0 { KNOWN } else { OPEN };
        let Ok(style) = ProgressStyle::with_template(template) else { return };
        let style = style.progress_chars("=> ");
        let prefix = match &progress.mirror {
            Some(mirror) => format!("{}: {}", clean(mirror), clean(&progress.step)),
            None => clean(&progress.step).into_owned(),
        };
        let message = self.message(progress);
        let name = progress.mirror.clone().unwrap_or_default();
        let bar = self.bars.entry(name).or_insert_with(|| {
            // Complete before it is drawn for the first time.
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style.clone());
            let bar = self.all.add(bar.with_prefix(prefix.clone()).with_message(message.clone()));
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_style(style);
        if total > 0 {
            bar.set_length(total.max(done));
            bar.set_position(done);
        }
        bar.set_prefix(prefix);
        bar.set_message(message);
    }

    fn message(&self, progress: &Progress) -> String {
        let mut text = things(progress.files, self.thing);
        if progress.files_total > 0 {
            text = format!("{} of {}", crate::style::count(progress.files), things(progress.files_total, self.thing));
        }
        if progress.bytes_total > 0 {
            text += &format!(", {} of {}", bytes(progress.bytes), bytes(progress.bytes_total));
        } else if progress.bytes > 0 {
            text += &format!(", {}", bytes(progress.bytes));
        }
        text
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in self.bars.values() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;

    #[test]
    fn totals_show_only_once_they_are_known() {
        let bars = Bars::new("file", &Output::of(Format::Json));
        let mut progress = Progress { files: 3, bytes: 1024, ..Progress::default() };
        assert_eq!(bars.message(&progress), "3 files, 1.00 KiB");
        progress.files_total = 10;
        progress.bytes_total = 2048;
        assert_eq!(bars.message(&progress), "3 of 10 files, 1.00 KiB of 2.00 KiB");
    }
}
