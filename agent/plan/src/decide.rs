//! One path: what the ancestor, the local and the remote side say, and what follows (two-way).
//!
//! The answer is an [`Action`] with the preconditions under which it is right, a [`Problem`], or the wish for a closer
//! look ([`Need`]). The executor makes no choices: an action whose precondition fails is dropped and the path looked at
//! again.

use serde::Serialize;

use crate::facts::{
    Ancestor, Digests, Fingerprint, Generation, LocalEntry, LocalFile, RemoteEntry, RemoteObject, Special,
};
use crate::identity::{self, Identity};
use crate::names::NameProblem;

/// What must stand at the key for an upload to be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpectRemote {
    Absent,
    Object(Generation),
}

/// What must stand at the path for a download to be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpectLocal {
    Absent,
    File(Fingerprint),
}

/// One planned act on one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum Action {
    /// Send the file.
    Upload { local: Fingerprint, expect: ExpectRemote },
    /// Fetch the object (this generation) and put it in place; [`merge_mode`] says with which mode.
    Download { remote: Generation, expect: ExpectLocal },
    /// Both sides hold the same content: write the ancestor, transfer nothing.
    Record { local: Fingerprint, remote: Generation },
    /// Same content, the object's mode wins: change the file's permission bits, then record.
    ApplyMode { local: Fingerprint, remote: Generation, mode: u32 },
    /// Both sides changed: the local content becomes a conflict copy, then the object is put in place.
    Conflict { local: Fingerprint, remote: Generation },
    /// The local content goes to the trash and the object takes its place: an unclean stop has shortened the file, or the
    /// bucket's content wins.
    Replace { local: Fingerprint, remote: Generation },
    /// The local content wins: the object's is kept here first, then the file is sent over it.
    Overrule { local: Fingerprint, remote: Generation, keep: Keep },
    /// A local file stands where the bucket has a folder: it becomes a conflict copy, and the ancestor is dropped (that
    /// the file is gone from its path is our doing, no delete).
    MoveAside { local: Fingerprint },
    /// The file was deleted: delete the object, this generation of it.
    DeleteObject { remote: Generation },
    /// The object was deleted: move the file to the trash.
    TrashLocal { local: Fingerprint },
    /// Both sides are gone: drop the ancestor.
    Forget,
}

impl Action {
    /// Whether it takes a content away from a side without putting another in its place.
    #[must_use]
    pub fn is_delete(&self) -> bool {
        matches!(self, Self::DeleteObject { .. } | Self::TrashLocal { .. })
    }
}

/// Where a content of the bucket is kept that a file overrules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    InTrash,
    AsConflictCopy,
}

/// More facts that a decision asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// HEAD the key.
    Head,
    /// Read the file: its BLAKE3, and with each flag the further digest.
    LocalDigests { md5: bool, multipart_part_bytes: Option<u64>, crc64nvme: bool },
    /// Nothing cheaper tells: read the object and hash it.
    RemoteContent,
}

impl Need {
    /// The file's BLAKE3.
    pub const HASH: Self = Self::LocalDigests { md5: false, multipart_part_bytes: None, crc64nvme: false };
}

/// Why a path is left alone; a person may have to do something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "problem")]
pub enum Problem {
    /// The name can't be held by the other side.
    Name {
        why: NameProblem,
    },
    /// A symlink, FIFO, socket, device or mount.
    Special {
        kind: Special,
    },
    /// A look failed.
    LocalLook {
        message: String,
    },
    RemoteLook {
        message: String,
    },
    /// A folder stands where the bucket has an object.
    FolderInTheWay,
    /// Somebody else wrote to the bucket of a mirror that only sends.
    Diverged {
        how: Diverged,
    },
}

/// What a mirror that only sends leaves alone in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diverged {
    /// An object that never came from here.
    Created,
    /// The object is not the one that was sent.
    Edited,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    Nothing,
    Do(Action),
    Look(Need),
    Report(Problem),
}

use Decision::{Do, Look, Nothing, Report};

/// The permission bits of a file of which nobody tells any.
pub const MODE_DEFAULT: u32 = 0o644;

/// Which bits of the mode are kept in step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModePolicy {
    #[default]
    Full,
    /// Only whether the owner may execute it.
    Exec,
    Off,
}

impl ModePolicy {
    /// The bits that count.
    #[must_use]
    pub fn mask(self) -> u32 {
        match self {
            Self::Full => 0o7777,
            Self::Exec => 0o100,
            Self::Off => 0,
        }
    }

