//! Paths below a root and the keys that they have in a bucket.
//!
//! A [`RelPath`] is a path that both sides can hold: it can't leave the root, and it can't be one of our own names. A
//! key that has no such path is a [`NameProblem`]: reported, left alone, never a reason to delete anything.
//!
//! Path and key are kept apart (key = prefix + path today), so that an escape for odd keys has a place to go.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The folder in a root, and below a prefix, that belongs to GoSync and is never synced.
pub const OWN_FOLDER: &str = ".gosync";

/// Longest name of one path component, in bytes (Linux `NAME_MAX`).
pub const COMPONENT_BYTES_MAX: usize = 255;

/// Longest key that S3 takes, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// A path below the root: components joined by `/`, none of them empty, `.` or `..`, no NUL, never our own folder. One that
/// ends in `/` stands for a folder itself, in mirrors that keep folders.
///
/// The order is the order of bytes, which is the order in which S3 lists keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelPath(Box<str>);

/// Why a key or a local name has no [`RelPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameProblem {
    /// An empty path, a leading or trailing `/`, or `//`.
    EmptyComponent,
    /// A component `.` or `..`.
    DotComponent,
    /// A component of over 255 bytes.
    ComponentTooLong,
    /// The key would be over 1,024 bytes.
    KeyTooLong,
    /// A NUL byte.
    Nul,
    /// `.gosync` belongs to GoSync.
    OwnFolder,
    /// A local name that is not UTF-8: no key can spell it.
    NotUtf8,
    /// A key `a` beside keys `a/…`: a file system holds either the file or the folder.
    BesideFolder,
}

impl fmt::Display for NameProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyComponent => "a part of the path is empty",
            Self::DotComponent => "a part of the path is . or ..",
            Self::ComponentTooLong => "a part of the path is over 255 bytes",
            Self::KeyTooLong => "the key would be over 1024 bytes",
            Self::Nul => "the path holds a NUL byte",
            Self::OwnFolder => ".gosync belongs to GoSync",
            Self::NotUtf8 => "the name is not UTF-8",
            Self::BesideFolder => "a file and a folder have the same name",
        })
    }
}

impl std::error::Error for NameProblem {}

/// Ordered, compared and hashed as its text.
impl std::borrow::Borrow<str> for RelPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl RelPath {
    /// Checks `path` (without leading `/`).
    pub fn new(path: impl Into<String>) -> Result<Self, NameProblem> {
        let path: String = path.into();
        for (position, component) in path.split('/').enumerate() {
            check_component(component)?;
            if position == 0 && component == OWN_FOLDER {
                return Err(NameProblem::OwnFolder);
            }
        }
        Ok(Self(path.into_boxed_str()))
    }

    /// The same, or the marker of such a path: one `/` behind it.
    pub fn with_markers(path: impl Into<String>) -> Result<Self, NameProblem> {
        let path: String = path.into();
        match path.strip_suffix('/') {
            Some(folder) => Ok(Self::new(folder)?.marker()),
            None => Self::new(path),
        }
    }

    /// What stands for this folder itself: in the order of keys it comes right before what is in the folder.
    #[must_use]
    pub fn marker(&self) -> Self {
        Self(format!("{}/", self.0).into_boxed_str())
    }

    /// Whether this stands for the folder above it.
    #[must_use]
    pub fn is_marker(&self) -> bool {
        self.0.ends_with('/')
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder that holds this path; `None` when that is the root.
    #[must_use]
    pub fn parent(&self) -> Option<RelPath> {
        self.0.rfind('/').map(|cut| Self(self.0[..cut].into()))
    }

    /// The folders above this path, the nearest first, the root left out.
    pub fn ancestors(&self) -> impl Iterator<Item = RelPath> {
        std::iter::successors(self.parent(), RelPath::parent)
    }

    /// The last component.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rfind('/').map_or(&*self.0, |cut| &self.0[cut + 1..])
    }

    /// This path with another last component.
    pub fn with_file_name(&self, name: &str) -> Result<RelPath, NameProblem> {
        match self.0.rfind('/') {
            Some(cut) => Self::new(format!("{}/{name}", &self.0[..cut])),
            None => Self::new(name),
        }
    }

    /// True when `self` lies below the folder `folder`.
    #[must_use]
    pub fn is_below(&self, folder: &RelPath) -> bool {
        self.0.len() > folder.0.len() && self.0.starts_with(&*folder.0) && self.0.as_bytes()[folder.0.len()] == b'/'
    }
}

