//! The playground: an S3 store of its own and two mirrors of one prefix, in one folder.
//!
//! Keys and port are kept, so that a second start goes on where the first ended. Where the port is taken the next free
//! one is used; what is known of the store does not hang on its port.

use std::collections::{BTreeMap, hash_map::DefaultHasher};
use std::fs::OpenOptions;
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use gosync_api::config::{Loaded, RealDisk, SourceFile, Sources};
use gosync_api::socket_path::{DEV_DATA_DIR, DEV_DIR, Playground, SOCKET_FILE, SOCKET_PATH_BYTES_MAX};
use gosync_dev_s3::{DevS3, Error, Running};
use serde::{Deserialize, Serialize};

use crate::options::DevOptions;
use crate::screen::Screen;
use crate::start::StartError;

/// Tried first, then those after it.
const PORT: u16 = 9750;
const PORTS: u16 = 100;
/// As of an agent with a config.
const METRICS_PORT: u16 = 9754;
const BUCKET: &str = "playground";
const PREFIX: &str = "/files";
const MIRRORS: [&str; 2] = ["left", "right"];
const REGION: &str = "us-east-1";
/// Stands for the store's address in what the mirrors remember.
pub const STORE_IDENTITY: &str = "playground";

/// What stands in for the name of a config file.
pub const CONFIG: &str = "the playground";

/// What is kept of the store over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Keys {
    port: u16,
    access_key: String,
    secret_key: String,
}

/// The folders of a playground.
pub struct Folders {
    pub root: PathBuf,
}

impl Folders {
    pub fn of(options: &DevOptions) -> io::Result<Self> {
        let root = if options.dir.as_os_str().is_empty() { Path::new(DEV_DIR) } else { &options.dir };
        Ok(Self { root: std::path::absolute(root)? })
    }

    pub fn data_dir(&self) -> PathBuf {
        self.root.join(DEV_DATA_DIR)
    }

    fn keys(&self) -> PathBuf {
        self.data_dir().join("s3-keys.json")
    }
}

/// The store, and what to tell of it.
pub struct Store {
    pub running: Running,
    keys: Keys,
    /// The port of the last start was taken.
    moved_from: Option<u16>,
    metrics: SocketAddr,
}

impl Store {
    /// The data_dir is ours already.
    pub async fn start(folders: &Folders) -> Result<Self, StartError> {
        let kept = read_keys(&folders.keys());
        let wanted = kept.as_ref().map_or(PORT, |keys| keys.port);
        let keys = kept.unwrap_or_else(|| Keys { port: PORT, access_key: random(8), secret_key: random(20) });
        let ports = std::iter::once(wanted).chain((PORT..PORT + PORTS).filter(|port| *port != wanted));
        // Port 0 is any free one: the last resort.
        for port in ports.chain([0]) {
            let options = gosync_dev_s3::Options {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                access_key: keys.access_key.clone(),
                secret_key: keys.secret_key.clone(),
                buckets: vec![BUCKET.to_owned()],
                ..gosync_dev_s3::Options::new(folders.root.join("s3"))
            };
            match DevS3::start(options).await {
                Err(Error::Listen { .. }) if port != 0 => {}
                Err(error) => return Err(error.into()),
                Ok(running) => {
                    let port = running.addr().port();
                    let keys = Keys { port, ..keys };
                    let path = folders.keys();
                    write_keys(&path, &keys).map_err(|source| StartError::DataDir { path, source })?;
                    let moved_from = (port != wanted).then_some(wanted);
                    return Ok(Self { running, keys, moved_from, metrics: free_address(METRICS_PORT) });
                }
            }
        }
        Err(StartError::DevStore(Error::Options("no port is free".to_owned())))
    }
}

/// At the port or at one of those after it. Who takes it before we do leaves the agent without metrics, no more.
fn free_address(port: u16) -> SocketAddr {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let is_free = |port: &u16| TcpListener::bind(address(*port)).is_ok();
    address((port..port + PORTS).find(is_free).unwrap_or(0))
}

/// The config that a person would have written.
pub fn config(folders: &Folders, store: &Store) -> Result<Loaded, StartError> {
    let socket = socket_path(folders);
    note_socket(folders, &socket).map_err(|source| StartError::DataDir { path: folders.data_dir(), source })?;
    let syncs: Vec<serde_json::Value> = MIRRORS
        .iter()
        .map(|name| serde_json::json!({"name": name, "local_path": text(&folders.root.join(name)), "s3_path": PREFIX}))
        .collect();
    // YAML reads JSON.
    let config = serde_json::json!({
        "data_dir": text(&folders.data_dir()),
        "metadata": {"type": "sqlite"},
        "s3": {
            "endpoint": store.running.url(),
            "region": REGION,
            "bucket": BUCKET,
            "access_key": store.keys.access_key,
            "secret_key": store.keys.secret_key,
        },
        "syncs": syncs,
        "sync": {"interval": "1s"},
        "agent": {"socket_path": text(&socket), "metrics": {"listen": store.metrics.to_string()}},
    });
    let sources = Sources {
        files: vec![SourceFile { name: CONFIG.to_owned(), text: config.to_string() }],
        environment: BTreeMap::new(),
        home: None,
        current_dir: folders.root.clone(),
        data_dir: None,
        disk: &RealDisk,
    };
    gosync_api::config::read(&sources).map_err(StartError::Config)
}

/// `$` begins a variable in a config.
fn text(path: &Path) -> String {
    path.display().to_string().replace('$', "$$")
}

