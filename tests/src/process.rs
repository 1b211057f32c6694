//! One started process: output to a log file, ended by its process id when dropped. The log's tail is part of every
//! failure that concerns the process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};

pub struct Process {
    name: String,
    // Kept, since a restart runs the very same command line.
    command: Command,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command with standard output and error in `log` (appended: a restart keeps the story).
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = spawn(&mut command);
        Self { name: name.to_owned(), command, child, log: log.to_owned() }
    }

    /// Kills what still runs and starts the same again.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&mut self.command);
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to {} ({pid:?}): {error}", self.name));
    }

    /// SIGKILL and wait: what a power cut is to a process.
    pub fn kill(&mut self) {
        // An ended one needs no signal; its id stays ours until it was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The exit status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of the log, for a failure's message.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(30);
        format!("--- {} ({}) ---\n{}", self.name, self.log.display(), lines[from..].join("\n"))
    }
}

fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()))
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A temporary folder that stays when the test failed, so that logs and trees can be looked at.
pub struct Folder(Option<tempfile::TempDir>);

impl Folder {
    pub fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("gosync-test-{name}-")).tempdir().unwrap();
        Self(Some(folder))
    }

    pub fn path(&self) -> &Path {
        self.0.as_ref().unwrap().path()
    }

    /// A folder in it, made when it is missing.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.0.take()
        {
            eprintln!("kept for a look: {}", folder.keep().display());
        }
    }
}

/// False when a test has to leave itself out. `what`: for the list of tests that do.
pub fn needs_root(what: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("left out: root is needed for {what}");
    }
    root
}

/// False when a test has to leave itself out. `what`: for the list of tests that do.
pub fn needs_tool(tool: &str, what: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|folder| folder.join(tool).is_file());
    if !there {
        eprintln!("left out: {tool} is missing, for {what}");
    }
    there
}

/// A loopback port that was free a moment ago, for servers that don't take port 0.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).unwrap().port()
}
