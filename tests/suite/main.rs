//! All integration tests, in one binary.
// A test stops at the first surprise: there is nobody to hand an error to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod conformance_store;
mod first_runs;
mod guards;
mod house;
mod kills;
mod open_files;
mod rig;
mod strangers;
mod two_way;
