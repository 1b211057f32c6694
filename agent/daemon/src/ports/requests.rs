//! Requests to the stores, counted.

use std::sync::Arc;

use gosync_engine::ports::StoreErrorKind;
use gosync_s3::{RequestObserver, RequestSeen};
use gosync_telemetry::Metrics;

pub struct RequestTeller(pub Arc<Metrics>);

impl RequestObserver for RequestTeller {
    fn request(&self, seen: &RequestSeen) {
        let throttled = seen.outcome == Err(StoreErrorKind::Throttled);
        self.0.s3_request(seen.operation, code(seen.outcome), seen.duration, throttled);
    }
}

/// The status that stands for the outcome, as dashboards select by it; what had none is named.
fn code(outcome: Result<(), StoreErrorKind>) -> &'static str {
    let Err(kind) = outcome else { return "200" };
    match kind {
        StoreErrorKind::NotFound | StoreErrorKind::NoSuchBucket | StoreErrorKind::NoSuchUpload => "404",
        StoreErrorKind::PreconditionFailed => "412",
        StoreErrorKind::Conflict => "409",
        StoreErrorKind::Denied | StoreErrorKind::Credentials | StoreErrorKind::Unreadable => "403",
        StoreErrorKind::Throttled => "503",
        StoreErrorKind::Unavailable => "500",
        StoreErrorKind::Invalid => "400",
        StoreErrorKind::NotImplemented => "501",
        StoreErrorKind::Transport => "transport",
        StoreErrorKind::Corrupt => "corrupt",
        StoreErrorKind::Killed => "killed",
    }
}
