//! Connections to Postgres, and transactions on them.
//!
//! Everything is done inside a transaction and without named statements, so that PgBouncer in transaction mode may stand in
//! between: outside of one, each half of a statement could meet another connection. A transaction that isn't ended (an
//! error, a dropped future) closes its connection, which undoes it. An agent that freezes in one is thrown out by the
//! server after [`PATIENCE`], so that others wait no longer for its locks.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gosync_engine::ports::state::{StateError, StateErrorKind};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::migrate::migrate;

pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// The longest that anything takes; a server or network that hangs is an error after that.
const OPERATION: Duration = Duration::from_secs(30);
/// A connection that was idle for this long is closed.
const IDLE: Duration = Duration::from_secs(10);

/// How long a statement waits for a lock, and how long the server waits for the next statement of a transaction.
macro_rules! patience {
    ($begin:literal) => {
        concat!($begin, "; SET LOCAL lock_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = '5s'")
    };
}
const BEGIN: &str = patience!("BEGIN");
const BEGIN_READ_ONLY: &str = patience!("BEGIN READ ONLY");

const INSUFFICIENT_PRIVILEGE: &str = "42501";
const UNDEFINED_TABLE: &str = "42P01";

/// What a URL may say after its `?`. The library logs what it doesn't know, values too: a misspelled password, say.
const URL_KEYS: [&str; 14] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-mode",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "ssl-root-cert",
    "user",
];

#[derive(Clone)]
pub struct PostgresOptions {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
    pub database: String,
    /// As libpq calls it: `disable`, `allow`, `prefer`, `require`, `verify-ca`, `verify-full`.
    pub sslmode: String,
    /// File with the certificates that are trusted beside the system's.
    pub sslrootcert: Option<PathBuf>,
    /// Instead of host, port, user, database and sslmode; may hold the password. Empty: not given.
    pub url: String,
    pub max_connections: u32,
    /// Listeners are told of commits by this agent, a few times a second at most.
    pub announce: bool,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            host: "localhost".into(),
            port: 5432,
            user: "gosync".into(),
            password: String::new(),
            database: "gosync".into(),
            sslmode: "prefer".into(),
            sslrootcert: None,
            url: String::new(),
            max_connections: 2,
            announce: false,
        }
    }
}

impl fmt::Debug for PostgresOptions {
    /// Neither the password nor the URL, which may hold it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("sslmode", &self.sslmode)
            .finish_non_exhaustive()
    }
}

impl PostgresOptions {
    pub(super) fn connect_options(&self) -> Result<PgConnectOptions, StateError> {
        let refused = |what: String, source: Option<sqlx::Error>| StateError {
            kind: StateErrorKind::Unavailable,
            what: format!("reading the settings of Postgres: {what}"),
            source: source.map(Into::into),
        };
        let mut options = if self.url.is_empty() {
            let sslmode = PgSslMode::from_str(&self.sslmode).map_err(|error| refused("sslmode".into(), Some(error)))?;
            PgConnectOptions::new_without_pgpass()
                .host(&self.host)
                .port(self.port)
                .username(&self.user)
                .database(&self.database)
                .ssl_mode(sslmode)
        } else {
            let query = self.url.split_once('?').map_or("", |(_, query)| query);
            let known = BTreeSet::from(URL_KEYS);
            for key in query.split('&').filter_map(|pair| pair.split('=').next()) {
                if !key.is_empty() && !known.contains(key) && !key.starts_with("options[") {
                    return Err(refused(format!("the url's key {key} is unknown"), None));
                }
            }
            if !self.url.starts_with("postgres://") && !self.url.starts_with("postgresql://") {
                return Err(refused("the url has to begin with postgres://".into(), None));
            }
            PgConnectOptions::from_str(&self.url).map_err(|error| refused("the url".into(), Some(error)))?
        };
        if !self.password.is_empty() {
            options = options.password(&self.password);
        }
        if let Some(path) = &self.sslrootcert {
            options = options.ssl_root_cert(path);
            // As libpq does: trusted certificates are given to be compared with.
            if matches!(options.get_ssl_mode(), PgSslMode::Require) {
                options = options.ssl_mode(PgSslMode::VerifyCa);
            }
        }
        if options.get_application_name().is_none() {
            options = options.application_name("gosync");
        }
        // PgBouncer refuses what it can't keep apart by connection.
        Ok(options.extra_float_digits(None).statement_cache_capacity(0).disable_statement_logging())
    }
}

