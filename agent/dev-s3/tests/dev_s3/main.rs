//! The server as its clients see it: driven over the wire by an ordinary S3 client.

// Tests may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod checksums;
mod conditions;
mod copies;
mod faults;
mod fixture;
mod identity;
mod lifecycle;
mod listing;
mod multipart;
mod objects;
mod versions;
