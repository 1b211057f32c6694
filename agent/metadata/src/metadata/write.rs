//! The writes of the metadata, each done in a transaction that the writer opened.

use std::time::{SystemTime, UNIX_EPOCH};

use gosync_engine::ports::metadata::{FileChange, Recorded, SyncConfigRow, SyncStateRow};
use sqlx::sqlite::SqliteConnection;
use sqlx::{query, query_scalar};

use super::record::record;
use crate::text::{cursor_text, json, spell};
use crate::writer::Write;

pub(super) enum MetadataWrite {
    MakeStore { endpoint: String, bucket: String },
    RenewEpoch { store: i64, epoch: String },
    Record { store: i64, client: String, changes: Vec<FileChange> },
    Prune { store: i64, sequence: u64 },
    DropSilentClients { store: i64, silent_ms: u64 },
    PutPrefix { store: i64, prefix: String, sequence: u64 },
    PutSyncState(SyncStateRow),
    DropSyncState { client: String },
    Beat { row: SyncStateRow, from: Vec<String>, to: String },
    AnnounceDeletes { row: SyncStateRow, deletes: u64, announced_ms: i64 },
    PutSyncConfig(SyncConfigRow),
    DropSyncConfig { name: String, client: String },
    Lease { name: String, holder: String, milliseconds: u64 },
    Release { name: String, holder: String },
    DropOldLeases { older_ms: u64 },
    PutMirror { name: String, config: String },
    DropMirror { name: String },
    PauseMirror { name: String, paused: bool },
}

impl Write for MetadataWrite {
    type Answer = Answer;

    async fn run(group: &[Self], connection: &mut SqliteConnection) -> Result<Vec<Answer>, sqlx::Error> {
        let mut answers = Vec::with_capacity(group.len());
        for together in group.chunk_by(Self::is_recorded_with) {
            match together {
                [Self::Record { store, client, .. }, ..] => {
                    let changes = together
                        .iter()
                        .enumerate()
                        .flat_map(|(owner, write)| write.changes().iter().map(move |change| (owner, change)));
                    let (head, refused) = record(connection, *store, client, changes.collect(), now_ms()).await?;
                    let mut recorded = vec![Recorded { head, refused: Vec::new() }; together.len()];
                    for (owner, refused) in refused {
                        if let Some(recorded) = recorded.get_mut(owner) {
                            recorded.refused.push(refused);
                        }
                    }
                    answers.extend(recorded.into_iter().map(Answer::Recorded));
                }
                _ => {
                    for write in together {
                        answers.push(Answer::Count(write.run_alone(connection).await?));
                    }
                }
            }
        }
        Ok(answers)
    }

    fn doing(&self) -> &'static str {
        match self {
            Self::MakeStore { .. } => "making the store's row",
            Self::RenewEpoch { .. } => "renewing the store's epoch",
            Self::Record { .. } => "recording changes",
            Self::Prune { .. } | Self::DropSilentClients { .. } => "pruning the feed",
            Self::PutPrefix { .. } => "writing a prefix's row",
            Self::PutSyncState(_) | Self::DropSyncState { .. } | Self::Beat { .. } | Self::AnnounceDeletes { .. } => {
                "writing a replica's row"
            }
            Self::PutSyncConfig(_) | Self::DropSyncConfig { .. } => "writing a configuration",
            Self::Lease { .. } | Self::Release { .. } => "writing a lease",
            Self::DropOldLeases { .. } => "pruning the leases",
            Self::PutMirror { .. } | Self::DropMirror { .. } | Self::PauseMirror { .. } => "writing a mirror",
        }
    }
}

/// What a write came to.
pub(super) enum Answer {
    Recorded(Recorded),
    /// A fencing number or 0 (lease); otherwise how many rows were touched.
    Count(u64),
}

impl Answer {
    pub(super) fn recorded(self) -> Recorded {
        match self {
            Self::Recorded(recorded) => recorded,
            Self::Count(_) => Recorded::default(),
        }
    }

    pub(super) fn count(self) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Recorded(_) => 0,
        }
    }
}

