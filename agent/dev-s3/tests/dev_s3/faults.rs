//! Faults: each does what it says, to the requests it is for, and nothing else.

use std::time::Duration;

use aws_sdk_s3::config::ResponseChecksumValidation;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use gosync_dev_s3::{Effect, Fault, Operation};

use crate::fixture::{BUCKET, Fixture, noise, refusal, start, start_with};

async fn page(s3: &Fixture) -> (Vec<String>, bool) {
    let page = s3.client.list_objects_v2().bucket(BUCKET).max_keys(4).send().await.unwrap();
    let keys = page.contents().iter().map(|object| object.key().unwrap().to_owned()).collect();
    (keys, page.is_truncated().unwrap())
}

fn put(s3: &Fixture, key: &str) -> aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder {
    s3.client.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"ours"))
}

/// A client that compares no checksums.
fn trusting(s3: &Fixture) -> aws_sdk_s3::Client {
    let config = s3.client.config().to_builder().response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    aws_sdk_s3::Client::from_conf(config.build())
}

#[tokio::test]
async fn a_fault_hits_as_often_as_it_says_and_only_what_it_is_for() {
    let s3 = start().await;
    let faults = s3.server.faults();
    let fault = Fault::new(Effect::SlowDown).on(Operation::PutObject).under("dir/").after(1).times(2);
    let id = faults.add(fault);
    assert!(put(&s3, "dir/1").send().await.is_ok(), "the first one passes");
    assert!(put(&s3, "other").send().await.is_ok());
    assert_eq!(refusal(put(&s3, "dir/2").send().await), "503 SlowDown");
    assert!(!s3.exists("dir/2").await);
    assert_eq!(refusal(put(&s3, "dir/3 \u{e4}").send().await), "503 SlowDown");
    assert!(put(&s3, "dir/4").send().await.is_ok());
    assert_eq!(faults.hits(id), 2);
    faults.add(Fault::new(Effect::Refuse("ConditionalRequestConflict")).key("k"));
    assert_eq!(refusal(put(&s3, "k").send().await), "409 ConditionalRequestConflict");
    faults.clear();
    assert!(put(&s3, "k").send().await.is_ok());
}

#[tokio::test]
async fn a_refused_upload_of_any_size_gets_its_answer() {
    let s3 = start().await;
    s3.server.faults().add(Fault::new(Effect::SlowDown));
    let large = s3.client.put_object().bucket(BUCKET).key("k").body(ByteStream::from(noise(1, 5_000_000))).send().await;
    assert_eq!(refusal(large), "503 SlowDown");
}

#[tokio::test]
async fn a_delayed_request_takes_effect_later_and_holds_nobody_up() {
    let s3 = start().await;
    let latency = Effect::Latency(Duration::from_secs(3600));
    let id = s3.server.faults().add(Fault::new(latency).key("slow"));
    let slow = tokio::spawn(put(&s3, "slow").send());
    while s3.server.faults().hits(id) == 0 {
        tokio::task::yield_now().await;
    }
    s3.put("quick", "x").await;
    s3.server.faults().remove(id);
    assert!(!s3.exists("slow").await);
    assert!(!slow.is_finished());
    slow.abort();
}

#[tokio::test]
async fn a_cut_body_ends_the_connection() {
    let s3 = start().await;
    s3.put("k", noise(1, 300_000)).await;
    let id = s3.server.faults().add(Fault::new(Effect::CutBody { after_bytes: 100_000 }).on(Operation::GetObject));
    for _ in 0..20 {
        let mut got = s3.client.get_object().bucket(BUCKET).key("k").send().await.unwrap();
        assert_eq!(got.content_length(), Some(300_000));
        let mut count = 0;
        let end = loop {
            match got.body.next().await {
                Some(Ok(chunk)) => count += chunk.len(),
                end => break end,
            }
        };
        assert!(matches!(end, Some(Err(_))));
        assert_eq!(count, 100_000);
    }
    s3.server.faults().remove(id);
    assert_eq!(s3.get("k").await.len(), 300_000);
    s3.server.faults().add(Fault::new(Effect::CutBody { after_bytes: 50 }).on(Operation::ListObjectsV2));
    assert!(s3.client.list_objects_v2().bucket(BUCKET).send().await.is_err());
}

#[tokio::test]
async fn a_shortened_body_looks_complete() {
    let s3 = start().await;
    for size in [1000, 300_000] {
        s3.put("k", noise(1, size)).await;
        s3.server.faults().add(Fault::new(Effect::ShortenBody { to_bytes: 700 }).on(Operation::GetObject).times(1));
        let got = trusting(&s3).get_object().bucket(BUCKET).key("k").send().await.unwrap();
        assert_eq!(got.content_length(), Some(700));
        assert_eq!(got.body.collect().await.unwrap().to_vec(), &noise(1, size)[..700]);
    }
    for key in ["l", "m", "n"] {
        s3.put(key, "x").await;
    }
    s3.server.faults().add(Fault::new(Effect::ShortenBody { to_bytes: 700 }).on(Operation::ListObjectsV2).times(1));
    // This client takes cut XML for whole; only the count of keys at its head tells.
    let cut = s3.client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    assert_eq!((cut.key_count(), cut.is_truncated()), (Some(4), Some(false)));
    assert!(cut.contents().len() < 4);
    assert_eq!(s3.keys().await, ["k", "l", "m", "n"]);
}

