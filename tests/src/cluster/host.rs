//! Whose API server the tests run on: one of their own, or the one that `KUBECONFIG` names.
//!
//! There, nothing is touched that was not made here: everything has names of this run and a label by which it is removed when
//! its test ends. A run that is killed leaves what it made; the next one says so, with the command that removes it.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use super::kubectl::Kubectl;
use crate::tools;

/// On everything that is made in a cluster; its value is the run.
pub const LABEL: &str = "gosync.dev/test-run";
/// What is not in a namespace of its own, and the namespaces. Checks of pods first, so that nothing is in the way of the rest.
const KINDS: &str = "mutatingwebhookconfigurations,validatingadmissionpolicybindings,validatingadmissionpolicies,\
                     clusterrolebindings,clusterroles,customresourcedefinitions,namespaces";
/// The address of this machine as that API server reaches it, where it can't be told from the way there.
const ADDRESS: &str = "GOSYNC_TEST_ADDRESS";

/// The tests are guests of somebody's cluster.
pub fn given() -> bool {
    std::env::var_os("KUBECONFIG").is_some_and(|paths| !paths.is_empty())
}

/// False when a test has to leave itself out. `what`: for the list of tests that do.
pub fn needs_own_api_server(what: &str) -> bool {
    if given() {
        eprintln!("left out: an API server of the tests' own is needed for {what}");
    }
    !given()
}

/// What all names of this run begin with.
pub fn run() -> &'static str {
    static RUN: LazyLock<String> = LazyLock::new(|| format!("gosync-test-{:06x}", rand::random::<u32>() >> 8));
    &RUN
}

/// The same text with names of this run, for what the files of the repository name.
pub fn own(text: &str) -> String {
    text.replace("gosync-system", &format!("{}-system", run()))
        .replace("gosync-operator", run())
        .replace("gosync-guard", &format!("{}-guard", run()))
}

/// The objects of a file of the repository, with names and the label of this run.
pub fn objects(file: &str) -> Vec<Value> {
    let text = own(&std::fs::read_to_string(self::file(file)).unwrap());
    let mut objects: Vec<Value> = text.split("\n---\n").map(|text| serde_saphyr::from_str(text).unwrap()).collect();
    objects.iter_mut().for_each(label);
    objects
}

/// A file of the repository.
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

/// Gives an object the label of this run.
pub fn label(object: &mut Value) {
    object["metadata"]["labels"][LABEL] = run().into();
}

/// kubectl: the user's own, where there is one.
pub fn kubectl() -> PathBuf {
    let path = std::env::var_os("PATH").filter(|_| given()).unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("kubectl"));
    found.find(|binary| binary.is_file()).unwrap_or_else(|| tools::path("kubectl"))
}

/// A stay in a cluster of somebody's, one at a time. Dropping it removes all that was made.
pub struct Guest {
    kubectl: Kubectl,
    pub address: IpAddr,
    // Last: whoever comes next finds nothing.
    _turn: MutexGuard<'static, ()>,
}

impl Guest {
    /// Looks whether the cluster can be used at all. What it is reached by is written into `kubeconfig`.
    pub async fn enter(kubeconfig: &Path) -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let instead = "unset KUBECONFIG to have the tests run on an API server of their own";
        let view = ["config", "view", "--raw", "--flatten", "--minify", "-o", "json"];
        let view = Command::new(self::kubectl()).args(view).output().unwrap();
        let config: Value = serde_json::from_slice(&view.stdout).unwrap_or_default();
        let Some(server) = config["clusters"][0]["cluster"]["server"].as_str() else {
            unusable(&format!(
                "KUBECONFIG names no cluster: {}; {instead}",
                String::from_utf8_lossy(&view.stderr).trim()
            ));
        };
        std::fs::write(kubeconfig, config.to_string()).unwrap();
        let kubectl = Kubectl::new(kubeconfig);
        let told = kubectl.run(&["get", "--raw", "/version", "--request-timeout=10s"]);
        if !told.ok {
            unusable(&format!("the API server of KUBECONFIG, {server}, can't be used: {}; {instead}", told.err.trim()));
        }
        let there = kubectl.get("default", &["crd", "syncmirrors.gosync.dev"]);
        if !there.is_null() {
            let left = there["metadata"]["labels"][LABEL].is_string();
            let remove = format!("what an earlier run left is in the way: kubectl delete {KINDS} -l {LABEL}");
            let used = format!("GoSync is in use in the cluster of KUBECONFIG, {server}, and is left alone; {instead}");
            unusable(if left { &remove } else { &used });
        }
        Self { kubectl, address: address(server), _turn: turn }
    }
}

/// Ends all tests: the others would be told the same, one after the other.
fn unusable(why: &str) -> ! {
    // What is printed would be kept until the end of the test.
    let _ = writeln!(std::io::stderr(), "\n{why}");
    std::process::exit(1);
}

impl Drop for Guest {
    fn drop(&mut self) {
        let run = format!("{LABEL}={}", run());
        let told = self.kubectl.run(&["delete", KINDS, "-l", &run, "--ignore-not-found", "--timeout=180s"]);
        if !told.ok {
            eprintln!("not everything could be removed: {}\nkubectl delete {KINDS} -l {run}", told.err);
        }
    }
}

/// Where this machine is, as seen on the way to the server.
fn address(server: &str) -> IpAddr {
    if let Ok(given) = std::env::var(ADDRESS) {
        return given.parse().unwrap_or_else(|error| panic!("{ADDRESS}: {given}: {error}"));
    }
    let host = server.split_once("://").map_or(server, |(_, host)| host).split('/').next().unwrap_or_default();
    let host =
        if host.rsplit(']').next().unwrap_or(host).contains(':') { host.to_owned() } else { format!("{host}:443") };
    // Nothing is sent: connecting only chooses the way.
    let way = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(&host)?;
        socket.local_addr()
    });
    way.unwrap_or_else(|error| panic!("no way to {host}: {error}; set {ADDRESS}")).ip()
}
