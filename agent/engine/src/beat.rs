//! The beat of a tree: a random value that its agent renews, in the tree and then in its replica's row of the metadata that
//! agents share. A copy or a clone of the tree holds the values of its moment and no later ones, so whoever finds a value in
//! the row that the tree doesn't hold, and sees it move on, works beside somebody who has the same tree (R20).
//!
//! The tree comes first, and keeps what the row may hold until the row has answered: a kill or a lost answer at any moment
//! leaves a row whose value stands in the tree. Nothing of it is synced to the disk: what a power loss takes of it looks like
//! another's value that stands still, which costs a wait.

use crate::context::{BEAT, Context};
use crate::crash::{self, CrashPoint};
use crate::feed::own_row;
use crate::look::Failure;
use crate::ports::{LocalTree, TreeError};
use crate::sequences::read::read_full;

/// A value is the hex of a nonce, and a line.
const LINE_BYTES: usize = 33;
/// Values of runs that were killed before the row answered; more of them than that in a row don't happen.
const VALUES_MAX: usize = 16;

/// What a beat came to.
#[derive(Debug)]
pub struct Beaten {
    /// What the tree holds: whichever of them stands in the row is this tree's own.
    pub ours: Vec<String>,
    /// What stands in the row now.
    pub stands: String,
}

/// Moves the row on to `next`, from a value of `ours`; `None`: from those that the tree holds.
pub async fn beat(context: &Context, ours: Option<Vec<String>>, next: String) -> Result<Option<Beaten>, Failure> {
    let Some(row) = own_row(context) else { return Ok(None) };
    let wanted = next.clone();
    let ours = context
        .local(move |tree| -> Result<Vec<String>, TreeError> {
            let held = read(tree)?;
            let mut ours = ours.unwrap_or_else(|| held.clone());
            if !ours.contains(&wanted) {
                ours.push(wanted);
            }
            let superfluous = ours.len().saturating_sub(VALUES_MAX);
            ours.drain(..superfluous);
            if ours != held {
                write(tree, &ours)?;
            }
            Ok(ours)
        })
        .await??;
    crash::reached(CrashPoint::BeatWritten);
    let stands = context.ports.metadata.beat(&row, &ours, &next).await.map_err(Failure::Metadata)?;
    crash::reached(CrashPoint::BeatTold);
    Ok(Some(Beaten { ours, stands }))
}

fn read(tree: &dyn LocalTree) -> Result<Vec<String>, TreeError> {
    let file = match tree.open(BEAT) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; LINE_BYTES * VALUES_MAX];
    let read = read_full(&*file, 0, &mut bytes)?;
    let text = String::from_utf8_lossy(&bytes[..read]);
    Ok(text.lines().filter(|line| line.len() == LINE_BYTES - 1).map(str::to_owned).collect())
}

/// In place: a part of it that a power loss leaves holds other values, or none.
fn write(tree: &dyn LocalTree, values: &[String]) -> Result<(), TreeError> {
    let file = match tree.reopen(BEAT) {
        Err(error) if error.is_not_found() => tree.create(BEAT, 0o600)?,
        opened => opened?,
    };
    let text: String = values.iter().map(|value| format!("{value}\n")).collect();
    file.write_at(0, text.as_bytes())?;
    file.set_len(text.len() as u64)
}
