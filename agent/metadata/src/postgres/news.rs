//! Telling other agents that a feed has news, and hearing of it. Hints only: they may be lost, repeated or late.
//!
//! A message takes a lock of the whole server when it is committed: one is sent after a commit, and what comes within
//! [`GATHER`] of it is told together. Hearing needs a connection that stays: not through PgBouncer in transaction mode.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Executor as _, query};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{sleep, timeout};

use super::connect::Connections;

const CHANNEL: &str = "gosync_feed";
const GATHER: Duration = Duration::from_millis(50);
/// Until the next try to listen.
const RECONNECT: Duration = Duration::from_secs(1);
/// After so long without a message, the connection is asked whether it still lives.
const SILENCE: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(10);

/// Sends the epochs of stores that come in; ends with the last sender.
pub(super) async fn announce(connections: Arc<Connections>, mut news: mpsc::UnboundedReceiver<String>) {
    while let Some(first) = news.recv().await {
        let mut epochs = BTreeSet::from([first]);
        while let Ok(epoch) = news.try_recv() {
            epochs.insert(epoch);
        }
        let epochs: Vec<_> = epochs.into_iter().collect();
        // Nobody misses more than time.
        let _ = connections.run("announcing news", notify(&connections, &epochs)).await;
        sleep(GATHER).await;
    }
}

async fn notify(connections: &Connections, epochs: &[String]) -> Result<(), sqlx::Error> {
    let mut transaction = connections.begin().await?;
    query("SELECT pg_notify($1, epoch) FROM unnest($2::text[]) AS epoch")
        .persistent(false)
        .bind(CHANNEL)
        .bind(epochs)
        .execute(&mut transaction.connection)
        .await?;
    transaction.commit().await
}

/// Passes on what is heard, until it is aborted; `None` after each pause, in which anything may have been missed.
pub(super) async fn listen(options: PgConnectOptions, hints: broadcast::Sender<Option<String>>) {
    loop {
        // A connection that ends, or can't be had, is tried again.
        let _ = listen_once(options.clone(), &hints).await;
        sleep(RECONNECT).await;
    }
}

async fn listen_once(options: PgConnectOptions, hints: &broadcast::Sender<Option<String>>) -> Result<(), sqlx::Error> {
    let pool =
        PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None).connect_with(options).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    let mut hint = None;
    loop {
        // An error means that nobody waits for hints just now.
        let _ = hints.send(hint);
        hint = loop {
            match timeout(SILENCE, listener.try_recv()).await {
                Ok(Ok(Some(message))) => break Some(message.payload().to_owned()),
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => match timeout(ANSWER, listener.execute("SELECT 1")).await {
                    Ok(answer) => answer.map(drop)?,
                    Err(_) => return Ok(()),
                },
            }
        };
    }
}