/// For messages: `user@host:port/database`.
pub(super) fn place(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or(options.get_host().into(), |socket| socket.to_string_lossy());
    let (user, database) = (options.get_username(), options.get_database().unwrap_or_default());
    format!("{user}@{host}:{}/{database}", options.get_port())
}

#[derive(Clone)]
pub(super) struct Connections {
    pub(super) options: PgConnectOptions,
    /// For messages: `user@host:port/database`.
    place: String,
    slots: Arc<Semaphore>,
    // Not the library's pool: that waits for its whole timeout where a connection is refused and then hides the reason,
    // and one that hangs is never given up.
    idle: Arc<Idle>,
    schema: Arc<Schema>,
}

/// Whether the tables are up to date, as far as is known; and whose turn it is to bring them there.
#[derive(Default)]
struct Schema {
    is_current: AtomicBool,
    turn: tokio::sync::Mutex<()>,
}

/// Connections that wait for their next transaction.
#[derive(Default)]
struct Idle(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// And since when.
    connections: Vec<(PgConnection, Instant)>,
    /// A task closes those that wait for long.
    is_watched: bool,
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last.
    fn take(&self) -> Option<PgConnection> {
        self.lock().connections.pop().map(|(connection, _)| connection)
    }

    fn put(self: &Arc<Self>, connection: PgConnection) {
        let mut waiting = self.lock();
        waiting.connections.push((connection, Instant::now()));
        if !waiting.is_watched {
            waiting.is_watched = true;
            tokio::spawn(Arc::clone(self).close_old_ones());
        }
    }

    async fn close_old_ones(self: Arc<Self>) {
        loop {
            tokio::time::sleep(IDLE).await;
            let mut waiting = self.lock();
            waiting.connections.retain(|(_, since)| since.elapsed() < IDLE);
            if waiting.connections.is_empty() {
                waiting.is_watched = false;
                return;
            }
        }
    }
}

impl Connections {
    pub(super) fn new(options: PgConnectOptions, max: u32) -> Self {
        let place = place(&options);
        let slots = Arc::new(Semaphore::new(max.max(1) as usize));
        Self { options, place, slots, idle: Arc::default(), schema: Arc::default() }
    }

