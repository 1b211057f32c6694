//! PgBouncer in transaction mode in front of a real Postgres: each transaction may meet another connection.

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::postgres::{Database, PASSWORD, USER, ordinary_user};
use crate::process::{Folder, Process, free_port};
use crate::{tools, wait};

pub struct PgBouncer {
    // Before the folder: fields are dropped in this order.
    process: Process,
    pub folder: Folder,
    pub port: u16,
}

impl PgBouncer {
    /// For all databases of the server that `database` is in; `connections` to each of them.
    pub async fn start(database: &Database, connections: u32) -> Self {
        for _ in 0..5 {
            let folder = Folder::new("pgbouncer");
            let port = free_port();
            let users = folder.path().join("users");
            std::fs::write(&users, format!("\"{USER}\" \"{PASSWORD}\"\n")).unwrap();
            let settings = folder.path().join("pgbouncer.ini");
            let text = format!(
                "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
                 default_pool_size = {connections}\nmax_client_conn = 1000\n",
                database.port,
                users.display()
            );
            std::fs::write(&settings, text).unwrap();
            let mut command = ordinary_user(tools::path("pgbouncer"));
            command.arg(&settings);
            let process = Process::start("pgbouncer", command, &folder.path().join("log"));
            let mut bouncer = Self { process, folder, port };
            let options = PgConnectOptions::new_without_pgpass()
                .host("127.0.0.1")
                .port(port)
                .username(USER)
                .password(PASSWORD)
                .database(&database.name)
                .ssl_mode(PgSslMode::Disable)
                .extra_float_digits(None);
            let ready = wait::until("PgBouncer answers", async || {
                if let Some(status) = bouncer.process.ended() {
                    return Ok(Err(format!("PgBouncer ended ({status})\n{}", bouncer.process.tail())));
                }
                match options.connect().await {
                    Ok(_) => Ok(Ok(())),
                    Err(error) => Err(format!("{error}\n{}", bouncer.process.tail())),
                }
            })
            .await;
            match ready {
                Ok(()) => return bouncer,
                Err(ended) if ended.contains("in use") => continue,
                Err(ended) => panic!("{ended}"),
            }
        }
        panic!("five free ports in a row were taken by somebody else");
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }
}
