//! Notices over the network: to receivers as strict as the vendors' documents, and to such as are away, in trouble or gone.

#![cfg(test)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

mod faults;
mod mails;
mod many;
mod oracles;
mod payloads;
mod receiver;
mod served;
