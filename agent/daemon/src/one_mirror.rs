//! One mirror: opened, run by an engine, opened again when another folder stands at its root, and looked at by others.
//!
//! Whatever can't be opened is told and tried again each second: nothing outside ends an agent. Stopping at any moment
//! is safe; a mirror that was stopped leaves nothing that the next start would have to mend.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gosync_api::config::{MetadataKind, MirrorConfig, StatePlace};
use gosync_api::messages::WatchState;
use gosync_api::words::{Direction, HaltReason, Phase};
use gosync_cache::RedisCache;
use gosync_engine::ports::{Ids as _, LocalTree, MetadataStore, Ports, ReplicaState, StateChange, StateError};
use gosync_engine::{Command, Ended, MirrorHandle, NOTE_PAUSED, NOTE_VOLUME, View};
use gosync_fs::{DiskTree, Lock};
use gosync_metadata::SqliteState;
use gosync_telemetry::MirrorMetrics;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::chain::chain;
use crate::config_row;
use crate::databases::open_state;
use crate::limits::engine_config;
use crate::neighbours::Remote;
use crate::parts::Parts;
use crate::ports::{Blocking, FencedState, FencedTree, RandomIds, Teller, utc_ms};
use crate::root::{Keeps, Known, OpenRoot, VolumeNote, late_lock, open_root};
use crate::stores::StoreTrouble;
use crate::tell::trouble::Outside;
use crate::volume::{Claim, VolumeLease, unanswered};
use crate::watcher::{WatchStanding, Watcher};
use crate::words;

const RETRY: Duration = Duration::from_secs(1);
const REOPEN: Duration = Duration::from_millis(50);
/// A loop that turns answers at once.
const VIEW_WAIT: Duration = Duration::from_secs(5);
/// Opening takes a moment; longer where a large root is watched first.
const OPEN_WAIT: Duration = Duration::from_secs(30);
const MARKER: &str = ".gosync/marker";
const BEAT: &str = ".gosync/beat";
const STATE_IN_VOLUME: &str = ".gosync/state.db";
/// Stands for the volume of a root that is known, and has no marker.
const UNMARKED: &str = "unmarked";

pub struct Mirror {
    pub config: MirrorConfig,
    pub metrics: MirrorMetrics,
    parts: Arc<Parts>,
    paused: Mutex<bool>,
    standing: watch::Sender<Standing>,
    watching: WatchStanding,
    stop: CancellationToken,
    ended: CancellationToken,
    /// Of the leases that this mirror takes.
    holder: String,
}

/// Whether there is an engine, and why not.
#[derive(Clone)]
enum Standing {
    Down(Down),
    Up(MirrorHandle),
}

impl Standing {
    fn down(phase: Phase, why: Option<Why>) -> Self {
        Self::Down(Down { phase, why, since_ms: utc_ms() })
    }

    /// Nothing is known yet, but will be soon.
    fn is_opening(&self) -> bool {
        matches!(self, Self::Down(Down { why: None, phase: Phase::Waiting, .. }))
    }
}

/// Why a mirror has no engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    pub phase: Phase,
    pub why: Option<Why>,
    pub since_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    Halt(HaltReason, String),
    Error { class: &'static str, message: String },
}

impl Why {
    fn message(self) -> String {
        match self {
            Self::Halt(_, message) | Self::Error { message, .. } => message,
        }
    }
}

/// What a look at a mirror shows.
pub enum Seen {
    Down(Down),
    Up(Box<View>),
    /// The engine doesn't answer.
    Silent,
}

/// What an engine is made of.
struct Opened {
    lock: Option<Lock>,
    root_is_read_only: bool,
    /// On a network file system.
    turn: Option<VolumeLease>,
    tree: Arc<DiskTree>,
    state: Arc<SqliteState>,
    ports: Ports,
}

