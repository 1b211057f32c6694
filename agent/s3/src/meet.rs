//! A first meeting with a store, for people who ask what is wrong: does it answer, does it take us, what time does it
//! have. One listing of one key; nothing is changed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_types::date_time::{DateTime, Format};
use gosync_engine::ports::store::StoreError;

use crate::store::S3Store;

/// What came of it.
#[derive(Debug)]
pub struct Met {
    /// Whether keys below the prefix may be listed.
    pub listed: Result<(), StoreError>,
    /// How far our clock is ahead of the store's, seconds; `None` where no reply told.
    pub ahead_seconds: Option<i64>,
}

impl S3Store {
    /// Lists one key below `prefix`.
    pub async fn meet(&self, prefix: &str) -> Met {
        let clock = Clock::default();
        let operation = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .max_keys(1)
            .customize()
            .interceptor(clock.clone());
        let listed = self.run(self.call("ListObjectsV2", prefix), operation.send()).await.map(drop);
        let ahead_seconds = *clock.0.lock().unwrap_or_else(PoisonError::into_inner);
        Met { listed, ahead_seconds }
    }
}

/// Reads the Date of a reply, whatever else it says.
#[derive(Clone, Debug, Default)]
struct Clock(Arc<Mutex<Option<i64>>>);

#[dyn_dispatch_hint]
impl Intercept for Clock {
    fn name(&self) -> &'static str {
        "Clock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let theirs = context.response().headers().get("date").and_then(seconds);
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|now| i64::try_from(now.as_secs()).ok());
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ours - theirs);
        }
        Ok(())
    }
}

fn seconds(date: &str) -> Option<i64> {
    DateTime::from_str(date, Format::HttpDate).ok().map(|date| date.secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_http_is_read() {
        assert_eq!(seconds("Sun, 22 Nov 2026 10:11:12 GMT"), Some(1_795_342_272));
        assert_eq!(seconds("yesterday"), None);
    }
}
