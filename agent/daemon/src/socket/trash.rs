//! Commands about what can be brought back: the trash beside the files, and the versions that the bucket keeps.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use bytes::Bytes;
use gosync_api::messages::{
    ErrorBody, PathReason, RestoreRequest, Restored, RestoredPath, Trash, TrashEntry, TrashFilter, TrashSource,
};
use gosync_engine::Command;
use gosync_engine::handle::{DeletedVersion, DeletedVersions, TrashItem};

use super::answers::{refused, stopping};
use super::reply::{Reply, read};
use crate::agent::Agent;
use crate::one_mirror::Mirror;
use crate::tell;

type Shared = State<Arc<Agent>>;

/// Between a mirror's name and what the content is called there.
pub(super) const OF: char = ':';
/// Before the id and the path of a bucket version; the trash itself has dates in this place.
const VERSION: &str = "version/";

pub async fn list(State(agent): Shared, Query(filter): Query<TrashFilter>) -> Reply<Trash> {
    let mut entries = Vec::new();
    let mut more = false;
    let is_wanted = |path: &str| filter.under.as_deref().is_none_or(|under| is_at(path, under));
    for mirror in agent.chosen(filter.name.as_deref())? {
        let name = mirror.name();
        let wanted = items(&mirror).await?.into_iter().filter(|item| is_wanted(&item.path));
        entries.extend(wanted.map(|item| TrashEntry {
            id: format!("{name}{OF}{}", item.item),
            mirror: name.to_owned(),
            path: item.path,
            bytes: item.bytes,
            since: tell::timestamp(item.trashed_ms),
            source: TrashSource::Trash,
            reason: String::new(),
        }));
        if !filter.versions {
            continue;
        }
        let found = versions(&mirror, filter.under.as_deref().unwrap_or_default()).await?;
        more |= found.more;
        entries.extend(found.versions.into_iter().map(|version| TrashEntry {
            id: format!("{name}{OF}{VERSION}{}/{}", version.version_id, version.path),
            mirror: name.to_owned(),
            path: version.path,
            bytes: version.bytes,
            since: version.deleted_ms.and_then(tell::timestamp),
            source: TrashSource::Version,
            reason: String::new(),
        }));
    }
    entries.sort_by(|a, b| b.since.cmp(&a.since).then_with(|| a.path.cmp(&b.path)));
    Ok(Json(Trash { entries, more }))
}

pub async fn restore(State(agent): Shared, body: Bytes) -> Reply<Restored> {
    let request: RestoreRequest = read(&body)?;
    let mirrors = agent.chosen(request.name.as_deref())?;
    let mut restored = Restored::default();
    for wanted in &request.what {
        let before = restored.restored.len() + restored.failed.len();
        for mirror in &mirrors {
            if let Some(version) = version_of(mirror.name(), wanted) {
                bring_back(mirror, Kept::Version(version), &mut restored).await;
                continue;
            }
            for item in chosen(mirror.name(), items(mirror).await?, wanted) {
                bring_back(mirror, Kept::Item(item), &mut restored).await;
            }
        }
        if restored.restored.len() + restored.failed.len() == before {
            for mirror in &mirrors {
                for version in versions(mirror, wanted).await?.versions {
                    bring_back(mirror, Kept::Version(version), &mut restored).await;
                }
            }
        }
        if restored.restored.len() + restored.failed.len() == before {
            let reason =
                "nothing of that name is in the trash, and no version of the bucket is a deleted one".to_owned();
            restored.failed.push(PathReason { path: wanted.clone(), reason });
        }
    }
    Ok(Json(restored))
}

/// A content that can be brought back.
enum Kept {
    Item(TrashItem),
    Version(DeletedVersion),
}

async fn bring_back(mirror: &Mirror, kept: Kept, restored: &mut Restored) {
    let (path, result) = match kept {
        Kept::Item(item) => (item.path.clone(), restore_item(mirror, item).await),
        Kept::Version(version) => (version.path.clone(), restore_version(mirror, version).await),
    };
    match result {
        Ok(to) => restored.restored.push(RestoredPath { mirror: mirror.name().to_owned(), path, to }),
        Err(error) => restored.failed.push(PathReason { path, reason: error.error.message }),
    }
}

