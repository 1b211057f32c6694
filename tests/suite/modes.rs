//! Which bits of a file's mode are kept in step (`sync.mode`), both ways.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use gosync_tests::agent::Agent;
use gosync_tests::pair::{MIRROR, PREFIX, Pair, write};
use gosync_tests::permissions::mode;
use gosync_tests::wait;
use serde_json::json;

/// A pair whose folder has one file, `file`, with mode 640, and an agent that has sent it.
async fn started(setting: &str) -> (Pair, Agent) {
    let mut pair = Pair::new().await;
    pair.config["sync"]["mode"] = json!(setting);
    write(&pair.root.join("file"), "content");
    mode(&pair.root.join("file"), 0o640);
    let agent = pair.start().await;
    pair.goes_up("file").await;
    agent.in_step(MIRROR).await;
    (pair, agent)
}

/// What the object says of its mode.
async fn told(pair: &Pair, path: &str) -> Option<String> {
    pair.bucket.head(&format!("{PREFIX}{path}")).await.and_then(|head| head.metadata.get("mode").cloned())
}

fn here(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

async fn becomes(pair: &Pair, path: &str, wanted: u32) {
    wait::until(&format!("{path} has mode {wanted:o}"), async || {
        let found = fs::metadata(pair.root.join(path)).map(|found| found.mode() & 0o7777);
        wait::hold(found.as_ref().is_ok_and(|found| *found == wanted), format!("{found:?}"))
    })
    .await;
}

async fn is_told_as(pair: &Pair, path: &str, wanted: &str) {
    wait::until(&format!("the object of {path} says {wanted}"), async || {
        let found = told(pair, path).await;
        wait::hold(found.as_deref() == Some(wanted), format!("{found:?}"))
    })
    .await;
}

/// Somebody else puts an object that says so of its mode.
async fn put(pair: &Pair, path: &str, content: &'static str, mode: &str) {
    let request = pair.bucket.client.put_object().bucket(&pair.bucket.bucket).key(format!("{PREFIX}{path}"));
    request.metadata("mode", mode).body(content.as_bytes().to_vec().into()).send().await.unwrap();
}

/// The same content written again is news by its time alone, of which a listing tells the seconds.
async fn another_second() {
    let second = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let began = second();
    wait::until("another second", async || wait::hold(second() > began + 1, second())).await;
}

/// Nothing is sent or fetched by what happens now.
async fn moves_nothing(pair: &Pair, agent: &Agent, happens: impl AsyncFnOnce()) {
    agent.in_step(MIRROR).await;
    pair.proxy.forget();
    happens().await;
    // A flush looks at everything.
    agent.in_step(MIRROR).await;
    pair.four_checks().await;
    agent.in_step(MIRROR).await;
    assert_eq!(pair.transfers(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_mode_full_all_bits_travel_both_ways() {
    let (pair, agent) = started("full").await;
    let file = pair.root.join("file");
    is_told_as(&pair, "file", "100640").await;
    for bits in [0o600, 0o755, 0o444] {
        mode(&file, bits);
        is_told_as(&pair, "file", &format!("100{bits:o}")).await;
    }
    agent.in_step(MIRROR).await;
    another_second().await;
    pair.proxy.forget();
    put(&pair, "file", "content", "100751").await;
    becomes(&pair, "file", 0o751).await;
    put(&pair, "new", "new", "100460").await;
    becomes(&pair, "new", 0o460).await;
    agent.in_step(MIRROR).await;
    // The content was known.
    let fetched: Vec<String> = pair.transfers();
    assert_eq!(fetched.len(), 1, "{fetched:?}");
    assert_eq!(here(&file), 0o751);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_mode_exec_the_executable_bit_alone_travels_both_ways() {
    let (pair, agent) = started("exec").await;
    let file = pair.root.join("file");
    // Who else may read it is nobody's business.
    is_told_as(&pair, "file", "100644").await;
    moves_nothing(&pair, &agent, async || mode(&file, 0o606)).await;
    mode(&file, 0o706);
    is_told_as(&pair, "file", "100744").await;
    agent.in_step(MIRROR).await;

    another_second().await;
    moves_nothing(&pair, &agent, async || put(&pair, "file", "content", "100744").await).await;
    assert_eq!(here(&file), 0o706);
    another_second().await;
    put(&pair, "file", "content", "100644").await;
    becomes(&pair, "file", 0o606).await;
    put(&pair, "new", "new", "100777").await;
    becomes(&pair, "new", 0o744).await;
    put(&pair, "plain", "new", "100600").await;
    becomes(&pair, "plain", 0o644).await;
    agent.in_step(MIRROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_mode_off_no_bit_travels_and_a_change_of_mode_sends_nothing() {
    let (pair, agent) = started("off").await;
    let file = pair.root.join("file");
    assert_eq!(told(&pair, "file").await, None);
    moves_nothing(&pair, &agent, async || mode(&file, 0o755)).await;
    another_second().await;
    moves_nothing(&pair, &agent, async || put(&pair, "file", "content", "100600").await).await;
    assert_eq!(here(&file), 0o755);

    // Contents travel as ever, and the file keeps its mode.
    put(&pair, "file", "edited there", "100600").await;
    wait::until("the edit arrives", async || {
        let found = fs::read_to_string(&file).unwrap();
        wait::hold(found == "edited there", found)
    })
    .await;
    assert_eq!(here(&file), 0o755);
    write(&file, "edited here");
    wait::until("the edit goes up", async || {
        let found = pair.bucket.get("docs/file").await;
        wait::hold(found.as_deref() == Some(b"edited here"), format!("{found:?}"))
    })
    .await;
    assert_eq!(told(&pair, "file").await, None);
    put(&pair, "new", "new", "100777").await;
    becomes(&pair, "new", 0o644).await;
    agent.in_step(MIRROR).await;

    // A file with another name needs no transfer for what its object doesn't say.
    pair.proxy.forget();
    fs::rename(&file, pair.root.join("renamed")).unwrap();
    pair.goes_up("renamed").await;
    agent.in_step(MIRROR).await;
    let sent: u64 = pair.proxy.seen().iter().map(|seen| seen.sent_bytes).sum();
    assert_eq!(sent, 0, "{:?}", pair.transfers());
}
