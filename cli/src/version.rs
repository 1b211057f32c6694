//! `gosync version`: what this binary is made of. The build script finds out what it can; the rest is unknown.

use std::process::ExitCode;

use gosync_api::Exit;
use jiff::Timestamp;
use serde::Serialize;

use crate::args::{Format, VersionArgs};
use crate::failure::Failure;
use crate::output::Output;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const UNKNOWN: &str = "unknown";
pub const COMMIT: &str = match option_env!("GOSYNC_BUILD_COMMIT") {
    Some(commit) => commit,
    None => UNKNOWN,
};

/// What this binary can do, for those who wonder whether theirs can.
const FEATURES: [&str; 5] = ["metadata-sqlite", "metadata-postgres", "cache-redis", "dev-s3", "sim"];

#[derive(Serialize)]
struct Build {
    version: &'static str,
    commit: &'static str,
    build_date: String,
    rustc: &'static str,
    target: &'static str,
    features: [&'static str; 5],
}

pub fn run(args: &VersionArgs, output: &Output) -> Result<ExitCode, Failure> {
    if args.short {
        output.print(VERSION)?;
        return Ok(Exit::Ok.into());
    }
    let seconds = option_env!("GOSYNC_BUILD_SECONDS").and_then(|seconds| seconds.parse().ok());
    let date = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let build = Build {
        version: VERSION,
        commit: COMMIT,
        build_date: date.map_or(UNKNOWN.to_owned(), |date| date.to_string()),
        rustc: option_env!("GOSYNC_BUILD_RUSTC").unwrap_or(UNKNOWN),
        target: env!("GOSYNC_BUILD_TARGET"),
        features: FEATURES,
    };
    let output = if args.json { Output::of(Format::Json) } else { *output };
    output.result(&build, |build| {
        format!(
            "gosync {}\ncommit    {}\nbuilt     {}\nrustc     {}\ntarget    {}\nfeatures  {}",
            build.version,
            build.commit,
            build.build_date,
            build.rustc.trim_start_matches("rustc "),
            build.target,
            build.features.join(", "),
        )
    })?;
    Ok(Exit::Ok.into())
}
