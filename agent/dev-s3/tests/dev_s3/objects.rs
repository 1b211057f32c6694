//! Single objects: content, headers, ranges, conditions on reads, odd keys.

use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration, MetadataDirective, ServerSideEncryption};
use gosync_dev_s3::Etags;

use crate::fixture::{BUCKET, noise, refusal, start, start_with};

#[tokio::test]
async fn what_is_put_is_got_back() {
    let s3 = start().await;
    for (key, size) in
        [("empty", 0), ("small", 5), ("inline", 16 * 1024), ("file", 16 * 1024 + 1), ("large", 3_000_000)]
    {
        let content = noise(size as u64, size);
        s3.put(key, content.clone()).await;
        assert_eq!(s3.get(key).await, content, "{key}");
        let head = s3.client.head_object().bucket(BUCKET).key(key).send().await.unwrap();
        assert_eq!(head.content_length, Some(size as i64));
    }
    assert_eq!(s3.keys().await, ["empty", "file", "inline", "large", "small"]);
}

#[tokio::test]
async fn an_etag_is_the_md5_of_the_content() {
    let s3 = start().await;
    assert_eq!(s3.put("hello", "hello world").await, "\"5eb63bbbe01eeed093cb22bb8f5acdc3\"");
    assert_eq!(s3.put("empty", "").await, "\"d41d8cd98f00b204e9800998ecf8427e\"");
    let head = s3.client.head_object().bucket(BUCKET).key("hello").send().await.unwrap();
    assert_eq!(head.e_tag.unwrap(), "\"5eb63bbbe01eeed093cb22bb8f5acdc3\"");
}

#[tokio::test]
async fn with_a_managed_key_an_etag_says_nothing() {
    let s3 = start_with(|options| options.etags = Etags::Kms).await;
    let first = s3.put("hello", "hello world").await;
    let second = s3.put("hello", "hello world").await;
    assert_ne!(first, "\"5eb63bbbe01eeed093cb22bb8f5acdc3\"");
    assert_ne!(first, second);
    assert_eq!(first.len(), second.len());
    let head = s3.client.head_object().bucket(BUCKET).key("hello").send().await.unwrap();
    assert_eq!(head.e_tag.unwrap(), second);
    assert_eq!(head.server_side_encryption, Some(ServerSideEncryption::AwsKms));
}

#[tokio::test]
async fn headers_and_metadata_come_back_as_they_went_in() {
    let s3 = start().await;
    let put = s3.client.put_object().bucket(BUCKET).key("page").body(ByteStream::from_static(b"<p>"));
    let put = put
        .content_type("text/html; charset=utf-8")
        .cache_control("no-store")
        .content_disposition("attachment; filename=\"p.html\"")
        .content_encoding("identity")
        .content_language("de")
        .expires(DateTime::from_secs(1_900_000_000))
        .metadata("mtime", "1700000000.123456789")
        .metadata("Mode", "100644")
        .metadata("text", "gr\u{fc}n");
    put.send().await.unwrap();
    let got = s3.client.get_object().bucket(BUCKET).key("page").send().await.unwrap();
    let head = s3.client.head_object().bucket(BUCKET).key("page").send().await.unwrap();
    assert_eq!(got.content_type(), Some("text/html; charset=utf-8"));
    assert_eq!(got.cache_control(), Some("no-store"));
    assert_eq!(got.content_disposition(), Some("attachment; filename=\"p.html\""));
    assert_eq!(got.content_encoding(), Some("identity"));
    assert_eq!(got.content_language(), Some("de"));
    assert_eq!(got.expires_string(), Some("Sun, 17 Mar 2030 17:46:40 GMT"));
    assert_eq!(got.accept_ranges(), Some("bytes"));
    let metadata = got.metadata().unwrap();
    assert_eq!(metadata.get("mtime").unwrap(), "1700000000.123456789");
    assert_eq!(metadata.get("mode").unwrap(), "100644", "names come back in lower case");
    assert_eq!(Some(metadata), head.metadata());
    assert_eq!(head.content_type(), Some("text/html; charset=utf-8"));
    assert_eq!(head.last_modified(), got.last_modified());
    let copy = s3.client.copy_object().bucket(BUCKET).key("plain").copy_source(format!("{BUCKET}/page"));
    copy.metadata_directive(MetadataDirective::Replace).send().await.unwrap();
    let head = s3.client.head_object().bucket(BUCKET).key("plain").send().await.unwrap();
    assert_eq!(head.content_type(), Some("binary/octet-stream"), "where nobody named one");
    assert!(head.metadata().unwrap().is_empty());
}