fn check_component(component: &str) -> Result<(), NameProblem> {
    match component {
        "" => Err(NameProblem::EmptyComponent),
        "." | ".." => Err(NameProblem::DotComponent),
        _ if component.len() > COMPONENT_BYTES_MAX => Err(NameProblem::ComponentTooLong),
        _ if component.contains('\0') => Err(NameProblem::Nul),
        _ => Ok(()),
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

impl TryFrom<String> for RelPath {
    type Error = NameProblem;
    fn try_from(path: String) -> Result<Self, NameProblem> {
        Self::with_markers(path)
    }
}

impl From<RelPath> for String {
    fn from(path: RelPath) -> String {
        path.0.into_string()
    }
}

/// The part of a key that all keys of a mirror share: empty, or ending in `/`, so that `data` and `data2` never mix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Prefix(String);

impl Prefix {
    /// `documents`, `/documents`, `/documents/` and `documents/` are the same prefix; `/` and the empty one are the
    /// whole bucket. Only one leading and one trailing `/` are forgiven.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let prefix = prefix.strip_prefix('/').unwrap_or(prefix);
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        Self(if prefix.is_empty() { String::new() } else { format!("{prefix}/") })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn key(&self, path: &RelPath) -> String {
        format!("{}{}", self.0, path.0)
    }

    /// The key of `path`, checked against S3's limit.
    pub fn key_checked(&self, path: &RelPath) -> Result<String, NameProblem> {
        if self.0.len() + path.0.len() > KEY_BYTES_MAX {
            return Err(NameProblem::KeyTooLong);
        }
        Ok(self.key(path))
    }

    /// The path of a key below this prefix; `None` when the key is not below it.
    #[must_use]
    pub fn path(&self, key: &str) -> Option<Result<RelPath, NameProblem>> {
        key.strip_prefix(&self.0).map(RelPath::new)
    }

    /// The same, or the marker of a folder below it.
    #[must_use]
    pub fn path_or_marker(&self, key: &str) -> Option<Result<RelPath, NameProblem>> {
        key.strip_prefix(&self.0).map(RelPath::with_markers)
    }

    /// Where the capability probe works; never synced.
    #[must_use]
    pub fn own_folder(&self) -> String {
        format!("{}{OWN_FOLDER}/", self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    #[test]
    fn paths_that_could_leave_the_root_or_that_no_file_system_holds_are_refused() {
        for (path, problem) in [
            ("", NameProblem::EmptyComponent),
            ("/etc/passwd", NameProblem::EmptyComponent),
            ("a//b", NameProblem::EmptyComponent),
            ("a/", NameProblem::EmptyComponent),
            ("..", NameProblem::DotComponent),
            ("a/../../b", NameProblem::DotComponent),
            ("./a", NameProblem::DotComponent),
            ("a\0b", NameProblem::Nul),
            (".gosync/marker", NameProblem::OwnFolder),
            (".gosync", NameProblem::OwnFolder),
        ] {
            assert_eq!(RelPath::new(path), Err(problem), "{path:?}");
        }
        assert_eq!(RelPath::new("x".repeat(256)), Err(NameProblem::ComponentTooLong));
        assert_eq!(
            Prefix::new("p").key_checked(&RelPath::new(["x".repeat(250).as_str(); 5].join("/")).unwrap()),
            Err(NameProblem::KeyTooLong)
        );
    }

    #[test]
    fn every_other_name_is_a_path() {
        for path in ["a", "...", "a b", "line\nbreak", "\u{e9}", "e\u{301}", "a/.gosync", ".gosyncignore", "a\\b", "*?"]
        {
            assert_eq!(RelPath::new(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn a_marker_stands_in_its_folder_and_before_all_else_in_it() {
        let folder = RelPath::new("a/b").unwrap();
        let marker = folder.marker();
        assert_eq!((marker.as_str(), marker.parent(), marker.is_below(&folder)), ("a/b/", Some(folder), true));
        assert!(marker < RelPath::new("a/b/\u{1}").unwrap() && marker > RelPath::new("a/b").unwrap());
        assert_eq!(RelPath::with_markers("a/b/"), Ok(marker.clone()));
        assert_eq!(RelPath::try_from("a/b/".to_owned()), Ok(marker));
        for path in ["/", "a//", "../", ".gosync/", "a/./"] {
            assert!(RelPath::with_markers(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_prefix_never_takes_in_a_neighbour() {
        let data = Prefix::new("/data");
        assert_eq!(data, Prefix::new("data/"));
        assert_eq!(data.path("data2/x"), None);
        assert_eq!(data.path("data/x").unwrap().unwrap().as_str(), "x");
        assert_eq!(Prefix::new("/").path("x").unwrap().unwrap().as_str(), "x");
        assert_eq!(data.path("data/"), Some(Err(NameProblem::EmptyComponent)));
        assert_eq!(data.path_or_marker("data/"), Some(Err(NameProblem::EmptyComponent)));
    }

    #[test]
    fn folders_above_a_path_are_named_from_the_nearest_up() {
        let path = RelPath::new("a/b/c").unwrap();
        let above: Vec<_> = path.ancestors().map(String::from).collect();
        assert_eq!(above, ["a/b", "a"]);
        assert!(path.is_below(&RelPath::new("a").unwrap()));
        assert!(!RelPath::new("ab").unwrap().is_below(&RelPath::new("a").unwrap()));
        assert_eq!(path.with_file_name("d").unwrap().as_str(), "a/b/d");
        assert_eq!(path.file_name(), "c");
    }
}
