//! Several agents on one prefix of a bucket that share their metadata in a real Postgres. All reach the store through one
//! proxy, which counts what the fleet asks of it.

use std::path::PathBuf;
use std::sync::Arc;

use gosync_dev_s3::Options;
use serde_json::{Value, json};

use crate::agent::{Agent, config, with_mirror};
use crate::dev_store::DevStore;
use crate::pair::{MIRROR, PREFIX, Tree, contents, write};
use crate::postgres::{Database, PASSWORD, Postgres, USER};
use crate::process::Folder;
use crate::proxy::{Kind, Proxy};
use crate::stranger::Stranger;
use crate::wait;

pub struct Fleet {
    pub store: DevStore,
    pub proxy: Proxy,
    /// Somebody else in the bucket.
    pub bucket: Stranger,
    pub database: Database,
    folder: Folder,
    // Ends with the last test that uses it.
    _postgres: Option<Arc<Postgres>>,
}

/// One agent with its folder.
pub struct Member {
    pub root: PathBuf,
    pub agent: Agent,
}

impl Fleet {
    pub async fn new() -> Self {
        let postgres = Postgres::shared().await;
        let database = postgres.database().await;
        Self { _postgres: Some(postgres), ..Self::with(database, |_| {}).await }
    }

    /// On a database of the caller's server, which may be stopped, and a store with other options.
    pub async fn with(database: Database, change: impl FnOnce(&mut Options)) -> Self {
        let store = DevStore::start_with(change).await;
        let bucket = store.bucket("bucket").await;
        let proxy = Proxy::start(&store.address).await;
        Self { store, proxy, bucket, database, folder: Folder::new("fleet"), _postgres: None }
    }

    pub async fn join(&self, name: &str) -> Member {
        self.join_with(name, |_| {}).await
    }

    /// With other settings than the smallest ones; the folder may have been filled before.
    pub async fn join_with(&self, name: &str, change: impl FnOnce(&mut Value)) -> Member {
        let (home, root) = (self.folder.dir(name), self.root(name));
        let mut config = with_mirror(config(&home, &self.proxy.address, "bucket"), MIRROR, &root, "/docs");
        config["metadata"] = self.metadata();
        config["agent"]["device_name"] = json!(name);
        change(&mut config);
        Member { agent: Agent::start(&home, &config).await, root }
    }

    /// The section `metadata` of a config.
    pub fn metadata(&self) -> Value {
        let Database { name, port, .. } = &self.database;
        json!({"type": "postgres", "postgres": {
            "host": "127.0.0.1", "port": port, "user": USER, "password": PASSWORD, "database": name,
        }})
    }

    pub fn root(&self, name: &str) -> PathBuf {
        self.folder.dir(&format!("{name}/docs"))
    }

    /// Listings of the mirrors' whole prefix; those that prove a single key's absence aside.
    pub fn listings(&self) -> usize {
        let whole = |query: &str| query.split('&').any(|pair| pair == "prefix=docs%2F");
        self.proxy.seen().iter().filter(|seen| seen.kind == Kind::List && whole(&seen.query)).count()
    }

    /// What the bucket holds under the prefix, by path.
    pub async fn remote(&self) -> Tree {
        let mut remote = self.bucket.contents(PREFIX).await;
        remote.retain(|path, _| !path.starts_with(".gosync/"));
        remote
    }

    /// Waits until all folders and the bucket hold exactly this.
    pub async fn all_hold(&self, members: &[&Member], expected: &Tree) {
        wait::until_within(crate::replica::LONG, "all hold what they should", async || {
            let differs = |who: String, found: &Tree| {
                let named: Vec<_> = found
                    .iter()
                    .filter(|(path, content)| expected.get(*path) != Some(content))
                    .chain(expected.iter().filter(|(path, _)| !found.contains_key(*path)))
                    .map(|(path, _)| path.as_str())
                    .take(5)
                    .collect();
                wait::hold(named.is_empty(), format!("{who}: {named:?}"))
            };
            differs("bucket".to_owned(), &self.remote().await)?;
            for member in members {
                differs(member.root.display().to_string(), &contents(&member.root))?;
            }
            Ok::<(), String>(())
        })
        .await;
    }
}

impl Member {
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        write(&self.root.join(path), content);
    }

    pub fn delete(&self, path: &str) {
        std::fs::remove_file(self.root.join(path)).unwrap();
    }

    /// The mirror's state.
    pub fn state(&self) -> Value {
        self.agent.mirror(MIRROR)
    }

    /// Waits until the first run is over.
    pub async fn hydrated(&self) {
        self.agent.until(MIRROR, "hydrated", |mirror| mirror["hydrated"] == true).await;
    }

    /// What a flush receipt names: everything sent by then is told to the others.
    pub async fn flushed(&self) -> String {
        self.agent.in_step(MIRROR).await;
        let flush = self.agent.flush(MIRROR, "30s");
        flush.receipt["cursor"].as_str().unwrap().to_owned()
    }
}
