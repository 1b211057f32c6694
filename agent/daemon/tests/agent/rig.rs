//! What the tests stand on: a store, agents as processes, requests to their sockets, and waiting.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata as _};
use aws_sdk_s3::primitives::ByteStream;
use gosync_agent::{DevOptions, Options};
use gosync_dev_s3::{DevS3, Running};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

const CONFIG: &str = "TEST_AGENT_CONFIG";
const DEV_DIR: &str = "TEST_AGENT_DEV_DIR";
pub const BUCKET: &str = "bucket";
pub const KEY: &str = "gosync";
pub const SECRET: &str = "gosync-secret";

/// Only ends a wait that would never end.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// In the process that is to be the agent: never returns. Elsewhere: nothing.
pub fn be_the_agent() {
    let (version, commit) = ("test".to_owned(), "c0ffee".to_owned());
    if let Some(config) = std::env::var_os(CONFIG) {
        std::process::exit(gosync_agent::run(Options { config: config.into(), data_dir: None, version, commit }));
    }
    if let Some(dir) = std::env::var_os(DEV_DIR) {
        std::process::exit(gosync_agent::run_dev(DevOptions { dir: dir.into(), version, commit, color: false }));
    }
}

/// Asks until the answer is `Ok`.
pub async fn until<T, E: Display>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(still) if started.elapsed() > PATIENCE => panic!("waited for: {what}\nthe last answer was: {still}"),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

pub fn hold(condition: bool, otherwise: impl Display) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise.to_string()) }
}

/// A folder for everything of one test.
pub struct Rig {
    pub temp: TempDir,
    pub store: Option<Running>,
    pub url: String,
}

impl Rig {
    pub async fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut rig = Self { temp, store: None, url: String::new() };
        rig.start_store(KEY, &[BUCKET]).await;
        rig
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// On the port it had before, if it had one.
    pub async fn start_store(&mut self, access_key: &str, buckets: &[&str]) {
        let listen = self.url.strip_prefix("http://").unwrap_or("127.0.0.1:0").parse().unwrap();
        let options = gosync_dev_s3::Options {
            listen,
            access_key: access_key.into(),
            secret_key: SECRET.into(),
            buckets: buckets.iter().map(|&bucket| bucket.to_owned()).collect(),
            ..gosync_dev_s3::Options::new(self.path("store"))
        };
        let store = DevS3::start(options).await.unwrap();
        self.url = store.url();
        self.store = Some(store);
    }

    pub async fn stop_store(&mut self) {
        self.store.take().unwrap().shutdown().await;
    }

    pub fn config(&self) -> Value {
        json!({
            "data_dir": self.path("data"),
            "log": {"level": "debug"},
            "metadata": {"type": "sqlite"},
            "s3": {"endpoint": self.url, "bucket": BUCKET, "access_key": KEY, "secret_key": SECRET},
            "syncs": [],
            "sync": {"interval": "1s", "drain": "10s"},
            "agent": {"metrics": {"listen": "127.0.0.1:0"}},
        })
    }

    /// A config with one mirror `docs` of the folder `docs`.
    pub fn one_mirror(&self) -> Value {
        with_mirror(self.config(), "docs", &self.path("docs"), "/files")
    }

    /// The same with the mirror's state in the folder itself.
    pub fn one_volume(&self) -> Value {
        let mut config = self.one_mirror();
        config["syncs"][0]["state"] = json!("volume");
        config
    }

    pub fn launch(&self, config: &Value) -> Agent {
        Agent::launch(self.temp.path(), config)
    }

    /// Of a config that is there already: a file, or a folder of files.
    pub async fn start_on(&self, config: &Path) -> Agent {
        let mut agent = Agent::spawn(CONFIG, config, self.path("data/gosync.sock"), self.path("data.log"));
        agent.answering().await;
        agent
    }

    pub async fn start(&self, config: &Value) -> Agent {
        let mut agent = self.launch(config);
        agent.answering().await;
        agent
    }

    /// An agent of the mirror `docs` that has brought its `note.txt` with the content `x` into the bucket.
    pub async fn start_with_note(&self, config: &Value) -> Agent {
        let agent = self.start(config).await;
        agent.in_step("docs").await;
        std::fs::write(self.path("docs/note.txt"), "x").unwrap();
        agent.flush().await;
        agent
    }

    /// Somebody else in the bucket.
    pub fn stranger(&self) -> Stranger {
        Stranger::new(&self.url)
    }
}

pub fn with_mirror(mut config: Value, name: &str, local: &Path, remote: &str) -> Value {
    let mirror = json!({"name": name, "local_path": local, "s3_path": remote});
    config["syncs"].as_array_mut().unwrap().push(mirror);
    config
}

/// A running agent; killed when dropped.
pub struct Agent {
    child: Child,
    pub socket: PathBuf,
    log: PathBuf,
}

impl Agent {
    pub fn launch(home: &Path, config: &Value) -> Self {
        let data_dir = Path::new(config["data_dir"].as_str().unwrap());
        let name = data_dir.file_name().unwrap().to_string_lossy().into_owned();
        let file = home.join(format!("{name}.yaml"));
        std::fs::write(&file, serde_json::to_string_pretty(config).unwrap()).unwrap();
        Self::spawn(CONFIG, &file, data_dir.join("gosync.sock"), home.join(format!("{name}.log")))
    }

    pub fn launch_dev(dir: &Path, log: &Path) -> Self {
        Self::spawn(DEV_DIR, dir, dir.join("agent/gosync.sock"), log.to_owned())
    }

