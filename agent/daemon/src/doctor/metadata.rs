//! What agents share: the database, and the cache beside it.

use std::time::Duration;

use gosync_api::config::{Cache, MetadataKind, Postgres};
use gosync_engine::ports::Cache as _;
use gosync_metadata::{ServerSeen, look_at_server};

use super::{Checks, Subject};
use crate::chain::chain;
use crate::{caches, databases};

/// A server may take this long for its first answer.
const CACHE_WAIT: Duration = Duration::from_secs(3);
/// A round trip over this is felt with each file.
const SLOW_MS: u64 = 50;

pub async fn check(checks: &mut Checks, subjects: &[Subject]) {
    let mut servers: Vec<&Postgres> = Vec::new();
    let mut used: Vec<&Cache> = Vec::new();
    for mirror in subjects.iter().filter_map(|subject| subject.config.as_ref()) {
        if mirror.metadata.kind == MetadataKind::Postgres && !servers.contains(&&mirror.metadata.postgres) {
            servers.push(&mirror.metadata.postgres);
        }
        if mirror.cache.enabled && !used.contains(&&mirror.cache) {
            used.push(&mirror.cache);
        }
    }
    for settings in servers {
        match look_at_server(&databases::options(settings, false)).await {
            Ok(seen) => judge(checks, &seen),
            Err(error) => {
                let next = "see that the server runs, and that host, port, user, password and sslmode are right; until then \
                            agents go on alone and tell the others later";
                checks.wrong("postgres", None, chain(&error), next);
            }
        }
    }
    for settings in used {
        cache(checks, settings).await;
    }
}

fn judge(checks: &mut Checks, seen: &ServerSeen) {
    let ServerSeen { place, version, milliseconds, .. } = seen;
    let encrypted = if seen.is_encrypted { "with TLS" } else { "without TLS" };
    let found = format!("{place}: version {version}, {encrypted}, answers in {milliseconds} ms");
    if seen.is_read_only {
        let next = "name the primary server, and a user who may write";
        return checks.wrong("postgres", None, format!("{found}; nothing can be written there"), next);
    }
    match (seen.may_write, seen.has_tables) {
        (true, _) if *milliseconds > SLOW_MS => {
            checks.warning("postgres", None, found, "a server that is nearer makes agents see each other sooner");
        }
        (true, true) => checks.ok("postgres", None, found),
        (true, false) => checks.ok("postgres", None, format!("{found}; the first agent makes the tables")),
        (false, true) => {
            let next = "grant the user SELECT, INSERT, UPDATE and DELETE on all tables of the schema";
            checks.wrong("postgres", None, format!("{found}; the user may not write to the tables"), next);
        }
        (false, false) => {
            let next = "grant the user CREATE on the schema, or have somebody who may start the first agent";
            checks.wrong(
                "postgres",
                None,
                format!("{found}; there are no tables, and the user may not make them"),
                next,
            );
        }
    }
}

async fn cache(checks: &mut Checks, settings: &Cache) {
    const NEXT: &str = "see that the server runs, and that host, port, user, password and tls are right; until then agents \
                        work without it, only slower";
    let cache = match caches::open(settings, CACHE_WAIT).await {
        Ok(cache) => cache,
        Err(why) => return checks.wrong("cache", None, why, "correct the keys of cache.redis"),
    };
    match cache.standing().up {
        true => checks.ok("cache", None, format!("{} answers", cache.address())),
        false => checks.warning("cache", None, format!("{} does not answer", cache.address()), NEXT),
    }
}
