//! An agent from its start to its end.

use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gosync_api::config::{Loaded, Problem, Problems};
use gosync_engine::ports::StateError;
use gosync_fs::{Lock, LockError, lock_file};
use gosync_telemetry::{LogLevel, Metrics};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::agent::{Agent, MetricsAddress};
use crate::caches::Caches;
use crate::databases::Databases;
use crate::device::device_name;
use crate::neighbours::Neighbours;
use crate::parts::Parts;
use crate::ports::{RequestTeller, TokioClock};
use crate::reload::Source;
use crate::screen::Screen;
use crate::signals::Signals;
use crate::socket::Socket;
use crate::stores::Stores;
use crate::{drain, http, reload};

/// Threads for calls that block, and how long an idle one stays. Each has a heap and a stack of its own: few keep the
/// agent small, and calls on a local disk are short.
const BLOCKING_MAX: usize = 4;
const BLOCKING_IDLE: Duration = Duration::from_secs(5);
/// For what still runs when all is said and done.
const RUNTIME_WAIT: Duration = Duration::from_millis(500);
const DATA_DIR_MODE: u32 = 0o700;

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Exit code 2: nothing to try again before it is mended.
    #[error("{0}")]
    Config(Problems),
    #[error("the data_dir {} can't be made or used", path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error("another agent runs on the data_dir {}: stop it, or give this one a data_dir of its own", path.display())]
    Held { path: PathBuf },
    #[error("the data_dir can't be locked")]
    Lock(#[from] LockError),
    #[error("the metadata can't be opened")]
    Metadata(#[from] StateError),
    #[error("the socket {} can't be opened", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("the playground's store can't be started")]
    DevStore(#[from] gosync_dev_s3::Error),
    #[error("signals can't be received")]
    Signals(#[source] io::Error),
    #[error("the runtime can't be started")]
    Runtime(#[source] io::Error),
}

/// The data_dir, made and locked: this agent's alone until this is dropped.
pub struct Ground {
    _lock: Lock,
}

impl Ground {
    pub fn take(data_dir: &Path) -> Result<Self, StartError> {
        make_folder(data_dir).map_err(|source| StartError::DataDir { path: data_dir.to_owned(), source })?;
        match lock_file(&data_dir.join("lock")) {
            Ok(lock) => Ok(Self { _lock: lock }),
            Err(LockError::Held { .. }) => Err(StartError::Held { path: data_dir.to_owned() }),
            Err(error) => Err(error.into()),
        }
    }
}

/// What an agent is started with.
pub struct Setup {
    pub loaded: Loaded,
    pub version: String,
    pub commit: String,
    pub store_identity: Option<String>,
    pub screen: Option<Arc<Screen>>,
    /// To read the config again from; none where it was not read from files.
    pub source: Option<Source>,
    /// Of the log that runs, where this agent began it.
    pub log_level: Option<LogLevel>,
}

/// A refusal of what this release does not do yet.
pub fn check(loaded: &Loaded) -> Result<(), StartError> {
    let not_yet: Vec<Problem> = gosync_api::config::not_yet(&loaded.config);
    if not_yet.is_empty() { Ok(()) } else { Err(StartError::Config(Problems(not_yet))) }
}

pub fn runtime() -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(BLOCKING_MAX)
        .thread_keep_alive(BLOCKING_IDLE)
        .thread_name("gosync")
        .enable_all()
        .build()
        .map_err(StartError::Runtime)
}

/// Threads that are in the middle of a call end with the process: any moment may be the last.
pub fn end(runtime: Runtime) {
    runtime.shutdown_timeout(RUNTIME_WAIT);
}

/// An agent that answers.
pub struct Running {
    agent: Arc<Agent>,
    _ground: Ground,
}

/// Starts everything; what fails outside (stores, roots) is in the mirrors' states and no failure here.
pub async fn start(ground: Ground, setup: Setup) -> Result<Running, StartError> {
    let config = setup.loaded.config;
    let metrics = Arc::new(Metrics::new(&setup.version, &setup.commit));
    let parts = Arc::new(Parts {
        device: device_name(&config.agent.device_name),
        version: setup.version,
        data_dir: config.data_dir.clone(),
        store_identity: setup.store_identity,
        stores: Stores::new(Arc::new(RequestTeller(Arc::clone(&metrics)))),
        databases: Databases::default(),
        caches: Caches::default(),
        metrics,
        neighbours: Arc::new(Neighbours::default()),
        clock: Arc::new(TokioClock::new()),
        screen: setup.screen,
        log_level: setup.log_level,
    });
    let path = config.agent.socket_path.clone();
    let socket = bind(&path).map_err(|source| StartError::Socket { path: path.clone(), source })?;
    let metadata = parts.databases.file(&config.metadata.sqlite.path).await?;
    let listen = config.agent.metrics.listen.0;
    let files = setup.loaded.files;
    let agent = Agent::start(parts, config, files.clone(), metadata).await?;
    serve_metrics(listen, &agent).await;
    tokio::spawn(socket.serve(Arc::clone(&agent)));
    if let Some(source) = setup.source {
        tokio::spawn(reload::keep_reading(Arc::clone(&agent), source, files));
    }
    tracing::info!(
        version = agent.parts.version,
        socket = %path.display(),
        mirrors = agent.mirrors().len(),
        "the agent is ready"
    );
    tell_service_manager(NotifyState::Ready);
    Ok(Running { agent, _ground: ground })
}

impl Running {
    /// Waits for the signal to end, then flushes. True when nothing is left to do; a second signal cuts it short.
    pub async fn until_the_end(self, signals: &mut Signals) -> bool {
        signals.end().await;
        tracing::info!("ending: flushing what is left; a second signal ends at once");
        tell_service_manager(NotifyState::Stopping);
        if let Some(screen) = &self.agent.parts.screen {
            screen.say("ending ... (once more: at once)");
        }
        tokio::select! {
            complete = drain::drain(&self.agent) => {
                self.agent.parts.databases.close().await;
                // Who asks now is to find nobody, not an answer that never comes.
                let _ = std::fs::remove_file(&self.agent.config().agent.socket_path);
                complete
            }
            () = signals.end() => false,
        }
    }
}

/// Of systemd, where it started us and waits for it.
fn tell_service_manager(state: NotifyState) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager can't be told how the agent stands");
    }
}

fn bind(path: &Path) -> io::Result<Socket> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    Socket::bind(path)
}

/// For this user alone, where it is made here; what is above it is nobody's secret.
fn make_folder(path: &Path) -> io::Result<()> {
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above)?;
    }
    DirBuilder::new().recursive(true).mode(DATA_DIR_MODE).create(path)
}

/// An occupied port is no reason not to sync.
async fn serve_metrics(listen: Option<SocketAddr>, agent: &Arc<Agent>) {
    let Some(listen) = listen else { return };
    let bound = async {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok::<_, io::Error>((listener, address))
    };
    match bound.await {
        Ok((listener, address)) => {
            tracing::info!(%address, "metrics and probes are served");
            tokio::spawn(http::serve(listener, Arc::clone(agent)));
            agent.set_metrics_address(MetricsAddress { address: Some(address), problem: None });
        }
        Err(error) => {
            let problem = format!("{listen} can't be listened on ({error}): metrics and probes are off");
            tracing::warn!(problem, "set agent.metrics.listen to a free address, or to \"\"");
            agent.set_metrics_address(MetricsAddress { address: None, problem: Some(problem) });
        }
    }
}
