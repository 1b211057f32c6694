//! `gosync sync explain`: one screen for a path, from what it is to what it waits for.

use std::path::{Component, Path, PathBuf};

use gosync_api::Exit;
use gosync_api::messages::{Entry, ExplainRequest, Explained, Explanation, LastChange, route};
use gosync_api::words::PathState;
use jiff::Timestamp;

use super::tables;
use crate::args::ExplainArgs;
use crate::client::{ASK, Client};
use crate::failure::Failure;
use crate::output::Output;
use crate::style::{ERROR, FAINT, GOOD, HINT, STRONG, WARN, age, ago, bytes, clean, count, of_status, span, things};

/// Lines of a list that are shown; JSON has more.
const LINES_MAX: usize = 5;
/// Digits of a hash that tell contents apart for people.
const HASH_DIGITS: usize = 12;

pub async fn run(args: &ExplainArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let explained: Explained = client.get(route::EXPLAIN, &request(args)?, ASK).await?;
    output.result(&explained, |explained| render(explained, Timestamp::now()))?;
    Ok(Exit::Ok)
}

/// The path as it was written, and what it means in this folder: the agent runs in another one.
fn request(args: &ExplainArgs) -> Result<ExplainRequest, Failure> {
    let wrong = || Failure::usage(format!("the name {} is not UTF-8", args.path.display()), "no key can spell it");
    let text = args.path.to_str().ok_or_else(wrong)?.to_owned();
    let is_url = text.starts_with("s3://");
    let here = std::path::absolute(&args.path).ok().filter(|_| !is_url).map(|path| without_dots(&path));
    let real = here.as_deref().and_then(real);
    let spell = |path: PathBuf| path.to_str().map(str::to_owned);
    Ok(ExplainRequest {
        path: text,
        absolute: here.and_then(spell),
        real: real.and_then(spell),
        name: args.mirror.clone(),
    })
}

fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// Without symbolic links in the folders above it; the name itself may be one, and need not be there.
fn real(path: &Path) -> Option<PathBuf> {
    for folder in path.ancestors().skip(1) {
        if let Ok(real) = folder.canonicalize() {
            return Some(real.join(path.strip_prefix(folder).ok()?));
        }
    }
    None
}

fn render(explained: &Explained, now: Timestamp) -> String {
    let pages: Vec<String> = explained.paths.iter().map(|path| page(path, now)).collect();
    pages.join("\n")
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, label: &str, value: &str) {
        self.styled(label, value, FAINT);
    }

    fn styled(&mut self, label: &str, value: &str, style: anstyle::Style) {
        let mut label = label;
        for line in value.lines() {
            self.0 += &format!("  {style}{label:<12}{style:#} {line}\n");
            label = "";
        }
    }

    /// A list under one label, the first few of it.
    fn list(&mut self, label: &str, lines: impl ExactSizeIterator<Item = String>) {
        let all = lines.len();
        for (index, line) in lines.take(LINES_MAX).enumerate() {
            self.line(if index == 0 { label } else { "" }, &line);
        }
        if all > LINES_MAX {
            self.line("", &format!("and {} more: see --format json", all - LINES_MAX));
        }
    }
}

