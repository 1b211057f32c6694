//! The config is read again when its files change, or at a hangup. What can change live does: mirrors, stores, limits, the
//! log's level. The rest is told as waiting for a restart. A config with mistakes changes nothing.
//!
//! Files are polled: a few stats every other second, the same on every file system and for a mounted ConfigMap.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gosync_api::config::{self, AgentConfig, Loaded, Problems};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::level;

const POLL: Duration = Duration::from_secs(2);

/// Where the config in use came from.
pub struct Source {
    /// A file, or a folder of files.
    pub path: PathBuf,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// Rung at a hangup.
    pub asked: Arc<Notify>,
}

/// What tells two states of the files apart, without reading them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    mtime: (i64, i64),
}

impl Stamps {
    fn of(source: &Path, files: &[PathBuf]) -> Self {
        let one = |path: &Path| {
            let found = std::fs::metadata(path).ok().map(|found| Stamp {
                inode: found.ino(),
                bytes: found.len(),
                mtime: (found.mtime(), found.mtime_nsec()),
            });
            (path.to_owned(), found)
        };
        // The source itself: files that come and go in a folder.
        Self(std::iter::once(source).chain(files.iter().map(PathBuf::as_path)).map(one).collect())
    }
}

/// Goes on until dropped. `files`: what the config in use was read from.
pub async fn keep_reading(agent: Arc<Agent>, source: Source, mut files: Vec<PathBuf>) {
    let mut in_use = Stamps::of(&source.path, &files);
    let mut last = in_use.clone();
    let mut refused: Option<Problems> = None;
    loop {
        let asked = tokio::select! {
            () = source.asked.notified() => true,
            () = sleep(POLL) => false,
        };
        let now = Stamps::of(&source.path, &files);
        // Two looks that agree: whoever writes has finished.
        let at_rest = now == last;
        last = now.clone();
        // What was refused may be mended by a file that nobody looks at: a secret that comes later.
        if !asked && (!at_rest || (now == in_use && refused.is_none())) {
            continue;
        }
        in_use = now;
        let applied = match read(&source) {
            Ok(loaded) => {
                if loaded.files != files {
                    files = loaded.files.clone();
                    in_use = Stamps::of(&source.path, &files);
                    last = in_use.clone();
                }
                let log_level = loaded.config.log.level;
                let applied = agent.apply(loaded.config).await;
                if let (Ok(()), Some(log)) = (&applied, &agent.parts.log_level) {
                    log.set(level(log_level));
                }
                applied
            }
            Err(problems) => Err(problems),
        };
        let problems = applied.err();
        if let Some(problems) = &problems
            && problems != refused.as_ref().unwrap_or(&Problems(Vec::new()))
        {
            agent.refuse_config(problems);
        }
        refused = problems;
    }
}

fn read(source: &Source) -> Result<Loaded, Problems> {
    let loaded = config::load(&source.path, source.data_dir.as_deref())?;
    let not_yet = config::not_yet(&loaded.config);
    if not_yet.is_empty() { Ok(loaded) } else { Err(Problems(not_yet)) }
}

/// What of `new` the running agent can't take on, in words.
pub fn waits_for_restart(running: &AgentConfig, new: &AgentConfig) -> Vec<String> {
    let changed = [
        ("data_dir", running.data_dir != new.data_dir),
        ("log.format", running.log.format != new.log.format),
        ("log.file", running.log.file != new.log.file),
        ("log.rotation", running.log.rotation != new.log.rotation),
        ("metadata", running.metadata != new.metadata),
        ("agent.socket_path", running.agent.socket_path != new.agent.socket_path),
        ("agent.device_name", running.agent.device_name != new.agent.device_name),
        (
            "agent.termination_message_path",
            running.agent.termination_message_path != new.agent.termination_message_path,
        ),
        ("agent.metrics.listen", running.agent.metrics != new.agent.metrics),
        ("agent.otlp", running.agent.otlp != new.agent.otlp),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned()).collect()
}

