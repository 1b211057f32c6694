//! Hints by PUBLISH and SUBSCRIBE: the feed may have come this far.
//!
//! Lost, repeated and forged ones change nothing but how soon somebody looks (P8). Several in a row become one: a hundred
//! commits in a second are a hundred messages at most. After a gap everybody who listens is told to look once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{EventInterface as _, PubsubInterface as _};
use fred::types::{Builder, Value};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::circuit::Circuit;
use crate::redis::keep_connected;

/// Between two messages of one agent.
const PAUSE: Duration = Duration::from_millis(10);
/// Between two tries to listen.
const RETRY: Duration = Duration::from_millis(100);

pub struct Hints {
    outgoing: Arc<Outgoing>,
    listening: Arc<Listening>,
}

#[derive(Default)]
struct Outgoing {
    heads: Mutex<HashMap<String, u64>>,
    rung: Notify,
}

#[derive(Default)]
struct Listening {
    /// The newest head of each channel that somebody listens on.
    channels: Mutex<HashMap<String, watch::Sender<u64>>>,
    rung: Notify,
}

impl Hints {
    pub fn new(client: Client, builder: Builder, circuit: Arc<Circuit>, tasks: &mut JoinSet<()>) -> Self {
        let (outgoing, listening) = (Arc::<Outgoing>::default(), Arc::<Listening>::default());
        tasks.spawn(send(client, circuit, Arc::clone(&outgoing)));
        tasks.spawn(listen(builder, Arc::clone(&listening)));
        Self { outgoing, listening }
    }

    pub fn publish(&self, channel: String, head: u64) {
        let mut heads = lock(&self.outgoing.heads);
        let newest = heads.entry(channel).or_default();
        *newest = head.max(*newest);
        drop(heads);
        self.outgoing.rung.notify_one();
    }

    pub fn heads(&self, channel: String) -> BoxStream<'static, u64> {
        let mut channels = lock(&self.listening.channels);
        let receiver = channels.entry(channel).or_insert_with(|| watch::Sender::new(0)).subscribe();
        drop(channels);
        self.listening.rung.notify_one();
        let next = |mut receiver: watch::Receiver<u64>| async move {
            receiver.changed().await.ok()?;
            let head = *receiver.borrow_and_update();
            Some((head, receiver))
        };
        stream::unfold(receiver, next).boxed()
    }
}

/// The first of several goes out at once, the newest of those that come in the pause after it.
async fn send(client: Client, circuit: Arc<Circuit>, outgoing: Arc<Outgoing>) {
    loop {
        outgoing.rung.notified().await;
        loop {
            let heads = std::mem::take(&mut *lock(&outgoing.heads));
            if heads.is_empty() {
                break;
            }
            for (channel, head) in heads {
                // What can't be sent now is not missed later: who comes back looks.
                if circuit.is_up()
                    && let Err(error) = client.publish::<Value, _, _>(channel, head.to_string()).await
                {
                    circuit.failed("publishing a hint", &error);
                }
            }
            sleep(PAUSE).await;
        }
    }
}

/// Connects as soon as somebody listens.
async fn listen(builder: Builder, listening: Arc<Listening>) {
    listening.rung.notified().await;
    let Ok(client) = builder.build() else { return };
    let mut messages = client.message_rx();
    let mut connections = client.reconnect_rx();
    let mut tasks = JoinSet::new();
    tasks.spawn(keep_connected(client.clone(), Arc::default()));
    // Channels on this very connection.
    let mut subscribed: Vec<String> = Vec::new();
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok(message) => {
                    let head = message.value.as_string().and_then(|text| text.parse().ok());
                    if let (Some(head), Some(sender)) = (head, lock(&listening.channels).get(&*message.channel)) {
                        // Told even when it is the same or a smaller one: who can say which was forged?
                        sender.send_replace(head);
                    }
                }
                Err(RecvError::Lagged(_)) => listening.all_look(),
                Err(RecvError::Closed) => messages = client.message_rx(),
            },
            connected = connections.recv() => {
                if matches!(connected, Err(RecvError::Closed)) {
                    connections = client.reconnect_rx();
                }
                subscribed.clear();
                listening.rung.notify_one();
            }
            () = listening.rung.notified() => {
                let wanted: Vec<String> = lock(&listening.channels).keys().cloned().collect();
                for channel in wanted {
                    if subscribed.contains(&channel) {
                        continue;
                    }
                    match client.subscribe(channel.clone()).await {
                        Ok(()) => {
                            listening.look(&channel);
                            subscribed.push(channel);
                        }
                        Err(_) => {
                            let listening = Arc::clone(&listening);
                            tasks.spawn(async move {
                                sleep(RETRY).await;
                                listening.rung.notify_one();
                            });
                            break;
                        }
                    }
                }
            }
        }
    }
}

impl Listening {
    /// There may have been hints that nobody heard.
    fn look(&self, channel: &str) {
        if let Some(sender) = lock(&self.channels).get(channel) {
            sender.send_replace(0);
        }
    }

    fn all_look(&self) {
        for sender in lock(&self.channels).values() {
            sender.send_replace(0);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
