//! Deletes are held until their burst ends, and counted over a window before the first is done (R14).

use std::collections::{BTreeMap, BTreeSet};

use gosync_plan::decide::Action;
use gosync_plan::guard::too_many_deletes;
use gosync_plan::{DeleteLimits, Generation, GuardVerdict, RelPath};
use serde::{Deserialize, Serialize};

use super::dirty::below;
use crate::ports::state::StateChange;
use crate::sequences::Task;
use crate::sweep::Scope;

/// The note that holds the window; what was executed in it is in further ones, see [`Window::note`].
pub const NOTE_WINDOW: &str = "delete-window";

/// Whoever has to wait is asked about again after this.
const WAIT_MS: u64 = 200;
/// What is held for long is announced again after this: it is as true as before, and others may have done something else.
const ANNOUNCED_MS: u64 = 30_000;
/// Executed deletes that are remembered by name, for `deny`.
const EXECUTED_MAX: usize = 10_000;

/// What was deleted in the current window. Kept over restarts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Window {
    /// milliseconds since 1970 of this host
    pub began_ms: i64,
    /// Ancestor rows at its start.
    pub ancestors: u64,
    /// Counted deletes (moved and approved ones are not).
    pub executed: u64,
    /// Notes that name the executed ones.
    #[serde(default)]
    notes: u32,
    /// What others who share the metadata deleted meanwhile, by who it was.
    #[serde(default)]
    elsewhere: BTreeMap<String, u64>,
}

impl Window {
    /// The names of the notes that hold lists of [`Executed`].
    pub fn notes(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.notes).map(Self::note)
    }

    fn note(number: u32) -> String {
        format!("{NOTE_WINDOW}-{number}")
    }
}

/// A delete that was done in the current window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Executed {
    pub path: RelPath,
    /// The object that was deleted; `None`: the file was moved to the trash.
    pub object: Option<Generation>,
}

struct Held {
    task: Task,
    /// Not before this, whatever the burst does.
    not_before_ms: u64,
    /// The sweep that found it last, or during which it was.
    sweep: u64,
}

fn is_object(held: &Held) -> bool {
    matches!(held.task.operation.action, Action::DeleteObject { .. })
}

#[derive(Default)]
pub struct Deletes {
    held: BTreeMap<RelPath, Held>,
    /// What a person let go by name: it counts for no guard, however often it is planned before it is done.
    approved: BTreeSet<RelPath>,
    /// Held ones that were something else at the next look: what stood there then came while a person was asked.
    undone: BTreeSet<RelPath>,
    /// Objects whose delete was let go and has not ended yet.
    going: BTreeSet<RelPath>,
    first_ms: u64,
    last_ms: u64,
    /// No held delete may go before this.
    earliest_ms: u64,
    pub window: Window,
    executed: Vec<Executed>,
    /// So many of `executed` are in notes already.
    noted: usize,
    /// Of a window that is over.
    notes_to_drop: Vec<String>,
    announced: Announced,
}

/// What those who share the metadata tell each other of the deletes that they have sent or are about to send: many who
/// delete at the same time are counted as one.
#[derive(Default)]
struct Announced {
    /// What was told last, and when.
    told: Option<(u64, u64)>,
    is_telling: bool,
    /// What the others told by then.
    elsewhere: BTreeMap<String, u64>,
}

impl Deletes {
    /// What the last run left.
    pub fn restore(&mut self, window: Window, executed: Vec<Executed>) {
        self.window = window;
        self.noted = executed.len();
        self.executed = executed;
    }

    pub fn hold(&mut self, task: Task, now_ms: u64, not_before_ms: u64, sweep: u64) {
        if self.held.is_empty() {
            self.first_ms = now_ms;
            self.earliest_ms = not_before_ms;
            self.undone.clear();
        }
        let known = self.held.get(&task.operation.path).map(|held| held.not_before_ms);
        if known.is_none() {
            self.last_ms = now_ms;
        }
        let not_before_ms = known.unwrap_or(not_before_ms);
        self.earliest_ms = self.earliest_ms.min(not_before_ms);
        self.held.insert(task.operation.path.clone(), Held { task, not_before_ms, sweep });
    }

    /// The path is looked at anew: what was planned for it is void.
    pub fn release(&mut self, path: &RelPath, now_ms: u64) {
        self.approved.remove(path);
        if self.held.remove(path).is_some() {
            self.undone.insert(path.clone());
            // Where one is undone, others may be about to.
            self.last_ms = now_ms;
        }
    }

    /// Held ones that this complete sweep would have found and did not: there is something to them that has changed.
    pub fn not_found_by(&self, sweep: u64, scope: Scope) -> Vec<RelPath> {
        let covered = |action: &Action| match scope {
            Scope::Full => true,
            Scope::Remote => matches!(action, Action::TrashLocal { .. }),
            Scope::Local => matches!(action, Action::DeleteObject { .. }),
        };
        let gone = |held: &Held| held.sweep < sweep && covered(&held.task.operation.action);
        self.held.iter().filter(|(_, held)| gone(held)).map(|(path, _)| path.clone()).collect()
    }

