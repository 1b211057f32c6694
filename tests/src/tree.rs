//! Trees of files: made at random from a seed, edited at random, read, and compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng};

/// A file as far as it is synced. Content is told by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub size: u64,
    pub mode: u32,
    pub mtime_ns: i128,
    pub blake3: blake3::Hash,
}

/// What a comparison looks at, beside names and contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Content,
    ContentAndMode,
    /// mtime too, to the microsecond: nine digits are written, but a client may keep fewer.
    Everything,
}

/// All regular files below `root` by relative path; our own `.gosync` folder and symlinks left out. A file that goes
/// while it is read is not there.
pub fn read(root: &Path) -> BTreeMap<String, File> {
    names(root).into_iter().filter_map(|name| Some((name.clone(), read_file(&root.join(name))?))).collect()
}

/// The same without the contents: quick, for a first look at a large tree.
fn outline(root: &Path) -> BTreeMap<String, File> {
    let stat = |name: &String| present(fs::symlink_metadata(root.join(name)));
    let unread = blake3::Hash::from_bytes([0; 32]);
    names(root).into_iter().filter_map(|name| Some((name.clone(), file(&stat(&name)?, unread)))).collect()
}

/// The names alone, in no order.
pub fn names(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let Some(entries) = present(fs::read_dir(root.join(&folder))) else {
            continue;
        };
        for entry in entries {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if path == Path::new(".gosync") {
                continue;
            }
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                files.push(path.to_str().expect("a UTF-8 name").to_owned());
            }
        }
    }
    files
}

fn read_file(path: &Path) -> Option<File> {
    let opened = present(fs::File::open(path))?;
    let metadata = opened.metadata().unwrap();
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(opened).unwrap();
    Some(file(&metadata, hasher.finalize()))
}

fn file(metadata: &fs::Metadata, blake3: blake3::Hash) -> File {
    File {
        size: metadata.len(),
        mode: metadata.mode() & 0o7777,
        mtime_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        blake3,
    }
}

fn present<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("{error}"),
    }
}

/// `Err` tells the first differences in words. Contents are read only where all else agrees, so it may be asked often.
pub fn same(left: &Path, right: &Path, compare: Compare) -> Result<(), String> {
    same_files(&outline(left), &outline(right), compare)?;
    same_files(&read(left), &read(right), compare)
}

pub fn same_files(
    left: &BTreeMap<String, File>,
    right: &BTreeMap<String, File>,
    compare: Compare,
) -> Result<(), String> {
    let mut differences = Vec::new();
    for (path, file) in left {
        match right.get(path) {
            None => differences.push(format!("only left:  {path:?}")),
            Some(other) => differences.extend(differs(file, other, compare).map(|what| format!("{path:?}: {what}"))),
        }
    }
    let only_right = right.keys().filter(|path| !left.contains_key(*path));
    differences.extend(only_right.map(|path| format!("only right: {path:?}")));
    if differences.is_empty() {
        return Ok(());
    }
    let mut message =
        format!("{} differences between {} files left and {} right:", differences.len(), left.len(), right.len());
    for difference in differences.iter().take(10) {
        write!(message, "\n  {difference}").unwrap();
    }
    Err(message)
}

fn differs(left: &File, right: &File, compare: Compare) -> Option<String> {
    if left.blake3 != right.blake3 {
        return Some(format!("content, {} and {} bytes", left.size, right.size));
    }
    if compare != Compare::Content && left.mode != right.mode {
        return Some(format!("mode, {:o} and {:o}", left.mode, right.mode));
    }
    if compare == Compare::Everything && left.mtime_ns / 1000 != right.mtime_ns / 1000 {
        return Some(format!("mtime, {} and {} ns", left.mtime_ns, right.mtime_ns));
    }
    None
}

/// Makes and changes files from a seed: the same seed does the same.
pub struct Gardener {
    random: SmallRng,
    made: u64,
}

/// Parts of names that have been trouble somewhere: spaces, order around `/`, percent signs, other scripts, newlines.
const NAMES: &[&str] = &[
    "a",
    "foo",
    "foo-1",
    "foo.txt",
    "Foo",
    "with space",
    "plus+and&",
    "100%",
    "%2F",
    "ünï",
    "日本",
    "new\nline",
    "quote'\"",
    "~tilde",
    ".hidden",
];

impl Gardener {
    pub fn new(seed: u64) -> Self {
        Self { random: SmallRng::seed_from_u64(seed), made: 0 }
    }

    /// Makes so many files of up to `bytes_max` each, in folders up to four deep.
    pub fn plant(&mut self, root: &Path, files: usize, bytes_max: usize) {
        for _ in 0..files {
            self.create(root, bytes_max);
        }
    }

    /// Edits, deletes, renames or creates, so many times in all, while others may be at work in the same tree.
    pub fn tend(&mut self, root: &Path, changes: usize, bytes_max: usize) {
        let mut files = names(root);
        for _ in 0..changes {
            let dice = self.random.random_range(0..10);
            if files.is_empty() || dice >= 8 {
                self.create(root, bytes_max);
                continue;
            }
            let chosen = self.random.random_range(0..files.len());
            match dice {
                // May bring back what somebody else has just deleted: that is an edit too.
                0..4 => self.write(&root.join(&files[chosen]), bytes_max),
                4..6 => {
                    present(fs::remove_file(root.join(files.swap_remove(chosen))));
                }
                _ => {
                    let (from, to) = (root.join(files.swap_remove(chosen)), self.fresh(root));
                    fs::create_dir_all(to.parent().unwrap()).unwrap();
                    present(fs::rename(from, to));
                }
            }
        }
    }

    fn create(&mut self, root: &Path, bytes_max: usize) {
        let path = self.fresh(root);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        self.write(&path, bytes_max);
        let mode = *[0o644, 0o644, 0o600, 0o755].choose(&mut self.random).unwrap();
        present(fs::set_permissions(&path, Permissions::from_mode(mode)));
    }

    /// A name that isn't there; its number keeps it from being a folder of another one.
    fn fresh(&mut self, root: &Path) -> PathBuf {
        self.made += 1;
        let mut path = root.to_owned();
        for _ in 0..self.random.random_range(0..4) {
            path.push(format!("{}.d", NAMES.choose(&mut self.random).unwrap()));
        }
        let name = NAMES.choose(&mut self.random).unwrap();
        path.push(format!("{name}-{:x}-{}", self.random.random::<u16>(), self.made));
        path
    }

    fn write(&mut self, path: &Path, bytes_max: usize) {
        let mut content = vec![0; self.random.random_range(0..=bytes_max)];
        self.random.fill_bytes(&mut content);
        // Somebody else may remove the folder in between, when its last file went.
        while present(fs::write(path, &content)).is_none() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
    }
}