#[tokio::test]
async fn metadata_beyond_two_kilobytes_is_refused() {
    let s3 = start().await;
    let put = s3.client.put_object().bucket(BUCKET).key("k").body(ByteStream::from_static(b"x"));
    let put = put.metadata("long", "x".repeat(2048)).send().await;
    assert_eq!(refusal(put), "400 MetadataTooLarge");
}

#[tokio::test]
async fn what_would_have_no_effect_is_refused() {
    let s3 = start().await;
    let put = s3.client.put_object().bucket(BUCKET).key("k").body(ByteStream::from_static(b"x"));
    assert_eq!(refusal(put.tagging("a=b").send().await), "501 NotImplemented");
    assert!(!s3.exists("k").await);
}

#[tokio::test]
async fn a_range_gives_those_bytes() {
    let s3 = start().await;
    for size in [1000, 100_000] {
        let content = noise(7, size);
        s3.put("k", content.clone()).await;
        for (range, from, to) in [
            ("bytes=0-0", 0, 1),
            ("bytes=10-19", 10, 20),
            ("bytes=990-5000000", 990, size),
            ("bytes=500-", 500, size),
            ("bytes=-7", size - 7, size),
            ("bytes=-5000000", 0, size),
        ] {
            let got = s3.client.get_object().bucket(BUCKET).key("k").range(range).send().await.unwrap();
            assert_eq!(got.content_range().unwrap(), format!("bytes {from}-{}/{size}", to - 1));
            assert_eq!(got.content_length(), Some((to - from) as i64));
            assert_eq!(got.body.collect().await.unwrap().to_vec(), &content[from..to], "{range}");
        }
        for range in [format!("bytes={size}-"), "bytes=-0".into()] {
            let got = s3.client.get_object().bucket(BUCKET).key("k").range(range).send().await;
            assert_eq!(refusal(got), "416 InvalidRange");
        }
    }
}

#[tokio::test]
async fn reads_obey_their_conditions() {
    let s3 = start().await;
    let etag = s3.put("k", "content").await;
    let (past, future) = (DateTime::from_secs(1_000_000_000), DateTime::from_secs(4_000_000_000));
    let get = || s3.client.get_object().bucket(BUCKET).key("k");
    assert!(get().if_match(&etag).send().await.is_ok());
    assert_eq!(refusal(get().if_match("\"other\"").send().await), "412 PreconditionFailed");
    assert_eq!(refusal(get().if_none_match(&etag).send().await).split(' ').next(), Some("304"));
    assert!(get().if_none_match("\"other\"").send().await.is_ok());
    assert_eq!(refusal(get().if_modified_since(future).send().await).split(' ').next(), Some("304"));
    assert!(get().if_modified_since(past).send().await.is_ok());
    assert_eq!(refusal(get().if_unmodified_since(past).send().await), "412 PreconditionFailed");
    assert!(get().if_unmodified_since(future).send().await.is_ok());
    assert!(get().if_match(&etag).if_unmodified_since(past).send().await.is_ok(), "the ETag goes before the time");
    let not_modified = get().if_none_match(&etag).if_modified_since(past).send().await;
    assert_eq!(refusal(not_modified).split(' ').next(), Some("304"), "the ETag goes before the time");

    let head = || s3.client.head_object().bucket(BUCKET).key("k");
    assert!(head().if_match(&etag).send().await.is_ok());
    assert!(refusal(head().if_match("\"other\"").send().await).starts_with("412"));
    assert!(refusal(head().if_none_match(&etag).send().await).starts_with("304"));
}

