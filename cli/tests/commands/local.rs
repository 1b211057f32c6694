//! Commands that need neither agent nor config.

use serde_json::Value;

use crate::{error_of, gosync, run};

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let home = tempfile::tempdir().unwrap();
    let ran = run(gosync(home.path()).arg("--help"));
    assert_eq!(ran.code, 0);
    for word in ["agent", "sync", "config", "probe", "sim", "completions", "version", "Begin here", "3 no agent"] {
        assert!(ran.stdout.contains(word), "{word} in {}", ran.stdout);
    }
}

#[test]
fn wrong_usage_ends_with_2_and_is_json_for_those_who_asked_for_it() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(run(gosync(home.path()).args(["sync", "dance"])).code, 2);
    assert_eq!(run(&mut gosync(home.path())).code, 2);
    let ran = run(gosync(home.path()).args(["sync", "dance", "--format=json"]));
    assert_eq!((ran.code, error_of(&ran)["code"].as_str().unwrap()), (2, "usage"));
}

#[test]
fn the_agent_refuses_options_that_are_for_others() {
    let home = tempfile::tempdir().unwrap();
    for args in [&["agent", "--socket", "s"][..], &["agent", "--dev-dir", "d"], &["agent", "--dev", "-c", "f"]] {
        let ran = run(gosync(home.path()).args(args));
        assert_eq!(ran.code, 2, "{}", ran.stderr);
    }
}

#[test]
fn version_tells_what_the_binary_is_made_of() {
    let home = tempfile::tempdir().unwrap();
    let short = run(gosync(home.path()).args(["version", "--short"])).stdout;
    assert_eq!(short, format!("{}\n", env!("CARGO_PKG_VERSION")));
    // No git anywhere on the path: nothing is asked at run time.
    let ran = run(gosync(home.path()).env("PATH", "").args(["version", "--json"]));
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    let commit = json["commit"].as_str().unwrap();
    assert!(commit == "unknown" || commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
    let date = json["build_date"].as_str().unwrap();
    assert!(date == "unknown" || date.parse::<jiff::Timestamp>().is_ok(), "{date}");
    assert!(json["rustc"].as_str().unwrap().starts_with("rustc "));
    for feature in ["metadata-sqlite", "metadata-postgres", "cache-redis"] {
        assert!(json["features"].as_array().unwrap().iter().any(|there| there == feature), "{feature}");
    }
    let table = run(gosync(home.path()).arg("version")).stdout;
    assert!(table.starts_with(&format!("gosync {}\n", env!("CARGO_PKG_VERSION"))), "{table}");
    assert_eq!(run(gosync(home.path()).arg("--version")).stdout, format!("gosync {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_of_the_usual_shells_know_the_commands() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(gosync(home.path()).args(["completions", shell]));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        for word in ["provision", "conflicts", "keep-both"] {
            assert!(ran.stdout.contains(word), "{word} for {shell}");
        }
    }
    assert_eq!(run(gosync(home.path()).args(["completions", "cobol"])).code, 2);
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let home = tempfile::tempdir().unwrap();
    let args = ["sim", "--seed", "7", "--steps", "20", "--agents", "2"];
    let story = run(gosync(home.path()).args(args));
    assert!(story.stdout.contains("seed 7: 20 steps"), "{}", story.stdout);
    assert!(run(gosync(home.path()).args(args)).stdout == story.stdout, "two stories of one seed");
    let quiet = run(gosync(home.path()).args(args).arg("-q")).stdout;
    assert!(story.stdout.ends_with(&quiet) && quiet.len() < story.stdout.len(), "{quiet}");
    let json: Value =
        serde_json::from_str(&run(gosync(home.path()).args(args).args(["--format", "json"])).stdout).unwrap();
    assert_eq!(json["seed"], 7);
    // Whether the promises are kept is for the simulator's own tests; here the exit code has to say the same.
    assert_eq!(json["kept"], story.code == 0);
    assert_eq!(json["violations"].as_array().unwrap().is_empty(), story.code == 0);
}

#[test]
fn each_code_of_an_error_has_its_row_in_the_docs() {
    let cli = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(cli.join("../docs/troubleshooting.md")).unwrap();
    let mut codes = Vec::new();
    let mut folders = vec![cli.join("src")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(path).unwrap();
            let made = source.split("Failure::new(").chain(source.split("Self::new("));
            for call in made.filter(|call| call.trim_start().starts_with("Exit::")) {
                codes.extend(call.split('"').nth(1).map(str::to_owned));
            }
        }
    }
    assert!(codes.len() > 10 && codes.iter().any(|code| code == "no-agent"), "{codes:?}");
    for code in codes {
        let is_there = page.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{code}`")));
        assert!(is_there, "{code} has no row");
    }
}
