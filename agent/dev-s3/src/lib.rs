//! A strict and faithful S3 server for `gosync agent --dev`, tests and benches.
//!
//! It is not a store for data that matters: writes survive a killed process, but nothing is synced to the disk, so
//! a power loss may take the last seconds. One process owns a data folder at a time (a lock file says so).
//!
//! Every write is one SQLite transaction in which its conditions are evaluated, so that conditions are atomic and a
//! kill never shows half an object; a body whose transaction never came is purged at the next start. A request runs
//! to its end even when its client goes away, as with the real service: a client that retries may find its own effect.

mod auth;
mod blobs;
mod body;
mod buckets;
mod checksums;
mod conditions;
mod copy;
mod counters;
mod deletes;
mod error;
mod faults;
mod http_layer;
mod index;
mod listing;
mod multipart;
mod objects;
mod options;
mod reading;
mod reads;
mod reply;
mod server;
mod service;
mod store;
mod uploads;
mod versions;

pub use counters::{Counters, Counts, Operation};
pub use error::{Error, Kind};
pub use faults::{Effect, Fault, FaultId, Faults, Keys};
pub use options::{Checksums, Condition, Conditions, Etags, Options};
pub use server::{DevS3, Running};
