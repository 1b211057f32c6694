//! The operator: gives pods the agent that SyncMirrors ask for, and tells how they fare.
//!
//! `inject` is the decision, pure over JSON; `webhook` answers API servers with it, `command` does the same for a file on disk.
//! `guard` is what the API server itself refuses while nobody decides. `serve` puts the running operator together: `reconcile`
//! is a mirror's round, `status` what is told of it, `agents` those who are asked for it, `rollout` what brings an agent to pods
//! that have none, `certificates` and `lease` what several replicas need.

pub mod agents;
pub mod certificates;
pub mod command;
pub mod guard;
pub mod inject;
pub mod lease;
pub mod probes;
pub mod reconcile;
pub mod rollout;
pub mod serve;
pub mod status;
pub mod stores;
pub mod watches;
pub mod webhook;
