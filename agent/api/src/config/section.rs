//! How a section of the config is made from one table: the struct, its defaults, its reader, its printer and its part of
//! the reference all come from `section!`, so that none of them can know a key that another doesn't.

use std::path::{Path, PathBuf};

use super::expand::{self, Failed};
use super::problem::{Place, Problem, Wrong, nearest};
use super::shown::Shown;
use super::tree::{Map, Node, Value};

/// What reading a config needs beside the tree, and what it collects.
pub struct Reader<'a> {
    pub(crate) variables: &'a dyn Fn(&str) -> Option<String>,
    pub(crate) home: Option<String>,
    pub(crate) current_dir: PathBuf,
    pub(crate) disk: &'a dyn super::load::Disk,
    /// Files that values were read from, to be watched.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) problems: Vec<Problem>,
}

impl Reader<'_> {
    pub(crate) fn wrong(&mut self, place: &Place, key: &str, wrong: Wrong) {
        self.problems.push(wrong.at(Some(place.clone()), key));
    }

    /// True when something was wrong with that key already.
    pub(crate) fn failed(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.key == key)
    }

    /// The text of a scalar, with its variables expanded.
    pub(crate) fn text(&mut self, node: &Node, key: &str, secret: bool) -> Option<String> {
        let text = match &node.value {
            Value::Text(text) => text,
            Value::Literal(text) => return Some(text.clone()),
            Value::Nothing | Value::List(_) | Value::Map(_) => {
                let found = if matches!(node.value, Value::List(_)) { "a list" } else { "keys" };
                self.wrong(
                    &node.place,
                    key,
                    Wrong::new(format!("one value belongs here, not {found}"), "write the value after the colon"),
                );
                return None;
            }
        };
        let wrong = match expand::expand(text, self.variables, self.home.as_deref()) {
            Ok(text) => return Some(text),
            // What follows a bare dollar in a secret may be a part of it.
            Err(Failed::Unset { braced: false, .. }) if secret => {
                Wrong::new("a variable in it is not set", "write $$ for a dollar, or set the variable")
            }
            Err(Failed::Unset { name, braced: true }) => Wrong::new(
                format!("the variable {name} is not set"),
                format!("set it, or give a default: ${{{name}:-value}}"),
            ),
            Err(Failed::Unset { name, braced: false }) => {
                Wrong::new(format!("the variable {name} is not set"), format!("set it, or write $${name} for a dollar"))
            }
            Err(Failed::Open) => Wrong::new("`${` has no `}`", "close it, or write $$ for a dollar"),
            Err(Failed::NoHome) => Wrong::new("the home folder is not known", "set HOME, or write the path in full"),
        };
        self.wrong(&node.place, key, wrong);
        None
    }

    /// An absolute path: a relative one is taken from the folder of the file that names it.
    pub(crate) fn absolute(&self, text: &str, place: &Place) -> PathBuf {
        let folder = place.file().map(Path::new).and_then(Path::parent);
        let path = match folder {
            Some(folder) => self.current_dir.join(folder).join(text),
            None => self.current_dir.join(text),
        };
        clean(&path)
    }

    /// Complains about every key that is not among the known ones.
    pub(crate) fn unknown_keys(&mut self, map: &Map, path: &str, known: &[String]) {
        for entry in &map.entries {
            if known.contains(&entry.key) {
                continue;
            }
            let key = join_path(path, &entry.key);
            let hint = match nearest(&entry.key, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => match super::agent::homes_of(&entry.key).as_slice() {
                    [] => format!("the keys here are {}", known.join(", ")),
                    homes => format!("it belongs at {}", homes.join(" or ")),
                },
            };
            self.problems.push(Wrong::new("there is no such key", hint).at(Some(entry.place.clone()), key));
        }
    }
}

/// The path without `.`, `..` and doubled slashes, by its text alone.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

pub(crate) fn join_path(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// One key of the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDoc {
    /// Its path, such as `sync.trash.max_age`; keys of a mirror begin with `syncs[].`.
    pub path: String,
    /// What is written there: `duration`, `size`, `one of two-way, push, pull`.
    pub kind: String,
    /// What holds when nothing is written.
    pub default: Shown,
    /// What it does, with its unit.
    pub doc: String,
    /// True for secrets: they have a twin `<key>_file` and are never shown.
    pub secret: bool,
    /// The environment variable that sets it, if it can be set that way.
    pub environment: Option<String>,
}