#[tokio::test]
async fn every_legal_key_is_its_own_object() {
    let s3 = start().await;
    let longest = "\u{e9}".repeat(512);
    let keys = [
        "a",
        "a/",
        "a/b",
        "a/b/c",
        "a//b",
        "a///b",
        "A",
        "/",
        "//",
        "/lead",
        "//lead",
        ".",
        "..",
        "./x",
        "../x",
        "x/./y",
        "x/../y",
        "x/..",
        "new\nline",
        "tab\there",
        "sp ace",
        "plus+plus",
        "per%cent",
        "per%2Fcent",
        "que?stion",
        "ha#sh",
        "am&p",
        "<tag>",
        "\"quoted\"",
        "back\\slash",
        "semi;colon",
        "co:lon=eq@at,comma$dollar!(brace)*'",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{1F600}",
        "\u{7f}delete",
        "\u{FFFD}",
        "\u{10FFFF}",
        longest.as_str(),
    ];
    for key in keys {
        s3.put(key, key).await;
    }
    for key in keys {
        assert_eq!(s3.get(key).await, key.as_bytes(), "{key:?}");
        assert!(s3.exists(key).await);
    }
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    assert_eq!(s3.keys().await, sorted);
    for key in keys {
        s3.client.delete_object().bucket(BUCKET).key(key).send().await.unwrap();
        assert!(!s3.exists(key).await, "{key:?}");
    }
    assert!(s3.keys().await.is_empty());
}

#[tokio::test]
async fn a_key_over_1024_bytes_is_refused() {
    let s3 = start().await;
    let key = "k".repeat(1025);
    let put = s3.client.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"x")).send().await;
    assert_eq!(refusal(put), "400 KeyTooLongError");
}

#[tokio::test]
async fn what_is_missing_is_said_to_be_missing() {
    let s3 = start().await;
    assert_eq!(refusal(s3.client.get_object().bucket(BUCKET).key("no").send().await), "404 NoSuchKey");
    assert!(!s3.exists("no").await);
    assert!(s3.client.delete_object().bucket(BUCKET).key("no").send().await.is_ok());
    let elsewhere = "no-such-bucket";
    assert_eq!(refusal(s3.client.get_object().bucket(elsewhere).key("k").send().await), "404 NoSuchBucket");
    assert_eq!(refusal(s3.client.list_objects_v2().bucket(elsewhere).send().await), "404 NoSuchBucket");
    assert_eq!(refusal(s3.client.delete_object().bucket(elsewhere).key("k").send().await), "404 NoSuchBucket");
    let put = s3.client.put_object().bucket(elsewhere).key("k").body(ByteStream::from_static(b"x")).send().await;
    assert_eq!(refusal(put), "404 NoSuchBucket");
    assert!(refusal(s3.client.head_bucket().bucket(elsewhere).send().await).starts_with("404"));
}

#[tokio::test]
async fn buckets_are_made_listed_and_removed() {
    let s3 = start_with(|options| options.region = Some("eu-central-1".into())).await;
    let client = crate::fixture::client(&s3.server.url(), "gosync", "gosync-secret", "eu-central-1");
    let configuration = CreateBucketConfiguration::builder();
    let configuration = configuration.location_constraint(BucketLocationConstraint::EuCentral1).build();
    client.create_bucket().bucket("another").create_bucket_configuration(configuration).send().await.unwrap();
    assert_eq!(refusal(client.create_bucket().bucket("another").send().await), "409 BucketAlreadyOwnedByYou");
    assert_eq!(refusal(client.create_bucket().bucket("No_Good").send().await), "400 InvalidBucketName");
    let listed = client.list_buckets().send().await.unwrap();
    let names: Vec<_> = listed.buckets().iter().map(|bucket| bucket.name().unwrap()).collect();
    assert_eq!(names, ["another", BUCKET]);
    let head = client.head_bucket().bucket("another").send().await.unwrap();
    assert_eq!(head.bucket_region(), Some("eu-central-1"));
    let location = client.get_bucket_location().bucket("another").send().await.unwrap();
    assert_eq!(location.location_constraint, Some(BucketLocationConstraint::EuCentral1));

    client.put_object().bucket("another").key("k").body(ByteStream::from_static(b"x")).send().await.unwrap();
    assert_eq!(refusal(client.delete_bucket().bucket("another").send().await), "409 BucketNotEmpty");
    client.delete_object().bucket("another").key("k").send().await.unwrap();
    client.delete_bucket().bucket("another").send().await.unwrap();
    assert!(refusal(client.head_bucket().bucket("another").send().await).starts_with("404"));
}

#[tokio::test]
async fn times_never_go_back_and_are_the_same_wherever_they_are_told() {
    let s3 = start().await;
    for round in 0..20 {
        s3.put(&format!("k{round:02}"), "x").await;
    }
    let page = s3.client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    let times: Vec<_> =
        page.contents().iter().map(|object| object.last_modified().unwrap().to_millis().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let head = s3.client.head_object().bucket(BUCKET).key("k19").send().await.unwrap();
    assert_eq!(head.last_modified().unwrap().secs(), times[19].div_euclid(1000));
}
