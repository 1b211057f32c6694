//! Files that become folders, folders that become files, links that take a place, folders that are moved or removed under
//! new children, and what an ignored file has to do with it: each beside what the other side did meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use bytes::Bytes;
use gosync_tests::agent::{Agent, note};
use gosync_tests::pair::{MIRROR, PREFIX, Pair, Tree, write};
use gosync_tests::proxy::Kind;
use gosync_tests::wait;
use rustix::process::Signal;
use serde_json::Value;

/// Enough that no guard asks.
const OTHERS: usize = 120;

/// What somebody does in the folder, in a case's own place.
enum Here {
    Write(&'static str, &'static str),
    Remove(&'static str),
    Move(&'static str, &'static str),
    Link(&'static str, &'static str),
}

/// What somebody does in the bucket, in a case's own place.
enum There {
    Put(&'static str, &'static str),
    Delete(&'static str),
}

use Here::{Link, Move, Remove, Write};
use There::{Delete, Put};

type Files = &'static [(&'static str, &'static str)];

/// A conflict copy is named `<path>.conflict` here.
struct Case {
    name: &'static str,
    before: Files,
    here: &'static [Here],
    there: &'static [There],
    /// Files afterwards; links aside.
    local: Files,
    /// Objects afterwards, where they are others.
    remote: Option<Files>,
    /// What is left alone and told.
    told: &'static [&'static str],
}

const FILE: Files = &[("f", "old")];
const FOLDER: Files = &[("f/child", "old")];
const TWO: Files = &[("f/a", "old a"), ("f/b", "old b")];
const INTO_FOLDER: &[Here] = &[Remove("f"), Write("f/child", "mine")];
const INTO_FILE: &[Here] = &[Remove("f"), Write("f", "mine")];
const INTO_LINK: &[Here] = &[Remove("f"), Link("f", "elsewhere")];

const fn case(name: &'static str, before: Files, here: &'static [Here], there: &'static [There], local: Files) -> Case {
    Case { name, before, here, there, local, remote: None, told: &[] }
}

impl Case {
    const fn remote(self, remote: Files) -> Self {
        Self { remote: Some(remote), ..self }
    }

    const fn told(self, told: &'static [&'static str]) -> Self {
        Self { told, ..self }
    }
}

