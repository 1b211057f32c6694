//! Mirrors of one agent whose prefixes overlap in one bucket hint each other directly: no listing has to come first.
//!
//! A hint that is lost, or told to a mirror that ends just then, costs latency alone.

use std::sync::{PoisonError, RwLock};

use gosync_engine::{Hint, MirrorHandle};
use gosync_plan::{Prefix, RelPath};

#[derive(Default)]
pub struct Neighbours(RwLock<Vec<Neighbour>>);

struct Neighbour {
    mirror: String,
    at: Remote,
    handle: MirrorHandle,
}

/// Where a mirror's objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub endpoint: String,
    pub bucket: String,
    pub prefix: Prefix,
}

impl Remote {
    /// The path here of what `other` knows as `path`.
    fn path_of(&self, other: &Self, path: &RelPath) -> Option<RelPath> {
        if (&self.endpoint, &self.bucket) != (&other.endpoint, &other.bucket) {
            return None;
        }
        self.prefix.path(&other.prefix.key(path))?.ok()
    }
}

impl Neighbours {
    /// In place of what was known of this mirror before.
    pub fn put(&self, mirror: &str, at: Remote, handle: MirrorHandle) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|neighbour| neighbour.mirror != mirror);
        all.push(Neighbour { mirror: mirror.to_owned(), at, handle });
    }

    pub fn remove(&self, mirror: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|neighbour| neighbour.mirror != mirror);
    }

    pub fn tell_all(&self, hint: &Hint) {
        for mirror in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            mirror.handle.hint(hint.clone());
        }
    }

    /// A mirror has written or deleted the object of one of its paths.
    pub fn changed(&self, mirror: &str, path: &RelPath) {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(source) = all.iter().find(|neighbour| neighbour.mirror == mirror) else { return };
        for other in all.iter().filter(|neighbour| neighbour.mirror != mirror) {
            if let Some(path) = other.at.path_of(&source.at, path) {
                other.handle.hint(Hint::Remote(path));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use super::*;

    fn remote(bucket: &str, prefix: &str) -> Remote {
        Remote { endpoint: "s3".into(), bucket: bucket.into(), prefix: Prefix::new(prefix) }
    }

    fn mapped(to: &Remote, from: &Remote, path: &str) -> Option<String> {
        to.path_of(from, &RelPath::new(path).unwrap()).map(|path| path.as_str().to_owned())
    }

    #[test]
    fn a_path_is_mapped_through_both_prefixes() {
        let (whole, docs) = (remote("b", ""), remote("b", "docs"));
        assert_eq!(mapped(&docs, &docs, "a/b").as_deref(), Some("a/b"));
        assert_eq!(mapped(&whole, &docs, "a/b").as_deref(), Some("docs/a/b"));
        assert_eq!(mapped(&docs, &whole, "docs/a").as_deref(), Some("a"));
    }

    #[test]
    fn what_lies_elsewhere_is_nobodys_business() {
        let docs = remote("b", "docs");
        assert_eq!(mapped(&docs, &remote("b", ""), "docs2/a"), None);
        assert_eq!(mapped(&docs, &remote("other", "docs"), "a"), None);
        let elsewhere = Remote { endpoint: "another".into(), ..docs.clone() };
        assert_eq!(mapped(&docs, &elsewhere, "a"), None);
    }
}
