//! `gosync sync`: what is asked of the agent, and how its answers are shown.

use gosync_api::messages::{
    Acknowledged, Answered, Conflict, Conflicts, Entry, ErrorCode, ErrorNow, Explained, Explanation, Flushed, Line,
    List, ListEntry, MirrorMade, MirrorPlan, MirrorState, OddKey, PathReason, PlanStep, PlanTotal, Plans, Progress,
    Provisioned, Receipt, ReceiptPending, Restored, RestoredPath, State, Trash, TrashEntry, TrashSource, Verb,
    WaitsFor, route,
};
use gosync_api::words::{HaltReason, PathState, Status};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::error_of;
use crate::stand_in::{Asked, StandIn};

fn ago(hours: i64) -> Option<Timestamp> {
    Timestamp::now().checked_sub(SignedDuration::from_hours(hours)).ok()
}

fn list() -> List {
    let mirror = |name: &str, status, files| ListEntry {
        name: name.into(),
        local_path: format!("/home/you/{name}"),
        s3_path: format!("s3://bucket/{name}"),
        status,
        last_sync: ago(2),
        files,
    };
    List { mirrors: vec![mirror("documents", Status::Active, 1_234), mirror("photos", Status::Halted, 5)] }
}

fn receipt(flushed: bool) -> Receipt {
    let pending = if flushed {
        ReceiptPending::default()
    } else {
        ReceiptPending { files: 2, bytes: 2048, first: vec!["a.txt".into(), "b.txt".into()] }
    };
    Receipt {
        mirror: "documents".into(),
        device: "laptop".into(),
        cursor: Some("17-af".into()),
        flushed,
        hydrated: true,
        files: 3,
        bytes: 4096,
        pending,
        tree: Some("blake3:77".into()),
        reason: None,
        started: "2026-11-22T12:00:00Z".parse().ok(),
        finished: "2026-11-22T12:00:03Z".parse().ok(),
    }
}

fn lines<T: serde::Serialize>(lines: &[Line<T>]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::to_value(line).unwrap()).collect()
}

fn done<T: serde::Serialize>(result: T) -> Vec<Value> {
    lines(&[
        Line::Progress(Progress { step: "listing".into(), files: 3, ..Progress::default() }),
        Line::Note { message: "half way".into() },
        Line::Done { result },
    ])
}

fn asked(agent: &StandIn) -> Asked {
    agent.asked().last().cloned().unwrap()
}

#[test]
fn a_list_is_a_plain_table() {
    let ran = StandIn::new().with(route::LIST, &list()).run(&["sync", "list"]);
    insta::assert_snapshot!(ran.stdout, @"
    NAME       LOCAL PATH           S3 PATH                STATUS  LAST SYNC  FILES
    documents  /home/you/documents  s3://bucket/documents  active  2h ago     1,234
    photos     /home/you/photos     s3://bucket/photos     halted  2h ago     5
    ");
    assert_eq!(ran.code, 0);
}

#[test]
fn a_list_comes_as_json_and_yaml_too() {
    let list = list();
    let agent = StandIn::new().with(route::LIST, &list);
    let json: List = serde_json::from_str(&agent.run(&["sync", "list", "--format", "json"]).stdout).unwrap();
    assert_eq!(json, list);
    let yaml = agent.run(&["sync", "list", "--format=yaml"]).stdout;
    assert!(yaml.starts_with("mirrors:\n") && yaml.contains("name: documents"), "{yaml}");
}

#[test]
fn no_mirrors_are_an_empty_table_and_a_note() {
    let agent = StandIn::new().with(route::LIST, &List::default());
    let ran = agent.run(&["sync", "list"]);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("gosync sync mirror"), "{}", ran.stderr);
    let quiet = agent.run(&["sync", "list", "--quiet"]);
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (0, "", ""));
}

#[test]
fn a_state_as_json_is_what_the_agent_said() {
    let state = State { version: "0.1.0".into(), device: "laptop".into(), pid: 7, ..State::default() };
    let agent = StandIn::new().with(route::STATE, &state);
    let json: State = serde_json::from_str(&agent.run(&["--format", "json", "sync", "state"]).stdout).unwrap();
    assert_eq!(json, state);
    assert_eq!(asked(&agent).line, "GET /sync/state");
}