const CASES: &[Case] = &[
    // A file becomes a folder.
    case("file-folder", FILE, INTO_FOLDER, &[], &[("f/child", "mine")]),
    case("file-folder/edited", FILE, INTO_FOLDER, &[Put("f", "theirs")], &[("f/child", "mine")])
        .remote(&[("f", "theirs"), ("f/child", "mine")])
        .told(&["f"]),
    case("file-folder/deleted", FILE, INTO_FOLDER, &[Delete("f")], &[("f/child", "mine")]),
    case("theirs/file-folder", FILE, &[], &[Delete("f"), Put("f/child", "theirs")], &[("f/child", "theirs")]),
    case(
        "theirs/file-folder/edited",
        FILE,
        &[Write("f", "mine")],
        &[Delete("f"), Put("f/child", "theirs")],
        &[("f.conflict", "mine"), ("f/child", "theirs")],
    ),
    case(
        "both/file-folder",
        FILE,
        INTO_FOLDER,
        &[Delete("f"), Put("f/new", "theirs")],
        &[("f/child", "mine"), ("f/new", "theirs")],
    ),
    // A folder becomes a file.
    case("folder-file", FOLDER, INTO_FILE, &[], &[("f", "mine")]),
    case(
        "folder-file/edited",
        FOLDER,
        INTO_FILE,
        &[Put("f/child", "theirs")],
        &[("f.conflict", "mine"), ("f/child", "theirs")],
    ),
    case(
        "folder-file/new-child",
        FOLDER,
        INTO_FILE,
        &[Put("f/new", "theirs")],
        &[("f.conflict", "mine"), ("f/new", "theirs")],
    ),
    case("folder-file/deleted", FOLDER, INTO_FILE, &[Delete("f/child")], &[("f", "mine")]),
    case("theirs/folder-file", FOLDER, &[], &[Delete("f/child"), Put("f", "theirs")], &[("f", "theirs")]),
    case(
        "theirs/folder-file/edited",
        FOLDER,
        &[Write("f/child", "mine")],
        &[Delete("f/child"), Put("f", "theirs")],
        &[("f/child", "mine")],
    )
    .remote(&[("f", "theirs"), ("f/child", "mine")])
    .told(&["f"]),
    // A link takes the place of a file or folder.
    case("file-link", FILE, INTO_LINK, &[], &[]).remote(FILE).told(&["f"]),
    case("file-link/edited", FILE, INTO_LINK, &[Put("f", "theirs")], &[]).remote(&[("f", "theirs")]).told(&["f"]),
    case("file-link/deleted", FILE, INTO_LINK, &[Delete("f")], &[]).told(&["f"]),
    case("folder-link", FOLDER, INTO_LINK, &[], &[]).remote(FOLDER).told(&["f"]),
    case("folder-link/edited", FOLDER, INTO_LINK, &[Put("f/child", "theirs")], &[])
        .remote(&[("f/child", "theirs")])
        .told(&["f"]),
    // A folder is removed while the other side has news for it.
    case("removed/new-child", TWO, &[Remove("f")], &[Put("f/new", "theirs")], &[("f/new", "theirs")]),
    case("removed/edited", TWO, &[Remove("f")], &[Put("f/a", "theirs")], &[("f/a", "theirs")]),
    case(
        "theirs/removed/new-child",
        TWO,
        &[Write("f/new", "mine")],
        &[Delete("f/a"), Delete("f/b")],
        &[("f/new", "mine")],
    ),
    case("theirs/removed/edited", TWO, &[Write("f/a", "mine")], &[Delete("f/a"), Delete("f/b")], &[("f/a", "mine")]),
    case(
        "theirs/removed/ignored",
        TWO,
        &[Write("f/x.skip", "mine")],
        &[Delete("f/a"), Delete("f/b")],
        &[("f/x.skip", "mine")],
    )
    .remote(&[]),
    case("removed/ignored", TWO, &[Remove("f")], &[Put("f/y.skip", "theirs")], &[]).remote(&[("f/y.skip", "theirs")]),
    // A folder is moved while the other side has news for it, or moves it too.
    case(
        "moved/new-child",
        TWO,
        &[Move("f", "g")],
        &[Put("f/new", "theirs")],
        &[("f/new", "theirs"), ("g/a", "old a"), ("g/b", "old b")],
    ),
    case(
        "moved/edited",
        TWO,
        &[Move("f", "g")],
        &[Put("f/a", "theirs")],
        &[("f/a", "theirs"), ("g/a", "old a"), ("g/b", "old b")],
    ),
    case("moved/deleted", TWO, &[Move("f", "g")], &[Delete("f/a")], &[("g/a", "old a"), ("g/b", "old b")]),
    case(
        "moved/ignored",
        &[("f/a", "old a")],
        &[Write("f/x.skip", "mine"), Move("f", "g")],
        &[],
        &[("g/a", "old a"), ("g/x.skip", "mine")],
    )
    .remote(&[("g/a", "old a")]),
    case(
        "moved/moved",
        FOLDER,
        &[Move("f", "g")],
        &[Put("h/child", "old"), Delete("f/child")],
        &[("g/child", "old"), ("h/child", "old")],
    ),
    case("moved/alike", FOLDER, &[Move("f", "g")], &[Put("g/child", "old"), Delete("f/child")], &[("g/child", "old")]),
    case("moved/replaced", FOLDER, &[Move("f", "g"), Write("f", "mine")], &[], &[("f", "mine"), ("g/child", "old")]),
    case("moved/into-child", FOLDER, &[Move("f", "t"), Move("t", "f/f")], &[], &[("f/f/child", "old")]),
    case(
        "moved/out",
        &[("f/f/child", "old")],
        &[Move("f/f", "t"), Remove("f"), Move("t", "f")],
        &[],
        &[("f/child", "old")],
    ),
    case(
        "inverted",
        &[("a/in a", "1"), ("a/b/in b", "2")],
        &[Move("a/b", "b"), Move("a", "b/a")],
        &[],
        &[("b/in b", "2"), ("b/a/in a", "1")],
    ),
    case(
        "inverted/edited",
        &[("a/in a", "1"), ("a/b/in b", "2")],
        &[Move("a/b", "b"), Move("a", "b/a")],
        &[Put("a/b/in b", "theirs")],
        &[("b/in b", "2"), ("b/a/in a", "1"), ("a/b/in b", "theirs")],
    ),
    case("chain", &[("a", "1"), ("b", "2")], &[Move("b", "c"), Move("a", "b")], &[], &[("b", "1"), ("c", "2")]),
    case(
        "swap/edited",
        &[("a", "1"), ("b", "2")],
        &[Move("a", "t"), Move("b", "a"), Move("t", "b")],
        &[Put("a", "theirs")],
        &[("a", "theirs"), ("a.conflict", "2"), ("b", "1")],
    ),
];