#[tokio::test]
async fn a_flipped_bit_changes_the_content_and_nothing_else() {
    let s3 = start().await;
    let content = noise(1, 600_000);
    s3.put("k", content.clone()).await;
    s3.server.faults().add(Fault::new(Effect::FlipBit { at_byte: 500_000 }).on(Operation::GetObject));
    let noticed = s3.client.get_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert!(noticed.body.collect().await.is_err(), "the checksum is that of the true content");
    let got =
        trusting(&s3).get_object().bucket(BUCKET).key("k").send().await.unwrap().body.collect().await.unwrap().to_vec();
    assert_eq!(got.len(), content.len());
    let different: Vec<_> = (0..content.len()).filter(|n| got[*n] != content[*n]).collect();
    assert_eq!(different, [500_000]);
}

#[tokio::test]
async fn pages_lie() {
    let s3 = start().await;
    for key in ["a", "b", "c", "d", "e", "f"] {
        s3.put(key, "x").await;
    }
    let faults = s3.server.faults();
    let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    for (effect, keys, truncated) in [
        (Effect::DropKeys { every: 2 }, owned(&["a", "c"]), true),
        (Effect::DuplicateKeys, owned(&["a", "a", "b", "c", "d"]), true),
        (Effect::DisorderKeys, owned(&["d", "c", "b", "a"]), true),
        (Effect::EndEarly, owned(&["a", "b", "c", "d"]), false),
        (Effect::EmptyPage, Vec::new(), false),
    ] {
        let what = format!("{effect:?}");
        faults.add(Fault::new(effect).times(1));
        assert_eq!(page(&s3).await, (keys, truncated), "{what}");
    }
    assert_eq!(page(&s3).await, (owned(&["a", "b", "c", "d"]), true));
    faults.add(Fault::new(Effect::DropKeys { every: 2 }).times(1));
    assert_eq!(s3.keys().await, ["a", "c", "e"]);
}

#[tokio::test]
async fn a_lost_reply_comes_after_the_effect() {
    let s3 = start().await;
    let faults = s3.server.faults();
    faults.add(Fault::new(Effect::LoseReply).on(Operation::PutObject).times(1));
    let lost = put(&s3, "k").if_none_match("*").send().await.unwrap_err();
    assert!(lost.raw_response().is_none(), "{lost:?}");
    assert_eq!(s3.get("k").await, b"ours");
    assert_eq!(refusal(put(&s3, "k").if_none_match("*").send().await), "412 PreconditionFailed");
    faults.add(Fault::new(Effect::LoseReply).on(Operation::DeleteObject).times(1));
    assert!(s3.client.delete_object().bucket(BUCKET).key("k").send().await.is_err());
    assert!(!s3.exists("k").await);
    faults.add(Fault::new(Effect::FailAfterEffect).on(Operation::PutObject).times(1));
    assert_eq!(refusal(put(&s3, "k").send().await), "500 InternalError");
    assert_eq!(s3.get("k").await, b"ours");
}

#[tokio::test]
async fn conditions_are_ignored_where_a_fault_says_so() {
    let s3 = start().await;
    s3.put("k", "x").await;
    s3.server.faults().add(Fault::new(Effect::IgnoreConditions).on(Operation::DeleteObject));
    assert_eq!(refusal(put(&s3, "k").if_none_match("*").send().await), "412 PreconditionFailed");
    s3.client.delete_object().bucket(BUCKET).key("k").if_match("\"stale\"").send().await.unwrap();
    assert!(!s3.exists("k").await);
}

#[tokio::test]
async fn a_stranger_is_faster() {
    let s3 = start_with(|options| options.versions = true).await;
    let faults = s3.server.faults();
    let stranger = || Effect::StrangerPuts(Bytes::from_static(b"theirs"));
    faults.add(Fault::new(stranger()).on(Operation::PutObject).times(1));
    assert_eq!(refusal(put(&s3, "k").if_none_match("*").send().await), "412 PreconditionFailed");
    assert_eq!(s3.get("k").await, b"theirs");
    let etag = s3.put("k", "ours").await;
    faults.add(Fault::new(stranger()).on(Operation::DeleteObject).times(1));
    let delete = s3.client.delete_object().bucket(BUCKET).key("k").if_match(&etag).send().await;
    assert_eq!(refusal(delete), "412 PreconditionFailed");
    assert_eq!(s3.get("k").await, b"theirs");
    faults.add(Fault::new(stranger()).on(Operation::PutObject).times(1));
    s3.put("k", "last").await;
    assert_eq!(s3.get("k").await, b"last", "an unconditional write comes after the stranger's");
    let versions = s3.client.list_object_versions().bucket(BUCKET).send().await.unwrap();
    assert_eq!(versions.versions().len(), 5);
}

#[tokio::test]
async fn a_completion_can_fail_behind_a_200() {
    let s3 = start().await;
    let created = s3.client.create_multipart_upload().bucket(BUCKET).key("k").send().await.unwrap();
    let id = created.upload_id().unwrap();
    let part = s3.client.upload_part().bucket(BUCKET).key("k").upload_id(id).part_number(1);
    let part = part.body(ByteStream::from_static(b"part")).send().await.unwrap();
    let entry = CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).build();
    let list = CompletedMultipartUpload::builder().parts(entry).build();
    let complete =
        || s3.client.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(id).multipart_upload(list.clone());
    s3.server.faults().add(Fault::new(Effect::ErrorInOkReply).times(1));
    let failed = complete().send().await;
    assert_eq!(refusal(failed), "200 InternalError");
    assert!(!s3.exists("k").await);
    s3.server.faults().add(Fault::new(Effect::LoseReply).on(Operation::CompleteMultipartUpload).times(1));
    assert!(complete().send().await.is_err());
    assert_eq!(refusal(complete().send().await), "404 NoSuchUpload");
    assert_eq!(s3.get("k").await, b"part");
}
