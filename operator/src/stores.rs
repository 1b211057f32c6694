//! What every replica knows of the cluster without asking: mirrors, and the labels of namespaces.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gosync_crds::SyncMirror;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use tokio::sync::watch;

use crate::webhook::Known;

/// The label of namespaces that says what their pods have to keep to.
const ENFORCED: &str = "pod-security.kubernetes.io/enforce";

/// Mirrors and namespaces.
pub struct Stores {
    /// The mirrors. One that can't be read is among them, too.
    pub mirrors: Store<DeserializeGuard<SyncMirror>>,
    /// The namespaces.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    changed: watch::Sender<()>,
    filled: Filled,
}

#[derive(Default)]
struct Filled {
    mirrors: AtomicBool,
    namespaces: AtomicBool,
}

/// What fills them.
pub struct Writers {
    /// The mirrors.
    pub mirrors: Writer<DeserializeGuard<SyncMirror>>,
    /// The namespaces.
    pub namespaces: Writer<PartialObjectMeta<Namespace>>,
}

impl Stores {
    /// Empty ones.
    pub fn new() -> (Arc<Self>, Writers) {
        let writers = Writers { mirrors: Writer::default(), namespaces: Writer::default() };
        let stores = Self {
            mirrors: writers.mirrors.as_reader(),
            namespaces: writers.namespaces.as_reader(),
            changed: watch::Sender::default(),
            filled: Filled::default(),
        };
        (Arc::new(stores), writers)
    }

    /// Tells of each change of the mirrors.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Says that the mirrors changed, or were listed.
    pub fn mirrors_touched(&self) {
        self.filled.mirrors.store(true, Ordering::Release);
        self.changed.send_replace(());
    }

    /// Says that the namespaces changed, or were listed.
    pub fn namespaces_touched(&self) {
        self.filled.namespaces.store(true, Ordering::Release);
    }

    /// Both have been listed once.
    pub fn are_filled(&self) -> bool {
        self.filled.mirrors.load(Ordering::Acquire) && self.filled.namespaces.load(Ordering::Acquire)
    }

    /// The mirrors of a namespace that can be read and stay.
    pub fn mirrors_of(&self, namespace: &str) -> Vec<SyncMirror> {
        let mirrors = self.mirrors.state();
        let readable = mirrors.iter().filter_map(|mirror| mirror.0.as_ref().ok());
        let here = readable.filter(|mirror| mirror.metadata.namespace.as_deref() == Some(namespace));
        here.filter(|mirror| mirror.metadata.deletion_timestamp.is_none()).cloned().collect()
    }

    /// The namespaces with a mirror that has a selector, in order.
    pub fn selecting_namespaces(&self) -> Vec<String> {
        let mirrors = self.mirrors.state();
        let selecting = mirrors.iter().filter_map(|mirror| mirror.0.as_ref().ok());
        let selecting = selecting.filter(|mirror| mirror.spec.selector.is_some());
        let mut names: Vec<String> = selecting.filter_map(|mirror| mirror.metadata.namespace.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The namespace is being deleted: nothing can be made in it.
    pub fn is_ending(&self, namespace: &str) -> bool {
        self.namespace(namespace).is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    /// The namespace enforces the Pod Security Standard `restricted`.
    pub fn enforces_restricted(&self, namespace: &str) -> bool {
        let labels = self.namespace(namespace).and_then(|namespace| namespace.metadata.labels.clone());
        labels.is_some_and(|labels| labels.get(ENFORCED).is_some_and(|level| level == "restricted"))
    }

    fn namespace(&self, name: &str) -> Option<Arc<PartialObjectMeta<Namespace>>> {
        self.namespaces.get(&ObjectRef::new(name))
    }
}

impl Known for Arc<Stores> {
    fn mirrors(&self, namespace: &str) -> Vec<SyncMirror> {
        self.mirrors_of(namespace)
    }

    fn restricted(&self, namespace: &str) -> bool {
        self.enforces_restricted(namespace)
    }
}
