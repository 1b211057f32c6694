//! Waiting for conditions instead of sleeping. The deadline only ends a wait that would never end: nothing is concluded
//! from how long a condition took.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine with two cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(25);
/// What takes long is asked about less often: some questions cost the machine more than a look at a clock.
const POLL_MAX: Duration = Duration::from_millis(500);

/// Asks again and again until the answer is `Ok`; at the deadline stops the test with the last answer.
pub async fn until<T, E: Display>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    until_within(PATIENCE, what, &mut ask).await
}

/// The same with a deadline of one's own, for work that is known to be long.
pub async fn until_within<T, E: Display>(
    patience: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(still) if started.elapsed() > patience => {
                panic!("waited {} s for: {what}\nthe last answer was: {still}", patience.as_secs())
            }
            Err(_) => tokio::time::sleep((started.elapsed() / 10).clamp(POLL, POLL_MAX)).await,
        }
    }
}

/// `Ok` when the condition holds, else the words: turns a `bool` into an answer for [`until`].
pub fn hold(condition: bool, otherwise: impl Display) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise.to_string()) }
}
