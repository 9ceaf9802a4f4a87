//! Strings that the host writes, read by clients that are not ours: each must get in by each form that it knows, whatever is in user name and password.
//!
//! Those in Python and JavaScript run with all tests, those in Go and Java by `cargo test --workspace --test foreign -- --include-ignored`.

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
