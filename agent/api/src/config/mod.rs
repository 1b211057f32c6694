//! The agent's configuration: read from YAML, environment and defaults, checked, shown, and written as examples.
//!
//! Nothing here talks to a network or starts anything. A text becomes a tree with places (`tree`), the tree is read key
//! by key over the defaults (`agent`, `mirror`), and what no single key shows is checked at the end (`check`).
//! Mistakes are collected all along: one run tells them all.

mod agent;
mod check;
mod choice;
mod endpoint;
mod expand;
mod generate;
mod load;
mod mirror;
mod mounts;
mod not_yet;
mod page;
mod places;
mod problem;
mod remote_path;
mod restart;
mod secret;
mod section;
mod show;
mod shown;
mod tree;
mod units;
mod value;

#[cfg(test)]
mod tests;

pub use agent::*;
pub use choice::*;
pub use endpoint::Endpoint;
pub use generate::{InitAnswers, Profile, generate, init};
pub use load::{Disk, Loaded, RealDisk, SourceFile, Sources, load, read};
pub use mirror::{MirrorConfig, MirrorSpec, label_of};
pub use mounts::Spot;
pub use not_yet::not_yet;
pub use page::page;
pub use places::Places;
pub use problem::{Place, Problem, Problems, Wrong};
pub use remote_path::RemotePath;
pub use restart::waits_for_restart;
pub use secret::{MASK, Secret};
pub use section::KeyDoc;
pub use shown::Shown;
pub use units::{Bytes, Every, Percent, format_duration, parse_duration};
pub use value::Listen;
