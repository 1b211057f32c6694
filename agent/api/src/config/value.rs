//! The kinds of values that keys take, each read from text and printed as text: texts, numbers, words of a list, paths,
//! addresses. Those with units are in `units`, secrets in `secret`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::problem::{Place, Wrong, nearest};
use super::section::{Field, KeyDoc, Reader, join_path};
use super::shown::Shown;
use super::tree::{Map, Value};

/// A value that is one text in the config.
pub trait Setting: Sized {
    /// What the reference calls it.
    fn kind() -> String;
    /// Reads it. `place` tells paths what they are relative to.
    fn read(text: &str, place: &Place, reader: &Reader<'_>) -> Result<Self, Wrong>;
    /// As it would be written.
    fn shown(&self) -> Shown;
}

impl<T: Setting> Field for T {
    fn read_in(&mut self, map: &Map, name: &str, path: &str, reader: &mut Reader<'_>) {
        let Some(node) = map.get(name) else { return };
        let key = join_path(path, name);
        let Some(text) = reader.text(node, &key, false) else { return };
        match T::read(&text, &node.place, reader) {
            Ok(value) => *self = value,
            Err(wrong) => reader.wrong(&node.place, &key, wrong),
        }
    }

    fn show(&self, name: &str, out: &mut Vec<(String, Shown)>) {
        out.push((name.to_owned(), self.shown()));
    }

    fn describe(&self, path: &str, doc: &str, out: &mut Vec<KeyDoc>) {
        out.push(KeyDoc {
            path: path.to_owned(),
            kind: T::kind(),
            default: self.shown(),
            doc: doc.to_owned(),
            secret: false,
            environment: None,
        });
    }
}

impl Setting for String {
    fn kind() -> String {
        "text".to_owned()
    }
    fn read(text: &str, _: &Place, _: &Reader<'_>) -> Result<Self, Wrong> {
        Ok(text.to_owned())
    }
    fn shown(&self) -> Shown {
        Shown::Text(self.clone())
    }
}

impl Setting for bool {
    fn kind() -> String {
        "true or false".to_owned()
    }
    fn read(text: &str, _: &Place, _: &Reader<'_>) -> Result<Self, Wrong> {
        match text {
            "true" | "True" | "TRUE" => Ok(true),
            "false" | "False" | "FALSE" => Ok(false),
            _ => Err(Wrong::new(format!("\"{text}\" is neither true nor false"), "write true or false")),
        }
    }
    fn shown(&self) -> Shown {
        Shown::Bool(*self)
    }
}

/// Whole numbers of a given width.
macro_rules! number_setting {
    ($($type:ty),+) => { $(
        impl Setting for $type {
            fn kind() -> String {
                "number".to_owned()
            }
            fn read(text: &str, _: &Place, _: &Reader<'_>) -> Result<Self, Wrong> {
                text.parse().map_err(|_| {
                    Wrong::new(
                        format!("\"{text}\" is not a whole number from 0 to {}", <$type>::MAX),
                        "write digits only, without a unit",
                    )
                })
            }
            fn shown(&self) -> Shown {
                Shown::Number(u64::from(*self))
            }
        }
    )+ };
}
number_setting!(u16, u32, u64);

/// Words of a closed list.
macro_rules! word_setting {
    ($($type:ty),+ $(,)?) => { $(
        impl $crate::config::value::Setting for $type {
            fn kind() -> String {
                let words: Vec<String> = <$type>::ALL.iter().map(|word| $crate::config::value::visible(word.as_str())).collect();
                format!("one of {}", words.join(", "))
            }
            fn read(
                text: &str,
                _: &$crate::config::problem::Place,
                _: &$crate::config::section::Reader<'_>,
            ) -> Result<Self, $crate::config::problem::Wrong> {
                text.parse().map_err(|_| {
                    $crate::config::value::no_such_word(text, <$type>::ALL.iter().map(|word| word.as_str()))
                })
            }
            fn shown(&self) -> $crate::config::shown::Shown {
                $crate::config::shown::Shown::Text(self.as_str().to_owned())
            }
        }
    )+ };
}
pub(crate) use word_setting;

/// A word that can be seen even when it is the empty one.
pub(crate) fn visible(word: &str) -> String {
    if word.is_empty() { "\"\"".to_owned() } else { word.to_owned() }
}

pub(crate) fn no_such_word<'a>(text: &str, words: impl Iterator<Item = &'a str> + Clone) -> Wrong {
    let allowed: Vec<String> = words.clone().map(visible).collect();
    let hint = match nearest(text, words.filter(|word| !word.is_empty())) {
        Some(near) => format!("did you mean {near}?"),
        None => "write one of them".to_owned(),
    };
    Wrong::new(format!("\"{text}\" is not one of {}", allowed.join(", ")), hint)
}

