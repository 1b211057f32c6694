//! What goes out: features of later releases, shown values, examples.

use super::*;

#[test]
fn what_is_not_done_yet_is_named_with_its_line() {
    let text = "\
data_dir: /data
log: {file: /var/log/gosync.log}
metadata: {type: postgres}
s3: {bucket: photos}
syncs:
  - {name: a, local_path: /a, s3_path: /a, bidirectional: false}
  - {name: b, local_path: /b, s3_path: /b, direction: pull}
  - {name: c, local_path: /c, s3_path: /c, symlinks: preserve, conflict_policy: local-wins}
sync: {directory_markers: true, scrub: 7d}
agent: {otlp: {endpoint: 'http://127.0.0.1:4318'}}
";
    let found: Vec<String> = not_yet(&Case::of(text).config()).iter().map(Problem::to_string).collect();
    let places: Vec<String> = found.iter().map(|m| m.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(places, ["gosync.yaml:10:26 agent.otlp.endpoint"], "{found:#?}");
    assert!(found.iter().all(|message| message.contains("not yet")), "{found:#?}");
}

#[test]
fn shown_values_are_effective_and_secrets_masked() {
    let text = with("s3", "  access_key: AKIA\n  secret_key: hunter2") + "    interval: 5s\n    s3: {region: eu}\n";
    let shown = Case::of(&text).config().show().unwrap();
    assert!(!shown.contains("AKIA") && !shown.contains("hunter2"), "{shown}");
    for part in
        ["data_dir: /data\n", "access_key: \"********\"", "path: /data/gosync.db", "interval: 1m\n", "scrub: \"off\""]
    {
        assert!(shown.contains(part) || shown.contains(&part.replace('"', "'")), "{part} in {shown}");
    }
    // What is shown of a mirror is its own.
    let again = Case::of(&shown).config();
    assert_eq!(again.syncs[0].sync.interval, Duration::from_secs(5));
    assert_eq!(again.syncs[0].s3.region, "eu");
    assert_eq!(shown.matches("region").count(), 2, "{shown}");
}

#[test]
fn every_example_loads_without_a_warning_and_needs_nothing_that_is_not_done_yet() {
    for profile in Profile::ALL {
        let text = generate(*profile);
        let loaded = Case::of(&text).read().unwrap_or_else(|problems| panic!("{profile}: {problems}\n{text}"));
        assert_eq!(loaded.warnings, []);
        assert_eq!(not_yet(&loaded.config), [], "{profile}");
        assert_eq!(loaded.config.syncs.len(), 1);
    }
}

#[test]
fn the_advanced_example_holds_every_key_at_its_default() {
    let text = generate(Profile::Advanced);
    for key in reference() {
        let name = key.path.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("{name}: ")), "{} in {text}", key.path);
        assert!(text.contains(&format!("# {}", key.doc)), "{} in {text}", key.path);
    }
    let config = Case::of(&text).config();
    let mut defaults = AgentConfig::new("/home/ada/.gosync".into());
    defaults.s3.bucket = "my-bucket".into();
    defaults.syncs.clone_from(&config.syncs);
    defaults.places = config.places.clone();
    assert_eq!(config, defaults);
    assert_eq!(config.syncs[0].sync, config.sync);
}

#[test]
fn an_initial_config_takes_its_answers_as_they_are() {
    let answers = InitAnswers {
        data_dir: "~/.gosync".into(),
        endpoint: "127.0.0.1:9000".into(),
        region: String::new(),
        bucket: "photos".into(),
        access_key: "A$KIA: \"#".into(),
        secret_key: "it's $HOME\\".into(),
        name: "docs".into(),
        local_path: "/srv/a # b".into(),
        s3_path: "/docs".into(),
    };
    let config = Case::of(&init(&answers)).config();
    assert_eq!(config.s3.access_key.expose(), answers.access_key);
    assert_eq!(config.s3.secret_key.expose(), answers.secret_key);
    assert_eq!(config.syncs[0].local_path, Path::new("/srv/a # b"));
    assert_eq!(config.data_dir, Path::new("/home/ada/.gosync"));
    let plain = InitAnswers { access_key: String::new(), ..answers };
    assert!(Case::of(&init(&plain)).config().s3.access_key.is_empty());
}

#[test]
fn the_reference_is_the_page_that_the_tables_make() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == page(), "{} is not what the tables make: run `make docs`", file.display());
    for key in reference() {
        assert!(written.contains(&format!("| `{}` | ", key.path)), "{}", key.path);
    }
}
