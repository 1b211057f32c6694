//! Commands about mirrors and the agent: state, list, mirror, provision, pause, resume, remove, flush, wait, probe, log-level.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use gosync_api::messages::State as AgentState;
use gosync_api::messages::{
    Acknowledged, ErrorBody, ErrorCode, FlushRequest, Flushed, List, LogLevelRequest, LogLevelSet, MirrorMade,
    MirrorName, MirrorRequest, PlanRequest, ProbeRequest, ProbeResult, Progress, ProvisionRequest, Receipt,
    WaitRequest, Waited, WaitedFor,
};
use gosync_api::words::Status;
use gosync_engine::Command;
use gosync_engine::handle::WaitEnd;
use jiff::Timestamp;
use tokio::time::{interval, timeout};

use super::lines::{self, Lines};
use super::reply::{Refusal, Reply, read};
use crate::agent::Agent;
use crate::limits::milliseconds;
use crate::one_mirror::Mirror;
use crate::{plan, provision, tell};

const PROGRESS_EACH: Duration = Duration::from_millis(250);
/// The engine answers when the time is over; this much later we no longer wait for it.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

type Shared = State<Arc<Agent>>;

pub async fn state(State(agent): Shared) -> Json<AgentState> {
    Json(agent.state().await)
}

pub async fn list(State(agent): Shared) -> Json<List> {
    Json(agent.list().await)
}

pub async fn mirror(State(agent): Shared, body: Bytes) -> Reply<MirrorMade> {
    let request: MirrorRequest = read(&body)?;
    Ok(Json(agent.make_mirror(&request).await?))
}

pub async fn pause(State(agent): Shared, body: Bytes) -> Reply<Acknowledged> {
    let MirrorName { name } = read(&body)?;
    Ok(Json(agent.pause(&name, true).await?))
}

pub async fn resume(State(agent): Shared, body: Bytes) -> Reply<Acknowledged> {
    let MirrorName { name } = read(&body)?;
    Ok(Json(agent.pause(&name, false).await?))
}

pub async fn remove(State(agent): Shared, body: Bytes) -> Reply<Acknowledged> {
    let MirrorName { name } = read(&body)?;
    Ok(Json(agent.remove(&name).await?))
}

pub async fn probe(State(agent): Shared, Query(request): Query<ProbeRequest>) -> Json<ProbeResult> {
    Json(agent.probe(request.probe).await)
}

pub async fn log_level(State(agent): Shared, body: Bytes) -> Reply<LogLevelSet> {
    let LogLevelRequest { level: new } = read(&body)?;
    Ok(Json(LogLevelSet { old: agent.set_log_level(new)?, new }))
}

pub async fn provision(State(agent): Shared, body: Bytes) -> Response {
    match read::<ProvisionRequest>(&body) {
        Ok(request) => lines::tell(move |lines| async move { provision::provision(&agent, &request, &lines).await }),
        Err(refusal) => refusal.into_response(),
    }
}

pub async fn plan(State(agent): Shared, body: Bytes) -> Response {
    let chosen = read::<PlanRequest>(&body)
        .and_then(|request| Ok((agent.chosen(request.name.as_deref()).map_err(Refusal)?, request)));
    match chosen {
        Ok((mirrors, request)) => lines::tell(move |_| async move { plan::plans(&agent, mirrors, &request).await }),
        Err(refusal) => refusal.into_response(),
    }
}

pub async fn flush(State(agent): Shared, body: Bytes) -> Response {
    let chosen = read::<FlushRequest>(&body)
        .and_then(|request| Ok((agent.chosen(request.name.as_deref()).map_err(Refusal)?, request)));
    match chosen {
        Ok((mirrors, request)) => {
            lines::tell(move |lines| async move { flush_all(&agent, mirrors, &request, &lines).await })
        }
        Err(refusal) => refusal.into_response(),
    }
}

pub async fn wait(State(agent): Shared, body: Bytes) -> Reply<Waited> {
    let request: WaitRequest = read(&body)?;
    let mirrors = agent.chosen(request.name.as_deref())?;
    let (cursor, epoch) = request.cursor.split_once('-').unwrap_or((&request.cursor, ""));
    let Ok(cursor) = cursor.parse() else {
        let message = format!("{:?} is no cursor", request.cursor);
        let hint = "pass on the one that `gosync sync flush --wait` shows, as it is";
        return Err(ErrorBody::new(ErrorCode::BadRequest, message, hint).into());
    };
    let longest = Duration::from_secs(request.timeout_seconds);
    let waits = mirrors.iter().map(|mirror| wait_for(&agent, mirror, (cursor, epoch), longest));
    Ok(Json(Waited { mirrors: futures_util::future::join_all(waits).await }))
}

