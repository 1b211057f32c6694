//! The signals that end an agent.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    at_hangup: AtHangup,
}

/// What a hangup means.
pub enum AtHangup {
    /// The terminal was closed: so ends what was started in it.
    End,
    /// A daemon has no terminal: whoever waits for this is told.
    Tell(Arc<Notify>),
}

impl Signals {
    /// From here on they no longer end the process by themselves.
    pub fn listen(at_hangup: AtHangup) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            at_hangup,
        })
    }

    /// The next one that means the end.
    pub async fn end(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => match &self.at_hangup {
                    AtHangup::End => return,
                    AtHangup::Tell(listener) => listener.notify_one(),
                },
            }
        }
    }
}
