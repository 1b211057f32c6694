//! The leader's keeper of certificate and webhook configuration, every replica's loader, and probes.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use gosync_crds::SyncMirror;
use gosync_operator::certificates::{Keeper, Trust, from_secret, keep, load};
use gosync_operator::probes::{Probes, router};
use gosync_operator::stores::{Stores, Writers};
use gosync_operator::watches::{Progress, WEDGED};
use gosync_operator::webhook::Certificates;
use gosync_operator::webhook::configuration::installed;
use http_body_util::BodyExt;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::ServiceExt;

use crate::fake::Fake;
use crate::known::mirror;

const SECRET: &str = "/api/v1/namespaces/gosync-system/secrets/certificate";
const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/gosync-operator";
const SERVED: &str = "gosync-operator.gosync-system.svc";

struct World {
    fake: Fake,
    stores: Arc<Stores>,
    writers: Writers,
    secrets: (Store<Secret>, Writer<Secret>),
    configurations: (Store<MutatingWebhookConfiguration>, Writer<MutatingWebhookConfiguration>),
}

fn world() -> World {
    let fake = Fake::default();
    fake.put(CONFIGURATION, installed("gosync-system"));
    let (stores, writers) = Stores::new();
    World { fake, stores, writers, secrets: reflector::store(), configurations: reflector::store() }
}

impl World {
    fn keeper(&self) -> Keeper {
        Keeper {
            client: self.fake.client(),
            namespace: "gosync-system".to_owned(),
            secret: "certificate".to_owned(),
            names: [SERVED.to_owned()].into(),
            given: false,
            secrets: self.secrets.0.clone(),
            configurations: self.configurations.0.clone(),
            stores: self.stores.clone(),
        }
    }

    /// What watches would bring.
    fn watched(&mut self) {
        if let Some(secret) = self.fake.get(SECRET) {
            self.secrets.1.apply_watcher_event(&Event::Apply(serde_json::from_value(secret).unwrap()));
        }
        if let Some(mut configuration) = self.fake.get(CONFIGURATION) {
            // A merge patch takes lists as a whole; an API server keeps what the entries have besides.
            let before = installed("gosync-system");
            for entry in configuration["webhooks"].as_array_mut().unwrap() {
                let whole = before["webhooks"].as_array().unwrap().iter().find(|whole| whole["name"] == entry["name"]);
                let mut whole = whole.unwrap().clone();
                crate::known::lay_over(&mut whole, entry);
                *entry = whole;
            }
            let configuration = serde_json::from_value(configuration).unwrap();
            self.configurations.1.apply_watcher_event(&Event::Apply(configuration));
        }
        self.stores.mirrors_touched();
    }

    fn mirror(&mut self, namespace: &str, name: &str) {
        let mut mirror: SyncMirror = mirror(json!({}));
        mirror.metadata.namespace = Some(namespace.to_owned());
        mirror.metadata.name = Some(name.to_owned());
        self.writers.mirrors.apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(mirror))));
    }

    /// Waits, with what watches bring in between.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..1_000 {
            self.watched();
            if is_so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{what} does not come");
    }

    fn entry(&self, index: usize) -> Value {
        self.fake.get(CONFIGURATION).unwrap()["webhooks"][index].clone()
    }
}

