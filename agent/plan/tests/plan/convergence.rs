//! One path in a small world: deciding and acting, over and over, brings both sides in step and loses nothing.

use std::collections::BTreeSet;

use gosync_plan::{
    Action, Ancestor, ConflictPolicy, Decision, Digests, Direction, ExpectLocal, ExpectRemote, Fingerprint, Generation,
    LocalEntry, LocalFile, ModeMerge, ModePolicy, Need, ObjectFacts, Policy, Problem, RemoteEntry, RemoteObject,
    merge_mode,
};
use proptest::prelude::*;

use crate::support::{Content, MINE, OLD, THEIRS, hex};

const LOOKS_MAX: usize = 6;
const ACTIONS_MAX: usize = 4;
const PART_BYTES: u64 = 40;

#[derive(Clone, Debug)]
struct File {
    content: Content,
    fingerprint: Fingerprint,
}

#[derive(Clone, Debug)]
enum Local {
    Absent,
    Folder,
    File(File),
}

#[derive(Clone, Copy, Debug)]
enum Made {
    Put,
    Encrypted,
    InParts,
}

#[derive(Clone, Debug)]
struct Object {
    content: Content,
    mode: Option<u32>,
    made: Made,
    crc: bool,
    /// counts the writes of the store
    token: u32,
}

impl Object {
    fn etag(&self) -> String {
        let parts = self.content.multipart(PART_BYTES);
        match self.made {
            Made::Put => hex(&self.content.md5()),
            Made::Encrypted => format!("{:032x}", self.token),
            Made::InParts => format!("{}-{}", hex(&parts.md5), parts.parts),
        }
    }

    fn generation(&self, version: bool, modified: bool) -> Generation {
        let token = self.token.to_string();
        Generation {
            etag: self.etag(),
            size: self.content.size(),
            version_id: version.then(|| token.clone()),
            last_modified: modified.then_some(token),
        }
    }

    fn facts(&self) -> ObjectFacts {
        ObjectFacts {
            mode: self.mode,
            crc64nvme: self.crc.then(|| self.content.crc()),
            part_bytes: matches!(self.made, Made::InParts).then_some(PART_BYTES),
            etag_opaque: matches!(self.made, Made::Encrypted),
            ..ObjectFacts::default()
        }
    }
}

#[derive(Clone, Debug)]
struct World {
    policy: Policy,
    versioned: bool,
    /// also hands out inodes and tokens
    clock: u32,
    ancestor: Option<Ancestor>,
    local: Local,
    remote: Option<Object>,
    /// trash and conflict copies
    kept: BTreeSet<Content>,
}

/// A precondition did not hold.
#[derive(Debug)]
struct Refused;

impl World {
    fn tick(&mut self) -> u32 {
        self.clock += 1;
        self.clock
    }

    fn listed(&self, object: &Object) -> RemoteEntry {
        let generation = object.generation(false, true);
        RemoteEntry::Object(RemoteObject { generation, facts: None, content: None })
    }

    fn headed(&self) -> RemoteEntry {
        match &self.remote {
            None => RemoteEntry::Absent,
            Some(object) => RemoteEntry::Object(RemoteObject {
                generation: object.generation(self.versioned, true),
                facts: Some(object.facts()),
                content: None,
            }),
        }
    }

    /// Decides, and grants every look that is asked for. Gives what the file was read for, too.
    fn decide(&self, presume: bool) -> (Decision, Option<Digests>) {
        let mut local = match &self.local {
            Local::Absent => LocalEntry::Absent,
            Local::Folder => LocalEntry::Folder,
            Local::File(file) => LocalEntry::File(LocalFile { fingerprint: file.fingerprint, digests: None }),
        };
        let mut remote = match &self.remote {
            _ if presume => RemoteEntry::Presumed,
            Some(object) => self.listed(object),
            None => RemoteEntry::Absent,
        };
        let mut looks = Vec::new();
        loop {
            match self.policy.decide(self.ancestor.as_ref(), &local, &remote) {
                Decision::Look(need) => {
                    assert!(!looks.contains(&need), "asked twice: {need:?} after {looks:?} in {self:#?}");
                    looks.push(need);
                    assert!(looks.len() <= LOOKS_MAX, "{looks:?} in {self:#?}");
                    match (need, &self.local, &mut local, &mut remote) {
                        (Need::Head, ..) => remote = self.headed(),
                        (Need::LocalDigests { .. }, Local::File(file), LocalEntry::File(look), _) => {
                            look.digests = Some(file.content.read_for(need));
                        }
                        (Need::RemoteContent, _, _, RemoteEntry::Object(look)) => {
                            look.content = self.remote.as_ref().map(|object| object.content.hash());
                        }
                        _ => panic!("{need:?} can't be granted in {self:#?}"),
                    }
                }
                decision => {
                    let digests = match local {
                        LocalEntry::File(file) => file.digests,
                        _ => None,
                    };
                    return (decision, digests);
                }
            }
        }
    }

