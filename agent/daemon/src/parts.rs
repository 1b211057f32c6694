//! What all mirrors of an agent share.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gosync_engine::ports::StateError;
use gosync_engine::ports::state::StateErrorKind;
use gosync_metadata::{JournalMode, SqliteMetadata, SqliteState, StateOptions};
use gosync_telemetry::{LogLevel, Metrics};
use tokio::sync::Mutex;

use crate::neighbours::Neighbours;
use crate::ports::TokioClock;
use crate::screen::Screen;
use crate::stores::Stores;

pub struct Parts {
    pub version: String,
    pub device: String,
    pub data_dir: PathBuf,
    /// Stands for the endpoint in stored state where the endpoint itself may move (the playground's port).
    pub store_identity: Option<String>,
    pub stores: Stores,
    pub databases: Databases,
    pub metrics: Arc<Metrics>,
    pub neighbours: Arc<Neighbours>,
    pub clock: Arc<TokioClock>,
    pub screen: Option<Arc<Screen>>,
    /// Of the log, where it is this agent's to change.
    pub log_level: Option<LogLevel>,
}

impl Parts {
    /// A mirror's state, where it is kept in the data_dir.
    pub fn state_path(&self, mirror: &str) -> PathBuf {
        self.data_dir.join("mirrors").join(format!("{mirror}.db"))
    }

    /// Says that a mirror whose state is in its volume was opened here.
    pub fn volume_note_path(&self, mirror: &str) -> PathBuf {
        self.data_dir.join("mirrors").join(format!("{mirror}.volume"))
    }

    /// Its mirrors and its store are nobody's config.
    pub fn is_playground(&self) -> bool {
        self.store_identity.is_some()
    }
}

/// Metadata by file: mirrors that name the same file share it.
#[derive(Default)]
pub struct Databases(Mutex<HashMap<PathBuf, Arc<SqliteMetadata>>>);

impl Databases {
    /// Opened at the first call.
    pub async fn get(&self, path: &Path) -> Result<Arc<SqliteMetadata>, StateError> {
        let mut open = self.0.lock().await;
        if let Some(metadata) = open.get(path) {
            return Ok(Arc::clone(metadata));
        }
        let metadata = Arc::new(open_metadata(path.to_owned()).await?);
        open.insert(path.to_owned(), Arc::clone(&metadata));
        Ok(metadata)
    }

    pub async fn close(&self) {
        use gosync_engine::ports::MetadataStore as _;
        for (_, metadata) in self.0.lock().await.drain() {
            metadata.close().await;
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
