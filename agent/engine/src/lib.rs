//! The engine of a mirror: it looks, plans, guards, acts and records, through ports alone.
//!
//! * [`ports`]: what the engine needs of the world (local tree, object store, state, metadata, clock);
//! * [`mirror`]: the loop that owns a mirror's state: one event in, effects out;
//! * `sequences`: the order of system calls, requests and commits by which one operation is safe at any moment;
//! * `sweep`: the streaming merge of local walk, remote listing and ancestor.
//!
//! Nothing here touches a disk, a socket or a clock: the daemon and the simulator drive the same code.

mod beat;
mod budget;
pub mod config;
pub mod context;
pub mod crash;
pub mod digest;
mod durable;
pub mod explain;
mod feed;
mod gather;
pub mod handle;
pub mod ignored;
mod lister;
mod look;
pub mod mirror;
pub mod planted;
pub mod ports;
mod sequences;
mod sweep;
mod walk;

pub use config::{Limits, MirrorConfig};
pub use handle::{Command, Hint, MirrorHandle, View};
pub use mirror::{Ended, NOTE_PAUSED, PlanDraft, PlanStep, mirror, plan_first_run};
pub use sequences::probe::{NOTE_PROBE, noted_conditions, probe_store};
pub use sequences::start::{Marker, NOTE_VOLUME, UNREADABLE, place_marker, read_marker};