    fn file(&self, expected: Fingerprint) -> Result<File, Refused> {
        match &self.local {
            Local::File(file) if file.fingerprint == expected => Ok(file.clone()),
            _ => Err(Refused),
        }
    }

    fn object(&self, expected: &Generation) -> Result<Object, Refused> {
        let there = self.remote.as_ref().filter(|object| object.generation(self.versioned, true).same(expected));
        there.cloned().ok_or(Refused)
    }

    fn holds_ancestors_content(&self, content: Content) -> bool {
        // Of what was adopted unread the world knows the size and that it was the old one.
        self.ancestor.as_ref().is_some_and(|ancestor| ancestor.content.unwrap_or(OLD.hash()) == content.hash())
    }

    fn record(&mut self, file: &File, object: &Object, generation: Generation, content_known: bool) {
        assert_eq!(file.content, object.content, "recorded what is not in step");
        let known = content_known.then(|| file.content.hash());
        self.ancestor = Some(Ancestor {
            fingerprint: file.fingerprint,
            generation,
            content: known.or(self.ancestor.as_ref().and_then(|ancestor| ancestor.content)),
            nonce: None,
            open: false,
        });
        self.local = Local::File(file.clone());
        self.remote = Some(object.clone());
    }

    fn place(&mut self, object: &Object, replaced: Option<&File>, keep_mode: bool) {
        let now = self.tick();
        let before = self.ancestor.as_ref().map(|ancestor| ancestor.fingerprint.mode);
        let merge = match replaced.filter(|_| keep_mode) {
            Some(file) => merge_mode(before, file.fingerprint.mode, object.mode, self.policy.mode),
            None => ModeMerge::Apply(object.mode.unwrap_or(0o640)),
        };
        let mode = match merge {
            ModeMerge::Apply(mode) => mode | 0o100_000,
            ModeMerge::Keep | ModeMerge::Send => replaced.unwrap().fingerprint.mode,
        };
        let fingerprint = Fingerprint {
            size: object.content.size(),
            mtime_ns: now.into(),
            ctime_ns: now.into(),
            inode: now.into(),
            mode,
        };
        let file = File { content: object.content, fingerprint };
        self.record(&file, object, object.generation(self.versioned, true), true);
        if let (ModeMerge::Send, Some(before), Some(ancestor)) = (merge, before, &mut self.ancestor) {
            ancestor.fingerprint.mode = before;
        }
    }

    fn send(&mut self, file: &File) {
        let mode = Some(file.fingerprint.mode & 0o7777);
        let token = self.tick();
        let object = Object { content: file.content, mode, made: Made::Put, crc: true, token };
        let replied = object.generation(self.versioned, false);
        self.record(file, &object, replied, true);
    }

