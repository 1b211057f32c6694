//! `plan` and the dry run of `mirror`: what would be done, with nothing done. A mirror that isn't there yet is planned on
//! ports that remember nothing; a folder that isn't there yet is an empty one.

use std::sync::Arc;

use async_trait::async_trait;
use gosync_api::config::MirrorConfig;
use gosync_api::messages::plan::STEPS_MAX;
use gosync_api::messages::{
    ErrorBody, ErrorCode, Halt, HaltAnswer, MirrorPlan, MirrorState, PathReason, PlanRequest, PlanStep, PlanTotal,
    Plans,
};
use gosync_engine::handle::CommandError;
use gosync_engine::ports::local::{FolderEntry, Kind, RootFacts, Space, Stat, TreeFile};
use gosync_engine::ports::state::{HaltRow, JournalEntry, StateChange, StateError, StateErrorKind, UploadRow};
use gosync_engine::ports::{LocalTree, Ports, ReplicaState, TreeError, TreeErrorKind};
use gosync_engine::{Command, PlanDraft, plan_first_run};
use gosync_fs::DiskTree;
use gosync_plan::{Ancestor, ContentHash, Fingerprint, RelPath};

use crate::agent::Agent;
use crate::chain::chain;
use crate::limits::engine_config;
use crate::one_mirror::Mirror;
use crate::ports::{Blocking, RandomIds, Teller};
use crate::root::Keeps;
use crate::tell::trouble;
use crate::words;

pub async fn plans(agent: &Agent, mirrors: Vec<Arc<Mirror>>, request: &PlanRequest) -> Result<Plans, ErrorBody> {
    let mut plans = Vec::new();
    for mirror in mirrors {
        let state = agent.mirror_state(&mirror).await;
        let Some(handle) = mirror.handle().await else {
            let (code, why) = match state.halts.first() {
                Some(halt) => (ErrorCode::Halted, halt.message.clone()),
                None => (ErrorCode::Unavailable, state.errors.first().map(|it| it.message.clone()).unwrap_or_default()),
            };
            let message = format!("{}: nothing can be planned: {why}", mirror.name());
            return Err(ErrorBody::new(code, message, "`gosync sync state` says more"));
        };
        let steps_max = steps_max(request.all);
        let asked = handle.ask(|reply| Command::Plan { steps_max, reply }).await;
        let stopping = || ErrorBody::new(ErrorCode::Unavailable, "the mirror has just ended", "try again in a moment");
        let draft = asked.ok_or_else(stopping)?.map_err(refused)?;
        plans.push(told(*draft, &state));
    }
    Ok(Plans { plans })
}

fn steps_max(all: bool) -> usize {
    usize::try_from(if all { u64::MAX } else { STEPS_MAX }).unwrap_or(usize::MAX)
}

fn refused(error: CommandError) -> ErrorBody {
    let code = if error.code == "halted" { ErrorCode::Halted } else { ErrorCode::Unavailable };
    ErrorBody::new(code, error.message, error.hint)
}

fn told(draft: PlanDraft, state: &MirrorState) -> MirrorPlan {
    let step = |step: gosync_engine::PlanStep| PlanStep {
        action: step.action.to_owned(),
        path: String::from(step.path),
        bytes: step.bytes,
        moved: step.moved,
        why: step.why,
        waits_for: step.waits_for.map(words::halt_reason),
    };
    let halt = |row: HaltRow| {
        let reason = words::halt_reason(row.reason);
        // One that the plan alone would lead to has no id that could be answered.
        match state.halts.iter().find(|known| known.id == row.id) {
            Some(known) => known.clone(),
            None => Halt {
                id: String::new(),
                reason,
                since: None,
                message: row.message,
                counts: [("files".to_owned(), row.count)].into(),
                answers: HaltAnswer::of(reason),
                paths: Vec::new(),
            },
        }
    };
    let total = |(action, (files, bytes)): (&str, (u64, u64))| (action.to_owned(), PlanTotal { files, bytes });
    MirrorPlan {
        mirror: state.name.clone(),
        local_path: state.local_path.clone(),
        s3_path: state.s3_path.clone(),
        status: state.status,
        steps: draft.steps.into_iter().map(step).collect(),
        steps_left_out: draft.steps_left_out,
        totals: draft.totals.into_iter().map(total).collect(),
        waiting: draft.waiting.into_iter().map(|(reason, count)| (words::halt_reason(reason), count)).collect(),
        halts: draft.halts.into_iter().map(halt).collect(),
        problems: draft
            .problems
            .into_iter()
            .map(|(path, why)| PathReason { path, reason: trouble::of_a_path(&why) })
            .collect(),
        problems_left_out: draft.problems_left_out,
        under_way: draft.under_way,
        in_step: draft.ancestors,
    }
}

