//! What the pure decisions promise: tables row by row, and properties over small worlds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]

mod convergence;
mod decide;
mod identity;
mod policy;
mod settle;
mod support;
mod why;
