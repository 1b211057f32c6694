//! `gosync sync state` for people: the agent in a few lines, then a block for each mirror. What is all right takes one
//! line; what is not says since when, and what to do.

use gosync_api::messages::{Conditions, Halt, MirrorState, Proof, State};
use gosync_api::words::Direction;
use jiff::Timestamp;

use super::tables;
use crate::style::{ERROR, FAINT, HINT, STRONG, WARN, ago, bytes, clean, count, of_status, since, span, things};

/// Paths that are shown of each mirror; JSON has more.
const PATHS_MAX: usize = 10;

pub fn render(state: &State, now: Timestamp) -> String {
    let mut page = Page::default();
    agent(state, now, &mut page);
    for mirror in &state.mirrors {
        page.blank();
        block(mirror, now, &mut page);
    }
    if state.mirrors.is_empty() {
        page.blank();
        page.plain("no mirrors yet; make one with `gosync sync mirror <folder> <s3-path>`");
    }
    page.0
}

/// Lines of label and value.
#[derive(Default)]
struct Page(String);

impl Page {
    fn plain(&mut self, text: &str) {
        self.0 += text;
        self.0.push('\n');
    }

    fn blank(&mut self) {
        self.0.push('\n');
    }

    fn line(&mut self, label: &str, value: &str) {
        self.styled(label, value, FAINT);
    }

    /// A line whose label stands out. Further lines of the value go below its first.
    fn styled(&mut self, label: &str, value: &str, style: anstyle::Style) {
        let mut label = label;
        for line in value.lines() {
            self.0 += &format!("  {style}{label:<10}{style:#} {line}\n");
            label = "";
        }
    }
}

fn agent(state: &State, now: Timestamp, page: &mut Page) {
    let (strong, device) = (STRONG, clean(&state.device));
    let up = state.started.map(|started| format!(", up {}", span(crate::style::age(started, now))));
    page.plain(&format!(
        "{strong}gosync {}{strong:#} on {device}, pid {}{}",
        clean(&state.version),
        state.pid,
        up.unwrap_or_default()
    ));
    page.line("data", &clean(&state.data_dir));
    for (index, file) in state.config_files.iter().enumerate() {
        page.line(if index == 0 { "config" } else { "" }, &clean(file));
    }
    if let Some(metrics) = &state.metrics {
        page.line("metrics", &format!("http://{}/metrics", clean(metrics)));
    }
    if let Some(problem) = &state.metrics_problem {
        page.styled("metrics", &format!("off: {}", tables::text(problem)), WARN);
    }
    for dependency in &state.dependencies {
        let (up, style) = if dependency.up { ("up", FAINT) } else { ("down", ERROR) };
        page.styled("needs", &format!("{}: {up}{}", clean(&dependency.name), since(dependency.since, now)), style);
    }
    for change in &state.restart_needed {
        page.styled("restart", &format!("needed for {}", clean(change)), WARN);
    }
}

