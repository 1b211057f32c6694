//! `docs/semantics.md` names a test for each line, and every test that it names exists in the room that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Where the tests of a room are.
fn folder_of(room: &str) -> PathBuf {
    match room {
        "suite" | "cluster" => repository().join("tests").join(room),
        "cli" | "crds" | "operator" => repository().join(room),
        "agent" => repository().join("agent/daemon"),
        room => repository().join("agent").join(room),
    }
}

/// The room and name of each test that a line names in backquotes: `room: test`.
fn named(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once(": "))
}

/// Functions with a test's attribute, and the bodies that a conformance suite runs.
fn tests_below(folder: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let body = path.display().to_string().contains("conformance");
            let mut attribute = false;
            for line in fs::read_to_string(&path).unwrap().lines() {
                attribute |= line.contains("#[test]") || line.contains("#[tokio::test");
                if let Some((_, rest)) = line.split_once("fn ") {
                    let name = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    if attribute || body {
                        tests.insert(name);
                    }
                    attribute = false;
                }
            }
        }
    }
}

#[test]
fn every_line_of_the_semantics_names_a_test_that_exists() {
    let page = fs::read_to_string(repository().join("docs/semantics.md")).unwrap();
    let bullet =
        |text: &str| text.split("\n## ").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let bullets: Vec<String> = page.split("\n- ").skip(1).map(bullet).collect();
    assert!(bullets.len() > 50, "{} lines", bullets.len());
    let mut rooms: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for bullet in &bullets {
        if named(bullet).next().is_none() {
            wrong.push(format!("names no test: {bullet}"));
        }
        for (room, test) in named(bullet) {
            let tests = rooms.entry(room).or_insert_with(|| {
                let mut tests = BTreeSet::new();
                tests_below(&folder_of(room), &mut tests);
                tests
            });
            if !tests.contains(test) {
                wrong.push(format!("{room} has no test {test}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
