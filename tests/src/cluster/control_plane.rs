//! An API server of one's own with its store and its controllers, on free loopback ports and in a folder of its own. It
//! has no nodes: pods are objects that nothing runs.
//!
//! Where `KUBECONFIG` is set, its API server is used instead, by one test at a time. Everything is ended by process id when its
//! owner is dropped. An API server that went away comes back on the same port with what it stored.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::certificates;
use super::host::{self, Guest, objects, own};
use super::kubectl::Kubectl;
use crate::process::{Folder, Process, free_port};
use crate::shared::Shared;
use crate::{tools, wait};

/// Two cores that compile something else beside.
const START: Duration = Duration::from_secs(180);

/// An API server with the definition of SyncMirror and the guard.
pub struct ControlPlane {
    // Before the folder, and in this order: fields are dropped as they stand here.
    guest: Option<Guest>,
    processes: Option<Processes>,
    folder: Folder,
    kubectl: Kubectl,
}

/// One of the tests' own.
struct Processes {
    _controllers: Process,
    api_server: Process,
    _etcd: Process,
}

impl ControlPlane {
    /// One for all tests that run at the same time, keep to namespaces of their own, and change nothing of the whole
    /// cluster's. It ends with the last of them.
    pub async fn shared() -> Arc<Self> {
        static PLACE: Shared<ControlPlane> = Shared::new();
        PLACE.get(Self::start).await
    }

    /// One of one's own. Guests of somebody's cluster take turns instead.
    pub async fn start() -> Self {
        if host::given() {
            let folder = Folder::new("cluster");
            let admin = folder.path().join("admin.kubeconfig");
            let guest = Guest::enter(&admin).await;
            let started = Self { guest: Some(guest), processes: None, folder, kubectl: Kubectl::new(&admin) };
            started.prepare().await;
            return started;
        }
        // None of them takes port 0 and tells which it got, and a port that was free may be taken by the time it is bound.
        for _ in 0..5 {
            match Self::try_start().await {
                Ok(started) => {
                    started.prepare().await;
                    return started;
                }
                Err(ended) if ended.contains("address already in use") => continue,
                Err(ended) => panic!("{ended}"),
            }
        }
        panic!("five times in a row free ports were taken by somebody else");
    }

    async fn try_start() -> Result<Self, String> {
        let folder = Folder::new("cluster");
        certificates::write(folder.path());
        let url = format!("https://127.0.0.1:{}", free_port());
        let admin = write_kubeconfig(folder.path(), &url);
        let kubectl = Kubectl::new(&admin);
        let start =
            |name: &str, command: Command| Process::start(name, command, &folder.path().join(format!("{name}.log")));

        let (store, etcd) = etcd(folder.path());
        let mut etcd = start("etcd", etcd);
        let mut api_server = start("kube-apiserver", api_server(folder.path(), &url, &store));
        ready(&kubectl, &mut [&mut etcd, &mut api_server]).await?;
        let mut controllers = start("kube-controller-manager", controllers(folder.path(), &admin));
        wait::until_within(START, "the default service account is made", async || {
            if let Some(status) = controllers.ended() {
                return Ok(Err(format!("the controllers ended ({status})\n{}", controllers.tail())));
            }
            let account = kubectl.get("default", &["serviceaccount", "default"]);
            if account.is_null() { Err(controllers.tail()) } else { Ok(Ok(())) }
        })
        .await?;

        let processes = Processes { _controllers: controllers, api_server, _etcd: etcd };
        Ok(Self { guest: None, processes: Some(processes), folder, kubectl })
    }

    /// The definition of SyncMirror and the guard.
    async fn prepare(&self) {
        let kubectl = &self.kubectl;
        kubectl.apply_all(&objects("crds/syncmirrors.gosync.dev.yaml"));
        let established = ["wait", "--for=condition=Established", "crd/syncmirrors.gosync.dev", "--timeout=60s"];
        kubectl.run(&established).accepted();
        kubectl.apply_all(&objects("operator/guard.yaml"));
        wait::until("the guard is on its post", async || {
            let asks = json!({ "name": "asks", "namespace": "default", "labels": { "gosync.dev/inject": "true" } });
            let told = kubectl.dry_run(&pod(asks));
            wait::hold(!told.ok && told.err.contains(&own("gosync-guard")), format!("{told:?}"))
        })
        .await;
    }

    /// Where API servers reach this machine.
    pub fn address(&self) -> IpAddr {
        self.guest.as_ref().map_or(Ipv4Addr::LOCALHOST.into(), |guest| guest.address)
    }

