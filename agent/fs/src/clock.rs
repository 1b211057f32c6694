//! Time that goes on while the machine sleeps, for what other hosts count on to end.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the machine was started, those asleep included.
#[must_use]
pub fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.cast_unsigned().saturating_mul(1_000).saturating_add(now.tv_nsec.cast_unsigned() / 1_000_000)
}
