//! The certificate's life: what is made is trusted, and what is served is trusted at every step of a rotation.

use std::collections::BTreeSet;

use gosync_operator::certificates::*;
use gosync_operator::webhook::configuration::{OPTED_IN, SELECTED, difference, installed, trusted};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use serde_json::{Value, json};

const NAME: &str = "gosync-operator.gosync-system.svc";

fn wanted() -> BTreeSet<String> {
    [NAME.to_owned(), "127.0.0.1".to_owned()].into()
}

fn made(now: Timestamp) -> Made {
    make(&wanted().into_iter().collect::<Vec<_>>(), now, DAYS).unwrap()
}

fn held(now: Timestamp) -> Held {
    Held { now: made(now), ..Held::default() }
}

#[test]
fn what_is_made_is_trusted_by_its_authority_alone_and_for_its_names_alone() {
    let now = Timestamp::now();
    let (one, other) = (made(now), made(now + SignedDuration::from_millis(1)));
    assert!(is_trusted(&one.certificate, &one.authority, NAME, now));
    assert!(is_trusted(&one.certificate, &one.authority, "127.0.0.1", now));
    assert!(is_trusted(&one.certificate, &format!("{}{}", other.authority, one.authority), NAME, now));
    assert!(!is_trusted(&one.certificate, &other.authority, NAME, now));
    assert!(!is_trusted(&one.certificate, &one.authority, "other.svc", now));
    assert!(!is_trusted(&one.certificate, "", NAME, now));
    assert_eq!(names(&one.certificate), wanted());
}

#[test]
fn a_clock_that_is_behind_or_ahead_by_hours_accepts_it() {
    let now = Timestamp::now();
    let made = made(now);
    for hours in [-23, 23] {
        assert!(
            is_trusted(&made.certificate, &made.authority, NAME, now + SignedDuration::from_hours(hours)),
            "{hours}"
        );
    }
    assert!(!is_trusted(&made.certificate, &made.authority, NAME, now + SignedDuration::from_hours(24 * 95)));
}

/// Steps until nothing is left to do, with API servers that are told at once; each step's certificate has to be trusted.
fn rotate(mut held: Held, mut now: Timestamp) -> Vec<Held> {
    let mut all = vec![held.clone()];
    for _ in 0..20 {
        // API servers hold what the step before announced.
        let bundle = held.authorities();
        held = match plan(Some(&held), &wanted(), true, DAYS, now) {
            Step::Keep => {
                now += SignedDuration::from_mins(20);
                continue;
            }
            Step::Begin => panic!("there is one"),
            Step::Prepare => Held { next: Some(made(now)), announced: None, asked: false, ..held },
            Step::Write(next) => *next,
        };
        assert!(is_trusted(&held.now.certificate, &bundle, NAME, now), "by those who have not heard of this step yet");
        assert!(is_trusted(&held.now.certificate, &held.authorities(), NAME, now));
        all.push(held.clone());
    }
    all
}

#[test]
fn at_every_step_of_a_rotation_what_is_served_is_trusted() {
    let now = Timestamp::now();
    let first = Held { asked: true, ..held(now) };
    let steps = rotate(first.clone(), now);
    let last = steps.last().unwrap();
    assert_eq!(steps.len(), 5, "prepared, announced, served, retired");
    assert_ne!(last.now, first.now);
    assert_eq!((&last.next, &last.old, last.asked), (&None, &None, false));
    // Replicas that were slow to load still serve the old one when the new one is served.
    let switched = steps.iter().find(|held| held.now == last.now).unwrap();
    assert!(is_trusted(&first.now.certificate, &switched.authorities(), NAME, now));
}

