//! Conditions hold, raced or stale, as far as the server has them.

use super::*;

/// Of all outcomes one is good and the others say that they came too late; returns the winner's place.
#[track_caller]
fn winner(outcomes: &[Result<Written, StoreError>]) -> usize {
    let mut winners = Vec::new();
    for (place, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(_) => winners.push(place),
            Err(error) => {
                assert!(matches!(error.kind, StoreErrorKind::PreconditionFailed | StoreErrorKind::Conflict), "{error}")
            }
        }
    }
    assert_eq!(winners.len(), 1, "winners: {winners:?} of {outcomes:?}");
    winners[0]
}

pub async fn of_eight_creations_one_wins(rig: Rig) {
    for round in 0..ROUNDS {
        let key = format!("race/{round}");
        let race = (0..WRITERS).map(|writer| put(&*rig.store, &key, format!("{writer}"), Condition::Absent));
        let winner = winner(&join_all(race).await);
        assert_eq!(rig.content(&key).await.unwrap(), format!("{winner}"));
    }
}

pub async fn of_eight_replacements_one_wins(rig: Rig) {
    let mut etag = rig.put("k", b"start").await.generation.etag;
    for round in 0..ROUNDS {
        let race = (0..WRITERS)
            .map(|writer| put(&*rig.store, "k", format!("{round} {writer}"), Condition::Etag(etag.clone())));
        let outcomes = join_all(race).await;
        let winner = winner(&outcomes);
        assert_eq!(rig.content("k").await.unwrap(), format!("{round} {winner}"));
        etag = outcomes[winner].as_ref().unwrap().generation.etag.clone();
    }
}

pub async fn a_stale_put_changes_nothing(rig: Rig) {
    let old = rig.put("k", b"old").await.generation.etag;
    rig.stranger.put("k", "new").await;
    let stale = Condition::Etag(old);
    fails(put(&*rig.store, "k", "mine", stale.clone()).await, StoreErrorKind::PreconditionFailed);
    fails(put(&*rig.store, "k", "mine", Condition::Absent).await, StoreErrorKind::PreconditionFailed);
    assert_eq!(rig.content("k").await.unwrap(), "new");

    rig.stranger.delete("k").await;
    let gone = put(&*rig.store, "k", "mine", stale).await.unwrap_err();
    assert!(matches!(gone.kind, StoreErrorKind::NotFound | StoreErrorKind::PreconditionFailed), "{gone}");
    assert_eq!(rig.content("k").await, None);
}

pub async fn deleting_what_is_not_there_succeeds(rig: Rig) {
    rig.put("k", b"x").await;
    for _ in 0..2 {
        rig.store.delete("k", &Condition::None).await.unwrap();
        assert_eq!(rig.store.head("k").await.unwrap(), None);
    }
}

pub async fn a_stale_delete_does_what_the_table_says(rig: Rig) {
    let old = rig.put("k", b"old").await.generation.etag;
    let new = rig.stranger.put("k", "new").await;
    let stale = rig.store.delete("k", &Condition::Etag(old)).await;
    if rig.truth.delete_condition {
        fails(stale, StoreErrorKind::PreconditionFailed);
        assert_eq!(rig.content("k").await.unwrap(), "new");
        let right = Condition::Etag(new.trim_matches('"').to_owned());
        rig.store.delete("k", &right).await.unwrap();
    } else {
        stale.unwrap();
    }
    assert_eq!(rig.content("k").await, None);
}

pub async fn many_deletes_answer_one_by_one(rig: Rig) {
    let mut deletes = Vec::new();
    for key in ["a", "b", "with space", "ü&<>\"'"] {
        let etag = rig.put(key, b"x").await.generation.etag;
        deletes.push((key.to_owned(), Condition::Etag(etag)));
    }
    deletes.push(("never there".to_owned(), Condition::None));
    rig.stranger.put("b", "new").await;
    let outcomes = rig.store.delete_many(&deletes).await.unwrap();
    assert_eq!(outcomes.len(), deletes.len());
    for (outcome, (key, _)) in outcomes.into_iter().zip(&deletes) {
        if key == "b" && rig.truth.delete_many_condition {
            fails(outcome, StoreErrorKind::PreconditionFailed);
        } else {
            outcome.unwrap();
        }
    }
    let left: &[&str] = if rig.truth.delete_many_condition { &["b"] } else { &[] };
    assert_eq!(rig.keys(prefix("")).await, left);
}

pub async fn a_copy_condition_does_what_the_table_says(rig: Rig) {
    rig.put("source", b"source").await;
    rig.put("target", b"target").await;
    let copied = rig.store.copy("source", None, "target", &Condition::Absent).await;
    if rig.truth.copy_condition {
        fails(copied, StoreErrorKind::PreconditionFailed);
        assert_eq!(rig.content("target").await.unwrap(), "target");
    } else {
        copied.unwrap();
        assert_eq!(rig.content("target").await.unwrap(), "source");
    }
}

pub async fn a_copy_of_a_replaced_source_is_refused(rig: Rig) {
    let old = rig.put("source", b"old").await.generation.etag;
    rig.stranger.put("source", "new").await;
    let copied = rig.store.copy("source", Some(&old), "target", &Condition::None).await;
    fails(copied, StoreErrorKind::PreconditionFailed);
    assert_eq!(rig.content("target").await, None);
}

pub async fn of_eight_completions_one_wins(rig: Rig) {
    for round in 0..ROUNDS / 5 {
        let key = format!("race/{round}");
        let uploads = join_all((0..WRITERS).map(|writer| upload_one(&rig, &key, format!("{writer}")))).await;
        let race =
            uploads.iter().map(|(upload, parts)| rig.store.complete_upload(&key, upload, parts, &Condition::Absent));
        let winner = winner(&join_all(race).await);
        assert_eq!(rig.content(&key).await.unwrap(), format!("{winner}"));
    }
}

pub async fn a_stale_completion_changes_nothing(rig: Rig) {
    let old = rig.put("k", b"old").await.generation.etag;
    let (upload, parts) = upload_one(&rig, "k", "mine".to_owned()).await;
    rig.stranger.put("k", "new").await;
    for condition in [Condition::Etag(old), Condition::Absent] {
        let stale = rig.store.complete_upload("k", &upload, &parts, &condition).await;
        fails(stale, StoreErrorKind::PreconditionFailed);
    }
    assert_eq!(rig.content("k").await.unwrap(), "new");
}
