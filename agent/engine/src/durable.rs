//! Making contents and names durable, many at a time: whoever comes while a sync is under way shares the next one.
//!
//! A few targets are synced one by one, many by one `syncfs`. Whoever leads a round does the work for all who wait, then
//! hands the lead to one of those who came meanwhile.

use std::sync::Mutex;

use futures_channel::oneshot;

use crate::context::{Context, Killed, lock};
use crate::ports::{LocalTree, TreeError, TreeErrorKind};

/// From this many targets on, one `syncfs` is cheaper than a sync each.
const SYNC_TREE_FROM: usize = 6;

pub enum Target {
    /// A regular file's content, by path.
    Content(String),
    /// The names in a folder.
    Folder(String),
}

#[derive(Default)]
pub struct Durable {
    round: Mutex<Round>,
}

#[derive(Default)]
struct Round {
    running: bool,
    waiting: Vec<(Vec<Target>, oneshot::Sender<Turn>)>,
}

enum Turn {
    Done(Result<(), TreeErrorKind>),
    /// The last round is over and it's this one's turn to lead.
    Lead(Vec<Target>),
}

/// Returns when all of `targets` are durable.
pub async fn durable(context: &Context, targets: Vec<Target>) -> Result<Result<(), TreeError>, Killed> {
    let mut mine = targets;
    let receiver = {
        let mut round = lock(&context.shared.durable.round);
        if round.running {
            let (sender, receiver) = oneshot::channel();
            round.waiting.push((std::mem::take(&mut mine), sender));
            Some(receiver)
        } else {
            round.running = true;
            None
        }
    };
    if let Some(receiver) = receiver {
        match receiver.await {
            Ok(Turn::Done(result)) => return Ok(result.map_err(failed)),
            Ok(Turn::Lead(targets)) => mine = targets,
            Err(_) => return Err(Killed),
        }
    }
    // Everyone who waits now is served by this round.
    let served = std::mem::take(&mut lock(&context.shared.durable.round).waiting);
    let mut all = mine;
    let mut answers = Vec::with_capacity(served.len());
    for (targets, sender) in served {
        all.extend(targets);
        answers.push(sender);
    }
    let result = context.local(move |tree| sync(tree, &all)).await?;
    for sender in answers {
        let _ = sender.send(Turn::Done(result.as_ref().copied().map_err(|error| error.kind)));
    }
    hand_over(context);
    Ok(result)
}

fn hand_over(context: &Context) {
    let mut round = lock(&context.shared.durable.round);
    while let Some((targets, sender)) = round.waiting.pop() {
        if sender.send(Turn::Lead(targets)).is_ok() {
            return;
        }
    }
    round.running = false;
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
                ) => {}
            result => result?,
        }
    }
    Ok(())
}

fn failed(kind: TreeErrorKind) -> TreeError {
    TreeError::new(kind, "sync", "")
}
