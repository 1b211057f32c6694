//! Secrets: read from their key or from the file that its twin `<key>_file` names, never printed.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::problem::Wrong;
use super::section::{Field, KeyDoc, Reader, join_path};
use super::shown::Shown;
use super::tree::{Map, Value};

/// What stands in for a secret wherever it would be printed.
pub const MASK: &str = "********";

/// A text that is never printed. Empty means that there is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret {
    value: String,
    file: Option<PathBuf>,
}

impl Secret {
    /// A secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), file: None }
    }

    /// The text itself: hand it to what needs it, keep it nowhere.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }

    /// The file it was read from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    fn masked(&self) -> &'static str {
        if self.value.is_empty() { "" } else { MASK }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.masked())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.masked())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.masked())
    }
}

/// The key that names a file to read the secret from.
pub(crate) fn twin(name: &str) -> String {
    format!("{name}_file")
}

impl Field for Secret {
    fn names(name: &str) -> Vec<String> {
        vec![name.to_owned(), twin(name)]
    }

    fn read_in(&mut self, map: &Map, name: &str, path: &str, reader: &mut Reader<'_>) {
        let twin = twin(name);
        let key = join_path(path, name);
        if let (Some(entry), Some(file)) = (map.get(name), map.get(&twin))
            && !matches!(&entry.value, Value::Text(text) | Value::Literal(text) if text.is_empty())
            && !matches!(&file.value, Value::Text(text) | Value::Literal(text) if text.is_empty())
        {
            let wrong = Wrong::new(
                format!("`{name}` and `{twin}` are both set ({twin} at {})", file.place),
                "keep one of the two",
            );
            reader.wrong(&entry.place, &key, wrong);
            return;
        }
        if let Some(node) = map.get(name)
            && let Some(value) = reader.text(node, &key, true)
        {
            *self = Self::new(value);
        }
        let Some(node) = map.get(&twin) else { return };
        let key = join_path(path, &twin);
        let Some(text) = reader.text(node, &key, false) else { return };
        if text.is_empty() {
            return;
        }
        let file = reader.absolute(&text, &node.place);
        reader.files.push(file.clone());
        match reader.disk.read(&file) {
            Ok(value) => *self = Self { value: value.trim_end_matches(['\r', '\n']).to_owned(), file: Some(file) },
            Err(error) => reader.wrong(
                &node.place,
                &key,
                Wrong::new(
                    format!("can't read {}: {error}", file.display()),
                    "name a file that the agent's user can read",
                ),
            ),
        }
    }

    fn show(&self, name: &str, out: &mut Vec<(String, Shown)>) {
        match &self.file {
            Some(file) => out.push((twin(name), Shown::Text(file.display().to_string()))),
            None => out.push((name.to_owned(), Shown::Text(self.masked().to_owned()))),
        }
    }

    fn describe(&self, path: &str, doc: &str, out: &mut Vec<KeyDoc>) {
        out.push(KeyDoc {
            path: path.to_owned(),
            kind: "secret text".to_owned(),
            default: Shown::Text(String::new()),
            doc: doc.to_owned(),
            secret: true,
            environment: None,
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may stop at the first surprise
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "******** Secret(********)");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"********\"");
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(Secret::default().to_string(), "");
    }
}