#[tokio::test]
async fn the_certificate_is_made_trusted_and_served_and_then_nothing_is_sent() {
    let mut world = world();
    world.mirror("ml", "models");
    world.mirror("gosync-system", "own");
    world.watched();
    let keeper = world.keeper();
    let keeping = tokio::spawn(async move { keep(&keeper).await });
    world.until("the authority", |world| world.entry(1)["clientConfig"]["caBundle"].is_string()).await;
    assert_eq!(world.entry(1)["namespaceSelector"]["matchExpressions"][0]["values"], json!(["ml"]));

    let certificates = Arc::new(Certificates::default());
    let (ready, mut is_ready) = watch::channel(false);
    let trust = Trust {
        secrets: world.secrets.0.clone(),
        configurations: world.configurations.0.clone(),
        certificates: certificates.clone(),
        name: SERVED.to_owned(),
        metrics: Arc::default(),
    };
    let metrics = trust.metrics.clone();
    let loading = tokio::spawn(async move { load(&trust, &ready).await });
    is_ready.wait_for(|ready| *ready).await.unwrap();
    assert!(certificates.are_there());
    assert!(!metrics.render().contains("gosync_certificate_expiry_timestamp_seconds 0\n"));

    world.fake.asked();
    for _ in 0..10 {
        world.watched();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.fake.asked(), []);
    keeping.abort();
    loading.abort();
}

#[tokio::test]
async fn a_secret_that_somebody_deletes_comes_back_as_it_was() {
    let mut world = world();
    world.watched();
    let keeper = world.keeper();
    let keeping = tokio::spawn(async move { keep(&keeper).await });
    world.until("the Secret", |world| world.fake.get(SECRET).is_some()).await;
    world.until("the authority", |world| world.entry(0)["clientConfig"]["caBundle"].is_string()).await;
    let held = |world: &World| from_secret(&serde_json::from_value(world.fake.get(SECRET)?).ok()?);
    let before = held(&world).unwrap();
    let gone: Secret = serde_json::from_value(world.fake.get(SECRET).unwrap()).unwrap();
    world.fake.remove(SECRET);
    world.secrets.1.apply_watcher_event(&Event::Delete(gone));
    world.until("the Secret again", |world| world.fake.get(SECRET).is_some()).await;
    assert_eq!(held(&world).unwrap(), before);
    keeping.abort();
}

#[tokio::test]
async fn a_replica_is_ready_when_it_knows_the_mirrors_and_is_trusted_and_until_it_ends() {
    let (stores, _writers) = Stores::new();
    let (trusts, trusted) = watch::channel(false);
    let (ends, ending) = watch::channel(false);
    let probes = Probes { progress: Arc::default(), stores: stores.clone(), trusted, ending, metrics: Arc::default() };
    let router = router(Arc::new(probes));
    let ready = async || {
        let request = http::Request::get("/readyz").body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        format!("{status} {}", String::from_utf8_lossy(&text).trim())
    };
    assert_eq!(ready().await, "503 the SyncMirrors are not known yet");
    stores.mirrors_touched();
    assert_eq!(ready().await, "503 the SyncMirrors are not known yet", "nor the namespaces");
    stores.namespaces_touched();
    assert_eq!(ready().await, "503 no certificate is served that API servers trust");
    trusts.send_replace(true);
    assert_eq!(ready().await, "200 ok");
    ends.send_replace(true);
    assert_eq!(ready().await, "503 ending");
}

#[tokio::test]
async fn a_watch_that_is_not_begun_anew_is_wedged_and_one_that_has_ended_is_not() {
    let fake = Fake::default();
    let progress: Arc<Progress> = Arc::default();
    assert_eq!(progress.wedged(Instant::now() + WEDGED * 2), None);
    let (client, expected) = progress.client(&fake.client(), "syncmirrors");
    assert_eq!(progress.wedged(Instant::now()), None);
    assert_eq!(progress.wedged(Instant::now() + WEDGED + Duration::from_secs(1)), Some("syncmirrors"));
    let began = progress.times();
    assert_eq!(began.len(), 1);
    // Any request of that watch is progress, whatever its answer.
    let soon = Instant::now() + WEDGED;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let _ = client
        .request_text(http::Request::get("/apis/gosync.dev/v1alpha1/syncmirrors").body(Vec::new()).unwrap())
        .await;
    assert_eq!(progress.wedged(soon + Duration::from_millis(10)), None);
    drop(expected);
    assert_eq!(progress.wedged(Instant::now() + WEDGED * 2), None);
}
