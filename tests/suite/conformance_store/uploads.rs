//! Multipart uploads from their beginning to one of their ends.

use super::*;

pub async fn parts_become_one_object(rig: Rig) {
    let first = Bytes::from(vec![1; PART_BYTES_MIN]);
    let last = Bytes::from_static(b"the end");
    let upload = rig.store.create_upload("k", &ObjectHeaders::default()).await.unwrap();
    // Parts may come in any order.
    let two = rig.store.upload_part("k", &upload, 2, last.clone()).await.unwrap();
    let one = rig.store.upload_part("k", &upload, 1, first.clone()).await.unwrap();
    let listed = rig.store.list_parts("k", &upload).await.unwrap();
    assert_eq!(listed, [(1, one.clone(), PART_BYTES_MIN as u64), (2, two.clone(), 7)]);
    assert_eq!(rig.store.head("k").await.unwrap(), None, "nothing is there before it is complete");

    let parts = [(1, one), (2, two)];
    let written = rig.store.complete_upload("k", &upload, &parts, &Condition::Absent).await.unwrap();
    assert!(written.generation.etag.ends_with("-2"), "{written:?}");
    let (head, content) = read(&*rig.store, get("k")).await.unwrap();
    assert_eq!(content, [first, last].concat());
    // The reply to a Complete doesn't tell the size.
    assert_eq!(head.generation.etag, written.generation.etag);
    fails(rig.store.list_parts("k", &upload).await, StoreErrorKind::NoSuchUpload);
}

pub async fn an_aborted_upload_is_gone(rig: Rig) {
    let (upload, parts) = upload_one(&rig, "k", "x".to_owned()).await;
    rig.store.abort_upload("k", &upload).await.unwrap();
    let complete = rig.store.complete_upload("k", &upload, &parts, &Condition::None).await;
    fails(complete, StoreErrorKind::NoSuchUpload);
    fails(rig.store.upload_part("k", &upload, 1, "x".into()).await, StoreErrorKind::NoSuchUpload);
    fails(rig.store.list_parts("k", &upload).await, StoreErrorKind::NoSuchUpload);
    assert_eq!(rig.store.head("k").await.unwrap(), None);
}

pub async fn unfinished_uploads_are_found(rig: Rig) {
    let (upload, _) = upload_one(&rig, "p/k", "x".to_owned()).await;
    upload_one(&rig, "q/k", "x".to_owned()).await;
    for (below, found) in [("p/k", true), ("p/", rig.truth.uploads_by_prefix)] {
        let listed = rig.store.list_uploads(below).await.unwrap();
        let names: Vec<_> = listed.iter().map(|pending| (pending.key.as_str(), pending.upload.as_str())).collect();
        assert_eq!(names, if found { vec![("p/k", upload.as_str())] } else { vec![] }, "below {below}");
    }
}
