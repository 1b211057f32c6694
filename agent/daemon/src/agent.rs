//! The agent: its mirrors, and how it stands as a whole.
//!
//! Commands that change the list of mirrors come one at a time. The list on disk is written before what it says is done,
//! and a removal takes its row away last: after a kill in between the same command does the rest.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use gosync_api::config::{
    AgentConfig, HydrationMode, LogLevel, MirrorConfig, OnTimeout, Problem, Problems, Wrong, label_of,
};
use gosync_api::messages::{
    Acknowledged, CacheState, Dependency, ErrorBody, ErrorCode, ErrorNow, List, ListEntry, MirrorMade, MirrorRequest,
    MirrorState, Probe, ProbeResult, State,
};
use gosync_api::words::{Phase, Status};
use gosync_engine::ports::{Cache as _, StateError};
use gosync_metadata::SqliteMetadata;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::chain::chain;
use crate::made::Made;
use crate::one_mirror::{Mirror, Seen};
use crate::parts::Parts;
use crate::tell::trouble::Outside;
use crate::{level, named, reload, tell, words};

pub struct Agent {
    pub parts: Arc<Parts>,
    config: RwLock<Arc<AgentConfig>>,
    config_files: Vec<PathBuf>,
    /// Holds the list of mirrors.
    pub metadata: Arc<SqliteMetadata>,
    started: Timestamp,
    started_at: Instant,
    mirrors: RwLock<BTreeMap<String, Arc<Mirror>>>,
    /// Mirrors made by commands that the config leaves no room for any more.
    refused: RwLock<Vec<MirrorState>>,
    changing: tokio::sync::Mutex<()>,
    metrics: RwLock<MetricsAddress>,
    restart_needed: RwLock<Vec<String>>,
    dependencies: Mutex<BTreeMap<String, Dependency>>,
}

/// Where metrics are served, or why they are not.
#[derive(Clone, Debug, Default)]
pub struct MetricsAddress {
    pub address: Option<SocketAddr>,
    pub problem: Option<String>,
}

/// The config and a mirror that was made by a command don't go together.
fn beside_made(name: &str, Problems(problems): Problems) -> Problems {
    let told = problems.into_iter().map(|problem| Problem {
        what: format!("the mirror \"{name}\", made by `gosync sync mirror`, does not go with it: {}", problem.what),
        hint: format!(
            "change the config, or give that mirror up with `gosync sync remove {name}`; its files and objects stay"
        ),
        ..problem
    });
    Problems(told.collect())
}

impl Agent {
    /// Begins every mirror of the config and of the list.
    pub async fn start(
        parts: Arc<Parts>,
        config: AgentConfig,
        config_files: Vec<PathBuf>,
        metadata: Arc<SqliteMetadata>,
    ) -> Result<Arc<Self>, StateError> {
        let agent = Arc::new(Self {
            parts,
            config: RwLock::new(Arc::new(config)),
            config_files,
            metadata,
            started: Timestamp::now(),
            started_at: Instant::now(),
            mirrors: RwLock::default(),
            refused: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
            metrics: RwLock::default(),
            restart_needed: RwLock::default(),
            dependencies: Mutex::default(),
        });
        agent.use_caches(&agent.config()).await;
        let rows = agent.metadata.mirrors().await?;
        let paused = |name: &str| rows.iter().any(|row| row.name == name && row.paused);
        for mirror in &agent.config().syncs {
            agent.begin(mirror.clone(), paused(&mirror.name));
        }
        for row in &rows {
            let Some(text) = &row.config else { continue };
            match agent.settings_of_row(&row.name, text) {
                Ok(settings) => agent.begin(settings, row.paused),
                Err(why) => {
                    tracing::error!(mirror = row.name, why, "a mirror made by a command can't be started");
                    agent.refused.write().unwrap_or_else(PoisonError::into_inner).push(refused(&row.name, text, why));
                }
            }
        }
        Ok(agent)
    }

    fn settings_of_row(&self, name: &str, text: &str) -> Result<MirrorConfig, String> {
        let made: Made = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let settings = made.settings(name, &self.config(), &self.made());
        settings.map_err(|problems| beside_made(name, problems).to_string())
    }

    fn begin(&self, settings: MirrorConfig, paused: bool) {
        let name = settings.name.clone();
        let paused = paused || settings.paused;
        let mirror = Mirror::start(settings, paused, Arc::clone(&self.parts));
        self.mirrors.write().unwrap_or_else(PoisonError::into_inner).insert(name, mirror);
    }