/// What is in force from now on: `new`, but for what waits for a restart.
pub fn in_force(running: &AgentConfig, mut new: AgentConfig) -> AgentConfig {
    let inherits = |mirror: &&mut config::MirrorConfig| mirror.metadata == new.metadata;
    for mirror in new.syncs.iter_mut().filter(inherits) {
        mirror.metadata = running.metadata.clone();
    }
    AgentConfig {
        data_dir: running.data_dir.clone(),
        metadata: running.metadata.clone(),
        agent: running.agent.clone(),
        log: config::Log { level: new.log.level, ..running.log.clone() },
        ..new
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    fn config(text: &str) -> AgentConfig {
        let sources = config::Sources {
            files: vec![config::SourceFile { name: "c".into(), text: text.into() }],
            environment: Default::default(),
            home: None,
            current_dir: "/".into(),
            data_dir: None,
            disk: &config::RealDisk,
        };
        config::read(&sources).unwrap().config
    }

    const BASE: &str = "data_dir: /d\nmetadata: {type: sqlite}\ns3: {bucket: bbb}\n";

    const MIRROR: &str = "syncs: [{name: m, local_path: /m, s3_path: /m}]\n";

    #[test]
    fn what_can_change_live_waits_for_nothing() {
        let new = format!("{BASE}log: {{level: debug}}\nsync: {{interval: 5s}}\n");
        assert_eq!(waits_for_restart(&config(BASE), &config(&new)), [""; 0]);
    }

    #[test]
    fn what_waits_for_a_restart_stays_as_it_is_until_then() {
        let new = format!(
            "{BASE}agent: {{device_name: other}}\nsync: {{interval: 5s}}\nlog: {{level: warn, file: /l, rotation: {{max_size: 1}}}}\n"
        );
        let (running, new) = (config(BASE), config(&new));
        assert_eq!(waits_for_restart(&running, &new), ["log.file", "log.rotation", "agent.device_name"]);
        let force = in_force(&running, new);
        assert_eq!(force.agent.device_name, "");
        assert_eq!(force.log, config::Log { level: config::LogLevel::Warn, ..running.log });
        assert_eq!(force.sync.interval, Duration::from_secs(5));
    }

    /// Another value than the default, of the kind that the reference tells.
    fn another(key: &config::KeyDoc) -> String {
        let words = key.kind.strip_prefix("one of ").map(|words| words.split(", ").last().unwrap());
        match (key.kind.as_str(), words) {
            (_, Some(word)) if config::Shown::Text(word.to_owned()) != key.default => word.to_owned(),
            (_, Some(_)) => key.kind["one of ".len()..].split(", ").next().unwrap().to_owned(),
            ("true or false", _) => (key.default == config::Shown::Bool(false)).to_string(),
            ("duration" | "off or a duration", _) => "17m".to_owned(),
            ("size", _) => "7MiB".to_owned(),
            ("number" | "percent", _) => "17".to_owned(),
            ("path", _) => "/elsewhere".to_owned(),
            ("address:port, or \"\" for off", _) => "127.0.0.1:17".to_owned(),
            _ if key.path == "metadata.postgres.url" => "postgres://elsewhere:17".to_owned(),
            _ if key.path == "cache.redis.url" => "redis://elsewhere:17".to_owned(),
            _ if key.path.ends_with("endpoint") => "http://elsewhere:17".to_owned(),
            _ => "elsewhere".to_owned(),
        }
    }

    #[test]
    fn the_reference_says_of_each_key_whether_a_change_waits_for_a_restart() {
        let read = |environment: &[(&str, &str)]| {
            let sources = config::Sources {
                files: vec![config::SourceFile { name: "c".into(), text: format!("{BASE}{MIRROR}") }],
                environment: environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
                home: None,
                current_dir: "/".into(),
                data_dir: None,
                disk: &config::RealDisk,
            };
            let config = config::read(&sources).unwrap().config;
            let unplaced = |mirror| config::MirrorConfig { place: None, ..mirror };
            let syncs = config.syncs.into_iter().map(unplaced).collect();
            AgentConfig { places: Default::default(), syncs, ..config }
        };
        for key in config::reference() {
            let Some(variable) = &key.environment else { continue };
            // What the key is nothing without.
            let beside: &[(&str, &str)] = match key.path.as_str() {
                "s3.access_key" | "s3.secret_key" | "s3.session_token" => {
                    &[("GOSYNC_S3_ACCESS_KEY", "me"), ("GOSYNC_S3_SECRET_KEY", "hush")]
                }
                "s3.kms_key_id" => &[("GOSYNC_S3_SSE", "aws:kms")],
                _ => &[],
            };
            let value = another(&key);
            let others = beside.iter().filter(|(name, _)| name != variable).copied();
            let running = read(beside);
            let new = read(&others.chain([(variable.as_str(), value.as_str())]).collect::<Vec<_>>());
            assert_ne!(running, new, "{} with {value}", key.path);
            let waits = config::waits_for_restart(&key.path);
            assert_eq!(!waits_for_restart(&running, &new).is_empty(), waits, "{}", key.path);
            assert_eq!(in_force(&running, new.clone()), if waits { running } else { new }, "{}", key.path);
        }
    }

    #[test]
    fn stamps_tell_an_edit_and_a_swapped_link() {
        let temp = tempfile::tempdir().unwrap();
        let (a, b, link) = (temp.path().join("a"), temp.path().join("b"), temp.path().join("link"));
        std::fs::write(&a, "1").unwrap();
        std::fs::write(&b, "1").unwrap();
        std::os::unix::fs::symlink(&a, &link).unwrap();
        let before = Stamps::of(&link, &[]);
        assert_eq!(before, Stamps::of(&link, &[]));
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&b, &link).unwrap();
        let swapped = Stamps::of(&link, &[]);
        assert_ne!(before, swapped);
        std::fs::write(&b, "22").unwrap();
        assert_ne!(swapped, Stamps::of(&link, &[]));
    }
}
