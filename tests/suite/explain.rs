//! `sync explain`: whatever becomes of a path, one command says why, and changes nothing by it.

use gosync_tests::agent::Agent;
use gosync_tests::pair::{MIRROR, PREFIX, Pair, contents, tree, write};
use gosync_tests::proxy::Kind;
use serde_json::Value;

fn explain(agent: &Agent, path: &str) -> Value {
    let explained = agent.ask(&["sync", "explain", path]);
    let paths = explained["paths"].as_array().unwrap();
    assert_eq!(paths.len(), 1, "{explained:#}");
    paths[0].clone()
}

/// State, decision, and what became of each side.
fn facts(told: &Value) -> [&str; 4] {
    let text =
        |value: &'_ Value| -> &'static str { Box::leak(value.as_str().unwrap_or("-").to_owned().into_boxed_str()) };
    [&told["state"], &told["decision"], &told["local"]["change"], &told["remote"]["change"]].map(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_explained_however_it_is_named() {
    let pair = Pair::new().await;
    write(&pair.root.join("notes/today.txt"), "today");
    let agent = pair.start().await;
    pair.goes_up("notes/today.txt").await;
    agent.in_step(MIRROR).await;

    let whole = pair.root.join("notes/today.txt");
    std::os::unix::fs::symlink(&pair.root, pair.home.path().join("link")).unwrap();
    for name in [
        whole.to_str().unwrap(),
        // The commands of a test run in its home.
        "docs/notes/today.txt",
        "docs/notes/../notes/today.txt",
        "link/notes/today.txt",
        "notes/today.txt",
        "s3://bucket/docs/notes/today.txt",
        "/docs/notes/today.txt",
    ] {
        let told = explain(&agent, name);
        assert_eq!(told["path"], "notes/today.txt", "{name}");
        assert_eq!(told["mirror"], MIRROR);
        assert_eq!(told["s3_path"], "s3://bucket/docs/notes/today.txt");
        assert_eq!(told["local_path"], whole.to_str().unwrap());
        assert_eq!(facts(&told), ["synced", "nothing", "unchanged", "unchanged"], "{told:#}");
        assert_eq!(told["ancestor"]["hash"], blake3::hash(b"today").to_hex().as_str());
        assert_eq!(
            (&told["last_change"]["what"], &told["last_change"]["how"]),
            (&"created".into(), &"uploaded".into())
        );
        assert_eq!(told["waits"], Value::Array(Vec::new()));
    }
    let folder = explain(&agent, "notes/");
    assert_eq!((&folder["folder"]["files"], &folder["folder"]["states"]["synced"]), (&1.into(), &1.into()));
    assert_eq!(explain(&agent, pair.root.to_str().unwrap())["folder"]["files"], 1);

    let nowhere = agent.run(&["sync", "explain", "/somewhere/else"]);
    assert_eq!(nowhere.status.code(), Some(2));
    let shown = agent.run(&["sync", "explain", "notes/today.txt"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.starts_with("notes/today.txt  synced\n") && shown.lines().count() < 24, "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_of_a_path_is_explained_by_its_rule() {
    let mut pair = Pair::new().await;
    pair.config["syncs"][0]["ignore_patterns"] = serde_json::json!(["*.tmp"]);
    let files = ["edited", "deleted", "fetched", "trashed", "both", "same", "touched"];
    pair.write_all(&files.iter().map(|name| ((*name).to_owned(), format!("first {name}").into())).collect());
    let agent = pair.start().await;
    pair.both_hold(&pair.local()).await;
    agent.in_step(MIRROR).await;
    assert!(agent.run(&["sync", "pause", MIRROR]).status.success());

    write(&pair.root.join("edited"), "edited here");
    write(&pair.root.join("both"), "edited here, too");
    write(&pair.root.join("new"), "new here");
    write(&pair.root.join("a.tmp"), "ignored");
    write(&pair.root.join("sub/.gosyncignore"), "build/\n");
    write(&pair.root.join("sub/build/deep/x"), "ignored");
    write(&pair.root.join("touched"), "first touched");
    std::fs::remove_file(pair.root.join("deleted")).unwrap();
    std::os::unix::fs::symlink("edited", pair.root.join("link")).unwrap();
    pair.put_all(&tree([("fetched", "edited there"), ("both", "edited there"), ("theirs", "new there")])).await;
    pair.bucket.delete(&format!("{PREFIX}trashed")).await;
    pair.bucket.put(&format!("{PREFIX}odd//name"), "odd").await;
    let (local, remote) = (contents(&pair.root), pair.remote().await);
    pair.proxy.forget();

    for (path, expected, why) in [
        ("same", ["synced", "nothing", "unchanged", "unchanged"], "both sides hold"),
        ("edited", ["pending", "upload", "edited", "unchanged"], "changed here, not in the bucket"),
        ("touched", ["pending", "look-closer", "touched", "unchanged"], "it is read to tell"),
        ("new", ["pending", "upload", "created", "absent"], "new here"),
        ("deleted", ["pending", "delete-object", "deleted", "unchanged"], "deleted here"),
        ("fetched", ["pending", "download", "unchanged", "edited"], "changed in the bucket, not here"),
        ("theirs", ["pending", "download", "absent", "created"], "new in the bucket"),
        ("trashed", ["pending", "trash-local", "unchanged", "deleted"], "deleted in the bucket"),
        ("both", ["pending", "conflict", "edited", "edited"], "both sides changed it"),
        ("a.tmp", ["-", "nothing", "created", "absent"], "ignored by the rule `*.tmp` of the configuration"),
        ("sub/build/deep/x", ["-", "nothing", "created", "absent"], "the rule `build/` of sub/.gosyncignore"),
        ("link", ["problem", "report", "special", "absent"], "only regular files"),
        (
            "s3://bucket/docs/odd//name",
            ["problem", "report", "not-looked-at", "created"],
            "a part of the path is empty",
        ),
    ] {
        let asked = if path.starts_with("s3:") { path.to_owned() } else { pair.root.join(path).display().to_string() };
        let told = explain(&agent, &asked);
        assert!(told["why"].as_str().unwrap().contains(why), "{path}: {}", told["why"]);
        let found = facts(&told);
        assert_eq!(found, expected, "{path}: {told:#}");
        let waits = told["waits"].to_string();
        assert_eq!(waits.contains("paused"), told["state"] == "pending", "{path}: {waits}");
    }
    let told = explain(&agent, pair.root.join("sub/build/deep/x").to_str().unwrap());
    assert_eq!(
        told["ignored"],
        serde_json::json!({"rule": "build/", "file": "sub/.gosyncignore", "path": "sub/build"})
    );
    // Nothing was read through, nothing written, anywhere.
    let asked: Vec<Kind> = pair.proxy.seen().iter().map(|seen| seen.kind).filter(|kind| *kind != Kind::Head).collect();
    assert_eq!(asked, []);
    assert_eq!((contents(&pair.root), pair.remote().await), (local, remote));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_delete_a_conflict_copy_and_the_trash_are_told_with_the_path() {
    let (pair, agent, _) = Pair::filled(40).await;
    agent.in_step(MIRROR).await;
    write(&pair.root.join("both"), "first");
    agent.in_step(MIRROR).await;
    assert!(agent.run(&["sync", "pause", MIRROR]).status.success());
    write(&pair.root.join("both"), "mine");
    pair.put_all(&tree([("both", "theirs")])).await;
    assert!(agent.run(&["sync", "resume", MIRROR]).status.success());
    agent.in_step(MIRROR).await;
    let told = explain(&agent, "both");
    assert_eq!(told["copies"].as_array().unwrap().len(), 1, "{told:#}");
    let copy = told["copies"][0]["copy"].as_str().unwrap();
    assert_eq!(explain(&agent, copy)["copy_of"], "both");

    pair.bucket.delete(&format!("{PREFIX}d0/f0000")).await;
    agent.until(MIRROR, "one file less", |_| !pair.root.join("d0/f0000").exists()).await;
    agent.in_step(MIRROR).await;
    let told = explain(&agent, "d0/f0000");
    assert_eq!(told["trash"].as_array().unwrap().len(), 1, "{told:#}");
    assert_eq!((&told["last_change"]["what"], &told["state"]), (&"deleted".into(), &Value::Null));

    std::fs::remove_dir_all(pair.root.join("d0")).unwrap();
    std::fs::remove_dir_all(pair.root.join("d1")).unwrap();
    let halt = agent.halted(MIRROR, &["too-many-deletes"]).await;
    let told = explain(&agent, "d1/f0001");
    assert_eq!(facts(&told), ["held", "delete-object", "deleted", "unchanged"], "{told:#}");
    assert_eq!(told["halts"][0]["id"], halt.as_str());
    let folder = explain(&agent, "d1");
    assert!(folder["folder"]["states"]["held"].as_u64().unwrap() > 10, "{folder:#}");
    let shown = agent.run(&["sync", "explain", "d1/f0001"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&format!("gosync sync approve {halt}")), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_of_a_mirror_whose_folder_is_gone_is_answered_with_that() {
    let pair = Pair::new().await;
    write(&pair.root.join("a"), "one");
    let mut agent = pair.start().await;
    pair.goes_up("a").await;
    agent.in_step(MIRROR).await;
    let out = agent.run(&["sync", "explain", "s3://bucket/docs/../other"]);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    assert!(String::from_utf8_lossy(&out.stderr).contains(".."), "{out:?}");

    assert!(agent.stop().await.success());
    std::fs::rename(&pair.root, pair.home.path().join("elsewhere")).unwrap();
    agent.restart().await;
    agent.halted(MIRROR, &["root-missing"]).await;
    for asked in [
        vec!["sync", "wait", MIRROR, "--for", "1", "--timeout", "20s"],
        vec!["sync", "flush", MIRROR, "--wait", "--timeout", "20s"],
        vec!["sync", "conflicts"],
        vec!["sync", "explain", "s3://bucket/docs/a"],
    ] {
        let out = agent.run(&asked);
        let told = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(told.contains("root-missing"), "{asked:?}: {told}");
    }
}
