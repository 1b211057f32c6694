//! Commands about what a mirror waits for: conflicts, halts.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use bytes::Bytes;
use gosync_api::messages::{
    AnswerRequest, Answered, Conflict, Conflicts, ErrorBody, ErrorCode, MirrorFilter, NotSeen, Verb,
};
use gosync_api::words::{Answer, Direction, HaltReason, PathState};
use gosync_engine::Command;
use gosync_engine::handle::CommandError;
use gosync_plan::{ConflictPolicy, RelPath};
use jiff::Timestamp;

use super::reply::{Reply, read};
use crate::agent::Agent;
use crate::one_mirror::{Mirror, Seen};
use crate::{tell, words};

type Shared = State<Arc<Agent>>;

pub async fn conflicts(State(agent): Shared, Query(filter): Query<MirrorFilter>) -> Reply<Conflicts> {
    let (mut conflicts, mut not_seen) = (Vec::new(), Vec::new());
    for mirror in agent.chosen(filter.name.as_deref())? {
        let found = match mirror.handle().await {
            Some(handle) => handle.ask(Command::Conflicts).await,
            None => None,
        };
        let Some(found) = found else {
            let reason = tell::why_down(&agent.mirror_state(&mirror).await);
            not_seen.push(NotSeen { mirror: mirror.name().to_owned(), reason });
            continue;
        };
        for found in found {
            let (since, device) = made_by(found.copy.as_str());
            conflicts.push(Conflict {
                mirror: mirror.name().to_owned(),
                path: found.path.as_str().to_owned(),
                copy: found.copy.as_str().to_owned(),
                bytes: found.bytes,
                since,
                device,
            });
        }
    }
    conflicts.sort_by_key(|conflict| Reverse(conflict.since));
    Ok(Json(Conflicts { conflicts, not_seen }))
}

