//! Keys of all kinds that somebody else has put into the bucket.

use std::fs;

use bytes::Bytes;
use gosync_plan::names::{OWN_FOLDER, RelPath};
use gosync_tests::agent::{Agent, note};
use gosync_tests::pair::{MIRROR, PREFIX, Pair, Tree, contents, write};
use gosync_tests::wait;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Parts of names that meet each other: neighbours of `/` in the order of bytes, dots, other spellings, our own names,
/// what a shell, a URL, XML or a file system reads in its own way, and names that are too long.
fn part() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "foo",
        "foo-1",
        "foo.txt",
        "foo0",
        "Foo",
        "foo ",
        " foo",
        "a",
        "b",
        ".",
        "..",
        "...",
        "",
        "~",
        "-",
        "*",
        "?",
        "%2F",
        "%",
        "+",
        "&amp;",
        "<>",
        "\\",
        "\"",
        "'",
        "`",
        "$HOME",
        "#",
        ";",
        ":",
        "C:",
        "con",
        "new\nline",
        "tab\t",
        "\r",
        "\u{1}",
        "\u{7f}",
        "\u{fffd}",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{202e}txt",
        "\u{1f600}",
        "日本",
        ".gosync",
        ".gosyncignore~",
        ".hidden",
        ".conflict-",
    ])
    .prop_map(str::to_owned);
    let long = (250_usize..260).prop_map(|bytes| "n".repeat(bytes));
    // No NUL: HTTP clients refuse it.
    prop_oneof![8 => known, 4 => "[^/\u{0}]{1,12}", 1 => long]
}

fn key() -> impl Strategy<Value = String> {
    prop::collection::vec(part(), 1..5)
        .prop_map(|parts| parts.join("/"))
        // The bucket's own limit, and folder markers, which are files to nobody.
        .prop_filter("a legal key of a file", |key| {
            key.len() + PREFIX.len() <= 1024 && !key.ends_with('/') && !key.is_empty()
        })
}

/// What must become of it: a file, or a word about it. (What has no path makes no folder either.)
fn has_a_file(key: &str, all: &Tree) -> bool {
    let folder = format!("{key}/");
    let mut below = all.keys().filter(|other| other.starts_with(&folder));
    RelPath::new(key).is_ok() && !below.any(|other| RelPath::new(other.as_str()).is_ok())
}

async fn arrive(keys: Vec<String>) -> Result<(), TestCaseError> {
    let objects: Tree = keys.into_iter().map(|key| (key.clone(), Bytes::from(format!("content of {key}")))).collect();
    // A page ends among names that belong together.
    let pair = Pair::with_store(|options| options.page_size_max = 3).await;
    pair.put_all(&objects).await;
    let agent = Agent::start(pair.home.path(), &pair.config).await;
    let around = || {
        let mut names: Vec<_> =
            fs::read_dir(pair.home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let neighbours = around();
    let expected: Tree = objects
        .iter()
        .filter(|(key, _)| has_a_file(key, &objects))
        .map(|(key, content)| (key.clone(), content.clone()))
        .collect();
    let others: Vec<&String> = objects.keys().filter(|key| !expected.contains_key(*key)).collect();
    let is_own = |key: &str| key == OWN_FOLDER || key.starts_with(".gosync/");
    wait::until("each has its file or is named", async || {
        let (local, mirror) = (pair.local(), agent.mirror(MIRROR));
        let lacks: Vec<_> =
            expected.iter().filter(|(key, content)| local.get(*key) != Some(content)).map(|(key, _)| key).collect();
        // What has no path is named by its key.
        let named = |key: &str| note(&mirror, key).or_else(|| note(&mirror, &format!("{PREFIX}{key}"))).is_some();
        let unnamed: Vec<_> = others.iter().filter(|key| !is_own(key) && !named(key)).collect();
        let more: Vec<_> = local.keys().filter(|path| !expected.contains_key(*path)).collect();
        wait::hold(
            lacks.is_empty() && unnamed.is_empty() && more.is_empty(),
            format!("no file: {lacks:?}, not named: {unnamed:?}, unknown: {more:?}\n{:#}", mirror["paths"]),
        )
    })
    .await;
    agent.in_step(MIRROR).await;
    pair.four_checks().await;
    prop_assert_eq!(pair.local(), expected);
    // One by one: a listing without an encoding, as the stranger asks for, has no way to spell control characters.
    for (key, content) in &objects {
        let found = pair.bucket.get(&format!("{PREFIX}{key}")).await;
        prop_assert_eq!(found.as_ref(), Some(content));
    }
    prop_assert_eq!(around(), neighbours);
    Ok(())
}

#[test]
fn each_object_has_its_file_or_is_named_whatever_its_key() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let config = Config { cases: 6, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let keys = prop::collection::btree_set(key(), 30..60).prop_map(|keys| keys.into_iter().collect());
    let run = TestRunner::new(config).run(&keys, |keys: Vec<String>| runtime.block_on(arrive(keys)));
    if let Err(error) = run {
        panic!("{error}");
    }
}

/// `foo-1` and `foo.txt` stand between `foo` and `foo/x`: wherever a page ends, on a first run, in step, and for edits and
/// deletes on either side.
#[tokio::test(flavor = "multi_thread")]
async fn pages_may_end_anywhere_among_names_that_begin_alike() {
    let names = [
        "foo!",
        "foo+",
        "foo-1",
        "foo-1/x",
        "foo.txt",
        "foo/x",
        "foo/x-1",
        "foo/x.d/y",
        "foo/x/y",
        "foo0",
        "foo0/x",
        "fo",
        "foo",
    ];
    for page in 1..5 {
        let pair = Pair::with_store(|options| options.page_size_max = page).await;
        let given = |side: &str| -> Tree {
            // In these two places both the file and the folder would be; the folders stay.
            let held = names.iter().filter(|name| !["foo", "foo-1", "foo/x", "foo0"].contains(*name));
            held.map(|name| (format!("{side}/{name}"), Bytes::from(format!("{name} of {side}")))).collect()
        };
        let (mut here, there) = (given("here"), given("there"));
        pair.write_all(&here);
        pair.put_all(&there).await;
        let agent = pair.start().await;
        here.extend(there);
        let mut expected = here;
        pair.both_hold(&expected).await;
        agent.in_step(MIRROR).await;

        for side in ["here", "there"] {
            write(&pair.root.join(side).join("foo.txt"), "edited here");
            pair.bucket.put(&format!("{PREFIX}{side}/foo/x-1"), "edited there").await;
            fs::remove_file(pair.root.join(side).join("foo/x.d/y")).unwrap();
            pair.delete_all([format!("{side}/foo-1/x")]).await;
            expected.insert(format!("{side}/foo.txt"), "edited here".into());
            expected.insert(format!("{side}/foo/x-1"), "edited there".into());
            expected.remove(&format!("{side}/foo/x.d/y")).unwrap();
            expected.remove(&format!("{side}/foo-1/x")).unwrap();
        }
        pair.both_hold(&expected).await;
        agent.in_step(MIRROR).await;
        assert_eq!(contents(&pair.root), expected, "pages of {page}");
    }
}
