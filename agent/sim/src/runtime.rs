//! Time, chance and threads of a simulated process, and the root of all ports: a handle on the world for one life.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use futures_channel::oneshot;
use futures_util::future::BoxFuture;
use gosync_engine::ports::{Clock, Event as Told, Ids, Observer, Workers};
use gosync_plan::Nonce;

use crate::world::{Event, Shared, Who, World, lock};

/// One process's handle on the world. After its life has ended it may only ask whether it lives.
#[derive(Clone)]
pub struct Port {
    pub world: Shared,
    pub replica: usize,
    pub life: u32,
}

impl Port {
    pub fn lock(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    pub fn alive(&self, world: &World) -> bool {
        world.alive(self.replica, self.life)
    }

    /// Waits for a random time. Whoever was asked together comes back in any order.
    pub fn pause(&self, low_us: u64, high_us: u64) -> Sleep {
        let mut world = self.lock();
        let ns = world.dice.between(low_us, high_us) * 1_000;
        let until_ns = world.now_ns() + ns;
        drop(world);
        Sleep { world: Arc::clone(&self.world), until_ns, waker: None }
    }
}

pub struct Sleep {
    world: Shared,
    until_ns: u64,
    waker: Option<Waker>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut world = lock(&self.world);
        let now_ns = world.now_ns();
        if now_ns >= self.until_ns {
            return Poll::Ready(());
        }
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            world.schedule(self.until_ns - now_ns, Event::Wake(context.waker().clone()));
            drop(world);
            self.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

#[async_trait]
impl Clock for Port {
    fn monotonic_ms(&self) -> u64 {
        let now_ms = self.lock().monotonic_ms(self.replica);
        // Nothing else ends a future that never waits.
        now_ms.unwrap_or_else(|| resume_unwind(Box::new("it goes round and round, and waits for nothing")))
    }

    fn utc_ns(&self) -> i64 {
        self.lock().host_clock_ns(self.replica)
    }

    async fn sleep_ms(&self, milliseconds: u64) {
        let until_ns = self.lock().now_ns().saturating_add(milliseconds.saturating_mul(1_000_000));
        Sleep { world: Arc::clone(&self.world), until_ns, waker: None }.await;
    }
}

impl Ids for Port {
    fn nonce(&self) -> Nonce {
        Nonce(self.lock().dice.bytes())
    }
}

impl Workers for Port {
    fn run(&self, job: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let (done, finished) = oneshot::channel();
        let job = Box::new(move || {
            job();
            let _ = done.send(());
        });
        let mut world = self.lock();
        let delay_ns = world.dice.between(1_000, 1_500_000);
        world.schedule(delay_ns, Event::Job { replica: self.replica, life: self.life, job });
        drop(world);
        Box::pin(async move {
            let _ = finished.await;
        })
    }
}

impl Observer for Port {
    fn observe(&self, event: &Told) {
        let mut world = self.lock();
        world.tell(Who::Agent(self.replica), || format!("tells: {event:?}"));
    }
}
