//! A real Redis on a free loopback port, killed, stopped and restarted by its process id, and a client for it that shares
//! no code with the product's.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::process::{Folder, Process, free_port};
use crate::{tools, wait};

/// How a server is started; the default is the plainest.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Of the default user.
    pub password: Option<&'static str>,
    /// Another user: name, password and what it may do, as in an ACL file.
    pub user: Option<(&'static str, &'static str, &'static str)>,
    /// A second port that speaks TLS, with a certificate of a CA that nobody knows.
    pub tls: bool,
    /// Further settings, such as `("maxmemory", "10mb")`.
    pub settings: Vec<(&'static str, &'static str)>,
}

/// A running server without persistence. Dropping it ends the process.
pub struct Redis {
    // Before the folder: fields are dropped in this order.
    process: Process,
    folder: Folder,
    options: Options,
    pub port: u16,
    /// 0 without TLS.
    pub tls_port: u16,
}

impl Redis {
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Self {
        // Redis takes no port 0, and a port that was free may be taken by the time it is bound.
        for _ in 0..5 {
            let folder = Folder::new("redis");
            let port = free_port();
            let tls_port = if options.tls { free_port() } else { 0 };
            let command = command(&folder, &options, port, tls_port);
            let process = Process::start("redis", command, &folder.path().join("log"));
            let mut redis = Self { process, folder, options: options.clone(), port, tls_port };
            match redis.ready().await {
                Ok(()) => return redis,
                Err(ended) if ended.contains("in use") => continue,
                Err(ended) => panic!("{ended}"),
            }
        }
        panic!("five free ports in a row were taken by somebody else");
    }

    /// The CA's certificate, where there is TLS.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Connections are refused until [`Redis::restart`], and all it held is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// On the same ports, empty.
    pub async fn restart(&mut self) {
        self.process.restart();
        self.ready().await.unwrap_or_else(|ended| panic!("{ended}"));
    }

    /// It takes connections and answers nobody, until [`Redis::go_on`].
    pub fn hang(&self) {
        self.process.signal(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.process.signal(Signal::CONT);
    }

    /// A connection of a stranger, on the plain port and with the default user's password.
    pub async fn stranger(&self) -> Stranger {
        let mut stranger = Stranger::connect(self.port).await.unwrap();
        if let Some(password) = self.options.password {
            stranger.ask(&["AUTH", password]).await;
        }
        stranger
    }

    async fn ready(&mut self) -> Result<(), String> {
        let (port, password) = (self.port, self.options.password);
        wait::until("Redis answers a ping", async || {
            if let Some(status) = self.process.ended() {
                return Ok(Err(format!("Redis ended ({status})\n{}", self.process.tail())));
            }
            let asked = async {
                let mut stranger = Stranger::connect(port).await?;
                if let Some(password) = password {
                    stranger.try_ask(&[b"AUTH", password.as_bytes()]).await?;
                }
                stranger.try_ask(&[b"PING"]).await
            };
            match asked.await {
                Ok(Reply::Text(pong)) if pong == "PONG" => Ok(Ok(())),
                other => Err(format!("{other:?}\n{}", self.process.tail())),
            }
        })
        .await
    }
}

fn command(folder: &Folder, options: &Options, port: u16, tls_port: u16) -> Command {
    let mut command = Command::new(tools::path("redis-server"));
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"]).arg(folder.path());
    if let Some(password) = options.password {
        command.args(["--requirepass", password]);
    }
    if let Some((name, password, rules)) = options.user {
        command.args(["--user", name, "on", &format!(">{password}")]).args(rules.split(' '));
    }
    if options.tls {
        write_certificates(folder.path());
        command.args(["--tls-port", &tls_port.to_string(), "--tls-auth-clients", "no"]);
        for (setting, file) in
            [("tls-cert-file", "own.pem"), ("tls-key-file", "own.key"), ("tls-ca-cert-file", "ca.pem")]
        {
            command.arg(format!("--{setting}")).arg(folder.path().join(file));
        }
    }
    for (name, value) in &options.settings {
        command.args([&format!("--{name}"), *value]);
    }
    command
}

/// `ca.pem`, and `own.pem` and `own.key` for 127.0.0.1.
fn write_certificates(folder: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(folder.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let own = own.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    std::fs::write(folder.join("own.pem"), own.pem()).unwrap();
    std::fs::write(folder.join("own.key"), key.serialize_pem()).unwrap();
}

/// A client that does one thing after the other.
pub struct Stranger(BufReader<TcpStream>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Nil,
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
    Error(String),
    Many(Vec<Reply>),
}

impl Stranger {
    async fn connect(port: u16) -> std::io::Result<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?)))
    }

    /// An error of the server stops the test.
    pub async fn ask(&mut self, words: &[&str]) -> Reply {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.ask_bytes(&words).await
    }

    pub async fn ask_bytes(&mut self, words: &[&[u8]]) -> Reply {
        match self.try_ask(words).await.unwrap() {
            Reply::Error(error) => {
                panic!("{:?}: {error}", words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>())
            }
            reply => reply,
        }
    }

    /// An answer that is one text, such as INFO's.
    pub async fn text(&mut self, words: &[&str]) -> String {
        match self.ask(words).await {
            Reply::Bytes(text) => String::from_utf8(text).unwrap(),
            other => panic!("{words:?}: {other:?}"),
        }
    }

    /// The keys that match, in order.
    pub async fn keys(&mut self, pattern: &str) -> Vec<String> {
        let Reply::Many(keys) = self.ask(&["KEYS", pattern]).await else { panic!("KEYS answers with a list") };
        let text = |key: Reply| match key {
            Reply::Bytes(key) => String::from_utf8(key).unwrap(),
            other => panic!("{other:?} is no key"),
        };
        let mut keys: Vec<String> = keys.into_iter().map(text).collect();
        keys.sort();
        keys
    }

    async fn try_ask(&mut self, words: &[&[u8]]) -> std::io::Result<Reply> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend(format!("${}\r\n", word.len()).into_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&request).await?;
        self.read().await
    }

    async fn read(&mut self) -> std::io::Result<Reply> {
        let line = self.line().await?;
        let (kind, rest) = line.split_at(1);
        Ok(match kind {
            "+" => Reply::Text(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(rest.parse().unwrap()),
            "$" if rest == "-1" => Reply::Nil,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.0.read_exact(&mut bytes).await?;
                bytes.truncate(bytes.len() - 2);
                Reply::Bytes(bytes)
            }
            "*" => {
                let mut many = Vec::new();
                for _ in 0..rest.parse().unwrap_or(0) {
                    many.push(Box::pin(self.read()).await?);
                }
                Reply::Many(many)
            }
            _ => panic!("{line:?} is no reply of Redis"),
        })
    }

    async fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(self.0.read_u8().await?);
        }
        line.truncate(line.len() - 2);
        Ok(String::from_utf8(line).unwrap())
    }
}
