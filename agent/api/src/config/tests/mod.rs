//! The config as people meet it: files that load, and mistakes with the messages that they raise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may stop at the first surprise

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod examples;
mod mistakes;
mod sources;

use super::*;
use crate::words::Direction;

/// A disk with a few files and links, and nothing else.
#[derive(Default)]
struct Fake {
    files: BTreeMap<PathBuf, String>,
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Disk for Fake {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.files.get(path).cloned().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    }
    fn real_path(&self, path: &Path) -> PathBuf {
        self.links.get(path).cloned().unwrap_or_else(|| path.to_owned())
    }
}

struct Case {
    files: Vec<SourceFile>,
    environment: BTreeMap<String, String>,
    data_dir: Option<String>,
    disk: Fake,
}

impl Case {
    fn of(text: &str) -> Self {
        Self::files(&[("gosync.yaml", text)])
    }

    fn files(files: &[(&str, &str)]) -> Self {
        Self {
            files: files
                .iter()
                .map(|(name, text)| SourceFile { name: (*name).to_owned(), text: (*text).to_owned() })
                .collect(),
            environment: BTreeMap::new(),
            data_dir: None,
            disk: Fake::default(),
        }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn file(mut self, path: &str, text: &str) -> Self {
        self.disk.files.insert(path.into(), text.to_owned());
        self
    }

    fn read(&self) -> Result<Loaded, Problems> {
        read(&Sources {
            files: self.files.clone(),
            environment: self.environment.clone(),
            home: Some("/home/ada".into()),
            current_dir: "/here".into(),
            data_dir: self.data_dir.clone(),
            disk: &self.disk,
        })
    }

    #[track_caller]
    fn config(&self) -> AgentConfig {
        self.read().unwrap_or_else(|problems| panic!("{problems}")).config
    }

    #[track_caller]
    fn mistakes(&self) -> Vec<String> {
        match self.read() {
            Ok(_) => panic!("it loads"),
            Err(problems) => problems.0.iter().map(Problem::to_string).collect(),
        }
    }
}

const SMALLEST: &str = "\
data_dir: /data
metadata: {type: sqlite}
s3:
  bucket: photos
syncs:
  - name: docs
    local_path: ~/Documents
    s3_path: /documents
";

/// The smallest config with a line more in the section.
fn with(section: &str, line: &str) -> String {
    SMALLEST.replace(&format!("{section}:\n"), &format!("{section}:\n{line}\n"))
}

/// Says that the one mistake of a config has this text.
#[track_caller]
fn one_mistake(text: &str, message: &str) {
    assert_eq!(Case::of(text).mistakes(), [message]);
}

#[test]
fn the_smallest_config_loads_with_every_default() {
    let config = Case::of(SMALLEST).config();
    assert_eq!(config.data_dir, Path::new("/data"));
    assert_eq!(config.metadata.sqlite.path, Path::new("/data/gosync.db"));
    assert_eq!(config.agent.socket_path, Path::new("/data/gosync.sock"));
    assert_eq!(config.agent.metrics.listen.0.unwrap().to_string(), "127.0.0.1:9754");
    let mirror = &config.syncs[0];
    assert_eq!(mirror.local_path, Path::new("/home/ada/Documents"));
    assert_eq!(mirror.prefix, "documents/");
    assert_eq!(mirror.remote(), "s3://photos/documents");
    assert_eq!(mirror.direction, Direction::TwoWay);
    assert_eq!(mirror.sync, config.sync);
    let sync = &mirror.sync;
    assert_eq!(sync.interval, Duration::from_secs(60));
    assert_eq!(sync.scan_interval, Duration::from_secs(3600));
    assert_eq!(sync.chunk_size, Bytes(5_000_000));
    assert_eq!((sync.workers, sync.max_retries), (4, 3));
    assert_eq!((sync.max_deletes.percent, sync.max_deletes.files, sync.max_deletes.min), (Percent(50), 10_000, 20));
    assert_eq!(sync.trash.max_age, Duration::from_secs(604_800));
    assert_eq!(sync.trash.max_size, Bytes(1 << 30));
    assert_eq!(sync.scrub, Every::Off);
    assert_eq!(sync.hydration.timeout, Duration::from_secs(540));
    assert!(not_yet(&config).is_empty());
}
