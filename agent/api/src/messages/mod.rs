//! The messages of the agent's socket: HTTP/1.1 over a Unix socket, JSON bodies.
//!
//! Fields that are missing take their default and unknown ones are passed over, so that a command and an agent of
//! neighbouring versions understand each other; [`version::agree`] says why when they don't.

pub mod cache;
pub mod error;
pub mod explain;
pub mod plan;
pub mod progress;
pub mod request;
pub mod state;
mod termination;
pub mod v1;
pub mod version;

pub use cache::{CacheFlushed, CacheStats, Caches, CachesFlushed};
pub use error::{ErrorBody, ErrorCode, ErrorDetail};
pub use explain::{
    Entry, ExplainRequest, Explained, Explanation, FolderSummary, IgnoredBy, LastChange, UnderWay, WaitsFor,
};
pub use plan::{MirrorPlan, PlanRequest, PlanStep, PlanTotal, Plans};
pub use progress::{Line, Progress};
pub use request::*;
pub use state::*;
pub use v1::{MirrorV1, StateV1};
pub use version::{API_VERSION, VERSION_HEADER};

/// The socket's paths. GET for those that only read, POST for the rest.
pub mod route {
    /// GET: [`super::State`].
    pub const STATE: &str = "/sync/state";
    /// GET: [`super::List`].
    pub const LIST: &str = "/sync/list";
    /// POST [`super::MirrorRequest`]: [`super::MirrorMade`].
    pub const MIRROR: &str = "/sync/mirror";
    /// POST [`super::ProvisionRequest`]: lines of progress, then [`super::Provisioned`].
    pub const PROVISION: &str = "/sync/provision";
    /// POST [`super::MirrorName`]: [`super::Acknowledged`].
    pub const PAUSE: &str = "/sync/pause";
    /// POST [`super::MirrorName`]: [`super::Acknowledged`].
    pub const RESUME: &str = "/sync/resume";
    /// POST [`super::MirrorName`]: [`super::Acknowledged`].
    pub const REMOVE: &str = "/sync/remove";
    /// POST [`super::FlushRequest`]: lines of progress, then [`super::Flushed`].
    pub const FLUSH: &str = "/sync/flush";
    /// POST [`super::WaitRequest`]: [`super::Waited`].
    pub const WAIT: &str = "/sync/wait";
    /// GET with [`super::MirrorFilter`] as query: [`super::Conflicts`].
    pub const CONFLICTS: &str = "/sync/conflicts";
    /// GET with [`super::ExplainRequest`] as query: [`super::Explained`].
    pub const EXPLAIN: &str = "/sync/explain";
    /// POST [`super::PlanRequest`]: lines, then [`super::Plans`].
    pub const PLAN: &str = "/sync/plan";
    /// POST [`super::AnswerRequest`]: [`super::Answered`].
    pub const APPROVE: &str = "/sync/approve";
    /// POST [`super::AnswerRequest`]: [`super::Answered`].
    pub const DENY: &str = "/sync/deny";
    /// GET with [`super::TrashFilter`] as query: [`super::Trash`].
    pub const TRASH_LIST: &str = "/sync/trash/list";
    /// POST [`super::RestoreRequest`]: [`super::Restored`].
    pub const TRASH_RESTORE: &str = "/sync/trash/restore";
    /// GET: [`super::Caches`].
    pub const CACHE_STATS: &str = "/cache/stats";
    /// POST: [`super::CachesFlushed`].
    pub const CACHE_FLUSH: &str = "/cache/flush";
    /// POST [`super::LogLevelRequest`]: [`super::LogLevelSet`].
    pub const LOG_LEVEL: &str = "/log-level";
    /// GET with [`super::ProbeRequest`] as query: [`super::ProbeResult`].
    pub const PROBE: &str = "/probe";
}
