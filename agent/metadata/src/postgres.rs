//! The metadata of stores in Postgres, shared by a fleet of agents.
//!
//! An answered write is as durable as the server makes it. A write whose answer was lost may be sent again: news that the
//! rows tell already are written once. Whatever can't be had at the moment (no connection, no lock, a server that stops)
//! is `Unavailable` and may be tried again; nothing is retried here.

mod connect;
mod look;
mod migrate;
mod news;
mod record;
mod rows;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use gosync_engine::ports::metadata::{
    ChangeRow, Changes, Cursor, FileChange, FileRow, FilesQuery, LEASES_KEPT_MS, MetadataStore, Pruned, Recorded,
    StoreRow, SyncConfigRow, SyncStateRow,
};
use gosync_engine::ports::state::{StateError, StateErrorKind};
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{Row as _, query};
use tokio::sync::{broadcast, mpsc};
use tokio::task::AbortHandle;

use crate::batch::in_order;
use crate::text::{TextRange, cursor_text, json, spell};
use connect::Connections;
pub use connect::PostgresOptions;
pub use look::{ServerSeen, look_at_server};
use rows::{select_changes, select_files};

/// Change rows that one transaction drops.
const PRUNE_ROWS_MAX: i64 = 10_000;
/// Hints that wait for a slow listener; it is told that it missed some.
const HINTS_MAX: usize = 64;

type Statement = Query<'static, Postgres, PgArguments>;

pub struct PostgresMetadata {
    connections: Arc<Connections>,
    /// Of stores that were asked for, by their number.
    epochs: Mutex<HashMap<i64, String>>,
    announce: Option<mpsc::UnboundedSender<String>>,
    hints: OnceLock<(broadcast::Sender<Option<String>>, AbortHandle)>,
}

impl PostgresMetadata {
    /// Connects and brings the tables up to date. `Unavailable` when the server can't be reached: to be tried again.
    /// Must be called inside a tokio runtime.
    pub async fn open(options: PostgresOptions) -> Result<Self, StateError> {
        if let Some(path) = &options.sslrootcert {
            // It is read for each connection; here, what is wrong with it is told with its name.
            let unavailable = |error: std::io::Error| StateError {
                kind: StateErrorKind::Unavailable,
                what: format!("reading the trusted certificates in {}", path.display()),
                source: Some(error.into()),
            };
            tokio::fs::read(path).await.map_err(unavailable)?;
        }
        let metadata = Self::new(&options)?;
        metadata.connections.ready().await?;
        Ok(metadata)
    }

    /// Without asking for the server: whatever is called first connects and brings the tables up to date. Fails only for
    /// settings that make no sense. Must be called inside a tokio runtime.
    pub fn new(options: &PostgresOptions) -> Result<Self, StateError> {
        let connections = Arc::new(Connections::new(options.connect_options()?, options.max_connections));
        let announce = options.announce.then(|| {
            let (announce, news) = mpsc::unbounded_channel();
            tokio::spawn(news::announce(Arc::clone(&connections), news));
            announce
        });
        Ok(Self { connections, epochs: Mutex::default(), announce, hints: OnceLock::new() })
    }

    /// Epochs of stores whose feed has news, told by agents that announce; `None`: some may have been missed. The first
    /// call opens a connection that stays until this is closed. Through PgBouncer in transaction mode nothing is heard.
    pub fn listen(&self) -> broadcast::Receiver<Option<String>> {
        let (hints, _) = self.hints.get_or_init(|| {
            let hints = broadcast::Sender::new(HINTS_MAX);
            let listening = tokio::spawn(news::listen(self.connections.options.clone(), hints.clone()));
            (hints, listening.abort_handle())
        });
        hints.subscribe()
    }

    fn stop_listening(&self) {
        if let Some((_, listening)) = self.hints.get() {
            listening.abort();
        }
    }

