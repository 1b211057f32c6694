//! A real API server, the operator beside it, and agents that only answer.

pub mod certificates;
pub mod control_plane;
pub mod host;
pub mod kubectl;
pub mod operator;
pub mod stub;
