//! The operator, running: which parts every replica has, and which only the one that leads.
//!
//! Losing the lead drops the leader's futures where they stand; nothing of theirs is spawned. Whoever leads next compares with
//! the cluster and goes on. At the end of the process new admissions are refused, those under way are answered, and the lead is
//! given back.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gosync_crds::SyncMirror;
use gosync_telemetry::OperatorMetrics;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher;
use kube::{Client, Resource};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::agents::{Endings, InjectedPod, Polls, poll};
use crate::certificates::{Keeper, Trust, keep, load};
use crate::inject::{INJECTED_LABEL, MIRRORS_ANNOTATION, Settings};
use crate::lease::Candidate;
use crate::probes::{self, Probes};
use crate::reconcile::{self, Context, MANAGER, Memories};
use crate::rollout::{Owners, Restarter, nudge};
use crate::stores::{Stores, Writers};
use crate::watches::{Progress, follow};
use crate::webhook::{self, Certificates, Webhook};

/// What an operator is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its own namespace.
    pub namespace: String,
    /// Who this replica is: another for each process.
    pub identity: String,
    /// The name of its webhook configuration and Lease.
    pub name: String,
    /// The Secret of the certificate.
    pub secret: String,
    /// Somebody else fills that Secret, and has it trusted.
    pub given: bool,
    /// The names that the certificate is for; the first is the one that API servers ask for.
    pub names: Vec<String>,
    /// Where the webhook listens.
    pub webhook: SocketAddr,
    /// Where probes and scrapes are answered.
    pub http: SocketAddr,
    /// The agent's image, and when it is pulled.
    pub agent: Settings,
}

/// How long API servers go on asking a replica that is ending, until its endpoint is gone.
const LEAVING: Duration = Duration::from_secs(3);
/// Pauses before owners of refused pods are told to try again: API servers have to know of the webhook, and kubelets that it
/// is ready.
const NUDGES: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(45),
    Duration::from_secs(120),
];

/// Pods with an agent that are listed at once.
const PODS_AT_ONCE: u32 = 50;

