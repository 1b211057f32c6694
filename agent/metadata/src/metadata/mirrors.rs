//! Mirrors that were made by command line, and which mirrors are paused. This agent's own: never shared.

use gosync_engine::ports::state::StateError;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, query};

use super::SqliteMetadata;
use super::write::MetadataWrite;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorRow {
    pub name: String,
    /// JSON, as it was put; `None` for a mirror of the configuration file, which is here for its pause alone.
    pub config: Option<String>,
    pub paused: bool,
}

impl SqliteMetadata {
    /// In order of their names.
    pub async fn mirrors(&self) -> Result<Vec<MirrorRow>, StateError> {
        query("SELECT name, config, paused FROM mirrors ORDER BY name")
            .try_map(|row: SqliteRow| {
                Ok(MirrorRow { name: row.try_get(0)?, config: row.try_get(1)?, paused: row.try_get(2)? })
            })
            .fetch_all(&self.database.readers)
            .await
            .map_err(|error| self.database.failed("reading mirrors", error))
    }

    /// Makes a mirror or replaces its configuration; its pause stays as it is.
    pub async fn put_mirror(&self, name: &str, config: &str) -> Result<(), StateError> {
        self.writer.write(MetadataWrite::PutMirror { name: name.into(), config: config.into() }).await.map(drop)
    }

    /// Forgets a mirror and its pause; false when there was none.
    pub async fn drop_mirror(&self, name: &str) -> Result<bool, StateError> {
        Ok(self.writer.write(MetadataWrite::DropMirror { name: name.into() }).await?.count() > 0)
    }

    /// Of any mirror, those of the configuration file too.
    pub async fn set_mirror_paused(&self, name: &str, paused: bool) -> Result<(), StateError> {
        self.writer.write(MetadataWrite::PauseMirror { name: name.into(), paused }).await.map(drop)
    }
}
