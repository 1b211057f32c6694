//! One of something for all tests that run at the same time. It ends with the last of them: a server in a static would outlive
//! the process.

use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

/// The place of one, for a static.
pub struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    #[allow(clippy::new_without_default, reason = "a static needs it to be const")]
    pub const fn new() -> Self {
        Self(Mutex::const_new(Weak::new()))
    }

    /// The one that somebody uses, or a new one.
    pub async fn get(&self, start: impl AsyncFnOnce() -> T) -> Arc<T> {
        let mut place = self.0.lock().await;
        if let Some(running) = place.upgrade() {
            return running;
        }
        let started = Arc::new(start().await);
        *place = Arc::downgrade(&started);
        started
    }
}
