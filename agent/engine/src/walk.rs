//! The local walk, in the order of keys: a folder sorts as `name/`, so `foo-1` and `foo.txt` stand between `foo` and
//! `foo/x`. A generator that is pulled in batches on a thread that may block; memory is bounded, whatever the number of
//! files: of each folder on the way down only the next [`NAMES_MAX`] names are kept, and a larger one is read again for
//! those that follow.

use std::sync::Arc;

use gosync_plan::facts::Special;
use gosync_plan::names::{NameProblem, OWN_FOLDER};
use gosync_plan::{Fingerprint, RelPath};

use crate::context::Shared;
use crate::context::lock;
use crate::ignored::IGNORE_FILE;
use crate::ports::local::{Kind, Lease};
use crate::ports::{LocalTree, TreeError, TreeErrorKind};

/// Largest ignore file that is read, bytes.
const IGNORE_FILE_BYTES_MAX: u64 = 1 << 20;

/// Names of one folder that are in memory at once. So many are twice there while they are chosen, and a folder with a
/// million of them is read twenty times, which is still quicker than looking at its files.
const NAMES_MAX: usize = 50_000;

#[derive(Debug)]
pub enum Item {
    File(RelPath, Fingerprint),
    Special(RelPath, Special),
    /// A name that no key can spell, as well as it can be shown.
    Odd(String, NameProblem),
    /// Nothing may be concluded of anything below this folder.
    Unreadable(String, TreeError),
}

pub struct Walk {
    stack: Vec<Level>,
    mount: u64,
}

struct Level {
    /// With its trailing `/`; empty for the root.
    folder: String,
    /// The next ones, last first. Folders end in `/`: they sort by what follows in the key.
    names: Vec<Box<str>>,
    /// There are more behind this one.
    more_after: Option<Box<str>>,
}

impl Walk {
    /// Walks `folder` (`""`: the whole tree).
    pub fn new(tree: &dyn LocalTree, shared: &Arc<Shared>, folder: &str) -> Result<(Self, Vec<Item>), TreeError> {
        let mut walk = Self { stack: Vec::new(), mount: tree.opened_root().mount };
        let mut odd = Vec::new();
        let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        walk.enter(tree, shared, folder, &mut odd)?;
        Ok((walk, odd))
    }

    /// The next items, about `limit` of them; empty at the end.
    pub fn next(&mut self, tree: &dyn LocalTree, shared: &Arc<Shared>, limit: usize) -> Vec<Item> {
        let mut items = Vec::new();
        while items.len() < limit {
            let Some(level) = self.stack.last_mut() else { break };
            let Some(name) = level.names.pop() else {
                match level.more_after.take() {
                    Some(last) => {
                        if let Err(error) = level.read(tree, shared, Some(&last), &mut Vec::new()) {
                            items.push(Item::Unreadable(level.folder.clone(), error));
                        }
                    }
                    None => drop(self.stack.pop()),
                }
                continue;
            };
            match name.strip_suffix('/') {
                Some(folder) => {
                    let folder = format!("{}{folder}", level.folder);
                    self.enter_checked(tree, shared, folder, &mut items);
                }
                None => {
                    let path = format!("{}{name}", level.folder);
                    match RelPath::new(path.clone()) {
                        Ok(path) => items.extend(look_at(tree, path)),
                        Err(problem) => items.push(Item::Odd(path, problem)),
                    }
                }
            }
        }
        items
    }

    fn enter_checked(&mut self, tree: &dyn LocalTree, shared: &Arc<Shared>, folder: String, items: &mut Vec<Item>) {
        if lock(&shared.ignore).is_ignored_str(&folder, true) {
            return;
        }
        match tree.stat(&folder) {
            Ok(stat) if stat.kind == Kind::Folder && stat.mount != self.mount => {
                items.push(Item::Unreadable(
                    format!("{folder}/"),
                    TreeError::new(TreeErrorKind::OtherMount, "walk", folder),
                ));
            }
            Ok(stat) if stat.kind == Kind::Folder => {
                if shared.keep_folders
                    && let Ok(path) = RelPath::new(folder.as_str())
                {
                    items.extend(look_at(tree, path.marker()));
                }
                if let Err(error) = self.enter(tree, shared, format!("{folder}/"), items)
                    && !error.is_not_found()
                {
                    items.push(Item::Unreadable(format!("{folder}/"), error));
                }
            }
            // It became something else meanwhile; the watch or the next scan tells.
            Ok(_) => items.push(Item::Unreadable(
                format!("{folder}/"),
                TreeError::new(TreeErrorKind::NotAFolder, "walk", folder),
            )),
            Err(error) if error.is_not_found() => {}
            Err(error) => items.push(Item::Unreadable(format!("{folder}/"), error)),
        }
    }

