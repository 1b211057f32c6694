//! The absent arrows: which of our crates may name which, and who alone may name a library. A drawing of them that nothing
//! checks would be wrong within a month.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Each crate with the crates of ours that it may name; none of them has to. Who implements a port of the engine speaks
/// the words of plan too: they are in the port's signatures.
const ARROWS: &[(&str, &[&str])] = &[
    ("gosync", &["gosync-agent", "gosync-api", "gosync-sim"]),
    (
        "gosync-agent",
        &[
            "gosync-api",
            "gosync-cache",
            "gosync-dev-s3",
            "gosync-engine",
            "gosync-fs",
            "gosync-metadata",
            "gosync-plan",
            "gosync-s3",
            "gosync-telemetry",
        ],
    ),
    ("gosync-api", &[]),
    ("gosync-cache", &["gosync-engine", "gosync-plan"]),
    ("gosync-crds", &["gosync-api"]),
    ("gosync-dev-s3", &[]),
    ("gosync-engine", &["gosync-plan"]),
    ("gosync-fs", &["gosync-engine", "gosync-plan"]),
    ("gosync-metadata", &["gosync-engine", "gosync-plan"]),
    ("gosync-operator", &["gosync-crds", "gosync-telemetry"]),
    ("gosync-plan", &[]),
    ("gosync-s3", &["gosync-engine", "gosync-plan"]),
    ("gosync-sim", &["gosync-engine", "gosync-plan"]),
    ("gosync-telemetry", &[]),
];

/// Libraries that stay in one room: a prefix of their names, who may name them, and why nobody else.
const ROOMS: &[(&str, &[&str], &str)] = &[
    ("aws-", &["gosync-s3"], "what the store is called is that crate's secret"),
    ("sqlx", &["gosync-metadata", "gosync-dev-s3"], "SQL has two homes, and neither knows the other"),
    ("fred", &["gosync-cache"], "an old client stays behind a port"),
    ("notify", &["gosync-fs"], "watching is the local tree's"),
    ("rustix", &["gosync-fs"], "system calls are the local tree's"),
    ("libc", &["gosync-fs"], "so is the one unsafe call"),
    ("s3s", &["gosync-dev-s3"], "the server's protocol is the dev store's"),
    ("prometheus-client", &["gosync-telemetry"], "others count through the observer"),
    ("kube", &["gosync-crds", "gosync-operator"], "an agent has no part in the cluster's API"),
    ("k8s-openapi", &["gosync-crds", "gosync-operator"], "an agent has no part in the cluster's API"),
    (
        "tokio",
        &[
            "gosync",
            "gosync-agent",
            "gosync-cache",
            "gosync-dev-s3",
            "gosync-metadata",
            "gosync-operator",
            "gosync-s3",
            "gosync-telemetry",
        ],
        "the engine runs in the simulator, whose time and order are its own",
    ),
];

/// Nothing of these may come in by any dependency, for any feature or target that we build.
const BARRED: &[(&str, &str)] = &[
    ("openssl-sys", "one TLS, in Rust"),
    ("native-tls", "one TLS, in Rust"),
    ("aws-lc-rs", "one provider, ring: no cmake, no second copy"),
    ("aws-lc-sys", "one provider, ring: no cmake, no second copy"),
    ("serde_yaml", "archived"),
    ("serde_yml", "has an advisory"),
    ("backoff", "unmaintained"),
];

/// Of these exactly one version: two would be two behaviours, or twice the size.
const SINGLE: &[&str] = &["hyper", "rustls", "ring", "tokio", "libsqlite3-sys"];

/// The crate of the tests may name everything: nothing ships from it.
const TESTS: &str = "gosync-tests";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata(arguments: &[&str]) -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Our crates with what they name outside their tests.
fn named() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            let names = dependencies
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .map(|dependency| text(&dependency["name"]));
            (text(&package["name"]), names.collect())
        })
        .filter(|(name, _)| name != TESTS)
        .collect()
}

