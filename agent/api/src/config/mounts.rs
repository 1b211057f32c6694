//! Where a folder lies in its file system, whatever mounts lead there: a folder that is bound to a second place is one folder.

use std::path::{Path, PathBuf};

/// A file system, and a path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// As the kernel writes it: `major:minor`.
    pub device: String,
    /// From the file system's own root.
    pub path: PathBuf,
}

/// `real`: with its links followed. `table`: `/proc/self/mountinfo`. `None`: no mount of the table leads there.
pub fn spot(real: &Path, table: &str) -> Option<Spot> {
    // Of two mounts at one place the later one hides the other.
    let mounts = table.lines().filter_map(Mount::parse).filter(|mount| real.starts_with(&mount.at));
    let mount = mounts.max_by_key(|mount| mount.at.components().count())?;
    let below = real.strip_prefix(&mount.at).ok()?;
    Some(Spot { device: mount.device, path: mount.root.join(below) })
}

struct Mount {
    device: String,
    root: PathBuf,
    at: PathBuf,
}

impl Mount {
    /// `<id> <parent> <device> <root> <at> <options> …`
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ').skip(2);
        let device = words.next()?.to_owned();
        Some(Self { device, root: unescaped(words.next()?).into(), at: unescaped(words.next()?).into() })
    }
}

/// The kernel writes blanks, tabs, line ends and backslashes of names in octal.
fn unescaped(word: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(word.to_owned(), |word, (octal, sign)| word.replace(octal, sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
        21 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        30 21 0:27 / /mnt rw - tmpfs tmpfs rw\n\
        31 21 254:0 /srv/data/in\\040parts /mnt/bound rw - ext4 /dev/vda rw\n";

    #[test]
    fn a_bound_folder_is_where_it_was_bound_from() {
        let at = |path: &str| spot(Path::new(path), TABLE).map(|spot| (spot.device, spot.path));
        assert_eq!(at("/srv/data"), Some(("254:0".into(), "/srv/data".into())));
        assert_eq!(at("/mnt/bound/deep"), Some(("254:0".into(), "/srv/data/in parts/deep".into())));
        assert_eq!(at("/mnt/bound-not"), Some(("0:27".into(), "/bound-not".into())));
    }
}
