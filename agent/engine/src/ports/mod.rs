//! What the engine needs of the world. Each trait has one conformance suite that every implementation passes.

pub mod cache;
#[cfg(feature = "conformance")]
pub mod cache_conformance;
pub mod cache_entries;
pub mod cache_memory;
pub mod cached_metadata;
pub mod local;
#[cfg(feature = "conformance")]
pub mod local_conformance;
pub mod metadata;
#[cfg(feature = "conformance")]
pub mod metadata_conformance;
pub mod observer;
pub mod runtime;
pub mod state;
#[cfg(feature = "conformance")]
pub mod state_conformance;
pub mod store;

use std::sync::Arc;

pub use cache::{Cache, CacheError, CacheErrorKind};
pub use cache_entries::StoreCache;
pub use cached_metadata::CachedMetadata;
pub use local::{FolderEntry, Lease, LocalTree, RootFacts, Space, Stat, TreeError, TreeErrorKind, TreeFile};
pub use metadata::{FileRow, MetadataStore};
pub use observer::{Event, Observer};
pub use runtime::{Clock, Ids, Workers, blocking};
pub use state::{JournalEntry, JournalKind, ReplicaState, StateChange, StateError};
pub use store::{Condition, ObjectStore, StoreError, StoreErrorKind};

/// Everything that one mirror's engine works with.
#[derive(Clone)]
pub struct Ports {
    pub local: Arc<dyn LocalTree>,
    pub store: Arc<dyn ObjectStore>,
    pub state: Arc<dyn ReplicaState>,
    pub metadata: Arc<dyn MetadataStore>,
    /// Of contents; used where the metadata is shared.
    pub cache: Option<Arc<dyn Cache>>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub workers: Arc<dyn Workers>,
    pub observer: Arc<dyn Observer>,
}