/// What `wanted` means: an id, or the newest content of a path and of all below it.
fn chosen(mirror: &str, items: Vec<TrashItem>, wanted: &str) -> Vec<TrashItem> {
    if let Some(item) = wanted.strip_prefix(mirror).and_then(|rest| rest.strip_prefix(OF))
        && let Some(found) = items.iter().find(|found| found.item == item)
    {
        return vec![found.clone()];
    }
    let mut at: Vec<TrashItem> = items.into_iter().filter(|item| is_at(&item.path, wanted)).collect();
    at.sort_by(|a, b| a.path.cmp(&b.path).then(b.trashed_ms.cmp(&a.trashed_ms)));
    at.dedup_by(|later, first| later.path == first.path);
    at
}

/// The path itself, or below it.
fn is_at(path: &str, wanted: &str) -> bool {
    let wanted = wanted.trim_matches('/');
    wanted.is_empty() || path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The version that `wanted` is the id of, if it is one of this mirror.
fn version_of(mirror: &str, wanted: &str) -> Option<DeletedVersion> {
    let rest = wanted.strip_prefix(mirror)?.strip_prefix(OF)?.strip_prefix(VERSION)?;
    let (version_id, path) = rest.split_once('/')?;
    Some(DeletedVersion { path: path.to_owned(), version_id: version_id.to_owned(), bytes: 0, deleted_ms: None })
}

async fn items(mirror: &Mirror) -> Result<Vec<TrashItem>, ErrorBody> {
    match mirror.handle().await {
        None => Ok(Vec::new()),
        Some(handle) => handle.ask(Command::TrashList).await.ok_or_else(stopping)?.map_err(refused),
    }
}

/// At this path or below it.
async fn versions(mirror: &Mirror, at: &str) -> Result<DeletedVersions, ErrorBody> {
    let below = at.trim_matches('/').to_owned();
    let handle = mirror.handle().await.ok_or_else(stopping)?;
    let asked = handle.ask(|reply| Command::Versions { below, reply }).await;
    let mut found = asked.ok_or_else(stopping)?.map_err(refused)?;
    found.versions.retain(|version| is_at(&version.path, at));
    Ok(found)
}

async fn restore_item(mirror: &Mirror, item: TrashItem) -> Result<String, ErrorBody> {
    let handle = mirror.handle().await.ok_or_else(stopping)?;
    let item = item.item;
    handle.ask(|reply| Command::TrashRestore { item, reply }).await.ok_or_else(stopping)?.map_err(refused)
}

async fn restore_version(mirror: &Mirror, version: DeletedVersion) -> Result<String, ErrorBody> {
    let handle = mirror.handle().await.ok_or_else(stopping)?;
    let DeletedVersion { path, version_id, .. } = version;
    let asked = handle.ask(|reply| Command::RestoreVersion { path, version_id, reply }).await;
    asked.ok_or_else(stopping)?.map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(item: &str, path: &str, trashed_ms: i64) -> TrashItem {
        TrashItem { item: item.into(), path: path.into(), bytes: 1, trashed_ms }
    }

    fn names(items: Vec<TrashItem>) -> Vec<String> {
        items.into_iter().map(|item| item.item).collect()
    }

    #[test]
    fn a_path_means_its_newest_content_and_all_below_it() {
        let trash =
            || vec![item("1/d/a", "d/a", 1), item("2/d/a", "d/a", 2), item("1/d/b", "d/b", 1), item("1/da", "da", 1)];
        assert_eq!(names(chosen("docs", trash(), "d")), ["2/d/a", "1/d/b"]);
        assert_eq!(names(chosen("docs", trash(), "/d/b")), ["1/d/b"]);
        assert_eq!(names(chosen("docs", trash(), "nothing")), [""; 0]);
    }

    #[test]
    fn an_id_means_one_content_of_one_mirror() {
        let trash = || vec![item("1/a", "a", 1), item("2/a", "a", 2)];
        assert_eq!(names(chosen("docs", trash(), "docs:1/a")), ["1/a"]);
        assert_eq!(names(chosen("other", trash(), "docs:1/a")), [""; 0]);
    }

    #[test]
    fn the_id_of_a_version_means_that_version_of_one_mirror() {
        let version = version_of("docs", "docs:version/v-1/a/b");
        assert_eq!(version.map(|it| (it.version_id, it.path)), Some(("v-1".to_owned(), "a/b".to_owned())));
        assert_eq!(version_of("docs", "other:version/v-1/a"), None);
        assert_eq!(version_of("docs", "docs:2026-11-23/version/a"), None);
        assert_eq!(version_of("docs", "version/a"), None);
    }
}
