//! One entry of `syncs`, and the effective settings that it amounts to.

use std::path::PathBuf;

use super::agent::{AgentConfig, Cache, Metadata, S3, SyncSettings};
use super::choice::{ConflictPolicy, StatePlace};
use super::problem::{Place, Problems, Wrong};
use super::remote_path::RemotePath;
use super::section::{Field, Reader, Section, section};
use super::tree::{Map, Node, Value};
use crate::words::Direction;

section! {
    /// The keys of an entry of `syncs` that are its own.
    pub struct MirrorKeys {
        /// Its name: unique, small letters, digits and dashes. Required.
        name: String = String::new(),
        /// The folder. Required.
        local_path: Option<PathBuf> = None,
        /// /prefix in the bucket, or s3://other-bucket/prefix. Required.
        s3_path: String = String::new(),
        /// Both ways. false: push only.
        bidirectional: bool = true,
        /// The same in words, instead of `bidirectional`.
        direction: Direction = Direction::TwoWay,
        /// What is not synced, in the syntax of .gitignore.
        ignore_patterns: Vec<String> = Vec::new(),
        /// What happens when both sides changed one path.
        conflict_policy: ConflictPolicy = ConflictPolicy::KeepBoth,
        /// Where the mirror's state is kept: in the data_dir, or in .gosync beside the files.
        state: StatePlace = StatePlace::DataDir,
        /// true: nothing is sent or fetched, as after `gosync sync pause`, which stays in force beside it.
        paused: bool = false,
        /// Any text; another one has the mirror compare both sides at once, and `/v1/state` repeats it when they were found in step.
        request: String = String::new(),
    }
}

/// One mirror with its effective settings: those of its entry over those of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorConfig {
    /// Its name.
    pub name: String,
    /// The local root, absolute.
    pub local_path: PathBuf,
    /// What its keys begin with: empty for the whole bucket, else with a trailing `/`. The bucket is `s3.bucket`.
    pub prefix: String,
    /// Which way it works.
    pub direction: Direction,
    /// What is not synced, in the syntax of .gitignore.
    pub ignore_patterns: Vec<String>,
    /// What happens when both sides changed one path.
    pub conflict_policy: ConflictPolicy,
    /// Where its state is kept.
    pub state: StatePlace,
    /// The config pauses it.
    pub paused: bool,
    /// What is repeated once both sides were found in step.
    pub request: String,
    /// Its object store.
    pub s3: S3,
    /// Its database.
    pub metadata: Metadata,
    /// Its cache.
    pub cache: Cache,
    /// How it works.
    pub sync: SyncSettings,
    /// Where the config defines it; none for one made by a command.
    pub place: Option<Place>,
}

impl MirrorConfig {
    /// True when it works as `other` does, wherever the two are defined.
    pub fn same_settings(&self, other: &Self) -> bool {
        let here = Self { place: other.place.clone(), ..self.clone() };
        here == *other
    }

    /// The remote side as people read it: `s3://bucket/prefix`.
    pub fn remote(&self) -> String {
        format!("s3://{}/{}", self.s3.bucket, self.prefix.trim_end_matches('/'))
    }
}

/// What a command says about a mirror that it wants made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorSpec {
    /// Its name.
    pub name: String,
    /// The local root.
    pub local_path: PathBuf,
    /// `/prefix`, or `s3://bucket/prefix`.
    pub s3_path: String,
    /// Which way it works.
    pub direction: Direction,
    /// What is not synced.
    pub ignore_patterns: Vec<String>,
}