/// A mirror whose metadata nobody shares has no news but what a listing tells: it is in step after a flush.
async fn wait_for(agent: &Agent, mirror: &Mirror, (cursor, epoch): (u64, &str), longest: Duration) -> WaitedFor {
    let timeout_ms = milliseconds(longest);
    let asked = async {
        let Some(handle) = mirror.handle().await else {
            return Some(Err(tell::why_down(&agent.mirror_state(mirror).await)));
        };
        if mirror.shares_metadata() {
            let epoch = epoch.to_owned();
            let end = handle.ask(|reply| Command::Wait { cursor, epoch, timeout_ms, reply }).await?;
            return Some(reached(end));
        }
        let receipt = handle.ask(|reply| Command::Flush { timeout_ms, reply }).await?;
        Some(if receipt.flushed { Ok(()) } else { Err(receipt.reason) })
    };
    let reached = timeout(longest + ANSWER_WAIT, asked).await.ok().flatten();
    let reached = reached.unwrap_or_else(|| Err("the mirror has not answered in time".to_owned()));
    let state = agent.mirror_state(mirror).await;
    let halted = || state.halts.first().map(|halt| format!("halted: {} ({})", halt.reason, halt.message));
    WaitedFor {
        mirror: mirror.name().to_owned(),
        reached: reached.is_ok(),
        reason: reached.err().map(|why| if why.is_empty() { halted().unwrap_or_else(time_is_over) } else { why }),
        cursor: state.cursor.clone(),
    }
}

fn time_is_over() -> String {
    "the time was over".to_owned()
}

fn reached(end: WaitEnd) -> Result<(), String> {
    match end {
        WaitEnd::Reached => Ok(()),
        WaitEnd::TimeIsOver => Err(String::new()),
        WaitEnd::AnotherEpoch => {
            Err("the cursor is of another history of the database (restored, or made anew): flush again".to_owned())
        }
        WaitEnd::Unplaced(paths) => {
            let paths: Vec<String> = paths.into_iter().map(|(path, why)| format!("{path}: {why}")).collect();
            Err(format!("not everything could be placed here: {}", paths.join("; ")))
        }
    }
}

async fn flush_all(
    agent: &Agent,
    mirrors: Vec<Arc<Mirror>>,
    request: &FlushRequest,
    lines: &Lines,
) -> Result<Flushed, ErrorBody> {
    let started = Timestamp::now();
    let longest = Duration::from_secs(request.timeout_seconds);
    if !request.wait {
        let mut receipts = Vec::new();
        for mirror in &mirrors {
            let flushed = Arc::clone(mirror);
            tokio::spawn(async move {
                let handle = flushed.handle().await?;
                handle.ask(|reply| Command::Flush { timeout_ms: milliseconds(longest), reply }).await
            });
            receipts.push(tell::draft_receipt(&agent.parts.device, &agent.mirror_state(mirror).await, started));
        }
        return Ok(Flushed { receipts });
    }
    let flushes = mirrors.iter().map(|mirror| flush_one(agent, mirror, longest, started));
    let flushes = futures_util::future::join_all(flushes);
    let mut flushes = std::pin::pin!(flushes);
    let mut tick = interval(PROGRESS_EACH);
    let receipts = loop {
        tokio::select! {
            receipts = &mut flushes => break receipts,
            _ = tick.tick() => tell_progress(agent, &mirrors, lines).await,
        }
    };
    let mut halted = Vec::new();
    for (mirror, receipt) in mirrors.iter().zip(&receipts) {
        let state = agent.mirror_state(mirror).await;
        if !receipt.flushed && state.status == Status::Halted {
            let halts: Vec<String> =
                state.halts.iter().map(|halt| format!("{} ({})", halt.reason, halt.message)).collect();
            halted.push(format!("{}: {}", mirror.name(), halts.join("; ")));
        }
    }
    if halted.is_empty() {
        return Ok(Flushed { receipts });
    }
    let message = format!("halted, so not all was flushed: {}", halted.join("; "));
    Err(ErrorBody::new(ErrorCode::Halted, message, "`gosync sync state` shows what can be answered"))
}

async fn flush_one(agent: &Agent, mirror: &Mirror, longest: Duration, started: Timestamp) -> Receipt {
    let asked = async {
        let handle = mirror.handle().await?;
        handle.ask(|reply| Command::Flush { timeout_ms: milliseconds(longest), reply }).await
    };
    match timeout(longest + ANSWER_WAIT, asked).await {
        Ok(Some(receipt)) => tell::receipt(mirror.name(), &agent.parts.device, &receipt),
        _ => tell::draft_receipt(&agent.parts.device, &agent.mirror_state(mirror).await, started),
    }
}

async fn tell_progress(agent: &Agent, mirrors: &[Arc<Mirror>], lines: &Lines) {
    for mirror in mirrors {
        let state = agent.mirror_state(mirror).await;
        lines.progress(Progress {
            step: "flushing".to_owned(),
            mirror: Some(state.name),
            files: state.files,
            files_total: state.files + state.pending.files,
            bytes: state.bytes,
            bytes_total: state.bytes + state.pending.bytes,
        });
    }
}
