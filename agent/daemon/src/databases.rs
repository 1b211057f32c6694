//! The databases of an agent: metadata in a file that is its alone, or in a Postgres that agents share, and the states of
//! its mirrors. Mirrors that name the same one have the same.
//!
//! A file is opened at the first call. A server is never waited for: whoever needs it is told that it is away. Where agents
//! have a cache beside a server, reads go through it, and hints about news come by it instead of by the server.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gosync_api::config::{Metadata, MetadataKind, Postgres};
use gosync_cache::{RedisCache, cached_telling};
use gosync_engine::Hint;
use gosync_engine::ports::state::StateErrorKind;
use gosync_engine::ports::{MetadataStore, StateError};
use gosync_fs::is_on_network;
use gosync_metadata::{JournalMode, PostgresMetadata, PostgresOptions, SqliteMetadata, SqliteState, StateOptions};
use tokio::sync::Mutex;
use tokio::sync::broadcast::error::RecvError;

use crate::neighbours::Neighbours;

#[derive(Default)]
pub struct Databases {
    files: Mutex<HashMap<PathBuf, Arc<SqliteMetadata>>>,
    servers: Mutex<Vec<Server>>,
}

struct Server {
    settings: Postgres,
    cache: Option<Arc<RedisCache>>,
    metadata: Arc<dyn MetadataStore>,
}

impl Server {
    fn is(&self, settings: &Postgres, cache: Option<&Arc<RedisCache>>) -> bool {
        let same_cache = match (&self.cache, cache) {
            (Some(ours), Some(asked)) => Arc::ptr_eq(ours, asked),
            (ours, asked) => ours.is_none() && asked.is_none(),
        };
        same_cache && self.settings == *settings
    }
}

impl Databases {
    /// What a mirror with these settings works with. News of a server are passed on to all mirrors.
    pub async fn of(
        &self,
        settings: &Metadata,
        cache: Option<Arc<RedisCache>>,
        neighbours: &Arc<Neighbours>,
    ) -> Result<Arc<dyn MetadataStore>, StateError> {
        Ok(match settings.kind {
            MetadataKind::Sqlite => self.file(&settings.sqlite.path).await?,
            MetadataKind::Postgres => self.server(&settings.postgres, cache, neighbours).await?,
        })
    }

    pub async fn file(&self, path: &Path) -> Result<Arc<SqliteMetadata>, StateError> {
        let mut open = self.files.lock().await;
        if let Some(metadata) = open.get(path) {
            return Ok(Arc::clone(metadata));
        }
        let metadata = Arc::new(open_metadata(path.to_owned()).await?);
        open.insert(path.to_owned(), Arc::clone(&metadata));
        Ok(metadata)
    }

    async fn server(
        &self,
        settings: &Postgres,
        cache: Option<Arc<RedisCache>>,
        neighbours: &Arc<Neighbours>,
    ) -> Result<Arc<dyn MetadataStore>, StateError> {
        let mut open = self.servers.lock().await;
        if let Some(known) = open.iter().find(|known| known.is(settings, cache.as_ref())) {
            return Ok(Arc::clone(&known.metadata));
        }
        // Of settings that nobody has any more.
        open.retain(|known| Arc::strong_count(&known.metadata) > 1);
        let server = Arc::new(PostgresMetadata::new(&options(settings, cache.is_none()))?);
        let metadata: Arc<dyn MetadataStore> = match &cache {
            Some(cache) => {
                let neighbours = Arc::clone(neighbours);
                let tell = move || neighbours.tell_all(&Hint::Feed);
                Arc::new(cached_telling(server, Arc::clone(cache) as _, tell))
            }
            None => {
                if settings.listen {
                    tokio::spawn(pass_on(server.listen(), Arc::clone(neighbours)));
                }
                server
            }
        };
        open.push(Server { settings: settings.clone(), cache, metadata: Arc::clone(&metadata) });
        Ok(metadata)
    }

    pub async fn close(&self) {
        for (_, metadata) in self.files.lock().await.drain() {
            metadata.close().await;
        }
        for server in self.servers.lock().await.drain(..) {
            server.metadata.close().await;
        }
    }
}

pub fn options(settings: &Postgres, announce: bool) -> PostgresOptions {
    PostgresOptions {
        host: settings.host.clone(),
        port: settings.port,
        user: settings.user.clone(),
        password: settings.password.expose().to_owned(),
        database: settings.database.clone(),
        sslmode: settings.sslmode.to_string(),
        sslrootcert: settings.sslrootcert.clone(),
        url: settings.url.expose().to_owned(),
        max_connections: settings.max_connections,
        announce,
    }
}

/// Until the metadata are closed.
async fn pass_on(mut news: tokio::sync::broadcast::Receiver<Option<String>>, neighbours: Arc<Neighbours>) {
    loop {
        match news.recv().await {
            // Whose feed it is, each mirror finds out by a poll.
            Ok(_) | Err(RecvError::Lagged(_)) => neighbours.tell_all(&Hint::Feed),
            Err(RecvError::Closed) => return,
        }
    }
}

/// On a network file system with a journal that needs no memory shared between hosts.
pub async fn open_state(path: PathBuf) -> Result<SqliteState, StateError> {
    let on_network = is_on_network(path.parent().unwrap_or(&path)).unwrap_or(false);
    let journal = if on_network { JournalMode::Delete } else { JournalMode::Wal };
    opened(move || async move { SqliteState::open(&path, StateOptions { journal }).await }).await
}

async fn open_metadata(path: PathBuf) -> Result<SqliteMetadata, StateError> {
    opened(move || async move { SqliteMetadata::open(&path, JournalMode::Wal).await }).await
}

/// One at a time: each waits, on a thread for blocking calls, for another such thread.
static OPENING: Mutex<()> = Mutex::const_new(());

/// Opens a database on a thread of its own: the future of the migrations can't be shown to move between threads.
async fn opened<T, F>(open: impl FnOnce() -> F + Send + 'static) -> Result<T, StateError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StateError>>,
{
    let runtime = tokio::runtime::Handle::current();
    let ended = |error: tokio::task::JoinError| StateError {
        kind: StateErrorKind::Killed,
        what: "opening a database".to_owned(),
        source: Some(Box::new(error)),
    };
    let _one = OPENING.lock().await;
    tokio::task::spawn_blocking(move || runtime.block_on(open())).await.map_err(ended)?
}
