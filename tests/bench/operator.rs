//! The operator at the size that it is meant for: a hundred mirrors and two thousand pods, which are objects that nothing runs.
//! Their agents are servers that answer alone.
//!
//! First pods are made while both replicas are replaced and the certificate rotates. Then a fresh leader, for which all of it is
//! new, is looked at while nothing happens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use gosync_tests::cluster::control_plane::{ControlPlane, pod};
use gosync_tests::cluster::host;
use gosync_tests::cluster::kubectl::Kubectl;
use gosync_tests::cluster::operator::{Operator, install, namespace, send_to};
use gosync_tests::cluster::stub::{Stub, state};
use gosync_tests::process::{Process, free_port};
use gosync_tests::wait;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::number;

const NAMESPACES: usize = 10;
/// Mirrors of each.
const MIRRORS: usize = 10;
/// Pods that are made, over so many seconds: longer than a rotation takes.
const MAKING_SECONDS: usize = 90;
/// Requests of ours at once.
const AT_ONCE: usize = 8;
/// A kubelet that ends a replica and the Service that forgets it are not at one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(1);
/// Share of the webhook's answers that come within 5 ms.
const WITHIN_MIN: f64 = 0.99;
const BYTES_MAX: u64 = 25 << 20;

pub async fn run() {
    assert!(!host::given(), "these are figures of an API server of one's own: unset KUBECONFIG");
    let (pods, idle_seconds) = (number("GOSYNC_BENCH_PODS", 2_000), number("GOSYNC_BENCH_IDLE_SECONDS", 150));
    println!("{pods} pods of {} mirrors, then {idle_seconds} s of rest", NAMESPACES * MIRRORS);
    let cluster = ControlPlane::start().await;
    let kubectl = cluster.kubectl();
    install(kubectl).await;
    let service = Service::start().await;
    send_to(kubectl, service.address);
    let mut replicas = [replica(&cluster, &service, "one").await, replica(&cluster, &service, "two").await];

    let mut agents = Vec::new();
    for number in 0..NAMESPACES {
        let ns = kubectl.namespace(&format!("ns-{number}")).await;
        for mirror in 0..MIRRORS {
            let name = format!("m-{mirror}");
            let host = u8::try_from(1 + agents.len()).unwrap();
            let agent = Stub::start(host, state(&name, json!({}))).await;
            kubectl.apply(&mirror_of(&ns, &name, agent.port())).accepted();
            agents.push((ns.clone(), name, agent));
        }
    }
    known(kubectl, &agents).await;
    let api = Api::start(&cluster).await;

    let mut answers = Answers::default();
    let making = make(&api, &agents, pods);
    let meanwhile = async {
        let rotated = rotate(kubectl);
        let rolled = async {
            for (number, name) in ["three", "four"].into_iter().enumerate() {
                let fresh = replica(&cluster, &service, name).await;
                let mut old = std::mem::replace(&mut replicas[number], fresh);
                answers.add(&old).await;
                let address = old.webhook();
                tokio::join!(old.end(), async {
                    tokio::time::sleep(FORGOTTEN_AFTER).await;
                    service.forget(address);
                });
            }
        };
        tokio::join!(rotated, rolled);
        Instant::now()
    };
    let (made, done) = tokio::join!(making, meanwhile);
    assert!(done < made.until, "pods were made before all was replaced: nothing is shown");
    for replica in &replicas {
        answers.add(replica).await;
    }

    api.run_all(&agents, pods).await;
    for replica in &mut replicas {
        replica.end().await;
    }
    let leader = replica(&cluster, &service, "five").await;
    let rest = rest(kubectl, &agents, &leader, idle_seconds).await;
    report(pods, idle_seconds, &made, &answers, &rest);
}

/// Another replica, once it is ready, behind the Service.
async fn replica(cluster: &ControlPlane, service: &Service, name: &str) -> Operator {
    let mut operator = Operator::start(cluster, name);
    // The first one is ready when API servers trust what it serves, which they are told by itself.
    operator.ready().await;
    service.backends.lock().unwrap().push(operator.webhook());
    operator
}

