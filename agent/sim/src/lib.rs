//! The simulator: another driver of the same engine, in a world that follows from a seed.
//!
//! Several agents with a tree each work on one bucket while people and other tools change files and objects between any
//! two of their system calls and requests, requests fail, replies get lost, and processes are killed in the middle of
//! what they do. Nothing of it touches a disk, a socket or a clock, and the same seed gives the same story.
//!
//! What is checked is what GoSync promises: no complete content is lost (P1), everything settles and stays settled (P2),
//! nobody sees a mixture (P3), any moment may be the last (P4), and every delete has its proof (P5).

mod bucket;
mod cache;
mod dice;
mod disk;
mod feed;
mod fleet;
mod judge;
mod ledger;
mod options;
mod rows;
mod run;
mod runtime;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod tools;
mod tree;
mod users;
mod verdict;
mod world;

pub use options::{Faults, Options};
pub use run::{Outcome, simulate};
pub use world::{Effects, Stats, Violation};
