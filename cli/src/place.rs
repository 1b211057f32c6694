//! Where things are: the config, the playground, the sockets that an agent may answer at.
//!
//! Reads the environment and a few small files; what follows from them is decided in `gosync_api::socket_path`.

use std::env;
use std::path::{Path, PathBuf};

use gosync_api::AgentConfig;
use gosync_api::config::{Loaded, load};
use gosync_api::socket_path::{Candidate, DEV_DIR, Known, Playground, candidates};

use crate::args::Global;
use crate::failure::Failure;

/// The folder that packages and images keep their config in.
const SYSTEM_CONFIG: &str = "/etc/gosync";

/// A variable that is set to something.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn home() -> Option<PathBuf> {
    variable("HOME")
}

/// The config that was named: by option, else by `GOSYNC_CONFIG`.
pub fn named_config(global: &Global) -> Option<PathBuf> {
    global.config.clone().or_else(|| variable("GOSYNC_CONFIG"))
}

/// The file that `config init` writes when none is named.
pub fn home_config() -> Option<PathBuf> {
    home().map(|home| home.join(".gosync").join("config.yaml"))
}

/// The config where none is named: the user's, else the system's.
fn default_config() -> Option<PathBuf> {
    let system = || {
        let mut entries = std::fs::read_dir(SYSTEM_CONFIG).ok()?;
        let is_config = |name: &str| name.ends_with(".yaml") && !name.starts_with('.');
        let found = entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_config)));
        found.then(|| PathBuf::from(SYSTEM_CONFIG))
    };
    home_config().filter(|path| path.exists()).or_else(system)
}

/// The config to use.
pub fn config(global: &Global) -> Result<PathBuf, Failure> {
    named_config(global).or_else(default_config).ok_or_else(|| {
        let looked = match home_config() {
            Some(path) => format!("{} and {SYSTEM_CONFIG}/*.yaml", path.display()),
            None => format!("{SYSTEM_CONFIG}/*.yaml (HOME is not set)"),
        };
        Failure::usage(
            format!("there is no config; looked at {looked}"),
            "write one with `gosync config init`, name one with --config, or try `gosync agent --dev`",
        )
    })
}

/// The config to use, read and checked.
pub fn load_config(global: &Global) -> Result<Loaded, Failure> {
    load(&config(global)?, None).map_err(Failure::config)
}

/// The playground's folder: by option, else by `GOSYNC_DEV_DIR`, else `./gosync-dev`.
pub fn dev_dir(global: &Global) -> PathBuf {
    named_dev_dir(global).unwrap_or_else(|| PathBuf::from(DEV_DIR))
}

fn named_dev_dir(global: &Global) -> Option<PathBuf> {
    global.dev_dir.clone().or_else(|| variable("GOSYNC_DEV_DIR"))
}

fn playground(dir: &Path) -> Playground {
    let note = std::fs::read_to_string(Playground::note_path(dir)).ok();
    let note = note.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).map(PathBuf::from);
    Playground { dir: dir.to_owned(), note }
}

/// The sockets to try, and what else there is to say about where they come from.
pub fn sockets(global: &Global) -> Result<(Vec<Candidate>, Option<String>), Failure> {
    let mut known = Known {
        flag: global.socket.clone(),
        dev_dir: global.dev_dir.as_deref().map(playground),
        environment: variable("GOSYNC_SOCKET"),
        home: home(),
        ..Known::default()
    };
    // An option stands above a variable, and among variables the exact one above the folder.
    if known.flag.is_none() && known.environment.is_none() {
        known.dev_dir = named_dev_dir(global).as_deref().map(playground);
    }
    if known.flag.is_some() || known.dev_dir.is_some() || known.environment.is_some() {
        return Ok((candidates(&known), None));
    }
    let mut remark = None;
    let socket_of = |config: AgentConfig| config.agent.socket_path;
    if named_config(global).is_some() {
        known.named_config = Some(socket_of(load_config(global)?.config));
    } else if let Some(path) = default_config() {
        match load(&path, None) {
            Ok(loaded) => known.config = Some(socket_of(loaded.config)),
            Err(problems) => {
                let count = problems.0.len();
                remark = Some(format!(
                    "the config {} could not be read ({count} mistakes, see `gosync config validate`), so its \
                     agent.socket_path is not known",
                    path.display()
                ));
            }
        }
    }
    known.dev_here = Path::new(DEV_DIR).is_dir().then(|| playground(Path::new(DEV_DIR)));
    Ok((candidates(&known), remark))
}