/// In the data_dir; where that is too long a path for a socket, under a short one.
fn socket_path(folders: &Folders) -> PathBuf {
    let path = folders.data_dir().join(SOCKET_FILE);
    if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return path;
    }
    let mut hasher = DefaultHasher::new();
    folders.root.hash(&mut hasher);
    let name = format!("gosync-{:016x}.sock", hasher.finish());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
    let short = runtime.unwrap_or_else(std::env::temp_dir).join(&name);
    if short.as_os_str().len() <= SOCKET_PATH_BYTES_MAX { short } else { Path::new("/tmp").join(name) }
}

/// Says where the socket is, when it is not where commands look for it.
fn note_socket(folders: &Folders, socket: &Path) -> io::Result<()> {
    let note = Playground::note_path(&folders.root);
    if socket.starts_with(folders.data_dir()) {
        return match std::fs::remove_file(&note) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    std::fs::write(note, socket.display().to_string())
}

fn read_keys(path: &Path) -> Option<Keys> {
    // Without them the store gets new ones: its content stays.
    std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok())
}

fn write_keys(path: &Path, keys: &Keys) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&serde_json::to_vec_pretty(keys)?)
}

/// Letters and digits, so that no shell has an opinion about them.
fn random(bytes: usize) -> String {
    (0..bytes).map(|_| format!("{:02x}", rand::random::<u8>())).collect()
}

/// What a person needs to begin.
pub fn welcome(screen: &Screen, folders: &Folders, store: &Store) {
    let here = std::env::current_dir().unwrap_or_default();
    let short = |path: &Path| path.strip_prefix(&here).unwrap_or(path).display().to_string();
    let [left, right] = MIRRORS.map(|name| short(&folders.root.join(name)));
    let (url, gosync) = (store.running.url(), program(&here));
    let Keys { access_key, secret_key, .. } = &store.keys;
    if let Some(port) = store.moved_from {
        screen.say(&format!("Port {port} is taken: the store is on {} this time.\n", store.keys.port));
    }
    if store.metrics.port() != METRICS_PORT {
        screen.say(&format!("Port {METRICS_PORT} is taken: metrics are on {} this time.\n", store.metrics));
    }
    let in_default_place = folders.root == here.join(DEV_DIR);
    let where_else = if in_default_place {
        String::new()
    } else {
        format!("  export GOSYNC_SOCKET={}\n", socket_path(folders).display())
    };
    screen.say(&format!(
        "GoSync playground: two folders and a bucket, kept in step.

  {left}
  {right}
  s3://{BUCKET}{PREFIX}  at {url}

Put a file into one of them; in another terminal:
{where_else}  {gosync} sync state
  {gosync} sync list

The bucket, for aws, rclone or mc:
  export AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key} AWS_REGION={REGION}
  aws --endpoint-url {url} s3 ls s3://{BUCKET}{PREFIX}/
  rclone lsl \":s3,provider=Other,env_auth,endpoint='{url}':{BUCKET}{PREFIX}\"
  mc alias set playground {url} $AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY && mc ls playground/{BUCKET}{PREFIX}/

Ctrl-C ends it; the next start goes on from there.
"
    ));
}

/// How to call this program from here.
fn program(here: &Path) -> String {
    let plain = "gosync".to_owned();
    let Ok(own) = std::env::current_exe() else { return plain };
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&paths).any(|folder| folder.join(&plain).is_file()) {
        return plain;
    }
    own.strip_prefix(here).unwrap_or(&own).display().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    fn folders(root: &Path) -> Folders {
        Folders { root: root.to_owned() }
    }

    #[test]
    fn a_long_path_gets_a_short_socket_and_a_note() {
        let temp = tempfile::tempdir().unwrap();
        let deep = temp.path().join("x".repeat(100));
        std::fs::create_dir_all(deep.join(DEV_DATA_DIR)).unwrap();
        let deep = folders(&deep);
        let socket = socket_path(&deep);
        assert!(socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX, "{}", socket.display());
        assert_eq!(socket, socket_path(&deep), "the same at each start");
        note_socket(&deep, &socket).unwrap();
        let note = Playground::note_path(&deep.root);
        assert_eq!(std::fs::read_to_string(&note).unwrap(), socket.display().to_string());
        note_socket(&deep, &deep.data_dir().join(SOCKET_FILE)).unwrap();
        assert!(!note.exists());
    }

    #[test]
    fn keys_are_kept_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("keys.json");
        let keys = Keys { port: 1, access_key: random(8), secret_key: random(20) };
        write_keys(&path, &keys).unwrap();
        assert_eq!(read_keys(&path), Some(keys));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_taken_port_of_metrics_moves_on() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let found = free_address(port.min(u16::MAX - PORTS));
        assert!(found.ip().is_loopback() && found.port() != port, "{found}");
    }

    #[tokio::test]
    async fn the_playgrounds_config_is_a_config_like_any_other() {
        let temp = tempfile::tempdir().unwrap();
        let folders = folders(&temp.path().join("a $b"));
        std::fs::create_dir_all(folders.data_dir()).unwrap();
        let keys = Keys { port: 0, access_key: "key".into(), secret_key: "secret".into() };
        write_keys(&folders.keys(), &keys).unwrap();
        let store = Store::start(&folders).await.unwrap();
        let loaded = config(&folders, &store).unwrap();
        assert_eq!(loaded.config.syncs.len(), 2);
        assert_eq!(loaded.config.syncs[0].local_path, folders.root.join("left"));
        assert_eq!(loaded.config.syncs[1].remote(), "s3://playground/files");
        assert!(gosync_api::config::not_yet(&loaded.config).is_empty());
        store.running.shutdown().await;
    }
}
