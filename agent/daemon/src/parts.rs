//! What all mirrors of an agent share.

use std::path::PathBuf;
use std::sync::Arc;

use gosync_telemetry::{LogLevel, Metrics};

use crate::caches::Caches;
use crate::databases::Databases;
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
    pub caches: Caches,
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
