//! All integration tests, in one binary.
// A test stops at the first surprise: there is nobody to hand an error to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod conformance_store;
mod guards;
mod house;
mod rig;
mod two_way;
