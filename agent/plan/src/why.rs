//! Why a decision is what it is, in words for people: what changed on which side since both were in step, and what
//! follows. Decides nothing.

use crate::decide::{Action, Decision, Diverged, ExpectLocal, ExpectRemote, Need, Problem};
use crate::facts::{Ancestor, LocalEntry, RemoteEntry};
use crate::policy::{ConflictPolicy, Direction, Policy};

/// What became of one side of a path since both were last in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Not there, and never was in step.
    Absent,
    Unchanged,
    Created,
    Edited,
    /// A file whose time stamps moved, an object that was written again: only a closer look tells whether it was edited.
    Touched,
    /// Only its mode.
    Mode,
    Deleted,
    Folder,
    /// A symlink, FIFO, socket, device or mount.
    Special,
    /// The look failed.
    Unknown,
    NotLookedAt,
}

impl Change {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Unchanged => "unchanged",
            Self::Created => "created",
            Self::Edited => "edited",
            Self::Touched => "touched",
            Self::Mode => "mode",
            Self::Deleted => "deleted",
            Self::Folder => "folder",
            Self::Special => "special",
            Self::Unknown => "unknown",
            Self::NotLookedAt => "not-looked-at",
        }
    }
}

#[must_use]
pub fn local_change(ancestor: Option<&Ancestor>, local: &LocalEntry, policy: Policy) -> Change {
    match (local, ancestor) {
        (LocalEntry::Absent, None) => Change::Absent,
        (LocalEntry::Absent, Some(_)) => Change::Deleted,
        (LocalEntry::Folder, _) => Change::Folder,
        (LocalEntry::Special(_), _) => Change::Special,
        (LocalEntry::Unknown(_), _) => Change::Unknown,
        (LocalEntry::File(_), None) => Change::Created,
        (LocalEntry::File(file), Some(ancestor)) => {
            let (now, before) = (&file.fingerprint, &ancestor.fingerprint);
            let edited = match (&file.digests, ancestor.content) {
                (Some(digests), Some(content)) => Some(digests.blake3 != content),
                _ => None,
            };
            let other_mode = (now.mode ^ before.mode) & policy.mode.mask() != 0;
            match edited {
                Some(true) => Change::Edited,
                _ if now.size != before.size => Change::Edited,
                Some(false) if other_mode => Change::Mode,
                Some(false) => Change::Unchanged,
                None if now == before && !ancestor.open => Change::Unchanged,
                None => Change::Touched,
            }
        }
    }
}

#[must_use]
pub fn remote_change(ancestor: Option<&Ancestor>, remote: &RemoteEntry) -> Change {
    match (remote, ancestor) {
        (RemoteEntry::Absent, None) => Change::Absent,
        (RemoteEntry::Absent, Some(_)) => Change::Deleted,
        (RemoteEntry::Presumed, _) => Change::NotLookedAt,
        (RemoteEntry::Unknown(_), _) => Change::Unknown,
        (RemoteEntry::Object(_), None) => Change::Created,
        (RemoteEntry::Object(object), Some(ancestor)) => {
            let (now, before) = (&object.generation, &ancestor.generation);
            if now.same(before) {
                Change::Unchanged
            } else if now.etag == before.etag && now.size == before.size {
                Change::Touched
            } else {
                Change::Edited
            }
        }
    }
}

/// The name of a decision.
#[must_use]
pub fn word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Nothing => "nothing",
        Decision::Look(_) => "look-closer",
        Decision::Report(_) => "report",
        Decision::Do(action) => action_word(action),
    }
}

/// The name of an action.
#[must_use]
pub fn action_word(action: &Action) -> &'static str {
    match action {
        Action::Upload { .. } => "upload",
        Action::Download { .. } => "download",
        Action::Record { .. } => "record",
        Action::ApplyMode { .. } => "apply-mode",
        Action::Conflict { .. } => "conflict",
        Action::Replace { .. } => "replace",
        Action::Overrule { .. } => "overrule",
        Action::MoveAside { .. } => "move-aside",
        Action::DeleteObject { .. } => "delete-object",
        Action::TrashLocal { .. } => "trash-local",
        Action::Forget => "forget",
    }
}

/// The rule behind `decision`, which [`Policy::decide`] gave for these facts.
#[must_use]
pub fn why(
    policy: Policy,
    ancestor: Option<&Ancestor>,
    local: &LocalEntry,
    remote: &RemoteEntry,
    decision: &Decision,
) -> String {
    match decision {
        Decision::Nothing => nothing(policy, ancestor, local).to_owned(),
        Decision::Look(need) => look(*need, ancestor).to_owned(),
        Decision::Report(problem) => report(problem),
        Decision::Do(action) => {
            let local = local_change(ancestor, local, policy);
            let remote = remote_change(ancestor, remote);
            act(policy, ancestor, local, remote, action).to_owned()
        }
    }
}

