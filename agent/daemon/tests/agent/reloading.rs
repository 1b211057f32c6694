//! The config, edited while the agent runs.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::rig::{Agent, BUCKET, KEY, Rig, SECRET, has_content, hold, until, with_mirror};

fn write(rig: &Rig, config: &Value) {
    std::fs::write(rig.path("data.yaml"), config.to_string()).unwrap();
}

async fn names(agent: &Agent) -> Vec<String> {
    let list = agent.get("/sync/list").await.unwrap();
    list["mirrors"].as_array().unwrap().iter().map(|mirror| mirror["name"].as_str().unwrap().to_owned()).collect()
}

async fn has_mirrors(agent: &Agent, wanted: &[&str]) {
    until(&format!("the mirrors are {wanted:?}"), async || {
        let found = names(agent).await;
        hold(found == wanted, format!("{found:?}\n{}", agent.log()))
    })
    .await;
}

/// Waits until the state says this of what waits for a restart.
async fn tells(agent: &Agent, is_so: impl Fn(&Value) -> bool) {
    until("what waits for a restart is told", async || {
        let state = agent.get("/sync/state").await?;
        hold(is_so(&state["restart_needed"]), format!("{state:#}"))
    })
    .await;
}

#[tokio::test]
async fn mirrors_come_change_and_go_with_the_config() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    write(&rig, &with_mirror(rig.one_mirror(), "copy", &rig.path("copy"), "/files"));
    has_mirrors(&agent, &["copy", "docs"]).await;
    std::fs::write(rig.path("docs/note.txt"), "x").unwrap();
    has_content(&rig.path("copy/note.txt"), "x").await;

    let mut elsewhere = with_mirror(rig.config(), "copy", &rig.path("copy"), "/files");
    elsewhere["syncs"][0]["ignore_patterns"] = json!(["*.tmp"]);
    write(&rig, &elsewhere);
    has_mirrors(&agent, &["copy"]).await;
    agent.in_step("copy").await;
    std::fs::write(rig.path("copy/a.tmp"), "x").unwrap();
    std::fs::write(rig.path("copy/b"), "x").unwrap();
    agent.flush().await;
    assert_eq!(rig.stranger().get("files/a.tmp").await, None);
    assert!(rig.stranger().get("files/b").await.is_some());
}

#[tokio::test]
async fn a_hangup_reads_the_config_and_says_what_waits_for_a_restart() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.one_mirror()).await;
    let mut config = rig.one_mirror();
    config["agent"]["device_name"] = json!("another");
    write(&rig, &config);
    agent.signal(Signal::HUP);
    tells(&agent, |waits| *waits == json!(["agent.device_name"])).await;
    agent.flush().await;
}

#[tokio::test]
async fn a_config_with_mistakes_changes_nothing() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.one_mirror()).await;
    let mut config = rig.config();
    config["sync"]["interval"] = json!("soon");
    write(&rig, &config);
    tells(&agent, |waits| waits.to_string().contains("sync.interval")).await;
    assert_eq!(names(&agent).await, ["docs"]);
    write(&rig, &rig.one_mirror());
    tells(&agent, |waits| *waits == json!([])).await;
}

/// Of a folder of files, one with one mirror.
fn entry(rig: &Rig, name: &str) -> String {
    json!({"syncs": [{"name": name, "local_path": rig.path(name), "s3_path": format!("/{name}")}]}).to_string()
}

#[tokio::test]
async fn mirrors_come_and_go_with_the_files_of_a_folder() {
    let rig = Rig::new().await;
    let folder = rig.path("config");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("base.yaml"), rig.config().to_string()).unwrap();
    std::fs::write(folder.join("10-docs.yaml"), entry(&rig, "docs")).unwrap();
    let agent = rig.start_on(&folder).await;
    has_mirrors(&agent, &["docs"]).await;
    std::fs::write(folder.join("20-music.yaml"), entry(&rig, "music")).unwrap();
    has_mirrors(&agent, &["docs", "music"]).await;
    std::fs::remove_file(folder.join("10-docs.yaml")).unwrap();
    has_mirrors(&agent, &["music"]).await;
    agent.in_step("music").await;
}

