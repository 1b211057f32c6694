//! What surrounds an agent and is wrong: its config, its store, its root, its neighbours, its ports. A wrong config starts
//! nothing; everything else is told, and the agent goes on by itself once it is mended.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Output;

use bytes::Bytes;
use gosync_tests::agent::{Agent, config, gosync, with_mirror};
use gosync_tests::dev_store::DevStore;
use gosync_tests::pair::{MIRROR, Pair, write};
use gosync_tests::permissions::{give_away, mode};
use gosync_tests::process::{Folder, free_port, needs_root};
use gosync_tests::server::Address;
use gosync_tests::stranger::Stranger;
use gosync_tests::wait;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustix::process::Signal;
use serde_json::{Value, json};

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

// ---- the config ---------------------------------------------------------------------------------------------------

#[test]
fn every_mistake_of_a_config_is_told_at_once_with_its_file_and_line_and_nothing_is_started() {
    let home = Folder::new("mistakes");
    let files = [
        (
            "base.yaml",
            "\
data_dir: ~/data
s3:
  endpoint: http://127.0.0.1:1
  bucket: files
  access_key: without-the-other
  colour: blue
log: {level: loud}
sync:
  interval: 5 parsecs
  workers: 0
  max_deletes: {percent: 150}
agent:
  device_name: ${GOSYNC_TEST_UNSET}
",
        ),
        (
            "more.yaml",
            "\
data_dir: ~/other
syncs:
  - name: Not_a_Label
    local_path: ~/a
    s3_path: /a
  - name: twice
    local_path: ~/a/inside
    s3_path: /b
    bidirectional: perhaps
  - name: twice
    local_path: ~/c
    direction: pull
    conflict_policy: local-wins
",
        ),
    ];
    let folder = home.dir("conf");
    for (name, text) in files {
        write(&folder.join(name), text);
    }
    let mistakes = [
        ("base.yaml:5:", "s3.access_key"),
        ("base.yaml:6:", "s3.colour"),
        ("base.yaml:7:", "log.level"),
        ("base.yaml:9:", "sync.interval"),
        ("base.yaml:10:", "sync.workers"),
        ("base.yaml:11:", "sync.max_deletes.percent"),
        ("base.yaml:13:", "GOSYNC_TEST_UNSET"),
        ("more.yaml:1:", "base.yaml:1:"),
        ("more.yaml:3:", "syncs[0].name"),
        ("more.yaml:7:", "lies inside"),
        ("more.yaml:9:", "syncs[1].bidirectional"),
        ("more.yaml:10:", "syncs[2].s3_path"),
        ("more.yaml:10:", "syncs[2].name"),
        ("more.yaml:13:", "syncs[2].conflict_policy"),
    ];
    for command in [["agent", "--config", "conf"].as_slice(), &["config", "validate", "--config", "conf"]] {
        let output = gosync(home.path(), command).output().unwrap();
        let told = errors(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        for (place, about) in mistakes {
            let line = told.lines().find(|line| line.contains(&format!("conf/{place}")) && line.contains(about));
            assert!(line.is_some(), "nothing of {about} at {place} in:\n{told}");
        }
        let lines = told.lines().filter(|line| line.contains("conf/base.yaml:") || line.contains("conf/more.yaml:"));
        assert_eq!(lines.count(), mistakes.len(), "{told}");
    }
    assert_eq!(names(home.path()), ["conf"], "something was begun");
}

#[test]
fn what_is_not_there_yet_is_valid_in_a_config_and_refused_by_the_agent() {
    let home = Folder::new("not-yet");
    let yaml = "\
data_dir: ~/data
log: {file: ~/log}
s3: {endpoint: \"http://127.0.0.1:1\", bucket: files}
agent:
  otlp: {endpoint: \"http://127.0.0.1:1\"}
syncs:
  - {name: ours, local_path: ~/c, s3_path: /c}
";
    write(&home.path().join("config.yaml"), yaml);
    let refused = [(5, "agent.otlp.endpoint")];
    let valid = gosync(home.path(), &["config", "validate", "--config", "config.yaml"]).output().unwrap();
    assert_eq!(valid.status.code(), Some(0), "{}", errors(&valid));
    let agent = gosync(home.path(), &["agent", "--config", "config.yaml"]).output().unwrap();
    let told = errors(&agent);
    assert_eq!(agent.status.code(), Some(2), "{told}");
    for (line, key) in refused {
        let found = told.lines().find(|told| told.contains(&format!("config.yaml:{line}:")) && told.contains(key));
        assert!(found.is_some_and(|told| told.contains("not yet")), "{key} in:\n{told}");
    }
    // And a line that says how many there are, and one that says what to do.
    assert_eq!(told.lines().count(), refused.len() + 2, "{told}");
    assert_eq!(names(home.path()), ["config.yaml"], "something was begun");
}

// ---- the store and the root ---------------------------------------------------------------------------------------

/// A folder with a file, the store's address, and an agent's config for them.
struct Outside {
    home: Folder,
    root: PathBuf,
    config: Value,
}

impl Outside {
    fn new(store: &Address) -> Self {
        let home = Folder::new("outside");
        let root = home.dir("docs");
        write(&root.join("before"), "written while it was wrong");
        let config = with_mirror(config(home.path(), store, "bucket"), MIRROR, &root, "/docs");
        Self { home, root, config }
    }

    async fn start(&self) -> Agent {
        Agent::start(self.home.path(), &self.config).await
    }

    /// Mended: both ways, and as it is told.
    async fn syncs(&self, agent: &Agent, bucket: &Stranger) {
        agent.in_step(MIRROR).await;
        assert_eq!(listed(agent), "active");
        assert_eq!(bucket.get("docs/before").await.as_deref(), Some(b"written while it was wrong".as_slice()));
        bucket.put("docs/from-the-bucket", "down").await;
        wait::until("a file comes down", async || fs::read(self.root.join("from-the-bucket"))).await;
        write(&self.root.join("after"), "up");
        wait::until("a file goes up", async || bucket.get("docs/after").await.ok_or("absent")).await;
        let probe = agent.run(&["probe", "ready"]);
        assert!(probe.status.success(), "{}", errors(&probe));
    }
}

/// The mirror's status in the list of mirrors.
fn listed(agent: &Agent) -> String {
    agent.ask(&["sync", "list"])["mirrors"][0]["status"].as_str().unwrap().to_owned()
}

/// In error for this reason, and so everywhere where it is told.
async fn wrong(agent: &Agent, class: &str) {
    agent.in_error(MIRROR, class).await;
    assert_eq!(listed(agent), "error");
    assert!(!agent.run(&["probe", "ready"]).status.success());
    assert!(agent.run(&["probe", "live"]).status.success());
    assert_eq!(agent.mirror(MIRROR)["files"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_started_later_is_found_without_a_restart() {
    let port = free_port();
    let (access_key, secret_key) = ("gosync".to_owned(), "gosync-secret".to_owned());
    let address = Address { endpoint: format!("http://127.0.0.1:{port}"), access_key, secret_key };
    let outside = Outside::new(&address);
    let agent = outside.start().await;
    wrong(&agent, "endpoint").await;
    let store = DevStore::start_with(|options| {
        options.listen.set_port(port);
        options.buckets = vec!["bucket".to_owned()];
    })
    .await;
    outside.syncs(&agent, &Stranger::new(&store.address, "bucket")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_comes_to_know_the_keys_is_used_without_a_restart() {
    for (access_key, secret_key) in [("gosync", "wrong-secret"), ("nobody", "gosync-secret")] {
        let store = DevStore::start_with(|options| options.buckets = vec!["bucket".to_owned()]).await;
        let (access_key, secret_key) = (access_key.to_owned(), secret_key.to_owned());
        let outside = Outside::new(&Address {
            endpoint: store.address.endpoint.clone(),
            access_key: access_key.clone(),
            secret_key: secret_key.clone(),
        });
        let agent = outside.start().await;
        wrong(&agent, "credentials").await;
        let store = store
            .restart_with(|options| {
                options.access_key = access_key;
                options.secret_key = secret_key;
            })
            .await;
        outside.syncs(&agent, &Stranger::new(&store.address, "bucket")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_mended_by_editing_the_config() {
    let store = DevStore::start().await;
    let bucket = store.bucket("bucket").await;
    let mut outside = Outside::new(&store.address);
    let right = outside.config["s3"]["secret_key"].clone();
    outside.config["s3"]["secret_key"] = json!("wrong-secret");
    let agent = outside.start().await;
    wrong(&agent, "credentials").await;
    outside.config["s3"]["secret_key"] = right;
    fs::write(outside.home.path().join("config.yaml"), outside.config.to_string()).unwrap();
    outside.syncs(&agent, &bucket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_made_later_is_filled_without_a_restart() {
    let store = DevStore::start().await;
    let outside = Outside::new(&store.address);
    let agent = outside.start().await;
    wrong(&agent, "bucket").await;
    let bucket = store.bucket("bucket").await;
    outside.syncs(&agent, &bucket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_may_be_read_later_is_synced_without_a_restart() {
    if !needs_root("running the agent as a user whom permissions hold back") {
        return;
    }
    let store = DevStore::start().await;
    let bucket = store.bucket("bucket").await;
    let outside = Outside::new(&store.address);
    give_away(outside.home.path());
    mode(&outside.root, 0o000);
    let agent = Agent::start_unprivileged(outside.home.path(), &outside.config).await;
    wrong(&agent, "permission").await;
    mode(&outside.root, 0o755);
    outside.syncs(&agent, &bucket).await;
}

/// One mirror's trouble is its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_in_error_holds_up_no_other() {
    let store = DevStore::start().await;
    let bucket = store.bucket("bucket").await;
    let outside = Outside::new(&store.address);
    let config = with_mirror(outside.config.clone(), "lost", &outside.home.dir("lost"), "s3://no-such-bucket/lost");
    let agent = Agent::start(outside.home.path(), &config).await;
    agent.in_error("lost", "bucket").await;
    agent.in_step(MIRROR).await;
    assert!(bucket.get("docs/before").await.is_some());
    assert_eq!(agent.mirror("lost")["status"], "error");
}

// ---- neighbours ---------------------------------------------------------------------------------------------------

#[test]
fn without_an_agent_a_command_ends_with_3_and_says_where_it_looked() {
    let home = Folder::new("nobody");
    let named = home.path().join("named.sock");
    let commands: [&[&str]; 4] =
        [&["sync", "state"], &["sync", "flush", "--wait"], &["sync", "list"], &["probe", "live"]];
    for command in commands {
        let output = gosync(home.path(), command).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", errors(&output));
        let told = errors(&output);
        let beside = home.path().join(".gosync/gosync.sock").display().to_string();
        for expected in [beside.as_str(), "/var/lib/gosync/gosync.sock", "/run/gosync/gosync.sock", "gosync agent"] {
            assert!(told.contains(expected), "{expected} in:\n{told}");
        }
        let output = gosync(home.path(), command).env("GOSYNC_SOCKET", &named).output().unwrap();
        let told = errors(&output);
        assert_eq!(output.status.code(), Some(3), "{told}");
        assert!(told.contains("named.sock") && !told.contains(".gosync/gosync.sock"), "{told}");
    }
}

/// Also after an end that left the socket's file behind.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_killed_is_no_agent_and_its_socket_is_taken_over() {
    let pair = Pair::new().await;
    let mut agent = Agent::start(pair.home.path(), &pair.config).await;
    agent.kill();
    let output = agent.run(&["sync", "list"]);
    assert_eq!(output.status.code(), Some(3), "{}", errors(&output));
    assert!(errors(&output).contains("gosync.sock"), "{}", errors(&output));
    agent.restart().await;
    agent.in_step(MIRROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_on_a_data_dir_is_refused_and_the_first_goes_on() {
    let pair = Pair::new().await;
    let agent = pair.start().await;
    let config = pair.home.path().join("config.yaml");
    let second = gosync(pair.home.path(), &["agent", "--config"]).arg(config).output().unwrap();
    let told = errors(&second);
    assert_eq!(second.status.code(), Some(1), "{told}");
    assert!(told.contains(pair.home.path().join("data").to_str().unwrap()), "{told}");
    write(&pair.root.join("new"), "up");
    agent.in_step(MIRROR).await;
    assert!(pair.bucket.get("docs/new").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_on_a_folder_stands_by_and_takes_over() {
    let pair = Pair::new().await;
    write(&pair.root.join("note"), "content");
    let mut first = pair.start().await;
    let home = Folder::new("second");
    let config = with_mirror(config(home.path(), &pair.store.address, "bucket"), MIRROR, &pair.root, "/docs");
    let second = Agent::start(home.path(), &config).await;
    second.in_error(MIRROR, "locked").await;
    assert_eq!(second.mirror(MIRROR)["phase"], "standby");
    first.stop().await;
    write(&pair.root.join("new"), "up");
    second.in_step(MIRROR).await;
    pair.both_hold(&pair.local()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_stands_by_is_removed_and_takes_nothing_from_the_active_one() {
    let pair = Pair::new().await;
    write(&pair.root.join("note"), "content");
    let first = pair.start().await;
    let home = Folder::new("second");
    let second = Agent::start(home.path(), &config(home.path(), &pair.store.address, "bucket")).await;
    second.ask(&["sync", "mirror", pair.root.to_str().unwrap(), "/docs", "--name", MIRROR]);
    second.in_error(MIRROR, "locked").await;
    second.ask(&["sync", "remove", MIRROR]);
    assert!(pair.root.join(".gosync/marker").exists());
    write(&pair.root.join("new"), "up");
    first.in_step(MIRROR).await;
    pair.both_hold(&pair.local()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_takes_the_name_of_a_mirror_made_by_a_command_is_refused_until_that_is_given_up() {
    let pair = Pair::new().await;
    let agent = pair.start().await;
    agent.in_step(MIRROR).await;
    let beside = pair.home.dir("beside");
    agent.ask(&["sync", "mirror", beside.to_str().unwrap(), "/beside", "--name", "extra"]);
    let config = with_mirror(pair.config.clone(), "extra", &pair.home.dir("another"), "/another");
    write(&pair.home.path().join("config.yaml"), config.to_string());
    let told = wait::until("the clash is told", async || {
        let told = agent.state()["restart_needed"].to_string();
        wait::hold(told.contains("extra"), &told).map(|()| told)
    })
    .await;
    for part in ["config.yaml:", "made by `gosync sync mirror`", "gosync sync remove extra"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(agent.mirror("extra")["local_path"], beside.to_str().unwrap(), "the one from before stays");
    agent.ask(&["sync", "remove", "extra"]);
    agent.signal(Signal::HUP);
    agent.until("extra", "the config's own", |mirror| mirror["s3_path"] == "s3://bucket/another").await;
}

// ---- probes and metrics -------------------------------------------------------------------------------------------

async fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let reply = client.get(format!("http://{address}{path}").parse().unwrap()).await.unwrap();
    let status = reply.status().as_u16();
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn ask_json(address: SocketAddr, path: &str) -> (u16, Value) {
    let (status, body) = ask(address, path).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error} in:\n{body}")))
}

/// Where the agent says that it serves them.
fn served_at(agent: &Agent) -> SocketAddr {
    agent.state()["metrics"].as_str().unwrap().parse().unwrap()
}

/// The value of a metric, by the beginning of its line.
fn metric(text: &str, begin: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(begin));
    line.unwrap_or_else(|| panic!("no {begin} in:\n{text}")).trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_follow_a_mirror_from_error_to_ready_and_back() {
    let store = DevStore::start().await;
    let outside = Outside::new(&store.address);
    let agent = outside.start().await;
    let at = served_at(&agent);

    agent.in_error(MIRROR, "bucket").await;
    assert_eq!(ask(at, "/livez").await.0, 200, "the loops turn");
    let (status, startup) = ask_json(at, "/startupz").await;
    assert_eq!((status, &startup["ok"]), (503, &json!(false)), "not hydrated");
    let (status, ready) = ask_json(at, "/readyz").await;
    assert_eq!((status, &ready["ok"]), (503, &json!(false)), "not hydrated");
    let (_, metrics) = ask(at, "/metrics").await;
    assert_eq!(metric(&metrics, "gosync_dependency_up{name=\"s3\"}"), 0.0);

    let bucket = store.bucket("bucket").await;
    agent.in_step(MIRROR).await;
    for probe in ["/livez", "/startupz", "/readyz"] {
        assert_eq!(ask_json(at, probe).await, (200, json!({"ok": true, "reasons": []})), "{probe}");
    }

    // Back in error: ready no more, but started and alive, so that nobody kills it for its store's sake.
    bucket.delete_bucket().await;
    agent.in_error(MIRROR, "bucket").await;
    wait::until("no longer ready", async || {
        let (status, body) = ask_json(at, "/readyz").await;
        wait::hold(status == 503 && body["reasons"][0].as_str().unwrap().contains(MIRROR), body)
    })
    .await;
    assert_eq!(ask(at, "/startupz").await.0, 200);
    assert_eq!(ask(at, "/livez").await.0, 200);
    assert_eq!(fs::read(outside.root.join("before")).unwrap(), b"written while it was wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_state_counts_and_names_no_path() {
    let pair = Pair::new().await;
    write(&pair.root.join("secret-name"), "12345");
    let agent = pair.start().await;
    let at = served_at(&agent);
    let (status, state) = ask_json(at, "/v1/state").await;
    assert_eq!(status, 200);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&state), ["dependencies", "device", "mirrors", "version"]);
    let mirror = &state["mirrors"][0];
    for key in [
        "name",
        "status",
        "phase",
        "halts",
        "hydrated",
        "lag_seconds",
        "files",
        "bytes",
        "pending",
        "conflicts",
        "problems",
        "errors",
        "last_sync",
        "cursor",
        "store",
        "feed",
        "cache",
    ] {
        assert!(mirror.get(key).is_some(), "{key} in {mirror:#}");
    }
    assert_eq!(
        (&mirror["name"], &mirror["status"], &mirror["hydrated"]),
        (&json!(MIRROR), &json!("active"), &json!(true))
    );
    assert_eq!((&mirror["files"], &mirror["bytes"]), (&json!(1), &json!(5)));
    assert_eq!(mirror["pending"], json!({"files": 0, "bytes": 0}));
    assert_eq!((&state["dependencies"][0]["name"], &state["dependencies"][0]["up"]), (&json!("s3"), &json!(true)));
    let home = pair.home.path().to_str().unwrap();
    for told in [state.to_string(), ask(at, "/metrics").await.1] {
        for hidden in ["secret-name", home, &pair.proxy.address.endpoint, &pair.proxy.address.secret_key] {
            assert!(!told.contains(hidden), "{hidden} in:\n{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_was_sent_and_fetched() {
    let pair = Pair::new().await;
    write(&pair.root.join("up"), "12345");
    pair.bucket.put("docs/down", "123").await;
    let agent = pair.start().await;
    let (status, text) = ask(served_at(&agent), "/metrics").await;
    assert_eq!(status, 200);
    for (direction, bytes) in [("upload", 5.0), ("download", 3.0)] {
        let labels = format!("{{mirror=\"{MIRROR}\",direction=\"{direction}\"}}");
        assert_eq!(metric(&text, &format!("gosync_transferred_files_total{labels}")), 1.0);
        assert_eq!(metric(&text, &format!("gosync_transferred_bytes_total{labels}")), bytes);
    }
    assert_eq!(metric(&text, &format!("gosync_pending_files{{mirror=\"{MIRROR}\"}}")), 0.0);
    assert_eq!(metric(&text, "gosync_dependency_up{name=\"s3\"}"), 1.0);
    assert!(metric(&text, &format!("gosync_sync_cycles_total{{mirror=\"{MIRROR}\",result=\"complete\"}}")) >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occupied_metrics_port_is_a_warning_and_files_are_synced() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut pair = Pair::new().await;
    pair.config["agent"]["metrics"]["listen"] = json!(address);
    write(&pair.root.join("note"), "up");
    let agent = pair.start().await;
    assert!(pair.bucket.get("docs/note").await.is_some());
    let state = agent.state();
    assert_eq!(state["metrics"], Value::Null);
    assert!(state["metrics_problem"].as_str().unwrap().contains(&address), "{state:#}");
    let log = agent.process().log();
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains(&address)), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_that_are_turned_off_are_served_nowhere() {
    let mut pair = Pair::new().await;
    pair.config["agent"]["metrics"]["listen"] = json!("");
    let agent = pair.start().await;
    let state = agent.state();
    assert_eq!((&state["metrics"], &state["metrics_problem"]), (&Value::Null, &Value::Null));
    assert!(agent.run(&["probe", "ready"]).status.success(), "probes are answered at the socket");
}
