//! A user of whom it is known to the byte what each edit and each delete replaced: what stands at the path is exchanged for
//! the new content in one step, or taken out of the folder as it is. So a test can say of every content whether anybody
//! meant to lose it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

pub struct User {
    name: &'static str,
    root: PathBuf,
    /// On the same file system, outside the root.
    outside: PathBuf,
    random: SmallRng,
    number: u64,
    /// Whole contents that stood in the folder.
    pub written: BTreeSet<Vec<u8>>,
    /// Those that this user replaced or deleted, having seen them.
    pub taken_out: BTreeSet<Vec<u8>>,
}

impl User {
    pub fn new(name: &'static str, root: &Path, outside: PathBuf, seed: u64) -> Self {
        let random = SmallRng::seed_from_u64(seed);
        let (written, taken_out) = (BTreeSet::new(), BTreeSet::new());
        Self { name, root: root.to_owned(), outside, random, number: 0, written, taken_out }
    }

    /// Edits, makes or deletes one of so many files.
    pub fn acts(&mut self, files: usize) {
        let path = self.root.join(format!("{:02}", self.random.random_range(0..files)));
        if self.random.random_range(0..4) == 0 { self.deletes(&path) } else { self.writes(&path) }
    }

    fn writes(&mut self, path: &Path) {
        let (new, content) = (self.fresh(), format!("{} wrote {} into {}", self.name, self.number, path.display()));
        fs::write(&new, &content).unwrap();
        loop {
            // One of the two holds, unless the file came or went in between.
            let exchanged = renameat_with(CWD, &new, CWD, path, RenameFlags::EXCHANGE);
            match exchanged.or_else(|_| renameat_with(CWD, &new, CWD, path, RenameFlags::NOREPLACE)) {
                Ok(()) => break,
                Err(Errno::EXIST) => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
        self.written.insert(content.into_bytes());
        self.note(&new);
    }

    fn deletes(&mut self, path: &Path) {
        let old = self.fresh();
        match renameat_with(CWD, path, CWD, &old, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::NOENT) => self.note(&old),
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }

    fn fresh(&mut self) -> PathBuf {
        self.number += 1;
        self.outside.join(self.number.to_string())
    }

    fn note(&mut self, old: &Path) {
        if let Ok(content) = fs::read(old) {
            self.taken_out.insert(content);
        }
    }
}