    /// What an object says of its file's mode, file type included: nothing that is this agent's business alone. Who keeps
    /// all bits in step elsewhere reads a whole mode, so that bits which don't count here are as any new file has them.
    #[must_use]
    pub fn told(self, local: u32) -> Option<u32> {
        match self {
            Self::Full => Some(local),
            Self::Exec => Some(local & !0o7777 | MODE_DEFAULT | local & 0o111),
            Self::Off => None,
        }
    }

    fn differs(self, a: u32, b: u32) -> bool {
        (a ^ b) & self.mask() != 0
    }
}

/// What becomes of a file's mode where both sides may have changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeMerge {
    /// The file's mode stays, and the object's says nothing else.
    Keep,
    /// The file gets these permission bits.
    Apply(u32),
    /// The file's mode stays and is news for the object. Who only downloads keeps the ancestor's mode in the new
    /// ancestor's fingerprint, so that the next look sends it.
    Send,
}

/// Merges the mode as a field of its own: who changed it wins, and the object where both did. `object` is `None` where
/// the object tells no mode.
#[must_use]
pub fn merge_mode(ancestor: Option<u32>, local: u32, object: Option<u32>, policy: ModePolicy) -> ModeMerge {
    let edited = ancestor.is_some_and(|ancestor| policy.differs(ancestor, local));
    match object {
        Some(wanted) if !policy.differs(wanted, local) => ModeMerge::Keep,
        Some(wanted) if edited && ancestor.is_some_and(|ancestor| !policy.differs(ancestor, wanted)) => ModeMerge::Send,
        Some(wanted) => ModeMerge::Apply((local & !policy.mask() & 0o7777) | (wanted & policy.mask())),
        None if edited => ModeMerge::Send,
        None => ModeMerge::Keep,
    }
}

/// The decision for one path. Pure: the same facts give the same answer.
#[must_use]
pub fn decide(ancestor: Option<&Ancestor>, local: &LocalEntry, remote: &RemoteEntry, mode: ModePolicy) -> Decision {
    match (local, remote) {
        // A failed look says nothing, and a symlink is no deleted file either.
        (LocalEntry::Unknown(message), _) => Report(Problem::LocalLook { message: message.clone() }),
        (_, RemoteEntry::Unknown(message)) => Report(Problem::RemoteLook { message: message.clone() }),
        (LocalEntry::Special(kind), _) => Report(Problem::Special { kind: *kind }),
        (LocalEntry::Absent | LocalEntry::Folder, _) => no_file(ancestor, local, remote),
        (LocalEntry::File(file), _) => match ancestor {
            Some(ancestor) => known_file(ancestor, file, remote, mode),
            None => new_file(file, remote, mode),
        },
    }
}

/// Nothing stands at the path, or a folder does: if there was a file, it is gone.
fn no_file(ancestor: Option<&Ancestor>, local: &LocalEntry, remote: &RemoteEntry) -> Decision {
    match (ancestor, remote) {
        (Some(ancestor), RemoteEntry::Object(object)) if object.generation.same(&ancestor.generation) => {
            Do(Action::DeleteObject { remote: ancestor.generation.completed_by(&object.generation) })
        }
        (_, RemoteEntry::Object(_)) if *local == LocalEntry::Folder => Report(Problem::FolderInTheWay),
        // New, or edit beats delete.
        (_, RemoteEntry::Object(object)) => {
            Do(Action::Download { remote: object.generation.clone(), expect: ExpectLocal::Absent })
        }
        (Some(_), RemoteEntry::Absent) => Do(Action::Forget),
        // Deleting needs a look at both sides.
        (Some(_), RemoteEntry::Presumed) => Look(Need::Head),
        (None, RemoteEntry::Absent | RemoteEntry::Presumed) | (_, RemoteEntry::Unknown(_)) => Nothing,
    }
}

/// No ancestor: a creation, or a first run.
fn new_file(file: &LocalFile, remote: &RemoteEntry, mode: ModePolicy) -> Decision {
    match remote {
        // Presumed as the ancestor says: nothing there.
        RemoteEntry::Absent | RemoteEntry::Presumed => upload(file, ExpectRemote::Absent),
        RemoteEntry::Object(object) => both_news(None, file, object, mode),
        RemoteEntry::Unknown(_) => Nothing,
    }
}