#[test]
fn a_mirror_is_asked_for_with_an_absolute_folder() {
    let made = MirrorMade {
        name: "docs".into(),
        local_path: "/home/you/docs".into(),
        s3_path: "s3://bucket/docs".into(),
        made_folder: true,
        dry_run: false,
        plan: None,
    };
    let agent = StandIn::new().with(route::MIRROR, &made);
    let ran = agent.run(&[
        "sync",
        "mirror",
        "docs",
        "/docs",
        "--name",
        "docs",
        "--ignore",
        "*.tmp,node_modules",
        "--no-bidirectional",
    ]);
    assert_eq!(
        ran.stdout,
        "docs: /home/you/docs is kept in step with s3://bucket/docs\nthe folder was not there: made it\n"
    );
    assert_eq!(asked(&agent).line, "POST /sync/mirror");
    assert_eq!(
        asked(&agent).body,
        json!({
            "local_path": agent.home().join("docs"),
            "s3_path": "/docs",
            "name": "docs",
            "ignore": ["*.tmp", "node_modules"],
            "direction": "push",
            "dry_run": false,
        })
    );
}

#[test]
fn a_mirror_can_be_waited_for() {
    let made = MirrorMade {
        name: "docs".into(),
        local_path: "/home/you/docs".into(),
        s3_path: "s3://bucket/docs".into(),
        made_folder: false,
        dry_run: false,
        plan: None,
    };
    let state = |status, hydrated| State {
        mirrors: vec![MirrorState {
            name: "docs".into(),
            status,
            hydrated,
            errors: vec![ErrorNow { class: "bucket".into(), message: "there is no bucket".into(), since: None }],
            ..MirrorState::default()
        }],
        ..State::default()
    };
    for (status, hydrated, code) in
        [(Status::Active, true, 0), (Status::Halted, false, 7), (Status::Paused, false, 1), (Status::Error, false, 1)]
    {
        let agent = StandIn::new().with(route::MIRROR, &made).with(route::STATE, &state(status, hydrated));
        let ran = agent.run(&["sync", "mirror", "docs", "/docs", "--wait"]);
        assert_eq!(ran.code, code, "{status}: {}", ran.stderr);
        assert_eq!(ran.stderr.contains("there is no bucket"), status == Status::Error, "{}", ran.stderr);
    }
}

fn planned() -> MirrorPlan {
    let step = |action: &str, path: &str, bytes, waits_for| PlanStep {
        action: action.into(),
        path: path.into(),
        bytes,
        why: "the rule".into(),
        waits_for,
        ..PlanStep::default()
    };
    MirrorPlan {
        mirror: "docs".into(),
        local_path: "/home/you/docs".into(),
        s3_path: "s3://bucket/docs".into(),
        steps: vec![
            step("upload", "a\n.txt", 2048, None),
            step("delete-object", "b.txt", 0, Some(HaltReason::TooManyDeletes)),
        ],
        steps_left_out: 3,
        totals: [("upload".to_owned(), PlanTotal { files: 4, bytes: 4096 })].into(),
        waiting: [(HaltReason::TooManyDeletes, 1)].into(),
        problems: vec![PathReason { path: "link".into(), reason: "not a regular file (symlink)".into() }],
        ..MirrorPlan::default()
    }
}

