//! The operator as a process beside the API server, with the rights of its own service account and reached by address. An
//! installation is what the files of the repository make, and one such process.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use gosync_tests::process::{Process, free_port};
use gosync_tests::shared::Shared;
use gosync_tests::wait;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, file};
use crate::kubectl::Kubectl;

pub const NAMESPACE: &str = "gosync-system";
pub const NAME: &str = "gosync-operator";
/// The image that its agents get.
pub const IMAGE: &str = "gosync@sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// A running replica. Dropping it kills it.
pub struct Operator {
    process: Process,
    webhook: u16,
    http: u16,
}

impl Operator {
    /// It can't be ready before somebody sends API servers to it: see [`Operator::take_over`].
    pub fn start(cluster: &ControlPlane, identity: &str) -> Self {
        let own = cluster.as_account(NAMESPACE, NAME);
        let (webhook, http) = (free_port(), free_port());
        let mut command = Command::new(binary());
        command
            .args(["serve", "--namespace", NAMESPACE, "--identity", identity, "--certificate-name", "127.0.0.1"])
            .args(["--webhook-listen", &format!("127.0.0.1:{webhook}"), "--http-listen", &format!("127.0.0.1:{http}")])
            .args(["--agent-image", IMAGE, "--log-format", "text"])
            .env_clear()
            .env("KUBECONFIG", own.kubeconfig());
        let log = cluster.folder().path().join(format!("operator-{identity}.log"));
        Self { process: Process::start(identity, command, &log), webhook, http }
    }

    /// API servers ask this replica from now on, as a Service would have them.
    pub fn take_over(&self, kubectl: &Kubectl) {
        let url = json!(format!("https://127.0.0.1:{}/mutate", self.webhook));
        let patch = json!([
            { "op": "replace", "path": "/webhooks/0/clientConfig/url", "value": url },
            { "op": "replace", "path": "/webhooks/1/clientConfig/url", "value": url },
        ]);
        let patch = patch.to_string();
        kubectl.run(&["patch", "mutatingwebhookconfiguration", NAME, "--type=json", "-p", &patch]).accepted();
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
        let response = client.get(format!("http://127.0.0.1:{}{path}", self.http)).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// The sum of a metric over its labels that hold these words.
    pub async fn count(&self, metric: &str, labels: &str) -> f64 {
        let page = self.get("/metrics").await.unwrap().1;
        let lines = page.lines().filter(|line| line.starts_with(metric) && line.contains(labels));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
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

/// The binary beside this test's own: `target/<profile>/gosync-operator`.
fn binary() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let binary = own.parent().unwrap().parent().unwrap().join("gosync-operator");
    assert!(binary.exists(), "{} is missing: `make test-cluster` makes it", binary.display());
    binary
}

/// What the files of the repository make of a cluster; the webhook is reached by an address instead of a Service.
pub async fn install(kubectl: &Kubectl) {
    kubectl.namespace(NAMESPACE).await;
    kubectl.apply_file(&file("operator/rbac.yaml"));
    let text = std::fs::read_to_string(file("operator/webhook.yaml")).unwrap();
    let mut webhook: Value = serde_saphyr::from_str(&text).unwrap();
    for entry in webhook["webhooks"].as_array_mut().unwrap() {
        // Nobody listens there yet.
        entry["clientConfig"] = json!({ "url": "https://127.0.0.1:1/mutate" });
    }
    kubectl.run_with(&["apply", "--server-side", "-f", "-"], &webhook.to_string()).accepted();
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
