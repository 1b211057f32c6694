//! Whether Redis is asked at all. One failure opens the circuit: from then on every call is a miss at once, until a ping
//! is answered.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fred::error::{Error, ErrorKind};
use gosync_engine::ports::cache::{CacheError, CacheErrorKind, CacheStanding};
use tokio::sync::Notify;

/// A server that is full stays full for a while: what is too much is not even sent.
const REFUSED_FOR: Duration = Duration::from_secs(1);

pub struct Circuit {
    address: String,
    state: Mutex<State>,
    /// Rung when it opens: somebody has to find out when Redis is back.
    pub opened: Notify,
}

struct State {
    up: bool,
    since_ms: i64,
    trouble: Option<String>,
    refused: Option<(Instant, String)>,
}

/// An answer that Redis gave, and the words of it.
#[derive(Clone, Debug)]
struct Answer(String);

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Answer {}

impl Circuit {
    /// Nothing is known yet: open.
    pub fn new(address: String) -> Self {
        let trouble = Some("not connected yet".to_owned());
        let state = Mutex::new(State { up: false, since_ms: now_ms(), trouble, refused: None });
        Self { address, state, opened: Notify::new() }
    }

    pub fn is_up(&self) -> bool {
        self.lock().up
    }

    pub fn standing(&self) -> CacheStanding {
        let state = self.lock();
        let refused = state.refused.as_ref().map(|(_, why)| format!("it refuses: {why}"));
        CacheStanding { up: state.up, since_ms: state.since_ms, trouble: state.trouble.clone().or(refused) }
    }

    /// Whether a question may be sent.
    pub fn check(&self, doing: &str) -> Result<(), CacheError> {
        let state = self.lock();
        if state.up {
            return Ok(());
        }
        let source = state.trouble.clone().map(|trouble| Answer(trouble).into());
        Err(CacheError { kind: CacheErrorKind::Unavailable, what: doing.to_owned(), source })
    }

    /// The same for what needs memory.
    pub fn check_write(&self, doing: &str) -> Result<(), CacheError> {
        self.check(doing)?;
        match &self.lock().refused {
            Some((at, why)) if at.elapsed() < REFUSED_FOR => Err(refused(doing, why)),
            _ => Ok(()),
        }
    }

    /// A write was answered with yes.
    pub fn written(&self) {
        self.lock().refused = None;
    }

    pub fn close(&self) {
        let mut state = self.lock();
        if !state.up {
            *state = State { up: true, since_ms: now_ms(), trouble: None, refused: None };
            drop(state);
            tracing::info!(redis = self.address, "the cache is there");
        }
    }

    /// Of a connection rather than of a question.
    pub fn lost(&self, error: &Error) {
        self.open(why(error));
    }

    /// What a failed question means for its asker, and for those after it.
    pub fn failed(&self, doing: &str, error: &Error) -> CacheError {
        if is_refusal(error) {
            return refused(doing, error.details());
        }
        let why = why(error);
        self.open(why.clone());
        CacheError { kind: CacheErrorKind::Unavailable, what: doing.to_owned(), source: Some(Answer(why).into()) }
    }

    /// Something that it should do was answered with no.
    pub fn note_refusal(&self, error: &Error) {
        let mut state = self.lock();
        let first = state.refused.is_none();
        state.refused = Some((Instant::now(), error.details().to_owned()));
        drop(state);
        if first {
            tracing::warn!(redis = self.address, answer = error.details(), "the cache refuses what it is asked");
        }
    }