word_setting!(crate::words::Direction);

/// A setting that may be absent: the empty text means none.
impl<T: Setting> Setting for Option<T> {
    fn kind() -> String {
        T::kind()
    }
    fn read(text: &str, place: &Place, reader: &Reader<'_>) -> Result<Self, Wrong> {
        if text.is_empty() {
            return Ok(None);
        }
        T::read(text, place, reader).map(Some)
    }
    fn shown(&self) -> Shown {
        self.as_ref().map_or_else(|| Shown::Text(String::new()), T::shown)
    }
}

impl Setting for PathBuf {
    fn kind() -> String {
        "path".to_owned()
    }
    fn read(text: &str, place: &Place, reader: &Reader<'_>) -> Result<Self, Wrong> {
        if text.is_empty() {
            return Err(Wrong::new("the path is empty", "write one, such as ~/Documents"));
        }
        if text.contains('\0') {
            return Err(Wrong::new("a path can't hold a NUL", "write another"));
        }
        // In files it has been expanded already; the environment is taken as it is, but for this.
        match (text.strip_prefix("~/"), &reader.home) {
            (Some(rest), Some(home)) => Ok(reader.absolute(&format!("{home}/{rest}"), place)),
            _ => Ok(reader.absolute(text, place)),
        }
    }
    fn shown(&self) -> Shown {
        Shown::Text(self.display().to_string())
    }
}

/// Ignore patterns and the like: a list of texts, or one text.
impl Field for Vec<String> {
    fn read_in(&mut self, map: &Map, name: &str, path: &str, reader: &mut Reader<'_>) {
        let Some(node) = map.get(name) else { return };
        let key = join_path(path, name);
        let nodes = match &node.value {
            Value::List(nodes) => nodes.as_slice(),
            Value::Text(_) | Value::Literal(_) => std::slice::from_ref(node),
            Value::Nothing | Value::Map(_) => {
                reader.wrong(
                    &node.place,
                    &key,
                    Wrong::new("a list belongs here, not keys", "write [\"one\", \"two\"]"),
                );
                return;
            }
        };
        *self =
            nodes.iter().enumerate().filter_map(|(i, node)| reader.text(node, &format!("{key}[{i}]"), false)).collect();
    }

    fn show(&self, name: &str, out: &mut Vec<(String, Shown)>) {
        let items = self.iter().cloned().map(Shown::Text).collect();
        out.push((name.to_owned(), Shown::List(items)));
    }

    fn describe(&self, path: &str, doc: &str, out: &mut Vec<KeyDoc>) {
        out.push(KeyDoc {
            path: path.to_owned(),
            kind: "list of text".to_owned(),
            default: Shown::List(self.iter().cloned().map(Shown::Text).collect()),
            doc: doc.to_owned(),
            secret: false,
            environment: None,
        });
    }
}

/// An address to listen on, or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl Setting for Listen {
    fn kind() -> String {
        "address:port, or \"\" for off".to_owned()
    }
    fn read(text: &str, _: &Place, _: &Reader<'_>) -> Result<Self, Wrong> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let address = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        address.as_deref().unwrap_or(text).parse().map(|address| Self(Some(address))).map_err(|_| {
            Wrong::new(
                format!("\"{text}\" is not an address and port"),
                "write 127.0.0.1:9754, 0.0.0.0:9754 for every interface, or \"\" for off",
            )
        })
    }
    fn shown(&self) -> Shown {
        Shown::Text(self.0.map(|address| address.to_string()).unwrap_or_default())
    }
}
