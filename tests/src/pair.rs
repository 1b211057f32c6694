//! The common case: a folder and a prefix of a bucket in a dev store, and the config of an agent that keeps them in step.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use gosync_dev_s3::Options;
use serde_json::Value;

use crate::agent::{Agent, config, with_mirror};
use crate::dev_store::DevStore;
use crate::process::Folder;
use crate::proxy::{Kind, Proxy, Seen};
use crate::stranger::Stranger;
use crate::wait;

/// The mirror's name.
pub const MIRROR: &str = "docs";
/// Where its keys begin.
pub const PREFIX: &str = "docs/";

pub struct Pair {
    pub store: DevStore,
    /// Through which the agent reaches the store, and nobody else.
    pub proxy: Proxy,
    /// Somebody else in the bucket.
    pub bucket: Stranger,
    pub home: Folder,
    pub root: PathBuf,
    /// Of one agent with the one mirror; `sync.interval` is a second.
    pub config: Value,
}

impl Pair {
    pub async fn new() -> Self {
        Self::with_store(|_| {}).await
    }

    pub async fn with_store(change: impl FnOnce(&mut Options)) -> Self {
        let store = DevStore::start_with(change).await;
        let bucket = store.bucket("bucket").await;
        let home = Folder::new("agent");
        let root = home.dir("docs");
        let proxy = Proxy::start(&store.address).await;
        let config = with_mirror(config(home.path(), &proxy.address, "bucket"), MIRROR, &root, "/docs");
        Self { store, proxy, bucket, home, root, config }
    }

    /// With so many files on both sides, and the agent that brought them there.
    pub async fn filled(files: usize) -> (Self, Agent, Tree) {
        let pair = Self::new().await;
        let (agent, expected) = pair.fill_and_start(files).await;
        (pair, agent, expected)
    }

    /// The same for a pair of one's own.
    pub async fn fill_and_start(&self, files: usize) -> (Agent, Tree) {
        self.fill(files, 3);
        let expected = self.local();
        let agent = self.start().await;
        self.both_hold(&expected).await;
        (agent, expected)
    }

    /// An agent whose mirror is in step.
    pub async fn start(&self) -> Agent {
        let agent = Agent::start(self.home.path(), &self.config).await;
        agent.in_step(MIRROR).await;
        agent
    }

    /// So many files in the folder, in `folders` subfolders, each with a content of its own.
    pub fn fill(&self, files: usize, folders: usize) {
        for number in 0..files {
            write(&self.root.join(format!("d{}/f{number:04}", number % folders)), format!("content {number}"));
        }
    }

    /// These files in the folder.
    pub fn write_all(&self, files: &Tree) {
        for (path, content) in files {
            write(&self.root.join(path), content);
        }
    }

    /// These files in the bucket, put there by somebody else.
    pub async fn put_all(&self, files: &Tree) {
        for (path, content) in files {
            self.bucket.put(&format!("{PREFIX}{path}"), content.clone()).await;
        }
    }

    /// These objects deleted in the bucket by somebody else.
    pub async fn delete_all(&self, paths: impl IntoIterator<Item = impl AsRef<str>>) {
        for path in paths {
            self.bucket.delete(&format!("{PREFIX}{}", path.as_ref())).await;
        }
    }

    /// What the folder holds, by path.
    pub fn local(&self) -> Tree {
        contents(&self.root)
    }

    /// What the bucket holds under the prefix, by path.
    pub async fn remote(&self) -> Tree {
        let mut remote = self.bucket.contents(PREFIX).await;
        remote.retain(|path, _| !path.starts_with(".gosync/"));
        remote
    }

    /// Objects of the mirror that were deleted through the proxy.
    pub fn deletes(&self) -> usize {
        self.requests(|kind| matches!(kind, Kind::Delete | Kind::DeleteMany)).len()
    }

    /// Requests for contents of the mirror, either way, and whatever else would change its objects.
    pub fn transfers(&self) -> Vec<String> {
        self.requests(|kind| kind.writes() || kind == Kind::Get).iter().map(ToString::to_string).collect()
    }

    /// Requests about objects; those of a mirror's probe, which tries the store's conditions, aside.
    pub fn requests(&self, counts: impl Fn(Kind) -> bool) -> Vec<Seen> {
        let mut seen = self.proxy.seen();
        seen.retain(|seen| counts(seen.kind) && !seen.key.contains("/.gosync/"));
        seen
    }

    /// Nothing was deleted in the bucket by anybody.
    pub async fn bucket_keeps(&self, expected: &Tree) {
        assert_eq!(self.deletes(), 0);
        let remote = self.remote().await;
        let lost: Vec<_> = expected.keys().filter(|path| !remote.contains_key(*path)).collect();
        assert!(lost.is_empty(), "gone from the bucket: {lost:?}");
    }

    /// Four remote checks that begin from now on: whoever wanted to conclude something has done so.
    pub async fn four_checks(&self) {
        let before = self.proxy.count(Kind::List);
        wait::until("four listings", async || {
            let seen = self.proxy.count(Kind::List) - before;
            wait::hold(seen >= 4, seen)
        })
        .await;
    }

    /// Waits until a file of the folder is in the bucket.
    pub async fn goes_up(&self, path: &str) {
        let key = format!("{PREFIX}{path}");
        wait::until(&format!("{path} goes up"), async || self.bucket.head(&key).await.ok_or("absent")).await;
    }

    /// Waits until both sides hold exactly this.
    pub async fn both_hold(&self, expected: &Tree) {
        wait::until("both sides hold what they should", async || {
            differs("local", &self.local(), expected)?;
            differs("remote", &self.remote().await, expected)
        })
        .await;
    }
}

fn differs(side: &str, found: &Tree, expected: &Tree) -> Result<(), String> {
    let missing: Vec<_> = expected.keys().filter(|path| !found.contains_key(*path)).take(5).collect();
    let more: Vec<_> = found.keys().filter(|path| !expected.contains_key(*path)).take(5).collect();
    let other = found.iter().filter(|(path, content)| expected.get(*path).is_some_and(|wanted| wanted != *content));
    let other: Vec<_> = other.map(|(path, _)| path).take(5).collect();
    wait::hold(
        missing.is_empty() && more.is_empty() && other.is_empty(),
        format!("{side} lacks {missing:?}, has {more:?} too, and other content in {other:?}"),
    )
}

/// Files by path.
pub type Tree = BTreeMap<String, Bytes>;

pub fn tree<const N: usize>(files: [(&str, &'static str); N]) -> Tree {
    files.into_iter().map(|(path, content)| (path.to_owned(), content.into())).collect()
}

/// Writes a file, with the folders above it.
pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// All regular files below a folder with their content; for small trees.
pub fn contents(root: &Path) -> Tree {
    let names = crate::tree::names(root).into_iter();
    // Gone while it is read: not there.
    names.filter_map(|name| fs::read(root.join(&name)).ok().map(|content| (name, content.into()))).collect()
}
