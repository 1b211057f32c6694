//! The databases of an agent: metadata in a file that is its alone, or in a Postgres that agents share, and the states of
//! its mirrors. Mirrors that name the same one have the same.
//!
//! A file is opened at the first call. A server is never waited for: whoever needs it is told that it is away.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gosync_api::config::{Metadata, MetadataKind, Postgres};
use gosync_engine::Hint;
use gosync_engine::ports::state::StateErrorKind;
use gosync_engine::ports::{MetadataStore, StateError};
use gosync_metadata::{JournalMode, PostgresMetadata, PostgresOptions, SqliteMetadata, SqliteState, StateOptions};
use tokio::sync::Mutex;
use tokio::sync::broadcast::error::RecvError;

use crate::neighbours::Neighbours;

#[derive(Default)]
pub struct Databases {
    files: Mutex<HashMap<PathBuf, Arc<SqliteMetadata>>>,
    servers: Mutex<Vec<(Postgres, Arc<PostgresMetadata>)>>,
}

impl Databases {
    /// What a mirror with these settings works with. News of a server are passed on to all mirrors.
    pub async fn of(
        &self,
        settings: &Metadata,
        neighbours: &Arc<Neighbours>,
    ) -> Result<Arc<dyn MetadataStore>, StateError> {
        Ok(match settings.kind {
            MetadataKind::Sqlite => self.file(&settings.sqlite.path).await?,
            MetadataKind::Postgres => self.server(&settings.postgres, neighbours).await?,
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
        neighbours: &Arc<Neighbours>,
    ) -> Result<Arc<PostgresMetadata>, StateError> {
        let mut open = self.servers.lock().await;
        if let Some((_, metadata)) = open.iter().find(|(known, _)| known == settings) {
            return Ok(Arc::clone(metadata));
        }
        let metadata = Arc::new(PostgresMetadata::new(&options(settings))?);
        if settings.listen {
            tokio::spawn(pass_on(metadata.listen(), Arc::clone(neighbours)));
        }
        open.push((settings.clone(), Arc::clone(&metadata)));
        Ok(metadata)
    }

    pub async fn close(&self) {
        for (_, metadata) in self.files.lock().await.drain() {
            metadata.close().await;
        }
        for (_, metadata) in self.servers.lock().await.drain(..) {
            metadata.close().await;
        }
    }
}

fn options(settings: &Postgres) -> PostgresOptions {
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
        announce: true,
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

pub async fn open_state(path: PathBuf) -> Result<SqliteState, StateError> {
    opened(move || async move { SqliteState::open(&path, StateOptions::default()).await }).await
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
