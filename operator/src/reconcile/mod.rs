//! One mirror, again and again: dereference (what is known of its pods and their owners), validate, build, apply, status.
//!
//! Each round is whole by itself: what a kill or a lost lease cut off, the next round does. A round sends what changed and
//! nothing else; what was sent is remembered by this process alone, so that a new leader sends the ConfigMap once more.

mod build;
mod controller;
mod facts;
mod validate;

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gosync_crds::{OnMissing, SyncMirror, SyncMirrorStatus};
use gosync_telemetry::OperatorMetrics;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Pod};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::discovery::ApiResource;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::reflector::Store;
use kube::{Client, Resource};
use rand::Rng;
use serde_json::json;
use tokio::time::Instant;

use crate::agents::{Ending, Endings, InjectedPod, Polls};
use crate::rollout::{Owners, Restarter};
use crate::status::{Facts, Missing, News, counts as counts_as_unsent, event, is_at_risk, news, refused, same, status};
use crate::stores::Stores;

pub use build::{MANAGER, MIRROR_LABEL, config_map};
pub use controller::run;
pub use facts::{Lacking, in_the_way, pods, unsettled};
pub use validate::{Refusal, unreadable, validate};

/// How often a mirror is looked at, and how seldom its status is written, in seconds.
const ROUND_SECONDS: u64 = 15;
/// So much longer at random, so that mirrors don't stay in step with each other, in milliseconds.
const JITTER_MILLISECONDS: u64 = 2_000;
/// A ConfigMap that somebody deleted or edited is back after this long.
const APPLY_AGAIN: Duration = Duration::from_secs(600);
/// Pause until agents that have not been asked yet are.
const SOON: Duration = Duration::from_secs(1);
/// The longest pause after failures, in seconds.
const PAUSE_SECONDS_MAX: u64 = 60;

/// What rounds work with.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Mirrors and namespaces.
    pub stores: Arc<Stores>,
    /// Pods with an agent.
    pub injected: Store<InjectedPod>,
    /// Pods without one.
    pub others: Store<PartialObjectMeta<Pod>>,
    /// What agents told.
    pub polls: Arc<Polls>,
    /// Pods that ended with something unsent.
    pub endings: Arc<Endings>,
    /// What pods are made by.
    pub owners: Owners,
    /// Restarts of what has no agent.
    pub restarter: Restarter,
    /// Events.
    pub recorder: Recorder,
    /// What is counted.
    pub metrics: Arc<OperatorMetrics>,
    /// The operator's release.
    pub version: &'static str,
    /// What was sent, by uid.
    pub memory: Memories,
}

/// What is remembered of mirrors.
#[derive(Default)]
pub struct Memories(Mutex<HashMap<String, Memory>>);

#[derive(Default, Clone)]
struct Memory {
    /// The ConfigMap that was applied last, as a hash, and when.
    applied: Option<(u64, Instant)>,
    /// The status that was written last, and when.
    written: Option<(SyncMirrorStatus, Instant)>,
    failures: u32,
}

impl Memories {
    fn of(&self, uid: &str) -> Memory {
        self.lock().get(uid).cloned().unwrap_or_default()
    }

    fn change(&self, uid: &str, change: impl FnOnce(&mut Memory)) {
        change(self.lock().entry(uid.to_owned()).or_default());
    }