#[tokio::test]
async fn a_mounted_config_map_is_read_again_when_its_data_link_is_swapped() {
    let rig = Rig::new().await;
    let mounted = rig.path("mounted");
    // As a kubelet lays it out: names that lead through `..data` to a folder that is never changed, only replaced.
    let version = |name: &str, config: &Value| {
        let folder = mounted.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("gosync.yaml"), config.to_string()).unwrap();
        let link = mounted.join("..data_tmp");
        std::os::unix::fs::symlink(name, &link).unwrap();
        std::fs::rename(link, mounted.join("..data")).unwrap();
    };
    version("..2026_01", &rig.one_mirror());
    std::os::unix::fs::symlink("..data/gosync.yaml", mounted.join("gosync.yaml")).unwrap();
    let agent = rig.start_on(&mounted).await;
    has_mirrors(&agent, &["docs"]).await;
    version("..2026_02", &with_mirror(rig.one_mirror(), "music", &rig.path("music"), "/music"));
    std::fs::remove_dir_all(mounted.join("..2026_01")).unwrap();
    has_mirrors(&agent, &["docs", "music"]).await;
}

#[tokio::test]
async fn a_key_that_is_rotated_in_its_file_is_taken_up_without_a_restart() {
    let mut rig = Rig::new().await;
    rig.stop_store().await;
    rig.start_store("the-old-key", &[BUCKET]).await;
    let mut config = rig.one_mirror();
    let secrets = rig.path("secrets");
    std::fs::create_dir(&secrets).unwrap();
    std::fs::write(secrets.join("key"), "the-old-key\n").unwrap();
    std::fs::write(secrets.join("secret"), SECRET).unwrap();
    config["s3"].as_object_mut().unwrap().retain(|key, _| !key.ends_with("_key"));
    config["s3"]["access_key_file"] = json!(secrets.join("key"));
    config["s3"]["secret_key_file"] = json!(secrets.join("secret"));
    let agent = rig.start(&config).await;
    agent.in_step("docs").await;

    // The store knows the new key alone; the agent is told of it later.
    rig.stop_store().await;
    rig.start_store(KEY, &[BUCKET]).await;
    until("the old key is refused", async || {
        let mirror = agent.mirror("docs").await;
        hold(mirror["errors"][0]["class"] == "credentials", format!("{mirror:#}"))
    })
    .await;
    std::fs::write(secrets.join("new"), KEY).unwrap();
    std::fs::rename(secrets.join("new"), secrets.join("key")).unwrap();
    agent.in_step("docs").await;
    std::fs::write(rig.path("docs/after"), "all is well").unwrap();
    agent.flush().await;
    assert_eq!(rig.stranger().get("files/after").await.as_deref(), Some("all is well"));
    assert!(!agent.log().contains(SECRET), "a secret is in the log");
}

#[tokio::test]
async fn a_config_that_waits_for_a_secret_is_taken_up_when_the_secret_comes() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.config()).await;
    let mut config = rig.one_mirror();
    config["s3"].as_object_mut().unwrap().remove("secret_key");
    config["s3"]["secret_key_file"] = json!(rig.path("secret"));
    write(&rig, &config);
    tells(&agent, |waits| waits.to_string().contains("secret_key_file")).await;
    let told = agent.log().matches("s3.secret_key_file").count();
    std::fs::write(rig.path("secret"), SECRET).unwrap();
    has_mirrors(&agent, &["docs"]).await;
    agent.in_step("docs").await;
    tells(&agent, |waits| *waits == json!([])).await;
    assert_eq!(agent.log().matches("s3.secret_key_file").count(), told, "told once");
}

#[tokio::test]
async fn a_mirror_that_the_config_pauses_rests_until_the_config_lets_it_go_on_and_a_request_is_repeated_when_it_is_done()
 {
    let rig = Rig::new().await;
    let with = |key: &str, value: Value| {
        let mut config = rig.one_mirror();
        config["syncs"][0][key] = value;
        config
    };
    let agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    write(&rig, &with("paused", json!(true)));
    agent.has_status("docs", "paused").await;
    std::fs::write(rig.path("docs/note.txt"), "x").unwrap();
    let (_, told) = agent.post("/sync/resume", &json!({"name": "docs"})).await;
    assert!(told["message"].as_str().unwrap().contains("still paused by the config"), "{told}");
    agent.has_status("docs", "paused").await;
    assert_eq!(rig.stranger().get("files/note.txt").await, None);

    write(&rig, &with("request", json!("again, please")));
    until("the request is repeated", async || {
        let (_, text) = agent.http("/v1/state").await?;
        let state: Value = serde_json::from_str(&text).unwrap();
        hold(state["mirrors"][0]["request"] == "again, please", format!("{state:#}"))
    })
    .await;
    assert_eq!(rig.stranger().get("files/note.txt").await.as_deref(), Some("x"), "it is repeated only when it is done");
}
