//! A look at a server that changes nothing there: no migration, no row.

use std::time::Instant;

use gosync_engine::ports::state::{StateError, StateErrorKind};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _, query};
use tokio::time::timeout;

use super::connect::{CONNECT, PostgresOptions, place};

/// What agents would find there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSeen {
    /// `user@host:port/database`
    pub place: String,
    /// Such as `15.8`.
    pub version: String,
    pub is_encrypted: bool,
    /// A standby, or a user or database that may only read.
    pub is_read_only: bool,
    pub has_tables: bool,
    /// The tables, or where there are none, that they may be made.
    pub may_write: bool,
    /// Of one answer.
    pub milliseconds: u64,
}

/// Connects, asks, and closes. An error says what could not be done, where, and why.
pub async fn look_at_server(options: &PostgresOptions) -> Result<ServerSeen, StateError> {
    let connect = options.connect_options()?;
    let place = place(&connect);
    let failed = |source: Option<sqlx::Error>| StateError {
        kind: StateErrorKind::Unavailable,
        what: format!("asking Postgres at {place}"),
        source: source.map(Into::into),
    };
    let asked = async {
        let mut connection = PgConnection::connect_with(&connect).await?;
        let began = Instant::now();
        let row = query(
            "SELECT current_setting('server_version'), \
                    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false), \
                    pg_is_in_recovery() OR current_setting('transaction_read_only')::bool, \
                    to_regclass('stores') IS NOT NULL, \
                    CASE WHEN to_regclass('stores') IS NULL \
                         THEN coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) \
                         ELSE coalesce(has_table_privilege(to_regclass('stores'), 'UPDATE') \
                                       AND has_table_privilege(to_regclass('files'), 'INSERT') \
                                       AND has_table_privilege(to_regclass('files'), 'UPDATE') \
                                       AND has_table_privilege(to_regclass('file_changes'), 'INSERT'), false) END",
        )
        .persistent(false)
        .fetch_one(&mut connection)
        .await?;
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let seen = ServerSeen {
            place: place.clone(),
            version: row.try_get(0)?,
            is_encrypted: row.try_get(1)?,
            is_read_only: row.try_get(2)?,
            has_tables: row.try_get(3)?,
            may_write: row.try_get(4)?,
            milliseconds,
        };
        let _ = connection.close().await;
        Ok(seen)
    };
    match timeout(2 * CONNECT, asked).await {
        Ok(seen) => seen.map_err(|error| failed(Some(error))),
        Err(_) => Err(StateError { what: format!("asking Postgres at {place}: no answer in time"), ..failed(None) }),
    }
}
