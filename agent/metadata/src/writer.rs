//! The one writer of a file: writes queue up, and all that wait together share one commit. Under load they gather for a
//! few milliseconds between two commits.
//!
//! A write is answered after the commit that holds it. When anything in a shared transaction fails, the transaction is
//! rolled back and each of its writes is tried again alone, so that a write fails by its own fault only. A write whose
//! caller has gone away is done nevertheless. After a failure the connection is made anew for the next write.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gosync_engine::ports::state::StateError;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};

use crate::database::Database;

/// Writes that wait at most; further callers wait to be let in. Also the most that share a commit.
const QUEUE_MAX: usize = 256;
/// A commit costs a sync and changes of threads, however little is in it: after one that was shared, more writes are on
/// their way and are waited for. Whoever writes alone never waits.
const GATHER: Duration = Duration::from_millis(10);

pub(crate) trait Write: Send + Sync + Sized + 'static {
    type Answer: Send + 'static;

    /// Does all of `group`, in this order, in the transaction that is open on `connection`; one answer each.
    fn run(
        group: &[Self],
        connection: &mut SqliteConnection,
    ) -> impl Future<Output = Result<Vec<Self::Answer>, sqlx::Error>> + Send;

    /// For messages: `writing …`.
    fn doing(&self) -> &'static str;
}

pub(crate) struct Writer<W: Write> {
    database: Database,
    queue: mpsc::Sender<Message<W>>,
    commits: Arc<AtomicU64>,
}

enum Message<W: Write> {
    Write(W, oneshot::Sender<Result<W::Answer, StateError>>),
    Close(oneshot::Sender<()>),
}

impl<W: Write> Writer<W> {
    pub(crate) fn start(database: Database) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let commits = Arc::new(AtomicU64::new(0));
        let desk = Desk { database: database.clone(), connection: None, commits: Arc::clone(&commits) };
        tokio::spawn(desk.serve(waiting));
        Self { database, queue, commits }
    }

    pub(crate) async fn write(&self, write: W) -> Result<W::Answer, StateError> {
        let doing = write.doing();
        let (answer, answered) = oneshot::channel();
        let sent = self.queue.send(Message::Write(write, answer)).await.is_ok();
        match answered.await {
            Ok(result) if sent => result,
            _ => Err(self.database.closed(doing)),
        }
    }

    /// Commits since the start.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Ends after what was queued before; whatever comes later is refused.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

/// The writer's own end of the queue.
struct Desk {
    database: Database,
    connection: Option<SqliteConnection>,
    commits: Arc<AtomicU64>,
}

impl Desk {
    async fn serve<W: Write>(mut self, mut waiting: mpsc::Receiver<Message<W>>) {
        let mut messages = Vec::with_capacity(QUEUE_MAX);
        let mut closers = Vec::new();
        while waiting.recv_many(&mut messages, QUEUE_MAX).await > 0 {
            let mut group = Vec::with_capacity(messages.len());
            let mut answers = Vec::with_capacity(messages.len());
            for message in messages.drain(..) {
                match message {
                    Message::Write(write, answer) => {
                        group.push(write);
                        answers.push(answer);
                    }
                    Message::Close(done) => {
                        waiting.close();
                        closers.push(done);
                    }
                }
            }
            for (result, answer) in self.commit_or_each_alone(&group).await.into_iter().zip(answers) {
                let _ = answer.send(result);
            }
            if group.len() > 1 {
                tokio::time::sleep(GATHER).await;
            }
        }
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
        for done in closers {
            let _ = done.send(());
        }
    }

    async fn commit_or_each_alone<W: Write>(&mut self, group: &[W]) -> Vec<Result<W::Answer, StateError>> {
        if group.len() > 1
            && let Ok(answers) = self.commit(group).await
        {
            return answers.into_iter().map(Ok).collect();
        }
        let mut results = Vec::with_capacity(group.len());
        for write in group {
            let result = match self.commit(std::slice::from_ref(write)).await {
                Ok(mut answers) => answers.pop().ok_or_else(|| self.database.closed(write.doing())),
                Err(error) => Err(self.database.failed(write.doing(), error)),
            };
            results.push(result);
        }
        results
    }

    async fn commit<W: Write>(&mut self, group: &[W]) -> Result<Vec<W::Answer>, sqlx::Error> {
        // Taken out, so that a connection on which anything failed is dropped, and its transaction with it.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.connect().await?,
        };
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let answers = W::run(group, &mut transaction).await?;
        transaction.commit().await?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.connection = Some(connection);
        Ok(answers)
    }
}
