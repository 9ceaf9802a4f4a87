//! Strings that the host writes, read by clients that are not ours: each must get in by each form that it knows, whatever is in user name and password.
//!
//! Clients that are not to be had here are skipped, in words.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test says what went wrong by panicking, what it skipped, and what it tried"
)]

mod mssql;
mod mysql;
mod postgres;
mod redis;
mod scene;