impl MetadataWrite {
    /// Both may be one batch: the head of the feed after it is told to each.
    fn is_recorded_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Record { store, client, .. }, Self::Record { store: other_store, client: other_client, .. }) => {
                store == other_store && client == other_client
            }
            _ => false,
        }
    }

    fn changes(&self) -> &[FileChange] {
        match self {
            Self::Record { changes, .. } => changes,
            _ => &[],
        }
    }

    async fn run_alone(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let statement = match self {
            // Done together with others.
            Self::Record { .. } => return Ok(0),
            Self::Prune { store, sequence } => return prune(connection, *store, *sequence).await,
            Self::Lease { name, holder, milliseconds } => return lease(connection, name, holder, *milliseconds).await,
            Self::RenewEpoch { store, epoch } => return renew_epoch(connection, *store, epoch).await,
            Self::MakeStore { endpoint, bucket } => query(
                "INSERT INTO stores (endpoint, bucket, epoch) VALUES ($1, $2, lower(hex(randomblob(16)))) \
                 ON CONFLICT (endpoint, bucket) DO NOTHING",
            )
            .bind(endpoint)
            .bind(bucket),
            Self::PutPrefix { store, prefix, sequence } => query(
                "INSERT INTO prefixes (store_id, prefix, listed_seq, listed_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (store_id, prefix) DO UPDATE SET listed_seq = excluded.listed_seq, listed_at = excluded.listed_at",
            )
            .bind(store)
            .bind(prefix)
            .bind(sequence.cast_signed())
            .bind(now_ms()),
            Self::PutSyncState(row) => query(
                "INSERT INTO sync_states (client_id, store_id, prefix, last_sync_time, sync_cursor, epoch, \
                                          device_name, platform, agent_version, status, seen_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
                 ON CONFLICT (client_id, store_id, prefix) DO UPDATE SET \
                     last_sync_time = excluded.last_sync_time, sync_cursor = excluded.sync_cursor, \
                     epoch = excluded.epoch, device_name = excluded.device_name, platform = excluded.platform, \
                     agent_version = excluded.agent_version, status = excluded.status, seen_at = excluded.seen_at",
            )
            .bind(&row.client_id)
            .bind(row.store_id)
            .bind(spell(&row.prefix).into_owned())
            .bind(row.last_sync_ms)
            .bind(row.cursor.as_ref().map(cursor_text))
            .bind(&row.epoch)
            .bind(&row.device_name)
            .bind(&row.platform)
            .bind(&row.agent_version)
            .bind(&row.status)
            .bind(now_ms()),
            // That it beats says nothing of how far it reads: it may be forgotten as silent all the same.
            Self::Beat { row, from, to } => query(
                "INSERT INTO sync_states (client_id, store_id, prefix, last_sync_time, sync_cursor, epoch, \
                                          device_name, platform, agent_version, status, seen_at, beat) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
                 ON CONFLICT (client_id, store_id, prefix) DO UPDATE SET beat = excluded.beat \
                 WHERE beat = '' OR beat IN (SELECT value FROM json_each($13))",
            )
            .bind(&row.client_id)
            .bind(row.store_id)
            .bind(spell(&row.prefix).into_owned())
            .bind(row.last_sync_ms)
            .bind(row.cursor.as_ref().map(cursor_text))
            .bind(&row.epoch)
            .bind(&row.device_name)
            .bind(&row.platform)
            .bind(&row.agent_version)
            .bind(&row.status)
            .bind(now_ms())
            .bind(to)
            .bind(json(from)?),
            Self::AnnounceDeletes { row, deletes, announced_ms } => query(
                "INSERT INTO sync_states (client_id, store_id, prefix, last_sync_time, sync_cursor, epoch, \
                                          device_name, platform, agent_version, status, seen_at, deletes, deletes_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $12, $11, $12) \
                 ON CONFLICT (client_id, store_id, prefix) DO UPDATE SET \
                     deletes = excluded.deletes, deletes_at = excluded.deletes_at",
            )
            .bind(&row.client_id)
            .bind(row.store_id)
            .bind(spell(&row.prefix).into_owned())
            .bind(row.last_sync_ms)
            .bind(row.cursor.as_ref().map(cursor_text))
            .bind(&row.epoch)
            .bind(&row.device_name)
            .bind(&row.platform)
            .bind(&row.agent_version)
            .bind(&row.status)
            .bind(deletes.cast_signed())
            .bind(announced_ms),
            Self::DropSilentClients { store, silent_ms } => {
                query("DELETE FROM sync_states WHERE store_id = $1 AND seen_at < $2")
                    .bind(store)
                    .bind(now_ms().saturating_sub(i64::try_from(*silent_ms).unwrap_or(i64::MAX)))
            }
            Self::DropSyncState { client } => query("DELETE FROM sync_states WHERE client_id = $1").bind(client),
            Self::PutSyncConfig(row) => query(
                "INSERT OR REPLACE INTO sync_configs (name, client_id, local_path, s3_path, bidirectional, \
                        ignore_patterns, status, last_sync_time, file_count, created_at, updated_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            )
            .bind(&row.name)
            .bind(&row.client_id)
            .bind(&row.local_path)
            .bind(&row.s3_path)
            .bind(row.bidirectional)
            .bind(json(&row.ignore_patterns)?)
            .bind(&row.status)
            .bind(row.last_sync_ms)
            .bind(row.file_count.cast_signed())
            .bind(row.created_ms)
            .bind(row.updated_ms),
            Self::DropSyncConfig { name, client } => {
                query("DELETE FROM sync_configs WHERE name = $1 AND client_id = $2").bind(name).bind(client)
            }
            Self::Release { name, holder } => {
                query("UPDATE leases SET holder = '', expires_at = min(expires_at, $3) WHERE name = $1 AND holder = $2")
                    .bind(name)
                    .bind(holder)
                    .bind(now_ms())
            }
            Self::DropOldLeases { older_ms } => query("DELETE FROM leases WHERE expires_at < $1")
                .bind(now_ms().saturating_sub(i64::try_from(*older_ms).unwrap_or(i64::MAX))),
            Self::PutMirror { name, config } => query(
                "INSERT INTO mirrors (name, config) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET config = excluded.config",
            )
            .bind(name)
            .bind(config),
            Self::DropMirror { name } => query("DELETE FROM mirrors WHERE name = $1").bind(name),
            Self::PauseMirror { name, paused } => query(
                "INSERT INTO mirrors (name, paused) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET paused = excluded.paused",
            )
            .bind(name)
            .bind(paused),
        };
        Ok(statement.execute(connection).await?.rows_affected())
    }
}

