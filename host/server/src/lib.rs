//! What makes a command a service: its Unix socket, on which commands reach the running host, the loopback
//! address on which it says how it is, and the word with systemd. Knows no command and no
//! rotation; whoever has them hands them in.

#![forbid(unsafe_code)]

mod error;
mod frame;
mod http;
mod listener;
mod notify;
mod session;

pub mod client;

pub use error::Error;
pub use frame::{Facts, FileAction, Hello};
pub use http::{Answers, Http};
pub use listener::{Listener, Peer};
pub use notify::Notify;
pub use session::{Ask, Session};