#[test]
fn it_is_replaced_in_time_and_when_its_names_change_and_not_otherwise() {
    let now = Timestamp::now();
    let held = held(now);
    let plan_at = |now| plan(Some(&held), &wanted(), true, DAYS, now);
    assert_eq!(plan_at(now), Step::Keep);
    assert_eq!(plan_at(now + SignedDuration::from_hours(24 * 50)), Step::Keep);
    assert_eq!(plan_at(now + SignedDuration::from_hours(24 * 62)), Step::Prepare);
    assert_eq!(plan_at(now + SignedDuration::from_hours(24 * 95)), Step::Begin, "it is over");
    assert_eq!(plan(Some(&held), &["other.svc".to_owned()].into(), true, DAYS, now), Step::Prepare);
    assert_eq!(plan(None, &wanted(), true, DAYS, now), Step::Begin);
}

#[test]
fn the_next_one_waits_until_its_authority_is_trusted() {
    let now = Timestamp::now();
    let prepared = Held { next: Some(made(now)), ..held(now) };
    assert_eq!(plan(Some(&prepared), &wanted(), false, DAYS, now), Step::Keep);
    let Step::Write(announced) = plan(Some(&prepared), &wanted(), true, DAYS, now) else { panic!() };
    assert_eq!(announced.now, prepared.now);
    assert_eq!(
        plan(Some(announced.as_ref()), &wanted(), true, DAYS, now),
        Step::Keep,
        "API servers hear of it within seconds"
    );
    let later = now + SignedDuration::from_mins(1);
    assert_eq!(
        plan(Some(announced.as_ref()), &wanted(), false, DAYS, later),
        Step::Keep,
        "somebody took it away again"
    );
    assert!(
        matches!(plan(Some(announced.as_ref()), &wanted(), true, DAYS, later), Step::Write(held) if held.old.is_some())
    );
}

#[test]
fn the_secret_holds_all_of_it() {
    let now = "2026-03-01T12:00:00Z".parse().unwrap();
    let full = Held {
        now: made(now),
        next: Some(made(now)),
        announced: Some(now),
        old: Some((made(now).authority, now)),
        asked: true,
    };
    for held in [held(now), full] {
        assert_eq!(from_secret(&to_secret(&held, "certificate", None)), Some(held));
    }
    assert_eq!(from_secret(&Default::default()), None);
}

fn configuration(value: Value) -> MutatingWebhookConfiguration {
    serde_json::from_value(value).unwrap()
}

#[test]
fn the_configuration_is_told_what_it_lacks_and_nothing_once_it_has_it() {
    let mut value = installed("gosync-system");
    let namespaces: BTreeSet<String> = ["ml".to_owned(), "web".to_owned()].into();
    let authority = made(Timestamp::now()).authority;
    let patch = difference(&configuration(value.clone()), Some(&authority), &namespaces).unwrap();
    assert_eq!(patch["webhooks"][0]["name"], OPTED_IN);
    assert_eq!(patch["webhooks"][0]["namespaceSelector"], Value::Null, "pods that ask are asked about everywhere");
    let selector = &patch["webhooks"][1]["namespaceSelector"]["matchExpressions"][0];
    assert_eq!(*selector, json!({ "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["ml", "web"] }));
    for index in [0, 1] {
        crate::known::lay_over(&mut value["webhooks"][index], &patch["webhooks"][index]);
    }
    let applied = configuration(value);
    assert_eq!(difference(&applied, Some(&authority), &namespaces), None);
    assert_eq!(difference(&applied, None, &namespaces), None);
    assert_eq!(trusted(&applied).as_deref(), Some(authority.as_str()));
    let none = difference(&applied, Some(&authority), &BTreeSet::new()).unwrap();
    assert_eq!(none["webhooks"][1]["name"], SELECTED);
    assert_eq!(none["webhooks"][1]["namespaceSelector"]["matchExpressions"][0]["operator"], "DoesNotExist");
}

#[test]
fn an_entry_without_an_authority_makes_none_trusted() {
    let mut value = installed("gosync-system");
    assert_eq!(trusted(&configuration(value.clone())), None);
    value["webhooks"][0]["clientConfig"]["caBundle"] = json!("eHg=");
    assert_eq!(trusted(&configuration(value)), None, "the other has none");
}
