//! Who of the replicas leads: the holder of a Lease. Only the leader writes.
//!
//! Whether another's hold is over is told by this process's own clock, from when it saw that the Lease changed: clocks of two
//! machines are never compared. A leader that can't renew stops leading before anybody else may begin. At an orderly end the
//! Lease is given back, after a kill it runs out.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::Instant;

use crate::reconcile::{MANAGER, is_not_found};

/// How long a hold lasts without being renewed.
const HOLD: Duration = Duration::from_secs(15);
/// A leader that did not renew for so long stops. Less than `HOLD`, so that two never lead.
const RENEWED_WITHIN: Duration = Duration::from_secs(10);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// Longest time for one request.
const REQUEST: Duration = Duration::from_secs(5);

/// A Lease as it was seen.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    holder: String,
    version: String,
    hold: Duration,
    /// When it was first seen so.
    since: Instant,
}

/// What to do about a Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nobody holds it, or its holder is gone.
    Take,
    /// It is ours.
    Renew,
    /// It is another's.
    Wait,
}

fn step(seen: &Seen, me: &str, now: Instant) -> Step {
    if seen.holder == me {
        return Step::Renew;
    }
    let over = seen.holder.is_empty() || now.duration_since(seen.since) > seen.hold;
    if over { Step::Take } else { Step::Wait }
}

/// A candidate.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    me: String,
    seen: Option<Seen>,
    /// When the Lease was last made ours for sure: before the request was sent.
    held: Option<Instant>,
    /// The last look failed, which is told once.
    failing: bool,
}

impl Candidate {
    /// One that does not lead yet. `me` has to be another for each process.
    pub fn new(client: Client, namespace: &str, name: &str, me: &str) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.to_owned(), me: me.to_owned(), seen: None, held: None, failing: false }
    }

    /// Returns once the Lease is ours.
    pub async fn lead(&mut self) {
        while !self.turn().await {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns once it is not any more, or is not for sure.
    pub async fn lost(&mut self) {
        loop {
            let Some(held) = self.held else { return };
            let end = held + RENEWED_WITHIN;
            let turn = async {
                tokio::time::sleep(PAUSE).await;
                self.turn().await
            };
            // A request that hangs does not keep it.
            match tokio::time::timeout_at(end, turn).await {
                Ok(true) => {}
                Ok(false) if Instant::now() < end && self.is_ours() => {}
                Ok(false) | Err(_) => {
                    self.held = None;
                    return;
                }
            }
        }
    }

    /// Gives it back, so that another need not wait.
    pub async fn give_back(&mut self) {
        self.held = None;
        let Some(seen) = self.seen.take().filter(|seen| seen.holder == self.me) else { return };
        let patch = json!({ "metadata": { "resourceVersion": seen.version }, "spec": { "holderIdentity": "" } });
        let (patch, params) = (Patch::Merge(&patch), params());
        let given = self.api.patch(&self.name, &params, &patch);
        match tokio::time::timeout(REQUEST, given).await {
            Ok(Ok(_)) => tracing::info!("the leadership is given back"),
            Ok(Err(error)) => tracing::warn!("the leadership can't be given back: {error}"),
            Err(_) => tracing::warn!("the leadership can't be given back in time"),
        }
    }

    /// The last look found nobody else on it.
    fn is_ours(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.holder == self.me)
    }

    /// One look, and what follows. True when it was made ours.
    async fn turn(&mut self) -> bool {
        let begun = Instant::now();
        match tokio::time::timeout(REQUEST, self.try_turn(begun)).await {
            Ok(Ok(true)) => {
                self.failing = false;
                self.held = Some(begun);
                true
            }
            Ok(Ok(false)) => {
                self.failing = false;
                false
            }
            Ok(Err(error)) => self.failed(&error.to_string()),
            Err(_) => self.failed("no answer in time"),
        }
    }

    fn failed(&mut self, why: &str) -> bool {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!("Lease {} can't be had: {why}", self.name);
        }
        false
    }

    async fn try_turn(&mut self, begun: Instant) -> Result<bool, kube::Error> {
        let lease = match self.api.get(&self.name).await {
            Ok(lease) => lease,
            Err(error) if is_not_found(&error) => return self.make(begun).await,
            Err(error) => return Err(error),
        };
        self.see(&lease, begun);
        let Some(seen) = &self.seen else { return Ok(false) };
        let step = step(seen, &self.me, begun);
        if step == Step::Wait {
            return Ok(false);
        }
        let now = MicroTime(Timestamp::now());
        let mut spec = json!({
            "holderIdentity": self.me,
            "leaseDurationSeconds": HOLD.as_secs(),
            "renewTime": now,
        });
        if step == Step::Take {
            let changes = lease.spec.and_then(|spec| spec.lease_transitions).unwrap_or(0).saturating_add(1);
            spec["acquireTime"] = json!(now);
            spec["leaseTransitions"] = json!(changes);
        }
        // It holds for the version that was seen alone: of two that try, one fails.
        let patch = json!({ "metadata": { "resourceVersion": seen.version }, "spec": spec });
        match self.api.patch(&self.name, &params(), &Patch::Merge(&patch)).await {
            Ok(lease) => {
                self.see(&lease, begun);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn make(&mut self, begun: Instant) -> Result<bool, kube::Error> {
        let now = MicroTime(Timestamp::now());
        let lease = Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.me.clone()),
                lease_duration_seconds: i32::try_from(HOLD.as_secs()).ok(),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        };
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(lease) => {
                self.see(&lease, begun);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn see(&mut self, lease: &Lease, now: Instant) {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        if self.seen.as_ref().is_some_and(|seen| seen.version == version) {
            return;
        }
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        self.seen = Some(Seen {
            holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
            version,
            hold: seconds.map_or(HOLD, Duration::from_secs),
            since: now,
        });
    }
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(holder: &str, since: Instant) -> Seen {
        Seen { holder: holder.to_owned(), version: "7".to_owned(), hold: HOLD, since }
    }

    #[test]
    fn the_lease_of_another_is_taken_only_when_it_stood_still_for_its_whole_time() {
        let start = Instant::now();
        assert_eq!(step(&seen("other", start), "me", start + HOLD), Step::Wait);
        assert_eq!(step(&seen("other", start), "me", start + HOLD + PAUSE), Step::Take);
    }

    #[test]
    fn a_lease_that_was_given_back_is_taken_at_once_and_ones_own_is_renewed() {
        let start = Instant::now();
        assert_eq!(step(&seen("", start), "me", start), Step::Take);
        assert_eq!(step(&seen("me", start), "me", start + HOLD * 9), Step::Renew);
    }

    #[test]
    fn a_leader_stops_before_another_may_begin() {
        assert!(RENEWED_WITHIN < HOLD);
    }
}