#[test]
fn the_dry_run_of_a_mirror_shows_the_plan_of_its_first_run() {
    let made = MirrorMade {
        name: "docs".into(),
        local_path: "/home/you/docs".into(),
        s3_path: "s3://bucket/docs".into(),
        made_folder: false,
        dry_run: true,
        plan: Some(planned()),
    };
    let agent = StandIn::new().with(route::MIRROR, &made);
    let ran = agent.run(&["sync", "mirror", "docs", "/docs", "--dry-run"]);
    assert_eq!((ran.code, &asked(&agent).body["dry_run"]), (0, &json!(true)), "{}", ran.stderr);
    assert!(
        ran.stdout.starts_with("docs: /home/you/docs would be kept in step with s3://bucket/docs\n"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("in all: upload 4 (4.00 KiB)"), "{}", ran.stdout);
}

#[test]
fn a_plan_is_shown_in_its_order_with_what_would_wait() {
    let agent = StandIn::new().with_lines(route::PLAN, &done(Plans { plans: vec![planned()] }));
    let ran = agent.run(&["sync", "plan", "docs"]);
    assert_eq!(asked(&agent).body, json!({"name": "docs", "all": false}));
    insta::assert_snapshot!(ran.stdout, @r"
    docs  /home/you/docs, s3://bucket/docs
    ACTION         SIZE      PATH     WHY
    upload         2.00 KiB  a\n.txt  the rule
    delete-object  -         b.txt    the rule (waits for too-many-deletes)
    and 3 more: see --all
    in all: upload 4 (4.00 KiB)
    left alone: 1 path
      link: not a regular file (symlink)
    ");
    assert_eq!(StandIn::new().run(&["sync", "plan", "a", "b"]).code, 2);
}

#[test]
fn a_path_is_sent_as_it_is_written_and_as_it_lies_here() {
    let path = Explanation {
        mirror: "docs".into(),
        path: "notes/to\u{1b}day.txt".into(),
        local_path: "/home/you/docs/notes/today.txt".into(),
        s3_path: "s3://bucket/docs/notes/today.txt".into(),
        state: Some(PathState::Pending),
        decision: "upload".into(),
        why: "changed here".into(),
        local: Some(Entry { kind: "file".into(), change: "edited".into(), bytes: Some(3), ..Entry::default() }),
        remote: Some(Entry { kind: "absent".into(), change: "deleted".into(), ..Entry::default() }),
        waits: vec![WaitsFor { what: "the mirror to be resumed".into(), until: None }],
        ..Explanation::default()
    };
    let agent = StandIn::new().with(route::EXPLAIN, &Explained { paths: vec![path] });
    let ran = agent.run(&["sync", "explain", "notes/../notes/today.txt", "--mirror", "docs"]);
    insta::assert_snapshot!(ran.stdout, @r"
    notes/to\u{1b}day.txt  pending
      because      changed here
      waits for    the mirror to be resumed
      mirror       docs, active, waiting, two-way
      here         /home/you/docs/notes/today.txt
                   edited file, 3 B
      bucket       s3://bucket/docs/notes/today.txt
                   deleted
      in step with never was
    ");
    let line = asked(&agent).line;
    assert!(line.starts_with("GET /sync/explain?path=notes%2F..%2Fnotes%2Ftoday.txt&absolute="), "{line}");
    assert!(!line.split("absolute=").nth(1).unwrap().contains("..") && line.ends_with("&name=docs"), "{line}");
}

#[test]
fn an_s3_path_that_is_none_is_refused_before_anybody_is_asked() {
    let agent = StandIn::new();
    let ran = agent.run(&["sync", "provision", "docs"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("write /docs"), "{}", ran.stderr);
    let error = error_of(&agent.run(&["sync", "provision", "docs", "--format", "json"]));
    assert_eq!(error["code"], "usage");
    assert!(error["message"].as_str().unwrap().contains("write /docs"), "{error}");
    assert_eq!(agent.asked().len(), 0);
}

#[test]
fn provision_tells_what_it_found() {
    let result = Provisioned {
        s3_path: "s3://bucket/docs".into(),
        keys: 12_345,
        bytes: 3 << 30,
        added: 12_000,
        updated: 1,
        list_requests: 13,
        odd_keys: 3,
        odd_first: vec![OddKey { key: "docs//x".into(), reason: "holds an empty name".into() }],
        dry_run: false,
    };
    let agent = StandIn::new().with_lines(route::PROVISION, &done(&result));
    let ran = agent.run(&["sync", "provision", "/docs"]);
    insta::assert_snapshot!(ran.stdout, @"
    took over 12,345 keys (3.00 GiB) of s3://bucket/docs: 12,000 new, 1 changed, 13 listing requests
    3 keys can't be files and stay in the bucket only:
      docs//x: holds an empty name
      and 2 more
    ");
    assert_eq!(ran.stderr, "half way\n");
    assert_eq!(asked(&agent).body, json!({"s3_path": "/docs", "dry_run": false, "recursive": true}));
    let json = agent.run(&["sync", "provision", "/docs", "--recursive=false", "--dry-run", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Provisioned>(&json.stdout).unwrap(), result);
    assert_eq!(json.stderr, "");
    assert_eq!(asked(&agent).body, json!({"s3_path": "/docs", "dry_run": true, "recursive": false}));
}

#[test]
fn work_whose_answer_breaks_off_is_no_success() {
    let lines = lines::<Provisioned>(&[Line::Progress(Progress::default())]);
    let ran = StandIn::new().with_lines(route::PROVISION, &lines).run(&["sync", "provision", "/docs"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("broke off") && ran.stderr.contains("gosync sync state"), "{}", ran.stderr);
}

#[test]
fn a_last_line_needs_no_newline_and_unknown_lines_are_passed_over() {
    let body = "{\"type\":\"weather\"}\n\n{\"type\":\"done\",\"result\":{\"receipts\":[]}}";
    let ran = StandIn::new().raw(route::FLUSH, 200, body.into()).run(&["sync", "flush"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn pause_resume_and_remove_repeat_what_the_agent_says() {
    for (verb, route) in [("pause", route::PAUSE), ("resume", route::RESUME), ("remove", route::REMOVE)] {
        let answer = Acknowledged { name: "docs".into(), message: format!("{verb} it is") };
        let agent = StandIn::new().with(route, &answer);
        let ran = agent.run(&["sync", verb, "docs"]);
        assert_eq!((ran.code, ran.stdout), (0, format!("{verb} it is\n")));
        assert_eq!(asked(&agent), Asked { line: format!("POST {route}"), body: json!({"name": "docs"}) });
        assert_eq!(agent.run(&["sync", verb, "docs", "-q"]).stdout, "");
    }
}

#[test]
fn a_flush_shows_its_receipt() {
    let agent = StandIn::new().with_lines(route::FLUSH, &done(Flushed { receipts: vec![receipt(true)] }));
    let ran = agent.run(&["sync", "flush", "documents", "--wait", "--timeout", "5m"]);
    insta::assert_snapshot!(ran.stdout, @"
    documents: flushed
      files     3 (4.00 KiB)
      cursor    17-af
      tree      blake3:77
      took      3s
    ");
    assert_eq!(ran.code, 0);
    assert_eq!(asked(&agent).body, json!({"name": "documents", "wait": true, "timeout_seconds": 300}));
}

#[test]
fn a_flush_that_was_waited_for_and_left_something_behind_failed() {
    let agent = StandIn::new().with_lines(route::FLUSH, &done(Flushed { receipts: vec![receipt(false)] }));
    let ran = agent.run(&["sync", "flush", "--wait"]);
    assert_eq!(ran.code, 1);
    insta::assert_snapshot!(ran.stdout, @"
    documents: not flushed, 2 files pending
      files     3 (4.00 KiB)
      pending   2 files (2.00 KiB)
                a.txt
                b.txt
      cursor    17-af
      tree      blake3:77
      took      3s
    ");
    assert!(ran.stderr.contains("not everything was flushed; "), "{}", ran.stderr);
    assert_eq!(agent.run(&["sync", "flush"]).code, 0);
}

#[test]
fn a_flush_of_a_halted_mirror_ends_with_7_however_the_agent_says_it() {
    let agent =
        StandIn::new().with_error(route::FLUSH, ErrorCode::Halted, "documents is halted", "see `gosync sync state`");
    assert_eq!(agent.run(&["sync", "flush", "--wait"]).code, 7);
    let error = json!({"type": "error", "error": {"code": "halted", "message": "documents is halted"}});
    let agent = StandIn::new().with_lines(route::FLUSH, &[error]);
    let ran = agent.run(&["sync", "flush", "--wait"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (7, "error: documents is halted\n"));
}

#[test]
fn conflicts_are_listed_with_what_to_do() {
    let conflicts = Conflicts {
        not_seen: Vec::new(),
        conflicts: vec![Conflict {
            mirror: "documents".into(),
            path: "plan.txt".into(),
            copy: "plan.conflict-20261122T100000Z-laptop-1a2b.txt".into(),
            bytes: 2048,
            since: ago(3),
            device: "laptop".into(),
        }],
    };
    let agent = StandIn::new().with(route::CONFLICTS, &conflicts);
    let ran = agent.run(&["sync", "conflicts", "documents"]);
    insta::assert_snapshot!(ran.stdout, @"
    MIRROR     PATH      COPY                                            SIZE      SINCE   DEVICE
    documents  plan.txt  plan.conflict-20261122T100000Z-laptop-1a2b.txt  2.00 KiB  3h ago  laptop
    ");
    assert!(ran.stderr.contains("delete or rename the copy"), "{}", ran.stderr);
    assert_eq!(asked(&agent).line, "GET /sync/conflicts?name=documents");
    agent.run(&["sync", "conflicts"]);
    assert_eq!(asked(&agent).line, "GET /sync/conflicts");
}

#[test]
fn answers_to_a_halt_tell_what_comes_of_them() {
    let answered = Answered {
        mirror: "documents".into(),
        reason: Some(HaltReason::TooManyDeletes),
        verb: Verb::Deny,
        message: "bringing back what was deleted".into(),
        restored: 39,
        lost: vec![PathReason { path: "a.txt".into(), reason: "no version is kept".into() }],
    };
    let agent = StandIn::new().with(route::DENY, &answered).with(route::APPROVE, &answered);
    let ran = agent.run(&["sync", "deny", "h1"]);
    insta::assert_snapshot!(ran.stdout, @"
    documents: too-many-deletes answered with deny; bringing back what was deleted
    39 files come back
    1 can't be had back:
      a.txt: no version is kept
    ");
    // What is named may be a halt, or a path as it is named from here.
    assert_eq!(asked(&agent).body, json!({"halt": "h1", "path": agent.home().join("h1"), "answer": null}));
    agent.run(&["sync", "approve", "h2", "--answer", "keep-both"]);
    assert_eq!(
        asked(&agent),
        Asked {
            line: "POST /sync/approve".into(),
            body: json!({"halt": "h2", "path": agent.home().join("h2"), "answer": "keep-both"})
        }
    );
    assert_eq!(agent.run(&["sync", "approve", "h2", "--answer", "maybe"]).code, 2);
}

#[test]
fn trash_is_listed_and_restored() {
    let trash = Trash {
        entries: vec![
            TrashEntry {
                id: "t1".into(),
                mirror: "documents".into(),
                path: "notes/\u{1b}[2Jtoday.txt".into(),
                bytes: 100,
                since: ago(2),
                source: TrashSource::Trash,
                reason: "deleted in the bucket".into(),
            },
            TrashEntry {
                id: "v2".into(),
                mirror: "documents".into(),
                path: "old.txt".into(),
                bytes: 1 << 20,
                since: None,
                source: TrashSource::Version,
                reason: String::new(),
            },
        ],
        more: true,
    };
    let restored = Restored {
        restored: vec![
            RestoredPath { mirror: "documents".into(), path: "a.txt".into(), to: "a.txt".into() },
            RestoredPath { mirror: "documents".into(), path: "b.txt".into(), to: "b.restored.txt".into() },
        ],
        failed: Vec::new(),
    };
    let failed = Restored {
        failed: vec![PathReason { path: "c.txt".into(), reason: "nothing is kept of it".into() }],
        ..restored.clone()
    };
    let agent = StandIn::new().with(route::TRASH_LIST, &trash).with(route::TRASH_RESTORE, &restored);
    insta::assert_snapshot!(agent.run(&["sync", "trash", "list", "documents", "--under", "a b"]).stdout, @r"
    ID  MIRROR     PATH                      SIZE      SINCE   FROM     WHY
    t1  documents  notes/\u{1b}[2Jtoday.txt  100 B     2h ago  trash    deleted in the bucket
    v2  documents  old.txt                   1.00 MiB  -       version
    ");
    assert_eq!(asked(&agent).line, "GET /sync/trash/list?name=documents&under=a+b");
    let ran = agent.run(&["sync", "trash", "restore", "a.txt", "b.txt", "--mirror", "documents"]);
    insta::assert_snapshot!(ran.stdout, @"
    documents: restored a.txt
    documents: restored b.txt as b.restored.txt
    ");
    assert_eq!(ran.code, 0);
    assert_eq!(asked(&agent).body, json!({"name": "documents", "what": ["a.txt", "b.txt"]}));
    let agent = agent.with(route::TRASH_RESTORE, &failed);
    let ran = agent.run(&["sync", "trash", "restore", "c.txt"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("c.txt: nothing is kept of it"), "{}", ran.stdout);
    assert!(ran.stderr.contains("1 could not be restored"), "{}", ran.stderr);
}
