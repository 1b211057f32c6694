//! `deny` after a halt: what was deleted before the halt comes back from the trash and from bucket versions.

use std::sync::Arc;

use gosync_plan::identity::{Identity, same_as_generation};
use gosync_plan::{Generation, RelPath};

use super::place::{Placed, place_new};
use super::tmp_path;
use super::trash;
use crate::context::Context;
use crate::crash::{self, CrashPoint};
use crate::digest::{Digester, Wanted};
use crate::look::{Failure, describe};
use crate::mirror::Executed;
use crate::ports::store::GetRequest;
use crate::ports::{StoreError, StoreErrorKind, TreeError, TreeFile};

/// Brings back what can be had: the paths that stand again, and for each other one why it doesn't.
pub async fn bring_back(context: &Context, executed: Vec<Executed>) -> (Vec<RelPath>, Vec<String>) {
    let mut back = Vec::new();
    let mut lost = Vec::new();
    for Executed { path, object } in executed {
        if path.is_marker() {
            // A folder comes back with what was in it.
            continue;
        }
        let result = match object {
            Some(object) => from_versions(context, &path, &object).await,
            None => from_trash(context, &path).await,
        };
        match result {
            Ok(true) => back.push(path),
            Ok(false) => lost.push(format!("{path}: neither in the trash nor in a bucket version")),
            Err(why) => lost.push(format!("{path}: {why}")),
        }
    }
    (back, lost)
}

async fn from_trash(context: &Context, path: &RelPath) -> Result<bool, String> {
    let wanted = path.as_str().to_owned();
    let item = context
        .local(move |tree| {
            trash::list(tree)
                .map(|items| items.into_iter().rev().find(|item| item.path == wanted).map(|item| item.item))
        })
        .await
        .map_err(|_| "the agent is stopping".to_owned())?
        .map_err(|error| describe(&error))?;
    match item {
        Some(item) => trash::restore(context, item).await.map(|_| true).map_err(|error| error.message),
        None => Ok(context
            .local({
                let path = path.clone();
                move |tree| tree.stat(path.as_str()).is_ok()
            })
            .await
            .unwrap_or(false)),
    }
}

/// The deleted generation from the bucket's versions, as a local creation that goes up again.
async fn from_versions(context: &Context, path: &RelPath, deleted: &Generation) -> Result<bool, String> {
    fetch_version(context, path, deleted).await.map_err(in_words)
}

pub(super) fn in_words(failure: Failure) -> String {
    match failure {
        Failure::Store(error) => describe(&error),
        Failure::Local(error) => describe(&error),
        Failure::State(error) | Failure::Metadata(error) => describe(&error),
        Failure::Killed => "the agent is stopping".to_owned(),
    }
}

/// False: the bucket has no such version.
pub async fn fetch_version(context: &Context, path: &RelPath, deleted: &Generation) -> Result<bool, Failure> {
    let key = context.config.prefix.key(path);
    let versions = context.ports.store.versions(&key).await?;
    let Some(version_id) = versions.into_iter().find_map(|version| {
        let same = version.generation.is_some_and(|generation| generation.etag == deleted.etag);
        same.then_some(version.version_id)
    }) else {
        return Ok(false);
    };
    let tmp = tmp_path(context.ports.ids.nonce());
    let placed = match fetch_into(context, &key, version_id, &tmp).await {
        Ok(()) => place(context, path, tmp.clone()).await,
        Err(failure) => Err(failure),
    };
    // Placed, it has this name no more.
    context.local(move |tree| tree.unlink(&tmp)).await?.ok();
    placed.map(|()| true)
}

/// Fetches a version into a temp file, verified and durable.
pub(super) async fn fetch_into(context: &Context, key: &str, version_id: String, tmp: &str) -> Result<(), Failure> {
    let request = GetRequest { key: key.to_owned(), etag: None, version_id: Some(version_id), range: None };
    let mut body = context.ports.store.get(request).await?;
    let head = body.head().clone();
    let tmp_there = tmp.to_owned();
    let file: Arc<dyn TreeFile> = context.local(move |tree| tree.create(&tmp_there, 0o600)).await??.into();
    let mut offset = 0;
    let mut digester = Digester::new(Wanted { md5: true, ..Wanted::default() });
    while let Some(chunk) = body.chunk().await? {
        let (file, at) = (Arc::clone(&file), offset);
        offset += chunk.len() as u64;
        digester.update(&chunk);
        context.local(move |_| file.write_at(at, &chunk)).await??;
    }
    let (is_link, tmp_there) = (head.facts.is_link && context.config.keep_links, tmp.to_owned());
    context
        .local(move |tree| -> Result<(), TreeError> {
            file.set_mode(head.facts.mode.unwrap_or(0o644) & 0o7777)?;
            if let Some(mtime_ns) = head.facts.mtime_ns {
                file.set_mtime_ns(mtime_ns)?;
            }
            file.sync()?;
            if is_link { tree.make_link(&tmp_there) } else { Ok(()) }
        })
        .await??;
    let differs = same_as_generation(&digester.finish(), &head.generation, Some(&head.facts)) == Identity::Differs;
    if offset != head.generation.size || differs {
        let message = format!("{offset} bytes came of {}, or others than the version's", head.generation.size);
        return Err(StoreError::new(StoreErrorKind::Corrupt, "get", key, message).into());
    }
    crash::reached(CrashPoint::VersionFetched);
    Ok(())
}

/// Where something stands again already, that stays.
async fn place(context: &Context, path: &RelPath, tmp: String) -> Result<(), Failure> {
    let path = path.clone();
    let placed = context
        .local(move |tree| -> Result<(), TreeError> {
            if let Placed::InPlace { folders, .. } = place_new(tree, &tmp, &path)? {
                for folder in folders {
                    tree.sync_folder(&folder)?;
                }
            }
            Ok(())
        })
        .await?;
    Ok(placed?)
}
