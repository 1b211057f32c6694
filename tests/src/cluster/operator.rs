//! The operator as a process beside the API server, with the rights of its own service account and reached by address. An
//! installation is what the files of the repository make, and one such process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::json;

use super::control_plane::ControlPlane;
use super::host::{objects, own};
use super::kubectl::Kubectl;
use crate::process::{Process, free_port};
use crate::shared::Shared;
use crate::wait;

/// Its namespace.
pub fn namespace() -> String {
    own("gosync-system")
}

/// Its name, which all that it has begins with.
pub fn name() -> String {
    own("gosync-operator")
}

/// The image that its agents get.
pub const IMAGE: &str = "gosync@sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// A running replica. Dropping it kills it.
pub struct Operator {
    process: Process,
    webhook: SocketAddr,
    http: SocketAddr,
}

impl Operator {
    /// It can't be ready before somebody sends API servers to it: see [`Operator::take_over`].
    pub fn start(cluster: &ControlPlane, identity: &str) -> Self {
        Self::start_with(cluster, identity, &[])
    }

    pub fn start_with(cluster: &ControlPlane, identity: &str, further: &[&str]) -> Self {
        let account = cluster.as_account(&namespace(), &name());
        let webhook = SocketAddr::new(cluster.address(), free_port());
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut command = Command::new(binary());
        command
            .args(["serve", "--namespace", &namespace(), "--name", &name(), "--identity", identity])
            .args(["--certificate-secret", &own("gosync-operator-certificate")])
            .args(["--certificate-name", &webhook.ip().to_string()])
            .args(["--webhook-listen", &webhook.to_string(), "--http-listen", &http.to_string()])
            .args(["--agent-image", IMAGE, "--log-format", "text"])
            .args(further)
            .env_clear()
            .env("KUBECONFIG", account.kubeconfig());
        let log = cluster.folder().path().join(format!("operator-{identity}.log"));
        Self { process: Process::start(identity, command, &log), webhook, http }
    }

    /// API servers ask this replica from now on, as a Service would have them.
    pub fn take_over(&self, kubectl: &Kubectl) {
        send_to(kubectl, self.webhook);
    }

    /// Until its certificate is served and trusted.
    pub async fn ready(&mut self) {
        wait::until("the operator is ready", async || {
            if let Some(status) = self.process.ended() {
                panic!("the operator ended ({status})\n{}", self.process.tail());
            }
            match self.get("/readyz").await {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}\n{}", self.process.tail())),
            }
        })
        .await;
    }

    /// Status and body of one of its pages.
    pub async fn get(&self, path: &str) -> Result<(u16, String), reqwest::Error> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = client.get(format!("http://{}{path}", self.http)).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// The sum of a metric over its labels that hold these words.
    pub async fn count(&self, metric: &str, labels: &str) -> f64 {
        let page = self.get("/metrics").await.unwrap().1;
        let lines = page.lines().filter(|line| line.starts_with(metric) && line.contains(labels));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where it answers API servers.
    pub fn webhook(&self) -> SocketAddr {
        self.webhook
    }

    pub fn tail(&self) -> String {
        self.process.tail()
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, until its end.
    pub async fn end(&mut self) {
        self.process.signal(Signal::TERM);
        let status =
            wait::until("the operator ends", async || self.process.ended().ok_or_else(|| self.process.tail())).await;
        assert!(status.success(), "{status}\n{}", self.process.tail());
    }
}

/// The binary beside this one, or beside the folder of the tests': `target/<profile>/gosync-operator`.
fn binary() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let mut folders = own.ancestors().skip(1).take(2).map(|folder| folder.join("gosync-operator"));
    folders.find(|binary| binary.is_file()).unwrap_or_else(|| {
        panic!("gosync-operator is not beside {}: `make test-cluster` and `make bench` make it", own.display())
    })
}

/// API servers ask whoever answers there from now on.
pub fn send_to(kubectl: &Kubectl, webhook: SocketAddr) {
    let url = json!(format!("https://{webhook}/mutate"));
    let patch = json!([
        { "op": "replace", "path": "/webhooks/0/clientConfig/url", "value": url },
        { "op": "replace", "path": "/webhooks/1/clientConfig/url", "value": url },
    ]);
    let patch = patch.to_string();
    kubectl.run(&["patch", "mutatingwebhookconfiguration", &name(), "--type=json", "-p", &patch]).accepted();
}

/// What the files of the repository make of a cluster; the webhook is reached by an address instead of a Service.
pub async fn install(kubectl: &Kubectl) {
    kubectl.namespace("system").await;
    kubectl.apply_all(&objects("operator/rbac.yaml"));
    let mut webhook = objects("operator/webhook.yaml");
    for entry in webhook[0]["webhooks"].as_array_mut().unwrap() {
        // Nobody listens there yet.
        entry["clientConfig"] = json!({ "url": "https://127.0.0.1:1/mutate" });
    }
    kubectl.apply_all(&webhook);
}

/// A cluster with a running operator.
pub struct Installation {
    // Before the cluster: fields are dropped in this order.
    pub operator: Operator,
    pub cluster: ControlPlane,
}

impl Installation {
    /// One for all tests that run at the same time and keep to namespaces of their own.
    pub async fn shared() -> Arc<Self> {
        static PLACE: Shared<Installation> = Shared::new();
        PLACE.get(Self::start).await
    }

    pub async fn start() -> Self {
        let cluster = ControlPlane::start().await;
        install(cluster.kubectl()).await;
        let mut operator = Operator::start(&cluster, "one");
        operator.take_over(cluster.kubectl());
        operator.ready().await;
        Self { operator, cluster }
    }

    pub fn kubectl(&self) -> &Kubectl {
        self.cluster.kubectl()
    }
}
