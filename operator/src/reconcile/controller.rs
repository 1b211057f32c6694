//! Which mirror is looked at when: all of them at the beginning, each at its round, and one whose spec changed at once.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use gosync_crds::SyncMirror;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Config, applier};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use tokio::sync::watch;

use super::{Context, after_failure, round};

/// Mirrors that are looked at at once.
const AT_ONCE: u16 = 4;

/// Runs until it is dropped. Nothing is spawned, so that dropping it ends every round.
pub async fn run(context: Arc<Context>) {
    let changes = context.stores.changes();
    let queue = queue(context.clone(), changes);
    let config = Config::default().concurrency(AT_ONCE);
    let mirrors = context.stores.mirrors.clone();
    // Failures are told by `after_failure`; what else comes here is a mirror that is gone meanwhile.
    applier(|mirror, context| Box::pin(round(mirror, context)), after_failure, context, mirrors, queue, config)
        .for_each(async |_| {})
        .await;
}

type Reference = ObjectRef<DeserializeGuard<SyncMirror>>;

/// Mirrors whose generation is news.
fn queue(
    context: Arc<Context>,
    changes: watch::Receiver<()>,
) -> impl futures_util::Stream<Item = Result<Reference, std::convert::Infallible>> {
    let seen: HashMap<String, Option<i64>> = HashMap::new();
    let lists = stream::unfold((context, changes, seen, true), async |(context, mut changes, mut seen, first)| {
        if !first {
            changes.changed().await.ok()?;
        }
        changes.mark_unchanged();
        let mirrors = context.stores.mirrors.state();
        let mut news = Vec::new();
        let mut there = HashMap::new();
        for mirror in &mirrors {
            let uid = mirror.uid().unwrap_or_default();
            let generation = mirror.meta().generation;
            if seen.get(&uid) != Some(&generation) {
                news.push(Ok(ObjectRef::from_obj(mirror.as_ref())));
            }
            there.insert(uid, generation);
        }
        seen = there;
        context.memory.keep(|uid| seen.contains_key(uid));
        context.metrics.keep_mirrors(|uid| seen.contains_key(uid));
        Some((stream::iter(news), (context, changes, seen, false)))
    });
    Box::pin(lists.flatten())
}