/// Something that stands behind a key.
pub trait Field {
    /// The keys that it reads.
    fn names(name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }
    /// Takes over what the mapping says; what it doesn't mention stays as it is.
    fn read_in(&mut self, map: &Map, name: &str, path: &str, reader: &mut Reader<'_>);
    /// Adds itself to what is shown.
    fn show(&self, name: &str, out: &mut Vec<(String, Shown)>);
    /// Adds itself to the reference.
    fn describe(&self, path: &str, doc: &str, out: &mut Vec<KeyDoc>);
}

/// Keys that stand together.
pub trait Section: Default {
    /// The keys that it reads.
    fn keys() -> Vec<String>;
    /// Takes over what the mapping says, without a word about unknown keys.
    fn overlay(&mut self, map: &Map, path: &str, reader: &mut Reader<'_>);
    /// Its values, in order.
    fn shown(&self) -> Vec<(String, Shown)>;
    /// Its keys, in order.
    fn reference(path: &str, out: &mut Vec<KeyDoc>);
}

/// Reads a section below a key over the values that are there.
pub(crate) fn read_section<S: Section>(section: &mut S, map: &Map, name: &str, path: &str, reader: &mut Reader<'_>) {
    let Some(node) = map.get(name) else { return };
    let key = join_path(path, name);
    match &node.value {
        Value::Map(inner) => {
            reader.unknown_keys(inner, &key, &S::keys());
            section.overlay(inner, &key, reader);
        }
        Value::Nothing | Value::Text(_) | Value::Literal(_) | Value::List(_) => {
            let hint = format!("write them below it, one a line: {}", S::keys().join(", "));
            reader.wrong(&node.place, &key, Wrong::new("keys belong here, not a value", hint));
        }
    }
}

/// Makes a section from its table. `as` gives a key another name than its field; the doc comment says unit and meaning.
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident $(as $key:literal)? : $type:ty = $default:expr, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $( $(#[doc = $doc])+ pub $field: $type, )+ }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $crate::config::section::Section for $name {
            fn keys() -> Vec<String> {
                use $crate::config::section::Field;
                let mut names = Vec::new();
                $( names.extend(<$type as Field>::names($crate::config::section::key_of!($field $(as $key)?))); )+
                names
            }

            fn overlay(
                &mut self,
                map: &$crate::config::tree::Map,
                path: &str,
                reader: &mut $crate::config::section::Reader<'_>,
            ) {
                use $crate::config::section::Field;
                $( self.$field.read_in(map, $crate::config::section::key_of!($field $(as $key)?), path, reader); )+
            }

            fn shown(&self) -> Vec<(String, $crate::config::shown::Shown)> {
                use $crate::config::section::Field;
                let mut out = Vec::new();
                $( self.$field.show($crate::config::section::key_of!($field $(as $key)?), &mut out); )+
                out
            }

            fn reference(path: &str, out: &mut Vec<$crate::config::section::KeyDoc>) {
                use $crate::config::section::{Field, join_path, key_of};
                let default = Self::default();
                $( default.$field.describe(&join_path(path, key_of!($field $(as $key)?)), concat!($($doc),+).trim(), out); )+
            }
        }

        impl $crate::config::section::Field for $name {
            fn read_in(
                &mut self,
                map: &$crate::config::tree::Map,
                name: &str,
                path: &str,
                reader: &mut $crate::config::section::Reader<'_>,
            ) {
                $crate::config::section::read_section(self, map, name, path, reader);
            }

            fn show(&self, name: &str, out: &mut Vec<(String, $crate::config::shown::Shown)>) {
                use $crate::config::section::Section;
                out.push((name.to_owned(), $crate::config::shown::Shown::Map(self.shown())));
            }

            fn describe(&self, path: &str, _doc: &str, out: &mut Vec<$crate::config::section::KeyDoc>) {
                <Self as $crate::config::section::Section>::reference(path, out);
            }
        }
    };
}
pub(crate) use section;

macro_rules! key_of {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident as $key:literal) => {
        $key
    };
}
pub(crate) use key_of;
