//! Every kind of mistake, with the message that it raises.

use super::*;

#[test]
fn an_unknown_key_is_told_with_the_one_that_was_meant() {
    one_mistake(&with("s3", "  buckte: x"), "gosync.yaml:4:3: s3.buckte: there is no such key; did you mean `bucket`?");
    one_mistake(
        &format!("{SMALLEST}snyc: {{}}\n"),
        "gosync.yaml:9:1: snyc: there is no such key; did you mean `sync`?",
    );
}

#[test]
fn a_key_in_the_wrong_section_is_told_where_it_belongs() {
    one_mistake(
        &format!("{SMALLEST}interval: 5s\n"),
        "gosync.yaml:9:1: interval: there is no such key; it belongs at `sync.interval`",
    );
    let text = SMALLEST.to_owned() + "    sync: {interval: 5s}\n";
    one_mistake(
        &text,
        "gosync.yaml:9:5: syncs[0].sync: there is no such key; write the keys of `sync` straight into the entry",
    );
}

#[test]
fn a_duration_needs_a_unit() {
    one_mistake(
        &format!("{SMALLEST}sync:\n  interval: 60\n"),
        "gosync.yaml:10:13: sync.interval: \"60\" has no unit; write a number and a unit, such as 500ms, 60s, 5m, 1h30m or 7d",
    );
}

#[test]
fn a_size_needs_a_unit_that_there_is() {
    one_mistake(
        &format!("{SMALLEST}sync:\n  chunk_size: 5mb\n"),
        "gosync.yaml:10:15: sync.chunk_size: \"5mb\" is not a size; did you mean 5MB? write bytes as 1048576, or with a unit: 5MB (10^6), 5MiB (2^20), 1GiB",
    );
}

#[test]
fn a_word_has_to_be_one_of_the_list() {
    one_mistake(
        &with("s3", "  force_path_style: maybe"),
        "gosync.yaml:4:21: s3.force_path_style: \"maybe\" is not one of auto, true, false; write one of them",
    );
    one_mistake(
        &format!("{SMALLEST}log: {{level: inof}}\n"),
        "gosync.yaml:9:14: log.level: \"inof\" is not one of error, warn, info, debug, trace; did you mean info?",
    );
}

#[test]
fn a_number_has_to_be_one_and_in_its_range() {
    one_mistake(
        &format!("{SMALLEST}sync:\n  workers: many\n"),
        "gosync.yaml:10:12: sync.workers: \"many\" is not a whole number from 0 to 4294967295; write digits only, without a unit",
    );
    one_mistake(
        &format!("{SMALLEST}sync:\n  workers: 0\n"),
        "gosync.yaml:10:12: sync.workers: it has to be 1 to 64; mend the value, or leave the key out",
    );
    one_mistake(
        &format!("{SMALLEST}sync: {{max_deletes: {{percent: 150}}}}\n"),
        "gosync.yaml:9:31: sync.max_deletes.percent: \"150\" is not a percent; write a number from 0 to 100",
    );
}

#[test]
fn a_value_where_keys_belong_and_keys_where_a_value_belongs_are_told() {
    let mistakes = Case::of("data_dir: {a: 1}\ns3: photos\n").mistakes();
    assert_eq!(
        mistakes[0],
        "gosync.yaml:1:11: data_dir: one value belongs here, not keys; write the value after the colon"
    );
    assert!(
        mistakes[1].starts_with("gosync.yaml:2:5: s3: keys belong here, not a value; write them below it"),
        "{mistakes:?}"
    );
}

#[test]
fn both_ways_and_push_contradict_each_other() {
    let text = SMALLEST.to_owned() + "    bidirectional: true\n    direction: push\n";
    one_mistake(
        &text,
        "gosync.yaml:10:16: syncs[0].direction: bidirectional: true means two-way, direction says push; keep one of the two keys",
    );
}

#[test]
fn half_a_pair_of_keys_is_refused() {
    one_mistake(
        &with("s3", "  access_key: AKIA"),
        "gosync.yaml:4:15: s3.access_key: access_key is set without secret_key; set both, or neither to use the credentials of the environment",
    );
    one_mistake(
        &with("s3", "  session_token: t"),
        "gosync.yaml:4:18: s3.session_token: session_token is set without access_key and secret_key; set all three, or none",
    );
}

