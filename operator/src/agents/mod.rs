//! The agents of pods: which there are, and what each tells of its mirrors at `/v1/state`.

mod pod;
mod poll;
mod told;

pub use pod::InjectedPod;
pub use poll::{Polls, poll};
pub use told::{AgentState, MirrorState};
