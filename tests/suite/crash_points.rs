//! The agent dies at each of its crash points, the moments between an act and what is written down about it. After the
//! next start nothing is lost, both sides hold what they should, and nothing is left of unfinished work.
//!
//! A row of the table names a point and what happens while no agent runs; the agent that then starts meets the point and
//! dies there. Rows go one after the other through one mirror, so that each finds what the ones before left.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use bytes::Bytes;
use gosync_engine::crash::CrashPoint;
use gosync_tests::agent::Agent;
use gosync_tests::pair::{MIRROR, PREFIX, Pair, Tree, contents, write};
use gosync_tests::proxy::Kind;
use gosync_tests::{tree, wait};
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use Scene::*;

/// More than a part: it goes up in parts and comes down by ranges.
const LARGE_BYTES: usize = 12 << 20;
const PART_BYTES: u64 = 5 << 20;
const SIGABRT: i32 = 6;

/// What happens while no agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    NewFile,
    EditedFile,
    LargeFile,
    RenamedFile,
    DeletedFile,
    NewObject,
    EditedObject,
    LargeObject,
    CopiedObject,
    DeletedObject,
    BothEdited,
    /// Cut short by a power loss, which keeps the time.
    TornFile,
    /// A file where the bucket has a folder.
    FileForFolder,
    /// Somebody asks for what is in the trash.
    Restored,
    /// Somebody asks for what only a bucket version holds.
    RestoredVersion,
}

const SENDING: &[(CrashPoint, Scene)] = &[
    (CrashPoint::MetadataTold, NewFile),
    (CrashPoint::MetadataTold, EditedFile),
    (CrashPoint::MetadataTold, DeletedFile),
    (CrashPoint::UploadJournalled, NewFile),
    (CrashPoint::UploadJournalled, EditedFile),
    (CrashPoint::UploadSent, NewFile),
    (CrashPoint::UploadSent, EditedFile),
    (CrashPoint::PartsBegun, LargeFile),
    (CrashPoint::PartsNoted, LargeFile),
    (CrashPoint::PartSent, LargeFile),
    (CrashPoint::PartsCompleted, LargeFile),
    (CrashPoint::CopiedInBucket, RenamedFile),
    (CrashPoint::DeleteJournalled, DeletedFile),
    (CrashPoint::ObjectDeleted, DeletedFile),
];

const FETCHING: &[(CrashPoint, Scene)] = &[
    (CrashPoint::Fetched, NewObject),
    (CrashPoint::MetadataTold, NewObject),
    (CrashPoint::MetadataTold, EditedObject),
    (CrashPoint::PlacedNew, NewObject),
    (CrashPoint::Placed, NewObject),
    (CrashPoint::RangeFetched, LargeObject),
    (CrashPoint::CopiedInTree, CopiedObject),
    (CrashPoint::InstallJournalled, EditedObject),
    (CrashPoint::NewSetAside, EditedObject),
    (CrashPoint::Exchanged, EditedObject),
    (CrashPoint::Placed, EditedObject),
    (CrashPoint::DisplacedSettled, EditedObject),
];

const KEEPING: &[(CrashPoint, Scene)] = &[
    (CrashPoint::ConflictCopyMade, BothEdited),
    (CrashPoint::Exchanged, BothEdited),
    (CrashPoint::NewSetAside, TornFile),
    (CrashPoint::Exchanged, TornFile),
    (CrashPoint::DisplacedSettled, TornFile),
    (CrashPoint::AsideForgotten, FileForFolder),
    (CrashPoint::MovedAside, FileForFolder),
];

const TAKING_AWAY: &[(CrashPoint, Scene)] = &[
    (CrashPoint::TrashJournalled, DeletedObject),
    (CrashPoint::MetadataTold, DeletedObject),
    (CrashPoint::Trashed, DeletedObject),
    (CrashPoint::TrashRecorded, DeletedObject),
    (CrashPoint::DisplacedSettled, DeletedObject),
    (CrashPoint::TrashRestored, Restored),
    (CrashPoint::VersionFetched, RestoredVersion),
];

/// Those of a first run, in the order in which it comes to them, and one of the policy `local-wins`.
const BEGINNING: &[CrashPoint] =
    &[CrashPoint::MarkerWritten, CrashPoint::MarkerPlaced, CrashPoint::Probing, CrashPoint::OverruledKept];

