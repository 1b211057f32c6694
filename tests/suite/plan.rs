//! `sync plan` and dry runs: nothing changes anywhere, and the real run does what was printed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use gosync_tests::agent::Agent;
use gosync_tests::pair::{MIRROR, PREFIX, Pair, Tree, contents, tree, write};
use gosync_tests::proxy::Kind;
use serde_json::{Value, json};

/// Everything there is, byte for byte: the folder with what is ours in it, the bucket, and what the agent remembers.
#[derive(PartialEq)]
struct World {
    folder: BTreeMap<String, Option<Bytes>>,
    bucket: Tree,
    data: BTreeMap<String, Option<Bytes>>,
}

impl World {
    async fn now(pair: &Pair) -> Self {
        Self {
            folder: everything(&pair.root),
            bucket: pair.bucket.contents("").await,
            data: everything(&pair.home.path().join("data")),
        }
    }

    fn is(&self, before: &Self) {
        let differs = |a: &BTreeMap<String, Option<Bytes>>, b: &BTreeMap<String, Option<Bytes>>| {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            names.into_iter().filter(|name| a.get(*name) != b.get(*name)).cloned().collect::<Vec<_>>()
        };
        assert_eq!(differs(&self.folder, &before.folder), [""; 0], "in the folder");
        assert_eq!(differs(&self.data, &before.data), [""; 0], "in the agent's data");
        assert!(self.bucket == before.bucket, "in the bucket");
    }
}

/// Files with their contents, all else by name.
fn everything(folder: &Path) -> BTreeMap<String, Option<Bytes>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if name.ends_with("-shm") {
                // Who reads a database notes it there, in memory that is shared.
                continue;
            }
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                folders.push(path.clone());
            }
            found.insert(name, kind.is_file().then(|| std::fs::read(&path).unwrap().into()));
        }
    }
    found
}

fn plan(agent: &Agent) -> Value {
    let plans = agent.ask(&["sync", "plan", MIRROR, "--all"]);
    plans["plans"][0].clone()
}

fn paths(plan: &Value, actions: &[&str]) -> BTreeSet<String> {
    let steps = plan["steps"].as_array().unwrap().iter();
    let chosen = steps.filter(|step| actions.contains(&step["action"].as_str().unwrap()));
    chosen.map(|step| step["path"].as_str().unwrap().to_owned()).collect()
}

/// The paths of what had an effect through the proxy; conflict copies, which follow from a conflict, aside. What a hint led
/// to may fail by its precondition first.
fn sent(pair: &Pair, counts: impl Fn(Kind) -> bool) -> BTreeSet<String> {
    let done = pair.requests(counts).into_iter().filter(|seen| matches!(seen.status, Some(200 | 204)));
    let paths = done.filter_map(|seen| seen.key.rsplit_once(PREFIX).map(|(_, path)| path.to_owned()));
    paths.filter(|path| !path.contains(".conflict-")).collect()
}

