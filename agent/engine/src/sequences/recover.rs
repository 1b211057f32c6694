//! What the next start does about what the last one left (P4): temp files go, but for large downloads that can be gone on
//! with, what was displaced is kept until it is
//! verified, writes of unknown outcome are looked up, uploads that can't be resumed are aborted.

use gosync_plan::{Ancestor, ContentHash, Fingerprint, Generation, RelPath};

use super::place::parent;
use super::{Outcome, displaced, partial, remove, upload};
use crate::context::{Context, DISPLACED, OWN, TMP};
use crate::digest::Wanted;
use crate::durable::{Target, durable};
use crate::look::{Failure, read_digests};
use crate::planted::{self, Planted};
use crate::ports::state::{JournalEntry, JournalKind, StateChange, UploadRow};
use crate::ports::{LocalTree, TreeError, TreeErrorKind};

/// What is left to do once the mirror runs.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Writes whose outcome isn't known: their paths wait for it.
    pub unresolved: Vec<JournalEntry>,
    /// Displaced contents to be watched until they are at rest.
    pub displaced: Vec<JournalEntry>,
    /// Uploads whose file is no more what was sent.
    pub stale_uploads: Vec<UploadRow>,
}

/// Puts the local side in order. Needs no network.
pub async fn recover_local(context: &Context) -> Result<Recovered, Failure> {
    let journal = context.ports.state.journal().await?;
    let ids: Vec<_> = journal.iter().map(|entry| entry.id).collect();
    let date = context.utc_date();
    let (now_ms, partial_age_max_ms) = (context.utc_ms(), stale_ms(context));
    let writes = !context.config.root_is_read_only;
    context
        .local(move |tree| -> Result<(), TreeError> {
            if !writes {
                return Ok(());
            }
            for folder in [OWN, TMP, DISPLACED] {
                match tree.make_folder(folder) {
                    Err(error) if error.kind != TreeErrorKind::Exists => return Err(error),
                    _ => {}
                }
            }
            purge(tree, TMP, |name| partial::may_go_on(tree, name, now_ms, partial_age_max_ms))?;
            if planted::is(Planted::DisplacedPurgedAtStart) {
                purge(tree, DISPLACED, |_| false)?;
            }
            displaced::keep_orphans(tree, &ids, &date)?;
            Ok(())
        })
        .await??;
    let uploads = journal.iter().filter(|entry| matches!(entry.kind, JournalKind::Upload { .. }));
    context.shared.has_recovered(uploads.map(|entry| entry.id));
    for entry in &journal {
        if let JournalKind::Install { new, remote, recorded: false, .. } = &entry.kind {
            record_installed(context, &entry.path, *new, remote).await?;
        }
    }
    let mut recovered = Recovered::default();
    for entry in journal {
        match entry.kind {
            JournalKind::Upload { .. } | JournalKind::DeleteObject { .. } => recovered.unresolved.push(entry),
            JournalKind::Install { .. } | JournalKind::Trash { .. } if writes => recovered.displaced.push(entry),
            // For a start that may write again.
            JournalKind::Install { .. } | JournalKind::Trash { .. } => {}
        }
    }
    recovered.stale_uploads = stale_uploads(context).await?;
    Ok(recovered)
}

/// A verified content that was put in its place and not recorded any more: both sides held it. Else it would be taken for an
/// edit of somebody here, and become a conflict with the next edit elsewhere.
async fn record_installed(
    context: &Context,
    path: &RelPath,
    new: ContentHash,
    remote: &Generation,
) -> Result<(), Failure> {
    let Some(known) = context.ancestor(path).await?.filter(|known| known.content != Some(new)) else { return Ok(()) };
    let there = path.clone();
    let found = context.local(move |tree| read_digests(tree, there.as_str(), Wanted::default())).await?;
    let Ok(Some((fingerprint, digests))) = found else { return Ok(()) };
    if digests.blake3 != new {
        return Ok(());
    }
    if durable(context, vec![Target::Folder(parent(path))]).await?.is_err() {
        return Ok(());
    }
    // Whose mode it has is not told: the next look compares it.
    let fingerprint = Fingerprint { mode: known.fingerprint.mode, ..fingerprint };
    let ancestor = Ancestor { fingerprint, generation: remote.clone(), content: Some(new), nonce: None, open: false };
    context.record(vec![StateChange::PutAncestor(path.clone(), ancestor)], Vec::new()).await?;
    Ok(())
}

/// Uploads that nobody will go on with: the file is another by now, or it was long ago.
pub async fn stale_uploads(context: &Context) -> Result<Vec<UploadRow>, Failure> {
    purge_stale_partials(context).await?;
    let (now_ms, stale_ms) = (context.utc_ms(), stale_ms(context));
    let uploads = context.ports.state.uploads().await?;
    let is_stale = move |tree: &dyn LocalTree, row: &UploadRow| {
        let same = tree.stat(row.path.as_str()).is_ok_and(|stat| stat.fingerprint == row.local);
        !same || now_ms.saturating_sub(row.began_ms) > stale_ms
    };
    Ok(context.local(move |tree| uploads.into_iter().filter(|row| is_stale(tree, row)).collect()).await?)
}

/// What was begun so long ago is not gone on with.
fn stale_ms(context: &Context) -> i64 {
    i64::try_from(context.config.limits.stale_upload_ms).unwrap_or(i64::MAX)
}

/// Partial downloads that nobody goes on with: their object is another by now, or gone.
async fn purge_stale_partials(context: &Context) -> Result<(), Failure> {
    let (now_ms, age_max_ms) = (context.utc_ms(), stale_ms(context));
    let job = move |tree: &dyn LocalTree| {
        purge(tree, TMP, |name| !partial::is_one(name) || partial::may_go_on(tree, name, now_ms, age_max_ms))
    };
    // One that can't be removed now is removed some other time.
    context.local(job).await?.ok();
    Ok(())
}

fn purge(tree: &dyn LocalTree, folder: &str, stays: impl Fn(&str) -> bool) -> Result<(), TreeError> {
    for name in tree.read_folder(folder)?.into_iter().filter_map(|entry| entry.name.ok()) {
        if stays(&name) {
            continue;
        }
        match tree.unlink(&format!("{folder}/{name}")) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Finds out what became of a journalled write.
pub async fn resolve(context: &Context, entry: JournalEntry) -> Outcome {
    match entry.kind {
        JournalKind::Upload { .. } => upload::finish_unresolved(context, entry).await,
        JournalKind::DeleteObject { .. } => remove::finish_unresolved_delete(context, entry).await,
        JournalKind::Install { .. } | JournalKind::Trash { .. } => displaced::settle(context, entry).await,
    }
}

/// Aborts an upload of ours; one that the store doesn't know any more is aborted.
pub async fn abort_stale(context: &Context, row: UploadRow) -> Result<(), Failure> {
    match context.ports.store.abort_upload(&row.key, &row.upload).await {
        Err(error) if error.is_of_the_store() || error.kind == crate::ports::StoreErrorKind::Killed => {
            return Err(error.into());
        }
        _ => {}
    }
    context.record(vec![StateChange::DropUpload(row.upload)], Vec::new()).await?;
    Ok(())
}
