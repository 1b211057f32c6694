//! The real binary: agents in folders of their own, and the commands that talk to them.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::permissions::UNPRIVILEGED;
use crate::process::Process;
use crate::server::Address;
use crate::wait;

/// The binary beside this test's own: `target/<profile>/gosync`.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    // Tests are in `deps` below the profile's folder, benchmarks in the folder itself.
    let folder = own.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).unwrap();
    let binary = folder.join("gosync");
    assert!(
        binary.exists(),
        "{} is missing: run `cargo build -p gosync` first (`cargo test --workspace` makes it; `make bench` with --release)",
        binary.display()
    );
    binary
}

/// Any command, without an agent or a home folder of the machine's user.
pub fn gosync(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .current_dir(home);
    command
}

/// The smallest config for one store; more keys are set in the returned value.
pub fn config(home: &Path, store: &Address, bucket: &str) -> Value {
    json!({
        "data_dir": home.join("data"),
        "metadata": {"type": "sqlite"},
        "s3": {
            "endpoint": store.endpoint,
            "bucket": bucket,
            "access_key": store.access_key,
            "secret_key": store.secret_key,
        },
        "syncs": [],
        "sync": {"interval": "1s"},
        "agent": {"metrics": {"listen": "127.0.0.1:0"}},
    })
}

/// One more mirror in a config.
pub fn with_mirror(mut config: Value, name: &str, local: &Path, remote: &str) -> Value {
    let mirror = json!({"name": name, "local_path": local, "s3_path": remote});
    config["syncs"].as_array_mut().unwrap().push(mirror);
    config
}

/// What a mirror's state says of a path that is not simply in step.
pub fn note<'a>(mirror: &'a Value, path: &str) -> Option<&'a Value> {
    mirror["paths"].as_array().unwrap().iter().find(|note| note["path"].as_str().unwrap().trim_end_matches('/') == path)
}

/// The end of `sync flush --wait`.
pub struct Flush {
    pub code: Option<i32>,
    /// On both of its outputs.
    pub told: String,
    pub receipt: Value,
}

/// A running agent; killed when dropped.
pub struct Agent {
    process: Process,
    home: PathBuf,
    socket: PathBuf,
}

impl Agent {
    /// Writes the config (YAML reads JSON), starts the agent and waits until it answers at its socket.
    pub async fn start(home: &Path, config: &Value) -> Self {
        let mut agent = Self::launch(home, config);
        agent.answering().await;
        agent
    }

    /// The same without the wait.
    pub fn launch(home: &Path, config: &Value) -> Self {
        Self::launch_with(home, config, |_| {})
    }

    /// As [`Agent::start`], as a user who owns `home` and whom permissions hold back.
    pub async fn start_unprivileged(home: &Path, config: &Value) -> Self {
        let mut agent = Self::launch_with(home, config, |command| {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        });
        agent.answering().await;
        agent
    }

    /// One that ends itself at this crash point of the engine; only debug builds know them.
    pub fn launch_to_crash(home: &Path, config: &Value, point: &str) -> Self {
        Self::launch_in(home, config, &[("GOSYNC_CRASH_AT", point)])
    }

    /// With these variables in its environment.
    pub fn launch_in(home: &Path, config: &Value, environment: &[(&str, &str)]) -> Self {
        Self::launch_with(home, config, |command| {
            command.envs(environment.iter().copied());
        })
    }

    fn launch_with(home: &Path, config: &Value, change: impl FnOnce(&mut Command)) -> Self {
        let file = home.join("config.yaml");
        std::fs::write(&file, serde_json::to_string_pretty(config).unwrap()).unwrap();
        let mut command = gosync(home, &["agent", "--config"]);
        command.arg(file);
        change(&mut command);
        Self {
            process: Process::start("gosync agent", command, &home.join("agent.log")),
            home: home.to_owned(),
            socket: Path::new(config["data_dir"].as_str().unwrap()).join("gosync.sock"),
        }
    }

    /// Waits until it answers at its socket; a start that fails stops the test.
    pub async fn answering(&mut self) {
        wait::until("the agent answers at its socket", async || {
            if let Some(status) = self.process.ended() {
                panic!("the agent ended ({status})\n{}", self.process.tail());
            }
            let output = self.run(&["sync", "state", "--format", "json"]);
            wait::hold(
                output.status.success(),
                format!("{}{}", String::from_utf8_lossy(&output.stderr), self.process.tail()),
            )
        })
        .await;
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A command of the same user to this agent.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = gosync(&self.home, args);
        command.env("GOSYNC_SOCKET", &self.socket);
        command
    }

