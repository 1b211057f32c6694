//! From texts to a config. `read` is pure over its `Sources`; `load` fetches them from disk and environment.
//!
//! Loading again after an edit is the same call; a config with mistakes yields all of them and no config, so that the
//! one in use stays.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::agent::{self, AgentConfig, Cache, Log, Metadata, Process, S3, SyncSettings};
use super::mounts::{self, Spot};
use super::places::Places;
use super::problem::{Place, Problem, Problems, Wrong, nearest};
use super::section::{Field, Reader};
use super::tree::{self, Map, Value};
use super::{check, mirror};

/// Variables that begin with `GOSYNC_` and are no keys of the config.
const OTHER_VARIABLES: [&str; 3] = ["GOSYNC_SOCKET", "GOSYNC_CONFIG", "GOSYNC_DEV_DIR"];

/// Largest file that a value or a config is read from, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What reading a config needs from the disk besides the config itself.
pub trait Disk {
    /// The text of a file that a secret is kept in.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// The path with its links followed, as far as it exists.
    fn real_path(&self, path: &Path) -> PathBuf;
    /// Where such a path lies in its file system, if that can be told.
    fn spot(&self, _real: &Path) -> Option<Spot> {
        None
    }
}

/// One file of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, as messages name it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Everything that a config is read from.
pub struct Sources<'a> {
    /// The files, in the order in which they add up.
    pub files: Vec<SourceFile>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The home folder.
    pub home: Option<String>,
    /// What relative paths of the environment and the command line are relative to.
    pub current_dir: PathBuf,
    /// `--data-dir`.
    pub data_dir: Option<String>,
    /// Files that keys name.
    pub disk: &'a dyn Disk,
}

/// A config that holds, with what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The config.
    pub config: AgentConfig,
    /// What is odd but no mistake.
    pub warnings: Vec<Problem>,
    /// Every file that it was read from, secrets included: what to watch for edits.
    pub files: Vec<PathBuf>,
}

/// Reads, resolves and checks a config; all mistakes at once.
pub fn read(sources: &Sources<'_>) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let mut root = Map::default();
    for file in &sources.files {
        if let Some(map) = tree::parse(&file.name, &file.text, &mut problems) {
            tree::join(&mut root, map, "", &mut problems);
        }
    }
    let warnings = apply_environment(&mut root, &sources.environment);
    if let Some(data_dir) = &sources.data_dir {
        root.set("data_dir", Place::Flag("--data-dir"), Value::Literal(data_dir.clone()));
    }
    // Half of a file would only raise complaints about keys that are there but could not be read.
    if problems.iter().any(|problem| problem.key.is_empty()) {
        return Err(ordered(problems, sources));
    }

    let start = sources.files.first().map(|file| Place::Line { file: file.name.as_str().into(), line: 1, column: 1 });
    let no_data_dir = |name: &str| sources.environment.get(name).cloned();
    let mut reader = Reader {
        variables: &no_data_dir,
        home: sources.home.clone(),
        current_dir: sources.current_dir.clone(),
        disk: sources.disk,
        files: Vec::new(),
        problems,
    };
    let mut data_dir = PathBuf::new();
    data_dir.read_in(&root, "data_dir", "", &mut reader);
    if root.get("data_dir").is_none() {
        let place = root.entry("data_dir").map(|entry| entry.place.clone()).or_else(|| start.clone());
        let wrong = Wrong::new("this key is required", "add `data_dir: ~/.gosync`");
        reader.problems.push(wrong.at(place, "data_dir"));
    }

    let data_dir_text = data_dir.display().to_string();
    let with_data_dir = |name: &str| match name {
        "data_dir" => Some(data_dir_text.clone()),
        _ => sources.environment.get(name).cloned(),
    };
    let mut reader = Reader { variables: &with_data_dir, ..reader };
    reader.unknown_keys(&root, "", &agent::TOP.map(str::to_owned));
    let mut config = AgentConfig::new(data_dir);
    config.places = Places::of(&root);
    config.log.read_in(&root, "log", "", &mut reader);
    config.metadata.read_in(&root, "metadata", "", &mut reader);
    config.cache.read_in(&root, "cache", "", &mut reader);
    config.s3.read_in(&root, "s3", "", &mut reader);
    config.sync.read_in(&root, "sync", "", &mut reader);
    config.agent.read_in(&root, "agent", "", &mut reader);
    mirror::read_all(&root, &mut config, &mut reader);

    let Reader { mut problems, files, .. } = reader;
    check::whole(&config, start.as_ref(), sources.disk, &mut problems);
    if !problems.is_empty() {
        return Err(ordered(problems, sources));
    }
    let mut all_files: Vec<PathBuf> = sources.files.iter().map(|file| PathBuf::from(&file.name)).collect();
    all_files.extend(files);
    all_files.dedup();
    Ok(Loaded { config, warnings, files: all_files })
}

impl AgentConfig {
    /// The defaults, for a given data_dir and no mirror.
    pub fn new(data_dir: PathBuf) -> Self {
        let settle = |path: &mut PathBuf| {
            if let Ok(rest) = path.strip_prefix("${data_dir}") {
                *path = data_dir.join(rest);
            }
        };
        let mut metadata = Metadata::default();
        settle(&mut metadata.sqlite.path);
        let mut agent = Process::default();
        settle(&mut agent.socket_path);
        Self {
            data_dir,
            log: Log::default(),
            metadata,
            cache: Cache::default(),
            s3: S3::default(),
            syncs: Vec::new(),
            sync: SyncSettings::default(),
            agent,
            places: Places::default(),
        }
    }
}

