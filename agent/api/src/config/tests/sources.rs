//! What a config adds up from: variables, environment, command line, overrides per mirror, the files of a folder.

use super::*;

// ---- variables and environment ----

#[test]
fn variables_expand_in_every_string() {
    let config = Case::of(
        "data_dir: ${STATE:-/data}\ns3: {bucket: $BUCKET, region: '${REGION:-eu}', storage_class: a$$b}\n\
         agent: {socket_path: \"${data_dir}/s.sock\"}\nlog: {level: \"${LEVEL}\"}\n",
    )
    .set("BUCKET", "photos")
    .set("LEVEL", "debug")
    .config();
    assert_eq!(config.s3.bucket, "photos");
    assert_eq!(config.s3.region, "eu");
    assert_eq!(config.s3.storage_class, "a$b");
    assert_eq!(config.agent.socket_path, Path::new("/data/s.sock"));
    assert_eq!(config.log.level, LogLevel::Debug);
}

#[test]
fn an_unset_variable_is_told_with_key_and_line() {
    one_mistake(
        &with("s3", "  region: ${NOWHERE}"),
        "gosync.yaml:4:11: s3.region: the variable NOWHERE is not set; set it, or give a default: ${NOWHERE:-value}",
    );
    let text = SMALLEST.to_owned() + "    ignore_patterns: [\"*.tmp\", $RECYCLE.BIN]\n";
    one_mistake(
        &text,
        "gosync.yaml:9:32: syncs[0].ignore_patterns[1]: the variable RECYCLE is not set; set it, or write $$RECYCLE for a dollar",
    );
}

#[test]
fn a_dollar_in_a_secret_does_not_print_the_secret() {
    let mistakes = Case::of(&with("s3", "  access_key: AKIA\n  secret_key: top$secret")).mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(mistakes[0].starts_with("gosync.yaml:5:15: s3.secret_key: a variable in it is not set"), "{mistakes:?}");
    assert!(!mistakes.join(" ").contains("top"), "{mistakes:?}");
}

#[test]
fn the_environment_wins_over_the_file() {
    let loaded = Case::of(&with("s3", "  access_key_file: /nowhere\n  region: eu"))
        .set("GOSYNC_S3_ACCESS_KEY", "AKIA$x")
        .set("GOSYNC_S3_SECRET_KEY", "s")
        .set("GOSYNC_S3_REGION", "us")
        .set("GOSYNC_DATA_DIR", "~/state")
        .set("GOSYNC_METADATA_POSTGRES_HOST", "db")
        .set("GOSYNC_SYNC_MAX_DELETES_PERCENT", "10")
        .set("GOSYNC_SOCKET", "/x.sock")
        .set("PATH", "/bin")
        .read()
        .unwrap();
    let config = loaded.config;
    assert_eq!(config.s3.access_key.expose(), "AKIA$x");
    assert_eq!(config.s3.region, "us");
    assert_eq!(config.data_dir, Path::new("/home/ada/state"));
    assert_eq!(config.metadata.postgres.host, "db");
    assert_eq!(config.syncs[0].sync.max_deletes.percent, Percent(10));
    assert_eq!(loaded.warnings, []);
}

#[test]
fn a_variable_that_sets_nothing_is_a_warning_and_a_wrong_value_a_mistake() {
    let loaded = Case::of(SMALLEST).set("GOSYNC_S3_BUKET", "x").read().unwrap();
    assert_eq!(
        loaded.warnings[0].to_string(),
        "environment variable GOSYNC_S3_BUKET: it sets no key of the config; did you mean GOSYNC_S3_BUCKET?"
    );
    let mistakes = Case::of(SMALLEST).set("GOSYNC_SYNC_WORKERS", "x").mistakes();
    assert!(
        mistakes[0].starts_with("environment variable GOSYNC_SYNC_WORKERS: sync.workers: \"x\" is not"),
        "{mistakes:?}"
    );
}

