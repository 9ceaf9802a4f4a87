//! The plugin runtime against components that are built here: what is refused, what is pinned, what is ended.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

mod calls;
mod guest;
mod loading;
mod pinning;
mod publishers;
mod world;