fn block(mirror: &MirrorState, now: Timestamp, page: &mut Page) {
    let (strong, status) = (STRONG, of_status(mirror.status));
    page.plain(&format!(
        "{strong}{}{strong:#}  {status}{}{status:#}, {}",
        clean(&mirror.name),
        mirror.status,
        mirror.phase
    ));
    let arrow = match mirror.direction {
        Direction::TwoWay => "<->",
        Direction::Push => "-->",
        Direction::Pull => "<--",
    };
    page.line("paths", &format!("{} {arrow} {}", clean(&mirror.local_path), clean(&mirror.s3_path)));
    if let Some(file) = &mirror.config_file {
        page.line("defined in", &clean(file));
    }
    if let Some(copy) = &mirror.copy_of {
        let of: String = clean(&copy.replica).chars().take(8).collect();
        let found = ago(copy.since, now);
        page.styled(
            "copy of",
            &format!("another agent's folder ({of}), found out {found}: a replica of its own now"),
            WARN,
        );
    }
    page.line("files", &format!("{} ({})", count(mirror.files), bytes(mirror.bytes)));
    page.line("pending", &pending(mirror));
    let conflicts = match mirror.conflicts {
        0 => "none".to_owned(),
        number => format!("{}: see `gosync sync conflicts {}`", count(number), clean(&mirror.name)),
    };
    page.styled("conflicts", &conflicts, if mirror.conflicts > 0 { WARN } else { FAINT });
    page.line("last sync", &ago(mirror.last_sync, now));
    if !mirror.watch.watching {
        let why = mirror.watch.why_polling.as_deref().map(|why| format!(": {}", clean(why))).unwrap_or_default();
        page.line("watch", &format!("polling{why}"));
    }
    page.line("store", &conditions(&mirror.store.conditions));
    for weaker in mirror.root.weaker.iter().chain(&mirror.store.weaker) {
        page.styled("weaker", &tables::text(weaker), WARN);
    }
    for halt in &mirror.halts {
        show_halt(halt, now, page);
    }
    for error in &mirror.errors {
        let text = format!("{}{}: {}", clean(&error.class), since(error.since, now), tables::text(&error.message));
        page.styled("error", &text, ERROR);
    }
    paths(mirror, now, page);
}

fn pending(mirror: &MirrorState) -> String {
    let queue = &mirror.queue;
    let named = queue.uploads + queue.downloads + queue.deletes;
    let kinds = [
        (queue.running, "running"),
        (queue.uploads, "to upload"),
        (queue.downloads, "to download"),
        (queue.deletes, "to delete"),
        (queue.others, if named == 0 { "waiting" } else { "others" }),
        (queue.hints, "to look at"),
    ];
    let kinds: Vec<String> = kinds
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, kind)| format!("{} {kind}", count(*number)))
        .collect();
    let mut text = match mirror.pending.files {
        0 => "nothing".to_owned(),
        files => tables::files(files, mirror.pending.bytes),
    };
    if !kinds.is_empty() {
        text += &format!("; {}", kinds.join(", "));
    }
    if mirror.lag_seconds >= 1.0 {
        text += &format!("; the oldest waits for {} s", mirror.lag_seconds.round());
    }
    text
}

/// Conditions by what is known of them.
fn conditions(conditions: &Conditions) -> String {
    let all = [
        ("create", conditions.create),
        ("replace", conditions.replace),
        ("multipart", conditions.multipart),
        ("delete", conditions.delete),
        ("copy", conditions.copy),
        ("versions", conditions.versions),
    ];
    let of = |proof: Proof| {
        let names: Vec<&str> = all.iter().filter(|(_, of)| *of == proof).map(|(name, _)| *name).collect();
        (!names.is_empty()).then(|| format!("{proof}: {}", names.join(", ")))
    };
    let parts: Vec<String> = Proof::ALL.iter().filter_map(|proof| of(*proof)).collect();
    parts.join("; ")
}

fn show_halt(halt: &Halt, now: Timestamp, page: &mut Page) {
    let (strong, hint) = (STRONG, HINT);
    let meaning = halt.reason.meaning();
    page.styled(
        "halt",
        &format!("{strong}{}{strong:#} {}{}", clean(&halt.id), halt.reason, since(halt.since, now)),
        ERROR,
    );
    page.line("", &tables::text(&halt.message));
    if !halt.counts.is_empty() {
        let counts: Vec<String> =
            halt.counts.iter().map(|(name, number)| format!("{} {}", clean(name), count(*number))).collect();
        page.line("", &counts.join(", "));
    }
    for path in &halt.paths {
        page.line("", &format!("  {}", clean(path)));
    }
    page.line("", &format!("meanwhile goes on: {}", meaning.goes_on));
    for answer in &halt.answers {
        let option = answer.answer.map(|answer| format!(" --answer {answer}")).unwrap_or_default();
        page.line(
            "",
            &format!(
                "{hint}gosync sync {} {}{option}{hint:#}: {}",
                answer.verb,
                clean(&halt.id),
                clean(&answer.effect)
            ),
        );
    }
    if let Some(clears) = meaning.clears_itself {
        page.line("", &format!("ends by itself when {clears}"));
    }
}

