//! Names of conflict copies: `<stem>.conflict-<UTC time>-<device>-<4 hex of the replica id>[-n]<ext>`.
//!
//! A conflict on a copy makes a further copy of the original, never a copy of a copy. The time is for people to read;
//! nothing is decided by it.

use jiff::Timestamp;

use crate::names::{COMPONENT_BYTES_MAX, KEY_BYTES_MAX, Prefix, RelPath};

const MARK: &str = ".conflict-";

/// `20261122T143500Z`
const TIME_BYTES: usize = 16;

/// Longer device names are cut.
const DEVICE_BYTES_MAX: usize = 32;

/// Longer extensions are part of the stem.
const EXTENSION_BYTES_MAX: usize = 32;

/// The last number that is tried.
const NUMBER_MAX: u32 = 9_999;

/// What the longest tag takes: mark, time, device, replica and number. A stem is cut so that this fits, whatever the
/// actual tag, so that all copies of one original are cut alike.
const TAG_BYTES_MAX: usize = MARK.len() + TIME_BYTES + 1 + DEVICE_BYTES_MAX + 1 + 4 + "-9999".len();

/// What one conflict puts into the names of its copies: when, and on which replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictTag(String);

impl ConflictTag {
    /// `unix_seconds`: seconds since 1970. `device`: made safe for any file system. `replica_id`: its first four
    /// hexadecimal digits are used.
    #[must_use]
    pub fn new(unix_seconds: i64, device: &str, replica_id: &str) -> Self {
        // A clock that is out of its mind still makes a well-formed tag.
        let time = Timestamp::from_second(unix_seconds.max(0)).unwrap_or(Timestamp::UNIX_EPOCH);
        let time = time.strftime("%Y%m%dT%H%M%SZ");
        let device = safe_device(device);
        let digits = replica_id.chars().filter(char::is_ascii_hexdigit).chain("0000".chars());
        let replica: String = digits.take(4).map(|digit| digit.to_ascii_lowercase()).collect();
        Self(format!("{MARK}{time}-{device}-{replica}"))
    }
}

/// Letters, digits, `_` and `-` stay, all else becomes `-`. A dot does not stay: the tag ends at the first one.
fn safe_device(device: &str) -> String {
    let safe: String = device
        .chars()
        .take(DEVICE_BYTES_MAX)
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
        .collect();
    match safe.trim_matches('-') {
        "" => "device".into(),
        trimmed => trimmed.into(),
    }
}

/// The first free name for a conflict copy of `path`. `None` where the folder's path leaves no room for one, or every
/// number is taken: the path has to be held then.
#[must_use]
pub fn free_conflict_name(
    path: &RelPath,
    tag: &ConflictTag,
    prefix: &Prefix,
    taken: impl Fn(&RelPath) -> bool,
) -> Option<RelPath> {
    let original = conflict_family(path, prefix);
    let (stem, extension) = split_extension(original.file_name());
    let ConflictTag(tag) = tag;
    (1..=NUMBER_MAX)
        .map(|number| match number {
            1 => format!("{stem}{tag}{extension}"),
            _ => format!("{stem}{tag}-{number}{extension}"),
        })
        .map_while(|name| original.with_file_name(&name).ok())
        .take_while(|name| prefix.key_checked(name).is_ok())
        .find(|name| !taken(name))
}

/// The path that `path` is a conflict copy of; its stem may have been cut.
#[must_use]
pub fn is_conflict_copy_of(path: &RelPath) -> Option<RelPath> {
    let original = original_name(path.file_name())?;
    path.with_file_name(&original).ok()
}

/// What a path and all its conflict copies have in common: copies of `path` are those files of its folder for which
/// [`is_conflict_copy_of`] gives `conflict_family(path)`.
#[must_use]
pub fn conflict_family(path: &RelPath, prefix: &Prefix) -> RelPath {
    let original = is_conflict_copy_of(path).unwrap_or_else(|| path.clone());
    let name = original.file_name();
    let (stem, extension) = split_extension(name);
    let folder_bytes = prefix.as_str().len() + original.as_str().len() - name.len();
    let name_bytes_max = COMPONENT_BYTES_MAX.min(KEY_BYTES_MAX.saturating_sub(folder_bytes));
    let stem_bytes_max = name_bytes_max.saturating_sub(TAG_BYTES_MAX + extension.len());
    let cut = stem.floor_char_boundary(stem_bytes_max);
    // With no room for even one character the name stays as it is; a copy of it finds no name.
    let stem = if cut == 0 { stem } else { &stem[..cut] };
    original.with_file_name(&format!("{stem}{extension}")).unwrap_or(original)
}