#[test]
fn arrows_between_our_crates_go_one_way_only() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut absent = Vec::new();
    for (from, names) in named() {
        let may = allowed.get(from.as_str()).unwrap_or_else(|| panic!("{from} is new: give it its place in ARROWS"));
        let ours = names.iter().filter(|name| name.starts_with("gosync"));
        absent.extend(ours.filter(|to| !may.contains(&to.as_str())).map(|to| format!("{from} -> {to}")));
    }
    assert!(absent.is_empty(), "{absent:#?}");
}

#[test]
fn a_library_that_has_a_room_is_named_nowhere_else() {
    let mut strays = Vec::new();
    for (from, names) in named() {
        for (prefix, rooms, why) in ROOMS.iter().filter(|(_, rooms, _)| !rooms.contains(&from.as_str())) {
            let found = names.iter().filter(|name| name.starts_with(prefix));
            strays.extend(found.map(|name| format!("{from} names {name}, but {why} (in {rooms:?} only)")));
        }
    }
    assert!(strays.is_empty(), "{strays:#?}");
}

#[test]
fn the_pure_crates_name_nothing_that_acts() {
    // A new name here is a decision: it has to be as pure as its neighbours.
    let pure: &[(&str, &[&str])] = &[
        ("gosync-plan", &["jiff", "serde"]),
        (
            "gosync-engine",
            &[
                "async-lock",
                "async-trait",
                "blake3",
                "bytes",
                "crc-fast",
                "futures-channel",
                "futures-util",
                "globset",
                "gosync-plan",
                "hex",
                "ignore",
                "jiff",
                "md-5",
                "serde",
                "serde_json",
                "thiserror",
            ],
        ),
    ];
    let named = named();
    for (from, may) in pure {
        for name in &named[*from] {
            assert!(may.contains(&name.as_str()), "{from} names {name}");
        }
    }
}

#[test]
fn the_lock_file_has_one_of_each_and_nothing_barred() {
    let metadata = metadata(&[]);
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let (name, version) = (&package["name"], &package["version"]);
        versions.entry(name.as_str().unwrap()).or_default().push(version.as_str().unwrap());
    }
    for (name, why) in BARRED {
        assert!(!versions.contains_key(name), "{name} is in Cargo.lock: {why}");
    }
    for name in SINGLE {
        assert!(versions[name].len() == 1, "{name} is there {:?}", versions[name]);
    }
}

#[test]
fn kube_stays_out_of_the_graph_of_gosync() {
    let metadata = metadata(&[]);
    let name_of = |id: &str| {
        let packages = metadata["packages"].as_array().unwrap();
        let package = packages.iter().find(|package| package["id"] == id).unwrap();
        package["name"].as_str().unwrap().to_owned()
    };
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let mut reached = BTreeSet::new();
    let start = nodes.iter().map(|node| node["id"].as_str().unwrap()).find(|id| name_of(id) == "gosync").unwrap();
    let mut open = vec![start];
    while let Some(id) = open.pop() {
        if !reached.insert(id) {
            continue;
        }
        let node = nodes.iter().find(|node| node["id"] == id).unwrap();
        for dependency in node["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                open.push(dependency["pkg"].as_str().unwrap());
            }
        }
    }
    let kube: Vec<String> =
        reached.into_iter().map(name_of).filter(|name| name.starts_with("kube") || name.starts_with("k8s-")).collect();
    assert!(kube.is_empty(), "{kube:?}");
}

#[test]
fn the_image_is_built_with_the_pinned_toolchain() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap();
    let image = format!("rust:{}-bookworm", channel.trim_matches('"'));
    assert!(read("Dockerfile").contains(&image), "the Dockerfile's builder isn't {image}");
}

#[test]
fn no_file_names_a_place_of_the_machine_it_was_written_on() {
    // In two pieces, so that this file doesn't find itself.
    let places = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/tmp", "/gs"), concat!("shared", "/design")];
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !["target", ".git", ".cache", "gosync-dev", "results"].contains(&name) {
                    folders.push(path);
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                let hits = places.iter().filter(|place| text.contains(*place));
                found.extend(hits.map(|place| format!("{}: {place}", path.display())));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
