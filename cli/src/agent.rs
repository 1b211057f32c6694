//! `gosync agent`: from options to the daemon, which does the rest.

use std::io::IsTerminal;
use std::process::ExitCode;

use gosync_agent::{DevOptions, Options};
use gosync_api::Exit;
use gosync_api::config::{load, not_yet};

use crate::args::{AgentArgs, Global};
use crate::failure::Failure;
use crate::{place, version};

pub fn run(args: &AgentArgs, global: &Global) -> Result<ExitCode, Failure> {
    if global.socket.is_some() {
        return Err(Failure::usage(
            "--socket is for the commands that talk to an agent",
            "set agent.socket_path in the config, or GOSYNC_AGENT_SOCKET_PATH",
        ));
    }
    let (version, commit) = (version::VERSION.to_owned(), version::COMMIT.to_owned());
    let code = if args.dev {
        let color = !global.no_color
            && std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        gosync_agent::run_dev(DevOptions { dir: place::dev_dir(global), version, commit, color })
    } else if global.dev_dir.is_some() {
        return Err(Failure::usage("--dev-dir is the folder of the playground", "add --dev, or name a --config"));
    } else {
        let config = place::config(global)?;
        // The agent reads it again for itself; here its mistakes are told as by every other command.
        let loaded = load(&config, args.data_dir.as_deref()).map_err(Failure::config)?;
        let later = not_yet(&loaded.config);
        if !later.is_empty() {
            return Err(Failure::config_not_yet(later));
        }
        gosync_agent::run(Options { config, data_dir: args.data_dir.clone(), version, commit })
    };
    // A code beyond a byte can't be told to the shell.
    Ok(u8::try_from(code).unwrap_or(Exit::Failed.code()).into())
}
