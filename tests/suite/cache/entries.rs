//! What is kept of a store, and which entries are believed: exactly those that are what the asker expects.

use bytes::Bytes;
use gosync_engine::ports::cache::CacheLimits;
use gosync_engine::ports::cache_entries::{CLAIM_MS, Content, ContentWanted, FeedHead, RowFound};
use gosync_engine::ports::cache_memory::MemoryCache;
use gosync_engine::ports::metadata::{FileRow, FilesQuery};
use gosync_engine::ports::{Cache, CacheErrorKind, StoreCache, cache_conformance};
use gosync_plan::{ContentHash, Generation, ObjectFacts};
use std::sync::Arc;

use gosync_tests::redis::{Redis, Reply, Stranger};

use super::{HOUR_MS, config, open};

const LIMITS: CacheLimits = CacheLimits { ttl_ms: HOUR_MS, content_bytes_max: 1 << 20 };

fn hash(bytes: &[u8]) -> ContentHash {
    ContentHash(*blake3::hash(bytes).as_bytes())
}

fn content(bytes: &[u8]) -> Content {
    let facts = ObjectFacts { mode: Some(0o640), mtime_ns: Some(bytes.len() as i64), ..ObjectFacts::default() };
    Content { bytes: Bytes::copy_from_slice(bytes), blake3: hash(bytes), facts }
}

/// Of an object whose ETag proves nothing, but whose content the feed knows.
fn wanted(key: &str, bytes: &[u8]) -> ContentWanted {
    let etag = format!("{}-2", &hash(bytes).to_hex()[..32]);
    let generation = Generation { etag, size: bytes.len() as u64, version_id: None, last_modified: None };
    ContentWanted { key: key.to_owned(), generation, content: Some(hash(bytes)) }
}

fn row(key: &str, seq: u64) -> FileRow {
    FileRow {
        id: 1,
        store_id: 1,
        path: format!("/{key}"),
        s3_key: key.to_owned(),
        size: 1,
        modified_ns: None,
        created_ms: 0,
        etag: "e1".to_owned(),
        version_id: None,
        last_modified: None,
        checksum: Some(hash(b"1")),
        mime_type: None,
        mode: None,
        is_directory: false,
        parent_id: None,
        version: 1,
        is_deleted: false,
        deleted_ms: None,
        seq,
        updated_by: "r".to_owned(),
    }
}

fn found(row: FileRow) -> RowFound {
    RowFound::Row(Some(Box::new(row)))
}

#[tokio::test]
async fn a_cache_in_memory_does_what_its_port_says() {
    let cache = Arc::new(MemoryCache::new(LIMITS));
    let clock = Arc::clone(&cache);
    let pass = move |duration: std::time::Duration| -> futures_util::future::BoxFuture<'static, ()> {
        clock.pass_ms(duration.as_millis() as u64);
        Box::pin(std::future::ready(()))
    };
    cache_conformance::conforms(&*cache, &pass).await.unwrap();
    assert_eq!(cache.wrongs(), [""; 0]);
}

#[tokio::test]
async fn contents_come_back_whole_in_their_order_and_only_the_expected_ones() {
    let cache = Arc::new(MemoryCache::new(LIMITS));
    let store = StoreCache::new(Arc::clone(&cache) as _, "epoch");
    let bytes = |number: usize| vec![number as u8; number * 7];
    let all: Vec<ContentWanted> = (0..2_000).map(|number| wanted(&format!("k{number}"), &bytes(number))).collect();
    assert_eq!(store.contents(&all[..3]).await, [None, None, None]);
    for some in (0..2_000).step_by(2).collect::<Vec<_>>().chunks(64) {
        let verified = some.iter().map(|number| (all[*number].clone(), content(&bytes(*number)))).collect();
        assert!(store.fill_contents(verified).await.iter().all(Result::is_ok));
    }
    for (some, first) in all.chunks(64).zip((0..).step_by(64)) {
        for (found, number) in store.contents(some).await.into_iter().zip(first..) {
            assert_eq!(found, (number % 2 == 0).then(|| content(&bytes(number))), "k{number}");
        }
    }
    // Whoever is not on the same metadata shares nothing.
    let other = StoreCache::new(Arc::clone(&cache) as _, "another epoch");
    assert_eq!(other.contents(&all[2..3]).await, [None]);
    // Nor is the content of another generation of the key, or of another key.
    let mut next = all[2].clone();
    next.generation.version_id = Some("v2".to_owned());
    assert_eq!(store.contents(&[next, ContentWanted { key: "k4".to_owned(), ..all[2].clone() }]).await, [None, None]);
    assert_eq!(cache.wrongs(), [""; 0]);
}

