//! Commands at the socket.

use serde_json::{Value, json};

use crate::rig::{Rig, has_content, is_gone, until};

#[tokio::test]
async fn a_mirror_made_by_command_survives_a_restart_and_is_removed_without_its_files() {
    let rig = Rig::new().await;
    let mut agent = rig.start(&rig.config()).await;
    let request = json!({"local_path": rig.path("My Photos"), "s3_path": "/photos", "ignore": ["*.tmp"]});
    let (status, made) = agent.post("/sync/mirror", &request).await;
    assert_eq!((status, &made["name"], &made["made_folder"]), (200, &json!("my-photos"), &json!(true)), "{made}");
    agent.in_step("my-photos").await;
    std::fs::write(rig.path("My Photos/a.jpg"), "a").unwrap();
    std::fs::write(rig.path("My Photos/b.tmp"), "b").unwrap();
    agent.flush().await;
    assert_eq!(agent.stop().await, Some(0));

    let agent = rig.start(&rig.config()).await;
    agent.in_step("my-photos").await;
    let (status, answer) = agent.post("/sync/remove", &json!({"name": "my-photos"})).await;
    assert_eq!(status, 200, "{answer}");
    let stranger = rig.stranger();
    assert_eq!(stranger.get("photos/a.jpg").await.as_deref(), Some("a"));
    assert_eq!(stranger.get("photos/b.tmp").await, None);
    assert!(rig.path("My Photos/a.jpg").exists());
    assert!(!rig.path("My Photos/.gosync/marker").exists());
    assert!(!rig.path("data/mirrors/my-photos.db").exists());
    assert_eq!(agent.get("/sync/list").await.unwrap()["mirrors"], json!([]));
    let (status, _) = agent.post("/sync/remove", &json!({"name": "my-photos"})).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_mirror_that_was_removed_comes_back_as_a_first_run() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.config()).await;
    let request = json!({"local_path": rig.path("docs"), "s3_path": "/files"});
    agent.post("/sync/mirror", &request).await;
    agent.in_step("docs").await;
    std::fs::write(rig.path("docs/kept"), "x").unwrap();
    agent.flush().await;
    agent.post("/sync/remove", &json!({"name": "docs"})).await;
    // Deleted while nobody looked: no proof of anything.
    std::fs::remove_file(rig.path("docs/kept")).unwrap();
    agent.post("/sync/mirror", &request).await;
    has_content(&rig.path("docs/kept"), "x").await;
}

#[tokio::test]
async fn a_dry_run_and_a_wrong_request_make_no_mirror() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.one_mirror()).await;
    let ask = async |request: Value| agent.post("/sync/mirror", &request).await;
    let (status, made) = ask(json!({"local_path": rig.path("a"), "s3_path": "/a", "dry_run": true})).await;
    assert_eq!((status, &made["dry_run"]), (200, &json!(true)));
    std::fs::write(rig.path("file"), "in the way").unwrap();
    let (status, error) = ask(json!({"local_path": rig.path("file/below"), "s3_path": "/a"})).await;
    assert!(status == 400 && error["error"]["message"].as_str().unwrap().contains("can't be made"), "{error}");
    let (status, error) = ask(json!({"local_path": rig.path("docs/inner"), "s3_path": "/b"})).await;
    assert_eq!(status, 400, "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains("docs"), "{error}");
    let (status, made) =
        ask(json!({"local_path": rig.path("a"), "s3_path": "/a", "direction": "pull", "dry_run": true})).await;
    assert_eq!((status, &made["dry_run"]), (200, &json!(true)));
    assert_eq!(agent.get("/sync/list").await.unwrap()["mirrors"].as_array().unwrap().len(), 1);
    assert!(!rig.path("a").exists());
}

#[tokio::test]
async fn a_mirror_of_the_config_can_be_paused_but_not_removed() {
    let rig = Rig::new().await;
    let mut agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    let (status, error) = agent.post("/sync/remove", &json!({"name": "docs"})).await;
    assert_eq!(status, 409);
    assert!(error["error"]["message"].as_str().unwrap().contains("data.yaml"), "{error}");

    let (status, _) = agent.post("/sync/pause", &json!({"name": "docs"})).await;
    assert_eq!(status, 200);
    agent.has_status("docs", "paused").await;
    agent.kill();
    let agent = rig.start(&rig.one_mirror()).await;
    agent.has_status("docs", "paused").await;
    std::fs::write(rig.path("docs/note.txt"), "x").unwrap();
    let (_, line) = agent.post("/sync/flush", &json!({"wait": true, "timeout_seconds": 5})).await;
    assert_eq!(line["result"]["receipts"][0]["flushed"], json!(false), "{line}");
    let stranger = rig.stranger();
    assert_eq!(stranger.get("files/note.txt").await, None);

    agent.post("/sync/resume", &json!({"name": "docs"})).await;
    until("the object is there", async || stranger.get("files/note.txt").await.ok_or("no")).await;
    assert_eq!(agent.mirror("docs").await["status"], "active");
}