#[test]
fn a_secret_and_its_file_contradict_each_other() {
    let text = with("s3", "  access_key: AKIA\n  secret_key: s\n  secret_key_file: /s");
    one_mistake(
        &text,
        "gosync.yaml:5:15: s3.secret_key: `secret_key` and `secret_key_file` are both set (secret_key_file at gosync.yaml:6:20); keep one of the two",
    );
}

#[test]
fn other_contradictions_of_a_store_are_refused() {
    one_mistake(
        &with("s3", "  endpoint: http://127.0.0.1:9000\n  ca_file: /ca.pem"),
        "gosync.yaml:5:12: s3.ca_file: the endpoint http://127.0.0.1:9000 does not speak TLS, so ca_file has no use; use https or use_ssl: true, or leave ca_file out",
    );
    one_mistake(
        &with("s3", "  kms_key_id: k"),
        "gosync.yaml:4:15: s3.kms_key_id: kms_key_id is set without sse: aws:kms; set `sse: aws:kms`, or leave kms_key_id out",
    );
    one_mistake(
        &with("s3", "  endpoint: ftp://x"),
        "gosync.yaml:4:13: s3.endpoint: \"ftp\" is not a scheme of S3; write a host (s3.example.org), host:port (127.0.0.1:9000) or URL (https://s3.example.org)",
    );
    one_mistake(
        &SMALLEST.replace("{type: sqlite}", "{postgres: {url: 'postgres://a/b', host: db}}"),
        "gosync.yaml:2:52: metadata.postgres.host: host and url are both set; keep the url, or the single keys",
    );
}

#[test]
fn a_policy_for_conflicts_needs_two_ways() {
    let text = SMALLEST.to_owned() + "    direction: pull\n    conflict_policy: keep-both\n";
    one_mistake(
        &text,
        "gosync.yaml:10:22: syncs[0].conflict_policy: a pull mirror has no conflicts to settle; leave the key out, or make the mirror two-way",
    );
}

#[test]
fn required_keys_are_missed_where_they_belong() {
    assert_eq!(
        Case::of("s3:\n  region: x\nsyncs:\n  - name: docs\n").mistakes(),
        [
            "gosync.yaml:1:1: data_dir: this key is required; add `data_dir: ~/.gosync`",
            "gosync.yaml:1:1: s3.bucket: this key is required; add `bucket: my-bucket` below `s3:`",
            "gosync.yaml:4:5: syncs[0].local_path: this key is required; add `local_path: ~/Documents`",
            "gosync.yaml:4:5: syncs[0].s3_path: this key is required; add `s3_path: /documents`",
        ]
    );
    let mistakes = Case::of("").mistakes();
    assert!(mistakes[0].starts_with("gosync.yaml:1:1: data_dir: this key is required"), "{mistakes:?}");
}

#[test]
fn a_bare_tilde_is_told_from_the_home_folder() {
    one_mistake(
        &SMALLEST.replace("~/Documents", "~"),
        "gosync.yaml:7:5: syncs[0].local_path: this key is required; write one; a bare ~ means nothing in YAML, \"~\" is the home folder",
    );
    let config = Case::of(&SMALLEST.replace("~/Documents", "\"~\"")).config();
    assert_eq!(config.syncs[0].local_path, Path::new("/home/ada"));
}

#[test]
fn a_name_has_to_be_a_dns_label_and_the_only_one() {
    one_mistake(
        &SMALLEST.replace("docs", "My Docs"),
        "gosync.yaml:6:11: syncs[0].name: \"My Docs\" is not a name: small letters, digits and dashes inside, 63 at most; write my-docs, for example",
    );
    let text = SMALLEST.to_owned() + "  - {name: docs, local_path: /srv, s3_path: /srv}\n";
    one_mistake(
        &text,
        "gosync.yaml:9:12: syncs[1].name: there is already a mirror \"docs\" at gosync.yaml:6:5; give each mirror its own name",
    );
}

#[test]
fn a_remote_path_has_to_be_a_prefix_or_an_s3_url() {
    one_mistake(
        &SMALLEST.replace("/documents", "documents"),
        "gosync.yaml:8:14: syncs[0].s3_path: \"documents\" begins with neither / nor s3://; write /documents, or s3://bucket/prefix",
    );
}

