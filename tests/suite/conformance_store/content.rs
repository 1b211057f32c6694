//! What comes back is what was sent: bytes, headers, versions.

use super::*;

pub async fn what_was_put_is_read_back_whole_and_in_ranges(rig: Rig) {
    let content: Bytes = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let written = put(&*rig.store, "k", content.clone(), Condition::None).await.unwrap();
    assert_eq!(written.generation.size, 400_000);

    let (head, whole) = read(&*rig.store, get("k")).await.unwrap();
    assert_eq!(whole, content);
    assert!(head.generation.same(&written.generation), "{head:?} {written:?}");
    for range in [0..1, 0..400_000, 7..70_000, 399_999..400_000] {
        let request = GetRequest { range: Some(range.clone()), ..get("k") };
        let (head, part) = read(&*rig.store, request).await.unwrap();
        assert_eq!(part, content[range.start as usize..range.end as usize]);
        assert_eq!(head.generation.size, 400_000, "the size is the object's, not the range's");
    }

    put(&*rig.store, "empty", "", Condition::None).await.unwrap();
    let (head, whole) = read(&*rig.store, get("empty")).await.unwrap();
    assert_eq!((head.generation.size, whole.len()), (0, 0));
}

pub async fn a_read_of_a_replaced_object_is_refused(rig: Rig) {
    let old = rig.put("k", b"old content").await.generation.etag;
    let request = GetRequest { etag: Some(old), range: Some(0..3), ..get("k") };
    assert_eq!(read(&*rig.store, request.clone()).await.unwrap().1, "old");
    rig.stranger.put("k", "new content").await;
    fails(read(&*rig.store, request).await, StoreErrorKind::PreconditionFailed);
}

pub async fn what_is_not_there_is_none_or_not_found(rig: Rig) {
    assert_eq!(rig.store.head("none").await.unwrap(), None);
    fails(read(&*rig.store, get("none")).await, StoreErrorKind::NotFound);
    let request = GetRequest { etag: Some("0123456789abcdef0123456789abcdef".to_owned()), ..get("none") };
    fails(read(&*rig.store, request).await, StoreErrorKind::NotFound);
    assert_eq!(rig.keys(prefix("")).await, [""; 0]);
}

fn headers() -> ObjectHeaders {
    ObjectHeaders {
        mtime_ns: Some(1_700_000_000_123_456_789),
        mode: Some(0o100_640),
        blake3: Some(ContentHash([0xab; 32])),
        nonce: Some(Nonce([0xcd; 16])),
        open: true,
    }
}

#[track_caller]
fn carries_headers(head: &Head) {
    let facts = &head.facts;
    assert_eq!(facts.mtime_ns, headers().mtime_ns);
    assert_eq!(facts.mode, Some(0o640));
    assert_eq!(facts.blake3_header, headers().blake3);
    assert_eq!(facts.nonce, headers().nonce);
    assert!(facts.open);
}

pub async fn headers_come_back_as_they_were_sent(rig: Rig) {
    let request =
        PutRequest { key: "put".to_owned(), body: "x".into(), headers: headers(), condition: Condition::None };
    rig.store.put(request).await.unwrap();
    let upload = rig.store.create_upload("parts", &headers()).await.unwrap();
    let etag = rig.store.upload_part("parts", &upload, 1, "x".into()).await.unwrap();
    rig.store.complete_upload("parts", &upload, &[(1, etag)], &Condition::None).await.unwrap();
    for key in ["put", "parts"] {
        carries_headers(&rig.store.head(key).await.unwrap().unwrap());
        carries_headers(&read(&*rig.store, get(key)).await.unwrap().0);
    }

    rig.put("bare", b"x").await;
    let facts = rig.store.head("bare").await.unwrap().unwrap().facts;
    assert_eq!((facts.mtime_ns, facts.mode, facts.nonce, facts.open), (None, None, None, false));
}

pub async fn headers_are_spelled_as_other_tools_read_them(rig: Rig) {
    for (key, content_type) in [("a/page.html", "text/html"), ("a/unknown.zzz", "application/octet-stream")] {
        let request =
            PutRequest { key: key.to_owned(), body: "x".into(), headers: headers(), condition: Condition::None };
        rig.store.put(request).await.unwrap();
        let head = rig.stranger.head(key).await.unwrap();
        assert_eq!(head.metadata["mtime"], "1700000000.123456789");
        assert_eq!(head.metadata["mode"], "100640");
        assert_eq!(head.metadata["gosync-blake3"], "ab".repeat(32));
        assert_eq!(head.metadata["gosync-op"], "cd".repeat(16));
        assert!(head.metadata.contains_key("gosync-open"));
        assert_eq!(head.content_type.as_deref(), Some(content_type));
    }
}

