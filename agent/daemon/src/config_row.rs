//! The row of a mirror's configuration in the metadata, for people and tools that read the tables: no agent decides anything
//! by it.
//!
//! Looked at once a minute, and written where it says something else. What can't be written is written later.

use std::sync::Arc;
use std::time::Duration;

use gosync_api::config::MirrorConfig;
use gosync_api::words::Direction;
use gosync_engine::ports::MetadataStore;
use gosync_engine::ports::metadata::SyncConfigRow;
use gosync_engine::{Command, MirrorHandle, View};
use tokio::time::sleep;

use crate::ports::utc_ms;
use crate::tell::status;

const LOOK: Duration = Duration::from_mins(1);
/// Until the replica has its id.
const SOON: Duration = Duration::from_secs(1);

/// Until the mirror ends.
pub async fn keep(config: MirrorConfig, metadata: Arc<dyn MetadataStore>, handle: MirrorHandle) {
    let mut told: Option<SyncConfigRow> = None;
    while let Some(view) = handle.ask(Command::View).await {
        if view.replica.is_empty() {
            sleep(SOON).await;
            continue;
        }
        let row = row(&config, &view);
        let is_told = told.as_ref().is_some_and(|told| {
            SyncConfigRow { created_ms: row.created_ms, updated_ms: row.updated_ms, ..told.clone() } == row
        });
        if !is_told && write(&*metadata, &row).await {
            told = Some(row);
        }
        sleep(LOOK).await;
    }
}

async fn write(metadata: &dyn MetadataStore, row: &SyncConfigRow) -> bool {
    let Ok(known) = metadata.sync_config(&row.name, &row.client_id).await else { return false };
    let created_ms = known.map_or(row.created_ms, |known| known.created_ms);
    metadata.put_sync_config(&SyncConfigRow { created_ms, ..row.clone() }).await.is_ok()
}

fn row(config: &MirrorConfig, view: &View) -> SyncConfigRow {
    let now_ms = utc_ms();
    SyncConfigRow {
        name: config.name.clone(),
        client_id: view.replica.clone(),
        local_path: config.local_path.display().to_string(),
        s3_path: config.remote(),
        bidirectional: config.direction == Direction::TwoWay,
        ignore_patterns: config.ignore_patterns.clone(),
        status: status(view.paused, !view.halts.is_empty(), !view.errors.is_empty()).to_string(),
        last_sync_ms: view.last_sync_ms,
        file_count: view.files,
        created_ms: now_ms,
        updated_ms: now_ms,
    }
}