fn paths(mirror: &MirrorState, now: Timestamp, page: &mut Page) {
    if mirror.paths.is_empty() {
        if mirror.problems > 0 {
            page.styled("problems", &things(mirror.problems, "path"), WARN);
        }
        return;
    }
    let all = mirror.paths.len() as u64 + mirror.paths_left_out;
    page.styled("attention", &things(all, "path"), WARN);
    for note in mirror.paths.iter().take(PATHS_MAX) {
        let reason = if note.reason.is_empty() { String::new() } else { format!(": {}", clean(&note.reason)) };
        page.line("", &format!("{:<9} {}{reason}{}", note.state, clean(&note.path), since(note.since, now)));
    }
    if all > PATHS_MAX as u64 {
        page.line("", &format!("and {} more: see --format json", count(all - PATHS_MAX as u64)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may stop at the first surprise
    use gosync_api::messages::{Dependency, ErrorNow, HaltAnswer, PathNote, Pending, Queue, StoreState, WatchState};
    use gosync_api::words::{HaltReason, PathState, Phase, Status};

    use super::*;

    fn at(time: &str) -> Option<Timestamp> {
        format!("2026-11-22T{time}Z").parse().ok()
    }

    fn plain(state: &State) -> String {
        anstream::adapter::strip_str(&render(state, at("12:00:00").unwrap())).to_string()
    }

    fn agent() -> State {
        State {
            version: "0.1.0".into(),
            device: "laptop".into(),
            pid: 4711,
            started: at("09:00:00"),
            data_dir: "/home/you/.gosync".into(),
            config_files: vec!["/home/you/.gosync/config.yaml".into()],
            metrics: Some("127.0.0.1:9754".into()),
            ..State::default()
        }
    }

    fn healthy() -> MirrorState {
        MirrorState {
            name: "documents".into(),
            local_path: "/home/you/Documents".into(),
            s3_path: "s3://my-bucket/documents".into(),
            phase: Phase::Idle,
            files: 1_204,
            bytes: 3 << 30,
            last_sync: at("11:59:48"),
            watch: WatchState { watching: true, why_polling: None },
            store: StoreState {
                conditions: Conditions {
                    create: Proof::Proven,
                    replace: Proof::Proven,
                    multipart: Proof::Proven,
                    delete: Proof::Missing,
                    copy: Proof::Untested,
                    versions: Proof::Missing,
                },
                weaker: Vec::new(),
            },
            ..MirrorState::default()
        }
    }

    #[test]
    fn a_healthy_mirror_takes_a_few_lines() {
        insta::assert_snapshot!(plain(&State { mirrors: vec![healthy()], ..agent() }), @"
        gosync 0.1.0 on laptop, pid 4711, up 3h
          data       /home/you/.gosync
          config     /home/you/.gosync/config.yaml
          metrics    http://127.0.0.1:9754/metrics

        documents  active, idle
          paths      /home/you/Documents <-> s3://my-bucket/documents
          files      1,204 (3.00 GiB)
          pending    nothing
          conflicts  none
          last sync  12s ago
          store      proven: create, replace, multipart; missing: delete, versions; untested: copy
        ");
    }

    #[test]
    fn no_mirrors_lead_to_the_next_step() {
        insta::assert_snapshot!(plain(&agent()), @"
        gosync 0.1.0 on laptop, pid 4711, up 3h
          data       /home/you/.gosync
          config     /home/you/.gosync/config.yaml
          metrics    http://127.0.0.1:9754/metrics

        no mirrors yet; make one with `gosync sync mirror <folder> <s3-path>`
        ");
    }

    #[test]
    fn trouble_says_what_since_when_and_what_to_do() {
        let mirror = MirrorState {
            status: Status::Halted,
            phase: Phase::Syncing,
            config_file: Some("/home/you/.gosync/config.yaml".into()),
            pending: Pending { files: 42, bytes: 5 << 20 },
            queue: Queue { running: 2, uploads: 40, ..Queue::default() },
            lag_seconds: 61.7,
            conflicts: 2,
            problems: 1,
            watch: WatchState { watching: false, why_polling: Some("no watches are left".into()) },
            store: StoreState {
                weaker: vec!["a delete may overtake an edit of another tool".into()],
                ..healthy().store
            },
            halts: vec![Halt {
                id: "h1".into(),
                reason: HaltReason::TooManyDeletes,
                since: at("11:55:00"),
                message: "600 of 1,204 files were deleted within 10 minutes".into(),
                counts: [("deletes".to_owned(), 600), ("of".to_owned(), 1_204)].into(),
                answers: HaltAnswer::of(HaltReason::TooManyDeletes),
                paths: vec!["a.txt".into(), "b\n.txt".into()],
            }],
            errors: vec![ErrorNow {
                class: "endpoint".into(),
                message: "s3.example.org:443: connection refused; see that the store runs".into(),
                since: at("11:58:00"),
            }],
            paths: (0..11)
                .map(|number| PathNote {
                    path: format!("open-{number}.db"),
                    state: PathState::Busy,
                    reason: "held open by another program".into(),
                    since: at("10:00:00"),
                })
                .collect(),
            paths_left_out: 3,
            ..healthy()
        };
        let state = State {
            mirrors: vec![mirror],
            metrics: None,
            metrics_problem: Some("127.0.0.1:9754 is taken".into()),
            dependencies: vec![Dependency { name: "s3".into(), up: false, since: at("11:58:00") }],
            restart_needed: vec!["data_dir".into()],
            ..agent()
        };
        insta::assert_snapshot!(plain(&state), @r"
        gosync 0.1.0 on laptop, pid 4711, up 3h
          data       /home/you/.gosync
          config     /home/you/.gosync/config.yaml
          metrics    off: 127.0.0.1:9754 is taken
          needs      s3: down for 2m
          restart    needed for data_dir

        documents  halted, syncing
          paths      /home/you/Documents <-> s3://my-bucket/documents
          defined in /home/you/.gosync/config.yaml
          files      1,204 (3.00 GiB)
          pending    42 files (5.00 MiB); 2 running, 40 to upload; the oldest waits for 62 s
          conflicts  2: see `gosync sync conflicts documents`
          last sync  12s ago
          watch      polling: no watches are left
          store      proven: create, replace, multipart; missing: delete, versions; untested: copy
          weaker     a delete may overtake an edit of another tool
          halt       h1 too-many-deletes for 5m
                     600 of 1,204 files were deleted within 10 minutes
                     deletes 600, of 1,204
                       a.txt
                       b\n.txt
                     meanwhile goes on: creations and edits
                     gosync sync approve h1: do the deletes
                     gosync sync deny h1: bring back what was deleted
                     ends by itself when fewer deletes remain
          error      endpoint for 2m: s3.example.org:443: connection refused; see that the store runs
          attention  14 paths
                     busy      open-0.db: held open by another program for 2h
                     busy      open-1.db: held open by another program for 2h
                     busy      open-2.db: held open by another program for 2h
                     busy      open-3.db: held open by another program for 2h
                     busy      open-4.db: held open by another program for 2h
                     busy      open-5.db: held open by another program for 2h
                     busy      open-6.db: held open by another program for 2h
                     busy      open-7.db: held open by another program for 2h
                     busy      open-8.db: held open by another program for 2h
                     busy      open-9.db: held open by another program for 2h
                     and 4 more: see --format json
        ");
    }
}
