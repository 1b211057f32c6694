//! The tree and the watch on real file systems: what only a real one has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]

mod conformance;
mod contents;
mod escapes;
mod leases;
mod locks;
mod permissions;
mod places;
mod watches;