#[test]
fn the_command_line_wins_over_both() {
    let mut case = Case::of(SMALLEST).set("GOSYNC_DATA_DIR", "/env");
    case.data_dir = Some("flag".into());
    let config = case.config();
    assert_eq!(config.data_dir, Path::new("/here/flag"));
    assert_eq!(config.metadata.sqlite.path, Path::new("/here/flag/gosync.db"));
}

#[test]
fn every_key_of_the_agent_has_a_variable_of_its_own() {
    let mut names: Vec<String> = agent::environment_keys().into_iter().map(|key| key.variable).collect();
    assert!(names.len() > 80, "{}", names.len());
    names.sort();
    let mut once = names.clone();
    once.dedup();
    assert_eq!(names, once);
}

#[test]
fn secrets_can_be_kept_in_files() {
    let loaded = Case::of(&with("s3", "  access_key_file: /run/s/a\n  secret_key_file: keys/b"))
        .file("/run/s/a", "AKIA\n")
        .file("/here/keys/b", "s3cr$et\r\n")
        .read()
        .unwrap();
    assert_eq!(loaded.config.s3.access_key.expose(), "AKIA");
    assert_eq!(loaded.config.s3.secret_key.expose(), "s3cr$et");
    assert_eq!(loaded.files, [PathBuf::from("gosync.yaml"), "/run/s/a".into(), "/here/keys/b".into()]);
    let mistakes = Case::of(&with("s3", "  access_key_file: /none\n  secret_key: s")).mistakes();
    assert_eq!(
        mistakes,
        [
            "gosync.yaml:4:20: s3.access_key_file: can't read /none: no such file; name a file that the agent's user can read"
        ]
    );
}

#[test]
fn a_relative_path_is_taken_from_the_folder_of_its_file() {
    let case = Case::files(&[("conf/a.yaml", "data_dir: ../state\ns3: {bucket: photos}\n")]);
    assert_eq!(case.config().data_dir, Path::new("/here/state"));
}

// ---- overrides ----

#[test]
fn a_mirror_can_override_store_database_cache_and_every_key_of_sync() {
    let text = SMALLEST.replace("type: sqlite", "sqlite: {path: /a.db}")
        + "    s3: {endpoint: 'http://127.0.0.1:9000', access_key: A, secret_key: B}\n\
           \x20   metadata: {sqlite: {path: \"${data_dir}/own.db\"}}\n\
           \x20   cache: {ttl: 1m}\n\
           \x20   interval: 5s\n\
           \x20   trash: {max_age: 1d}\n\
           \x20   ignore_patterns: '*.tmp'\n\
           \x20   state: volume\n\
           \x20 - {name: plain, local_path: /srv, s3_path: 's3://other-bucket/x'}\n\
           sync: {workers: 2, trash: {max_size: 5MB}}\n";
    let config = Case::of(&text).config();
    let own = &config.syncs[0];
    assert_eq!(own.s3.bucket, "photos");
    assert_eq!(own.s3.resolve_endpoint().unwrap().url.as_deref(), Some("http://127.0.0.1:9000"));
    assert_eq!(own.metadata.sqlite.path, Path::new("/data/own.db"));
    assert_eq!(own.cache.ttl, Duration::from_secs(60));
    assert_eq!(own.sync.interval, Duration::from_secs(5));
    assert_eq!(own.sync.workers, 2);
    assert_eq!(own.sync.trash.max_age, Duration::from_secs(86_400));
    assert_eq!(own.sync.trash.max_size, Bytes(5_000_000));
    assert_eq!(own.ignore_patterns, ["*.tmp"]);
    assert_eq!(own.state, StatePlace::Volume);
    let plain = &config.syncs[1];
    assert_eq!(plain.remote(), "s3://other-bucket/x");
    assert_eq!(plain.metadata.sqlite.path, Path::new("/a.db"));
    assert_eq!(plain.sync.interval, Duration::from_secs(60));
    assert!(plain.s3.access_key.is_empty());
}