    /// Does `work` on tables that are up to date.
    pub(super) async fn run<T>(
        &self,
        doing: &str,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StateError> {
        self.ready().await?;
        self.attempt(doing, work).await
    }

    /// Brings the tables up to date, once; and again when they turn out to be gone.
    pub(super) async fn ready(&self) -> Result<(), StateError> {
        let is_current = || self.schema.is_current.load(Ordering::Acquire);
        if is_current() {
            return Ok(());
        }
        let Ok(turn) = timeout(OPERATION, self.schema.turn.lock()).await else {
            return Err(self.no_answer("bringing the schema up to date"));
        };
        if !is_current() {
            self.migrated().await?;
            self.schema.is_current.store(true, Ordering::Release);
        }
        drop(turn);
        Ok(())
    }

    /// On a thread of its own: the future of the migrations can't be shown to move between threads.
    async fn migrated(&self) -> Result<(), StateError> {
        let (connections, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let migration = tokio::task::spawn_blocking(move || runtime.block_on(migrate(&connections)));
        migration.await.unwrap_or_else(|error| {
            let what = "bringing the schema up to date".to_owned();
            Err(StateError { kind: StateErrorKind::Killed, what, source: Some(error.into()) })
        })
    }

    /// Does `work`, which may take so long and no longer.
    pub(super) async fn attempt<T>(
        &self,
        doing: &str,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StateError> {
        match timeout(OPERATION, work).await {
            Ok(result) => result.map_err(|error| self.failed(doing, error)),
            Err(_) => Err(self.no_answer(doing)),
        }
    }

    fn no_answer(&self, doing: &str) -> StateError {
        let what = format!("{doing} ({}): no answer within {} s", self.place, OPERATION.as_secs());
        StateError { kind: StateErrorKind::Unavailable, what, source: None }
    }

    pub(super) fn failed(&self, doing: &str, error: sqlx::Error) -> StateError {
        let place = &self.place;
        if is_without_tables(&error) {
            // A database that was made anew: whoever comes next makes them.
            self.schema.is_current.store(false, Ordering::Release);
        }
        match error {
            sqlx::Error::RowNotFound => StateError {
                kind: StateErrorKind::Unavailable,
                what: format!("{doing} ({place}): the tables were made anew and have no such store"),
                source: None,
            },
            error => {
                StateError { kind: kind_of(&error), what: format!("{doing} ({place})"), source: Some(error.into()) }
            }
        }
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        timeout(CONNECT, self.options.connect()).await.unwrap_or_else(|_| {
            Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection within 5 s")))
        })
    }

    pub(super) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        self.begin_with(BEGIN).await
    }

    pub(super) async fn begin_read_only(&self) -> Result<Transaction, sqlx::Error> {
        self.begin_with(BEGIN_READ_ONLY).await
    }

    async fn begin_with(&self, begin: &'static str) -> Result<Transaction, sqlx::Error> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
        // The server may have been restarted while a connection was idle: then a new one has to do.
        while let Some(mut connection) = self.idle.take() {
            if connection.execute(begin).await.is_ok() {
                return Ok(Transaction { connection, slot, idle: Arc::clone(&self.idle) });
            }
        }
        let mut connection = self.connect().await?;
        connection.execute(begin).await?;
        Ok(Transaction { connection, slot, idle: Arc::clone(&self.idle) })
    }

    /// Whatever comes later is refused.
    pub(super) fn close(&self) {
        self.slots.close();
        self.idle.lock().connections.clear();
    }
}

pub(super) struct Transaction {
    pub(super) connection: PgConnection,
    // Given back after the connection: fields are dropped in this order.
    slot: OwnedSemaphorePermit,
    idle: Arc<Idle>,
}

impl Transaction {
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.end("COMMIT").await
    }

    pub(super) async fn roll_back(self) -> Result<(), sqlx::Error> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, how: &'static str) -> Result<(), sqlx::Error> {
        self.connection.execute(how).await?;
        self.idle.put(self.connection);
        drop(self.slot);
        Ok(())
    }
}

fn is_without_tables(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|cause| cause.code()).is_some_and(|code| code == UNDEFINED_TABLE)
}

fn kind_of(error: &sqlx::Error) -> StateErrorKind {
    match error {
        sqlx::Error::Database(cause) => match cause.code().as_deref().unwrap_or_default() {
            // Somebody may still grant it, and tables that are gone are made by the next call.
            INSUFFICIENT_PRIVILEGE | UNDEFINED_TABLE => StateErrorKind::Unavailable,
            // Every statement here is fixed and tested: one that doesn't fit the tables means that they aren't ours.
            code if ["22", "23", "42"].contains(&code.get(..2).unwrap_or_default()) => StateErrorKind::Corrupt,
            // Gone, full, not let in, a lock not had, too many connections, about to stop.
            _ => StateErrorKind::Unavailable,
        },
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StateErrorKind::Corrupt,
        _ => StateErrorKind::Unavailable,
    }
}
