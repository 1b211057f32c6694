//! Long work answers with JSON lines: any number of `progress` and `note`, then one `done` or one `error`.
//! A stream that ends without either was cut: the work may go on in the agent.

use serde::{Deserialize, Serialize};

use super::error::ErrorDetail;

/// One line. `T` is the result of the work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Line<T> {
    /// How far it is.
    Progress(Progress),
    /// Something a person may want to know.
    Note {
        /// The text.
        message: String,
    },
    /// It is done.
    Done {
        /// What came of it.
        result: T,
    },
    /// It failed.
    Error {
        /// Why.
        error: ErrorDetail,
    },
    /// A kind of line that a later release sends: pass over it.
    #[serde(other)]
    Unknown,
}

/// How far long work is. Totals are zero while they are unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// What is being done: listing, hydrating, flushing.
    pub step: String,
    /// The mirror, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// Files or keys done.
    pub files: u64,
    /// Files or keys in all.
    pub files_total: u64,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may stop at the first surprise
    use super::*;

    #[test]
    fn a_line_reads_back_what_was_written() {
        let line: Line<u32> = Line::Progress(Progress { step: "listing".into(), files: 3, ..Progress::default() });
        let text = serde_json::to_string(&line).unwrap();
        assert!(text.starts_with(r#"{"type":"progress","step":"listing""#), "{text}");
        assert_eq!(serde_json::from_str::<Line<u32>>(&text).unwrap(), line);
    }

    #[test]
    fn a_line_of_a_later_release_is_passed_over() {
        let line: Line<u32> = serde_json::from_str(r#"{"type":"weather","sky":"blue"}"#).unwrap();
        assert_eq!(line, Line::Unknown);
    }

    #[test]
    fn a_result_ends_the_stream() {
        let line: Line<u32> = serde_json::from_str(r#"{"type":"done","result":7}"#).unwrap();
        assert_eq!(line, Line::Done { result: 7 });
    }
}
