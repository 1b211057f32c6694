//! What a cycle would do now (R25): a core of its own stands as the mirror's does, is fed what a sweep finds, and nobody runs
//! its effects. So the guards, the moves and the order are the very ones of the real run, and nothing is changed.
//!
//! Both sides are looked at; contents are read where only that tells. Memory is bounded as that of a sweep is, and by the
//! number of operations that are to be named.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_channel::{mpsc, oneshot};
use futures_util::{StreamExt as _, join};
use gosync_plan::decide::{Action, Decision};
use gosync_plan::why::{action_word, why};
use gosync_plan::{GuardVerdict, HaltReason, RelPath};

use super::core::{Core, InHand, Stage, is_of_the_root, task_bytes};
use super::effect::Effect;
use crate::config::MirrorConfig;
use crate::context::Context;
use crate::handle::CommandError;
use crate::look::{Candidate, Failure, Looked, look};
use crate::ports::Ports;
use crate::ports::observer::{Event as Told, Observer};
use crate::ports::state::HaltRow;
use crate::sequences::Task;
use crate::sweep::{Found, Scope, survey, sweep};

/// Problems that are named.
const PROBLEMS_MAX: usize = 1_000;

pub type Reply = oneshot::Sender<Result<Box<PlanDraft>, CommandError>>;

/// What a cycle would do.
#[derive(Clone, Debug, Default)]
pub struct PlanDraft {
    /// In the order in which they would begin, the first of them. What is only noted here is counted alone.
    pub steps: Vec<Step>,
    /// By the action's name: how many, and their bytes. What waits is not among them.
    pub totals: BTreeMap<&'static str, (u64, u64)>,
    /// By the halt that holds them.
    pub waiting: BTreeMap<HaltReason, u64>,
    pub steps_left_out: u64,
    /// Left alone: path (or raw key) and reason.
    pub problems: Vec<(String, String)>,
    pub problems_left_out: u64,
    /// Halts that stand, or would: a person would be asked.
    pub halts: Vec<HaltRow>,
    /// Paths that are being looked at or carried over at this moment.
    pub under_way: u64,
    /// Files that are in step.
    pub ancestors: u64,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub path: RelPath,
    pub action: &'static str,
    pub bytes: u64,
    /// The content that a delete takes away stands under another path.
    pub moved: bool,
    pub why: String,
    pub waits_for: Option<HaltReason>,
}

/// Nobody is told of what is only planned.
struct Mute;

impl Observer for Mute {
    fn observe(&self, _: &Told) {}
}

fn muted(context: &Context) -> Context {
    let ports = Ports { observer: Arc::new(Mute), ..context.ports.clone() };
    Context { ports, ..context.clone() }
}

/// The plan of a mirror that isn't there yet. The ports' state is empty, and nothing is written to any of them.
pub async fn plan_first_run(
    config: MirrorConfig,
    ports: Ports,
    steps_max: usize,
) -> Result<Box<PlanDraft>, CommandError> {
    let context = muted(&Context::new(config, ports));
    let mut core = Core::new(context);
    core.stage = Stage::Running;
    draw_up(core, steps_max, true).await
}

/// Sweeps, feeds the core, and reads what it would do.
pub(super) async fn draw_up(
    mut core: Core,
    steps_max: usize,
    is_first_run: bool,
) -> Result<Box<PlanDraft>, CommandError> {
    let context = core.context.clone();
    let mut draft = PlanDraft { under_way: core.in_hand.len() as u64, ..PlanDraft::default() };
    let in_hand: HashSet<RelPath> = core.in_hand.keys().cloned().collect();
    let (out, mut found) = mpsc::channel(0);
    let sweeping = async {
        if is_first_run {
            context.sweep_begins();
            survey(&context, Scope::Full, out).await
        } else {
            sweep(&context, Scope::Full, out).await
        }
    };
    let taking = async {
        while let Some(batch) = found.next().await {
            core.take_batch(&context, batch, &mut draft, steps_max).await;
            core.in_hand.retain(|path, _| in_hand.contains(path));
        }
    };
    let (swept, ()) = join!(sweeping, taking);
    if let Some(failure) = &swept.failure {
        context.sweep_ends();
        return Err(failed(failure));
    }
    draft.ancestors = swept.ancestors;
    for (name, why) in &swept.problems {
        draft.problem(name.clone(), why.clone());
    }
    // Those that the sweep's end lets go are in the queue then.
    let judged: Vec<Task> = core.overwrites.iter().chain(&core.merges).cloned().collect();
    core.swept(Scope::Full, swept, 0);
    let let_go: HashSet<RelPath> = core.queue.iter().map(|task| task.operation.path.clone()).collect();
    core.write_down(&mut draft, steps_max);
    for task in judged.iter().filter(|task| !let_go.contains(&task.operation.path)) {
        let first_run = task.ancestor.is_none() && core.halts.contains_key(&HaltReason::FirstMerge);
        let reason = if first_run { HaltReason::FirstMerge } else { HaltReason::EverythingChanged };
        draft.step(&core, task, Some(reason), steps_max);
    }
    core.plan_deletes(&mut draft, steps_max).await?;
    draft.halts = core.halts.into_values().collect();
    Ok(Box::new(draft))
}

fn failed(failure: &Failure) -> CommandError {
    let message = failure.describe();
    CommandError {
        code: "stopping",
        message: format!("there is no plan without a look at both sides: {message}"),
        hint: "`gosync sync state` tells what is wrong outside".to_owned(),
    }
}

