//! `gosync sync`: one request to the agent for each command, and its answer printed.

mod explain;
mod plan;
mod state;
mod tables;

use std::path::{Path, absolute};
use std::time::Duration;

use gosync_api::Exit;
use gosync_api::messages::{
    Acknowledged, AnswerRequest, Answered, Conflicts, FlushRequest, Flushed, List, MirrorFilter, MirrorMade,
    MirrorName, MirrorRequest, MirrorState, NotSeen, Progress, ProvisionRequest, Provisioned, RestoreRequest, Restored,
    State, Trash, TrashFilter, WaitRequest, Waited, route,
};
use gosync_api::words::Status;
use jiff::Timestamp;

use crate::args::{AnswerArgs, FlushArgs, MirrorArgs, ProvisionArgs, SyncCommand, TrashCommand, WaitArgs};
use crate::client::{ACT, ASK, Client, Event};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Bars;

/// How long the agent has beyond the wait that it was asked for.
const GRACE: Duration = Duration::from_secs(30);
/// How often a wait looks how far things are.
const LOOK: Duration = Duration::from_millis(250);
/// How long a listing of a whole bucket may take.
const LISTING: Duration = Duration::from_secs(24 * 3600);

pub async fn run(command: &SyncCommand, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    match command {
        SyncCommand::State { watch: false } => show_state(client, output).await,
        SyncCommand::State { watch: true } => watch(client, output).await,
        SyncCommand::List => {
            let list: List = client.get(route::LIST, &(), ASK).await?;
            output.result(&list, |list| tables::list(list, now))?;
            if list.mirrors.is_empty() {
                output.note("there is no mirror yet; make one with `gosync sync mirror <folder> <s3-path>`");
            }
            Ok(Exit::Ok)
        }
        SyncCommand::Mirror(args) => mirror(args, client, output).await,
        SyncCommand::Provision(args) => provision(args, client, output).await,
        SyncCommand::Pause { name } => by_name(route::PAUSE, "paused", name, client, output).await,
        SyncCommand::Resume { name } => by_name(route::RESUME, "goes on", name, client, output).await,
        SyncCommand::Remove { name } => {
            by_name(route::REMOVE, "forgotten; files, objects and trash stay", name, client, output).await
        }
        SyncCommand::Flush(args) => flush(args, client, output).await,
        SyncCommand::Conflicts { name } => {
            let conflicts: Conflicts = client.get(route::CONFLICTS, &MirrorFilter { name: name.clone() }, ASK).await?;
            output.result(&conflicts, |conflicts| tables::conflicts(conflicts, now))?;
            for NotSeen { mirror, reason } in &conflicts.not_seen {
                output.note(&format!("{mirror} can't be looked at: {reason}"));
            }
            output.note(match (conflicts.conflicts.is_empty(), conflicts.not_seen.is_empty()) {
                (true, true) => "no conflicts",
                (true, false) => "no conflicts in the others",
                (false, _) => "keep what you want under the path, then delete or rename the copy",
            });
            Ok(if conflicts.not_seen.is_empty() { Exit::Ok } else { Exit::Failed })
        }
        SyncCommand::Approve(args) => answer(route::APPROVE, args, client, output).await,
        SyncCommand::Deny(args) => answer(route::DENY, args, client, output).await,
        SyncCommand::Trash { command } => trash(command, client, output).await,
        SyncCommand::Plan(args) => plan::run(args, client, output).await,
        SyncCommand::Explain(args) => explain::run(args, client, output).await,
        SyncCommand::Wait(args) => wait(args, client, output).await,
    }
}

async fn show_state(client: &Client, output: &Output) -> Result<Exit, Failure> {
    let state: State = client.get(route::STATE, &(), ASK).await?;
    output.result(&state, |state| state::render(state, Timestamp::now()))?;
    Ok(Exit::Ok)
}