#[test]
fn no_bucket_of_the_agent_is_needed_where_every_mirror_names_its_own() {
    let text = "data_dir: /d\nsyncs:\n  - {name: a, local_path: /a, s3_path: 's3://one/x'}\n  - {name: b, local_path: /b, s3_path: /x, s3: {bucket: two}}\n";
    let config = Case::of(text).config();
    assert_eq!(config.syncs[1].remote(), "s3://two/x");
}

#[test]
fn what_a_mirror_inherits_is_not_complained_about_twice() {
    let text = format!("{SMALLEST}sync: {{workers: 0}}\n");
    assert_eq!(Case::of(&text).mistakes().len(), 1);
    let text = SMALLEST.to_owned() + "    workers: 0\n";
    one_mistake(
        &text,
        "gosync.yaml:9:14: syncs[0].workers: it has to be 1 to 64; mend the value, or leave the key out",
    );
}

// ---- folders ----

#[test]
fn files_of_a_folder_add_up() {
    let case = Case::files(&[
        ("c/10-docs.yaml", "syncs:\n  - {name: docs, local_path: /docs, s3_path: /docs}\n"),
        ("c/20-music.yaml", "syncs:\n  - {name: music, local_path: /music, s3_path: /music}\ns3: {region: eu}\n"),
        ("c/base.yaml", "data_dir: /data\ns3: {bucket: photos, region: eu}\n"),
        ("c/empty.yaml", "# nothing yet\n"),
    ]);
    let config = case.config();
    let names: Vec<&str> = config.syncs.iter().map(|mirror| mirror.name.as_str()).collect();
    assert_eq!(names, ["docs", "music"]);
    assert_eq!((config.s3.bucket.as_str(), config.s3.region.as_str()), ("photos", "eu"));
    assert_eq!(config.syncs[1].place.as_ref().unwrap().to_string(), "c/20-music.yaml:2:5");
}

#[test]
fn a_key_set_to_two_values_names_both_files() {
    let case =
        Case::files(&[("a.yaml", "data_dir: /data\ns3: {bucket: photos}\n"), ("b.yaml", "s3:\n  bucket: music\n")]);
    assert_eq!(
        case.mistakes(),
        ["b.yaml:2:11: s3.bucket: set to another value at a.yaml:2:14; keep it in one of the two files"]
    );
}

#[test]
fn a_folder_on_disk_is_read_in_the_order_of_names_without_hidden_files() {
    let folder = std::env::temp_dir().join(format!("gosync-api-folder-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in [
        ("base.yaml", "data_dir: /data\ns3: {bucket: photos}\n"),
        ("a.yaml", "syncs: [{name: a, local_path: /srv/a, s3_path: /a}]\n"),
        ("b.yaml", "syncs: [{name: b, local_path: /srv/b, s3_path: /b}]\n"),
        (".hidden.yaml", "nonsense: [\n"),
        ("notes.txt", "nonsense: [\n"),
        ("c.yml", "nonsense: [\n"),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let loaded = load(&folder, Some(Path::new("/elsewhere"))).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let names: Vec<&str> = loaded.config.syncs.iter().map(|mirror| mirror.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(loaded.config.data_dir, Path::new("/elsewhere"));
    assert!(loaded.warnings.iter().any(|w| w.to_string().contains("c.yml: is not read")), "{:?}", loaded.warnings);
    let gone = load(&folder, None).unwrap_err().to_string();
    assert!(gone.contains("there is no such file; write one with `gosync config init`"), "{gone}");
}

#[test]
fn a_mirror_that_only_moved_in_its_file_has_the_same_settings() {
    let (before, after) = (Case::of(SMALLEST).config(), Case::of(&format!("# a comment\n{SMALLEST}")).config());
    assert!(before.syncs[0].same_settings(&after.syncs[0]));
    let changed = Case::of(&(SMALLEST.to_owned() + "    workers: 5\n")).config();
    assert!(!before.syncs[0].same_settings(&changed.syncs[0]));
}