#[test]
fn every_crash_point_is_met_by_a_test() {
    let rows = [SENDING, FETCHING, KEEPING, TAKING_AWAY].concat();
    let beside = [BEGINNING, crate::copies::CRASH_POINTS].concat();
    let met = |point: &CrashPoint| rows.iter().any(|(met, _)| met == point) || beside.contains(point);
    let unmet: Vec<_> = CrashPoint::ALL.iter().filter(|point| !met(point)).collect();
    assert!(unmet.is_empty(), "{unmet:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_while_it_sends_goes_on_and_leaves_nothing() {
    Stage::set(SENDING).await.play_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_while_it_fetches_goes_on_and_leaves_nothing() {
    Stage::set(FETCHING).await.play_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_while_it_keeps_a_content_aside_goes_on_and_leaves_nothing() {
    Stage::set(KEEPING).await.play_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_while_it_takes_away_or_brings_back_goes_on_and_leaves_nothing() {
    Stage::set(TAKING_AWAY).await.play_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_run_that_dies_at_each_of_its_points_goes_on_and_leaves_nothing() {
    let mut pair = Pair::new().await;
    pair.config["syncs"][0]["conflict_policy"] = json!("local-wins");
    pair.write_all(&Tree::from([("both".into(), "here".into()), ("here".into(), "1".into())]));
    pair.put_all(&Tree::from([("both".into(), "there".into()), ("there".into(), "2".into())])).await;
    let stage = Stage {
        pair,
        rows: &[],
        expected: BTreeMap::from([
            ("both".into(), "here".into()),
            ("here".into(), "1".into()),
            ("there".into(), "2".into()),
        ]),
        copies: Vec::new(),
        in_trash: vec!["there".into()],
    };
    for point in BEGINNING {
        stage.dies(*point, &[]).await;
    }
    let agent = stage.goes_on("a first run").await;
    stage.ends(agent).await;
}

/// One mirror and what it must come to.
struct Stage {
    pair: Pair,
    rows: &'static [(CrashPoint, Scene)],
    expected: Tree,
    /// Contents of conflict copies.
    copies: Vec<Bytes>,
    /// Contents that the trash must hold, among others.
    in_trash: Vec<Bytes>,
}

impl Stage {
    /// What all rows find is in step, and no agent runs.
    async fn set(rows: &'static [(CrashPoint, Scene)]) -> Self {
        let pair = Pair::new().await;
        pair.bucket.enable_versions().await;
        let mut expected = Tree::from([("stays".into(), "as it is".into())]);
        for (number, (_, scene)) in rows.iter().enumerate() {
            if !matches!(scene, NewFile | LargeFile | NewObject | LargeObject | FileForFolder) {
                expected.insert(old(number), content(number, "old", 100));
            }
        }
        pair.write_all(&expected);
        let mut agent = pair.start().await;
        pair.both_hold(&expected).await;
        agent.kill();
        Self { pair, rows, expected, copies: Vec::new(), in_trash: Vec::new() }
    }

    async fn play_all(mut self) {
        let mut last = None;
        for (number, (point, scene)) in self.rows.iter().enumerate() {
            drop(last.take());
            let asks = self.happens(number, *scene).await;
            let asks: Vec<&str> = asks.iter().map(String::as_str).collect();
            self.dies(*point, &asks).await;
            self.pair.proxy.forget();
            let agent = self.goes_on(&format!("{point:?}, {scene:?}")).await;
            if *point == CrashPoint::PartSent {
                let sent: u64 = self.pair.requests(|kind| kind == Kind::Put).iter().map(|seen| seen.sent_bytes).sum();
                assert!(sent <= LARGE_BYTES as u64 - PART_BYTES + 1_000, "{sent} bytes sent after the restart");
            }
            if *scene == RestoredVersion {
                // The answer was lost with the agent, and asking again is all there is to do.
                agent.ask(&asks);
                self.expected.insert(old(number), content(number, "old", 100));
                self.holds("a version that is asked for again", &agent).await;
            }
            last = Some(agent);
        }
        self.ends(last.unwrap()).await;
    }

    /// Returns what somebody asks of the agent, where it doesn't come to the point by itself.
    async fn happens(&mut self, number: usize, scene: Scene) -> Vec<String> {
        let (root, bucket) = (self.pair.root.clone(), &self.pair.bucket);
        let (old, new) = (old(number), format!("new-{number}"));
        let key = |path: &str| format!("{PREFIX}{path}");
        let was = content(number, "old", 100);
        match scene {
            NewFile | LargeFile => {
                let content = content(number, "new", if scene == LargeFile { LARGE_BYTES } else { 100 });
                write(&root.join(&new), &content);
                self.expected.insert(new, content);
            }
            EditedFile => {
                let content = content(number, "edited", 200);
                write(&root.join(&old), &content);
                self.expected.insert(old, content);
            }
            RenamedFile => {
                fs::rename(root.join(&old), root.join(&new)).unwrap();
                self.expected.remove(&old).unwrap();
                self.expected.insert(new, was);
            }
            DeletedFile => {
                fs::remove_file(root.join(&old)).unwrap();
                self.expected.remove(&old).unwrap();
            }
            NewObject | LargeObject => {
                let content = content(number, "new", if scene == LargeObject { LARGE_BYTES } else { 100 });
                bucket.put(&key(&new), content.clone()).await;
                self.expected.insert(new, content);
            }
            EditedObject => {
                let content = content(number, "edited", 200);
                bucket.put(&key(&old), content.clone()).await;
                self.expected.insert(old, content);
            }
            CopiedObject => {
                bucket.put(&key(&new), was.clone()).await;
                self.expected.insert(new, was);
            }
            DeletedObject => {
                bucket.delete(&key(&old)).await;
                self.expected.remove(&old).unwrap();
                self.in_trash.push(was);
            }
            BothEdited => {
                let (here, there) = (content(number, "here", 200), content(number, "there", 300));
                write(&root.join(&old), &here);
                bucket.put(&key(&old), there.clone()).await;
                self.expected.insert(old, there);
                self.copies.push(here);
            }
            TornFile => {
                tear(&root.join(&old), 10);
                self.in_trash.push(was.slice(..10));
            }
            FileForFolder => {
                let (file, below) = (content(number, "file", 100), content(number, "below", 100));
                write(&root.join(&new), &file);
                let path = format!("{new}/below");
                bucket.put(&key(&path), below.clone()).await;
                self.expected.insert(path, below);
                self.copies.push(file);
            }
            Restored => {
                bucket.delete(&key(&old)).await;
                self.goes_on_without(&old).await;
                return ["sync", "trash", "restore", &old].map(str::to_owned).to_vec();
            }
            RestoredVersion => {
                fs::remove_file(root.join(&old)).unwrap();
                self.goes_on_without(&old).await;
                self.expected.remove(&old).unwrap();
                return ["sync", "trash", "restore", &old].map(str::to_owned).to_vec();
            }
        }
        Vec::new()
    }

    /// An agent runs until both sides are without this path.
    async fn goes_on_without(&self, path: &str) {
        let mut expected = self.expected.clone();
        expected.remove(path).unwrap();
        let _agent = self.pair.start().await;
        self.pair.both_hold(&expected).await;
    }

    /// Starts an agent that meets the point, and sees it die there.
    async fn dies(&self, point: CrashPoint, asks: &[&str]) {
        let mut agent = Agent::launch_to_crash(self.pair.home.path(), &self.pair.config, point.name());
        if !asks.is_empty() {
            agent.answering().await;
            agent.run(asks);
        }
        let ended = agent.end().await;
        assert_eq!(ended.signal(), Some(SIGABRT), "{point:?}: {ended}\n{}", agent.process().tail());
    }

    /// The next start, without a crash.
    async fn goes_on(&self, what: &str) -> Agent {
        let agent = self.pair.start().await;
        self.holds(what, &agent).await;
        agent
    }

    async fn holds(&self, what: &str, agent: &Agent) {
        wait::until(&format!("after {what}: both sides hold what they should"), async || {
            let (local, remote) = (self.pair.local(), self.pair.remote().await);
            self.differs("local", &local)?;
            self.differs("remote", &remote)?;
            let kept: Vec<Bytes> = contents(&self.pair.root.join(".gosync/trash")).into_values().collect();
            let lost = self.in_trash.iter().filter(|content| !kept.contains(content)).count();
            wait::hold(local == remote && lost == 0, format!("{lost} contents are missing in the trash"))
        })
        .await;
        agent.in_step(MIRROR).await;
        self.is_tidy(what, agent, |kind| matches!(kind, "install" | "trash")).await;
    }

    fn differs(&self, side: &str, found: &Tree) -> Result<(), String> {
        let (mut copies, mut files) = (Vec::new(), Tree::new());
        for (path, content) in found {
            if is_copy(path) {
                copies.push(content.clone());
            } else {
                files.insert(path.clone(), content.clone());
            }
        }
        let mut wanted = self.copies.clone();
        copies.sort();
        wanted.sort();
        let names = |tree: &Tree, other: &Tree| -> Vec<String> {
            tree.iter()
                .filter(|(path, content)| other.get(*path) != Some(content))
                .map(|(path, _)| path.clone())
                .collect()
        };
        wait::hold(
            files == self.expected && copies == wanted,
            format!(
                "{side}: {} copies of {}, wrong: {:?}, lacking: {:?}",
                copies.len(),
                wanted.len(),
                names(&files, &self.expected),
                names(&self.expected, &files)
            ),
        )
    }

    /// Nothing is left but journal entries of the kinds that may be: displaced contents take their time.
    async fn is_tidy(&self, what: &str, agent: &Agent, may_be: impl Fn(&str) -> bool) {
        wait::until(&format!("after {what}: nothing is left of unfinished work"), async || {
            let tmp = tree::names(&self.pair.root.join(".gosync/tmp"));
            let mut journal = rows(&self.state(), "SELECT json_extract(entry, '$.kind.kind') FROM operations").await;
            journal.retain(|kind| !may_be(kind));
            let uploads = rows(&self.state(), "SELECT upload FROM uploads").await;
            let open = self.pair.bucket.open_uploads("").await;
            wait::hold(
                tmp.is_empty() && journal.is_empty() && uploads.is_empty() && open.is_empty(),
                format!("{tmp:?} {journal:?} {uploads:?} {open:?}\n{}", agent.process().tail()),
            )
        })
        .await;
    }

    /// All is over in the end, and what the agent has noted of the bucket is what the bucket holds.
    async fn ends(&self, agent: Agent) {
        self.is_tidy("all of it", &agent, |_| false).await;
        let displaced = tree::names(&self.pair.root.join(".gosync/displaced"));
        assert!(displaced.is_empty(), "{displaced:?}");
        let probes = self.pair.bucket.keys(&format!("{PREFIX}.gosync/")).await;
        assert!(probes.is_empty(), "{probes:?}");
        let noted = "SELECT s3_key FROM files WHERE is_deleted = 0 AND is_directory = 0 ORDER BY s3_key";
        let noted = rows(&self.pair.home.path().join("data/gosync.db"), noted).await;
        assert_eq!(noted, self.pair.bucket.keys(PREFIX).await);
        self.pair.proxy.forget();
        self.pair.four_checks().await;
        assert_eq!(self.pair.transfers(), [""; 0]);
    }

    fn state(&self) -> std::path::PathBuf {
        self.pair.home.path().join(format!("data/mirrors/{MIRROR}.db"))
    }
}

fn old(number: usize) -> String {
    format!("old-{number}")
}

/// Like no other.
fn content(number: usize, what: &str, bytes: usize) -> Bytes {
    let mut content = vec![0; bytes];
    blake3::Hasher::new().update(format!("{what} {number}").as_bytes()).finalize_xof().fill(&mut content);
    content.into()
}

fn is_copy(path: &str) -> bool {
    path.contains(".conflict-")
}

/// What a power loss may do: data is gone, the time stands.
fn tear(path: &Path, bytes: u64) {
    let file = File::options().write(true).open(path).unwrap();
    let mtime = file.metadata().unwrap().modified().unwrap();
    file.set_len(bytes).unwrap();
    file.set_modified(mtime).unwrap();
}

/// The first column.
async fn rows(database: &Path, query: &'static str) -> Vec<String> {
    let mut connection: SqliteConnection = SqliteConnectOptions::new().filename(database).connect().await.unwrap();
    let rows = sqlx::query_scalar(query).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows
}

/// A power loss keeps a file's time and loses its data: what it leaves is never sent over the good object.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_power_loss_emptied_or_cut_short_is_fetched_again() {
    let pair = Pair::new().await;
    let files: Tree = [("emptied", 3_000), ("cut", 3_000), ("large", LARGE_BYTES), ("truncated", 3_000)]
        .into_iter()
        .enumerate()
        .map(|(number, (path, bytes))| (path.to_owned(), content(number, path, bytes)))
        .collect();
    pair.write_all(&files);
    let mut agent = pair.start().await;
    pair.both_hold(&files).await;
    agent.kill();
    tear(&pair.root.join("emptied"), 0);
    tear(&pair.root.join("cut"), 1_000);
    tear(&pair.root.join("large"), PART_BYTES);
    // By a person: an ordinary edit.
    File::options().write(true).open(pair.root.join("truncated")).unwrap().set_len(10).unwrap();
    let mut expected = files.clone();
    expected.insert("truncated".into(), files["truncated"].slice(..10));
    pair.proxy.forget();
    agent.restart().await;
    pair.both_hold(&expected).await;
    agent.in_step(MIRROR).await;
    let sent = pair.requests(Kind::writes);
    assert!(sent.iter().all(|seen| seen.key.ends_with("/truncated")), "{sent:?}");
    wait::until("the short files are in the trash", async || {
        let kept: Vec<usize> = contents(&pair.root.join(".gosync/trash")).values().map(Bytes::len).collect();
        wait::hold([1_000, PART_BYTES as usize].iter().all(|bytes| kept.contains(bytes)), format!("{kept:?}"))
    })
    .await;
}
