//! Pods at their end whose agents could not send everything: from the receipts that agents leave as termination messages.
//!
//! A pod's last state passes by in the watch, and the pod is gone a moment later: it is noted there, and told of for a day. What
//! ended while nobody led is only in the status of pods that are still there. Nothing here outlives the leadership.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::pod::InjectedPod;
use super::told::Pending;

/// How long an end is told of.
pub const TOLD: SignedDuration = SignedDuration::from_hours(24);
/// Most ends that are kept: the newest.
const ENDINGS_MAX: usize = 1_000;

/// A pod that ended with something unsent, for one mirror.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// The pod.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// When its agent ended.
    pub at: Timestamp,
    /// What the agent wrote.
    pub receipt: LastReceipt,
    /// The volumes that went with the pod.
    pub volumes_gone: Vec<String>,
    /// Somebody was told of it.
    pub told: bool,
}

/// The termination message.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
struct Message {
    receipts: Vec<LastReceipt>,
}

/// What an agent says of one mirror at its end. Read leniently: an agent may be older or newer.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct LastReceipt {
    /// The mirror.
    pub mirror: String,
    /// Nothing was pending.
    pub flushed: bool,
    /// Both sides had been compared completely.
    pub hydrated: bool,
    /// What was pending.
    pub pending: PendingPaths,
    /// Why.
    pub reason: Option<String>,
    /// None where it was killed before it was through.
    pub finished: Option<Timestamp>,
}

/// What was pending, and a few paths of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct PendingPaths {
    /// Files and bytes.
    #[serde(flatten)]
    pub count: Pending,
    /// The first paths.
    pub first: Vec<String>,
}

/// The ends by namespace, mirror and pod.
#[derive(Debug, Default)]
pub struct Endings(Mutex<BTreeMap<(String, String, String), Ending>>);

impl Endings {
    /// Looks at a pod as it passes by.
    pub fn note(&self, pod: &InjectedPod) {
        let Some((message, at)) = pod.last_words() else { return };
        let message: Message = match serde_json::from_str(message) {
            Ok(message) => message,
            Err(error) => {
                let (namespace, pod) = (pod.namespace(), pod.name());
                return tracing::warn!(namespace, pod, "what its agent left at its end can't be read: {error}");
            }
        };
        let mut endings = self.lock();
        for receipt in message.receipts.into_iter().filter(|receipt| !receipt.flushed) {
            let key = (pod.namespace().to_owned(), receipt.mirror.clone(), pod.uid().to_owned());
            // A pod passes by several times.
            endings.entry(key).or_insert_with(|| Ending {
                pod: pod.name().to_owned(),
                uid: pod.uid().to_owned(),
                at: at.unwrap_or_else(Timestamp::now),
                receipt,
                volumes_gone: pod.volumes_of_its_own().to_vec(),
                told: false,
            });
        }
        while endings.len() > ENDINGS_MAX {
            let oldest = endings.iter().min_by_key(|(_, ending)| ending.at).map(|(key, _)| key.clone());
            oldest.and_then(|key| endings.remove(&key));
        }
    }

    /// Those of a mirror within the last day, the newest first.
    pub fn of(&self, namespace: &str, mirror: &str, now: Timestamp) -> Vec<Ending> {
        let mut endings = self.lock();
        endings.retain(|_, ending| now.duration_since(ending.at) < TOLD);
        let here = endings.iter().filter(|((in_namespace, of, _), _)| in_namespace == namespace && of == mirror);
        let mut found: Vec<Ending> = here.map(|(_, ending)| ending.clone()).collect();
        found.sort_by(|one, other| (other.at, &other.pod).cmp(&(one.at, &one.pod)));
        found
    }

    /// Somebody was told of this one.
    pub fn told(&self, namespace: &str, ending: &Ending) {
        let key = (namespace.to_owned(), ending.receipt.mirror.clone(), ending.uid.clone());
        if let Some(ending) = self.lock().get_mut(&key) {
            ending.told = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String, String), Ending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