fn act(place: &Path, step: &Here) {
    let make_parent = |path: &Path| fs::create_dir_all(path.parent().unwrap()).unwrap();
    match step {
        Write(path, content) => write(&place.join(path), content),
        Remove(path) if place.join(path).is_dir() => fs::remove_dir_all(place.join(path)).unwrap(),
        Remove(path) => fs::remove_file(place.join(path)).unwrap(),
        Move(from, to) => {
            make_parent(&place.join(to));
            fs::rename(place.join(from), place.join(to)).unwrap();
        }
        Link(path, target) => {
            make_parent(&place.join(path));
            symlink(target, place.join(path)).unwrap();
        }
    }
}

/// By case, so that one that is wrong shows as such.
type ByCase = BTreeMap<&'static str, Tree>;

fn expected(files: impl Fn(&Case) -> Files) -> ByCase {
    let tree = |files: Files| files.iter().map(|(path, content)| (path.to_string(), Bytes::from(*content))).collect();
    CASES.iter().map(|case| (case.name, tree(files(case)))).collect()
}

/// Conflict copies under their short names.
fn by_case(found: &Tree) -> ByCase {
    let place = |case: &Case| format!("cases/{}/in/", case.name);
    let of = |case: &Case| {
        let own = found.iter().filter_map(|(path, content)| Some((path.strip_prefix(&place(case))?, content)));
        let short = own.map(|(path, content)| match path.split_once(".conflict-") {
            Some((stem, _)) => (format!("{stem}.conflict"), content.clone()),
            None => (path.to_owned(), content.clone()),
        });
        short.collect()
    };
    CASES.iter().map(|case| (case.name, of(case))).collect()
}

fn differs(side: &str, found: ByCase, expected: &ByCase) -> Result<(), String> {
    let wrong = found.iter().filter(|(name, tree)| expected[**name] != **tree);
    let wrong: Vec<_> =
        wrong.map(|(name, tree)| format!("{side} {name}: {tree:?}, not {:?}", expected[name])).collect();
    wait::hold(wrong.is_empty(), wrong.join("\n"))
}

