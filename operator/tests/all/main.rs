//! The operator from outside: the decision over every shape of pod, and the command.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may stop at the first surprise

mod cases;
mod certificates;
mod command;
mod fake;
mod goldens;
mod guard;
mod keeping;
mod known;
mod lease;
mod properties;
mod reconcile;
mod rules;
mod status;
mod watching;
mod webhook;