impl Mirror {
    /// Begins to open it and to keep it running. Must be called inside the runtime.
    pub fn start(config: MirrorConfig, paused: bool, parts: Arc<Parts>) -> Arc<Self> {
        let mirror = Arc::new(Self {
            metrics: parts.metrics.mirror(&config.name),
            standing: watch::Sender::new(Standing::down(Phase::Waiting, None)),
            paused: Mutex::new(paused),
            watching: Arc::new(Mutex::new(WatchState::default())),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
            holder: RandomIds.nonce().to_hex(),
            config,
            parts,
        });
        tokio::spawn(Arc::clone(&mirror).keep_running());
        mirror
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Other agents have the same metadata.
    pub fn shares_metadata(&self) -> bool {
        self.config.metadata.kind == MetadataKind::Postgres
    }

    /// Where the shared metadata are: `host:port/database`.
    pub fn metadata_server(&self) -> Option<String> {
        let postgres = &self.config.metadata.postgres;
        // A URL may hold the password.
        let place = match postgres.url.is_empty() {
            true => format!("{}:{}/{}", postgres.host, postgres.port, postgres.database),
            false => "by url".to_owned(),
        };
        self.shares_metadata().then_some(place)
    }

    /// To talk to the engine, once it is known whether there is one.
    pub async fn handle(&self) -> Option<MirrorHandle> {
        let mut standing = self.standing.subscribe();
        let known = timeout(OPEN_WAIT, standing.wait_for(|standing| !standing.is_opening())).await;
        match &*known.ok()?.ok()? {
            Standing::Up(handle) => Some(handle.clone()),
            Standing::Down(_) => None,
        }
    }

    pub async fn look(&self) -> Seen {
        let standing = self.standing.borrow().clone();
        match standing {
            Standing::Down(down) => Seen::Down(down),
            Standing::Up(handle) => match timeout(VIEW_WAIT, handle.ask(Command::View)).await {
                Ok(Some(view)) => Seen::Up(Box::new(view)),
                // It has just ended, and is opened again.
                Ok(None) => Seen::Down(Down { phase: Phase::Waiting, why: None, since_ms: utc_ms() }),
                Err(_) => Seen::Silent,
            },
        }
    }

    pub fn watching(&self) -> WatchState {
        lock(&self.watching).clone()
    }

    pub fn is_paused(&self) -> bool {
        *lock(&self.paused)
    }

    /// Holds until it is changed, also over the engine's restarts; keeping it over the agent's is the caller's.
    pub async fn set_paused(&self, paused: bool) {
        *lock(&self.paused) = paused;
        let standing = self.standing.borrow().clone();
        if let Standing::Up(handle) = standing {
            let _ = if paused { handle.ask(Command::Pause).await } else { handle.ask(Command::Resume).await };
        }
    }

    /// Ends the engine and does not begin another. Returns when everything of it is closed.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }

    async fn keep_running(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            let wait = match self.open().await {
                Ok(opened) => match self.run(opened).await {
                    Ended::Stopped => break,
                    Ended::ReopenRoot => REOPEN,
                    Ended::Killed => {
                        let message = "the mirror ended by a fault of the agent; the log says more".to_owned();
                        self.down(Why::Error { class: words::INTERNAL, message });
                        RETRY
                    }
                },
                Err(why) => {
                    self.down(why);
                    RETRY
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sleep(wait) => {}
            }
        }
        self.standing.send_replace(Standing::down(Phase::Closing, None));
        self.ended.cancel();
    }

    fn down(&self, why: Why) {
        if matches!(&*self.standing.borrow(), Standing::Down(known) if known.why.as_ref() == Some(&why)) {
            return;
        }
        let mirror = self.name();
        match &why {
            Why::Halt(reason, message) => tracing::warn!(mirror, %reason, message, "halted"),
            Why::Error { class, message } => {
                self.metrics.error(class);
                tracing::warn!(mirror, class, message, "the mirror can't be opened; tried again");
            }
        }
        if let Some(screen) = &self.parts.screen {
            screen.down(mirror, &why);
        }
        let phase = match &why {
            Why::Error { class: words::LOCKED, .. } => Phase::Standby,
            _ => Phase::Waiting,
        };
        self.standing.send_replace(Standing::down(phase, Some(why)));
    }

    // ---- opening ----------------------------------------------------------------------------------------------

    async fn open(&self) -> Result<Opened, Why> {
        let root = self.config.local_path.clone();
        let keeps = Keeps::of(&self.config.sync);
        let state_path = self.parts.state_path(self.name());
        let only_sends = self.config.direction == Direction::Push;
        let (note, in_volume, shared) = (self.volume_note(), self.keeps_state_in_volume(), self.shares_metadata());
        let opened = blocking(move || {
            let known = match note.is_there()? {
                _ if !in_volume && state_path.exists() => Known::ByState,
                true => Known::ByNote(&note),
                false => Known::No,
            };
            let is_new = matches!(known, Known::No);
            let opened = open_root(&root, keeps, known, only_sends && !in_volume, shared)?;
            if in_volume || opened.tree.opened_root().network {
                note.keep()?;
            }
            Ok((opened, is_new))
        });
        let (OpenRoot { tree, lock, is_held, read_only: root_is_read_only }, is_new) = opened.await??;
        let tree = Arc::new(tree);
        let turn = match tree.opened_root().network {
            true => Some(self.take_turn(&tree, is_held, is_new, root_is_read_only).await?),
            false => None,
        };

        let state = Arc::new(self.open_state().await.map_err(state_trouble)?);
        self.note_pause(&*state).await.map_err(state_trouble)?;
        let metadata = self.metadata().await.map_err(state_trouble)?;
        let store = self.parts.stores.get(&self.config.s3, &self.config.sync.bandwidth).await.map_err(store_trouble)?;

        let observer = Arc::new(Teller {
            mirror: self.config.name.clone(),
            metrics: self.metrics.clone(),
            neighbours: Arc::clone(&self.parts.neighbours),
            screen: self.parts.screen.clone(),
            outside: Outside::of(&self.config),
        });
        let (mut local, mut fenced): (Arc<dyn LocalTree>, Arc<dyn ReplicaState>) =
            (Arc::clone(&tree) as _, Arc::clone(&state) as _);
        if let Some(turn) = &turn {
            local = Arc::new(FencedTree { inner: local, fence: turn.fence() });
            fenced = Arc::new(FencedState { inner: fenced, fence: turn.fence() });
        }
        let ports = Ports {
            local,
            store,
            state: fenced,
            metadata,
            cache: self.cache().map(|cache| cache as _),
            clock: Arc::clone(&self.parts.clock) as _,
            ids: Arc::new(RandomIds),
            workers: Arc::new(Blocking),
            observer,
        };
        Ok(Opened { lock, root_is_read_only, turn, tree, state, ports })
    }

    /// On a file system that other hosts can write to: whose turn it is.
    async fn take_turn(
        &self,
        tree: &Arc<DiskTree>,
        is_held: bool,
        is_new: bool,
        read_only: bool,
    ) -> Result<VolumeLease, Why> {
        let metadata = self.metadata().await.map_err(unanswered)?;
        let (endpoint, bucket) = (self.endpoint(), &self.config.s3.bucket);
        let store = metadata.store(&endpoint, bucket).await.map_err(unanswered)?;
        let mut known = (!is_new || read_only).then(|| UNMARKED.to_owned());
        if !is_new && !read_only && !self.keeps_state_in_volume() && self.state_path().exists() {
            let state = self.open_state().await.map_err(state_trouble)?;
            known = state.note(NOTE_VOLUME).await.map_err(state_trouble)?.or(known);
            state.close().await;
        }
        let claim = Claim {
            metadata,
            epoch: store.epoch,
            holder: self.holder.clone(),
            mirror: self.config.name.clone(),
            remote: format!("{endpoint}|{bucket}|{}", self.config.prefix),
            known,
            is_held,
            read_only,
        };
        VolumeLease::take(tree, claim).await
    }

    fn keeps_state_in_volume(&self) -> bool {
        self.config.state == StatePlace::Volume
    }

    /// What identifies the store.
    fn endpoint(&self) -> String {
        match &self.parts.store_identity {
            Some(identity) => identity.clone(),
            None => self.config.s3.resolve_endpoint().map(|endpoint| endpoint.identity).unwrap_or_default(),
        }
    }

    async fn open_state(&self) -> Result<SqliteState, StateError> {
        open_state(self.state_path()).await
    }

    fn state_path(&self) -> PathBuf {
        match self.config.state {
            StatePlace::DataDir => self.parts.state_path(self.name()),
            StatePlace::Volume => self.config.local_path.join(STATE_IN_VOLUME),
        }
    }

    /// Where the state is in the volume, without the volume nothing else would tell that there is one; nor where another
    /// agent is active on it.
    fn volume_note(&self) -> VolumeNote {
        VolumeNote { path: self.parts.volume_note_path(self.name()), root: self.config.local_path.clone() }
    }

    /// The agent's list of mirrors says what is paused; the state may lag behind it by a kill.
    async fn note_pause(&self, state: &dyn ReplicaState) -> Result<(), StateError> {
        let paused = self.is_paused();
        if state.note(NOTE_PAUSED).await?.is_some() == paused {
            return Ok(());
        }
        let note = NOTE_PAUSED.to_owned();
        let change = if paused { StateChange::PutNote(note, "yes".to_owned()) } else { StateChange::DropNote(note) };
        state.apply(vec![change]).await
    }

    // ---- running ----------------------------------------------------------------------------------------------

    async fn run(&self, opened: Opened) -> Ended {
        let Opened { mut lock, root_is_read_only, turn, tree, state, ports } = opened;
        let endpoint = self.endpoint();
        let mut config = engine_config(&self.config, &endpoint, &self.parts.device);
        config.root_is_read_only = root_is_read_only;
        let remote = Remote { endpoint, bucket: config.bucket.clone(), prefix: config.prefix.clone() };
        let metadata = Arc::clone(&ports.metadata);
        let (handle, engine) = gosync_engine::mirror(config, ports);
        // Watched first: then the first sweep is the only one at start.
        let watcher = match &turn {
            Some(_) => Watcher::polling(&handle, &self.watching),
            None => Watcher::start(self.config.local_path.clone(), handle.clone(), Arc::clone(&self.watching)).await,
        };
        self.parts.neighbours.put(self.name(), remote, handle.clone());
        tokio::spawn(config_row::keep(self.config.clone(), metadata, handle.clone()));
        self.standing.send_replace(Standing::Up(handle.clone()));
        // A pause or an end that was asked for in between.
        if let Err(error) = self.note_pause(&*state).await {
            tracing::warn!(mirror = self.name(), error = chain(&error), "the pause can't be noted");
        }

        let mut engine = tokio::spawn(engine);
        let mut stopping = false;
        let ended = loop {
            tokio::select! {
                ended = &mut engine => break ended,
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    handle.send(Command::Stop);
                }
                () = watcher.lost(), if !stopping => {
                    let tree = Arc::clone(&tree);
                    // Another folder, or none: the engine is not to go on in the one that it has open.
                    if blocking(move || tree.root().ok() != Some(tree.opened_root())).await == Ok(true) {
                        tracing::info!(mirror = self.name(), "the root is no longer at its path");
                        stopping = true;
                        handle.send(Command::Stop);
                    }
                }
                () = lost(turn.as_ref()), if !stopping => {
                    tracing::warn!(mirror = self.name(), "the lease on the folder was lost: nothing more is written to it");
                    stopping = true;
                    handle.send(Command::Stop);
                }
                // A root that is not ours yet gets its lock as soon as it has a folder of ours.
                () = sleep(RETRY), if lock.is_none() && !root_is_read_only && !stopping => {
                    let tree = Arc::clone(&tree);
                    match blocking(move || late_lock(&tree)).await {
                        Ok(Ok(found)) => lock = found,
                        // By somebody whose turn is over.
                        Ok(Err(Why::Error { class: words::LOCKED, .. })) if turn.is_some() => {}
                        Ok(Err(why)) | Err(why) => {
                            tracing::warn!(mirror = self.name(), ?why, "the root can't be locked");
                            stopping = true;
                            handle.send(Command::Stop);
                        }
                    }
                }
            }
        };
        if let Some(turn) = &turn {
            turn.close();
        }
        drop(watcher);
        self.parts.neighbours.remove(self.name());
        self.standing.send_replace(Standing::down(Phase::Waiting, None));
        state.close().await;
        drop(lock);
        if let Some(turn) = turn {
            turn.give_back().await;
        }
        match ended {
            // To be opened again: what is wrong with the root is seen then.
            Ok(Ended::Stopped) if stopping && !self.stop.is_cancelled() => Ended::ReopenRoot,
            Ok(ended) => ended,
            Err(panic) => {
                tracing::error!(mirror = self.name(), error = chain(&panic), "the engine ended in the middle");
                Ended::Killed
            }
        }
    }

