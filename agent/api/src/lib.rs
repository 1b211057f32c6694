//! What others may say to an agent: its configuration and the messages of its socket.
//!
//! Not here: any network, any clock, any decision about files. The configuration is read from texts that are handed in
//! (`config::Sources`); one small loader (`config::load`) fetches those texts from disk.
//! Retries, cancellation, crashes: everything here is a value or a pure function, so there is nothing to repeat or undo.

pub mod config;
pub mod doctor;
pub mod exit;
pub mod messages;
pub mod socket_path;
pub mod words;

pub use config::AgentConfig;
pub use exit::Exit;
