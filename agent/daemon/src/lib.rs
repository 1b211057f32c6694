//! The agent: wiring of config, engines, socket, probes and signals.
//!
//! Both functions below make their own runtime, stay in the foreground until the agent ends and return the exit code:
//! 0 ended and all was flushed, 1 not all was flushed or it could not start, 2 the config is wrong.

mod options;

pub use options::{DevOptions, Options};

/// Runs the agent that a config describes.
pub fn run(options: Options) -> i32 {
    let _ = options;
    eprintln!("gosync agent: not there yet");
    1
}

/// Runs the playground: an S3 store of its own and two mirrors of one prefix.
pub fn run_dev(options: DevOptions) -> i32 {
    let _ = options;
    eprintln!("gosync agent --dev: not there yet");
    1
}