    /// Mirrors made by commands have the settings of the agent.
    async fn use_caches(&self, config: &AgentConfig) {
        let settings = std::iter::once(&config.cache).chain(config.syncs.iter().map(|mirror| &mirror.cache));
        self.parts.caches.use_only(settings.collect()).await;
    }

    /// The config in force.
    pub fn config(&self) -> Arc<AgentConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// By name.
    pub fn mirrors(&self) -> Vec<Arc<Mirror>> {
        self.mirrors.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub fn mirror(&self, name: &str) -> Result<Arc<Mirror>, ErrorBody> {
        let found = self.mirrors.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        found.ok_or_else(|| {
            let hint = "`gosync sync list` shows the names";
            ErrorBody::new(ErrorCode::NotFound, format!("there is no mirror \"{name}\""), hint)
        })
    }

    /// The one that was named, or all.
    pub fn chosen(&self, name: Option<&str>) -> Result<Vec<Arc<Mirror>>, ErrorBody> {
        match name {
            Some(name) => Ok(vec![self.mirror(name)?]),
            None => Ok(self.mirrors()),
        }
    }

    /// Settings of the mirrors that were made by commands.
    fn made(&self) -> Vec<MirrorConfig> {
        let mirrors = self.mirrors();
        mirrors.iter().filter(|mirror| mirror.config.place.is_none()).map(|mirror| mirror.config.clone()).collect()
    }

    // ---- the list of mirrors ----------------------------------------------------------------------------------

    pub async fn make_mirror(&self, request: &MirrorRequest) -> Result<MirrorMade, ErrorBody> {
        let _one = self.changing.lock().await;
        let made = Made::of(request);
        let name = match &request.name {
            Some(name) => name.clone(),
            None => self.free_name(&made)?,
        };
        let settings = made.settings(&name, &self.config(), &self.made()).map_err(wrong_mirror)?;
        if std::fs::metadata(&settings.local_path).is_ok_and(|found| !found.is_dir()) {
            let message = format!("{} is no folder", settings.local_path.display());
            let hint = "a mirror keeps a folder in step: name the one that the file lies in";
            return Err(ErrorBody::new(ErrorCode::BadRequest, message, hint));
        }
        let made_folder = !request.dry_run && !settings.local_path.exists();
        if made_folder {
            std::fs::create_dir_all(&settings.local_path).map_err(|error| {
                let message = format!("the folder {} can't be made: {error}", settings.local_path.display());
                ErrorBody::new(ErrorCode::BadRequest, message, "make it yourself, or name another one")
            })?;
        }
        let answer = MirrorMade {
            name: name.clone(),
            local_path: settings.local_path.display().to_string(),
            s3_path: settings.remote(),
            made_folder,
            dry_run: request.dry_run,
            plan: match request.dry_run {
                true => Some(crate::plan::first_run(self, &settings).await?),
                false => None,
            },
        };
        if !request.dry_run {
            let text = serde_json::to_string(&made).map_err(|error| internal(&error))?;
            self.metadata.put_mirror(&name, &text).await.map_err(|error| internal(&error))?;
            tracing::info!(mirror = name, local_path = answer.local_path, s3_path = answer.s3_path, "mirror made");
            self.refused.write().unwrap_or_else(PoisonError::into_inner).retain(|state| state.name != name);
            self.begin(settings, false);
        }
        Ok(answer)
    }

    /// A name made from the folder's that no mirror has.
    fn free_name(&self, made: &Made) -> Result<String, ErrorBody> {
        let folder = made.local_path.file_name().unwrap_or_default().to_string_lossy();
        let label = label_of(&folder).ok_or_else(|| {
            let message = format!("no name can be made from {}", made.local_path.display());
            ErrorBody::new(ErrorCode::BadRequest, message, "give the mirror one with --name")
        })?;
        let taken = |name: &str| self.mirror(name).is_ok();
        if !taken(&label) {
            return Ok(label);
        }
        let numbered = (2..1_000).map(|number| format!("{}-{number}", &label[..label.len().min(58)]));
        numbered.into_iter().find(|name| !taken(name)).ok_or_else(|| {
            ErrorBody::new(ErrorCode::Exists, format!("every name like \"{label}\" is taken"), "choose one with --name")
        })
    }

    pub async fn pause(&self, name: &str, paused: bool) -> Result<Acknowledged, ErrorBody> {
        let _one = self.changing.lock().await;
        let mirror = self.mirror(name)?;
        let was = mirror.is_paused();
        self.metadata.set_mirror_paused(name, paused).await.map_err(|error| internal(&error))?;
        mirror.set_paused(paused || mirror.config.paused).await;
        let message = match (was, paused) {
            (_, false) if mirror.config.paused => "resumed by hand, and still paused by the config",
            (false, true) => "paused, over restarts too",
            (true, true) => "it was paused already",
            (true, false) => "resumed",
            (false, false) => "it was not paused",
        };
        tracing::info!(mirror = name, message);
        Ok(Acknowledged { name: name.to_owned(), message: message.to_owned() })
    }

    pub async fn remove(&self, name: &str) -> Result<Acknowledged, ErrorBody> {
        let _one = self.changing.lock().await;
        let message = "forgotten; its files and objects stay as they are".to_owned();
        let was_refused = {
            let mut refused = self.refused.write().unwrap_or_else(PoisonError::into_inner);
            let before = refused.len();
            refused.retain(|state| state.name != name);
            refused.len() < before
        };
        if !was_refused {
            let mirror = self.mirror(name)?;
            if self.parts.is_playground() && mirror.config.place.is_some() {
                return Err(ErrorBody::new(
                    ErrorCode::Refused,
                    format!("the mirror \"{name}\" is the playground's own"),
                    "to be rid of the playground, end it and delete its folder; mirrors of your own can be removed",
                ));
            }
            if let Some(place) = &mirror.config.place {
                return Err(ErrorBody::new(
                    ErrorCode::Refused,
                    format!("the mirror \"{name}\" is defined in the config, at {place}"),
                    format!("take its entry out of {}: the agent reads it again", place.file().unwrap_or("the config")),
                ));
            }
            mirror.stop().await;
            mirror.forget().await.map_err(|why| {
                let message = format!("the mirror \"{name}\" has stopped, but is not wholly forgotten: {why}");
                ErrorBody::new(ErrorCode::Unavailable, message, "mend that, then remove it again")
            })?;
            self.mirrors.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        }
        self.metadata.drop_mirror(name).await.map_err(|error| internal(&error))?;
        tracing::info!(mirror = name, "mirror removed");
        Ok(Acknowledged { name: name.to_owned(), message })
    }

    // ---- its log ----------------------------------------------------------------------------------------------

    /// Until the next start, or until the config is read again. Returns the level from before.
    pub fn set_log_level(&self, new: LogLevel) -> Result<LogLevel, ErrorBody> {
        let log = self.parts.log_level.as_ref().ok_or_else(|| {
            let message = "the log of this process is not the agent's own to change";
            ErrorBody::new(ErrorCode::Refused, message, "change it where the process begins its log")
        })?;
        let old = named(log.set(level(new)));
        tracing::info!(%old, %new, "the log's level was changed by a command");
        Ok(old)
    }

    // ---- another config ---------------------------------------------------------------------------------------

    /// Takes on what can change live: mirrors are stopped, begun, or begun again with their new settings.
    pub async fn apply(&self, new: AgentConfig) -> Result<(), Problems> {
        let _one = self.changing.lock().await;
        let running = self.config();
        let waiting = reload::waits_for_restart(&running, &new);
        let force = Arc::new(reload::in_force(&running, new));
        let rows = self.metadata.mirrors().await.map_err(|error| {
            Problems(vec![Wrong::new(chain(&error), "the agent's disk may be full").at(None, "metadata")])
        })?;
        let mut made = Vec::new();
        for row in &rows {
            // One that can't be read was told at the start.
            let Some(mirror) = row.config.as_deref().and_then(|text| serde_json::from_str::<Made>(text).ok()) else {
                continue;
            };
            let settings = mirror.settings(&row.name, &force, &made);
            made.push(settings.map_err(|problems| beside_made(&row.name, problems))?);
        }
        let wanted: Vec<&MirrorConfig> = force.syncs.iter().chain(&made).collect();
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&force);
        for mirror in self.mirrors() {
            let settings = wanted.iter().find(|settings| settings.name == mirror.name());
            if settings.is_some_and(|settings| settings.same_settings(&mirror.config)) {
                continue;
            }
            mirror.stop().await;
            if settings.is_none() {
                mirror.forget_metrics();
            }
            self.mirrors.write().unwrap_or_else(PoisonError::into_inner).remove(mirror.name());
            tracing::info!(mirror = mirror.name(), "stopped: the config has other settings for it, or none");
        }
        self.use_caches(&force).await;
        for settings in wanted {
            if self.mirror(&settings.name).is_err() {
                let paused = rows.iter().any(|row| row.name == settings.name && row.paused);
                tracing::info!(mirror = settings.name, "begun with the settings of the config");
                self.begin(settings.clone(), paused);
            }
        }
        if waiting.is_empty() {
            tracing::info!("the config was read again");
        } else {
            tracing::warn!(keys = waiting.join(", "), "the config was read again; these keys wait for a restart");
        }
        *self.restart_needed.write().unwrap_or_else(PoisonError::into_inner) = waiting;
        Ok(())
    }