#[test]
fn a_syntax_error_is_told_with_its_line() {
    let mistakes = Case::of("data_dir: /d\ns3: {bucket: x\nsyncs: []\n").mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(mistakes[0].starts_with("gosync.yaml:3:"), "{mistakes:?}");
    let mistakes = Case::of("data_dir: /d\n\tlog: {}\n").mistakes();
    assert_eq!(mistakes, ["gosync.yaml:2:1: this is not YAML: the line is indented with a tab; use spaces"]);
}

#[test]
fn ten_mistakes_are_told_at_once_in_the_order_of_their_lines() {
    let text = "\
data_dir: /data
logs: {level: info}
metadata: {type: mysql}
s3:
  bucket: a/b
  access_key: AKIA
  use_ssl: yes
syncs:
  - name: Docs
    local_path: /srv/docs
    s3_path: docs
  - name: more
    local_path: /srv/docs/more
    s3_path: /more
    interval: 5
sync:
  chunk_size: 5 apples
  min_free: {percent: 101}
agent:
  metrics: {listen: everywhere}
";
    let mistakes = Case::of(text).mistakes();
    let places: Vec<String> = mistakes.iter().map(|m| m.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        places,
        [
            "gosync.yaml:2:1 logs",
            "gosync.yaml:3:18 metadata.type",
            "gosync.yaml:5:11 s3.bucket",
            "gosync.yaml:6:15 s3.access_key",
            "gosync.yaml:7:12 s3.use_ssl",
            "gosync.yaml:9:11 syncs[0].name",
            "gosync.yaml:11:14 syncs[0].s3_path",
            "gosync.yaml:13:17 syncs[1].local_path",
            "gosync.yaml:15:15 syncs[1].interval",
            "gosync.yaml:17:15 sync.chunk_size",
            "gosync.yaml:18:23 sync.min_free.percent",
            "gosync.yaml:20:21 agent.metrics.listen",
        ],
        "{mistakes:#?}"
    );
    for mistake in &mistakes {
        assert!(mistake.contains("; "), "no next step: {mistake}");
    }
}

// ---- mirrors in each other's way ----

fn two_roots(first: &str, second: &str) -> String {
    format!(
        "data_dir: /data\ns3: {{bucket: photos}}\nsyncs:\n  - {{name: a, local_path: {first}, s3_path: /x}}\n  - {{name: b, local_path: {second}, s3_path: /x}}\n"
    )
}

#[test]
fn one_prefix_may_be_mirrored_to_two_folders() {
    assert_eq!(Case::of(&two_roots("/srv/left", "/srv/right")).config().syncs.len(), 2);
    // A common beginning of two names is no nesting.
    assert_eq!(Case::of(&two_roots("/srv/data", "/srv/data2")).config().syncs.len(), 2);
}

#[test]
fn roots_that_hold_each_other_are_refused_with_both_named() {
    for (first, second, relation) in [
        ("/srv/docs", "/srv/docs", "is the same folder as"),
        ("/srv/docs", "/srv/x/../docs/", "is the same folder as"),
        ("/srv", "/srv/docs", "lies inside"),
        ("/srv/docs", "/srv", "holds"),
    ] {
        let mistakes = Case::of(&two_roots(first, second)).mistakes();
        let second = second.replace("/x/..", "");
        let second = second.trim_end_matches('/');
        assert_eq!(
            mistakes,
            [format!(
                "gosync.yaml:5:27: syncs[1].local_path: {second} {relation} {first}, the root of mirror \"a\" at gosync.yaml:4:5; a file belongs to one mirror: choose folders that don't hold each other"
            )]
        );
    }
}

#[test]
fn a_link_does_not_hide_that_two_roots_are_one() {
    let mut case = Case::of(&two_roots("/srv/docs", "/srv/link"));
    case.disk.links.insert("/srv/link".into(), "/srv/docs".into());
    let mistakes = case.mistakes();
    assert!(mistakes[0].contains("/srv/link is the same folder as /srv/docs"), "{mistakes:?}");
}

