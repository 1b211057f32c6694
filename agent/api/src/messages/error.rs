//! The error body: `{"error":{"code","message","hint"}}`.

use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::words::words;

/// What the socket answers when a command can't be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", error.message)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// The inside of an [`ErrorBody`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// What a program acts on.
    pub code: ErrorCode,
    /// What, where and why, for people.
    #[serde(default)]
    pub message: String,
    /// The next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ErrorBody {
    /// An error with its next step.
    pub fn new(code: ErrorCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { error: ErrorDetail { code, message: message.into(), hint: Some(hint.into()) } }
    }
}

words! {
    /// What kind of error it is.
    pub enum ErrorCode {
        /// The request itself is wrong.
        BadRequest = "bad-request",
        /// No such mirror, halt, path or route.
        NotFound = "not-found",
        /// It is already there, or in use.
        Exists = "exists",
        /// It may not be done to this mirror (one of the config can't be removed).
        Refused = "refused",
        /// A guard has halted what the command needs.
        Halted = "halted",
        /// Known, but not done by this release yet.
        NotYet = "not-yet",
        /// It took longer than was allowed; it goes on in the agent.
        Timeout = "timeout",
        /// Something outside doesn't answer or refuses (endpoint, credentials, permissions).
        Unavailable = "unavailable",
        /// The two ends share no version of the messages.
        Version = "version",
        /// The peer is not the agent's user.
        Forbidden = "forbidden",
        /// The agent's own fault. Codes that this build doesn't know read as this one.
        #[serde(other)]
        Internal = "internal",
    }
}

impl ErrorCode {
    /// The HTTP status it travels with.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Timeout => 408,
            Self::Exists | Self::Refused => 409,
            Self::Halted => 423,
            Self::Version => 426,
            Self::Internal => 500,
            Self::NotYet => 501,
            Self::Unavailable => 503,
        }
    }

    /// How a command ends that got it.
    pub const fn exit(self) -> Exit {
        match self {
            Self::BadRequest | Self::NotFound | Self::Exists | Self::Refused | Self::NotYet => Exit::Usage,
            Self::Halted => Exit::Halted,
            Self::Timeout | Self::Unavailable | Self::Version | Self::Forbidden | Self::Internal => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may stop at the first surprise
    use super::*;

    #[test]
    fn the_body_has_the_shape_that_scripts_rely_on() {
        let body = ErrorBody::new(ErrorCode::NotFound, "no mirror \"docs\"", "see `gosync sync list`");
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            r#"{"error":{"code":"not-found","message":"no mirror \"docs\"","hint":"see `gosync sync list`"}}"#
        );
    }

    #[test]
    fn a_code_of_a_later_release_still_reads() {
        let body: ErrorBody = serde_json::from_str(r#"{"error":{"code":"eclipse","message":"dark"}}"#).unwrap();
        assert_eq!(body.error.code, ErrorCode::Internal);
        assert_eq!(body.error.hint, None);
    }

    #[test]
    fn a_halt_ends_a_command_with_seven() {
        assert_eq!(ErrorCode::Halted.exit().code(), 7);
        assert_eq!(ErrorCode::BadRequest.exit().code(), 2);
        assert_eq!(ErrorCode::Unavailable.exit().code(), 1);
    }
}