#[tokio::test]
async fn a_content_that_is_too_large_is_an_error_of_its_own_and_keeps_others_from_nothing() {
    let cache = Arc::new(MemoryCache::new(CacheLimits { content_bytes_max: 10, ..LIMITS }));
    let store = StoreCache::new(Arc::clone(&cache) as _, "epoch");
    let (small, large) = (b"0123456789", b"01234567890");
    let told = store
        .fill_contents(vec![(wanted("large", large), content(large)), (wanted("small", small), content(small))])
        .await;
    assert_eq!(told[0].as_ref().unwrap_err().kind, CacheErrorKind::TooLarge);
    assert!(told[1].is_ok());
    assert_eq!(store.contents(&[wanted("small", small), wanted("large", large)]).await, [Some(content(small)), None]);
    assert!(!store.takes(&wanted("large", large)) && store.takes(&wanted("small", small)));
    assert_eq!(cache.entries().len(), 1);
}

#[tokio::test]
async fn without_a_known_hash_only_an_etag_that_is_an_md5_is_proof() {
    let cache = Arc::new(MemoryCache::new(LIMITS));
    let store = StoreCache::new(Arc::clone(&cache) as _, "epoch");
    let of = |etag: &str| ContentWanted {
        content: None,
        generation: Generation { etag: etag.to_owned(), size: 5, version_id: None, last_modified: None },
        key: "k".to_owned(),
    };
    // md5 of "hello"; an opaque one that looks like it; one of parts.
    let [md5, opaque, parts] =
        ["5d41402abc4b2a76b9719d911017c592", "00000000000000000000000000000000", "5d41-2"].map(of);
    let fill = [&md5, &opaque, &parts].map(|wanted| (wanted.clone(), content(b"hello"))).to_vec();
    assert!(store.fill_contents(fill).await.iter().all(Result::is_ok));
    let found = store.contents(&[md5, opaque, parts.clone()]).await;
    assert_eq!(found, [Some(content(b"hello")), None, None]);
    assert!(!store.takes(&parts), "it is not even asked for");
}

#[tokio::test]
async fn one_of_those_who_want_a_missing_content_fetches_it() {
    let cache = Arc::new(MemoryCache::new(LIMITS));
    let store = StoreCache::new(Arc::clone(&cache) as _, "epoch");
    let [a, b] = [wanted("a", b"1"), wanted("b", b"2")];
    let claim = |wanted: &ContentWanted, by: &str| (wanted.clone(), by.to_owned());
    assert_eq!(store.claim(&[claim(&a, "one")]).await, [true]);
    assert_eq!(store.claim(&[claim(&a, "two"), claim(&b, "two")]).await, [false, true]);
    assert_eq!(store.claim(&[claim(&a, "one"), claim(&b, "one")]).await, [true, false]);
    // Whoever has it may be gone: it is anybody's soon.
    cache.pass_ms(CLAIM_MS + 1);
    assert_eq!(store.claim(&[claim(&a, "two")]).await, [true]);
    assert_eq!(cache.wrongs(), [""; 0]);
}

#[tokio::test]
async fn rows_are_ignored_when_the_asker_knows_of_a_later_change() {
    let cache = Arc::new(MemoryCache::new(LIMITS));
    let store = StoreCache::new(Arc::clone(&cache) as _, "epoch");
    store.fill_rows(5, vec![("a".to_owned(), Some(row("a", 3))), ("gone".to_owned(), None)]).await.unwrap();
    let asked = [("a", 5), ("gone", 0), ("never", 0)];
    assert_eq!(store.rows(&asked).await, [found(row("a", 3)), RowFound::Row(None), RowFound::Miss]);
    assert_eq!(store.rows(&[("a", 6)]).await, [RowFound::Miss]);
    // What was useless to one is out of the way of the next who fills.
    store.fill_rows(6, vec![("a".to_owned(), Some(row("a", 6)))]).await.unwrap();
    assert_eq!(store.rows(&[("a", 6)]).await, [found(row("a", 6))]);
}