/// What stands before the replicas in a cluster: connections go to those that are ready, by turns.
struct Service {
    address: SocketAddr,
    backends: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let backends: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
        let behind = backends.clone();
        tokio::spawn(async move {
            loop {
                let (mut outside, _) = listener.accept().await.unwrap();
                let backend = {
                    let mut backends = behind.lock().unwrap();
                    if !backends.is_empty() {
                        backends.rotate_left(1);
                    }
                    backends.first().copied()
                };
                tokio::spawn(async move {
                    let Some(backend) = backend else { return };
                    let Ok(mut inside) = TcpStream::connect(backend).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
        Self { address, backends }
    }

    fn forget(&self, backend: SocketAddr) {
        self.backends.lock().unwrap().retain(|known| *known != backend);
    }
}

type Agents = [(String, String, Stub)];

fn mirror_of(ns: &str, name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "gosync.dev/v1alpha1", "kind": "SyncMirror", "metadata": { "name": name, "namespace": ns },
        "spec": {
            "volume": { "name": "data" }, "s3": { "bucket": "acme-ml", "prefix": format!("{name}/") },
            "agent": { "metricsPort": port },
        },
    })
}

/// A pod that asks for the agent of a mirror.
fn asking(ns: &str, mirror: &str, name: &str) -> Value {
    pod(json!({
        "name": name, "namespace": ns,
        "labels": { "gosync.dev/inject": "true" }, "annotations": { "gosync.dev/mirrors": mirror },
    }))
}

/// Until a pod of every mirror would get its agent, from either replica.
async fn known(kubectl: &Kubectl, agents: &Agents) {
    for (ns, mirror, _) in agents {
        wait::until("the mirror is known", async || {
            let told = [0, 1].map(|_| kubectl.dry_run(&asking(ns, mirror, "canary")));
            wait::hold(told.iter().all(|told| told.out.contains("\"gosync-agent\"")), format!("{told:?}"))
        })
        .await;
    }
}

/// The API server, by a door for which nobody has to show anything.
struct Api {
    _door: Process,
    url: String,
    client: reqwest::Client,
}

/// What became of pods that asked for an agent.
struct Made {
    refused: Vec<String>,
    without_agent: usize,
    until: Instant,
}

impl Api {
    async fn start(cluster: &ControlPlane) -> Self {
        let port = free_port();
        let mut command = Command::new(host::kubectl());
        command.args(["proxy", &format!("--port={port}")]).env("KUBECONFIG", cluster.kubectl().kubeconfig());
        let door = Process::start("proxy", command, &cluster.folder().path().join("proxy.log"));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let api = Self { _door: door, url: format!("http://127.0.0.1:{port}"), client };
        wait::until("the door is open", async || api.client.get(format!("{}/readyz", api.url)).send().await).await;
        api
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, String) {
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// What kubelets tell of pods whose agents run.
    async fn run_all(&self, agents: &Agents, pods: usize) {
        let patches = (0..pods).map(|number| {
            let (ns, _, agent) = &agents[number % agents.len()];
            let status = json!({ "status": {
                "phase": "Running", "podIP": agent.ip(), "podIPs": [{ "ip": agent.ip() }],
                "initContainerStatuses": [{
                    "name": "gosync-agent", "image": "x", "imageID": "", "ready": true, "started": true, "restartCount": 0,
                    "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
                }],
            } });
            let request = self.client.patch(format!("{}/api/v1/namespaces/{ns}/pods/p-{number}/status", self.url));
            let request = request.header("content-type", "application/merge-patch+json").body(status.to_string());
            async move {
                let (status, text) = self.send(request).await;
                assert_eq!(status, 200, "{text}");
            }
        });
        stream::iter(patches).buffer_unordered(AT_ONCE).for_each(async |()| {}).await;
    }
}

/// Makes the pods, evenly over the time.
async fn make(api: &Api, agents: &Agents, pods: usize) -> Made {
    let began = tokio::time::Instant::now();
    let requests = (0..pods).map(|number| async move {
        let (ns, mirror, _) = &agents[number % agents.len()];
        let due =
            Duration::from_secs(MAKING_SECONDS as u64) * u32::try_from(number).unwrap() / u32::try_from(pods).unwrap();
        tokio::time::sleep_until(began + due).await;
        let body = asking(ns, mirror, &format!("p-{number}")).to_string();
        let request = api.client.post(format!("{}/api/v1/namespaces/{ns}/pods", api.url));
        api.send(request.header("content-type", "application/json").body(body)).await
    });
    let answers: Vec<(u16, String)> = stream::iter(requests).buffer_unordered(AT_ONCE).collect().await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, _)| *status == 201);
    Made {
        refused: refused.into_iter().map(|(_, text)| text).collect(),
        without_agent: made.iter().filter(|(_, text)| !text.contains("\"gosync-agent\"")).count(),
        until: Instant::now(),
    }
}

/// Until another certificate is served than at the beginning.
async fn rotate(kubectl: &Kubectl) {
    let (system, secret) = (&namespace(), &host::own("gosync-operator-certificate"));
    let served = || kubectl.get(system, &["secret", secret])["data"]["tls.crt"].clone();
    let before = served();
    kubectl.run(&["annotate", "secret", secret, "-n", system, "gosync.dev/rotate=now"]).accepted();
    wait::until_within(Duration::from_secs(120), "another certificate is served", async || {
        wait::hold(served() != before, "the same")
    })
    .await;
}

/// How long the webhook took to answer, as it counts itself, over all replicas.
#[derive(Default)]
struct Answers {
    all: f64,
    within: f64,
}

impl Answers {
    async fn add(&mut self, replica: &Operator) {
        self.all += replica.count("gosync_injection_duration_seconds_count", "").await;
        self.within += replica.count("gosync_injection_duration_seconds_bucket", r#"le="0.005""#).await;
    }

    fn share(&self) -> f64 {
        self.within / self.all
    }
}

/// A leader while nothing happens.
struct Rest {
    peak_bytes: u64,
    bytes: u64,
    writes: usize,
    polls: usize,
}

async fn rest(kubectl: &Kubectl, agents: &Agents, leader: &Operator, seconds: usize) -> Rest {
    let mirrors = || {
        let mirrors = kubectl.run(&["get", "smir", "-A", "-o", "json"]).json();
        mirrors["items"].as_array().unwrap().clone()
    };
    wait::until_within(Duration::from_secs(180), "all pods of all mirrors are in sync", async || {
        let lacking = mirrors().into_iter().find(|mirror| {
            let pods = &mirror["status"]["pods"];
            pods["matched"].as_i64().is_none_or(|matched| matched == 0) || pods["matched"] != pods["inSync"]
        });
        lacking.map_or(Ok(()), |mirror| Err(format!("{:#}\n{}", mirror["status"], leader.tail())))
    })
    .await;
    let versions = || -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let versions = mirrors().into_iter().map(|mirror| mirror["metadata"].clone());
        versions.map(|metadata| (text(&metadata["uid"]), text(&metadata["resourceVersion"]))).collect()
    };
    // What was seen last may wait for its turn to be written.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let asked = || agents.iter().map(|(_, _, agent)| agent.asked()).sum::<usize>();
    let (before, asked_before) = (versions(), asked());
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    let (after, asked_after) = (versions(), asked());
    Rest {
        peak_bytes: memory(leader.id(), "VmHWM:"),
        bytes: memory(leader.id(), "VmRSS:"),
        writes: after.iter().filter(|(uid, version)| before.get(*uid) != Some(version)).count(),
        polls: asked_after - asked_before,
    }
}

/// A line of what the kernel says of a process, bytes.
fn memory(process: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let kib = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn report(pods: usize, idle_seconds: usize, made: &Made, answers: &Answers, rest: &Rest) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let polls_min = pods * idle_seconds / 15 * 9 / 10;
    assert!(rest.polls >= polls_min, "agents were asked {} times only, not {polls_min}", rest.polls);
    for refusal in made.refused.iter().take(3) {
        println!("refused: {refusal}");
    }
    let rows = [
        (
            format!("webhook answers within 5 ms, of {:.0}", answers.all),
            format!("{:.2} %", answers.share() * 100.0),
            "at least 99 %".to_owned(),
            answers.share() >= WITHIN_MIN,
        ),
        (
            format!(
                "{pods} creations while both replicas are replaced and the certificate rotates: refused, without agent"
            ),
            format!("{}, {}", made.refused.len(), made.without_agent),
            "0, 0".to_owned(),
            made.refused.is_empty() && made.without_agent == 0,
        ),
        (
            format!(
                "leader's memory with {pods} pods and {} mirrors, asking their agents (peak)",
                NAMESPACES * MIRRORS
            ),
            format!("{:.1} MiB ({:.1})", mib(rest.bytes), mib(rest.peak_bytes)),
            format!("at most {:.0} MiB", mib(BYTES_MAX)),
            rest.peak_bytes <= BYTES_MAX,
        ),
        (
            format!("status writes in {idle_seconds} s of rest, {} questions to agents", rest.polls),
            rest.writes.to_string(),
            "0".to_owned(),
            rest.writes == 0,
        ),
    ];
    println!("\n| | measured | wanted | |\n|---|---|---|---|");
    for (name, measured, wanted, reached) in &rows {
        println!("| {name} | {measured} | {wanted} | {} |", if *reached { "reached" } else { "missed" });
    }
    crate::write_results(
        "operator",
        &json!({
            "pods": pods, "mirrors": NAMESPACES * MIRRORS, "idle_seconds": idle_seconds,
            "webhook": { "answers": answers.all, "within_5_ms": answers.share(), "refused": made.refused.len(), "without_agent": made.without_agent },
            "operator": { "bytes": rest.bytes, "peak_bytes": rest.peak_bytes, "status_writes": rest.writes, "polls": rest.polls },
            "reached": rows.iter().all(|(_, _, _, reached)| *reached),
        }),
    );
}
