//! Making contents and names durable, many at a time: a few targets are synced one by one, many by one `syncfs`.

use crate::context::{Context, Killed};
use crate::ports::{LocalTree, TreeError, TreeErrorKind};

/// From this many targets on, one `syncfs` is cheaper than a sync each.
const SYNC_TREE_FROM: usize = 6;

pub enum Target {
    /// A regular file's content, by path.
    Content(String),
    /// The names in a folder.
    Folder(String),
}

/// Returns when all of `targets` are durable. Whoever comes while a sync is under way shares the next one.
pub async fn durable(context: &Context, targets: Vec<Target>) -> Result<Result<(), TreeError>, Killed> {
    let synced = context.shared.syncs.call(targets, usize::MAX, |all| async move {
        let callers = all.len();
        let targets: Vec<Target> = all.into_iter().flatten().collect();
        let synced = context.local(move |tree| sync(tree, &targets)).await;
        vec![synced.map(|synced| synced.map_err(|error| error.kind)); callers]
    });
    let synced = synced.await.unwrap_or(Err(Killed))?;
    Ok(synced.map_err(|kind| TreeError::new(kind, "sync", "")))
}

fn sync(tree: &dyn LocalTree, targets: &[Target]) -> Result<(), TreeError> {
    if targets.len() >= SYNC_TREE_FROM {
        return tree.sync_tree();
    }
    for target in targets {
        let synced = match target {
            Target::Content(path) => tree.open(path).and_then(|file| file.sync()),
            Target::Folder(folder) => tree.sync_folder(folder),
        };
        match synced {
            // It can't be opened any more.
            Err(error) if error.kind == TreeErrorKind::Permission => return tree.sync_tree(),
            // The file that was meant is not there any more, and needs nothing; the next look sees what is.
            Err(error)
                if matches!(
                    error.kind,
                    TreeErrorKind::NotFound
                        | TreeErrorKind::NotAFolder
                        | TreeErrorKind::IsAFolder
                        | TreeErrorKind::Unsupported
                        | TreeErrorKind::Escapes
                        | TreeErrorKind::OtherMount
                        // Nothing was written.
                        | TreeErrorKind::ReadOnly
                ) => {}
            result => result?,
        }
    }
    Ok(())
}
