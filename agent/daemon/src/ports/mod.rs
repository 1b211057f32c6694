//! The engine's ports that are no storage: time, randomness, threads, and who is told what happens.

mod fenced;
mod observer;
mod requests;
mod runtime;

pub use fenced::{FencedState, FencedTree};
pub use observer::Teller;
pub use requests::RequestTeller;
pub use runtime::{Blocking, RandomIds, TokioClock, utc_ms};
