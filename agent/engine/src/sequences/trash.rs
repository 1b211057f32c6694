//! The trash of a root (R7): `.gosync/trash/<utc-date>/<original path>~<8 hex>`, the digits being the operation's, so that
//! no two items meet; or, where a name has no room for them, `.gosync/trash/<utc-date>/~<8 hex>/<original path>`. Either way
//! the original path can be read off an item, and no index can be lost.

use gosync_plan::conflict::{ConflictTag, free_conflict_name};
use gosync_plan::{Nonce, Prefix, RelPath};

use super::download::has_room;
use super::place::{make_folders, move_new, parent};
use super::{displaced, displaced_path};
use crate::config::Limits;
use crate::context::{Context, TRASH};
use crate::crash::{self, CrashPoint};
use crate::handle::{CommandError, TrashItem};
use crate::look::Failure;
use crate::ports::local::Kind;
use crate::ports::state::Displaced;
use crate::ports::{LocalTree, Stat, TreeError, TreeErrorKind};

/// Where something is put in the trash.
#[derive(Clone, Debug)]
pub struct TrashName {
    date: String,
    path: String,
}

impl TrashName {
    /// The operation makes the name its own, so that nothing in the trash is ever replaced.
    #[must_use]
    pub fn new(date: &str, path: &RelPath, operation: Nonce) -> Self {
        let (path, digits) = (path.as_str(), &operation.to_hex()[..8]);
        let name = path.rfind('/').map_or(path, |cut| &path[cut + 1..]);
        let is_too_long = name.len() + 1 + digits.len() > gosync_plan::names::COMPONENT_BYTES_MAX;
        // What begins like a folder of ours is not to be taken for one.
        let path = if is_too_long || path.split('/').next().is_some_and(is_own_folder) {
            format!("~{digits}/{path}")
        } else {
            format!("{path}~{digits}")
        };
        Self { date: date.to_owned(), path }
    }

    #[must_use]
    pub fn path(&self) -> String {
        format!("{TRASH}/{}", self.item())
    }

    /// How `list` and `restore` call it.
    fn item(&self) -> String {
        format!("{}/{}", self.date, self.path)
    }

    #[must_use]
    pub fn folder(&self) -> String {
        let path = self.path();
        path.rfind('/').map_or_else(String::new, |cut| path[..cut].to_owned())
    }
}

