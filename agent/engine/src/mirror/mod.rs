//! The loop that owns a mirror's state: one event in, effects out.
//!
//! [`core`] decides (no I/O, no waiting); this module drives: it selects the next event, lets the core take a step, and
//! runs the effects as futures whose ends are events again. Dropping the future at any moment is what a kill is.

mod answers;
mod beating;
mod commands;
mod core;
mod deletes;
mod dirty;
mod effect;
mod explain;
mod feed;
mod guards;
mod looks;
mod moves;
mod operations;
mod plan;
mod queue;
mod scrub;
mod start;
mod sweeps;

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use futures_channel::mpsc;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

pub(crate) use self::deletes::Executed;
pub use self::effect::NOTE_PAUSED;
pub use self::plan::{PlanDraft, Step as PlanStep, plan_first_run};

use self::core::{Core, Step};
use self::effect::{Effect, Event};
use crate::config::MirrorConfig;
use crate::context::Context;
use crate::handle::{Message, MirrorHandle};
use crate::ports::Ports;
use crate::sweep::Found;

/// Why a mirror's future ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Told to.
    Stopped,
    /// Another folder or mount stands at the root's path: open it anew and start again.
    ReopenRoot,
    /// The process is going down in the middle of a call.
    Killed,
}

/// A mirror: a handle to talk to it, and the future that is it. The future must be polled (spawned) to live. What it
/// needs (root opened, lock held, state opened) is in the ports.
pub fn mirror(config: MirrorConfig, ports: Ports) -> (MirrorHandle, impl Future<Output = Ended> + Send) {
    let (sender, receiver) = mpsc::unbounded();
    let context = Context::new(config, ports);
    (MirrorHandle { inbox: sender }, drive(context, receiver))
}

async fn drive(context: Context, inbox: mpsc::UnboundedReceiver<Message>) -> Ended {
    let mut core = Core::new(context.clone());
    let mut driver = Driver { context, inbox, running: FuturesUnordered::new(), found: None, swept: None, timer: None };
    let mut event = Event::Timer;
    loop {
        match core.step(event) {
            Step::End(ended) => return ended,
            Step::Go(effects) => driver.begin(effects),
        }
        driver.set_timer(core.next_due_ms());
        event = driver.next_event(core.has_room()).await;
    }
}

struct Driver {
    context: Context,
    inbox: mpsc::UnboundedReceiver<Message>,
    running: FuturesUnordered<BoxFuture<'static, Event>>,
    /// What the running sweep finds.
    found: Option<mpsc::Receiver<Found>>,
    /// The sweep has ended, but not all that it found was taken yet.
    swept: Option<Event>,
    /// When the core wants to be woken, monotonic milliseconds.
    timer: Option<(u64, BoxFuture<'static, ()>)>,
}

impl Driver {
    fn begin(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let context = self.context.clone();
            self.running.push(match effect {
                Effect::Sweep(scope) => {
                    let (sender, receiver) = mpsc::channel(0);
                    self.found = Some(receiver);
                    effect::sweep(context, scope, sender)
                }
                effect => effect::run(context, effect),
            });
        }
    }

    fn set_timer(&mut self, due_ms: Option<u64>) {
        let Some(due_ms) = due_ms else {
            self.timer = None;
            return;
        };
        // One that fires earlier does no harm.
        if self.timer.as_ref().is_none_or(|(set_ms, _)| *set_ms > due_ms) {
            let clock = Arc::clone(&self.context.ports.clock);
            let wait_ms = due_ms.saturating_sub(clock.monotonic_ms());
            self.timer = Some((due_ms, async move { clock.sleep_ms(wait_ms).await }.boxed()));
        }
    }

    /// The next thing that happens. The sweep's findings wait while there is no room for them.
    async fn next_event(&mut self, room: bool) -> Event {
        poll_fn(|task| {
            if let Poll::Ready(message) = self.inbox.poll_next_unpin(task) {
                return Poll::Ready(message.map_or(Event::Abandoned, Event::Message));
            }
            while let Poll::Ready(Some(event)) = self.running.poll_next_unpin(task) {
                if self.found.is_none() || !matches!(event, Event::Swept { .. }) {
                    return Poll::Ready(event);
                }
                self.swept = Some(event);
            }
            if room && let Some(found) = &mut self.found {
                match found.poll_next_unpin(task) {
                    Poll::Ready(Some(batch)) => return Poll::Ready(Event::Found(batch)),
                    Poll::Ready(None) => self.found = None,
                    Poll::Pending => {}
                }
            }
            if self.found.is_none()
                && let Some(event) = self.swept.take()
            {
                return Poll::Ready(event);
            }
            if let Some((_, sleep)) = &mut self.timer
                && sleep.poll_unpin(task).is_ready()
            {
                self.timer = None;
                return Poll::Ready(Event::Timer);
            }
            Poll::Pending
        })
        .await
    }
}
