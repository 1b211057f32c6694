//! Folders kept by markers: an object whose key is the folder's with its `/`, and no content. To decisions a marker is an
//! empty file below its folder; here a marker that comes makes the folder, and one that goes takes it away.
//!
//! Only an empty folder ever goes, and `rmdir` itself sees to that, so nothing is journalled: what was interrupted is found
//! again by the next look.

use gosync_plan::{Ancestor, Fingerprint, Generation};

use super::place::{make_folders, parent};
use super::remove::prove_object_gone;
use super::start::root_is_ours;
use super::{Outcome, Task, forget, write_ancestor};
use crate::context::Context;
use crate::digest::{Wanted, of_bytes};
use crate::durable::{Target, durable};
use crate::ports::observer::Event;
use crate::ports::{TreeError, TreeErrorKind};

/// The bucket has a new marker: makes its folder.
pub async fn make_folder(context: &Context, task: &Task, remote: Generation) -> Result<Outcome, Outcome> {
    if remote.size > 0 {
        return Err(holds_data());
    }
    let path = task.path().clone();
    let path_there = path.clone();
    let made = context
        .local(move |tree| -> Result<(Vec<String>, Fingerprint), TreeError> {
            let changed = make_folders(tree, &path_there)?;
            Ok((changed, tree.stat(path_there.as_str())?.fingerprint))
        })
        .await?;
    let (changed, fingerprint) = match made {
        Err(error) if error.kind == TreeErrorKind::NotAFolder => {
            return super::remove::file_in_the_way(context, &path).await;
        }
        result => result?,
    };
    durable(context, changed.into_iter().map(Target::Folder).collect()).await??;
    let content = Some(of_bytes(&[], Wanted::default()).blake3);
    let ancestor = Ancestor { fingerprint, generation: remote, content, nonce: None, open: false };
    write_ancestor(context, &path, ancestor, Vec::new()).await?;
    Ok(Outcome::done(Event::Downloaded { path, bytes: 0 }))
}

/// The marker was deleted: its folder goes if it is empty. One that still isn't after a while stays, and gets a marker again.
pub async fn remove_folder(context: &Context, task: &Task) -> Result<Outcome, Outcome> {
    let path = task.path();
    prove_object_gone(context, path).await?;
    let Some(folder) = path.parent() else { return Err(Outcome::Again) };
    let (folder_there, volume) = (folder.clone(), context.identity().volume);
    let removed = context
        .local(move |tree| {
            if root_is_ours(tree, &volume) {
                tree.remove_folder(folder_there.as_str()).map(|()| true)
            } else {
                Ok(false)
            }
        })
        .await?;
    let look_at = match removed {
        Ok(true) => {
            durable(context, vec![Target::Folder(parent(&folder))]).await??;
            Vec::new()
        }
        Ok(false) => return Err(Outcome::Again),
        // Whoever deletes a whole folder may delete what is in it later.
        Err(error) if error.kind == TreeErrorKind::NotEmpty && !task.read_open => return Err(Outcome::Busy),
        Err(error) if error.kind == TreeErrorKind::NotEmpty => vec![path.clone()],
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    forget(context, path).await?;
    Ok(Outcome::Done { events: Vec::new(), look_at })
}

/// Such an object is no marker, whatever its key says.
pub fn holds_data() -> Outcome {
    Outcome::Problem("the key ends in / as a folder's does, but the object holds data".to_owned())
}