    /// kubectl as the one who may do everything.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Where what belongs to it can be put.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// kubectl as a service account, by a token of an hour.
    pub fn as_account(&self, namespace: &str, name: &str) -> Kubectl {
        let token = self.kubectl.run(&["create", "token", name, "-n", namespace, "--duration=1h"]).accepted().out;
        let mut config: Value = serde_json::from_slice(&std::fs::read(self.kubectl.kubeconfig()).unwrap()).unwrap();
        config["users"][0]["user"] = json!({ "token": token.trim() });
        let path = self.folder.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&path, config.to_string()).unwrap();
        Kubectl::new(&path)
    }

    /// SIGKILL: connections are refused until [`ControlPlane::back`].
    pub fn away(&mut self) {
        self.processes.as_mut().unwrap().api_server.kill();
    }

    /// On the same port, with all it had stored.
    pub async fn back(&mut self) {
        let api_server = &mut self.processes.as_mut().unwrap().api_server;
        api_server.restart();
        ready(&self.kubectl, &mut [api_server]).await.unwrap_or_else(|ended| panic!("{ended}"));
    }
}

/// The plainest pod.
pub fn pod(metadata: Value) -> Value {
    let container =
        json!({ "name": "app", "image": "example/app", "volumeMounts": [{ "name": "data", "mountPath": "/data" }] });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        // Nobody runs it, whatever nodes there are.
        "spec": {
            "schedulerName": "nobody", "containers": [container], "volumes": [{ "name": "data", "emptyDir": {} }],
        },
    })
}

/// The kubeconfig of the one who may do everything, in that folder.
fn write_kubeconfig(folder: &Path, url: &str) -> PathBuf {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "tests", "cluster": { "server": url, "certificate-authority": "ca.pem" } }],
        "users": [{ "name": "admin", "user": { "client-certificate": "admin.pem", "client-key": "admin.key" } }],
        "contexts": [{ "name": "tests", "context": { "cluster": "tests", "user": "admin" } }],
        "current-context": "tests",
    });
    let path = folder.join("admin.kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

async fn ready(kubectl: &Kubectl, processes: &mut [&mut Process]) -> Result<(), String> {
    wait::until_within(START, "the API server is ready", async || {
        for process in &mut *processes {
            if let Some(status) = process.ended() {
                return Ok(Err(format!("it ended ({status})\n{}", process.tail())));
            }
        }
        let told = kubectl.run(&["get", "--raw", "/readyz"]);
        if told.ok {
            return Ok(Ok(()));
        }
        let tails: Vec<String> = processes.iter().map(|process| process.tail()).collect();
        Err(format!("{}\n{}", told.err, tails.join("\n")))
    })
    .await
}

/// Its URL, and the command that starts it.
fn etcd(folder: &Path) -> (String, Command) {
    let (clients, peers) = (format!("http://127.0.0.1:{}", free_port()), format!("http://127.0.0.1:{}", free_port()));
    let mut command = Command::new(tools::path("etcd"));
    command
        .arg("--data-dir")
        .arg(folder.join("etcd"))
        .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
        .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
        .args(["--initial-cluster", &format!("default={peers}")])
        // Nothing here outlives the test.
        .arg("--unsafe-no-fsync");
    (clients, command)
}

fn api_server(folder: &Path, url: &str, store: &str) -> Command {
    let port = url.rsplit(':').next().unwrap();
    let mut command = Command::new(tools::path("kube-apiserver"));
    command
        .args(["--etcd-servers", store, "--bind-address=127.0.0.1", "--secure-port", port])
        // There are no endpoints to keep: nobody in the cluster runs.
        .args(["--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"])
        .args(["--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC", "--allow-privileged"])
        .args(["--service-account-issuer=https://kubernetes.default.svc", "--profiling=false"]);
    let files = [
        ("cert-dir", "certificates"),
        ("tls-cert-file", "server.pem"),
        ("tls-private-key-file", "server.key"),
        ("client-ca-file", "ca.pem"),
        ("service-account-key-file", "accounts.pem"),
        ("service-account-signing-key-file", "accounts.key"),
    ];
    for (flag, name) in files {
        command.arg(format!("--{flag}")).arg(folder.join(name));
    }
    command
}

fn controllers(folder: &Path, kubeconfig: &Path) -> Command {
    let mut command = Command::new(tools::path("kube-controller-manager"));
    command.args(["--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0"]);
    for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
        command.arg(format!("--{flag}")).arg(kubeconfig);
    }
    for (flag, name) in [("root-ca-file", "ca.pem"), ("service-account-private-key-file", "accounts.key")] {
        command.arg(format!("--{flag}")).arg(folder.join(name));
    }
    command
}
