//! What is wrong with a config, where, and what to do about it. Collected, never thrown one by one.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Where something in the config comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A place in a file. Lines and columns count from 1.
    Line {
        /// The file, as it was named.
        file: Arc<str>,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// A file or folder as a whole.
    File(Arc<str>),
    /// An environment variable.
    Environment(String),
    /// An option of the command line.
    Flag(&'static str),
}

impl Place {
    /// The file, where it is one.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::Line { file, .. } | Self::File(file) => Some(file),
            Self::Environment(_) | Self::Flag(_) => None,
        }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::File(file) => f.write_str(file),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One mistake, with its next step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where it is.
    pub place: Option<Place>,
    /// The key's path, such as `s3.bucket` or `syncs[0].name`. Empty where it is about no key.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// The next step.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

/// Every mistake that was found, in the order of files and lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}", self.lines())]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    fn lines(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        lines.join("\n")
    }
}

/// What is wrong with one value, before anybody knows where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {hint}")]
pub struct Wrong {
    /// What is wrong.
    pub what: String,
    /// The next step.
    pub hint: String,
}

impl Wrong {
    /// A mistake and its next step.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }

    /// The same, at its place.
    pub fn at(self, place: Option<Place>, key: impl Into<String>) -> Problem {
        Problem { place, key: key.into(), what: self.what, hint: self.hint }
    }
}

/// The word that was probably meant, if one is near enough.
pub(crate) fn nearest<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase().replace('-', "_");
    words
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&text, &word.to_lowercase().replace('-', "_")), word))
        .filter(|(distance, word)| *distance <= (word.len().max(text.len()) / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
