//! Explains one path: gathers what both sides, the ancestor, the metadata and the trash tell of it at this moment.
//!
//! One HEAD, one stat, a few rows: nothing is read through and nothing is changed. What fails is told in the place of what
//! it would have shown. What the mirror itself has in hand is added by its core.

use std::collections::BTreeMap;

use futures_util::future::{Either, select};
use gosync_plan::decide::{Action, Decision, Problem};
use gosync_plan::why::{self, Change};
use gosync_plan::{
    Ancestor, LocalEntry, LocalFile, RelPath, RemoteEntry, RemoteObject, conflict_family, is_conflict_copy_of,
};

use crate::context::{Context, lock};
use crate::handle::TrashItem;
use crate::ignored::IgnoredBy;
use crate::look::{Failure, describe, renew_rules, stat_entry};
use crate::ports::local::Kind;
use crate::ports::metadata::{ChangeRow, FileRow};
use crate::ports::state::{JournalEntry, StateError};
use crate::ports::{LocalTree, StoreErrorKind};
use crate::sequences::trash;

/// The store is waited for this long.
const HEAD_WAIT_MS: u64 = 5_000;
/// Rows read at once.
const PAGE_ROWS: usize = 1_000;
/// Copies, trash items and paths of a folder that are named.
const NAMED_MAX: usize = 20;

/// How one path stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Synced,
    Pending,
    Busy,
    Open,
    Held,
    Diverged,
    Problem,
}

/// What a path waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    pub what: String,
    /// UTC, milliseconds since 1970; `None`: for as long as it takes.
    pub until_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct Explanation {
    /// Below the root; empty: the root itself.
    pub path: String,
    pub key: String,
    pub ancestor: Option<Ancestor>,
    pub local: LocalEntry,
    pub local_change: Change,
    pub remote: RemoteEntry,
    pub remote_change: Change,
    /// The decision's name, and its rule.
    pub decision: &'static str,
    pub why: String,
    /// What is to be done, if anything is.
    pub action: Option<Action>,
    /// `None`: there is nothing to be in step, or it is ignored.
    pub standing: Option<Standing>,
    /// Why it stands so, where the decision doesn't say it.
    pub reason: String,
    pub ignored: Option<IgnoredBy>,
    pub waits: Vec<Wait>,
    /// The ids of halts that hold it.
    pub halts: Vec<String>,
    pub file: Option<FileRow>,
    pub change: Option<ChangeRow>,
    /// Acts that were begun and are not known to have ended.
    pub journal: Vec<JournalEntry>,
    pub copy_of: Option<RelPath>,
    /// Its conflict copies here, with their bytes.
    pub copies: Vec<(RelPath, u64)>,
    pub trash: Vec<TrashItem>,
    pub folder: Option<Folder>,
    /// What could not be asked.
    pub failed: Vec<String>,
}

/// What lies below a folder, by how it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// In step, or once were.
    pub files: u64,
    pub bytes: u64,
    pub counts: BTreeMap<Standing, u64>,
    /// The first of those that are not simply in step.
    pub first: Vec<(RelPath, Standing)>,
}

/// What the stat of a path shows beside the entry.
struct Here {
    entry: LocalEntry,
    is_folder: bool,
    ignored: Option<IgnoredBy>,
    copies: Vec<(RelPath, u64)>,
    trash: Result<Vec<TrashItem>, String>,
}

