//! One SQLite file: opened, brought to the newest schema, read by a few connections and written by one.
//!
//! The file is made when it is missing; one of a newer schema, or one that is damaged, is refused and left as it is.
//! Any number of processes may open the same new file at once: the migrations run in one transaction that holds the
//! write lock. Killed in the middle of that, the file is still empty.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gosync_engine::ports::state::{StateError, StateErrorKind};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);
/// How long opening waits for others who open the same file: SQLite's own waiting doesn't cover a change of journal.
const OPEN_BUSY: Duration = Duration::from_secs(30);
const OPEN_BUSY_PAUSE: Duration = Duration::from_millis(10);
/// Page cache of each connection, KiB (negative: SQLite's way to say KiB). There are three connections a file, each fills its
/// own, and what isn't there comes from the kernel's cache.
const CACHE_KIB: &str = "-512";
/// A write-ahead log that has grown past this is cut back at its next checkpoint, bytes.
const JOURNAL_BYTES_MAX: &str = "16777216";
const READERS_MAX: u32 = 2;
/// Rows on their way from SQLite's thread to ours: fewer of them cost a change of threads each time.
const ROWS_IN_FLIGHT_MAX: usize = 256;

/// How a file keeps its transactions whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JournalMode {
    /// Write-ahead log: fast, but its index is shared memory, which network file systems don't have.
    #[default]
    Wal,
    /// Rollback journal, deleted at each commit.
    Delete,
}

/// What survives a power loss. A killed process loses nothing either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Every answered write.
    EveryCommit,
    /// A whole state, perhaps without the last commits.
    Consistent,
}

#[derive(Clone)]
pub(crate) struct Database {
    path: PathBuf,
    options: SqliteConnectOptions,
    pub(crate) readers: SqlitePool,
}

impl Database {
    pub(crate) async fn open(
        path: &Path,
        migrations: &Migrator,
        journal: JournalMode,
        durability: Durability,
    ) -> Result<Self, StateError> {
        // An absolute path can't be taken for one of SQLite's `file:` URLs or `:memory:`.
        let path =
            std::path::absolute(path).map_err(|error| unavailable(format!("finding {}", path.display()), error))?;
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent)
                .await
                .map_err(|error| unavailable(format!("making the folder {}", parent.display()), error))?;
        }
        let options = connect_options(&path, journal, durability);

        let give_up = Instant::now() + OPEN_BUSY;
        loop {
            match migrate(&options, migrations, journal).await {
                Ok(()) => break,
                Err(error) if is_busy(&error) && Instant::now() < give_up => tokio::time::sleep(OPEN_BUSY_PAUSE).await,
                Err(error) => return Err(migration_failed(&path, migrations, error)),
            }
        }

        let readers = SqlitePoolOptions::new()
            .min_connections(0)
            .max_connections(READERS_MAX)
            .test_before_acquire(false)
            .connect_lazy_with(options.clone().pragma("query_only", "ON"));
        Ok(Self { path, options, readers })
    }

    /// The connection of the writer.
    pub(crate) async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        self.options.connect().await
    }

    /// What `error` means for whoever was `doing` something with this file.
    pub(crate) fn failed(&self, doing: &str, error: sqlx::Error) -> StateError {
        StateError {
            kind: kind_of(&error),
            what: format!("{doing} ({})", self.path.display()),
            source: Some(error.into()),
        }
    }

    pub(crate) fn closed(&self, doing: &str) -> StateError {
        let what = format!("{doing} ({} is closed)", self.path.display());
        StateError { kind: StateErrorKind::Unavailable, what, source: None }
    }
}

fn connect_options(path: &Path, journal: JournalMode, durability: Durability) -> SqliteConnectOptions {
    let synchronous = match (durability, journal) {
        // A rollback journal that comes back after a power loss would undo its commit: the folder is synced too.
        (Durability::EveryCommit, JournalMode::Delete) => SqliteSynchronous::Extra,
        (Durability::EveryCommit, JournalMode::Wal) => SqliteSynchronous::Full,
        (Durability::Consistent, JournalMode::Delete) => SqliteSynchronous::Full,
        (Durability::Consistent, JournalMode::Wal) => SqliteSynchronous::Normal,
    };
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .row_buffer_size(ROWS_IN_FLIGHT_MAX)
        .synchronous(synchronous)
        .pragma("cache_size", CACHE_KIB)
        .pragma("mmap_size", "0")
        .pragma("journal_size_limit", JOURNAL_BYTES_MAX)
        .disable_statement_logging()
}

async fn migrate(
    options: &SqliteConnectOptions,
    migrations: &Migrator,
    journal: JournalMode,
) -> Result<(), MigrateError> {
    let journal = match journal {
        JournalMode::Wal => SqliteJournalMode::Wal,
        JournalMode::Delete => SqliteJournalMode::Delete,
    };
    let mut connection = options.clone().create_if_missing(true).journal_mode(journal).connect().await?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    migrations.run(&mut *transaction).await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(())
}

fn migration_failed(path: &Path, migrations: &Migrator, error: MigrateError) -> StateError {
    let path = path.display();
    let newest = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
    let (kind, what) = match &error {
        MigrateError::VersionMissing(version) if *version > newest => (
            StateErrorKind::Newer,
            format!(
                "{path} was written by a newer GoSync: its schema is {version}, this agent knows {newest}; start the newer agent"
            ),
        ),
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => match kind_of(cause) {
            StateErrorKind::Corrupt => {
                (StateErrorKind::Corrupt, format!("{path} is damaged, or not a database of ours"))
            }
            kind => (kind, format!("opening {path}")),
        },
        _ => (StateErrorKind::Corrupt, format!("{path} is not the database that this agent expects there")),
    };
    StateError { kind, what, source: Some(error.into()) }
}

fn is_busy(error: &MigrateError) -> bool {
    match error {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
            matches!(primary_code(cause), Some(SQLITE_BUSY | SQLITE_LOCKED))
        }
        _ => false,
    }
}

const SQLITE_ERROR: i32 = 1;
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_NOTADB: i32 = 26;

/// SQLite's result code without its extension.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?.parse::<i32>().ok()?;
    Some(code & 0xff)
}

fn kind_of(error: &sqlx::Error) -> StateErrorKind {
    match error {
        // Every statement here is fixed and tested: one that doesn't fit the file means that the file isn't ours.
        sqlx::Error::Database(_) => match primary_code(error) {
            Some(SQLITE_ERROR | SQLITE_CORRUPT | SQLITE_NOTADB) => StateErrorKind::Corrupt,
            _ => StateErrorKind::Unavailable,
        },
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StateErrorKind::Corrupt,
        _ => StateErrorKind::Unavailable,
    }
}

fn unavailable(what: String, error: std::io::Error) -> StateError {
    StateError { kind: StateErrorKind::Unavailable, what, source: Some(error.into()) }
}