#[tokio::test]
async fn both_contents_of_a_conflict_are_kept_and_listed() {
    let rig = Rig::new().await;
    let mut agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    std::fs::write(rig.path("docs/note.txt"), "before").unwrap();
    agent.flush().await;
    assert_eq!(agent.stop().await, Some(0));
    std::fs::write(rig.path("docs/note.txt"), "mine here").unwrap();
    rig.stranger().put("files/note.txt", "theirs").await;
    let agent = rig.start(&rig.one_mirror()).await;
    has_content(&rig.path("docs/note.txt"), "theirs").await;
    agent.flush().await;
    let conflicts = agent.get("/sync/conflicts?name=docs").await.unwrap();
    let conflict = &conflicts["conflicts"][0];
    assert_eq!(conflict["path"], "note.txt", "{conflicts}");
    assert!(conflict["since"].is_string(), "{conflicts}");
    let copy = rig.path("docs").join(conflict["copy"].as_str().unwrap());
    assert_eq!(std::fs::read_to_string(copy).unwrap(), "mine here");
}

#[tokio::test]
async fn what_went_to_the_trash_is_listed_and_restored() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    std::fs::create_dir_all(rig.path("docs/sub")).unwrap();
    std::fs::write(rig.path("docs/sub/note.txt"), "x").unwrap();
    agent.flush().await;
    rig.stranger().delete("files/sub/note.txt").await;
    is_gone(&rig.path("docs/sub/note.txt")).await;
    let trash = agent.get("/sync/trash/list?under=sub").await.unwrap();
    assert_eq!(trash["entries"][0]["path"], "sub/note.txt", "{trash}");
    assert_eq!(agent.get("/sync/trash/list?under=other").await.unwrap()["entries"], json!([]));
    let id = trash["entries"][0]["id"].as_str().unwrap();
    let (_, restored) = agent.post("/sync/trash/restore", &json!({"what": [id, "nothing"]})).await;
    assert_eq!(restored["restored"][0]["to"], "sub/note.txt", "{restored}");
    assert_eq!(restored["failed"][0]["path"], "nothing");
    has_content(&rig.path("docs/sub/note.txt"), "x").await;
    until("the object is there again", async || rig.stranger().get("files/sub/note.txt").await.ok_or("no")).await;
}

#[tokio::test]
async fn too_many_deletes_wait_for_an_answer() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    for number in 0..40 {
        std::fs::write(rig.path(&format!("docs/{number}")), "x").unwrap();
    }
    agent.flush().await;
    for number in 0..30 {
        std::fs::remove_file(rig.path(&format!("docs/{number}"))).unwrap();
    }
    let mirror = agent.has_status("docs", "halted").await;
    let halt = &mirror["halts"][0];
    assert_eq!(halt["reason"], "too-many-deletes", "{mirror:#}");
    let (_, line) = agent.post("/sync/flush", &json!({"wait": true, "timeout_seconds": 30})).await;
    assert_eq!(line["error"]["code"], "halted", "{line}");
    let (status, _) = agent.post("/sync/deny", &json!({"halt": "no-such"})).await;
    assert_eq!(status, 404);
    let (status, answer) = agent.post("/sync/deny", &json!({"halt": halt["id"]})).await;
    assert_eq!((status, &answer["verb"]), (200, &json!("deny")), "{answer}");
    has_content(&rig.path("docs/7"), "x").await;
    agent.has_status("docs", "active").await;
}

#[tokio::test]
async fn probes_answer_at_the_socket_too() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.one_mirror()).await;
    agent.in_step("docs").await;
    for probe in ["live", "startup", "ready"] {
        let result = agent.get(&format!("/probe?probe={probe}")).await.unwrap();
        assert_eq!(result["ok"], json!(true), "{probe}: {result}");
    }
}

#[tokio::test]
async fn what_nobody_knows_is_answered_with_an_error_body() {
    let rig = Rig::new().await;
    let agent = rig.start(&rig.config()).await;
    for (path, body, status, code) in [
        ("/sync/dance", json!({}), 404, "not-found"),
        ("/sync/state", json!({}), 400, "bad-request"),
        ("/sync/pause", json!({"nam": "x"}), 400, "bad-request"),
        ("/sync/pause", json!({"name": "x"}), 404, "not-found"),
        ("/sync/flush", json!({"name": "x"}), 404, "not-found"),
    ] {
        let (found, answer) = agent.post(path, &body).await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{path}: {answer}");
    }
}