/// Why it can't run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A port can't be had.
    #[error("can't listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The webhook can't be served.
    #[error("the webhook can't be served")]
    Webhook(#[source] io::Error),
    /// Agents can't be asked.
    #[error("no HTTP client can be made")]
    Http(#[source] reqwest::Error),
}

/// What all parts share.
struct Shared {
    client: Client,
    options: Options,
    progress: Arc<Progress>,
    stores: Arc<Stores>,
    metrics: Arc<OperatorMetrics>,
    secrets: Store<Secret>,
    configurations: Store<MutatingWebhookConfiguration>,
    trusted: watch::Receiver<bool>,
}

/// Runs until `end`.
pub async fn serve(client: Client, options: Options, end: impl Future<Output = ()>) -> Result<(), ServeError> {
    let listen = async |address| TcpListener::bind(address).await.map_err(|error| ServeError::Listen(address, error));
    let (admission, http) = (listen(options.webhook).await?, listen(options.http).await?);
    tracing::info!(webhook = %options.webhook, http = %options.http, identity = options.identity, "the operator begins");

    let (stores, writers) = Stores::new();
    let (secrets, secret_writer) = reflector::store();
    let (configurations, configuration_writer) = reflector::store();
    let metrics = Arc::new(OperatorMetrics::default());
    let certificates = Arc::new(Certificates::default());
    let (ready, trusted) = watch::channel(false);
    let (ending, is_ending) = watch::channel(false);
    let shared = Shared {
        client,
        options,
        progress: Arc::default(),
        stores,
        metrics: metrics.clone(),
        secrets,
        configurations,
        trusted: trusted.clone(),
    };
    let trust = Trust {
        secrets: shared.secrets.clone(),
        configurations: shared.configurations.clone(),
        certificates: certificates.clone(),
        name: shared.options.names.first().cloned().unwrap_or_default(),
        metrics: metrics.clone(),
    };
    let webhook = Webhook {
        known: Box::new(shared.stores.clone()),
        image: shared.options.agent.image.clone(),
        image_pull_policy: shared.options.agent.image_pull_policy.clone(),
        metrics: metrics.clone(),
    };
    let probes = Probes {
        progress: shared.progress.clone(),
        stores: shared.stores.clone(),
        trusted,
        ending: is_ending.clone(),
        metrics,
    };

    let mut stopping = is_ending.clone();
    let admission = webhook::serve(admission, &certificates, webhook::router(Arc::new(webhook)), async move {
        let _ = stopping.wait_for(|ending| *ending).await;
        tokio::time::sleep(LEAVING).await;
    });
    let http = axum::serve(http, probes::router(Arc::new(probes)));
    let everywhere = async {
        tokio::join!(
            watch_all(&shared, writers),
            watch_own(&shared, secret_writer, configuration_writer),
            load(&trust, &ready)
        );
    };
    let mut candidate = Candidate::new(
        shared.client.clone(),
        &shared.options.namespace,
        &shared.options.name,
        &shared.options.identity,
    );
    let leading = async {
        let mut end = std::pin::pin!(end);
        let result = tokio::select! {
            result = lead(&shared, &mut candidate) => result,
            () = &mut end => Ok(()),
        };
        tracing::info!("the operator ends");
        ending.send_replace(true);
        shared.metrics.leads(false);
        candidate.give_back().await;
        result
    };
    let ends = async { tokio::try_join!(leading, async { admission.await.map_err(ServeError::Webhook) }) };
    tokio::select! {
        result = ends => result.map(drop),
        result = http => result.map_err(ServeError::Webhook),
        () = everywhere => Ok(()),
    }
}

/// Mirrors and namespaces.
async fn watch_all(shared: &Shared, writers: Writers) {
    let (mirrors, _expected) = shared.progress.client(&shared.client, "syncmirrors");
    let (namespaces, _expected_too) = shared.progress.client(&shared.client, "namespaces");
    let mirrors: Api<DeserializeGuard<SyncMirror>> = Api::all(mirrors);
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(namespaces);
    let stores = &shared.stores;
    let prune = |namespace: &mut PartialObjectMeta<Namespace>| {
        namespace.metadata.managed_fields = None;
        namespace.metadata.annotations = None;
    };
    let config = watcher::Config::default;
    tokio::join!(
        follow(
            "syncmirrors",
            mirrors,
            config(),
            writers.mirrors,
            |mirror| mirror.meta_mut().managed_fields = None,
            || {
                stores.mirrors_touched();
            }
        ),
        follow("namespaces", namespaces, config(), writers.namespaces, prune, || stores.namespaces_touched()),
    );
}

/// The operator's own Secret and webhook configuration.
async fn watch_own(
    shared: &Shared,
    secrets: reflector::store::Writer<Secret>,
    configurations: reflector::store::Writer<MutatingWebhookConfiguration>,
) {
    let options = &shared.options;
    let (secret, _expected) = shared.progress.client(&shared.client, "secret");
    let (configuration, _expected_too) = shared.progress.client(&shared.client, "webhook-configuration");
    let secret: Api<Secret> = Api::namespaced(secret, &options.namespace);
    let configuration: Api<MutatingWebhookConfiguration> = Api::all(configuration);
    let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    tokio::join!(
        follow("secret", secret, named(&options.secret), secrets, |_| {}, || {}),
        follow("webhook-configuration", configuration, named(&options.name), configurations, |_| {}, || {}),
    );
}

/// Leads whenever it may, for ever.
async fn lead(shared: &Shared, candidate: &mut Candidate) -> Result<(), ServeError> {
    loop {
        candidate.lead().await;
        tracing::info!("this replica leads");
        shared.metrics.leads(true);
        let result = tokio::select! {
            result = controllers(shared) => result,
            () = candidate.lost() => Ok(()),
        };
        shared.metrics.leads(false);
        tracing::warn!("this replica does not lead any more");
        result?;
    }
}

/// What only the leader does.
async fn controllers(shared: &Shared) -> Result<(), ServeError> {
    let options = &shared.options;
    let (injected, injected_writer) = reflector::store();
    let (others, others_writer) = reflector::store();
    let polls: Arc<Polls> = Arc::default();
    let endings: Arc<Endings> = Arc::default();
    let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(options.identity.clone()) };
    let context = Arc::new(Context {
        client: shared.client.clone(),
        stores: shared.stores.clone(),
        injected: injected.clone(),
        others: others.clone(),
        polls: polls.clone(),
        endings: endings.clone(),
        owners: Owners::default(),
        restarter: Restarter { settings: options.agent.clone() },
        recorder: Recorder::new(shared.client.clone(), reporter),
        metrics: shared.metrics.clone(),
        version: env!("CARGO_PKG_VERSION"),
        memory: Memories::default(),
    });
    let keeper = Keeper {
        client: shared.client.clone(),
        namespace: options.namespace.clone(),
        secret: options.secret.clone(),
        names: options.names.iter().cloned().collect(),
        given: options.given,
        secrets: shared.secrets.clone(),
        configurations: shared.configurations.clone(),
        stores: shared.stores.clone(),
    };
    let keeping = async {
        // What is not known yet must not be taken for gone.
        let _ = (keeper.secrets.wait_until_ready().await, keeper.configurations.wait_until_ready().await);
        let _ = keeper.stores.mirrors.wait_until_ready().await;
        keep(&keeper).await;
    };
    let rounds = async {
        let _ = (injected.wait_until_ready().await, others.wait_until_ready().await);
        let _ = shared.stores.namespaces.wait_until_ready().await;
        reconcile::run(context).await;
    };
    tokio::select! {
        () = watch_pods(shared, injected_writer, others_writer, &endings) => Ok(()),
        () = keeping => Ok(()),
        () = rounds => Ok(()),
        () = nudging(shared) => Ok(()),
        result = poll(injected.clone(), polls) => result.map_err(ServeError::Http),
    }
}

