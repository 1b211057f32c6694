//! Real S3 servers on loopback: MinIO and versitygw, each with its data in a folder that goes with it.

use std::process::Command;
use std::sync::Arc;

use crate::process::{Folder, Process, free_port};
use crate::shared::Shared;
use crate::stranger::Stranger;
use crate::{tools, wait};

pub const REGION: &str = "us-east-1";

/// Where a store is and which keys open it.
#[derive(Clone, Debug)]
pub struct Address {
    /// `http://127.0.0.1:port`
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
}

impl Address {
    /// The same keys at another endpoint: a proxy in front of the server.
    pub fn at(&self, endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), ..self.clone() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Minio,
    Versitygw,
}

/// A running server. Dropping it ends the process and removes its data.
pub struct Server {
    // Before the folder: fields are dropped in this order.
    process: Process,
    pub folder: Folder,
    pub address: Address,
}

impl Server {
    /// One for all tests that run at the same time and each keep to a bucket of their own.
    pub async fn shared(which: Which) -> Arc<Self> {
        static MINIO: Shared<Server> = Shared::new();
        static VERSITYGW: Shared<Server> = Shared::new();
        match which {
            Which::Minio => MINIO.get(Self::minio).await,
            Which::Versitygw => VERSITYGW.get(Self::versitygw).await,
        }
    }

    pub async fn minio() -> Self {
        Self::start("minio", |address, folder, port| {
            let mut command = Command::new(tools::path("minio"));
            command
                .args(["server", "--address", &format!("127.0.0.1:{port}")])
                .arg(folder.dir("data"))
                .env("MINIO_ROOT_USER", &address.access_key)
                .env("MINIO_ROOT_PASSWORD", &address.secret_key)
                .env("MINIO_UPDATE", "off")
                .env("MINIO_BROWSER", "off")
                .env("HOME", folder.path());
            command
        })
        .await
    }

    pub async fn versitygw() -> Self {
        Self::start("versitygw", |address, folder, port| {
            let mut command = Command::new(tools::path("versitygw"));
            command
                .args(["--port", &format!("127.0.0.1:{port}"), "posix"])
                .arg("--versioning-dir")
                .arg(folder.dir("versions"))
                .arg(folder.dir("data"))
                .env("ROOT_ACCESS_KEY", &address.access_key)
                .env("ROOT_SECRET_KEY", &address.secret_key);
            command
        })
        .await
    }

    async fn start(name: &str, command: fn(&Address, &Folder, u16) -> Command) -> Self {
        // Neither server takes port 0, and a port that was free may be taken by the time it is bound.
        for _ in 0..5 {
            let port = free_port();
            let folder = Folder::new(name);
            let address = Address {
                endpoint: format!("http://127.0.0.1:{port}"),
                access_key: "tester".to_owned(),
                secret_key: "tester-secret-key".to_owned(),
            };
            let log = folder.path().join("log");
            let process = Process::start(name, command(&address, &folder, port), &log);
            let mut server = Self { process, folder, address };
            match server.ready().await {
                Ok(()) => return server,
                Err(ended) if ended.contains("in use") => continue,
                Err(ended) => panic!("{ended}"),
            }
        }
        panic!("five free ports in a row were taken by somebody else");
    }

    /// Kills the server; connections are refused until [`Server::restart`]. The data stays.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port and data.
    pub async fn restart(&mut self) {
        self.process.restart();
        self.ready().await.unwrap_or_else(|ended| panic!("{ended}"));
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// `Err` when the process ended instead of answering.
    async fn ready(&mut self) -> Result<(), String> {
        let stranger = Stranger::new(&self.address, "none");
        wait::until("the server answers a signed request", async || {
            if let Some(status) = self.process.ended() {
                return Ok(Err(format!("the server ended ({status})\n{}", self.process.tail())));
            }
            match stranger.answers().await {
                Ok(()) => Ok(Ok(())),
                Err(error) => Err(format!("{error}\n{}", self.process.tail())),
            }
        })
        .await
    }

    /// A new bucket and a client for it.
    pub async fn bucket(&self, name: &str) -> Stranger {
        let stranger = Stranger::new(&self.address, name);
        stranger.create_bucket().await;
        stranger
    }
}
