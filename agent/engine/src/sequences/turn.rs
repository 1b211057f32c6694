//! What stands in for the store's conditions where it doesn't keep all of them (R13): a look just before the write, and
//! turns at the key. Agents that share their metadata hold a short lease on a key while they look at it, write it and look
//! again, so that one of them at a time does.
//!
//! Nothing is taken where the store keeps all conditions, or where nobody shares the metadata. Whoever else writes to the
//! bucket knows nothing of turns: the looks narrow that gap, they can't close it. A turn that nobody gives back (a kill, a
//! lost reply) runs out by itself; whoever stood still for longer than it lasts sees that by its number, and sends nothing.

use std::pin::pin;

use futures_util::future::{Either, select};
use gosync_plan::RelPath;
use gosync_plan::decide::ExpectRemote;

use super::Outcome;
use super::upload::head_patiently;
use crate::context::Context;
use crate::look::Failure;
use crate::planted::{self, Planted};

/// Others wait no longer for one who is gone.
const TURN_MS: u64 = 6_000;
const RENEWAL_MS: u64 = 2_000;
const FIRST_WAIT_MS: u64 = 20;
/// All waits together come to about three seconds: whoever waits takes up the room of an operation.
const WAITS_MAX: u32 = 7;

/// The right to write to one key.
pub struct Turn(Option<Held>);

struct Held {
    name: String,
    replica: String,
    /// Another one means that it ran out in between.
    number: u64,
}

/// Our turn to write, and, where the condition of this write has no effect, a look at what it would say.
pub async fn take(
    context: &Context,
    path: &RelPath,
    expect: &ExpectRemote,
    is_unconditional: bool,
) -> Result<Turn, Outcome> {
    let turn = wait_for(context, path).await?;
    if !is_unconditional {
        return Ok(turn);
    }
    let looked = match is_as_expected(context, path, expect).await {
        Ok(()) => turn.is_still_ours(context).await,
        Err(outcome) => Err(outcome),
    };
    match looked {
        Ok(()) => Ok(turn),
        Err(outcome) => {
            turn.end(context).await;
            Err(outcome)
        }
    }
}

async fn is_as_expected(context: &Context, path: &RelPath, expect: &ExpectRemote) -> Result<(), Outcome> {
    let found = head_patiently(context, &context.config.prefix.key(path)).await?;
    let as_expected = match (expect, found) {
        (ExpectRemote::Absent, None) => true,
        (ExpectRemote::Object(generation), Some(head)) => generation.same(&head.generation),
        _ => false,
    };
    if as_expected { Ok(()) } else { Err(Outcome::Again) }
}

/// `Again` where it doesn't come soon.
async fn wait_for(context: &Context, path: &RelPath) -> Result<Turn, Outcome> {
    if !context.takes_turns() || planted::is(Planted::TurnNotTaken) {
        return Ok(Turn(None));
    }
    let (config, replica) = (&context.config, context.identity().replica);
    let name = format!("key {} {} {}", config.endpoint, config.bucket, config.prefix.key(path));
    for attempt in 0..WAITS_MAX {
        if let Some(number) = lease(context, &name, &replica).await? {
            return Ok(Turn(Some(Held { name, replica, number })));
        }
        context.ports.clock.sleep_ms(FIRST_WAIT_MS << attempt).await;
    }
    Err(Outcome::Again)
}

async fn lease(context: &Context, name: &str, replica: &str) -> Result<Option<u64>, Failure> {
    context.ports.metadata.lease(name, replica, TURN_MS).await.map_err(Failure::Metadata)
}

impl Turn {
    /// To be asked right before what was looked at is acted upon.
    async fn is_still_ours(&self, context: &Context) -> Result<(), Outcome> {
        let Some(held) = &self.0 else { return Ok(()) };
        match lease(context, &held.name, &held.replica).await? {
            Some(number) if number == held.number => Ok(()),
            _ => Err(Outcome::Again),
        }
    }

    /// Keeps it while the request is under way.
    pub async fn during<T>(&self, context: &Context, request: impl Future<Output = T>) -> T {
        let Some(held) = &self.0 else { return request.await };
        let renewing = async {
            loop {
                context.ports.clock.sleep_ms(RENEWAL_MS).await;
                // Where that fails, the look afterwards tells whether anybody else wrote.
                let _ = lease(context, &held.name, &held.replica).await;
            }
        };
        match select(pin!(request), pin!(renewing)).await {
            Either::Left((answer, _)) => answer,
            Either::Right((never, _)) => never,
        }
    }

    /// Gives it back, unless what was sent may still take effect: then it runs out.
    pub async fn end_after(self, context: &Context, outcome: &Result<Outcome, Outcome>) {
        let (Ok(outcome) | Err(outcome)) = outcome;
        if !matches!(outcome, Outcome::Unresolved(..) | Outcome::Failed(Failure::Killed)) {
            self.end(context).await;
        }
    }

    pub async fn end(self, context: &Context) {
        if let Some(held) = self.0 {
            let _ = context.ports.metadata.release(&held.name, &held.replica).await;
        }
    }
}