/// `~` and the digits of an operation.
fn is_own_folder(name: &str) -> bool {
    name.strip_prefix('~').is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The original path of a trash item.
fn original(item: &str) -> &str {
    let path = item.find('/').map_or(item, |cut| &item[cut + 1..]);
    if let Some((folder, original)) = path.split_once('/')
        && is_own_folder(folder)
    {
        return original;
    }
    match path.rfind('~') {
        Some(cut) if is_own_folder(&path[cut..]) => &path[..cut],
        _ => path,
    }
}

/// Moves what stands at `from` into the trash; false when something of that name is there already.
pub fn move_to_trash(tree: &dyn LocalTree, from: &str, name: &TrashName) -> Result<bool, TreeError> {
    let mut folder = TRASH.to_owned();
    make_folder(tree, &folder)?;
    for part in name.folder()[TRASH.len()..].split('/').filter(|part| !part.is_empty()) {
        folder = format!("{folder}/{part}");
        make_folder(tree, &folder)?;
    }
    let to = name.path();
    match move_new(tree, from, &to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind == TreeErrorKind::Exists => Ok(false),
        Err(error) => Err(error),
    }
}

fn make_folder(tree: &dyn LocalTree, folder: &str) -> Result<(), TreeError> {
    match tree.make_folder(folder) {
        Err(error) if error.kind == TreeErrorKind::Exists => Ok(()),
        result => result,
    }
}

/// Contents that wait in another place until nobody can write to them any more: the trash gets them then.
struct OnTheWay {
    id: Nonce,
    path: RelPath,
    displaced: Displaced,
    began_ms: i64,
}

impl OnTheWay {
    /// How it is called here, now and when it has come.
    fn item(&self, date: &str) -> String {
        TrashName::new(date, &self.path, self.id).item()
    }

    fn stands(&self, tree: &dyn LocalTree) -> Option<Stat> {
        displaced::stands_alone(tree, self.id, &self.displaced)
    }
}

async fn on_the_way(context: &Context) -> Result<Vec<OnTheWay>, Failure> {
    let mut found = Vec::new();
    for entry in context.ports.state.journal().await? {
        if let Some(displaced) = displaced::bound_for_trash(context, &entry).cloned() {
            found.push(OnTheWay { id: entry.id, path: entry.path, displaced, began_ms: entry.began_ms });
        }
    }
    Ok(found)
}

/// Everything in the trash and on its way there, the oldest first.
pub async fn list_with_coming(context: &Context) -> Result<Vec<TrashItem>, Failure> {
    let (coming, date) = (on_the_way(context).await?, context.utc_date());
    let listed = move |tree: &dyn LocalTree| -> Result<Vec<TrashItem>, TreeError> {
        let stands = |one: OnTheWay| {
            let bytes = one.stands(tree)?.fingerprint.size;
            let (item, path) = (one.item(&date), one.path.as_str().to_owned());
            Some(TrashItem { item, path, bytes, trashed_ms: one.began_ms })
        };
        let mut coming: Vec<TrashItem> = coming.into_iter().filter_map(stands).collect();
        // Looked at in this order, none is missed that comes meanwhile.
        let mut items = list(tree)?;
        coming.retain(|one| !items.iter().any(|item| item.item == one.item));
        items.append(&mut coming);
        items.sort_by_key(|item| item.trashed_ms);
        Ok(items)
    };
    Ok(context.local(listed).await??)
}

/// Everything in the trash, the oldest first.
pub fn list(tree: &dyn LocalTree) -> Result<Vec<TrashItem>, TreeError> {
    let mut items = Vec::new();
    let mut folders = vec![TRASH.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match tree.read_folder(&folder) {
            Err(error) if error.is_not_found() => continue,
            result => result?,
        };
        for name in entries.into_iter().filter_map(|entry| entry.name.ok()) {
            let path = format!("{folder}/{name}");
            match tree.stat(&path) {
                Ok(stat) if stat.kind == Kind::Folder => folders.push(path),
                Ok(stat) => {
                    let item = path[TRASH.len() + 1..].to_owned();
                    items.push(TrashItem {
                        path: original(&item).to_owned(),
                        item,
                        bytes: stat.fingerprint.size,
                        trashed_ms: trashed_ms(&path, stat.fingerprint.ctime_ns.div_euclid(1_000_000)),
                    });
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    items.sort_by(|a, b| a.trashed_ms.cmp(&b.trashed_ms).then_with(|| a.item.cmp(&b.item)));
    Ok(items)
}

/// The move into the trash moved ctime. So does whoever changes owners or modes of the whole tree later (a kubelet at each
/// mount); the folder's name tells the day on which it came.
fn trashed_ms(path: &str, ctime_ms: i64) -> i64 {
    let day = path[TRASH.len() + 1..].split('/').next().and_then(|day| day.parse::<jiff::civil::Date>().ok());
    let ends = day.and_then(|day| day.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok());
    ends.map_or(ctime_ms, |ends| ctime_ms.min(ends.timestamp().as_millisecond()))
}

/// Puts an item back at its path, or beside it where that is taken. Returns the path.
pub async fn restore(context: &Context, item: String) -> Result<RelPath, CommandError> {
    put_back(context, item.clone()).await.map_err(|failure| match failure {
        Failure::Killed => CommandError {
            code: "stopping",
            message: "the agent is stopping".to_owned(),
            hint: "try again when it runs".to_owned(),
        },
        failure => CommandError {
            code: "not-restored",
            message: format!("{item} was not restored: {}", failure.describe()),
            hint: "`gosync sync trash list` shows what can be restored, spelled as `restore` wants it".to_owned(),
        },
    })
}

async fn put_back(context: &Context, item: String) -> Result<RelPath, Failure> {
    let place = FreePlace::of(context);
    let coming = on_the_way(context).await?;
    let restored = move |tree: &dyn LocalTree| -> Result<RelPath, TreeError> {
        let in_trash = format!("{TRASH}/{item}");
        let no_item = || TreeError::new(TreeErrorKind::NotFound, "restore", in_trash.as_str());
        if item.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(no_item());
        }
        let path = RelPath::new(original(&item)).map_err(|_| no_item())?;
        let date = item.split('/').next().unwrap_or_default();
        let from = match coming.iter().find(|one| one.item(date) == item && one.stands(tree).is_some()) {
            Some(one) => displaced_path(one.id),
            None if tree.stat(&in_trash)?.kind == Kind::File => in_trash,
            None => return Err(no_item()),
        };
        place.put(tree, &from, path)
    };
    Ok(context.local(restored).await??)
}

/// Where a content comes back to that somebody asked for.
pub(super) struct FreePlace {
    tag: ConflictTag,
    prefix: Prefix,
}

impl FreePlace {
    pub(super) fn of(context: &Context) -> Self {
        Self { tag: context.conflict_tag(), prefix: context.config.prefix.clone() }
    }

    /// Puts what stands at `from` at `path`, or beside it where that is taken. Returns the path.
    pub(super) fn put(&self, tree: &dyn LocalTree, from: &str, path: RelPath) -> Result<RelPath, TreeError> {
        let mut folders = make_folders(tree, &path)?;
        let path = match move_new(tree, from, path.as_str()) {
            Err(error) if error.kind == TreeErrorKind::Exists => {
                let taken = |name: &RelPath| tree.stat(name.as_str()).is_ok();
                let free = free_conflict_name(&path, &self.tag, &self.prefix, taken).ok_or(error)?;
                move_new(tree, from, free.as_str())?;
                free
            }
            result => result.map(|()| path)?,
        };
        crash::reached(CrashPoint::TrashRestored);
        folders.push(parent(&path));
        for folder in folders {
            tree.sync_folder(&folder)?;
        }
        Ok(path)
    }
}

/// What is evicted beyond what is too old or too much.
#[derive(Clone, Copy, Debug, Default)]
pub struct Eviction {
    /// A download of so many bytes found no room: what is older than a day goes until it has, the oldest first.
    pub room_for_bytes: u64,
    /// A person approved that younger ones go, too.
    pub young: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Enough,
    /// There would be if younger items went as well.
    WithYoung,
    /// All of the trash is not enough: nothing goes in vain.
    Never,
}

#[derive(Clone, Copy, Debug)]
pub struct Evicted {
    /// What is left.
    pub files: u64,
    pub bytes: u64,
    pub asked_bytes: u64,
    pub room: Room,
}

/// Evicts what is older than the trash's age, and the oldest beyond its size; nothing younger than a day for size.
/// `items` is all of it, the oldest first; `spared` may still be written to.
pub fn evict(
    tree: &dyn LocalTree,
    items: &[TrashItem],
    spared: &[String],
    now_ms: i64,
    limits: &Limits,
    wanted: Eviction,
) -> Result<Evicted, TreeError> {
    const DAY_MS: i64 = 24 * 3_600_000;
    let asked_bytes = wanted.room_for_bytes;
    let has_room_with = |freed: u64| -> Result<bool, TreeError> {
        Ok(asked_bytes == 0 || has_room(tree, limits, asked_bytes.saturating_sub(freed))?)
    };
    let age_ms = |item: &TrashItem| now_ms.saturating_sub(item.trashed_ms);
    let may_go = |item: &TrashItem| age_ms(item) > DAY_MS || wanted.young;
    let mut bytes: u64 = items.iter().map(|item| item.bytes).sum();
    let mut files = items.len() as u64;
    let room = if has_room_with(items.iter().filter(|item| may_go(item)).map(|item| item.bytes).sum())? {
        Room::Enough
    } else if has_room_with(bytes)? {
        Room::WithYoung
    } else {
        Room::Never
    };
    for item in items {
        let path = format!("{TRASH}/{}", item.item);
        let too_old = age_ms(item) > i64::try_from(limits.trash_age_ms).unwrap_or(i64::MAX);
        let for_size = bytes > limits.trash_bytes && age_ms(item) > DAY_MS;
        let for_room = room == Room::Enough && may_go(item) && !has_room_with(0)?;
        if (too_old || for_size || for_room) && !spared.contains(&path) {
            tree.unlink(&path)?;
            bytes = bytes.saturating_sub(item.bytes);
            files -= 1;
            let mut folder = path.as_str();
            while let Some(cut) = folder.rfind('/') {
                folder = &folder[..cut];
                if folder == TRASH || tree.remove_folder(folder).is_err() {
                    break;
                }
            }
        }
    }
    // What was spared goes at the next turn.
    let room = if room == Room::Enough && !has_room_with(0)? { Room::WithYoung } else { room };
    Ok(Evicted { files, bytes, asked_bytes, room })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    #[test]
    fn a_change_of_owner_makes_no_item_young_again() {
        const DAY_MS: i64 = 24 * 3_600_000;
        let second_day_ends = 2 * DAY_MS;
        assert_eq!(trashed_ms(".gosync/trash/1970-01-02/a", DAY_MS + 5), DAY_MS + 5);
        assert_eq!(trashed_ms(".gosync/trash/1970-01-02/a", 50 * DAY_MS), second_day_ends);
        assert_eq!(trashed_ms(".gosync/trash/of somebody/a", 50 * DAY_MS), 50 * DAY_MS);
    }

    #[test]
    fn the_original_path_can_be_read_off_every_item() {
        let longest = "n".repeat(255);
        for path in ["a", "d/e.txt", "~12345678/x", "d/~12345678", "x~12345678", &longest, &format!("d/{longest}")] {
            let name = TrashName::new("2026-01-02", &RelPath::new(path).unwrap(), Nonce([7; 16]));
            assert_eq!(original(name.path().strip_prefix(TRASH).unwrap().trim_start_matches('/')), path);
            assert!(name.path().split('/').all(|part| part.len() <= 255), "{path}");
        }
    }
}