/// `below`: what the mirror has in hand below the path. `look_here`: the root can be trusted.
pub async fn gather(
    context: &Context,
    path: String,
    below: BTreeMap<RelPath, Standing>,
    look_here: bool,
) -> Result<Explanation, Failure> {
    let key = format!("{}{path}", context.config.prefix.as_str());
    let mut found = Explanation {
        path: path.clone(),
        key,
        ancestor: None,
        local: LocalEntry::Unknown("not looked at: the folder is not to be trusted".to_owned()),
        local_change: Change::NotLookedAt,
        remote: RemoteEntry::Presumed,
        remote_change: Change::NotLookedAt,
        decision: why::word(&Decision::Nothing),
        why: String::new(),
        action: None,
        standing: None,
        reason: String::new(),
        ignored: None,
        waits: Vec::new(),
        halts: Vec::new(),
        file: None,
        change: None,
        journal: Vec::new(),
        copy_of: None,
        copies: Vec::new(),
        trash: Vec::new(),
        folder: None,
        failed: Vec::new(),
    };
    let name = match RelPath::new(path.as_str()) {
        Ok(name) => name,
        Err(_) if path.is_empty() => {
            found.folder = Some(folder(context, None, &below).await?);
            found.why = "the mirror's own folder".to_owned();
            return Ok(found);
        }
        Err(odd) => {
            found.remote = head(context, &found.key).await?;
            found.remote_change = why::remote_change(None, &found.remote);
            decide(context, &mut found, Some(Problem::Name { why: odd }));
            found.local = LocalEntry::Unknown("no path below the folder can be spelled so".to_owned());
            found.standing = Some(Standing::Problem);
            return Ok(found);
        }
    };
    let prefix = context.config.prefix.clone();
    found.copy_of = is_conflict_copy_of(&name);
    found.ancestor = context.ancestor(&name).await?;
    let mut is_folder = false;
    if look_here {
        let shared = std::sync::Arc::clone(&context.shared);
        let (asked, known) = (name.clone(), prefix.clone());
        let here = context
            .local(move |tree| {
                renew_rules(tree, &shared, [&asked].into_iter());
                let is_folder = tree.stat(asked.as_str()).is_ok_and(|stat| stat.kind == Kind::Folder);
                Here {
                    entry: stat_entry(tree, &asked),
                    is_folder,
                    ignored: lock(&shared.ignore).ignored_by(asked.as_str(), is_folder),
                    copies: copies(tree, &asked, |other| conflict_family(other, &known)),
                    trash: trash::list(tree).map_err(|error| describe(&error)),
                }
            })
            .await?;
        found.local = here.entry;
        is_folder = here.is_folder;
        found.ignored = here.ignored;
        found.copies = here.copies;
        match here.trash {
            Ok(items) => found.trash = trash_of(items, &name),
            Err(why) => found.failed.push(format!("the trash: {why}")),
        }
        found.local_change = why::local_change(found.ancestor.as_ref(), &found.local, context.config.policy);
    }
    found.remote = head(context, &found.key).await?;
    complete(&mut found);
    found.remote_change = why::remote_change(found.ancestor.as_ref(), &found.remote);
    let too_long = prefix.key_checked(&name).err().map(|why| Problem::Name { why });
    decide(context, &mut found, too_long);
    if let Some(by) = &found.ignored {
        let file = by.file.as_deref().unwrap_or("the configuration");
        found.why = format!("ignored by the rule `{}` of {file}: it is looked at on neither side", by.pattern);
        (found.decision, found.action, found.standing) = (why::word(&Decision::Nothing), None, None);
    }
    let store = context.identity().store;
    match last_change(context, store, &found.key).await {
        Ok((file, change)) => (found.file, found.change) = (file, change),
        Err(error) => found.failed.push(format!("the last change: {}", describe(&error))),
    }
    match context.ports.state.journal().await {
        Ok(entries) => found.journal = entries.into_iter().filter(|entry| entry.path == name).collect(),
        Err(error) => found.failed.push(format!("the journal: {}", describe(&error))),
    }
    let below = folder(context, Some(&name), &below).await?;
    if is_folder || below.files > 0 || !below.counts.is_empty() {
        found.folder = Some(below);
    }
    Ok(found)
}

/// What the mirror would conclude from these facts, and how the path stands by them alone.
fn decide(context: &Context, found: &mut Explanation, problem: Option<Problem>) {
    let policy = context.config.policy;
    let decision = match problem {
        Some(problem) => Decision::Report(problem),
        None if found.local_change == Change::NotLookedAt => Decision::Nothing,
        None => policy.decide(found.ancestor.as_ref(), &found.local, &found.remote),
    };
    found.decision = why::word(&decision);
    found.why = match found.local_change {
        Change::NotLookedAt if !matches!(decision, Decision::Report(_)) => {
            "nothing is concluded while the folder is not to be trusted".to_owned()
        }
        _ => why::why(policy, found.ancestor.as_ref(), &found.local, &found.remote, &decision),
    };
    found.standing = match &decision {
        Decision::Nothing => found.ancestor.is_some().then_some(Standing::Synced),
        // Noting it is all that is left.
        Decision::Do(Action::Record { .. } | Action::Forget) if found.ancestor.is_some() => Some(Standing::Synced),
        Decision::Do(_) | Decision::Look(_) => Some(Standing::Pending),
        Decision::Report(Problem::Diverged { .. }) => Some(Standing::Diverged),
        Decision::Report(_) => Some(Standing::Problem),
    };
    found.action = match decision {
        Decision::Do(action) => Some(action),
        _ => None,
    };
}

