//! Who leads, over a fake API server.

use std::time::Duration;

use gosync_operator::lease::Candidate;
use tokio::time::timeout;

use crate::fake::Fake;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/gosync-system/leases/gosync-operator";
const LONG: Duration = Duration::from_secs(30);

fn candidate(fake: &Fake, me: &str) -> Candidate {
    Candidate::new(fake.client(), "gosync-system", "gosync-operator", me)
}

fn holder(fake: &Fake) -> String {
    fake.get(LEASE).unwrap()["spec"]["holderIdentity"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_leads_and_the_other_follows_at_once_when_it_is_given_back() {
    let fake = Fake::default();
    let (mut first, mut second) = (candidate(&fake, "first"), candidate(&fake, "second"));
    timeout(LONG, first.lead()).await.unwrap();
    assert_eq!(holder(&fake), "first");
    let waiting = tokio::spawn(async move {
        second.lead().await;
        second
    });
    // While it is renewed nobody else gets it.
    assert!(timeout(Duration::from_secs(5), first.lost()).await.is_err());
    assert_eq!(holder(&fake), "first");
    assert!(!waiting.is_finished());
    first.give_back().await;
    timeout(LONG, waiting).await.unwrap().unwrap();
    assert_eq!(holder(&fake), "second");
    assert_eq!(fake.get(LEASE).unwrap()["spec"]["leaseTransitions"], 1);
}

#[tokio::test]
async fn a_leader_whose_lease_is_taken_stops_at_its_next_look() {
    let fake = Fake::default();
    let mut leader = candidate(&fake, "leader");
    timeout(LONG, leader.lead()).await.unwrap();
    let mut lease = fake.get(LEASE).unwrap();
    lease["spec"]["holderIdentity"] = "other".into();
    fake.put(LEASE, lease);
    timeout(LONG, leader.lost()).await.unwrap();
    leader.give_back().await;
    assert_eq!(holder(&fake), "other", "what is another's is not given back");
}

#[tokio::test]
async fn a_leader_that_can_not_renew_stops_although_its_requests_hang() {
    let fake = Fake::default();
    let mut leader = candidate(&fake, "leader");
    timeout(LONG, leader.lead()).await.unwrap();
    fake.away(true);
    timeout(LONG, leader.lost()).await.unwrap();
    assert_eq!(holder(&fake), "leader");
}