async fn watch(client: &Client, output: &Output) -> Result<Exit, Failure> {
    loop {
        output.clear()?;
        show_state(client, output).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn mirror(args: &MirrorArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let request = MirrorRequest {
        local_path: absolute_text(&args.local_path)?,
        s3_path: args.s3_path.clone(),
        name: args.name.clone(),
        ignore: args.ignore.clone(),
        direction: args.direction(),
        dry_run: args.dry_run,
    };
    let made: MirrorMade = client.post(route::MIRROR, &request, ACT).await?;
    output.done(&made, tables::mirror_made)?;
    if args.wait { hydrated(&made.name, client, output).await } else { Ok(Exit::Ok) }
}

/// Waits for a mirror's first run. It goes on in the agent, whatever becomes of this wait.
async fn hydrated(name: &str, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let mut bars = Bars::new("file", output);
    loop {
        let state: State = client.get(route::STATE, &(), ASK).await?;
        let Some(mirror) = state.mirrors.iter().find(|mirror| mirror.name == name) else {
            return Err(Failure::new(Exit::Failed, "gone", format!("the mirror {name} was removed meanwhile"), ""));
        };
        if mirror.hydrated {
            return Ok(Exit::Ok);
        }
        if let Some(failure) = standstill(mirror) {
            return Err(failure);
        }
        let total = |done: u64, pending: u64| if pending > 0 { done + pending } else { 0 };
        bars.on(Event::Progress(Progress {
            step: mirror.phase.to_string(),
            mirror: Some(name.to_owned()),
            files: mirror.files,
            files_total: total(mirror.files, mirror.pending.files),
            bytes: mirror.bytes,
            bytes_total: total(mirror.bytes, mirror.pending.bytes),
        }));
        tokio::time::sleep(LOOK).await;
    }
}

/// Why a mirror won't get on by itself, if it won't.
fn standstill(mirror: &MirrorState) -> Option<Failure> {
    let name = &mirror.name;
    let next = "see `gosync sync state`";
    match mirror.status {
        Status::Active => None,
        Status::Paused => Some(Failure::new(Exit::Failed, "paused", format!("{name} is paused"), next)),
        Status::Halted => {
            let reasons: Vec<&str> = mirror.halts.iter().map(|halt| halt.reason.as_str()).collect();
            Some(Failure::new(Exit::Halted, "halted", format!("{name} is halted: {}", reasons.join(", ")), next))
        }
        Status::Error => {
            let errors: Vec<String> = mirror.errors.iter().map(|error| tables::text(&error.message)).collect();
            let message = format!("{name} can't get on: {}", errors.join("; "));
            Some(Failure::new(Exit::Failed, "unavailable", message, next))
        }
    }
}

/// The agent runs in another folder.
fn absolute_text(path: &Path) -> Result<String, Failure> {
    let wrong = |why: &str| Failure::usage(format!("the folder {} {why}", path.display()), "name another folder");
    let path = absolute(path).map_err(|error| wrong(&format!("can't be named: {error}")))?;
    path.to_str().map(str::to_owned).ok_or_else(|| wrong("has a name that is not UTF-8"))
}

async fn provision(args: &ProvisionArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let request = ProvisionRequest { s3_path: args.s3_path.clone(), dry_run: args.dry_run, recursive: args.recursive };
    let mut bars = Bars::new("key", output);
    let result: Result<Provisioned, Failure> =
        client.work(route::PROVISION, &request, LISTING, |event| bars.on(event)).await;
    drop(bars);
    output.done(&result?, tables::provisioned)?;
    Ok(Exit::Ok)
}

async fn by_name(route: &str, done: &str, name: &str, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let result: Acknowledged = client.post(route, &MirrorName { name: name.to_owned() }, ACT).await?;
    output.done(&result, |result| match result.message.is_empty() {
        true => format!("{name}: {done}"),
        false => tables::text(&result.message),
    })?;
    Ok(Exit::Ok)
}

async fn flush(args: &FlushArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let request =
        FlushRequest { name: args.name.clone(), wait: args.wait, timeout_seconds: whole_seconds(args.timeout) };
    let mut bars = Bars::new("file", output);
    let result: Result<Flushed, Failure> =
        client.work(route::FLUSH, &request, args.timeout + GRACE, |event| bars.on(event)).await;
    drop(bars);
    let flushed = result?;
    output.result(&flushed, tables::flushed)?;
    if args.wait && !flushed.complete() {
        let reasons = flushed.receipts.iter().filter(|receipt| !receipt.flushed).map(|receipt| {
            let reason = receipt.reason.clone();
            format!("{}: {}", receipt.mirror, reason.unwrap_or_else(|| "the time was over".to_owned()))
        });
        return Err(Failure::new(
            Exit::Failed,
            "pending",
            format!("not everything was flushed; {}", reasons.collect::<Vec<_>>().join("; ")),
            "the agent goes on; see `gosync sync state` for what holds it up, or give it longer with --timeout",
        ));
    }
    Ok(Exit::Ok)
}

async fn wait(args: &WaitArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let request = WaitRequest {
        name: args.name.clone(),
        cursor: args.cursor.clone(),
        timeout_seconds: whole_seconds(args.timeout),
    };
    let waited: Waited = client.post(route::WAIT, &request, args.timeout + GRACE).await?;
    output.done(&waited, tables::waited)?;
    let missed = waited.mirrors.iter().filter(|mirror| !mirror.reached);
    let missed: Vec<String> = missed
        .map(|mirror| format!("{}: {}", mirror.mirror, mirror.reason.as_deref().unwrap_or("the time was over")))
        .collect();
    if !missed.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            "pending",
            format!("cursor {} was not reached: {}", request.cursor, missed.join("; ")),
            "`gosync sync state` shows what holds it up; --timeout gives it longer",
        ));
    }
    Ok(Exit::Ok)
}

/// A part of a second counts as a whole one.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

async fn answer(route: &str, args: &AnswerArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    // A path may be meant, as it is named from here.
    let path = std::path::absolute(&args.halt).ok();
    let request = AnswerRequest { halt: args.halt.clone(), path, answer: args.answer };
    let answered: Answered = client.post(route, &request, ACT).await?;
    output.done(&answered, tables::answered)?;
    Ok(Exit::Ok)
}

async fn trash(command: &TrashCommand, client: &Client, output: &Output) -> Result<Exit, Failure> {
    match command {
        TrashCommand::List { name, under, versions } => {
            let filter = TrashFilter { name: name.clone(), under: under.clone(), versions: *versions };
            let trash: Trash = client.get(route::TRASH_LIST, &filter, ACT).await?;
            output.result(&trash, |trash| tables::trash(trash, Timestamp::now()))?;
            if trash.entries.is_empty() {
                output.note("nothing to restore");
            }
            if trash.more {
                output.note("the bucket has too many versions to look at all of them; narrow it down with --under");
            }
            Ok(Exit::Ok)
        }
        TrashCommand::Restore { what, mirror } => {
            let request = RestoreRequest { name: mirror.clone(), what: what.clone() };
            let restored: Restored = client.post(route::TRASH_RESTORE, &request, ACT).await?;
            output.done(&restored, tables::restored)?;
            if restored.failed.is_empty() {
                return Ok(Exit::Ok);
            }
            Err(Failure::new(
                Exit::Failed,
                "not-restored",
                format!("{} could not be restored", restored.failed.len()),
                "`gosync sync trash list` names what there is",
            ))
        }
    }
}

/// Lines for people, indented.
pub fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {}\n", tables::text(line))).collect()
}