    /// Reads a folder's names and puts them on the stack.
    fn enter(
        &mut self,
        tree: &dyn LocalTree,
        shared: &Arc<Shared>,
        folder: String,
        odd: &mut Vec<Item>,
    ) -> Result<(), TreeError> {
        let mut level = Level { folder, names: Vec::new(), more_after: None };
        level.read(tree, shared, None, odd)?;
        self.stack.push(level);
        Ok(())
    }
}

impl Level {
    /// Reads the names behind `after`, the first [`NAMES_MAX`] of them.
    fn read(
        &mut self,
        tree: &dyn LocalTree,
        shared: &Arc<Shared>,
        after: Option<&str>,
        odd: &mut Vec<Item>,
    ) -> Result<(), TreeError> {
        let folder = &self.folder;
        let plain = folder.strip_suffix('/').unwrap_or(folder);
        let mut first = First { names: Vec::new(), dropped: false };
        tree.visit_folder(plain, &mut |entry| match entry.name {
            Err(raw) => {
                odd.push(Item::Odd(format!("{folder}{}", String::from_utf8_lossy(&raw)), NameProblem::NotUtf8));
            }
            Ok(name) if folder.is_empty() && name == OWN_FOLDER => {}
            Ok(mut name) => {
                let is_folder = entry.is_folder.unwrap_or_else(|| {
                    tree.stat(&format!("{folder}{name}")).is_ok_and(|stat| stat.kind == Kind::Folder)
                });
                if is_folder {
                    name.push('/');
                }
                if after.is_none_or(|after| name.as_str() > after) {
                    first.put(name);
                }
            }
        })?;
        load_rules(tree, shared, plain)?;
        let First { mut names, dropped } = first.chosen();
        self.more_after = names.last().filter(|_| dropped).cloned();
        names.reverse();
        let rules = lock(&shared.ignore);
        names.retain(|name| {
            !rules.is_ignored_str(&format!("{folder}{}", name.trim_end_matches('/')), name.ends_with('/'))
        });
        self.names = names;
        Ok(())
    }
}

/// The first of all the names that it is given.
struct First {
    names: Vec<Box<str>>,
    /// There were more.
    dropped: bool,
}

impl First {
    fn put(&mut self, name: String) {
        self.names.push(name.into_boxed_str());
        if self.names.len() >= 2 * NAMES_MAX {
            self.names.select_nth_unstable(NAMES_MAX - 1);
            self.names.truncate(NAMES_MAX);
            self.dropped = true;
        }
    }

    /// In their order.
    fn chosen(mut self) -> Self {
        self.names.sort_unstable();
        self.dropped |= self.names.len() > NAMES_MAX;
        self.names.truncate(NAMES_MAX);
        self
    }
}

fn look_at(tree: &dyn LocalTree, path: RelPath) -> Option<Item> {
    match tree.stat(path.as_str()) {
        Ok(stat) => match stat.kind {
            Kind::File => Some(Item::File(path, stat.fingerprint)),
            Kind::Special(special) => Some(Item::Special(path, special)),
            // It became a folder meanwhile: what is in it is for the next look.
            Kind::Folder => Some(Item::Unreadable(
                format!("{path}/"),
                TreeError::new(TreeErrorKind::IsAFolder, "walk", path.as_str()),
            )),
        },
        Err(error) if error.is_not_found() => None,
        Err(error) => Some(Item::Unreadable(path.as_str().to_owned(), error)),
    }
}

/// Reads the rules of a folder, unless its ignore file is the one that was read last. While it is being written, or gone as
/// in the middle of an editor's save, the rules of before go on.
pub fn load_rules(tree: &dyn LocalTree, shared: &Shared, folder: &str) -> Result<(), TreeError> {
    let path = if folder.is_empty() { IGNORE_FILE.to_owned() } else { format!("{folder}/{IGNORE_FILE}") };
    let _one_at_a_time = lock(&shared.loading_rules);
    let found = match tree.stat(&path) {
        Ok(stat) if stat.kind == Kind::File => Some(stat.fingerprint),
        Ok(_) => None,
        Err(error) if matches!(error.kind, TreeErrorKind::NotFound | TreeErrorKind::NotAFolder) => None,
        Err(error) => return Err(error),
    };
    let known = lock(&shared.ignore).seen(folder, found);
    if let Some(found) = found
        && known != Some(found)
        && let Some(text) = read_rules(tree, &path, known.is_some())?
    {
        lock(&shared.ignore).set_folder(folder, found, &text);
    }
    Ok(())
}

/// `None`: it is gone, or being written while other rules are `known`.
fn read_rules(tree: &dyn LocalTree, path: &str, known: bool) -> Result<Option<String>, TreeError> {
    let file = match tree.open(path) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let lease = file.lease();
    file.release_lease();
    if known && lease == Lease::Busy {
        return Ok(None);
    }
    let size = file.stat()?.fingerprint.size.min(IGNORE_FILE_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(filled as u64, &mut bytes[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
