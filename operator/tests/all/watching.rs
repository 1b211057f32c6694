//! Watches of an API server that goes quiet in one way or the other.

use std::sync::Arc;
use std::time::Duration;

use gosync_operator::watches::{Progress, WEDGED, follow};
use http::{Request, Response};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::client::Body;
use kube::runtime::{reflector, watcher};
use kube::{Client, Error};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// What becomes of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Quiet {
    /// Watches end at their time with nothing to tell.
    Well,
    /// Watches never end.
    Stalled,
    /// Even lists are never answered.
    Mute,
}

/// A client, and how many requests came.
fn client(quiet: Quiet) -> (Client, watch::Receiver<usize>) {
    let (asked, requests) = watch::channel(0);
    let service = tower::service_fn(move |request: Request<Body>| {
        asked.send_modify(|asked| *asked += 1);
        async move {
            let watches = request.uri().query().is_some_and(|query| query.contains("watch="));
            match (watches, quiet) {
                (_, Quiet::Mute) | (true, Quiet::Stalled) => std::future::pending().await,
                (true, Quiet::Well) => sleep(Duration::from_millis(20)).await,
                (false, _) => {}
            }
            let list = json!({
                "kind": "NamespaceList", "apiVersion": "v1", "metadata": { "resourceVersion": "7" },
                "items": [{ "metadata": { "name": "ml" } }],
            });
            let body = if watches { Vec::new() } else { list.to_string().into_bytes() };
            Ok::<_, Error>(Response::new(Body::from(body)))
        }
    });
    (Client::new(service, "default"), requests)
}

#[tokio::test]
async fn a_watch_that_stalls_is_wedged_and_one_with_nothing_to_tell_is_not() {
    // The list and a watch; then there are no more unless that one ends.
    let cases = [(Quiet::Well, 6, None), (Quiet::Stalled, 2, Some("namespaces")), (Quiet::Mute, 1, Some("namespaces"))];
    for (quiet, last, wedged) in cases {
        let progress: Arc<Progress> = Arc::default();
        let (client, mut requests) = client(quiet);
        let (client, _expected) = progress.client(&client, "namespaces");
        let (store, writer) = reflector::store::<Namespace>();
        let config = watcher::Config::default();
        let following = follow("namespaces", Api::all(client), config, writer, |_| {}, || {});
        let later = async {
            requests.wait_for(|requests| *requests >= last.min(2)).await.unwrap();
            let at = Instant::now();
            requests.wait_for(|requests| *requests >= last).await.unwrap();
            // As long after the one request as it takes to tell that none followed.
            progress.wedged(at + WEDGED + Duration::from_millis(1))
        };
        let found = tokio::select! {
            () = following => panic!("a watch goes on for ever"),
            found = later => found,
        };
        assert_eq!(found, wedged, "{quiet:?}");
        assert_eq!(store.state().len(), usize::from(quiet != Quiet::Mute), "{quiet:?}: what was listed stays");
    }
}
