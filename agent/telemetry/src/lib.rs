//! Logs and metrics, for agent and operator alike.
//!
//! * [`logs`]: where the log goes, in which form, and from which level on;
//! * [`file`]: a log in a file, with rotation;
//! * [`metrics`]: the agent's counters and their text;
//! * [`operator`]: those of the operator.
//!
//! Telling never fails and never waits. Nothing here outlives the process: counters begin at zero with every start.

pub mod file;
pub mod logs;
pub mod metrics;
pub mod operator;

pub use file::{LogFile, LogFileError, LogFileOptions};
pub use logs::{LogFormat, LogLevel, LogOptions, LogTarget};
pub use metrics::{CONTENT_TYPE, Metrics, MirrorGauges, MirrorMetrics};
pub use operator::OperatorMetrics;