pub async fn headers_of_other_tools_are_read(rig: Rig) {
    let decimal = 0o100_755.to_string();
    // mtime, mode; what they mean. The decimal mode is s3fs's.
    let spelled = [
        ("1700000000", "100644", Some(1_700_000_000_000_000_000), Some(0o644)),
        ("1700000000.5", "755", Some(1_700_000_000_500_000_000), Some(0o755)),
        ("-1.25", decimal.as_str(), Some(-1_250_000_000), Some(0o755)),
        ("yesterday", "rwx", None, None),
    ];
    for (mtime, mode, mtime_ns, bits) in spelled {
        let request = rig.stranger.client.put_object().bucket(&rig.stranger.bucket).key("k");
        request.metadata("mtime", mtime).metadata("mode", mode).send().await.unwrap();
        let facts = rig.store.head("k").await.unwrap().unwrap().facts;
        assert_eq!((facts.mtime_ns, facts.mode), (mtime_ns, bits), "{mtime} {mode}");
    }
}

pub async fn a_copy_keeps_content_and_headers(rig: Rig) {
    let source = "from here/ü+%.txt";
    let request =
        PutRequest { key: source.to_owned(), body: "x".into(), headers: headers(), condition: Condition::None };
    let etag = rig.store.put(request).await.unwrap().generation.etag;
    let written = rig.store.copy(source, Some(&etag), "to/there", &Condition::None).await.unwrap();
    let (head, content) = read(&*rig.store, get("to/there")).await.unwrap();
    assert_eq!(content, "x");
    carries_headers(&head);
    assert_eq!(written.generation.etag, head.generation.etag);
    fails(rig.store.copy("none", None, "to/nowhere", &Condition::None).await, StoreErrorKind::NotFound);
}

pub async fn equal_content_put_twice_can_be_told_apart_or_has_one_etag(rig: Rig) {
    let first = rig.put("k", b"same").await.generation;
    let second = rig.put("k", b"same").await.generation;
    assert_eq!(first.etag, second.etag);
    rig.stranger.enable_versions().await;
    let third = rig.put("k", b"same").await.generation;
    let fourth = rig.put("k", b"same").await.generation;
    assert!(third.version_id.is_some());
    assert!(!third.same(&fourth), "{third:?} {fourth:?}");
    assert!(rig.store.head("k").await.unwrap().unwrap().generation.same(&fourth));
}

pub async fn an_etag_of_a_put_is_the_md5(rig: Rig) {
    let etag = rig.put("k", b"hello").await.generation.etag;
    assert_eq!(etag, "5d41402abc4b2a76b9719d911017c592");
    assert!(!rig.store.head("k").await.unwrap().unwrap().facts.etag_opaque);
}

pub async fn versions_come_newest_first_and_can_be_read(rig: Rig) {
    assert_ne!(rig.store.versioning().await.unwrap(), Some(true));
    rig.stranger.enable_versions().await;
    assert_eq!(rig.store.versioning().await.unwrap(), Some(true));

    let first = rig.put("k", b"one").await.generation.version_id.unwrap();
    let second = rig.put("k", b"two").await.generation.version_id.unwrap();
    rig.put("k2", b"another key with this prefix").await;
    rig.store.delete("k", &Condition::None).await.unwrap();
    let versions = rig.store.versions("k").await.unwrap();
    let told: Vec<_> = versions.iter().map(|version| (version.generation.is_some(), version.is_latest)).collect();
    assert_eq!(told, [(false, true), (true, false), (true, false)], "{versions:?}");
    assert_eq!((&versions[1].version_id, &versions[2].version_id), (&second, &first));
    for (version_id, content) in [(first, "one"), (second, "two")] {
        let request = GetRequest { version_id: Some(version_id), ..get("k") };
        assert_eq!(read(&*rig.store, request).await.unwrap().1, content);
    }
    assert_eq!(rig.store.head("k").await.unwrap(), None);
    let deleted = rig.store.deleted("").await.unwrap();
    let told: Vec<_> = deleted.objects.iter().map(|it| (it.key.as_str(), it.version_id.as_str(), it.bytes)).collect();
    assert_eq!((told, deleted.more), (vec![("k", versions[1].version_id.as_str(), 3)], false));
}
