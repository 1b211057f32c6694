//! CopyObject: content, metadata, and conditions on both ends.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, MetadataDirective};

use crate::fixture::{BUCKET, Fixture, noise, refusal, start};

fn copy(s3: &Fixture, from: &str, to: &str) -> aws_sdk_s3::operation::copy_object::builders::CopyObjectFluentBuilder {
    s3.client.copy_object().bucket(BUCKET).key(to).copy_source(format!("{BUCKET}/{from}"))
}

#[tokio::test]
async fn a_copy_has_the_content_and_the_metadata_of_its_source() {
    let s3 = start().await;
    for size in [100, 100_000] {
        let content = noise(1, size);
        let put = s3.client.put_object().bucket(BUCKET).key("from").body(ByteStream::from(content.clone()));
        let put = put.metadata("mtime", "12.5").content_type("text/plain").send().await.unwrap();
        let copied = copy(&s3, "from", "to").send().await.unwrap().copy_object_result.unwrap();
        assert_eq!(copied.e_tag, put.e_tag);
        s3.client.delete_object().bucket(BUCKET).key("from").send().await.unwrap();
        let got =
            s3.client.get_object().bucket(BUCKET).key("to").checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
        assert_eq!(got.content_type(), Some("text/plain"));
        assert_eq!(got.metadata().unwrap().get("mtime").unwrap(), "12.5");
        assert!(got.checksum_crc32().is_some());
        assert_eq!(got.body.collect().await.unwrap().to_vec(), content);
    }
}

#[tokio::test]
async fn metadata_is_replaced_where_asked_for() {
    let s3 = start().await;
    s3.put("k", "content").await;
    assert_eq!(refusal(copy(&s3, "k", "k").send().await), "400 InvalidRequest");
    let replace = copy(&s3, "k", "k").metadata_directive(MetadataDirective::Replace).metadata("mtime", "7");
    replace.content_type("image/png").send().await.unwrap();
    let head = s3.client.head_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!(head.metadata().unwrap().get("mtime").unwrap(), "7");
    assert_eq!(head.content_type(), Some("image/png"));
    assert_eq!(s3.get("k").await, b"content");
}

#[tokio::test]
async fn a_copy_wants_the_source_and_the_destination_it_names() {
    let s3 = start().await;
    let from = s3.put("from", "new").await;
    let to = s3.put("to", "old").await;
    assert_eq!(refusal(copy(&s3, "missing", "to").send().await), "404 NoSuchKey");
    assert_eq!(refusal(copy(&s3, "from", "to").copy_source_if_match("\"x\"").send().await), "412 PreconditionFailed");
    assert_eq!(
        refusal(copy(&s3, "from", "to").copy_source_if_none_match(&from).send().await),
        "412 PreconditionFailed"
    );
    assert_eq!(refusal(copy(&s3, "from", "to").if_none_match("*").send().await), "412 PreconditionFailed");
    assert_eq!(refusal(copy(&s3, "from", "to").if_match("\"x\"").send().await), "412 PreconditionFailed");
    assert_eq!(refusal(copy(&s3, "from", "fresh").if_match(&to).send().await), "404 NoSuchKey");
    assert_eq!(s3.get("to").await, b"old");
    copy(&s3, "from", "to").if_match(&to).copy_source_if_match(&from).send().await.unwrap();
    assert_eq!(s3.get("to").await, b"new");
    copy(&s3, "from", "fresh").if_none_match("*").send().await.unwrap();
    assert_eq!(s3.get("fresh").await, b"new");
}

#[tokio::test]
async fn odd_keys_can_be_copied() {
    let s3 = start().await;
    s3.put("a b/\u{e4}+%25?.txt", "odd").await;
    copy(&s3, "a%20b/%C3%A4%2B%2525%3F.txt", "to").send().await.unwrap();
    assert_eq!(s3.get("to").await, b"odd");
}
