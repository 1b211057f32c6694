//! Trouble is told by its kind, and nothing is sent twice.

use super::*;

pub async fn a_missing_bucket_is_no_missing_key(rig: Rig) {
    let store = open(rig.address(), "no-such-bucket").await;
    fails(store.list(prefix("")).await, StoreErrorKind::NoSuchBucket);
    fails(read(&*store, get("k")).await, StoreErrorKind::NoSuchBucket);
    fails(put(&*store, "k", "x", Condition::Absent).await, StoreErrorKind::NoSuchBucket);
    fails(store.delete("k", &Condition::None).await, StoreErrorKind::NoSuchBucket);
    // A HEAD's answer has no body that could say which of the two is missing: an absence is proven by a listing and a HEAD.
    match store.head("k").await {
        Ok(head) => assert_eq!(head, None),
        Err(error) => assert_eq!(error.kind, StoreErrorKind::NoSuchBucket, "{error}"),
    }
}

pub async fn wrong_keys_are_wrong_credentials(rig: Rig) {
    rig.put("k", b"x").await;
    let right = rig.address().clone();
    let wrong_secret = Address { secret_key: "not-the-secret-key".to_owned(), ..right.clone() };
    let wrong_id = Address { access_key: "nobody".to_owned(), ..right };
    for address in [wrong_secret, wrong_id] {
        let store = open(&address, &rig.stranger.bucket).await;
        fails(store.list(prefix("")).await, StoreErrorKind::Credentials);
        fails(read(&*store, get("k")).await, StoreErrorKind::Credentials);
        fails(put(&*store, "k", "y", Condition::None).await, StoreErrorKind::Credentials);
        // A HEAD's answer has no body to say why.
        match store.head("k").await {
            Ok(head) => assert!(rig.truth.unknown_key_id_is_404 && head.is_none(), "{head:?}"),
            Err(head) => {
                assert!(matches!(head.kind, StoreErrorKind::Credentials | StoreErrorKind::Denied), "{head}");
            }
        }
    }
    assert_eq!(rig.content("k").await.unwrap(), "x");
}

pub async fn nobody_listening_is_a_transport_error(rig: Rig) {
    let port = gosync_tests::process::free_port();
    let store = open(&rig.address().at(&format!("http://127.0.0.1:{port}")), "b").await;
    for error in [
        store.list(prefix("")).await.err(),
        store.head("k").await.err(),
        read(&*store, get("k")).await.err(),
        put(&*store, "k", "x", Condition::None).await.err(),
    ] {
        let error = error.expect("nobody can have answered");
        assert_eq!(error.kind, StoreErrorKind::Transport, "{error}");
    }
}

pub async fn a_cut_body_is_an_error_and_never_a_short_content(rig: Rig) {
    let content = vec![7_u8; 1 << 20];
    put(&*rig.store, "k", content, Condition::None).await.unwrap();
    let proxy = Proxy::start(rig.address()).await;
    let store = open(&proxy.address, &rig.stranger.bucket).await;
    proxy.rule(|_| Verdict::CutBody);
    let error = read(&*store, get("k")).await.unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::Transport | StoreErrorKind::Corrupt), "{error}");
    // Half a page of a listing isn't a shorter listing.
    let error = store.list(prefix("")).await.unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::Transport | StoreErrorKind::Corrupt), "{error}");
}

pub async fn a_lost_reply_leaves_the_outcome_unknown(rig: Rig) {
    let proxy = Proxy::start(rig.address()).await;
    let store = open(&proxy.address, &rig.stranger.bucket).await;
    proxy.rule(|_| Verdict::LoseReply);
    let error = put(&*store, "k", "x", Condition::Absent).await.unwrap_err();
    assert!(error.outcome_unknown() && error.kind == StoreErrorKind::Transport, "{error}");
    assert_eq!(rig.content("k").await.unwrap(), "x", "it did take effect");
    assert_eq!(proxy.count(Kind::Put), 1, "and was sent once: a second one would be told that it came too late");
}

pub async fn a_busy_store_is_asked_once(rig: Rig) {
    let proxy = Proxy::start(rig.address()).await;
    let store = open(&proxy.address, &rig.stranger.bucket).await;
    for (status, kind) in [(503, StoreErrorKind::Throttled), (500, StoreErrorKind::Unavailable)] {
        proxy.rule(move |_| Verdict::Answer(status));
        proxy.forget();
        fails(put(&*store, "k", "x", Condition::None).await, kind);
        fails(store.head("k").await, kind);
        fails(store.list(prefix("")).await, kind);
        fails(store.delete("k", &Condition::None).await, kind);
        assert_eq!(proxy.seen().len(), 4, "retries are the caller's, in one place");
    }
}