    /// Forgets those that are gone.
    fn keep(&self, wanted: impl Fn(&str) -> bool) {
        self.lock().retain(|uid, _| wanted(uid));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a round did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The status can't be written.
    #[error("the status of SyncMirror {mirror} can't be written")]
    Status {
        /// The mirror.
        mirror: String,
        /// Why.
        source: kube::Error,
    },
}

/// One round of one mirror.
pub async fn round(guard: Arc<DeserializeGuard<SyncMirror>>, context: Arc<Context>) -> Result<Action, RoundError> {
    let started = Instant::now();
    if guard.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = guard.meta().namespace.clone().unwrap_or_default();
    if context.stores.is_ending(&namespace) {
        return Ok(Action::await_change());
    }
    let uid = guard.meta().uid.clone().unwrap_or_default();
    let result = match &guard.0 {
        Ok(mirror) => steps(mirror, &uid, &context).await,
        Err(invalid) => {
            let written = context.memory.of(&uid).written.map(|(status, _)| status);
            let refusal = unreadable(&invalid.error);
            let now = refused(invalid.metadata.generation, &refusal, written.as_ref(), Timestamp::now());
            write(now, written.as_ref(), guard.as_ref(), &context).await.map(|()| Next::Round)
        }
    };
    context.metrics.reconciled(if result.is_ok() { "done" } else { "failed" }, started.elapsed());
    context.memory.change(&uid, |memory| {
        memory.failures = if result.is_ok() { 0 } else { memory.failures.saturating_add(1) };
    });
    if result? == Next::Soon {
        return Ok(Action::requeue(SOON));
    }
    let jitter = rand::rng().random_range(0..JITTER_MILLISECONDS);
    Ok(Action::requeue(Duration::from_secs(ROUND_SECONDS) + Duration::from_millis(jitter)))
}

/// After a failure: soon, and later with each further one.
pub fn after_failure(guard: Arc<DeserializeGuard<SyncMirror>>, error: &RoundError, context: Arc<Context>) -> Action {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}"));
    tracing::warn!("{error}{}", cause.unwrap_or_default());
    let failures = context.memory.of(guard.meta().uid.as_deref().unwrap_or_default()).failures;
    Action::requeue(Duration::from_secs(2_u64.saturating_pow(failures).min(PAUSE_SECONDS_MAX)))
}

/// When a mirror is looked at again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// At its next round.
    Round,
    /// In a moment, since something is not known yet.
    Soon,
}

async fn steps(mirror: &SyncMirror, uid: &str, context: &Context) -> Result<Next, RoundError> {
    let namespace = mirror.metadata.namespace.clone().unwrap_or_default();
    let mirrors = context.stores.mirrors_of(&namespace);
    let (agents, lacking) = pods(mirror, &mirrors, &context.injected.state(), &context.others.state(), &context.polls);
    let mut missing = Vec::new();
    for lacking in lacking {
        let workload = context.owners.workload(&context.client, &namespace, lacking.owner.as_ref()).await;
        missing.push(Missing { pod: lacking.pod, workload, because: lacking.because });
    }

    let refused = match validate(mirror) {
        Ok(()) => apply(mirror, uid, context).await.err(),
        Err(refusal) => Some(refusal),
    };
    if unsettled(mirror, &context.injected.state(), &context.polls) {
        return Ok(Next::Soon);
    }
    let mut restarts = Vec::new();
    if refused.is_none() && mirror.spec.rollout.on_missing == OnMissing::Restart && !missing.is_empty() {
        restarts = context.restarter.restart(mirror, &mirrors, &missing, context).await;
    }
    let (version, now) = (context.version, Timestamp::now());
    let endings = unsent(mirror, &namespace, now, context).await;
    let in_the_way = in_the_way(mirror, &mirrors, &context.injected.state());
    let facts = Facts { mirror, refused, agents, missing, in_the_way, restarts, endings, version, now };
    // What this process wrote may be newer than what is watched.
    let written = context.memory.of(uid).written.map(|(status, _)| status);
    let before = written.as_ref().or(mirror.status.as_ref());
    write(status(&facts, before), before, mirror, context).await?;
    Ok(Next::Round)
}

/// The ends of pods that left something unsent. Each is told once, by an Event and in the counters.
async fn unsent(mirror: &SyncMirror, namespace: &str, now: Timestamp, context: &Context) -> Vec<Ending> {
    let mut endings = context.endings.of(namespace, mirror.mirror_name(), now);
    endings.retain(|ending| counts_as_unsent(mirror, ending));
    for ending in endings.iter().filter(|ending| !ending.told) {
        context.endings.told(namespace, ending);
        let pending = ending.receipt.pending.count;
        context.metrics.ended_unsent(is_at_risk(mirror, ending), pending.files, pending.bytes);
        let news = event(mirror, ending);
        tracing::warn!(namespace, mirror = mirror.mirror_name(), "{}", news.note);
        let pod = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(ending.pod.clone()),
            uid: Some(ending.uid.clone()),
            ..ObjectReference::default()
        };
        publish(&mirror.object_ref(&()), Some(pod), &news, context).await;
    }
    endings
}

