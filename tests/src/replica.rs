//! One of several replicas of a prefix on a real server: a folder, the agent that keeps it in step, and the proxy that
//! counts what the agent asks of the store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::{Agent, config, with_mirror};
use crate::pair::{MIRROR, PREFIX};
use crate::process::Folder;
use crate::proxy::{Kind, Proxy};
use crate::rclone::Rclone;
use crate::server::Server;
use crate::stranger::Stranger;
use crate::tree::{self, Compare};
use crate::wait;

pub struct Replica {
    pub root: PathBuf,
    pub agent: Agent,
    /// Through which this agent reaches the store, and nobody else.
    pub proxy: Proxy,
}

impl Replica {
    /// Starts an agent for the folder `<name>/docs`, which may have been filled before.
    pub async fn start(folder: &Folder, name: &str, bucket: &Stranger) -> Self {
        Self::start_with(folder, name, bucket, |_| {}).await
    }

    /// With other settings than the smallest ones.
    pub async fn start_with(folder: &Folder, name: &str, bucket: &Stranger, change: impl FnOnce(&mut Value)) -> Self {
        let (home, root) = (folder.dir(name), Self::root(folder, name));
        let proxy = Proxy::start(&bucket.address).await;
        let mut config = with_mirror(config(&home, &proxy.address, &bucket.bucket), MIRROR, &root, "/docs");
        config["agent"]["device_name"] = json!(name);
        change(&mut config);
        let agent = Agent::start(&home, &config).await;
        Self { root, agent, proxy }
    }

    /// Where the folder of a replica of this name is.
    pub fn root(folder: &Folder, name: &str) -> PathBuf {
        folder.dir(&format!("{name}/docs"))
    }

    /// So many cycles from a remote check to the beginning of the next one, all begun after the call.
    pub async fn cycles(&self, count: usize) {
        let begun = || {
            let first_page = |query: &str| {
                !query.contains("continuation-token") && query.contains("prefix=docs%2F&")
                    || query.ends_with("prefix=docs%2F")
            };
            self.proxy.seen().iter().filter(|seen| seen.kind == Kind::List && first_page(&seen.query)).count()
        };
        let before = begun();
        // The last one ends before the next begins.
        wait::until_within(LONG, &format!("{count} cycles"), async || {
            let seen = begun() - before;
            wait::hold(seen > count, seen)
        })
        .await;
    }

    /// How the mirror stands, for a failure's message.
    fn standing(&self) -> String {
        let mirror = self.agent.mirror(MIRROR);
        let told = ["status", "phase", "halts", "errors", "pending", "paths"];
        told.map(|name| format!("{name}: {}", mirror[name])).join(", ")
    }

    /// Everything that lies in the folder, ours in `.gosync` included: where an edit may have been kept.
    pub fn kept(&self) -> Vec<Vec<u8>> {
        let own = [".gosync/trash", ".gosync/displaced"].map(|name| self.root.join(name));
        let contents = |root: &Path| {
            let names = tree::names(root).into_iter();
            // Gone while it is read: it is found at its new place by the next look.
            names.filter_map(|name| std::fs::read(root.join(name)).ok()).collect::<Vec<_>>()
        };
        own.iter().map(PathBuf::as_path).chain([self.root.as_path()]).flat_map(contents).collect()
    }
}

/// For thousands of files on two busy cores.
pub const LONG: Duration = Duration::from_secs(240);

/// Waits until both folders and the bucket hold the same files; somebody else's client judges the bucket.
pub async fn in_step(left: &Replica, right: &Replica, bucket: &Stranger, compare: Compare) {
    wait::until_within(LONG, "both replicas and the bucket are in step", async || {
        let differ = async || {
            tree::same(&left.root, &right.root, compare)?;
            let mut local = tree::names(&left.root);
            let mut remote = bucket.keys(PREFIX).await;
            remote.retain(|key| !key.starts_with("docs/.gosync/"));
            local.sort();
            wait::hold(
                local.iter().map(|name| format!("{PREFIX}{name}")).eq(remote.iter().cloned()),
                format!("{} local files, {} objects", local.len(), remote.len()),
            )
        };
        differ().await.map_err(|why| format!("{why}\nleft: {}\nright: {}", left.standing(), right.standing()))
    })
    .await;
    let root = left.root.to_str().unwrap();
    let remote = format!("s3:{}/{PREFIX}", bucket.bucket);
    Rclone::new(&bucket.address).run(&["check", root, &remote, "--exclude", "/.gosync/**"]);
}

/// Three cycles of both replicas in which nothing is sent, and nothing noted as changed.
pub async fn quiet(left: &Replica, right: &Replica) {
    let both = [left, right];
    // What was begun may end first: an edit's time stamp is looked at once more after two seconds.
    for replica in both {
        replica.cycles(3).await;
    }
    let cursors = || both.map(|replica| replica.agent.mirror(MIRROR)["cursor"].clone());
    let before = cursors();
    for replica in both {
        replica.proxy.forget();
    }
    for replica in both {
        replica.cycles(3).await;
        assert_eq!(replica.proxy.writes(), Vec::<String>::new());
    }
    assert_eq!(cursors(), before);
}

/// A bucket of one's own on the server that all tests share.
pub async fn bucket(name: &str) -> (std::sync::Arc<Server>, Stranger) {
    let server = Server::shared(crate::server::Which::Minio).await;
    let bucket = server.bucket(name).await;
    (server, bucket)
}