fn nothing(policy: Policy, ancestor: Option<&Ancestor>, local: &LocalEntry) -> &'static str {
    match (ancestor, local) {
        (Some(_), LocalEntry::File(_)) if policy.direction == Direction::Pull => {
            "the bucket has nothing new, and a mirror that only receives sends nothing"
        }
        (Some(_), _) => "both sides hold what they were last proven to agree on",
        (None, LocalEntry::File(_)) => "the file is only here, and a mirror that only receives sends nothing",
        (None, LocalEntry::Folder) => "a folder stands here; folders are not synced for themselves",
        (None, _) => "there is nothing on either side, and there was nothing in step",
    }
}

fn look(need: Need, ancestor: Option<&Ancestor>) -> &'static str {
    match (need, ancestor) {
        (Need::Head, _) => "the object has to be looked at first",
        (Need::LocalDigests { .. }, Some(ancestor)) if ancestor.open => {
            "it was sent while somebody had it open: it is read again until it rests"
        }
        (Need::LocalDigests { .. }, Some(_)) => {
            "its time stamps moved: it is read to tell whether its content did, and sent only then"
        }
        (Need::LocalDigests { .. }, None) => {
            "both sides have it and were never compared: the file is read to tell whether they are the same"
        }
        (Need::RemoteContent, _) => "nothing cheaper tells whether both sides hold the same: the object is read",
    }
}

fn report(problem: &Problem) -> String {
    match problem {
        Problem::Name { why } => format!("a name that only one side can hold is left alone: {why}"),
        Problem::Special { kind } => {
            format!("only regular files are synced, and this is none ({kind:?}); nothing is deleted for it")
                .to_lowercase()
        }
        Problem::LocalLook { message } => format!("the look at the file failed, and that decides nothing: {message}"),
        Problem::RemoteLook { message } => {
            format!("the look at the object failed, and that decides nothing: {message}")
        }
        Problem::FolderInTheWay => "the bucket has an object where a folder stands: both are left alone".to_owned(),
        Problem::Diverged { how: Diverged::Created } => {
            "the object never came from here, and a mirror that only sends leaves it alone".to_owned()
        }
        Problem::Diverged { how: Diverged::Edited } => {
            "somebody else wrote to the object, and a mirror that only sends leaves it alone until it is approved"
                .to_owned()
        }
    }
}

fn act(policy: Policy, ancestor: Option<&Ancestor>, local: Change, remote: Change, action: &Action) -> &'static str {
    match action {
        Action::Upload { expect: ExpectRemote::Absent, .. } => match (ancestor, local) {
            (None, _) => "the file is new here, and the bucket has none: it is sent, if that is still so",
            (Some(_), Change::Unchanged) if policy.direction == Direction::Push => {
                "deleted in the bucket: a mirror that only sends sends it again"
            }
            (Some(_), _) => "changed here and deleted in the bucket: an edit beats a delete",
        },
        Action::Upload { .. } if local == Change::Mode => {
            "only its mode changed here: it is sent over the object that was in step, if that is still there"
        }
        Action::Upload { .. } => {
            "changed here, not in the bucket: it is sent over the object that was in step, if that is still there"
        }
        Action::Download { expect: ExpectLocal::Absent, .. } => match (ancestor, remote) {
            (None, _) => "the object is new in the bucket, and no file is here: it is fetched, if that is still so",
            (Some(_), Change::Unchanged) => "deleted here: a mirror that only receives fetches it again",
            (Some(_), _) => "deleted here and changed in the bucket: an edit beats a delete",
        },
        Action::Download { .. } => {
            "changed in the bucket, not here: it is fetched in the place of this very file, if that is still there"
        }
        Action::Record { .. } => "both sides hold the same content: that is noted, and nothing is sent",
        Action::ApplyMode { .. } => "both sides hold the same content; the file gets the object's mode",
        Action::Conflict { .. } => {
            "both sides changed it: the bucket's content keeps the name, the file is kept beside it as a conflict copy"
        }
        Action::Replace { .. } if policy.conflicts == ConflictPolicy::RemoteWins && remote != Change::Unchanged => {
            "both sides changed it, and the bucket is to win: the file goes to the trash"
        }
        Action::Replace { .. } => {
            "the file is shorter with an unchanged time, as a power loss leaves it: the object is fetched again, and \
             the short file goes to the trash"
        }
        Action::Overrule { .. } => "both sides changed it, and the folder is to win: the object's content is kept here",
        Action::MoveAside { .. } => "the bucket has a folder of this name: the file is kept as a conflict copy",
        Action::DeleteObject { .. } => {
            "deleted here, and the object is the one that was in step: it is deleted too, within the guards"
        }
        Action::TrashLocal { .. } => {
            "deleted in the bucket, and not changed here: the file goes to the trash, within the guards"
        }
        Action::Forget => "gone on both sides: it is forgotten",
    }
}