/// A content that the ancestor knows is known of the sides that still have it.
fn complete(found: &mut Explanation) {
    let Some(ancestor) = &found.ancestor else { return };
    if let RemoteEntry::Object(object) = &mut found.remote
        && object.generation.same(&ancestor.generation)
    {
        object.content = object.content.or(ancestor.content);
    }
    if let (LocalEntry::File(LocalFile { fingerprint, digests }), Some(content)) = (&mut found.local, ancestor.content)
        && *fingerprint == ancestor.fingerprint
        && !ancestor.open
    {
        *digests = digests.or(Some(gosync_plan::Digests::of_hash(content, fingerprint.size)));
    }
}

/// HEAD as an entry, with an end to the waiting.
async fn head(context: &Context, key: &str) -> Result<RemoteEntry, Failure> {
    let wait = context.ports.clock.sleep_ms(HEAD_WAIT_MS);
    let answer = match select(context.ports.store.head(key), Box::pin(wait)).await {
        Either::Left((answer, _)) => answer,
        Either::Right(_) => {
            return Ok(RemoteEntry::Unknown(format!("the store has not answered within {} s", HEAD_WAIT_MS / 1_000)));
        }
    };
    match answer {
        Ok(None) => Ok(RemoteEntry::Absent),
        Ok(Some(head)) if head.archived => Ok(RemoteEntry::Unknown("the object is archived".to_owned())),
        Ok(Some(head)) => Ok(RemoteEntry::Object(RemoteObject {
            generation: head.generation,
            content: None,
            facts: Some(head.facts),
        })),
        Err(error) if error.kind == StoreErrorKind::Killed => Err(Failure::Killed),
        Err(error) => Ok(RemoteEntry::Unknown(describe(&error))),
    }
}

/// The row of the key, and of its latest change.
async fn last_change(
    context: &Context,
    store: Option<i64>,
    key: &str,
) -> Result<(Option<FileRow>, Option<ChangeRow>), StateError> {
    let Some(store) = store else { return Ok((None, None)) };
    let metadata = &context.ports.metadata;
    let file = metadata.file_by_key(store, key).await?.filter(|file| !file.is_directory);
    let change = match &file {
        Some(file) => metadata.change(store, file.seq).await?,
        None => None,
    };
    Ok((file, change))
}

/// Conflict copies of `path` that lie beside it.
fn copies(tree: &dyn LocalTree, path: &RelPath, family: impl Fn(&RelPath) -> RelPath) -> Vec<(RelPath, u64)> {
    let folder = path.parent().map(String::from).unwrap_or_default();
    let family = family(path);
    let names = tree.read_folder(&folder).unwrap_or_default().into_iter().filter_map(|entry| entry.name.ok());
    let mut copies: Vec<RelPath> = names
        .filter_map(|name| path.with_file_name(&name).ok())
        .filter(|name| name != path && is_conflict_copy_of(name).as_ref() == Some(&family))
        .collect();
    copies.sort_by(|a, b| b.cmp(a));
    copies.truncate(NAMED_MAX);
    let bytes = |name: &RelPath| tree.stat(name.as_str()).map_or(0, |stat| stat.fingerprint.size);
    copies.into_iter().map(|name| (name.clone(), bytes(&name))).collect()
}

/// The newest contents of the path, or of a folder, first.
fn trash_of(items: Vec<TrashItem>, path: &RelPath) -> Vec<TrashItem> {
    let is_of = |item: &TrashItem| {
        item.path.strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    items.into_iter().rev().filter(is_of).take(NAMED_MAX).collect()
}

/// What is known below a folder (`None`: the root), with what the mirror has in hand there.
async fn folder(
    context: &Context,
    folder: Option<&RelPath>,
    in_hand: &BTreeMap<RelPath, Standing>,
) -> Result<Folder, Failure> {
    let mut summary = Folder::default();
    let mut synced = 0;
    let mut after: Option<RelPath> = None;
    loop {
        let rows = match folder {
            Some(folder) => context.ports.state.ancestors_below(folder, after.as_ref(), PAGE_ROWS).await?,
            None => context.ports.state.ancestors_after(after.as_ref(), PAGE_ROWS).await?,
        };
        let Some((last, _)) = rows.last() else { break };
        after = Some(last.clone());
        for (path, ancestor) in rows {
            summary.files += 1;
            summary.bytes += ancestor.fingerprint.size;
            synced += u64::from(!in_hand.contains_key(&path));
        }
    }
    if synced > 0 {
        summary.counts.insert(Standing::Synced, synced);
    }
    for standing in in_hand.values() {
        *summary.counts.entry(*standing).or_default() += 1;
    }
    summary.first = in_hand.iter().take(NAMED_MAX).map(|(path, standing)| (path.clone(), *standing)).collect();
    Ok(summary)
}