impl AgentConfig {
    /// The settings of a mirror made by a command, checked against those of the config and against `others` of its kind.
    /// `real_path` follows links, so that one folder has one path.
    pub fn mirror(
        &self,
        spec: &MirrorSpec,
        others: &[MirrorConfig],
        disk: &dyn super::load::Disk,
    ) -> Result<MirrorConfig, Problems> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, wrong: Wrong| problems.push(wrong.at(None, key));
        let mut s3 = self.s3.clone();
        let mut prefix = String::new();
        match spec.s3_path.parse::<RemotePath>() {
            Ok(path) => {
                prefix = path.prefix;
                if let Some(bucket) = path.bucket {
                    s3.bucket = bucket;
                }
            }
            Err(error) => wrong("s3_path", error),
        }
        if s3.bucket.is_empty() {
            wrong("s3_path", Wrong::new("the config names no bucket", "write s3://bucket/prefix, or set s3.bucket"));
        }
        if !spec.local_path.is_absolute() {
            wrong(
                "local_path",
                Wrong::new(format!("{} is a relative path", spec.local_path.display()), "write it in full, from /"),
            );
        }
        if let Err(error) = check_name(&spec.name) {
            wrong("name", error);
        }
        let mirror = MirrorConfig {
            name: spec.name.clone(),
            local_path: super::section::clean(&spec.local_path),
            prefix,
            direction: spec.direction,
            ignore_patterns: spec.ignore_patterns.clone(),
            conflict_policy: ConflictPolicy::KeepBoth,
            state: StatePlace::DataDir,
            paused: false,
            request: String::new(),
            s3,
            metadata: self.metadata.clone(),
            cache: self.cache.clone(),
            sync: self.sync.clone(),
            place: None,
        };
        super::check::newcomer(self, &mirror, others, disk, &mut problems);
        if problems.is_empty() { Ok(mirror) } else { Err(Problems(problems)) }
    }
}

/// A DNS label: it becomes part of object names, metrics and file names.
pub(crate) fn check_name(name: &str) -> Result<(), Wrong> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=63).contains(&name.len()) && name.chars().all(legal) && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(());
    }
    let hint = match label_of(name) {
        Some(label) => format!("write {label}, for example"),
        None => "write 1 to 63 small letters, digits and dashes".to_owned(),
    };
    Err(Wrong::new(format!("\"{name}\" is not a name: small letters, digits and dashes inside, 63 at most"), hint))
}

/// A legal mirror name made from any text (a folder's name), if anything of it is left.
pub fn label_of(text: &str) -> Option<String> {
    let mut label = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            label.push(c.to_ascii_lowercase());
        } else if !label.is_empty() && !label.ends_with('-') {
            label.push('-');
        }
    }
    label.truncate(63);
    let label = label.trim_end_matches('-');
    (!label.is_empty()).then(|| label.to_owned())
}

/// The keys that an entry may hold.
fn entry_keys() -> Vec<String> {
    let mut keys = MirrorKeys::keys();
    keys.extend(["s3", "metadata", "cache"].map(str::to_owned));
    keys.extend(SyncSettings::keys());
    keys
}

/// Reads `syncs` over the settings that are already in `config`.
pub(crate) fn read_all(root: &Map, config: &mut AgentConfig, reader: &mut Reader<'_>) {
    let Some(node) = root.get("syncs") else { return };
    let Value::List(entries) = &node.value else {
        reader.wrong(
            &node.place,
            "syncs",
            Wrong::new("a list of mirrors belongs here", "write `- name: documents` below it, and its keys"),
        );
        return;
    };
    for (index, node) in entries.iter().enumerate() {
        if let Some(mirror) = read_one(node, index, config, reader) {
            config.syncs.push(mirror);
        }
    }
}