    /// Does what an executor does: checks the preconditions, and makes no choices.
    fn act(&mut self, action: Action, read: Option<Digests>) -> Result<(), Refused> {
        match action {
            Action::Upload { local, expect } => {
                let file = self.file(local)?;
                match (&expect, &self.remote) {
                    (ExpectRemote::Absent, None) => {}
                    (ExpectRemote::Object(expected), Some(_)) => {
                        let object = self.object(expected)?;
                        assert!(self.holds_ancestors_content(object.content) || object.content == file.content);
                    }
                    _ => return Err(Refused),
                }
                self.send(&file);
            }
            Action::Download { remote, expect } => {
                let object = self.object(&remote)?;
                let replaced = match (expect, &self.local) {
                    (ExpectLocal::Absent, Local::Absent) => None,
                    (ExpectLocal::File(expected), Local::File(_)) => Some(self.file(expected)?),
                    _ => return Err(Refused),
                };
                assert!(replaced.iter().all(|file| self.holds_ancestors_content(file.content)), "overwrote an edit");
                self.place(&object, replaced.as_ref(), true);
            }
            Action::Record { local, remote } => {
                let (file, object) = (self.file(local)?, self.object(&remote)?);
                self.record(&file, &object, remote, read.is_some());
            }
            Action::ApplyMode { local, remote, mode } => {
                let (mut file, object) = (self.file(local)?, self.object(&remote)?);
                file.fingerprint.ctime_ns = self.tick().into();
                file.fingerprint.mode = 0o100_000 | mode;
                self.record(&file, &object, remote, read.is_some());
            }
            Action::Conflict { local, remote } => {
                let (file, object) = (self.file(local)?, self.object(&remote)?);
                assert_ne!(file.content, object.content, "a conflict over nothing");
                self.kept.insert(file.content);
                self.place(&object, Some(&file), false);
            }
            Action::Overrule { local, remote, .. } => {
                let (file, object) = (self.file(local)?, self.object(&remote)?);
                assert_ne!(file.content, object.content, "a conflict over nothing");
                self.kept.insert(object.content);
                self.send(&file);
            }
            Action::Replace { local, remote } => {
                let (file, object) = (self.file(local)?, self.object(&remote)?);
                self.kept.insert(file.content);
                self.place(&object, Some(&file), true);
            }
            Action::DeleteObject { remote } => {
                let object = self.object(&remote)?;
                assert!(!matches!(self.local, Local::File(_)), "deleted the object of a file");
                assert!(self.holds_ancestors_content(object.content), "deleted an edit");
                self.remote = None;
                self.ancestor = None;
            }
            Action::TrashLocal { local } => {
                let file = self.file(local)?;
                assert!(self.remote.is_none() && self.ancestor.is_some());
                self.kept.insert(file.content);
                self.local = Local::Absent;
                self.ancestor = None;
            }
            Action::Forget => {
                assert!(self.remote.is_none() && !matches!(self.local, Local::File(_)));
                self.ancestor = None;
            }
            Action::MoveAside { .. } => panic!("one path alone never asks for this"),
        }
        Ok(())
    }

    fn findable(&self, content: Content) -> bool {
        matches!(&self.local, Local::File(file) if file.content == content)
            || self.remote.as_ref().is_some_and(|object| object.content == content)
            || self.kept.contains(&content)
    }
}

fn mode() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0o644), Just(0o755), Just(0o600)]
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![Just(OLD), Just(MINE), Just(THEIRS), Just(Content(0)), Just(Content(4))]
}

fn made() -> impl Strategy<Value = Made> {
    prop_oneof![Just(Made::Put), Just(Made::Encrypted), Just(Made::InParts)]
}

/// What happened to the file since it was in step.
#[derive(Clone, Copy, Debug)]
enum LocalChange {
    None,
    Gone,
    FolderInstead,
    Chowned,
    Touched,
    Chmod(u32),
    Edited(Content, u32),
    LostItsData,
}

fn local_change() -> impl Strategy<Value = LocalChange> {
    prop_oneof![
        Just(LocalChange::None),
        Just(LocalChange::Gone),
        Just(LocalChange::FolderInstead),
        Just(LocalChange::Chowned),
        Just(LocalChange::Touched),
        mode().prop_map(LocalChange::Chmod),
        (content(), mode()).prop_map(|(content, mode)| LocalChange::Edited(content, mode)),
        Just(LocalChange::LostItsData),
    ]
}

/// `Some(Some(..))`: written again.
type RemoteChange = Option<Option<(Content, Option<u32>, Made, bool)>>;

fn remote_change() -> impl Strategy<Value = RemoteChange> {
    proptest::option::of(proptest::option::of((content(), proptest::option::of(mode()), made(), any::<bool>())))
}

fn apply_local(file: &File, change: LocalChange) -> Local {
    let mut file = file.clone();
    match change {
        LocalChange::None => {}
        LocalChange::Gone => return Local::Absent,
        LocalChange::FolderInstead => return Local::Folder,
        LocalChange::Chowned => file.fingerprint.ctime_ns = 50,
        LocalChange::Touched => (file.fingerprint.ctime_ns, file.fingerprint.mtime_ns) = (50, 50),
        LocalChange::Chmod(mode) => (file.fingerprint.ctime_ns, file.fingerprint.mode) = (50, 0o100_000 | mode),
        LocalChange::Edited(content, mode) => {
            file.content = content;
            file.fingerprint = Fingerprint {
                size: content.size(),
                mtime_ns: 50,
                ctime_ns: 50,
                mode: 0o100_000 | mode,
                ..file.fingerprint
            };
        }
        LocalChange::LostItsData => {
            file.content = Content(0);
            file.fingerprint.size = 0;
        }
    }
    Local::File(file)
}

