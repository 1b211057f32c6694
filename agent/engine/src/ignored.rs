//! Ignore rules (R15): gitignore syntax, from the configuration and from `.gosyncignore` files at any level.
//!
//! What is ignored is looked at on neither side; an ancestor of it is forgotten and nothing is deleted for it.

use std::collections::HashMap;

use gosync_plan::{Fingerprint, RelPath};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder, Glob};

/// The name of the files that hold rules, in the root and in subfolders. Synced like any other.
pub const IGNORE_FILE: &str = ".gosyncignore";

/// The rule that a path is ignored by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredBy {
    pub pattern: String,
    /// The ignore file that it stands in; `None`: the configuration.
    pub file: Option<String>,
    /// What it names: the path itself, or a folder above it.
    pub path: String,
}

#[derive(Clone, Default)]
pub struct IgnoreRules {
    config: Option<Gitignore>,
    /// By folder (`""` is the root).
    folders: HashMap<String, FolderRules>,
}

#[derive(Clone)]
struct FolderRules {
    /// The ignore file that they were read from.
    file: Fingerprint,
    rules: Gitignore,
    /// It was gone when it was last looked for.
    is_missing: bool,
}

impl IgnoreRules {
    /// Lines that are no valid pattern are left out here: the configuration's validation reports them.
    #[must_use]
    pub fn new(lines: &[String]) -> Self {
        Self { config: parse("", lines.iter().map(String::as_str)), folders: HashMap::new() }
    }

    /// Notes how `folder`'s ignore file stands now; gives the one that its rules were read from.
    pub fn seen(&mut self, folder: &str, found: Option<Fingerprint>) -> Option<Fingerprint> {
        let known = self.folders.get_mut(folder)?;
        known.is_missing = found.is_none();
        Some(known.file)
    }

    /// The rules of `folder`'s ignore file.
    pub fn set_folder(&mut self, folder: &str, file: Fingerprint, text: &str) {
        let rules = parse(folder, text.lines()).unwrap_or_else(Gitignore::empty);
        self.folders.insert(folder.to_owned(), FolderRules { file, rules, is_missing: false });
    }

    /// The ignore file is not only being saved: if it is missing, its rules end. True if they did.
    pub fn believe_missing(&mut self, folder: &str) -> bool {
        let is_missing = self.folders.get(folder).is_some_and(|known| known.is_missing);
        is_missing && self.folders.remove(folder).is_some()
    }

    #[must_use]
    pub fn is_ignored(&self, path: &RelPath, is_folder: bool) -> bool {
        self.is_ignored_str(path.as_str(), is_folder)
    }

    /// A path below an ignored folder is ignored, whatever else is said of it.
    #[must_use]
    pub fn is_ignored_str(&self, path: &str, is_folder: bool) -> bool {
        if self.config.is_none() && self.folders.is_empty() {
            return false;
        }
        let ignores = |path: &str, is_folder: bool| self.rule(path, is_folder).is_some();
        path.match_indices('/').any(|(cut, _)| ignores(&path[..cut], true)) || ignores(path, is_folder)
    }

    /// Why a path is ignored; `None`: it isn't.
    #[must_use]
    pub fn ignored_by(&self, path: &str, is_folder: bool) -> Option<IgnoredBy> {
        let above = path.match_indices('/').map(|(cut, _)| (&path[..cut], true));
        above.chain([(path, is_folder)]).find_map(|(path, is_folder)| {
            let (folder, glob) = self.rule(path, is_folder)?;
            let file = folder.map(|folder| match folder {
                "" => IGNORE_FILE.to_owned(),
                folder => format!("{folder}/{IGNORE_FILE}"),
            });
            Some(IgnoredBy { pattern: glob.original().to_owned(), file, path: path.to_owned() })
        })
    }

    /// The rule that ignores this very path, and the folder of its ignore file. The rules nearest to the path decide.
    fn rule(&self, path: &str, is_folder: bool) -> Option<(Option<&str>, &Glob)> {
        let mut folder = path;
        while !folder.is_empty() {
            folder = folder.rfind('/').map_or("", |cut| &folder[..cut]);
            if let Some((folder, known)) = self.folders.get_key_value(folder) {
                match known.rules.matched(path, is_folder) {
                    Match::Ignore(glob) => return Some((Some(folder), glob)),
                    Match::Whitelist(_) => return None,
                    Match::None => {}
                }
            }
        }
        match self.config.as_ref()?.matched(path, is_folder) {
            Match::Ignore(glob) => Some((None, glob)),
            _ => None,
        }
    }
}

fn parse<'a>(folder: &str, lines: impl Iterator<Item = &'a str>) -> Option<Gitignore> {
    let mut builder = GitignoreBuilder::new(folder);
    for line in lines {
        let _ = builder.add_line(None, line);
    }
    builder.build().ok().filter(|rules| !rules.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    fn ignored(rules: &IgnoreRules, path: &str) -> bool {
        rules.is_ignored(&RelPath::new(path).unwrap(), false)
    }

    #[test]
    fn patterns_match_as_in_git() {
        let rules = IgnoreRules::new(&["*.tmp".into(), "node_modules".into(), "/build/".into(), "!keep.tmp".into()]);
        assert!(ignored(&rules, "a/b.tmp"));
        assert!(!ignored(&rules, "a/keep.tmp"));
        assert!(ignored(&rules, "x/node_modules/y/z"));
        assert!(ignored(&rules, "build/out"));
        assert!(!ignored(&rules, "src/build/out"));
        assert!(!ignored(&rules, "build"), "a file is no folder");
        assert!(!ignored(&rules, ".hidden"));
    }

    #[test]
    fn a_file_deeper_down_has_the_last_word() {
        let mut rules = IgnoreRules::new(&["*.log".into()]);
        let file = Fingerprint { size: 1, mtime_ns: 1, ctime_ns: 1, inode: 1, mode: 0o100_644 };
        rules.set_folder("a", file, "!x.log\n/only-here\n");
        assert_eq!(rules.seen("a", Some(file)), Some(file));
        assert!(!ignored(&rules, "a/x.log"));
        assert!(ignored(&rules, "b/x.log"));
        assert!(ignored(&rules, "a/only-here"));
        assert!(!ignored(&rules, "a/b/only-here"));
        assert!(!rules.believe_missing("a"), "it is there");
        assert_eq!(rules.seen("a", None), Some(file));
        assert!(ignored(&rules, "a/only-here"), "it may be in the middle of being saved");
        assert!(rules.believe_missing("a"));
        assert!(ignored(&rules, "a/x.log"));
        assert!(!ignored(&rules, "a/only-here"));
    }

    #[test]
    fn the_rule_that_ignores_a_path_is_named_with_its_file() {
        let mut rules = IgnoreRules::new(&["*.log".into()]);
        let file = Fingerprint { size: 1, mtime_ns: 1, ctime_ns: 1, inode: 1, mode: 0o100_644 };
        rules.set_folder("a", file, "!x.log\nbuild/\n");
        let by = |pattern: &str, file: Option<&str>, path: &str| {
            Some(IgnoredBy { pattern: pattern.into(), file: file.map(str::to_owned), path: path.into() })
        };
        assert_eq!(rules.ignored_by("b/x.log", false), by("*.log", None, "b/x.log"));
        assert_eq!(rules.ignored_by("a/x.log", false), None);
        assert_eq!(rules.ignored_by("a/build/deep/x", false), by("build/", Some("a/.gosyncignore"), "a/build"));
        assert_eq!(rules.ignored_by("a/build", false), None, "a file is no folder");
    }
}