fn read_one(node: &Node, index: usize, config: &AgentConfig, reader: &mut Reader<'_>) -> Option<MirrorConfig> {
    let path = format!("syncs[{index}]");
    let Value::Map(map) = &node.value else {
        reader.wrong(
            &node.place,
            &path,
            Wrong::new("keys belong here", "write name, local_path and s3_path below the dash"),
        );
        return None;
    };
    let mut known = entry_keys();
    if let Some(entry) = map.entry("sync") {
        known.push("sync".to_owned());
        reader.wrong(
            &entry.place,
            &format!("{path}.sync"),
            Wrong::new("there is no such key", "write the keys of `sync` straight into the entry"),
        );
    }
    reader.unknown_keys(map, &path, &known);

    let mut keys = MirrorKeys::default();
    keys.overlay(map, &path, reader);
    let (mut s3, mut metadata, mut cache, mut sync) =
        (config.s3.clone(), config.metadata.clone(), config.cache.clone(), config.sync.clone());
    s3.read_in(map, "s3", &path, reader);
    metadata.read_in(map, "metadata", &path, reader);
    cache.read_in(map, "cache", &path, reader);
    sync.overlay(map, &path, reader);

    for (key, example) in [("name", "documents"), ("local_path", "~/Documents"), ("s3_path", "/documents")] {
        if map.get(key).is_none() {
            let place = map.entry(key).map_or(&node.place, |entry| &entry.place);
            let hint = if key == "local_path" && map.entry(key).is_some() {
                "write one; a bare ~ means nothing in YAML, \"~\" is the home folder".to_owned()
            } else {
                format!("add `{key}: {example}`")
            };
            reader.wrong(place, &format!("{path}.{key}"), Wrong::new("this key is required", hint));
        }
    }
    let place_of = |key: &str| map.get(key).map_or(&node.place, |node| &node.place);
    if keys.local_path.is_none() && map.get("local_path").is_some() && !reader.failed(&format!("{path}.local_path")) {
        let wrong = Wrong::new("the path is empty", "write one, such as ~/Documents");
        reader.wrong(place_of("local_path"), &format!("{path}.local_path"), wrong);
    }
    if map.get("name").is_some()
        && !reader.failed(&format!("{path}.name"))
        && let Err(wrong) = check_name(&keys.name)
    {
        reader.wrong(place_of("name"), &format!("{path}.name"), wrong);
    }
    let mut prefix = String::new();
    if map.get("s3_path").is_some() && !reader.failed(&format!("{path}.s3_path")) {
        match keys.s3_path.parse::<RemotePath>() {
            Ok(remote) => {
                prefix = remote.prefix;
                if let Some(bucket) = remote.bucket {
                    if bucket != s3.bucket && s3.bucket != config.s3.bucket {
                        let what = format!("it names the bucket {bucket}, s3.bucket of this mirror {}", s3.bucket);
                        let wrong = Wrong::new(what, "keep one of the two");
                        reader.wrong(place_of("s3_path"), &format!("{path}.s3_path"), wrong);
                    }
                    s3.bucket = bucket;
                }
            }
            Err(wrong) => reader.wrong(place_of("s3_path"), &format!("{path}.s3_path"), wrong),
        }
    }
    let direction = match (map.get("direction").is_some(), keys.bidirectional) {
        (true, _) => keys.direction,
        (false, true) => Direction::TwoWay,
        (false, false) => Direction::Push,
    };
    if map.get("direction").is_some()
        && map.get("bidirectional").is_some()
        && !reader.failed(&format!("{path}.direction"))
        && !reader.failed(&format!("{path}.bidirectional"))
        && (keys.bidirectional != (direction == Direction::TwoWay) || direction == Direction::Pull)
    {
        let meant = if keys.bidirectional { "two-way" } else { "push" };
        reader.wrong(
            place_of("direction"),
            &format!("{path}.direction"),
            Wrong::new(
                format!("bidirectional: {} means {meant}, direction says {direction}", keys.bidirectional),
                "keep one of the two keys",
            ),
        );
    }
    Some(MirrorConfig {
        name: keys.name,
        local_path: keys.local_path.unwrap_or_default(),
        prefix,
        direction,
        ignore_patterns: keys.ignore_patterns,
        conflict_policy: keys.conflict_policy,
        state: keys.state,
        paused: keys.paused,
        request: keys.request,
        s3,
        metadata,
        cache,
        sync,
        place: Some(node.place.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_of_an_entry_has_two_meanings() {
        let mut keys = entry_keys();
        keys.sort();
        let mut once = keys.clone();
        once.dedup();
        assert_eq!(keys, once);
    }

    #[test]
    fn a_name_is_a_dns_label() {
        for name in ["documents", "a", "a-1", &"x".repeat(63)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "-a", "a-", "Docs", "a_b", "a.b", "é", &"x".repeat(64)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_label_can_be_made_from_most_folder_names() {
        assert_eq!(label_of("My Documents (2)").as_deref(), Some("my-documents-2"));
        assert_eq!(label_of("日本"), None);
    }
}
