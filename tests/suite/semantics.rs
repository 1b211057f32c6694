//! `docs/semantics.md` names a test for each line, and every test that it names exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names in backquotes of the form `where: test`.
fn named(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once(": ").map(|(_, test)| test))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn tests_below(folder: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                tests_below(&path, tests);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for (at, _) in text.match_indices("fn ") {
                let name: String = text[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                tests.insert(name);
            }
        }
    }
}

#[test]
fn every_line_of_the_semantics_names_a_test_that_exists() {
    let mut tests = BTreeSet::new();
    for folder in ["agent", "cli", "tests"] {
        tests_below(&root().join(folder), &mut tests);
    }
    let page = fs::read_to_string(root().join("docs/semantics.md")).unwrap();
    let bullets: Vec<String> = page
        .split("\n- ")
        .skip(1)
        .map(|bullet| bullet.split("\n## ").next().unwrap_or_default().replace('\n', " "))
        .collect();
    assert!(bullets.len() > 20, "the page has lines");
    for bullet in &bullets {
        let names: Vec<&str> = named(bullet).collect();
        assert!(!names.is_empty(), "names no test: {bullet}");
        for name in names {
            assert!(tests.contains(name.trim()), "there is no test {name}: {bullet}");
        }
    }
}
