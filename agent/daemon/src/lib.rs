//! The agent: wiring of config, engines, socket, probes and signals.
//!
//! * `start`, `signals`, `reload`, `drain`: an agent from its start to its end;
//! * `agent`, `one_mirror`, `root`, `volume`, `watcher`, `neighbours`: its mirrors, each run by an engine;
//! * `ports`, `stores`, `caches`, `throttle`, `parts`: what engines work with;
//! * `socket`, `http`, `provision`: who talks to it;
//! * `tell`, `words`, `limits`: between the engine's words and those that people know;
//! * `dev`, `screen`: the playground;
//! * [`doctor`]: what is wrong, with or without an agent that runs.
//!
//! `run` and `run_dev` make their own runtime, stay in the foreground until the agent ends, and return the exit code:
//! 0 ended and all was flushed, 1 not all was flushed or it could not start, 2 the config is wrong.

mod agent;
mod caches;
mod chain;
mod config_row;
mod crash;
mod databases;
mod dev;
mod device;
pub mod doctor;
mod drain;
mod http;
mod limits;
mod made;
mod neighbours;
mod one_mirror;
mod options;
mod parts;
mod plan;
mod ports;
mod provision;
mod reload;
mod root;
mod screen;
mod signals;
mod socket;
mod start;
mod stores;
mod tell;
mod throttle;
mod volume;
mod watcher;
mod words;

use std::io::Write as _;
use std::sync::Arc;

use gosync_api::Exit;
use gosync_api::config::{self, AgentConfig, LogFormat as Format, LogLevel as Level, Problems, Wrong};
use gosync_telemetry::{LogFile, LogFileOptions, LogFormat, LogLevel, LogOptions, LogTarget, logs};
use tokio::sync::Notify;
use tracing::level_filters::LevelFilter;

pub use options::{DevOptions, Options};

use chain::chain;
use reload::Source;
use screen::Screen;
use signals::{AtHangup, Signals};
use start::{Ground, Setup, StartError};

/// Runs the agent that a config describes.
pub fn run(options: Options) -> i32 {
    exit(try_run(&options))
}

fn try_run(options: &Options) -> Result<bool, StartError> {
    crash::arm();
    let loaded = config::load(&options.config, options.data_dir.as_deref()).map_err(StartError::Config)?;
    start::check(&loaded)?;
    // First the data_dir: the log may lie in it, and another agent's is left alone.
    let ground = Ground::take(&loaded.config.data_dir)?;
    let log_level = begin_log(LogOptions {
        level: level(loaded.config.log.level),
        format: format(loaded.config.log.format),
        to: log_target(&loaded.config)?,
    });
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = start::runtime()?;
    let complete = runtime.block_on(async {
        let asked = Arc::new(Notify::new());
        let mut signals = Signals::listen(AtHangup::Tell(Arc::clone(&asked))).map_err(StartError::Signals)?;
        let source = Source { path: options.config.clone(), data_dir: options.data_dir.clone(), asked };
        let (version, commit) = (options.version.clone(), options.commit.clone());
        let source = Some(source);
        let setup = Setup { loaded, version, commit, store_identity: None, screen: None, source, log_level };
        Ok(start::start(ground, setup).await?.until_the_end(&mut signals).await)
    });
    start::end(runtime);
    complete
}

/// Runs the playground: an S3 store of its own and two mirrors of one prefix.
pub fn run_dev(options: DevOptions) -> i32 {
    exit(try_run_dev(&options))
}

fn try_run_dev(options: &DevOptions) -> Result<bool, StartError> {
    // The screen tells what happens to files; the log only what else goes wrong.
    let to = LogTarget::Stderr;
    let log_level = begin_log(LogOptions { level: LevelFilter::ERROR, format: LogFormat::Text, to });
    let folders =
        dev::Folders::of(options).map_err(|source| StartError::DataDir { path: options.dir.clone(), source })?;
    let ground = Ground::take(&folders.data_dir())?;
    let runtime = start::runtime()?;
    let complete = runtime.block_on(async {
        let mut signals = Signals::listen(AtHangup::End).map_err(StartError::Signals)?;
        let store = dev::Store::start(&folders).await?;
        let loaded = dev::config(&folders, &store)?;
        let screen = Arc::new(Screen::new(options.color));
        dev::welcome(&screen, &folders, &store);
        let setup = Setup {
            loaded,
            version: options.version.clone(),
            commit: options.commit.clone(),
            store_identity: Some(dev::STORE_IDENTITY.to_owned()),
            screen: Some(screen),
            source: None,
            log_level,
        };
        let complete = start::start(ground, setup).await?.until_the_end(&mut signals).await;
        store.running.shutdown().await;
        Ok(complete)
    });
    start::end(runtime);
    complete
}

fn exit(ended: Result<bool, StartError>) -> i32 {
    let exit = match ended {
        Ok(true) => Exit::Ok,
        Ok(false) => Exit::Failed,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "gosync agent: {}", chain(&error));
            if matches!(error, StartError::Config(_)) { Exit::Usage } else { Exit::Failed }
        }
    };
    exit.code().into()
}

/// `None` where somebody else in this process has begun one: then that one is used.
fn begin_log(options: LogOptions) -> Option<LogLevel> {
    logs::start(options).ok()
}

/// Where the config wants the log.
fn log_target(config: &AgentConfig) -> Result<LogTarget, StartError> {
    let Some(path) = &config.log.file else { return Ok(LogTarget::Stdout) };
    let rotation = &config.log.rotation;
    let file = LogFile::open(LogFileOptions {
        path: path.clone(),
        size_bytes_max: u64::from(rotation.max_size) * 1_000_000,
        closed_max: rotation.max_backups,
        age_days_max: rotation.max_age,
        compress: rotation.compress,
    });
    file.map(|file| LogTarget::File(Box::new(file))).map_err(|error| {
        let hint = "name a file that the agent's user may write, or leave the key empty: then the log goes to stdout";
        let place = config.places.near("log.file").cloned();
        StartError::Config(Problems(vec![Wrong::new(chain(&error), hint).at(place, "log.file")]))
    })
}

pub(crate) fn level(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

/// The level that goes by this filter.
pub(crate) fn named(filter: LevelFilter) -> Level {
    Level::ALL.iter().copied().find(|known| level(*known) == filter).unwrap_or(Level::Error)
}

fn format(format: Format) -> LogFormat {
    match format {
        Format::Text => LogFormat::Text,
        Format::Json => LogFormat::Json,
    }
}
