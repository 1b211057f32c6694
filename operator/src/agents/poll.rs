//! Asks each agent how it fares, every 15 seconds: a few at a time, each pod at its own second of the round.
//!
//! An agent that can't be reached says nothing about its mirror: a single failure leaves what it told before, several make it
//! unreachable. Nothing here outlives the leadership; the next leader asks anew.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use kube::runtime::reflector::Store;

use super::pod::InjectedPod;
use super::told::AgentState;

/// A round, in seconds.
const ROUND_SECONDS: u64 = 15;
/// Agents that are asked at once.
const AT_ONCE: usize = 32;
/// How long one may take to answer.
const ANSWER: Duration = Duration::from_secs(3);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// So many failures in a row make an agent unreachable.
const FAILURES: u32 = 2;

/// What the agents told last, by the uid of their pods.
#[derive(Debug, Default)]
pub struct Polls(Mutex<HashMap<String, Poll>>);

#[derive(Debug, Clone, Default)]
struct Poll {
    told: Option<Arc<AgentState>>,
    failures: u32,
    error: String,
}

impl Polls {
    /// What the agent of a pod told: its words, why it can't be reached, or nothing yet.
    pub fn of(&self, uid: &str) -> Option<Result<Arc<AgentState>, String>> {
        let polls = self.lock();
        let poll = polls.get(uid)?;
        if poll.failures >= FAILURES {
            return Some(Err(poll.error.clone()));
        }
        poll.told.clone().map(Ok)
    }

    /// The same, for what asks otherwise than over the network.
    pub fn note(&self, uid: &str, answer: Result<AgentState, String>) {
        let mut polls = self.lock();
        let poll = polls.entry(uid.to_owned()).or_default();
        match answer {
            Ok(state) => *poll = Poll { told: Some(Arc::new(state)), ..Poll::default() },
            Err(error) => {
                poll.failures += 1;
                poll.error = error;
            }
        }
    }

    /// True once it is known whether the agent of a pod can be reached. Until then it is asked every second.
    pub fn settled(&self, uid: &str) -> bool {
        self.lock().get(uid).is_some_and(|poll| poll.told.is_some() || poll.failures >= FAILURES)
    }

    fn keep(&self, wanted: impl Fn(&str) -> bool) {
        self.lock().retain(|uid, _| wanted(uid));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Poll>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for ever. A pod that is new is asked within a second.
pub async fn poll(pods: Store<InjectedPod>, polls: Arc<Polls>) -> Result<(), reqwest::Error> {
    // No connection is kept: there would be one for each pod.
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER).pool_max_idle_per_host(0);
    let client = client.redirect(reqwest::redirect::Policy::none()).build()?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for second in (0..ROUND_SECONDS).cycle() {
        ticks.tick().await;
        let now = pods.state();
        if second == 0 {
            let uids: std::collections::HashSet<&str> = now.iter().map(|pod| pod.uid()).collect();
            polls.keep(|uid| uids.contains(uid));
        }
        let due = now.iter().filter(|pod| pod.lives());
        let due = due.filter(|pod| second_of(pod.uid()) == second || !polls.settled(pod.uid()));
        let due = due.filter_map(|pod| Some((pod.uid().to_owned(), pod.address()?)));
        let due: Vec<(String, String)> = due.collect();
        let asked = stream::iter(due).for_each_concurrent(AT_ONCE, |(uid, address)| {
            let (client, polls) = (&client, &polls);
            async move {
                let answer = ask(client, &address).await;
                polls.note(&uid, answer);
            }
        });
        asked.await;
    }
    Ok(())
}

fn second_of(uid: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    hasher.finish() % ROUND_SECONDS
}

async fn ask(client: &reqwest::Client, address: &str) -> Result<AgentState, String> {
    let failed = |error: reqwest::Error| {
        let why = if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            cause.to_string()
        };
        format!("{address}: {why}")
    };
    let mut response = client.get(format!("http://{address}/v1/state")).send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(format!("{address}: it answers {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(format!("{address}: its answer is too long"));
        }
        body.extend_from_slice(&piece);
    }
    serde_json::from_slice(&body).map_err(|error| format!("{address}: its answer can't be read: {error}"))
}