    // ---- forgetting -------------------------------------------------------------------------------------------

    /// Takes away what the agent knows of a mirror that was stopped: its rows, its state, its marker; files, objects and
    /// trash stay. The state goes first: a root with a marker and without a state is a first run, which deletes nothing.
    /// Where another agent is active, what is in the root is that one's.
    pub async fn forget(&self) -> Result<(), String> {
        let root = self.config.local_path.clone();
        let (alone, in_volume) = (self.is_alone().await?, self.keeps_state_in_volume());
        if self.state_path().exists() && (alone || !in_volume) {
            let state = self.open_state().await.map_err(|error| chain(&error))?;
            let replica = state.note("replica").await.map_err(|error| chain(&error))?;
            state.close().await;
            drop(state);
            if let Some(replica) = replica {
                self.forget_rows(&replica).await.map_err(|error| chain(&error))?;
            }
        }
        let (state_path, note) = (self.state_path(), self.parts.volume_note_path(self.name()));
        let forgotten = blocking(move || -> Result<(), String> {
            for beside in ["", "-wal", "-shm", "-journal"].into_iter().filter(|_| alone || !in_volume) {
                let mut path = state_path.clone().into_os_string();
                path.push(beside);
                remove_file(Path::new(&path))?;
            }
            remove_file(&note)?;
            if alone {
                remove_file(&root.join(BEAT))?;
                remove_file(&root.join(MARKER))?;
            }
            Ok(())
        });
        forgotten.await.map_err(Why::message)??;
        self.forget_metrics();
        Ok(())
    }