/// What the first run of a mirror with these settings would do.
pub async fn first_run(agent: &Agent, settings: &MirrorConfig) -> Result<MirrorPlan, ErrorBody> {
    let parts = &agent.parts;
    let unavailable = |why: String| ErrorBody::new(ErrorCode::Unavailable, why, "mend that, then ask again");
    let root = settings.local_path.clone();
    let keeps = Keeps::of(&settings.sync);
    let opened = tokio::task::spawn_blocking(move || match DiskTree::open(&root) {
        Ok(tree) => Ok(Arc::new(keeps.on(tree)) as Arc<dyn LocalTree>),
        Err(error) if error.is_not_found() => Ok(Arc::new(AbsentTree) as Arc<dyn LocalTree>),
        Err(error) => Err(chain(&error)),
    });
    let local = opened.await.map_err(|error| unavailable(chain(&error)))?.map_err(unavailable)?;
    let store = parts.stores.get(&settings.s3, &settings.sync.bandwidth).await;
    let endpoint = settings.s3.resolve_endpoint().map(|endpoint| endpoint.identity).unwrap_or_default();
    let ports = Ports {
        local,
        store: store.map_err(|error| unavailable(chain(&error)))?,
        state: Arc::new(NoState),
        metadata: agent.metadata.clone(),
        cache: None,
        clock: Arc::clone(&parts.clock) as _,
        ids: Arc::new(RandomIds),
        workers: Arc::new(Blocking),
        observer: Arc::new(Teller {
            mirror: settings.name.clone(),
            metrics: parts.metrics.mirror(&settings.name),
            neighbours: Arc::clone(&parts.neighbours),
            screen: None,
            outside: trouble::Outside::of(settings),
        }),
    };
    let config = engine_config(settings, &endpoint, &parts.device);
    let draft = plan_first_run(config, ports, steps_max(false)).await.map_err(refused)?;
    let state = MirrorState {
        name: settings.name.clone(),
        local_path: settings.local_path.display().to_string(),
        s3_path: settings.remote(),
        ..MirrorState::default()
    };
    Ok(told(*draft, &state))
}

/// The state of a mirror that isn't there yet.
struct NoState;

#[async_trait]
impl ReplicaState for NoState {
    async fn ancestors(&self, paths: &[RelPath]) -> Result<Vec<Option<Ancestor>>, StateError> {
        Ok(vec![None; paths.len()])
    }

    async fn ancestors_after(&self, _: Option<&RelPath>, _: usize) -> Result<Vec<(RelPath, Ancestor)>, StateError> {
        Ok(Vec::new())
    }

    async fn ancestors_below(
        &self,
        _: &RelPath,
        _: Option<&RelPath>,
        _: usize,
    ) -> Result<Vec<(RelPath, Ancestor)>, StateError> {
        Ok(Vec::new())
    }

    async fn ancestor_of_large_content(
        &self,
        _: ContentHash,
        _: u64,
    ) -> Result<Option<(RelPath, Ancestor)>, StateError> {
        Ok(None)
    }

    async fn ancestor_of_object(&self, _: &str, _: u64) -> Result<Option<(RelPath, Ancestor)>, StateError> {
        Ok(None)
    }

