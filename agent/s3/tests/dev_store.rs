//! The adapter against the development store, which keeps conditions strictly and misbehaves on request.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]
#![allow(dead_code, reason = "each test binary uses its part of what they share")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{BUCKET, Witness, below, config, connect, get, put, read, witnessed};
use gosync_dev_s3::{DevS3, Effect, Fault, Operation, Options, Running};
use gosync_engine::ports::store::{
    Condition, Deleted, GetRequest, ListRequest, ObjectHeaders, ObjectStore, PutRequest, StoreErrorKind as Kind,
};
use gosync_s3::{Credentials, S3Store, Timeouts};
use tempfile::TempDir;

const STALE: &str = "0123456789abcdef0123456789abcdef";

struct World {
    store: S3Store,
    server: Running,
    witness: std::sync::Arc<Witness>,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(adjust: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path());
        options.buckets = vec![BUCKET.into()];
        adjust(&mut options);
        let server = DevS3::start(options).await.unwrap();
        let (config, witness) = witnessed(config(server.url()));
        Self { store: connect(config).await, server, witness, _folder: folder }
    }

    fn fault(&self, effect: Effect, operation: Operation) {
        self.server.faults().add(Fault::new(effect).on(operation).times(1));
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T, gosync_engine::ports::store::StoreError>) -> Kind {
    result.unwrap_err().kind
}

#[tokio::test]
async fn what_was_put_is_listed_looked_at_and_read_as_the_same_generation() {
    let World { store, .. } = &World::new().await;
    let headers = ObjectHeaders { mtime_ns: Some(-5), mode: Some(0o100_600), ..ObjectHeaders::default() };
    let written = store.put(PutRequest { headers, ..put("p/a.txt", b"hello", Condition::Absent) }).await.unwrap();
    let page = store.list(below("p/")).await.unwrap();
    let head = store.head("p/a.txt").await.unwrap().unwrap();
    let (got, content) = read(store, get("p/a.txt")).await.unwrap();
    assert_eq!(content, b"hello");
    assert_eq!(page.next, None);
    assert_eq!(page.objects[0].generation, head.generation);
    assert_eq!((&got.generation, &got.facts), (&head.generation, &head.facts));
    assert!(written.generation.same(&head.generation));
    assert_eq!(head.generation.etag, "5d41402abc4b2a76b9719d911017c592");
    assert!(head.generation.last_modified.is_some());
    assert_eq!((head.facts.mtime_ns, head.facts.mode), (Some(-5), Some(0o600)));
    assert_eq!(head.facts.content_type.as_deref(), Some("text/plain"));
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, b"hello");
    assert_eq!(head.facts.crc64nvme, Some(crc));
    assert_eq!(store.head("p/b").await.unwrap(), None);
    assert_eq!(kind(store.get(get("p/b")).await.map(|_| ())), Kind::NotFound);
}

#[tokio::test]
async fn every_write_keeps_its_condition() {
    let World { store, .. } = &World::new().await;
    let (absent, stale) = (Condition::Absent, Condition::Etag(STALE.into()));
    let etag = store.put(put("a", b"one", absent.clone())).await.unwrap().generation.etag;
    let fresh = Condition::Etag(etag.clone());
    assert_eq!(kind(store.put(put("a", b"two", absent.clone())).await), Kind::PreconditionFailed);
    assert_eq!(kind(store.put(put("a", b"two", stale.clone())).await), Kind::PreconditionFailed);
    assert_eq!(kind(store.put(put("b", b"two", stale.clone())).await), Kind::NotFound);
    store.put(put("taken", b"x", Condition::None)).await.unwrap();
    assert_eq!(kind(store.copy("a", None, "taken", &absent).await), Kind::PreconditionFailed);
    assert_eq!(kind(store.copy("a", Some(STALE), "b", &Condition::None).await), Kind::PreconditionFailed);
    assert_eq!(store.copy("a", Some(&etag), "b", &absent).await.unwrap().generation.etag, etag);
    assert_eq!(kind(store.delete("a", &stale).await), Kind::PreconditionFailed);
    assert_eq!(kind(store.delete("a", &absent).await), Kind::Invalid);
    store.delete("a", &fresh).await.unwrap();
    assert_eq!(store.head("a").await.unwrap(), None);
    store.delete("a", &Condition::None).await.unwrap();
    assert_eq!(read(store, get("b")).await.unwrap().1, b"one");
}