/// While nobody runs, and while the agent runs but sees neither side's change before the other's.
#[tokio::test(flavor = "multi_thread")]
async fn files_folders_and_links_take_each_others_places_beside_what_the_other_side_did() {
    for running in [true, false] {
        let pair = Pair::new().await;
        pair.fill(OTHERS, 3);
        write(&pair.root.join(".gosyncignore"), "*.skip\n");
        let place = |case: &Case| format!("cases/{}/in", case.name);
        for case in CASES {
            for (path, content) in case.before {
                write(&pair.root.join(place(case)).join(path), content);
            }
        }
        let before = pair.local();
        let mut agent = pair.start().await;
        pair.both_hold(&before).await;

        if running {
            agent.signal(Signal::STOP);
        } else {
            agent.stop().await;
        }
        for case in CASES {
            for step in case.here {
                act(&pair.root.join(place(case)), step);
            }
            for step in case.there {
                let key = |path: &str| format!("{PREFIX}{}/{path}", place(case));
                match step {
                    Put(path, content) => drop(pair.bucket.put(&key(path), *content).await),
                    Delete(path) => pair.bucket.delete(&key(path)).await,
                }
            }
        }
        if running {
            agent.signal(Signal::CONT);
        } else {
            agent.restart().await;
        }

        let (local, remote) = (expected(|case| case.local), expected(|case| case.remote.unwrap_or(case.local)));
        let as_expected = async || {
            differs("local", by_case(&pair.local()), &local)?;
            let mut found = by_case(&pair.remote().await);
            for tree in found.values_mut() {
                // Sent under its name before the folder showed: the object stays, as others' do, and is told.
                if tree.contains_key("f.conflict") && tree.get("f") == tree.get("f.conflict") {
                    tree.remove("f");
                }
            }
            differs("remote", found, &remote)
        };
        wait::until("each case is as it should be", as_expected).await;
        agent.in_step(MIRROR).await;
        pair.four_checks().await;
        as_expected().await.unwrap();
        let mirror = agent.mirror(MIRROR);
        for case in CASES {
            for path in case.told {
                let path = format!("{}/{path}", place(case));
                assert!(note(&mirror, &path).is_some(), "{path} is not told: {:#}", mirror["paths"]);
            }
            if case.told.is_empty() {
                let told = mirror["paths"].as_array().unwrap().iter();
                let told: Vec<_> =
                    told.filter(|note| note["path"].as_str().unwrap().starts_with(&place(case))).collect();
                let moved_aside = case.local.iter().any(|(path, _)| *path == "f.conflict");
                assert!(told.iter().all(|note| moved_aside || note["state"] == "conflict"), "{}: {told:#?}", case.name);
            }
        }
    }
}

/// Nothing could be put there, so nothing is fetched for it, however often it is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_below_a_local_file_is_not_fetched_before_the_file_is_gone() {
    let mut pair = Pair::new().await;
    // Who only receives never sends the file, which would make it a conflict of two names.
    pair.config["syncs"][0]["direction"] = "pull".into();
    write(&pair.root.join("a"), "in the way");
    let large = Bytes::from(vec![7; 6 << 20]);
    let mut below: Tree = [("a/b", "small".into()), ("a/deep/c", large)].map(|(path, it)| (path.to_owned(), it)).into();
    pair.put_all(&below).await;
    let mut agent = Agent::start(pair.home.path(), &pair.config).await;
    let is_told = |mirror: &Value| below_notes(mirror) == ["a/b", "a/deep/c"];
    for round in 0..4 {
        agent.until(MIRROR, "both are told", is_told).await;
        // Each is a reason to try again: another content, another look at everything, another start.
        match round {
            0 => {
                below.insert("a/b".into(), "another".into());
                pair.bucket.put("docs/a/b", "another").await;
            }
            1 => drop(agent.run(&["sync", "flush", MIRROR, "--wait", "--timeout", "2s"])),
            2 => write(&pair.root.join("a"), "in the way, edited"),
            _ => {
                agent.kill();
                agent.restart().await;
            }
        }
        pair.four_checks().await;
    }
    agent.until(MIRROR, "both are told", is_told).await;
    let fetched = pair.requests(|kind| kind == Kind::Get);
    assert!(fetched.is_empty(), "{fetched:?}");

    fs::remove_file(pair.root.join("a")).unwrap();
    wait::until("both come down", async || {
        let found = pair.local();
        wait::hold(found == below, format!("{:?}", found.keys()))
    })
    .await;
    agent.in_step(MIRROR).await;
}

/// The paths below `a` that have a problem.
fn below_notes(mirror: &Value) -> Vec<&str> {
    let notes = mirror["paths"].as_array().unwrap().iter().filter(|note| note["state"] == "problem");
    let mut paths: Vec<&str> =
        notes.map(|note| note["path"].as_str().unwrap()).filter(|path| path.starts_with("a/")).collect();
    paths.sort_unstable();
    paths
}