/// What went through since is what was planned.
fn was_done(pair: &Pair, plan: &Value) {
    assert_eq!(sent(pair, |kind| matches!(kind, Kind::Put | Kind::Copy)), paths(plan, &["upload"]), "uploads");
    assert_eq!(sent(pair, |kind| kind == Kind::Get), paths(plan, &["download", "conflict"]), "downloads");
    assert_eq!(sent(pair, |kind| kind == Kind::Delete), paths(plan, &["delete-object"]), "deletes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_changes_nothing_and_the_cycle_does_exactly_what_it_printed() {
    let pair = Pair::new().await;
    pair.fill(30, 3);
    pair.write_all(&tree([("edited", "1"), ("both", "2"), ("theirs", "3"), ("gone", "4"), ("gone-there", "5")]));
    let agent = pair.start().await;
    pair.both_hold(&pair.local()).await;
    agent.in_step(MIRROR).await;
    assert_eq!(plan(&agent)["steps"], json!([]));
    assert!(agent.run(&["sync", "pause", MIRROR]).status.success());

    pair.write_all(&tree([("edited", "edited here"), ("both", "here"), ("sub/new", "new here")]));
    std::fs::remove_file(pair.root.join("gone")).unwrap();
    std::fs::rename(pair.root.join("d0/f0000"), pair.root.join("d0/moved")).unwrap();
    // Its times move, its content doesn't.
    write(&pair.root.join("d1/f0001"), "content 1");
    pair.put_all(&tree([("theirs", "edited there"), ("both", "there!"), ("new-there", "new there")])).await;
    pair.delete_all(["gone-there"]).await;
    std::os::unix::fs::symlink("edited", pair.root.join("link")).unwrap();

    let before = World::now(&pair).await;
    pair.proxy.forget();
    let planned = plan(&agent);
    assert_eq!(pair.proxy.writes(), Vec::<String>::new());
    World::now(&pair).await.is(&before);
    assert_eq!(paths(&planned, &["upload"]), ["d0/moved", "edited", "sub/new"].map(str::to_owned).into());
    assert_eq!(paths(&planned, &["download"]), ["new-there", "theirs"].map(str::to_owned).into());
    assert_eq!(paths(&planned, &["conflict"]), ["both"].map(str::to_owned).into());
    assert_eq!(paths(&planned, &["delete-object"]), ["d0/f0000", "gone"].map(str::to_owned).into());
    assert_eq!(paths(&planned, &["trash-local"]), ["gone-there"].map(str::to_owned).into());
    let steps = planned["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 9, "{planned:#}");
    assert_eq!(steps.iter().find(|step| step["path"] == "d0/f0000").unwrap()["moved"], true);
    assert_eq!(planned["totals"]["upload"]["files"], 3);
    assert_eq!(planned["problems"][0]["path"], "link");
    assert_eq!((&planned["status"], &planned["halts"]), (&json!("paused"), &json!([])));
    let shown = String::from_utf8(agent.run(&["sync", "plan"]).stdout).unwrap();
    assert!(shown.contains("paused") && shown.contains("delete-object 2"), "{shown}");

    pair.proxy.forget();
    assert!(agent.run(&["sync", "resume", MIRROR]).status.success());
    agent.in_step(MIRROR).await;
    was_done(&pair, &planned);
    assert!(!pair.root.join("gone-there").exists());
    assert_eq!(agent.trash().len(), 1);
    assert_eq!(plan(&agent)["steps"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_the_halt_that_the_cycle_then_runs_into() {
    let (pair, agent, _) = Pair::filled(40).await;
    agent.in_step(MIRROR).await;
    assert!(agent.run(&["sync", "pause", MIRROR]).status.success());
    for folder in ["d0", "d1"] {
        std::fs::remove_dir_all(pair.root.join(folder)).unwrap();
    }
    write(&pair.root.join("new"), "new");
    let before = World::now(&pair).await;
    let planned = plan(&agent);
    World::now(&pair).await.is(&before);
    assert_eq!(planned["halts"][0]["reason"], "too-many-deletes", "{planned:#}");
    assert_eq!(planned["waiting"], json!({"too-many-deletes": 27}));
    assert_eq!(planned["totals"], json!({"upload": {"files": 1, "bytes": 3}}));
    assert_eq!(agent.mirror(MIRROR)["halts"], json!([]), "the plan halts nothing");

    pair.proxy.forget();
    assert!(agent.run(&["sync", "resume", MIRROR]).status.success());
    let halt = agent.halted(MIRROR, &["too-many-deletes"]).await;
    pair.goes_up("new").await;
    assert_eq!(sent(&pair, Kind::writes), ["new".to_owned()].into());
    let again = plan(&agent);
    assert_eq!((&again["halts"][0]["id"], &again["waiting"]), (&json!(halt), &planned["waiting"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dry_run_of_a_mirror_writes_nothing_and_the_first_run_does_what_it_printed() {
    let mut pair = Pair::new().await;
    pair.config["syncs"] = json!([]);
    pair.write_all(&tree([("here", "only here"), ("same", "same"), ("sub/differs", "mine")]));
    pair.put_all(&tree([("there", "only there"), ("same", "same"), ("sub/differs", "theirs")])).await;
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    let root = pair.root.to_str().unwrap();
    let before = World::now(&pair).await;
    let made = agent.ask(&["sync", "mirror", root, "/docs", "--dry-run"]);
    World::now(&pair).await.is(&before);
    assert!(!pair.root.join(".gosync").exists());
    assert_eq!(pair.proxy.writes(), Vec::<String>::new());
    assert_eq!(agent.ask(&["sync", "list"])["mirrors"], json!([]));
    let planned = made["plan"].clone();
    assert_eq!(paths(&planned, &["upload"]), ["here".to_owned()].into());
    assert_eq!(paths(&planned, &["download"]), ["there".to_owned()].into());
    assert_eq!(paths(&planned, &["conflict"]), ["sub/differs".to_owned()].into());
    assert_eq!(planned["totals"]["record"]["files"], 1);
    // A folder that isn't there yet is an empty one, and stays away.
    let absent = pair.home.path().join("absent");
    let made = agent.ask(&["sync", "mirror", absent.to_str().unwrap(), "/docs", "--dry-run"]);
    assert_eq!(made["plan"]["totals"]["download"]["files"], 3);
    assert!(!absent.exists());
    let counted = agent.ask(&["sync", "provision", "/docs", "--dry-run"]);
    assert_eq!((&counted["keys"], &counted["added"]), (&json!(3), &json!(3)));
    World::now(&pair).await.is(&before);

    pair.proxy.forget();
    agent.ask(&["sync", "mirror", root, "/docs", "--name", MIRROR, "--wait"]);
    agent.in_step(MIRROR).await;
    was_done(&pair, &planned);
    let local = contents(&pair.root);
    assert_eq!((local["sub/differs"].as_ref(), local["there"].as_ref()), (&b"theirs"[..], &b"only there"[..]));
}
