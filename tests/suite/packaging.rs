//! What people and packages install besides the binary: units, example configs, the manual, completions.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use gosync_tests::agent::{binary, config, gosync};
use gosync_tests::dev_store::DevStore;
use gosync_tests::permissions::UNPRIVILEGED;
use gosync_tests::process::{Folder, Process, needs_root, needs_tool};
use gosync_tests::server::Address;
use gosync_tests::wait;
use rustix::process::Signal;
use serde_json::Value;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples")
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What it printed, after a good end.
#[track_caller]
fn ok(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// The store of an example, as the environment names it.
fn environment(store: &Address) -> [(&'static str, String); 5] {
    [
        ("GOSYNC_S3_ENDPOINT", store.endpoint.clone()),
        ("GOSYNC_S3_BUCKET", "bucket".to_owned()),
        ("GOSYNC_S3_ACCESS_KEY", store.access_key.clone()),
        ("GOSYNC_S3_SECRET_KEY", store.secret_key.clone()),
        ("GOSYNC_AGENT_METRICS_LISTEN", "127.0.0.1:0".to_owned()),
    ]
}

/// The value of a unit's key; empty where it is not set.
fn unit_value(unit: &str, key: &str) -> String {
    let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_default().to_owned()
}

#[test]
fn every_example_config_holds_and_its_unit_leaves_time_to_flush() {
    let home = Folder::new("examples");
    for name in ["laptop", "server"] {
        let example = examples().join(name);
        let file = example.join("config.yaml");
        let file = file.to_str().unwrap();
        let checked = ok(&mut gosync(home.path(), &["config", "validate", "--config", file, "--format", "json"]));
        let checked: Value = serde_json::from_str(&checked).unwrap();
        assert_eq!((&checked["warnings"], &checked["not_yet"]), (&serde_json::json!([]), &serde_json::json!([])));
        let shown = ok(&mut gosync(home.path(), &["config", "show", "--config", file, "--format", "json"]));
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["sync"]["drain"], "30s");

        let unit = text(&example.join("gosync.service"));
        assert_eq!(unit_value(&unit, "TimeoutStopSec"), "45s", "15 seconds above the drain");
        if name == "server" {
            let writable = unit_value(&unit, "ReadWritePaths");
            let roots: Vec<&str> =
                shown["syncs"].as_array().unwrap().iter().map(|sync| sync["local_path"].as_str().unwrap()).collect();
            assert_eq!(roots, writable.split(' ').collect::<Vec<_>>());
            assert_eq!(shown["data_dir"], format!("/var/lib/{}", unit_value(&unit, "StateDirectory")));
        }
    }
}

#[test]
fn the_units_hold_and_the_one_for_servers_is_tight() {
    if !needs_tool("systemd-analyze", "checking the units of examples") {
        return;
    }
    let home = Folder::new("units");
    let runtime = home.dir("runtime");
    for (name, scope) in [("server", "--system"), ("laptop", "--user")] {
        let folder = home.dir(name);
        let unit = text(&examples().join(name).join("gosync.service"));
        // Where it will be installed there is nothing yet.
        let (before, rest) = unit.split_once("ExecStart=").unwrap();
        let (_, arguments) = rest.split_once(' ').unwrap();
        let installed = folder.join("gosync.service");
        fs::write(&installed, format!("{before}ExecStart={} {arguments}", binary().display())).unwrap();
        if name == "server" {
            let more = home.dir("server/gosync.service.d").join("other-owners.conf");
            fs::copy(examples().join("server/other-owners.conf"), more).unwrap();
        }
        let output = Command::new("systemd-analyze")
            .args([scope, "verify", "--man=no"])
            .arg(&installed)
            .env("XDG_RUNTIME_DIR", &runtime)
            .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.display()))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        let ours: Vec<&str> = told.lines().filter(|line| line.contains("gosync")).collect();
        assert!(output.status.success() && ours.is_empty(), "{name}: {}\n{told}", output.status);
    }
    // In tenths; below 20 is what systemd calls OK.
    let unit = examples().join("server/gosync.service");
    ok(Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=20", "--no-pager"]).arg(unit));
}