fn known_file(ancestor: &Ancestor, file: &LocalFile, remote: &RemoteEntry, mode: ModePolicy) -> Decision {
    if is_torn(ancestor, file) {
        let local = file.fingerprint;
        return Do(match remote {
            RemoteEntry::Absent => Action::TrashLocal { local },
            RemoteEntry::Object(object) => Action::Replace { local, remote: object.generation.clone() },
            _ => Action::Replace { local, remote: ancestor.generation.clone() },
        });
    }
    let content_edited = match content_edited(ancestor, file, remote) {
        Ok(edited) => edited,
        Err(need) => return Look(need),
    };
    let edited = content_edited || mode.differs(ancestor.fingerprint.mode, file.fingerprint.mode);
    match remote {
        // Edit beats delete.
        RemoteEntry::Absent if edited => upload(file, ExpectRemote::Absent),
        RemoteEntry::Absent => Do(Action::TrashLocal { local: file.fingerprint }),
        RemoteEntry::Object(object) if !object.generation.same(&ancestor.generation) => {
            rewritten_object(ancestor, file, content_edited, object, mode)
        }
        RemoteEntry::Object(_) | RemoteEntry::Presumed => {
            let generation = match remote {
                RemoteEntry::Object(object) => ancestor.generation.completed_by(&object.generation),
                _ => ancestor.generation.clone(),
            };
            if edited {
                upload(file, ExpectRemote::Object(generation))
            } else if tells_news(ancestor, file, &generation) {
                Do(Action::Record { local: file.fingerprint, remote: generation })
            } else {
                Nothing
            }
        }
        RemoteEntry::Unknown(_) => Nothing,
    }
}

/// Power loss keeps a file's times and loses its data; a person's truncation moves mtime.
fn is_torn(ancestor: &Ancestor, file: &LocalFile) -> bool {
    let (now, before) = (&file.fingerprint, &ancestor.fingerprint);
    // Another inode is another file, moved here with a time of its own.
    now.inode == before.inode && now.size < before.size && now.mtime_ns == before.mtime_ns
}

/// Whether the file holds another content than the ancestor; `Err` where only a closer look tells.
fn content_edited(ancestor: &Ancestor, file: &LocalFile, remote: &RemoteEntry) -> Result<bool, Need> {
    let hashes_differ = match (&file.digests, ancestor.content) {
        (Some(digests), Some(content)) => Some(digests.blake3 != content),
        _ => None,
    };
    if file.fingerprint == ancestor.fingerprint && !ancestor.open {
        return Ok(hashes_differ == Some(true));
    }
    // A link with the same text as the file that it replaces is another content all the same.
    if file.fingerprint.size != ancestor.fingerprint.size
        || file.fingerprint.is_link() != ancestor.fingerprint.is_link()
    {
        return Ok(true);
    }
    match hashes_differ {
        Some(differ) => Ok(differ),
        None if ancestor.content.is_some() => Err(Need::HASH),
        None => edited_since_adoption(ancestor, file, remote),
    }
}

/// The ancestor was adopted unread, so the object that it was adopted from is what the file is compared with.
fn edited_since_adoption(ancestor: &Ancestor, file: &LocalFile, remote: &RemoteEntry) -> Result<bool, Need> {
    let still_there = match remote {
        RemoteEntry::Object(object) => Some(object).filter(|object| object.generation.same(&ancestor.generation)),
        _ => None,
    };
    let adopted = RemoteObject {
        generation: ancestor.generation.clone(),
        facts: still_there.and_then(|object| object.facts.clone()),
        content: still_there.and_then(|object| object.content),
    };
    match identity::same(file, &adopted) {
        Identity::Same => Ok(false),
        Identity::Differs => Ok(true),
        Identity::Unknown(need @ Need::LocalDigests { .. }) => Err(need),
        Identity::Unknown(need) if still_there.is_some() => Err(need),
        Identity::Unknown(_) if *remote == RemoteEntry::Presumed => Err(Need::Head),
        // That object is no more: nothing proves the file unedited.
        Identity::Unknown(_) => Ok(true),
    }
}

/// The object is of another generation than the ancestor's, and the file is still there.
fn rewritten_object(
    ancestor: &Ancestor,
    file: &LocalFile,
    content_edited: bool,
    object: &RemoteObject,
    mode: ModePolicy,
) -> Decision {
    let holds_ancestor = match holds_ancestor(ancestor, object) {
        Ok(holds) => holds,
        Err(need) => return Look(need),
    };
    match (content_edited, holds_ancestor) {
        (false, true) => same_content(Some(ancestor), file, object, mode),
        // An edited content goes up with the mode of its file.
        (true, true) => upload(file, ExpectRemote::Object(object.generation.clone())),
        (false, false) => {
            Do(Action::Download { remote: object.generation.clone(), expect: ExpectLocal::File(file.fingerprint) })
        }
        (true, false) => both_news(Some(ancestor), file, object, mode),
    }
}