    /// Nobody else is active on the root. One that can't be opened is nobody's.
    async fn is_alone(&self) -> Result<bool, String> {
        let root = self.config.local_path.clone();
        let opened = blocking(move || DiskTree::open(root).ok().map(|tree| (late_lock(&tree), Arc::new(tree)))).await;
        match opened.map_err(Why::message)? {
            Some((Ok(lock), tree)) if tree.opened_root().network => {
                let turn = self.take_turn(&tree, false, false, true).await;
                drop(lock);
                match turn {
                    Ok(turn) => {
                        turn.give_back().await;
                        Ok(true)
                    }
                    Err(Why::Error { class: words::LOCKED, .. }) => Ok(false),
                    Err(why) => Err(why.message()),
                }
            }
            Some((Err(Why::Error { class: words::LOCKED, .. }), _)) => Ok(false),
            _ => Ok(true),
        }
    }

    pub fn forget_metrics(&self) {
        self.parts.metrics.forget_mirror(
            self.name(),
            &HaltReason::ALL.iter().map(|reason| reason.as_str()).collect::<Vec<_>>(),
            words::ERROR_CLASSES,
        );
    }

    async fn metadata(&self) -> Result<Arc<dyn MetadataStore>, StateError> {
        self.parts.databases.of(&self.config.metadata, self.cache(), &self.parts.neighbours).await
    }

    fn cache(&self) -> Option<Arc<RedisCache>> {
        self.parts.caches.get(&self.config.cache)
    }

    async fn forget_rows(&self, replica: &str) -> Result<(), StateError> {
        let metadata = self.metadata().await?;
        metadata.drop_sync_state(replica).await?;
        metadata.drop_sync_config(self.name(), replica).await
    }
}

fn state_trouble(error: StateError) -> Why {
    Why::Error { class: words::STATE, message: chain(&error) }
}

fn store_trouble(error: StoreTrouble) -> Why {
    Why::Error { class: words::ENDPOINT, message: chain(&error) }
}

async fn lost(turn: Option<&VolumeLease>) {
    match turn {
        Some(turn) => turn.lost().await,
        None => std::future::pending().await,
    }
}

fn remove_file(path: &Path) -> Result<(), String> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        // The marker of a root that can't be written to: without a state it is a first run all the same.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        Err(error) => Err(format!("{} can't be removed: {error}", path.display())),
    }
}

/// On a thread that may block. The error: the runtime goes down.
async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, Why> {
    let stopping = |_| Why::Error { class: words::INTERNAL, message: "the agent is stopping".to_owned() };
    tokio::task::spawn_blocking(job).await.map_err(stopping)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
