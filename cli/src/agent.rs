//! `gosync agent`: from options to the daemon, which does the rest.

use std::io::IsTerminal;
use std::process::ExitCode;

use gosync_agent::{DevOptions, Options};
use gosync_api::Exit;

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
    let version = version::VERSION.to_owned();
    let code = if args.dev {
        let color = !global.no_color
            && std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        gosync_agent::run_dev(DevOptions { dir: place::dev_dir(global), version, color })
    } else if global.dev_dir.is_some() {
        return Err(Failure::usage("--dev-dir is the folder of the playground", "add --dev, or name a --config"));
    } else {
        gosync_agent::run(Options { config: place::config(global)?, data_dir: args.data_dir.clone(), version })
    };
    // A code beyond a byte can't be told to the shell.
    Ok(u8::try_from(code).unwrap_or(Exit::Failed.code()).into())
}
