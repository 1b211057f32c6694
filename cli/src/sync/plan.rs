//! `gosync sync plan`, and the plan of a first run: what would be done, in its order.

use gosync_api::Exit;
use gosync_api::messages::{MirrorPlan, PlanRequest, Plans, route};
use gosync_api::words::Status;

use super::{LISTING, tables};
use crate::args::PlanArgs;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::style::{STRONG, WARN, bytes, clean, count, lines, table, things};

/// Problems that a table names.
const PROBLEMS_MAX: usize = 10;

pub async fn run(args: &PlanArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let request = PlanRequest { name: args.name.clone(), all: args.all };
    let plans: Plans = client.work(route::PLAN, &request, LISTING, |_| {}).await?;
    output.result(&plans, |plans| plans.plans.iter().map(render).collect::<Vec<_>>().join("\n"))?;
    if plans.plans.is_empty() {
        output.note("there is no mirror yet; make one with `gosync sync mirror <folder> <s3-path>`");
    }
    Ok(Exit::Ok)
}

pub fn render(plan: &MirrorPlan) -> String {
    let (strong, warn) = (STRONG, WARN);
    let paths = format!("{}, {}", clean(&plan.local_path), clean(&plan.s3_path));
    let mut out = format!("{strong}{}{strong:#}  {paths}\n", clean(&plan.mirror));
    if plan.status == Status::Paused {
        out += "paused: this is what it would do once it is resumed\n";
    }
    if !plan.steps.is_empty() {
        let mut table = table(&["ACTION", "SIZE", "PATH", "WHY"]);
        for step in &plan.steps {
            let waits = step.waits_for.map(|reason| format!(" (waits for {reason})")).unwrap_or_default();
            let moved = if step.moved { " (its content stands under another path)" } else { "" };
            table.add_row([
                clean(&step.action).into_owned(),
                if step.bytes > 0 { bytes(step.bytes) } else { "-".to_owned() },
                clean(&step.path).into_owned(),
                format!("{}{moved}{waits}", tables::text(&step.why)),
            ]);
        }
        out += &lines(&table);
    }
    if plan.steps_left_out > 0 {
        out += &format!("and {} more: see --all\n", count(plan.steps_left_out));
    }
    let total = |(action, total): (&String, &gosync_api::messages::PlanTotal)| {
        let size = if total.bytes > 0 { format!(" ({})", bytes(total.bytes)) } else { String::new() };
        format!("{} {}{size}", clean(action), count(total.files))
    };
    let totals: Vec<String> = plan.totals.iter().map(total).collect();
    out += &match totals.is_empty() {
        true if plan.waiting.is_empty() => "nothing to do\n".to_owned(),
        true => String::new(),
        false => format!("in all: {}\n", totals.join(", ")),
    };
    for halt in &plan.halts {
        let waiting = plan.waiting.get(&halt.reason).copied().unwrap_or_default();
        let (would, id) = if halt.id.is_empty() { ("would halt", "") } else { ("halted", halt.id.as_str()) };
        let id = if id.is_empty() { String::new() } else { format!(" {}", clean(id)) };
        let number = if waiting > 0 { format!("; {} would wait", things(waiting, "operation")) } else { String::new() };
        out += &format!("{warn}{would}{id}: {}{warn:#}: {}{number}\n", halt.reason, tables::text(&halt.message));
    }
    if plan.under_way > 0 {
        out += &format!("{} under way at this moment are not in it\n", things(plan.under_way, "path"));
    }
    let problems = plan.problems.len() as u64 + plan.problems_left_out;
    if problems > 0 {
        out += &format!("left alone: {}\n", things(problems, "path"));
        for problem in plan.problems.iter().take(PROBLEMS_MAX) {
            out += &format!("  {}: {}\n", clean(&problem.path), tables::text(&problem.reason));
        }
        if problems > PROBLEMS_MAX as u64 {
            out += &format!("  and {} more: see --format json\n", count(problems - PROBLEMS_MAX as u64));
        }
    }
    out
}
