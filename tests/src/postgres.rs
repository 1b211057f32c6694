//! A real Postgres on loopback, with its data in a folder that goes with it, and databases in it that are made for one test
//! each.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gosync_metadata::PostgresOptions;
use rustix::process::{Signal, geteuid};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

use crate::process::{Folder, Process, free_port};
use crate::shared::Shared;
use crate::{tools, wait};

pub const USER: &str = "tester";
pub const PASSWORD: &str = "tester-secret-password";

/// A running server. Dropping it ends the process and removes its data.
pub struct Postgres {
    // Before the folder: fields are dropped in this order.
    process: Process,
    pub folder: Folder,
    pub port: u16,
}

impl Postgres {
    /// One for all tests that run at the same time and each keep to a database of their own. It ends with the last of them.
    pub async fn shared() -> Arc<Self> {
        static PLACE: Shared<Postgres> = Shared::new();
        PLACE.get(async || Self::start(&[]).await).await
    }

    /// One of one's own, with further settings (`name=value`). Nothing is synced unless `fsync=on` is among them.
    pub async fn start(settings: &[&str]) -> Self {
        for _ in 0..5 {
            let folder = Folder::new("postgres");
            let data = folder.path().join("data");
            let secret = folder.path().join("password");
            std::fs::write(&secret, PASSWORD).unwrap();
            let made = ordinary_user(tools::path("initdb"))
                .arg("-D")
                .arg(&data)
                .args(["--username", USER, "--auth", "scram-sha-256", "--pwfile"])
                .arg(&secret)
                // Words of a language sort otherwise than bytes: nothing of ours may depend on it.
                .args([
                    "--encoding",
                    "UTF8",
                    "--locale",
                    "C",
                    "--locale-provider",
                    "icu",
                    "--icu-locale",
                    "en",
                    "--no-sync",
                ])
                .output()
                .unwrap();
            assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
            let port = free_port();
            let mut command = ordinary_user(tools::path("postgres"));
            command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
            let own = [
                "listen_addresses=127.0.0.1",
                "unix_socket_directories=",
                "max_connections=200",
                "jit=off",
                // Shared memory among its data: a killed server leaves nothing in the machine's.
                "dynamic_shared_memory_type=mmap",
            ];
            for setting in own.iter().chain(&["fsync=off", "shared_buffers=32MB"]).chain(settings) {
                command.args(["-c", setting]);
            }
            let process = Process::start("postgres", command, &folder.path().join("log"));
            let mut server = Self { process, folder, port };
            match server.ready().await {
                Ok(()) => return server,
                Err(ended) if ended.contains("in use") => continue,
                Err(ended) => panic!("{ended}"),
            }
        }
        panic!("five free ports in a row were taken by somebody else");
    }

    /// SIGKILL to the server; its helpers follow. Connections are refused until [`Postgres::restart`]. The data stays.
    pub fn kill(&mut self) {
        let helpers = children(self.process.id());
        self.process.kill();
        // They notice by themselves, and answer their clients until then.
        while helpers.iter().any(|helper| is_running(*helper)) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as an operator does, without waiting for its clients.
    pub async fn stop(&mut self) {
        self.process.signal(Signal::INT);
        wait::until("the server ends", async || self.process.ended().ok_or_else(|| self.process.tail())).await;
    }

    /// Starts it again on the same port and data.
    pub async fn restart(&mut self) {
        // Helpers of a killed one need a moment to notice, and the next server waits for none of them.
        wait::until("the server starts again", async || {
            self.process.restart();
            self.ready().await
        })
        .await;
    }

    /// For SIGSTOP and SIGCONT; its connections have processes of their own.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// `Err` when the process ended instead of answering.
    async fn ready(&mut self) -> Result<(), String> {
        let options = self.options("postgres");
        wait::until("the server answers", async || {
            if let Some(status) = self.process.ended() {
                return Ok(Err(format!("the server ended ({status})\n{}", self.process.tail())));
            }
            match options.connect().await {
                Ok(_) => Ok(Ok(())),
                Err(error) => Err(format!("{error}\n{}", self.process.tail())),
            }
        })
        .await
    }

    fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(USER)
            .password(PASSWORD)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// A new, empty database.
    pub async fn database(&self) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.administrate(&format!("CREATE DATABASE {name}")).await;
        Database { options: self.options(&name), name, port: self.port }
    }

    /// Keeps a copy of the database, as a backup does; it may be in use, and its connections end.
    pub async fn back_up(&self, database: &Database) {
        let name = &database.name;
        self.administrate(&format!("DROP DATABASE IF EXISTS {name}_backup")).await;
        self.without_connections(name, &format!("CREATE DATABASE {name}_backup TEMPLATE {name}")).await;
    }

    /// Brings the copy back, in the place of what has become of the database since. The backup stays.
    pub async fn restore(&self, database: &Database) {
        let name = &database.name;
        self.administrate(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
        self.without_connections(&format!("{name}_backup"), &format!("CREATE DATABASE {name} TEMPLATE {name}_backup"))
            .await;
    }

    async fn without_connections(&self, name: &str, statement: &str) {
        self.administrate(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
        wait::until("the database is nobody's", async || {
            let mut connection = self.options("postgres").connect().await?;
            let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
            connection.execute(AssertSqlSafe(end)).await?;
            connection.execute(AssertSqlSafe(statement.to_owned())).await
        })
        .await;
        self.administrate(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
    }

    async fn administrate(&self, statement: &str) {
        let mut connection = self.options("postgres").connect().await.unwrap();
        connection
            .execute(AssertSqlSafe(statement.to_owned()))
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// One database of a server, empty at first.
#[derive(Clone)]
pub struct Database {
    pub name: String,
    pub port: u16,
    options: PgConnectOptions,
}

impl Database {
    /// For an agent.
    pub fn settings(&self) -> PostgresOptions {
        PostgresOptions {
            host: "127.0.0.1".into(),
            port: self.port,
            user: USER.into(),
            password: PASSWORD.into(),
            database: self.name.clone(),
            ..PostgresOptions::default()
        }
    }

    /// The same in one.
    pub fn url(&self) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{}", self.port, self.name)
    }

    /// For an agent behind PgBouncer, which listens on this port.
    pub fn settings_at(&self, port: u16) -> PostgresOptions {
        PostgresOptions { port, ..self.settings() }
    }

    pub async fn try_connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.options.connect().await
    }

    pub async fn connect(&self) -> PgConnection {
        self.connect_at(self.port).await
    }

    /// Through PgBouncer, which listens on this port.
    pub async fn connect_at(&self, port: u16) -> PgConnection {
        self.options.clone().port(port).extra_float_digits(None).connect().await.unwrap()
    }

    /// Statements without parameters.
    pub async fn execute(&self, statements: &str) {
        self.try_execute(statements).await.unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    pub async fn try_execute(&self, statements: &str) -> Result<(), sqlx::Error> {
        self.options.connect().await?.execute(AssertSqlSafe(statements.to_owned())).await.map(drop)
    }
}

/// The letter of its state and the parent of a process, of those that are there.
fn status(id: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn is_running(id: u32) -> bool {
    status(id).is_some_and(|(state, _)| state != 'Z')
}

fn children(of: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    all.filter(|id| status(*id).is_some_and(|(_, parent)| parent == of)).collect()
}

/// Postgres and PgBouncer refuse to run as root: then they run as nobody, who may still read the tools and the folders of
/// the tests, wherever they are.
pub fn ordinary_user(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        // Without the fix-up, access(2) would forget what nobody may do beside its user.
        .args(["--securebits=+no_setuid_fixup", "--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"])
        .arg(program);
    command
}