/// Applies the ConfigMap, if it isn't what was applied last.
async fn apply(mirror: &SyncMirror, uid: &str, context: &Context) -> Result<(), Refusal> {
    let map = config_map(mirror);
    let hash = {
        let mut hasher = DefaultHasher::new();
        serde_json::to_string(&map).unwrap_or_default().hash(&mut hasher);
        hasher.finish()
    };
    let applied = context.memory.of(uid).applied;
    if applied.is_some_and(|(before, when)| before == hash && when.elapsed() < APPLY_AGAIN) {
        return Ok(());
    }
    let name = map.metadata.name.clone().unwrap_or_default();
    let api: Api<ConfigMap> =
        Api::namespaced(context.client.clone(), map.metadata.namespace.as_deref().unwrap_or_default());
    let params = PatchParams::apply(MANAGER).force();
    match api.patch(&name, &params, &Patch::Apply(&map)).await {
        Ok(_) => {
            if applied.is_none_or(|(before, _)| before != hash) {
                tracing::info!(
                    namespace = api.namespace(),
                    mirror = mirror.mirror_name(),
                    "the agents' config is written"
                );
            }
            context.memory.change(uid, |memory| memory.applied = Some((hash, Instant::now())));
            Ok(())
        }
        Err(error) => Err(("ConfigNotWritten", format!("ConfigMap {name} can't be written: {error}"))),
    }
}

/// Writes the status, if it says something new and the last one is old enough.
async fn write(
    now: SyncMirrorStatus,
    before: Option<&SyncMirrorStatus>,
    mirror: &impl Resource<DynamicType = ()>,
    context: &Context,
) -> Result<(), RoundError> {
    let metadata = mirror.meta();
    let uid = metadata.uid.as_deref().unwrap_or_default();
    context.metrics.pods(uid, &counts(&now));
    let written = context.memory.of(uid).written;
    let soon = written.is_some_and(|(_, when)| when.elapsed() < Duration::from_secs(ROUND_SECONDS));
    if same(&now, before) || soon {
        return Ok(());
    }
    let resource = ApiResource::erase::<SyncMirror>(&());
    let name = metadata.name.as_deref().unwrap_or_default();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
    let body = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": { "name": name },
        "status": now,
    });
    let params = PatchParams::apply(MANAGER).force();
    match api.patch_status(name, &params, &Patch::Apply(&body)).await {
        Ok(_) => {}
        // It was deleted meanwhile.
        Err(error) if is_not_found(&error) => return Ok(()),
        Err(source) => return Err(RoundError::Status { mirror: name.to_owned(), source }),
    }
    tracing::info!(namespace, mirror = name, summary = now.summary, "status written");
    let told = news(&now, before);
    context.memory.change(uid, |memory| memory.written = Some((now, Instant::now())));
    for news in told {
        publish(&mirror.object_ref(&()), None, &news, context).await;
    }
    Ok(())
}

/// Pods by how they stand, for the gauge.
fn counts(status: &SyncMirrorStatus) -> [(&'static str, i64); 5] {
    let pods = &status.pods;
    [
        ("matched", pods.matched.into()),
        ("injected", pods.injected.into()),
        ("hydrated", pods.hydrated.into()),
        ("in_sync", pods.in_sync.into()),
        ("missing", pods.missing.into()),
    ]
}

/// An Event, and another object that it is about, too. That it can't be told keeps nothing from being done.
pub async fn publish(of: &ObjectReference, related: Option<ObjectReference>, news: &News, context: &Context) {
    let event = Event {
        type_: if news.good { EventType::Normal } else { EventType::Warning },
        reason: news.reason.clone(),
        note: Some(news.note.clone()).filter(|note| !note.is_empty()),
        action: "Reconciling".to_owned(),
        secondary: related,
    };
    if let Err(error) = context.recorder.publish(&event, of).await {
        tracing::warn!("an Event can't be written: {error}");
    }
}

/// True for what is not there.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