    /// Runs it to its end; whatever the outcome.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap_or_else(|error| panic!("gosync: {error}"))
    }

    /// Runs a command to a good end and reads its JSON.
    pub fn ask(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--format", "json"]].concat());
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "gosync {}: {}\n{printed}{}\n{}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr),
            self.process.tail()
        );
        serde_json::from_str(&printed)
            .unwrap_or_else(|error| panic!("gosync {}: {error} in:\n{printed}", args.join(" ")))
    }

    pub fn state(&self) -> Value {
        self.ask(&["sync", "state"])
    }

    /// The state of one mirror.
    pub fn mirror(&self, name: &str) -> Value {
        let state = self.state();
        state["mirrors"]
            .as_array()
            .and_then(|mirrors| mirrors.iter().find(|mirror| mirror["name"] == name))
            .unwrap_or_else(|| panic!("no mirror {name} in {state:#}"))
            .clone()
    }

    /// Waits for a mirror to be in a state; `is_so` says what is still missing.
    pub async fn until(&self, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait::until(&format!("{name}: {what}"), async || {
            let mirror = self.mirror(name);
            if is_so(&mirror) { Ok(mirror) } else { Err(format!("{mirror:#}\n{}", self.process.tail())) }
        })
        .await
    }

    /// Waits for a halt for one of these reasons; returns its id.
    pub async fn halted(&self, name: &str, reasons: &[&str]) -> String {
        let find = |mirror: &Value| {
            let halts = mirror["halts"].as_array().unwrap().clone();
            halts.into_iter().find(|halt| reasons.contains(&halt["reason"].as_str().unwrap()))
        };
        let state = self.until(name, &format!("halted, {reasons:?}"), |mirror| find(mirror).is_some()).await;
        assert_eq!(state["status"], "halted");
        find(&state).unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Waits for an error of this class, in status `error`.
    pub async fn in_error(&self, name: &str, class: &str) {
        self.until(name, &format!("error, {class}"), |mirror| {
            let errors = mirror["errors"].as_array().unwrap();
            mirror["status"] == "error" && errors.iter().any(|error| error["class"] == class)
        })
        .await;
    }

    /// What a flush that waits so long comes to: its end, what it told, and the mirror's receipt.
    pub fn flush(&self, name: &str, timeout: &str) -> Flush {
        let output = self.run(&["sync", "flush", name, "--wait", "--timeout", timeout, "--format", "json"]);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let flushed: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error} in:\n{output:?}"));
        let told = format!("{printed}{}", String::from_utf8_lossy(&output.stderr));
        Flush { code: output.status.code(), told, receipt: flushed["receipts"][0].clone() }
    }

    /// What its mirrors have in their trash.
    pub fn trash(&self) -> Vec<Value> {
        self.ask(&["sync", "trash", "list"])["entries"].as_array().unwrap().clone()
    }

    /// Waits until a flush finds nothing left to do and the mirror is as it should be.
    pub async fn in_step(&self, name: &str) {
        wait::until(&format!("{name} is in step"), async || {
            let flush = self.run(&["sync", "flush", name, "--wait", "--timeout", "20s"]);
            let mirror = self.mirror(name);
            let said = String::from_utf8_lossy(&flush.stderr).into_owned();
            wait::hold(
                flush.status.success() && mirror["status"] == "active",
                format!("{said}{mirror:#}\n{}", self.process.tail()),
            )
        })
        .await;
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on what it left behind.
    pub async fn restart(&mut self) {
        self.relaunch();
        self.answering().await;
    }

    /// The same without the wait.
    pub fn relaunch(&mut self) {
        self.process.restart();
    }

    /// Something happens while it runs, or else between its end and its next start.
    pub async fn meanwhile(&mut self, running: bool, happens: impl FnOnce()) {
        if !running {
            self.stop().await;
        }
        happens();
        if !running {
            self.restart().await;
        }
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// SIGTERM, then waits for its own end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.end().await
    }

    pub async fn end(&mut self) -> ExitStatus {
        wait::until_within(Duration::from_secs(90), "the agent ends", async || {
            self.process.ended().ok_or_else(|| self.process.tail())
        })
        .await
    }
}