/// In the order of files and lines; what comes from the environment stands last.
fn ordered(mut problems: Vec<Problem>, sources: &Sources<'_>) -> Problems {
    let rank = |problem: &Problem| {
        let file = problem.place.as_ref().and_then(Place::file);
        let index = file.and_then(|name| sources.files.iter().position(|file| file.name == name));
        (index.unwrap_or(usize::MAX), problem.place.clone())
    };
    problems.sort_by_key(rank);
    problems.dedup();
    Problems(problems)
}

/// Puts what the environment sets into the tree; answers with a warning for each variable that sets nothing.
fn apply_environment(root: &mut Map, environment: &BTreeMap<String, String>) -> Vec<Problem> {
    let keys = agent::environment_keys();
    for key in &keys {
        let Some(value) = environment.get(&key.variable) else { continue };
        let place = Place::Environment(key.variable.clone());
        let mut parts: Vec<&str> = key.path.split('.').collect();
        let Some(last) = parts.pop() else { continue };
        let mut map = Some(&mut *root);
        for part in parts {
            map = map.and_then(|map| map.section(part, &place));
        }
        let Some(map) = map else { continue };
        map.set(last, place, Value::Literal(value.clone()));
        // The environment wins over the file also where the file uses the other of the two keys of a secret.
        if let Some(twin) = &key.twin
            && !environment.contains_key(&agent::environment_name(twin))
            && let Some(twin) = twin.rsplit('.').next()
        {
            map.remove(twin);
        }
    }
    environment
        .keys()
        .filter(|name| name.starts_with("GOSYNC_") && !OTHER_VARIABLES.contains(&name.as_str()))
        .filter(|name| !keys.iter().any(|key| key.variable == **name))
        .map(|name| {
            let hint = match nearest(name, keys.iter().map(|key| key.variable.as_str())) {
                Some(near) => format!("did you mean {near}?"),
                None => "variables are named after keys: GOSYNC_S3_BUCKET for s3.bucket".to_owned(),
            };
            Wrong::new("it sets no key of the config", hint).at(Some(Place::Environment(name.clone())), "")
        })
        .collect()
}

/// The disk itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn read(&self, path: &Path) -> io::Result<String> {
        let size = std::fs::metadata(path)?.len();
        if size > FILE_BYTES_MAX {
            return Err(io::Error::other(format!("it has {size} bytes, more than {FILE_BYTES_MAX}")));
        }
        std::fs::read_to_string(path)
    }

    fn real_path(&self, path: &Path) -> PathBuf {
        let mut missing = PathBuf::new();
        for known in path.ancestors() {
            if let Ok(real) = std::fs::canonicalize(known) {
                return real.join(missing);
            }
            let Some(name) = known.file_name() else { break };
            missing = if missing.as_os_str().is_empty() { name.into() } else { Path::new(name).join(missing) };
        }
        path.to_owned()
    }

    fn spot(&self, real: &Path) -> Option<Spot> {
        mounts::spot(real, &std::fs::read_to_string("/proc/self/mountinfo").ok()?)
    }
}

/// Reads a config from a file, or from the `*.yaml` of a folder in the order of their names.
pub fn load(path: &Path, data_dir: Option<&Path>) -> Result<Loaded, Problems> {
    let current_dir = std::env::current_dir()
        .map_err(|error| one(Path::new("."), &error.to_string(), "go to a folder that exists"))?;
    let mut warnings = Vec::new();
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for name in config_files(path, &mut warnings)? {
        match RealDisk.read(&name) {
            Ok(text) => files.push(SourceFile { name: name.display().to_string(), text }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => problems.extend(
                one(
                    &name,
                    "there is no such file",
                    "write one with `gosync config init`, or name another with --config",
                )
                .0,
            ),
            Err(error) => {
                problems.extend(one(&name, &format!("can't be read: {error}"), "make it readable to this user").0)
            }
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let sources = Sources {
        files,
        home: environment.get("HOME").filter(|home| !home.is_empty()).cloned(),
        environment,
        current_dir,
        data_dir: data_dir.map(|path| path.display().to_string()),
        disk: &RealDisk,
    };
    let mut loaded = read(&sources)?;
    warnings.append(&mut loaded.warnings);
    loaded.warnings = warnings;
    Ok(loaded)
}

fn one(path: &Path, what: &str, hint: &str) -> Problems {
    let place = Place::File(path.display().to_string().into());
    Problems(vec![Wrong::new(what, hint).at(Some(place), "")])
}

/// The files of a config. Hidden ones are passed over: a mounted ConfigMap keeps its own there.
fn config_files(path: &Path, warnings: &mut Vec<Problem>) -> Result<Vec<PathBuf>, Problems> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |error: io::Error| one(path, &format!("can't be read: {error}"), "make it readable to this user");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let Some(text) = name.to_str() else { continue };
        if text.starts_with('.') {
            continue;
        }
        if text.ends_with(".yaml") {
            files.push(path.join(text));
        } else if text.ends_with(".yml") {
            warnings.extend(one(&path.join(text), "is not read: of a folder only *.yaml is", "rename it to .yaml").0);
        }
    }
    if files.is_empty() {
        return Err(one(path, "the folder holds no *.yaml", "put one there, or name a file"));
    }
    files.sort();
    Ok(files)
}