/// When and by which device a copy was made, as its name tells:
/// `<stem>.conflict-<yyyymmddThhmmssZ>-<device>-<4 hex>[-n]<ext>`.
pub(super) fn made_by(copy: &str) -> (Option<Timestamp>, String) {
    let told = || {
        let (_, tag) = copy.rsplit_once(".conflict-")?;
        let (time, rest) = tag.split_once('-')?;
        let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        let parts: Vec<&str> = rest.split('-').collect();
        let hex = |part: &str| {
            part.get(..4).is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
                && part.get(4..).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let end = parts.iter().rposition(|part| hex(part))?;
        Some((time, parts[..end].join("-")))
    };
    told().map_or((None, String::new()), |(time, device)| (Some(time), device))
}

pub async fn approve(State(agent): Shared, body: Bytes) -> Reply<Answered> {
    Ok(Json(answer(&agent, &read(&body)?, Verb::Approve).await?))
}

pub async fn deny(State(agent): Shared, body: Bytes) -> Reply<Answered> {
    Ok(Json(answer(&agent, &read(&body)?, Verb::Deny).await?))
}

async fn answer(agent: &Agent, request: &AnswerRequest, verb: Verb) -> Result<Answered, ErrorBody> {
    for mirror in agent.mirrors() {
        let seen = mirror.look().await;
        let Seen::Up(view) = &seen else {
            let state = agent.mirror_state(&mirror).await;
            if let Some(halt) = state.halts.iter().find(|halt| halt.id == request.halt) {
                let message = format!("the halt {} of {} can't be answered", halt.reason, mirror.name());
                return Err(ErrorBody::new(ErrorCode::Refused, message, "it ends by itself when the folder is back"));
            }
            continue;
        };
        let Some(halt) = view.halts.iter().find(|halt| halt.id == request.halt) else { continue };
        let reason = words::halt_reason(halt.reason);
        if (reason, verb) == (HaltReason::FirstMerge, Verb::Deny) {
            // Nothing to take back: it waits until a person has put things right, here or there.
            agent.pause(mirror.name(), true).await?;
            let message = "paused; `gosync sync resume` goes on with the question".to_owned();
            return Ok(answered(&mirror, Some(reason), verb, message));
        }
        let halt = request.halt.clone();
        let winner = request.answer.map(|answer| match answer {
            Answer::KeepBoth => ConflictPolicy::KeepBoth,
            Answer::Remote => ConflictPolicy::RemoteWins,
            Answer::Local => ConflictPolicy::LocalWins,
        });
        let Some(handle) = mirror.handle().await else { continue };
        let told = match verb {
            Verb::Approve => handle.ask(|reply| Command::Approve { halt, winner, reply }).await,
            Verb::Deny => handle.ask(|reply| Command::Deny { halt, reply }).await,
        };
        let message = told.ok_or_else(stopping)?.map_err(refused)?;
        tracing::info!(mirror = mirror.name(), %reason, %verb, message, "a halt was answered");
        return Ok(answered(&mirror, Some(reason), verb, message));
    }
    if verb == Verb::Approve
        && let Some((mirror, path)) = diverged(agent, request).await
        && let Some(handle) = mirror.handle().await
    {
        tracing::info!(mirror = mirror.name(), %path, "the folder is to win at a diverged path");
        let told = handle.ask(|reply| Command::ApprovePath { path, reply }).await;
        let message = told.ok_or_else(stopping)?.map_err(refused)?;
        return Ok(answered(&mirror, None, verb, message));
    }
    let message = format!("no mirror has a halt \"{}\"", request.halt);
    Err(ErrorBody::new(ErrorCode::NotFound, message, "`gosync sync state` shows the halts and their ids"))
}

fn answered(mirror: &Mirror, reason: Option<HaltReason>, verb: Verb, message: String) -> Answered {
    Answered { mirror: mirror.name().to_owned(), reason, verb, message, restored: 0, lost: Vec::new() }
}

/// The mirror that only sends in whose folder the named path lies; or the only one that shows such a path as diverged.
async fn diverged(agent: &Agent, request: &AnswerRequest) -> Option<(Arc<Mirror>, RelPath)> {
    let mut pushing = agent.mirrors();
    pushing.retain(|mirror| mirror.config.direction == Direction::Push);
    for mirror in &pushing {
        let below = request.path.as_deref().and_then(|path| path.strip_prefix(&mirror.config.local_path).ok());
        if let Some(path) = below.and_then(|below| RelPath::new(below.to_str()?).ok()) {
            return Some((Arc::clone(mirror), path));
        }
    }
    let path = RelPath::new(request.halt.as_str()).ok()?;
    let mut showing = Vec::new();
    for mirror in pushing {
        let state = agent.mirror_state(&mirror).await;
        if state.paths.iter().any(|note| note.state == PathState::Diverged && note.path == path.as_str()) {
            showing.push(mirror);
        }
    }
    let mirror = showing.pop()?;
    showing.is_empty().then_some((mirror, path))
}

pub(super) fn stopping() -> ErrorBody {
    ErrorBody::new(ErrorCode::Unavailable, "the mirror has just ended", "try again in a moment")
}

pub(super) fn refused(error: CommandError) -> ErrorBody {
    let code = match error.code {
        "no-such-halt" => ErrorCode::NotFound,
        "bad-answer" => ErrorCode::BadRequest,
        "halted" => ErrorCode::Halted,
        "stopping" | "trash-unreadable" | "versions-unreadable" => ErrorCode::Unavailable,
        _ => ErrorCode::Refused,
    };
    ErrorBody::new(code, error.message, error.hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copys_name_tells_when_and_where_it_was_made() {
        let (since, device) = made_by("a/b.conflict-20261122T101112Z-my-laptop-0a1f.txt");
        assert_eq!(since.map(|since| since.to_string()).as_deref(), Some("2026-11-22T10:11:12Z"));
        assert_eq!(device, "my-laptop");
        assert_eq!(made_by("b.conflict-20261122T101112Z-box-0a1f-2.txt").1, "box");
        assert_eq!(made_by("plain.txt"), (None, String::new()));
    }
}
