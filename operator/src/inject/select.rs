//! Which mirrors concern a pod.

use std::collections::BTreeMap;

use gosync_crds::{Guard, SyncMirror};
use kube::core::{Selector, SelectorExt};

use super::pod::Pod;
use super::{INJECT_LABEL, MIRRORS_ANNOTATION};

/// What a pod and the mirrors of its namespace say of each other.
pub struct Concern<'m> {
    /// Those that select it or that it names, by name.
    pub mirrors: Vec<&'m SyncMirror>,
    /// A name of a mirror that isn't there.
    pub missing: Option<String>,
    /// It asks for an agent by its label.
    pub opted_in: bool,
    /// It wants none by its label.
    pub opted_out: bool,
}

impl<'m> Concern<'m> {
    /// Of this pod.
    pub fn of(pod: &Pod<'_>, mirrors: &'m [SyncMirror]) -> Self {
        let label = pod.label(INJECT_LABEL);
        let opted_in = label == Some("true");
        let namespace = pod.value()["metadata"]["namespace"].as_str().filter(|name| !name.is_empty());
        // A file may leave its namespace to kubectl.
        let here = mirrors.iter().filter(|mirror| match (namespace, mirror.metadata.namespace.as_deref()) {
            (Some(pod), Some(mirror)) => pod == mirror,
            _ => true,
        });
        let here: BTreeMap<&str, &SyncMirror> = here.map(|mirror| (mirror.mirror_name(), mirror)).collect();
        let names = pod.annotation(MIRRORS_ANNOTATION).filter(|_| opted_in).unwrap_or_default();
        let names: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        Self {
            mirrors: here
                .iter()
                .filter(|(name, mirror)| names.contains(*name) || selects(mirror, pod))
                .map(|(_, mirror)| *mirror)
                .collect(),
            missing: names.iter().find(|name| !here.contains_key(**name)).map(|name| (*name).to_owned()),
            opted_in,
            opted_out: label == Some("false"),
        }
    }

    /// What the guard is to do with the pod, where every mirror of it lets it start: the stricter of their words.
    pub fn lifted(&self) -> Option<Guard> {
        let words = || self.mirrors.iter().map(|mirror| mirror.spec.guard);
        let lifted = self.missing.is_none() && words().all(|guard| matches!(guard, Guard::Warn | Guard::Off));
        words().max_by_key(|guard| *guard == Guard::Warn).filter(|_| lifted)
    }
}

/// An empty selector selects every pod, an absent one none; so does one that can't be read.
fn selects(mirror: &SyncMirror, pod: &Pod<'_>) -> bool {
    let Some(selector) = mirror.spec.selector.clone().and_then(|selector| Selector::try_from(selector).ok()) else {
        return false;
    };
    let labels = pod.value()["metadata"]["labels"].as_object().into_iter().flatten();
    let labels = labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    selector.matches(&labels.collect())
}
