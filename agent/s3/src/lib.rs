//! The object store over S3: one request per call, conditions as headers, errors by kind.
//!
//! It is no transfer manager and keeps nothing between calls but open connections and whether the store takes
//! checksums. It never retries an effect: the SDK's retries are off, because after an unknown outcome only a look at
//! the key tells what happened, and that look is the engine's. Requests run as tasks of their own, so that the
//! caller's task carries no signing; dropping a call's future aborts its task, which leaves the effect done or not,
//! the same as a lost reply. Nothing is written locally: a crash leaves unfinished uploads at the store at most.

mod body;
mod config;
mod error;
mod headers;
mod integrity;
mod list;
mod meet;
mod object;
mod request;
mod store;
mod upload;
mod whole;

pub use config::{Checksums, ConnectError, Credentials, S3Config, Timeouts};
pub use meet::Met;
pub use request::{RequestObserver, RequestSeen};
pub use store::S3Store;
