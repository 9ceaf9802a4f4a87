//! The host side of the contract as a guest meets it: through the generated traits, over a port in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

#[path = "host/captured.rs"]
mod captured;
#[path = "host/channel.rs"]
mod channel;
#[path = "host/composition.rs"]
mod composition;
#[path = "host/fresh.rs"]
mod fresh;
#[path = "host/guard.rs"]
mod guard;
#[path = "host/ldap.rs"]
mod ldap;
#[path = "host/login.rs"]
mod login;
#[path = "host/memory.rs"]
mod memory;
#[path = "host/refuse.rs"]
mod refuse;
#[path = "host/requests.rs"]
mod requests;
#[path = "host/runs.rs"]
mod runs;
#[path = "host/runtime.rs"]
mod runtime;
#[path = "host/scene.rs"]
mod scene;
#[path = "host/secrets.rs"]
mod secrets;
#[path = "host/service.rs"]
mod service;
#[path = "host/strings.rs"]
mod strings;
#[path = "host/told.rs"]
mod told;
#[path = "host/vault.rs"]
mod vault;
#[path = "host/world.rs"]
mod world;