    fn open(&self, why: String) {
        let mut state = self.lock();
        let was_up = state.up;
        if was_up {
            state.up = false;
            state.since_ms = now_ms();
        }
        state.trouble = Some(why.clone());
        drop(state);
        if was_up {
            tracing::warn!(redis = self.address, why, "the cache does not answer: going on without it until it does");
            self.opened.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Redis heard the question and said no to it: others may fare better.
pub fn is_refusal(error: &Error) -> bool {
    // What it says to everybody: it is starting, its primary is gone, a script holds it, or it doesn't know us.
    const TO_ALL: [&str; 6] = ["LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "NOAUTH", "UNKILLABLE"];
    let word = error.details().split_whitespace().next().unwrap_or_default();
    let answered = word.len() >= 3 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    let kind = matches!(
        error.kind(),
        ErrorKind::Unknown | ErrorKind::InvalidArgument | ErrorKind::InvalidCommand | ErrorKind::NotFound
    );
    answered && kind && !TO_ALL.contains(&word)
}

fn refused(doing: &str, why: &str) -> CacheError {
    let source = Some(Answer(why.to_owned()).into());
    CacheError { kind: CacheErrorKind::Refused, what: doing.to_owned(), source }
}

fn why(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Timeout => "no answer in time".to_owned(),
        ErrorKind::Canceled => "the connection is closed".to_owned(),
        ErrorKind::IO | ErrorKind::Tls => format!("the connection failed: {}", for_people(error.details())),
        _ => error.details().to_owned(),
    }
}

/// The text in an error of the system that is written for programs: `Os { code: 111, kind: .., message: "text" }`, or
/// `Custom { kind: .., error: text }`.
fn for_people(details: &str) -> String {
    let text = details.split_once("message: ").or_else(|| details.split_once("error: ")).map(|(_, text)| text);
    let text = text.and_then(|text| text.strip_suffix('}')).unwrap_or(details).trim().trim_matches('"');
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    fn error(kind: ErrorKind, details: &'static str) -> Error {
        Error::new(kind, details)
    }

    #[test]
    fn what_redis_refuses_is_told_from_a_redis_that_is_away() {
        for (kind, details) in [
            (ErrorKind::InvalidArgument, "WRONGTYPE Operation against a key holding the wrong kind of value"),
            (ErrorKind::Unknown, "OOM command not allowed when used memory > 'maxmemory'."),
            (ErrorKind::Unknown, "NOPERM this user has no permissions to run the 'set' command"),
            (ErrorKind::Unknown, "READONLY You can't write against a read only replica."),
            (ErrorKind::Unknown, "MISCONF Redis is configured to save RDB snapshots"),
        ] {
            assert!(is_refusal(&error(kind, details)), "{details}");
        }
        for (kind, details) in [
            (ErrorKind::Timeout, "Request timed out."),
            (ErrorKind::IO, "Os { code: 104 }"),
            (ErrorKind::Unknown, "LOADING Redis is loading the dataset in memory"),
            (ErrorKind::Auth, "NOAUTH Authentication required."),
            (ErrorKind::Auth, "WRONGPASS invalid username-password pair or user is disabled."),
            (ErrorKind::Unknown, "Failed to route command."),
            (ErrorKind::Canceled, ""),
            (ErrorKind::Protocol, "ERR"),
        ] {
            assert!(!is_refusal(&error(kind, details)), "{details}");
        }
    }

    #[test]
    fn a_failure_opens_the_circuit_and_a_refusal_does_not() {
        let circuit = Circuit::new("h:1/0".to_owned());
        assert!(!circuit.standing().up);
        assert_eq!(circuit.check("x").unwrap_err().kind, CacheErrorKind::Unavailable);
        circuit.close();
        assert_eq!(circuit.standing().trouble, None);
        let refusal = error(ErrorKind::Unknown, "OOM no");
        circuit.note_refusal(&refusal);
        assert_eq!(circuit.failed("x", &refusal).kind, CacheErrorKind::Refused);
        assert!(circuit.check("x").is_ok() && circuit.standing().up);
        assert_eq!(circuit.check_write("x").unwrap_err().kind, CacheErrorKind::Refused);
        assert_eq!(circuit.standing().trouble.as_deref(), Some("it refuses: OOM no"));
        circuit.written();
        assert!(circuit.check_write("x").is_ok());
        assert_eq!(circuit.failed("x", &error(ErrorKind::Timeout, "")).kind, CacheErrorKind::Unavailable);
        assert_eq!(circuit.standing().trouble.as_deref(), Some("no answer in time"));
        assert_eq!(circuit.check_write("x").unwrap_err().kind, CacheErrorKind::Unavailable);
    }

    #[test]
    fn causes_are_told_as_people_write_them() {
        for (details, told) in [
            ("Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }", "connection refused"),
            (
                "Custom { kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }",
                "invalidCertificate(UnknownIssuer)",
            ),
            ("Custom { kind: Uncategorized, error: \"failed to lookup\" }", "failed to lookup"),
            ("anything else", "anything else"),
            ("", ""),
        ] {
            assert_eq!(for_people(details), told);
        }
    }
}