impl PlanDraft {
    fn step(&mut self, core: &Core, task: &Task, waits_for: Option<HaltReason>, steps_max: usize) {
        let action = &task.operation.action;
        let (word, bytes) = (action_word(action), task_bytes(task));
        match waits_for {
            Some(reason) => *self.waiting.entry(reason).or_default() += 1,
            None => {
                let (files, total) = self.totals.entry(word).or_default();
                *files += 1;
                *total += bytes;
            }
        }
        if matches!(action, Action::Record { .. } | Action::Forget) {
            return;
        }
        if self.steps.len() >= steps_max {
            self.steps_left_out += 1;
            return;
        }
        let decision = Decision::Do(action.clone());
        let policy = core.context.config.policy;
        self.steps.push(Step {
            path: task.operation.path.clone(),
            action: word,
            bytes,
            moved: task.operation.moved,
            why: why(policy, task.ancestor.as_ref(), &task.local, &task.remote, &decision),
            waits_for,
        });
    }

    fn problem(&mut self, name: String, why: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push((name, why));
        } else {
            self.problems_left_out += 1;
        }
    }
}

impl Core {
    pub(super) fn draw_up_plan(&mut self, steps_max: usize, reply: Reply) {
        let of_the_root = self.halts.values().find(|row| is_of_the_root(row.reason));
        if let Some(row) = of_the_root {
            let _ = reply.send(Err(CommandError {
                code: "halted",
                message: format!("nothing is planned while the folder is not to be trusted: {}", row.message),
                hint: "`gosync sync state` shows the halt and its answers".to_owned(),
            }));
        } else if self.stage != Stage::Running {
            let _ = reply.send(Err(CommandError {
                code: "stopping",
                message: "the mirror has not begun yet".to_owned(),
                hint: "try again in a moment; `gosync sync state` tells what it waits for".to_owned(),
            }));
        } else {
            self.effects.push(Effect::Plan { core: Box::new(self.on_paper()), steps_max, reply });
        }
    }

    /// Stands as this one does, and has nothing in its queue.
    fn on_paper(&self) -> Self {
        let mut core = Self::new(muted(&self.context));
        core.stage = Stage::Running;
        core.in_hand = self
            .in_hand
            .iter()
            .map(|(path, held)| (path.clone(), InHand { since_ms: held.since_ms, again: None }))
            .collect();
        core.deletes.restore(self.deletes.window.clone(), Vec::new());
        core.deletes_approved = self.deletes_approved;
        core.answers = self.answers.clone();
        core.halts = self.halts.clone();
        core.probed = self.probed;
        core.watch_healthy = self.watch_healthy;
        core.swept_once = self.swept_once;
        core.hydrated = self.hydrated;
        core.sweeps_begun = 1;
        core
    }

    async fn take_batch(&mut self, context: &Context, mut batch: Found, draft: &mut PlanDraft, steps_max: usize) {
        // Read when there is nothing better to do; a plan has to know.
        let lazy: Vec<Candidate> = batch.lazy.drain(..).map(Candidate::hinted).collect();
        let lazy = look(context, lazy).await;
        for looked in batch.looked.iter().chain(&lazy) {
            match looked {
                Looked::Ignored(_, true) => draft.totals.entry(action_word(&Action::Forget)).or_default().0 += 1,
                Looked::Failed(path, failure) => draft.problem(path.as_str().to_owned(), failed(failure).message),
                _ => {}
            }
        }
        self.found(batch);
        self.looked(lazy, false);
        self.write_down(draft, steps_max);
        for (name, why) in std::mem::take(&mut self.problems) {
            draft.problem(name, why);
        }
    }

    /// Empties the queue into the draft.
    fn write_down(&mut self, draft: &mut PlanDraft, steps_max: usize) {
        self.effects.clear();
        for task in self.queue.take_all() {
            let waits_for = self.held_by(&task.operation.action);
            draft.step(self, &task, waits_for, steps_max);
        }
    }

    fn held_by(&self, action: &Action) -> Option<HaltReason> {
        if !self.must_wait(action) {
            return None;
        }
        self.halts.keys().next().copied()
    }

    /// As when their burst has ended.
    async fn plan_deletes(&mut self, draft: &mut PlanDraft, steps_max: usize) -> Result<(), CommandError> {
        if self.deletes.len() == 0 {
            self.end_halt(HaltReason::TooManyDeletes);
            return Ok(());
        }
        let totals = self.context.ports.state.ancestor_totals().await;
        let (files, _) = totals.map_err(|error| failed(&error.into()))?;
        let is_halted = self.halts.keys().any(|reason| *reason != HaltReason::TooManyDeletes);
        if !is_halted {
            let (utc, window) = (self.context.utc_ms(), self.context.config.limits.delete_window_ms);
            self.deletes.roll(utc, files.max(self.deletes.len() as u64), window);
            match self.deletes.verdict(self.context.config.deletes) {
                GuardVerdict::Halt(reason) if !self.deletes_approved => {
                    let count = self.deletes.counted();
                    self.halt(reason, format!("{count} deletes would wait, of {files} files"), count);
                }
                _ => self.end_halt(HaltReason::TooManyDeletes),
            }
        }
        for task in self.deletes.take(u64::MAX, true, |_| false) {
            let waits_for = self.held_by(&task.operation.action);
            draft.step(self, &task, waits_for, steps_max);
        }
        Ok(())
    }
}
