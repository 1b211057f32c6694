//! What the integration tests and the benchmarks stand on: real S3 servers, databases and caches, a counting proxy, rclone, the real binary,
//! trees of files, and waiting for conditions.
//!
//! Not shipped and used by nothing that is. Everything is started on free loopback ports and in folders of its own, and is
//! ended by process id when its owner is dropped; after a panic the logs stay behind and their place is printed.
// A test stops at the first surprise: there is nobody to hand an error to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod agent;
pub mod cluster;
pub mod dev_store;
pub mod feed;
pub mod fleet;
pub mod mount;
pub mod pair;
pub mod permissions;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod rclone;
pub mod redis;
pub mod replica;
pub mod server;
pub mod shared;
pub mod stranger;
pub mod taken_out;
pub mod tools;
pub mod tree;
pub mod union;
pub mod wait;
