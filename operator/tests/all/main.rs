//! The operator from outside: the decision over every shape of pod, and the command.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may stop at the first surprise

mod cases;
mod command;
mod goldens;
mod guard;
mod known;
mod properties;
mod rules;
mod webhook;