    async fn open_ancestors(&self) -> Result<Vec<RelPath>, StateError> {
        Ok(Vec::new())
    }

    async fn ancestor_totals(&self) -> Result<(u64, u64), StateError> {
        Ok((0, 0))
    }

    async fn journal(&self) -> Result<Vec<JournalEntry>, StateError> {
        Ok(Vec::new())
    }

    async fn uploads(&self) -> Result<Vec<UploadRow>, StateError> {
        Ok(Vec::new())
    }

    async fn halts(&self) -> Result<Vec<HaltRow>, StateError> {
        Ok(Vec::new())
    }

    async fn note(&self, _: &str) -> Result<Option<String>, StateError> {
        Ok(None)
    }

    async fn apply(&self, _: Vec<StateChange>) -> Result<(), StateError> {
        Err(StateError { kind: StateErrorKind::Unavailable, what: "a dry run writes nothing".to_owned(), source: None })
    }
}

/// A folder that isn't there: an empty one, into which nothing is written.
struct AbsentTree;

fn absent<T>(call: &'static str, path: &str) -> Result<T, TreeError> {
    Err(TreeError::new(TreeErrorKind::NotFound, call, path))
}

impl LocalTree for AbsentTree {
    fn root(&self) -> Result<RootFacts, TreeError> {
        Ok(self.opened_root())
    }

    fn opened_root(&self) -> RootFacts {
        RootFacts { device: 0, inode: 0, mount: 0, network: false }
    }

    fn visit_folder(&self, folder: &str, _: &mut dyn FnMut(FolderEntry)) -> Result<(), TreeError> {
        if folder.is_empty() { Ok(()) } else { absent("read folder", folder) }
    }

    fn stat(&self, path: &str) -> Result<Stat, TreeError> {
        if !path.is_empty() {
            return absent("stat", path);
        }
        let fingerprint = Fingerprint { size: 0, mtime_ns: 0, ctime_ns: 0, inode: 0, mode: 0o040_755 };
        Ok(Stat { kind: Kind::Folder, fingerprint, links: 1, mount: 0 })
    }

    fn open(&self, path: &str) -> Result<Box<dyn TreeFile>, TreeError> {
        absent("open", path)
    }

    fn reopen(&self, path: &str) -> Result<Box<dyn TreeFile>, TreeError> {
        absent("open", path)
    }

    fn create(&self, path: &str, _: u32) -> Result<Box<dyn TreeFile>, TreeError> {
        absent("create", path)
    }

    fn make_folder(&self, path: &str) -> Result<(), TreeError> {
        absent("make folder", path)
    }

    fn remove_folder(&self, path: &str) -> Result<(), TreeError> {
        absent("remove folder", path)
    }

    fn unlink(&self, path: &str) -> Result<(), TreeError> {
        absent("unlink", path)
    }

    fn rename(&self, from: &str, _: &str) -> Result<(), TreeError> {
        absent("rename", from)
    }

    fn rename_new(&self, from: &str, _: &str) -> Result<(), TreeError> {
        absent("rename", from)
    }

    fn exchange(&self, a: &str, _: &str) -> Result<(), TreeError> {
        absent("exchange", a)
    }

    fn link(&self, from: &str, _: &str) -> Result<(), TreeError> {
        absent("link", from)
    }

    fn make_link(&self, path: &str) -> Result<(), TreeError> {
        absent("make link", path)
    }

    fn set_mode(&self, path: &str, _: u32) -> Result<(), TreeError> {
        absent("set mode", path)
    }

    fn copy_attributes(&self, from: &str, _: &str) -> Result<(), TreeError> {
        absent("copy attributes", from)
    }

    fn sync_folder(&self, folder: &str) -> Result<(), TreeError> {
        absent("sync folder", folder)
    }

    fn sync_tree(&self) -> Result<(), TreeError> {
        absent("sync", "")
    }

    fn space(&self) -> Result<Space, TreeError> {
        absent("ask for space", "")
    }
}
