//! What becomes of a two-way decision where a mirror works one way only, or where one side wins conflicts.
//!
//! [`decide`](mod@crate::decide) knows what is news on which side; this knows whose news may be carried over. So a mirror
//! that only receives never sends, whatever the table says, and the other way round.

use serde::{Deserialize, Serialize};

use crate::decide::{Action, Decision, Diverged, ExpectLocal, ExpectRemote, Keep, ModePolicy, Problem, decide};
use crate::facts::{Ancestor, Fingerprint, Generation, LocalEntry, RemoteEntry};

/// Which way a mirror works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    #[default]
    TwoWay,
    /// From the folder to the bucket: nothing is downloaded, and what others do in the bucket is left alone.
    Push,
    /// From the bucket to the folder: nothing is ever written to the bucket.
    Pull,
}

/// Who keeps the name where both sides changed a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictPolicy {
    /// The object; the file becomes a conflict copy.
    #[default]
    KeepBoth,
    /// The object; the file goes to the trash.
    RemoteWins,
    /// The file; the object's content goes to the trash.
    LocalWins,
}

/// How a mirror decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub mode: ModePolicy,
    pub direction: Direction,
    pub conflicts: ConflictPolicy,
}

impl Policy {
    /// The decision for one path. Pure: the same facts give the same answer.
    #[must_use]
    pub fn decide(self, ancestor: Option<&Ancestor>, local: &LocalEntry, remote: &RemoteEntry) -> Decision {
        let decision = decide(ancestor, local, remote, self.mode);
        let Decision::Do(action) = decision else { return decision };
        match (self.direction, action) {
            (Direction::TwoWay, Action::Conflict { local, remote }) => {
                Decision::Do(self.conflicts.settle(local, remote))
            }
            (Direction::TwoWay, action) => Decision::Do(action),
            (Direction::Push, action) => push(ancestor, action),
            (Direction::Pull, action) => pull(ancestor, local, remote, action),
        }
    }
}

impl ConflictPolicy {
    /// What settles a conflict.
    #[must_use]
    pub fn settle(self, local: Fingerprint, remote: Generation) -> Action {
        match self {
            Self::KeepBoth => Action::Conflict { local, remote },
            Self::RemoteWins => Action::Replace { local, remote },
            Self::LocalWins => Action::Overrule { local, remote, keep: Keep::InTrash },
        }
    }
}

/// Only what goes to the bucket is done. What somebody else did there is told, and an edit of such a path waits for a
/// person ([`approved`]).
fn push(ancestor: Option<&Ancestor>, action: Action) -> Decision {
    let diverged = |how| Decision::Report(Problem::Diverged { how });
    match action {
        Action::Download { expect: ExpectLocal::Absent, .. } if ancestor.is_none() => diverged(Diverged::Created),
        Action::Download { .. } | Action::Conflict { .. } | Action::Overrule { .. } => diverged(Diverged::Edited),
        // What was deleted in the bucket is sent again.
        Action::TrashLocal { local } => Decision::Do(Action::Upload { local, expect: ExpectRemote::Absent }),
        Action::Replace { .. } => Decision::Report(Problem::LocalLook {
            message: "an unclean stop has shortened it, and the bucket has it whole; put it back, or save it anew"
                .to_owned(),
        }),
        // The file's own mode stays.
        Action::ApplyMode { local, remote, .. } => Decision::Do(Action::Record { local, remote }),
        action => Decision::Do(action),
    }
}

/// Only what comes from the bucket is done. The bucket wins conflicts, and what stood here becomes a conflict copy.
fn pull(ancestor: Option<&Ancestor>, local: &LocalEntry, remote: &RemoteEntry, action: Action) -> Decision {
    match action {
        // An edit outlives the delete of its object, as a file that is only here.
        Action::Upload { .. } if *remote == RemoteEntry::Absent && ancestor.is_some() => Decision::Do(Action::Forget),
        Action::Upload { .. } => Decision::Nothing,
        Action::DeleteObject { .. } if *local == LocalEntry::Folder => Decision::Report(Problem::FolderInTheWay),
        Action::DeleteObject { remote } => Decision::Do(Action::Download { remote, expect: ExpectLocal::Absent }),
        action => Decision::Do(action),
    }
}

/// What a person asked for who approved a diverged path of a mirror that only sends: the folder's state wins, and what the
/// bucket had is kept in the trash. `None`: there is nothing here that could win.
#[must_use]
pub fn approved(ancestor: Option<&Ancestor>, local: &LocalEntry, remote: &RemoteEntry) -> Option<Action> {
    let RemoteEntry::Object(object) = remote else { return None };
    let remote = object.generation.clone();
    match (local, ancestor) {
        (LocalEntry::File(file), _) => Some(Action::Overrule { local: file.fingerprint, remote, keep: Keep::InTrash }),
        (LocalEntry::Absent | LocalEntry::Folder, Some(_)) => Some(Action::DeleteObject { remote }),
        _ => None,
    }
}
