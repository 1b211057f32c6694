//! The engine's ports that are no storage: time, randomness, threads, and who is told what happens.

mod observer;
mod requests;
mod runtime;

pub use observer::Teller;
pub use requests::RequestTeller;
pub use runtime::{Blocking, RandomIds, TokioClock, utc_ms};
