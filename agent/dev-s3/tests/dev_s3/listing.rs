//! Listings: every page of every shape, against a model.

use std::collections::BTreeSet;

use aws_sdk_s3::types::EncodingType;
use gosync_dev_s3::Operation;

use crate::fixture::{BUCKET, Fixture, noise, refusal, start, start_with};

/// Keys and common prefixes in the order they must come, told apart by a leading letter.
fn model(keys: &BTreeSet<String>, prefix: &str, delimiter: &str, after: &str) -> Vec<String> {
    let common = |key: &str| -> Option<String> {
        let rest = key.strip_prefix(prefix).filter(|_| !delimiter.is_empty())?;
        let end = prefix.len() + rest.find(delimiter)? + delimiter.len();
        Some(key[..end].to_owned())
    };
    let mut entries: Vec<String> = Vec::new();
    for key in keys.iter().filter(|key| key.as_str() > after && key.starts_with(prefix)) {
        let entry = match common(key) {
            Some(common) if common == after => continue,
            Some(common) => format!("prefix {common}"),
            None => format!("key {key}"),
        };
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    entries
}

fn merged(keys: impl Iterator<Item = String>, prefixes: impl Iterator<Item = String>) -> Vec<String> {
    let mut entries: Vec<(String, String)> = keys.map(|key| (key.clone(), format!("key {key}"))).collect();
    entries.extend(prefixes.map(|prefix| (prefix.clone(), format!("prefix {prefix}"))));
    entries.sort();
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            bytes.extend(hex::decode(&after[..2]).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

async fn listed_v2(s3: &Fixture, prefix: &str, delimiter: &str, after: &str, page: i32) -> Vec<String> {
    let mut entries = Vec::new();
    let mut token = None;
    loop {
        let list =
            s3.client.list_objects_v2().bucket(BUCKET).max_keys(page).encoding_type(EncodingType::Url).prefix(prefix);
        let list = if delimiter.is_empty() { list } else { list.delimiter(delimiter) };
        let list = if after.is_empty() { list } else { list.start_after(after) };
        let answer = list.set_continuation_token(token).send().await.unwrap();
        let keys = answer.contents().iter().map(|object| unescape(object.key().unwrap()));
        let prefixes = answer.common_prefixes().iter().map(|common| unescape(common.prefix().unwrap()));
        let page_entries = merged(keys, prefixes);
        assert_eq!(answer.key_count(), Some(page_entries.len() as i32));
        assert!(page_entries.len() <= page as usize);
        entries.extend(page_entries);
        if answer.is_truncated() != Some(true) {
            assert_eq!(answer.next_continuation_token(), None);
            return entries;
        }
        assert_eq!(answer.key_count(), Some(page), "a page that is not the last is full");
        token = Some(answer.next_continuation_token.unwrap());
    }
}

async fn listed_v1(s3: &Fixture, prefix: &str, delimiter: &str, after: &str, page: i32) -> Vec<String> {
    let mut entries = Vec::new();
    let mut marker = after.to_owned();
    loop {
        let list =
            s3.client.list_objects().bucket(BUCKET).max_keys(page).encoding_type(EncodingType::Url).prefix(prefix);
        let list = if delimiter.is_empty() { list } else { list.delimiter(delimiter) };
        let answer = list.marker(&marker).send().await.unwrap();
        let keys: Vec<_> = answer.contents().iter().map(|object| unescape(object.key().unwrap())).collect();
        let prefixes = answer.common_prefixes().iter().map(|common| unescape(common.prefix().unwrap()));
        entries.extend(merged(keys.iter().cloned(), prefixes));
        if answer.is_truncated() != Some(true) {
            return entries;
        }
        marker = match answer.next_marker() {
            Some(next) => unescape(next),
            None => keys.last().unwrap().clone(),
        };
    }
}

#[tokio::test]
async fn every_page_is_what_the_model_says() {
    let s3 = start().await;
    let keys: BTreeSet<String> = [
        "a",
        "a/",
        "a/b",
        "a/b/c",
        "a/b/d",
        "a//x",
        "a-b",
        "a.b",
        "a0",
        "ab",
        "b/1",
        "b/2",
        "b/3/x",
        "b/3/y",
        "/",
        "//",
        "/x",
        "c d",
        "c+d",
        "c%d",
        "\n.",
        "\n/x",
        "e\u{301}/1",
        "\u{e9}/1",
        "\u{e9}/2",
        "z/\u{10FFFF}",
        "z/\u{10FFFF}/y",
        "z0",
        "\u{10FFFF}",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain((0..30).map(|n| format!("many/{n:02}/x")))
    .chain((0..30).map(|n| format!("many/{n:02}")))
    .collect();
    for key in &keys {
        s3.put(key, "x").await;
    }
    let afters = ["", "a", "a/", "a/b", "a/zzz", "b/3/", "many/1", "many/29/", "\u{10FFFF}", "A"];
    for prefix in ["", "a", "a/", "a/b", "b/", "many/", "many/1", "\u{e9}", "/", "none"] {
        for delimiter in ["", "/", "//", "/b"] {
            for (n, after) in afters.iter().enumerate() {
                let expected = model(&keys, prefix, delimiter, after);
                let page = [1, 2, 3, 7, 1000][(n + prefix.len() + delimiter.len()) % 5];
                let shape = format!("prefix {prefix:?} delimiter {delimiter:?} after {after:?} page {page}");
                assert_eq!(listed_v2(&s3, prefix, delimiter, after, page).await, expected, "v2 {shape}");
                if after.is_empty() || page > 3 {
                    assert_eq!(listed_v1(&s3, prefix, delimiter, after, page).await, expected, "v1 {shape}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_folder_of_many_keys_is_skipped_not_read() {
    let s3 = start().await;
    let listed = |count: usize| {
        let seed = noise(count as u64, 8);
        format!("{:02x}{:02x}/{count:04}", seed[0] % 4, seed[1] % 4)
    };
    let keys: BTreeSet<String> = (0..1500).map(listed).collect();
    for key in &keys {
        s3.put(key, "").await;
    }
    assert_eq!(listed_v2(&s3, "", "/", "", 5).await, model(&keys, "", "/", ""));
    assert_eq!(listed_v2(&s3, "", "", "", 1000).await, model(&keys, "", "", ""));
}

#[tokio::test]
async fn pages_are_as_large_as_asked_for_and_allowed() {
    let s3 = start_with(|options| options.page_size_max = 10).await;
    for n in 0..25 {
        s3.put(&format!("k{n:02}"), "x").await;
    }
    let before = s3.server.counters().snapshot();
    assert_eq!(s3.keys().await.len(), 25);
    assert_eq!(s3.server.counters().snapshot().since(&before).of(Operation::ListObjectsV2), 3);
    let page = s3.client.list_objects_v2().bucket(BUCKET).max_keys(1000).send().await.unwrap();
    assert_eq!((page.contents().len(), page.max_keys()), (10, Some(10)));
    let page = s3.client.list_objects_v2().bucket(BUCKET).max_keys(0).send().await.unwrap();
    assert_eq!((page.contents().len(), page.is_truncated()), (0, Some(false)));
    assert_eq!(refusal(s3.client.list_objects_v2().bucket(BUCKET).max_keys(-1).send().await), "400 InvalidArgument");
    let page = s3.client.list_objects_v2().bucket(BUCKET).continuation_token("made up").send().await;
    assert_eq!(refusal(page), "400 InvalidArgument");
}

#[tokio::test]
async fn a_page_tells_what_head_tells() {
    let s3 = start().await;
    let etag = s3.put("dir/k", "content").await;
    let page = s3
        .client
        .list_objects_v2()
        .bucket(BUCKET)
        .prefix("dir/")
        .fetch_owner(true)
        .start_after("dir/a")
        .send()
        .await
        .unwrap();
    let object = &page.contents()[0];
    assert_eq!(object.e_tag(), Some(etag.as_str()));
    assert_eq!(object.size(), Some(7));
    assert!(object.owner().is_some());
    assert_eq!((page.name(), page.prefix(), page.start_after()), (Some(BUCKET), Some("dir/"), Some("dir/a")));
    let page = s3.client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    assert!(page.contents()[0].owner().is_none());
}

#[tokio::test]
async fn a_listing_goes_on_behind_its_last_key_whatever_happens_meanwhile() {
    let s3 = start().await;
    for key in ["a", "b", "c", "d", "e"] {
        s3.put(key, "x").await;
    }
    let page = s3.client.list_objects_v2().bucket(BUCKET).max_keys(2).send().await.unwrap();
    s3.client.delete_object().bucket(BUCKET).key("b").send().await.unwrap();
    s3.client.delete_object().bucket(BUCKET).key("c").send().await.unwrap();
    s3.put("a1", "x").await;
    s3.put("bb", "x").await;
    let token = page.next_continuation_token.unwrap();
    let page = s3.client.list_objects_v2().bucket(BUCKET).continuation_token(token).send().await.unwrap();
    let keys: Vec<_> = page.contents().iter().map(|object| object.key().unwrap()).collect();
    assert_eq!(keys, ["bb", "d", "e"]);
}