/// The name without its tag, and without the tags of copies of copies.
fn original_name(name: &str) -> Option<String> {
    let (stem, tagged) =
        name.rmatch_indices(MARK).map(|(at, _)| name.split_at(at)).find(|(_, rest)| is_tag(tag_of(rest)))?;
    if stem.is_empty() {
        return None;
    }
    let original = format!("{stem}{}", &tagged[tag_of(tagged).len()..]);
    Some(original_name(&original).unwrap_or(original))
}

/// The part of `rest`, which begins with the mark, before the extension.
fn tag_of(rest: &str) -> &str {
    let end = rest[MARK.len()..].find('.').map_or(rest.len(), |dot| MARK.len() + dot);
    &rest[..end]
}

/// `.conflict-20261122T143500Z-device-ab12` or the same with `-2` behind it.
fn is_tag(tag: &str) -> bool {
    let Some((time, rest)) = tag.get(MARK.len()..).and_then(|tag| tag.split_at_checked(TIME_BYTES)) else {
        return false;
    };
    let is_time = time.bytes().enumerate().all(|(position, byte)| match position {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    });
    let is_replica = |text: &str| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fields: Vec<&str> = rest.split('-').collect();
    is_time
        && match fields.as_slice() {
            ["", _, .., replica] if is_replica(replica) => true,
            ["", _, .., replica, number] => is_replica(replica) && is_number(number),
            _ => false,
        }
}

