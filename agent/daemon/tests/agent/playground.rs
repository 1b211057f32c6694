//! `--dev`: two folders and a bucket that need nothing but a folder.

use rustix::process::Signal;

use crate::rig::{Agent, has_content, is_gone, until};

struct Playground {
    temp: tempfile::TempDir,
}

impl Playground {
    fn new() -> Self {
        Self { temp: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.temp.path().join("dev").join(name)
    }

    async fn start(&self) -> Agent {
        let mut agent = Agent::launch_dev(&self.temp.path().join("dev"), &self.temp.path().join("log"));
        agent.answering().await;
        agent
    }
}

#[tokio::test]
async fn a_file_dropped_into_one_folder_appears_in_the_other() {
    let ground = Playground::new();
    let agent = ground.start().await;
    agent.in_step("left").await;
    agent.in_step("right").await;
    std::fs::write(ground.path("left/note.txt"), "hello").unwrap();
    has_content(&ground.path("right/note.txt"), "hello").await;
    std::fs::remove_file(ground.path("right/note.txt")).unwrap();
    is_gone(&ground.path("left/note.txt")).await;
    let log = agent.log();
    let (status, error) = agent.post("/sync/remove", &serde_json::json!({"name": "left"})).await;
    assert!(status == 409 && error["error"]["message"].as_str().unwrap().contains("playground's own"), "{error}");
    for line in ["left  ↑ note.txt  5 B", "right ↓ note.txt  5 B", "export AWS_ACCESS_KEY_ID="] {
        assert!(log.contains(line), "{line:?} is missing in:\n{log}");
    }
}

#[tokio::test]
async fn a_second_start_goes_on_where_the_first_ended() {
    let ground = Playground::new();
    let mut agent = ground.start().await;
    agent.in_step("left").await;
    std::fs::write(ground.path("left/kept"), "x").unwrap();
    std::fs::write(ground.path("left/deleted"), "x").unwrap();
    has_content(&ground.path("right/kept"), "x").await;
    has_content(&ground.path("right/deleted"), "x").await;
    agent.flush().await;
    agent.signal(Signal::INT);
    assert_eq!(agent.end().await.code(), Some(0), "{}", agent.log());
    let keys = std::fs::read_to_string(ground.path("agent/s3-keys.json")).unwrap();
    std::fs::remove_file(ground.path("right/deleted")).unwrap();
    std::fs::write(ground.path("right/new"), "y").unwrap();

    let agent = ground.start().await;
    has_content(&ground.path("left/new"), "y").await;
    is_gone(&ground.path("left/deleted")).await;
    has_content(&ground.path("left/kept"), "x").await;
    assert_eq!(std::fs::read_to_string(ground.path("agent/s3-keys.json")).unwrap(), keys);
    drop(agent);
}

#[tokio::test]
async fn a_taken_port_of_metrics_moves_on_and_says_so() {
    let ground = Playground::new();
    // Another playground may have it, and give it back at any moment: then it may be served after all.
    let taken = std::net::TcpListener::bind(("127.0.0.1", 9754));
    let agent = ground.start().await;
    until("metrics are served", async || match agent.http("/livez").await? {
        (200, _) => Ok(()),
        (status, _) => Err(status.to_string()),
    })
    .await;
    let state = agent.get("/sync/state").await.unwrap();
    let served = state["metrics"].as_str().unwrap();
    if served == "127.0.0.1:9754" {
        assert!(taken.is_err(), "served at a port that is taken");
    } else {
        let said = format!("Port 9754 is taken: metrics are on {served}");
        assert!(agent.log().contains(&said), "no {said:?} in:\n{}", agent.log());
    }
}

#[tokio::test]
async fn a_taken_port_moves_on_says_so_and_forgets_nothing() {
    let ground = Playground::new();
    let mut agent = ground.start().await;
    agent.in_step("left").await;
    std::fs::write(ground.path("left/deleted"), "x").unwrap();
    has_content(&ground.path("right/deleted"), "x").await;
    agent.flush().await;
    agent.signal(Signal::INT);
    agent.end().await;
    let keys: serde_json::Value =
        serde_json::from_slice(&std::fs::read(ground.path("agent/s3-keys.json")).unwrap()).unwrap();
    let port = keys["port"].as_u64().unwrap();
    // Another test's playground may have been quicker: taken is taken.
    let _taken = std::net::TcpListener::bind(("127.0.0.1", u16::try_from(port).unwrap()));
    std::fs::remove_file(ground.path("left/deleted")).unwrap();
    let agent = ground.start().await;
    is_gone(&ground.path("right/deleted")).await;
    let said = format!("Port {port} is taken");
    until("it says so", async || if agent.log().contains(&said) { Ok(()) } else { Err(agent.log()) }).await;
}
