//! What is wrong with a config, a machine, a store, what agents share or a running agent, each with its next step.
//!
//! Nothing is changed, neither here nor in the bucket; only where it is asked for are the store's conditions probed, which
//! writes below `<prefix>.gosync/probe/` and takes it away again. Asking again is always right.

mod machine;
mod metadata;
mod root;
mod running;
mod store;

use std::path::{Path, PathBuf};

use gosync_api::config::{
    AgentConfig, Loaded, MinFree, MirrorConfig, MirrorSpec, Problem, Problems, RealDisk, not_yet,
};
use gosync_api::doctor::{Check, Diagnosis, Verdict};
use gosync_api::messages::{MirrorState, State};
use gosync_api::words::Direction;

use crate::dev;

/// What a diagnosis begins with.
pub struct Questions {
    pub config: ConfigFound,
    pub agent: AgentFound,
    /// Of whoever asks.
    pub release: String,
    /// Find out about the store's conditions where they are not known; this writes.
    pub probe: bool,
}

pub enum ConfigFound {
    /// Why there is none, and how to have one.
    None {
        why: String,
        next: String,
    },
    Mistakes(Problems),
    Loaded(Box<Loaded>),
}

pub enum AgentFound {
    Answers {
        socket: String,
        state: Box<State>,
    },
    /// Nobody is there.
    Nobody {
        why: String,
        next: String,
    },
    /// Somebody is there who can't be talked to.
    Trouble {
        why: String,
        next: String,
    },
}

/// One mirror, from wherever it is known.
struct Subject {
    name: String,
    local_path: PathBuf,
    direction: Direction,
    /// `None`: only the agent knows.
    config: Option<MirrorConfig>,
    /// Where its agent keeps its own state.
    data_dir: PathBuf,
    /// `None`: no agent works on it.
    state: Option<MirrorState>,
}

impl Subject {
    fn min_free(&self) -> MinFree {
        self.config.as_ref().map(|config| config.sync.min_free.clone()).unwrap_or_default()
    }

    /// Is what comes down written into the folder?
    fn writes_locally(&self) -> bool {
        self.direction != Direction::Push
    }

    fn writes_remotely(&self) -> bool {
        self.direction != Direction::Pull
    }
}

/// Makes every check that can be made. Takes as long as the stores take to answer.
pub async fn doctor(questions: Questions) -> Diagnosis {
    let mut checks = Checks::default();
    let config = checks.config(&questions.config, &questions.agent);
    let ours = running::agent(&mut checks, config, &questions.agent, &questions.release);
    let data_dir = config.map(|config| config.data_dir.clone()).or(ours.map(|state| state.data_dir.clone().into()));
    if let Some(data_dir) = &data_dir {
        machine::data_dir(&mut checks, data_dir, ours);
    }
    let subjects = subjects(&data_dir.unwrap_or_default(), config, ours);
    machine::watches(&mut checks, &subjects);
    for subject in &subjects {
        root::check(&mut checks, subject, ours.map(|state| state.pid));
    }
    store::check(&mut checks, &subjects, questions.probe).await;
    metadata::check(&mut checks, &subjects).await;
    for subject in &subjects {
        running::mirror(&mut checks, subject);
    }
    Diagnosis::of(checks.0)
}

/// The mirrors of the config, and those that the agent knows besides.
fn subjects(data_dir: &Path, config: Option<&AgentConfig>, state: Option<&State>) -> Vec<Subject> {
    let known = |name: &str| state.and_then(|state| state.mirrors.iter().find(|mirror| mirror.name == name)).cloned();
    let configured = config.map(|config| config.syncs.as_slice()).unwrap_or_default();
    let mut subjects: Vec<Subject> = configured
        .iter()
        .map(|mirror| Subject {
            name: mirror.name.clone(),
            local_path: mirror.local_path.clone(),
            direction: mirror.direction,
            config: Some(mirror.clone()),
            data_dir: data_dir.to_owned(),
            state: known(&mirror.name),
        })
        .collect();
    for mirror in state.map(|state| state.mirrors.as_slice()).unwrap_or_default() {
        if subjects.iter().any(|subject| subject.name == mirror.name) {
            continue;
        }
        let spec = MirrorSpec {
            name: mirror.name.clone(),
            local_path: mirror.local_path.clone().into(),
            s3_path: mirror.s3_path.clone(),
            direction: mirror.direction,
            ignore_patterns: Vec::new(),
        };
        subjects.push(Subject {
            name: mirror.name.clone(),
            local_path: mirror.local_path.clone().into(),
            direction: mirror.direction,
            // One that the config has no room for says so in its state.
            config: config.and_then(|config| config.mirror(&spec, &[], &RealDisk).ok()),
            data_dir: data_dir.to_owned(),
            state: Some(mirror.clone()),
        });
    }
    subjects
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, check: &str, mirror: Option<&str>, verdict: Verdict, found: impl Into<String>, next: &str) {
        self.0.push(Check {
            check: check.to_owned(),
            mirror: mirror.map(str::to_owned),
            verdict,
            found: found.into(),
            next: Some(next.to_owned()).filter(|next| !next.is_empty()),
        });
    }

    fn ok(&mut self, check: &str, mirror: Option<&str>, found: impl Into<String>) {
        self.add(check, mirror, Verdict::Ok, found, "");
    }

    fn warning(&mut self, check: &str, mirror: Option<&str>, found: impl Into<String>, next: &str) {
        self.add(check, mirror, Verdict::Warning, found, next);
    }

    fn wrong(&mut self, check: &str, mirror: Option<&str>, found: impl Into<String>, next: &str) {
        self.add(check, mirror, Verdict::Wrong, found, next);
    }

    /// The config, if it holds. Without one nothing can be said unless an agent speaks.
    fn config<'a>(&mut self, found: &'a ConfigFound, agent: &AgentFound) -> Option<&'a AgentConfig> {
        let problem = |problem: &Problem| {
            let told = Problem { hint: String::new(), ..problem.clone() };
            (told.to_string(), problem.hint.clone())
        };
        match found {
            ConfigFound::None { why, next } => {
                match agent {
                    AgentFound::Answers { state, .. } if state.config_files == [dev::CONFIG] => {
                        self.ok("config", None, "none, and the agent that answers needs none: it is a playground");
                    }
                    AgentFound::Answers { .. } => self.warning("config", None, why, next),
                    AgentFound::Nobody { .. } | AgentFound::Trouble { .. } => self.wrong("config", None, why, next),
                }
                None
            }
            ConfigFound::Mistakes(Problems(problems)) => {
                for (what, next) in problems.iter().map(problem) {
                    self.wrong("config", None, what, &next);
                }
                None
            }
            ConfigFound::Loaded(loaded) => {
                let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
                let mirrors = loaded.config.syncs.len();
                let s = if mirrors == 1 { "" } else { "s" };
                self.ok("config", None, format!("{}: no mistakes, {mirrors} mirror{s}", files.join(", ")));
                for (what, next) in not_yet(&loaded.config).iter().map(problem) {
                    self.wrong("config", None, format!("{what}: the agent refuses it"), &next);
                }
                for (what, next) in loaded.warnings.iter().map(problem) {
                    self.warning("config", None, what, &next);
                }
                Some(&loaded.config)
            }
        }
    }
}

/// `3.4 GiB`
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
