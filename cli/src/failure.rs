//! Why a command did not succeed: the exit code, what a program acts on, and what a person reads.

use std::io;

use gosync_api::Exit;
use gosync_api::config::{Problem, Problems};
use gosync_api::messages::ErrorDetail;
use serde::Serialize;

/// The end of a command that could not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// Something to tell.
    Told(Box<Report>),
    /// Nobody reads what is printed (`| head`): end in silence.
    NobodyReads,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    #[serde(skip)]
    pub exit: Exit,
    /// A short stable word.
    pub code: String,
    /// What, where and why.
    pub message: String,
    /// The next step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Each mistake, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

impl Failure {
    pub fn new(exit: Exit, code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Told(Box::new(Report {
            exit,
            code: code.to_owned(),
            message: message.into(),
            hint: Some(hint.into()).filter(|hint: &String| !hint.is_empty()),
            problems: Vec::new(),
        }))
    }

    /// Wrong usage: repeating it unchanged is pointless.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message, hint)
    }

    /// A config that holds, but asks for what this release does not do.
    pub fn config_not_yet(problems: Vec<Problem>) -> Self {
        Self::Told(Box::new(Report {
            exit: Exit::Usage,
            code: "not-yet".to_owned(),
            message: "the config asks for what this release does not do yet".to_owned(),
            hint: Some("take these keys out, or wait for a later release".to_owned()),
            problems,
        }))
    }

    /// A config with mistakes, all of them.
    pub fn config(Problems(problems): Problems) -> Self {
        let count = problems.len();
        let message = format!("the config has {count} mistake{}", if count == 1 { "" } else { "s" });
        let mut report = Report {
            exit: Exit::Usage,
            code: "config".to_owned(),
            message,
            hint: Some("mend them, then check with `gosync config validate`".to_owned()),
            problems,
        };
        // One that is about a file as a whole (it isn't there, it can't be read) says it all.
        if let [only] = report.problems.as_slice()
            && only.key.is_empty()
        {
            report.message = "the config can't be read".to_owned();
            report.hint = None;
        }
        Self::Told(Box::new(report))
    }

    /// What the agent answered.
    pub fn agent(error: ErrorDetail) -> Self {
        let message = match error.message.is_empty() {
            true => format!("the agent answered \"{}\" and no more", error.code),
            false => error.message,
        };
        Self::new(error.code.exit(), error.code.as_str(), message, error.hint.unwrap_or_default())
    }

    /// The results could not be printed.
    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::new(Exit::Failed, "output", format!("the result can't be printed: {error}"), ""),
        }
    }
}