/// Stem and last extension. A leading dot begins no extension, and neither does a trailing one.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 && (2..=EXTENSION_BYTES_MAX).contains(&(name.len() - dot)) => name.split_at(dot),
        _ => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn path(path: &str) -> RelPath {
        RelPath::new(path).unwrap()
    }

    fn tag() -> ConflictTag {
        ConflictTag::new(1_795_358_100, "laptop", "AB12cd34-0000")
    }

    fn named(original: &str) -> String {
        free_conflict_name(&path(original), &tag(), &Prefix::new("data"), |_| false).unwrap().into()
    }

    #[test]
    fn the_tag_stands_before_the_last_extension() {
        for (original, copy) in [
            ("report.txt", "report.conflict-20261122T143500Z-laptop-ab12.txt"),
            ("a/b/report.txt", "a/b/report.conflict-20261122T143500Z-laptop-ab12.txt"),
            ("src.tar.gz", "src.tar.conflict-20261122T143500Z-laptop-ab12.gz"),
            ("Makefile", "Makefile.conflict-20261122T143500Z-laptop-ab12"),
            (".bashrc", ".bashrc.conflict-20261122T143500Z-laptop-ab12"),
            (".config.json", ".config.conflict-20261122T143500Z-laptop-ab12.json"),
            ("dot.", "dot..conflict-20261122T143500Z-laptop-ab12"),
        ] {
            assert_eq!(named(original), copy);
            assert_eq!(is_conflict_copy_of(&path(copy)), Some(path(original)));
        }
    }

    #[test]
    fn a_conflict_on_a_copy_makes_a_further_copy_of_the_original() {
        let copy = named("report.txt");
        let taken = |name: &RelPath| name.as_str() == copy;
        let next = free_conflict_name(&path(&copy), &tag(), &Prefix::new(""), taken).unwrap();
        assert_eq!(next.as_str(), "report.conflict-20261122T143500Z-laptop-ab12-2.txt");
        assert_eq!(is_conflict_copy_of(&next), Some(path("report.txt")));
    }

    #[test]
    fn a_copy_of_a_copy_made_elsewhere_still_belongs_to_the_original() {
        let twice = "a.conflict-20261122T143500Z-x-ab12.conflict-20261122T143501Z-y-cd34-3.txt";
        assert_eq!(is_conflict_copy_of(&path(twice)), Some(path("a.txt")));
    }

    #[test]
    fn names_that_only_look_like_copies_are_none() {
        for name in [
            "a.txt",
            "a.conflict-of-interest.txt",
            "a.conflict-20261122T143500Z.txt",
            "a.conflict-20261122T143500Z-laptop.txt",
            "a.conflict-20261122T143500Z-laptop-wxyz.txt",
            "a.conflict-2026112\u{e9}T14350Z-laptop-ab12.txt",
            ".conflict-20261122T143500Z-laptop-ab12.txt",
        ] {
            assert_eq!(is_conflict_copy_of(&path(name)), None, "{name}");
        }
    }

    #[test]
    fn a_name_that_is_taken_on_either_side_is_never_used() {
        let mut taken = BTreeSet::new();
        for _ in 0..50 {
            let free =
                free_conflict_name(&path("a.txt"), &tag(), &Prefix::new(""), |name| taken.contains(name)).unwrap();
            assert_eq!(is_conflict_copy_of(&free), Some(path("a.txt")));
            assert!(taken.insert(free));
        }
        assert_eq!(free_conflict_name(&path("a.txt"), &tag(), &Prefix::new(""), |_| true), None);
    }

    #[test]
    fn odd_devices_and_replicas_make_plain_tags() {
        for (device, replica, end) in [
            ("web.example/1", "0f-1e-2d", "-web-example-1-0f1e"),
            ("\u{e9}\u{e9}", "", "-device-0000"),
            ("..", "g1", "-device-1000"),
            (&"long".repeat(20), "abcd", "-longlonglonglonglonglonglonglong-abcd"),
        ] {
            let ConflictTag(tag) = ConflictTag::new(0, device, replica);
            assert_eq!(tag, format!(".conflict-19700101T000000Z{end}"));
            assert!(is_tag(&tag));
        }
    }

    #[test]
    fn a_long_stem_is_cut_so_that_name_and_key_fit() {
        let deep = format!("{}/{}", ["x".repeat(225).as_str(); 4].join("/"), "\u{e9}".repeat(40));
        for original in ["y".repeat(251) + ".txt", deep] {
            let copy = path(&named(&original));
            assert!(copy.file_name().len() <= 255 && "data/".len() + copy.as_str().len() <= 1024, "{copy}");
            let cut = is_conflict_copy_of(&copy).unwrap();
            assert!(original.starts_with(cut.as_str().trim_end_matches(".txt")));
            assert_eq!(conflict_family(&path(&original), &Prefix::new("data")), cut);
        }
    }

    #[test]
    fn a_path_without_room_for_a_copy_has_none() {
        let folder = ["x".repeat(250).as_str(); 4].join("/");
        assert_eq!(free_conflict_name(&path(&format!("{folder}/a")), &tag(), &Prefix::new(""), |_| false), None);
    }

    proptest! {
        #[test]
        fn every_copy_is_a_legal_name_and_is_found_again(
            name in "[a-z\u{e9}\u{1f980}.-]{1,60}|[a-z\u{1f980}]{40,63}(\\.[a-z]{1,40})?|[a-z.]{200,255}",
            folder in "([a-z]{1,200}/){0,5}",
            prefix in "[a-z]{0,20}",
            device in ".{0,40}",
            seconds in -1_000_000_000_000i64..1_000_000_000_000,
        ) {
            let Ok(original) = RelPath::new(format!("{folder}{name}")) else { return Ok(()) };
            let prefix = Prefix::new(&prefix);
            let tag = ConflictTag::new(seconds, &device, "12ab");
            prop_assert!(is_tag(&tag.0), "{}", tag.0);
            let mut taken = BTreeSet::from([original.clone()]);
            for _ in 0..3 {
                let Some(copy) = free_conflict_name(&original, &tag, &prefix, |name| taken.contains(name)) else {
                    prop_assert!(original.as_str().len() > 1024 - 255);
                    return Ok(());
                };
                prop_assert!(prefix.key_checked(&copy).is_ok());
                prop_assert_eq!(copy.parent(), original.parent());
                prop_assert_eq!(is_conflict_copy_of(&copy), Some(conflict_family(&original, &prefix)));
                prop_assert_eq!(conflict_family(&copy, &prefix), conflict_family(&original, &prefix));
                prop_assert!(taken.insert(copy));
            }
        }
    }
}