#[tokio::test]
async fn a_row_that_was_read_before_a_change_is_not_filled_after_it() {
    let cache = Arc::new(MemoryCache::new(LIMITS));
    let store = StoreCache::new(Arc::clone(&cache) as _, "epoch");
    store.rows_changed(&["a".to_owned()]).await.unwrap();
    store.fill_rows(3, vec![("a".to_owned(), Some(row("a", 3)))]).await.unwrap();
    assert_eq!(store.rows(&[("a", 0)]).await, [RowFound::Changed]);
    cache.pass_ms(60_000);
    assert_eq!(store.rows(&[("a", 0)]).await, [RowFound::Miss]);
    // A full server can't keep the mark, but drops the row.
    store.fill_rows(3, vec![("a".to_owned(), Some(row("a", 3)))]).await.unwrap();
    cache.set_bytes_allowed(Some(0));
    store.rows_changed(&["a".to_owned()]).await.unwrap();
    assert_eq!(store.rows(&[("a", 0)]).await, [RowFound::Miss]);
}

#[tokio::test]
async fn a_listing_is_good_for_one_point_of_the_feed_alone() {
    let cache = Arc::new(MemoryCache::new(LIMITS));
    let store = StoreCache::new(Arc::clone(&cache) as _, "epoch");
    let query = FilesQuery { store: 1, prefix: "a".to_owned(), limit: 10, ..FilesQuery::default() };
    let head = FeedHead { sequence: 5, row_id: "x".to_owned() };
    let rows = vec![row("a", 3), row("a\u{0}b", 5)];
    store.fill_listing(&query, &head, &rows).await.unwrap();
    assert_eq!(store.listing(&query, &head).await, Some(rows));
    for other in [
        FilesQuery { prefix: "ab".to_owned(), ..query.clone() },
        FilesQuery { deleted: true, ..query.clone() },
        FilesQuery { after: Some(String::new()), ..query.clone() },
        FilesQuery { limit: 11, ..query.clone() },
    ] {
        assert_eq!(store.listing(&other, &head).await, None, "{other:?}");
    }
    // A backup that was restored comes to the same number with another change.
    assert_eq!(store.listing(&query, &FeedHead { row_id: "y".to_owned(), ..head.clone() }).await, None);
    assert_eq!(store.listing(&query, &FeedHead { sequence: 6, ..head.clone() }).await, None);
    let large: Vec<FileRow> = (0..20_000).map(|number| row(&format!("{number}"), 1)).collect();
    let told = store.fill_listing(&query, &head, &large).await;
    assert_eq!(told.unwrap_err().kind, CacheErrorKind::TooLarge);
}

#[tokio::test]
async fn who_cannot_read_the_metadata_cannot_forge_a_row() {
    let cache = Arc::new(MemoryCache::new(LIMITS));
    let ours = StoreCache::new(Arc::clone(&cache) as _, "epoch");
    ours.fill_rows(5, vec![("a".to_owned(), Some(row("a", 3)))]).await.unwrap();
    let (name, _) = cache.entries().pop_first().unwrap();
    // The same code, without the epoch: even under the very name nothing it writes is believed.
    let theirs = StoreCache::new(Arc::clone(&cache) as _, "guessed");
    theirs.fill_rows(9, vec![("a".to_owned(), Some(row("a", 9)))]).await.unwrap();
    let (_, forged) = cache.entries().into_iter().find(|(known, _)| *known != name).unwrap();
    cache.plant(&name, forged);
    assert_eq!(ours.rows(&[("a", 0)]).await, [RowFound::Miss]);
    // Neither is the epoch to be read off the entries.
    ours.fill_rows(5, vec![("a".to_owned(), Some(row("a", 3)))]).await.unwrap();
    for (name, value) in cache.entries() {
        assert!(!name.contains("epoch") && !value.windows(5).any(|bytes| bytes == b"epoch"));
    }
}