/// Pods with an agent as far as they are used, all others by their metadata.
async fn watch_pods(
    shared: &Shared,
    injected: reflector::store::Writer<InjectedPod>,
    others: reflector::store::Writer<PartialObjectMeta<Pod>>,
    endings: &Endings,
) {
    let (of_injected, _expected) = shared.progress.client(&shared.client, "pods-with-agent");
    let (of_others, _expected_too) = shared.progress.client(&shared.client, "pods-without-agent");
    // Whole pods are large until they are decoded.
    let with = watcher::Config::default().labels(INJECTED_LABEL).page_size(PODS_AT_ONCE);
    // Those that have ended need none.
    let without = watcher::Config::default()
        .labels(&format!("!{INJECTED_LABEL}"))
        .fields("status.phase!=Succeeded,status.phase!=Failed");
    let look = |pod: &mut InjectedPod| {
        pod.prune();
        endings.note(pod);
    };
    let prune = |pod: &mut PartialObjectMeta<Pod>| {
        pod.metadata.managed_fields = None;
        if let Some(annotations) = &mut pod.metadata.annotations {
            annotations.retain(|name, _| name == MIRRORS_ANNOTATION || name == "kubernetes.io/config.mirror");
        }
    };
    tokio::join!(
        follow("pods-with-agent", Api::all(of_injected), with, injected, look, || {}),
        follow("pods-without-agent", Api::all(of_others), without, others, prune, || {}),
    );
}

/// Owners of refused pods try again at once: when the operator is back, and when a mirror has come that pods ask for. Those that
/// still lack pods are told a few times more, since API servers may not reach the webhook yet.
async fn nudging(shared: &Shared) {
    let mut trusted = shared.trusted.clone();
    let _ = trusted.wait_for(|trusted| *trusted).await;
    let _ = shared.stores.mirrors.wait_until_ready().await;
    let mut changes = shared.stores.changes();
    let mut known: HashSet<String> = HashSet::new();
    // Namespaces that are looked at, when, and for which time.
    let mut due: BTreeMap<String, (Instant, usize)> = BTreeMap::new();
    loop {
        changes.mark_unchanged();
        let mirrors = shared.stores.mirrors.state();
        for mirror in mirrors.iter().map(|mirror| mirror.meta()) {
            if mirror.uid.as_ref().is_some_and(|uid| !known.contains(uid)) {
                due.insert(mirror.namespace.clone().unwrap_or_default(), (Instant::now() + NUDGES[0], 0));
            }
        }
        known = mirrors.iter().filter_map(|mirror| mirror.meta().uid.clone()).collect();
        let now = Instant::now();
        let ripe: Vec<String> = due.iter().filter(|(_, (at, _))| *at <= now).map(|(name, _)| name.clone()).collect();
        for namespace in ripe {
            let tries = due.remove(&namespace).map_or(0, |(_, tries)| tries) + 1;
            if nudged(shared, &namespace).await
                && let Some(pause) = NUDGES.get(tries)
            {
                due.insert(namespace, (Instant::now() + *pause, tries));
            }
        }
        let next = due.values().map(|(at, _)| *at).min();
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
}

/// True where there were owners to be told, or that can't be said.
async fn nudged(shared: &Shared, namespace: &str) -> bool {
    if shared.stores.is_ending(namespace) {
        return false;
    }
    match nudge(&shared.client, namespace, &shared.stores.mirrors_of(namespace)).await {
        Ok(names) => {
            if !names.is_empty() {
                tracing::info!(namespace, owners = names.join(" "), "owners of refused pods try again");
            }
            !names.is_empty()
        }
        Err(error) => {
            tracing::warn!(namespace, "owners of refused pods can't be told to try again: {error}");
            true
        }
    }
}
