//! All integration tests, in one binary.
// A test stops at the first surprise: there is nobody to hand an error to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bursts;
mod cache;
mod changes;
mod compose;
mod conformance_store;
mod crash_points;
mod dev;
mod directions;
mod explain;
mod first_runs;
mod fleet;
mod fleet_outages;
mod flush;
mod folders;
mod guards;
mod halts;
mod house;
mod ignored;
mod kills;
mod links;
mod log_file;
mod moves;
mod names;
mod open_files;
mod outside;
mod overwrites;
mod packaging;
mod permissions;
mod plan;
mod postgres_feed;
mod postgres_metadata;
mod provision;
mod renames;
mod rig;
mod roots;
mod scrub;
mod second_tries;
mod semantics;
mod settings;
mod strangers;
mod transfers;
mod trash;
mod two_way;
mod types;