    /// The config has mistakes now: what is in force stays.
    pub fn refuse_config(&self, problems: &Problems) {
        let mut told = vec!["the config has mistakes, so the one from before stays in force".to_owned()];
        for problem in &problems.0 {
            tracing::error!("{problem}");
            told.push(problem.to_string());
        }
        *self.restart_needed.write().unwrap_or_else(PoisonError::into_inner) = told;
    }

    // ---- how it stands ----------------------------------------------------------------------------------------

    pub fn set_metrics_address(&self, metrics: MetricsAddress) {
        *self.metrics.write().unwrap_or_else(PoisonError::into_inner) = metrics;
    }

    pub async fn state(&self) -> State {
        let mirrors: Vec<MirrorState> = self.look_at_all().await.into_iter().map(|(_, state, _)| state).collect();
        let refused = self.refused.read().unwrap_or_else(PoisonError::into_inner).clone();
        let metrics = self.metrics.read().unwrap_or_else(PoisonError::into_inner).clone();
        State {
            version: self.parts.version.clone(),
            device: self.parts.device.clone(),
            pid: std::process::id(),
            started: Some(self.started),
            data_dir: self.config().data_dir.display().to_string(),
            config_files: self.config_files.iter().map(|path| path.display().to_string()).collect(),
            metrics: metrics.address.map(|address| address.to_string()),
            metrics_problem: metrics.problem,
            dependencies: self.dependencies(),
            mirrors: mirrors.into_iter().chain(refused).collect(),
            restart_needed: self.restart_needed.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub async fn list(&self) -> List {
        let entry = |state: MirrorState| ListEntry {
            name: state.name,
            local_path: state.local_path,
            s3_path: state.s3_path,
            status: state.status,
            last_sync: state.last_sync,
            files: state.files,
        };
        List { mirrors: self.state().await.mirrors.into_iter().map(entry).collect() }
    }

    /// Looks at every mirror, side by side; what is seen of the stores is noted.
    async fn look_at_all(&self) -> Vec<(Arc<Mirror>, MirrorState, Seen)> {
        let looks = self.mirrors().into_iter().map(|mirror| async move {
            let seen = mirror.look().await;
            let state = self.state_of(&mirror, &seen);
            (mirror, state, seen)
        });
        let all = futures_util::future::join_all(looks).await;
        self.note_dependencies(&all);
        all
    }

    pub async fn mirror_state(&self, mirror: &Mirror) -> MirrorState {
        self.state_of(mirror, &mirror.look().await)
    }

    fn state_of(&self, mirror: &Mirror, seen: &Seen) -> MirrorState {
        let cache = self.parts.caches.get(&mirror.config.cache).map(|cache| cache.counts());
        let cache = cache.map_or_else(CacheState::default, |(hits, misses)| CacheState { enabled: true, hits, misses });
        MirrorState { cache, ..tell::mirror_state(about(mirror), seen) }
    }

    /// A store or a database is up unless a mirror on it says otherwise.
    fn note_dependencies(&self, all: &[(Arc<Mirror>, MirrorState, Seen)]) {
        // Since when each is down, by the mirror that noticed first.
        let mut outside: BTreeMap<(&str, String), Option<Timestamp>> = BTreeMap::new();
        for (mirror, state, _) in all {
            let down_since = |is_of: fn(&str) -> bool| {
                let failed = state.errors.iter().filter(|error| is_of(&error.class));
                failed.map(|error| error.since.unwrap_or_else(Timestamp::now)).min()
            };
            let mut note = |of: (&'static str, String), since: Option<Timestamp>| {
                let known = outside.entry(of).or_default();
                *known = [*known, since].into_iter().flatten().min();
            };
            let store = mirror.config.s3.resolve_endpoint().map(|endpoint| endpoint.identity).unwrap_or_default();
            note(("s3", store), down_since(words::is_of_the_store));
            if let Some(server) = mirror.metadata_server() {
                note(("postgres", server), down_since(|class| class == words::METADATA));
            }
        }
        let count = |kind: &str| outside.keys().filter(|(known, _)| *known == kind).count();
        let named: Vec<(String, Option<Timestamp>)> = outside
            .iter()
            .map(|((kind, place), down_since)| match count(kind) {
                1 => ((*kind).to_owned(), *down_since),
                _ => (format!("{kind} {place}"), *down_since),
            })
            .collect();
        let caches = self.parts.caches.all();
        let mut known = self.dependencies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = BTreeMap::new();
        for used in &caches {
            let name = if caches.len() == 1 { "cache".to_owned() } else { format!("cache {}", used.address()) };
            let standing = used.cache.as_ref().map(|cache| cache.standing()).unwrap_or_default();
            self.parts.metrics.dependency(&name, standing.up);
            let since = Timestamp::from_millisecond(standing.since_ms).ok().filter(|_| standing.since_ms > 0);
            found.insert(name.clone(), Dependency { name, up: standing.up, since });
        }
        for (name, down_since) in named {
            let up = down_since.is_none();
            let since = match (known.get(&name), down_since) {
                (_, Some(since)) => Some(since),
                (Some(before), None) if before.up => before.since,
                (Some(_), None) => Some(Timestamp::now()),
                (None, None) => Some(self.started),
            };
            self.parts.metrics.dependency(&name, up);
            found.insert(name.clone(), Dependency { name, up, since });
        }
        *known = found;
    }

    fn dependencies(&self) -> Vec<Dependency> {
        self.dependencies.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The text of a scrape, with gauges as they are now.
    pub async fn metrics_text(&self) -> String {
        for (mirror, state, seen) in self.look_at_all().await {
            let progress = match &seen {
                Seen::Up(view) => view.hydration_progress,
                Seen::Down(_) | Seen::Silent => 0.0,
            };
            mirror.metrics.set(&tell::gauges(&state, progress));
        }
        self.parts.metrics.render()
    }

    /// No outside part is asked.
    pub async fn probe(&self, probe: Probe) -> ProbeResult {
        let mut reasons = Vec::new();
        for (mirror, state, seen) in self.look_at_all().await {
            let name = mirror.name();
            let silent = matches!(seen, Seen::Silent);
            let hydrated = state.hydrated || self.counts_as_hydrated(&mirror.config, self.started_at.elapsed());
            match probe {
                Probe::Live if silent => reasons.push(format!("{name}: the loop does not turn")),
                Probe::Startup | Probe::Ready if !hydrated => reasons.push(format!("{name}: not hydrated yet")),
                Probe::Ready if state.status == Status::Error => {
                    let classes: Vec<&str> = state.errors.iter().map(|error| error.class.as_str()).collect();
                    reasons.push(format!("{name}: in error ({})", classes.join(", ")));
                }
                Probe::Live | Probe::Startup | Probe::Ready => {}
            }
        }
        ProbeResult { ok: reasons.is_empty(), reasons }
    }

    /// Without a complete first comparison: by its settings.
    fn counts_as_hydrated(&self, mirror: &MirrorConfig, elapsed: Duration) -> bool {
        let hydration = &mirror.sync.hydration;
        hydration.mode == HydrationMode::None
            || (hydration.on_timeout == OnTimeout::Start && elapsed >= hydration.timeout)
    }
}

fn about(mirror: &Mirror) -> tell::About {
    tell::About {
        name: mirror.name().to_owned(),
        local_path: mirror.config.local_path.display().to_string(),
        s3_path: mirror.config.remote(),
        direction: mirror.config.direction,
        config_file: mirror.config.place.as_ref().and_then(|place| place.file()).map(str::to_owned),
        paused: mirror.is_paused(),
        request: mirror.config.request.clone(),
        watch: mirror.watching(),
        outside: Outside::of(&mirror.config),
    }
}

/// A mirror of the list that can't be started.
fn refused(name: &str, row: &str, why: String) -> MirrorState {
    let made: Option<Made> = serde_json::from_str(row).ok();
    let (local_path, s3_path) = made.map(|made| (made.local_path, made.s3_path)).unwrap_or_default();
    MirrorState {
        name: name.to_owned(),
        local_path: local_path.display().to_string(),
        s3_path,
        status: Status::Error,
        phase: Phase::Waiting,
        errors: vec![ErrorNow {
            class: words::OTHER.to_owned(),
            message: format!("{why}; mend the config, or `gosync sync remove {name}`"),
            since: None,
        }],
        ..MirrorState::default()
    }
}

fn wrong_mirror(problems: Problems) -> ErrorBody {
    let hint = problems.0.first().map(|problem| problem.hint.clone()).unwrap_or_default();
    let what: Vec<String> = problems.0.iter().map(|problem| format!("{}: {}", problem.key, problem.what)).collect();
    ErrorBody::new(ErrorCode::BadRequest, what.join("; "), hint)
}

pub fn internal(error: &dyn std::error::Error) -> ErrorBody {
    ErrorBody::new(ErrorCode::Internal, chain(error), "the agent's log says more")
}
