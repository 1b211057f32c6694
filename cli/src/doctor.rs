//! `gosync doctor`: the checks of `gosync_agent::doctor` as one table. Changes nothing.

use std::process::ExitCode;

use comfy_table::{Cell, Color};
use gosync_agent::doctor::{AgentFound, ConfigFound, Questions, doctor};
use gosync_api::Exit;
use gosync_api::config::load;
use gosync_api::doctor::{Check, Diagnosis, Verdict};
use gosync_api::messages::{State, route};

use crate::args::{DoctorArgs, Global};
use crate::client::{self, Client};
use crate::failure::Failure;
use crate::output::Output;
use crate::style::{HINT, clean, lines, table, things};
use crate::{block_on, place, version};

pub fn run(args: &DoctorArgs, global: &Global, output: &Output) -> Result<ExitCode, Failure> {
    let config = match place::config(global) {
        Ok(path) => match load(&path, None) {
            Ok(loaded) => ConfigFound::Loaded(Box::new(loaded)),
            Err(problems) => ConfigFound::Mistakes(problems),
        },
        Err(Failure::Told(report)) => ConfigFound::None { why: report.message, next: report.hint.unwrap_or_default() },
        Err(failure) => return Err(failure),
    };
    let diagnosis = block_on(async {
        let agent = agent(global).await?;
        Ok(doctor(Questions { config, agent, release: version::VERSION.to_owned(), probe: args.probe }).await)
    })??;
    output.result(&diagnosis, shown)?;
    Ok(if diagnosis.verdict == Verdict::Wrong { Exit::Failed } else { Exit::Ok }.into())
}

async fn agent(global: &Global) -> Result<AgentFound, Failure> {
    let client = match Client::new(global) {
        Ok(client) => client,
        Err(Failure::Told(_)) => {
            let why = "its socket is not known as long as the config has mistakes".to_owned();
            return Ok(AgentFound::Nobody {
                why,
                next: "mend the config, or name the socket with --socket".to_owned(),
            });
        }
        Err(failure) => return Err(failure),
    };
    match client.get_from::<_, State>(route::STATE, &(), client::ASK).await {
        Ok((state, socket)) => Ok(AgentFound::Answers { socket, state: Box::new(state) }),
        Err(Failure::Told(report)) => {
            let (why, next) = (report.message, report.hint.unwrap_or_default());
            Ok(match report.exit {
                Exit::NoAgent => AgentFound::Nobody { why, next },
                _ => AgentFound::Trouble { why, next },
            })
        }
        Err(failure) => Err(failure),
    }
}

fn shown(diagnosis: &Diagnosis) -> String {
    let mut table = table(&["RESULT", "CHECK", "MIRROR", "FOUND"]);
    for check in &diagnosis.checks {
        let color = match check.verdict {
            Verdict::Ok => Color::Green,
            Verdict::Warning => Color::Yellow,
            Verdict::Wrong => Color::Red,
        };
        table.add_row(vec![
            Cell::new(check.verdict).fg(color),
            clean(&check.check).into(),
            clean(check.mirror.as_deref().unwrap_or("-")).into(),
            found(check).into(),
        ]);
    }
    let number = |verdict| diagnosis.checks.iter().filter(|check| check.verdict == verdict).count() as u64;
    let all = things(diagnosis.checks.len() as u64, "check");
    let warnings = things(number(Verdict::Warning), "warning");
    format!("{}{all}: {} wrong, {warnings}\n", lines(&table), number(Verdict::Wrong))
}

/// What was found, and below it the next step.
fn found(check: &Check) -> String {
    let mut text: Vec<String> = check.found.lines().map(|line| clean(line).into_owned()).collect();
    if let Some(next) = &check.next {
        text.push(format!("{HINT}next:{HINT:#} {}", clean(next)));
    }
    text.join("\n")
}