fn page(path: &Explanation, now: Timestamp) -> String {
    let mut page = Page::default();
    let name = if path.path.is_empty() { path.local_path.as_str() } else { path.path.as_str() };
    let (strong, (word, style)) = (STRONG, standing(path));
    page.0 += &format!("{strong}{}{strong:#}  {style}{word}{style:#}\n", clean(name));
    page.line("because", &tables::text(&path.why));
    if let Some(reason) = &path.reason {
        page.styled("reason", &tables::text(reason), WARN);
    }
    for halt in &path.halts {
        let message = format!("{} {}: {}", clean(&halt.id), halt.reason, tables::text(&halt.message));
        page.styled("halted by", &message, ERROR);
        for answer in &halt.answers {
            let hint = HINT;
            page.line(
                "",
                &format!("{hint}gosync sync {} {}{hint:#}: {}", answer.verb, clean(&halt.id), clean(&answer.effect)),
            );
        }
    }
    for wait in &path.waits {
        let until = wait.until.map(|until| match age(now, until) {
            left if left.is_zero() => ", due now".to_owned(),
            left => format!(", in {}", span(left)),
        });
        page.line("waits for", &format!("{}{}", tables::text(&wait.what), until.unwrap_or_default()));
    }
    for error in &path.errors {
        page.styled("error", &format!("{}: {}", clean(&error.class), tables::text(&error.message)), ERROR);
    }
    let status = of_status(path.status);
    page.line(
        "mirror",
        &format!("{}, {status}{}{status:#}, {}, {}", clean(&path.mirror), path.status, path.phase, path.direction),
    );
    page.line("here", &clean(&path.local_path));
    if let Some(local) = &path.local {
        page.line("", &entry(local, now));
    }
    page.line("bucket", &clean(&path.s3_path));
    if let Some(remote) = &path.remote {
        page.line("", &entry(remote, now));
    }
    if let Some(ancestor) = &path.ancestor {
        let by = if ancestor.by_agent { "; the object was sent by an agent" } else { "" };
        page.line("in step with", &format!("{}{by}", entry(ancestor, now)));
    } else if path.folder.is_none() && !path.path.is_empty() {
        page.line("in step with", "never was");
    }
    if let Some(change) = &path.last_change {
        page.line("last change", &last_change(change, now));
    }
    page.list(
        "under way",
        path.under_way.iter().map(|act| format!("{}, {}", tables::text(&act.what), ago(act.since, now))),
    );
    if let Some(original) = &path.copy_of {
        page.line("copy of", &clean(original));
    }
    page.list(
        "copies",
        path.copies.iter().map(|copy| {
            format!(
                "{} ({}), by {}, {}",
                clean(&copy.copy),
                bytes(copy.bytes),
                clean(&copy.device),
                ago(copy.since, now)
            )
        }),
    );
    page.list(
        "trash",
        path.trash.iter().map(|item| format!("{} ({}), {}", clean(&item.id), bytes(item.bytes), ago(item.since, now))),
    );
    if let Some(folder) = &path.folder {
        page.line("below it", &format!("{} ({})", things(folder.files, "file"), bytes(folder.bytes)));
        let counts: Vec<String> =
            folder.states.iter().map(|(state, number)| format!("{} {state}", count(*number))).collect();
        page.line("", &counts.join(", "));
        page.list("", folder.first.iter().map(|path| format!("{:<9} {}", clean(&path.reason), clean(&path.path))));
    }
    page.list("not asked", path.failed.iter().map(|line| tables::text(line)));
    page.0
}

fn standing(path: &Explanation) -> (String, anstyle::Style) {
    match path.state {
        Some(state @ PathState::Synced) => (state.to_string(), GOOD),
        Some(state @ (PathState::Problem | PathState::Held | PathState::Diverged)) => (state.to_string(), ERROR),
        Some(state) => (state.to_string(), WARN),
        None if path.ignored.is_some() => ("ignored".to_owned(), FAINT),
        None if path.folder.is_some() => ("folder".to_owned(), FAINT),
        None => ("not synced".to_owned(), FAINT),
    }
}

fn entry(entry: &Entry, now: Timestamp) -> String {
    let mut words = Vec::new();
    match entry.kind.as_str() {
        kind if kind == entry.change || entry.change.is_empty() => words.push(kind.replace('-', " ")),
        kind => words.push(format!("{} {}", clean(&entry.change), clean(kind))),
    }
    if entry.change == "deleted" {
        words = vec!["deleted".to_owned()];
    }
    words.extend(entry.bytes.map(bytes));
    if entry.modified.is_some() {
        words.push(format!("changed {}", ago(entry.modified, now)));
    }
    words.extend(entry.mode.as_ref().map(|mode| format!("mode {}", clean(mode))));
    words.extend(entry.etag.as_ref().map(|etag| format!("etag {}", clean(etag))));
    words.extend(entry.version.as_ref().map(|version| format!("version {}", clean(version))));
    words.extend(
        entry.hash.as_ref().map(|hash| format!("blake3 {}", clean(hash.get(..HASH_DIGITS).unwrap_or(hash.as_str())))),
    );
    if entry.open {
        words.push("read while it was open".to_owned());
    }
    words.extend(entry.message.as_ref().map(|message| tables::text(message)));
    words.join(", ")
}

fn last_change(change: &LastChange, now: Timestamp) -> String {
    let how = match change.how.as_str() {
        "uploaded" => ": uploaded from here",
        "found" => ": found in the bucket",
        _ => "",
    };
    let at = change.at.map(|at| format!(" {}", ago(Some(at), now))).unwrap_or_default();
    format!("{}{at}, noted by {}{how} (number {})", clean(&change.what), clean(&change.who), change.sequence)
}