#[test]
fn the_agents_own_files_may_not_lie_in_a_root_but_for_its_own_folder() {
    let text = SMALLEST.replace("data_dir: /data", "data_dir: ~/Documents/state");
    let mistakes = Case::of(&text).mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(
        mistakes[0]
            .starts_with("gosync.yaml:1:11: data_dir: /home/ada/Documents/state lies inside /home/ada/Documents"),
        "{mistakes:?}"
    );
    Case::of(&SMALLEST.replace("data_dir: /data", "data_dir: ~/Documents/.gosync/agent")).config();
    let text = SMALLEST.replace("{type: sqlite}", "{sqlite: {path: ~/Documents/g.db}}");
    let mistakes = Case::of(&text).mistakes();
    assert!(mistakes[0].starts_with("gosync.yaml:2:27: metadata.sqlite.path: "), "{mistakes:?}");
}

#[test]
fn a_mirror_made_by_a_command_meets_the_same_rules() {
    let config = Case::of(SMALLEST).config();
    let spec = |name: &str, local: &str, s3: &str| MirrorSpec {
        name: name.into(),
        local_path: local.into(),
        s3_path: s3.into(),
        direction: Direction::TwoWay,
        ignore_patterns: vec![],
    };
    let disk = Fake::default();
    let made = config.mirror(&spec("music", "/srv/music", "s3://sound/all"), &[], &disk).unwrap();
    assert_eq!(made.remote(), "s3://sound/all");
    assert_eq!(made.sync, config.sync);
    let problems = config.mirror(&spec("docs", "/home/ada/Documents/x", "x"), &[], &disk).unwrap_err();
    let keys: Vec<&str> = problems.0.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(keys, ["s3_path", "name", "local_path"]);
    assert!(problems.to_string().contains("at gosync.yaml:6:5"), "{problems}");
    let again = config.mirror(&spec("more", "/srv/music/more", "/x"), &[made], &disk).unwrap_err();
    assert!(again.to_string().contains("made by `gosync sync mirror`"), "{again}");
    let own = config.mirror(&spec("all", "/", "/x"), &[], &disk).unwrap_err();
    assert!(own.to_string().contains("data_dir /data lies inside /"), "{own}");
}

#[test]
fn an_entry_with_a_wrong_value_raises_no_second_complaint() {
    one_mistake(
        &SMALLEST.replace("docs", "${NOBODY}"),
        "gosync.yaml:6:11: syncs[0].name: the variable NOBODY is not set; set it, or give a default: ${NOBODY:-value}",
    );
    let text = SMALLEST.to_owned() + "    bidirectional: false\n    direction: psuh\n";
    one_mistake(
        &text,
        "gosync.yaml:10:16: syncs[0].direction: \"psuh\" is not one of two-way, push, pull; did you mean push?",
    );
    one_mistake(
        &SMALLEST.replace("~/Documents", "\"\""),
        "gosync.yaml:7:17: syncs[0].local_path: the path is empty; write one, such as ~/Documents",
    );
}

#[test]
fn two_buckets_for_one_mirror_contradict_each_other() {
    let text = SMALLEST.replace("/documents", "s3://one/x") + "    s3: {bucket: two}\n";
    one_mistake(
        &text,
        "gosync.yaml:8:14: syncs[0].s3_path: it names the bucket one, s3.bucket of this mirror two; keep one of the two",
    );
}

#[test]
fn mistakes_can_be_told_as_json() {
    let problems = Case::of(&with("s3", "  buckte: x")).read().unwrap_err();
    assert_eq!(
        serde_json::to_string(&problems).unwrap(),
        r#"[{"place":"gosync.yaml:4:3","key":"s3.buckte","what":"there is no such key","hint":"did you mean `bucket`?"}]"#
    );
}

#[test]
fn a_url_of_a_database_is_checked_and_never_repeated() {
    for url in ["mysql://a/b", "postgres://", "host=db password=hidden", "postgres://me:hidden@db:54x/gosync"] {
        one_mistake(
            &SMALLEST.replace("{type: sqlite}", &format!("{{type: postgres, postgres: {{url: '{url}'}}}}")),
            "gosync.yaml:2:44: metadata.postgres.url: it has to be postgres://[user:password@]host[:port][/database]; mend the value, or leave the key out",
        );
    }
}
