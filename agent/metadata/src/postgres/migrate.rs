//! Brings the tables to the newest schema, once, however many agents start together: under a lock that ends with the
//! transaction that does all of it. Killed in the middle, the tables are as they were. A newer schema is refused.
//!
//! Tables that are up to date are only looked at, without a lock and without the right to change them.

use gosync_engine::ports::state::{StateError, StateErrorKind};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _, query_scalar};

use super::connect::Connections;
use crate::migrations::POSTGRES;

/// The lock is of this transaction: the migrator's own would stay with a connection that PgBouncer lends to somebody else.
/// The number is `gosync` in ASCII. The migrator names its statements, and the names of a migration that failed must not
/// meet those of the next. Its notices are of no use.
const BEGIN: &str = "\
    BEGIN; SET LOCAL lock_timeout = '30s'; SET LOCAL idle_in_transaction_session_timeout = '5s'; \
    SET LOCAL client_min_messages = warning; DEALLOCATE ALL; SELECT pg_advisory_xact_lock(113723842426467)";

pub(super) async fn migrate(connections: &Connections) -> Result<(), StateError> {
    if connections.attempt("reading the schema", is_current(connections)).await? {
        return Ok(());
    }
    let mut connection =
        connections.connect().await.map_err(|error| connections.failed("connecting to Postgres", error))?;
    under_lock(&mut connection).await.map_err(|error| failed(connections, error))?;
    let _ = connection.close().await;
    Ok(())
}

async fn is_current(connections: &Connections) -> Result<bool, sqlx::Error> {
    let mut transaction = connections.begin_read_only().await?;
    let connection = &mut transaction.connection;
    let exists: bool = query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .persistent(false)
        .fetch_one(&mut *connection)
        .await?;
    let mut applied: Vec<Vec<u8>> = Vec::new();
    if exists {
        applied = query_scalar("SELECT checksum FROM _sqlx_migrations WHERE success ORDER BY version")
            .persistent(false)
            .fetch_all(connection)
            .await?;
    }
    transaction.commit().await?;
    Ok(applied.iter().map(Vec::as_slice).eq(POSTGRES.iter().map(|migration| &*migration.checksum)))
}

async fn under_lock(connection: &mut PgConnection) -> Result<(), MigrateError> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let unlocked = Migrator { locking: false, ..Migrator::with_migrations(POSTGRES.iter().cloned().collect()) };
    unlocked.run(&mut *transaction).await?;
    transaction.execute("DEALLOCATE ALL").await?;
    transaction.commit().await?;
    Ok(())
}

fn failed(connections: &Connections, error: MigrateError) -> StateError {
    let place = connections.place();
    let newest = POSTGRES.iter().map(|migration| migration.version).max().unwrap_or(0);
    match error {
        MigrateError::VersionMissing(version) if version > newest => StateError {
            kind: StateErrorKind::Newer,
            what: format!(
                "{place} was written by a newer GoSync: its schema is {version}, this agent knows {newest}; start the newer agent"
            ),
            source: Some(error.into()),
        },
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
            connections.failed("bringing the schema up to date", cause)
        }
        other => StateError {
            kind: StateErrorKind::Corrupt,
            what: format!("{place} is not the database that this agent expects there"),
            source: Some(other.into()),
        },
    }
}
