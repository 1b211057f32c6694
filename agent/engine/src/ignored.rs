//! Ignore rules (R15): gitignore syntax, from the configuration and from `.gosyncignore` files at any level.
//!
//! What is ignored is looked at on neither side; an ancestor of it is forgotten and nothing is deleted for it.

use std::collections::HashMap;

use gosync_plan::{Fingerprint, RelPath};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// The name of the files that hold rules, in the root and in subfolders. Synced like any other.
pub const IGNORE_FILE: &str = ".gosyncignore";

#[derive(Clone, Default)]
pub struct IgnoreRules {
    config: Option<Gitignore>,
    /// By folder (`""` is the root), with the ignore file that they were read from.
    folders: HashMap<String, (Fingerprint, Gitignore)>,
}

impl IgnoreRules {
    /// Lines that are no valid pattern are left out here: the configuration's validation reports them.
    #[must_use]
    pub fn new(lines: &[String]) -> Self {
        Self { config: parse("", lines.iter().map(String::as_str)), folders: HashMap::new() }
    }

    /// The ignore file that the folder's rules were read from.
    #[must_use]
    pub fn fingerprint(&self, folder: &str) -> Option<Fingerprint> {
        self.folders.get(folder).map(|(fingerprint, _)| *fingerprint)
    }

    /// The rules of `folder`'s ignore file; `None`: it has none.
    pub fn set_folder(&mut self, folder: &str, file: Option<Fingerprint>, text: &str) {
        match file {
            Some(file) => {
                let rules = parse(folder, text.lines()).unwrap_or_else(Gitignore::empty);
                self.folders.insert(folder.to_owned(), (file, rules));
            }
            None => {
                self.folders.remove(folder);
            }
        }
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
        path.match_indices('/').any(|(cut, _)| self.matches(&path[..cut], true)) || self.matches(path, is_folder)
    }

    /// The rules nearest to the path decide.
    fn matches(&self, path: &str, is_folder: bool) -> bool {
        let mut folder = path;
        while !folder.is_empty() {
            folder = folder.rfind('/').map_or("", |cut| &folder[..cut]);
            if let Some((_, rules)) = self.folders.get(folder) {
                match rules.matched(path, is_folder) {
                    Match::Ignore(_) => return true,
                    Match::Whitelist(_) => return false,
                    Match::None => {}
                }
            }
        }
        self.config.as_ref().is_some_and(|rules| rules.matched(path, is_folder).is_ignore())
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
        rules.set_folder("a", Some(file), "!x.log\n/only-here\n");
        assert_eq!(rules.fingerprint("a"), Some(file));
        assert!(!ignored(&rules, "a/x.log"));
        assert!(ignored(&rules, "b/x.log"));
        assert!(ignored(&rules, "a/only-here"));
        assert!(!ignored(&rules, "a/b/only-here"));
        rules.set_folder("a", None, "");
        assert!(ignored(&rules, "a/x.log"));
    }
}
