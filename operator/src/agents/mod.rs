//! The agents of pods: which there are, and what each tells of its mirrors at `/v1/state`.

mod ending;
mod pod;
mod poll;
mod told;

pub use ending::{Ending, Endings, LastReceipt, TOLD};
pub use pod::InjectedPod;
pub use poll::{Polls, poll};
pub use told::{AgentState, MirrorState, Pending};
