//! Buckets with versions.

use aws_sdk_s3::types::{BucketVersioningStatus, Delete, ObjectIdentifier, VersioningConfiguration};

use crate::fixture::{BUCKET, Fixture, refusal, start, start_with};

async fn versioned() -> Fixture {
    start_with(|options| options.versions = true).await
}

async fn set(s3: &Fixture, status: BucketVersioningStatus) {
    let configuration = VersioningConfiguration::builder().status(status).build();
    s3.client.put_bucket_versioning().bucket(BUCKET).versioning_configuration(configuration).send().await.unwrap();
}

async fn put(s3: &Fixture, key: &str, content: &str) -> Option<String> {
    let body = aws_sdk_s3::primitives::ByteStream::from(content.as_bytes().to_vec());
    s3.client.put_object().bucket(BUCKET).key(key).body(body).send().await.unwrap().version_id
}

async fn get(s3: &Fixture, key: &str, version: &str) -> Vec<u8> {
    let got = s3.client.get_object().bucket(BUCKET).key(key).version_id(version).send().await.unwrap();
    assert_eq!(got.version_id(), Some(version));
    got.body.collect().await.unwrap().to_vec()
}

/// `key version latest? marker?` in the order of the listing, by pages of two.
async fn listed(s3: &Fixture) -> Vec<(String, String, bool, bool)> {
    let mut all = Vec::new();
    let (mut key, mut version) = (None, None);
    loop {
        let page = s3.client.list_object_versions().bucket(BUCKET).max_keys(2);
        let page = page.set_key_marker(key).set_version_id_marker(version).send().await.unwrap();
        let text = |text: Option<&str>| text.unwrap().to_owned();
        let mut entries: Vec<_> = page
            .versions()
            .iter()
            .map(|entry| {
                (text(entry.key()), text(entry.version_id()), entry.is_latest().unwrap(), false, entry.last_modified())
            })
            .chain(page.delete_markers().iter().map(|entry| {
                (text(entry.key()), text(entry.version_id()), entry.is_latest().unwrap(), true, entry.last_modified())
            }))
            .collect();
        assert!(entries.len() <= 2);
        // Versions and markers come in two lists; the newest version of a key goes first.
        entries.sort_by(|a, b| a.0.cmp(&b.0).then(b.2.cmp(&a.2)));
        all.extend(entries.into_iter().map(|(key, version, latest, marker, _)| (key, version, latest, marker)));
        if page.is_truncated() != Some(true) {
            return all;
        }
        (key, version) = (page.next_key_marker, page.next_version_id_marker);
    }
}

#[tokio::test]
async fn every_version_stays_until_it_is_deleted_by_its_id() {
    let s3 = versioned().await;
    let first = put(&s3, "k", "first").await.unwrap();
    let second = put(&s3, "k", &"second".repeat(10_000)).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(s3.get("k").await, "second".repeat(10_000).as_bytes());
    assert_eq!(get(&s3, "k", &first).await, b"first");

    let deleted = s3.client.delete_object().bucket(BUCKET).key("k").send().await.unwrap();
    let marker = deleted.version_id.unwrap();
    assert_eq!(deleted.delete_marker, Some(true));
    assert!(!s3.exists("k").await);
    assert!(s3.keys().await.is_empty());
    assert_eq!(get(&s3, "k", &second).await, "second".repeat(10_000).as_bytes());
    let of_marker = s3.client.get_object().bucket(BUCKET).key("k").version_id(&marker).send().await;
    assert_eq!(refusal(of_marker), "405 MethodNotAllowed");
    let unknown = s3.client.get_object().bucket(BUCKET).key("k").version_id("unknown").send().await;
    assert_eq!(refusal(unknown), "404 NoSuchVersion");

    let delete = |version: &str| s3.client.delete_object().bucket(BUCKET).key("k").version_id(version).send();
    let removed = delete(&marker).await.unwrap();
    assert_eq!((removed.delete_marker, removed.version_id), (Some(true), Some(marker)));
    assert_eq!(s3.get("k").await, "second".repeat(10_000).as_bytes(), "without its marker the object is back");
    delete(&second).await.unwrap();
    assert_eq!(s3.blob_files(), 0);
    assert_eq!(s3.get("k").await, b"first");
    delete(&first).await.unwrap();
    assert!(!s3.exists("k").await);
    assert!(listed(&s3).await.is_empty());
    assert!(delete(&first).await.is_ok(), "what is gone can be deleted again");
}

