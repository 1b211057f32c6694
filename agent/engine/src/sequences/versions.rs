//! What only a version of the bucket still holds: listed, and brought back as a file, which is a creation like any other.
//!
//! Nothing is deleted or overwritten here. A kill leaves a temp file, which the next start purges, or the restored file.

use gosync_plan::RelPath;

use super::bring_back::{fetch_into, in_words};
use super::tmp_path;
use super::trash::FreePlace;
use crate::context::Context;
use crate::handle::{CommandError, DeletedVersion, DeletedVersions};
use crate::look::{Failure, describe};

/// Deleted objects below this path (`""`: all of the mirror's).
pub async fn deleted(context: &Context, below: &str) -> Result<DeletedVersions, CommandError> {
    let prefix = &context.config.prefix;
    let deleted = context.ports.store.deleted(&format!("{}{below}", prefix.as_str())).await;
    let deleted = deleted.map_err(|error| CommandError {
        code: "versions-unreadable",
        message: format!("the bucket's versions can't be listed: {}", describe(&error)),
        hint: "the credentials need to list object versions (s3:ListBucketVersions)".to_owned(),
    })?;
    let own = prefix.own_folder();
    let versions = deleted.objects.into_iter().filter(|object| !object.key.starts_with(&own)).filter_map(|object| {
        let path = object.key.strip_prefix(prefix.as_str())?;
        RelPath::new(path).ok()?;
        Some(DeletedVersion {
            path: path.to_owned(),
            version_id: object.version_id,
            bytes: object.bytes,
            deleted_ms: object.deleted_seconds.map(|seconds| seconds.saturating_mul(1_000)),
        })
    });
    Ok(DeletedVersions { versions: versions.collect(), more: deleted.more })
}

/// Returns where the file is.
pub async fn restore(context: &Context, path: &str, version_id: String) -> Result<RelPath, CommandError> {
    let not_restored = |why: String| CommandError {
        code: "not-restored",
        message: format!("{path} was not restored: {why}"),
        hint: "`gosync sync trash list --versions` shows what can be restored".to_owned(),
    };
    let to = RelPath::new(path).map_err(|_| not_restored("no file can have this name".to_owned()))?;
    let tmp = tmp_path(context.ports.ids.nonce());
    let restored = match fetch_into(context, &context.config.prefix.key(&to), version_id, &tmp).await {
        Ok(()) => {
            let (place, from) = (FreePlace::of(context), tmp.clone());
            match context.local(move |tree| place.put(tree, &from, to)).await {
                Ok(placed) => placed.map_err(Failure::from),
                Err(killed) => Err(killed.into()),
            }
        }
        Err(failure) => Err(failure),
    };
    // Placed, it has this name no more.
    let _ = context.local(move |tree| tree.unlink(&tmp)).await;
    restored.map_err(|failure| not_restored(in_words(failure)))
}