/// The next message to the service manager.
fn told(manager: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let bytes = manager.recv(&mut message).unwrap();
    String::from_utf8(message[..bytes].to_vec()).unwrap().trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_for_laptops_keeps_folder_and_bucket_in_step_and_systemd_is_told() {
    let store = DevStore::start().await;
    let bucket = store.bucket("bucket").await;
    let home = Folder::new("laptop");
    bucket.put("handouts/read-me", "from others").await;
    home.dir(".gosync");
    fs::copy(examples().join("laptop/config.yaml"), home.path().join(".gosync/config.yaml")).unwrap();
    fs::write(home.dir("Documents").join("letter"), "dear").unwrap();
    let manager = UnixDatagram::bind(home.path().join("manager")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();

    // As the unit starts it: the config is where it is looked for.
    let mut command = gosync(home.path(), &["agent"]);
    command.envs(environment(&store.address)).env("NOTIFY_SOCKET", home.path().join("manager"));
    let mut agent = Process::start("gosync agent", command, &home.path().join("journal"));
    assert_eq!(told(&manager), "READY=1", "{}", agent.tail());
    // Ready means that it answers, at once and wherever it is asked from.
    ok(&mut gosync(home.path(), &["sync", "flush", "--wait"]));
    assert_eq!(bucket.get("documents/letter").await.as_deref(), Some(&b"dear"[..]));
    assert_eq!(text(&home.path().join("Handouts/read-me")), "from others");
    assert!(text(&home.path().join(".gosync/agent.log")).contains("the agent is ready"));

    fs::write(home.path().join("Documents/last"), "words").unwrap();
    agent.signal(Signal::TERM);
    assert_eq!(told(&manager), "STOPPING=1", "{}", agent.tail());
    let status = wait::until("the agent ends", async || agent.ended().ok_or_else(|| agent.tail())).await;
    assert!(status.success(), "{status}\n{}", agent.tail());
    assert_eq!(bucket.get("documents/last").await.as_deref(), Some(&b"words"[..]));
}

/// The sandbox of the unit as far as the kernel alone can make it: nothing is writable but the state and the folder, which are
/// mounts of their own then; another user; no capabilities, none to be had.
const SANDBOX: &str = r#"
set -e
mount --make-rprivate /
mount --bind "$TREE/srv" /srv
mount --bind "$TREE/lib" /var/lib
mount -o bind,remount,ro /
exec setpriv --reuid "$1" --regid "$1" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
    "$2" agent --config "$3"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_for_servers_works_where_nothing_else_is_writable() {
    if !needs_root("mounts in a namespace, for the sandbox of the unit") {
        return;
    }
    let store = DevStore::start().await;
    let bucket = store.bucket("bucket").await;
    bucket.put("files/there", "in the bucket").await;
    let home = Folder::new("server");
    let (files, state) = (home.dir("srv/files"), home.dir("lib/gosync"));
    for folder in [&files, &state] {
        std::os::unix::fs::chown(folder, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
    }
    fs::write(files.join("here"), "in the folder").unwrap();

    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", SANDBOX, "sh", &UNPRIVILEGED.to_string()])
        .arg(binary())
        .arg(examples().join("server/config.yaml"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TREE", home.path())
        .envs(environment(&store.address));
    let mut agent = Process::start("gosync agent", command, &home.path().join("journal"));
    let socket = state.join("gosync.sock");
    let ask = |args: &[&str]| gosync(home.path(), args).arg("--socket").arg(&socket).output().unwrap();
    wait::until("both sides are in step", async || {
        if let Some(status) = agent.ended() {
            panic!("the agent ended ({status})\n{}", agent.tail());
        }
        let flushed = ask(&["sync", "flush", "--wait"]);
        wait::hold(flushed.status.success(), format!("{flushed:?}\n{}", agent.tail()))
    })
    .await;
    assert_eq!(text(&files.join("there")), "in the bucket");
    assert_eq!(bucket.get("files/here").await.as_deref(), Some(&b"in the folder"[..]));
    fs::write(files.join("there"), "edited").unwrap();
    bucket.put("files/here", "edited there").await;
    wait::until("edits go both ways", async || {
        ask(&["sync", "flush", "--wait"]);
        let both = (text(&files.join("here")), bucket.get("files/there").await);
        wait::hold(both == ("edited there".to_owned(), Some(b"edited".to_vec().into())), format!("{both:?}"))
    })
    .await;

    agent.signal(Signal::TERM);
    let status = wait::until("the agent ends", async || agent.ended().ok_or_else(|| agent.tail())).await;
    assert!(status.success(), "{status}\n{}", agent.tail());
    // Each line of its log is a JSON object.
    let log = agent.log();
    assert!(log.lines().count() > 1 && log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{log}");
}

#[test]
fn the_manual_has_a_page_for_each_command_and_each_can_be_read() {
    let home = Folder::new("manual");
    let pages = home.path().join("man1");
    let told = ok(gosync(home.path(), &["man", "--dir"]).arg(&pages));
    let names: Vec<String> =
        fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(told.contains(&format!("wrote {} pages", names.len())), "{told}");
    for name in
        ["gosync.1", "gosync-agent.1", "gosync-sync-wait.1", "gosync-sync-trash-restore.1", "gosync-cache-stats.1"]
    {
        assert!(names.iter().any(|there| there == name), "{name} in {names:?}");
    }
    assert_eq!(ok(&mut gosync(home.path(), &["man"])), text(&pages.join("gosync.1")));

    if !needs_tool("groff", "reading the manual as man does") {
        return;
    }
    for name in &names {
        let output = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-P-c", "-P-b", "-P-o", "-P-u"])
            .arg(pages.join(name))
            .output()
            .unwrap();
        let (page, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && complaints.is_empty(), "{name}: {complaints}");
        for section in ["NAME", "SYNOPSIS", "OPTIONS"] {
            assert!(page.contains(section), "{section} of {name} in {page}");
        }
    }
}

/// What a shell makes of `gosync sync pa` when its script is loaded.
fn completed(shell: &str, home: &Path, script: &Path) -> String {
    let mut command = Command::new(shell);
    command.env("HOME", home).current_dir(home);
    match shell {
        "bash" => command.args([
            "--norc",
            "-c",
            r#"set -e; source "$1"; COMP_WORDS=(gosync sync pa) COMP_CWORD=2; _gosync gosync pa sync; printf '%s\n' "${COMPREPLY[@]}""#,
            "bash",
        ]),
        "fish" => command.args(["-c", r#"source $argv[1]; complete -C "gosync sync pa""#]),
        // It completes in its line editor alone, which wants a terminal: here the script is loaded, and looked at.
        "zsh" => command.args([
            "-f",
            "-c",
            r#"autoload -U compinit; compinit -D -u; source "$1" && functions -m "_gosync*sync_commands""#,
            "zsh",
        ]),
        other => panic!("{other}"),
    };
    ok(command.arg(script))
}

#[test]
fn bash_completes_commands() {
    completes("bash");
}

#[test]
fn zsh_completes_commands() {
    if needs_tool("zsh", "loading the completions of zsh") {
        completes("zsh");
    }
}

#[test]
fn fish_completes_commands() {
    if needs_tool("fish", "loading the completions of fish") {
        completes("fish");
    }
}

fn completes(shell: &str) {
    let home = Folder::new(shell);
    let script = home.path().join("gosync");
    fs::write(&script, ok(&mut gosync(home.path(), &["completions", shell]))).unwrap();
    let completed = completed(shell, home.path(), &script);
    assert!(completed.contains("pause"), "{completed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_that_is_gone_stops_nothing() {
    let home = Folder::new("no-manager");
    let address = Address { endpoint: "http://127.0.0.1:1".into(), access_key: "a".into(), secret_key: "b".into() };
    let file = home.path().join("config.yaml");
    fs::write(&file, config(home.path(), &address, "bucket").to_string()).unwrap();
    let mut command = gosync(home.path(), &["agent", "--config"]);
    command.arg(&file).env("NOTIFY_SOCKET", home.path().join("nobody"));
    let mut agent = Process::start("gosync agent", command, &home.path().join("journal"));
    wait::until("the agent is ready", async || wait::hold(agent.log().contains("the agent is ready"), agent.tail()))
        .await;
    agent.signal(Signal::TERM);
    let status = wait::until("the agent ends", async || agent.ended().ok_or_else(|| agent.tail())).await;
    assert!(status.success(), "{status}\n{}", agent.tail());
    assert!(agent.log().contains("service manager can't be told"), "{}", agent.log());
}
