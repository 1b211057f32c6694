//! Conditions on writes: evaluated against what is there, and atomic.

use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use gosync_dev_s3::{Condition, Conditions, Effect, Fault, Operation};

use crate::fixture::{BUCKET, Fixture, refusal, start, start_with};

fn put(s3: &Fixture, key: &str, content: &str) -> aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder {
    s3.client.put_object().bucket(BUCKET).key(key).body(ByteStream::from(content.as_bytes().to_vec()))
}

#[tokio::test]
async fn create_only_creates_once() {
    let s3 = start().await;
    assert!(put(&s3, "k", "first").if_none_match("*").send().await.is_ok());
    assert_eq!(refusal(put(&s3, "k", "second").if_none_match("*").send().await), "412 PreconditionFailed");
    assert_eq!(s3.get("k").await, b"first");
    s3.client.delete_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert!(put(&s3, "k", "third").if_none_match("*").send().await.is_ok());
    assert_eq!(refusal(put(&s3, "k", "x").if_none_match("\"etag\"").send().await), "501 NotImplemented");
}

#[tokio::test]
async fn a_replacement_wants_the_version_it_names() {
    let s3 = start().await;
    assert_eq!(refusal(put(&s3, "k", "x").if_match("\"any\"").send().await), "404 NoSuchKey");
    let first = s3.put("k", "first").await;
    let second = put(&s3, "k", "second").if_match(&first).send().await.unwrap().e_tag.unwrap();
    assert_eq!(refusal(put(&s3, "k", "third").if_match(&first).send().await), "412 PreconditionFailed");
    assert_eq!(s3.get("k").await, b"second");
    assert!(put(&s3, "k", "third").if_match(second.trim_matches('"')).send().await.is_ok(), "quotes are optional");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_eight_racing_creations_one_wins() {
    let s3 = start().await;
    for round in 0..25 {
        let key = format!("k{round}");
        let racers = (0..8).map(|racer| {
            // Half of them are files, whose bodies take longer than the small ones in the index.
            let content = format!("{racer}").repeat(if racer % 2 == 0 { 1 } else { 40_000 });
            let send = put(&s3, &key, &content).if_none_match("*").send();
            tokio::spawn(async move { (content, send.await) })
        });
        let mut winners = Vec::new();
        for racer in racers.collect::<Vec<_>>() {
            match racer.await.unwrap() {
                (content, Ok(_)) => winners.push(content),
                (_, refused) => assert_eq!(refusal(refused), "412 PreconditionFailed"),
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(s3.get(&key).await, winners[0].as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_racing_update_is_lost() {
    let s3 = start().await;
    s3.put("counter", "0").await;
    let writers = (0..8).map(|_| {
        let client = s3.client.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while done < 10 {
                let got = client.get_object().bucket(BUCKET).key("counter").send().await.unwrap();
                let etag = got.e_tag.clone().unwrap();
                let count = got.body.collect().await.unwrap().to_vec();
                let next = String::from_utf8(count).unwrap().parse::<u32>().unwrap() + 1;
                let body = ByteStream::from(next.to_string().into_bytes());
                let put = client.put_object().bucket(BUCKET).key("counter").body(body).if_match(etag).send().await;
                match put {
                    Ok(_) => done += 1,
                    Err(error) => assert_eq!(crate::fixture::status(&error), 412),
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(s3.get("counter").await, b"80");
}

#[tokio::test]
async fn an_object_that_goes_away_meanwhile_is_a_conflict() {
    let s3 = start().await;
    let etag = s3.put("k", "first").await;
    s3.server.faults().add(Fault::new(Effect::StrangerDeletes).on(Operation::PutObject).key("k").times(1));
    assert_eq!(refusal(put(&s3, "k", "second").if_match(&etag).send().await), "409 ConditionalRequestConflict");
    assert!(!s3.exists("k").await);
}

#[tokio::test]
async fn a_delete_wants_the_version_it_names() {
    let s3 = start().await;
    let delete = |key: &str| s3.client.delete_object().bucket(BUCKET).key(key);
    assert_eq!(refusal(delete("k").if_match("\"any\"").send().await), "404 NoSuchKey");
    let etag = s3.put("k", "first").await;
    let stale = etag.clone();
    let etag_now = s3.put("k", "second!").await;
    assert_eq!(refusal(delete("k").if_match(stale).send().await), "412 PreconditionFailed");
    assert_eq!(refusal(delete("k").if_match_size(3).send().await), "412 PreconditionFailed");
    let long_ago = DateTime::from_secs(1_000_000_000);
    assert_eq!(refusal(delete("k").if_match_last_modified_time(long_ago).send().await), "412 PreconditionFailed");
    assert_eq!(s3.get("k").await, b"second!");
    assert!(delete("k").if_match(etag_now).if_match_size(7).send().await.is_ok());
    assert!(!s3.exists("k").await);
    s3.put("k", "third").await;
    assert!(delete("k").if_match("*").send().await.is_ok());
    assert_eq!(refusal(delete("k").if_match("*").send().await), "404 NoSuchKey");
}

#[tokio::test]
async fn a_bulk_delete_judges_each_key_by_its_own_condition() {
    let s3 = start().await;
    let (good, _) = (s3.put("good", "1").await, s3.put("changed", "2").await);
    s3.put("free", "3").await;
    let object = |key: &str, etag: Option<&str>| {
        ObjectIdentifier::builder().key(key).set_e_tag(etag.map(str::to_owned)).build().unwrap()
    };
    let delete = Delete::builder()
        .objects(object("good", Some(&good)))
        .objects(object("changed", Some("\"stale\"")))
        .objects(object("missing", Some("\"any\"")))
        .objects(object("free", None))
        .objects(object("never", None))
        .build()
        .unwrap();
    let answer = s3.client.delete_objects().bucket(BUCKET).delete(delete).send().await.unwrap();
    let deleted: Vec<_> = answer.deleted().iter().map(|deleted| deleted.key().unwrap()).collect();
    let errors: Vec<_> = answer.errors().iter().map(|error| (error.key().unwrap(), error.code().unwrap())).collect();
    assert_eq!(deleted, ["good", "free", "never"]);
    assert_eq!(errors, [("changed", "PreconditionFailed"), ("missing", "NoSuchKey")]);
    assert_eq!(s3.keys().await, ["changed"]);
}

#[tokio::test]
async fn a_quiet_bulk_delete_tells_errors_only() {
    let s3 = start().await;
    s3.put("a", "1").await;
    s3.put("b", "2").await;
    let object = |key: &str, etag: Option<&str>| {
        ObjectIdentifier::builder().key(key).set_e_tag(etag.map(str::to_owned)).build().unwrap()
    };
    let delete =
        Delete::builder().quiet(true).objects(object("a", None)).objects(object("b", Some("\"x\""))).build().unwrap();
    let answer = s3.client.delete_objects().bucket(BUCKET).delete(delete).send().await.unwrap();
    assert!(answer.deleted().is_empty());
    assert_eq!(answer.errors().len(), 1);
}

#[tokio::test]
async fn ignored_conditions_have_no_effect() {
    let ignored = Conditions {
        put: Condition::Ignored,
        copy: Condition::Ignored,
        delete: Condition::Ignored,
        complete: Condition::Ignored,
    };
    let s3 = start_with(|options| options.conditions = ignored).await;
    s3.put("k", "first").await;
    assert!(put(&s3, "k", "second").if_none_match("*").send().await.is_ok());
    assert!(put(&s3, "k", "third").if_match("\"stale\"").send().await.is_ok());
    assert_eq!(s3.get("k").await, b"third");
    let copy = s3.client.copy_object().bucket(BUCKET).key("copy").copy_source(format!("{BUCKET}/k"));
    assert!(copy.if_match("\"stale\"").send().await.is_ok());
    let delete = s3.client.delete_object().bucket(BUCKET).key("k");
    assert!(delete.if_match("\"stale\"").send().await.is_ok());
    assert!(!s3.exists("k").await);
    let get = s3.client.get_object().bucket(BUCKET).key("copy").if_match("\"stale\"").send().await;
    assert_eq!(refusal(get), "412 PreconditionFailed", "reads are not meant");
}

#[tokio::test]
async fn refused_conditions_change_nothing_and_requests_without_them_pass() {
    let refused = Conditions {
        put: Condition::Refused,
        copy: Condition::Refused,
        delete: Condition::Refused,
        complete: Condition::Refused,
    };
    let s3 = start_with(|options| options.conditions = refused).await;
    let etag = s3.put("k", "first").await;
    let refusal_of = "501 NotImplemented";
    assert_eq!(refusal(put(&s3, "k", "second").if_none_match("*").send().await), refusal_of);
    assert_eq!(refusal(put(&s3, "k", "second").if_match(&etag).send().await), refusal_of);
    let copy = s3.client.copy_object().bucket(BUCKET).key("copy").copy_source(format!("{BUCKET}/k"));
    assert_eq!(refusal(copy.clone().if_none_match("*").send().await), refusal_of);
    let delete = s3.client.delete_object().bucket(BUCKET).key("k");
    assert_eq!(refusal(delete.clone().if_match(&etag).send().await), refusal_of);
    assert_eq!(s3.get("k").await, b"first");
    assert!(copy.send().await.is_ok());
    assert!(delete.send().await.is_ok());
}
