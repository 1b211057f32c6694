//! The signals that end an agent.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// A closed terminal ends what was started in it; a daemon has none.
    hangup_ends: bool,
}

impl Signals {
    /// From here on they no longer end the process by themselves.
    pub fn listen(hangup_ends: bool) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            hangup_ends,
        })
    }

    /// The next one that means the end.
    pub async fn end(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    if self.hangup_ends {
                        return;
                    }
                    tracing::info!("a hangup changes nothing: restart the agent to read its config again");
                }
            }
        }
    }
}