/// Whether an object of another generation holds the ancestor's content all the same: written again, or only its
/// metadata changed. "No" may be wrong (another ETag is no proof of another content), "yes" may not.
fn holds_ancestor(ancestor: &Ancestor, object: &RemoteObject) -> Result<bool, Need> {
    if object.facts.as_ref().is_some_and(|facts| facts.is_link != ancestor.fingerprint.is_link()) {
        return Ok(false);
    }
    if let (Some(before), Some(now)) = (ancestor.content, object.content) {
        return Ok(before == now);
    }
    if object.generation.etag != ancestor.generation.etag || object.generation.size != ancestor.generation.size {
        return Ok(false);
    }
    match &object.facts {
        Some(facts) => Ok(identity::etag_tells_content(&object.generation.etag, facts)),
        None => Err(Need::Head),
    }
}

/// Both sides hold a content that the other has not agreed to.
fn both_news(ancestor: Option<&Ancestor>, file: &LocalFile, object: &RemoteObject, mode: ModePolicy) -> Decision {
    match identity::same(file, object) {
        Identity::Unknown(need) => Look(need),
        Identity::Differs => Do(Action::Conflict { local: file.fingerprint, remote: object.generation.clone() }),
        Identity::Same => same_content(ancestor, file, object, mode),
    }
}

/// Nothing to transfer but, perhaps, a mode.
fn same_content(ancestor: Option<&Ancestor>, file: &LocalFile, object: &RemoteObject, mode: ModePolicy) -> Decision {
    let (local, remote) = (file.fingerprint, object.generation.clone());
    match merged_mode(ancestor, file, object, mode) {
        Err(need) => Look(need),
        Ok(ModeMerge::Keep) => Do(Action::Record { local, remote }),
        Ok(ModeMerge::Apply(mode)) => Do(Action::ApplyMode { local, remote, mode }),
        Ok(ModeMerge::Send) => upload(file, ExpectRemote::Object(remote)),
    }
}

fn merged_mode(
    ancestor: Option<&Ancestor>,
    file: &LocalFile,
    object: &RemoteObject,
    policy: ModePolicy,
) -> Result<ModeMerge, Need> {
    match &object.facts {
        // A listing tells no mode.
        None if policy != ModePolicy::Off => Err(Need::Head),
        facts => Ok(merge_mode(
            ancestor.map(|ancestor| ancestor.fingerprint.mode),
            file.fingerprint.mode,
            facts.as_ref().and_then(|facts| facts.mode),
            policy,
        )),
    }
}

/// Whether the ancestor would learn anything: keys that moved without the content, a token that an earlier reply did
/// not tell, a hash of what was adopted unread, a file that may have come to rest.
fn tells_news(ancestor: &Ancestor, file: &LocalFile, generation: &Generation) -> bool {
    file.fingerprint != ancestor.fingerprint
        || *generation != ancestor.generation
        || ancestor.open
        || (ancestor.content.is_none() && file.digests.is_some())
}

fn upload(file: &LocalFile, expect: ExpectRemote) -> Decision {
    Do(Action::Upload { local: file.fingerprint, expect })
}

/// Whether reading this file can wait: only its ctime moved (a change of owner at mount moves it on every file), and
/// the object is the ancestor's, so that nothing but the ancestor's key hangs on it.
#[must_use]
pub fn is_lazy(ancestor: &Ancestor, file: &LocalFile, remote: &RemoteEntry) -> bool {
    let remote_unchanged = match remote {
        RemoteEntry::Presumed => true,
        RemoteEntry::Object(object) => object.generation.same(&ancestor.generation),
        RemoteEntry::Absent | RemoteEntry::Unknown(_) => false,
    };
    remote_unchanged && !ancestor.open && file.fingerprint.same_but_ctime(&ancestor.fingerprint)
}

/// Whether an upload of `digests` would change anything at the object the ancestor names.
#[must_use]
pub fn is_same_as_ancestor(ancestor: &Ancestor, digests: &Digests) -> bool {
    ancestor.content == Some(digests.blake3)
}