prop_compose! {
    fn world()(
        mode in prop_oneof![Just(ModePolicy::Full), Just(ModePolicy::Exec), Just(ModePolicy::Off)],
        conflicts in prop_oneof![
            Just(ConflictPolicy::KeepBoth), Just(ConflictPolicy::RemoteWins), Just(ConflictPolicy::LocalWins),
        ],
        versioned in any::<bool>(),
        in_step in proptest::bool::weighted(0.8),
        (old_mode, object_tells_mode, made, crc) in (mode(), any::<bool>(), made(), any::<bool>()),
        (adopted, open, fresh_from_put) in (any::<bool>(), any::<bool>(), any::<bool>()),
        local_change in local_change(),
        remote_change in remote_change(),
    ) -> World {
        let fingerprint = Fingerprint { size: OLD.size(), mtime_ns: 1, ctime_ns: 1, inode: 1, mode: 0o100_000 | old_mode };
        let file = File { content: OLD, fingerprint };
        let object = Object { content: OLD, mode: object_tells_mode.then_some(old_mode), made, crc, token: 1 };
        let rewritten = |(content, mode, made, crc)| Object { content, mode, made, crc, token: 60 };
        World {
            policy: Policy { mode, conflicts, direction: Direction::TwoWay },
            versioned,
            clock: 100,
            ancestor: in_step.then(|| Ancestor {
                fingerprint,
                // The reply to a PUT tells no token; a rewrite that leaves the ETag is then seen by the version alone.
                generation: object.generation(versioned && !adopted, !(fresh_from_put && remote_change.is_none())),
                content: (!adopted).then(|| OLD.hash()),
                nonce: None,
                open: open && !adopted,
            }),
            local: apply_local(&file, local_change),
            remote: match remote_change {
                None => Some(object),
                Some(None) => None,
                Some(Some(change)) => Some(rewritten(change)),
            },
            kept: BTreeSet::new(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

    #[test]
    fn both_sides_come_in_step_and_nothing_is_lost(
        start in world(),
        presumed in proptest::collection::vec(any::<bool>(), ACTIONS_MAX),
    ) {
        let mut world = start.clone();
        let mut actions = Vec::new();
        let mut presumed = presumed.into_iter();
        let rest = loop {
            // A hint from the local side comes first at times: the precondition proves or refutes what it presumes.
            if presumed.next() == Some(true)
                && let (Decision::Do(action), read) = world.decide(true)
                && world.act(action.clone(), read).is_ok()
            {
                actions.push(action);
            }
            match world.decide(false) {
                (Decision::Do(action), read) => {
                    actions.push(action.clone());
                    prop_assert!(world.act(action, read).is_ok(), "refused: {:#?} in {:#?}", actions, world);
                    prop_assert!(actions.len() <= ACTIONS_MAX, "{:#?} from {:#?}", actions, start);
                }
                (rest, _) => break rest,
            }
        };

        match (&world.local, &world.remote) {
            (Local::File(file), Some(object)) => {
                prop_assert_eq!(file.content, object.content);
                if let Some(wanted) = object.mode {
                    prop_assert_eq!((wanted ^ file.fingerprint.mode) & world.policy.mode.mask(), 0, "after {:#?}", actions);
                }
                prop_assert_eq!(rest, Decision::Nothing);
                prop_assert_eq!(world.decide(true).0, Decision::Nothing);
                prop_assert!(world.ancestor.is_some());
            }
            (Local::Folder, Some(_)) => prop_assert_eq!(rest, Decision::Report(Problem::FolderInTheWay)),
            (Local::Absent | Local::Folder, None) => prop_assert!(world.ancestor.is_none()),
            _ => prop_assert!(false, "not in step: {:#?}", world),
        }

        let was_in_step = |content: Content| start.ancestor.is_some() && content == OLD;
        if let Local::File(file) = &start.local {
            prop_assert!(was_in_step(file.content) || world.findable(file.content), "{:#?} from {:#?}", actions, start);
        }
        if let Some(object) = &start.remote {
            prop_assert!(was_in_step(object.content) || world.findable(object.content), "{:#?} from {:#?}", actions, start);
        }
    }
}
