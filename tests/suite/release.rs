//! What a release build leaves out: the crash points of the agent, and the faults that the simulator plants. A release
//! build of everything takes minutes, so the modules that are the fence are built alone, as either kind of build has them.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gosync_engine::crash::CrashPoint;
use gosync_tests::process::Folder;

const VARIABLE: &str = "GOSYNC_CRASH_AT";
const SIGABRT: i32 = 6;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A program that arms the agent's crash points and then comes to one of them, as the engine does.
fn program(folder: &Path, debug_assertions: bool) -> PathBuf {
    let source = |room: &str, file: &str| top().join("agent").join(room).join("src").join(file);
    let engine = format!(
        "#[path = {:?}] pub mod crash;\n#[path = {:?}] pub mod planted;\n\
         pub fn meet() {{ crash::reached(crash::CrashPoint::Fetched); }}\n\
         pub fn may_plant() -> bool {{ planted::is(planted::Planted::None) }}\n",
        source("engine", "crash.rs"),
        source("engine", "planted.rs"),
    );
    let agent = format!(
        "#[path = {:?}] mod crash;\n\
         fn main() {{ crash::arm(); gosync_engine::meet(); println!(\"{{}}\", gosync_engine::may_plant()); }}\n",
        source("daemon", "crash.rs"),
    );
    fs::write(folder.join("engine.rs"), engine).unwrap();
    fs::write(folder.join("agent.rs"), agent).unwrap();
    let build = |args: &[&str]| {
        let switch = format!("debug-assertions={}", if debug_assertions { "yes" } else { "no" });
        let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .args(["--edition", "2024", "--cap-lints", "allow", "-C", &switch, "-C", "opt-level=1"])
            .args(args)
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}\n{}", String::from_utf8_lossy(&output.stderr));
    };
    build(&["--crate-type", "rlib", "--crate-name", "gosync_engine", "engine.rs"]);
    build(&["--extern", "gosync_engine=libgosync_engine.rlib", "agent.rs"]);
    folder.join("agent")
}

fn run(program: &Path) -> Output {
    Command::new(program).env(VARIABLE, CrashPoint::Fetched.name()).output().unwrap()
}

fn has(program: &[u8], text: &str) -> bool {
    program.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_release_build_has_no_crash_points_and_no_planted_faults() {
    let home = Folder::new("release");
    let debug = program(&home.dir("debug"), true);
    let ended = run(&debug);
    assert_eq!(ended.status.signal(), Some(SIGABRT), "a debug build ends itself: {ended:?}");
    assert!(has(&fs::read(&debug).unwrap(), VARIABLE));

    let release = program(&home.dir("release"), false);
    let ended = run(&release);
    assert!(ended.status.success(), "a release build goes on: {ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "false\n", "planted faults");
    let bytes = fs::read(&release).unwrap();
    let names = CrashPoint::ALL.iter().map(|point| point.name()).filter(|name| name.contains('-'));
    let known: Vec<&str> = names.chain([VARIABLE]).filter(|text| has(&bytes, text)).collect();
    assert!(known.is_empty(), "{known:?}");
}

/// The fence is `debug_assertions`, so nothing may switch them on where it is released.
#[test]
fn nothing_switches_debug_assertions_on_for_a_release() {
    for (file, why) in [("Cargo.toml", "its profiles hold for every build"), (".cargo/config.toml", "it may hold more")]
    {
        let text = fs::read_to_string(top().join(file)).unwrap_or_default();
        assert!(!text.contains("debug-assertions"), "{file}: {why}");
    }
    // What ships is looked at where it is built.
    let image = fs::read_to_string(top().join("Dockerfile")).unwrap();
    assert!(image.contains("cargo build --release") && image.contains(&format!("! grep -q {VARIABLE}")), "{image}");
}

/// Nobody else reads the variable, and who reads it stands behind the fence.
#[test]
fn the_variable_of_the_crash_points_is_read_in_one_place() {
    let mut found = Vec::new();
    let mut folders = vec![top().join("agent"), top().join("cli")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).is_ok_and(|text| text.contains(VARIABLE)) {
                found.push(path.strip_prefix(top()).unwrap().to_owned());
            }
        }
    }
    assert_eq!(found, [Path::new("agent/daemon/src/crash.rs")]);
}
