//! The certificate of the webhook: made, replaced with overlap, loaded by every replica, and proven to be trusted.
//!
//! `keeper` is the leader's, `loader` every replica's. `make` makes a certificate with an authority of its own; `rotation` decides, pure, what becomes of the Secret; `secret` is
//! that Secret; `trust` proves that API servers will accept what is served.

mod keeper;
mod loader;
mod make;
mod rotation;
mod secret;
mod trust;

pub use keeper::{Keeper, keep};
pub use loader::{Trust, load};
pub use make::{Made, MakeError, make};
pub use rotation::{Held, Step, plan};
pub use secret::{from_secret, to_secret};
pub use trust::{expires, holds_all, is_trusted, names};

/// How long a certificate lasts, in days.
pub const DAYS: u32 = 90;