/// What is believed of everything that stands in the cache: nothing, or what was put there.
async fn nothing_wrong_is_believed(store: &StoreCache) {
    let [a, b] = [wanted("a", b"content a"), wanted("b", b"content bb")];
    for (found, expected) in store.contents(&[a, b]).await.into_iter().zip([&b"content a"[..], b"content bb"]) {
        assert!(found.is_none_or(|found| found == content(expected)));
    }
    for (answer, key) in store.rows(&[("a", 0), ("b", 0)]).await.into_iter().zip(["a", "b"]) {
        assert!(answer == RowFound::Miss || answer == found(row(key, 3)), "{answer:?}");
    }
    let listing = store.listing(&FilesQuery::default(), &FeedHead { sequence: 5, row_id: String::new() }).await;
    assert!(listing.is_none_or(|rows| rows == [row("a", 3), row("b", 3)]));
}

async fn fill(store: &StoreCache) {
    let verified = [("a", &b"content a"[..]), ("b", b"content bb")];
    store.fill_contents(verified.map(|(key, bytes)| (wanted(key, bytes), content(bytes))).to_vec()).await;
    let rows = ["a", "b"].map(|key| (key.to_owned(), Some(row(key, 3))));
    store.fill_rows(5, rows.to_vec()).await.unwrap();
    let head = FeedHead { sequence: 5, row_id: String::new() };
    store.fill_listing(&FilesQuery::default(), &head, &[row("a", 3), row("b", 3)]).await.unwrap();
}

async fn values(stranger: &mut Stranger) -> Vec<(String, Vec<u8>)> {
    let mut values = Vec::new();
    for key in stranger.keys("gosync:*").await {
        let Reply::Bytes(value) = stranger.ask(&["GET", &key]).await else { panic!("{key} is no string") };
        values.push((key, value));
    }
    values
}

#[tokio::test]
async fn wrong_stale_and_hostile_values_are_misses() {
    let redis = Redis::start().await;
    let cache: Arc<dyn Cache> = Arc::new(open(&config(&redis)).await);
    let store = StoreCache::new(cache, "epoch");
    fill(&store).await;
    let mut stranger = redis.stranger().await;
    let good = values(&mut stranger).await;
    assert_eq!(good.len(), 5, "two contents, two rows, a listing");
    nothing_wrong_is_believed(&store).await;

    let mut hostile: Vec<Vec<u8>> = good.iter().map(|(_, value)| value.clone()).collect();
    hostile.extend([vec![], vec![0], vec![0xff; 33], b"null".to_vec(), vec![b'{'; 5_000_000]]);
    // Forged with its right plain hash: a content of the same length, and a row.
    for bytes in [&b"content X"[..], b"content XX", br#"{"Row":{"as_of":9,"row":null}}"#] {
        hostile.push([&hash(bytes).0[..], bytes].concat());
    }
    for (_, value) in &good {
        for cut in [1, 31, 32, value.len() - 1] {
            hostile.push(value[..cut].to_vec());
        }
        let mut longer = value.clone();
        longer.push(0);
        hostile.push(longer);
        for at in [0, 40.min(value.len() - 1), value.len() - 1] {
            let mut flipped = value.clone();
            flipped[at] ^= 1;
            hostile.push(flipped);
        }
    }
    for value in &hostile {
        for (key, _) in &good {
            stranger.ask_bytes(&[b"SET", key.as_bytes(), value]).await;
        }
        nothing_wrong_is_believed(&store).await;
    }
    for (key, _) in &good {
        stranger.ask(&["DEL", key]).await;
        stranger.ask(&["SADD", key, "a", "b"]).await;
    }
    nothing_wrong_is_believed(&store).await;
    // And what is right is believed again as soon as it is there.
    fill(&store).await;
    let [a] = [wanted("a", b"content a")];
    assert_eq!(store.contents(&[a]).await, [Some(content(b"content a"))]);
}
