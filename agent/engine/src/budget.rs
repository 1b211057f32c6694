//! How many small requests may be under way at once: few where the store is near, more where each waits for the line.
//!
//! A request that takes hardly longer than the shortest one ever did was not held up by others: then one more at once
//! brings more through. Where requests wait for each other, more of them would only take memory. Never less than at the
//! beginning; a permit that is dropped in the middle of its request says nothing.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_lock::{Semaphore, SemaphoreGuard};

use crate::ports::Clock;

/// A request counts as not held up while it takes less than so many times the shortest one.
const HELD_UP: u64 = 2;

pub struct Budget {
    requests: Semaphore,
    now: AtomicUsize,
    most: usize,
    /// Of all requests, milliseconds.
    shortest_ms: AtomicU64,
}

/// The right to one request.
pub struct Permit<'a> {
    budget: &'a Budget,
    clock: &'a dyn Clock,
    began_ms: u64,
    _guard: SemaphoreGuard<'a>,
}

impl Budget {
    #[must_use]
    pub fn new(first: usize, most: usize) -> Self {
        Self {
            requests: Semaphore::new(first),
            now: AtomicUsize::new(first),
            most,
            shortest_ms: AtomicU64::new(u64::MAX),
        }
    }

    pub async fn acquire<'a>(&'a self, clock: &'a dyn Clock) -> Permit<'a> {
        let guard = self.requests.acquire().await;
        Permit { budget: self, clock, began_ms: clock.monotonic_ms(), _guard: guard }
    }

    /// Told before the permit is given back.
    fn took(&self, milliseconds: u64) {
        let shortest_ms = self.shortest_ms.fetch_min(milliseconds, Ordering::Relaxed).min(milliseconds);
        let now = self.now.load(Ordering::Relaxed);
        // Where some are free, nobody waits for one.
        let wanted = self.requests.try_acquire().is_none();
        if wanted && now < self.most && milliseconds < shortest_ms.saturating_mul(HELD_UP) {
            self.now.store(now + 1, Ordering::Relaxed);
            self.requests.add_permits(1);
        }
    }
}

impl Permit<'_> {
    /// The request was answered.
    pub fn answered(self) {
        self.budget.took(self.clock.monotonic_ms() - self.began_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_only_wait_for_the_line_make_room_for_more() {
        let budget = Budget::new(2, 5);
        let mut taken = 0;
        for _ in 0..10 {
            taken += take_all(&budget);
            budget.took(52);
        }
        assert_eq!(taken + take_all(&budget), 5);
    }

    #[test]
    fn where_permits_are_free_nobody_needs_more() {
        let budget = Budget::new(2, 5);
        budget.took(52);
        budget.took(52);
        assert_eq!(take_all(&budget), 2);
    }

    fn take_all(budget: &Budget) -> usize {
        std::iter::from_fn(|| budget.requests.try_acquire().map(std::mem::forget)).count()
    }

    #[test]
    fn requests_that_wait_for_each_other_do_not() {
        let budget = Budget::new(2, 5);
        budget.took(2);
        assert_eq!(take_all(&budget), 2);
        for _ in 0..10 {
            budget.took(30);
        }
        assert_eq!(take_all(&budget), 0);
    }
}
