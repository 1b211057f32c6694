//! The log of the process, by `tracing`: lines of text or of JSON.
//!
//! The level is that of our own crates. Libraries only ever warn, so that `debug` stays readable and no library can put
//! a request's headers into the log.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, Registry, reload};

use crate::file::LogFile;

/// What the targets of our crates begin with.
const OURS: &str = "gosync";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Where the lines go.
pub enum LogTarget {
    Stdout,
    /// Where stdout is a screen of its own.
    Stderr,
    File(Box<LogFile>),
}

pub struct LogOptions {
    pub level: LevelFilter,
    pub format: LogFormat,
    pub to: LogTarget,
}

/// Changes the level of a log that runs.
#[derive(Clone)]
pub struct LogLevel {
    handle: reload::Handle<Targets, Registry>,
    now: Arc<Mutex<LevelFilter>>,
}

impl LogLevel {
    /// Takes effect with the next event. Returns the level from before.
    pub fn set(&self, level: LevelFilter) -> LevelFilter {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        // The only error is a log that has ended.
        let _ = self.handle.reload(targets(level));
        std::mem::replace(&mut now, level)
    }
}

/// Starts the log of this process. Fails when it has one already.
pub fn start(options: LogOptions) -> Result<LogLevel, TryInitError> {
    let (filter, handle) = reload::Layer::new(targets(options.level));
    let writer = match options.to {
        LogTarget::Stdout => BoxMakeWriter::new(io::stdout),
        LogTarget::Stderr => BoxMakeWriter::new(io::stderr),
        LogTarget::File(file) => BoxMakeWriter::new(Mutex::new(*file)),
    };
    // Colours belong to a screen; a log is read by programs too.
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    let layer = match options.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    Ok(LogLevel { handle, now: Arc::new(Mutex::new(options.level)) })
}

/// What libraries warn of is told by our own crates, in words for people; theirs are for developers.
fn targets(level: LevelFilter) -> Targets {
    let libraries = if level >= LevelFilter::DEBUG { LevelFilter::WARN } else { level.min(LevelFilter::ERROR) };
    // It calls every request that fails an error, beside what the caller makes of it.
    Targets::new().with_default(libraries).with_target("kube", LevelFilter::OFF).with_target(OURS, level)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_level_is_that_of_our_own_crates() {
        let targets = targets(LevelFilter::DEBUG);
        assert!(targets.would_enable("gosync_agent::socket", &Level::DEBUG));
        assert!(!targets.would_enable("gosync_agent::socket", &Level::TRACE));
        assert!(targets.would_enable("hyper", &Level::WARN));
        assert!(!targets.would_enable("hyper", &Level::DEBUG));
    }

    #[test]
    fn libraries_never_say_more_than_was_asked_for() {
        assert!(!targets(LevelFilter::INFO).would_enable("aws_config", &Level::WARN));
        assert!(targets(LevelFilter::INFO).would_enable("gosync_agent", &Level::WARN));
        let targets = targets(LevelFilter::ERROR);
        assert!(!targets.would_enable("hyper", &Level::WARN));
        assert!(!targets.would_enable("gosync_agent", &Level::WARN));
    }
}
