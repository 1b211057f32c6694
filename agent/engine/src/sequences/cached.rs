//! Small contents that agents share through a cache: asked for before the store is, and filled by whoever sent or fetched
//! one. Of several agents that miss the same content one fetches it, and the others wait a moment for that.
//!
//! Nothing here fails an operation, and nothing that the cache says is believed without proof: what can't be had is fetched.

use bytes::Bytes;
use gosync_plan::{Digests, Generation, ObjectFacts, RemoteEntry};

use super::Task;
use crate::context::Context;
use crate::ports::StoreCache;
use crate::ports::cache_entries::{CLAIM_MS, Content, ContentWanted};
use crate::ports::store::Head;

/// So many are asked for at once.
const AT_ONCE_MAX: usize = 64;
/// Contents up to this size share a request; larger ones go by themselves, so that little is in memory at once.
const GATHERED_BYTES_MAX: u64 = 64 << 10;
/// How often it is looked whether another agent has filled what is missing: at first, and after a while.
const LOOK_MS: u64 = 20;
const LOOK_MS_MAX: u64 = 160;
/// So often others may have their turn before this one fetches, too.
const CLAIMS_MAX: usize = 4;

/// The object at the task's path, where an agent that shares the metadata has had it lately.
pub(super) async fn get(context: &Context, task: &Task, remote: &Generation) -> Option<(Head, Bytes)> {
    let cache = context.store_cache()?;
    let known = match &task.remote {
        RemoteEntry::Object(object) if object.generation.same(remote) => object.content,
        _ => None,
    };
    let wanted =
        ContentWanted { key: context.config.prefix.key(task.path()), generation: remote.clone(), content: known };
    if !cache.takes(&wanted) {
        return None;
    }
    let mut found = ask(context, &cache, &wanted).await;
    for _ in 0..CLAIMS_MAX {
        if found.is_some() || is_ours_to_fetch(context, &cache, &wanted).await {
            break;
        }
        // Somebody else fetches it. Where that fails, or takes long, one of those who wait has the next turn.
        let clock = &context.ports.clock;
        let (until_ms, mut look_ms) = (clock.monotonic_ms() + CLAIM_MS, LOOK_MS);
        while found.is_none() && clock.monotonic_ms() < until_ms {
            clock.sleep_ms(look_ms).await;
            look_ms = (look_ms * 2).min(LOOK_MS_MAX);
            found = ask(context, &cache, &wanted).await;
        }
    }
    cache.count(u64::from(found.is_some()), u64::from(found.is_none()));
    let Content { bytes, blake3, facts } = found?;
    let facts = ObjectFacts { blake3_header: Some(blake3), ..facts };
    Some((Head { generation: remote.clone(), facts, archived: false }, bytes))
}

/// For the others. `digests`: of these bytes, which were read or verified here.
pub(super) async fn fill(context: &Context, key: &str, head: &Head, digests: &Digests, bytes: &Bytes) {
    let Some(cache) = context.store_cache() else { return };
    let wanted =
        ContentWanted { key: key.to_owned(), generation: head.generation.clone(), content: Some(digests.blake3) };
    if !cache.takes(&wanted) {
        return;
    }
    let content = Content { bytes: bytes.clone(), blake3: digests.blake3, facts: head.facts.clone() };
    let (most, cache) = (at_once(&wanted), &cache);
    let filled = context.shared.fills.call((wanted, content), most, |all| async move {
        let filled = all.len();
        cache.fill_contents(all).await;
        vec![(); filled]
    });
    // What isn't kept is fetched again.
    let _ = filled.await;
}

async fn ask(context: &Context, cache: &StoreCache, wanted: &ContentWanted) -> Option<Content> {
    let gather = &context.shared.contents;
    let asked = gather.call(wanted.clone(), at_once(wanted), |all| async move { cache.contents(&all).await });
    asked.await.flatten()
}

async fn is_ours_to_fetch(context: &Context, cache: &StoreCache, wanted: &ContentWanted) -> bool {
    let claim = (wanted.clone(), context.identity().replica);
    let claimed = context.shared.claims.call(claim, AT_ONCE_MAX, |all| async move { cache.claim(&all).await });
    claimed.await.unwrap_or(true)
}

fn at_once(wanted: &ContentWanted) -> usize {
    if wanted.generation.size <= GATHERED_BYTES_MAX { AT_ONCE_MAX } else { 1 }
}