async fn renew_epoch(connection: &mut SqliteConnection, store: i64, epoch: &str) -> Result<u64, sqlx::Error> {
    let renewed = query("UPDATE stores SET epoch = lower(hex(randomblob(16))) WHERE id = $1 AND epoch = $2")
        .bind(store)
        .bind(epoch)
        .execute(&mut *connection)
        .await?;
    if renewed.rows_affected() > 0 {
        query("DELETE FROM prefixes WHERE store_id = $1").bind(store).execute(connection).await?;
    }
    Ok(renewed.rows_affected())
}

/// Drops rows below `sequence`, but never the newest row: cursors that stand on it stay valid.
async fn prune(connection: &mut SqliteConnection, store: i64, sequence: u64) -> Result<u64, sqlx::Error> {
    let kept: Option<i64> = query_scalar(
        "UPDATE stores SET pruned_seq = max(pruned_seq, min($2, head_seq)) WHERE id = $1 RETURNING pruned_seq",
    )
    .bind(store)
    .bind(i64::try_from(sequence).unwrap_or(i64::MAX))
    .fetch_optional(&mut *connection)
    .await?;
    let dropped = query("DELETE FROM file_changes WHERE store_id = $1 AND seq < $2")
        .bind(store)
        .bind(kept.unwrap_or(0))
        .execute(connection)
        .await?;
    Ok(dropped.rows_affected())
}

/// The fencing number, or 0 while another holds the lease. A lease that ran out is a new one, whoever takes it.
async fn lease(
    connection: &mut SqliteConnection,
    name: &str,
    holder: &str,
    milliseconds: u64,
) -> Result<u64, sqlx::Error> {
    let now = now_ms();
    let fencing: Option<i64> = query_scalar(
        "INSERT INTO leases (name, holder, fencing, expires_at) VALUES ($1, $2, 1, $4) \
         ON CONFLICT (name) DO UPDATE SET \
             fencing = CASE WHEN holder = excluded.holder AND expires_at > $3 THEN fencing ELSE fencing + 1 END, \
             holder = excluded.holder, expires_at = excluded.expires_at \
         WHERE holder = excluded.holder OR expires_at <= $3 \
         RETURNING fencing",
    )
    .bind(name)
    .bind(holder)
    .bind(now)
    .bind(now.saturating_add(i64::try_from(milliseconds).unwrap_or(i64::MAX)))
    .fetch_optional(connection)
    .await?;
    Ok(fencing.map_or(0, i64::cast_unsigned))
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