#[tokio::test]
async fn versions_are_listed_newest_first_in_pages() {
    let s3 = versioned().await;
    let mut expected = Vec::new();
    for key in ["a", "a/b", "b"] {
        let mut names = Vec::new();
        for round in 0..3 {
            names.push((put(&s3, key, &format!("{round}")).await.unwrap(), false));
        }
        let deleted = s3.client.delete_object().bucket(BUCKET).key(key).send().await.unwrap();
        names.push((deleted.version_id.unwrap(), true));
        let newest = names.len() - 1;
        let newest_first = names.into_iter().enumerate().rev();
        expected.extend(newest_first.map(|(n, (name, marker))| (key.to_owned(), name, n == newest, marker)));
    }
    assert_eq!(listed(&s3).await, expected);
    let page = s3.client.list_object_versions().bucket(BUCKET).delimiter("/").send().await.unwrap();
    assert_eq!(page.common_prefixes()[0].prefix(), Some("a/"));
    assert_eq!((page.versions().len(), page.delete_markers().len()), (6, 2));
    let page = s3.client.list_object_versions().bucket(BUCKET).prefix("b").send().await.unwrap();
    assert_eq!(page.versions().len(), 3);
}

#[tokio::test]
async fn without_versions_there_are_no_version_ids() {
    let s3 = start().await;
    assert_eq!(put(&s3, "k", "x").await, None);
    assert_eq!(s3.client.head_object().bucket(BUCKET).key("k").send().await.unwrap().version_id(), None);
    assert_eq!(get_status(&s3).await, None);
    let deleted = s3.client.delete_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!((deleted.delete_marker, deleted.version_id), (None, None));
}

async fn get_status(s3: &Fixture) -> Option<BucketVersioningStatus> {
    s3.client.get_bucket_versioning().bucket(BUCKET).send().await.unwrap().status
}

#[tokio::test]
async fn suspended_versioning_writes_the_null_version_and_keeps_the_others() {
    let s3 = start().await;
    put(&s3, "k", "before").await;
    set(&s3, BucketVersioningStatus::Enabled).await;
    assert_eq!(get_status(&s3).await, Some(BucketVersioningStatus::Enabled));
    let kept = put(&s3, "k", "kept").await.unwrap();
    assert_eq!(get(&s3, "k", "null").await, b"before");
    set(&s3, BucketVersioningStatus::Suspended).await;
    assert_eq!(put(&s3, "k", "null again").await.as_deref(), Some("null"));
    assert_eq!(s3.get("k").await, b"null again");
    let names: Vec<_> = listed(&s3).await.into_iter().map(|(_, name, _, _)| name).collect();
    assert_eq!(names, ["null", kept.as_str()], "the null version from before was replaced");
    let deleted = s3.client.delete_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!((deleted.delete_marker, deleted.version_id.as_deref()), (Some(true), Some("null")));
    assert_eq!(listed(&s3).await.len(), 2);
    s3.client.delete_object().bucket(BUCKET).key("k").version_id("null").send().await.unwrap();
    assert_eq!(s3.get("k").await, b"kept");
}

#[tokio::test]
async fn conditions_are_about_the_newest_version() {
    let s3 = versioned().await;
    let body = || aws_sdk_s3::primitives::ByteStream::from_static(b"x");
    let etag = s3.put("k", "first").await;
    let deleted = s3.client.delete_object().bucket(BUCKET).key("k").if_match(&etag).send().await.unwrap();
    assert_eq!(deleted.delete_marker, Some(true));
    let again = s3.client.delete_object().bucket(BUCKET).key("k").if_match(&etag).send().await;
    assert_eq!(refusal(again), "412 PreconditionFailed", "the newest is a marker");
    let put = s3.client.put_object().bucket(BUCKET).key("k").body(body()).if_match(&etag).send().await;
    assert_eq!(refusal(put), "404 NoSuchKey");
    s3.client.put_object().bucket(BUCKET).key("k").body(body()).if_none_match("*").send().await.unwrap();
    assert_eq!(s3.get("k").await, b"x");
}

#[tokio::test]
async fn a_bulk_delete_takes_versions_too() {
    let s3 = versioned().await;
    let first = put(&s3, "k", "first").await.unwrap();
    put(&s3, "k", "second").await;
    let by_id = ObjectIdentifier::builder().key("k").version_id(&first).build().unwrap();
    let newest = ObjectIdentifier::builder().key("k").build().unwrap();
    let delete = Delete::builder().objects(by_id).objects(newest).build().unwrap();
    let answer = s3.client.delete_objects().bucket(BUCKET).delete(delete).send().await.unwrap();
    assert_eq!(answer.deleted()[0].version_id(), Some(first.as_str()));
    assert_eq!(answer.deleted()[1].delete_marker(), Some(true));
    assert!(answer.deleted()[1].delete_marker_version_id().is_some());
    assert_eq!(listed(&s3).await.len(), 2);
}

#[tokio::test]
async fn a_version_can_be_copied_back() {
    let s3 = versioned().await;
    let first = put(&s3, "k", "first").await.unwrap();
    put(&s3, "k", "second").await;
    let copy = s3.client.copy_object().bucket(BUCKET).key("k").copy_source(format!("{BUCKET}/k?versionId={first}"));
    let copied = copy.send().await.unwrap();
    assert_eq!(copied.copy_source_version_id(), Some(first.as_str()));
    assert_eq!(s3.get("k").await, b"first");
    assert_eq!(listed(&s3).await.len(), 3);
}
