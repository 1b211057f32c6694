//! The operator: gives pods the agent that SyncMirrors ask for.
//!
//! `inject` is the decision, pure over JSON; `command` is the same for a file on disk; `guard` is what the API server itself
//! refuses while nobody decides.

pub mod command;
pub mod guard;
pub mod inject;
pub mod webhook;
