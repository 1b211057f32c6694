//! What brings an agent to pods that have none: who makes them, restarts where a mirror asks for it, and a nudge for owners
//! whose pods were refused.

mod nudge;
mod owners;
mod proof;
mod restart;

pub use nudge::nudge;
pub use owners::Owners;
pub use restart::{Restarter, Verdict, judge};