    /// What is held now may go, and nothing that comes later.
    pub fn approve_held(&mut self) {
        self.approved.extend(self.held.keys().cloned());
    }

    /// The content of this one stands under another path.
    pub fn is_moved(&mut self, path: &RelPath) {
        if let Some(held) = self.held.get_mut(path) {
            held.task.operation.moved = true;
        }
    }

    /// What is held waits as if it had come now.
    pub fn begin_burst(&mut self, now_ms: u64) {
        (self.first_ms, self.last_ms) = (now_ms, now_ms);
    }

    /// When the first of the held ones came.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<u64> {
        (!self.held.is_empty()).then_some(self.first_ms)
    }

    /// When one was last held or released.
    #[must_use]
    pub fn changed_ms(&self) -> u64 {
        self.last_ms
    }

    pub fn take_undone(&mut self) -> BTreeSet<RelPath> {
        std::mem::take(&mut self.undone)
    }

    pub fn clear(&mut self) {
        self.approved.clear();
        self.held.clear();
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    pub fn paths(&self) -> impl Iterator<Item = &RelPath> {
        self.held.keys()
    }

    /// Whether an object is still to be deleted that stands below `path`, or where a folder above it has to be.
    #[must_use]
    pub fn stand_in_the_way_of(&self, path: &RelPath) -> bool {
        if path.ancestors().any(|folder| self.going.contains(&folder) || self.held.get(&folder).is_some_and(is_object))
        {
            return true;
        }
        below(&self.held, path).any(|(_, held)| is_object(held))
    }

    /// Whether something else below `folder` is still to be deleted.
    #[must_use]
    pub fn holds_below(&self, folder: &RelPath, but: &RelPath) -> bool {
        below(&self.held, folder).any(|(path, _)| path != but)
            || self.going.iter().any(|path| path != but && path.is_below(folder))
    }

    /// It was let go, and is done or won't be.
    pub fn ended(&mut self, path: &RelPath) {
        self.going.remove(path);
        self.approved.remove(path);
    }

    #[must_use]
    pub fn holds(&self, path: &RelPath) -> bool {
        self.held.contains_key(path)
    }

    /// Deletes that count for the guard.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.held.iter().filter(|entry| self.counts(entry)).count() as u64
    }

    fn counts(&self, (path, held): &(&RelPath, &Held)) -> bool {
        !held.task.operation.moved && !self.approved.contains(*path) && !path.is_marker()
    }

    /// Deletes of contents that stand under another path.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.held.values().filter(|held| held.task.operation.moved).count() as u64
    }

    /// When the burst ends, if none comes.
    #[must_use]
    pub fn burst_ends_ms(&self, quiet_ms: u64, max_ms: u64) -> Option<u64> {
        if self.held.is_empty() {
            return None;
        }
        let burst = (self.last_ms + quiet_ms).min(self.first_ms + max_ms);
        Some(burst.max(self.earliest_ms))
    }

    /// Starts a new window when the old one is over, or when nothing was deleted in it yet.
    pub fn roll(&mut self, now_utc_ms: i64, ancestors: u64, window_ms: u64) {
        let age = now_utc_ms.saturating_sub(self.window.began_ms);
        let over = !(0..i64::try_from(window_ms).unwrap_or(i64::MAX)).contains(&age);
        if over || (self.window.executed == 0 && self.window.elsewhere.is_empty()) {
            self.begin_window(now_utc_ms, ancestors);
        }
        // A tree that has grown since may lose more before it is a lot.
        self.window.ancestors = self.window.ancestors.max(ancestors);
    }

    pub fn begin_window(&mut self, now_utc_ms: i64, ancestors: u64) {
        self.forget_executed();
        self.window = Window { began_ms: now_utc_ms, ancestors, ..Window::default() };
    }

    fn forget_executed(&mut self) {
        self.notes_to_drop.extend(self.window.notes());
        self.window.notes = 0;
        self.executed.clear();
        self.noted = 0;
    }

    /// What a restart has to know of all this.
    pub fn save(&mut self) -> Vec<StateChange> {
        let mut changes: Vec<StateChange> = self.notes_to_drop.drain(..).map(StateChange::DropNote).collect();
        if let Some(fresh) = self.executed.get(self.noted..).filter(|fresh| !fresh.is_empty())
            && let Ok(note) = serde_json::to_string(fresh)
        {
            changes.push(StateChange::PutNote(Window::note(self.window.notes), note));
            self.window.notes += 1;
            self.noted = self.executed.len();
        }
        if let Ok(note) = serde_json::to_string(&self.window) {
            changes.push(StateChange::PutNote(NOTE_WINDOW.to_owned(), note));
        }
        changes
    }

    /// Somebody else has deleted one; its own guard let it pass.
    pub fn done_elsewhere(&mut self, client: &str) {
        *self.window.elsewhere.entry(client.to_owned()).or_default() += 1;
    }

    /// Deletes of this window, here and elsewhere. Who has done more than a guard lets pass was told to by a person.
    #[must_use]
    pub fn done(&self, limits: DeleteLimits) -> u64 {
        let Window { ancestors, executed, elsewhere, .. } = &self.window;
        let mut others = elsewhere.clone();
        for (client, announced) in &self.announced.elsewhere {
            // What was announced is seen in the feed when it is done.
            let done = others.entry(client.clone()).or_default();
            *done = (*done).max(*announced);
        }
        let unasked = |count: &&u64| too_many_deletes(limits, *ancestors, 0, **count) == GuardVerdict::Pass;
        executed + others.values().filter(unasked).sum::<u64>()
    }

    /// Objects that were deleted in this window or are about to be, and count: what came to nobody's folder but this one's
    /// is told to the others, what the bucket lost they see themselves.
    fn to_be_told(&self) -> u64 {
        let executed = self.executed.iter().filter(|executed| executed.object.is_some() && !executed.path.is_marker());
        (executed.count() + self.held.iter().filter(|entry| self.counts(entry) && is_object(entry.1)).count()) as u64
    }

    /// What the others are to be told now, unless they know it or are being told.
    pub fn announce(&mut self, now_ms: u64) -> Option<u64> {
        let deletes = self.to_be_told();
        let is_known = match self.announced.told {
            Some((told, at_ms)) => told == deletes && (deletes == 0 || now_ms < at_ms + ANNOUNCED_MS),
            None => deletes == 0,
        };
        if is_known || self.announced.is_telling {
            return None;
        }
        self.announced.is_telling = true;
        self.announced.told = Some((deletes, now_ms));
        Some(deletes)
    }

    #[must_use]
    pub fn is_announcing(&self) -> bool {
        self.announced.is_telling
    }

    /// The others know; `None`: they could not be told.
    pub fn announced(&mut self, elsewhere: Option<BTreeMap<String, u64>>) {
        self.announced.is_telling = false;
        if let Some(elsewhere) = elsewhere {
            self.announced.elsewhere = elsewhere;
        }
    }

    #[must_use]
    pub fn verdict(&self, limits: DeleteLimits) -> GuardVerdict {
        too_many_deletes(limits, self.window.ancestors, self.done(limits), self.counted())
    }

    /// The held deletes that may go now; counted unless `approved`. Those that have to wait are asked about again in a while.
    pub fn take(&mut self, now_ms: u64, approved: bool, has_to_wait: impl Fn(&Task) -> bool) -> Vec<Task> {
        self.undone.clear();
        let mut ready: Vec<RelPath> = Vec::new();
        for (path, held) in &mut self.held {
            if held.not_before_ms > now_ms {
                continue;
            }
            if has_to_wait(&held.task) {
                held.not_before_ms = now_ms + WAIT_MS;
            } else {
                ready.push(path.clone());
            }
        }
        let mut tasks = Vec::with_capacity(ready.len());
        // The deepest first, so that folders that become empty can go.
        for path in ready.into_iter().rev() {
            let Some(held) = self.held.remove(&path) else { continue };
            let was_approved = approved || self.approved.contains(&path);
            if !was_approved && !held.task.operation.moved {
                self.window.executed += u64::from(!path.is_marker());
                if self.executed.len() < EXECUTED_MAX {
                    let object = match &held.task.operation.action {
                        Action::DeleteObject { remote } => Some(remote.clone()),
                        _ => None,
                    };
                    self.executed.push(Executed { path, object });
                }
            }
            if is_object(&held) {
                self.going.insert(held.task.operation.path.clone());
            }
            tasks.push(held.task);
        }
        self.earliest_ms = self.held.values().map(|held| held.not_before_ms).min().unwrap_or(0);
        tasks
    }

    /// It was let go and not done after all.
    pub fn not_done(&mut self, path: &RelPath) {
        if let Some(at) = self.executed.iter().rposition(|executed| executed.path == *path) {
            self.executed.remove(at);
            self.noted -= usize::from(at < self.noted);
            self.window.executed = self.window.executed.saturating_sub(u64::from(!path.is_marker()));
        }
    }

    /// What was done in this window and can be brought back; from now on it doesn't count any more.
    pub fn take_executed(&mut self) -> Vec<Executed> {
        let executed = std::mem::take(&mut self.executed);
        self.forget_executed();
        self.window.executed = 0;
        self.window.elsewhere.clear();
        self.announced.elsewhere.clear();
        executed
    }
}
