//! SyncMirror, the resource: its types, its schema with the rules that an API server applies, and the table that says which
//! key of an agent's config each field becomes.
//!
//! Not here: any call to a cluster, any decision about pods. Everything is a value or a pure function, so there is nothing
//! to repeat or undo. The types are the one source: `syncmirrors.gosync.dev.yaml` beside this crate's manifest and
//! `docs/syncmirror.md` are made from them, and tests fail when they differ.

pub mod agent;
pub mod check;
pub mod page;
pub mod schema;
mod spec;
mod status;

pub use spec::*;
pub use status::*;

/// The group of the resource, and what our labels and annotations begin with.
pub const GROUP: &str = "gosync.dev";
