//! One measured run of either tool: wall time, CPU time and peak memory as the kernel counts them.

use std::fmt;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gosync_tests::agent::{config, gosync, with_mirror};
use gosync_tests::process::Folder;
use gosync_tests::server::Address;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;

#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub wall_seconds: f64,
    pub cpu_seconds: f64,
    pub peak_bytes: u64,
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:7.2} s {:7.2} CPU s {:5} MiB", self.wall_seconds, self.cpu_seconds, self.peak_bytes >> 20)
    }
}

/// Runs the peer to its end.
pub fn peer(mut command: Command) -> Spent {
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    let mut peak_bytes = 0;
    // The peak is readable only while the process lives; its times also after its end, until it is waited for.
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    while waitid(WaitId::Pid(Pid::from_child(&child)), ended).unwrap().is_none() {
        peak_bytes = peak(&child).unwrap_or(peak_bytes);
        std::thread::sleep(Duration::from_millis(2));
    }
    let wall_seconds = started.elapsed().as_secs_f64();
    let cpu_seconds = cpu(&child);
    let status = child.wait().unwrap();
    assert!(status.success(), "{}: {status}", command.get_program().display());
    Spent { wall_seconds, cpu_seconds, peak_bytes }
}

/// An agent with one mirror, which is started and stopped for each measurement.
pub struct Agent {
    home: Folder,
    config: Value,
}

impl Agent {
    pub fn new(address: &Address, bucket: &str, local: &Path, remote: &str) -> Self {
        Self::with(address, bucket, local, remote, |_| {})
    }

    pub fn with(address: &Address, bucket: &str, local: &Path, remote: &str, change: impl FnOnce(&mut Value)) -> Self {
        let home = Folder::new("bench-agent");
        let mut config = with_mirror(config(home.path(), address, bucket), "bench", local, remote);
        // As it comes: no interval of the tests' own.
        config["sync"] = serde_json::json!({});
        change(&mut config);
        fs::write(home.path().join("config.yaml"), config.to_string()).unwrap();
        Self { home, config }
    }

    fn socket(&self) -> PathBuf {
        Path::new(self.config["data_dir"].as_str().unwrap()).join("gosync.sock")
    }

    /// From the start of the process to the receipt of a flush.
    pub async fn until_flushed(&self) -> Spent {
        let running = self.start();
        self.flush();
        running.end()
    }

    /// Takes over all keys below a path, from the start of the process on.
    pub fn provision(&self, path: &str) -> Spent {
        let running = self.start();
        self.ask(&["sync", "provision", path]);
        running.end()
    }

    /// Until everything is in step.
    pub fn flush(&self) {
        self.ask(&["sync", "flush", "--wait", "--timeout", "3600s"]);
    }

    fn ask(&self, args: &[&str]) {
        let output = gosync(self.home.path(), args).env("GOSYNC_SOCKET", self.socket()).output().unwrap();
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), self.log());
    }

    /// Until its socket is there.
    pub fn start(&self) -> Running<'_> {
        let log = fs::File::create(self.home.path().join("agent.log")).unwrap();
        let mut command = gosync(self.home.path(), &["agent", "--config", "config.yaml"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        while UnixStream::connect(self.socket()).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "the agent ended:\n{}", self.log());
            assert!(started.elapsed() < Duration::from_secs(60), "no socket:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        Running { agent: self, child, started }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("agent.log")).unwrap_or_default()
    }
}

/// A started agent.
pub struct Running<'a> {
    agent: &'a Agent,
    child: Child,
    started: Instant,
}

impl Running<'_> {
    /// Seconds so far.
    pub fn cpu(&self) -> f64 {
        cpu(&self.child)
    }

    /// Bytes that are in memory now.
    pub fn resident(&self) -> u64 {
        of_status(&self.child, "VmRSS:").unwrap()
    }

    /// What it has spent until now; then it ends as it is asked to.
    pub fn end(mut self) -> Spent {
        let wall_seconds = self.started.elapsed().as_secs_f64();
        let spent = Spent { wall_seconds, cpu_seconds: self.cpu(), peak_bytes: peak(&self.child).unwrap() };
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.agent.log());
        spent
    }

    /// Without a word.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// User and system time of a process and the threads it had, in seconds; fields 14 and 15 of its stat, in ticks.
fn cpu(child: &Child) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    // The name in parentheses may hold anything.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// The most memory that was ever resident, bytes; none once the process has ended.
fn peak(child: &Child) -> Option<u64> {
    of_status(child, "VmHWM:")
}

/// A line of the kernel's account of a process, bytes.
fn of_status(child: &Child, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10)
}
