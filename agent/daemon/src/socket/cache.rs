//! Commands about the caches: statistics, flush.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gosync_api::messages::{CacheFlushed, CacheStats, Caches, CachesFlushed, ErrorBody, ErrorCode};
use gosync_engine::ports::Cache as _;
use jiff::Timestamp;

use super::reply::Reply;
use crate::agent::Agent;
use crate::caches::InUse;
use crate::chain::chain;

type Shared = State<Arc<Agent>>;

pub async fn stats(State(agent): Shared) -> Reply<Caches> {
    let in_use = in_use(&agent)?;
    let caches = futures_util::future::join_all(in_use.iter().map(stats_of)).await;
    Ok(Json(Caches { caches }))
}

/// Entries of all agents under the prefix: they are read anew from where they came.
pub async fn flush(State(agent): Shared) -> Reply<CachesFlushed> {
    let mut caches = Vec::new();
    for used in in_use(&agent)? {
        let (address, prefix) = (used.address().to_owned(), used.prefix().to_owned());
        let keys = match &used.cache {
            Ok(cache) => cache.flush().await.map_err(|error| unavailable(&format!("{address}: {}", chain(&error))))?,
            Err(why) => return Err(unavailable(why).into()),
        };
        tracing::info!(address, prefix, keys, "the cache was flushed by a command");
        caches.push(CacheFlushed { address, prefix, keys });
    }
    Ok(Json(CachesFlushed { caches }))
}

fn in_use(agent: &Agent) -> Result<Vec<InUse>, ErrorBody> {
    let mut caches = agent.parts.caches.all();
    if caches.is_empty() {
        let hint = "set `cache.enabled: true` and `cache.redis` in the config; a running agent takes it on by itself";
        return Err(ErrorBody::new(ErrorCode::Refused, "the cache is off", hint));
    }
    caches.sort_by(|a, b| (a.address(), a.prefix()).cmp(&(b.address(), b.prefix())));
    Ok(caches)
}

async fn stats_of(used: &InUse) -> CacheStats {
    let (address, prefix) = (used.address().to_owned(), used.prefix().to_owned());
    let cache = match &used.cache {
        Ok(cache) => cache,
        Err(why) => return CacheStats { address, prefix, trouble: Some(why.clone()), ..CacheStats::default() },
    };
    let found = cache.stats().await.ok();
    // After the question: it may have been what showed that there is no answer.
    let standing = cache.standing();
    let (hits, misses) = cache.counts();
    let found = found.unwrap_or_default();
    CacheStats {
        address,
        prefix,
        up: standing.up,
        since: Timestamp::from_millisecond(standing.since_ms).ok(),
        trouble: standing.trouble,
        hits,
        misses,
        keys: found.keys,
        keys_more: found.keys_more,
        memory_used: found.memory_used_bytes,
        memory_allowed: found.memory_allowed_bytes,
    }
}

fn unavailable(why: &str) -> ErrorBody {
    let hint = "see that Redis runs and can be reached as `cache.redis` says; `gosync cache stats` shows how it stands";
    ErrorBody::new(ErrorCode::Unavailable, format!("the cache can't be flushed: {why}"), hint)
}