#[tokio::test]
async fn many_are_deleted_in_one_request_each_on_its_own_condition() {
    let World { store, server, .. } = &World::new().await;
    let keys = ["a", "b & <c>", "new\nline", "ctl\u{1}", "plus+ %25"];
    let mut wanted = Vec::new();
    for key in keys {
        let etag = store.put(put(key, b"x", Condition::Absent)).await.unwrap().generation.etag;
        wanted.push((key.to_owned(), Condition::Etag(etag)));
    }
    store.put(put("stale", b"x", Condition::Absent)).await.unwrap();
    wanted.push(("stale".into(), Condition::Etag(STALE.into())));
    wanted.push(("missing".into(), Condition::None));
    let results = store.delete_many(&wanted).await.unwrap();
    let failed: Vec<_> = results.iter().map(|result| result.as_ref().err().map(|error| error.kind)).collect();
    assert_eq!(failed, [None, None, None, None, None, Some(Kind::PreconditionFailed), None]);
    let left = store.list(below("")).await.unwrap().objects;
    assert_eq!(left.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["stale"]);
    let counts = server.counters().snapshot();
    assert_eq!((counts.of(Operation::DeleteObjects), counts.of(Operation::DeleteObject)), (1, 1));
    assert!(store.delete_many(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn odd_keys_come_and_go_unharmed_page_by_page() {
    let World { store, .. } = &World::new().await;
    let mut keys = vec![
        "o/a b",
        "o/a+b",
        "o/a%2Bb",
        "o/new\nline",
        "o/cr\r",
        "o/ctl\u{1}",
        "o/ü",
        "o/u\u{308}",
        "o/😀",
        "o/a//b",
        "o/?q#f&x=y",
        "o/<&>\"'",
        "o/back\\slash",
        "o/.",
        "o/foo",
        "o/foo/x",
        "o/foo-1",
        "o/foo.txt",
    ];
    for key in &keys {
        store.put(put(key, b"x", Condition::Absent)).await.unwrap();
        store.copy(key, None, &format!("copy/{key}"), &Condition::Absent).await.unwrap();
    }
    keys.sort_unstable();
    let mut found: Vec<String> = Vec::new();
    let mut request = ListRequest { page_keys_max: 4, ..below("o/") };
    loop {
        let page = store.list(request.clone()).await.unwrap();
        assert!(page.objects.len() <= 4);
        found.extend(page.objects.into_iter().map(|object| object.key));
        match page.next {
            Some(token) => request.token = Some(token),
            None => break,
        }
    }
    assert_eq!(found, keys);
    for (at, key) in keys.iter().enumerate() {
        assert!(store.head(key).await.unwrap().is_some(), "{key:?}");
        assert!(store.head(&format!("copy/{key}")).await.unwrap().is_some(), "{key:?}");
        let after = ListRequest { start_after: Some((*key).into()), ..below("o/") };
        assert_eq!(store.list(after).await.unwrap().objects.len(), keys.len() - at - 1, "{key:?}");
    }
}

#[tokio::test]
async fn a_range_is_read_with_the_size_of_the_whole() {
    let World { store, .. } = &World::new().await;
    store.put(put("a", b"0123456789", Condition::None)).await.unwrap();
    let (head, content) = read(store, GetRequest { range: Some(2..5), ..get("a") }).await.unwrap();
    assert_eq!((head.generation.size, content.as_slice()), (10, b"234".as_slice()));
    let (_, content) = read(store, GetRequest { range: Some(8..50), ..get("a") }).await.unwrap();
    assert_eq!(content, b"89");
    let stale = GetRequest { etag: Some(STALE.into()), range: Some(2..5), ..get("a") };
    assert_eq!(kind(read(store, stale).await), Kind::PreconditionFailed);
}

#[tokio::test]
async fn a_multipart_upload_goes_through_all_its_steps() {
    let World { store, .. } = &World::new().await;
    let headers = ObjectHeaders { mtime_ns: Some(7), ..ObjectHeaders::default() };
    let upload = store.create_upload("big.bin", &headers).await.unwrap();
    let (first, second) = (Bytes::from(vec![1; 5 << 20]), Bytes::from_static(b"end"));
    let mut parts = Vec::new();
    for (number, body) in [(2, second.clone()), (1, first.clone())] {
        parts.push((number, store.upload_part("big.bin", &upload, number, body).await.unwrap()));
    }
    parts.sort();
    let listed = store.list_parts("big.bin", &upload).await.unwrap();
    assert_eq!(listed, [(1, parts[0].1.clone(), 5 << 20), (2, parts[1].1.clone(), 3)]);
    let pending = store.list_uploads("big").await.unwrap();
    assert_eq!((pending.len(), pending[0].upload.as_str(), pending[0].key.as_str()), (1, upload.as_str(), "big.bin"));

    store.put(put("big.bin", b"in the way", Condition::None)).await.unwrap();
    let refused = store.complete_upload("big.bin", &upload, &parts, &Condition::Absent).await;
    assert_eq!(kind(refused), Kind::PreconditionFailed);
    let written = store.complete_upload("big.bin", &upload, &parts, &Condition::None).await.unwrap();
    assert!(written.generation.etag.ends_with("-2"));
    let head = store.head("big.bin").await.unwrap().unwrap();
    assert_eq!((head.facts.part_bytes, head.facts.mtime_ns), (Some(5 << 20), Some(7)));
    assert!(!head.facts.etag_opaque);
    let (_, content) = read(store, get("big.bin")).await.unwrap();
    assert_eq!(content.len(), (5 << 20) + 3);
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &content);
    assert_eq!(head.facts.crc64nvme, Some(crc));

    assert_eq!(kind(store.complete_upload("big.bin", &upload, &parts, &Condition::None).await), Kind::NoSuchUpload);
    assert_eq!(kind(store.upload_part("big.bin", &upload, 1, second).await), Kind::NoSuchUpload);
    store.abort_upload("big.bin", &upload).await.unwrap();
    assert!(store.list_uploads("").await.unwrap().is_empty());
}

#[tokio::test]
async fn versions_are_told_newest_first_and_only_of_the_key() {
    let World { store, .. } = &World::with(|options| options.versions = true).await;
    assert_eq!(store.versioning().await.unwrap(), Some(true));
    let first = store.put(put("a", b"one", Condition::None)).await.unwrap().generation;
    let second = store.put(put("a", b"two", Condition::None)).await.unwrap().generation;
    store.put(put("a.txt", b"other", Condition::None)).await.unwrap();
    store.delete("a", &Condition::None).await.unwrap();
    let versions = store.versions("a").await.unwrap();
    let seen: Vec<_> = versions.iter().map(|v| (v.generation.as_ref().map(|g| g.etag.as_str()), v.is_latest)).collect();
    assert_eq!(seen, [(None, true), (Some(second.etag.as_str()), false), (Some(first.etag.as_str()), false)]);
    assert_eq!(versions[2].version_id, first.version_id.clone().unwrap());
    assert_eq!(store.head("a").await.unwrap(), None);
    let old = GetRequest { version_id: first.version_id.clone(), ..get("a") };
    assert_eq!(read(store, old).await.unwrap().1, b"one");
    let marker = GetRequest { version_id: Some(versions[0].version_id.clone()), ..get("a") };
    assert_eq!(kind(read(store, marker).await), Kind::NotFound);
}

#[tokio::test]
async fn what_is_deleted_and_still_a_version_is_told_with_its_newest_content() {
    let World { store, .. } = &World::with(|options| {
        options.versions = true;
        options.page_size_max = 2;
    })
    .await;
    for (key, bodies) in [("d/a", &["1", "22"][..]), ("d/b b", &["3"]), ("d/kept", &["4"]), ("e", &["5"])] {
        for body in bodies {
            store.put(put(key, body.as_bytes(), Condition::None)).await.unwrap();
        }
    }
    for key in ["d/a", "d/b b", "d/b b", "d/never", "e"] {
        store.delete(key, &Condition::None).await.unwrap();
    }
    let deleted = store.deleted("d/").await.unwrap();
    let told: Vec<_> = deleted.objects.iter().map(|object| (object.key.as_str(), object.bytes)).collect();
    assert_eq!((told, deleted.more), (vec![("d/a", 2), ("d/b b", 1)], false));
    let newest = GetRequest { version_id: Some(deleted.objects[0].version_id.clone()), ..get("d/a") };
    assert_eq!(read(store, newest).await.unwrap().1, b"22");
}

#[tokio::test]
async fn a_bucket_without_versions_has_none() {
    let World { store, .. } = &World::new().await;
    store.put(put("a", b"one", Condition::None)).await.unwrap();
    assert_eq!(store.versions("a").await.unwrap(), []);
    assert_eq!(store.deleted("").await.unwrap(), Deleted::default());
    assert_eq!(store.versioning().await.unwrap(), None);
    assert_eq!(store.head("a").await.unwrap().unwrap().generation.version_id, None);
}

#[tokio::test]
async fn an_unknown_outcome_is_told_as_such_and_not_retried() {
    let world = World::new().await;
    let World { store, server, .. } = &world;
    for (effect, wanted) in [(Effect::LoseReply, Kind::Transport), (Effect::FailAfterEffect, Kind::Unavailable)] {
        let key = format!("{wanted:?}");
        world.fault(effect, Operation::PutObject);
        let error = store.put(put(&key, b"x", Condition::Absent)).await.unwrap_err();
        assert_eq!(error.kind, wanted);
        assert!(error.outcome_unknown());
        assert!(store.head(&key).await.unwrap().is_some(), "the effect had happened");
    }
    assert_eq!(server.counters().snapshot().of(Operation::PutObject), 2);
    world.fault(Effect::SlowDown, Operation::PutObject);
    assert_eq!(kind(store.put(put("k", b"x", Condition::Absent)).await), Kind::Throttled);
    world.fault(Effect::LoseReply, Operation::DeleteObject);
    assert_eq!(kind(store.delete("Transport", &Condition::None).await), Kind::Transport);
    assert_eq!(store.head("Transport").await.unwrap(), None);
}

#[tokio::test]
async fn a_complete_that_fails_in_a_reply_of_200_has_failed() {
    let world = World::new().await;
    let World { store, .. } = &world;
    let upload = store.create_upload("big", &ObjectHeaders::default()).await.unwrap();
    let part = store.upload_part("big", &upload, 1, Bytes::from_static(b"x")).await.unwrap();
    world.fault(Effect::ErrorInOkReply, Operation::CompleteMultipartUpload);
    let error = store.complete_upload("big", &upload, &[(1, part.clone())], &Condition::None).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert_eq!(store.head("big").await.unwrap(), None);
    store.complete_upload("big", &upload, &[(1, part)], &Condition::None).await.unwrap();
}

#[tokio::test]
async fn a_damaged_content_is_never_taken_for_whole() {
    let world = World::new().await;
    let World { store, .. } = &world;
    let body = Bytes::from(vec![3; 300_000]);
    store.put(PutRequest { key: "a".into(), body, ..PutRequest::default() }).await.unwrap();
    world.fault(Effect::CutBody { after_bytes: 100_000 }, Operation::GetObject);
    assert_eq!(kind(read(store, get("a")).await), Kind::Transport);
    world.fault(Effect::FlipBit { at_byte: 100_000 }, Operation::GetObject);
    assert_eq!(kind(read(store, get("a")).await), Kind::Corrupt);
    assert_eq!(read(store, get("a")).await.unwrap().1.len(), 300_000);
}

#[tokio::test]
async fn a_listing_that_lies_about_its_order_is_a_failed_look() {
    let world = World::new().await;
    let World { store, .. } = &world;
    for key in ["a", "b", "c"] {
        store.put(put(key, b"x", Condition::None)).await.unwrap();
    }
    for effect in [Effect::DisorderKeys, Effect::DuplicateKeys] {
        world.fault(effect, Operation::ListObjectsV2);
        assert_eq!(kind(store.list(below("")).await), Kind::Corrupt);
    }
    world.fault(Effect::CutBody { after_bytes: 100 }, Operation::ListObjectsV2);
    assert_eq!(kind(store.list(below("")).await), Kind::Transport);
    assert_eq!(store.list(below("")).await.unwrap().objects.len(), 3);
}

#[tokio::test]
async fn a_late_reply_is_an_unknown_outcome() {
    let world = World::new().await;
    let mut config = config(world.server.url());
    config.timeouts = Timeouts { reply: Duration::from_millis(50), ..Timeouts::default() };
    let store = connect(config).await;
    world.fault(Effect::Latency(Duration::from_secs(60)), Operation::HeadObject);
    assert_eq!(kind(store.head("a").await), Kind::Transport);
}

#[tokio::test]
async fn wrong_keys_and_buckets_concern_the_store_and_not_the_path() {
    let world = World::new().await;
    let mut wrong = config(world.server.url());
    wrong.credentials =
        Some(Credentials { access_key: "gosync".into(), secret_key: "wrong".into(), session_token: None });
    let store = connect(wrong).await;
    assert_eq!(kind(store.head("a").await), Kind::Credentials, "although a HEAD says no more than 403");
    assert_eq!(kind(store.list(below("")).await), Kind::Credentials);
    assert_eq!(kind(store.put(put("a", b"x", Condition::None)).await), Kind::Credentials);

    let mut elsewhere = config(world.server.url());
    elsewhere.bucket = "elsewhere".into();
    let store = connect(elsewhere).await;
    assert_eq!(kind(store.list(below("")).await), Kind::NoSuchBucket);
    assert_eq!(kind(store.put(put("a", b"x", Condition::None)).await), Kind::NoSuchBucket);

    let World { server, .. } = world;
    let url = server.url();
    server.shutdown().await;
    assert_eq!(kind(connect(config(url)).await.list(below("")).await), Kind::Transport);
}

#[tokio::test]
async fn the_observer_is_told_of_every_request_and_its_bytes() {
    let World { store, witness, .. } = &World::new().await;
    store.put(put("a", b"hello", Condition::Absent)).await.unwrap();
    store.put(put("a", b"hello", Condition::Absent)).await.unwrap_err();
    read(store, get("a")).await.unwrap();
    drop(store.get(get("a")).await.unwrap());
    store.get(get("b")).await.map(|_| ()).unwrap_err();
    let seen: Vec<_> = witness
        .seen()
        .into_iter()
        .map(|seen| (seen.operation, seen.outcome, seen.sent_bytes, seen.received_bytes))
        .collect();
    assert_eq!(
        seen,
        [
            ("PutObject", Ok(()), 5, 0),
            ("PutObject", Err(Kind::PreconditionFailed), 5, 0),
            ("GetObject", Ok(()), 0, 5),
            ("GetObject", Ok(()), 0, 0),
            ("GetObject", Err(Kind::NotFound), 0, 0),
        ]
    );
}