    async fn all<T>(
        &self,
        doing: &str,
        statement: Statement,
        decode: fn(&PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, StateError> {
        let work = async {
            let mut transaction = self.connections.begin_read_only().await?;
            let rows = statement.persistent(false).fetch_all(&mut transaction.connection).await?;
            transaction.commit().await?;
            rows.iter().map(decode).collect()
        };
        self.connections.run(doing, work).await
    }

    async fn one<T>(
        &self,
        doing: &str,
        statement: Statement,
        decode: fn(&PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<Option<T>, StateError> {
        Ok(self.all(doing, statement, decode).await?.pop())
    }

    /// Returns how many rows were touched.
    async fn write(&self, doing: &str, statement: Statement) -> Result<u64, StateError> {
        let work = async {
            let mut transaction = self.connections.begin().await?;
            let done = statement.persistent(false).execute(&mut transaction.connection).await?;
            transaction.commit().await?;
            Ok(done.rows_affected())
        };
        self.connections.run(doing, work).await
    }

    /// A statement that writes and answers with one number, or with nothing.
    async fn write_returning(&self, doing: &str, statement: Statement) -> Result<Option<i64>, StateError> {
        let work = async {
            let mut transaction = self.connections.begin().await?;
            let row = statement.persistent(false).fetch_optional(&mut transaction.connection).await?;
            transaction.commit().await?;
            row.map(|row| row.try_get(0)).transpose()
        };
        self.connections.run(doing, work).await
    }

    fn remember(&self, row: StoreRow) -> StoreRow {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner).insert(row.id, row.epoch.clone());
        row
    }

    fn announce(&self, store: i64) {
        let epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(announce), Some(epoch)) = (&self.announce, epochs.get(&store)) {
            let _ = announce.send(epoch.clone());
        }
    }
}

impl Drop for PostgresMetadata {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn milliseconds(value: u64) -> i64 {
    // Far enough from the end that a time can be added to it.
    i64::try_from(value).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

#[async_trait]
impl MetadataStore for PostgresMetadata {
    async fn store(&self, endpoint: &str, bucket: &str) -> Result<StoreRow, StateError> {
        if let Some(row) = self.known_store(endpoint, bucket).await? {
            return Ok(row);
        }
        let insert = query(
            "INSERT INTO stores (id, endpoint, bucket, epoch) \
             SELECT ('x' || left(random, 15))::bit(60)::bigint, $1, $2, random \
             FROM (SELECT replace(gen_random_uuid()::text, '-', '') AS random) AS made \
             ON CONFLICT (endpoint, bucket) DO NOTHING",
        );
        self.write("making the store's row", insert.bind(endpoint.to_owned()).bind(bucket.to_owned())).await?;
        let found = self.known_store(endpoint, bucket).await?;
        found.ok_or_else(|| self.connections.failed("making the store's row", sqlx::Error::RowNotFound))
    }

    async fn known_store(&self, endpoint: &str, bucket: &str) -> Result<Option<StoreRow>, StateError> {
        let select = query("SELECT id, epoch, head_seq, pruned_seq FROM stores WHERE endpoint = $1 AND bucket = $2")
            .bind(endpoint.to_owned())
            .bind(bucket.to_owned());
        Ok(self.one("reading the store's row", select, rows::store).await?.map(|row| self.remember(row)))
    }

    async fn renew_epoch(&self, store: i64, epoch: &str) -> Result<(), StateError> {
        let renew = query(
            "WITH renewed AS ( \
               UPDATE stores SET epoch = replace(gen_random_uuid()::text, '-', '') WHERE id = $1 AND epoch = $2 RETURNING id \
             ) DELETE FROM prefixes WHERE store_id IN (SELECT id FROM renewed)",
        );
        self.write("renewing the store's epoch", renew.bind(store).bind(epoch.to_owned())).await.map(drop)
    }

    async fn file_by_id(&self, id: i64) -> Result<Option<FileRow>, StateError> {
        self.one("reading a file's row", query(select_files!("FROM files f WHERE f.id = $1")).bind(id), rows::file)
            .await
    }

    async fn file_by_key(&self, store: i64, key: &str) -> Result<Option<FileRow>, StateError> {
        let select = query(select_files!("FROM files f WHERE f.store_id = $1 AND f.s3_key = $2"))
            .bind(store)
            .bind(spell(key).into_owned());
        self.one("reading a file's row", select, rows::file).await
    }

    async fn files_by_key(&self, store: i64, keys: &[String]) -> Result<Vec<Option<FileRow>>, StateError> {
        let select = query(select_files!("FROM files f WHERE f.store_id = $1 AND f.s3_key = ANY ($2)"))
            .bind(store)
            .bind(keys.iter().map(|key| spell(key).into_owned()).collect::<Vec<_>>());
        Ok(in_order(keys, self.all("reading files' rows", select, rows::file).await?))
    }

    async fn files(&self, wanted: FilesQuery) -> Result<Vec<FileRow>, StateError> {
        let range = TextRange::new(&spell(&wanted.prefix), wanted.after.as_deref().map(spell).as_deref());
        let select = query(select_files!(
            "FROM files f WHERE f.store_id = $1 AND f.s3_key >= $2 AND ($3::text IS NULL OR f.s3_key < $3) \
               AND (NOT f.is_deleted OR $4) ORDER BY f.s3_key LIMIT $5"
        ));
        let select =
            select.bind(wanted.store).bind(range.from).bind(range.until).bind(wanted.deleted).bind(limit(wanted.limit));
        self.all("listing files", select, rows::file).await
    }

    async fn totals(&self, store: i64, prefix: &str) -> Result<(u64, u64), StateError> {
        let range = TextRange::new(&spell(prefix), None);
        let select = query(
            "SELECT count(*), coalesce(sum(size), 0)::bigint FROM files \
             WHERE store_id = $1 AND s3_key >= $2 AND ($3::text IS NULL OR s3_key < $3) \
               AND NOT is_deleted AND NOT is_directory",
        )
        .bind(store)
        .bind(range.from)
        .bind(range.until);
        let totals =
            self.one("counting files", select, |row| Ok((rows::unsigned(row, 0)?, rows::unsigned(row, 1)?))).await?;
        Ok(totals.unwrap_or_default())
    }

    async fn record(&self, store: i64, client: &str, changes: Vec<FileChange>) -> Result<Recorded, StateError> {
        let work = record::record(&self.connections, store, client, &changes);
        let (recorded, news) = self.connections.run("recording changes", work).await?;
        if news {
            self.announce(store);
        }
        Ok(recorded)
    }

    async fn changes_since(&self, store: i64, cursor: Option<&Cursor>, rows_max: usize) -> Result<Changes, StateError> {
        // One statement sees one moment: the row that the cursor stands on, and what comes after it.
        let select = query(select_changes!(
            ", at.stands, at.epoch FROM ( \
               SELECT id, epoch, CASE WHEN $3::text IS NULL THEN pruned_seq <= 1 \
                          ELSE $2 >= pruned_seq AND EXISTS ( \
                              SELECT FROM file_changes WHERE store_id = $1 AND seq = $2 AND row_id::text = $3 \
                          ) END AS stands \
               FROM stores WHERE id = $1 \
             ) AS at LEFT JOIN LATERAL ( \
               SELECT * FROM file_changes WHERE store_id = at.id AND seq > $2 ORDER BY seq LIMIT $4 \
             ) AS c ON at.stands ORDER BY c.seq"
        ))
        .bind(store)
        .bind(cursor.map_or(0, |cursor| i64::try_from(cursor.sequence).unwrap_or(i64::MAX)))
        .bind(cursor.map(|cursor| cursor.row_id.clone()))
        .bind(limit(rows_max));
        let found = self
            .all("reading the feed", select, |row| {
                let epoch = row.try_get::<bool, _>(11)?.then(|| row.try_get::<String, _>(12)).transpose()?;
                let change = row.try_get::<Option<i64>, _>(0)?.map(|_| rows::change(row)).transpose()?;
                Ok((epoch, change))
            })
            .await?;
        let Some((Some(epoch), _)) = found.first().cloned() else {
            return Ok(Changes::CursorLost);
        };
        let rows: Vec<_> = found.into_iter().filter_map(|(_, change)| change).collect();
        let cursor = match rows.last() {
            Some(last) => Some(Cursor { sequence: last.seq, row_id: last.row_id.clone() }),
            None => cursor.cloned(),
        };
        Ok(Changes::Next { rows, cursor, epoch })
    }

    async fn change(&self, store: i64, sequence: u64) -> Result<Option<ChangeRow>, StateError> {
        let select = query(select_changes!("FROM file_changes c WHERE c.store_id = $1 AND c.seq = $2"))
            .bind(store)
            .bind(i64::try_from(sequence).unwrap_or(i64::MAX));
        self.one("reading a change's row", select, rows::change).await
    }

    async fn prune(&self, store: i64, sequence: u64) -> Result<u64, StateError> {
        let doing = "pruning the feed";
        // Told first, and in a transaction of its own: writers wait for this row. Cursors below are lost from here on.
        // Never the newest row: cursors that stand on it stay valid.
        let update = query(
            "UPDATE stores SET pruned_seq = greatest(pruned_seq, least($2, head_seq)) WHERE id = $1 RETURNING pruned_seq",
        );
        let update = update.bind(store).bind(i64::try_from(sequence).unwrap_or(i64::MAX));
        let kept = self.write_returning(doing, update).await?.unwrap_or(0);
        let mut dropped = 0;
        loop {
            let delete = query(
                "DELETE FROM file_changes WHERE store_id = $1 AND seq < $2 AND seq < $3 + \
                     (SELECT min(seq) FROM file_changes WHERE store_id = $1)",
            );
            match self.write(doing, delete.bind(store).bind(kept).bind(PRUNE_ROWS_MAX)).await? {
                0 => return Ok(dropped),
                rows => dropped += rows,
            }
        }
    }

    async fn prune_below_cursors(&self, store: i64, silent_ms: u64) -> Result<Pruned, StateError> {
        let delete = query(
            "DELETE FROM sync_states \
             WHERE store_id = $1 AND seen_at < (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $2",
        );
        let clients = self.write("pruning the feed", delete.bind(store).bind(milliseconds(silent_ms))).await?;
        let delete =
            query("DELETE FROM leases WHERE expires_at < (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $1");
        self.write("pruning the leases", delete.bind(milliseconds(LEASES_KEPT_MS))).await?;
        let select = query(
            "SELECT min(split_part(sync_cursor, ':', 1)::bigint) FROM sync_states \
             JOIN stores ON stores.id = store_id AND stores.epoch = sync_states.epoch WHERE store_id = $1",
        );
        let read_by_all =
            self.one("reading cursors", select.bind(store), |row| row.try_get::<Option<i64>, _>(0)).await?;
        let changes = match read_by_all.flatten() {
            Some(sequence) => self.prune(store, sequence.cast_unsigned()).await?,
            None => 0,
        };
        Ok(Pruned { changes, clients })
    }

    async fn prefix_listed(&self, store: i64, prefix: &str) -> Result<Option<u64>, StateError> {
        let select = query("SELECT listed_seq FROM prefixes WHERE store_id = $1 AND prefix = $2")
            .bind(store)
            .bind(spell(prefix).into_owned());
        self.one("reading a prefix's row", select, |row| rows::unsigned(row, 0)).await
    }

    async fn set_prefix_listed(&self, store: i64, prefix: &str, sequence: u64) -> Result<(), StateError> {
        let upsert = query(
            "INSERT INTO prefixes (store_id, prefix, listed_seq, listed_at) \
             VALUES ($1, $2, $3, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) \
             ON CONFLICT (store_id, prefix) DO UPDATE SET listed_seq = excluded.listed_seq, listed_at = excluded.listed_at",
        );
        let upsert = upsert.bind(store).bind(spell(prefix).into_owned()).bind(sequence.cast_signed());
        self.write("writing a prefix's row", upsert).await.map(drop)
    }

    async fn sync_state(&self, client: &str, store: i64, prefix: &str) -> Result<Option<SyncStateRow>, StateError> {
        let select = query(
            "SELECT client_id, store_id, prefix, last_sync_time, sync_cursor, epoch, device_name, platform, \
                    agent_version, status \
             FROM sync_states WHERE client_id = $1 AND store_id = $2 AND prefix = $3",
        );
        let select = select.bind(client.to_owned()).bind(store).bind(spell(prefix).into_owned());
        self.one("reading a replica's row", select, rows::sync_state).await
    }

    async fn put_sync_state(&self, row: &SyncStateRow) -> Result<(), StateError> {
        let upsert = query(
            "INSERT INTO sync_states (client_id, store_id, prefix, last_sync_time, sync_cursor, epoch, device_name, \
                                      platform, agent_version, status, seen_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) \
             ON CONFLICT (client_id, store_id, prefix) DO UPDATE SET \
                 last_sync_time = excluded.last_sync_time, sync_cursor = excluded.sync_cursor, epoch = excluded.epoch, \
                 device_name = excluded.device_name, platform = excluded.platform, \
                 agent_version = excluded.agent_version, status = excluded.status, seen_at = excluded.seen_at",
        );
        let row = row.clone();
        let upsert = upsert
            .bind(row.client_id)
            .bind(row.store_id)
            .bind(spell(&row.prefix).into_owned())
            .bind(row.last_sync_ms)
            .bind(row.cursor.as_ref().map(cursor_text))
            .bind(row.epoch)
            .bind(row.device_name)
            .bind(row.platform)
            .bind(row.agent_version)
            .bind(row.status);
        self.write("writing a replica's row", upsert).await.map(drop)
    }

    async fn drop_sync_state(&self, client: &str) -> Result<(), StateError> {
        let delete = query("DELETE FROM sync_states WHERE client_id = $1").bind(client.to_owned());
        self.write("writing a replica's row", delete).await.map(drop)
    }

    async fn beat(&self, row: &SyncStateRow, from: &[String], to: &str) -> Result<String, StateError> {
        // That it beats says nothing of how far it reads: it may be forgotten as silent all the same.
        let upsert = query(
            "INSERT INTO sync_states AS known (client_id, store_id, prefix, last_sync_time, sync_cursor, epoch, \
                                               device_name, platform, agent_version, status, seen_at, beat) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, \
                     (extract(epoch FROM clock_timestamp()) * 1000)::bigint, $11) \
             ON CONFLICT (client_id, store_id, prefix) DO UPDATE SET beat = excluded.beat \
             WHERE known.beat = '' OR known.beat = ANY ($12)",
        );
        let SyncStateRow { client_id, store_id, .. } = row.clone();
        let prefix = spell(&row.prefix).into_owned();
        let upsert = upsert
            .bind(client_id.clone())
            .bind(store_id)
            .bind(prefix.clone())
            .bind(row.last_sync_ms)
            .bind(row.cursor.as_ref().map(cursor_text))
            .bind(row.epoch.clone())
            .bind(row.device_name.clone())
            .bind(row.platform.clone())
            .bind(row.agent_version.clone())
            .bind(row.status.clone())
            .bind(to.to_owned())
            .bind(from.to_vec());
        if self.write("writing a replica's row", upsert).await? > 0 {
            return Ok(to.to_owned());
        }
        let doing = "reading a replica's row";
        let select = query("SELECT beat FROM sync_states WHERE client_id = $1 AND store_id = $2 AND prefix = $3");
        let select = select.bind(client_id).bind(store_id).bind(prefix);
        let stands = self.one(doing, select, |row| row.try_get::<String, _>(0)).await?;
        stands.ok_or_else(|| self.connections.failed(doing, sqlx::Error::RowNotFound))
    }

    async fn announce_deletes(
        &self,
        row: &SyncStateRow,
        deletes: u64,
        within_ms: u64,
    ) -> Result<BTreeMap<String, u64>, StateError> {
        let upsert = query(
            "INSERT INTO sync_states (client_id, store_id, prefix, last_sync_time, sync_cursor, epoch, device_name, \
                                      platform, agent_version, status, seen_at, deletes, deletes_at) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now_ms, $11, now_ms \
             FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms) AS clock \
             ON CONFLICT (client_id, store_id, prefix) DO UPDATE SET \
                 deletes = excluded.deletes, deletes_at = excluded.deletes_at",
        );
        let SyncStateRow { client_id, store_id, .. } = row.clone();
        let prefix = spell(&row.prefix).into_owned();
        let upsert = upsert
            .bind(client_id.clone())
            .bind(store_id)
            .bind(prefix.clone())
            .bind(row.last_sync_ms)
            .bind(row.cursor.as_ref().map(cursor_text))
            .bind(row.epoch.clone())
            .bind(row.device_name.clone())
            .bind(row.platform.clone())
            .bind(row.agent_version.clone())
            .bind(row.status.clone())
            .bind(deletes.cast_signed());
        self.write("writing a replica's row", upsert).await?;
        // After that is committed, in a statement of its own: whoever reads later sees both.
        let select = query(
            "SELECT client_id, deletes FROM sync_states \
             WHERE store_id = $1 AND prefix = $2 AND client_id <> $3 AND deletes > 0 \
               AND deletes_at > (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $4",
        );
        let select = select.bind(store_id).bind(prefix).bind(client_id).bind(milliseconds(within_ms));
        let told = self
            .all("reading replicas' rows", select, |row| Ok((row.try_get::<String, _>(0)?, rows::unsigned(row, 1)?)))
            .await?;
        Ok(told.into_iter().collect())
    }

    async fn sync_configs(&self) -> Result<Vec<SyncConfigRow>, StateError> {
        let select = query(
            "SELECT name, client_id, local_path, s3_path, bidirectional, ignore_patterns, status, last_sync_time, \
                    file_count, created_at, updated_at \
             FROM sync_configs ORDER BY name, client_id",
        );
        self.all("reading configurations", select, rows::sync_config).await
    }

    async fn sync_config(&self, name: &str, client: &str) -> Result<Option<SyncConfigRow>, StateError> {
        let select = query(
            "SELECT name, client_id, local_path, s3_path, bidirectional, ignore_patterns, status, last_sync_time, \
                    file_count, created_at, updated_at \
             FROM sync_configs WHERE name = $1 AND client_id = $2",
        );
        self.one("reading a configuration", select.bind(name.to_owned()).bind(client.to_owned()), rows::sync_config)
            .await
    }

    async fn put_sync_config(&self, row: &SyncConfigRow) -> Result<(), StateError> {
        let doing = "writing a configuration";
        let upsert = query(
            "INSERT INTO sync_configs (name, client_id, local_path, s3_path, bidirectional, ignore_patterns, status, \
                                       last_sync_time, file_count, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (name, client_id) DO UPDATE SET \
                 local_path = excluded.local_path, s3_path = excluded.s3_path, bidirectional = excluded.bidirectional, \
                 ignore_patterns = excluded.ignore_patterns, status = excluded.status, \
                 last_sync_time = excluded.last_sync_time, file_count = excluded.file_count, \
                 created_at = excluded.created_at, updated_at = excluded.updated_at",
        );
        let patterns = json(&row.ignore_patterns).map_err(|error| self.connections.failed(doing, error))?;
        let row = row.clone();
        let upsert = upsert
            .bind(row.name)
            .bind(row.client_id)
            .bind(row.local_path)
            .bind(row.s3_path)
            .bind(row.bidirectional)
            .bind(patterns)
            .bind(row.status)
            .bind(row.last_sync_ms)
            .bind(row.file_count.cast_signed())
            .bind(row.created_ms)
            .bind(row.updated_ms);
        self.write(doing, upsert).await.map(drop)
    }

    async fn drop_sync_config(&self, name: &str, client: &str) -> Result<(), StateError> {
        let delete = query("DELETE FROM sync_configs WHERE name = $1 AND client_id = $2");
        self.write("writing a configuration", delete.bind(name.to_owned()).bind(client.to_owned())).await.map(drop)
    }

    async fn lease(&self, name: &str, holder: &str, milliseconds: u64) -> Result<Option<u64>, StateError> {
        if holder.is_empty() {
            let what = format!("taking the lease {name}: its holder needs a name");
            return Err(StateError { kind: StateErrorKind::Unavailable, what, source: None });
        }
        // By the server's clock alone. A lease that ran out is a new one, whoever takes it.
        let upsert = query(
            "INSERT INTO leases AS held (name, holder, fencing, expires_at) \
             VALUES ($1, $2, 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $3) \
             ON CONFLICT (name) DO UPDATE SET \
                 fencing = CASE WHEN held.holder = excluded.holder AND held.expires_at > excluded.expires_at - $3 \
                                THEN held.fencing ELSE held.fencing + 1 END, \
                 holder = excluded.holder, expires_at = excluded.expires_at \
             WHERE held.holder = excluded.holder OR held.expires_at <= excluded.expires_at - $3 \
             RETURNING fencing",
        );
        let upsert = upsert.bind(name.to_owned()).bind(holder.to_owned()).bind(self::milliseconds(milliseconds));
        Ok(self.write_returning("writing a lease", upsert).await?.map(i64::cast_unsigned))
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), StateError> {
        let update = query(
            "UPDATE leases SET holder = '', expires_at = least(expires_at, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) \
             WHERE name = $1 AND holder = $2",
        );
        self.write("writing a lease", update.bind(name.to_owned()).bind(holder.to_owned())).await.map(drop)
    }

    async fn close(&self) {
        self.stop_listening();
        self.connections.close();
    }
}