    fn spawn(variable: &str, value: &Path, socket: PathBuf, log: PathBuf) -> Self {
        let out = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "agent_process", "--nocapture"])
            .env_clear()
            .env(variable, value)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        Self { child, socket, log }
    }

    pub async fn answering(&mut self) {
        until("the agent answers", async || match self.child.try_wait().unwrap() {
            Some(status) => panic!("the agent ended: {status}\n{}", self.log()),
            None => self.get("/sync/state").await.map(drop),
        })
        .await;
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub async fn end(&mut self) -> ExitStatus {
        until("the agent ends", async || self.child.try_wait().unwrap().ok_or("it runs")).await
    }

    /// SIGTERM, and its own end.
    pub async fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.end().await.code()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    // ---- its socket -------------------------------------------------------------------------------------------

    pub async fn get(&self, path: &str) -> Result<Value, String> {
        let (status, text) = self.ask("GET", path, "").await?;
        let value: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        if status == 200 { Ok(value) } else { Err(value.to_string()) }
    }

    /// Status and JSON; of lines the last.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.ask("POST", path, &body.to_string()).await.unwrap();
        let last = text.lines().last().unwrap_or_default();
        (status, serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    pub async fn ask(&self, method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| error.to_string())?;
        exchange(stream, method, path, body).await
    }

    pub async fn mirror(&self, name: &str) -> Value {
        let state = self.get("/sync/state").await.unwrap();
        let mirrors = state["mirrors"].as_array().unwrap();
        mirrors.iter().find(|mirror| mirror["name"] == name).unwrap_or_else(|| panic!("no {name} in {state:#}")).clone()
    }

    pub async fn has_status(&self, name: &str, status: &str) -> Value {
        until(&format!("{name} is {status}"), async || {
            let mirror = self.mirror(name).await;
            if mirror["status"] == status { Ok(mirror) } else { Err(format!("{mirror:#}\n{}", self.log())) }
        })
        .await
    }

    /// Active, compared once, and nothing left to do.
    pub async fn in_step(&self, name: &str) {
        until(&format!("{name} is in step"), async || {
            let mirror = self.mirror(name).await;
            let calm = mirror["status"] == "active" && mirror["phase"] == "idle" && mirror["hydrated"] == true;
            hold(calm, format!("{mirror:#}\n{}", self.log()))
        })
        .await;
    }

    /// Flushes all and waits: every receipt says that nothing is left.
    pub async fn flush(&self) -> Value {
        let (_, line) = self.post("/sync/flush", &json!({"wait": true, "timeout_seconds": 60})).await;
        let receipts = line["result"]["receipts"].as_array().unwrap_or_else(|| panic!("{line}\n{}", self.log()));
        assert!(receipts.iter().all(|receipt| receipt["flushed"] == true), "{line:#}\n{}", self.log());
        line["result"].clone()
    }

    // ---- its port ---------------------------------------------------------------------------------------------

    pub async fn http(&self, path: &str) -> Result<(u16, String), String> {
        let state = self.get("/sync/state").await?;
        let address = state["metrics"].as_str().ok_or("metrics are off")?;
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        exchange(stream, "GET", path, "").await
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// HTTP/1.0: the reply ends with the connection.
async fn exchange<S>(mut stream: S, method: &str, path: &str, body: &str) -> Result<(u16, String), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let request = format!("{method} {path} HTTP/1.0\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut reply = String::new();
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    stream.read_to_string(&mut reply).await.map_err(|error| error.to_string())?;
    let (head, body) = reply.split_once("\r\n\r\n").ok_or(format!("no reply: {reply:?}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(format!("no status: {head}"))?;
    Ok((status, body.to_owned()))
}

/// A plain S3 client that shares no code with the agent's.
pub struct Stranger {
    client: Client,
}

impl Stranger {
    fn new(url: &str) -> Self {
        let http = aws_smithy_http_client::Builder::new().build_http();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .endpoint_url(url)
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .credentials_provider(Credentials::new(KEY, SECRET, None, None, "tests"))
            .http_client(http)
            .build();
        Self { client: Client::from_conf(config) }
    }

    pub async fn put(&self, key: &str, content: &str) {
        let body = ByteStream::from(content.as_bytes().to_vec());
        self.client.put_object().bucket(BUCKET).key(key).body(body).send().await.unwrap();
    }

    pub async fn get(&self, key: &str) -> Option<String> {
        let object = match self.client.get_object().bucket(BUCKET).key(key).send().await {
            Ok(object) => object,
            Err(error) if error.code() == Some("NoSuchKey") => return None,
            // Who didn't get to ask knows of no absence.
            Err(error) => panic!("get {key}: {}", DisplayErrorContext(&error)),
        };
        let bytes = object.body.collect().await.unwrap().into_bytes();
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub async fn delete(&self, key: &str) {
        self.client.delete_object().bucket(BUCKET).key(key).send().await.unwrap();
    }

    /// Every key there is.
    pub async fn keys(&self) -> Vec<String> {
        let listed = self.client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
        listed.contents().iter().map(|object| object.key().unwrap().to_owned()).collect()
    }

    pub async fn make_bucket(&self) {
        self.client.create_bucket().bucket(BUCKET).send().await.unwrap();
    }
}

pub async fn has_content(path: &Path, content: &str) {
    until(&format!("{} holds {content:?}", path.display()), async || match std::fs::read_to_string(path) {
        Ok(found) => hold(found == content, format!("it holds {found:?}")),
        Err(error) => Err(error.to_string()),
    })
    .await;
}

pub async fn is_gone(path: &Path) {
    until(&format!("{} is gone", path.display()), async || hold(!path.exists(), "it is there")).await;
}
